//! What people read about the settings: the values in force, the help, the README's table.
//!
//! Invariants: what [`print()`] writes is a settings file that gives the same configuration, secrets aside.

use super::{
    load::Loaded,
    problem::Source,
    table::{Setting, TABLE},
};
use std::fmt::Write;

impl Loaded {
    /// Where the value of a setting came from.
    pub fn source(&self, name: &str) -> &Source {
        let found = self.sources.iter().find(|(setting, _)| setting.name == name);
        found.map_or(&Source::Default, |(_, source)| source)
    }

    /// The settings that are not a default: name, value as TOML (a secret is not shown), source.
    pub fn changed(&self) -> impl Iterator<Item = (&'static str, String, &Source)> {
        self.sources.iter().map(|(setting, source)| (setting.name, self.shown(setting), source))
    }

    fn shown(&self, setting: &Setting) -> String {
        (setting.show)(&self.config).map_or_else(|| "(not shown)".to_owned(), |value| value.to_string())
    }
}

/// The whole configuration as a settings file, each value with its source.
pub fn print(loaded: &Loaded) -> String {
    let mut out = String::new();
    for setting in TABLE {
        let source = loaded.source(setting.name);
        // Writing to a String cannot fail.
        let _ = match (setting.show)(&loaded.config) {
            Some(value) => writeln!(out, "{} = {value}  # {source}", setting.name),
            None if *source == Source::Default => writeln!(out, "# {} is not set", setting.name),
            None => writeln!(out, "# {} is set, not shown: {source}", setting.name),
        };
    }
    out
}

/// The settings for the end of `--help`.
pub fn settings_help() -> String {
    let mut out = String::from(
        "Settings (flag, else environment, else the file of --config or FANFARE_CONFIG, else default):\n",
    );
    for setting in TABLE {
        let flag = setting.flag.map(|flag| format!("{flag}, ")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "\n  {}  [{flag}{}] [default: {}]\n      {}\n      Allowed: {}.",
            setting.name,
            variables(setting).join(", "),
            default_shown(setting),
            setting.doc,
            setting.unit.allowed()
        );
    }
    out
}

/// The settings as the table of the README.
pub fn readme_table() -> String {
    let mut out = String::from("| setting | environment | default | what |\n|---|---|---|---|\n");
    for setting in TABLE {
        let name = match setting.flag {
            Some(flag) => format!("`{}` (`{flag}`)", setting.name),
            None => format!("`{}`", setting.name),
        };
        let variables =
            variables(setting).iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ");
        let default = match setting.default {
            "" => "none".to_owned(),
            default => format!("`{default}`"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| {name} | {variables} | {default} | {} |", setting.doc);
    }
    out
}

fn variables(setting: &Setting) -> Vec<String> {
    let file = setting.is_secret().then(|| format!("{}_FILE", setting.own_variable()));
    setting.env.iter().map(|name| (*name).to_owned()).chain(file).collect()
}

fn default_shown(setting: &Setting) -> &'static str {
    match setting.default {
        "" => "none",
        default => default,
    }
}
