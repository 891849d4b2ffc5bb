//! GraphQL over Server-Sent Events (graphql-sse, PROTOCOL.md of 2.6), both modes: `next` and `complete` events.
//!
//! Invariants: in distinct connections mode the `id` of an event is its cursor, so that a client that reconnects sends it as
//! `Last-Event-ID`; in single connection mode events have none, because a position of one operation is not the position of all.
//! A failure is a result with errors and then `complete`: the protocol has no third event, and its client ends on one.
//! A response that ends without `complete` is one that its client opens again.

use super::{
    StreamForm, Word,
    errors::write_errors,
    streaming::{EVENT_STREAM, push_id, push_retry},
};
use crate::event::Cursor;

/// Either mode of graphql-sse.
#[derive(Clone, Copy, Debug)]
pub(super) struct GraphqlSse {
    /// Single connection mode: results and ends are named by the operation's id.
    pub(super) is_shared: bool,
}

impl StreamForm for GraphqlSse {
    fn content_type(&self) -> &'static str {
        EVENT_STREAM
    }

    fn write(&self, word: &Word<'_>, out: &mut String) {
        match *word {
            Word::Opened { start, .. } => self.comment(start, out),
            Word::Next { id, cursor, payload } => {
                if let Some(cursor) = cursor.filter(|_| !self.is_shared) {
                    push_id(cursor, out);
                }
                self.next(id, payload, out);
            }
            Word::Failed { id, refusal } => {
                let mut errors = String::from(r#"{"errors":"#);
                write_errors(std::slice::from_ref(refusal), &mut errors);
                errors.push('}');
                self.next(id, &errors, out);
                self.complete(id, out);
            }
            Word::Complete { id } => self.complete(id, out),
            Word::Heartbeat { position } => self.comment(Some(position), out),
            Word::Drained { position, pause } => {
                push_retry(pause, out);
                self.comment(Some(position), out);
            }
            Word::Gap { .. } => {}
        }
    }
}

impl GraphqlSse {
    /// A comment reaches nobody; the `id` below it is kept by an EventSource although no event is fired.
    fn comment(self, position: Option<Cursor>, out: &mut String) {
        out.push_str(":\n");
        if let Some(position) = position.filter(|_| !self.is_shared) {
            push_id(position, out);
        }
        out.push('\n');
    }

    fn next(self, id: &str, payload: &str, out: &mut String) {
        out.push_str("event: next\ndata: ");
        if self.is_shared {
            out.push_str(r#"{"id":"#);
            out.push_str(id);
            out.push_str(r#","payload":"#);
        }
        out.push_str(payload);
        out.push_str(if self.is_shared { "}\n\n" } else { "\n\n" });
    }

    /// Without a line of data an EventSource would not fire the event.
    fn complete(self, id: &str, out: &mut String) {
        out.push_str("event: complete\ndata:");
        if self.is_shared {
            out.push_str(r#" {"id":"#);
            out.push_str(id);
            out.push('}');
        }
        out.push_str("\n\n");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Streaming,
        streaming::tests::{cursor, written},
    };
    use super::*;
    use crate::error::{Code, Refusal};

    #[test]
    fn a_distinct_connection_names_cursors_and_no_operation() {
        let (one, two) = (cursor(1), cursor(2));
        let words = [
            Word::Opened { start: Some(one), resumed: false },
            Word::Next { id: r#""a""#, cursor: Some(two), payload: r#"{"data":1}"# },
            Word::Heartbeat { position: two },
            Word::Complete { id: r#""a""# },
        ];
        assert_eq!(
            written(Streaming::GraphqlSse, &words),
            format!(
                ":\nid: {one}\n\nid: {two}\nevent: next\ndata: {{\"data\":1}}\n\n:\nid: {two}\n\nevent: complete\ndata:\n\n"
            )
        );
    }

    #[test]
    fn a_single_connection_names_operations_and_no_cursor() {
        let words = [
            Word::Opened { start: Some(cursor(1)), resumed: false },
            Word::Next { id: r#""a""#, cursor: Some(cursor(2)), payload: r#"{"data":1}"# },
            Word::Complete { id: r#""a""# },
        ];
        assert_eq!(
            written(Streaming::GraphqlSseShared, &words),
            ":\n\nevent: next\ndata: {\"id\":\"a\",\"payload\":{\"data\":1}}\n\nevent: complete\ndata: {\"id\":\"a\"}\n\n"
        );
    }

    #[test]
    fn a_failure_is_a_result_with_errors_and_then_complete() {
        let refusal = Refusal::new(Code::CursorExpired, "gone");
        let text = written(Streaming::GraphqlSse, &[Word::Failed { id: "", refusal: &refusal }]);
        assert!(text.starts_with("event: next\ndata: {\"errors\":[{\"message\":\"gone\""), "{text}");
        assert!(text.ends_with("]}\n\nevent: complete\ndata:\n\n"), "{text}");
    }
}
