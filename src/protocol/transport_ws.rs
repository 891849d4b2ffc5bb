//! The subprotocol `graphql-transport-ws` (enisdenjo/graphql-ws, PROTOCOL.md): what official clients speak today.

use super::{
    Closing, Command, Dialect, Duplicate, Reply, Rules, apollo_ws,
    message::{Message, unknown},
    text::push_string,
};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub(super) struct TransportWs;

pub(super) const NAME: &str = "graphql-transport-ws";

/// The types that clients may send.
pub(super) const TYPES: [&str; 5] = ["connection_init", "subscribe", "complete", "ping", "pong"];

impl Dialect for TransportWs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn rules(&self) -> Rules {
        Rules {
            duplicate: Duplicate::Refuse,
            holds_early_operations: false,
            answers_stop: false,
            keep_alive_after_ack: false,
        }
    }

    fn decode(&self, text: &str) -> Result<Command, Closing> {
        let message = Message::read(text)?;
        Ok(match message.kind.as_str() {
            "connection_init" => Command::Init { payload: message.parameters()? },
            "subscribe" => Command::Subscribe { id: message.id()?, operation: message.operation()? },
            "complete" => Command::Complete { id: message.id()? },
            "ping" => Command::Ping { payload: message.parameters()? },
            "pong" => message.parameters().map(|_| Command::Pong)?,
            other => return Err(unknown(other, NAME, &apollo_ws::TYPES, apollo_ws::NAME)),
        })
    }

    fn encode(&self, reply: &Reply<'_>, out: &mut String) -> bool {
        match reply {
            Reply::Ack => out.push_str(r#"{"type":"connection_ack"}"#),
            Reply::Next { id, payload } => {
                self.next_prefix(id, out);
                out.push_str(payload);
                out.push_str(self.next_suffix());
            }
            Reply::Error { id, errors } => {
                begin(id, "error", out);
                out.push_str(r#","payload":"#);
                out.push_str(errors);
                out.push('}');
            }
            Reply::Complete { id } => {
                begin(id, "complete", out);
                out.push('}');
            }
            Reply::Ping { payload } => beat("ping", payload.as_deref(), out),
            Reply::Pong { payload } => beat("pong", payload.as_deref(), out),
            Reply::InitRefused { .. } | Reply::KeepAlive => return false,
        }
        true
    }

    fn next_prefix(&self, id: &str, out: &mut String) {
        begin(id, "next", out);
        out.push_str(r#","payload":"#);
    }
}

/// Appends a message of an operation, up to its type.
pub(super) fn begin(id: &str, kind: &str, out: &mut String) {
    out.push_str(r#"{"id":"#);
    push_string(out, id);
    out.push_str(r#","type":""#);
    out.push_str(kind);
    out.push('"');
}

fn beat(kind: &str, payload: Option<&str>, out: &mut String) {
    out.push_str(r#"{"type":""#);
    out.push_str(kind);
    out.push('"');
    if let Some(payload) = payload {
        out.push_str(r#","payload":"#);
        out.push_str(payload);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Json;

    fn reason(text: &str) -> String {
        let closing = TransportWs.decode(text).unwrap_err();
        assert_eq!(closing.code, 4400, "{text}");
        closing.reason
    }

    #[test]
    fn every_message_of_the_protocol_is_read() {
        let ping = TransportWs.decode(r#" {"type":"ping", "payload": {"n": 1} } "#);
        assert_eq!(ping, Ok(Command::Ping { payload: Some(Json::parse(r#"{"n":1}"#).unwrap()) }));
        for payload in ["", r#","payload":null"#] {
            let init = TransportWs.decode(&format!(r#"{{"type":"connection_init"{payload}}}"#));
            assert_eq!(init, Ok(Command::Init { payload: None }));
        }
        assert_eq!(TransportWs.decode(r#"{"type":"pong","payload":{}}"#), Ok(Command::Pong));
        assert_eq!(
            TransportWs.decode(r#"{"type":"complete","id":"a"}"#),
            Ok(Command::Complete { id: "a".into() })
        );
        let text = r#"{"id":"a","type":"subscribe","payload":{"query":"q","operationName":"n",
            "variables":{"big":12345678901234567890123},"extensions":{"ready":true},"unknown":1}}"#;
        let Ok(Command::Subscribe { id, operation }) = TransportWs.decode(text) else { panic!("{text}") };
        assert_eq!((&*id, &*operation.query, operation.operation_name.as_deref()), ("a", "q", Some("n")));
        assert_eq!(operation.variables.as_ref().unwrap().as_str(), r#"{"big":12345678901234567890123}"#);
        assert!(operation.wants_ready());
    }

    #[test]
    fn every_fault_is_told_by_name() {
        let cases = [
            ("", "broken JSON at line 1 column 0"),
            ("[]", "the message is no object"),
            (r#"["connection_init"]"#, "the message is no object"),
            ("{}", "the message has no type"),
            (r#"{"type":1}"#, "type must be a string"),
            (r#"{"type":"go"}"#, r#"graphql-transport-ws has no message type "go" for clients"#),
            (
                r#"{"type":"start","id":"a"}"#,
                r#"the message type "start" belongs to graphql-ws; this socket speaks graphql-transport-ws"#,
            ),
            (r#"{"type":"next"}"#, r#"graphql-transport-ws has no message type "next" for clients"#),
            (r#"{"type":"ping","payload":1}"#, "the payload of ping must be an object"),
            (
                r#"{"type":"connection_init","payload":[]}"#,
                "the payload of connection_init must be an object",
            ),
            (r#"{"type":"complete"}"#, "complete needs an id"),
            (r#"{"type":"complete","id":null}"#, "complete needs an id"),
            (r#"{"type":"complete","id":7}"#, "the id of complete must be a string"),
            (r#"{"type":"complete","id":""}"#, "the id of complete is empty"),
            (r#"{"type":"subscribe","id":"a"}"#, "subscribe: payload is missing"),
            (r#"{"type":"subscribe","id":"a","payload":[]}"#, "subscribe: payload must be an object"),
            (r#"{"type":"subscribe","id":"a","payload":{}}"#, "subscribe: payload.query must be a string"),
            (
                r#"{"type":"subscribe","id":"a","payload":{"query":"q","operationName":1}}"#,
                "subscribe: payload.operationName must be a string",
            ),
            (
                r#"{"type":"subscribe","id":"a","payload":{"query":"q","variables":[]}}"#,
                "subscribe: payload.variables must be an object",
            ),
            (
                r#"{"type":"subscribe","id":"a","payload":{"query":"q","extensions":"x"}}"#,
                "subscribe: payload.extensions must be an object",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(reason(text), expected, "{text}");
        }
        let long = format!(r#"{{"type":"complete","id":"{}"}}"#, "é".repeat(129));
        assert_eq!(reason(&long), "the id of complete has 258 bytes; 256 are allowed");
    }

    #[test]
    fn messages_are_written_as_the_protocol_has_them() {
        let cases = [
            (Reply::Ack, r#"{"type":"connection_ack"}"#),
            (
                Reply::Error { id: "a".into(), errors: "[1]".into() },
                r#"{"id":"a","type":"error","payload":[1]}"#,
            ),
            (Reply::Complete { id: "a".into() }, r#"{"id":"a","type":"complete"}"#),
            (Reply::Ping { payload: None }, r#"{"type":"ping"}"#),
            (
                Reply::Ping { payload: Some(r#"{"cursor":"c"}"#.into()) },
                r#"{"type":"ping","payload":{"cursor":"c"}}"#,
            ),
            (Reply::Pong { payload: Some("{}".into()) }, r#"{"type":"pong","payload":{}}"#),
        ];
        for (reply, expected) in cases {
            let mut out = String::new();
            assert!(TransportWs.encode(&reply, &mut out));
            assert_eq!(out, expected);
        }
        let mut out = String::new();
        assert!(!TransportWs.encode(&Reply::KeepAlive, &mut out) && out.is_empty());
        assert!(TYPES.iter().all(|kind| {
            TransportWs.decode(&format!(r#"{{"type":"{kind}","id":"a","payload":{{"query":"q"}}}}"#)).is_ok()
        }));
    }
}
