//! Looking back: pages of history, single events, and how the server does.

use super::{
    Administration,
    administer::{self, Caller, ConnectionList, FollowingObject, only_admin},
    chat::ChatQuery,
    error::graphql_error,
    event::AnyEvent,
    filter::{FilterInput, filter},
    hub,
    notifications::NotificationQuery,
    presence::{self, PresenceList, PresenceStatus, Question, RoomList},
    principal,
    resource::ResourceQuery,
    scalars::{Count, CursorText},
};
use crate::{
    auth::Audit,
    error::Refusal,
    event::{Cursor, Event},
    hub::{History, HistoryRequest, Hub},
    log::Health,
    platform::health::Snapshot,
};
use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use std::sync::Arc;

/// An event of a page, with its cursor.
#[derive(Debug, SimpleObject)]
pub(super) struct EventEdge {
    /// The event's place in the log, for `after` and `before`.
    cursor: CursorText,
    /// The event.
    node: AnyEvent,
}

/// What is around a page.
#[derive(Debug, SimpleObject)]
pub(super) struct PageInfo {
    /// Is there more that matches after the page, within the bounds asked for?
    pub(super) has_next_page: bool,
    /// Is there more that matches before the page, within the bounds asked for? False where pages go forward only.
    pub(super) has_previous_page: bool,
    /// The cursor of the first one; null for an empty page.
    pub(super) start_cursor: Option<CursorText>,
    /// The cursor to go on after: that of the last one, or a later one; null for an empty page after which there is nothing.
    pub(super) end_cursor: Option<CursorText>,
}

impl PageInfo {
    /// What is around this page.
    pub(super) fn of(page: &History) -> Self {
        PageInfo {
            has_next_page: page.has_next,
            has_previous_page: page.has_previous,
            start_cursor: page.events.first().map(|event| event.cursor().into()),
            end_cursor: page.events.last().map(|event| event.cursor().into()),
        }
    }
}

/// A page of the past, oldest event first.
#[derive(Debug)]
pub(super) struct EventConnection(History);

/// A page of the past, oldest event first (a connection as Relay defines it).
#[Object]
impl EventConnection {
    /// The events with their cursors.
    async fn edges(&self) -> Vec<EventEdge> {
        let edge =
            |event: &Arc<Event>| EventEdge { cursor: event.cursor().into(), node: Arc::clone(event).into() };
        self.0.events.iter().map(edge).collect()
    }

    /// The events.
    async fn nodes(&self) -> Vec<AnyEvent> {
        self.0.events.iter().cloned().map(AnyEvent::from).collect()
    }

    /// What is around the page.
    async fn page_info(&self) -> PageInfo {
        PageInfo::of(&self.0)
    }
}

/// How the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "crate::platform::health::Status")]
pub(super) enum HealthStatus {
    /// It does what it is for.
    Healthy,
    /// It does, but somebody should look at it.
    Degraded,
    /// It takes no publishes, or does not record what it must.
    Unhealthy,
}

/// What the server has done since it started, how it does, and where its log stands.
#[derive(Debug, SimpleObject)]
pub(super) struct Stats {
    /// How the server does, in a word.
    status: HealthStatus,
    /// Why it is not healthy, a sentence each.
    reasons: Vec<&'static str>,
    /// For so many seconds it has run.
    uptime_seconds: Count,
    /// Events that were logged; repeats are not counted.
    published: Count,
    /// Events that were published with `persist: false`: delivered and not logged.
    transient: Count,
    /// Publishes that were answered as repeats of a logged event.
    duplicates: Count,
    /// Publish requests that were refused.
    refused: Count,
    /// Events that were handed to subscriptions.
    delivered: Count,
    /// Events logged each second, over the last health interval.
    published_per_second: f64,
    /// Events handed to subscriptions each second, over the last health interval.
    delivered_per_second: f64,
    /// Renderings of an event: one execution and encoding each, shared by all subscriptions of the same selection.
    executions: Count,
    /// Renderings that failed.
    executions_failed: Count,
    /// Open groups: distinct selections that are rendered once for all their subscriptions.
    groups: Count,
    /// Open subscriptions.
    subscriptions: Count,
    /// Subscriptions that read the log now, because they started in the past or fell behind.
    replays: Count,
    /// Open WebSocket connections.
    connections: Count,
    /// Open streaming responses.
    streams: Count,
    /// Publishes that wait for the log.
    queue: Count,
    /// Events in the log that had not been handed to those who follow live, at the end of the last health interval.
    lag: Count,
    /// Bytes of the process that are in RAM, at the end of the last health interval; null where the system does not tell.
    memory_bytes: Option<Count>,
    /// Bytes that were left for the log on its disk, at the end of the last health interval; null for a log without one.
    disk_free_bytes: Option<Count>,
    /// The position before the earliest event that is still there: `start: {after}` with it gives everything.
    earliest: CursorText,
    /// The position of the last event.
    head: CursorText,
    /// Does the log take events?
    writable: bool,
    /// The version of the server.
    version: &'static str,
}

impl Stats {
    fn of(hub: &Hub, audit: &Audit) -> Self {
        let (metrics, bounds, now) = (hub.metrics(), hub.bounds(), Snapshot::of(hub, audit));
        Stats {
            status: now.status.into(),
            reasons: now.reasons,
            uptime_seconds: Count(now.uptime.as_secs()),
            published: Count(now.published),
            transient: Count(now.transient),
            duplicates: Count(metrics.events_duplicate.get()),
            refused: Count(metrics.publishes_refused.get()),
            delivered: Count(now.delivered),
            published_per_second: now.published_per_second,
            delivered_per_second: now.delivered_per_second,
            executions: Count(metrics.executions.get()),
            executions_failed: Count(metrics.renderings_failed.get()),
            groups: Count(now.groups),
            subscriptions: Count(now.subscriptions),
            replays: Count(now.replays),
            connections: Count(now.connections),
            streams: Count(now.streams),
            queue: Count(now.queue),
            lag: Count(now.lag),
            memory_bytes: now.memory.map(Count),
            disk_free_bytes: now.disk_free.map(Count),
            earliest: hub.position(bounds.earliest.previous()).into(),
            head: hub.position(bounds.head).into(),
            writable: now.store == Health::Writable,
            version: super::VERSION,
        }
    }
}

/// What can be asked.
#[derive(Clone, Copy, Debug)]
pub struct Query;

/// What can be asked.
#[Object]
impl Query {
    #[graphql(flatten)]
    async fn notifications(&self) -> NotificationQuery {
        NotificationQuery
    }

    #[graphql(flatten)]
    async fn chat(&self) -> ChatQuery {
        ChatQuery
    }

    #[graphql(flatten)]
    async fn resources(&self) -> ResourceQuery {
        ResourceQuery
    }

    /// A page of the past. Without `first` and `last`, the newest 50 events that match.
    // A fixed factor: read here, an argument whose variable is left out would be an error (async-graphql 8.0.0-rc.5).
    #[graphql(complexity = "10 * child_complexity")]
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which events.")] filter: Option<FilterInput>,
        #[graphql(desc = "So many from the front, 1 to 1,000.")] first: Option<i32>,
        #[graphql(desc = "Only events after this one.")] after: Option<CursorText>,
        #[graphql(desc = "So many from the back, 1 to 1,000.")] last: Option<i32>,
        #[graphql(desc = "Only events before this one.")] before: Option<CursorText>,
    ) -> Result<EventConnection> {
        let request = request(filter, first, after, last, before).map_err(graphql_error)?;
        let history = hub(ctx).history(&principal(ctx), request).await;
        history.map(EventConnection).map_err(graphql_error)
    }

    /// The event of this id; null where there is none that the caller may read. Ids are unique within a source: of several
    /// events, the one that was logged last.
    async fn event(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The event's id.")] id: ID,
    ) -> Result<Option<AnyEvent>> {
        let found = hub(ctx).find(&principal(ctx), &id).await;
        Ok(found.map_err(graphql_error)?.map(AnyEvent::from))
    }

    /// What the server has done since it started, how it does, and where its log stands. For administrators.
    async fn stats(&self, ctx: &Context<'_>) -> Result<Stats> {
        only_admin(ctx)?;
        administer::record_read(ctx, "stats");
        let audit = ctx.data_opt::<Administration>().map_or_else(Audit::off, |own| own.authority.audit());
        Ok(Stats::of(hub(ctx), &audit))
    }

    /// Who asks, and what that allows.
    async fn me(&self, ctx: &Context<'_>) -> Caller {
        Caller(principal(ctx))
    }

    /// Who is connected by a WebSocket or a stream, in the order in which they came. For administrators.
    #[graphql(complexity = "10 * child_complexity")]
    async fn connections(
        &self,
        ctx: &Context<'_>,
        #[graphql(default = 100, desc = "So many, 1 to 1,000.")] first: i32,
        #[graphql(desc = "Only those after the connection of this id.")] after: Option<ID>,
    ) -> Result<ConnectionList> {
        administer::connections(ctx, first, after)
    }

    /// What a connection follows. For administrators.
    #[graphql(complexity = "10 * child_complexity")]
    async fn subscriptions(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The connection.")] connection_id: ID,
    ) -> Result<Vec<FollowingObject>> {
        administer::subscriptions(ctx, &connection_id).await
    }

    /// Who is there: the connections of all protocols that you may read the events `presence.*` about. Together with the
    /// subscription `presence` it says at any time who is.
    #[graphql(complexity = "10 * child_complexity")]
    async fn presence(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those of this user.")] user_id: Option<ID>,
        #[graphql(desc = "Only those in this room, such as `task:t1`.")] room: Option<ID>,
        #[graphql(desc = "Only those of this status.")] status: Option<PresenceStatus>,
        #[graphql(default = 100, desc = "So many, 1 to 1,000.")] first: i32,
        #[graphql(desc = "Only those after this: the `next` of the page before.")] after: Option<ID>,
    ) -> Result<PresenceList> {
        presence::page(ctx, Question { user: user_id, room, status, first, after }).await
    }

    /// The rooms that somebody is in whom you may see as in `presence`, with how many.
    #[graphql(complexity = "10 * child_complexity")]
    async fn rooms(
        &self,
        ctx: &Context<'_>,
        #[graphql(default = 100, desc = "So many, 1 to 1,000.")] first: i32,
        #[graphql(desc = "Only those after this room.")] after: Option<ID>,
    ) -> Result<RoomList> {
        presence::rooms(ctx, first, after).await
    }

    /// The version of the server.
    async fn version(&self) -> &'static str {
        super::VERSION
    }
}

fn request(
    given: Option<FilterInput>,
    first: Option<i32>,
    after: Option<CursorText>,
    last: Option<i32>,
    before: Option<CursorText>,
) -> Result<HistoryRequest, Refusal> {
    Ok(HistoryRequest {
        filter: filter(given)?,
        first: first.map(i64::from),
        after: position(after, "after")?,
        last: last.map(i64::from),
        before: position(before, "before")?,
    })
}

/// The cursor of an argument. Fails with `CURSOR_INVALID`.
pub(super) fn position(given: Option<CursorText>, field: &'static str) -> Result<Option<Cursor>, Refusal> {
    given.map(|text| Cursor::parse(&text.0).map_err(|refusal| refusal.with("field", field))).transpose()
}
