//! What the writer needs of a store: transactions that insert events at given places, and the ends of what is kept.
//!
//! Invariants: what a transaction did is visible to readers after its commit only; dropping it rolls it back; (`source`, `id`)
//! is unique in a store.
//! Not here: who may be told what (`writer`), reading (`page` and each store's own reads).

use super::{Bounds, ReadError};
use crate::event::{Cursor, Epoch, Event, NewEvent, Offset};

/// Why a store did not do its part. Nothing of the transaction is kept unless the error is `Failed`.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// There is no room.
    #[error("the disk is full")]
    Full,
    /// Somebody else holds the store's write lock for longer than a writer waits.
    #[error("another program holds the store's write lock")]
    Busy,
    /// Anything else; what is on disk is unknown.
    #[error("{reason}")]
    Failed {
        /// What the store said; for the operator.
        reason: String,
    },
}

impl std::convert::From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        ReadError::Failed { reason: error.to_string() }
    }
}

/// Where and when an event is put.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Its cursor.
    pub(super) cursor: Cursor,
    /// Milliseconds since 1970 by the server's clock; never decreases from one event to the next.
    pub(super) logged_at: i64,
}

/// The write side of a log; owned by the writer's thread.
pub(super) trait Store: Send + 'static {
    /// A batch in the making.
    type Transaction<'a>: Transaction
    where
        Self: 'a;

    /// The identity of the log.
    fn epoch(&self) -> Epoch;

    /// The ends of what is committed.
    fn bounds(&self) -> Bounds;

    /// When the last event was logged; 0 for an empty log.
    fn last_logged_at(&self) -> i64;

    /// Starts a batch.
    fn begin(&mut self) -> Result<Self::Transaction<'_>, StoreError>;

    /// Ends the store; a store that failed is left on disk as it is.
    fn close(self, has_failed: bool);
}

/// A batch in the making; dropped, it leaves no trace.
pub(super) trait Transaction {
    /// Puts an event at the place after the last one, unless its (`source`, `id`) is there already, in an earlier
    /// transaction or in this one: then gives back the one that is there.
    fn insert(&mut self, event: &NewEvent, place: Place) -> Result<Option<Event>, StoreError>;

    /// Removes what this transaction inserted from this offset on.
    fn take_back(&mut self, from: Offset) -> Result<(), StoreError>;

    /// Returns once everything is on stable storage, with the ends that the log then has.
    fn commit(self) -> Result<Bounds, StoreError>;
}

/// Is it the same event published again? All that the producer gave counts; a time that the server filled in does not.
pub(super) fn is_same_body(first: &NewEvent, again: &NewEvent) -> bool {
    let times_agree = first.time_is_given() == again.time_is_given()
        && (!first.time_is_given() || first.time() == again.time());
    times_agree
        && first.id() == again.id()
        && first.source() == again.source()
        && first.event_type() == again.event_type()
        && first.subject() == again.subject()
        && first.scope() == again.scope()
        && first.correlation_id() == again.correlation_id()
        && first.priority() == again.priority()
        && first.data() == again.data()
        && first.data_base64() == again.data_base64()
        && first.attributes() == again.attributes()
}

/// The bytes of an event's data, as limits count them.
pub(super) fn data_bytes(event: &NewEvent) -> usize {
    event.data_base64().map_or(event.data().as_str().len(), str::len)
}
