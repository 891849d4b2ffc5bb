//! What a server says to a request, and what follows from it.
//!
//! Invariants: an event is given up only on the word of a Fanfare server that names a code, or of anybody who calls the request
//! too large; what a proxy, a load balancer or another program says may be over in a moment, and is tried again.
//! Not here: the request itself (`exchange`), when it is tried again (`sender`).

use crate::error::{Published, Refusal};
use http::StatusCode;
use serde_json::Value;
use std::time::Duration;

/// A wait that a server asks for is cut to this.
const PAUSE_MAX: Duration = Duration::from_secs(60);
const TOO_LARGE: &str = "TOO_LARGE";

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// All events are on the server's disk; these are their acknowledgements, in their order.
    Acknowledged(Vec<Published>),
    /// None was published because of one of them, whose place in the request the server may name.
    Refused {
        /// Why.
        refusal: Refusal,
        /// The place, from 0.
        index: Option<usize>,
    },
    /// No request of this publisher can succeed as it is.
    Denied(Refusal),
    /// The same request may succeed later; whether this one did is not known.
    Later(Delay),
}

/// Why a request is tried again, and when.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Delay {
    /// Why, for people.
    pub(crate) reason: String,
    /// After how long, where the server says so.
    pub(crate) pause: Option<Duration>,
    /// Is it a defect of the server, which one of the events may have brought about?
    pub(crate) is_defect: bool,
}

impl Delay {
    /// Nobody answered.
    pub(crate) fn unanswered(reason: String) -> Self {
        Delay { reason, pause: None, is_defect: false }
    }
}

/// Reads an answer to the events of these ids. `retry_after` is the value of the header of that name.
pub(crate) fn read(status: StatusCode, retry_after: Option<&str>, body: &[u8], ids: &[&str]) -> Answer {
    let body = serde_json::from_slice(body).unwrap_or(Value::Null);
    if status.is_success() {
        return match acknowledged(&body, ids) {
            Some(published) => Answer::Acknowledged(published),
            None => later(status, None, None, "and did not acknowledge the events; is it a Fanfare server?"),
        };
    }
    let index = index(&body);
    let pause = pause(&body, retry_after);
    let Some(refusal) = refusal(&body) else {
        return match status {
            StatusCode::PAYLOAD_TOO_LARGE => Answer::Refused { refusal: too_large(), index: None },
            _ => later(status, pause, None, "which is no answer of a Fanfare server; is the address right?"),
        };
    };
    let is_later = retryable(&refusal.code, status)
        || status == StatusCode::REQUEST_TIMEOUT
        // A pause helps: too many connections, not too many events.
        || status == StatusCode::TOO_MANY_REQUESTS && pause.is_some();
    let is_about_events = matches!(status.as_u16(), 400 | 403 | 409 | 413 | 429);
    match (is_later, is_about_events) {
        (true, _) => later(status, pause, Some(&refusal.code), &refusal.message),
        (false, true) => Answer::Refused { refusal, index },
        (false, false) => Answer::Denied(refusal),
    }
}

/// May the same request succeed later? The table of errors in the server's README; of codes that it gets later, the status tells.
fn retryable(code: &str, status: StatusCode) -> bool {
    match code {
        "RATE_LIMITED" | "SLOW_CONSUMER" | "UNAVAILABLE" | "STORAGE_FULL" | "INTERNAL" => true,
        _ => status.is_server_error(),
    }
}

fn later(status: StatusCode, pause: Option<Duration>, code: Option<&str>, message: &str) -> Answer {
    let reason = match code {
        Some(code) => format!("{code}: {message}"),
        None => format!("it answered {status}, {message}"),
    };
    Answer::Later(Delay { reason, pause, is_defect: code == Some("INTERNAL") })
}

/// The acknowledgements, if there is one for each of these ids, in their order.
fn acknowledged(body: &Value, ids: &[&str]) -> Option<Vec<Published>> {
    let list = body.as_array().filter(|list| list.len() == ids.len())?;
    let one = |(value, id): (&Value, &&str)| {
        let given = value.get("id")?.as_str().filter(|given| given == id)?;
        Some(Published {
            id: given.to_owned(),
            cursor: value.get("cursor")?.as_str()?.to_owned(),
            duplicate: value.get("duplicate").and_then(Value::as_bool).unwrap_or_default(),
        })
    };
    list.iter().zip(ids).map(one).collect()
}

/// A problem body (RFC 9457) with a code.
fn refusal(body: &Value) -> Option<Refusal> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Refusal {
        code: text("code")?,
        message: text("detail").or_else(|| text("title")).unwrap_or_default(),
        next: text("next"),
        field: text("field"),
        given: text("given"),
        allowed: text("allowed"),
    })
}

/// What somebody on the way means who speaks no code.
fn too_large() -> Refusal {
    Refusal {
        code: TOO_LARGE.to_owned(),
        message: "somebody between here and the server takes no request as large as this".to_owned(),
        next: Some(
            "Publish less in one event, or have the proxy take as much as the server does.".to_owned(),
        ),
        field: None,
        given: None,
        allowed: None,
    }
}

/// The place of the refused event, which a server writes as text or as a number.
fn index(body: &Value) -> Option<usize> {
    let index = body.get("index")?;
    match index.as_str() {
        Some(text) => text.parse().ok(),
        None => index.as_u64().and_then(|index| usize::try_from(index).ok()),
    }
}

/// How long to wait: the body says it in milliseconds, the header in seconds.
fn pause(body: &Value, retry_after: Option<&str>) -> Option<Duration> {
    let ms = body.get("retryAfterMs").and_then(|ms| match ms.as_str() {
        Some(text) => text.parse().ok(),
        None => ms.as_u64(),
    });
    let pause = ms.map(Duration::from_millis);
    let pause = pause.or_else(|| retry_after?.trim().parse().ok().map(Duration::from_secs));
    pause.map(|pause| pause.min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(status: u16, body: &Value, ids: &[&str]) -> Answer {
        read(StatusCode::from_u16(status).unwrap(), None, body.to_string().as_bytes(), ids)
    }

    fn is_later(answer: &Answer) -> bool {
        matches!(answer, Answer::Later { .. })
    }

    #[test]
    fn acknowledgements_are_taken_only_one_for_each_event_and_in_their_order() {
        let one = |id: &str| json!({"id": id, "type": "t", "cursor": "c", "duplicate": true});
        let published = |id: &str| Published { id: id.into(), cursor: "c".into(), duplicate: true };
        let both = json!([one("a"), one("b")]);
        let acknowledged = Answer::Acknowledged(vec![published("a"), published("b")]);
        assert_eq!(answer(200, &both, &["a", "b"]), acknowledged);
        for ids in [&["b", "a"][..], &["a"], &["a", "b", "c"]] {
            assert!(is_later(&answer(200, &both, ids)), "{ids:?}");
        }
        for body in [json!({}), json!("<html>"), json!([{"id": "a"}])] {
            assert!(is_later(&answer(200, &body, &["a"])), "{body}");
        }
    }

    #[test]
    fn the_codes_of_the_server_are_judged_as_it_judges_them_itself() {
        for code in fanfare::error::Code::ALL {
            let body = json!({"code": code.name(), "detail": "m"});
            assert_eq!(is_later(&answer(400, &body, &["a"])), code.retryable(), "{code}");
        }
        assert!(is_later(&answer(503, &json!({"code": "OF_TOMORROW"}), &["a"])));
        assert!(!is_later(&answer(422, &json!({"code": "OF_TOMORROW"}), &["a"])));
    }

    #[test]
    fn what_is_no_answer_of_the_server_gives_no_event_up() {
        for status in [301, 400, 401, 403, 404, 405, 408, 429, 500, 502, 503] {
            assert!(is_later(&answer(status, &Value::Null, &["a"])), "{status}");
        }
        assert!(matches!(answer(413, &Value::Null, &["a"]), Answer::Refused { index: None, .. }));
    }

    #[test]
    fn a_refusal_says_which_event_or_that_it_is_about_all() {
        let body =
            json!({"code": "INVALID_EVENT", "detail": "no", "next": "Do.", "field": "type", "index": "3"});
        let Answer::Refused { refusal, index: Some(3) } = answer(400, &body, &["a"]) else { panic!() };
        assert_eq!(
            (refusal.to_string(), refusal.field.as_deref()),
            ("INVALID_EVENT: no. Do.".into(), Some("type"))
        );
        let by_number = json!({"code": "FORBIDDEN", "detail": "m", "index": 4});
        assert!(matches!(answer(403, &by_number, &["a"]), Answer::Refused { index: Some(4), .. }));
        for (status, code) in
            [(401, "UNAUTHENTICATED"), (405, "BAD_REQUEST"), (415, "BAD_REQUEST"), (421, "FORBIDDEN")]
        {
            assert!(matches!(answer(status, &json!({"code": code}), &["a"]), Answer::Denied(_)), "{code}");
        }
        assert!(is_later(&answer(408, &json!({"code": "BAD_REQUEST"}), &["a"])));
    }

    #[test]
    fn a_pause_is_taken_from_the_body_or_the_header_and_bounded() {
        let paused = |status: u16, retry_after: Option<&str>, body: Value| {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = read(status, retry_after, body.to_string().as_bytes(), &["a"]);
            let Answer::Later(delay) = answer else { panic!("{answer:?}") };
            delay.pause.map(|pause| pause.as_millis())
        };
        let limited = json!({"code": "RATE_LIMITED", "retryAfterMs": "1500"});
        assert_eq!(paused(429, Some("2"), limited), Some(1_500));
        assert_eq!(paused(503, Some("4"), json!({"code": "UNAVAILABLE"})), Some(4_000));
        assert_eq!(paused(503, Some("86400"), Value::Null), Some(60_000));
        assert_eq!(paused(503, Some("Wed, 21 Oct 2026 07:28:00 GMT"), Value::Null), None);
        let full = json!({"code": "TOO_MANY", "retryAfterMs": "2000"});
        assert_eq!(paused(429, None, full), Some(2_000));
        let many = answer(429, &json!({"code": "TOO_MANY", "field": "events"}), &["a"]);
        assert!(matches!(many, Answer::Refused { index: None, .. }));
    }
}
