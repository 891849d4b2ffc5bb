//! Who is present, in which rooms, and what callers say of themselves.
//!
//! Not here: who may see whom, and the events (`platform`).

use super::{
    error::graphql_error,
    hub, principal,
    scalars::{Count, CursorText, Time},
};
use crate::{
    error::{Code, Refusal},
    platform::presence::{self, ConnectionId, PAGE_MAX, Presence, Room, RoomPage, RoomSeen, Seen, Wanted},
};
use async_graphql::{Context, Enum, ID, Result, SimpleObject};

/// What somebody who is connected does, as they say themselves. In events the words are lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "crate::platform::presence::Status")]
pub(super) enum PresenceStatus {
    /// There; what every connection is at first.
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

/// A connection of somebody who is there, over whatever protocol. What is masked for you is as its mask shows it, or null.
#[derive(Debug, SimpleObject)]
#[graphql(name = "Presence")]
pub(super) struct PresenceObject {
    /// The connection; the `connectionId` and the `subject` of the events about it.
    connection_id: Option<ID>,
    /// The signed-in user; null for whoever has not signed in.
    user_id: Option<ID>,
    /// The organization that it belongs to; null for whoever may read events of several.
    organization_id: Option<ID>,
    /// What they say that they do.
    status: Option<PresenceStatus>,
    /// What the connection speaks: `graphql-transport-ws`, `json-rpc`, `graphql-sse` and the like.
    protocol: Option<String>,
    /// The rooms of its subscriptions, such as `task:t1`; a signed-in user is in `user:<userId>` too. At most 32.
    rooms: Option<Vec<String>>,
    /// Since when it is connected.
    since: Option<Time>,
}

impl From<Seen> for PresenceObject {
    fn from(seen: Seen) -> Self {
        let Seen { connection, user, organization, status, protocol, rooms, since, .. } = seen;
        PresenceObject {
            connection_id: connection.map(ID),
            user_id: user.map(ID),
            organization_id: organization.map(ID),
            status: status.map(PresenceStatus::from),
            protocol,
            rooms,
            since: since.map(Time),
        }
    }
}

/// A page of those who are there.
#[derive(Debug, SimpleObject)]
pub(super) struct PresenceList {
    /// The connections, in an order that stays.
    nodes: Vec<PresenceObject>,
    /// What to go on after; null: there are no more.
    next: Option<ID>,
    /// Every event published up to here has been taken into account. Events about presence are not kept: to miss none, subscribe
    /// to `presence` first (`extensions: {ready: true}`), then ask, and apply all events since then to the answer.
    as_of: CursorText,
}

/// A room with those in it whom you may see.
#[derive(Debug, SimpleObject)]
#[graphql(name = "Room")]
pub(super) struct RoomObject {
    /// The room: `task:<id>`, `user:<id>` or `room:<id>`. An event with that `taskId`, `userId` or `roomId` is in it.
    id: ID,
    /// How many users are in it, each counted once.
    users: Count,
    /// How many connections are in it, those of nobody in particular included.
    connections: Count,
}

impl From<RoomSeen> for RoomObject {
    fn from(RoomSeen { room, users, connections }: RoomSeen) -> Self {
        let (users, connections) = (Count(users as u64), Count(connections as u64));
        RoomObject { id: room.name().into(), users, connections }
    }
}

/// A page of rooms.
#[derive(Debug, SimpleObject)]
pub(super) struct RoomList {
    /// The rooms that somebody is in, in the order of their names.
    nodes: Vec<RoomObject>,
    /// The room to go on after; null: there are no more.
    next: Option<ID>,
    /// Every event published up to here has been taken into account.
    as_of: CursorText,
}

/// Put into a request, it says over which connection it came.
#[derive(Clone, Copy, Debug)]
pub struct Speaking {
    /// The number of the connection.
    pub connection: u64,
}

/// What is asked of those who are there.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) user: Option<ID>,
    pub(super) room: Option<ID>,
    pub(super) status: Option<PresenceStatus>,
    pub(super) first: i32,
    pub(super) after: Option<ID>,
}

impl Question {
    fn wanted(self) -> Result<Wanted, Refusal> {
        let Question { user, room, status, first, after } = self;
        Ok(Wanted {
            user: user.map(|id| id.0),
            room: room.map(|name| self::room(&name, "room")).transpose()?,
            status: status.map(presence::Status::from),
            first: count(first)?,
            after: after.map(|id| connection(&id, "after")).transpose()?,
        })
    }
}

pub(super) async fn page(ctx: &Context<'_>, question: Question) -> Result<PresenceList> {
    let wanted = question.wanted().map_err(graphql_error)?;
    let page = here(ctx)?.page(hub(ctx), &principal(ctx), &wanted).await.map_err(graphql_error)?;
    let next = page.next.map(|id| ID(id.to_string()));
    let nodes = page.seen.into_iter().map(PresenceObject::from).collect();
    Ok(PresenceList { nodes, next, as_of: page.as_of.into() })
}

pub(super) async fn rooms(ctx: &Context<'_>, first: i32, after: Option<ID>) -> Result<RoomList> {
    let first = count(first).map_err(graphql_error)?;
    let after = after.map(|name| room(&name, "after")).transpose().map_err(graphql_error)?;
    let page = here(ctx)?.rooms(hub(ctx), &principal(ctx), first, after.as_ref()).await;
    let RoomPage { rooms, next, as_of } = page.map_err(graphql_error)?;
    let next = next.map(|room| room.name().into());
    Ok(RoomList { nodes: rooms.into_iter().map(RoomObject::from).collect(), next, as_of: as_of.into() })
}

pub(super) fn set(ctx: &Context<'_>, status: PresenceStatus, named: Option<ID>) -> Result<Count> {
    let named = named.map(|id| connection(&id, "connectionId")).transpose().map_err(graphql_error)?;
    let number = ctx.data_opt::<Speaking>().map(|speaking| speaking.connection);
    let set = here(ctx)?.set_status(&principal(ctx), number, named, status.into());
    Ok(Count(set.map_err(graphql_error)? as u64))
}

fn here<'a>(ctx: &Context<'a>) -> Result<&'a Presence> {
    let missing = || graphql_error(Refusal::new(Code::Unavailable, "nobody is connected to this schema"));
    ctx.data_opt::<Presence>().ok_or_else(missing)
}

fn count(first: i32) -> Result<usize, Refusal> {
    let given = usize::try_from(first).ok().filter(|count| (1..=PAGE_MAX).contains(count));
    let allowed = || format!("1 to {PAGE_MAX}");
    given.ok_or_else(|| Refusal::field(Code::BadRequest, "first", &first.to_string(), allowed()))
}

fn connection(id: &str, field: &str) -> Result<ConnectionId, Refusal> {
    let unknown = || Refusal::field(Code::BadRequest, field, id, "a connectionId: 16 hexadecimal digits");
    ConnectionId::parse(id).ok_or_else(unknown)
}

fn room(name: &str, field: &str) -> Result<Room, Refusal> {
    let allowed = "task:, user: or room: and an id, such as task:t1";
    Room::parse(name).ok_or_else(|| Refusal::field(Code::BadRequest, field, name, allowed))
}
