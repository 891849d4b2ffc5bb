//! The peer that shows what most servers do: async-graphql-axum put together as its examples put it together.
//!
//! Flow: `POST /events` sends each event into one broadcast ring; every subscription reads the ring through its own
//! `BroadcastStream`, filters for itself, and is executed and encoded for itself.
//! Invariants: the fields and the filter are those of the subscription that the bench sends to every server.
//! Not here: sharing of any kind, and the buffers of `plain_axum`: the defaults stay, as in the examples.

mod edge;

use async_graphql::{
    Context, EmptyMutation, ID, InputObject, Json, Object, Schema, SimpleObject, Subscription,
    futures_util::{Stream, StreamExt},
};
use async_graphql_axum::GraphQLSubscription;
use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use chrono::{DateTime, Utc};
use edge::{Posted, RING_EVENTS};
use serde_json::Value;
use std::{io, sync::Arc};
use tokio::sync::broadcast::{self, Sender};
use tokio_stream::wrappers::BroadcastStream;

/// Shared, so that this peer is not slower than it must be: the examples copy the event for each subscriber.
type Ring = Sender<Arc<Event>>;

#[derive(Debug, SimpleObject)]
struct Event {
    id: ID,
    #[graphql(name = "type")]
    event_type: String,
    time: DateTime<Utc>,
    data: Json<Value>,
}

#[derive(Debug, InputObject)]
struct EventFilter {
    types: Option<Vec<String>>,
}

impl EventFilter {
    fn matches(&self, event: &Event) -> bool {
        self.types.as_ref().is_none_or(|types| types.contains(&event.event_type))
    }
}

#[derive(Debug)]
struct QueryRoot;

#[Object]
impl QueryRoot {
    /// GraphQL wants one query.
    async fn ready(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct SubscriptionRoot;

#[Subscription]
impl SubscriptionRoot {
    /// Every event that matches the filter.
    async fn events(
        &self,
        context: &Context<'_>,
        filter: Option<EventFilter>,
    ) -> async_graphql::Result<impl Stream<Item = Arc<Event>> + use<>> {
        let events = BroadcastStream::new(context.data::<Ring>()?.subscribe());
        Ok(events.filter_map(move |event| {
            let wanted =
                event.ok().filter(|event| filter.as_ref().is_none_or(|filter| filter.matches(event)));
            async move { wanted }
        }))
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let ring: Ring = broadcast::channel(RING_EVENTS).0;
    let schema = Schema::build(QueryRoot, EmptyMutation, SubscriptionRoot).data(ring.clone()).finish();
    let routes = Router::new()
        .route("/events", post(publish))
        .route_service("/graphql/ws", GraphQLSubscription::new(schema));
    edge::serve(routes.with_state(ring)).await
}

async fn publish(State(ring): State<Ring>, body: Bytes) -> Result<String, (StatusCode, String)> {
    let posted: Vec<Posted<Value>> =
        serde_json::from_slice(&body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let accepted = posted.len();
    for Posted { event_type, data } in posted {
        let (id, time) = edge::stamp();
        let event = Event { id: ID(id.to_string()), event_type, time, data: Json(data) };
        // Without subscribers there is nobody to send to, which is no failure.
        let _ = ring.send(Arc::new(event));
    }
    Ok(format!("{{\"accepted\":{accepted}}}"))
}
