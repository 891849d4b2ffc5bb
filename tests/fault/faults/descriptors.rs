//! No file descriptors are left: who is connected notices nothing, who is not waits, and the server does not burn a core.

use crate::{
    failure::{Failure, expect, within},
    history::Record,
    load::{Load, Plan},
    probe::Probe,
    run::{Run, Settings},
    server::{Server, http_client},
    tools,
};
use std::{ffi::OsString, time::Duration};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};

const SPARE: usize = 20;
const FILLERS: usize = 60;
const WATCHED: Duration = Duration::from_secs(2);
/// Of one core; an accept loop that spins takes all of it.
const CPU_PERCENT_MAX: u128 = 50;
const RESUME_MAX: Duration = Duration::from_secs(5);
const FULL: Duration = Duration::from_secs(10);

/// Uses all descriptors up, and gives them back.
pub(crate) async fn run(settings: &Settings) -> Result<String, Failure> {
    tools::need(&["prlimit"])?;
    let run = Run::new(settings, "descriptors")?;
    let server = Server::start(&run.recipe()).await?;
    // Consumers only: the probe is the one producer, so that CPU time is the accept loop's.
    let load = Load::start(&run.recorder, &Plan { publishers: 0, ..Plan::default() }, &run.chance)?;
    load.serve_at(Some(server.address));
    let mut probe = Probe::new("probe", &run.recorder)?;
    probe.acked(&server).await?;
    let subscribed = async {
        while server.metric("subscriptions_open").await? < 8 {
            sleep(Duration::from_millis(10)).await;
        }
        Ok::<_, Failure>(())
    };
    within(FULL, "eight consumers are subscribed", subscribed).await??;

    let limit = server.descriptors()? + SPARE;
    let words: [OsString; 3] =
        ["--pid".into(), server.pid.to_string().into(), format!("--nofile={limit}:{limit}").into()];
    tools::run("prlimit", &words.each_ref().map(OsString::as_os_str)).await?;
    let mut fillers = Vec::new();
    for _ in 0..FILLERS {
        fillers.push(TcpStream::connect(server.address).await.map_err(Failure::during("connecting"))?);
    }
    let full = async {
        while server.descriptors()? < limit {
            sleep(Duration::from_millis(10)).await;
        }
        Ok::<_, Failure>(())
    };
    within(FULL, "all descriptors are in use", full).await??;
    run.recorder.record(Record::Fault { what: "no descriptors are left".to_owned() });

    let (cpu, started, mut slowest) = (server.cpu()?, Instant::now(), Duration::ZERO);
    while started.elapsed() < WATCHED {
        slowest = slowest.max(probe.acked(&server).await?);
        sleep(Duration::from_millis(50)).await;
    }
    let percent = (server.cpu()? - cpu).as_micros() * 100 / started.elapsed().as_micros().max(1);
    expect(percent <= CPU_PERCENT_MAX, || format!("the server takes {percent} % of a core while it waits"))?;
    expect(server.descriptors()? >= limit, || "descriptors got free too early".to_owned())?;

    drop(fillers);
    let resumed = Instant::now();
    let newcomer = http_client()?;
    let accepted =
        within(RESUME_MAX, "a new connection is accepted", newcomer.get(server.url("/livez")).send());
    accepted.await?.map_err(|error| Failure::broken(format!("a new connection fails: {error}")))?;
    let resumed = resumed.elapsed();
    load.finish(&server).await?;
    server.kill().await?;
    let counts = run.verdict()?.counts;
    Ok(format!(
        "with all {limit} descriptors in use {} publishes were acknowledged (slowest {} ms) and {} deliveries made at {percent} \
         % of a core; a new connection was accepted {} ms after there was one free",
        counts.acked,
        slowest.as_millis(),
        counts.delivered,
        resumed.as_millis()
    ))
}
