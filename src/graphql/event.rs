//! An event in GraphQL: the fields that all events share, and one object a family (in `families`). What can be read straight from an
//! event, without an execution, has its function as well (in `leaves`).
//!
//! Invariants: the data of an event is parsed only when a field inside it is selected, and then once.

mod families;
mod leaves;

pub(super) use families::*;
pub(super) use leaves::Leaf;

use super::{
    members::Members,
    scalars::{CursorText, JsonText, Time},
};
use crate::{
    event::{self, ScopeField},
    platform::resources,
};
use async_graphql::{Enum, ID, Object};
use std::sync::{Arc, OnceLock};

/// How urgent an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "crate::event::Priority")]
pub(super) enum Priority {
    /// May wait.
    Low,
    /// The default.
    Normal,
    /// Before normal ones.
    High,
    /// Before everything else.
    Critical,
}

/// What every event has. The objects of the families hold it and show its fields as their own; it is no type of the schema.
#[derive(Debug)]
pub(super) struct Shared {
    event: Arc<event::Event>,
    members: OnceLock<Members>,
}

impl Shared {
    pub(super) fn new(event: Arc<event::Event>) -> Self {
        Shared { event, members: OnceLock::new() }
    }

    pub(super) fn members(&self) -> &Members {
        self.members.get_or_init(|| Members::read(self.event.data().as_str()))
    }

    pub(super) fn scope(&self, field: ScopeField) -> Option<ID> {
        self.event.scope().get(field).map(ID::from)
    }

    pub(super) fn place(&self) -> CursorText {
        self.event.cursor().into()
    }

    fn attributes_text(&self) -> Option<JsonText> {
        let attributes = self.event.attributes();
        (!attributes.is_empty()).then(|| JsonText(serde_json::Value::Object(attributes.clone()).to_string()))
    }

    /// The event as that of a resource, if a change of one made it.
    fn state<T: From<Arc<event::Event>>>(&self) -> Option<T> {
        (self.event.source() == resources::SOURCE).then(|| Arc::clone(&self.event).into())
    }
}

#[Object]
impl Shared {
    /// The producer's id; unique within the source.
    async fn id(&self) -> ID {
        ID::from(self.event.id())
    }

    /// What happened, such as `task.created`.
    #[graphql(name = "type")]
    async fn event_type(&self) -> &str {
        self.event.event_type().as_str()
    }

    /// The type without its first segment, such as `created`.
    async fn action(&self) -> &str {
        self.event.event_type().action()
    }

    /// When it happened, by the producer's clock.
    async fn time(&self) -> Time {
        Time(self.event.time())
    }

    /// Who published it, a URI reference.
    async fn source(&self) -> &str {
        self.event.source()
    }

    /// What it is about inside the source.
    async fn subject(&self) -> Option<&str> {
        self.event.subject()
    }

    /// The organization it concerns.
    async fn organization_id(&self) -> Option<ID> {
        self.scope(ScopeField::Organization)
    }

    /// The domain it concerns.
    async fn domain_id(&self) -> Option<ID> {
        self.scope(ScopeField::Domain)
    }

    /// The instance it concerns.
    async fn instance_id(&self) -> Option<ID> {
        self.scope(ScopeField::Instance)
    }

    /// The agent it concerns.
    async fn agent_id(&self) -> Option<ID> {
        self.scope(ScopeField::Agent)
    }

    /// The task it concerns.
    async fn task_id(&self) -> Option<ID> {
        self.scope(ScopeField::Task)
    }

    /// The workflow it concerns.
    async fn workflow_id(&self) -> Option<ID> {
        self.scope(ScopeField::Workflow)
    }

    /// The user it concerns.
    async fn user_id(&self) -> Option<ID> {
        self.scope(ScopeField::User)
    }

    /// The room it concerns.
    async fn room_id(&self) -> Option<ID> {
        self.scope(ScopeField::Room)
    }

    /// The request it belongs to.
    async fn correlation_id(&self) -> Option<&str> {
        self.event.correlation_id()
    }

    /// How urgent it is.
    async fn priority(&self) -> Priority {
        self.event.priority().into()
    }

    /// Is it in the log? One that is not was published with `persist: false`, and is delivered once at most.
    async fn persist(&self) -> bool {
        self.event.is_persistent()
    }

    /// Its place in the log; of one that is not in the log, the place behind which it came.
    async fn cursor(&self) -> CursorText {
        self.event.cursor().into()
    }

    /// What the producer has to say, whole; null where it said nothing or sent binary data.
    async fn data(&self) -> Option<JsonText> {
        Some(JsonText::from(self.event.data())).filter(|json| json.0 != "null")
    }

    /// Binary data as base64.
    #[graphql(name = "dataBase64")]
    async fn data_base64(&self) -> Option<&str> {
        self.event.data_base64()
    }

    /// CloudEvents attributes without a field of their own, an object; null where there are none.
    async fn attributes(&self) -> Option<JsonText> {
        self.attributes_text()
    }
}
