//! Looking back: pages of history, single events, and how the server does.

use super::{
    administer::{self, Caller, ConnectionList, FollowingObject, only_admin},
    error::graphql_error,
    event::AnyEvent,
    filter::{FilterInput, filter},
    hub, principal,
    scalars::{Count, CursorText},
};
use crate::{
    error::Refusal,
    event::{Cursor, Event},
    hub::{History, HistoryRequest, Hub},
    log::Health,
};
use async_graphql::{Context, ID, Object, Result, SimpleObject};
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
    /// Are there matching events after the page, within the bounds asked for?
    has_next_page: bool,
    /// Are there matching events before the page, within the bounds asked for?
    has_previous_page: bool,
    /// The cursor of the first event; null for an empty page.
    start_cursor: Option<CursorText>,
    /// The cursor of the last event; null for an empty page.
    end_cursor: Option<CursorText>,
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
        PageInfo {
            has_next_page: self.0.has_next,
            has_previous_page: self.0.has_previous,
            start_cursor: self.0.events.first().map(|event| event.cursor().into()),
            end_cursor: self.0.events.last().map(|event| event.cursor().into()),
        }
    }
}

/// What the server has done since it started, and where its log stands.
#[derive(Debug, SimpleObject)]
pub(super) struct Stats {
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
    fn of(hub: &Hub) -> Self {
        let (metrics, bounds) = (hub.metrics(), hub.bounds());
        Stats {
            published: Count(metrics.events_published.get()),
            transient: Count(metrics.events_transient.get()),
            duplicates: Count(metrics.events_duplicate.get()),
            refused: Count(metrics.publishes_refused.get()),
            delivered: Count(metrics.events_delivered.get()),
            executions: Count(metrics.executions.get()),
            executions_failed: Count(metrics.renderings_failed.get()),
            groups: metrics.groups_open.get().into(),
            subscriptions: metrics.subscriptions_open.get().into(),
            replays: metrics.replays_running.get().into(),
            connections: metrics.connections_open.get().into(),
            earliest: hub.position(bounds.earliest.previous()).into(),
            head: hub.position(bounds.head).into(),
            writable: hub.health() == Health::Writable,
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

    /// What the server has done since it started, and where its log stands. For administrators.
    async fn stats(&self, ctx: &Context<'_>) -> Result<Stats> {
        only_admin(ctx)?;
        administer::record_read(ctx, "stats");
        Ok(Stats::of(hub(ctx)))
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

fn position(given: Option<CursorText>, field: &'static str) -> Result<Option<Cursor>, Refusal> {
    given.map(|text| Cursor::parse(&text.0).map_err(|refusal| refusal.with("field", field))).transpose()
}
