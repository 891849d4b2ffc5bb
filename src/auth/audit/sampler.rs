//! How many lines a flood may write: so many a second of each kind and caller, so many of each kind, the rest counted.
//!
//! Invariants: what only an admin can cause is never left out. What is remembered is bounded by the lines of one second.

use super::entry::{Entry, Kind};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(1);

/// The most lines a second of one caller, and of all.
#[derive(Clone, Copy, Debug)]
struct Rate {
    of_caller: u64,
    of_all: u64,
}

fn rate(kind: Kind) -> Option<Rate> {
    match kind {
        Kind::Connect | Kind::Subscribe | Kind::TokenRefreshed | Kind::AdminRead => {
            Some(Rate { of_caller: 20, of_all: 1_000 })
        }
        // Anybody can cause these without being let in anywhere.
        Kind::Refused | Kind::SubscribeRefused | Kind::PublishRefused | Kind::Limit => {
            Some(Rate { of_caller: 5, of_all: 50 })
        }
        Kind::PolicyChanged
        | Kind::Revoked
        | Kind::Disconnected
        | Kind::Unsubscribed
        | Kind::Continued
        | Kind::Recovered
        | Kind::Lost => None,
    }
}

#[derive(Debug, Default)]
struct Count {
    written: u64,
    left_out: u64,
}

/// The lines of the current second.
#[derive(Debug)]
pub(super) struct Sampler {
    since: Instant,
    kinds: HashMap<Kind, Count>,
    callers: HashMap<(Kind, Box<str>), Count>,
}

impl Sampler {
    pub(super) fn new(now: Instant) -> Self {
        Sampler { since: now, kinds: HashMap::new(), callers: HashMap::new() }
    }

    /// May this entry have a line of its own? Otherwise it is counted. Asked after [`Sampler::ended`].
    pub(super) fn admits(&mut self, entry: &Entry) -> bool {
        let Some(rate) = rate(entry.kind) else { return true };
        let kind = self.kinds.entry(entry.kind).or_default();
        let caller = (entry.kind, entry.caller());
        if kind.written >= rate.of_all && !self.callers.contains_key(&caller) {
            kind.left_out += 1;
            return false;
        }
        let own = self.callers.entry(caller).or_default();
        if own.written >= rate.of_caller || kind.written >= rate.of_all {
            own.left_out += 1;
            return false;
        }
        own.written += 1;
        kind.written += 1;
        true
    }

    /// The lines that tell what was left out, once the second is over.
    pub(super) fn ended(&mut self, now: Instant) -> Vec<Entry> {
        if now.saturating_duration_since(self.since) < WINDOW {
            return Vec::new();
        }
        self.since = now;
        let callers = self.callers.drain().map(|((kind, caller), count)| (kind, Some(caller), count));
        let kinds = self.kinds.drain().map(|(kind, count)| (kind, None, count));
        callers.chain(kinds).filter(|(.., count)| count.left_out > 0).map(left_out).collect()
    }
}

fn left_out((kind, caller, count): (Kind, Option<Box<str>>, Count)) -> Entry {
    let entry = match &caller {
        Some(caller) => Entry::of(kind).detail("left_out_of", caller),
        None => Entry::of(kind).detail("left_out_of", "many callers"),
    };
    Entry { outcome: "left_out", more: count.left_out, ..entry }
}
