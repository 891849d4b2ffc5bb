//! The final log, by offset and by id.

use super::{Property, Report};
use crate::history::{Filter, Record, Traits};
use fanfare::event::{Cursor, Epoch};
use std::collections::{BTreeMap, HashMap};

/// An event of the final log.
#[derive(Debug)]
pub(super) struct Logged<'a> {
    pub(super) id: &'a str,
    pub(super) hash: &'a str,
    pub(super) traits: &'a Traits,
}

/// The final log.
#[derive(Debug, Default)]
pub(super) struct Log<'a> {
    /// Of the final log; every cursor of the run must be of it.
    epoch: Option<Epoch>,
    pub(super) by_offset: BTreeMap<u64, Logged<'a>>,
    pub(super) by_id: HashMap<&'a str, u64>,
}

impl<'a> Log<'a> {
    /// Indexes the log and checks what it shows by itself: no hole, no id twice.
    pub(super) fn read(records: &'a [Record], report: &mut Report) -> Self {
        let mut log = Log::default();
        let mut last: Option<u64> = None;
        for record in records {
            if let Record::Epoch { secret } = record {
                log.epoch =
                    u128::from_str_radix(secret, 16).ok().map(|secret| Epoch::new(secret.to_be_bytes()));
            }
            let Record::Logged { cursor, id, hash, traits } = record else { continue };
            let Some(offset) = log.known(cursor, "the final log", report) else { continue };
            match last {
                Some(last) if offset <= last => {
                    let text = format!("the final log has {id} at {offset} after {last}");
                    report.add(Property::Ordered, text);
                }
                Some(last) if offset > last + 1 => {
                    let text = format!("the final log goes from {last} to {offset}");
                    report.add(Property::Whole, text);
                }
                Some(_) | None => {}
            }
            last = Some(offset);
            if let Some(first) = log.by_id.insert(id, offset) {
                let text = format!("{id} is in the final log twice, at {first} and {offset}");
                report.add(Property::Idempotent, text);
            }
            log.by_offset.insert(offset, Logged { id, hash, traits });
        }
        report.counts.logged = log.by_offset.len();
        log
    }

    /// The offset of a cursor of this log. One of another log is a breach: nothing in a run replaces the log.
    pub(super) fn known(&self, cursor: &str, seen: &str, report: &mut Report) -> Option<u64> {
        let Ok(parsed) = Cursor::parse(cursor) else {
            report.add(Property::Whole, format!("{seen} has {cursor:?}, which is no cursor"));
            return None;
        };
        match self.epoch.map(|epoch| epoch.open(parsed)) {
            Some(Ok(offset)) => Some(offset.get()),
            Some(Err(error)) => {
                report.add(Property::Whole, format!("{seen} has {cursor}: {error}"));
                None
            }
            None => {
                report.add(Property::Whole, format!("{seen} has {cursor}, and nobody said whose log it is"));
                None
            }
        }
    }

    /// The offsets of the events that a filter selects, in order.
    pub(super) fn matching(&self, filter: &Filter) -> Vec<u64> {
        let matches = self.by_offset.iter().filter(|(_, logged)| selects(filter, logged.traits));
        matches.map(|(offset, _)| *offset).collect()
    }
}

const PRIORITIES: [&str; 4] = ["LOW", "NORMAL", "HIGH", "CRITICAL"];

fn rank(priority: &str) -> Option<usize> {
    PRIORITIES.iter().position(|known| *known == priority)
}

/// Does the filter select an event? Written anew from the documentation, on purpose without the server's code.
fn selects(filter: &Filter, traits: &Traits) -> bool {
    let type_matches = |pattern: &String| is_type(pattern, &traits.event_type);
    (filter.types.is_empty() || filter.types.iter().any(type_matches))
        && (filter.organizations.is_empty() || filter.organizations.contains(&traits.organization))
        && filter.min_priority.as_deref().is_none_or(|least| rank(&traits.priority) >= rank(least))
}

/// `*` matches all, a last `*` one or more segments, any other `*` one.
fn is_type(pattern: &str, event_type: &str) -> bool {
    let (pattern, segments): (Vec<_>, Vec<_>) =
        (pattern.split('.').collect(), event_type.split('.').collect());
    let is_open = pattern.last() == Some(&"*");
    let length_fits = if is_open { segments.len() >= pattern.len() } else { segments.len() == pattern.len() };
    length_fits
        && pattern.iter().zip(&segments).all(|(pattern, segment)| *pattern == "*" || pattern == segment)
}
