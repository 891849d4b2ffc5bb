//! System calls that fail, linger, lie or kill, by strace: the binary under test stays as it is.
//!
//! strace counts `when=` for each thread by itself. While the server opens its log one thread makes all storage calls, and while
//! it serves another one does; so one strace is there from the start, or attached once the server listens.

use crate::{
    failure::{Failure, within},
    tools,
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const ATTACH: Duration = Duration::from_secs(20);

/// The calls by which bytes come to stable storage.
pub(crate) const SYNCS: &str = "fsync,fdatasync";

/// The calls that change files and names; for the model of a disk to know them, or to say that it does not.
const STORAGE: &str = "openat,lseek,read,pwrite64,pwritev,pwritev2,write,writev,ftruncate,fallocate,fsync,fdatasync,sync_file_range,unlink,\
                       unlinkat,rename,renameat,renameat2,link,linkat";

/// What strace is to do.
#[derive(Clone, Debug)]
pub(crate) struct Injection {
    /// System calls, separated by commas.
    pub(crate) calls: String,
    /// What happens to them, such as `error=EIO:when=5`.
    pub(crate) what: String,
    /// Only calls on these files; none means all.
    pub(crate) paths: Vec<PathBuf>,
}

impl Injection {
    /// Every sync says that it is done and does nothing.
    pub(crate) fn lie() -> Self {
        Injection { calls: SYNCS.to_owned(), what: "retval=0".to_owned(), paths: Vec::new() }
    }

    fn arguments(&self) -> Vec<OsString> {
        let Injection { calls, what, paths } = self;
        let mut arguments: Vec<OsString> = ["-f", "-o", "/dev/null", "-e"].map(OsString::from).into();
        arguments.push(format!("trace={calls}").into());
        arguments.push("-e".into());
        arguments.push(format!("inject={calls}:{what}").into());
        for path in paths {
            arguments.push("-P".into());
            arguments.push(path.into());
        }
        arguments
    }

    /// The words that run a program under strace, so that the child is the program and strace its grandchild.
    pub(crate) fn wrapper(&self) -> Result<Vec<OsString>, Failure> {
        tools::need(&["strace"])?;
        let mut words: Vec<OsString> = vec!["strace".into(), "-D".into(), "-q".into()];
        words.extend(self.arguments());
        Ok(words)
    }

    /// Attaches to a process; in force when this returns, until it is dropped.
    pub(crate) async fn attach(&self, pid: u32) -> Result<Attached, Failure> {
        tools::need(&["strace"])?;
        let mut child = Command::new("strace")
            .args(self.arguments())
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Failure::during("starting strace"))?;
        let stderr = child.stderr.take().ok_or_else(|| Failure::broken("strace has no stderr"))?;
        let mut lines = BufReader::new(stderr).lines();
        let said = within(ATTACH, "strace attaches", async {
            let mut said = String::new();
            while let Ok(Some(line)) = lines.next_line().await {
                said = line;
                // "attached", or "attached with 5 threads" once all of them are.
                if said.contains(" attached") {
                    return Ok(());
                }
            }
            Err(said)
        });
        match said.await? {
            Ok(()) => {}
            Err(said) if said.contains("not permitted") => {
                return Err(Failure::Lacking(format!("the right to trace a process ({said})")));
            }
            Err(said) => return Err(Failure::broken(format!("strace did not attach: {said}"))),
        }
        // Its further words go nowhere, but the pipe must not fill.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Attached { _child: child })
    }
}

/// The words that run a program and write down its storage calls, each thread's into a file of its own.
pub(crate) fn record(prefix: &Path) -> Result<Vec<OsString>, Failure> {
    tools::need(&["strace"])?;
    let mut words: Vec<OsString> =
        ["strace", "-D", "-q", "-ff", "-ttt", "-y", "-xx", "-s", "16777216"].map(OsString::from).into();
    words.extend(["-e".into(), format!("trace={STORAGE}").into(), "-o".into(), prefix.into()]);
    Ok(words)
}

/// A strace that is attached; dropping it sets the process free.
#[derive(Debug)]
pub(crate) struct Attached {
    _child: Child,
}

/// The files of a log.
pub(crate) fn log_files(data_dir: &Path) -> Vec<PathBuf> {
    let names = ["fanfare.db", "fanfare.db-wal", "fanfare.db-journal", "fanfare.db-shm", "lock"];
    let files = names.iter().map(|name| data_dir.join(name));
    files.chain([data_dir.to_owned()]).collect()
}
