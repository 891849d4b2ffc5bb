//! Half the maximum rate for a long time: memory and open files stay flat, and every delivery is checked.
//!
//! Flow: fills the caches of the log, measures the maximum, then paces; what the server holds after the first tenth is the
//! first reading, what it holds at the end is the last one.

use super::{Stage, TICKS, delivered};
use crate::{
    audience::Audience,
    failure::Failure,
    goals::{FILES_GROWTH, MEMORY_GROWTH},
    report::Reading,
    server::Server,
};
use tokio::time::Instant;

const PAST: Audience = Audience::Topic("bench.past");
/// Events of one request while the caches are filled.
const BATCH: usize = 1000;
const IN_FLIGHT: usize = 64;
const PARTS: u32 = 10;

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Reading>, Failure> {
    let plan = stage.plan;
    let server = stage.server().await?;
    stage.connect(&server, PAST, 0).await?.store(plan.cache_events, BATCH).await?;
    let subscribers = plan.subscribers;
    let mut load = stage.load(&server, TICKS, subscribers).await?;
    let mut cost = load.measure(&server, plan.events_for(stage.peer, IN_FLIGHT), IN_FLIGHT).await?;
    let rate = cost.events as f64 / cost.wall.as_secs_f64() / 2.0;

    let (mut events, mut readings) = (0, Vec::new());
    let (cpu_before, start) = (server.cpu()?, Instant::now());
    for part in 1..=PARTS {
        let (published, tally) = load.pace_for(rate, plan.soak / PARTS).await?;
        events += published;
        cost.tally = tally;
        let now = Held::by(&server)?;
        eprintln!("  {part} of {PARTS}: {:.0} KB, {:.0} files, {rate:.0} events/s", now.kb, now.files);
        readings.push(now);
    }
    cost.server_cpu = server.cpu_since(cpu_before)?;
    let (first, last) = match readings.as_slice() {
        [first, .., last] => (*first, *last),
        _ => return Err(Failure::NotAccounted("memory")),
    };
    let figures = vec![
        (MEMORY_GROWTH, last.kb / first.kb),
        (FILES_GROWTH, last.files / first.files),
        ("KB first", first.kb),
        ("KB last", last.kb),
        ("files first", first.files),
        ("files last", last.files),
        ("events/s", rate),
        ("last p99 ms", cost.tally.latency.percentile_ms(99)),
        ("server busy %", cost.server_cpu.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0),
    ];
    let mut counted = delivered(subscribers, events, &cost.tally);
    counted.checked = (events * subscribers) as u64;
    Ok(vec![stage.reading("soak", counted, figures)])
}

/// What a server holds at one moment.
#[derive(Clone, Copy, Debug)]
struct Held {
    kb: f64,
    files: f64,
}

impl Held {
    fn by(server: &Server) -> Result<Self, Failure> {
        Ok(Held { kb: server.resident_kb()?, files: server.open_files()? as f64 })
    }
}
