//! Who is present, as a caller may see it: pages of connections, and of rooms with their counts.
//!
//! Invariants: a connection is seen by whoever would read the last event about it, and of it what that event shows; what is
//! asked for is compared with what is shown, so that nothing hidden can be guessed; the roster's lock is held for a few
//! connections at a time, and others have their turn in between.

use super::{
    Presence,
    connection::{Connection, ConnectionId, Status},
    room::Room,
};
use crate::{
    auth::Principal,
    error::Refusal,
    event::{Cursor, EventFilter, Family, NewEvent, ScopeField},
    hub::{Hub, Reader},
};
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::{collections::HashSet, sync::Arc};
use tokio::task::yield_now;

/// The most connections or rooms of a page.
pub const PAGE_MAX: usize = 1_000;
/// So many connections are looked at before others have their turn.
const LOOKED_AT: usize = 256;

/// Which of those present are asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Those of this user.
    pub user: Option<String>,
    /// Those in this room.
    pub room: Option<Room>,
    /// Those of this status.
    pub status: Option<Status>,
    /// So many, up to [`PAGE_MAX`].
    pub first: usize,
    /// Those after this one.
    pub after: Option<ConnectionId>,
}

/// A connection as a caller sees it; what is masked for the caller is as its mask shows it, or absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    id: ConnectionId,
    /// Its name.
    pub connection: Option<String>,
    /// The signed-in user.
    pub user: Option<String>,
    /// The organization that it belongs to.
    pub organization: Option<String>,
    /// What it says that it does.
    pub status: Option<Status>,
    /// What it speaks.
    pub protocol: Option<String>,
    /// The rooms of its subscriptions, beside that of its user.
    pub rooms: Option<Vec<String>>,
    /// Since when it is connected.
    pub since: Option<DateTime<Utc>>,
}

/// Some of those present, in the order of their ids.
#[derive(Clone, Debug)]
pub struct Page {
    /// The connections.
    pub seen: Vec<Seen>,
    /// After which the next page goes on; none: there are no more.
    pub next: Option<ConnectionId>,
    /// What was published up to here has been taken into account.
    pub as_of: Cursor,
}

/// A room that somebody is in whom the caller may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomSeen {
    /// The room.
    pub room: Room,
    /// How many users are in it.
    pub users: usize,
    /// How many connections, those of nobody in particular included.
    pub connections: usize,
}

/// Some rooms, in the order of their names.
#[derive(Clone, Debug)]
pub struct RoomPage {
    /// The rooms.
    pub rooms: Vec<RoomSeen>,
    /// After which the next page goes on; none: there are no more.
    pub next: Option<Room>,
    /// As [`Page::as_of`].
    pub as_of: Cursor,
}

impl Presence {
    /// Those present whom the caller asks for and may see. Fails as [`Principal::narrow`] does, and with `INVALID_FILTER` for a
    /// user that is no id.
    ///
    /// Cancel safety: yes.
    pub async fn page(&self, hub: &Hub, principal: &Principal, wanted: &Wanted) -> Result<Page, Refusal> {
        let reader = reader(principal, wanted.user.as_deref())?;
        let as_of = hub.position(hub.bounds().head);
        let among = wanted.user.as_deref().map(Room::of_user).or_else(|| wanted.room.clone());
        let is_wanted = |seen: &Seen| {
            wanted.room.as_ref().is_none_or(|room| seen.is_in(room))
                && wanted.status.is_none_or(|status| seen.status == Some(status))
        };
        let (mut seen, mut after) = (Vec::new(), wanted.after);
        // One more than asked for tells whether there are more.
        while seen.len() <= wanted.first {
            let some = self.roster().some(among.as_ref().map(Room::name), after, LOOKED_AT);
            let Some(last) = some.last() else { break };
            after = Some(last.id);
            seen.extend(some.iter().filter_map(|found| Seen::by(&reader, found)).filter(is_wanted));
            yield_now().await;
        }
        let has_more = seen.len() > wanted.first;
        seen.truncate(wanted.first);
        let next = seen.last().filter(|_| has_more).map(|last| last.id);
        Ok(Page { seen, next, as_of })
    }

    /// So many rooms, up to [`PAGE_MAX`], after this one, in which the caller may see somebody. Fails as [`Principal::narrow`]
    /// does.
    ///
    /// Cancel safety: yes.
    pub async fn rooms(
        &self,
        hub: &Hub,
        principal: &Principal,
        first: usize,
        after: Option<&Room>,
    ) -> Result<RoomPage, Refusal> {
        let reader = reader(principal, None)?;
        let as_of = hub.position(hub.bounds().head);
        let (mut rooms, mut after) = (Vec::new(), after.cloned());
        while rooms.len() <= first {
            let some = self.roster().some_rooms(after.as_ref().map(Room::name), LOOKED_AT);
            let Some(last) = some.last() else { break };
            after = Some(last.clone());
            for room in some {
                rooms.extend(self.counted(&reader, room).await);
            }
        }
        let has_more = rooms.len() > first;
        rooms.truncate(first);
        let next = rooms.last().filter(|_| has_more).map(|last| last.room.clone());
        Ok(RoomPage { rooms, next, as_of })
    }

    /// Who of a room is seen, if anybody is.
    async fn counted(&self, reader: &Reader, room: Room) -> Option<RoomSeen> {
        let (mut users, mut connections, mut after) = (HashSet::new(), 0, None);
        loop {
            let some = self.roster().some(Some(room.name()), after, LOOKED_AT);
            let Some(last) = some.last() else { break };
            after = Some(last.id);
            let seen = some.iter().filter_map(|found| Seen::by(reader, found));
            for seen in seen.filter(|seen| seen.is_in(&room)) {
                connections += 1;
                users.extend(seen.user);
            }
            yield_now().await;
        }
        (connections > 0).then_some(RoomSeen { room, users: users.len(), connections })
    }
}

fn reader(principal: &Principal, user: Option<&str>) -> Result<Reader, Refusal> {
    let presence = EventFilter::default().within(Family::Presence);
    let filter = match user {
        Some(user) => presence.with_scope(ScopeField::User, user)?,
        None => presence,
    };
    Reader::new(principal, filter)
}

impl Seen {
    /// What a reader sees of a connection.
    fn by(reader: &Reader, found: &Arc<Connection>) -> Option<Self> {
        if !reader.reads(&found.outline()) {
            return None;
        }
        match reader.sees_all() {
            true => Some(Seen::whole(found)),
            false => reader.show(&found.told()).map(|event| Seen::of_event(found.id, &event)),
        }
    }

    fn whole(found: &Connection) -> Self {
        let scope = found.scope();
        let id = |field| scope.get(field).map(str::to_owned);
        Seen {
            id: found.id,
            connection: Some(found.id.to_string()),
            user: id(ScopeField::User),
            organization: id(ScopeField::Organization),
            status: Some(found.status),
            protocol: Some(found.protocol.to_owned()),
            rooms: Some(found.rooms.iter().map(|room| room.name().to_owned()).collect()),
            since: Some(found.since),
        }
    }

    /// What an event shows; a member that is masked is of another kind, or is not there.
    fn of_event(id: ConnectionId, event: &NewEvent) -> Self {
        let data: Value = serde_json::from_str(event.data().as_str()).unwrap_or_default();
        let text = |name: &str| data.get(name).and_then(Value::as_str).map(str::to_owned);
        let texts = |list: &Vec<Value>| list.iter().map(|one| one.as_str().map(str::to_owned)).collect();
        let time = |text: String| DateTime::parse_from_rfc3339(&text).ok();
        let scope = |field| event.scope().get(field).map(str::to_owned);
        Seen {
            id,
            connection: text("connectionId"),
            user: scope(ScopeField::User),
            organization: scope(ScopeField::Organization),
            status: text("status").and_then(|name| Status::from_name(&name)),
            protocol: text("protocol"),
            rooms: data.get("rooms").and_then(Value::as_array).and_then(texts),
            since: text("since").and_then(time).map(|time| time.to_utc()),
        }
    }

    fn is_in(&self, room: &Room) -> bool {
        let is_own = || self.user.as_deref().is_some_and(|user| Room::of_user(user) == *room);
        self.rooms.iter().flatten().any(|name| name == room.name()) || is_own()
    }
}
