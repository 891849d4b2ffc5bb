//! The books of one subscription.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const ONE: Deal = Deal { keys: 1, publishers: 1 };

fn entered(numbers: &[u64]) -> Sequence {
    let mut sequence = Sequence::new(0, 1);
    for number in numbers {
        sequence.enter(0, 0, *number);
    }
    sequence
}

#[test]
fn deliveries_in_order_leave_nothing_to_say() {
    let sequence = entered(&[0, 1, 2, 3]);
    assert_eq!((sequence.received(), sequence.faults()), (4, Faults::default()));
    assert_eq!(sequence.missing(ONE, &[4]), Missing::default());
    assert_eq!(sequence.missing(ONE, &[6]), Missing { skipped: 0, behind: 2 });
    assert_eq!(sequence.missing(ONE, &[3]), Missing::default(), "beyond what was acknowledged is no fault");
}

#[test]
fn a_gap_is_a_loss_until_it_is_filled_and_then_disorder() {
    let mut sequence = entered(&[0, 4]);
    assert_eq!(sequence.missing(ONE, &[5]), Missing { skipped: 3, behind: 0 });
    assert!(sequence.enter(0, 0, 2));
    assert_eq!(sequence.missing(ONE, &[5]), Missing { skipped: 2, behind: 0 });
    assert_eq!(sequence.faults(), Faults { out_of_order: 1, ..Faults::default() });
    assert!(!sequence.enter(0, 0, 2), "a second time it is a repeat");
    assert_eq!(sequence.faults(), Faults { out_of_order: 1, repeated: 1, misrouted: 0 });
}

#[test]
fn what_is_for_somebody_else_is_told_apart() {
    let mut sequence = Sequence::new(3, 2);
    sequence.enter(0, 4, 0);
    sequence.enter(2, 3, 0);
    sequence.enter_foreign();
    assert_eq!((sequence.received(), sequence.faults().misrouted), (0, 3));
}

#[test]
fn gaps_without_end_stay_bounded_and_are_counted() {
    let odd: Vec<u64> = (0..10_000).map(|n| 2 * n + 1).collect();
    let sequence = entered(&odd);
    assert_eq!(sequence.lanes[0].gaps.len(), GAPS_MAX);
    assert_eq!(sequence.missing(ONE, &[20_000]), Missing { skipped: 10_000, behind: 0 });
}

proptest! {
    #[test]
    fn the_books_agree_with_a_set_of_what_came(numbers in prop::collection::vec(0_u64..60, 0..80), acknowledged in 0_u64..70) {
        let sequence = entered(&numbers);
        let came: BTreeSet<u64> = numbers.iter().copied().collect();
        let missing = sequence.missing(ONE, &[acknowledged]);
        let absent = (0..acknowledged).filter(|number| !came.contains(number)).count() as u64;
        prop_assert_eq!(missing.skipped + missing.behind, absent);
        prop_assert_eq!(sequence.received(), came.len() as u64);
        prop_assert_eq!(sequence.faults().repeated, (numbers.len() - came.len()) as u64);
        let is_rising = numbers.windows(2).all(|pair| pair[0] < pair[1]);
        prop_assert_eq!(sequence.faults() == Faults::default(), is_rising);
    }

    #[test]
    fn every_event_is_dealt_to_one_key_and_numbered_without_gaps(keys in 1_u64..40, publishers in 1_u64..9, events in 0_u64..200) {
        let deal = Deal { keys, publishers };
        for publisher in 0..usize::try_from(publishers).unwrap() {
            let mut counts = vec![0; usize::try_from(keys).unwrap()];
            for event in 0..events {
                let (key, number) = deal.place(publisher, event);
                let count: &mut u64 = &mut counts[usize::try_from(key).unwrap()];
                prop_assert_eq!(number, *count);
                *count += 1;
            }
            for (key, count) in (0..keys).zip(counts) {
                prop_assert_eq!(deal.share(key, publisher, events), count);
            }
        }
    }
}
