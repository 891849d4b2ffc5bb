//! The mailbox alone: order, turns, budget and handover.

use super::{super::Payload, *};
use crate::error::Code;

fn payload(offset: u64, tens: usize) -> Payload {
    Payload::of(offset, None, tens)
}

fn run(payloads: &[Payload]) -> Run {
    Run::new(payloads.to_vec())
}

fn taken(mailbox: &Mailbox) -> Vec<(Key, String)> {
    let mut out = Vec::new();
    mailbox.take(usize::MAX, &mut out);
    let show = |delivery| match delivery {
        Delivery::Run(run) => {
            run.payloads().iter().map(|payload| payload.offset().get().to_string()).collect()
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
        newest.extend(run.payloads().iter().map(|payload| payload.offset().get()));
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
