//! What a principal may publish and read.

use crate::{
    error::{Code, Refusal},
    event::{EventFilter, NewEvent, ScopeField},
};
use std::fmt;

/// What a principal may publish and read. Cloning shares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    organization: Option<Box<str>>,
    is_admin: bool,
}

impl Grant {
    /// Every event, and the administration of the server.
    pub fn everything() -> Self {
        Grant { organization: None, is_admin: true }
    }

    /// The events of one organization.
    pub fn of_organization(id: &str) -> Self {
        Grant { organization: Some(id.into()), is_admin: false }
    }

    /// May the principal see and end what belongs to others?
    pub fn is_admin(&self) -> bool {
        self.is_admin
    }

    /// The part of a filter that the principal may read. Fails with `FORBIDDEN` when that is provably nothing.
    pub fn narrow(&self, filter: EventFilter) -> Result<EventFilter, Refusal> {
        let Some(own) = &self.organization else { return Ok(filter) };
        let is_outside =
            filter.scope_ids().any(|(field, ids)| field == ScopeField::Organization && !ids.contains(own));
        if is_outside {
            return Err(Refusal::new(Code::Forbidden, "the grant covers no event of this filter"));
        }
        filter.with_scope(ScopeField::Organization, own)
    }

    /// The event with the scope that the grant fixes, if the principal may publish it. Fails with `FORBIDDEN`.
    pub fn admit(&self, event: NewEvent) -> Result<NewEvent, Refusal> {
        match (&self.organization, event.scope().get(ScopeField::Organization)) {
            (Some(own), given) if given != Some(own) => {
                Err(Refusal::new(Code::Forbidden, "the grant does not cover this event"))
            }
            (Some(_) | None, _) => Ok(event),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.organization {
            None => f.write_str("every event"),
            Some(own) => write!(f, "organizationId: {own}"),
        }
    }
}
