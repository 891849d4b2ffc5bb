//! A resource as one of its events tells it.

use super::kind::Kind;
use crate::{
    error::{Code, Refusal},
    event::{Cursor, Event, NewEvent, Scope, ScopeField},
};
use serde_json::value::RawValue;
use std::{collections::BTreeMap, sync::Arc};

/// What an event tells of a resource; some of it may be masked.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) kind: Kind,
    pub(super) scope: Scope,
    members: BTreeMap<String, Box<RawValue>>,
}

impl Image {
    /// What an event of the kind tells.
    pub(super) fn new(kind: Kind, event: &NewEvent) -> Self {
        let members = serde_json::from_str(event.data().as_str()).unwrap_or_default();
        Image { kind, scope: event.scope().clone(), members }
    }

    /// A member that is not null.
    pub(super) fn member(&self, name: &str) -> Option<&RawValue> {
        self.members.get(name).map(|value| &**value).filter(|value| value.get() != "null")
    }

    /// A member that is text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.member(name)?.get()).ok()
    }

    pub(super) fn version(&self) -> Option<u64> {
        serde_json::from_str(self.member("version")?.get()).ok()
    }

    /// The same member as in another image?
    pub(super) fn agrees(&self, other: &Image, name: &str) -> bool {
        self.member(name).map(RawValue::get) == other.member(name).map(RawValue::get)
    }
}

/// A resource as its reader sees it: its latest event.
#[derive(Clone, Debug)]
pub struct Resource {
    event: Arc<Event>,
    image: Image,
}

impl Resource {
    pub(super) fn new(kind: Kind, event: Arc<Event>) -> Self {
        Resource { image: Image::new(kind, &event), event }
    }

    /// What kind of resource it is.
    pub fn kind(&self) -> Kind {
        self.image.kind
    }

    /// Its id; `None` where it is masked for the reader.
    pub fn id(&self) -> Option<String> {
        self.text("id")
    }

    /// How often it was changed, 1 for one that was only created; `None` where it is masked.
    pub fn version(&self) -> Option<u64> {
        self.image.version()
    }

    /// Its status; `None` where it has none, or it is masked.
    pub fn status(&self) -> Option<String> {
        self.text("status")
    }

    /// The id of what it belongs to, or its own, in this field; `None` where there is none, or it is masked.
    pub fn belongs_to(&self, field: ScopeField) -> Option<&str> {
        self.event.scope().get(field)
    }

    /// The value of a field as JSON; `None` where it is null or masked.
    pub fn get(&self, field: &str) -> Option<&RawValue> {
        self.image.member(field)
    }

    /// The value of a field that is text; `None` for any other.
    pub fn text(&self, field: &str) -> Option<String> {
        self.image.text(field)
    }

    /// The place of its latest change in the log.
    pub fn cursor(&self) -> Cursor {
        self.event.cursor()
    }

    /// Its latest event.
    pub fn event(&self) -> &Arc<Event> {
        &self.event
    }
}

/// What is kept is not what was written: the log says where it is damaged.
pub(super) fn unreadable() -> Refusal {
    tracing::error!("a kept event tells of no resource");
    Refusal::new(Code::Internal, "what is kept cannot be read")
}
