//! What is addressed to the signed-in user and what of it they have read, over all of their devices.
//!
//! Flow: `markRead` keeps a marker, which is the latest `notification.read` of the user; `unreadNotifications` counts what came
//! after it.
//! Invariants: a marker never goes back. It is the server's own record, under the name of whoever asks and under no other: nothing
//! of it is the caller's but the position, so marking needs no grant to publish. What is counted passes grant and view as ever.
//! Not here: following (`subscription`).

use super::{
    error::graphql_error, event::AnyEvent, hub, principal, scalars::CursorText, subscription::addressed_to,
};
use crate::{
    auth::Principal,
    error::{Code, Refusal},
    event::{
        Cursor, Draft, Event, EventFilter, EventType, Family, NewEvent, Offset, Scope, ScopeField,
        StartPosition,
    },
    hub::{History, HistoryRequest, Hub},
    log::{Change, Decide, StateKey},
};
use async_graphql::{Context, Object, Result, SimpleObject};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The type that tells what was read.
const READ: &str = "notification.read";
const SOURCE: &str = "/notifications";
/// The kind of the keys under which markers are kept; their ids are the users.
const KIND: &str = "notifications";
/// Beyond this it is enough to know that there are more.
const COUNTED_MAX: usize = 1_000;
/// The most events that are looked at for one count, those included that do not count.
const SCANNED_MAX: usize = 4 * COUNTED_MAX;
/// So many events are held at once.
const PAGE: i64 = 250;
/// About how many bytes a marker has, for the limits of the caller.
const MARKER_BYTES: usize = 128;

/// What the signed-in user has read.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotificationMutation;

/// What the signed-in user has read.
#[Object]
impl NotificationMutation {
    /// Remembers that the signed-in user has read everything addressed to them up to a position, and tells their other devices
    /// by a `notification.read`. It survives restarts and retention. A position before the one that is remembered changes nothing.
    async fn mark_read(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The cursor of the last one that was read, or `asOf` of what was counted.")]
        up_to: CursorText,
    ) -> Result<ReadMark> {
        mark(hub(ctx), &principal(ctx), &up_to).await.map_err(graphql_error)
    }
}

/// What the signed-in user has not read.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotificationQuery;

/// What the signed-in user has not read.
#[Object]
impl NotificationQuery {
    /// What was addressed to the signed-in user (events with their `userId`) since `markRead`. What is said in rooms does not count,
    /// since there the user is the sender, and neither does `notification.read`.
    #[graphql(complexity = "10 * child_complexity")]
    async fn unread_notifications(
        &self,
        ctx: &Context<'_>,
        #[graphql(default = 20, desc = "So many of them, the oldest ones, 0 to 1,000.")] first: i32,
    ) -> Result<UnreadNotifications> {
        unread(hub(ctx), &principal(ctx), first).await.map_err(graphql_error)
    }
}

/// How far the signed-in user has read.
#[derive(Debug, SimpleObject)]
pub(super) struct ReadMark {
    /// Up to where everything is read, now.
    up_to: CursorText,
    /// Has this moved it? False where it stood there already, or later.
    moved: bool,
}

/// What the signed-in user has not read.
#[derive(Debug, SimpleObject)]
pub(super) struct UnreadNotifications {
    /// How many there are.
    count: i32,
    /// Are there more, or may there be? At most 1,000 are counted.
    is_at_least: bool,
    /// The oldest ones, oldest first.
    nodes: Vec<AnyEvent>,
    /// Up to where everything is read; null before the first `markRead`.
    read_up_to: Option<CursorText>,
    /// Up to where was counted. `markRead` with it marks what was counted, and `notifications(start: {after})` with it goes on
    /// without a gap or a repeat.
    as_of: CursorText,
}

/// Where the marker of a user is kept, and whom its changes concern.
struct Marker {
    key: StateKey,
    scope: Scope,
    event_type: EventType,
}

/// The data of a [`READ`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    up_to: String,
}

impl Marker {
    /// The marker of the signed-in user. Fails with `UNAUTHENTICATED`, or `FORBIDDEN` for whom nothing can be addressed to.
    fn of(principal: &Principal) -> Result<Self, Refusal> {
        principal.narrow(addressed_to(principal)?)?;
        let mut scope = Scope::default();
        scope.set(ScopeField::User, principal.subject())?;
        let event_type = EventType::parse(READ, "type")?;
        // In the organization in which the user reads, so that the other devices get to know of it.
        let scope = principal.grant().readable_scope(&event_type, scope)?;
        let key = StateKey::new(KIND, scope.get(ScopeField::Organization), principal.subject())?;
        Ok(Marker { key, scope, event_type })
    }

    /// The event that moves it.
    fn moved_to(&self, up_to: Cursor, hub: &Hub) -> Result<NewEvent, Refusal> {
        let data = serde_json::value::to_raw_value(&Read { up_to: up_to.to_string() })
            .map_err(|error| Refusal::new(Code::Internal, format!("the data is no JSON: {error}")))?;
        let mut draft = Draft {
            event_type: READ.to_owned(),
            source: Some(SOURCE.to_owned()),
            data: Some(data),
            ..Draft::default()
        };
        for (field, id) in self.scope.iter() {
            *draft.scope_mut(field) = Some(id.to_owned());
        }
        NewEvent::new(draft, hub.limits())
    }
}

/// Where a marker stands; `None` where it was set in another log, of which nothing is here.
fn stands_at(event: &Event, hub: &Hub) -> Option<(Cursor, Offset)> {
    let read: Read = serde_json::from_str(event.data().as_str()).ok()?;
    let cursor = Cursor::parse(&read.up_to).ok()?;
    Some((cursor, hub.epoch().open(cursor).ok()?))
}

impl Marker {
    /// Where it stands, and as of when.
    async fn stands(&self, hub: &Hub) -> Result<(Option<(Cursor, Offset)>, Cursor), Refusal> {
        let (kept, as_of) = hub.kept_one(&Principal::anonymous(), &self.key).await?;
        Ok((kept.and_then(|event| stands_at(&event, hub)), as_of))
    }
}

async fn mark(hub: &Hub, principal: &Principal, up_to: &CursorText) -> Result<ReadMark, Refusal> {
    let marker = Marker::of(principal)?;
    let given = Cursor::parse(&up_to.0).map_err(|refusal| refusal.with("field", "upTo"))?;
    let place = hub.locate(principal, &EventFilter::default(), &StartPosition::After(given)).await?;
    let place = place.ok_or_else(|| Cursor::invalid(&up_to.0))?;
    let is_read = |stands: Option<(Cursor, Offset)>| stands.filter(|(_, stands)| *stands >= place);
    let unmoved = |(cursor, _): (Cursor, Offset)| ReadMark { up_to: cursor.into(), moved: false };
    if let Some(stands) = is_read(marker.stands(hub).await?.0) {
        return Ok(unmoved(stands));
    }
    // The server's own record, so it is the server that makes the change; the use is the caller's.
    principal.charge_publish(1, MARKER_BYTES)?;
    let event = marker.moved_to(given, hub)?;
    let (deciding, key) = (hub.clone(), marker.key.clone());
    let decide: Decide = Box::new(move |state| {
        let stands = state.get(&key)?.and_then(|event| stands_at(&event, &deciding));
        match stands {
            Some((_, stands)) if stands >= place => Err(Refusal::new(Code::Conflict, "it was read already")),
            Some(_) | None => Ok(Change::new().keep(key, event, Vec::new())),
        }
    });
    match hub.change(&Principal::anonymous(), &marker.event_type, MARKER_BYTES, decide).await {
        // Another device was faster.
        Err(refusal) if refusal.code == Code::Conflict => {
            is_read(marker.stands(hub).await?.0).map(unmoved).ok_or(refusal)
        }
        made => made.map(|_| ReadMark { up_to: given.into(), moved: true }),
    }
}

async fn unread(hub: &Hub, principal: &Principal, first: i32) -> Result<UnreadNotifications, Refusal> {
    let shown_max = usize::try_from(first).ok().filter(|first| *first <= COUNTED_MAX).ok_or_else(|| {
        Refusal::field(Code::BadRequest, "first", &first.to_string(), format!("0 to {COUNTED_MAX}"))
    })?;
    let marker = Marker::of(principal)?;
    let (stands, head) = marker.stands(hub).await?;
    let stands = stands.map(|(cursor, _)| cursor);
    let until = hub.locate(principal, &EventFilter::default(), &StartPosition::After(head)).await?;
    let mut found = Unread { after: stands, ..Unread::default() };
    let mut scanned = 0;
    let is_whole = loop {
        let page = addressed(hub, principal, found.after).await?;
        scanned += page.events.len();
        let told = page.events.iter().take_while(|event| until.is_none_or(|until| event.offset() <= until));
        let told = told.cloned().collect::<Vec<_>>();
        let is_last = !page.has_next || told.len() < page.events.len();
        let is_counted = told.into_iter().all(|event| found.take(event, shown_max));
        if !is_counted || is_last || scanned >= SCANNED_MAX {
            break is_counted && is_last;
        }
    };
    let as_of = found.after.filter(|_| !is_whole).unwrap_or(head);
    Ok(UnreadNotifications {
        count: found.count.try_into().unwrap_or(i32::MAX),
        is_at_least: !is_whole,
        nodes: found.oldest.into_iter().map(AnyEvent::from).collect(),
        read_up_to: stands.map(CursorText::from),
        as_of: as_of.into(),
    })
}

/// What was counted, and up to where.
#[derive(Default)]
struct Unread {
    after: Option<Cursor>,
    count: usize,
    oldest: Vec<Arc<Event>>,
}

impl Unread {
    /// Looks at one more event. False: as many are counted as may be, and this one is not.
    fn take(&mut self, event: Arc<Event>, shown_max: usize) -> bool {
        let is_one = event.event_type().family() != Family::Chat && event.event_type().as_str() != READ;
        if is_one && self.count == COUNTED_MAX {
            return false;
        }
        self.after = Some(event.cursor());
        self.count += usize::from(is_one);
        if is_one && self.oldest.len() < shown_max {
            self.oldest.push(event);
        }
        true
    }
}

/// A page of what is addressed to the signed-in user, as they may see it. What retention has removed is read.
async fn addressed(hub: &Hub, principal: &Principal, after: Option<Cursor>) -> Result<History, Refusal> {
    let request = |after| -> Result<HistoryRequest, Refusal> {
        let filter = addressed_to(principal)?;
        Ok(HistoryRequest { filter, first: Some(PAGE), after, ..HistoryRequest::default() })
    };
    match hub.history(principal, request(after)?).await {
        Err(refusal) if refusal.code == Code::CursorExpired => hub.history(principal, request(None)?).await,
        page => page,
    }
}

#[cfg(test)]
#[path = "notifications_tests.rs"]
mod tests;
