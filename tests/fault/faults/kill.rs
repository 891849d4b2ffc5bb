//! `kill -9` at random times under load, again and again on one data directory.
//!
//! It sees an acknowledgement or a delivery before the commit. It cannot see a missing fsync: the page cache outlives a process.

use crate::{
    failure::{Failure, expect},
    history::Record,
    load::{Load, Plan},
    run::{Run, Settings},
    server::Server,
    strace::Injection,
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// So many cycles share a data directory and a history; more would only make both unwieldy.
const CYCLES_A_ROUND: u64 = 50;
/// The shortest and the longest load before a kill.
const LOAD_MS: (u64, u64) = (50, 500);
/// A restart must not take longer, whatever the crash left behind.
const RESTART_MAX: Duration = Duration::from_secs(10);

/// Runs the cycles; gives a line about them.
pub(crate) async fn run(settings: &Settings, cycles: u64, is_lying: bool) -> Result<String, Failure> {
    let name = if is_lying { "kill-lying-disk" } else { "kill" };
    let (mut left, mut round) = (cycles, 0);
    let (mut slowest, mut totals) = (Duration::ZERO, [0_usize; 4]);
    while left > 0 {
        round += 1;
        let run = Run::new(settings, &format!("{name}-{round}"))?;
        slowest = slowest.max(one_round(&run, left.min(CYCLES_A_ROUND), is_lying).await?);
        left = left.saturating_sub(CYCLES_A_ROUND);
        let counts = run.verdict()?.counts;
        let counts = [counts.acked, counts.unknown, counts.duplicates, counts.delivered];
        totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
    }
    let [acked, unknown, repeats, delivered] = totals;
    Ok(format!(
        "{cycles} kills; {acked} events acknowledged, 0 lost, {unknown} outcomes left open, {repeats} repeats answered as \
         such, {delivered} deliveries without gap or repeat; slowest restart {} ms",
        slowest.as_millis()
    ))
}

async fn one_round(run: &Run, cycles: u64, is_lying: bool) -> Result<Duration, Failure> {
    let mut chance = run.chance.clone();
    let load = Load::start(&run.recorder, &Plan::default(), &chance.branch(0))?;
    let (mut recipe, mut slowest) = (run.recipe(), Duration::ZERO);
    if is_lying {
        recipe.wrapper = Injection::lie().wrapper()?;
    }
    for cycle in 1..=cycles {
        let started = Instant::now();
        let server = Server::start(&recipe).await?;
        slowest = slowest.max(started.elapsed());
        load.serve_at(Some(server.address));
        sleep(Duration::from_millis(chance.between(LOAD_MS.0, LOAD_MS.1))).await;
        run.recorder.record(Record::Fault { what: format!("kill -9, cycle {cycle}") });
        server.kill().await?;
        load.serve_at(None);
        run.log_check(&recipe.data_dir).await?;
    }
    expect(slowest <= RESTART_MAX, || format!("a restart took {slowest:?}"))?;
    let server = Server::start(&recipe).await?;
    load.finish(&server).await?;
    server.kill().await?;
    Ok(slowest)
}
