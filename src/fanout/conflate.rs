//! What is left for a reader that is behind and asked for the latest only ([`Overflow`](crate::event::Overflow)).

use super::{Payload, Run};
use std::collections::{HashMap, VecDeque};

/// Keeps the newest payload of each subject, in order, and counts what it replaced.
pub(super) fn conflate(runs: VecDeque<Run>) -> VecDeque<Run> {
    let mut all: Vec<(Payload, u64)> = Vec::new();
    for run in &runs {
        let replaced = std::iter::once(run.replaced()).chain(std::iter::repeat(0));
        all.extend(run.payloads().iter().cloned().zip(replaced));
    }
    drop(runs);
    let mut newest: HashMap<&str, usize> = HashMap::new();
    let mut kept: Vec<(&Payload, u64)> = Vec::new();
    for (payload, replaced) in all.iter().rev() {
        let place = payload.subject().map(|subject| *newest.entry(subject).or_insert(kept.len()));
        match place.and_then(|place| kept.get_mut(place)) {
            Some((_, count)) => *count += 1 + replaced,
            None => kept.push((payload, *replaced)),
        }
    }
    let mut runs = VecDeque::new();
    let mut plain = Vec::new();
    for (payload, replaced) in kept.into_iter().rev() {
        if replaced > 0 && !plain.is_empty() {
            runs.push_back(Run::new(std::mem::take(&mut plain)));
        }
        match replaced {
            0 => plain.push(payload.clone()),
            _ => runs.push_back(Run::new(vec![payload.clone()]).with_replaced(replaced)),
        }
    }
    if !plain.is_empty() {
        runs.push_back(Run::new(plain));
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(offset: u64, subject: &str) -> Payload {
        Payload::of(offset, Some(subject).filter(|subject| !subject.is_empty()), 10)
    }

    fn shown(runs: &VecDeque<Run>) -> Vec<(u64, u64)> {
        let one = |run: &Run| {
            let replaced = std::iter::once(run.replaced()).chain(std::iter::repeat(0));
            let offsets = run.payloads().iter().map(|payload| payload.offset().get());
            offsets.zip(replaced).collect::<Vec<_>>()
        };
        runs.iter().flat_map(one).collect()
    }

    #[test]
    fn the_newest_of_each_subject_stays_in_order_and_says_how_many_it_replaced() {
        let given = [(1, "a"), (2, "b"), (3, "a"), (4, ""), (5, "a"), (6, "c"), (7, "")];
        let runs =
            VecDeque::from([Run::new(given.iter().map(|(at, subject)| payload(*at, subject)).collect())]);
        let once = conflate(runs);
        assert_eq!(shown(&once), [(2, 0), (4, 0), (5, 2), (6, 0), (7, 0)]);

        let mut more = once;
        more.push_back(Run::new(vec![payload(8, "a"), payload(9, "b")]));
        assert_eq!(shown(&conflate(more)), [(4, 0), (6, 0), (7, 0), (8, 3), (9, 1)]);
    }
}
