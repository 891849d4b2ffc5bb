//! The result as people and programs read it.

use super::*;
use crate::cli::bench::{
    client::ClientEnd,
    conduct::Outcome,
    load::{Load, testing},
    publisher::PublisherEnd,
};
use std::time::Duration;
use tokio::net::TcpListener;

/// A run with two connections that got nothing of ten acknowledged events.
async fn starved(rate: Option<f64>, outcome: impl FnOnce(&Load) -> Outcome) -> Report {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut load, _) = testing::load(&listener).await;
    (load.plan.connections, load.plan.rate) = (2, rate);
    load.tally.acknowledge(0, 10, 1_500);
    let outcome = outcome(&load);
    Report::new(&load, &outcome)
}

fn outcome(load: &Load, stood: bool) -> Outcome {
    let clients = (0..2).map(|number| ClientEnd::unserved(load, number, stood)).collect();
    let publishing = Duration::from_secs(1);
    Outcome { opened: 2, publishing, clients, ..Outcome::default() }
}

#[tokio::test]
async fn what_did_not_come_to_a_connection_that_stood_is_lost() {
    let report = starved(None, |load| outcome(load, true)).await;
    assert_eq!((report.expected, report.delivered, report.lost, report.undelivered), (20, 0, 20, 0));
    assert!(!report.ok);
    let shown = table(&report, true);
    assert!(
        shown.contains("20 lost, 0 repeated") && shown.contains("\x1b[31mFAILED: 20 deliveries lost"),
        "{shown}"
    );
    assert!(shown.contains("publish           1.50"), "{shown}");
}

#[tokio::test]
async fn a_connection_that_ended_early_fails_the_run_and_its_rest_is_undelivered() {
    let report = starved(None, |load| {
        load.tally.trouble("closed by the server: 1012\x1b[31m");
        outcome(load, false)
    })
    .await;
    assert_eq!((report.lost, report.undelivered, report.ended_early), (0, 20, 2));
    let shown = table(&report, false);
    assert!(shown.contains("FAILED: 2 connections ended before the run"), "{shown}");
    assert!(shown.contains("1 x closed by the server: 1012"), "{shown}");
    assert!(!shown.contains('\x1b'), "{shown}");
}

#[tokio::test]
async fn an_early_stop_is_no_failure_and_says_so() {
    let report = starved(None, |load| Outcome { is_interrupted: true, ..outcome(load, true) }).await;
    assert_eq!((report.ok, report.lost, report.undelivered), (true, 0, 20));
    assert!(table(&report, false).contains("stopped early"), "{report:?}");
}

#[tokio::test]
async fn a_rate_that_was_not_reached_and_unanswered_events_are_noted() {
    let report = starved(Some(1_000.0), |load| {
        let publisher =
            PublisherEnd { unknown: 3, failed: Some("gone\x1b[2J\n".to_owned()), ..PublisherEnd::default() };
        Outcome { publishers: vec![publisher], ..outcome(load, true) }
    })
    .await;
    let shown = table(&report, false);
    assert!(shown.contains("10.0 of 1,000 events/s were reached"), "{shown}");
    assert!(shown.contains("3 events were not answered for"), "{shown}");
    assert!(shown.contains("publishing ended early: gone") && !shown.contains('\x1b'), "{shown}");
}

#[tokio::test]
async fn programs_read_the_same_as_one_object() {
    let report = starved(None, |load| outcome(load, true)).await;
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["lost"], &json["ok"]), (&20.into(), &false.into()));
    assert_eq!(json["latencyMs"]["publish"]["p99.9"], 1.5);
    assert_eq!(json["latencyMs"]["delivery"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_tester_that_was_late_itself_says_so() {
    let report = starved(None, |load| {
        (0..100).for_each(|_| load.tally.late(30_000));
        outcome(load, true)
    })
    .await;
    assert!(table(&report, false).contains("the load tester itself was up to 30.0 ms late"), "{report:?}");
    let report = starved(None, |load| {
        (0..100).for_each(|_| load.tally.late(1_500));
        outcome(load, true)
    })
    .await;
    assert!(!table(&report, false).contains("load tester itself"), "{report:?}");
}

#[test]
fn numbers_are_grouped() {
    let shown = [0, 999, 1_000, 12_345, 1_234_567].map(thousands);
    assert_eq!(shown, ["0", "999", "1,000", "12,345", "1,234,567"]);
    assert_eq!([0.0, 99.96, 1_234.5, 1e12].map(decimal), ["0.0", "100.0", "1,234", "1,000,000,000,000"]);
}
