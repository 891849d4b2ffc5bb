//! The books of one subscription: which of the run's events are for it, which came, which are missing. Pure.
//!
//! Flow: [`Deal`] says which subscription an event is for and what its number there is; [`Sequence`] enters what arrives.
//! Invariants: one publisher's events are in the log in the order of their numbers, so each must come one higher than the
//! one before; memory is bounded however much goes wrong.

use std::ops::Range;

/// More gaps than these are not kept apart: the oldest is given up as lost.
const GAPS_MAX: usize = 64;

/// How events are dealt to keys: with one key every subscription gets every event; with more, each event is for the
/// subscription of one key and each publisher serves them in turn, beginning at another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deal {
    pub(super) keys: u64,
    pub(super) publishers: u64,
}

impl Deal {
    fn first_key(self, publisher: usize) -> u64 {
        let part = u128::from(self.keys) * publisher as u128 / u128::from(self.publishers);
        u64::try_from(part).unwrap_or_default()
    }

    /// The key of a publisher's event, and the event's number among those of the same publisher and key.
    pub(super) fn place(self, publisher: usize, event: u64) -> (u64, u64) {
        ((event + self.first_key(publisher)) % self.keys, event / self.keys)
    }

    /// How many of a publisher's first `events` events are for a key.
    pub(super) fn share(self, key: u64, publisher: usize, events: u64) -> u64 {
        let turn = (key + self.keys - self.first_key(publisher)) % self.keys;
        events / self.keys + u64::from(turn < events % self.keys)
    }
}

/// What was wrong with deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// Came more than once.
    pub(super) repeated: u64,
    /// Came after a later one.
    pub(super) out_of_order: u64,
    /// Were for somebody else.
    pub(super) misrouted: u64,
}

impl Faults {
    pub(super) fn add(&mut self, other: Faults) {
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
        self.misrouted += other.misrouted;
    }
}

/// What has not come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// Although later ones came.
    pub(super) skipped: u64,
    /// At the end.
    pub(super) behind: u64,
}

/// The deliveries of one subscription.
#[derive(Debug)]
pub(super) struct Sequence {
    key: u64,
    lanes: Box<[Lane]>,
    received: u64,
    faults: Faults,
}

/// The events of one publisher.
#[derive(Clone, Debug, Default)]
struct Lane {
    next: u64,
    gaps: Vec<Range<u64>>,
    given_up: u64,
}

impl Sequence {
    pub(super) fn new(key: u64, publishers: usize) -> Self {
        Sequence {
            key,
            lanes: vec![Lane::default(); publishers].into(),
            received: 0,
            faults: Faults::default(),
        }
    }

    /// Enters a delivery; says whether it is the first of its event.
    pub(super) fn enter(&mut self, publisher: usize, key: u64, number: u64) -> bool {
        let Some(lane) = self.lanes.get_mut(publisher).filter(|_| key == self.key) else {
            self.faults.misrouted += 1;
            return false;
        };
        let is_first = if number >= lane.next {
            lane.skip(number);
            true
        } else if lane.fill(number) {
            self.faults.out_of_order += 1;
            true
        } else {
            self.faults.repeated += 1;
            false
        };
        self.received += u64::from(is_first);
        is_first
    }

    /// A delivery that is none of this run's events.
    pub(super) fn enter_foreign(&mut self) {
        self.faults.misrouted += 1;
    }

    /// Distinct events that came.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn faults(&self) -> Faults {
        self.faults
    }

    /// How many events must come when the publishers have got this many acknowledged.
    pub(super) fn expected(&self, deal: Deal, acknowledged: impl IntoIterator<Item = u64>) -> u64 {
        acknowledged
            .into_iter()
            .enumerate()
            .map(|(publisher, events)| deal.share(self.key, publisher, events))
            .sum()
    }

    /// What of the acknowledged events has not come.
    pub(super) fn missing(&self, deal: Deal, acknowledged: &[u64]) -> Missing {
        let mut missing = Missing::default();
        for (publisher, (lane, events)) in self.lanes.iter().zip(acknowledged).enumerate() {
            // An event whose answer was lost may be in the log beyond what is acknowledged, or not.
            let due = deal.share(self.key, publisher, *events);
            let gaps = lane.gaps.iter().map(|gap| gap.end.min(due).saturating_sub(gap.start));
            missing.skipped += lane.given_up + gaps.sum::<u64>();
            missing.behind += due.saturating_sub(lane.next);
        }
        missing
    }
}

impl Lane {
    fn skip(&mut self, number: u64) {
        if number > self.next {
            if self.gaps.len() == GAPS_MAX {
                let oldest = self.gaps.remove(0);
                self.given_up += oldest.end - oldest.start;
            }
            self.gaps.push(self.next..number);
        }
        self.next = number + 1;
    }

    /// Takes a number out of its gap, if it is in one.
    fn fill(&mut self, number: u64) -> bool {
        let Some(at) = self.gaps.iter().position(|gap| gap.contains(&number)) else { return false };
        let gap = self.gaps.remove(at);
        // Of two parts the later one goes in first, so that the earlier one stands before it.
        for part in [number + 1..gap.end, gap.start..number] {
            if !part.is_empty() {
                self.gaps.insert(at, part);
            }
        }
        true
    }
}

#[cfg(test)]
#[path = "sequence_tests.rs"]
mod tests;
