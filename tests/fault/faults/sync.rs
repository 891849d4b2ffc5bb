//! Syncs that fail, and syncs that take long.

use crate::{
    failure::{Failure, expect, within},
    history::Record,
    load::{Load, Plan},
    probe::Probe,
    publisher::Outcome,
    run::{Run, Settings},
    server::Server,
    strace::{Injection, SYNCS, log_files},
};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const RED: Duration = Duration::from_secs(20);
/// A read waits for no sync.
const READ_MAX: Duration = Duration::from_secs(2);
/// How long a slow sync takes.
const SLOW: Duration = Duration::from_millis(300);
/// Clocks of two processes and a scheduler lie between.
const TOLERANCE: Duration = Duration::from_millis(20);
const SLOW_FOR: Duration = Duration::from_secs(3);
/// What may wait while syncs are slow, in KiB.
const GROWTH_MAX_KIB: u64 = 96 * 1024;

/// One sync fails, or one write; nothing is acknowledged after it, although every later one would succeed.
pub(crate) async fn error(settings: &Settings) -> Result<String, Failure> {
    let mut acked = 0;
    for (call, when) in [(SYNCS, 20), ("pwrite64", 200)] {
        let run = Run::new(settings, &format!("{}-error", call.split(',').next().unwrap_or(call)))?;
        let recipe = run.recipe();
        let mut load = Load::start(&run.recorder, &Plan::default(), &run.chance)?;
        let mut server = Server::start(&recipe).await?;
        let injection = Injection {
            calls: call.to_owned(),
            what: format!("error=EIO:when={when}"),
            paths: log_files(&recipe.data_dir),
        };
        let strace = injection.attach(server.pid).await?;
        load.serve_at(Some(server.address));
        red(&run, &server).await?;
        let mut probe = Probe::new("probe", &run.recorder)?;
        for _ in 0..20 {
            let (outcome, _) = probe.publish(&server).await;
            expect(outcome == Outcome::Unknown, || format!("a publish after EIO was answered {outcome:?}"))?;
        }
        let page = server.call("events.history", &json!({ "last": 1 })).await?;
        expect(page["events"][0].is_object(), || format!("reading does not go on: {page}"))?;
        server.signal("TERM").await?;
        server.ended(RED).await?;
        drop(strace);
        load.serve_at(None);
        run.log_check(&recipe.data_dir).await?;
        let server = Server::start(&recipe).await?;
        load.serve_at(Some(server.address));
        load.settle().await?;
        load.finish(&server).await?;
        server.kill().await?;
        acked += run.verdict()?.counts.acked;
    }
    Ok(format!(
        "after one EIO of a sync, and one of a write, readiness is red and nothing is acknowledged, reading goes on, a restart \
         heals; {acked} events acknowledged, 0 lost"
    ))
}

async fn red(run: &Run, server: &Server) -> Result<(), Failure> {
    let red = async {
        loop {
            if server.get("/health/ready").await?.0 != 200 {
                run.recorder.record(Record::Fault { what: "an I/O error".to_owned() });
                return Ok(());
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    within(RED, "readiness turns red after EIO", red).await?
}

/// Every sync takes 300 ms: no acknowledgement is earlier, and what is durable is served meanwhile.
pub(crate) async fn slow(settings: &Settings) -> Result<String, Failure> {
    let run = Run::new(settings, "slow-sync")?;
    let recipe = run.recipe();
    let load = Load::start(&run.recorder, &Plan::default(), &run.chance)?;
    let server = Server::start(&recipe).await?;
    let mut probe = Probe::new("probe", &run.recorder)?;
    for _ in 0..50 {
        probe.acked(&server).await?;
    }
    let before = server.resident_kib()?;
    let what = format!("delay_enter={}", SLOW.as_micros());
    let injection = Injection { calls: SYNCS.to_owned(), what, paths: log_files(&recipe.data_dir) };
    let strace = injection.attach(server.pid).await?;
    run.recorder.record(Record::Fault { what: "slow syncs".to_owned() });

    // Alone first: nothing else's sync can be waited for by mistake.
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        fastest = fastest.min(probe.acked(&server).await?);
    }
    expect(fastest + TOLERANCE >= SLOW, || {
        format!("a publish was acknowledged after {fastest:?}, although a sync takes {SLOW:?}")
    })?;
    load.serve_at(Some(server.address));
    let (slowest, reads) = read_on(&server).await?;
    let growth = server.resident_kib()?.saturating_sub(before);
    expect(growth <= GROWTH_MAX_KIB, || format!("memory grew by {growth} KiB"))?;
    drop(strace);
    load.finish(&server).await?;
    server.kill().await?;
    let counts = run.verdict()?.counts;
    Ok(format!(
        "with syncs of {} ms the fastest acknowledgement took {} ms; {reads} reads meanwhile, the slowest {} ms; memory +{} \
         MiB; {} events acknowledged, 0 lost",
        SLOW.as_millis(),
        fastest.as_millis(),
        slowest.as_millis(),
        growth / 1024,
        counts.acked
    ))
}

async fn read_on(server: &Server) -> Result<(Duration, u32), Failure> {
    let (started, mut slowest, mut reads) = (Instant::now(), Duration::ZERO, 0);
    while started.elapsed() < SLOW_FOR {
        let asked = Instant::now();
        let first = json!({ "first": 50 });
        let read = server.call("events.history", &first);
        let page = within(READ_MAX, "durable events are read while syncs are slow", read).await??;
        let count = page["events"].as_array().map_or(0, Vec::len);
        expect(count == 50, || format!("{count} of 50 durable events were read"))?;
        slowest = slowest.max(asked.elapsed());
        reads += 1;
        sleep(Duration::from_millis(20)).await;
    }
    Ok((slowest, reads))
}
