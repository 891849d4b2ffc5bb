//! The envelope that both dialects share, `{"id","type","payload"}`, and the operation inside a payload.
//!
//! Invariants: nothing is read from text that did not pass the strict check; each fault is one sentence that names the
//! member. Members that no protocol names are ignored, as the reference servers do.

use super::{CloseReason, Closing, Operation, text};
use crate::{error::excerpt, event::Json};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The most bytes of an operation's id.
pub const ID_BYTES_MAX: usize = 256;

/// A message of which only the envelope is read.
#[derive(Debug)]
pub(super) struct Message<'a> {
    /// The `type`.
    pub(super) kind: String,
    id: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    #[serde(borrow, default)]
    query: Option<&'a RawValue>,
    #[serde(borrow, default)]
    operation_name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    variables: Option<&'a RawValue>,
    #[serde(borrow, default)]
    extensions: Option<&'a RawValue>,
}

/// The close frame for a message with a fault.
pub(super) fn malformed(fault: &str) -> Closing {
    Closing::new(&CloseReason::Malformed(fault))
}

/// The fault of a message whose type the dialect does not have; `others` are the types of the other dialect.
pub(super) fn unknown(kind: &str, dialect: &str, others: &[&str], other: &str) -> Closing {
    malformed(&match others.contains(&kind) {
        true => format!("the message type {kind:?} belongs to {other}; this socket speaks {dialect}"),
        false => format!("{dialect} has no message type {:?} for clients", excerpt(kind)),
    })
}

impl<'a> Message<'a> {
    /// Reads the envelope.
    pub(super) fn read(text: &'a str) -> Result<Self, Closing> {
        text::check(text).map_err(|fault| malformed(&fault))?;
        let envelope = object::<Envelope<'_>>(text).ok_or_else(|| malformed("the message is no object"))?;
        let kind = envelope.kind.ok_or_else(|| malformed("the message has no type"))?;
        Ok(Message {
            kind: string(kind).ok_or_else(|| malformed("type must be a string"))?,
            id: envelope.id,
            payload: envelope.payload,
        })
    }

    /// The operation's id.
    pub(super) fn id(&self) -> Result<Box<str>, Closing> {
        let kind = &self.kind;
        let raw = self.id.ok_or_else(|| malformed(&format!("{kind} needs an id")))?;
        let id = string(raw).ok_or_else(|| malformed(&format!("the id of {kind} must be a string")))?;
        match id.len() {
            1..=ID_BYTES_MAX => Ok(id.into()),
            0 => Err(malformed(&format!("the id of {kind} is empty"))),
            bytes => {
                Err(malformed(&format!("the id of {kind} has {bytes} bytes; {ID_BYTES_MAX} are allowed")))
            }
        }
    }

    /// The payload of a message in which it may be left out, or be an object.
    pub(super) fn parameters(&self) -> Result<Option<Json>, Closing> {
        let Some(raw) = self.payload else { return Ok(None) };
        json_object(raw)
            .map(Some)
            .ok_or_else(|| malformed(&format!("the payload of {} must be an object", self.kind)))
    }

    /// The payload of a message that starts an operation.
    pub(super) fn operation(&self) -> Result<Operation, Closing> {
        let fault = |what: &str| malformed(&format!("{}: {what}", self.kind));
        let raw = self.payload.ok_or_else(|| fault("payload is missing"))?;
        let payload = object::<Payload<'_>>(raw.get()).ok_or_else(|| fault("payload must be an object"))?;
        Ok(Operation {
            query: payload.query.and_then(string).ok_or_else(|| fault("payload.query must be a string"))?,
            operation_name: optional(payload.operation_name, string)
                .ok_or_else(|| fault("payload.operationName must be a string"))?,
            variables: optional(payload.variables, json_object)
                .ok_or_else(|| fault("payload.variables must be an object"))?,
            extensions: optional(payload.extensions, |raw| object(raw.get()))
                .ok_or_else(|| fault("payload.extensions must be an object"))?
                .unwrap_or_default(),
        })
    }
}

/// Reads what may be absent; None where it is there and is not right.
fn optional<'a, T>(
    given: Option<&'a RawValue>,
    read: impl Fn(&'a RawValue) -> Option<T>,
) -> Option<Option<T>> {
    match given {
        Some(raw) => read(raw).map(Some),
        None => Some(None),
    }
}

/// Reads an object. Derived readers would take a list for one as well, member by member.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).ok(),
        false => None,
    }
}

fn json_object(raw: &RawValue) -> Option<Json> {
    match raw.get().starts_with('{') {
        true => Json::parse(raw.get()).ok(),
        false => None,
    }
}

fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}
