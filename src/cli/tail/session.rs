//! The state of a tail across its connections: where it stands, and what each message or break means. Pure.
//!
//! Invariants: the position only moves forward, and only over events that were given out or that the server says are none;
//! a new connection starts after it, so no event is missed or shown twice.

use super::{
    super::bearer::Bearer,
    protocol::{self, GraphqlError, Incoming, Received},
};
use fanfare::error::Code;
use serde_json::{Map, Value, json};

/// What the caller does after a message.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// Nothing.
    Wait,
    /// Send this.
    Send(String),
    /// The subscription stands: nothing that is published from now on is missed.
    Following,
    /// Show an event.
    Show(Box<Received<'a>>),
    /// Tell about an event that the server could not show.
    Tell(String),
    /// Connect again after a pause.
    Again(String),
    /// End with this error.
    End(String),
}

/// Which events, from where.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    /// An `EventFilter`; empty for all.
    pub(super) filter: Map<String, Value>,
    /// A `StartPosition`; none for live.
    pub(super) start: Option<Value>,
    /// Who asks; none for nobody in particular.
    pub(super) bearer: Option<Bearer>,
}

/// One tail.
#[derive(Debug)]
pub(super) struct Session {
    request: Request,
    position: Option<String>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for the ack.
    Opening,
    /// Has subscribed.
    Subscribed,
    /// The server said that the subscription stands, or sent an event of it.
    Following,
}

impl Session {
    pub(super) fn new(request: Request) -> Self {
        Session { request, position: None, phase: Phase::Opening }
    }

    /// The last position: everything up to it was given out.
    pub(super) fn position(&self) -> Option<&str> {
        self.position.as_deref()
    }

    /// Does this connection's subscription stand?
    pub(super) fn is_following(&self) -> bool {
        self.phase == Phase::Following
    }

    /// Does this connection start in the past?
    pub(super) fn is_replay(&self) -> bool {
        self.start().is_some()
    }

    /// A connection is open; gives the first message.
    pub(super) fn opened(&mut self) -> String {
        self.phase = Phase::Opening;
        protocol::init(self.request.bearer.as_ref())
    }

    /// The server sent a text.
    pub(super) fn receive<'a>(&mut self, text: &'a str) -> Step<'a> {
        match protocol::read(text) {
            Ok(incoming) => self.take(incoming),
            Err(problem) => Step::End(problem),
        }
    }

    fn take<'a>(&mut self, incoming: Incoming<'a>) -> Step<'a> {
        match incoming {
            Incoming::Ack if self.phase == Phase::Opening => {
                self.phase = Phase::Subscribed;
                Step::Send(protocol::subscribe(&self.request.filter, self.start().as_ref()))
            }
            Incoming::Ack | Incoming::Pong => Step::Wait,
            Incoming::Ping(cursor) => {
                // Before the subscription stands, the cursor cannot speak for it.
                if let Some(cursor) = cursor.filter(|_| self.is_following()) {
                    self.advance(cursor);
                }
                Step::Send(protocol::pong())
            }
            Incoming::Ready(cursor) => {
                // Where a replay begins, the events before this cursor are still to come.
                if let Some(cursor) = cursor.filter(|_| !self.is_replay()) {
                    self.advance(cursor);
                }
                self.phase = Phase::Following;
                Step::Following
            }
            Incoming::Event(event, cursor) => {
                self.phase = Phase::Following;
                if let Some(cursor) = cursor {
                    self.advance(cursor);
                }
                Step::Show(event)
            }
            Incoming::Unshown(error, cursor) => {
                let told = format!("the event at {cursor} cannot be shown: {}", sentence(&error));
                self.advance(cursor);
                Step::Tell(told)
            }
            Incoming::Error(error) => refused(&error),
            Incoming::Complete => Step::Again("the server ended the subscription".to_owned()),
        }
    }

    /// Where the next subscription starts: after the position, or as asked for while there is none.
    fn start(&self) -> Option<Value> {
        match &self.position {
            Some(cursor) => Some(json!({ "after": cursor })),
            None => self.request.start.clone(),
        }
    }

    /// Takes the server's word for the order: nobody else can tell which of two cursors is the later.
    fn advance(&mut self, cursor: String) {
        self.position = Some(cursor);
    }
}

/// Is the refusal one that a later attempt may not meet?
fn refused(error: &GraphqlError) -> Step<'static> {
    let code = error.code.as_deref().and_then(|name| Code::ALL.into_iter().find(|code| code.name() == name));
    match code {
        Some(code) if code.retryable() => Step::Again(sentence(error)),
        Some(_) | None => Step::End(sentence(error)),
    }
}

/// Message, then what to do next, then from where.
fn sentence(error: &GraphqlError) -> String {
    let code = error.code.as_ref().map(|code| format!("{code}: ")).unwrap_or_default();
    let next = error.next.as_ref().map(|next| format!(". {next}")).unwrap_or_default();
    let earliest =
        error.earliest.as_ref().map(|cursor| format!("\nearliest cursor: {cursor}")).unwrap_or_default();
    format!("{code}{}{next}{earliest}", error.message)
}

/// The server closed the connection with this code, or without one.
pub(super) fn closed(code: Option<u16>, reason: &str) -> Step<'static> {
    let told = match code {
        Some(code) if reason.is_empty() => format!("the server closed the connection ({code})"),
        Some(code) => format!("the server closed the connection ({code} {reason})"),
        None => "the connection was lost".to_owned(),
    };
    match code {
        // Bad message, unauthorized, forbidden, wrong subprotocol, id taken, init twice: the same again ends the same.
        Some(4400 | 4401 | 4403 | 4406 | 4409 | 4429) => Step::End(told),
        Some(_) | None => Step::Again(told),
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
