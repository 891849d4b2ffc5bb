//! `fanfare check-config`: judges the settings as `serve` would.

use super::{Environment, Failure, settings::SettingArguments, terminal};
use clap::Args;
use fanfare::config;

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
    match arguments.print {
        true => terminal::print(&config::print(&loaded)),
        false => terminal::print(&format!(
            "the settings are valid; {} of {} are not the default\n",
            loaded.changed().count(),
            config::TABLE.len()
        )),
    }
}
