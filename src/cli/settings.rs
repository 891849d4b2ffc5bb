//! The flags of the settings, shared by `serve` and `check-config`.

use super::{Environment, Failure};
use clap::Args;
use fanfare::config::{self, Flag, Loaded, Setting};

/// The flags; their values stay text here, so that the table judges all sources alike and all problems come at once.
#[derive(Debug, Args)]
pub(super) struct SettingArguments {
    #[arg(long, value_name = "ADDR", help = doc("listen"))]
    listen: Option<String>,
    #[arg(long, value_name = "DIR", help = doc("data_dir"))]
    data_dir: Option<String>,
    #[arg(long, value_name = "sqlite|memory", help = doc("store"))]
    store: Option<String>,
    #[arg(long, help = doc("demo"))]
    demo: bool,
    /// Settings file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// Any other setting, such as --set ping_interval=10s; --help lists them.
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

fn doc(name: &str) -> String {
    let Some(setting) = Setting::find(name) else { return String::new() };
    match setting.default {
        "false" => setting.doc.to_owned(),
        default => format!("{} [default: {default}]", setting.doc),
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl SettingArguments {
    /// No flags but the settings file.
    pub(super) fn of_file(config: Option<String>) -> Self {
        let (listen, data_dir, store) = Default::default();
        SettingArguments { listen, data_dir, store, demo: false, config, set: Vec::new() }
    }

    /// The configuration that these flags, the environment and the file give.
    pub(super) fn load(&self, environment: &Environment<'_>) -> Result<Loaded, Failure> {
        config::load(self.config.as_deref(), &self.flags(), environment.variable, &environment.names)
            .map_err(Failure::usage)
    }

    fn flags(&self) -> Vec<Flag> {
        let own = [
            ("--listen", "listen", self.listen.clone()),
            ("--data-dir", "data_dir", self.data_dir.clone()),
            ("--store", "store", self.store.clone()),
            ("--demo", "demo", self.demo.then(|| "true".to_owned())),
        ];
        let set = self.set.iter().map(|(name, text)| Flag {
            spelled: "--set",
            name: name.clone(),
            text: text.clone(),
        });
        let own = own
            .into_iter()
            .filter_map(|(spelled, name, text)| Some(Flag { spelled, name: name.to_owned(), text: text? }));
        // The last one counts, so a flag of its own goes before --set.
        set.chain(own).collect()
    }
}
