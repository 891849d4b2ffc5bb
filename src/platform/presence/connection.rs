//! A connection whose caller is known, as it is shown to others, and the events that tell about it.
//!
//! Invariants: what an event tells stands in it once (the user in `userId` only), so that a mask of one field hides it.

use super::room::Room;
use crate::{
    auth::Principal,
    event::{Limits, NewEvent, Scope},
    platform::self_events::{SOURCE, transient},
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use std::fmt;

/// Names a connection for others: 16 hexadecimal digits that tell nothing about other connections, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    pub(super) fn new(id: u64) -> Self {
        ConnectionId(id)
    }

    /// Reads an id as it is shown.
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_id.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(ConnectionId)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What whoever is connected does, as it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// There; what every connection is at first.
    #[default]
    Online,
    /// Not there for now.
    Away,
    /// At work.
    Working,
    /// There and without work.
    Idle,
    /// At work that waits for something.
    Waiting,
}

impl Status {
    const ALL: [Status; 5] = [Status::Online, Status::Away, Status::Working, Status::Idle, Status::Waiting];

    /// The name in events.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Online => "online",
            Status::Away => "away",
            Status::Working => "working",
            Status::Idle => "idle",
            Status::Waiting => "waiting",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// What an event tells about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is there.
    Connected,
    /// Its status or its rooms are others.
    Changed,
    /// It is gone.
    Disconnected,
}

impl News {
    const fn event_type(self) -> &'static str {
        match self {
            News::Connected => "presence.connected",
            News::Changed => "presence.changed",
            News::Disconnected => "presence.disconnected",
        }
    }
}

/// A connection as it was at some time. Replaced whole.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) protocol: &'static str,
    pub(super) since: DateTime<Utc>,
    principal: Principal,
    pub(super) status: Status,
    /// Of the signed-in user.
    pub(super) user: Option<Room>,
    /// Of its subscriptions, in order.
    pub(super) rooms: Box<[Room]>,
    /// Has anything but its principal changed since it was first there?
    has_changed: bool,
}

impl Connection {
    /// It is known for the first time whose it is.
    pub(super) fn first<'a>(
        id: ConnectionId,
        protocol: &'static str,
        since: DateTime<Utc>,
        (principal, user): (&Principal, Option<Room>),
        rooms: impl Iterator<Item = &'a Room>,
    ) -> Self {
        let (status, principal) = (Status::default(), principal.clone());
        let rooms = others(rooms, user.as_ref());
        Connection { id, protocol, since, principal, status, user, rooms, has_changed: false }
    }

    /// The same of this principal, whose room is this.
    pub(super) fn known_as(&self, principal: &Principal, user: Option<Room>) -> Self {
        let moved = Connection { principal: principal.clone(), user, ..self.clone() };
        // Who gets another place is new there.
        Connection { has_changed: self.has_changed && moved.scope() == self.scope(), ..moved }
    }

    /// The same with another status.
    pub(super) fn with_status(&self, status: Status) -> Self {
        Connection { status, has_changed: true, ..self.clone() }
    }

    /// The same in the rooms of these subscriptions; that of its own user goes without saying.
    pub(super) fn in_rooms<'a>(&self, rooms: impl Iterator<Item = &'a Room>) -> Self {
        let rooms = others(rooms, self.user.as_ref());
        Connection { has_changed: self.has_changed || rooms != self.rooms, rooms, ..self.clone() }
    }

    /// Every room that it is in.
    pub(super) fn all_rooms(&self) -> impl Iterator<Item = &Room> {
        self.user.iter().chain(&self.rooms)
    }

    /// Do both look alike to everybody who may see them?
    pub(super) fn looks_like(&self, other: &Connection) -> bool {
        self.status == other.status && self.rooms == other.rooms
    }

    /// Is this principal the signed-in user of the connection?
    pub(super) fn is_of(&self, principal: &Principal) -> bool {
        principal.signed_in().is_some_and(|user| self.principal.signed_in() == Some(user))
    }

    /// Whom it concerns.
    pub(super) fn scope(&self) -> Scope {
        self.principal.scope()
    }

    /// The last news of it, without their data.
    pub(super) fn outline(&self) -> NewEvent {
        self.event_with(self.last_news(), &Value::Null)
    }

    /// The last news of it.
    pub(super) fn told(&self) -> NewEvent {
        self.event(self.last_news())
    }

    /// An event that tells about it.
    pub(super) fn event(&self, news: News) -> NewEvent {
        let status = if news == News::Disconnected { "offline" } else { self.status.name() };
        let rooms: Vec<&str> = self.rooms.iter().map(Room::name).collect();
        let since = self.since.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let data = json!({
            "connectionId": self.id.to_string(),
            "status": status,
            "protocol": self.protocol,
            "rooms": rooms,
            "since": since,
        });
        self.event_with(news, &data)
    }

    fn event_with(&self, news: News, data: &Value) -> NewEvent {
        let mut draft = transient(news.event_type(), &self.scope(), data);
        draft.source = Some(SOURCE.to_owned());
        draft.subject = Some(self.id.to_string());
        // The limits of publishers are not those of the server, whose own bounds are far below these.
        NewEvent::new(draft, &Limits::default()).expect("every field is made of ids, or bounded here")
    }

    fn last_news(&self) -> News {
        if self.has_changed { News::Changed } else { News::Connected }
    }
}

fn others<'a>(rooms: impl Iterator<Item = &'a Room>, user: Option<&Room>) -> Box<[Room]> {
    rooms.filter(|room| Some(*room) != user).cloned().collect()
}
