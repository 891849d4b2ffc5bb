//! What is shown as its latest event would be, for a principal.

use crate::{
    auth::{Principal, View},
    error::Refusal,
    event::{EventFilter, NewEvent},
};

/// Shows state that is told by events to a principal: exactly what such an event, delivered to it, would show.
#[derive(Debug)]
pub struct Reader {
    filter: EventFilter,
    view: View,
}

impl Reader {
    /// For a principal that asks for what meets the filter. Fails as [`Principal::narrow`] does.
    pub fn new(principal: &Principal, filter: EventFilter) -> Result<Self, Refusal> {
        Ok(Reader { filter: principal.narrow(filter)?, view: principal.view().clone() })
    }

    /// Was it asked for, and may the principal read it? Looks at what [`NewEvent::routes_like`] compares.
    pub fn reads(&self, event: &NewEvent) -> bool {
        self.filter.matches(event)
    }

    /// Is nothing masked for the principal?
    pub fn sees_all(&self) -> bool {
        self.view.is_whole()
    }

    /// The event as the principal sees it; `None` for one that it does not read.
    pub fn show(&self, event: &NewEvent) -> Option<NewEvent> {
        self.reads(event).then(|| self.view.show_new(event))
    }
}
