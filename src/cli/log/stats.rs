//! `fanfare log stats`: what the log holds.

use super::{
    super::{Failure, terminal},
    json,
};
use fanfare::log::{self, LogStats};
use std::path::Path;

pub(super) fn run(dir: &Path, as_json: bool) -> Result<(), Failure> {
    let stats = log::stats(dir).map_err(Failure::failed)?;
    terminal::print(&if as_json { json(&stats)? } else { text(&stats) })
}

fn text(stats: &LogStats) -> String {
    let none = || "none".to_owned();
    let mut rows = vec![
        ("events".to_owned(), format!("{}, {}", stats.events, bytes(stats.bytes))),
        ("earliest".to_owned(), format!("{} (offset {})", stats.earliest, stats.earliest_offset)),
        ("head".to_owned(), format!("{} (offset {})", stats.head, stats.head_offset)),
        ("first logged".to_owned(), stats.first_time.clone().unwrap_or_else(none)),
        ("last logged".to_owned(), stats.last_time.clone().unwrap_or_else(none)),
        ("keys of removed events".to_owned(), stats.removed_keys.to_string()),
        ("free inside the file".to_owned(), bytes(stats.free_bytes)),
    ];
    if stats.damaged > 0 {
        let advice = format!("{}; run fanfare log check", stats.damaged);
        rows.push(("damaged events".to_owned(), advice));
    }
    if stats.beside_server {
        rows.push(("server".to_owned(), "running on this log".to_owned()));
    }
    rows.extend(stats.files.iter().map(|file| (format!("file {}", file.name), bytes(file.bytes))));
    rows.extend(stats.state.iter().map(|one| (format!("state {}", one.kind), one.keys.to_string())));
    rows.extend(stats.types.iter().map(|one| (format!("type {}", one.event_type), one.events.to_string())));
    if stats.more_types > 0 {
        rows.push(("other types".to_owned(), stats.more_types.to_string()));
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    rows.iter().map(|(name, value)| format!("{:width$}  {value}\n", terminal::harmless(name))).collect()
}

/// Bytes in the largest unit that they fill, with one place after the point.
fn bytes(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_never_rounded_up() {
        let shown = [0, 1_023, 1_024, 1_536, (1 << 20) - 1, 5 << 30].map(bytes);
        assert_eq!(shown, ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "1023.9 KiB", "5.0 GiB"]);
    }
}
