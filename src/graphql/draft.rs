//! A new event as clients write it.

use super::{
    event::Priority,
    scalars::{JsonText, Time},
};
use crate::{
    error::{Code, Refusal},
    event::{self, Draft, Limits},
};
use async_graphql::{ID, InputObject};
use serde_json::value::RawValue;

/// An event to publish.
#[derive(Debug, InputObject)]
#[graphql(name = "NewEvent")]
pub(super) struct NewEventInput {
    /// Unique within the source; a UUIDv7 where it is left out. Publishing the same source and id again is answered with the
    /// first one's cursor.
    id: Option<ID>,
    /// What happened: 1 to 8 segments of `A-Z a-z 0-9 _ -` joined by dots, such as `task.created`.
    #[graphql(name = "type")]
    event_type: String,
    /// When it happened; the time of publishing where it is left out.
    time: Option<Time>,
    /// Who says so, a URI reference; `/` where it is left out.
    source: Option<String>,
    /// What it is about inside the source.
    subject: Option<String>,
    /// The organization it concerns.
    organization_id: Option<ID>,
    /// The domain it concerns.
    domain_id: Option<ID>,
    /// The instance it concerns.
    instance_id: Option<ID>,
    /// The agent it concerns.
    agent_id: Option<ID>,
    /// The task it concerns.
    task_id: Option<ID>,
    /// The workflow it concerns.
    workflow_id: Option<ID>,
    /// The user it concerns.
    user_id: Option<ID>,
    /// The room it concerns.
    room_id: Option<ID>,
    /// The request it belongs to.
    correlation_id: Option<String>,
    /// How urgent it is; `NORMAL` where it is left out.
    priority: Option<Priority>,
    /// What there is to say, any JSON. GraphQL reads numbers as 64-bit integers or doubles; `POST /events` keeps their digits.
    data: Option<JsonText>,
    /// Binary data as base64, in place of `data`.
    #[graphql(name = "dataBase64")]
    data_base64: Option<String>,
    /// CloudEvents attributes without a field of their own: an object of strings, booleans and integers.
    attributes: Option<JsonText>,
    /// Is it kept in the log? `false`, for what nobody misses later (somebody types, a tick of progress): it is delivered in its
    /// place in the order to those who follow then, at most once, and is not in the log; a resumed subscription does not get it.
    #[graphql(default = true)]
    persist: bool,
}

impl NewEventInput {
    /// The checked event. Fails with `INVALID_EVENT` or `TOO_LARGE`.
    pub(super) fn check(self, limits: &Limits) -> Result<event::NewEvent, Refusal> {
        event::NewEvent::new(self.draft()?, limits)
    }

    fn draft(self) -> Result<Draft, Refusal> {
        let text = |id: Option<ID>| id.map(|id| id.0);
        Ok(Draft {
            id: text(self.id),
            event_type: self.event_type,
            time: self.time.map(|time| time.0),
            source: self.source,
            subject: self.subject,
            organization_id: text(self.organization_id),
            domain_id: text(self.domain_id),
            instance_id: text(self.instance_id),
            agent_id: text(self.agent_id),
            task_id: text(self.task_id),
            workflow_id: text(self.workflow_id),
            user_id: text(self.user_id),
            room_id: text(self.room_id),
            correlation_id: self.correlation_id,
            priority: self.priority.map(|priority| event::Priority::from(priority).name().to_owned()),
            data: self.data.map(raw).transpose()?,
            data_base64: self.data_base64,
            attributes: self.attributes.map(|json| attributes(&json)).transpose()?,
            persist: Some(self.persist),
        })
    }
}

fn raw(json: JsonText) -> Result<Box<RawValue>, Refusal> {
    RawValue::from_string(json.0)
        .map_err(|error| Refusal::field(Code::InvalidEvent, "data", "a value", format!("JSON ({error})")))
}

fn attributes(json: &JsonText) -> Result<event::Attributes, Refusal> {
    serde_json::from_str(&json.0)
        .map_err(|_| Refusal::field(Code::InvalidEvent, "attributes", &json.0, "an object"))
}

/// The refusal of one event of a list: its field is named as `events[3].type`.
pub(super) fn at_index(mut refusal: Refusal, index: usize) -> Refusal {
    let prefix = format!("events[{index}]");
    let Some((_, field)) = refusal.details.iter_mut().find(|(name, _)| *name == "field") else {
        refusal.message = format!("{prefix}: {}", refusal.message).into();
        return refusal;
    };
    refusal.message = match refusal.message.starts_with(field.as_str()) {
        true => format!("{prefix}.{}", refusal.message),
        false => format!("{prefix}: {}", refusal.message),
    }
    .into();
    *field = format!("{prefix}.{field}");
    refusal
}
