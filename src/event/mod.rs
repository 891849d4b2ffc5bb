//! What flows: an event before it is logged ([`NewEvent`]) and after ([`Event`]), and the words that select events.
//!
//! Flow: every way in fills a [`Draft`]; [`NewEvent::new`] checks it; only `log` turns a `NewEvent` into an `Event`.
//! Invariants: a `NewEvent` has passed every rule of its fields, so no later room checks them again.
//! Not here: GraphQL's view of an event (`graphql`), CloudEvents (`ingest`).

mod cursor;
mod draft;
mod encode;
mod epoch;
mod filter;
pub mod json;
mod kind;
mod overflow;
mod place;
mod scope;
mod shown;
mod start;
mod stored;

pub use cursor::{Cursor, Offset, Rank, StartPosition};
pub use draft::{Draft, Limits};
pub use encode::{write_event, write_event_with};
pub use epoch::{Epoch, OpenCursorError};
pub use filter::{
    AlternativeDraft, EventFilter, FilterDraft, Ids, RULE_IDS_MAX, RULE_PATTERNS_MAX, RULES_MAX, Rule, Rules,
};
pub use json::Json;
pub use kind::{EventType, Family, TYPE_BYTES_MAX, TYPE_SEGMENTS_MAX, TypePattern};
pub use overflow::Overflow;
pub(crate) use scope::check_id;
pub use scope::{ID_BYTES_MAX, Scope, ScopeField};
pub(crate) use shown::ShownFields;
pub use start::{START_LAST_MAX, StartDraft};
pub(crate) use stored::StoredEvent;

use crate::error::Refusal;
use chrono::{DateTime, Utc};
use std::sync::Arc;

/// How urgent an event is, in rising order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// May wait.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before normal ones.
    High,
    /// Before everything else.
    Critical,
}

impl Priority {
    /// Every priority, in rising order.
    pub const ALL: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];

    /// The name in JSON and GraphQL.
    pub const fn name(self) -> &'static str {
        match self {
            Priority::Low => "LOW",
            Priority::Normal => "NORMAL",
            Priority::High => "HIGH",
            Priority::Critical => "CRITICAL",
        }
    }

    /// The priority of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.name() == name)
    }
}

/// The attributes of a CloudEvent that have no field of their own: `datacontenttype`, `dataschema`, extensions.
pub type Attributes = serde_json::Map<String, serde_json::Value>;

/// An event as a producer asked for it: checked, not yet logged. Travels from every way in to `hub`, which has it logged.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    id: Arc<str>,
    namespace: Option<Box<str>>,
    event_type: EventType,
    time: DateTime<Utc>,
    time_is_given: bool,
    source: Arc<str>,
    subject: Option<Box<str>>,
    scope: Scope,
    correlation_id: Option<Box<str>>,
    correlation_is_inherited: bool,
    priority: Priority,
    data: Json,
    data_base64: Option<Box<str>>,
    attributes: Attributes,
    is_persistent: bool,
}

impl NewEvent {
    /// The producer's id, or a UUIDv7; unique within the source.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The same event, known in a namespace: its (`source`, `id`) is compared with those of the same namespace only.
    #[must_use]
    pub fn in_namespace(self, namespace: Option<Box<str>>) -> Self {
        NewEvent { namespace, ..self }
    }

    /// Whose ids its id is one of; empty for those who may publish everywhere. Nobody is shown it.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    /// What happened.
    pub fn event_type(&self) -> &EventType {
        &self.event_type
    }

    /// When it happened, by the producer's clock; the time of publishing where the producer gave none.
    pub fn time(&self) -> DateTime<Utc> {
        self.time
    }

    /// Did the producer give the time? A time that the server filled in is no part of the event's identity.
    pub fn time_is_given(&self) -> bool {
        self.time_is_given
    }

    /// Who published it, a URI reference as in CloudEvents.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it is about inside the source.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Whom it concerns.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The request that it belongs to.
    pub fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    /// The same as its producer gave it. One that the event has of the request it came in is no part of its identity.
    pub fn given_correlation_id(&self) -> Option<&str> {
        self.correlation_id().filter(|_| !self.correlation_is_inherited)
    }

    /// How urgent it is.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// What the producer has to say; `null` for binary data.
    pub fn data(&self) -> &Json {
        &self.data
    }

    /// Binary data as base64 (CloudEvents `data_base64`).
    pub fn data_base64(&self) -> Option<&str> {
        self.data_base64.as_deref()
    }

    /// CloudEvents attributes without a field of their own.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Is it kept in the log? One that is not is *transient*: delivered in its place in the order to those who follow then, and
    /// to nobody later.
    pub fn is_persistent(&self) -> bool {
        self.is_persistent
    }

    /// About how many bytes its producer sent.
    pub fn bytes(&self) -> usize {
        let texts = [self.subject.as_deref(), self.correlation_id.as_deref(), self.data_base64.as_deref()];
        let attribute =
            |(name, value): (&String, &serde_json::Value)| name.len() + value.as_str().map_or(8, str::len);
        self.id.len()
            + self.event_type.as_str().len()
            + self.source.len()
            + self.data.as_str().len()
            + texts.into_iter().flatten().map(str::len).sum::<usize>()
            + self.attributes.iter().map(attribute).sum::<usize>()
    }

    /// The event as one of the request of this id, an id, where its producer does not say that it belongs to another one.
    pub(crate) fn or_correlation_id(mut self, id: &str) -> Self {
        if self.correlation_id.is_none() {
            (self.correlation_id, self.correlation_is_inherited) = (Some(id.into()), true);
        }
        self
    }

    /// The event with this id in a scope field that its producer left out; what the producer gave stays. Fails with
    /// `INVALID_EVENT` for what is no id.
    pub(crate) fn or_scope(mut self, field: ScopeField, id: &str) -> Result<Self, Refusal> {
        if self.scope.get(field).is_none() {
            self.scope.set(field, id)?;
        }
        Ok(self)
    }
}

/// An event that happened, in order: a [`NewEvent`] with its place. Born in `log` only, after the commit; travels to tails, to
/// the fan-out and to resolvers.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    new: NewEvent,
    rank: Rank,
    cursor: Cursor,
}

impl Event {
    /// The event at its place in the log of this epoch. Only `log` may call this (`tests/it/house.rs` watches).
    pub(crate) fn logged(new: NewEvent, epoch: Epoch, offset: Offset) -> Self {
        Event { new, rank: Rank::logged(offset), cursor: epoch.seal(offset) }
    }

    /// The transient event of this rank, which clients know by this position. Only `log` may call this.
    pub(crate) fn transient(new: NewEvent, rank: Rank, position: Cursor) -> Self {
        Event { new, rank, cursor: position }
    }

    /// The place in the log; for a transient event, that of the last logged one before it.
    pub fn offset(&self) -> Offset {
        self.rank.offset()
    }

    /// The place in the order of all events.
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// The place as clients see it. That of a transient event is the position behind the last logged one before it: whoever
    /// resumes there gets every logged event that follows, and none again.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }
}

impl std::ops::Deref for Event {
    type Target = NewEvent;

    fn deref(&self) -> &NewEvent {
        &self.new
    }
}

/// Events that were committed together, in order. Cloning shares them.
pub type Batch = Arc<[Arc<Event>]>;
