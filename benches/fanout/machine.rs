//! The machine under the bench: what the report says about it, and which core is whose.
//!
//! Invariants: the load never runs on the core of the server, unless the machine has one core or no `taskset`, which the
//! report says.

use crate::failure::Failure;
use serde::Serialize;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub(crate) const SERVER_CPU: &str = "0";
const LOAD_CPU: &str = "1";
const PAGE_KB: f64 = 4.0;

/// Where the servers are and whether each side has its own core.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) fanfare: PathBuf,
    pub(crate) pinned: bool,
    /// Cargo's directory of this build; data directories are made here, since `/tmp` may be no disk.
    profile: PathBuf,
}

impl Place {
    /// Moves this program, with all its threads, to the core of the load.
    pub(crate) fn new(fanfare: PathBuf, cores: usize) -> Result<Self, Failure> {
        let own = std::process::id().to_string();
        let pin = || {
            Command::new("taskset")
                .args(["-a", "-p", "-c", LOAD_CPU, &own])
                .stdout(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        let exe = env::current_exe().map_err(Failure::during("finding the peers"))?;
        let profile = exe.parent().and_then(Path::parent).unwrap_or(Path::new(".")).to_owned();
        Ok(Place { fanfare, pinned: cores > 1 && pin(), profile })
    }

    /// An example of this repository; Cargo puts it beside this bench.
    pub(crate) fn example(&self, name: &str) -> Result<PathBuf, Failure> {
        let example = self.profile.join("examples").join(name);
        if example.is_file() { Ok(example) } else { Err(Failure::NotBuilt(example)) }
    }

    /// A new directory on the disk of the build.
    pub(crate) fn data_dir(&self) -> Result<tempfile::TempDir, Failure> {
        tempfile::tempdir_in(&self.profile).map_err(Failure::during("making a data directory"))
    }
}

/// A program of the system.
pub(crate) fn installed(what: &'static str, how: &'static str) -> Result<PathBuf, Failure> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/usr/local/bin"].map(PathBuf::from));
    let found = folders.map(|folder| folder.join(what)).find(|program| program.is_file());
    found.ok_or(Failure::NotInstalled { what, how })
}

/// How busy the machine was with other things.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Situation {
    /// Programs that wanted a core in the last minute, the bench itself included.
    pub(crate) load_average: f64,
    /// Ticks of all cores so far, and those that a hypervisor took.
    #[serde(skip)]
    ticks: (f64, f64),
}

impl Situation {
    /// As it is now.
    pub(crate) fn now() -> Self {
        let load_average = read("/proc/loadavg").ok().and_then(|text| first_number(&text));
        let stat = read("/proc/stat").unwrap_or_default();
        let ticks: Vec<f64> = field(&stat, "cpu ")
            .map(|line| line.split_whitespace().filter_map(|ticks| ticks.parse().ok()).collect())
            .unwrap_or_default();
        let stolen = ticks.get(7).copied().unwrap_or_default();
        Situation { load_average: load_average.unwrap_or_default(), ticks: (ticks.iter().sum(), stolen) }
    }

    /// The share of all cores' time since then that a hypervisor gave to other machines.
    pub(crate) fn stolen_since(self, before: Self) -> f64 {
        (self.ticks.1 - before.ticks.1) / (self.ticks.0 - before.ticks.0).max(1.0)
    }
}

/// What all TCP sockets of the machine hold in their buffers, in KB.
pub(crate) fn socket_buffers_kb() -> Result<f64, Failure> {
    let sockets = read("/proc/net/sockstat")?;
    let pages = field(&sockets, "TCP:").and_then(|tcp| tcp.split_once("mem"));
    let pages = pages.and_then(|(_, after)| first_number(after));
    pages.map(|pages| pages * PAGE_KB).ok_or(Failure::NotAccounted("socket buffers"))
}

/// Server and load hold one end of each connection; both inherit this limit.
pub(crate) fn check_open_files(connections: usize) -> Result<(), Failure> {
    let limits = read("/proc/self/limits")?;
    let soft = field(&limits, "Max open files").and_then(|line| line.split_whitespace().next());
    let allowed = match soft {
        Some("unlimited") => usize::MAX,
        soft => {
            soft.and_then(|soft| soft.parse().ok()).ok_or(Failure::NotAccounted("limit of open files"))?
        }
    };
    let needed = connections + 128;
    if allowed >= needed { Ok(()) } else { Err(Failure::OpenFiles { needed, allowed }) }
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

/// A file of `/proc`.
pub(crate) fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(Failure::during("reading /proc"))
}

/// What stands behind the name at the beginning of a line.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}

/// The number with which a text begins.
pub(crate) fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}
