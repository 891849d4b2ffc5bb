//! What of a batch is still to be published. A request is all or none, so one bad event takes its whole request with it:
//! it is found, by the index that the server names or by halving, and the others are sent without it.

use super::lines::Line;
use std::collections::VecDeque;

/// The parts of a batch that are still to be sent, in the order of the file.
#[derive(Debug)]
pub(super) struct Pending {
    parts: VecDeque<Vec<Line>>,
}

impl Pending {
    pub(super) fn new(batch: Vec<Line>) -> Self {
        Pending { parts: VecDeque::from([batch]) }
    }

    /// The part to send next; never empty.
    pub(super) fn part(&self) -> Option<&[Line]> {
        self.parts.front().map(Vec::as_slice)
    }

    /// The part was published.
    pub(super) fn accepted(&mut self) {
        self.parts.pop_front();
    }

    /// The part was refused for the event of this index, if the server named one. Gives that event when it is known.
    pub(super) fn refused(&mut self, index: Option<usize>) -> Option<Line> {
        let mut part = self.parts.pop_front()?;
        let index = index.or((part.len() == 1).then_some(0)).filter(|index| *index < part.len());
        match index {
            Some(index) => {
                let line = part.remove(index);
                if !part.is_empty() {
                    self.parts.push_front(part);
                }
                Some(line)
            }
            None => {
                let second = part.split_off(part.len() / 2);
                self.parts.push_front(second);
                self.parts.push_front(part);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(count: usize) -> Vec<Line> {
        (1..=count).map(|number| Line { number, id: number.to_string(), json: String::new() }).collect()
    }

    /// Runs a batch against a server that refuses these numbers; gives what it took, what was refused, and the requests.
    fn run(count: usize, bad: &[usize], names_index: bool) -> (Vec<usize>, Vec<usize>, usize) {
        let mut pending = Pending::new(lines(count));
        let (mut taken, mut refused, mut requests) = (Vec::new(), Vec::new(), 0);
        while let Some(part) = pending.part() {
            requests += 1;
            match part.iter().position(|line| bad.contains(&line.number)) {
                None => {
                    taken.extend(part.iter().map(|line| line.number));
                    pending.accepted();
                }
                Some(index) => {
                    refused.extend(pending.refused(names_index.then_some(index)).map(|line| line.number));
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
    fn an_index_beyond_the_part_is_not_believed() {
        let mut pending = Pending::new(lines(4));
        assert_eq!(pending.refused(Some(9)), None);
        assert_eq!(pending.part().map(<[_]>::len), Some(2));
    }

    proptest! {
        #[test]
        fn every_good_event_is_published_once_in_order_and_every_bad_one_is_named(
            count in 1_usize..40,
            bad in prop::collection::vec(1_usize..40, 0..40),
            names_index: bool,
        ) {
            let (taken, refused, requests) = run(count, &bad, names_index);
            let (expected_refused, expected): (Vec<_>, Vec<_>) = (1..=count).partition(|number| bad.contains(number));
            prop_assert_eq!(taken, expected);
            prop_assert_eq!(refused, expected_refused);
            prop_assert!(requests <= 2 * count + 1);
        }
    }
}
