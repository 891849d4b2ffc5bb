//! Faults against the real binary, and what must survive them: `cargo test --test fault -- --help`.
//!
//! Flow: a fault starts servers and a load that writes down what it sees, does its harm, brings the server back, and hands the
//! history to the checker. Without a command the short forms run.
//! Invariants: every choice comes from the printed seed; what a fault starts, mounts or blocks ends with it.
//! Not here: what must hold (`checker`), how to read it all (`tests/README.md`).

#![allow(clippy::indexing_slicing, reason = "an index into a JSON value gives null where there is nothing")]

mod chance;
mod checker;
mod commands;
mod failure;
mod faults;
mod history;
mod load;
mod probe;
mod publisher;
mod recorder;
mod run;
mod sandbox;
mod server;
mod socket;
mod storage;
mod strace;
mod subscriber;
mod tools;

use clap::Parser;
use commands::{Command, Fault};
use failure::Failure;
use run::Settings;
use std::{path::PathBuf, process::ExitCode};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    time::Instant,
};

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
    /// Keep the histories, data and server logs of what passed, too.
    #[arg(long, global = true)]
    keep: bool,
    /// Fail where a fault is left out because the machine lacks something.
    #[arg(long, global = true)]
    no_skips: bool,
    /// Where runs leave their directories; a temporary directory unless given.
    #[arg(long, global = true)]
    out: Option<PathBuf>,
    /// Print no breaches, where they must come.
    #[arg(long, global = true, hide = true)]
    hide_breaches: bool,
    /// Already in namespaces of its own.
    #[arg(long, global = true, hide = true)]
    inside: bool,
    /// For `cargo test -- --nocapture`, which asks every test program.
    #[arg(long, global = true, hide = true)]
    nocapture: bool,
    /// For `cargo test -- --test-threads N`.
    #[arg(long, global = true, hide = true)]
    test_threads: Option<usize>,
    /// For `cargo test -- --quiet`.
    #[arg(short, long, global = true, hide = true)]
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(until_signal(arguments)),
        Err(error) => Err(Failure::during("starting the runtime")(error)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Lacking(what)) => {
            eprintln!("{what}");
            ExitCode::from(sandbox::LACKING)
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Servers are killed when their owners are dropped, so a signal only has to drop them.
async fn until_signal(arguments: Arguments) -> Result<(), Failure> {
    let listen = |kind| signal(kind).map_err(Failure::during("waiting for signals"));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        ended = run(arguments) => ended,
        _ = interrupt.recv() => Err(Failure::broken("interrupted")),
        _ = terminate.recv() => Err(Failure::broken("terminated")),
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let command = arguments.command.clone().unwrap_or(Command::Short);
    let faults = match &command {
        Command::Check { directory } => {
            println!("{}", run::sound(run::report(directory)?, true)?);
            return Ok(());
        }
        Command::Follow { name, address, history } => {
            return faults::stopped_reader::follow(name, *address, history).await;
        }
        Command::Short => Fault::short(),
        Command::Long => Fault::long(),
        Command::Named(words) => {
            let is_meant = |fault: &Fault| words.iter().any(|word| fault.words().join(" ").contains(word));
            let faults: Vec<_> = Fault::short().into_iter().filter(is_meant).collect();
            if faults.is_empty() {
                println!("fault: no fault has a name with {}", words.join(" or "));
                return Ok(());
            }
            faults
        }
        Command::Fault(fault) if arguments.inside => {
            let fault = fault.clone();
            return inside(&fault, arguments).await;
        }
        Command::Fault(fault) => vec![fault.clone()],
    };
    all(&faults, arguments).await
}

/// One fault in namespaces of its own; the outcome is the last line.
async fn inside(fault: &Fault, arguments: Arguments) -> Result<(), Failure> {
    sandbox::enter().await?;
    let out = arguments.out.unwrap_or_else(std::env::temp_dir);
    let settings = Settings::new(arguments.fanfare, arguments.seed.unwrap_or_default(), out).await?;
    let settings = Settings { shows_breaches: !arguments.hide_breaches, ..settings };
    println!("{}", fault.run(&settings, true).await?);
    Ok(())
}

async fn all(faults: &[Fault], arguments: Arguments) -> Result<(), Failure> {
    let out = tempfile::Builder::new().prefix("fanfare-fault-").tempdir();
    let out = out.map_err(Failure::during("making a directory"))?;
    let directory = arguments.out.clone().unwrap_or_else(|| out.path().to_owned());
    let seed = arguments.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 >> 32);
    println!("fault: {} with --seed {seed}, in {}", arguments.fanfare.display(), directory.display());
    let settings = Settings::new(arguments.fanfare, seed, directory).await?;
    let (mut failed, mut left_out, started) = (0, 0, Instant::now());
    for fault in faults {
        let (name, begun) = (fault.words().join(" "), Instant::now());
        let ended = fault.run(&settings, false).await;
        let took = begun.elapsed().as_secs_f64();
        match ended {
            Ok(line) => println!("{name} ... ok ({took:.1} s): {line}"),
            Err(Failure::Lacking(what)) if !arguments.no_skips => {
                left_out += 1;
                println!("{name} ... LEFT OUT: it needs {what}");
            }
            Err(failure) => {
                failed += 1;
                println!("{name} ... FAILED ({took:.1} s): {failure}");
            }
        }
    }
    if arguments.keep || failed > 0 {
        let kept = out.keep();
        println!("fault: kept {}; histories are judged again with: check DIR", kept.display());
    }
    let (count, took) = (faults.len(), started.elapsed().as_secs_f64());
    println!("fault: {failed} of {count} failed, {left_out} left out, {took:.0} s");
    failure::expect(failed == 0, || format!("{failed} faults found something"))
}
