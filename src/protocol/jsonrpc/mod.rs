//! JSON-RPC 2.0 (jsonrpc.org/specification): calls and batches in, answers and notifications out, the methods between.
//!
//! Flow: text -> [`parse`] -> [`Call`] -> [`Method::parse`] -> whoever does it -> `write_result` or `write_error`.
//! Invariants: ids come back byte for byte; a notification is never answered, not even when it fails; each call of a batch
//! stands for itself; nothing is read from text that did not pass the strict check.
//! Not here: doing what a method says (`server` with `hub`).

mod encode;
mod error;
mod fault;
mod filter_json;
mod gateway;
mod methods;
mod session;

pub use encode::{
    GATEWAY_EVENT_PREFIX, GATEWAY_EVENT_SUFFIX, NOTIFICATION_SUFFIX, notification_prefix,
    notification_suffix_replaced, write_batch, write_error, write_gateway_subscription, write_history,
    write_published, write_result, write_subscribed,
};
pub use error::{RpcError, number};
pub use filter_json::write_filter;
pub use gateway::{GATEWAY_FAMILIES, gateway_filter, write_gateway_event};
pub use methods::{EVENTS_MAX, METHODS, Method, Page};
pub use session::{RpcSession, SubscriptionId};

use super::text;
use crate::{
    error::{Code, Refusal},
    event::EventFilter,
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::sync::Arc;

/// The OpenRPC document that `rpc.discover` answers with.
pub const OPENRPC: &str = include_str!("openrpc.json");

/// The most bytes of an id.
pub const ID_BYTES_MAX: usize = 256;

/// The limits of JSON-RPC.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most calls in a batch.
    pub batch_max: usize,
    /// The most `events.subscribe` subscriptions of a connection.
    pub subscriptions_max: usize,
    /// What a gateway client receives until it says otherwise; shared by all connections.
    pub gateway_filter: Arc<EventFilter>,
}

impl Default for Options {
    fn default() -> Self {
        Options { batch_max: 50, subscriptions_max: 100, gateway_filter: Arc::new(gateway::default_filter()) }
    }
}

/// The id of a call as the client wrote it: a JSON string, number or `null`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(Box<str>);

impl Id {
    /// The id of an answer to something whose id could not be read.
    pub fn null() -> Self {
        Id("null".into())
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    fn read(raw: &RawValue) -> Result<Self, String> {
        let text = raw.get();
        match text.as_bytes().first() {
            _ if text.len() > ID_BYTES_MAX => Err(format!("the id has more than {ID_BYTES_MAX} bytes")),
            Some(b'"' | b'-' | b'0'..=b'9' | b'n') => Ok(Id(text.into())),
            _ => Err("the id must be a string, a number or null".to_owned()),
        }
    }
}

/// One request: travels from [`parse`] to [`Method::parse`].
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// None: a notification, which is never answered.
    pub id: Option<Id>,
    /// What to do.
    pub method: String,
    /// An object or a list.
    pub params: Option<&'a RawValue>,
}

/// What could not be read as a call; it is answered, with id `null` where the id could not be read either.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreadable {
    /// The id of the answer.
    pub id: Id,
    /// The answer.
    pub error: RpcError,
}

/// A text message or body, read.
#[derive(Clone, Debug)]
pub enum Incoming<'a> {
    /// One call, or one answer to all of it.
    Single(Result<Call<'a>, Unreadable>),
    /// At least one call; the answers go out as one list, or not at all where there are none.
    Batch(Vec<Result<Call<'a>, Unreadable>>),
}

/// Reads a message or body.
pub fn parse<'a>(text: &'a str, options: &Options) -> Incoming<'a> {
    let refused = |error| Incoming::Single(Err(Unreadable { id: Id::null(), error }));
    if let Err(fault) = text::check(text) {
        return refused(RpcError::parse_error(&fault));
    }
    if !text.trim_start().starts_with('[') {
        return Incoming::Single(call(text.trim()));
    }
    let calls: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
    let limit = options.batch_max;
    match calls.len() {
        0 => refused(RpcError::invalid_request("a batch needs one call at least")),
        count if count > limit => {
            let message = format!("a batch of {count} calls; {limit} are allowed");
            refused(RpcError::from(&Refusal::new(Code::TooMany, message).with("allowed", limit.to_string())))
        }
        _ => Incoming::Batch(calls.into_iter().map(|raw| call(raw.get())).collect()),
    }
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

/// Keeps `null` apart from absent: a call with the id `null` is answered, one without id is not.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn call(text: &str) -> Result<Call<'_>, Unreadable> {
    let refused = |id: Id, fault: &str| Unreadable { id, error: RpcError::invalid_request(fault) };
    // Derived readers would take a list for an object as well.
    let members: Members<'_> = match text.starts_with('{') {
        true => serde_json::from_str(text).ok(),
        false => None,
    }
    .ok_or_else(|| refused(Id::null(), "a call is an object"))?;
    let id = members.id.map(Id::read).transpose().map_err(|fault| refused(Id::null(), &fault))?;
    let unreadable = |fault: &str| refused(id.clone().unwrap_or_else(Id::null), fault);
    match members.jsonrpc.and_then(string).as_deref() {
        Some("2.0") => {}
        Some(_) | None => return Err(unreadable("jsonrpc must be \"2.0\"")),
    }
    let method = members.method.and_then(string).ok_or_else(|| unreadable("method must be a string"))?;
    match members.params {
        Some(params) if !params.get().starts_with(['{', '[']) => {
            Err(unreadable("params must be an object or a list, or be left out"))
        }
        params => Ok(Call { id, method, params }),
    }
}

fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

#[cfg(test)]
#[path = "jsonrpc_tests.rs"]
mod tests;
