//! `fanfare bench`: a load tester for the server, hardware and proxy of whoever runs it, which checks every delivery.
//!
//! Flow: arguments -> [`Plan`] -> a probe -> `conduct` leads `client`s and `publisher`s through the scenario
//! -> `tally` and books -> `report`.
//! Invariants: each subscription's deliveries are checked against what was acknowledged: once and in order, nothing missing;
//! nothing that went wrong is swallowed; memory is bounded by connections, subscriptions and publishers, not by time.
//! Not here: the comparison with other servers (`make bench`).

mod arguments;
mod client;
mod conduct;
mod connect;
mod files;
mod load;
mod pace;
mod progress;
mod publisher;
mod report;
mod sequence;
mod subscription;
mod table;
mod tally;
mod tick;
mod wire;

pub(super) use arguments::Arguments;

use super::{
    Environment, Failure,
    publish::client::{Answer, Client},
    signals::Signals,
    target::Target,
    terminal,
};
use arguments::Plan;
use conduct::Conductor;
use connect::Endpoint;
use load::Load;
use progress::Progress;
use report::Report;
use std::{
    io::{self, IsTerminal},
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

pub(super) fn run(arguments: &Arguments, environment: &Environment<'_>) -> Result<(), Failure> {
    let target = arguments.target.target(environment)?;
    let plan = arguments.plan()?;
    // https://no-color.org
    let allows_colour = (environment.variable)("NO_COLOR").is_none_or(|text| text.is_empty());
    files::allow(plan.connections + plan.publishers)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(plan.threads).enable_all().build()?;
    let mut progress = Progress::new(arguments.quiet);
    let measured = runtime.block_on(until_signal(plan, target, &mut progress));
    progress.clear();
    runtime.shutdown_background();
    let report = measured?;
    match arguments.json {
        true => terminal::print(&format!("{}\n", serde_json::to_string(&report).map_err(Failure::failed)?))?,
        false => terminal::print(&table::table(&report, allows_colour && io::stdout().is_terminal()))?,
    }
    if report.ok { Ok(()) } else { Err(Failure::Told) }
}

/// Measures until the plan is done; a first signal ends it early with what was measured, a second one at once.
async fn until_signal(plan: Plan, target: Target, progress: &mut Progress) -> Result<Report, Failure> {
    let mut signals = Signals::new()?;
    let stop = CancellationToken::new();
    let mut measuring = std::pin::pin!(measure(plan, target, progress, stop.clone()));
    tokio::select! {
        report = &mut measuring => return report,
        () = signals.next() => stop.cancel(),
    }
    tokio::select! {
        report = &mut measuring => report,
        () = signals.next() => Err(Failure::failed("stopped twice: nothing is shown")),
    }
}

async fn measure(
    plan: Plan,
    target: Target,
    progress: &mut Progress,
    stop: CancellationToken,
) -> Result<Report, Failure> {
    let endpoint = Endpoint::find(&target, plan.payload).await?;
    let load = Arc::new(Load::new(plan, target, endpoint));
    probe(&load).await?;
    let outcome = Conductor::new(Arc::clone(&load), stop, progress).run().await?;
    Ok(Report::new(&load, &outcome))
}

/// Publishes one request of the load's size and opens one connection, so that what can never work ends before it begins.
async fn probe(load: &Load) -> Result<(), Failure> {
    let (batch, bytes) = (load.plan.batch, load.plan.payload);
    match Client::new(&load.target)?.publish(&load.run.probe(batch, bytes)).await {
        Answer::Published(published) if published.len() == batch => {}
        Answer::Published(_) => return Err(Failure::failed(publisher::UNACKNOWLEDGED)),
        Answer::Refused { message, .. } => {
            return Err(Failure::failed(format!(
                "a request of {batch} with {bytes} bytes of data each was refused: {message}"
            )));
        }
        Answer::Stop(message) | Answer::Later { message, .. } => return Err(Failure::failed(message)),
    }
    if load.plan.connections > 0 {
        let failed = |why: connect::Break| Failure::failed(format!("{}: {why}", load.target));
        connect::leave(load.endpoint.open().await.map_err(failed)?).await;
    }
    Ok(())
}
