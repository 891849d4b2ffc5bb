//! What of a batch is still to be acknowledged. A request is all or none, so one bad event takes its whole request with it:
//! it is found, by the index that the server names or by halving, and the others are sent without it.

use crate::queue::Entry;
use std::collections::VecDeque;
use tokio::time::Instant;

/// The parts of a batch that are still to be sent, in the order of publishing.
#[derive(Debug)]
pub(crate) struct Pending {
    /// None of them is empty.
    parts: VecDeque<Vec<Entry>>,
}

impl Pending {
    pub(crate) fn new(batch: Vec<Entry>) -> Self {
        Pending { parts: VecDeque::from([batch]).into_iter().filter(|batch| !batch.is_empty()).collect() }
    }

    /// The part to send next.
    pub(crate) fn part(&self) -> Option<&[Entry]> {
        self.parts.front().map(Vec::as_slice)
    }

    /// The first event that is not settled.
    pub(crate) fn first(&self) -> Option<&Entry> {
        self.part()?.first()
    }

    /// The whole part is settled.
    pub(crate) fn settled(&mut self) -> Vec<Entry> {
        self.parts.pop_front().unwrap_or_default()
    }

    /// The part was refused for the event of this index, if the server named one. Gives that event when it is known.
    pub(crate) fn refused(&mut self, index: Option<usize>) -> Option<Entry> {
        let mut part = self.parts.pop_front()?;
        let index = index.or((part.len() == 1).then_some(0)).filter(|index| *index < part.len());
        match index {
            Some(index) => {
                let entry = part.remove(index);
                if !part.is_empty() {
                    self.parts.push_front(part);
                }
                Some(entry)
            }
            None => {
                let second = part.split_off(part.len() / 2);
                self.parts.push_front(second);
                self.parts.push_front(part);
                None
            }
        }
    }

    /// The first event, if its time is over. Those behind it have at least as long.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<Entry> {
        self.first().filter(|entry| entry.expires <= now)?;
        self.refused(Some(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::testing::entry;
    use proptest::prelude::*;
    use std::time::Duration;

    fn batch(count: u64) -> Pending {
        Pending::new((0..count).map(|place| entry(place, Instant::now())).collect())
    }

    /// Runs a batch against a server that refuses these places; gives what it took, what was refused, and the requests.
    fn run(count: u64, bad: &[u64], names_index: bool) -> (Vec<u64>, Vec<u64>, u64) {
        let mut pending = batch(count);
        let (mut taken, mut refused, mut requests) = (Vec::new(), Vec::new(), 0);
        while let Some(part) = pending.part() {
            requests += 1;
            match part.iter().position(|entry| bad.contains(&entry.place)) {
                None => taken.extend(pending.settled().iter().map(|entry| entry.place)),
                Some(index) => {
                    refused.extend(pending.refused(names_index.then_some(index)).map(|entry| entry.place));
                }
            }
        }
        (taken, refused, requests)
    }

    #[test]
    fn with_an_index_each_bad_event_costs_one_request_more() {
        assert_eq!(run(500, &[3, 400], true).2, 3);
    }

    #[test]
    fn an_index_beyond_the_part_is_not_believed_and_nothing_is_no_part() {
        let mut pending = batch(4);
        assert!(pending.refused(Some(9)).is_none());
        assert_eq!(pending.part().map(<[_]>::len), Some(2));
        assert!(batch(0).part().is_none());
    }

    #[test]
    fn only_events_whose_time_is_over_expire_and_from_the_front() {
        let now = Instant::now();
        let mut pending =
            Pending::new((0..3).map(|place| entry(place, now + Duration::from_secs(place))).collect());
        let later = now + Duration::from_secs(1);
        let expired: Vec<_> =
            std::iter::from_fn(|| pending.expired(later)).map(|entry| entry.place).collect();
        assert_eq!((expired, pending.first().map(|entry| entry.place)), (vec![0, 1], Some(2)));
    }

    proptest! {
        #[test]
        fn every_good_event_is_taken_once_in_order_and_every_bad_one_is_found(
            count in 1_u64..40,
            bad in prop::collection::vec(0_u64..40, 0..40),
            names_index: bool,
        ) {
            let (taken, refused, requests) = run(count, &bad, names_index);
            let (expected_refused, expected): (Vec<_>, Vec<_>) = (0..count).partition(|place| bad.contains(place));
            prop_assert_eq!(taken, expected);
            prop_assert_eq!(refused, expected_refused);
            prop_assert!(requests <= 2 * count + 1);
        }
    }
}
