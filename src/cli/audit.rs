//! `fanfare audit`: looks at the audit file without changing it, beside a running server too.
//!
//! Not here: what is checked (`fanfare::auth::audit`).

use super::{Environment, Failure, settings::SettingArguments, terminal};
use clap::{Args, Subcommand};
use fanfare::auth::audit::{self, Anchor, Verification};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the file, and the older ones that it goes on from, for lines that were changed, removed, moved, inserted or cut
    /// off. Exit code 1 when there are any.
    Verify(Verify),
}

#[derive(Debug, Args)]
struct Verify {
    /// The file; default are the settings `audit_file` and `data_dir`.
    file: Option<PathBuf>,
    /// A line that the file must hold, as an earlier run printed it: tells a file that was written anew.
    #[arg(long, value_name = "SEQ:HASH")]
    head: Option<Anchor>,
    /// Settings file (TOML) that names the audit file.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    config: Option<String>,
}

pub(super) fn run(arguments: &Arguments, environment: &Environment<'_>) -> Result<(), Failure> {
    let Command::Verify(Verify { file, head, config }) = &arguments.command;
    let file = match file {
        Some(file) => file.clone(),
        None => SettingArguments::of_file(config.clone()).load(environment)?.config.audit_options().file,
    };
    let report = audit::verify(&file, *head)
        .map_err(|error| Failure::failed(format!("cannot read {}: {error}", file.display())))?;
    terminal::print(&text(&file, &report))?;
    match report.is_sound() {
        true => Ok(()),
        false => Err(Failure::Told),
    }
}

fn text(file: &Path, report: &Verification) -> String {
    let mut lines: Vec<String> = report.findings.iter().map(|finding| terminal::harmless(finding)).collect();
    if report.more_findings > 0 {
        lines.push(format!("and {} more of this kind", report.more_findings));
    }
    lines.extend(report.notes.iter().map(|note| format!("note: {}", terminal::harmless(note))));
    let verdict = match report.is_sound() {
        true => "sound",
        false => "NOT what was written",
    };
    lines.push(match report.last {
        Some(last) => {
            let (lines, first) = (report.lines, report.first);
            format!("{}: {lines} lines from {first} on: {verdict}; head {last}", file.display())
        }
        None => format!("{}: no lines: {verdict}", file.display()),
    });
    lines.join("\n") + "\n"
}
