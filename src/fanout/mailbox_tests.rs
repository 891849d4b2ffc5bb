//! The mailbox alone: order, turns, budget and handover.

use super::{super::Payload, *};
use crate::error::Code;
use proptest::prelude::*;

fn payload(offset: u64, tens: usize) -> Payload {
    Payload::of(offset, None, tens)
}

/// Behind the logged event at this offset.
fn transient(offset: u64, number: u64, tens: usize) -> Payload {
    Payload::at(Rank::transient(Offset::new(offset), number), None, tens)
}

fn run(payloads: &[Payload]) -> Run {
    Run::new(payloads.to_vec())
}

fn taken(mailbox: &Mailbox) -> Vec<(Key, String)> {
    let mut out = Vec::new();
    mailbox.take(usize::MAX, &mut out);
    let show = |delivery| match delivery {
        Delivery::Run(run) => {
            run.payloads().iter().map(|payload| payload.rank().offset().get().to_string()).collect()
        }
        Delivery::Lagged => vec!["lagged".to_owned()],
        Delivery::Ended(refusal) => vec![refusal.code.name().to_owned()],
    };
    out.into_iter()
        .flat_map(|(key, delivery)| show(delivery).into_iter().map(move |shown| (key, shown)))
        .collect()
}

fn pairs(expected: &[(Key, &str)]) -> Vec<(Key, String)> {
    expected.iter().map(|(key, shown)| (*key, (*shown).to_owned())).collect()
}

#[test]
fn subscriptions_take_turns() {
    let mailbox = Mailbox::new(1 << 20);
    mailbox.open(1, Offset::ZERO, false, Overflow::Replay);
    mailbox.open(2, Offset::ZERO, false, Overflow::Replay);
    let third = TURN_BYTES / 30;
    mailbox.push_live(1, run(&[payload(1, third), payload(2, third), payload(3, third), payload(4, third)]));
    mailbox.push_live(2, run(&[payload(4, 10)]));
    assert_eq!(taken(&mailbox), pairs(&[(1, "1"), (1, "2"), (1, "3"), (2, "4"), (1, "4")]));
    assert_eq!(taken(&mailbox), []);
}

#[test]
fn take_stops_at_its_budget_and_goes_on_later() {
    let mailbox = Mailbox::new(10_000);
    mailbox.open(1, Offset::ZERO, false, Overflow::Replay);
    mailbox.push_live(1, run(&[payload(1, 60), payload(2, 60), payload(3, 60)]));
    let mut out = Vec::new();
    mailbox.take(1_000, &mut out);
    assert_eq!(out.len(), 2);
    assert_eq!(taken(&mailbox), pairs(&[(1, "3")]));
}

#[test]
fn over_budget_a_queue_gives_what_it_has_and_then_says_that_it_lags() {
    let mailbox = Mailbox::new(1_000);
    mailbox.open(1, Offset::ZERO, false, Overflow::Replay);
    assert_eq!(mailbox.push_live(1, run(&[payload(1, 80)])), Pushed::Taken);
    assert_eq!(mailbox.push_live(1, run(&[payload(2, 80)])), Pushed::Refused);
    assert_eq!(mailbox.push_live(1, run(&[payload(3, 10)])), Pushed::Refused, "a hole must never be jumped");
    assert_eq!(mailbox.through(1), Offset::new(1));
    assert_eq!(taken(&mailbox), pairs(&[(1, "1"), (1, "lagged")]));
    assert_eq!(taken(&mailbox), []);
}

#[test]
fn a_payload_larger_than_the_budget_still_goes_to_an_empty_mailbox() {
    let mailbox = Mailbox::new(100);
    mailbox.open(1, Offset::ZERO, false, Overflow::Replay);
    assert_eq!(mailbox.push_live(1, run(&[payload(1, 80)])), Pushed::Taken);
}

#[test]
fn held_payloads_follow_the_replay() {
    let mailbox = Mailbox::new(10_000);
    mailbox.open(1, Offset::ZERO, true, Overflow::Replay);
    mailbox.push_live(1, run(&[payload(3, 10)]));
    assert_eq!(taken(&mailbox), []);
    mailbox.push_replayed(1, run(&[payload(1, 10)]));
    mailbox.push_replayed(1, run(&[payload(2, 10)]));
    assert_eq!(mailbox.taken_through(1, Offset::new(3)), Some(Offset::ZERO));
    assert!(mailbox.release(1, Offset::new(2)));
    mailbox.push_live(1, run(&[payload(4, 10)]));
    assert_eq!(taken(&mailbox), pairs(&[(1, "1"), (1, "2"), (1, "3"), (1, "4")]));
    assert_eq!(mailbox.taken_through(1, Offset::new(9)), Some(Offset::new(9)));
}

#[test]
fn held_payloads_without_room_send_the_replay_on() {
    let mailbox = Mailbox::new(1_000);
    mailbox.open(1, Offset::ZERO, true, Overflow::Replay);
    assert_eq!(mailbox.push_live(1, run(&[payload(5, 60)])), Pushed::Taken);
    assert_eq!(mailbox.push_live(1, run(&[payload(6, 60)])), Pushed::Refused);
    mailbox.push_replayed(1, run(&[payload(4, 10)]));
    assert!(!mailbox.release(1, Offset::new(4)));
    assert_eq!(taken(&mailbox), pairs(&[(1, "4")]));
    mailbox.push_replayed(1, run(&[payload(5, 10)]));
    mailbox.push_replayed(1, run(&[payload(6, 10)]));
    assert!(mailbox.release(1, Offset::new(6)));
    assert_eq!(taken(&mailbox), pairs(&[(1, "5"), (1, "6")]));
}

#[test]
fn a_replay_that_runs_is_the_only_one_even_when_live_payloads_overflow_meanwhile() {
    let mailbox = Mailbox::new(1_000);
    mailbox.open(1, Offset::ZERO, true, Overflow::Replay);
    assert_eq!(mailbox.push_live(1, run(&[payload(5, 60)])), Pushed::Taken);
    assert_eq!(mailbox.push_live(1, run(&[payload(6, 60)])), Pushed::Refused);
    mailbox.push_replayed(1, run(&[payload(4, 10)]));
    // The reader takes everything before the replay is at its end; told that it lags, it would start a second replay.
    assert_eq!(taken(&mailbox), pairs(&[(1, "4")]));
    assert_eq!(taken(&mailbox), []);
    assert!(!mailbox.release(1, Offset::new(4)), "what was turned away must be read again");
}

#[test]
fn an_ended_queue_gives_what_it_has_first_and_a_closed_one_nothing() {
    let mailbox = Mailbox::new(1_000);
    mailbox.open(1, Offset::ZERO, false, Overflow::Replay);
    mailbox.open(2, Offset::ZERO, false, Overflow::Replay);
    mailbox.push_live(1, run(&[payload(1, 10)]));
    mailbox.push_live(2, run(&[payload(1, 10)]));
    mailbox.end(1, Refusal::new(Code::CursorExpired, "gone"));
    mailbox.close(2);
    assert_eq!(taken(&mailbox), pairs(&[(1, "1"), (1, "CURSOR_EXPIRED")]));
    assert_eq!(mailbox.push_live(2, run(&[payload(2, 10)])), Pushed::Refused);
}

#[tokio::test]
async fn a_replay_waits_for_room_and_a_reader_for_payloads() {
    let mailbox = std::sync::Arc::new(Mailbox::new(1_000));
    mailbox.open(1, Offset::ZERO, true, Overflow::Replay);
    mailbox.push_replayed(1, run(&[payload(1, 90)]));
    let replay = tokio::spawn({
        let mailbox = std::sync::Arc::clone(&mailbox);
        async move {
            mailbox.room().await;
            mailbox.push_replayed(1, run(&[payload(2, 90)]));
        }
    });
    mailbox.ready().await;
    assert_eq!(taken(&mailbox), pairs(&[(1, "1")]));
    replay.await.unwrap();
    mailbox.ready().await;
    assert_eq!(taken(&mailbox), pairs(&[(1, "2")]));
}

#[test]
fn a_reader_that_wants_the_latest_keeps_its_place_and_gets_the_newest_of_each_subject() {
    let mailbox = Mailbox::new(1_000);
    mailbox.open(1, Offset::ZERO, false, Overflow::LatestPerSubject);
    let state = |offset, subject| Payload::of(offset, Some(subject), 30);
    for (offset, subject) in [(1, "a"), (2, "b"), (3, "a"), (4, "a"), (5, "b"), (6, "a")] {
        assert_eq!(mailbox.push_live(1, run(&[state(offset, subject)])), Pushed::Taken, "{offset}");
    }
    let mut out = Vec::new();
    mailbox.take(usize::MAX, &mut out);
    let mut replaced = 0;
    let mut newest = Vec::new();
    for (_, delivery) in out {
        let Delivery::Run(run) = delivery else { panic!("{delivery:?}") };
        replaced += run.replaced();
        newest.extend(run.payloads().iter().map(|payload| payload.rank().offset().get()));
    }
    assert_eq!(newest.last(), Some(&6));
    assert_eq!(replaced + newest.len() as u64, 6, "every event is delivered or counted: {newest:?}");
    assert!(newest.is_sorted());
}

#[test]
fn a_reader_that_wants_the_latest_reads_the_log_when_that_wins_no_room() {
    let mailbox = Mailbox::new(1_000);
    mailbox.open(1, Offset::ZERO, false, Overflow::LatestPerSubject);
    for offset in 1..=3 {
        let subject = offset.to_string();
        assert_eq!(mailbox.push_live(1, run(&[Payload::of(offset, Some(&subject), 30)])), Pushed::Taken);
    }
    assert_eq!(mailbox.push_live(1, run(&[payload(4, 30)])), Pushed::Refused);
    assert_eq!(taken(&mailbox), pairs(&[(1, "1"), (1, "2"), (1, "3"), (1, "4"), (1, "lagged")]));
    assert_eq!(mailbox.through(1), Offset::new(4), "the log goes on behind what was taken");
}

#[test]
fn what_is_not_in_the_log_is_dropped_without_room_and_the_queue_goes_on() {
    for is_held in [false, true] {
        let mailbox = Mailbox::new(1_000);
        mailbox.open(1, Offset::ZERO, is_held, Overflow::Replay);
        assert_eq!(mailbox.push_live(1, run(&[payload(1, 60)])), Pushed::Taken);
        assert_eq!(mailbox.push_live(1, run(&[transient(1, 1, 30), transient(1, 2, 30)])), Pushed::Dropped);
        assert_eq!(mailbox.push_live(1, run(&[transient(1, 3, 20)])), Pushed::Taken);
        assert_eq!(mailbox.push_live(1, run(&[payload(2, 20)])), Pushed::Taken);
        assert_eq!(mailbox.push_live(1, run(&[transient(2, 4, 20), payload(3, 20)])), Pushed::Refused);
        assert_eq!(mailbox.push_live(1, run(&[transient(3, 5, 20)])), Pushed::Refused, "its member has left");
        if is_held {
            assert!(!mailbox.release(1, Offset::ZERO), "what is in the log was turned away too");
            assert_eq!(taken(&mailbox), []);
        } else {
            assert_eq!(mailbox.through(1), Offset::new(2));
            assert_eq!(taken(&mailbox), pairs(&[(1, "1"), (1, "1"), (1, "2"), (1, "lagged")]));
        }
    }
}

#[test]
fn a_transient_payload_that_waits_says_that_all_before_it_was_taken() {
    let mailbox = Mailbox::new(10_000);
    mailbox.open(1, Offset::new(4), false, Overflow::Replay);
    mailbox.push_live(1, run(&[transient(6, 1, 10), payload(8, 10), transient(8, 2, 10)]));
    let mut positions = Vec::new();
    for _ in 0..3 {
        positions.push(mailbox.taken_through(1, Offset::new(9)).unwrap().get());
        mailbox.take(1, &mut Vec::new());
    }
    assert_eq!(positions, [6, 7, 8]);
    assert_eq!(mailbox.taken_through(1, Offset::new(9)), Some(Offset::new(9)));
}

#[test]
fn a_replay_goes_on_behind_transient_payloads_that_were_taken() {
    let mailbox = Mailbox::new(1_000);
    mailbox.open(1, Offset::new(4), false, Overflow::Replay);
    mailbox.push_live(1, run(&[payload(5, 40), transient(5, 1, 40)]));
    assert_eq!(mailbox.push_live(1, run(&[payload(6, 40)])), Pushed::Refused);
    assert_eq!(taken(&mailbox), pairs(&[(1, "5"), (1, "5"), (1, "lagged")]));
    mailbox.push_replayed(1, run(&[payload(6, 40)]));
    mailbox.push_live(1, run(&[transient(7, 2, 20)]));
    assert!(mailbox.release(1, Offset::new(7)));
    assert_eq!(mailbox.through(1), Offset::new(7));
    assert_eq!(taken(&mailbox), pairs(&[(1, "6"), (1, "7")]));
}

/// What was pushed: its rank, its subject, and whether it was taken out.
type Sent = (Rank, Option<&'static str>, bool);

/// Of whatever is in the log up to the position, either it was taken out or a newer one of its subject was or is still to come.
fn can_resume(sent: &[Sent], position: Offset) -> bool {
    let stands_for = |subject: Option<&str>, rank: Rank, other: &Sent| {
        let is_newer = !other.0.is_transient() && other.0 > rank && other.1 == subject;
        is_newer && (other.2 || other.0.offset() > position)
    };
    sent.iter().all(|(rank, subject, is_taken)| {
        let is_due = !rank.is_transient() && rank.offset() <= position && !is_taken;
        !is_due || (subject.is_some() && sent.iter().any(|other| stands_for(*subject, *rank, other)))
    })
}

proptest! {
    #[test]
    fn whoever_wants_the_latest_can_resume_from_wherever_it_stands(
        steps in prop::collection::vec((any::<bool>(), 0..3_usize, prop::option::weighted(0.3, 1..600_usize)), 1..80),
    ) {
        let mailbox = Mailbox::new(1_000);
        mailbox.open(1, Offset::ZERO, false, Overflow::LatestPerSubject);
        let (mut sent, mut offset, mut number, mut replaced) = (Vec::<Sent>::new(), 0, 0, 0);
        let mut take = |bytes, sent: &mut Vec<Sent>| {
            let mut out = Vec::new();
            mailbox.take(bytes, &mut out);
            let mut last = sent.iter().filter(|one| one.2).map(|one| one.0).max();
            for (_, delivery) in out {
                let Delivery::Run(run) = delivery else { continue };
                replaced += run.replaced();
                for payload in run.payloads() {
                    assert!(last < Some(payload.rank()), "out of order or twice");
                    last = Some(payload.rank());
                    sent.iter_mut().find(|one| one.0 == payload.rank()).unwrap().2 = true;
                }
            }
        };
        for (is_transient, subject, bytes) in steps {
            let subject = [None, Some("a"), Some("b")][subject];
            let rank = if is_transient {
                number += 1;
                Rank::transient(Offset::new(offset), number)
            } else {
                offset += 1;
                Rank::logged(Offset::new(offset))
            };
            let pushed = mailbox.push_live(1, run(&[Payload::at(rank, subject, 20)]));
            sent.push((rank, subject, false));
            if let Some(bytes) = bytes {
                take(bytes, &mut sent);
            }
            let position = mailbox.taken_through(1, Offset::new(offset)).unwrap();
            prop_assert!(can_resume(&sent, position), "at {position:?}: {sent:?}");
            if pushed == Pushed::Refused {
                break;
            }
        }
        take(usize::MAX, &mut sent);
        let taken = sent.iter().filter(|one| one.2).count() as u64;
        prop_assert_eq!(taken + replaced, sent.len() as u64, "every event is delivered or counted");
    }
}
