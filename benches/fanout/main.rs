//! `cargo bench --bench fanout`: what one delivery, one connection and one connect cost Fanfare, and what they cost its peers.
//!
//! Flow: each round starts every server in turn, alone on its core, puts it through each scenario and stops it; rounds
//! alternate between the servers, so that a machine that drifts drifts for all. The table has the medians.
//! Invariants: numbers of a server that lost, repeated or reordered one delivery are not shown, and the bench fails.
//! Not here: building the servers (`cargo build --release --examples` builds the peers).

mod failure;
mod ledger;
mod publisher;
mod scenario;
mod server_process;
mod table;
mod ws_client;

use clap::Parser;
use failure::Failure;
use scenario::Load;
use server_process::{Place, Server, ServerKind, cpu_model, kernel, open_files_max};
use std::{path::PathBuf, process::ExitCode, thread::available_parallelism, time::Duration};
use table::{Header, Report, Samples};
use tokio::{runtime, task::LocalSet, time::timeout};

/// Files a process has open besides the connections.
const FILES_SPARE: usize = 64;

/// Measures server CPU and memory of fan-out, side by side.
#[derive(Debug, Parser)]
struct Options {
    /// Which servers, in which order.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "plain,naive,fanfare")]
    servers: Vec<ServerKind>,
    /// How many events are on their way at a time, one scenario each.
    #[arg(long, value_delimiter = ',', default_value = "64,1")]
    in_flight: Vec<usize>,
    /// Subscribers that all ask for the same [default: 1000, quick: 100].
    #[arg(long)]
    subscribers: Option<usize>,
    /// Events when several are in flight; slow servers get fewer [default: 2000, quick: 200].
    #[arg(long)]
    events: Option<usize>,
    /// Events when one is in flight; the same [default: 300, quick: 50].
    #[arg(long)]
    events_single: Option<usize>,
    /// Idle subscribed connections; 0 leaves the scenario out [default: 5000, quick: 200].
    #[arg(long)]
    connections: Option<usize>,
    /// Rounds, of which the median counts [default: 3, quick: 1].
    #[arg(long)]
    rounds: Option<usize>,
    /// Padding of each event; 67 makes frames of about 250 bytes.
    #[arg(long, default_value_t = 67)]
    padding_bytes: usize,
    /// Measuring ends here, with the rows there are, and the bench fails when it was not through.
    #[arg(long, default_value_t = 300)]
    time_limit_s: u64,
    /// A smoke run: whether everything works, with numbers too small to quote.
    #[arg(long)]
    quick: bool,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// The Fanfare to measure.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_fanfare"))]
    fanfare: PathBuf,
    /// Given by `cargo bench`. Without it this is a test run of all targets, where nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The options with their defaults filled in.
#[derive(Debug)]
struct Plan {
    servers: Vec<ServerKind>,
    in_flight: Vec<usize>,
    subscribers: usize,
    events: usize,
    events_single: usize,
    connections: usize,
    rounds: usize,
    padding_bytes: usize,
}

impl Plan {
    fn new(options: &Options) -> Self {
        let size =
            |given: Option<usize>, whole, quick| given.unwrap_or(if options.quick { quick } else { whole });
        Plan {
            servers: options.servers.clone(),
            in_flight: options.in_flight.clone(),
            subscribers: size(options.subscribers, 1000, 100).max(1),
            events: size(options.events, 2000, 200).max(1),
            events_single: size(options.events_single, 300, 50).max(1),
            connections: size(options.connections, 5000, 200),
            rounds: size(options.rounds, 3, 1).max(1),
            padding_bytes: options.padding_bytes,
        }
    }

    fn events_for(&self, kind: ServerKind, in_flight: usize) -> usize {
        let events = if in_flight == 1 { self.events_single } else { self.events };
        (events / kind.slowness()).max(in_flight)
    }

    /// Server and load hold one end of each connection; both inherit the limit.
    fn check_open_files(&self) -> Result<(), String> {
        let allowed = open_files_max().map_err(|failure| failure.to_string())?;
        let needed = self.subscribers.max(self.connections) + FILES_SPARE;
        if allowed >= needed {
            return Ok(());
        }
        Err(format!(
            "a process may open {allowed} files here and this bench needs {needed}: \
             run `ulimit -n {needed}` first, or give fewer --connections and --subscribers"
        ))
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        println!("nothing measured; run: cargo bench --bench fanout");
        return ExitCode::SUCCESS;
    }
    match bench(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("bench: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the plan and prints the report; says whether it was run to its end and every row is valid.
fn bench(options: &Options) -> Result<bool, String> {
    let plan = Plan::new(options);
    if plan.in_flight.contains(&0) {
        return Err("--in-flight must be at least 1".to_owned());
    }
    plan.check_open_files()?;
    let cores = available_parallelism().map_or(1, usize::from);
    let place = Place::new(options.fanfare.clone(), cores);
    let limit = Duration::from_secs(options.time_limit_s);
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime of the load did not start: {error}"))?;
    let mut samples = Samples::default();
    let finished = LocalSet::new()
        .block_on(&runtime, async { timeout(limit, run_rounds(&plan, &place, &mut samples)).await })
        .is_ok();
    let header = Header {
        date: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
        cpu: cpu_model(),
        kernel: kernel(),
        cores,
        pinned: place.pinned,
        rounds: plan.rounds,
        finished,
    };
    let report = Report::new(header, &plan.servers, &plan.in_flight, &samples);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?);
    } else {
        println!("{report}");
    }
    Ok(finished && samples.failures.is_empty())
}

/// A server that fails is left out from then on; the others go on.
async fn run_rounds(plan: &Plan, place: &Place, samples: &mut Samples) {
    for round in 1..=plan.rounds {
        for kind in plan.servers.iter().copied() {
            if samples.has_failed(kind) {
                continue;
            }
            eprintln!("round {round} of {}: {}", plan.rounds, kind.name());
            if let Err(failure) = run_server(kind, plan, place, samples).await {
                eprintln!("{}: {failure}", kind.name());
                samples.failures.push((kind, failure));
            }
        }
    }
}

/// Memory is read from a server that has done nothing yet, so it comes first and another one serves the rest.
async fn run_server(
    kind: ServerKind,
    plan: &Plan,
    place: &Place,
    samples: &mut Samples,
) -> Result<(), Failure> {
    if plan.connections > 0 {
        let server = Server::start(kind, place).await?;
        let sample = scenario::idle(&server, plan.connections, plan.padding_bytes).await?;
        samples.idle.push((kind, sample));
    }
    let server = Server::start(kind, place).await?;
    let mut load = Load::connect(server.address, plan.subscribers, plan.padding_bytes).await?;
    load.subscribed().await?;
    for in_flight in plan.in_flight.iter().copied() {
        let sample = load.measure(&server, plan.events_for(kind, in_flight), in_flight).await?;
        samples.identical.push((kind, sample));
    }
    Ok(())
}
