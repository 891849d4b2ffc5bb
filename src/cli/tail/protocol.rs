//! The client's side of `graphql-transport-ws`: the messages of one subscription, written and read.
//!
//! Invariants: text that the server sent is either one [`Incoming`] or an error; nothing panics.
//! Not here: what to do with a message (`session`), sockets (`connection`).

use super::super::bearer::Bearer;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use std::borrow::Cow;

/// The name of the subprotocol.
pub(in crate::cli) const SUBPROTOCOL: &str = "graphql-transport-ws";
/// The id of the only subscription of a connection.
pub(super) const SUBSCRIPTION: &str = "tail";
/// Every field that all events share.
const DOCUMENT: &str = "subscription Tail($filter: EventFilter, $start: StartPosition) { \
    events(filter: $filter, start: $start) { \
    id type time source subject organizationId domainId instanceId agentId taskId workflowId userId roomId \
    correlationId priority persist cursor attributes dataBase64 data } }";

/// The first message of a connection. The credential travels here and not in the upgrade, because here a refusal has a reason.
pub(in crate::cli) fn init(bearer: Option<&Bearer>) -> String {
    match bearer {
        Some(bearer) => {
            json!({"type": "connection_init", "payload": {"Authorization": bearer.authorization()}})
                .to_string()
        }
        None => json!({"type": "connection_init"}).to_string(),
    }
}

/// A ping of the client's own, to find out whether the server is still there.
pub(super) fn ping() -> String {
    json!({"type": "ping"}).to_string()
}

/// The answer to a ping.
pub(in crate::cli) fn pong() -> String {
    json!({"type": "pong"}).to_string()
}

/// Asks for events. `start` is a `StartPosition`, none for live.
pub(super) fn subscribe(filter: &Map<String, Value>, start: Option<&Value>) -> String {
    let mut variables = Map::new();
    if !filter.is_empty() {
        variables.insert("filter".to_owned(), filter.clone().into());
    }
    if let Some(start) = start {
        variables.insert("start".to_owned(), start.clone());
    }
    json!({
        "id": SUBSCRIPTION,
        "type": "subscribe",
        "payload": {
            "operationName": "Tail",
            "query": DOCUMENT,
            "variables": variables,
            "extensions": {"ready": true},
        },
    })
    .to_string()
}

/// A message of the server.
#[derive(Debug)]
pub(super) enum Incoming<'a> {
    /// The connection may subscribe now.
    Ack,
    /// Wants a pong; an idle subscription has advanced to the cursor.
    Ping(Option<String>),
    /// The answer to a ping.
    Pong,
    /// Nothing that is published from now on can be missed.
    Ready(Option<String>),
    /// An event with its cursor.
    Event(Box<Received<'a>>, Option<String>),
    /// An event that the server could not show.
    Unshown(GraphqlError, String),
    /// The subscription ended or was refused.
    Error(GraphqlError),
    /// The subscription ended without an error.
    Complete,
}

/// An error of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct GraphqlError {
    /// The code in the extensions, if there is one.
    pub(in crate::cli) code: Option<String>,
    /// For people.
    pub(in crate::cli) message: String,
    /// What to do next.
    pub(in crate::cli) next: Option<String>,
    /// The first cursor from which nothing is missing.
    pub(super) earliest: Option<String>,
}

/// An event as the server rendered it; `data` and `attributes` are not touched, so that numbers stay as they are.
#[derive(Debug, Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Received<'a> {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) event_type: String,
    pub(super) time: String,
    pub(super) source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) organization_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) domain_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) instance_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) agent_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) task_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) workflow_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) room_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) correlation_id: Option<String>,
    pub(super) priority: String,
    /// Said only where it is `false`, as in our own JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) persist: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<String>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) attributes: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) data_base64: Option<String>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Next<'a> {
    #[serde(default, borrow)]
    data: Option<Events<'a>>,
    #[serde(default)]
    errors: Vec<Value>,
    #[serde(default)]
    extensions: Extensions,
}

#[derive(Deserialize)]
struct Events<'a> {
    #[serde(borrow)]
    events: Option<Received<'a>>,
}

#[derive(Default, Deserialize)]
struct Extensions {
    #[serde(default)]
    ready: bool,
    #[serde(default)]
    cursor: Option<String>,
}

/// Reads a message of the server. The error is a sentence.
pub(super) fn read(text: &str) -> Result<Incoming<'_>, String> {
    let message: Message<'_> = serde_json::from_str(text).map_err(|error| unreadable(text, &error))?;
    let payload = message.payload.map_or("null", RawValue::get);
    match message.kind.as_ref() {
        "connection_ack" => Ok(Incoming::Ack),
        "ping" => {
            let payload: Option<Value> =
                serde_json::from_str(payload).map_err(|error| unreadable(text, &error))?;
            let cursor = payload.as_ref().and_then(|payload| payload.get("cursor")?.as_str());
            Ok(Incoming::Ping(cursor.map(str::to_owned)))
        }
        "pong" => Ok(Incoming::Pong),
        "complete" => Ok(Incoming::Complete),
        "error" => {
            let errors: Vec<Value> =
                serde_json::from_str(payload).map_err(|error| unreadable(text, &error))?;
            Ok(Incoming::Error(first_error(&errors)))
        }
        "next" => {
            let next = serde_json::from_str(payload).map_err(|error| unreadable(text, &error))?;
            Ok(read_next(next))
        }
        _ => Err(format!(
            "the server sent a message that is not understood: {}",
            fanfare::error::excerpt(text)
        )),
    }
}

fn unreadable(text: &str, error: &serde_json::Error) -> String {
    format!("the server sent a message that cannot be read: {error}: {}", fanfare::error::excerpt(text))
}

fn read_next(next: Next<'_>) -> Incoming<'_> {
    let Extensions { ready, cursor } = next.extensions;
    match (next.data.and_then(|data| data.events), cursor) {
        (Some(mut event), cursor) => {
            if event.data.is_none() && event.data_base64.is_none() {
                event.data = Some(RawValue::NULL);
            }
            event.persist = event.persist.filter(|persist| !persist);
            let cursor = cursor.or_else(|| event.cursor.clone());
            Incoming::Event(Box::new(event), cursor)
        }
        (None, cursor) if ready => Incoming::Ready(cursor),
        // With a cursor it is one event that failed; without one it is the subscription.
        (None, Some(cursor)) => Incoming::Unshown(first_error(&next.errors), cursor),
        (None, None) => Incoming::Error(first_error(&next.errors)),
    }
}

/// The first of a list of errors.
pub(in crate::cli) fn first_error(errors: &[Value]) -> GraphqlError {
    let text = |pointer: &str| {
        let value = errors.first().and_then(|error| error.pointer(pointer)?.as_str());
        value.map(str::to_owned)
    };
    GraphqlError {
        code: text("/extensions/code"),
        message: text("/message").unwrap_or_else(|| "the server gave no reason".to_owned()),
        next: text("/extensions/next"),
        earliest: text("/extensions/earliest"),
    }
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
