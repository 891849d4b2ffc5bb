//! What a principal may publish and read.

use crate::{
    error::Refusal,
    event::{EventFilter, NewEvent},
};

/// What a principal may publish and read. Cloning shares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {}

impl Grant {
    /// Every event, and the administration of the server.
    pub fn everything() -> Self {
        Grant {}
    }

    /// May the principal see and end what belongs to others?
    pub fn is_admin(&self) -> bool {
        true
    }

    /// The part of a filter that the principal may read. Fails with `FORBIDDEN` when that is provably nothing.
    pub fn narrow(&self, filter: EventFilter) -> Result<EventFilter, Refusal> {
        Ok(filter)
    }

    /// Whose ids the ids of this event are: producers of other namespaces neither meet nor learn of them. `None` for those who
    /// may publish everywhere.
    pub fn publish_namespace(&self, _event: &NewEvent) -> Option<Box<str>> {
        None
    }

    /// The event with the scope that the grant fixes, if the principal may publish it. Fails with `FORBIDDEN`.
    pub fn admit(&self, event: NewEvent) -> Result<NewEvent, Refusal> {
        Ok(event)
    }
}
