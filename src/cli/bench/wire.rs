//! `graphql-transport-ws` with many subscriptions a connection, named by their number: what is sent, and every message that is
//! no event of the load.
//!
//! Not here: events (`tick`), which are too many to be parsed whole.

use super::super::tail::protocol::{GraphqlError, first_error};
use serde::Deserialize;
use serde_json::{Value, json};

const DOCUMENT: &str = "subscription Bench($filter: EventFilter, $start: StartPosition) { \
    events(filter: $filter, start: $start) { id type time data } }";

/// From where a subscription starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Live,
    Earliest,
    After(String),
}

/// Asks for the events of a filter, and to be told when the subscription stands.
pub(super) fn subscribe(subscription: usize, filter: &Value, start: &Start) -> String {
    let start = match start {
        Start::Live => Value::Null,
        Start::Earliest => json!({"earliest": true}),
        Start::After(cursor) => json!({ "after": cursor }),
    };
    json!({
        "id": subscription.to_string(),
        "type": "subscribe",
        "payload": {
            "operationName": "Bench",
            "query": DOCUMENT,
            "variables": {"filter": filter, "start": start},
            "extensions": {"ready": true},
        },
    })
    .to_string()
}

/// A message of the server that is no event of the load.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// The connection may subscribe now.
    Ack,
    /// Wants a pong.
    Ping,
    /// Nothing to do.
    Idle,
    /// Nothing that is published from now on can be missed; the position.
    Ready(usize, Option<String>),
    /// An event that is none of this run's.
    Foreign(usize),
    /// The subscription ended or was refused, or the server could not show one of its events.
    Failed(GraphqlError),
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    payload: Value,
}

/// Reads a message. The error is a sentence.
pub(super) fn read(text: &str) -> Result<Incoming, String> {
    let strange = || format!("a message that is not understood: {}", fanfare::error::excerpt(text));
    let message: Message = serde_json::from_str(text).map_err(|_| strange())?;
    let subscription = message.id.as_deref().and_then(|id| id.parse().ok());
    match (message.kind.as_str(), subscription) {
        ("connection_ack", _) => Ok(Incoming::Ack),
        ("ping", _) => Ok(Incoming::Ping),
        ("pong", _) => Ok(Incoming::Idle),
        ("next", Some(subscription)) => Ok(next(subscription, &message.payload)),
        ("error", _) => Ok(Incoming::Failed(errors_of(&message.payload))),
        ("complete", Some(subscription)) => {
            Err(format!("the end of subscription {subscription}, without a reason"))
        }
        (_, _) => Err(strange()),
    }
}

fn next(subscription: usize, payload: &Value) -> Incoming {
    let extension = |name: &str| payload.get("extensions").and_then(|extensions| extensions.get(name));
    let cursor = extension("cursor").and_then(Value::as_str).map(str::to_owned);
    if extension("ready") == Some(&Value::Bool(true)) {
        return Incoming::Ready(subscription, cursor);
    }
    match payload.pointer("/data/events") {
        Some(Value::Object(_)) => Incoming::Foreign(subscription),
        Some(_) | None => Incoming::Failed(errors_of(payload.get("errors").unwrap_or_default())),
    }
}

fn errors_of(errors: &Value) -> GraphqlError {
    first_error(errors.as_array().map(Vec::as_slice).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_says_its_number_its_filter_and_where_it_starts() {
        let filter = json!({"types": ["a"]});
        let sent = |start| -> Value { serde_json::from_str(&subscribe(7, &filter, &start)).unwrap() };
        let live = sent(Start::Live);
        assert_eq!((&live["id"], &live["payload"]["variables"]["filter"]), (&json!("7"), &filter));
        assert_eq!(live["payload"]["variables"]["start"], Value::Null);
        let after = sent(Start::After("c".to_owned()));
        assert_eq!(after["payload"]["variables"]["start"], json!({"after": "c"}));
    }

    #[test]
    fn every_kind_of_message_is_told_apart() {
        let read = |text: &str| read(text).unwrap();
        assert_eq!(read(r#"{"type":"connection_ack","payload":{}}"#), Incoming::Ack);
        assert_eq!(read(r#"{"type":"ping","payload":{"cursor":"c"}}"#), Incoming::Ping);
        let ready =
            r#"{"id":"3","type":"next","payload":{"data":null,"extensions":{"ready":true,"cursor":"c"}}}"#;
        assert_eq!(read(ready), Incoming::Ready(3, Some("c".to_owned())));
        let event = r#"{"id":"3","type":"next","payload":{"data":{"events":{"id":"x"}},"extensions":{"cursor":"c"}}}"#;
        assert_eq!(read(event), Incoming::Foreign(3));
        for failed in [
            r#"{"id":"3","type":"error","payload":[{"message":"m","extensions":{"code":"TOO_MANY"}}]}"#,
            r#"{"id":"3","type":"next","payload":{"data":null,"errors":[{"message":"m","extensions":{"code":"TOO_MANY"}}]}}"#,
        ] {
            let Incoming::Failed(error) = read(failed) else { panic!("{failed}") };
            assert_eq!((error.code.as_deref(), &*error.message), (Some("TOO_MANY"), "m"));
        }
    }

    #[test]
    fn nonsense_and_a_silent_end_are_errors() {
        for text in ["", "nonsense", "{}", r#"{"type":"data"}"#, r#"{"id":"1","type":"complete"}"#] {
            assert!(super::read(text).is_err(), "{text}");
        }
    }
}
