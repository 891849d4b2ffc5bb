//! What a caller can be told: one [`Code`] for all protocols and the [`Refusal`] that carries it.
//!
//! Flow: every room turns its own error into a `Refusal`; each edge turns a `Refusal` into its protocol's form.
//! Invariants: a `Refusal` holds only text that a caller may read; causes from inside are logged, never put here.
//! Not here: HTTP status (`server`), close codes and JSON-RPC numbers (`protocol`).

use std::{borrow::Cow, fmt};

/// Every reason for which a caller can be refused, the same name in every protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The request could not be read: wrong syntax, wrong type, missing part.
    BadRequest,
    /// An event breaks a rule of its fields.
    InvalidEvent,
    /// A filter or a start position breaks a rule.
    InvalidFilter,
    /// A GraphQL document costs more than the limit.
    DocumentTooComplex,
    /// No or no valid credentials.
    Unauthenticated,
    /// The grant does not cover the request.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The same (`source`, `id`) was published before with another body.
    IdConflict,
    /// What is to be changed is not as it would have to be: it has another version or status, exists already, or has others
    /// that belong to it.
    Conflict,
    /// A cursor that this server never wrote.
    CursorInvalid,
    /// A cursor whose successor has been removed by retention.
    CursorExpired,
    /// A cursor beyond the end of the log.
    CursorAhead,
    /// A cursor of another log: a new data directory or a restored backup.
    EpochChanged,
    /// A request or an event is larger than the limit.
    TooLarge,
    /// More of something than a limit allows.
    TooMany,
    /// Too many requests in a span of time.
    RateLimited,
    /// The reader was slower than the budget of its connection allows.
    SlowConsumer,
    /// The server cannot do this now: starting, draining, or the log refuses writes.
    Unavailable,
    /// The disk under the log is full.
    StorageFull,
    /// A defect of the server; details are in its log only.
    Internal,
}

impl Code {
    /// Every code, in the order of the documentation.
    pub const ALL: [Code; 20] = [
        Code::BadRequest,
        Code::InvalidEvent,
        Code::InvalidFilter,
        Code::DocumentTooComplex,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::NotFound,
        Code::IdConflict,
        Code::Conflict,
        Code::CursorInvalid,
        Code::CursorExpired,
        Code::CursorAhead,
        Code::EpochChanged,
        Code::TooLarge,
        Code::TooMany,
        Code::RateLimited,
        Code::SlowConsumer,
        Code::Unavailable,
        Code::StorageFull,
        Code::Internal,
    ];

    /// The name on the wire (`extensions.code` and its counterparts).
    pub const fn name(self) -> &'static str {
        match self {
            Code::BadRequest => "BAD_REQUEST",
            Code::InvalidEvent => "INVALID_EVENT",
            Code::InvalidFilter => "INVALID_FILTER",
            Code::DocumentTooComplex => "DOCUMENT_TOO_COMPLEX",
            Code::Unauthenticated => "UNAUTHENTICATED",
            Code::Forbidden => "FORBIDDEN",
            Code::NotFound => "NOT_FOUND",
            Code::IdConflict => "ID_CONFLICT",
            Code::Conflict => "CONFLICT",
            Code::CursorInvalid => "CURSOR_INVALID",
            Code::CursorExpired => "CURSOR_EXPIRED",
            Code::CursorAhead => "CURSOR_AHEAD",
            Code::EpochChanged => "EPOCH_CHANGED",
            Code::TooLarge => "TOO_LARGE",
            Code::TooMany => "TOO_MANY",
            Code::RateLimited => "RATE_LIMITED",
            Code::SlowConsumer => "SLOW_CONSUMER",
            Code::Unavailable => "UNAVAILABLE",
            Code::StorageFull => "STORAGE_FULL",
            Code::Internal => "INTERNAL",
        }
    }

    /// May the same request succeed later, unchanged?
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Code::RateLimited | Code::SlowConsumer | Code::Unavailable | Code::StorageFull | Code::Internal
        )
    }

    /// What the caller should do next, one sentence.
    pub const fn next(self) -> &'static str {
        match self {
            Code::BadRequest => "Correct the request; sending it again unchanged will fail again.",
            Code::InvalidEvent => "Correct the named field and publish again.",
            Code::InvalidFilter => "Correct the named field and subscribe again.",
            Code::DocumentTooComplex => {
                "Send a smaller document: fewer fields, aliases, fragments or levels."
            }
            Code::Unauthenticated => "Send valid credentials.",
            Code::Forbidden => "Ask for a grant that covers this, or ask for less.",
            Code::NotFound => "Check the name or id; it may also have been removed by retention.",
            Code::IdConflict => {
                "Use a new id for a new event; publish an unchanged event again only as it was."
            }
            Code::Conflict => "Load it anew; then decide by the version and the status that it has now.",
            Code::CursorInvalid => "Use a cursor as this server gave it, whole and unchanged.",
            Code::CursorExpired => {
                "Events after this cursor are gone; load your state anew and start from the earliest cursor."
            }
            Code::CursorAhead => "This server has not reached the cursor; check that it is the right server.",
            Code::EpochChanged => {
                "The log was replaced; load your state anew and start from the earliest cursor or live."
            }
            Code::TooLarge => "Send less in one request.",
            Code::TooMany => "Use fewer, or split the request.",
            Code::RateLimited => "Wait, then send the same request again.",
            Code::SlowConsumer => {
                "Connect again and resume after the cursor; read faster or narrow the filter."
            }
            Code::Unavailable => "Send the same request again after a pause.",
            Code::StorageFull => "Try again once the operator has freed space; nothing acknowledged is lost.",
            Code::Internal => "Try again; if it stays, give the operator the time of the request.",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A refusal as a caller reads it: travels from any room to the edge that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, for programs.
    pub code: Code,
    /// Why, for people: one lowercase sentence without a full stop.
    pub message: Cow<'static, str>,
    /// Facts by name: `field`, `given`, `allowed`, `earliest`, `cursor`, and the like.
    pub details: Vec<(&'static str, String)>,
}

impl Refusal {
    /// A refusal without details.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Refusal { code, message: message.into(), details: Vec::new() }
    }

    /// The same refusal with one more fact.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// The refusal of a field: which, what was given (cut to 64 characters), what is allowed.
    pub fn field(code: Code, field: &str, given: &str, allowed: impl Into<String>) -> Self {
        let allowed = allowed.into();
        let given = excerpt(given);
        Refusal::new(code, format!("{field}: {given:?} is not allowed; allowed is {allowed}"))
            .with("field", field)
            .with("given", given)
            .with("allowed", allowed)
    }

    /// The fact of that name, if there is one.
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.details.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    /// The members that every JSON form of a refusal has beside its message: `code`, `next`, and the details.
    pub fn members(&self) -> serde_json::Map<String, serde_json::Value> {
        let fixed = [("code", self.code.name()), ("next", self.code.next())];
        fixed
            .into_iter()
            .chain(self.details.iter().map(|(name, value)| (*name, value.as_str())))
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}

/// The first 64 characters of what a caller gave, so that an error never echoes a megabyte.
pub fn excerpt(given: &str) -> String {
    match given.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", given.get(..end).unwrap_or_default()),
        None => given.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_name_and_an_advice_that_is_a_sentence() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| code.next().ends_with('.')));
    }

    #[test]
    fn a_field_refusal_names_field_given_and_allowed_and_cuts_what_was_given() {
        let refusal = Refusal::field(Code::InvalidEvent, "type", &"x".repeat(1_000), "1 to 128 bytes");
        assert_eq!(refusal.detail("field"), Some("type"));
        assert_eq!(refusal.detail("given").map(|given| given.chars().count()), Some(65));
        assert!(refusal.message.len() < 200);
    }
}
