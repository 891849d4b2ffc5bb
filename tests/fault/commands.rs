//! The faults as commands, and which of them the short and the long forms run.

use crate::{
    failure::{Failure, expect},
    faults::{
        descriptors, disk_full, half_open, kill, power_cut, resources, second_process, simulated_cut,
        stopped_reader, sync, syscalls, terminate,
    },
    run::Settings,
    sandbox,
};
use clap::Subcommand;
use std::{net::SocketAddr, path::PathBuf};

/// How the loss of a lying disk is told: by the checker, or by a server that sees it and refuses to open the log.
const BREACHED: [&str; 2] = ["the checker found", "the server ended at its start"];

/// What the program can be asked.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// All faults in their short forms, a minute or so in all; the default.
    Short,
    /// All faults in their long forms, some minutes.
    Long,
    /// Judge the history in a directory.
    Check { directory: PathBuf },
    #[command(flatten)]
    Fault(Fault),
    /// The reader that is stopped.
    #[command(hide = true)]
    Follow {
        #[arg(long)]
        name: String,
        #[arg(long)]
        address: SocketAddr,
        #[arg(long)]
        history: PathBuf,
    },
    /// What `cargo test NAME` asks of every test program: faults whose names contain it.
    #[command(external_subcommand)]
    Named(Vec<String>),
}

/// One kind of harm.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Fault {
    /// kill -9 at random times under load.
    Kill {
        #[arg(long, default_value_t = 50)]
        cycles: u64,
        /// Every sync of the disk says that it is done and does nothing; kill -9 cannot see that.
        #[arg(long)]
        lying_disk: bool,
    },
    /// kill -9 before each single storage call of opening, recovering, publishing and a checkpoint.
    Syscalls {
        /// Of the many writes around a checkpoint only every so many-th.
        #[arg(long, default_value_t = 1)]
        stride: u32,
    },
    /// Power cuts: what an ext4 image held at that moment is all that is left (needs root).
    PowerCut {
        #[arg(long, default_value_t = 50)]
        cuts: u64,
        /// Every sync of the disk says that it is done and does nothing: this must fail.
        #[arg(long)]
        lying_disk: bool,
    },
    /// Power cuts on a model of a disk, which needs no rights, and reorders and tears what is not synced.
    SimulatedCut {
        #[arg(long, default_value_t = 100)]
        cuts: u64,
        /// As above: this must fail.
        #[arg(long)]
        lying_disk: bool,
    },
    /// The power cut with a lying disk must fail, or the power cut would prove nothing.
    LyingDisk,
    /// The disk fills up under load and gets room again.
    DiskFull,
    /// One sync, or one write, fails with EIO.
    SyncError,
    /// Every sync takes 300 ms.
    SlowSync,
    /// No file descriptors are left.
    Descriptors,
    /// A second server on a data directory in use.
    SecondProcess,
    /// Peers that say nothing any more, and peers that vanish.
    HalfOpen,
    /// Readers that are stopped by SIGSTOP and go on later.
    StoppedReader,
    /// kill -9 between and inside changes of resources.
    Resources {
        #[arg(long, default_value_t = 1_000)]
        sequences: u64,
    },
    /// SIGTERM under load.
    Terminate {
        #[arg(long, default_value_t = 5)]
        cycles: u64,
    },
}

impl Fault {
    /// The faults that `make test` runs.
    pub(crate) fn short() -> Vec<Fault> {
        vec![
            Fault::Kill { cycles: 50, lying_disk: false },
            Fault::Syscalls { stride: 16 },
            Fault::PowerCut { cuts: 8, lying_disk: false },
            Fault::SimulatedCut { cuts: 60, lying_disk: false },
            Fault::LyingDisk,
            Fault::DiskFull,
            Fault::SyncError,
            Fault::SlowSync,
            Fault::Descriptors,
            Fault::SecondProcess,
            Fault::HalfOpen,
            Fault::StoppedReader,
            Fault::Resources { sequences: 80 },
            Fault::Terminate { cycles: 5 },
        ]
    }

    /// The faults that `make fault` runs.
    pub(crate) fn long() -> Vec<Fault> {
        let mut commands = Fault::short();
        for command in &mut commands {
            if let Fault::Kill { cycles, .. } = command {
                *cycles = 500;
            } else if let Fault::Syscalls { stride } = command {
                *stride = 1;
            } else if let Fault::PowerCut { cuts, .. } = command {
                *cuts = 50;
            } else if let Fault::SimulatedCut { cuts, .. } = command {
                *cuts = 2_000;
            } else if let Fault::Resources { sequences } = command {
                *sequences = 1_000;
            } else if let Fault::Terminate { cycles } = command {
                *cycles = 50;
            }
        }
        commands
    }

    /// The words by which it is called.
    pub(crate) fn words(&self) -> Vec<String> {
        let words = match self {
            Fault::Kill { cycles, lying_disk: false } => &format!("kill --cycles {cycles}"),
            Fault::Kill { cycles, lying_disk: true } => &format!("kill --cycles {cycles} --lying-disk"),
            Fault::Syscalls { stride } => &format!("syscalls --stride {stride}"),
            Fault::PowerCut { cuts, lying_disk: false } => &format!("power-cut --cuts {cuts}"),
            Fault::PowerCut { cuts, lying_disk: true } => &format!("power-cut --cuts {cuts} --lying-disk"),
            Fault::SimulatedCut { cuts, lying_disk: false } => &format!("simulated-cut --cuts {cuts}"),
            Fault::SimulatedCut { cuts, lying_disk: true } => {
                &format!("simulated-cut --cuts {cuts} --lying-disk")
            }
            Fault::LyingDisk => "lying-disk",
            Fault::DiskFull => "disk-full",
            Fault::SyncError => "sync-error",
            Fault::SlowSync => "slow-sync",
            Fault::Descriptors => "descriptors",
            Fault::SecondProcess => "second-process",
            Fault::HalfOpen => "half-open",
            Fault::StoppedReader => "stopped-reader",
            Fault::Resources { sequences } => &format!("resources --sequences {sequences}"),
            Fault::Terminate { cycles } => &format!("terminate --cycles {cycles}"),
        };
        words.split(' ').map(str::to_owned).collect()
    }

    /// Does it mount something, or block a route?
    fn needs_sandbox(&self) -> bool {
        matches!(self, Fault::PowerCut { .. } | Fault::DiskFull | Fault::HalfOpen)
    }

    /// Does it leave straces behind that only the first process of a system buries?
    fn leaves_orphans(&self) -> bool {
        matches!(
            self,
            Fault::Syscalls { .. } | Fault::SimulatedCut { .. } | Fault::Kill { lying_disk: true, .. }
        )
    }

    /// Runs one fault; gives its line.
    pub(crate) async fn run(&self, settings: &Settings, is_inside: bool) -> Result<String, Failure> {
        if !is_inside && (self.needs_sandbox() || self.leaves_orphans()) {
            match sandbox::run(settings, &self.words()).await {
                Err(Failure::Lacking(_)) if !self.needs_sandbox() => {}
                ended => return ended,
            }
        }
        match self {
            Fault::Kill { cycles, lying_disk } => kill::run(settings, *cycles, *lying_disk).await,
            Fault::Syscalls { stride } => syscalls::run(settings, *stride).await,
            Fault::PowerCut { cuts, lying_disk } => power_cut::run(settings, *cuts, *lying_disk).await,
            Fault::SimulatedCut { cuts, lying_disk } => {
                simulated_cut::run(settings, *cuts, *lying_disk).await
            }
            Fault::LyingDisk => lying_disk(settings).await,
            Fault::DiskFull => disk_full::run(settings).await,
            Fault::SyncError => sync::error(settings).await,
            Fault::SlowSync => sync::slow(settings).await,
            Fault::Descriptors => descriptors::run(settings).await,
            Fault::SecondProcess => second_process::run(settings).await,
            Fault::HalfOpen => half_open::run(settings).await,
            Fault::StoppedReader => stopped_reader::run(settings).await,
            Fault::Resources { sequences } => resources::run(settings, *sequences).await,
            Fault::Terminate { cycles } => terminate::run(settings, *cycles).await,
        }
    }
}

/// The tests of the tests: with a disk that lies, power cuts lose what was acknowledged, and the checker sees it.
async fn lying_disk(settings: &Settings) -> Result<String, Failure> {
    let settings = &Settings { shows_breaches: false, ..settings.clone() };
    let simulated = Fault::SimulatedCut { cuts: 20, lying_disk: true };
    let mut seen = vec![must_breach(settings, &simulated).await?];
    let cuts = Fault::PowerCut { cuts: 2, lying_disk: true };
    seen.push(match must_breach(settings, &cuts).await {
        Err(Failure::Lacking(what)) => format!("{} was left out: it needs {what}", cuts.words().join(" ")),
        ended => ended?,
    });
    let kills = Fault::Kill { cycles: 5, lying_disk: true };
    let killed = Box::pin(kills.run(settings, false)).await;
    expect(killed.is_ok(), || format!("kill -9 with a disk that lies should be harmless: {killed:?}"))?;
    Ok(format!("{}; kill -9 lost nothing, as it must not", seen.join("; ")))
}

async fn must_breach(settings: &Settings, fault: &Fault) -> Result<String, Failure> {
    let name = fault.words().join(" ");
    match Box::pin(fault.run(settings, false)).await {
        Err(Failure::Broken(text)) if BREACHED.iter().any(|told| text.contains(told)) => {
            Ok(format!("{name} failed, as it must: {text}"))
        }
        Err(Failure::Breached(count)) => Ok(format!("{name} failed, as it must, with {count} violations")),
        Ok(line) => Err(Failure::broken(format!("{name} did not notice: {line}"))),
        Err(other) => Err(other),
    }
}
