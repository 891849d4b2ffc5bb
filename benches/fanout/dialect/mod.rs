//! What the servers speak: how a connection introduces itself, subscribes, is delivered to and publishes.
//!
//! Invariants: a dialect is pure but for the greeting; nothing is copied while messages are split off.
//! Not here: counting and checking (`subscriber`, `ledger`).

mod graphql_ws;
mod nats;
mod redis;

pub(crate) use graphql_ws::{GraphqlWs, post_events, publish_mark, split_response};
pub(crate) use nats::Nats;
pub(crate) use redis::{Redis, command as redis_command};

use crate::{
    audience::{Audience, Wish},
    failure::Failure,
    wire::Wire,
};
use futures_util::future::LocalBoxFuture;
use std::{fmt::Debug, ops::Range};

/// One message to a subscriber.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// A text, mostly an event.
    Text(&'a [u8]),
    /// The server wants this answer.
    Asks(&'static [u8]),
    /// A confirmation that says nothing about events.
    Aside,
    /// The server ends the connection.
    Closed(String),
}

/// A text that is no event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Other {
    /// The server wants this answer.
    Asks(&'static [u8]),
    /// A subscription is in force.
    Ready,
    Unexpected,
}

/// What stands first among the bytes and what follows; `None` while its end is missing.
pub(crate) type Split<'a, T> = Result<Option<(T, &'a [u8])>, &'static str>;

/// A protocol, seen from the load.
pub(crate) trait Dialect: Debug + Sync {
    /// Introduces a new connection, until it may subscribe; as `subject`, where the server asks who is there.
    fn greet<'a>(&'a self, wire: &'a mut Wire, subject: &'a str) -> LocalBoxFuture<'a, Result<(), Failure>>;

    /// Is a connection that only publishes introduced too?
    fn greets_publishers(&self) -> bool {
        false
    }

    /// The bytes that ask for all of a wish.
    fn subscribe(&self, wish: &Wish) -> Vec<u8>;

    /// The first message to a subscriber.
    fn split<'a>(&self, bytes: &'a [u8]) -> Split<'a, Message<'a>>;

    /// What is a text without an event?
    fn other(&self, _text: &[u8]) -> Other {
        Other::Unexpected
    }

    /// The bytes that publish these events, and how many answers they will have.
    fn publish(&self, audience: Audience, events: Range<u64>, padding: &str) -> (Vec<u8>, usize);

    /// The first answer to the publisher: does it acknowledge? Fails when it refuses.
    fn split_answer<'a>(&self, bytes: &'a [u8]) -> Result<Option<(bool, &'a [u8])>, Failure>;
}

/// The text that a GraphQL server sends for an event; brokers are given it ready-made, so that all move the same bytes.
pub(crate) fn ready_made(audience: Audience, event: u64, padding: &str) -> String {
    format!(
        r#"{{"id":"1","type":"next","payload":{{"data":{{"events":{{"id":"0199aaaa-bbbb-7ccc-8ddd-eeeeffff0000","type":"{}","time":"2026-01-01T00:00:00.000000Z","data":{{"n":{event},"pad":"{padding}"}}}}}}}}}}"#,
        audience.event_type(event)
    )
}

/// The first line without its end, and what follows.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|window| window == b"\r\n")?;
    Some((bytes.get(..end)?, bytes.get(end + 2..)?))
}

/// A decimal number and nothing else.
fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
