//! What is left for a reader that is behind and asked for the latest only ([`Overflow`](crate::event::Overflow)).

use super::{Payload, Run};
use std::collections::{HashMap, VecDeque, hash_map::Entry};

/// The oldest payload of a subject that stays: older ones count as replaced by it.
struct Latest {
    place: usize,
    is_logged: bool,
}

/// Keeps the newest payload of each subject, in order, and counts what it replaced. A transient one replaces transient ones
/// only: a reader who goes away before it has taken it must find the newest logged one when it resumes.
pub(super) fn conflate(runs: VecDeque<Run>) -> VecDeque<Run> {
    let mut all: Vec<(Payload, u64)> = Vec::new();
    for run in &runs {
        let replaced = std::iter::once(run.replaced()).chain(std::iter::repeat(0));
        all.extend(run.payloads().iter().cloned().zip(replaced));
    }
    drop(runs);
    let mut newest: HashMap<&str, Latest> = HashMap::new();
    let mut kept: Vec<(&Payload, u64)> = Vec::new();
    for (payload, replaced) in all.iter().rev() {
        let is_logged = !payload.rank().is_transient();
        let latest = Latest { place: kept.len(), is_logged };
        let replacing = match payload.subject().map(|subject| newest.entry(subject)) {
            None => None,
            Some(Entry::Vacant(entry)) => {
                entry.insert(latest);
                None
            }
            Some(Entry::Occupied(mut entry)) if is_logged && !entry.get().is_logged => {
                entry.insert(latest);
                None
            }
            Some(Entry::Occupied(entry)) => kept.get_mut(entry.get().place),
        };
        match replacing {
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
    use crate::event::{Offset, Rank};

    fn payload(offset: u64, subject: &str) -> Payload {
        Payload::of(offset, Some(subject).filter(|subject| !subject.is_empty()), 10)
    }

    fn shown(runs: &VecDeque<Run>) -> Vec<(u64, u64)> {
        let one = |run: &Run| {
            let replaced = std::iter::once(run.replaced()).chain(std::iter::repeat(0));
            let offsets = run.payloads().iter().map(|payload| payload.rank().offset().get());
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

    #[test]
    fn what_is_not_in_the_log_replaces_nothing_that_is() {
        let transient =
            |offset, number| Payload::at(Rank::transient(Offset::new(offset), number), Some("a"), 10);
        let given = vec![payload(1, "a"), transient(1, 1), payload(2, "a"), transient(2, 2), transient(3, 3)];
        let once = conflate(VecDeque::from([Run::new(given)]));
        assert_eq!(shown(&once), [(2, 2), (3, 1)], "the newest of the log, and the newest of all");

        let mut more = once;
        more.push_back(Run::new(vec![transient(4, 4), payload(5, "a")]));
        assert_eq!(shown(&conflate(more)), [(5, 6)], "what is in the log replaces all before it");
    }
}
