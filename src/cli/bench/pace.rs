//! When requests are due, and from when their latency counts. Pure.
//!
//! Invariants: the schedule is fixed at the start (open loop): a slow answer never moves what is due after it. So the
//! latency of a request that had to wait behind a slow one holds that wait (correction for coordinated omission).

use std::time::Duration;
use tokio::time::Instant;

/// Timers have a grain of a millisecond and wake up late by it; so much lateness is the clock's and not the server's.
const TIMER_GRAIN: Duration = Duration::from_millis(3);

/// The schedule of one of several senders that share a rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    first: Instant,
    interval: Duration,
}

impl Pace {
    /// The share of sender `number` of `senders` in `rate` requests a second; their requests interleave.
    pub(super) fn new(start: Instant, rate: f64, number: usize, senders: usize) -> Self {
        let step = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX);
        let times = |count: usize| step.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        Pace { first: start + times(number), interval: times(senders) }
    }

    /// When the request of this number, from 0, is due.
    pub(super) fn due(&self, request: u64) -> Instant {
        // Nanoseconds in 128 bits: neither a long run nor a high rate rounds the schedule away.
        let nanos = self.interval.as_nanos().saturating_mul(u128::from(request));
        self.first + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 4))
    }
}

/// From when the latency of a request counts, which was due, whose sender was free, and which is sent now.
pub(super) fn counted_from(due: Instant, free: Instant, now: Instant) -> Instant {
    let is_own_lateness = free <= due && now.saturating_duration_since(due) <= TIMER_GRAIN;
    if is_own_lateness { now } else { due.min(now) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn senders_share_a_rate_and_interleave() {
        let start = Instant::now();
        let paces: Vec<_> = (0..4).map(|number| Pace::new(start, 1_000.0, number, 4)).collect();
        let mut due: Vec<_> = (0..100).flat_map(|n| paces.iter().map(move |pace| pace.due(n))).collect();
        due.sort_unstable();
        for (n, at) in (0..).zip(due) {
            assert_eq!(at, start + MS * n);
        }
    }

    #[test]
    fn the_schedule_does_not_drift() {
        let start = Instant::now();
        let hour = Pace::new(start, 50_000.0, 0, 1).due(50_000 * 3_600);
        assert_eq!(hour, start + Duration::from_secs(3_600));
        assert!(Pace::new(start, 1e-12, 0, 1).due(1) > start + Duration::from_secs(1_000_000));
    }

    #[test]
    fn a_wait_behind_a_slow_answer_counts_and_the_grain_of_the_timer_does_not() {
        let due = Instant::now() + Duration::from_secs(1);
        assert_eq!(counted_from(due, due - MS, due + MS), due + MS, "the timer woke up late");
        assert_eq!(counted_from(due, due + MS, due + MS), due, "the sender was still waiting for an answer");
        assert_eq!(counted_from(due, due - MS, due + MS * 50), due, "this much is no grain: it is told");
    }
}
