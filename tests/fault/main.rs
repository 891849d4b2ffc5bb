//! Faults against the real binary, and what must survive them: `cargo test --test fault -- --help`.
//!
//! Flow: a fault starts servers and a load that writes down what it sees, does its harm, brings the server back, and hands the
//! history to the checker. Without a command the short forms run, a minute or so in all.
//! Invariants: every choice comes from the printed seed; what a fault starts, mounts or blocks ends with it.
//! Not here: what must hold (`checker`), how the tests are read (`tests/README.md`).

mod chance;
mod checker;
mod failure;
mod faults;
mod history;
mod load;
mod publisher;
mod recorder;
mod run;
mod server;
mod socket;
mod subscriber;

use clap::{Parser, Subcommand};
use failure::Failure;
use run::Settings;
use std::{path::PathBuf, process::ExitCode, time::Duration};
use tokio::{runtime, time::Instant};

/// Does harm to a Fanfare server and checks that its promises hold.
#[derive(Debug, Parser)]
#[command(name = "fault")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The binary to test.
    #[arg(long, global = true, default_value = env!("CARGO_BIN_EXE_fanfare"))]
    fanfare: PathBuf,
    /// Decides every random choice; without it a new one is drawn, and printed.
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// Keep histories, data and server logs of runs that passed, too.
    #[arg(long, global = true)]
    keep: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge the history in a directory.
    Check { directory: PathBuf },
    /// kill -9 at random times under load.
    Kill {
        #[arg(long, default_value_t = 50)]
        cycles: u64,
        /// The shortest and the longest load before a kill, in ms.
        #[arg(long, num_args = 2, default_values_t = [50, 500])]
        load_ms: Vec<u64>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => Err(Failure::during("starting the runtime")(error)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("fault: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    if let Some(Command::Check { directory }) = &arguments.command {
        println!("{}", run::sound(run::report(directory)?)?);
        return Ok(());
    }
    let out = tempfile::Builder::new().prefix("fanfare-fault-").tempdir();
    let out = out.map_err(Failure::during("making a directory"))?;
    let seed = arguments.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 >> 32);
    println!("seed {seed}; {} in {}", arguments.fanfare.display(), out.path().display());
    let settings = Settings::new(arguments.fanfare, seed, out.path().to_owned()).await?;
    let started = Instant::now();
    let line = match arguments.command {
        Some(Command::Kill { cycles, load_ms }) => {
            let [least, most] = load_ms.try_into().unwrap_or([50, 500]);
            faults::kill::run(&settings, cycles, least..=most).await
        }
        _ => Ok(String::new()),
    };
    if arguments.keep || line.is_err() {
        let kept = out.keep();
        println!("kept {}; judge again with: cargo test --test fault -- check DIR", kept.display());
    }
    println!("{} ({:.1} s)", line?, Duration::as_secs_f64(&started.elapsed()));
    Ok(())
}
