//! The way back from storage: the fields of an event that passed [`NewEvent::new`] before it was stored.

use super::{Attributes, EventType, Json, NewEvent, Priority, Scope};
use chrono::{DateTime, Utc};
use std::sync::Arc;

/// What a store keeps of an event. Only `log` may build one (`tests/it/house.rs` watches): nothing is checked again.
#[derive(Debug)]
pub(crate) struct StoredEvent {
    pub(crate) id: Arc<str>,
    pub(crate) namespace: Option<Box<str>>,
    pub(crate) event_type: EventType,
    pub(crate) time: DateTime<Utc>,
    pub(crate) time_is_given: bool,
    pub(crate) source: Arc<str>,
    pub(crate) subject: Option<Box<str>>,
    pub(crate) scope: Scope,
    pub(crate) correlation_id: Option<Box<str>>,
    pub(crate) correlation_is_inherited: bool,
    pub(crate) priority: Priority,
    pub(crate) data: Json,
    pub(crate) data_base64: Option<Box<str>>,
    pub(crate) attributes: Attributes,
}

impl From<StoredEvent> for NewEvent {
    fn from(stored: StoredEvent) -> Self {
        NewEvent {
            id: stored.id,
            namespace: stored.namespace,
            event_type: stored.event_type,
            time: stored.time,
            time_is_given: stored.time_is_given,
            source: stored.source,
            subject: stored.subject,
            scope: stored.scope,
            correlation_id: stored.correlation_id,
            correlation_is_inherited: stored.correlation_is_inherited,
            priority: stored.priority,
            data: stored.data,
            data_base64: stored.data_base64,
            attributes: stored.attributes,
            is_persistent: true,
        }
    }
}
