//! The whole event as one JSON object in our own field names: what JSON-RPC, `/events` and `fanfare tail --json` show.
//!
//! Invariants: members stand in one fixed order and absent fields are left out, so equal events give equal bytes.

use super::{Event, NewEvent};
use chrono::SecondsFormat;
use std::fmt::Write;

/// Writes an event with its cursor.
pub fn write_event(event: &Event, out: &mut String) {
    write_event_with(event, |out| member(out, "cursor", &event.cursor().to_string()), out);
}

/// Writes an event, with more members between the fixed ones and the data; `more` writes `,"name":value` for each.
pub fn write_event_with(event: &NewEvent, more: impl FnOnce(&mut String), out: &mut String) {
    out.reserve(320 + event.data().as_str().len());
    out.push_str(r#"{"id":"#);
    push_string(out, event.id());
    member(out, "type", event.event_type().as_str());
    member(out, "time", &event.time().to_rfc3339_opts(SecondsFormat::AutoSi, true));
    member(out, "source", event.source());
    if let Some(subject) = event.subject() {
        member(out, "subject", subject);
    }
    for (field, id) in event.scope().iter() {
        member(out, field.camel(), id);
    }
    if let Some(correlation_id) = event.correlation_id() {
        member(out, "correlationId", correlation_id);
    }
    member(out, "priority", event.priority().name());
    if !event.is_persistent() {
        raw_member(out, "persist", "false");
    }
    more(out);
    if !event.attributes().is_empty() {
        raw_member(out, "attributes", &serde_json::Value::Object(event.attributes().clone()).to_string());
    }
    match event.data_base64() {
        Some(data) => member(out, "dataBase64", data),
        None => raw_member(out, "data", event.data().as_str()),
    }
    out.push('}');
}

/// Writes `,"name":"value"`, escaped.
fn member(out: &mut String, name: &str, value: &str) {
    raw_member(out, name, "");
    push_string(out, value);
}

/// Writes `,"name":value` where the value is JSON already.
fn raw_member(out: &mut String, name: &str, json: &str) {
    // Writing to a String cannot fail.
    let _ = write!(out, r#","{name}":{json}"#);
}

/// Writes a JSON string.
fn push_string(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

#[cfg(test)]
mod tests {
    use super::super::{Draft, Epoch, Limits, Offset};
    use super::*;

    #[test]
    fn what_is_written_can_be_read_back_as_the_same_event() {
        let text = r#"{"id":"a\"b","type":"task.created","time":"2026-11-20T10:00:00.5Z","source":"/ci","subject":"s",
            "organizationId":"quant","taskId":"t1","correlationId":"c1","priority":"HIGH","persist":false,
            "attributes":{"dataschema":"x"},"data":{"n":1.0,"big":12345678901234567890123,"s":"\u00e9\n"}}"#;
        let new = NewEvent::new(Draft::from_json(text).unwrap(), &Limits::default()).unwrap();
        let mut plain = String::new();
        write_event_with(&new, |_| (), &mut plain);
        assert_eq!(NewEvent::new(Draft::from_json(&plain).unwrap(), &Limits::default()).unwrap(), new);
        assert!(plain.contains("1.0") && plain.contains("12345678901234567890123"), "{plain}");

        let mut whole = String::new();
        let event = Event::logged(new, Epoch::new([1; 16]), Offset::new(2));
        write_event(&event, &mut whole);
        let value: serde_json::Value = serde_json::from_str(&whole).unwrap();
        assert_eq!(value["cursor"], event.cursor().to_string());
    }
}
