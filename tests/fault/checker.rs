//! The offline checker: a history in, a verdict out. It asks no server and knows no more than the promises.
//!
//! Flow: the final log is indexed (`log`), then every publish (`publishes`) and every chain of connections (`chains`) is held
//! against it.
//! Invariants: pure; the filters are applied here by their own few lines, so the server's matching is checked too; each
//! violation names its property and the events, so that it can be looked up in the history.
//! Not here: what a history is (`history`).

mod chains;
mod log;
mod publishes;

use crate::history::Record;
use log::Log;
use std::{collections::BTreeMap, fmt};

/// What the history is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Property {
    /// Acknowledged means in the final log, where the acknowledgement said; nobody saw an event that did not stay.
    Durable,
    /// Whatever is logged or delivered was published, with the same content.
    NoInvention,
    /// The final log has no hole, and the log is the same one throughout.
    Whole,
    /// What one request published is in the log all or not at all.
    Atomic,
    /// A retried id is logged once, and all its acknowledgements name one place.
    Idempotent,
    /// A publish that was refused for good left nothing behind.
    Refused,
    /// Along a connection the order of the log is kept.
    Ordered,
    /// No event comes twice along a chain of connections.
    Unique,
    /// From its start on a client gets every matching event, and no other.
    Reliable,
    /// Where a client's events stop, an error says so before the next ones.
    ExplicitGap,
    /// Every client gets to the end once faults are over.
    Live,
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One breach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) property: Property,
    pub(crate) text: String,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Distinct events that were sent.
    pub(crate) published: usize,
    /// Distinct events that were acknowledged.
    pub(crate) acked: usize,
    /// Publish attempts whose outcome stayed unknown.
    pub(crate) unknown: usize,
    /// Acknowledgements of a repeat.
    pub(crate) duplicates: usize,
    /// Events in the final log.
    pub(crate) logged: usize,
    /// Chains of connections.
    pub(crate) clients: usize,
    /// Connections of all clients.
    pub(crate) connections: usize,
    /// Events delivered to all clients.
    pub(crate) delivered: usize,
}

/// The verdict.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) counts: Counts,
    pub(crate) violations: Vec<Violation>,
}

/// The most violations that a report prints.
const SHOWN_MAX: usize = 20;

impl Report {
    fn add(&mut self, property: Property, text: String) {
        self.violations.push(Violation { property, text });
    }

    /// How many breaches each broken property has.
    fn by_property(&self) -> BTreeMap<Property, usize> {
        let mut counts = BTreeMap::new();
        for violation in &self.violations {
            *counts.entry(violation.property).or_default() += 1;
        }
        counts
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { published, acked, unknown, duplicates, logged, clients, connections, delivered } =
            self.counts;
        write!(
            f,
            "{published} events published, {acked} acknowledged ({duplicates} repeats, {unknown} unknown outcomes), {logged} \
             in the log; {delivered} deliveries to {clients} clients over {connections} connections; "
        )?;
        let by_property = self.by_property();
        if by_property.is_empty() {
            return write!(f, "0 violations");
        }
        write!(f, "VIOLATIONS:")?;
        for (property, count) in by_property {
            write!(f, " {property} {count}")?;
        }
        for Violation { property, text } in self.violations.iter().take(SHOWN_MAX) {
            write!(f, "\n  {property}: {text}")?;
        }
        match self.violations.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// Judges a history.
pub(crate) fn check(records: &[Record]) -> Report {
    let mut report = Report::default();
    let log = Log::read(records, &mut report);
    let published = publishes::check(records, &log, &mut report);
    chains::check(records, &log, &published, &mut report);
    report
}
