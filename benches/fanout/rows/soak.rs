//! Half the maximum rate for a long time: memory and open files stay flat, and every delivery is checked.
//!
//! Flow: fills the caches of the log, finds the rate that one publish after the other sustains, then paces at half of it; what
//! the server holds after the first tenth is the first reading, what it holds at the end is the last one.
//! Invariants: each tenth ends on time, whatever the server keeps up with; the rates shown are those that were reached.

use super::{Stage, TICKS, delivered};
use crate::{
    audience::Audience,
    failure::Failure,
    goals::{FILES_GROWTH, MEMORY_GROWTH},
    ledger::Tally,
    load::Load,
    report::Reading,
    server::Server,
};
use std::time::Duration;
use tokio::time::Instant;

const PAST: Audience = Audience::Topic("bench.past");
/// Events of one request while the caches are filled.
const BATCH: usize = 1000;
/// As many as a publisher may be ahead of the slowest subscriber; a tenth ends late by what these take.
const IN_FLIGHT: usize = 64;
const PARTS: u32 = 10;
/// How long the maximum is looked for, at most: as long as half a tenth.
const LOOKING: Duration = Duration::from_secs(10);
/// Above any rate that a server reaches.
const NO_PAUSE: f64 = 1e6;

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Reading>, Failure> {
    let plan = stage.plan;
    let server = stage.server().await?;
    stage.connect(&server, PAST, 0).await?.store(plan.cache_events, BATCH).await?;
    let mut load = stage.load(&server, TICKS, plan.subscribers).await?;
    let most = sustained(&mut load, LOOKING.min(plan.soak / PARTS / 2)).await?;
    eprintln!("  {most:.0} events/s are sustained, half of them are published for {:?}", plan.soak);

    let (mut events, mut readings, mut tally) = (0, Vec::new(), Tally::default());
    let (cpu_before, start) = (server.cpu()?, Instant::now());
    let rate = |events: usize, since: Instant| events as f64 / since.elapsed().as_secs_f64();
    for part in 1..=PARTS {
        let begun = Instant::now();
        let published;
        (published, tally) = load.pace_until(most / 2.0, IN_FLIGHT, start + plan.soak * part / PARTS).await?;
        events += published;
        let (now, reached) = (Held::by(&server)?, rate(published, begun));
        eprintln!("  {part} of {PARTS}: {:.0} KB, {:.0} files, {reached:.0} events/s", now.kb, now.files);
        readings.push(now);
    }
    let (took, reached) = (start.elapsed(), rate(events, start));
    let server_cpu = server.cpu_since(cpu_before)?;
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
        ("events/s at most", most),
        ("events/s", reached),
        ("s", took.as_secs_f64()),
        ("last p99 ms", tally.latency.percentile_ms(99)),
        ("server busy %", server_cpu.as_secs_f64() / took.as_secs_f64() * 100.0),
    ];
    let mut counted = delivered(plan.subscribers, events, &tally);
    counted.checked = (events * plan.subscribers) as u64;
    Ok(vec![stage.reading("soak", counted, figures)])
}

/// Events a second, published one by one, that reach everybody.
async fn sustained(load: &mut Load, length: Duration) -> Result<f64, Failure> {
    let start = Instant::now();
    let (events, _) = load.pace_until(NO_PAUSE, IN_FLIGHT, start + length).await?;
    Ok(events as f64 / start.elapsed().as_secs_f64())
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
