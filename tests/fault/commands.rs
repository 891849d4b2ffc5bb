//! The faults as commands, and which of them the short and the long forms run.

use crate::{
    failure::{Failure, expect},
    faults::{
        descriptors, disk_full, half_open, kill, power_cut, second_process, stopped_reader, sync, syscalls,
        terminate,
    },
    run::Settings,
    sandbox,
};
use clap::Subcommand;
use std::{net::SocketAddr, path::PathBuf};

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// All faults in their short forms, a minute or two in all; the default.
    Short,
    /// All faults in their long forms, some ten minutes.
    Long,
    /// Judge the history in a directory.
    Check { directory: PathBuf },
    /// kill -9 at random times under load.
    Kill {
        #[arg(long, default_value_t = 50)]
        cycles: u64,
        /// Every sync of the disk says that it is done and does nothing; kill -9 cannot see that.
        #[arg(long)]
        lying_disk: bool,
    },
    /// kill -9 before each single storage call of opening, recovering, publishing and closing.
    Syscalls,
    /// Power cuts: what an ext4 image held at that moment is all that is left (needs root).
    PowerCut {
        #[arg(long, default_value_t = 50)]
        cuts: u64,
        /// Every sync of the disk says that it is done and does nothing: this must fail.
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
    /// SIGTERM under load.
    Terminate {
        #[arg(long, default_value_t = 5)]
        cycles: u64,
    },
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

impl Command {
    /// The faults that `make test` runs.
    pub(crate) fn short() -> Vec<Command> {
        vec![
            Command::Kill { cycles: 50, lying_disk: false },
            Command::Syscalls,
            Command::PowerCut { cuts: 8, lying_disk: false },
            Command::DiskFull,
            Command::SyncError,
            Command::SlowSync,
            Command::Descriptors,
            Command::SecondProcess,
            Command::HalfOpen,
            Command::StoppedReader,
            Command::Terminate { cycles: 5 },
        ]
    }

    /// The faults that `make fault` runs.
    pub(crate) fn long() -> Vec<Command> {
        let longer = |command| match command {
            Command::Kill { .. } => Command::Kill { cycles: 500, lying_disk: false },
            Command::PowerCut { .. } => Command::PowerCut { cuts: 50, lying_disk: false },
            Command::Terminate { .. } => Command::Terminate { cycles: 50 },
            other => other,
        };
        let mut commands: Vec<_> = Command::short().into_iter().map(longer).collect();
        commands.push(Command::LyingDisk);
        commands
    }

    /// The words by which it is called.
    pub(crate) fn words(&self) -> Vec<String> {
        let words = match self {
            Command::Short => "short",
            Command::Long => "long",
            Command::Check { .. } => "check",
            Command::Kill { cycles, lying_disk: false } => &format!("kill --cycles {cycles}"),
            Command::Kill { cycles, lying_disk: true } => &format!("kill --cycles {cycles} --lying-disk"),
            Command::Syscalls => "syscalls",
            Command::PowerCut { cuts, lying_disk: false } => &format!("power-cut --cuts {cuts}"),
            Command::PowerCut { cuts, lying_disk: true } => &format!("power-cut --cuts {cuts} --lying-disk"),
            Command::LyingDisk => "lying-disk",
            Command::DiskFull => "disk-full",
            Command::SyncError => "sync-error",
            Command::SlowSync => "slow-sync",
            Command::Descriptors => "descriptors",
            Command::SecondProcess => "second-process",
            Command::HalfOpen => "half-open",
            Command::StoppedReader => "stopped-reader",
            Command::Terminate { cycles } => &format!("terminate --cycles {cycles}"),
            Command::Follow { .. } => "follow",
            Command::Named(words) => &words.join(" "),
        };
        words.split(' ').map(str::to_owned).collect()
    }

    fn needs_sandbox(&self) -> bool {
        matches!(self, Command::PowerCut { .. } | Command::DiskFull | Command::HalfOpen)
    }

    /// Runs one fault; gives its line.
    pub(crate) async fn run(&self, settings: &Settings, is_inside: bool) -> Result<String, Failure> {
        if self.needs_sandbox() && !is_inside {
            return sandbox::run(settings, &self.words()).await;
        }
        match self {
            Command::Kill { cycles, lying_disk } => kill::run(settings, *cycles, *lying_disk).await,
            Command::Syscalls => syscalls::run(settings).await,
            Command::PowerCut { cuts, lying_disk } => power_cut::run(settings, *cuts, *lying_disk).await,
            Command::LyingDisk => lying_disk(settings).await,
            Command::DiskFull => disk_full::run(settings).await,
            Command::SyncError => sync::error(settings).await,
            Command::SlowSync => sync::slow(settings).await,
            Command::Descriptors => descriptors::run(settings).await,
            Command::SecondProcess => second_process::run(settings).await,
            Command::HalfOpen => half_open::run(settings).await,
            Command::StoppedReader => stopped_reader::run(settings).await,
            Command::Terminate { cycles } => terminate::run(settings, *cycles).await,
            Command::Short
            | Command::Long
            | Command::Check { .. }
            | Command::Follow { .. }
            | Command::Named(_) => Err(Failure::broken(format!("{self:?} is no fault"))),
        }
    }
}

/// The tests of the tests: with a disk that lies, power cuts lose what was acknowledged, and the checker sees it.
async fn lying_disk(settings: &Settings) -> Result<String, Failure> {
    let cuts = Command::PowerCut { cuts: 2, lying_disk: true };
    match sandbox::run(settings, &cuts.words()).await {
        Err(Failure::Broken(text)) if text.contains("the checker found") => {}
        Ok(line) => return Err(Failure::broken(format!("a disk that lies was not noticed: {line}"))),
        Err(other) => return Err(other),
    }
    let killed = kill::run(settings, 5, true).await;
    expect(killed.is_ok(), || format!("kill -9 with a disk that lies should be harmless: {killed:?}"))?;
    Ok("as it must, the checker found what power cuts lose on a disk that lies (above); kill -9 loses nothing there".to_owned())
}
