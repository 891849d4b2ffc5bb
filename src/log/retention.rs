//! How long events are kept: the options, and the question whether the first event that is kept has to go.
//!
//! Invariants: the last event always stays, so the next offset is known and a resume at the head is never refused; a key
//! (`source`, `id`) is kept for its window, whether its event is there or not.
//! Not here: how a store removes (each store), when it is asked to (`writer`).

use std::time::Duration;

/// What is kept at most; more is removed from the front, a little at a time between commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events that were logged longer ago are removed; `None` keeps them whatever their age.
    pub age: Option<Duration>,
    /// The most events, 1 at least; `None` sets no bound.
    pub events: Option<u64>,
    /// The most bytes of events, each with what its row and its places in the indexes take; `None` sets no bound.
    pub bytes: Option<u64>,
    /// How long a publish of the same (`source`, `id`) is recognised at least; a key outlives its event for that.
    pub keys: Duration,
}

impl Default for Retention {
    /// Keeps every event; keys for a day.
    fn default() -> Self {
        Retention { age: None, events: None, bytes: None, keys: Duration::from_secs(86_400) }
    }
}

/// How much is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount {
    /// Events.
    pub(super) events: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// When the first was logged, in milliseconds since 1970.
    pub(super) earliest_at: i64,
}

/// Under load something is removed only once this part of a limit is exceeded, so that one removal serves many commits.
const SLACK: u64 = 64;
const SLACK_EVENTS_MAX: u64 = 4_096;
const SLACK_BYTES_MAX: u64 = 4 * 1024 * 1024;
const SLACK_MS_MAX: i64 = 1_000;

impl Retention {
    /// Must the first event go?
    pub(super) fn is_exceeded(&self, amount: Amount, now_ms: i64) -> bool {
        self.exceeds(amount, now_ms, false)
    }

    /// Is there so much too much that removing must not wait for a quiet moment?
    pub(super) fn is_far_exceeded(&self, amount: Amount, now_ms: i64) -> bool {
        self.exceeds(amount, now_ms, true)
    }

    fn exceeds(&self, amount: Amount, now_ms: i64, has_slack: bool) -> bool {
        let slack = |limit: u64, most: u64| if has_slack { (limit / SLACK).min(most) } else { 0 };
        let events = |limit: u64| amount.events > limit.max(1).saturating_add(slack(limit, SLACK_EVENTS_MAX));
        let bytes = |limit: u64| amount.bytes > limit.saturating_add(slack(limit, SLACK_BYTES_MAX));
        let age = |limit: Duration| {
            let limit = ms(limit);
            let slack = if has_slack { (limit / 64).min(SLACK_MS_MAX) } else { 0 };
            amount.earliest_at < now_ms.saturating_sub(limit.saturating_add(slack))
        };
        amount.events > 1
            && (self.events.is_some_and(events) || self.bytes.is_some_and(bytes) || self.age.is_some_and(age))
    }

    /// Is the window of a key that came at this time over?
    pub(super) fn is_key_over(&self, logged_at: i64, now_ms: i64) -> bool {
        logged_at < now_ms.saturating_sub(ms(self.keys))
    }

    /// Milliseconds until the first event may have to go for its age.
    pub(super) fn next_ms(&self, amount: Amount, now_ms: i64) -> Option<u64> {
        let limit = self.age.filter(|_| amount.events > 1)?;
        Some(until(amount.earliest_at.saturating_add(ms(limit)), now_ms))
    }

    /// Milliseconds until the window of a key that came at this time is over.
    pub(super) fn next_key_ms(&self, logged_at: i64, now_ms: i64) -> u64 {
        until(logged_at.saturating_add(ms(self.keys)), now_ms)
    }
}

/// Up to and including a time; one more, because an age is exceeded only beyond it.
fn until(time_ms: i64, now_ms: i64) -> u64 {
    u64::try_from(time_ms.saturating_sub(now_ms)).unwrap_or_default() + 1
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(events: u64, bytes: u64, earliest_at: i64) -> Amount {
        Amount { events, bytes, earliest_at }
    }

    #[test]
    fn each_limit_counts_alone_and_the_last_event_always_stays() {
        let age = Retention { age: Some(Duration::from_secs(1)), ..Retention::default() };
        let events = Retention { events: Some(10), ..Retention::default() };
        let bytes = Retention { bytes: Some(100), ..Retention::default() };
        for (retention, fine, exceeded) in [
            (age, amount(2, 0, 9_000), amount(2, 0, 8_999)),
            (events, amount(10, 0, 0), amount(11, 0, 0)),
            (bytes, amount(2, 100, 0), amount(2, 101, 0)),
        ] {
            assert!(!retention.is_exceeded(fine, 10_000), "{retention:?}");
            assert!(retention.is_exceeded(exceeded, 10_000), "{retention:?}");
            assert!(!retention.is_exceeded(Amount { events: 1, ..exceeded }, 10_000), "{retention:?}");
        }
        assert!(!Retention::default().is_exceeded(amount(u64::MAX, u64::MAX, i64::MIN), i64::MAX));
    }

    #[test]
    fn under_load_a_part_of_the_limit_is_borne() {
        let retention = Retention { events: Some(640), ..Retention::default() };
        assert!(
            retention.is_exceeded(amount(641, 0, 0), 0) && !retention.is_far_exceeded(amount(650, 0, 0), 0)
        );
        assert!(retention.is_far_exceeded(amount(651, 0, 0), 0));
    }

    #[test]
    fn the_next_look_is_just_after_the_limit() {
        let retention = Retention { age: Some(Duration::from_secs(1)), ..Retention::default() };
        let (two, now) = (amount(2, 0, 500), 1_000);
        let wait = i64::try_from(retention.next_ms(two, now).unwrap()).unwrap();
        assert!(!retention.is_exceeded(two, now + wait - 1) && retention.is_exceeded(two, now + wait));
        assert_eq!(retention.next_ms(amount(1, 0, 0), now), None);
    }
}
