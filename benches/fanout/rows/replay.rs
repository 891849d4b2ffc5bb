//! One client reads the log from its beginning, over the WebSocket; beside it a Redis stream, read page by page.

use super::{Stage, TICKS, delivered, replay_streams};
use crate::{
    dialect::Dialect,
    failure::Failure,
    goals::{EVENTS_PER_S, US_PER_EVENT},
    ledger::Ledger,
    load::follow,
    peer::{Peer, REDIS_STREAMS},
    report::Reading,
    server::{CpuTime, Server},
    subscriber::{READ_BYTES, Subscriber},
};
use std::{cell::RefCell, rc::Rc};
use tokio::{task::JoinSet, time::Instant};

/// Events of one request while the log is filled.
const BATCH: usize = 1000;

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Reading>, Failure> {
    let (events, dialect) = (stage.plan.replay_events, stage.peer.dialect());
    let is_stream = stage.peer.name() == REDIS_STREAMS.name();
    let server = stage.server().await?;
    if is_stream {
        let padding = "x".repeat(stage.plan.padding_bytes);
        replay_streams::store(dialect, &server, events, &padding).await?;
    } else {
        stage.connect(&server, TICKS, 0).await?.store(events, BATCH).await?;
    }
    server.settle().await?;

    let ledger = Rc::new(Ledger::awaiting(0, events, 1));
    let (before, load_before) = (server.cpu()?, CpuTime::own()?);
    let start = Instant::now();
    match is_stream {
        true => replay_streams::read(&server, events, &ledger).await?,
        false => subscribe(dialect, &server, &ledger).await?,
    }
    let wall = start.elapsed().as_secs_f64();
    let (cpu, load_cpu) = (server.cpu_since(before)?, CpuTime::own()?.since(load_before));
    let tally = ledger.take();
    let figures = vec![
        (EVENTS_PER_S, events as f64 / wall),
        (US_PER_EVENT, cpu.as_secs_f64() * 1e6 / events as f64),
        ("server busy %", cpu.as_secs_f64() / wall * 100.0),
        ("load busy %", load_cpu.as_secs_f64() / wall * 100.0),
    ];
    Ok(vec![stage.reading("replay", delivered(1, events, &tally), figures)])
}

/// Reads everything through one subscription.
async fn subscribe(
    dialect: &'static dyn Dialect,
    server: &Server,
    ledger: &Rc<Ledger>,
) -> Result<(), Failure> {
    let mut wish = TICKS.wish(0);
    wish.start = Some("{earliest: true}".to_owned());
    let mut tasks = JoinSet::new();
    let scratch = Rc::new(RefCell::new(vec![0; READ_BYTES]));
    let mut subscriber = Subscriber::open(dialect, server.address, 0).await?;
    subscriber.subscribe(&wish).await?;
    follow(subscriber, ledger, &scratch, &mut tasks);
    ledger.finished().await
}
