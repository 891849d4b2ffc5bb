//! The pipeline: publish is allow, append, route; a change is a publish with what is kept of it; subscribe is a start position,
//! then a [`Tail`].
//!
//! Flow: takes checked events from every way in and gives them to `log`; gives tails, replays and history to `fanout`, to
//! resolvers and to the edge.
//! Invariants: nothing is appended or read without a principal's grant; a cursor is judged in one place (`position`).
//! Not here: rendering and delivery (`fanout`).

mod history;
mod place;
mod position;
mod reader;
mod replay;
mod state;
mod tail;

/// What changes and reads of what is kept are made of.
pub use crate::log::{Change, Decide, Kept, State, StateKey, StateRead};
pub use history::{HISTORY_EVENTS_MAX, History, HistoryRequest};
pub use reader::Reader;
pub use replay::{Replay, Replayed};
pub use state::{ChangeMade, KeptPage, STATE_SOURCE};
pub use tail::Tail;

use crate::{
    auth::{Principal, audit::Entry},
    bus::Bus,
    error::{Code, Refusal},
    event::{Cursor, Epoch, Event, EventFilter, Limits, NewEvent, Offset, Rank},
    log::{AppendError, Appended, Bounds, Health, Log, ReadError},
    metrics::Metrics,
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// The most events of one publish request: above the commits that one push to GitHub can carry.
pub const PUBLISH_EVENTS_MAX: usize = 4_096;

/// The pipeline of a server. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Hub {
    log: Arc<dyn Log>,
    bus: Bus,
    metrics: Metrics,
    limits: Limits,
    started: Instant,
}

impl Hub {
    /// The pipeline over a log that shows its commits to this bus.
    pub fn new(log: Arc<dyn Log>, bus: Bus, metrics: Metrics, limits: Limits) -> Self {
        Hub { log, bus, metrics, limits, started: Instant::now() }
    }

    /// Publishes events in their order, all or none, and answers once they are durable; transient ones once they are on their way. Fails with the grant's refusal,
    /// `ID_CONFLICT`, `STORAGE_FULL`, `UNAVAILABLE`, `RATE_LIMITED`, or `TOO_MANY`.
    ///
    /// Cancel safety: dropping the future does not take the events back.
    pub async fn publish(
        &self,
        principal: &Principal,
        events: Vec<NewEvent>,
    ) -> Result<Vec<Appended>, Refusal> {
        let transients = events.iter().filter(|event| !event.is_persistent()).count();
        let answer = self.allow_and_append(principal, events).await;
        self.count(answer.as_ref().ok().map(|appended| {
            let repeats = appended.iter().filter(|one| one.duplicate).count();
            Published { logged: appended.len() - repeats - transients, transients, repeats }
        }));
        answer
    }

    /// Counts the events of a publish; `None` for one that was refused.
    fn count(&self, published: Option<Published>) {
        match published {
            Some(Published { logged, transients, repeats }) => {
                self.metrics.events_duplicate.inc_by(repeats as u64);
                self.metrics.events_transient.inc_by(transients as u64);
                self.metrics.events_published.inc_by(logged as u64);
            }
            None => {
                self.metrics.publishes_refused.inc();
            }
        }
    }

    async fn allow_and_append(
        &self,
        principal: &Principal,
        events: Vec<NewEvent>,
    ) -> Result<Vec<Appended>, Refusal> {
        check_count(events.len())?;
        principal.charge_publish(events.len(), events.iter().map(NewEvent::bytes).sum())?;
        let admit = |(index, event): (usize, NewEvent)| match event.source() {
            STATE_SOURCE => Err(own_source().with("index", index.to_string())),
            _ => admitted(principal, index, event),
        };
        let admitted: Result<_, Refusal> = events.into_iter().enumerate().map(admit).collect();
        let refused = |refusal: &Refusal| principal.record(Entry::publish_refused(principal, refusal));
        let events = admitted.inspect_err(refused)?;
        self.log.append(events).await.map_err(|error| append_refusal(&error))
    }

    /// Follows matching events from after an offset that [`Hub::locate`] gave, without end; transient ones only while it keeps up with
    /// the live ring. Fails as [`Principal::narrow`]
    /// does.
    pub fn tail(&self, principal: &Principal, filter: EventFilter, after: Offset) -> Result<Tail, Refusal> {
        Ok(Tail::new(self, principal.narrow(filter)?, after))
    }

    /// Follows every event from after an offset, for the server itself.
    pub fn tail_all(&self, after: Offset) -> Tail {
        Tail::new(self, EventFilter::default(), after)
    }

    /// The newest event of this id that the principal may read; one beyond its grant is as if it were not there.
    pub async fn find(&self, principal: &Principal, id: &str) -> Result<Option<Arc<Event>>, Refusal> {
        let readable = Arc::new(principal.narrow(EventFilter::default())?);
        let found =
            self.log.find(id.to_owned(), readable).await.map_err(|error| self.read_refusal(&error))?;
        Ok(found.map(|event| principal.view().show(&event)))
    }

    /// The limits that events are checked against.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The counts of this server.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// For how long it has been there.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The ends of the log.
    pub fn bounds(&self) -> Bounds {
        self.log.bounds()
    }

    /// No event that was published before has a higher rank, and every one that is published from now on has.
    pub fn newest(&self) -> Rank {
        self.log.newest()
    }

    /// Can the log take events?
    pub fn health(&self) -> Health {
        self.log.health()
    }

    /// Ends once the log takes no more events for an I/O error; transient ones still pass.
    ///
    /// Cancel safety: yes.
    pub async fn stopped(&self) {
        self.log.stopped().await;
    }

    /// How many reads have met damage in the log.
    pub fn damaged_reads(&self) -> u64 {
        self.log.damaged_reads()
    }

    /// How many bytes are left for the log on its disk, where that is known. Asks the file system, which may be slow.
    pub fn disk_free(&self) -> Option<u64> {
        self.log.disk_free()
    }

    /// The counts of this server, those of the log brought up to date: they are looked at, not counted.
    pub fn looked_at(&self) -> &Metrics {
        let (bounds, metrics) = (self.bounds(), &self.metrics);
        for (gauge, value) in [
            (&metrics.log_head, bounds.head.get()),
            (&metrics.log_earliest, bounds.earliest.get()),
            (&metrics.log_damaged_reads, self.damaged_reads()),
            (&metrics.log_queue_requests, self.log.waiting() as u64),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        metrics
    }

    /// The identity of the log, which makes and opens every cursor.
    pub fn epoch(&self) -> Epoch {
        self.log.epoch()
    }

    /// The cursor of a position: up to where somebody has everything, whether or not an event that they may read is there. It is
    /// another one each time, so that it does not tell what others publish; an event's own cursor is [`Event::cursor`].
    pub fn position(&self, offset: Offset) -> Cursor {
        self.log.epoch().seal_position(offset)
    }

    /// Commits what waits and closes the log.
    pub async fn close(&self) {
        self.log.close().await;
    }

    /// What a reader is told when the log cannot give what it asked for.
    fn read_refusal(&self, error: &ReadError) -> Refusal {
        match error {
            ReadError::Expired { earliest } => position::expired(self.position(earliest.previous())),
            ReadError::Failed { .. } | ReadError::Damaged { .. } => {
                tracing::error!(reason = %error, "the log cannot be read");
                Refusal::new(Code::Unavailable, "the log cannot be read now")
            }
        }
    }
}

/// How many events a publish had, of each kind.
#[derive(Clone, Copy)]
struct Published {
    logged: usize,
    transients: usize,
    repeats: usize,
}

/// Why nobody publishes under the server's own source.
fn own_source() -> Refusal {
    let allowed = "any other; under this one changes of what is kept are announced";
    Refusal::field(Code::InvalidEvent, "source", STATE_SOURCE, allowed)
}

/// Fails with `TOO_MANY` for what is not a number of events that one request publishes.
fn check_count(events: usize) -> Result<(), Refusal> {
    match events {
        1..=PUBLISH_EVENTS_MAX => Ok(()),
        _ => {
            let (given, allowed) = (format!("{events} events"), format!("1 to {PUBLISH_EVENTS_MAX} events"));
            Err(Refusal::field(Code::TooMany, "events", &given, allowed))
        }
    }
}

/// The event at this place of a request as the principal may publish it.
fn admitted(principal: &Principal, index: usize, event: NewEvent) -> Result<NewEvent, Refusal> {
    let event = principal.admit(event).map_err(|refusal| refusal.with("index", index.to_string()))?;
    // An id that somebody else used must not be told from one that is free.
    let namespace = principal.grant().publish_namespace(&event);
    let event = event.in_namespace(namespace);
    Ok(match principal.correlation_id() {
        Some(id) => event.or_correlation_id(id),
        None => event,
    })
}

/// What a publisher is told when the log does not take what it asked for.
fn append_refusal(error: &AppendError) -> Refusal {
    if let AppendError::Stopped { reason } = error {
        tracing::warn!(%reason, "publish refused");
    }
    error.refusal()
}

#[cfg(test)]
mod tests;
