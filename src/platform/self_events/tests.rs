//! What is told, what is not, and what is lost.

use super::*;
use crate::{
    auth::{Credential, Grant, View},
    bus::{self, Bus},
    event::{Limits, ScopeField},
    hub::HistoryRequest,
    log::{MemoryLog, MemoryOptions},
    platform::presence::ConnectionId,
};
use serde_json::json;
use std::{cell::Cell, time::Duration};

fn hub() -> Hub {
    let bus = Bus::new(&bus::Options::default());
    let ring = bus.clone();
    let log = MemoryLog::open(MemoryOptions::default(), Box::new(move |batch| ring.publish(batch)));
    Hub::new(Arc::new(log), bus, Metrics::new(), Limits::default())
}

fn note(number: usize) -> Draft {
    transient("system.error", &Scope::default(), &json!({ "number": number }))
}

#[tokio::test]
async fn what_nobody_takes_is_lost_beyond_the_bound_and_counted_and_whoever_tells_never_waits() {
    let hub = hub();
    let (self_events, announcer) = SelfEvents::new(&hub, &[Family::System]);
    for number in 0..WAITING_EVENTS_MAX + 3 {
        self_events.tell(Family::System, || note(number));
    }
    assert_eq!(hub.metrics().self_events_lost.get(), 3);
    drop(self_events);
    announcer.run().await;
    assert_eq!(hub.metrics().self_events_published.get(), WAITING_EVENTS_MAX as u64);
    assert_eq!(hub.metrics().self_events_lost.get(), 3);
}

#[tokio::test]
async fn what_the_log_does_not_take_is_counted_and_the_next_is_tried_again() {
    let hub = hub();
    let (self_events, announcer) = SelfEvents::new(&hub, &[Family::System]);
    hub.close().await;
    let announcing = tokio::spawn(announcer.run());
    assert_eq!(self_events.daemon_stopping().await, None);
    self_events.tell(Family::System, || note(1));
    drop(self_events);
    announcing.await.unwrap();
    assert_eq!((hub.metrics().self_events_lost.get(), hub.metrics().self_events_published.get()), (2, 0));
}

#[tokio::test]
async fn an_event_of_a_family_that_is_off_is_not_even_made() {
    let hub = hub();
    let (self_events, announcer) = SelfEvents::new(&hub, &[Family::Health, Family::Graphql]);
    let made = Cell::new(0);
    for family in [Family::Presence, Family::System, Family::Performance, Family::Health, Family::Custom] {
        self_events.tell(family, || {
            made.set(made.get() + 1);
            note(0)
        });
    }
    assert_eq!(made.get(), 1);
    SelfEvents::off().tell(Family::Health, || unreachable!("nothing is told"));
    drop((self_events, announcer));
    assert_eq!(hub.metrics().self_events_lost.get(), 0);
}

#[tokio::test]
async fn the_beginning_and_the_end_are_kept_and_have_the_server_as_their_source() {
    let hub = hub();
    let (self_events, announcer) = SelfEvents::new(&hub, &[Family::System]);
    let announcing = tokio::spawn(announcer.run());
    self_events.daemon_started();
    let offset = self_events.daemon_stopping().await;
    assert_eq!(offset, Some(hub.bounds().head));
    let history = hub.history(&Principal::anonymous(), HistoryRequest::default()).await.unwrap();
    let told: Vec<_> =
        history.events.iter().map(|event| (event.event_type().as_str(), event.source())).collect();
    assert_eq!(told, [("system.daemon_started", SOURCE), ("system.daemon_stopping", SOURCE)]);
    drop(self_events);
    announcing.await.unwrap();
}

/// What is told of a principal, as those see it who may.
fn told(tell: impl FnOnce(&SelfEvents)) -> Vec<NewEvent> {
    let hub = hub();
    let all = [Family::System, Family::Graphql, Family::Performance];
    let (self_events, mut announcer) = SelfEvents::new(&hub, &all);
    tell(&self_events);
    std::iter::from_fn(|| announcer.told.try_recv().ok())
        .map(|told| NewEvent::new(told.draft, &Limits::default()).unwrap())
        .collect()
}

fn ada() -> Principal {
    let credential = Credential::Token { id: Some("jti-1".into()), key: "k".into() };
    Principal::new("ada", credential, Grant::nothing(), View::whole(), None)
}

#[test]
fn an_operation_is_told_with_its_name_its_time_and_its_user_and_nothing_else() {
    let operation = Operation {
        kind: "mutation",
        name: Some("x".repeat(200).into()),
        correlation_id: Some("c-1".into()),
        principal: ada(),
    };
    let (took, threshold) = (Duration::from_micros(1_234_567), Duration::from_secs(1));
    let events = told(|self_events| {
        self_events.operation_started(&operation);
        self_events.operation_completed(&operation, took, 2);
        self_events.slow_operation(&Operation { name: None, ..operation.clone() }, took, threshold);
    });
    let name = "x".repeat(super::operation::NAME_BYTES_MAX);
    let expected = [
        ("graphql.mutation.started", json!({ "operationName": name })),
        ("graphql.mutation.completed", json!({ "operationName": name, "durationMs": 1234.567, "errors": 2 })),
        (
            "performance.slowOperation.detected",
            json!({ "operation": "mutation", "kind": "mutation", "durationMs": 1234.567, "thresholdMs": 1000.0 }),
        ),
    ];
    assert_eq!(events.len(), expected.len());
    for (event, (event_type, data)) in events.iter().zip(expected) {
        assert_eq!(event.event_type().as_str(), event_type);
        assert_eq!(serde_json::from_str::<Value>(event.data().as_str()).unwrap(), data);
        assert_eq!(event.scope().iter().collect::<Vec<_>>(), [(ScopeField::User, "ada")]);
        assert_eq!((event.correlation_id(), event.is_persistent()), (Some("c-1"), false));
        assert!(event.event_type().family().actions().contains(&event.event_type().action()));
    }
}

#[test]
fn a_connection_that_could_not_go_on_is_an_error_and_any_other_is_closed() {
    let ends = [
        (End::by_peer(None), 1005, "left", false),
        (End::by_peer(Some(4403)), 4403, "left", false),
        (End::broken_off(), 1006, "gone", false),
        (End::by_server(1012), 1012, "draining", false),
        (End::by_server(4403), 4403, "refused", false),
        (End::by_server(4008), 4008, "slow-consumer", true),
        (End::by_server(4400), 4400, "protocol-error", true),
        (End::by_server(1009), 1009, "protocol-error", true),
        (End::by_server(1013), 1013, "overload", true),
    ];
    let principal = ada();
    let id = ConnectionId::parse("0000000000000007").unwrap();
    let connection = Connection { id, protocol: "json-rpc", since: Utc::now(), principal: &principal };
    for (end, code, reason, is_error) in ends {
        let events = told(|self_events| self_events.connection_closed(&connection, end));
        assert_eq!(events.len(), 1 + usize::from(is_error), "{code} {reason}");
        let closed = events.last().unwrap();
        let data: Value = serde_json::from_str(closed.data().as_str()).unwrap();
        assert_eq!(closed.event_type().as_str(), "system.connection_closed");
        assert_eq!((&data["closeCode"], &data["reason"]), (&json!(code), &json!(reason)));
        assert_eq!(
            (&data["connectionId"], &data["protocol"]),
            (&json!("0000000000000007"), &json!("json-rpc"))
        );
        if is_error {
            let data: Value = serde_json::from_str(events[0].data().as_str()).unwrap();
            assert_eq!(events[0].event_type().as_str(), "system.error");
            assert_eq!((&data["error"], &data["closeCode"]), (&json!(reason), &json!(code)));
        }
    }
}
