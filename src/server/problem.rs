//! How HTTP says a refusal: a status for each [`Code`] and a problem body (RFC 9457).

use crate::{
    auth::limits::{RETRY_AFTER, jittered},
    error::{Code, Refusal},
};
use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};
use std::time::Duration;

/// The media type of a problem body.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// Where nothing better is known.
const RETRY_PAUSE: Duration = Duration::from_secs(4);

/// The status of a code.
pub(super) const fn status(code: Code) -> StatusCode {
    match code {
        Code::BadRequest
        | Code::InvalidEvent
        | Code::InvalidFilter
        | Code::DocumentTooComplex
        | Code::CursorInvalid => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::IdConflict | Code::Conflict | Code::CursorAhead | Code::EpochChanged => StatusCode::CONFLICT,
        Code::CursorExpired => StatusCode::GONE,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::TooMany | Code::RateLimited | Code::SlowConsumer => StatusCode::TOO_MANY_REQUESTS,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
    }
}

/// The answer with the time after which it is worth asking again, where the refusal knows one.
pub(super) fn with_pause(mut response: Response, refusal: &Refusal) -> Response {
    if let Some(seconds) = known_pause(refusal) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn known_pause(refusal: &Refusal) -> Option<u64> {
    refusal.detail(RETRY_AFTER).and_then(|ms| ms.parse::<u64>().ok()).map(|ms| ms.div_ceil(1_000))
}

/// A refusal on its way to an HTTP client.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    refusal: Box<Refusal>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Problem {
    /// A problem with a status that says more than the code's own, such as 405 or 415.
    pub(super) fn with_status(
        status: StatusCode,
        message: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Self {
        Problem { status, refusal: Box::new(Refusal::new(Code::BadRequest, message)), header: None }
    }

    /// A refusal under another status than its code's own.
    pub(super) fn of(status: StatusCode, refusal: Refusal) -> Self {
        Problem { status, refusal: Box::new(refusal), header: None }
    }

    /// The same problem with a header, such as `Allow`.
    pub(super) fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some(Box::new((name, HeaderValue::from_static(value))));
        self
    }

    /// The same problem with a header that was made for it, such as `WWW-Authenticate`.
    pub(super) fn with_value(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Problem { status: status(refusal.code), refusal: Box::new(refusal), header: None }
    }
}

impl Problem {
    /// The whole answer of HTTP/1.1, for a connection that has no server behind it.
    pub(super) fn last_words(&self) -> String {
        let (status, title, body) = (self.status.as_u16(), self.title(), self.body());
        let (length, seconds) = (body.len(), self.retry_after().unwrap_or(1));
        format!(
            "HTTP/1.1 {status} {title}\r\ncontent-type: {PROBLEM_JSON}\r\nretry-after: {seconds}\r\n\
             cache-control: no-store\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    }

    fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }

    fn body(&self) -> String {
        let mut body = Map::new();
        body.insert("title".to_owned(), self.title().into());
        body.insert("status".to_owned(), self.status.as_u16().into());
        body.insert("detail".to_owned(), Value::from(&*self.refusal.message));
        body.extend(self.refusal.members());
        Value::Object(body).to_string()
    }

    /// After so many seconds it is worth trying again; those who are refused together are not told the same.
    fn retry_after(&self) -> Option<u64> {
        if let Some(told) = known_pause(&self.refusal) {
            return Some(told);
        }
        let is_worth_it = self.refusal.code.retryable() && self.status != StatusCode::INTERNAL_SERVER_ERROR;
        is_worth_it.then(|| jittered(RETRY_PAUSE).as_secs())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after().map(|seconds| (header::RETRY_AFTER, HeaderValue::from(seconds)));
        let mut response = (self.status, [(header::CONTENT_TYPE, PROBLEM_JSON)], self.body()).into_response();
        response.headers_mut().extend(self.header.map(|header| *header).into_iter().chain(retry_after));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_an_error_status_and_what_may_succeed_later_is_not_the_clients_fault() {
        for code in Code::ALL {
            let status = status(code);
            assert!(status.is_client_error() || status.is_server_error(), "{code}");
            assert_eq!(
                code.retryable(),
                status.is_server_error() || status == 429 && code != Code::TooMany,
                "{code}"
            );
        }
    }
}
