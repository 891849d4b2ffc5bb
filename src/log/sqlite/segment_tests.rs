//! Segments against a look at every event.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn tables() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    let tables = "CREATE TABLE segments (last INTEGER PRIMARY KEY, segment BLOB NOT NULL);
        CREATE TABLE postings (last INTEGER, bucket INTEGER, groups BLOB, PRIMARY KEY (last, bucket)) WITHOUT ROWID;";
    connection.execute_batch(tables).unwrap();
    connection
}

fn push(pending: &mut Pending, terms: &BTreeSet<u32>) {
    pending.push(100, |put| terms.iter().for_each(|term| put(*term)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_segment_names_exactly_the_events_that_have_the_terms(
        events in prop::collection::vec(prop::collection::btree_set(prop_oneof![0..6_u32, any::<u32>()], 0..6), 1..200),
        events_max in 1..90_usize,
    ) {
        let connection = tables();
        let mut pending = Pending::new(events_max);
        pending.restart(11);
        for (index, terms) in events.iter().enumerate() {
            push(&mut pending, terms);
            // What is taken back leaves nothing behind.
            let mark = pending.mark();
            push(&mut pending, &BTreeSet::from([77]));
            pending.back_to(mark);
            if index % 7 == 0 {
                let sealed = pending.seal(&connection).unwrap();
                pending.sealed(sealed);
            }
        }
        let sealed = pending.seal(&connection).unwrap();
        pending.sealed(sealed);
        let mut next = 11;
        while let Some(segment) = at_or_after(&connection, next).unwrap() {
            prop_assert_eq!(segment.first, next);
            prop_assert_eq!(before(&connection, segment.last + 1).unwrap(), Some(segment));
            segment.check(&connection).unwrap();
            let own = usize::try_from(segment.first - 11).unwrap()..=usize::try_from(segment.last - 11).unwrap();
            let known = events[own.clone()].iter().flatten().copied().chain([0, 1, 77, u32::MAX]);
            for term in known {
                let places = segment.places(&connection, &[Wanted::OneOf(vec![term])]).unwrap();
                for (place, terms) in events[own.clone()].iter().enumerate() {
                    prop_assert_eq!(places.has(place as u64), terms.contains(&term));
                }
            }
            let both = [Wanted::OneOf(vec![0, 1]), Wanted::Alternative(vec![vec![Wanted::OneOf(vec![2])], vec![Wanted::OneOf(vec![3])]])];
            let places = segment.places(&connection, &both).unwrap();
            for (place, terms) in events[own].iter().enumerate() {
                let has = |one: u32, other: u32| terms.contains(&one) || terms.contains(&other);
                prop_assert_eq!(places.has(place as u64), has(0, 1) && has(2, 3));
            }
            next = segment.last + 1;
        }
        prop_assert!(events.len() as u64 + 11 - next < events_max as u64);
    }
}

#[test]
fn a_missing_and_a_changed_bucket_are_damage_and_not_an_empty_answer() {
    for damage in
        ["DELETE FROM postings WHERE bucket = 0", "UPDATE postings SET groups = zeroblob(length(groups))"]
    {
        let connection = tables();
        let mut pending = Pending::new(4);
        for _ in 0..4 {
            push(&mut pending, &BTreeSet::from([5]));
        }
        pending.seal(&connection).unwrap();
        connection.execute_batch(damage).unwrap();
        let segment = at_or_after(&connection, 1).unwrap().unwrap();
        let found = segment.places(&connection, &[Wanted::OneOf(vec![5])]);
        assert!(matches!(found, Err(LoadError::Damaged { .. })), "{damage}: {found:?}");
    }
}

#[test]
fn large_events_fill_a_segment_before_many_do() {
    let connection = tables();
    let mut pending = Pending::new(1_000);
    for _ in 0..3 {
        pending.push(SEGMENT_BYTES_MAX / 2, |put| put(1));
    }
    let sealed = pending.seal(&connection).unwrap();
    pending.sealed(sealed);
    let segment = at_or_after(&connection, 1).unwrap().unwrap();
    assert_eq!((segment.first, segment.last, sealed), (1, 3, 3));
}
