//! Whole events for a browser's `EventSource` (WHATWG HTML, section 9.2): an event is a `message` whose `id` is its cursor.
//!
//! Invariants: whoever keeps the last `id` resumes without gap or repeat. What is no event has a name of its own, so that
//! `onmessage` sees events only: `ready` comes first, `gap` before it when the position was lost, `checkpoint` moves the
//! position of a quiet feed, `ended` says why the response ends. `ended` has no `id`; what was sent before it stays the
//! position.
//! The position moves by a named event and not by a bare `id`, which some readers of event streams throw away.

use super::{
    StreamForm, Word,
    streaming::{EVENT_STREAM, draining, push_id, push_retry},
    text::push_string,
};
use crate::{error::Refusal, event::Cursor};

/// A feed of whole events.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventSource;

impl StreamForm for EventSource {
    fn content_type(&self) -> &'static str {
        EVENT_STREAM
    }

    fn write(&self, word: &Word<'_>, out: &mut String) {
        match *word {
            Word::Opened { start: Some(start), resumed } => {
                named("ready", Some(start), &format!(r#"{{"resumed":{resumed},"cursor":"{start}"}}"#), out);
            }
            Word::Gap { refusal, start } => named("gap", Some(start), &lost(refusal, start), out),
            Word::Next { cursor, payload, .. } => {
                if let Some(cursor) = cursor {
                    push_id(cursor, out);
                }
                out.push_str("data: ");
                out.push_str(payload);
                out.push_str("\n\n");
            }
            Word::Heartbeat { position } => checkpoint(position, out),
            Word::Failed { refusal, .. } => named("ended", None, &told(refusal), out),
            Word::Drained { position, pause } => {
                push_retry(pause, out);
                checkpoint(position, out);
                named("ended", None, &told(&draining()), out);
            }
            Word::Opened { start: None, .. } | Word::Complete { .. } => {}
        }
    }
}

fn checkpoint(position: Cursor, out: &mut String) {
    named("checkpoint", Some(position), &format!(r#"{{"cursor":"{position}"}}"#), out);
}

fn named(name: &str, cursor: Option<Cursor>, json: &str, out: &mut String) {
    out.push_str("event: ");
    out.push_str(name);
    out.push('\n');
    if let Some(cursor) = cursor {
        push_id(cursor, out);
    }
    out.push_str("data: ");
    out.push_str(json);
    out.push_str("\n\n");
}

/// A refusal as a JSON object: `message`, `code`, `next`, and the facts.
fn told(refusal: &Refusal) -> String {
    let mut out = String::from(r#"{"message":"#);
    push_string(&mut out, &refusal.message);
    let members = serde_json::Value::Object(refusal.members()).to_string();
    out.push(',');
    out.push_str(members.strip_prefix('{').unwrap_or_default());
    out
}

/// What a client is told whose position is lost. `resumed` stands here too, because this is the first event then.
fn lost(refusal: &Refusal, start: Cursor) -> String {
    let refusal = refusal.clone().with("cursor", start.to_string());
    let told = told(&refusal);
    format!(r#"{{"resumed":false,{}"#, told.strip_prefix('{').unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::{
        Streaming,
        streaming::tests::{cursor, written},
    };
    use super::*;
    use crate::error::Code;
    use serde_json::{Value, json};
    use std::time::Duration;

    #[test]
    fn an_event_is_a_message_with_its_cursor_and_all_else_has_a_name() {
        let (one, two) = (cursor(1), cursor(2));
        let words = [
            Word::Opened { start: Some(one), resumed: true },
            Word::Next { id: "", cursor: Some(two), payload: r#"{"id":"e1"}"# },
            Word::Heartbeat { position: two },
        ];
        assert_eq!(
            written(Streaming::EventSource, &words),
            format!(
                "event: ready\nid: {one}\ndata: {{\"resumed\":true,\"cursor\":\"{one}\"}}\n\nid: {two}\ndata: {{\"id\":\"e1\"}}\n\n\
                 event: checkpoint\nid: {two}\ndata: {{\"cursor\":\"{two}\"}}\n\n"
            )
        );
    }

    fn only(text: &str) -> (Vec<&str>, Value) {
        let (fields, data) = text.trim_end().split_once("data: ").unwrap();
        (fields.lines().collect(), serde_json::from_str(data).unwrap())
    }

    #[test]
    fn a_gap_says_what_is_lost_and_where_the_feed_goes_on() {
        let refusal = Refusal::new(Code::CursorExpired, "gone").with("earliest", "c1");
        let text = written(Streaming::EventSource, &[Word::Gap { refusal: &refusal, start: cursor(1) }]);
        let id = format!("id: {}", cursor(1));
        let expected = json!({ "resumed": false, "message": "gone", "code": "CURSOR_EXPIRED",
            "next": Code::CursorExpired.next(), "earliest": "c1", "cursor": cursor(1).to_string() });
        assert_eq!(only(&text), (vec!["event: gap", &id], expected));
    }

    #[test]
    fn the_end_has_a_reason_and_leaves_the_position_alone() {
        let refusal = Refusal::new(Code::Unavailable, "not now");
        let text = written(Streaming::EventSource, &[Word::Failed { id: "", refusal: &refusal }]);
        let expected =
            json!({ "message": "not now", "code": "UNAVAILABLE", "next": Code::Unavailable.next() });
        assert_eq!(only(&text), (vec!["event: ended"], expected));
        let drained = written(
            Streaming::EventSource,
            &[Word::Drained { position: cursor(5), pause: Duration::from_millis(1_500) }],
        );
        let (checkpoint, ended) = drained.split_once("\n\n").unwrap();
        assert!(checkpoint.starts_with("retry: 1500\nevent: checkpoint\n"), "{checkpoint}");
        assert!(
            checkpoint.contains(&format!("id: {}", cursor(5))) && ended.contains("event: ended\ndata: {")
        );
    }
}
