//! [`Process`]: the program itself, with its policy, as an operator runs it.

use super::{Access, Served};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// `fanfare serve` on a free port; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    address: SocketAddr,
    child: Child,
    dir: TempDir,
}

impl Process {
    /// Serves these callers and writes everything to the log that there is.
    pub(crate) fn serve(access: &Access) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .args(["serve", "--listen", "127.0.0.1:0", "--store", "memory", "--set", "self_events=off"])
            .arg("--data-dir")
            .arg(dir.path())
            .arg("--set")
            .arg(format!("policy={}", access.policy().display()))
            .env("FANFARE_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        Process { address, child, dir }
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
