//! Every setting: one table, from which parsing, `--help`, `fanfare check-config` and the README come.
//!
//! Flow: takes flags, the environment and a TOML file from `cli`; gives a checked [`Config`], from which the roof fills each
//! room's own options.
//! Invariants: nothing is bound or opened before every setting is valid; all problems are reported at once, each with the
//! setting, where it came from, what was given and what is allowed; a secret is never shown.
//! Not here: the process environment, which only `main.rs` reads.

mod file;
mod load;
mod problem;
mod show;
mod table;
mod value;

pub use load::{Flag, Loaded, load};
pub use problem::{Problem, Problems, Source};
pub use show::{print, readme_table, settings_help};
pub use table::{Config, Setting, TABLE};
pub use value::{LogFormat, Secret, Store, Unit};

use crate::{bus, event::Limits};

impl Config {
    /// The limits of an event.
    pub fn event_limits(&self) -> Limits {
        Limits { data_bytes_max: self.data_bytes_max }
    }

    /// The bounds of the live ring.
    pub fn bus_options(&self) -> bus::Options {
        bus::Options { ring_batches_max: self.ring_batches_max }
    }
}
