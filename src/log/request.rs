//! What is asked of the writer, and what is answered after the commit.

use super::{AppendError, Appended, Changed, Decide};
use crate::event::{Batch, Epoch, Event, NewEvent, Rank};
use std::sync::Arc;
use tokio::sync::oneshot;

pub(super) type Answer = Result<Vec<Appended>, AppendError>;
pub(super) type ChangeAnswer = Result<Changed, AppendError>;

/// A request in the queue.
pub(super) struct Request {
    pub(super) ask: Ask,
    pub(super) reply: Reply,
}

/// What is asked for.
pub(super) enum Ask {
    Append(Vec<NewEvent>),
    Change(Decide),
}

impl Ask {
    /// Is there anything to read or to write for it?
    pub(super) fn needs_the_store(&self) -> bool {
        match self {
            Ask::Append(events) => events.iter().any(NewEvent::is_persistent),
            Ask::Change(_) => true,
        }
    }

    /// The events; those of a change are not known before it is decided on.
    pub(super) fn into_events(self) -> Vec<NewEvent> {
        match self {
            Ask::Append(events) => events,
            Ask::Change(_) => Vec::new(),
        }
    }
}

/// Who waits for an answer.
pub(super) enum Reply {
    Append(oneshot::Sender<Answer>),
    Change(oneshot::Sender<ChangeAnswer>),
}

impl Reply {
    /// Whoever waited may not wait any more; what was done stays.
    pub(super) fn send(self, outcome: Result<Done, AppendError>) {
        match self {
            Reply::Append(answer) => drop(answer.send(outcome.map(|done| done.places))),
            Reply::Change(answer) => drop(answer.send(outcome.map(Done::changed))),
        }
    }
}

/// What became of a request, after the commit.
pub(super) struct Done {
    places: Vec<Appended>,
    /// The events of a change.
    events: Vec<Arc<Event>>,
}

impl Done {
    fn changed(self) -> Changed {
        Changed { events: self.events, is_repeat: self.places.iter().any(|place| place.duplicate) }
    }
}

/// What became of a request, before the commit: where its events stand, or why they do not.
pub(super) struct Placed {
    pub(super) events: Vec<NewEvent>,
    pub(super) answer: Answer,
    pub(super) is_change: bool,
}

impl Placed {
    /// None of them stands, for this reason.
    pub(super) fn refused(error: AppendError) -> Self {
        Placed { events: Vec::new(), answer: Err(error), is_change: false }
    }
}

/// Answers all who wait.
pub(super) fn send(replies: Vec<Reply>, outcomes: impl IntoIterator<Item = Result<Done, AppendError>>) {
    replies.into_iter().zip(outcomes).for_each(|(reply, outcome)| reply.send(outcome));
}

/// Refuses all who wait.
pub(super) fn refuse(replies: Vec<Reply>, error: impl Fn() -> AppendError) {
    send(replies, std::iter::repeat_with(|| Err(error())));
}

/// The events of a batch, as they are born in order.
pub(super) struct Births {
    epoch: Epoch,
    /// How many transient events there were.
    transients: u64,
    batch: Vec<Arc<Event>>,
}

impl Births {
    /// None yet, after so many transient ones.
    pub(super) fn new(epoch: Epoch, transients: u64) -> Self {
        Births { epoch, transients, batch: Vec::new() }
    }

    /// What to answer to a request, whose new events are born.
    pub(super) fn done(&mut self, placed: Placed) -> Result<Done, AppendError> {
        let Placed { events, answer, is_change } = placed;
        let places = answer?;
        let mut of_change = Vec::new();
        let asked_for = events.into_iter().zip(&places);
        for (event, place) in asked_for.filter(|(_, place)| is_change || !place.duplicate) {
            let event = self.born(event, place);
            if is_change {
                of_change.push(Arc::clone(&event));
            }
            if !place.duplicate {
                self.batch.push(event);
            }
        }
        Ok(Done { places, events: of_change })
    }

    fn born(&mut self, event: NewEvent, place: &Appended) -> Arc<Event> {
        Arc::new(match event.is_persistent() {
            true => Event::logged(event, self.epoch, place.offset),
            false => {
                self.transients += 1;
                Event::transient(event, Rank::transient(place.offset, self.transients), place.cursor)
            }
        })
    }

    /// The new events, and how many transient events there are now.
    pub(super) fn into_parts(self) -> (Batch, u64) {
        (self.batch.into(), self.transients)
    }
}
