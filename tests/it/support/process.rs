//! [`Process`]: the program itself, with its policy, as an operator runs it.

use super::{Access, Served};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// `fanfare serve` on a free port; it is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    address: SocketAddr,
    child: Child,
    dir: TempDir,
    /// As `name=value`.
    settings: Vec<String>,
}

impl Process {
    /// Serves these callers and writes everything to the log that there is.
    pub(crate) fn serve(access: &Access) -> Self {
        Self::with(access, &["store=memory", "self_events=off", "log=trace"])
    }

    /// Serves these callers with these settings.
    pub(crate) fn with(access: &Access, settings: &[&str]) -> Self {
        let mut settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        settings.push(format!("policy={}", access.policy().display()));
        let dir = tempfile::tempdir().unwrap();
        let (address, child) = start(&dir, &settings);
        Process { address, child, dir, settings }
    }

    /// Kills it (`kill -9`) and serves again from what is left of its data, at another address.
    pub(crate) fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.address, self.child) = start(&self.dir, &self.settings);
    }

    /// Everything that it wrote about itself until now.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// The audit file until now.
    pub(crate) fn audit(&self) -> String {
        fs::read_to_string(self.dir.path().join("audit.jsonl")).unwrap()
    }
}

fn start(dir: &TempDir, settings: &[String]) -> (SocketAddr, Child) {
    let log = File::options().create(true).append(true).open(dir.path().join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path());
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://");
    (address.unwrap_or_else(|| panic!("{line}")).parse().unwrap(), child)
}

impl Served for Process {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
