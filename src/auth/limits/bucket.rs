//! A rate: the generic cell rate algorithm (ITU-T I.371) on one atomic word.
//!
//! Invariants: what was admitted in any span never exceeds the rate times the span plus [`BURST`]; no timer, no lock, and a
//! bucket that has been left alone for a while is as good as a new one.
//! Why no crate: `governor` has a clock of its own that tests cannot stop, keeps its keys without a bound, and knows no
//! connections; this is one word for each rate, so that a million callers fit.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// So much time's worth may come at once. A client that connects again begins all of its subscriptions at once.
pub(super) const BURST: Duration = Duration::from_secs(2);

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// How much of a rate is used: the time at which all that was admitted will have been earned, in nanoseconds since the table
/// of accounts was made.
#[derive(Debug, Default)]
pub(super) struct Bucket(AtomicU64);

impl Bucket {
    /// Takes so many at `now`, of a rate of so many each second; otherwise says how long to wait. More than fit into a burst
    /// are taken when nothing is owed, and are paid back by waiting.
    pub(super) fn take(&self, count: usize, per_second: usize, now: u64) -> Result<(), Duration> {
        let cost = cost(count, per_second);
        let burst = nanos(BURST).max(cost);
        let taken = self.0.try_update(Ordering::AcqRel, Ordering::Acquire, |earned| {
            let after = earned.max(now).saturating_add(cost);
            (after - now <= burst).then_some(after)
        });
        match taken {
            Ok(_) => Ok(()),
            Err(earned) => {
                let after = earned.max(now).saturating_add(cost);
                Err(Duration::from_nanos(after.saturating_sub(now.saturating_add(burst))))
            }
        }
    }

    /// Gives back what was taken for nothing.
    pub(super) fn give_back(&self, count: usize, per_second: usize) {
        self.0.fetch_sub(cost(count, per_second), Ordering::AcqRel);
    }

    /// Is nothing owed?
    pub(super) fn is_idle(&self, now: u64) -> bool {
        self.0.load(Ordering::Acquire) <= now
    }
}

fn cost(count: usize, per_second: usize) -> u64 {
    let nanos = u128::from(NANOS_PER_SECOND) * count as u128 / per_second.max(1) as u128;
    // Half of the range, so that sums stay within it.
    u64::try_from(nanos).unwrap_or(u64::MAX).min(u64::MAX / 2)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = NANOS_PER_SECOND;

    #[test]
    fn a_burst_is_admitted_and_then_the_rate() {
        let bucket = Bucket::default();
        assert_eq!((0..300).filter(|_| bucket.take(1, 100, 0).is_ok()).count(), 200);
        assert_eq!(bucket.take(1, 100, 0), Err(Duration::from_millis(10)));
        assert_eq!((0..300).filter(|_| bucket.take(1, 100, SECOND).is_ok()).count(), 100);
        assert!(!bucket.is_idle(SECOND) && bucket.is_idle(3 * SECOND));
    }

    #[test]
    fn what_is_larger_than_a_burst_goes_when_nothing_is_owed_and_is_paid_back() {
        let bucket = Bucket::default();
        assert_eq!(bucket.take(1_000, 100, 0), Ok(()));
        assert_eq!(bucket.take(1, 100, 0), Err(Duration::from_millis(8_010)));
        assert_eq!(bucket.take(1_000, 100, SECOND), Err(Duration::from_secs(9)));
        assert_eq!(bucket.take(1_000, 100, 10 * SECOND), Ok(()));
        assert_eq!(bucket.take(usize::MAX, 1, 40 * SECOND), Ok(()));
        assert!(bucket.take(usize::MAX, 1, 40 * SECOND).is_err());
    }

    #[test]
    fn what_is_given_back_was_never_taken() {
        let bucket = Bucket::default();
        bucket.take(150, 100, 0).unwrap();
        bucket.give_back(150, 100);
        assert!(bucket.is_idle(0));
    }

    proptest! {
        /// Against a slow oracle: never more than the burst and what was earned since, over every span.
        #[test]
        fn no_span_has_more_than_its_rate_and_a_burst(
            rate in 1_usize..1_000,
            steps in prop::collection::vec((0_u64..50_000_000, 1_usize..4), 1..300),
        ) {
            let bucket = Bucket::default();
            let (mut now, mut admitted) = (0, Vec::new());
            for (pause, count) in steps {
                now += pause;
                if bucket.take(count, rate, now).is_ok() {
                    admitted.push((now, count));
                }
            }
            for (first, (begin, _)) in admitted.iter().enumerate() {
                let mut sum = 0;
                for (at, count) in &admitted[first..] {
                    sum += count;
                    let span = at - begin + 2 * SECOND;
                    // One more for the nanosecond that a cost is rounded down by, and one request larger than a burst.
                    let most = span as u128 * rate as u128 / u128::from(SECOND) + 4;
                    prop_assert!(sum as u128 <= most, "{sum} of {most} in {span} ns");
                }
            }
        }
    }
}
