//! What the servers are put through: all subscribers ask for the same and events are kept in flight; or they sit idle.
//!
//! Flow: a load connects its subscribers, probes until each gets events, runs; the CPU of the server around a run makes a sample.
//! Invariants: a sample exists only when each subscriber got each event once and in order; warm-up is never measured.
//! Not here: how samples become rows (`table`).

use crate::{
    failure::Failure,
    ledger::{Ledger, Tally},
    publisher::Publisher,
    server_process::{Server, own_cpu, socket_buffers_kb},
    ws_client::{READ_BYTES, Subscriber},
};
use futures_util::{StreamExt, stream};
use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::Duration};
use tokio::{task::JoinSet, time::Instant};

/// How many connections are being opened at a time.
const OPENING: usize = 32;
/// How many events the idle connections get at once before their memory is read again.
const BURST_EVENTS: usize = 64;
const PROBES: usize = 40;
const PROBE_PATIENCE: Duration = Duration::from_millis(500);

/// A crowd of subscribers and one publisher. Dropping it disconnects all.
#[derive(Debug)]
pub(crate) struct Load {
    ledger: Rc<Ledger>,
    publisher: Publisher,
    subscribers: usize,
    _tasks: JoinSet<()>,
}

/// One measured run with identical subscriptions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) in_flight: usize,
    pub(crate) events: usize,
    pub(crate) subscribers: usize,
    pub(crate) delivered: u64,
    /// The mean length of a frame without its WebSocket header.
    pub(crate) frame_bytes: f64,
    pub(crate) cpu_us_per_delivery: f64,
    /// The share of the run during which the server, and the load, had a core.
    pub(crate) server_busy: f64,
    pub(crate) load_busy: f64,
    /// From publishing to the last subscriber: half of the events, and 99 of 100, were at least as quick.
    pub(crate) to_all_p50_ms: f64,
    pub(crate) to_all_p99_ms: f64,
}

/// What connections cost that are subscribed and get nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleSample {
    pub(crate) connections: usize,
    /// For TCP accept, upgrade, init and subscribe.
    pub(crate) connect_cpu_us: f64,
    pub(crate) idle_kb: f64,
    pub(crate) after_burst_kb: f64,
    /// Both ends together, after the burst.
    pub(crate) socket_buffers_kb: f64,
}

impl Load {
    /// Connects and sends all subscriptions; the server may still be about to act on the last of them.
    pub(crate) async fn connect(
        address: SocketAddr,
        subscribers: usize,
        padding_bytes: usize,
    ) -> Result<Self, Failure> {
        let ledger = Rc::new(Ledger::new(subscribers));
        let scratch = Rc::new(RefCell::new(vec![0; READ_BYTES]));
        let mut tasks = JoinSet::new();
        let mut opening = stream::iter(0..subscribers)
            .map(|number| Subscriber::open(address, number))
            .buffer_unordered(OPENING);
        while let Some(subscriber) = opening.next().await {
            let mut subscriber = subscriber?;
            let (ledger, scratch) = (Rc::clone(&ledger), Rc::clone(&scratch));
            tasks.spawn_local(async move {
                let Err(failure) = subscriber.follow(&ledger, &scratch).await;
                ledger.fail(failure);
            });
        }
        let publisher = Publisher::open(address, padding_bytes, Rc::clone(&ledger), &mut tasks).await?;
        Ok(Load { ledger, publisher, subscribers, _tasks: tasks })
    }

    /// Publishes probes until one has reached everybody. No protocol measured here says when a subscription is in force.
    pub(crate) async fn subscribed(&mut self) -> Result<(), Failure> {
        let mut reached = Ok(());
        for _ in 0..PROBES {
            self.publisher.publish(1).await?;
            reached = self.ledger.settled(PROBE_PATIENCE).await;
            match &reached {
                Err(Failure::Stalled { .. }) => self.ledger.abandon(),
                _ => break,
            }
        }
        self.ledger.take();
        reached
    }

    /// Publishes `events`, the next one whenever fewer than `in_flight` have not reached everybody.
    async fn run(&mut self, events: usize, in_flight: usize) -> Result<Tally, Failure> {
        let mut left = events;
        while left > 0 {
            let count = self.ledger.room(in_flight).await?.min(left);
            self.publisher.publish(count).await?;
            left -= count;
        }
        self.ledger.finished().await?;
        let tally = self.ledger.take();
        let expected = (events * self.subscribers) as u64;
        match tally.delivered == expected {
            true => Ok(tally),
            false => Err(Failure::Miscounted { delivered: tally.delivered, expected }),
        }
    }

    /// Measures `events` with `in_flight` on their way, after a warm-up of a tenth of them.
    pub(crate) async fn measure(
        &mut self,
        server: &Server,
        events: usize,
        in_flight: usize,
    ) -> Result<Sample, Failure> {
        self.run((events / 10).max(in_flight), in_flight).await?;
        let (server_before, load_before, start) = (server.cpu()?, own_cpu()?, Instant::now());
        let mut tally = self.run(events, in_flight).await?;
        let wall = start.elapsed().as_secs_f64();
        let (server_cpu, load_cpu) =
            (server.cpu_since(server_before)?, own_cpu()?.saturating_sub(load_before));
        self.ledger.check()?;
        tally.spread.sort_unstable();
        Ok(Sample {
            in_flight,
            events,
            subscribers: self.subscribers,
            delivered: tally.delivered,
            frame_bytes: tally.frame_bytes as f64 / tally.delivered as f64,
            cpu_us_per_delivery: server_cpu.as_secs_f64() * 1e6 / tally.delivered as f64,
            server_busy: server_cpu.as_secs_f64() / wall,
            load_busy: load_cpu.as_secs_f64() / wall,
            to_all_p50_ms: percentile_ms(&tally.spread, 50),
            to_all_p99_ms: percentile_ms(&tally.spread, 99),
        })
    }
}

/// Measures what `connections` idle subscriptions cost a server that had none before.
pub(crate) async fn idle(
    server: &Server,
    connections: usize,
    padding_bytes: usize,
) -> Result<IdleSample, Failure> {
    server.settle().await?;
    let (cpu_before, kb_before, buffers_before) =
        (server.cpu()?, server.resident_kb()?, socket_buffers_kb()?);
    let mut load = Load::connect(server.address, connections, padding_bytes).await?;
    server.settle().await?;
    let (connect_cpu, idle_kb) = (server.cpu_since(cpu_before)?, server.resident_kb()? - kb_before);
    // Only now, so that no delivery is in the numbers above: each of them is subscribed.
    load.subscribed().await?;
    load.run(BURST_EVENTS, BURST_EVENTS).await?;
    server.settle().await?;
    load.ledger.check()?;
    let each = connections as f64;
    Ok(IdleSample {
        connections,
        connect_cpu_us: connect_cpu.as_secs_f64() * 1e6 / each,
        idle_kb: idle_kb / each,
        after_burst_kb: (server.resident_kb()? - kb_before) / each,
        socket_buffers_kb: (socket_buffers_kb()? - buffers_before).max(0.0) / each,
    })
}

fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).map_or(0.0, |duration| duration.as_secs_f64() * 1e3)
}
