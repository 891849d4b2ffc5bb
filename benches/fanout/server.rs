//! A server under measurement: a child of the bench on a core of its own, with what the operating system accounts to it.
//!
//! Flow: started by its peer's command, waited for until it listens, asked for CPU and memory, killed when dropped.
//! Invariants: CPU is user and system time of all threads, so work the kernel does for a send counts.
//! Not here: how it is started (`peer`), what it is asked to do (`rows`).

use crate::{
    failure::Failure,
    machine::{Place, SERVER_CPU, field, first_number, read},
    peer::{Announced, Launch, Peer},
};
use std::{fs, io, net::SocketAddr, process::Stdio, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, copy, sink},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    time::{sleep, timeout},
};

const START: Duration = Duration::from_secs(20);
const LISTENING: &str = "listening on http://";
/// `USER_HZ`, the unit of `/proc/<pid>/stat`: 100 a second on every Linux.
const TICK: Duration = Duration::from_millis(10);
/// Timers of an idle server use less than this in 100 ms.
const CALM: Duration = Duration::from_millis(2);
/// What a run costs at least: one that is too short for the clock costs something too.
const LEAST: Duration = Duration::from_micros(1);

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
    pub(crate) async fn start(peer: &dyn Peer, place: &Place) -> Result<Self, Failure> {
        let data_dir = place.data_dir()?;
        peer.prepare(data_dir.path())?;
        let launch = peer.launch(place, data_dir.path())?;
        let mut child =
            command(&launch, place.pinned).spawn().map_err(Failure::during("starting the server"))?;
        let pid = child.id().map(|pid| pid.to_string()).ok_or(Failure::NotAccounted("process id"))?;
        let stdout = child.stdout.take().ok_or(Failure::NotListening(Duration::ZERO))?;
        let mut lines = BufReader::new(stdout).lines();
        let listens = async {
            match launch.announced {
                Announced::InOutput => listening(&mut lines).await,
                Announced::At(address) => accepting(&mut child, address).await,
            }
        };
        let address = timeout(START, listens)
            .await
            .map_err(|_| Failure::NotListening(START))?
            .map_err(Failure::during("waiting for the server to listen"))?;
        // A full pipe would stop a server that goes on to print.
        tokio::spawn(async move { copy(&mut lines.into_inner(), &mut sink()).await });
        Ok(Server { address, pid, _child: child, _data_dir: data_dir })
    }

    /// User and system time of all threads so far.
    pub(crate) fn cpu(&self) -> Result<CpuTime, Failure> {
        CpuTime::of(&self.pid)
    }

    /// What was used since `before`.
    pub(crate) fn cpu_since(&self, before: CpuTime) -> Result<Duration, Failure> {
        Ok(self.cpu()?.since(before))
    }

    /// Resident memory in KB.
    pub(crate) fn resident_kb(&self) -> Result<f64, Failure> {
        self.status("VmRSS:")
    }

    /// The most resident memory in KB since [`Self::forget_peak`].
    pub(crate) fn peak_kb(&self) -> Result<f64, Failure> {
        self.status("VmHWM:")
    }

    /// Begins a new peak.
    pub(crate) fn forget_peak(&self) -> Result<(), Failure> {
        fs::write(format!("/proc/{}/clear_refs", self.pid), "5")
            .map_err(Failure::during("resetting the peak"))
    }

    /// How many files are open.
    pub(crate) fn open_files(&self) -> Result<usize, Failure> {
        let files = fs::read_dir(format!("/proc/{}/fd", self.pid));
        Ok(files.map_err(Failure::during("counting open files"))?.count())
    }

    /// Waits until the server has had next to nothing to do for 300 ms, at most 10 s.
    pub(crate) async fn settle(&self) -> Result<(), Failure> {
        let (mut before, mut calm) = (self.cpu()?, 0);
        for _ in 0..100 {
            sleep(Duration::from_millis(100)).await;
            let now = self.cpu()?;
            calm = if now.since(before) < CALM { calm + 1 } else { 0 };
            before = now;
            if calm == 3 {
                break;
            }
        }
        Ok(())
    }

    fn status(&self, name: &'static str) -> Result<f64, Failure> {
        let status = read(&format!("/proc/{}/status", self.pid))?;
        field(&status, name).and_then(first_number).ok_or(Failure::NotAccounted("memory"))
    }
}

fn command(launch: &Launch, pinned: bool) -> Command {
    let mut command = if pinned {
        let mut command = Command::new("taskset");
        command.args(["-c", SERVER_CPU]).arg(&launch.program);
        command
    } else {
        Command::new(&launch.program)
    };
    command.args(&launch.arguments).env("RUST_LOG", "warn").env("NODE_ENV", "production");
    // Servers that name their address elsewhere log to standard error, which is of no use here.
    let errors = if matches!(launch.announced, Announced::At(_)) { Stdio::null() } else { Stdio::inherit() };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).kill_on_drop(true);
    command
}

async fn listening(lines: &mut Lines<BufReader<ChildStdout>>) -> io::Result<SocketAddr> {
    while let Some(line) = lines.next_line().await? {
        if let Some((_, address)) = line.split_once(LISTENING) {
            return address.trim().trim_end_matches('/').parse().map_err(io::Error::other);
        }
    }
    Err(io::Error::other("it ended before it listened"))
}

/// Tries to connect until it works.
async fn accepting(child: &mut Child, address: SocketAddr) -> io::Result<SocketAddr> {
    while TcpStream::connect(address).await.is_err() {
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("it ended before it listened: {status}")));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(address)
}

/// The CPU time of a process by both of the kernel's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuTime {
    /// Of the threads that live, to the nanosecond.
    living: Duration,
    /// Of all threads, those that have ended included, to the tick.
    all: Duration,
}

impl CpuTime {
    /// Of this program.
    pub(crate) fn own() -> Result<Self, Failure> {
        Self::of("self")
    }

    /// What was used since `before`: by the fine clock, unless threads that ended have taken their share with them.
    pub(crate) fn since(self, before: Self) -> Duration {
        let living = self.living.saturating_sub(before.living);
        let all = self.all.saturating_sub(before.all);
        living.max(all.saturating_sub(TICK)).max(LEAST)
    }

    fn of(pid: &str) -> Result<Self, Failure> {
        let stat = read(&format!("/proc/{pid}/stat"))?;
        // The name of the program ends at the last parenthesis; utime and stime are the 12th and 13th field after it.
        let ticks: Option<Vec<u32>> = stat.rsplit_once(')').and_then(|(_, fields)| {
            fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse().ok()).collect()
        });
        let all = match ticks.as_deref() {
            Some([user, system]) => TICK * (user + system),
            _ => return Err(Failure::NotAccounted("CPU time")),
        };
        let threads =
            fs::read_dir(format!("/proc/{pid}/task")).map_err(Failure::during("listing threads"))?;
        // A thread may end between being listed and being read, and kernels may be built without this file.
        let nanoseconds = threads
            .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
            .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        Ok(CpuTime { living: Duration::from_nanos(nanoseconds.sum()), all })
    }
}
