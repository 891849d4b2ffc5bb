//! Which request something belongs to: an id that comes with a request, goes through all that it causes, and comes back with the
//! answer.
//!
//! Invariants: what is no id is passed over, as if it had not been sent: these headers go through many hands, and none is worth
//! refusing a request for.
//! Not here: the id inside an operation's `extensions` (`protocol`), who puts it on events (`hub`).

use crate::{error::Code, event::check_id};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use std::sync::Arc;

const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// W3C Trace Context, section 3.2.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The id that a request came with: on every request that has one, for the rooms that answer it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Correlation(pub(super) Arc<str>);

impl Correlation {
    /// What the headers say: `x-correlation-id`, else the trace of `traceparent`.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let given = text(CORRELATION_ID).filter(|id| check_id(id, Code::BadRequest, CORRELATION_ID).is_ok());
        given.or_else(|| text(TRACEPARENT).and_then(trace)).map(|id| Correlation(id.into()))
    }

    /// The answer with the id of its request.
    pub(super) fn answer<B>(&self, response: &mut Response<B>) {
        // An id has visible characters only, and those a header may have.
        if let Ok(value) = HeaderValue::from_str(&self.0) {
            response.headers_mut().insert(CORRELATION_ID, value);
        }
    }
}

/// The trace of a `traceparent` of any version: `version-trace-parent-flags`, and more in versions to come.
fn trace(text: &str) -> Option<&str> {
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_known = version == "00";
    let has_form = [(version, 2), (trace, 32), (parent, 16), (flags, 2)]
        .into_iter()
        .all(|(part, digits)| part.len() == digits && is_hex(part));
    let is_valid = has_form
        && version != "ff"
        && !(is_known && parts.next().is_some())
        && [trace, parent].iter().all(|id| id.bytes().any(|digit| digit != b'0'));
    is_valid.then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(headers: &[(HeaderName, &str)]) -> Option<String> {
        let headers = headers.iter().map(|(name, text)| (name.clone(), text.parse().unwrap())).collect();
        Correlation::of(&headers).map(|id| String::from(&*id.0))
    }

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn the_own_header_goes_before_the_trace_and_what_is_no_id_is_passed_over() {
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(given(&[(CORRELATION_ID, "c 1"), (TRACEPARENT, &parent)]).as_deref(), Some(TRACE));
        assert_eq!(given(&[(CORRELATION_ID, "c-1"), (TRACEPARENT, &parent)]).as_deref(), Some("c-1"));
        assert_eq!(given(&[(CORRELATION_ID, &"x".repeat(129))]), None);
        assert_eq!(given(&[]), None);
    }

    #[test]
    fn a_trace_is_read_as_the_specification_has_it() {
        let cases = [
            (format!("00-{TRACE}-00f067aa0ba902b7-00"), true),
            (format!("cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-holds"), true),
            (format!("00-{TRACE}-00f067aa0ba902b7-01-more"), false),
            (format!("ff-{TRACE}-00f067aa0ba902b7-01"), false),
            (format!("00-{TRACE}-0000000000000000-01"), false),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), false),
            (format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()), false),
            (format!("00-{TRACE}-00f067aa0ba902b7"), false),
            (format!("00-{}-00f067aa0ba902b7-01", &TRACE[1..]), false),
        ];
        for (text, is_read) in cases {
            assert_eq!(trace(&text), is_read.then_some(TRACE), "{text}");
        }
    }

    #[test]
    fn the_answer_has_the_id_of_its_request() {
        let mut response = Response::new(());
        Correlation("c-1".into()).answer(&mut response);
        assert_eq!(response.headers()[CORRELATION_ID], "c-1");
    }
}
