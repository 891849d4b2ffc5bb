//! The kinds of values that settings have: how each is read from text, what is allowed, how it is shown.
//!
//! Invariants: what is shown reads back as the same value.

use crate::event::Family;
use ipnet::IpNet;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

/// Bytes in a kibibyte.
pub(super) const KIB: usize = 1024;
/// Bytes in a mebibyte.
pub(super) const MIB: usize = 1024 * KIB;
const THREADS_MAX: usize = 1024;

/// The names of [`Store`].
pub(super) const STORES: &[&str] = &["sqlite", "memory"];
/// The names of [`LogFormat`].
pub(super) const LOG_FORMATS: &[&str] = &["text", "json"];

/// What kind of value a setting has, with its bounds.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    /// An address and a port.
    Address,
    /// A path of the file system.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// `true`, `false`, or `auto`, which depends on other settings.
    SwitchOrAuto,
    /// Text that is never shown.
    Secret,
    /// One line of text, or nothing.
    Text,
    /// Names of algorithms, with commas between them.
    Algorithms,
    /// Origins of web pages, with commas between them.
    Origins,
    /// Addresses and networks, with commas between them.
    Networks,
    /// Some of these families of events, with commas between them, or none.
    Families(&'static [Family]),
    /// Bytes, from the least to the most.
    Bytes(usize, usize),
    /// A number of things, from the least to the most.
    Count(usize, usize),
    /// A time, from the shortest to the longest.
    Time(Duration, Duration),
    /// A number of threads.
    Threads,
    /// Directives of the log filter.
    LogFilter,
    /// A limit of another kind, or none.
    OrOff(&'static Unit),
}

/// What leaves a switch to other settings.
const AUTO: &str = "auto";
/// What stands for no limit, or for none of a list.
pub(super) const OFF: &str = "off";

impl Unit {
    /// What is allowed, for people.
    pub fn allowed(&self) -> String {
        match self {
            Unit::Address => "an address with a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned(),
            Unit::Path => "a path".to_owned(),
            Unit::Choice(names) => names.join(" or "),
            Unit::Switch => "true or false".to_owned(),
            Unit::SwitchOrAuto => format!("{AUTO}, true or false"),
            Unit::Networks => {
                "addresses and networks such as 10.0.0.7 or 10.0.0.0/8, a list in the file, commas between them elsewhere"
                    .to_owned()
            }
            Unit::Families(families) => {
                let names: Vec<_> = families.iter().filter_map(|family| family.segment()).collect();
                format!(
                    "some of {}, a list in the file, commas between them elsewhere; or {OFF}",
                    names.join(", ")
                )
            }
            Unit::Secret => "one line of text that is not empty".to_owned(),
            Unit::Text => "one line of at most 1024 bytes of text".to_owned(),
            Unit::Algorithms => {
                "names such as ES256, a list in the file, commas between them elsewhere".to_owned()
            }
            Unit::Origins => {
                "origins such as https://app.example.org, a list in the file, commas between them elsewhere"
                    .to_owned()
            }
            Unit::Bytes(least, most) => {
                format!("{} to {}, written as 65536, 64KiB or 1MiB", show_bytes(*least), show_bytes(*most))
            }
            Unit::Count(least, most) => format!("a whole number from {least} to {most}"),
            Unit::Time(least, most) => {
                format!("{} to {}, written as 500ms, 10s, 5m or 1h", show_time(*least), show_time(*most))
            }
            Unit::Threads => format!("cores or a whole number from 1 to {THREADS_MAX}"),
            Unit::LogFilter => "directives such as info or fanfare=debug,warn".to_owned(),
            Unit::OrOff(unit) => format!("{OFF}, or {}", unit.allowed()),
        }
    }
}

/// A value that can be a setting.
pub(super) trait Value: Sized {
    /// Reads it; `None` when the unit does not allow it.
    fn read(text: &str, unit: &Unit) -> Option<Self>;
    /// How it stands in the file; `None` for a secret or an absent value.
    fn show(&self, unit: &Unit) -> Option<toml::Value>;
}

/// Where events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// In a database file of the data directory.
    Sqlite,
    /// In memory, until the process ends.
    Memory,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Text that must not be seen: neither `Debug` nor `fanfare check-config --print` show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// The text itself, for the room that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

impl Value for SocketAddr {
    fn read(text: &str, _: &Unit) -> Option<Self> {
        if let Some(port) = text.strip_prefix("localhost:") {
            return Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), read_port(port)?));
        }
        text.parse().ok()
    }

    fn show(&self, _: &Unit) -> Option<toml::Value> {
        Some(self.to_string().into())
    }
}

/// Reads a port alone, as `PORT` holds it.
pub(super) fn read_port(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Reads an address alone, as `HOST` holds it.
pub(super) fn read_host(text: &str) -> Option<IpAddr> {
    match text {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        _ => text.trim_start_matches('[').trim_end_matches(']').parse().ok(),
    }
}

impl Value for PathBuf {
    fn read(text: &str, _: &Unit) -> Option<Self> {
        (!text.is_empty()).then(|| text.into())
    }

    fn show(&self, _: &Unit) -> Option<toml::Value> {
        Some(self.to_string_lossy().into_owned().into())
    }
}

impl Value for Store {
    fn read(text: &str, _: &Unit) -> Option<Self> {
        match text {
            "sqlite" => Some(Store::Sqlite),
            "memory" => Some(Store::Memory),
            _ => None,
        }
    }

    fn show(&self, _: &Unit) -> Option<toml::Value> {
        Some(match self {
            Store::Sqlite => "sqlite".into(),
            Store::Memory => "memory".into(),
        })
    }
}

impl Value for LogFormat {
    fn read(text: &str, _: &Unit) -> Option<Self> {
        match text {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        }
    }

    fn show(&self, _: &Unit) -> Option<toml::Value> {
        Some(match self {
            LogFormat::Text => "text".into(),
            LogFormat::Json => "json".into(),
        })
    }
}

impl Value for bool {
    fn read(text: &str, _: &Unit) -> Option<Self> {
        match text {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    fn show(&self, _: &Unit) -> Option<toml::Value> {
        Some((*self).into())
    }
}

impl Value for Option<bool> {
    fn read(text: &str, unit: &Unit) -> Option<Self> {
        match text {
            AUTO => Some(None),
            _ => bool::read(text, unit).map(Some),
        }
    }

    fn show(&self, _: &Unit) -> Option<toml::Value> {
        Some(self.map_or_else(|| AUTO.into(), Into::into))
    }
}

impl Value for Vec<IpNet> {
    fn read(text: &str, _: &Unit) -> Option<Self> {
        let networks = text.split(',').map(str::trim).filter(|network| !network.is_empty());
        networks.map(|network| network.parse().or_else(|_| network.parse().map(IpAddr::into)).ok()).collect()
    }

    fn show(&self, _: &Unit) -> Option<toml::Value> {
        Some(self.iter().map(ToString::to_string).collect::<Vec<_>>().into())
    }
}

impl Value for Option<Secret> {
    fn read(text: &str, _: &Unit) -> Option<Self> {
        match text {
            "" => Some(None),
            _ if text.contains(['\n', '\r']) || text.trim().is_empty() => None,
            _ => Some(Some(Secret(text.into()))),
        }
    }

    fn show(&self, _: &Unit) -> Option<toml::Value> {
        None
    }
}

impl Value for usize {
    fn read(text: &str, unit: &Unit) -> Option<Self> {
        let (value, least, most) = match unit {
            Unit::Bytes(least, most) => (read_bytes(text)?, *least, *most),
            Unit::Count(least, most) => (read_number(text)?, *least, *most),
            Unit::Address | Unit::Path | Unit::Choice(_) | Unit::Switch | Unit::Secret => return None,
            Unit::Text | Unit::Algorithms | Unit::Families(_) => return None,
            Unit::SwitchOrAuto | Unit::Networks | Unit::Origins | Unit::Time(..) | Unit::Threads => {
                return None;
            }
            Unit::LogFilter | Unit::OrOff(_) => return None,
        };
        (least..=most).contains(&value).then_some(value)
    }

    fn show(&self, unit: &Unit) -> Option<toml::Value> {
        match matches!(unit, Unit::Bytes(..)) {
            true => Some(show_bytes(*self).into()),
            false => i64::try_from(*self).ok().map(Into::into),
        }
    }
}

/// A number of digits only, with `_` between them where it helps the eye.
fn read_number(text: &str) -> Option<usize> {
    let digits = text.replace('_', "");
    (text.starts_with(|first: char| first.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit()))
    .then(|| digits.parse().ok())?
}

/// Splits `64KiB` into its number and its unit.
fn split_unit(text: &str) -> Option<(usize, &str)> {
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '_');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    Some((read_number(number)?, unit.trim_start()))
}

fn read_bytes(text: &str) -> Option<usize> {
    let (number, unit) = split_unit(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => 1024 * MIB,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn show_bytes(bytes: usize) -> String {
    let units = [(1024 * MIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
    match units.into_iter().find(|(factor, _)| bytes >= *factor && bytes.is_multiple_of(*factor)) {
        Some((factor, unit)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

impl Value for Duration {
    fn read(text: &str, unit: &Unit) -> Option<Self> {
        let Unit::Time(least, most) = unit else { return None };
        let (number, unit) = split_unit(text)?;
        let factor_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        let ms = u64::try_from(number).ok()?.checked_mul(factor_ms)?;
        let time = Duration::from_millis(ms);
        (*least..=*most).contains(&time).then_some(time)
    }

    fn show(&self, _: &Unit) -> Option<toml::Value> {
        Some(show_time(*self).into())
    }
}

fn show_time(time: Duration) -> String {
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let ms = time.as_millis();
    match units.into_iter().find(|(factor, _)| ms >= *factor && ms.is_multiple_of(*factor)) {
        Some((factor, unit)) => format!("{}{unit}", ms / factor),
        None => format!("{ms}ms"),
    }
}

/// A limit that may be off.
fn read_limit<T: Value>(text: &str, unit: &Unit) -> Option<Option<T>> {
    match (text, unit) {
        (OFF, Unit::OrOff(_)) => Some(None),
        (_, Unit::OrOff(unit)) => T::read(text, unit).map(Some),
        (_, _) => None,
    }
}

fn show_limit<T: Value>(limit: Option<&T>, unit: &Unit) -> Option<toml::Value> {
    match (limit, unit) {
        (Some(limit), Unit::OrOff(unit)) => limit.show(unit),
        (_, _) => Some(OFF.into()),
    }
}

impl Value for Option<usize> {
    fn read(text: &str, unit: &Unit) -> Option<Self> {
        read_limit(text, unit)
    }

    fn show(&self, unit: &Unit) -> Option<toml::Value> {
        show_limit(self.as_ref(), unit)
    }
}

impl Value for Option<Duration> {
    fn read(text: &str, unit: &Unit) -> Option<Self> {
        read_limit(text, unit)
    }

    fn show(&self, unit: &Unit) -> Option<toml::Value> {
        show_limit(self.as_ref(), unit)
    }
}

impl Value for Option<NonZeroUsize> {
    fn read(text: &str, _: &Unit) -> Option<Self> {
        match text {
            "cores" => Some(None),
            _ => {
                let threads = read_number(text).filter(|threads| *threads <= THREADS_MAX)?;
                NonZeroUsize::new(threads).map(Some)
            }
        }
    }

    fn show(&self, _: &Unit) -> Option<toml::Value> {
        match self {
            None => Some("cores".into()),
            Some(threads) => i64::try_from(threads.get()).ok().map(Into::into),
        }
    }
}

impl Value for String {
    fn read(text: &str, _: &Unit) -> Option<Self> {
        // tracing-subscriber 0.3.23 cuts the text at byte positions and panics inside a longer character; names of modules
        // and levels are ASCII anyway.
        let is_plain = text.is_ascii() && !text.trim().is_empty();
        (is_plain && tracing_subscriber::EnvFilter::builder().parse(text).is_ok()).then(|| text.to_owned())
    }

    fn show(&self, _: &Unit) -> Option<toml::Value> {
        Some(self.clone().into())
    }
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;
