//! Latencies of millions of deliveries in a few KB: buckets whose width is 1/32 of their value.
//!
//! Invariants: a percentile is at most 3 % above the true one and never below it.

use std::time::Duration;

/// Buckets between one power of two and the next; below this many microseconds each has a bucket of its own.
const STEPS: u64 = 32;

/// Durations in microseconds, counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn record(&mut self, duration: Duration) {
        let place = bucket(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.total += 1;
    }

    /// The duration in milliseconds that this share of all did not exceed; 0 when nothing was recorded.
    pub(crate) fn percentile_ms(&self, percent: u64) -> f64 {
        let wanted = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        place.map_or(0.0, |place| upper_end(place as u64) as f64 / 1e3)
    }
}

fn bucket(microseconds: u64) -> usize {
    let place = match microseconds.checked_ilog2() {
        Some(power @ 5..) => {
            let shift = power - 5;
            u64::from(shift) * STEPS + (microseconds >> shift)
        }
        Some(_) | None => microseconds,
    };
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// The longest duration of a bucket in microseconds.
fn upper_end(place: u64) -> u64 {
    match place.checked_sub(STEPS) {
        None => place,
        Some(above) => {
            let (shift, step) = (above / STEPS, above % STEPS);
            ((STEPS + step + 1) << shift) - 1
        }
    }
}
