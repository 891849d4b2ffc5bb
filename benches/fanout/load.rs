//! A crowd of subscribers and one publisher, and the two ways to drive them: as fast as they go, or at a steady rate.
//!
//! Flow: connects its subscribers, probes until each gets events, runs; the CPU of the server around a run makes a cost.
//! Invariants: a result exists only when each subscriber got each event that is due to it, once and in order; warm-up is
//! never measured.
//! Not here: which loads make a row (`rows`).

use crate::{
    audience::Audience,
    dialect::Dialect,
    failure::Failure,
    ledger::{Ledger, Tally},
    publisher::{Feed, Publisher},
    server::{CpuTime, Server},
    subscriber::{READ_BYTES, Subscriber},
};
use futures_util::{StreamExt, stream};
use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// How many connections are being opened at a time.
const OPENING: usize = 32;
const PROBES: usize = 40;
const PROBE_PATIENCE: Duration = Duration::from_millis(500);
/// A timer may be this late without anything being wrong; an event that is later counts from when it was due.
const TIMER_GRAIN: Duration = Duration::from_millis(2);

/// Dropping it disconnects all.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) ledger: Rc<Ledger>,
    publisher: Publisher,
    feed: Feed,
    _tasks: JoinSet<()>,
}

/// What one measured run cost.
#[derive(Debug)]
pub(crate) struct Cost {
    pub(crate) events: usize,
    pub(crate) tally: Tally,
    pub(crate) server_cpu: Duration,
    pub(crate) load_cpu: Duration,
    pub(crate) wall: Duration,
}

impl Cost {
    /// Server CPU for one delivery in microseconds.
    pub(crate) fn cpu_us_per_delivery(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / self.tally.delivered as f64
    }

    /// Server CPU for one event in microseconds.
    pub(crate) fn cpu_us_per_event(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / self.events as f64
    }
}

/// Connects so many subscribers, up to where they may subscribe.
pub(crate) async fn connect_all(
    dialect: &'static dyn Dialect,
    address: SocketAddr,
    connections: usize,
) -> Result<Vec<Subscriber>, Failure> {
    let opening = stream::iter(0..connections).map(|number| Subscriber::open(dialect, address, number));
    let mut opening = opening.buffered(OPENING);
    let mut subscribers = Vec::with_capacity(connections);
    while let Some(subscriber) = opening.next().await {
        subscribers.push(subscriber?);
    }
    Ok(subscribers)
}

impl Load {
    /// Connects and sends all subscriptions; the server may still be about to act on the last of them.
    pub(crate) async fn connect(
        dialect: &'static dyn Dialect,
        address: SocketAddr,
        feed: Feed,
    ) -> Result<Self, Failure> {
        let ledger = Rc::new(Ledger::default());
        let scratch = Rc::new(RefCell::new(vec![0; READ_BYTES]));
        let mut tasks = JoinSet::new();
        let Feed { audience, connections, .. } = feed;
        let mut subscribers = stream::iter(0..connections)
            .map(|number| async move {
                let mut subscriber = Subscriber::open(dialect, address, number).await?;
                subscriber.subscribe(&audience.wish(number)).await?;
                Ok::<_, Failure>(subscriber)
            })
            .buffer_unordered(OPENING);
        while let Some(subscriber) = subscribers.next().await {
            follow(subscriber?, &ledger, &scratch, &mut tasks);
        }
        drop(subscribers);
        let publisher =
            Publisher::open(dialect, address, feed.clone(), Rc::clone(&ledger), &mut tasks).await?;
        Ok(Load { ledger, publisher, feed, _tasks: tasks })
    }

    /// Publishes probes until one has reached everybody. Not every protocol says when a subscription is in force.
    pub(crate) async fn subscribed(&mut self) -> Result<(), Failure> {
        let mut reached = Ok(());
        for _ in 0..PROBES {
            self.publisher.publish(self.feed.audience.cycle(), Instant::now()).await?;
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
    pub(crate) async fn run(&mut self, events: usize, in_flight: usize) -> Result<Tally, Failure> {
        let mut left = events;
        while left > 0 {
            let count = self.ledger.room(in_flight).await?.min(left);
            self.publisher.publish(count, Instant::now()).await?;
            left -= count;
        }
        self.reached(events).await
    }

    /// Publishes `rate` events a second until it is over, one at least, whether or not the server keeps up. Gives how many.
    pub(crate) async fn pace(
        &mut self,
        rate: f64,
        is_over: impl Fn() -> bool,
    ) -> Result<(usize, Tally), Failure> {
        let (start, mut events) = (Instant::now(), 0);
        while events == 0 || !is_over() {
            let due = start + Duration::from_secs_f64(events as f64 / rate);
            sleep_until(due).await;
            self.ledger.check()?;
            let now = Instant::now();
            let published = if now.saturating_duration_since(due) > TIMER_GRAIN { due } else { now };
            self.publisher.publish(1, published).await?;
            events += 1;
        }
        Ok((events, self.reached(events).await?))
    }

    /// The same for so long.
    pub(crate) async fn pace_for(&mut self, rate: f64, length: Duration) -> Result<(usize, Tally), Failure> {
        let end = Instant::now() + length;
        self.pace(rate, || Instant::now() >= end).await
    }

    /// Publishes one by one until `end`: no more than `rate` a second, and never with `in_flight` that have not reached everybody,
    /// so that it ends soon after. Gives how many.
    pub(crate) async fn pace_until(
        &mut self,
        rate: f64,
        in_flight: usize,
        end: Instant,
    ) -> Result<(usize, Tally), Failure> {
        let (start, mut events) = (Instant::now(), 0);
        while events == 0 || Instant::now() < end {
            sleep_until(start + Duration::from_secs_f64(events as f64 / rate)).await;
            self.ledger.room(in_flight).await?;
            self.publisher.publish(1, Instant::now()).await?;
            events += 1;
        }
        Ok((events, self.reached(events).await?))
    }

    /// Publishes without subscribers, `batch` events a request, each answered before the next.
    pub(crate) async fn store(&mut self, events: usize, batch: usize) -> Result<(), Failure> {
        let mut left = events;
        while left > 0 {
            let count = batch.min(left);
            self.publisher.publish(count, Instant::now()).await?;
            self.ledger.finished().await?;
            left -= count;
        }
        Ok(())
    }

    /// Measures `events` with `in_flight` on their way, after a warm-up of a tenth of them.
    pub(crate) async fn measure(
        &mut self,
        server: &Server,
        events: usize,
        in_flight: usize,
    ) -> Result<Cost, Failure> {
        self.run((events / 10).max(in_flight), in_flight).await?;
        let (server_before, load_before, start) = (server.cpu()?, CpuTime::own()?, Instant::now());
        let tally = self.run(events, in_flight).await?;
        let wall = start.elapsed();
        let (server_cpu, load_cpu) = (server.cpu_since(server_before)?, CpuTime::own()?.since(load_before));
        self.ledger.check()?;
        Ok(Cost { events, tally, server_cpu, load_cpu, wall })
    }

    async fn reached(&mut self, events: usize) -> Result<Tally, Failure> {
        self.ledger.finished().await?;
        let tally = self.ledger.take();
        let Feed { audience, connections, .. } = self.feed;
        let expected = (events * audience.recipients(connections)) as u64;
        match tally.delivered == expected {
            true => Ok(tally),
            false => Err(Failure::Miscounted { delivered: tally.delivered, expected }),
        }
    }
}

/// Reads in a task of its own until it fails, which the ledger is told.
pub(crate) fn follow(
    mut subscriber: Subscriber,
    ledger: &Rc<Ledger>,
    scratch: &Rc<RefCell<Vec<u8>>>,
    tasks: &mut JoinSet<()>,
) {
    let (ledger, scratch) = (Rc::clone(ledger), Rc::clone(scratch));
    tasks.spawn_local(async move {
        let Err(failure) = subscriber.follow(&ledger, &scratch).await;
        ledger.fail(failure);
    });
}

/// A feed with messages of the size that the plan says.
pub(crate) fn feed(audience: Audience, connections: usize, padding_bytes: usize) -> Feed {
    Feed { audience, connections, padding: "x".repeat(padding_bytes) }
}
