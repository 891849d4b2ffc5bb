//! What a client takes for an answer: the `Accept` header (RFC 9110, section 12.5.1) and where a stream resumes.
//!
//! Invariants: a stream is given only to a client that names it; of equal weights the first one counts.

use crate::{error::Refusal, event::Cursor, protocol::Streaming};
use axum::http::{HeaderMap, header, request::Parts};

/// The header by which a reader of an event stream resumes (WHATWG HTML, section 9.2.4).
const LAST_EVENT_ID: &str = "last-event-id";

/// The media types of an answer that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/graphql-response+json`: the status tells a request error.
    GraphqlResponse,
    /// `application/json`: a well-formed request is always answered with 200.
    Json,
}

impl Media {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Media::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Media::Json => "application/json; charset=utf-8",
        }
    }
}

/// What a GraphQL client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// The whole answer that it likes best; without a header the older one.
    pub(super) media: Option<Media>,
    /// The streaming answer that it likes best.
    pub(super) streaming: Option<Streaming>,
}

impl Accepted {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values: Vec<&str> =
            headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        if values.is_empty() {
            return Accepted { media: Some(Media::Json), streaming: None };
        }
        let ranges = || values.iter().flat_map(|value| value.split(',')).filter_map(Range::read);
        Accepted { media: best(ranges(), Range::media), streaming: best(ranges(), Range::streaming) }
    }

    /// Is there no answer that it takes?
    pub(super) fn is_nothing(self) -> bool {
        self.media.is_none() && self.streaming.is_none()
    }
}

/// A media range with its weight in thousandths, which is not 0.
struct Range<'a> {
    name: String,
    parameters: &'a str,
    weight: u16,
}

impl<'a> Range<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
        let range = Range { name: name.trim().to_ascii_lowercase(), parameters, weight: 1_000 };
        let weight = match range.parameter("q") {
            Some(text) => text.parse::<f32>().ok()?,
            None => return Some(range),
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000")]
        let weight = (weight.clamp(0.0, 1.0) * 1000.0) as u16;
        (weight > 0).then_some(Range { weight, ..range })
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut parameters = self.parameters.split(';').filter_map(|parameter| parameter.split_once('='));
        let (_, value) = parameters.find(|(given, _)| given.trim().eq_ignore_ascii_case(name))?;
        Some(value.trim().trim_matches('"'))
    }

    fn media(&self) -> Option<Media> {
        match self.name.as_str() {
            "application/graphql-response+json" => Some(Media::GraphqlResponse),
            "application/json" | "application/*" | "*/*" => Some(Media::Json),
            _ => None,
        }
    }

    fn streaming(&self) -> Option<Streaming> {
        match self.name.as_str() {
            "text/event-stream" => Some(Streaming::GraphqlSse),
            "multipart/mixed" if self.parameter("subscriptionSpec") == Some("1.0") => {
                Some(Streaming::Multipart)
            }
            _ => None,
        }
    }
}

fn best<'a, T>(ranges: impl Iterator<Item = Range<'a>>, read: fn(&Range<'a>) -> Option<T>) -> Option<T> {
    let readable = ranges.filter_map(|range| Some((read(&range)?, range.weight)));
    readable.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(read, _)| read)
}

/// Does the client take one of these media ranges? Without a header it takes anything.
pub(super) fn takes(headers: &HeaderMap, names: &[&str]) -> bool {
    let mut values =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    let is_any = values.peek().is_none();
    let mut ranges = values.flat_map(|value| value.split(',')).filter_map(Range::read);
    is_any || ranges.any(|range| names.contains(&range.name.as_str()))
}

/// Does a browser ask for a page to look at?
pub(super) fn wants_page(parts: &Parts) -> bool {
    let accept = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("text/html") && !parts.uri.query().unwrap_or_default().contains("query=")
}

/// The position of a reader that comes back. Fails with `CURSOR_INVALID`; an empty header is none.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<Cursor>, Refusal> {
    let Some(value) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    Cursor::parse(&text).map(Some).map_err(|refusal| refusal.with("field", "Last-Event-ID"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(accept: &str) -> (Option<Media>, Option<Streaming>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        let Accepted { media, streaming } = Accepted::of(&headers);
        (media, streaming)
    }

    #[test]
    fn a_stream_is_given_only_to_who_names_it() {
        use {Media::*, Streaming::*};
        let cases = [
            ("*/*", (Some(Json), None)),
            ("application/json", (Some(Json), None)),
            ("application/graphql-response+json, application/json;q=0.9", (Some(GraphqlResponse), None)),
            ("text/event-stream", (None, Some(GraphqlSse))),
            ("text/event-stream, */*;q=0.1", (Some(Json), Some(GraphqlSse))),
            (
                "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/graphql-response+json,application/json;q=0.9",
                (Some(GraphqlResponse), Some(Multipart)),
            ),
            (
                r#"multipart/mixed; boundary="graphql"; subscriptionSpec="1.0", application/json"#,
                (Some(Json), Some(Multipart)),
            ),
            ("multipart/mixed;deferSpec=20220824,application/json", (Some(Json), None)),
            ("multipart/mixed;subscriptionSpec=1.0;q=0.2, text/event-stream;q=0.3", (None, Some(GraphqlSse))),
            ("text/event-stream;q=0, application/json", (Some(Json), None)),
            ("text/plain, text/*", (None, None)),
            ("", (None, None)),
            ("application/json;q=x", (None, None)),
        ];
        for (accept, expected) in cases {
            assert_eq!(accepted(accept), expected, "{accept}");
        }
        assert_eq!(Accepted::of(&HeaderMap::new()).media, Some(Json));
    }

    #[test]
    fn what_is_taken_is_a_range_that_is_named_or_nothing_at_all() {
        let takes = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            super::takes(&headers, &["text/event-stream", "text/*", "*/*"])
        };
        assert!(super::takes(&HeaderMap::new(), &["text/plain"]));
        assert!(takes("*/*") && takes("text/event-stream") && takes("application/json, text/*;q=0.1"));
        assert!(!takes("application/json") && !takes("text/event-stream;q=0") && !takes(""));
    }

    #[test]
    fn a_position_is_a_cursor_or_nothing() {
        let read = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(LAST_EVENT_ID, axum::http::HeaderValue::from_bytes(value).unwrap());
            last_event_id(&headers).map_err(|refusal| refusal.detail("field").map(str::to_owned))
        };
        assert_eq!((last_event_id(&HeaderMap::new()), read(b"")), (Ok(None), Ok(None)));
        assert_eq!(read(b"17"), Err(Some("Last-Event-ID".to_owned())));
        assert_eq!(read(b"\xff\xfe"), Err(Some("Last-Event-ID".to_owned())));
    }
}
