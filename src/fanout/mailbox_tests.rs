//! The mailbox alone: order, turns, budget and handover.

use super::*;
use crate::error::Code;

fn payload(offset: u64, bytes: usize) -> Payload {
    Payload::new(Offset::new(offset), "x".repeat(bytes))
}

fn taken(mailbox: &Mailbox) -> Vec<(Key, String)> {
    let mut out = Vec::new();
    mailbox.take(usize::MAX, &mut out);
    let show = |delivery| match delivery {
        Delivery::Payload(payload) => payload.offset().to_string(),
        Delivery::Lagged => "lagged".to_owned(),
        Delivery::Ended(refusal) => refusal.code.name().to_owned(),
    };
    out.into_iter().map(|(key, delivery)| (key, show(delivery))).collect()
}

fn pairs(expected: &[(Key, &str)]) -> Vec<(Key, String)> {
    expected.iter().map(|(key, shown)| (*key, (*shown).to_owned())).collect()
}

#[test]
fn subscriptions_take_turns() {
    let mailbox = Mailbox::new(1_000);
    mailbox.open(1, Offset::ZERO, false);
    mailbox.open(2, Offset::ZERO, false);
    mailbox.push_live(1, &[payload(1, 9), payload(2, 9), payload(3, 9)]);
    mailbox.push_live(2, &[payload(3, 9)]);
    assert_eq!(taken(&mailbox), pairs(&[(1, "1"), (2, "3"), (1, "2"), (1, "3")]));
    assert_eq!(taken(&mailbox), []);
}

#[test]
fn take_stops_at_its_budget_and_goes_on_later() {
    let mailbox = Mailbox::new(1_000);
    mailbox.open(1, Offset::ZERO, false);
    mailbox.push_live(1, &[payload(1, 60), payload(2, 60), payload(3, 60)]);
    let mut out = Vec::new();
    mailbox.take(100, &mut out);
    assert_eq!(out.len(), 2);
    assert_eq!(taken(&mailbox), pairs(&[(1, "3")]));
}

#[test]
fn over_budget_a_queue_gives_what_it_has_and_then_says_that_it_lags() {
    let mailbox = Mailbox::new(100);
    mailbox.open(1, Offset::ZERO, false);
    assert_eq!(mailbox.push_live(1, &[payload(1, 80)]), Pushed::Taken);
    assert_eq!(mailbox.push_live(1, &[payload(2, 80)]), Pushed::Refused);
    assert_eq!(mailbox.push_live(1, &[payload(3, 1)]), Pushed::Refused, "a hole must never be jumped");
    assert_eq!(mailbox.through(1), Offset::new(1));
    assert_eq!(taken(&mailbox), pairs(&[(1, "1"), (1, "lagged")]));
    assert_eq!(taken(&mailbox), []);
}

#[test]
fn a_payload_larger_than_the_budget_still_goes_to_an_empty_mailbox() {
    let mailbox = Mailbox::new(10);
    mailbox.open(1, Offset::ZERO, false);
    assert_eq!(mailbox.push_live(1, &[payload(1, 80)]), Pushed::Taken);
}

#[test]
fn held_payloads_follow_the_replay() {
    let mailbox = Mailbox::new(1_000);
    mailbox.open(1, Offset::ZERO, true);
    mailbox.push_live(1, &[payload(3, 9)]);
    assert_eq!(taken(&mailbox), []);
    mailbox.push_replayed(1, payload(1, 9));
    mailbox.push_replayed(1, payload(2, 9));
    assert_eq!(mailbox.taken_through(1, Offset::new(3)), Some(Offset::ZERO));
    assert!(mailbox.release(1, Offset::new(2)));
    mailbox.push_live(1, &[payload(4, 9)]);
    assert_eq!(taken(&mailbox), pairs(&[(1, "1"), (1, "2"), (1, "3"), (1, "4")]));
    assert_eq!(mailbox.taken_through(1, Offset::new(9)), Some(Offset::new(9)));
}

#[test]
fn held_payloads_without_room_send_the_replay_on() {
    let mailbox = Mailbox::new(100);
    mailbox.open(1, Offset::ZERO, true);
    assert_eq!(mailbox.push_live(1, &[payload(5, 60)]), Pushed::Taken);
    assert_eq!(mailbox.push_live(1, &[payload(6, 60)]), Pushed::Refused);
    mailbox.push_replayed(1, payload(4, 9));
    assert!(!mailbox.release(1, Offset::new(4)));
    assert_eq!(taken(&mailbox), pairs(&[(1, "4")]));
    mailbox.push_replayed(1, payload(5, 9));
    mailbox.push_replayed(1, payload(6, 9));
    assert!(mailbox.release(1, Offset::new(6)));
    assert_eq!(taken(&mailbox), pairs(&[(1, "5"), (1, "6")]));
}

#[test]
fn a_replay_that_runs_is_the_only_one_even_when_live_payloads_overflow_meanwhile() {
    let mailbox = Mailbox::new(100);
    mailbox.open(1, Offset::ZERO, true);
    assert_eq!(mailbox.push_live(1, &[payload(5, 60)]), Pushed::Taken);
    assert_eq!(mailbox.push_live(1, &[payload(6, 60)]), Pushed::Refused);
    mailbox.push_replayed(1, payload(4, 9));
    // The reader takes everything before the replay is at its end; told that it lags, it would start a second replay.
    assert_eq!(taken(&mailbox), pairs(&[(1, "4")]));
    assert_eq!(taken(&mailbox), []);
    assert!(!mailbox.release(1, Offset::new(4)), "what was turned away must be read again");
}

#[test]
fn an_ended_queue_gives_what_it_has_first_and_a_closed_one_nothing() {
    let mailbox = Mailbox::new(100);
    mailbox.open(1, Offset::ZERO, false);
    mailbox.open(2, Offset::ZERO, false);
    mailbox.push_live(1, &[payload(1, 9)]);
    mailbox.push_live(2, &[payload(1, 9)]);
    mailbox.end(1, Refusal::new(Code::CursorExpired, "gone"));
    mailbox.close(2);
    assert_eq!(taken(&mailbox), pairs(&[(1, "1"), (1, "CURSOR_EXPIRED")]));
    assert_eq!(mailbox.push_live(2, &[payload(2, 9)]), Pushed::Refused);
}

#[tokio::test]
async fn a_replay_waits_for_room_and_a_reader_for_payloads() {
    let mailbox = std::sync::Arc::new(Mailbox::new(100));
    mailbox.open(1, Offset::ZERO, true);
    mailbox.push_replayed(1, payload(1, 90));
    let replay = tokio::spawn({
        let mailbox = std::sync::Arc::clone(&mailbox);
        async move {
            mailbox.room().await;
            mailbox.push_replayed(1, payload(2, 90));
        }
    });
    mailbox.ready().await;
    assert_eq!(taken(&mailbox), pairs(&[(1, "1")]));
    replay.await.unwrap();
    mailbox.ready().await;
    assert_eq!(taken(&mailbox), pairs(&[(1, "2")]));
}
