//! `fanfare log`: looks at the log in a data directory without changing it, beside a running server too.
//!
//! Not here: what is checked and counted (`fanfare::log`).

mod check;
mod stats;

use super::{Environment, Failure, settings::SettingArguments};
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check that everything stored is what was written: events, checksums, order, keys, index, state. Exit code 1 when it is
    /// not.
    Check(Target),
    /// Count events and bytes, and show where the log begins and ends.
    Stats(Target),
}

/// Which log, and how it is shown.
#[derive(Debug, Args)]
struct Target {
    /// Directory of the log; default is the setting `data_dir`.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Settings file (TOML) that names the directory.
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    config: Option<String>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

impl Target {
    fn dir(&self, environment: &Environment<'_>) -> Result<PathBuf, Failure> {
        match &self.data_dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(SettingArguments::of_file(self.config.clone()).load(environment)?.config.data_dir),
        }
    }
}

pub(super) fn run(arguments: &Arguments, environment: &Environment<'_>) -> Result<(), Failure> {
    match &arguments.command {
        Command::Check(target) => check::run(&target.dir(environment)?, target.json),
        Command::Stats(target) => stats::run(&target.dir(environment)?, target.json),
    }
}

/// One JSON object on a line.
fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map(|text| text + "\n").map_err(Failure::failed)
}
