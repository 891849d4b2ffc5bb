//! What is kept: the durable, ordered log of events behind one trait, [`Log`], and beside it the latest event of each key.
//!
//! Flow: takes [`NewEvent`]s and [`Change`]s from `hub`, gives [`Event`]s back to `hub` twice: each committed batch at once, in
//! order, to the [`OnCommit`] observer, and pages of the past, or of what is kept, to whoever reads.
//! Invariants: offsets start at 1 and rise by one; an append is acknowledged, and its events are shown to the observer or to
//! a reader, only after the commit is on stable storage; the first I/O error stops appends for good, while reads go on.
//! Transient events have their turn in the same queue and are shown to the observer in the same order, but nothing of them is
//! stored: no reader sees them.
//! Not here: who may publish (`auth`), where events go (`bus`, `fanout`).

mod changing;
#[cfg(test)]
mod contract;
mod memory;
mod page;
mod placing;
mod queue;
mod request;
mod retention;
mod sqlite;
mod state;
mod store;
mod writer;

pub use memory::{MemoryLog, MemoryOptions};
pub use retention::Retention;
pub use sqlite::{
    CheckReport, FileSize, KindCount, LogStats, OpenError, Secret, SqliteLog, SqliteOptions, TypeCount,
    check, epoch, secret_of, stats,
};
pub use state::{Change, Changed, Decide, Kept, State, StateKey, StatePage, StateRead};
pub use writer::{OnAppend, WriterOptions};

use crate::{
    error::{Code, Refusal},
    event::{Batch, Cursor, Epoch, Event, EventFilter, NewEvent, Offset, Rank},
};
use futures_util::future::BoxFuture;
use std::{fmt, sync::Arc};

/// Is shown every batch, in order, on the log's own thread, right after the commit; must not block.
pub type OnCommit = Box<dyn FnMut(Batch) + Send>;

/// The answer to one published event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where the event stands; for a repeat, where it stood already; for a transient event, the last logged one before it.
    pub offset: Offset,
    /// The same, for the publisher.
    pub cursor: Cursor,
    /// Was the same (namespace, `source`, `id`) with the same body in the log already?
    pub duplicate: bool,
}

/// The ends of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first event that is still there; `head.next()` for an empty log.
    pub earliest: Offset,
    /// The last event; 0 for a log that never had one.
    pub head: Offset,
}

/// The most events of one id that [`Log::find`] looks at: somebody may publish the same id under any number of sources.
pub const FIND_EVENTS_MAX: usize = 1_024;

/// A request to read the past.
#[derive(Clone, Debug)]
pub struct Read {
    /// Which events.
    pub filter: Arc<EventFilter>,
    /// Which way from where.
    pub from: From,
    /// The most events in one page.
    pub events_max: usize,
    /// The page ends before the event whose data would take it past this many bytes; it may have one event always.
    pub bytes_max: usize,
}

/// Where a page starts and in which direction it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Rising, from the first event that is kept; never fails for its start, however fast retention is.
    Earliest,
    /// Rising, from the event after this offset.
    After(Offset),
    /// Falling, from the event before this offset. The events of the page stand in falling order.
    Before(Offset),
}

/// Events of the past that match, in the order asked for.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The events.
    pub events: Vec<Arc<Event>>,
    /// Every matching event between the start and this offset, inclusive, is in the page: continue from here. A rising page
    /// that reached the end of the log has the head (as of this read) here, or where it started if that is further; a
    /// falling one that reached the start has 0.
    pub through: Offset,
    /// Did the page reach the end of the log (rising) or its start (falling)?
    pub is_last: bool,
}

/// Can the log take and give events?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Both.
    Writable,
    /// It stopped taking events after an I/O error; it still gives them.
    ReadOnly,
}

/// Why events were not appended. Nothing of the request is in the log, unless the error is `Stopped`: then the outcome is
/// unknown and publishing again with the same ids is safe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The same (namespace, `source`, `id`) is in the log with another body.
    #[error("event {index}: id {id:?} of source {source_name:?} was published before with another body")]
    Conflict {
        /// Which event of the request, from 0.
        index: usize,
        /// Its id.
        id: String,
        /// Its source.
        source_name: String,
        /// Where the first one stands; `None` when both stand in this request, of which nothing was logged.
        first: Option<Cursor>,
    },
    /// The disk is full; the log takes events again once there is room.
    #[error("the disk under the log is full")]
    Full,
    /// An earlier I/O error stopped the log for writing, or it is closing.
    #[error("the log takes no events: {reason}")]
    Stopped {
        /// What happened; for the operator, not for callers.
        reason: String,
    },
    /// Too many appends wait already.
    #[error("{waiting} publishes wait for the log already")]
    Busy {
        /// How many wait.
        waiting: usize,
    },
    /// Who decides on a change refused it; never the answer to plain events.
    #[error("{0}")]
    Refused(Refusal),
}

impl AppendError {
    /// What the publisher is told.
    pub fn refusal(&self) -> Refusal {
        match self {
            AppendError::Conflict { first, index, id, .. } => {
                let refusal = Refusal::new(Code::IdConflict, self.to_string())
                    .with("field", "id")
                    .with("given", id)
                    .with("index", index.to_string());
                match first {
                    Some(first) => refusal.with("cursor", first.to_string()),
                    None => refusal,
                }
            }
            AppendError::Full => Refusal::new(Code::StorageFull, "the disk under the log is full"),
            AppendError::Stopped { .. } => Refusal::new(Code::Unavailable, "the log takes no events now"),
            AppendError::Busy { .. } => {
                Refusal::new(Code::RateLimited, "too many publishes wait for the log")
            }
            AppendError::Refused(refusal) => refusal.clone(),
        }
    }
}

/// Why the past could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Retention removed events that the page would have had to contain.
    #[error("events before offset {} are gone", earliest.get())]
    Expired {
        /// The first event that is still there.
        earliest: Offset,
    },
    /// What is stored is not what was written, so the page is not given; for the operator.
    #[error("the log is damaged: {reason}; `fanfare log check` finds all damage")]
    Damaged {
        /// The event that cannot be given, if one is known.
        offset: Option<Offset>,
        /// Where the damage is and how it shows.
        reason: String,
    },
    /// The store failed; for the operator.
    #[error("the log cannot be read: {reason}")]
    Failed {
        /// What the store said.
        reason: String,
    },
}

/// The log of a server. Implementations are told apart only by what they survive; one suite of contract tests
/// (`log/contract.rs`) runs for all of them.
pub trait Log: Send + Sync + fmt::Debug {
    /// Appends events in their order, all or none, and answers after the commit. A repeat of an event that is in the log
    /// (same namespace, `source`, `id` and body, within this request as well) is answered with the first one's cursor and not logged.
    /// Transient events are compared with nothing.
    ///
    /// Cancel safety: dropping the future does not take the events back.
    fn append(&self, events: Vec<NewEvent>) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>>;

    /// Makes a change: `decide` is asked inside the transaction, then its events are logged and what they change is written,
    /// all or nothing, and answered after the commit. A change all of whose events are repeats was made before: nothing is
    /// written again; one with some repeats among its events is refused with `CONFLICT`. `bytes` is about how much `decide`
    /// holds on to while it waits.
    ///
    /// Cancel safety: dropping the future does not take the change back.
    fn change(&self, decide: Decide, bytes: usize) -> BoxFuture<'_, Result<Changed, AppendError>>;

    /// Reads one page of what is kept, with the head of the log at that very moment. Nobody who is told that head is ahead of
    /// the log: it is published before this returns.
    ///
    /// Cancel safety: yes.
    fn state(&self, read: StateRead) -> BoxFuture<'_, Result<StatePage, ReadError>>;

    /// Reads one page of matching events. A rising page after an offset whose successor was removed by retention fails with
    /// [`ReadError::Expired`]; an offset at or beyond the head gives an empty last page.
    ///
    /// Cancel safety: yes.
    fn read(&self, read: Read) -> BoxFuture<'_, Result<Page, ReadError>>;

    /// The matching event of this id with the highest offset; ids are unique only within a source, so others of the same id
    /// may not match. Looks at no more than the newest [`FIND_EVENTS_MAX`] of the id.
    ///
    /// Cancel safety: yes.
    fn find(
        &self,
        id: String,
        filter: Arc<EventFilter>,
    ) -> BoxFuture<'_, Result<Option<Arc<Event>>, ReadError>>;

    /// The last event that was logged before this time: where a subscription `start: {time}` starts after.
    ///
    /// Cancel safety: yes.
    fn before_time(&self, time: chrono::DateTime<chrono::Utc>) -> BoxFuture<'_, Result<Offset, ReadError>>;

    /// The ends of the log now. Cheap.
    fn bounds(&self) -> Bounds;

    /// No event that was appended before has a higher rank, and every one that is appended from now on has. Cheap.
    fn newest(&self) -> Rank;

    /// The identity of the log, which seals and opens its cursors.
    fn epoch(&self) -> Epoch;

    /// Can it take and give events? Cheap.
    fn health(&self) -> Health;

    /// How many reads have met damage since the log was opened; 0 for a log that cannot be damaged. Cheap.
    fn damaged_reads(&self) -> u64 {
        0
    }

    /// Ends once the log takes no more events for an I/O error. Transient ones still pass.
    fn stopped(&self) -> BoxFuture<'static, ()>;

    /// How many appends wait for the writer. Cheap.
    fn waiting(&self) -> usize;

    /// How many bytes are left for it on its disk; `None` for a log without one, and where the system does not tell. Asks the
    /// file system, which may be slow.
    fn disk_free(&self) -> Option<u64> {
        None
    }

    /// Takes no more appends, commits what waits, and closes the store.
    ///
    /// Cancel safety: closing goes on.
    fn close(&self) -> BoxFuture<'_, ()>;
}
