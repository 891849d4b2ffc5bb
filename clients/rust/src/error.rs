//! What a caller of `publish_durable` and of `flush` can be told.

use std::{fmt, time::Duration};

/// The server's acknowledgement: the event is on its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The event's id.
    pub id: String,
    /// Its place in the log, to follow the log from here.
    pub cursor: String,
    /// Was it in the log already?
    pub duplicate: bool,
}

/// Why an event was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// There is no room for it; it was not sent.
    #[error(
        "the queue has no room for {bytes} bytes: {queued} events of {queued_bytes} bytes wait, {events_max} events of \
         {bytes_max} bytes may. Publish it again when the server has taken some, or raise queue_events_max or queue_bytes_max"
    )]
    QueueFull {
        /// The event's bytes, as JSON.
        bytes: usize,
        /// Events that wait.
        queued: usize,
        /// Bytes of them.
        queued_bytes: usize,
        /// `queue_events_max`.
        events_max: usize,
        /// `queue_bytes_max`.
        bytes_max: usize,
    },
    /// The server refused it for good; it is not in the log.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// Nobody acknowledged it within `retry_window`.
    #[error(
        "no acknowledgement within {waited:?} ({reason}); whether it was logged is not known. Publish it again with the id \
         {id}: it is logged once"
    )]
    Unacknowledged {
        /// The event's id.
        id: String,
        /// How long it was tried.
        waited: Duration,
        /// What came in place of an acknowledgement the last time.
        reason: String,
    },
    /// The publisher was closed before, or before the acknowledgement.
    #[error(
        "the publisher is closed; an event that was given to it before may have been logged all the same. Publish it again \
         with its id by another publisher of the same source: it is logged once"
    )]
    Closed,
}

/// What the server said about an event or a request that it refused, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, for programs, such as `INVALID_EVENT`; the README of the server lists the codes.
    pub code: String,
    /// Why, for people.
    pub message: String,
    /// What to do next.
    pub next: Option<String>,
    /// The field that is wrong.
    pub field: Option<String>,
    /// What was given, shortened.
    pub given: Option<String>,
    /// What is allowed.
    pub allowed: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        match &self.next {
            Some(next) => write!(f, ". {next}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

/// Not everything was settled by the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeadlineError {
    /// Of a flush: so many events still wait and go on being sent.
    #[error(
        "{queued} events wait after {waited:?}; they are still being sent, and stats() counts what becomes of them"
    )]
    Waiting {
        /// How many.
        queued: usize,
        /// How long the flush took.
        waited: Duration,
    },
    /// Of closing: so many events were given up.
    #[error(
        "{lost} events were not acknowledged within {waited:?} and are lost, though the server may have logged some"
    )]
    Lost {
        /// How many.
        lost: u64,
        /// How long closing took.
        waited: Duration,
    },
}
