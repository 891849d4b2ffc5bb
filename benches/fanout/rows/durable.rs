//! Publishes that are on disk when they are answered: clients that each wait for their answer before they publish again.
//!
//! Invariants: both servers keep their files on the same disk and are given the same text; every publish that counts was
//! acknowledged.

use super::{Stage, TICKS};
use crate::{
    dialect::{Dialect, post_events, redis_command},
    failure::Failure,
    goals::PUBLISHES_PER_S,
    histogram::Histogram,
    peer::{Peer, REDIS_STREAMS},
    report::{Counted, Reading},
    server::Server,
    wire::Wire,
};
use futures_util::future::try_join_all;
use std::{cell::RefCell, rc::Rc, time::Duration};
use tokio::time::{Instant, timeout};

/// What is published, in bytes.
const RECORD_BYTES: usize = 300;
/// The warm-up is this many times shorter than the run.
const WARM_UP: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Reading>, Failure> {
    let plan = stage.plan;
    let mut readings = Vec::new();
    for (setting, batch) in [("one by one", 1), ("batches of 100", 100)] {
        let server = stage.server().await?;
        let request = request(stage.peer, batch);
        run(stage, &server, &request, plan.durable_window / WARM_UP).await?;
        let (before, start) = (server.cpu()?, Instant::now());
        let (requests, latency) = run(stage, &server, &request, plan.durable_window).await?;
        let (cpu, wall) = (server.cpu_since(before)?.as_secs_f64(), start.elapsed().as_secs_f64());
        let publishes = requests * batch as u64;
        let figures = vec![
            (PUBLISHES_PER_S, publishes as f64 / wall),
            ("us CPU/publish", cpu * 1e6 / publishes as f64),
            ("answer p50 ms", latency.percentile_ms(50)),
            ("answer p99 ms", latency.percentile_ms(99)),
            ("server busy %", cpu / wall * 100.0),
        ];
        let counted = Counted {
            events: usize::try_from(publishes).unwrap_or(usize::MAX),
            subscribers: 0,
            bytes: RECORD_BYTES as f64,
            checked: publishes,
            what: "accepted",
        };
        readings.push(stage.reading(setting, counted, figures));
    }
    Ok(readings)
}

/// One request of a client, and how many answers it has.
struct Request {
    bytes: Vec<u8>,
    answers: usize,
}

fn request(peer: &dyn Peer, batch: usize) -> Request {
    let mut event = String::new();
    TICKS.write_event(0, "", &mut event);
    let padding = "x".repeat(RECORD_BYTES.saturating_sub(event.len()));
    event.clear();
    TICKS.write_event(0, &padding, &mut event);
    if peer.name() == REDIS_STREAMS.name() {
        let command = redis_command(&["XADD", "bench", "*", "event", &event]);
        return Request { bytes: command.repeat(batch), answers: batch };
    }
    let body = format!("[{}]", vec![event; batch].join(","));
    Request { bytes: post_events(&body), answers: 1 }
}

/// Lets all clients publish for so long; gives how many requests were answered, and how fast.
async fn run(
    stage: &Stage<'_>,
    server: &Server,
    request: &Request,
    length: Duration,
) -> Result<(u64, Histogram), Failure> {
    let latency = Rc::new(RefCell::new(Histogram::default()));
    let until = Instant::now() + length;
    let clients = (0..stage.plan.publishers).map(|_| {
        let (dialect, latency) = (stage.peer.dialect(), Rc::clone(&latency));
        async move {
            let mut wire = Wire::connect(server.address).await?;
            let mut requests = 0;
            while Instant::now() < until {
                let sent = Instant::now();
                wire.send(&request.bytes).await?;
                timeout(PATIENCE, answered(dialect, &mut wire, request.answers))
                    .await
                    .map_err(|_| Failure::NotAcknowledged(PATIENCE))??;
                latency.borrow_mut().record(sent.elapsed());
                requests += 1;
            }
            Ok::<_, Failure>(requests)
        }
    });
    let requests = try_join_all(clients).await?.into_iter().sum();
    Ok((requests, latency.take()))
}

/// Reads so many answers.
pub(super) async fn answered(dialect: &dyn Dialect, wire: &mut Wire, answers: usize) -> Result<(), Failure> {
    let mut missing = answers;
    loop {
        let mut left = wire.rest.as_slice();
        while let Some((is_answer, after)) = dialect.split_answer(left)? {
            left = after;
            missing -= usize::from(is_answer);
        }
        let left = left.len();
        wire.rest.drain(..wire.rest.len() - left);
        if missing == 0 {
            return Ok(());
        }
        wire.read_more().await?;
    }
}
