//! The subprotocol `graphql-ws` of Apollo's subscriptions-transport-ws: older clients, and tools that never changed.
//!
//! It has no close codes and no pings: a refused initialisation is told by `connection_error` before the close frame, and
//! `ka` goes out where other dialects ping. Where we differ from the reference server, PROTOCOL.md says so and why.

use super::{
    Closing, Command, Dialect, Duplicate, Reply, Rules,
    message::{Message, unknown},
    transport_ws::{self, begin},
};
use serde_json::value::RawValue;

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub(super) struct ApolloWs;

pub(super) const NAME: &str = "graphql-ws";

/// The types that clients may send.
pub(super) const TYPES: [&str; 4] = ["connection_init", "start", "stop", "connection_terminate"];

impl Dialect for ApolloWs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn rules(&self) -> Rules {
        Rules {
            duplicate: Duplicate::Replace,
            // Its client sends all its operations right behind the initialisation.
            holds_early_operations: true,
            answers_stop: true,
            keep_alive_after_ack: true,
        }
    }

    fn decode(&self, text: &str) -> Result<Command, Closing> {
        let message = Message::read(text)?;
        Ok(match message.kind.as_str() {
            "connection_init" => Command::Init { payload: message.parameters()? },
            "start" => Command::Subscribe { id: message.id()?, operation: message.operation()? },
            "stop" => Command::Complete { id: message.id()? },
            "connection_terminate" => Command::Terminate,
            other => return Err(unknown(other, NAME, &transport_ws::TYPES, transport_ws::NAME)),
        })
    }

    fn encode(&self, reply: &Reply<'_>, out: &mut String) -> bool {
        match reply {
            Reply::Ack => out.push_str(r#"{"type":"connection_ack"}"#),
            Reply::InitRefused { error } => {
                out.push_str(r#"{"type":"connection_error","payload":"#);
                out.push_str(error);
                out.push('}');
            }
            Reply::Next { id, payload } => {
                self.next_prefix(id, out);
                out.push_str(payload);
                out.push_str(self.next_suffix());
            }
            Reply::Error { id, errors } => {
                begin(id, "error", out);
                out.push_str(r#","payload":"#);
                write_payload(errors, out);
                out.push('}');
            }
            Reply::Complete { id } => {
                begin(id, "complete", out);
                out.push('}');
            }
            Reply::KeepAlive => out.push_str(r#"{"type":"ka"}"#),
            Reply::Ping { .. } | Reply::Pong { .. } => return false,
        }
        true
    }

    fn next_prefix(&self, id: &str, out: &mut String) {
        begin(id, "data", out);
        out.push_str(r#","payload":"#);
    }
}

/// Writes a list of errors as the one error object that the protocol has: the first error, and all of them under `errors`
/// where there are more, which is where its client looks.
fn write_payload(errors: &str, out: &mut String) {
    let list: Vec<&RawValue> = serde_json::from_str(errors).unwrap_or_default();
    match list.as_slice() {
        [one] => out.push_str(one.get()),
        [first, ..] if first.get().starts_with("{\"") => {
            out.push_str(first.get().strip_suffix('}').unwrap_or_default());
            out.push_str(r#","errors":"#);
            out.push_str(errors);
            out.push('}');
        }
        _ => {
            out.push_str(r#"{"message":"the operation failed","errors":"#);
            out.push_str(errors);
            out.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn error_payload(errors: &str) -> Value {
        let mut out = String::new();
        assert!(ApolloWs.encode(&Reply::Error { id: "a".into(), errors: errors.into() }, &mut out));
        serde_json::from_str::<Value>(&out).unwrap()["payload"].take()
    }

    #[test]
    fn one_error_is_the_payload_and_several_stand_in_it() {
        assert_eq!(error_payload(r#"[{"message":"m"}]"#), json!({"message": "m"}));
        assert_eq!(
            error_payload(r#"[{"message":"m","extensions":{}},{"message":"n"}]"#),
            json!({"message": "m", "extensions": {}, "errors": [{"message": "m", "extensions": {}}, {"message": "n"}]})
        );
        assert_eq!(error_payload("[]"), json!({"message": "the operation failed", "errors": []}));
    }

    #[test]
    fn every_message_of_the_protocol_is_read_and_the_other_vocabulary_is_not() {
        for kind in TYPES {
            let text = format!(r#"{{"type":"{kind}","id":"1","payload":{{"query":"q","context":{{}}}}}}"#);
            assert!(ApolloWs.decode(&text).is_ok(), "{kind}");
        }
        for kind in ["subscribe", "complete", "ping", "pong", "connection_error"] {
            let closing = ApolloWs.decode(&format!(r#"{{"type":"{kind}","id":"1"}}"#)).unwrap_err();
            assert_eq!(closing.code, 4400, "{kind}");
            assert!(closing.reason.contains(kind) && closing.reason.contains(NAME), "{}", closing.reason);
        }
    }

    #[test]
    fn messages_are_written_as_the_protocol_has_them() {
        let cases = [
            (Reply::Ack, r#"{"type":"connection_ack"}"#),
            (
                Reply::InitRefused { error: r#"{"message":"m"}"#.into() },
                r#"{"type":"connection_error","payload":{"message":"m"}}"#,
            ),
            (
                Reply::Next { id: "1".into(), payload: "{}".into() },
                r#"{"id":"1","type":"data","payload":{}}"#,
            ),
            (Reply::Complete { id: "1".into() }, r#"{"id":"1","type":"complete"}"#),
            (Reply::KeepAlive, r#"{"type":"ka"}"#),
        ];
        for (reply, expected) in cases {
            let mut out = String::new();
            assert!(ApolloWs.encode(&reply, &mut out));
            assert_eq!(out, expected);
        }
        let mut out = String::new();
        assert!(!ApolloWs.encode(&Reply::Ping { payload: None }, &mut out));
        assert!(!ApolloWs.encode(&Reply::Pong { payload: None }, &mut out) && out.is_empty());
    }
}
