//! Answers and notifications as text. Results are spliced around JSON that is encoded already.

use super::{Id, RpcError, SubscriptionId, write_filter};
use crate::{
    event::{Cursor, Event, EventFilter, write_event},
    protocol::text::push_string,
};
use std::fmt::Write;

/// What stands before the gateway's form of an event ([`write_gateway_event`](super::write_gateway_event)).
pub const GATEWAY_EVENT_PREFIX: &str = r#"{"jsonrpc":"2.0","method":"gateway.event","params":"#;
/// What stands after it.
pub const GATEWAY_EVENT_SUFFIX: &str = "}";
/// What stands after the event of an `events.notification`.
pub const NOTIFICATION_SUFFIX: &str = "}}";

/// The same where the event stands for so many older ones of its subject.
pub fn notification_suffix_replaced(replaced: u64) -> String {
    format!(r#","replaced":{replaced}}}}}"#)
}

/// What stands before the event of an `events.notification`; a connection keeps it for each subscription.
pub fn notification_prefix(id: SubscriptionId) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"events.notification","params":{{"subscription":"{id}","result":"#)
}

/// Appends the answer to a call that succeeded; `result` is JSON.
pub fn write_result(id: &Id, result: &str, out: &mut String) {
    begin(id, "result", out);
    out.push_str(result);
    out.push('}');
}

/// Appends the answer to a call that failed.
pub fn write_error(id: &Id, error: &RpcError, out: &mut String) {
    begin(id, "error", out);
    push(out, format_args!(r#"{{"code":{},"message":"#, error.number));
    push_string(out, &error.message);
    if !error.data.is_empty() {
        out.push_str(r#","data":"#);
        out.push_str(&serde_json::Value::Object(error.data.clone()).to_string());
    }
    out.push_str("}}");
}

/// Appends the answers to a batch as one list; false, and nothing appended, where all calls were notifications.
pub fn write_batch(answers: &[String], out: &mut String) -> bool {
    if answers.is_empty() {
        return false;
    }
    out.push('[');
    for (index, answer) in answers.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(answer);
    }
    out.push(']');
    true
}

/// Appends the result of `gateway.subscribe` (with a cursor) and `gateway.subscription` (without): the filter in force.
pub fn write_gateway_subscription(filter: Option<&EventFilter>, cursor: Option<&Cursor>, out: &mut String) {
    out.push_str(r#"{"filter":"#);
    match filter {
        Some(filter) => write_filter(filter, out),
        None => out.push_str("null"),
    }
    if let Some(cursor) = cursor {
        push(out, format_args!(r#","cursor":"{cursor}""#));
    }
    out.push('}');
}

/// Appends the result of `events.subscribe`; nothing logged after the cursor will be missed.
pub fn write_subscribed(id: SubscriptionId, cursor: &Cursor, out: &mut String) {
    push(out, format_args!(r#"{{"subscription":"{id}","cursor":"{cursor}"}}"#));
}

/// Appends what became of one published event.
pub fn write_published(id: &str, cursor: &Cursor, duplicate: bool, out: &mut String) {
    out.push_str(r#"{"id":"#);
    push_string(out, id);
    push(out, format_args!(r#","cursor":"{cursor}","duplicate":{duplicate}}}"#));
}

/// Appends the result of `events.history`; the events stand in the order of the log.
pub fn write_history<'a>(events: impl IntoIterator<Item = &'a Event>, has_more: bool, out: &mut String) {
    out.push_str(r#"{"events":["#);
    for (index, event) in events.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_event(event, out);
    }
    push(out, format_args!(r#"],"hasMore":{has_more}}}"#));
}

fn begin(id: &Id, member: &str, out: &mut String) {
    push(out, format_args!(r#"{{"jsonrpc":"2.0","id":{},"{member}":"#, id.as_json()));
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}
