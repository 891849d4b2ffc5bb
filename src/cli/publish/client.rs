//! Sends events to a server and reads its answer.

use super::{
    super::{Failure, bearer::Bearer, target::Target},
    lines::Line,
};
use fanfare::error::Code;
use reqwest::{StatusCode, header::AUTHORIZATION};
use serde_json::Value;
use std::{error::Error, fmt, time::Duration};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The way to a server's `POST /events`.
#[derive(Debug)]
pub(in crate::cli) struct Client {
    http: reqwest::Client,
    url: String,
    bearer: Option<Bearer>,
}

/// An acknowledged event.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Published {
    id: String,
    cursor: String,
    /// Was it in the log already?
    pub(super) duplicate: bool,
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duplicate = if self.duplicate { " (published before)" } else { "" };
        write!(f, "{} {}{duplicate}", self.id, self.cursor)
    }
}

/// What a server says to a request.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) enum Answer {
    /// All events are durable.
    Published(Vec<Published>),
    /// None was published because of one of them, whose place the server may name.
    Refused {
        /// Why.
        message: String,
        /// The place in the request, from 0.
        index: Option<usize>,
    },
    /// No request like this can succeed.
    Stop(String),
    /// The same request may succeed later; whether this one did is not known.
    Later {
        /// Why.
        message: String,
        /// The same for programs; `None` where it is not the server that spoke.
        code: Option<Code>,
    },
}

impl Client {
    pub(in crate::cli) fn new(target: &Target) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            // A redirect would repeat the POST elsewhere, or turn it into a GET.
            .redirect(reqwest::redirect::Policy::none())
            // Addresses with https are refused, so the system's certificates need not be read, and need not be there.
            .tls_certs_only([])
            .build()
            .map_err(Failure::failed)?;
        Ok(Client { http, url: target.http("/events"), bearer: target.bearer().cloned() })
    }

    /// Publishes events in their order, all or none.
    pub(in crate::cli) async fn publish(&self, lines: &[Line]) -> Answer {
        let events: Vec<_> = lines.iter().map(|line| line.json.as_str()).collect();
        let mut request = self
            .http
            .post(&self.url)
            .header("content-type", "application/json")
            .body(format!("[{}]", events.join(",")));
        if let Some(bearer) = &self.bearer {
            request = request.header(AUTHORIZATION, bearer.header());
        }
        let answered = async {
            let response = request.send().await?;
            Ok((response.status(), response.bytes().await?))
        };
        match answered.await {
            Ok((status, body)) => read(status, serde_json::from_slice(&body).ok().as_ref(), &self.url),
            Err(error) => Answer::Later { message: format!("{}: {}", self.url, cause(&error)), code: None },
        }
    }
}

/// The innermost reason, such as "connection refused"; the outer ones only say that a request failed.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn read(status: StatusCode, body: Option<&Value>, url: &str) -> Answer {
    if status.is_success() {
        return Answer::Published(body.map(published).unwrap_or_default());
    }
    let text = |name: &str| body.and_then(|body| body.get(name)?.as_str());
    let code = text("code").and_then(|name| Code::ALL.into_iter().find(|code| code.name() == name));
    let message = match text("detail").or_else(|| text("message")).or_else(|| text("title")) {
        Some(reason) => {
            let code = code.map(|code| format!("{code}: ")).unwrap_or_default();
            let next = text("next").map(|next| format!(". {next}")).unwrap_or_default();
            format!("{code}{reason}{next}")
        }
        None => format!("{url} answered {status}; is it a Fanfare server?"),
    };
    let is_later = match code {
        Some(code) => code.retryable(),
        None => status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS,
    };
    let is_about_events = matches!(status.as_u16(), 400 | 403 | 409 | 413 | 422) && code.is_some();
    match (is_later, is_about_events) {
        (true, _) => Answer::Later { message, code },
        (false, true) => Answer::Refused { message, index: index(body) },
        (false, false) => Answer::Stop(message),
    }
}

/// The place of the refused event, which a server writes as a number or as text.
fn index(body: Option<&Value>) -> Option<usize> {
    let index = body?.get("index")?;
    match index.as_str() {
        Some(text) => text.parse().ok(),
        None => index.as_u64().and_then(|index| usize::try_from(index).ok()),
    }
}

/// The acknowledged events of an answer: one object or a list of them.
fn published(body: &Value) -> Vec<Published> {
    let one = |value: &Value| {
        Some(Published {
            id: value.get("id")?.as_str()?.to_owned(),
            cursor: value.get("cursor")?.as_str()?.to_owned(),
            duplicate: value.get("duplicate").and_then(Value::as_bool).unwrap_or_default(),
        })
    };
    match body.as_array() {
        Some(list) => list.iter().filter_map(one).collect(),
        None => one(body).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(status: u16, body: Option<&Value>) -> Answer {
        read(StatusCode::from_u16(status).unwrap(), body, "http://x/events")
    }

    #[test]
    fn acknowledged_events_are_read_from_one_object_and_from_a_list() {
        let one = json!({"id": "a", "cursor": "c", "duplicate": true});
        let published = Published { id: "a".into(), cursor: "c".into(), duplicate: true };
        assert_eq!(published.to_string(), "a c (published before)");
        assert_eq!(answer(201, Some(&one)), Answer::Published(vec![published]));
        assert!(matches!(answer(200, Some(&json!([one, one]))), Answer::Published(list) if list.len() == 2));
    }

    #[test]
    fn a_refusal_says_why_what_next_and_which_event() {
        let body =
            json!({"code": "ID_CONFLICT", "detail": "the id is taken", "next": "Use another.", "index": "3"});
        let message = "ID_CONFLICT: the id is taken. Use another.".to_owned();
        assert_eq!(answer(409, Some(&body)), Answer::Refused { message, index: Some(3) });
        let by_number = json!({"code": "INVALID_EVENT", "message": "m", "index": 4});
        assert!(matches!(answer(400, Some(&by_number)), Answer::Refused { index: Some(4), .. }));
    }

    #[test]
    fn only_what_may_succeed_later_is_tried_again() {
        for code in Code::ALL {
            let body = json!({"code": code.name(), "detail": "m"});
            assert_eq!(matches!(answer(400, Some(&body)), Answer::Later { .. }), code.retryable(), "{code}");
        }
        assert!(matches!(answer(502, None), Answer::Later { .. }));
        assert!(matches!(answer(429, None), Answer::Later { .. }));
        for status in [302, 401, 404, 405, 400] {
            assert!(
                matches!(answer(status, None), Answer::Stop(message) if message.contains("Fanfare server")),
                "{status}"
            );
        }
    }
}
