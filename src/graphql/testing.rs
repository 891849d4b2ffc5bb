//! What the tests of this room share: a schema over a log in memory, and ways to ask it.

use super::{GraphqlOptions, Schema, schema};
use crate::{
    bus::{self, Bus},
    event::{Draft, EventType, Limits, NewEvent},
    hub::Hub,
    log::{MemoryLog, MemoryOptions},
    metrics::Metrics,
};
use futures_util::{StreamExt, stream::BoxStream};
use serde_json::Value;
use std::sync::Arc;

/// A hub over a new log that keeps so many events.
pub(super) fn hub_of(events_max: usize) -> Hub {
    let bus = Bus::new(&bus::Options::default());
    let ring = bus.clone();
    let options = MemoryOptions { events_max: Some(events_max), ..MemoryOptions::default() };
    let log = MemoryLog::open(options, Box::new(move |batch| ring.publish(batch)));
    Hub::new(Arc::new(log), bus, Metrics::new(), Limits::default())
}

/// A schema over a new log.
pub(super) fn new_schema() -> Schema {
    schema(hub_of(10_000), &GraphqlOptions::default())
}

/// A checked event, written as JSON in our own field names.
pub(super) fn new_event(json: &str) -> NewEvent {
    NewEvent::new(Draft::from_json(json).unwrap(), &Limits::default()).unwrap()
}

/// Publishes events written as JSON.
pub(super) async fn publish(schema: &Schema, events: &[&str]) {
    let events = events.iter().map(|json| new_event(json)).collect();
    let hub = schema.data::<Hub>().unwrap();
    hub.publish(&crate::auth::Principal::anonymous(), events).await.unwrap();
}

/// The type of an event of a family.
pub(super) fn type_of(segment: &str, action: &str) -> String {
    EventType::parse(&format!("{segment}.{action}"), "type").unwrap().as_str().to_owned()
}

/// The answer to a query or mutation, as a client reads it.
pub(super) async fn ask(schema: &Schema, request: impl Into<async_graphql::Request>) -> Value {
    read(&schema.execute(request).await)
}

/// A running subscription, response by response, as a client reads them.
pub(super) fn follow(
    schema: &Schema,
    request: impl Into<async_graphql::Request>,
) -> BoxStream<'static, Value> {
    schema.execute_stream(request).map(|response| read(&response)).boxed()
}

/// The first responses of a subscription.
pub(super) async fn first(schema: &Schema, query: &str, count: usize) -> Vec<Value> {
    follow(schema, query).take(count).collect().await
}

/// The code of the first error of a response.
pub(super) fn code(response: &Value) -> &str {
    response["errors"][0]["extensions"]["code"].as_str().unwrap_or_else(|| panic!("no code in {response}"))
}

fn read(response: &async_graphql::Response) -> Value {
    serde_json::from_str(&serde_json::to_string(response).unwrap()).unwrap()
}
