//! Mounts, routes and processes that vanish by themselves: this program again, in namespaces of its own.
//!
//! Flow: a fault that mounts or blocks is run by a child inside `unshare`; its last line is the outcome.
//! Invariants: when the child ends, in whatever way, the kernel takes its mounts, its loop devices, its network and all its
//! processes with it, so nothing is left to clean up; the machine's own network and mounts are never touched.

use crate::{
    failure::Failure,
    run::Settings,
    tools::{self, words},
};
use std::{process::Stdio, time::Duration};
use tokio::process::Command;

/// The exit code of a child that lacks something.
pub(crate) const LACKING: u8 = 3;
/// A fault that takes longer hangs.
const FAULT: Duration = Duration::from_secs(1_800);

const NAMESPACES: [&str; 6] = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    if !tools::is_root() {
        command.arg("--map-root-user");
    }
    command.args(NAMESPACES).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a fault of this program in namespaces of its own.
pub(crate) async fn run(settings: &Settings, fault: &[String]) -> Result<String, Failure> {
    tools::need(&["unshare", "ip"])?;
    let tried = unshare().arg("true").output().await.map_err(Failure::during("running unshare"))?;
    if !tried.status.success() {
        let said = String::from_utf8_lossy(&tried.stderr).trim().to_owned();
        return Err(Failure::Lacking(format!("namespaces, which root may make ({said})")));
    }
    let own = std::env::current_exe().map_err(Failure::during("finding this program"))?;
    let child = unshare()
        .arg(own)
        .args(fault)
        .args(["--inside", "--seed", &settings.seed.to_string(), "--fanfare"])
        .arg(&settings.fanfare)
        .arg("--out")
        .arg(&settings.out)
        .args((!settings.shows_breaches).then_some("--hide-breaches"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Failure::during("running unshare"))?;
    let output = crate::failure::within(FAULT, "the fault ends", child.wait_with_output()).await?;
    let output = output.map_err(Failure::during("waiting for a fault"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let problem = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let (before, last) = said.trim_end().rsplit_once('\n').unwrap_or(("", said.trim_end()));
    match output.status.code() {
        Some(0) => {
            if !before.is_empty() {
                println!("{before}");
            }
            Ok(last.to_owned())
        }
        Some(code) if code == i32::from(LACKING) => Err(Failure::Lacking(problem)),
        _ => {
            print!("{said}");
            Err(Failure::broken(problem))
        }
    }
}

/// Brings the loopback of the new network up.
pub(crate) async fn enter() -> Result<(), Failure> {
    tools::run("ip", &words(&["link", "set", "lo", "up"])).await
}
