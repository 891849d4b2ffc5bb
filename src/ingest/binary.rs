//! CloudEvents 1.0 over HTTP, binary mode: attributes are `ce-` headers, the body is the data.
//!
//! Invariants: a header value is unquoted, then percent-decoded once, and is UTF-8 then. An empty body is no data. JSON
//! stays JSON, text becomes a JSON string, anything else and any charset but UTF-8 becomes base64: no byte is lost.
//! Not here: what the attributes mean (`cloudevents`).

use super::{
    cloudevents::{draft, refused},
    media::MediaType,
    percent, utf8,
};
use crate::{
    error::{Code, Refusal},
    event::{Attributes, Draft, json},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

/// How the header of an attribute begins.
const PREFIX: &str = "ce-";
const VALUE_RULE: &str =
    "printable ASCII in which other UTF-8 characters, space, \" and % are percent-encoded";

/// The headers of a request that matter here.
#[derive(Debug, Default)]
pub(super) struct Headers<'a> {
    content_type: Option<&'a [u8]>,
    attributes: Vec<(String, &'a [u8])>,
}

impl<'a> Headers<'a> {
    /// Picks them out of all headers. Fails with `BAD_REQUEST` for two content types.
    pub(super) fn collect(all: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, Refusal> {
        let mut headers = Headers::default();
        for (name, value) in all {
            if name.eq_ignore_ascii_case("content-type") && headers.content_type.replace(value).is_some() {
                return Err(Refusal::field(Code::BadRequest, "content-type", "two of them", "one header"));
            }
            if let Some((prefix, attribute)) = name.split_at_checked(PREFIX.len())
                && prefix.eq_ignore_ascii_case(PREFIX)
            {
                headers.attributes.push((attribute.to_ascii_lowercase(), value));
            }
        }
        Ok(headers)
    }

    /// The value of `content-type`.
    pub(super) fn content_type(&self) -> Option<&'a [u8]> {
        self.content_type
    }

    /// Is one of the attributes here that every CloudEvent must have?
    pub(super) fn is_event(&self) -> bool {
        let is_core = |name: &str| matches!(name, "specversion" | "id" | "source" | "type");
        self.attributes.iter().any(|(name, _)| is_core(name))
    }
}

/// Reads one event; `media` is the content type of `headers`. Fails with `INVALID_EVENT` for an attribute and
/// `BAD_REQUEST` for a body that is not what its content type says.
pub(super) fn read(headers: &Headers<'_>, media: Option<&MediaType>, body: &[u8]) -> Result<Draft, Refusal> {
    let mut attributes = Attributes::new();
    for (name, value) in &headers.attributes {
        if name == "datacontenttype" {
            return Err(refused(name, "a ce- header", "the content-type header in its place"));
        }
        if attributes.insert(name.clone(), decode(name, value)?.into()).is_some() {
            return Err(refused(name, "two headers", "one header for each attribute"));
        }
    }
    if let Some(content_type) = headers.content_type {
        attributes.insert("datacontenttype".to_owned(), utf8(content_type)?.into());
    }
    let mut draft = draft(attributes)?;
    match media {
        _ if body.is_empty() => {}
        Some(media) if media.is_utf8() && media.is_json() => draft.data = Some(json::read(utf8(body)?)?),
        Some(media) if media.is_utf8() && media.is_text() => {
            draft.data = Some(json::read(&Value::from(utf8(body)?).to_string())?);
        }
        Some(_) | None => draft.data_base64 = Some(STANDARD.encode(body)),
    }
    Ok(draft)
}

fn decode(name: &str, value: &[u8]) -> Result<String, Refusal> {
    unquote(value.trim_ascii())
        .and_then(|plain| percent::decode(&plain))
        .and_then(|decoded| String::from_utf8(decoded).ok())
        .ok_or_else(|| refused(name, &String::from_utf8_lossy(value), VALUE_RULE))
}

/// Resolves double-quoted parts (RFC 9110, section 5.6.4), which older senders use; none for what is not printable ASCII.
fn unquote(value: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(value.len());
    let mut is_quoted = false;
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\\' if is_quoted => plain.push(bytes.next()?),
            _ => plain.push(byte),
        }
    }
    let is_printable = value.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    (is_printable && !is_quoted).then_some(plain)
}
