//! Other formats at the door: HTTP bodies and webhooks become [`Draft`]s, and events become CloudEvents.
//!
//! Flow: the edge hands over headers and body; [`read`] chooses the format by content type; [`Ingested::into_events`] has
//! the drafts checked; [`write_cloudevent`] goes the other way; [`github`] does the same for webhooks.
//! Invariants: no I/O and no clock; no JSON becomes part of an event without the strict check of `event::json`; a refusal
//! names the attribute as the sender's format calls it, and in a list the index of the event.
//! Not here: HTTP status (`server`), the rules of the fields (`event`), who may publish (`auth`).

mod binary;
mod cloudevents;
pub mod github;
mod media;
mod percent;

pub use cloudevents::write_cloudevent;

use crate::{
    error::{Code, Refusal, excerpt},
    event::{Draft, Limits, NewEvent},
};
use media::MediaType;
use serde_json::value::RawValue;

/// The content types that [`read`] takes, as callers are told.
pub const ACCEPTED: &str = "application/json, application/cloudevents+json, application/cloudevents-batch+json, \
     or any type beside ce-specversion, ce-id, ce-source and ce-type headers; text is UTF-8";

/// The limits of this room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most events of one request.
    pub events_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { events_max: 1_000 }
    }
}

/// The events of one request, their fields not checked yet.
#[derive(Clone, Debug)]
pub struct Ingested {
    /// The events, in their order; a list may be empty.
    pub drafts: Vec<Draft>,
    /// Did they come as a list, so that the answer has to be one too?
    pub is_list: bool,
}

impl Ingested {
    /// Checks every draft; in a list the refusal has the detail `index`, from 0. Fails as [`NewEvent::new`] does.
    pub fn into_events(self, limits: &Limits) -> Result<Vec<NewEvent>, Refusal> {
        // Room for all at once: these are large, and collecting results would move them again and again.
        let mut events = Vec::with_capacity(self.drafts.len());
        for (index, draft) in self.drafts.into_iter().enumerate() {
            let event = NewEvent::new(draft, limits);
            events.push(event.map_err(|refusal| if self.is_list { at(index, refusal) } else { refusal })?);
        }
        Ok(events)
    }
}

/// Why a request holds no events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// The content type is none of [`ACCEPTED`], or its charset is not UTF-8.
    #[error("content type {given:?} is not accepted; accepted are {ACCEPTED}")]
    UnsupportedMediaType {
        /// The content type, shortened; empty for none.
        given: String,
    },
    /// The format is accepted; what it holds is not.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl IngestError {
    /// What the sender is told.
    pub fn refusal(self) -> Refusal {
        match self {
            IngestError::Refused(refusal) => refusal,
            IngestError::UnsupportedMediaType { given } => {
                Refusal::field(Code::BadRequest, "content-type", &given, ACCEPTED)
            }
        }
    }
}

/// How the events of a request are written.
enum Format {
    /// `application/cloudevents+json`: one CloudEvent as JSON.
    Structured,
    /// `application/cloudevents-batch+json`: a list of them.
    Batch,
    /// Attributes as `ce-` headers, the body is the data.
    Binary,
    /// `application/json` in our own field names, one or a list.
    Own,
}

/// Reads the events of a request: CloudEvents 1.0 over HTTP in all three modes, or JSON in our own field names. Takes all
/// headers and picks what it needs; the edge limits the size of the body.
///
/// A request with a `ce-specversion`, `ce-id`, `ce-source` or `ce-type` header is a CloudEvent in binary mode, unless its
/// content type is one of CloudEvents' own: then headers are a copy at best and the body counts.
///
/// Fails with `BAD_REQUEST` for syntax, `INVALID_EVENT` for an attribute, `TOO_MANY` for a list.
pub fn read<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    body: &[u8],
    options: &Options,
) -> Result<Ingested, IngestError> {
    let headers = binary::Headers::collect(headers)?;
    let media = headers.content_type().map(media_type).transpose()?;
    let Some(format) = format(media.as_ref(), headers.is_event()) else {
        return Err(unsupported(headers.content_type().unwrap_or_default()));
    };
    Ok(match format {
        Format::Structured => one(cloudevents::read_json(utf8(body)?)?),
        Format::Batch => list(utf8(body)?, options, cloudevents::read_json)?,
        Format::Binary => one(binary::read(&headers, media.as_ref(), body)?),
        Format::Own => {
            let text = utf8(body)?;
            match text.trim_ascii_start().starts_with('[') {
                true => list(text, options, Draft::from_json)?,
                false => one(Draft::from_json(text)?),
            }
        }
    })
}

fn format(media: Option<&MediaType>, has_event_headers: bool) -> Option<Format> {
    match media {
        Some(media) if media.essence().starts_with("application/cloudevents") => match media.essence() {
            "application/cloudevents+json" => Some(Format::Structured),
            "application/cloudevents-batch+json" => Some(Format::Batch),
            _ => None,
        }
        .filter(|_| media.is_utf8()),
        Some(_) | None if has_event_headers => Some(Format::Binary),
        Some(media) if media.essence() == "application/json" && media.is_utf8() => Some(Format::Own),
        Some(_) | None => None,
    }
}

fn media_type(given: &[u8]) -> Result<MediaType, IngestError> {
    std::str::from_utf8(given).ok().and_then(MediaType::parse).ok_or_else(|| unsupported(given))
}

fn unsupported(given: &[u8]) -> IngestError {
    IngestError::UnsupportedMediaType { given: excerpt(&String::from_utf8_lossy(given)) }
}

fn utf8(body: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(body).map_err(|error| {
        Refusal::new(Code::BadRequest, format!("the body is not UTF-8 at byte {}", error.valid_up_to()))
    })
}

fn one(draft: Draft) -> Ingested {
    Ingested { drafts: vec![draft], is_list: false }
}

/// Reads a JSON array of events, each by itself, so that a refusal can say which.
fn list(
    text: &str,
    options: &Options,
    read: impl Fn(&str) -> Result<Draft, Refusal>,
) -> Result<Ingested, Refusal> {
    let items: Vec<&RawValue> = serde_json::from_str(text)
        .map_err(|error| Refusal::new(Code::BadRequest, format!("the JSON is not a list: {error}")))?;
    if items.len() > options.events_max {
        let (given, allowed) = (format!("{} events", items.len()), format!("{} events", options.events_max));
        return Err(Refusal::field(Code::TooMany, "events", &given, allowed));
    }
    let mut drafts = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        drafts.push(read(item.get()).map_err(|refusal| at(index, refusal))?);
    }
    Ok(Ingested { drafts, is_list: true })
}

/// The refusal of one event of a list.
fn at(index: usize, mut refusal: Refusal) -> Refusal {
    refusal.message = format!("event {index}: {}", refusal.message).into();
    refusal.with("index", index.to_string())
}

#[cfg(test)]
#[path = "ingest_tests.rs"]
mod tests;
