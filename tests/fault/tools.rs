//! The machine's tools: is it there, run it, say what it said.

use crate::failure::{Failure, within};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::process::Command;

const TOOL: Duration = Duration::from_secs(60);

/// Where a program is; tools of the administrator may be outside a user's `PATH`.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.find_map(|folder| Some(folder.join(program)).filter(|path| path.is_file()))
}

/// Fails as lacking unless each of the programs is installed.
pub(crate) fn need(programs: &[&str]) -> Result<(), Failure> {
    let missing: Vec<_> = programs.iter().filter(|program| find(program).is_none()).copied().collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Failure::Lacking(format!("{} (tests/install-needed installs it)", missing.join(", ")))),
    }
}

/// Runs a tool to its end; a failure tells what it said.
pub(crate) async fn run(program: &str, arguments: &[&OsStr]) -> Result<(), Failure> {
    let path = find(program).ok_or_else(|| Failure::Lacking(program.to_owned()))?;
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = within(TOOL, &format!("{program} ends"), command.output()).await?;
    let output = output.map_err(Failure::during(format!("running {program}")))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Failure::Io {
            during: program.to_owned(),
            source: std::io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }),
    }
}

/// Words and paths as a tool takes them.
pub(crate) fn words<'a>(words: &'a [&'a str]) -> Vec<&'a OsStr> {
    words.iter().map(OsStr::new).collect()
}

/// Is this process root, perhaps only inside its namespace?
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uid.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0")
}

/// Makes a directory and gives it back.
pub(crate) fn directory(path: &Path) -> Result<&Path, Failure> {
    std::fs::create_dir_all(path).map_err(Failure::during(format!("making {}", path.display())))?;
    Ok(path)
}
