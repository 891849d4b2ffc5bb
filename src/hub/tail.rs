//! Follows the log from the past into the present without a gap: the log until it is caught up, the live ring while it keeps
//! up, the log again when it lags.
//!
//! Invariants (asserted): ranks strictly rise; between two batches of the ring nothing is missing. The ring is joined before
//! the log is read, so whatever is committed after the read is in the ring, and what both hold is dropped by its offset.
//! Transient events are in the ring only: those before the position are dropped with the logged ones, for their turn is over;
//! those right behind it pass.

use super::{Hub, Replay};
use crate::{
    error::Refusal,
    event::{Batch, Event, EventFilter, Offset, Rank},
};
use std::sync::Arc;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_stream::Stream;

/// Every matching event once and in order, from a position on, without end.
#[derive(Debug)]
pub struct Tail {
    hub: Hub,
    filter: Arc<EventFilter>,
    ring: broadcast::Receiver<Batch>,
    past: Replay,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Reading the log.
    Replaying,
    /// Reading the ring.
    Live,
}

impl Tail {
    pub(super) fn new(hub: &Hub, filter: EventFilter, after: Offset) -> Self {
        let filter = Arc::new(filter);
        let ring = hub.bus.subscribe();
        let past = hub.replay(Arc::clone(&filter), after);
        // Reading would skip what is transient, and there is nothing to read.
        let state = if after < hub.bounds().head { State::Replaying } else { State::Live };
        Tail { hub: hub.clone(), filter, ring, past, state }
    }

    /// Everything logged that matches up to here has been given out.
    pub fn position(&self) -> Offset {
        self.past.position()
    }

    /// The next events, one at least; waits for them. `None` when the server ends. Fails as [`Replay::next`] does.
    ///
    /// Cancel safety: yes; an event is either given out or still to come.
    pub async fn next(&mut self) -> Result<Option<Vec<Arc<Event>>>, Refusal> {
        loop {
            let events = match self.state {
                State::Replaying => {
                    let replayed = self.past.next().await?;
                    if replayed.is_last {
                        self.state = State::Live;
                    }
                    replayed.events
                }
                State::Live => match self.ring.recv().await {
                    Ok(batch) => self.take(&batch),
                    Err(RecvError::Lagged(_)) => {
                        self.hub.metrics.tail_lagged.inc();
                        self.state = State::Replaying;
                        Vec::new()
                    }
                    Err(RecvError::Closed) => return Ok(None),
                },
            };
            if !events.is_empty() {
                return Ok(Some(events));
            }
        }
    }

    /// The part of a live batch that is new and matches.
    fn take(&mut self, batch: &Batch) -> Vec<Arc<Event>> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Vec::new() };
        let position = self.past.position();
        assert!(first.rank().before() <= position, "the ring must continue where the log or the ring ended");
        let reached = Rank::logged(position);
        if last.rank() <= reached {
            return Vec::new();
        }
        self.past.move_to(last.offset());
        let new = batch.iter().filter(|event| event.rank() > reached && self.filter.matches(event));
        new.map(Arc::clone).collect()
    }

    /// The same as a stream of single events, which ends with the first refusal.
    pub fn into_stream(self) -> impl Stream<Item = Result<Arc<Event>, Refusal>> + Send {
        futures_util::stream::unfold(Some((self, Vec::new().into_iter())), |state| async move {
            let (mut tail, mut events) = state?;
            loop {
                if let Some(event) = events.next() {
                    return Some((Ok(event), Some((tail, events))));
                }
                match tail.next().await {
                    Ok(Some(more)) => events = more.into_iter(),
                    Ok(None) => return None,
                    Err(refusal) => return Some((Err(refusal), None)),
                }
            }
        })
    }
}
