//! Rooms in which people talk: what is said is kept, who is typing is not.
//!
//! Flow: the mutations make events of the family `chat` and publish them for the caller; `messages` is a page of history.
//! Invariants: the sender is whoever is signed in, never an argument.
//! Not here: following a room (`subscription`).

use super::{
    error::graphql_error,
    event::ChatEvent,
    hub,
    mutation::{Published, publish_one},
    principal,
    query::{PageInfo, position},
    scalars::{CursorText, JsonText},
};
use crate::{
    auth::Principal,
    error::{Code, Refusal},
    event::{Draft, Event, EventFilter, FilterDraft, NewEvent, ScopeField},
    hub::{History, HistoryRequest},
};
use async_graphql::{Context, ID, Object, Result, SimpleObject};
use serde::Serialize;
use serde_json::value::RawValue;
use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock},
};

/// The type of what is said.
const MESSAGE: &str = "chat.message";
/// The type of who is typing.
const TYPING: &str = "chat.typing";
/// The source of both.
const SOURCE: &str = "/chat";
/// The most bytes of a message as JSON, unless the limit of all events' data is lower.
const MESSAGE_BYTES_MAX: usize = 32 * 1024;

/// Makes the subjects of who is typing. A subject cannot be masked, so it must not tell who it is; and what is not kept needs no
/// subject that outlives the server.
static SUBJECTS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Talking in rooms.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChatMutation;

/// Talking in rooms.
#[Object]
impl ChatMutation {
    /// Says something in a room: publishes a `chat.message`, which those who follow `chat(roomId)` get, and answers once it is on
    /// stable storage. Its sender (`userId`, and `sender` of its data) is the signed-in user.
    async fn send_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The room.")] room_id: ID,
        #[graphql(desc = "What is said: a text, or other JSON; not empty, 32 KiB at most.")]
        message: JsonText,
        #[graphql(
            desc = "The message's own id, such as a UUID; sent again with the same id after a lost answer, it is said once."
        )]
        id: Option<ID>,
        #[graphql(desc = "The organization it is said in; the grant's where that fixes one.")]
        organization_id: Option<ID>,
        #[graphql(desc = "The task it is about, so that those who follow the task get it too.")]
        task_id: Option<ID>,
    ) -> Result<Published> {
        let place = Place { room_id, organization_id, task_id };
        say(ctx, place, message, id).await.map_err(graphql_error)
    }

    /// Tells those who follow `chat(roomId)` now that the signed-in user is typing, or no longer: a `chat.typing`, which is not kept
    /// and may be lost. Repeat it every few seconds while it goes on, and show nobody as typing who has not repeated it for longer.
    async fn set_typing(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The room.")] room_id: ID,
        #[graphql(desc = "Has typing begun, or ended?")] is_typing: bool,
        #[graphql(desc = "The organization of the room; the grant's where that fixes one.")] organization_id: Option<ID>,
        #[graphql(desc = "The task it is about, so that those who follow the task get it too.")]
        task_id: Option<ID>,
    ) -> Result<Published> {
        let place = Place { room_id, organization_id, task_id };
        tell_typing(ctx, place, is_typing).await.map_err(graphql_error)
    }
}

/// What was said in rooms.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChatQuery;

/// What was said in rooms.
#[Object]
impl ChatQuery {
    /// A page of what was said in a room. Without `first` and `last`, the newest 50 messages. `chat(roomId, start: {after})` with the
    /// page's `endCursor` goes on without a gap or a repeat; after an empty page, `start: {earliest: true}` does.
    #[graphql(complexity = "10 * child_complexity")]
    async fn messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The room.")] room_id: ID,
        #[graphql(desc = "So many from the front, 1 to 1,000.")] first: Option<i32>,
        #[graphql(desc = "Only messages after this one.")] after: Option<CursorText>,
        #[graphql(desc = "So many from the back, 1 to 1,000.")] last: Option<i32>,
        #[graphql(desc = "Only messages before this one.")] before: Option<CursorText>,
    ) -> Result<ChatConnection> {
        let request = || {
            Ok(HistoryRequest {
                filter: said_in(&room_id)?,
                first: first.map(i64::from),
                after: position(after, "after")?,
                last: last.map(i64::from),
                before: position(before, "before")?,
            })
        };
        let request = request().map_err(graphql_error)?;
        let page = hub(ctx).history(&principal(ctx), request).await;
        page.map(ChatConnection).map_err(graphql_error)
    }
}

/// A message of a page, with its cursor.
#[derive(Debug, SimpleObject)]
struct ChatEdge {
    /// The message's place in the log, for `after` and `before`.
    cursor: CursorText,
    /// The message.
    node: ChatEvent,
}

/// A page of what was said, oldest message first.
#[derive(Debug)]
struct ChatConnection(History);

/// A page of what was said in a room, oldest message first (a connection as Relay defines it).
#[Object]
impl ChatConnection {
    /// The messages with their cursors.
    async fn edges(&self) -> Vec<ChatEdge> {
        let edge =
            |event: &Arc<Event>| ChatEdge { cursor: event.cursor().into(), node: Arc::clone(event).into() };
        self.0.events.iter().map(edge).collect()
    }

    /// The messages.
    async fn nodes(&self) -> Vec<ChatEvent> {
        self.0.events.iter().cloned().map(ChatEvent::from).collect()
    }

    /// What is around the page.
    async fn page_info(&self) -> PageInfo {
        PageInfo::of(&self.0)
    }
}

/// Where something is said.
struct Place {
    room_id: ID,
    organization_id: Option<ID>,
    task_id: Option<ID>,
}

impl Place {
    /// An event of this type there. Fails with `INTERNAL` for data that is no JSON, which none is.
    fn draft(self, event_type: &str, data: &impl Serialize) -> Result<Draft, Refusal> {
        let data = serde_json::value::to_raw_value(data)
            .map_err(|error| Refusal::new(Code::Internal, format!("the data is no JSON: {error}")))?;
        Ok(Draft {
            event_type: event_type.to_owned(),
            source: Some(SOURCE.to_owned()),
            room_id: Some(self.room_id.0),
            organization_id: self.organization_id.map(|id| id.0),
            task_id: self.task_id.map(|id| id.0),
            data: Some(data),
            ..Draft::default()
        })
    }
}

/// The data of a [`MESSAGE`].
#[derive(Serialize)]
struct Message<'a> {
    message: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a str>,
}

/// The data of a [`TYPING`].
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Typing<'a> {
    is_typing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a str>,
}

async fn say(
    ctx: &Context<'_>,
    place: Place,
    message: JsonText,
    id: Option<ID>,
) -> Result<Published, Refusal> {
    let (principal, limits) = (principal(ctx), hub(ctx).limits());
    let message = checked(message, MESSAGE_BYTES_MAX.min(limits.data_bytes_max))?;
    let draft = place.draft(MESSAGE, &Message { message: &message, sender: principal.signed_in() })?;
    let event = NewEvent::new(Draft { id: id.map(|id| id.0), ..draft }, limits)?;
    publish_one(ctx, from_sender(event, &principal)).await
}

async fn tell_typing(ctx: &Context<'_>, place: Place, is_typing: bool) -> Result<Published, Refusal> {
    let principal = principal(ctx);
    let sender = principal.signed_in();
    let subject = sender.map(|sender| format!("{:016x}", SUBJECTS.hash_one((&*place.room_id, sender))));
    let draft = place.draft(TYPING, &Typing { is_typing, sender })?;
    let event = NewEvent::new(Draft { subject, persist: Some(false), ..draft }, hub(ctx).limits())?;
    publish_one(ctx, from_sender(event, &principal)).await
}

/// The event with its sender as `userId`. Where the grant does not allow that, the event as it is: a grant that fixes the field
/// fills it in, and any other says why not.
fn from_sender(event: NewEvent, principal: &Principal) -> NewEvent {
    let Some(sender) = principal.signed_in() else { return event };
    let named = event.clone().or_scope(ScopeField::User, sender);
    named.and_then(|named| principal.admit(named)).unwrap_or(event)
}

/// A message that says something and is not too long. Fails with `INVALID_EVENT` or `TOO_LARGE`.
fn checked(message: JsonText, bytes_max: usize) -> Result<Box<RawValue>, Refusal> {
    let JsonText(json) = message;
    let text = serde_json::from_str::<String>(&json);
    if matches!(&*json, "null" | "{}" | "[]") || text.is_ok_and(|text| text.trim().is_empty()) {
        let allowed = format!("a text or other JSON that is not empty, {bytes_max} bytes at most");
        return Err(Refusal::field(Code::InvalidEvent, "message", &json, allowed));
    }
    if json.len() > bytes_max {
        let given = format!("{} bytes", json.len());
        return Err(Refusal::field(Code::TooLarge, "message", &given, format!("{bytes_max} bytes of JSON")));
    }
    RawValue::from_string(json)
        .map_err(|error| Refusal::field(Code::InvalidEvent, "message", "a value", format!("JSON ({error})")))
}

/// The messages of a room. Fails with `INVALID_FILTER`.
fn said_in(room_id: &str) -> Result<EventFilter, Refusal> {
    let messages = FilterDraft { types: Some(vec![MESSAGE.to_owned()]), ..FilterDraft::default() };
    EventFilter::new(messages)?.with_scope(ScopeField::Room, room_id)
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
