//! One long HTTP response as a way out: the words that every streaming form has, and the forms.
//!
//! Invariants: stateless, as a WebSocket's dialect is; what a form has no words for it leaves out. A payload has no line
//! break, so it is one line of an event stream.
//! Not here: who waits for what, heartbeats and their time (`server`).

use super::{event_source::EventSource, graphql_sse::GraphqlSse, multipart::Multipart};
use crate::{
    error::{Code, Refusal},
    event::Cursor,
};
use std::{fmt, time::Duration};

/// What a streaming response says. An `id` is the operation's id as a JSON string; only a form whose responses hold several
/// operations reads it.
#[derive(Clone, Debug)]
pub enum Word<'a> {
    /// The first word of a response.
    Opened {
        /// Nothing after this can be missed; none where nothing is followed.
        start: Option<Cursor>,
        /// Does it continue after a position that the client gave?
        resumed: bool,
    },
    /// The position that the client gave is lost; the response goes on after another one.
    Gap {
        /// Why.
        refusal: &'a Refusal,
        /// Where it goes on.
        start: Cursor,
    },
    /// One result or event.
    Next {
        /// The operation.
        id: &'a str,
        /// Where its event stands; none for what is no event.
        cursor: Option<Cursor>,
        /// JSON, encoded.
        payload: &'a str,
    },
    /// The operation is over.
    Complete {
        /// The operation.
        id: &'a str,
    },
    /// The operation cannot go on.
    Failed {
        /// The operation.
        id: &'a str,
        /// Why.
        refusal: &'a Refusal,
    },
    /// Nothing was said for a while.
    Heartbeat {
        /// Everything up to here has been sent. Said every time: if it were said only when it moves, silence would tell that
        /// nobody else published.
        position: Cursor,
    },
    /// The server ends: come back, here or elsewhere, and resume.
    Drained {
        /// Everything up to here has been sent.
        position: Cursor,
        /// Clients that come back by themselves should wait so long; the server spreads them.
        pause: Duration,
    },
}

/// A streaming form of HTTP: a writer of its words.
pub trait StreamForm: fmt::Debug + Send + Sync {
    /// The media type of the response.
    fn content_type(&self) -> &'static str;

    /// Appends a word; nothing where the form has none for it.
    fn write(&self, word: &Word<'_>, out: &mut String);
}

/// The streaming forms that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streaming {
    /// graphql-sse, distinct connections mode: one operation a response.
    GraphqlSse,
    /// graphql-sse, single connection mode: many operations in one response.
    GraphqlSseShared,
    /// Multipart HTTP for subscriptions as Apollo's clients read it.
    Multipart,
    /// Whole events for a browser's `EventSource`.
    EventSource,
}

impl Streaming {
    /// Its name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Streaming::GraphqlSse => "graphql-sse",
            Streaming::GraphqlSseShared => "graphql-sse single connection",
            Streaming::Multipart => "multipart",
            Streaming::EventSource => "event feed",
        }
    }

    /// The writer of the form.
    pub fn form(self) -> &'static dyn StreamForm {
        match self {
            Streaming::GraphqlSse => &GraphqlSse { is_shared: false },
            Streaming::GraphqlSseShared => &GraphqlSse { is_shared: true },
            Streaming::Multipart => &Multipart,
            Streaming::EventSource => &EventSource,
        }
    }
}

/// The media type of every event stream.
pub(super) const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";

/// What a client is told when the server ends, where the form has words for it.
pub(super) fn draining() -> Refusal {
    Refusal::new(
        Code::Unavailable,
        "the server is restarting; connect again and resume after the last cursor",
    )
}

/// Appends the time that an EventSource waits before it connects again, in milliseconds.
pub(super) fn push_retry(pause: Duration, out: &mut String) {
    out.push_str("retry: ");
    out.push_str(&pause.as_millis().to_string());
    out.push('\n');
}

/// Appends `id: <cursor>` and a line break.
pub(super) fn push_id(cursor: Cursor, out: &mut String) {
    out.push_str("id: ");
    out.push_str(&cursor.to_string());
    out.push('\n');
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::event::{Epoch, Offset};

    /// A cursor for the tests of the forms.
    pub(in crate::protocol) fn cursor(offset: u64) -> Cursor {
        Epoch::new([7; 16]).seal(Offset::new(offset))
    }

    /// What the forms write of these words.
    pub(in crate::protocol) fn written(form: Streaming, words: &[Word<'_>]) -> String {
        let mut out = String::new();
        words.iter().for_each(|word| form.form().write(word, &mut out));
        out
    }

    #[test]
    fn no_word_of_an_event_stream_is_torn_by_what_a_caller_wrote() {
        let refusal = Refusal::field(Code::InvalidFilter, "type", "a\n\ndata: forged\r", "a\nb");
        let id = "\"a\\n\\nevent: complete\"";
        let words = [
            Word::Opened { start: Some(cursor(1)), resumed: true },
            Word::Gap { refusal: &refusal, start: cursor(1) },
            Word::Failed { id, refusal: &refusal },
            Word::Complete { id },
            Word::Drained { position: cursor(2), pause: Duration::from_secs(1) },
        ];
        for form in [Streaming::GraphqlSse, Streaming::GraphqlSseShared, Streaming::EventSource] {
            for word in &words {
                let text = written(form, std::slice::from_ref(word));
                for line in text.lines().filter(|line| !line.is_empty()) {
                    let field = line.split(':').next().unwrap();
                    assert!(["", "id", "event", "data", "retry"].contains(&field), "{form:?}: {line}");
                    assert!(!line.contains('\r') && !line.starts_with("data: forged"), "{form:?}: {line}");
                }
                assert!(text.is_empty() || text.ends_with("\n\n"), "{form:?}: {text:?}");
            }
        }
    }
}
