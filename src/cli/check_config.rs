//! `fanfare check-config`: judges the settings as `serve` would, and says what the policy means.

use super::{Environment, Failure, settings::SettingArguments, terminal};
use clap::Args;
use fanfare::{config, metrics::Metrics};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: SettingArguments,
    /// Print every setting with its value and where it came from, as a settings file.
    #[arg(long)]
    print: bool,
}

pub(super) fn run(arguments: &Arguments, environment: &Environment<'_>) -> Result<(), Failure> {
    let loaded = arguments.settings.load(environment)?;
    if arguments.print {
        return terminal::print(&config::print(&loaded));
    }
    terminal::print(&format!(
        "the settings are valid; {} of {} are not the default\n",
        loaded.changed().count(),
        config::TABLE.len()
    ))?;
    if !loaded.config.has_authentication() {
        return Ok(());
    }
    let policy = loaded.config.auth_options(Metrics::new()).policy().map_err(Failure::usage)?;
    policy.explain().iter().try_for_each(|line| terminal::print(&format!("{}\n", terminal::harmless(line))))
}
