//! The servers under measurement: each a child of the bench on a core of its own, with what the operating system accounts to it.
//!
//! Flow: started on a free port, waited for until it prints where it listens, asked for CPU and memory, killed when dropped.
//! Invariants: CPU is user and system time of all threads, so work the kernel does for a send counts; the load never runs
//! on the core of the server, unless the machine has one core or no `taskset`, which the report says.
//! Not here: what the servers are asked to do (`scenario`).

use crate::failure::Failure;
use clap::ValueEnum;
use serde::Serialize;
use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, copy, sink},
    process::{Child, ChildStdout, Command},
    time::{sleep, timeout},
};

const START: Duration = Duration::from_secs(20);
const LISTENING: &str = "listening on http://";
const SERVER_CPU: &str = "0";
const LOAD_CPU: &str = "1";
/// `USER_HZ`, the unit of `/proc/<pid>/stat`: 100 a second on every Linux.
const TICK: Duration = Duration::from_millis(10);
const PAGE_KB: f64 = 4.0;

/// A server that can be measured. A new peer is a new variant here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ServerKind {
    /// axum with small buffers and one shared text: `benches/peers/plain_axum.rs`.
    Plain,
    /// async-graphql-axum as its examples do: `benches/peers/naive_graphql.rs`.
    Naive,
    /// Fanfare with its log in memory.
    Fanfare,
    /// Fanfare with its log on disk.
    FanfareSqlite,
}

impl ServerKind {
    /// The name in the table and on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            ServerKind::Plain => "plain",
            ServerKind::Naive => "naive",
            ServerKind::Fanfare => "fanfare",
            ServerKind::FanfareSqlite => "fanfare-sqlite",
        }
    }

    /// How many times fewer events a slow server gets, so that it takes about as long as the others.
    pub(crate) const fn slowness(self) -> usize {
        match self {
            ServerKind::Naive => 5,
            ServerKind::Plain | ServerKind::Fanfare | ServerKind::FanfareSqlite => 1,
        }
    }

    fn command(self, place: &Place, data_dir: &Path) -> Result<Command, Failure> {
        let (program, store) = match self {
            ServerKind::Plain => (place.peer("plain_axum")?, None),
            ServerKind::Naive => (place.peer("naive_graphql")?, None),
            ServerKind::Fanfare => (place.fanfare.clone(), Some("memory")),
            ServerKind::FanfareSqlite => (place.fanfare.clone(), Some("sqlite")),
        };
        let mut command = if place.pinned {
            let mut command = Command::new("taskset");
            command.args(["-c", SERVER_CPU]).arg(program);
            command
        } else {
            Command::new(program)
        };
        if let Some(store) = store {
            command.args(["serve", "--store", store, "--data-dir"]).arg(data_dir);
        }
        command.args(["--listen", "127.0.0.1:0"]).env("RUST_LOG", "warn");
        Ok(command)
    }
}

/// Where the servers are and whether each side has its own core.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) fanfare: PathBuf,
    pub(crate) pinned: bool,
}

impl Place {
    /// Moves this program, with all its threads, to the core of the load.
    pub(crate) fn new(fanfare: PathBuf, cores: usize) -> Self {
        let own = std::process::id().to_string();
        let pin = || {
            std::process::Command::new("taskset")
                .args(["-a", "-p", "-c", LOAD_CPU, &own])
                .stdout(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        Place { fanfare, pinned: cores > 1 && pin() }
    }

    /// An example of this repository, beside which Cargo puts this bench: `release/deps` and `release/examples`.
    fn peer(&self, name: &str) -> Result<PathBuf, Failure> {
        let own = std::env::current_exe().map_err(Failure::during("finding the peers"))?;
        let profile = own.parent().and_then(Path::parent).unwrap_or(Path::new("."));
        let peer = profile.join("examples").join(name);
        if peer.is_file() { Ok(peer) } else { Err(Failure::NotBuilt(peer)) }
    }
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pid: String,
    _child: Child,
    _data_dir: TempDir,
}

impl Server {
    /// Starts a server and waits until it listens.
    pub(crate) async fn start(kind: ServerKind, place: &Place) -> Result<Self, Failure> {
        let data_dir = tempfile::tempdir().map_err(Failure::during("making a data directory"))?;
        let mut child = kind
            .command(place, data_dir.path())?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Failure::during("starting the server"))?;
        let pid = child.id().map(|pid| pid.to_string()).ok_or(Failure::NotAccounted("process id"))?;
        let stdout = child.stdout.take().ok_or(Failure::NotListening(Duration::ZERO))?;
        let mut lines = BufReader::new(stdout).lines();
        let address = timeout(START, listening(&mut lines))
            .await
            .map_err(|_| Failure::NotListening(START))?
            .map_err(Failure::during("waiting for the server to listen"))?;
        // A full pipe would stop a server that goes on to print.
        tokio::spawn(async move { copy(&mut lines.into_inner(), &mut sink()).await });
        Ok(Server { address, pid, _child: child, _data_dir: data_dir })
    }

    /// User and system time of all threads so far, to 10 ms.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        cpu_of(&self.pid)
    }

    /// What was used since `before`, one tick at least: a run too short for the clock costs something too.
    pub(crate) fn cpu_since(&self, before: Duration) -> Result<Duration, Failure> {
        Ok(self.cpu()?.saturating_sub(before).max(TICK))
    }

    /// Resident memory in KB.
    pub(crate) fn resident_kb(&self) -> Result<f64, Failure> {
        let status = read(&format!("/proc/{}/status", self.pid))?;
        field(&status, "VmRSS:").and_then(first_number).ok_or(Failure::NotAccounted("resident memory"))
    }

    /// Waits until the server has had nothing to do for 300 ms, at most 10 s.
    pub(crate) async fn settle(&self) -> Result<(), Failure> {
        let (mut before, mut calm) = (self.cpu()?, 0);
        for _ in 0..100 {
            sleep(Duration::from_millis(100)).await;
            let now = self.cpu()?;
            calm = if now == before { calm + 1 } else { 0 };
            before = now;
            if calm == 3 {
                break;
            }
        }
        Ok(())
    }
}

async fn listening(lines: &mut Lines<BufReader<ChildStdout>>) -> io::Result<SocketAddr> {
    while let Some(line) = lines.next_line().await? {
        if let Some((_, address)) = line.split_once(LISTENING) {
            return address.trim().trim_end_matches('/').parse().map_err(io::Error::other);
        }
    }
    Err(io::Error::other("it ended before it listened"))
}

/// User and system time of this program.
pub(crate) fn own_cpu() -> Result<Duration, Failure> {
    cpu_of("self")
}

fn cpu_of(pid: &str) -> Result<Duration, Failure> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    // The name of the program ends at the last parenthesis; utime and stime are the 12th and 13th field after it.
    let ticks: Option<Vec<u32>> = stat.rsplit_once(')').and_then(|(_, fields)| {
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse().ok()).collect()
    });
    match ticks.as_deref() {
        Some([user, system]) => Ok(TICK * (user + system)),
        _ => Err(Failure::NotAccounted("CPU time")),
    }
}

/// What all TCP sockets of the machine hold in their buffers, in KB.
pub(crate) fn socket_buffers_kb() -> Result<f64, Failure> {
    let sockets = read("/proc/net/sockstat")?;
    let pages = field(&sockets, "TCP:").and_then(|tcp| field_after(tcp, "mem"));
    pages.map(|pages| pages * PAGE_KB).ok_or(Failure::NotAccounted("socket buffers"))
}

/// How many files a process may open here.
pub(crate) fn open_files_max() -> Result<usize, Failure> {
    let limits = read("/proc/self/limits")?;
    let soft = field(&limits, "Max open files").and_then(|line| line.split_whitespace().next());
    match soft {
        Some("unlimited") => Ok(usize::MAX),
        soft => soft.and_then(|soft| soft.parse().ok()).ok_or(Failure::NotAccounted("limit of open files")),
    }
}

/// The model of the machine's processor.
pub(crate) fn cpu_model() -> String {
    let cpus = read("/proc/cpuinfo").unwrap_or_default();
    let model = field(&cpus, "model name").map(|line| line.trim_start_matches([' ', '\t', ':']));
    model.unwrap_or("unknown processor").to_owned()
}

/// The release of the running kernel.
pub(crate) fn kernel() -> String {
    read("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned())
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(Failure::during("reading /proc"))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}

fn field_after(line: &str, name: &str) -> Option<f64> {
    line.split_once(name).and_then(|(_, after)| first_number(after))
}

fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}
