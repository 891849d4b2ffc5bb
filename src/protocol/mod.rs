//! How it is said: the words of an operation's life, the dialects that write them, and the session that orders them.
//!
//! Flow: the edge gives text to a [`Session`], does the [`Action`]s it gets back, and writes frames with the [`Dialect`].
//! Invariants: pure: no socket, no clock, no task; time and authentication are inputs. Whatever a client sends ends in an
//! action, never in a panic. A dialect is one row of [`DIALECTS`] and one file.
//! Not here: sockets, timers and outboxes (`server`), executing operations (`graphql`).

mod apollo_ws;
mod closing;
#[cfg(test)]
mod conformance;
mod credential;
mod errors;
mod event_source;
mod graphql_sse;
pub mod jsonrpc;
mod message;
mod multipart;
mod replaced;
mod session;
mod streaming;
mod text;
mod transport_ws;

pub use closing::{CLOSE_REASON_BYTES_MAX, CloseReason, Closing, close_code};
pub use credential::{Token, payload_token, two_credentials};
pub use errors::write_errors;
pub use message::ID_BYTES_MAX;
pub use replaced::with_replaced;
pub use session::{Action, HELD_BYTES_MAX, Key, Options, Session};
pub use streaming::{StreamForm, Streaming, Word};

use crate::{
    error::{Code, Refusal},
    event::{Json, check_id},
};
use serde_json::{Map, Value};
use std::{borrow::Cow, fmt};

/// What a client wants executed: plain text and JSON; `server` turns it into a request of the executor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Operation {
    /// The GraphQL document.
    pub query: String,
    /// Which operation of the document.
    pub operation_name: Option<String>,
    /// A JSON object.
    pub variables: Option<Json>,
    /// What the client asks for beside the result.
    pub extensions: Map<String, Value>,
}

impl Operation {
    /// Does the client want to be told when the subscription can miss nothing any more (`extensions.ready`)?
    pub fn wants_ready(&self) -> bool {
        self.extensions.get("ready") == Some(&Value::Bool(true))
    }

    /// The request that it belongs to, as the client says (`extensions.correlationId`). Fails with `BAD_REQUEST` for what is no
    /// id.
    pub fn correlation_id(&self) -> Result<Option<&str>, Refusal> {
        const FIELD: &str = "extensions.correlationId";
        match self.extensions.get("correlationId") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(id)) => check_id(id, Code::BadRequest, FIELD).map(|()| Some(id.as_str())),
            Some(other) => {
                Err(Refusal::field(Code::BadRequest, FIELD, &other.to_string(), "a string, an id"))
            }
        }
    }

    /// About how many bytes it holds.
    fn bytes(&self) -> usize {
        self.query.len()
            + self.operation_name.as_ref().map_or(0, String::len)
            + self.variables.as_ref().map_or(0, |variables| variables.as_str().len())
            + self.extensions.iter().map(|(name, value)| name.len() + value.to_string().len()).sum::<usize>()
    }
}

/// What a client said, in our words: travels from a dialect's `decode` to the session.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The first message of a connection; the payload is an object and may carry credentials.
    Init {
        /// The client's parameters.
        payload: Option<Json>,
    },
    /// Start an operation under an id that the client chose.
    Subscribe {
        /// The id; free again once the operation is over.
        id: Box<str>,
        /// What to execute.
        operation: Operation,
    },
    /// Stop an operation.
    Complete {
        /// Its id.
        id: Box<str>,
    },
    /// Are you there?
    Ping {
        /// Comes back in the pong.
        payload: Option<Json>,
    },
    /// I am here.
    Pong,
    /// The client is about to close (legacy only).
    Terminate,
}

/// What we say: travels from the session or the connection to a dialect's `encode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The connection is initialised.
    Ack,
    /// The connection is refused and about to be closed; only a dialect without close codes has such a message.
    InitRefused {
        /// One GraphQL error, encoded.
        error: Cow<'a, str>,
    },
    /// One result of an operation.
    Next {
        /// The operation.
        id: Cow<'a, str>,
        /// The execution result, encoded.
        payload: Cow<'a, str>,
    },
    /// The operation failed before it gave a result, or cannot go on; nothing follows for this id.
    Error {
        /// The operation.
        id: Cow<'a, str>,
        /// A JSON array of GraphQL errors, as [`write_errors`] writes it.
        errors: Cow<'a, str>,
    },
    /// The operation is over; nothing follows for this id.
    Complete {
        /// The operation.
        id: Cow<'a, str>,
    },
    /// Are you there?
    Ping {
        /// A JSON object.
        payload: Option<Cow<'a, str>>,
    },
    /// I am here.
    Pong {
        /// The payload of the ping.
        payload: Option<Cow<'a, str>>,
    },
    /// I am here, and need no answer (legacy only, in place of pings).
    KeepAlive,
}

/// What a client does again under an id that is still in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicate {
    /// The socket is closed.
    Refuse,
    /// The operation that runs is stopped and the new one takes its id.
    Replace,
}

/// Where the dialects of a session differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What a second use of a live id means.
    pub duplicate: Duplicate,
    /// Are operations sent before the acknowledgement kept until it? Otherwise they close the socket.
    pub holds_early_operations: bool,
    /// Is a client's stop answered with `complete`?
    pub answers_stop: bool,
    /// Does a keep-alive follow the acknowledgement at once?
    pub keep_alive_after_ack: bool,
}

/// A WebSocket subprotocol: a codec between its text and our words. Stateless; all state is in the [`Session`].
pub trait Dialect: fmt::Debug + Send + Sync {
    /// The name of the subprotocol at the upgrade.
    fn name(&self) -> &'static str;

    /// Where its sessions differ from others.
    fn rules(&self) -> Rules;

    /// Reads a text message. What is no message of this dialect closes the socket.
    fn decode(&self, text: &str) -> Result<Command, Closing>;

    /// Appends a message; false, and nothing appended, where the dialect has no such message.
    fn encode(&self, reply: &Reply<'_>, out: &mut String) -> bool;

    /// Appends what stands before the payload of a result; a connection keeps it for each subscription.
    fn next_prefix(&self, id: &str, out: &mut String);

    /// What stands after the payload of a result.
    fn next_suffix(&self) -> &'static str {
        "}"
    }

    /// How the dialect says goodbye.
    fn close(&self, reason: &CloseReason<'_>) -> Closing {
        Closing::new(reason)
    }
}

/// The subprotocols that we speak, the one we like best first.
pub const DIALECTS: [&dyn Dialect; 2] = [&transport_ws::TransportWs, &apollo_ws::ApolloWs];

/// Chooses the best of the subprotocols that a client offers. None: the upgrade is refused, see PROTOCOL.md.
pub fn negotiate<'a>(offered: impl Iterator<Item = &'a str>) -> Option<&'static dyn Dialect> {
    offered
        .filter_map(|name| DIALECTS.iter().position(|dialect| dialect.name() == name))
        .min()
        .and_then(|best| DIALECTS.get(best).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_dialect_is_chosen_in_whatever_order_both_are_offered() {
        let chosen = |offered: &[&str]| negotiate(offered.iter().copied()).map(Dialect::name);
        assert_eq!(chosen(&["graphql-transport-ws"]), Some("graphql-transport-ws"));
        assert_eq!(chosen(&["graphql-ws"]), Some("graphql-ws"));
        assert_eq!(chosen(&["graphql-ws", "graphql-transport-ws"]), Some("graphql-transport-ws"));
        assert_eq!(chosen(&["soap", "graphql-ws"]), Some("graphql-ws"));
    }

    #[test]
    fn an_unknown_subprotocol_is_not_chosen() {
        for offered in ["", "soap", "GRAPHQL-WS", "graphql-ws "] {
            assert!(negotiate([offered].into_iter()).is_none(), "{offered:?}");
        }
        assert!(negotiate(std::iter::empty()).is_none());
    }

    #[test]
    fn a_spliced_result_is_the_encoded_result() {
        for dialect in DIALECTS {
            let id = "a\"\u{1}é";
            let (mut spliced, mut encoded) = (String::new(), String::new());
            dialect.next_prefix(id, &mut spliced);
            spliced.push_str(r#"{"data":null}"#);
            spliced.push_str(dialect.next_suffix());
            assert!(
                dialect
                    .encode(&Reply::Next { id: id.into(), payload: r#"{"data":null}"#.into() }, &mut encoded)
            );
            assert_eq!(spliced, encoded);
            let value: Value = serde_json::from_str(&encoded).unwrap();
            assert_eq!((&value["id"], &value["payload"]["data"]), (&id.into(), &Value::Null));
        }
    }

    #[test]
    fn only_true_asks_for_ready() {
        let asks = |text: &str| {
            Operation { extensions: serde_json::from_str(text).unwrap(), ..Operation::default() }
                .wants_ready()
        };
        assert!(asks(r#"{"ready":true}"#));
        assert!(!asks("{}") && !asks(r#"{"ready":"true"}"#) && !asks(r#"{"ready":false}"#));
    }

    #[test]
    fn an_operation_says_to_which_request_it_belongs_or_is_refused() {
        let told = |text: &str| {
            let extensions = serde_json::from_str(text).unwrap();
            let operation = Operation { extensions, ..Operation::default() };
            operation.correlation_id().map(|id| id.map(str::to_owned))
        };
        assert_eq!(told(r#"{"correlationId":"c-1"}"#), Ok(Some("c-1".to_owned())));
        assert_eq!((told("{}"), told(r#"{"correlationId":null}"#)), (Ok(None), Ok(None)));
        for wrong in [r#"{"correlationId":7}"#, r#"{"correlationId":"a b"}"#, r#"{"correlationId":""}"#] {
            let refusal = told(wrong).unwrap_err();
            assert_eq!(refusal.detail("field"), Some("extensions.correlationId"), "{wrong}");
            assert_eq!(refusal.code, Code::BadRequest);
        }
    }
}
