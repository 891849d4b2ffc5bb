//! A reader that is stopped (SIGSTOP) while events pour in: bounded memory, others unharmed, and it misses nothing in the end.

use crate::{
    failure::{Failure, expect, within},
    history::{Filter, Record, Start},
    load::{Load, Plan},
    probe::Probe,
    publisher::Habit,
    recorder::Recorder,
    run::{Run, Settings},
    server::{Server, signal},
    subscriber::{Dialect, Subscriber},
};
use std::{net::SocketAddr, path::Path, process::Stdio, sync::Arc, time::Duration};
use tokio::{
    process::Command,
    sync::watch,
    time::{Instant, sleep},
};

const CONNECTED: Duration = Duration::from_secs(10);
/// Until a stopped reader is found: what sockets buffer must fill first.
const FOUND: Duration = Duration::from_secs(60);
/// The readers that are stopped.
const READERS: u64 = 4;
/// A reader's budget is 1 MiB; this is for all of them, the log's caches, and the allocator, in KiB.
const GROWTH_MAX_KIB: u64 = 160 * 1024;
/// A publish is answered within this time while readers are stopped.
const OTHERS_MAX: Duration = Duration::from_secs(5);
const CAUGHT_UP: Duration = Duration::from_secs(90);

/// Stops readers, waits until they are closed as too slow, lets them go on.
pub(crate) async fn run(settings: &Settings) -> Result<String, Failure> {
    let run = Run::new(settings, "stopped-reader")?;
    let recipe = run.recipe().with("write_timeout=1s").with("ping_interval=10s");
    let habit = Habit { padding_bytes_max: 32_000, pause_max: Duration::from_millis(10), batch_max: 3 };
    let mut load = Load::start(&run.recorder, &Plan { habit, ..Plan::default() }, &run.chance)?;
    let server = Server::start(&recipe).await?;
    let own = std::env::current_exe().map_err(Failure::during("finding this program"))?;
    let mut readers = Vec::new();
    for number in 1..=READERS {
        let mut command = Command::new(&own);
        command.args([
            "follow",
            "--name",
            &format!("stopped-{number}"),
            "--address",
            &server.address.to_string(),
        ]);
        command.arg("--history").arg(&run.directory).stdin(Stdio::null()).kill_on_drop(true);
        let reader = command.spawn().map_err(Failure::during("starting a reader"))?;
        let pid = reader.id().ok_or_else(|| Failure::broken("a reader has no process id"))?;
        readers.push((pid, reader));
    }
    reach(&server, "subscriptions_open", READERS, CONNECTED).await?;
    load.serve_at(Some(server.address));
    reach(&server, "subscriptions_open", READERS + 8, CONNECTED).await?;
    sleep(Duration::from_millis(300)).await;

    let before = server.resident_kib()?;
    run.recorder.record(Record::Fault { what: "readers are stopped".to_owned() });
    for (pid, _) in &readers {
        signal(*pid, "STOP").await?;
    }
    let mut probe = Probe::new("probe", &run.recorder)?;
    let (mut most, mut slowest, stopped) = (before, Duration::ZERO, Instant::now());
    let found = async {
        while server.metric("slow_consumers_closed_total").await? < READERS {
            most = most.max(server.resident_kib()?);
            slowest = slowest.max(probe.acked(&server).await?);
            sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, Failure>(())
    };
    within(FOUND, "stopped readers are closed as too slow", found).await??;
    let found = stopped.elapsed();
    let growth = most.saturating_sub(before);
    expect(growth <= GROWTH_MAX_KIB, || format!("memory grew by {growth} KiB"))?;
    expect(slowest <= OTHERS_MAX, || format!("a publish took {slowest:?} while readers were stopped"))?;
    load.settle().await?;
    for (pid, _) in &readers {
        signal(*pid, "CONT").await?;
    }
    load.finish(&server).await?;
    for (_, mut reader) in readers {
        let status = within(CAUGHT_UP, "a reader that was stopped gets to the end", reader.wait()).await?;
        let status = status.map_err(Failure::during("waiting for a reader"))?;
        expect(status.success(), || format!("a reader ended with {status}"))?;
    }
    server.kill().await?;
    let counts = run.verdict()?.counts;
    Ok(format!(
        "{READERS} stopped readers closed within {} ms (write_timeout 1 s), memory +{} MiB, slowest publish meanwhile {} ms; they \
         resumed and missed nothing: {} deliveries without gap or repeat",
        found.as_millis(),
        growth / 1024,
        slowest.as_millis(),
        counts.delivered
    ))
}

async fn reach(server: &Server, metric: &str, count: u64, deadline: Duration) -> Result<(), Failure> {
    let counted = async {
        while server.metric(metric).await? < count {
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    within(deadline, &format!("{metric} is {count}"), counted).await?
}

/// The reader: a process of its own, so that it can be stopped.
pub(crate) async fn follow(name: &str, address: SocketAddr, history: &Path) -> Result<(), Failure> {
    let recorder = Arc::new(Recorder::create(history, name)?);
    let (_place, address) = watch::channel(Some(address));
    let subscriber = Subscriber {
        name: name.to_owned(),
        dialect: Dialect::GraphQl,
        filter: Filter::default(),
        start: Start::Live,
        recorder: Arc::clone(&recorder),
        address,
    };
    subscriber.run().await;
    recorder.flush()
}
