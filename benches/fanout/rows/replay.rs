//! One client reads the log from its beginning, over the WebSocket.

use super::{Stage, TICKS, delivered};
use crate::{
    failure::Failure,
    goals::{EVENTS_PER_S, US_PER_EVENT},
    ledger::Ledger,
    load::{connect_all, follow},
    report::Reading,
    server::CpuTime,
    subscriber::READ_BYTES,
};
use std::{cell::RefCell, rc::Rc};
use tokio::{task::JoinSet, time::Instant};

/// Events of one request while the log is filled.
const BATCH: usize = 1000;

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Reading>, Failure> {
    let events = stage.plan.replay_events;
    let server = stage.server().await?;
    stage.connect(&server, TICKS, 0).await?.store(events, BATCH).await?;
    server.settle().await?;

    let ledger = Rc::new(Ledger::awaiting(0, events, 1));
    let mut wish = TICKS.wish(0);
    wish.start = Some("{earliest: true}".to_owned());
    let mut tasks = JoinSet::new();
    let scratch = Rc::new(RefCell::new(vec![0; READ_BYTES]));
    let (before, load_before) = (server.cpu()?, CpuTime::own()?);
    let start = Instant::now();
    for mut subscriber in connect_all(stage.peer.dialect(), server.address, 1).await? {
        subscriber.subscribe(&wish).await?;
        follow(subscriber, &ledger, &scratch, &mut tasks);
    }
    ledger.finished().await?;
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
