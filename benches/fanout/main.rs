//! `cargo bench --bench fanout`: what Fanfare costs and how fast it is, beside its peers, held against the goals.
//!
//! Flow: each row starts its servers in turn, alone on their core, puts them through its loads and stops them; rounds
//! alternate between the servers, so that a machine that drifts drifts for all. The tables have the medians.
//! Invariants: numbers of a server that lost, repeated or reordered one delivery are not shown, and the bench fails.
//! Not here: building the servers (`cargo build --release --examples` builds the peers).

mod access;
mod audience;
mod crowd;
mod dialect;
mod failure;
mod goals;
mod histogram;
mod ledger;
mod load;
mod machine;
mod mob;
mod peer;
mod plan;
mod publisher;
mod report;
mod rows;
mod server;
mod subscriber;
mod table;
mod wire;

use clap::Parser;
use machine::{Place, Situation, cpu_model, kernel};
use plan::{Options, Plan};
use report::{Header, Readings, Report};
use std::{env, process::ExitCode, thread::available_parallelism};
use tokio::{
    runtime::{self, Runtime},
    task::LocalSet,
    time::{Instant, timeout},
};

fn main() -> ExitCode {
    let options = Options::parse();
    let ended = match (&options.crowd, &options.mob, options.bench) {
        (_, Some(plot), _) => runtime().and_then(|runtime| mob::run(&runtime, plot)).map(|()| true),
        (Some(task), _, _) => runtime().and_then(|runtime| crowd::run(&runtime, task)).map(|()| true),
        (None, None, true) => bench(&options),
        (None, None, false) => {
            println!("nothing measured; run: cargo bench --bench fanout");
            Ok(true)
        }
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("bench: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// One thread, so that books need no locks and the load stays on its core.
fn runtime() -> Result<Runtime, String> {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime of the load did not start: {error}"))
}

/// Runs the plan and prints the report; says whether it was run to its end and every line is valid.
fn bench(options: &Options) -> Result<bool, String> {
    let cores = available_parallelism().map_or(1, usize::from);
    let place = Place::new(options.fanfare.clone(), cores).map_err(|failure| failure.to_string())?;
    let pinned = place.pinned;
    let plan = Plan::new(options, place)?;
    let runtime = runtime()?;
    let (before, mut readings) = (Situation::now(), Readings::default());
    let (finished, took) = LocalSet::new().block_on(&runtime, async {
        let start = Instant::now();
        let all = async {
            for row in &plan.rows {
                row.run(&plan, &mut readings).await;
            }
        };
        (timeout(plan.time_limit, all).await.is_ok(), start.elapsed())
    });
    let after = Situation::now();
    let header = Header {
        date: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
        cpu: cpu_model(),
        kernel: kernel(),
        cores,
        pinned,
        quick: plan.is_quick,
        command: command(),
        before,
        after,
        stolen: after.stolen_since(before),
        took_s: took.as_secs(),
        finished,
    };
    let report = Report::new(header, &plan, &readings);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?);
    } else {
        println!("{report}");
    }
    Ok(report.is_sound())
}

/// What to type for the same again.
fn command() -> String {
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.is_empty() {
        true => "cargo bench --bench fanout".to_owned(),
        false => format!("cargo bench --bench fanout -- {}", arguments.join(" ")),
    }
}
