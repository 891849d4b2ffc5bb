//! The same event with other fields: what a reader sees for whom some are masked.
//!
//! Invariants: what says which event it is (id, type, time, place), how it is sorted (priority) and whether it is kept stays as
//! it is.

use super::{Attributes, Event, Json, NewEvent, Scope};
use std::sync::Arc;

/// The fields that a reader may see in another way than they were published. Only `auth` may build them
/// (`tests/it/house.rs` watches): nothing is checked again.
#[derive(Debug)]
pub(crate) struct ShownFields {
    pub(crate) source: Arc<str>,
    pub(crate) subject: Option<Box<str>>,
    pub(crate) scope: Scope,
    pub(crate) correlation_id: Option<Box<str>>,
    pub(crate) data: Json,
    pub(crate) data_base64: Option<Box<str>>,
    pub(crate) attributes: Attributes,
}

impl NewEvent {
    /// The same event with these fields.
    pub(crate) fn shown_with(&self, fields: ShownFields) -> NewEvent {
        NewEvent {
            id: Arc::clone(&self.id),
            event_type: self.event_type.clone(),
            time: self.time,
            time_is_given: self.time_is_given,
            source: fields.source,
            subject: fields.subject,
            scope: fields.scope,
            correlation_id: fields.correlation_id,
            correlation_is_inherited: self.correlation_is_inherited,
            priority: self.priority,
            data: fields.data,
            data_base64: fields.data_base64,
            attributes: fields.attributes,
            namespace: self.namespace.clone(),
            is_persistent: self.is_persistent,
        }
    }

    /// The source, shared.
    pub(crate) fn shared_source(&self) -> Arc<str> {
        Arc::clone(&self.source)
    }
}

impl Event {
    /// The same event at the same place with these fields.
    pub(crate) fn shown_with(&self, fields: ShownFields) -> Event {
        Event { new: self.new.shown_with(fields), rank: self.rank, cursor: self.cursor }
    }
}
