//! What the writer needs of a store: transactions that insert events at given places and write what is kept under keys, and
//! the ends of the log.
//!
//! Invariants: what a transaction did is visible to readers after its commit only; dropping it rolls it back; (namespace,
//! `source`, `id`) is unique in a store.
//! Not here: who may be told what (`writer`), reading (`page` and each store's own reads).

use super::{Bounds, ReadError, StateKey};
use crate::event::{Epoch, Event, NewEvent, Offset, ScopeField};
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Duration};

/// Why a store did not do its part. Nothing of the transaction is kept unless the error is `Failed`.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// There is no room.
    #[error("the disk is full")]
    Full,
    /// Somebody else holds the store's write lock for longer than a writer waits.
    #[error("another program holds the store's write lock")]
    Busy,
    /// What is kept under a key is not what was written. Only what looks for it is concerned; the transaction goes on.
    #[error("{reason}")]
    Damaged {
        /// Where and how; for the operator.
        reason: String,
    },
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
    /// Its offset.
    pub(super) offset: Offset,
    /// Milliseconds since 1970 by the server's clock; never decreases from one event to the next.
    pub(super) logged_at: i64,
}

/// The event that has a key already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct First {
    /// Where it stands, or stood before retention removed it.
    pub(super) offset: Offset,
    /// Has it the same body?
    pub(super) is_same: bool,
}

/// What a store has under a key.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// The event.
    pub(super) event: Arc<Event>,
    /// The keys that it needs, sorted, without repeats.
    pub(super) references: Box<[StateKey]>,
}

/// What a store shall have under a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding<'a> {
    /// The event, which this transaction has inserted.
    pub(super) event: &'a NewEvent,
    /// Where.
    pub(super) place: Place,
    /// The keys that it needs, sorted, without repeats.
    pub(super) references: &'a [StateKey],
}

/// What a store did between commits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Upkeep {
    /// The ends of the log, if they have moved.
    pub(super) moved: Option<Bounds>,
    /// When it wants to be asked again, even if nothing is published; at once for zero.
    pub(super) again: Option<Duration>,
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

    /// Does one small piece of what has to be done between commits, such as removing events beyond retention. While
    /// others wait only what must not be put off is done.
    fn upkeep(&mut self, now_ms: i64, is_idle: bool) -> Result<Upkeep, StoreError>;

    /// Ends the store; a store that failed is left on disk as it is.
    fn close(self, has_failed: bool);
}

/// A batch in the making; dropped, it leaves no trace.
pub(super) trait Transaction {
    /// Puts an event at the place after the last one, unless its (namespace, `source`, `id`) is there already, in an earlier
    /// transaction or in this one: then gives back the one that is there.
    fn insert(&mut self, event: &NewEvent, place: Place) -> Result<Option<First>, StoreError>;

    /// Removes what this transaction inserted from this offset on.
    fn take_back(&mut self, from: Offset) -> Result<(), StoreError>;

    /// What is kept under a key, with all that this transaction has written.
    fn held(&mut self, key: &StateKey) -> Result<Option<Held>, StoreError>;

    /// One of those that have this key among their references.
    fn referrer(&mut self, key: &StateKey) -> Result<Option<StateKey>, StoreError>;

    /// Is there room for so many more keys?
    fn has_room_for(&self, keys: usize) -> bool {
        let _ = keys;
        true
    }

    /// Writes what is kept under a key in place of what [`Transaction::held`] tells; `None` removes it.
    fn hold(
        &mut self,
        key: &StateKey,
        before: Option<&Held>,
        after: Option<Holding<'_>>,
    ) -> Result<(), StoreError>;

    /// Returns once everything is on stable storage, with the ends that the log then has.
    fn commit(self) -> Result<Bounds, StoreError>;
}

/// Is it the same event published again? All that the producer gave counts; a time or a correlation id that the server filled
/// in does not.
pub(super) fn is_same_body(first: &NewEvent, again: &NewEvent) -> bool {
    let times_agree = first.time_is_given() == again.time_is_given()
        && (!first.time_is_given() || first.time() == again.time());
    times_agree
        && first.id() == again.id()
        && first.source() == again.source()
        && first.event_type() == again.event_type()
        && first.subject() == again.subject()
        && first.scope() == again.scope()
        && first.given_correlation_id() == again.given_correlation_id()
        && first.priority() == again.priority()
        && first.data() == again.data()
        && first.data_base64() == again.data_base64()
        && first.attributes() == again.attributes()
}

/// What stays of an event's body when retention has removed it, to tell a repeat from a conflict: equal for bodies that
/// [`is_same_body`] calls the same, and for no others that anybody could find. It is part of the format of a log on disk.
pub(super) type BodyDigest = [u8; 16];

/// The digest of an event's body; key and body, to be exact.
pub(super) fn body_digest(event: &NewEvent) -> BodyDigest {
    let mut hash = Sha256::new();
    let mut put = |text: Option<&str>| match text {
        Some(text) => {
            hash.update((text.len() as u64 + 1).to_le_bytes());
            hash.update(text);
        }
        None => hash.update(0_u64.to_le_bytes()),
    };
    let time = event.time_is_given().then(|| event.time().to_rfc3339());
    put(time.as_deref());
    for text in [event.id(), event.source(), event.event_type().as_str(), event.priority().name()] {
        put(Some(text));
    }
    for text in [event.subject(), event.given_correlation_id(), event.data_base64()] {
        put(text);
    }
    for field in ScopeField::ALL {
        put(event.scope().get(field));
    }
    for (name, value) in event.attributes() {
        put(Some(name));
        put(Some(&value.to_string()));
    }
    put(Some(event.data().as_str()));
    let mut digest = BodyDigest::default();
    digest.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    digest
}

/// The bytes of an event's data, as limits count them.
pub(super) fn data_bytes(event: &NewEvent) -> usize {
    event.data_base64().map_or(event.data().as_str().len(), str::len)
}
