//! What all connections and publishers count together: deliveries, latencies, troubles.
//!
//! Invariants: memory does not grow with the length of a run; connections share a few shards, and each enters what it took
//! in one go, so counting costs little beside reading a socket.

use hdrhistogram::Histogram;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// An hour in microseconds: what takes longer is counted as that.
const LATENCY_MAX: u64 = 3_600_000_000;
const DIGITS: u8 = 3;
/// More kinds of trouble than these are counted together.
const TROUBLES_MAX: usize = 40;
/// A server's words are kept up to here.
const TROUBLE_CHARACTERS_MAX: usize = 240;

/// Latencies in microseconds, to three digits.
#[derive(Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Self {
        Latencies(
            Histogram::new_with_bounds(1, LATENCY_MAX, DIGITS).expect("these bounds and digits are allowed"),
        )
    }

    pub(super) fn record(&mut self, micros: u64, times: u64) {
        self.0.saturating_record_n(micros.max(1), times);
    }

    fn add(&mut self, other: &Latencies) {
        // Equal bounds, so it cannot fail.
        let _ = self.0.add(&other.0);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Microseconds.
    pub(super) fn percentile(&self, percentile: f64) -> u64 {
        self.0.value_at_percentile(percentile)
    }

    /// Microseconds.
    pub(super) fn max(&self) -> u64 {
        self.0.max()
    }
}

/// Deliveries of one wake-up of a connection, before they are entered.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub(super) deliveries: u64,
    pub(super) bytes: u64,
    /// Microseconds.
    pub(super) latencies: Vec<u64>,
    /// When the last one came, in microseconds of the run's clock.
    pub(super) at: u64,
}

#[derive(Debug)]
struct Shard {
    deliveries: AtomicU64,
    bytes: AtomicU64,
    latencies: Mutex<Latencies>,
}

/// The counters of one run.
#[derive(Debug)]
pub(super) struct Tally {
    shards: Box<[Shard]>,
    first_delivery: AtomicU64,
    last_delivery: AtomicU64,
    publishing: Mutex<Latencies>,
    /// From a drop, or the start of a replay, until everything acknowledged was there.
    catching_up: Mutex<Latencies>,
    /// How late the tester's own timers were.
    lateness: Mutex<Latencies>,
    /// Events of each publisher, in the order of its numbers, that are durable.
    acknowledged: Box<[AtomicU64]>,
    troubles: Mutex<BTreeMap<String, u64>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters are never half written; a panic elsewhere does not spoil them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tally {
    pub(super) fn new(shards: usize, publishers: usize) -> Self {
        let shard = |_| Shard {
            deliveries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            latencies: Mutex::new(Latencies::new()),
        };
        Tally {
            shards: (0..shards.max(1)).map(shard).collect(),
            first_delivery: AtomicU64::new(u64::MAX),
            last_delivery: AtomicU64::new(0),
            publishing: Mutex::new(Latencies::new()),
            catching_up: Mutex::new(Latencies::new()),
            lateness: Mutex::new(Latencies::new()),
            acknowledged: (0..publishers).map(|_| AtomicU64::new(0)).collect(),
            troubles: Mutex::default(),
        }
    }

    /// Enters what a connection took, and empties it.
    pub(super) fn enter(&self, connection: usize, noted: &mut Noted) {
        if noted.deliveries == 0 {
            return;
        }
        if let Some(shard) = self.shards.get(connection % self.shards.len()) {
            shard.deliveries.fetch_add(noted.deliveries, Ordering::Relaxed);
            shard.bytes.fetch_add(noted.bytes, Ordering::Relaxed);
            let mut latencies = locked(&shard.latencies);
            noted.latencies.drain(..).for_each(|micros| latencies.record(micros, 1));
        }
        self.first_delivery.fetch_min(noted.at, Ordering::Relaxed);
        self.last_delivery.fetch_max(noted.at, Ordering::Relaxed);
        (noted.deliveries, noted.bytes) = (0, 0);
    }

    /// One request of a publisher is durable, which has so many events now.
    pub(super) fn acknowledge(&self, publisher: usize, events: u64, micros: u64) {
        if let Some(acknowledged) = self.acknowledged.get(publisher) {
            let before = acknowledged.swap(events, Ordering::Release);
            locked(&self.publishing).record(micros, events.saturating_sub(before));
        }
    }

    pub(super) fn caught_up(&self, micros: u64) {
        locked(&self.catching_up).record(micros, 1);
    }

    /// A timer of the tester was so late.
    pub(super) fn late(&self, micros: u64) {
        locked(&self.lateness).record(micros, 1);
    }

    /// Something that should not have happened, or had to wait.
    pub(super) fn trouble(&self, what: &str) {
        let end = what.char_indices().nth(TROUBLE_CHARACTERS_MAX).map_or(what.len(), |(end, _)| end);
        let what = what.get(..end).unwrap_or(what);
        let mut troubles = locked(&self.troubles);
        let is_known = troubles.contains_key(what) || troubles.len() < TROUBLES_MAX;
        *troubles.entry(if is_known { what } else { "other" }.to_owned()).or_default() += 1;
    }

    pub(super) fn troubles(&self) -> BTreeMap<String, u64> {
        locked(&self.troubles).clone()
    }

    pub(super) fn deliveries(&self) -> u64 {
        self.shards.iter().map(|shard| shard.deliveries.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.bytes.load(Ordering::Relaxed)).sum()
    }

    /// The last delivery in microseconds of the run's clock, 0 for none.
    pub(super) fn last_delivery(&self) -> u64 {
        self.last_delivery.load(Ordering::Relaxed)
    }

    /// The acknowledged events of each publisher.
    pub(super) fn acknowledged(&self) -> impl Iterator<Item = u64> {
        self.acknowledged.iter().map(|events| events.load(Ordering::Acquire))
    }

    pub(super) fn delivering(&self) -> Latencies {
        let mut all = Latencies::new();
        self.shards.iter().for_each(|shard| all.add(&locked(&shard.latencies)));
        all
    }

    pub(super) fn publishing(&self) -> MutexGuard<'_, Latencies> {
        locked(&self.publishing)
    }

    pub(super) fn lateness(&self) -> MutexGuard<'_, Latencies> {
        locked(&self.lateness)
    }

    pub(super) fn catching_up(&self) -> MutexGuard<'_, Latencies> {
        locked(&self.catching_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connections_took_adds_up() {
        let tally = Tally::new(2, 1);
        for connection in 0..5 {
            let latencies = (1..=100).map(|ms| ms * 1_000).collect();
            let mut noted = Noted { deliveries: 100, bytes: 1_000, latencies, at: connection as u64 };
            tally.enter(connection, &mut noted);
            assert_eq!((noted.deliveries, noted.latencies.len()), (0, 0));
        }
        assert_eq!((tally.deliveries(), tally.bytes(), tally.last_delivery()), (500, 5_000, 4));
        let latencies = tally.delivering();
        assert_eq!(latencies.count(), 500);
        assert!(latencies.percentile(50.0).abs_diff(50_000) <= 100, "{}", latencies.percentile(50.0));
        assert!(latencies.max().abs_diff(100_000) <= 100);
    }

    #[test]
    fn an_acknowledgement_counts_for_each_event_of_its_request() {
        let tally = Tally::new(1, 2);
        tally.acknowledge(1, 10, 500);
        tally.acknowledge(1, 30, u64::MAX);
        assert_eq!(tally.acknowledged().collect::<Vec<_>>(), [0, 30]);
        assert_eq!(tally.publishing().count(), 30);
        assert!(tally.publishing().percentile(20.0) <= 500 && tally.publishing().max() >= LATENCY_MAX);
    }

    #[test]
    fn a_long_reason_is_cut() {
        let tally = Tally::new(1, 1);
        tally.trouble(&"é".repeat(100_000));
        assert_eq!(tally.troubles().keys().map(|told| told.chars().count()).collect::<Vec<_>>(), [240]);
    }

    #[test]
    fn kinds_of_trouble_are_bounded_and_none_is_left_out() {
        let tally = Tally::new(1, 1);
        (0..100).for_each(|n| tally.trouble(&format!("kind {n}")));
        tally.trouble("kind 0");
        tally.trouble(&"é".repeat(100_000));
        let troubles = tally.troubles();
        assert_eq!((troubles.len(), troubles.values().sum::<u64>()), (TROUBLES_MAX + 1, 102));
        assert_eq!((troubles["kind 0"], troubles["other"]), (2, 61));
    }
}
