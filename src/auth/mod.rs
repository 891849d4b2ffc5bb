//! Who may: every entry has a [`Principal`]; its [`Grant`] says what it may publish and read, its [`View`] what it sees of it.
//!
//! Flow: the edge finds the principal of a connection; `hub` asks its grant; the sharing key of `fanout` holds its view.
//! Invariants: a filter is only ever narrowed by a grant; resolvers see a view, never a principal.
//! Not here yet: tokens, masks and audit. Until then everybody is anonymous with a full grant, and the roof lets the server
//! bind loopback addresses only.

use crate::{
    error::Refusal,
    event::{EventFilter, NewEvent},
};

/// Who speaks: travels from the edge to `hub` with every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    grant: Grant,
    view: View,
}

impl Principal {
    /// Nobody in particular, who may do everything.
    pub const fn anonymous() -> Self {
        Principal { grant: Grant::Everything, view: View::Whole }
    }

    /// What the principal may do.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// What the principal sees of an event it may read.
    pub fn view(&self) -> View {
        self.view
    }
}

/// What a principal may publish and read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grant {
    /// Every event.
    Everything,
}

impl Grant {
    /// May the principal publish this event? Fails with `FORBIDDEN`.
    pub fn allow_publish(&self, _event: &NewEvent) -> Result<(), Refusal> {
        match self {
            Grant::Everything => Ok(()),
        }
    }

    /// The part of a filter that the principal may read.
    pub fn narrow(&self, filter: EventFilter) -> EventFilter {
        match self {
            Grant::Everything => filter,
        }
    }
}

/// What a reader sees of an event: two readers of the same view may share one rendering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum View {
    /// Every field.
    Whole,
}
