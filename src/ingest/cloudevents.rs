//! CloudEvents 1.0, JSON format: reads one event, writes one event.
//!
//! Flow: [`read_json`] and the binary mode (`binary`) both collect attributes by name; [`draft`] makes a [`Draft`] of them.
//! Invariants: what [`write_cloudevent`] writes reads back as the same event, with these corners: absent data and `null`
//! are one; `datacontenttype: application/json` is the default and is dropped; a time that the server filled in comes back
//! as given; `cursor` is ignored, since only the log gives places; data nests one level less than elsewhere; whether it is kept
//! is neither read nor written: a CloudEvent comes with the extensions of whatever it passed on its way, and none of them may
//! take back that what is acknowledged is durable.
//! Not here: HTTP (`binary`), the rules that all events share (`event`).

use super::media::MediaType;
use crate::{
    error::{Code, Refusal},
    event::{Attributes, Cursor, Draft, Event, NewEvent, Priority, ScopeField, json},
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, value::RawValue};
use std::{collections::BTreeMap, fmt::Write};

const SPECVERSION: &str = "1.0";
/// The attribute that carries the place in the log; written, never read.
const CURSOR: &str = "cursor";
/// The names that an extension cannot have, because a field of ours is written under them; the scope's come on top.
const OWN_NAMES: [&str; 10] =
    ["specversion", "id", "source", "type", "subject", "time", "data", "correlationid", "priority", CURSOR];

/// Reads one event in the JSON format. Fails with `BAD_REQUEST` for what is not a JSON object and `INVALID_EVENT` for an
/// attribute.
pub(super) fn read_json(text: &str) -> Result<Draft, Refusal> {
    let mut members: BTreeMap<String, &RawValue> = json::read(text)?;
    let body = members.remove("data").filter(|body| body.get() != "null");
    let body_base64 = members.remove("data_base64").filter(|body| body.get() != "null");
    let mut draft = draft(members.into_iter().map(attribute).collect::<Result<_, _>>()?)?;
    if let Some(base64) = body_base64 {
        if body.is_some() {
            return Err(refused("data_base64", "beside data", "either data or data_base64"));
        }
        draft.data_base64 = Some(
            serde_json::from_str(base64.get())
                .map_err(|_| refused("data_base64", base64.get(), "a base64 string"))?,
        );
    }
    draft.data = body.map(RawValue::to_owned);
    Ok(draft)
}

fn attribute((name, value): (String, &RawValue)) -> Result<(String, Value), Refusal> {
    let value = match value.get().starts_with(['{', '[']) {
        true => return Err(refused(&name, value.get(), "a string, a boolean or an integer")),
        false => serde_json::from_str(value.get())
            .map_err(|error| refused(&name, value.get(), format!("a JSON value ({error})")))?,
    };
    Ok((name, value))
}

/// Makes a draft of the attributes of one event, by their CloudEvents names; the caller adds the data. Fails with
/// `INVALID_EVENT`.
pub(super) fn draft(mut given: Attributes) -> Result<Draft, Refusal> {
    given.retain(|_, value| !value.is_null());
    let version = required(&mut given, "specversion")?;
    if version != SPECVERSION {
        return Err(refused("specversion", &version, SPECVERSION));
    }
    let mut draft = Draft {
        id: Some(required(&mut given, "id")?),
        source: Some(required(&mut given, "source")?),
        event_type: required(&mut given, "type")?,
        subject: optional(&mut given, "subject")?,
        time: optional(&mut given, "time")?.map(|text| time(&text)).transpose()?,
        correlation_id: optional(&mut given, "correlationid")?,
        priority: optional(&mut given, "priority")?,
        ..Draft::default()
    };
    for field in ScopeField::ALL {
        *draft.scope_mut(field) = optional(&mut given, &field.camel().to_ascii_lowercase())?;
    }
    given.remove(CURSOR);
    check_rest(&mut given)?;
    draft.attributes = Some(given).filter(|rest| !rest.is_empty());
    Ok(draft)
}

/// Checks the attributes that have no field of ours: `dataschema`, `datacontenttype` and extensions.
fn check_rest(rest: &mut Attributes) -> Result<(), Refusal> {
    if let Some(schema) = optional(rest, "dataschema")? {
        rest.insert("dataschema".to_owned(), schema.into());
    }
    if let Some(text) = optional(rest, "datacontenttype")? {
        match MediaType::parse(&text) {
            Some(media) if media.is_default() => {}
            Some(_) => drop(rest.insert("datacontenttype".to_owned(), text.into())),
            None => return Err(refused("datacontenttype", &text, "a media type such as text/plain")),
        }
    }
    for (name, value) in rest {
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !is_name || name == "data" {
            return Err(refused(name, name, "a name of the characters a-z and 0-9 other than data"));
        }
        if !value.is_string() && !value.is_boolean() && !value.is_i64() {
            return Err(refused(name, &value.to_string(), "a string, a boolean or an integer"));
        }
    }
    Ok(())
}

fn required(given: &mut Attributes, name: &str) -> Result<String, Refusal> {
    optional(given, name)?.ok_or_else(|| {
        let allowed = "a non-empty string";
        let message = format!("{name} is missing; a CloudEvent has specversion, id, source and type");
        Refusal::new(Code::InvalidEvent, message)
            .with("field", name)
            .with("given", "nothing")
            .with("allowed", allowed)
    })
}

fn optional(given: &mut Attributes, name: &str) -> Result<Option<String>, Refusal> {
    match given.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(Value::String(_)) => Err(refused(name, "", "a non-empty string")),
        Some(other) => Err(refused(name, &other.to_string(), "a non-empty string")),
    }
}

fn time(text: &str) -> Result<DateTime<Utc>, Refusal> {
    DateTime::parse_from_rfc3339(text)
        .map(Into::into)
        .map_err(|_| refused("time", text, "an RFC 3339 time such as 2026-11-20T10:00:00.5Z"))
}

/// The refusal of a CloudEvents attribute.
pub(super) fn refused(name: &str, given: &str, allowed: impl Into<String>) -> Refusal {
    Refusal::field(Code::InvalidEvent, name, given, allowed)
}

/// Writes an event as one CloudEvent in the JSON format, its cursor as the extension `cursor`. Members stand in one fixed
/// order, so equal events give equal bytes. Attributes that bear the name of one of our fields are left out: a CloudEvent
/// cannot have both.
pub fn write_cloudevent(event: &Event, out: &mut String) {
    write(event, Some(event.cursor()), out);
}

fn write(event: &NewEvent, cursor: Option<Cursor>, out: &mut String) {
    out.reserve(320 + event.data().as_str().len() + event.data_base64().map_or(0, str::len));
    out.push_str(r#"{"specversion":"1.0""#);
    member(out, "id", event.id());
    member(out, "source", event.source());
    member(out, "type", event.event_type().as_str());
    member(out, "time", &event.time().to_rfc3339_opts(SecondsFormat::AutoSi, true));
    if let Some(subject) = event.subject() {
        member(out, "subject", subject);
    }
    for (field, id) in event.scope().iter() {
        member(out, &field.camel().to_ascii_lowercase(), id);
    }
    if let Some(correlation_id) = event.correlation_id() {
        member(out, "correlationid", correlation_id);
    }
    if event.priority() != Priority::default() {
        member(out, "priority", event.priority().name());
    }
    if let Some(cursor) = cursor {
        member(out, CURSOR, &cursor.to_string());
    }
    for (name, value) in event.attributes().iter().filter(|(name, _)| !is_own_name(name)) {
        raw_member(out, name, &value.to_string());
    }
    match event.data_base64() {
        Some(base64) => member(out, "data_base64", base64),
        None if event.data().as_str() == "null" => {}
        None => raw_member(out, "data", event.data().as_str()),
    }
    out.push('}');
}

fn is_own_name(name: &str) -> bool {
    OWN_NAMES.contains(&name) || ScopeField::ALL.iter().any(|field| field.camel().eq_ignore_ascii_case(name))
}

/// Writes `,"name":"value"`, escaped.
fn member(out: &mut String, name: &str, value: &str) {
    raw_member(out, name, &Value::from(value).to_string());
}

/// Writes `,"name":value` where the value is JSON already.
fn raw_member(out: &mut String, name: &str, json: &str) {
    // Writing to a String cannot fail.
    let _ = write!(out, r#","{name}":{json}"#);
}

#[cfg(test)]
#[path = "cloudevents_tests.rs"]
mod tests;
