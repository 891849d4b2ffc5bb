//! What the tests of this room share: a schema over a log in memory, and ways to ask it.

use super::{GraphqlOptions, Schema, schema};
use crate::{
    bus::{self, Bus},
    event::{Cursor, Draft, Epoch, Event, EventType, Limits, NewEvent, Offset},
    hub::Hub,
    log::{AppendError, Appended, Bounds, From, Health, Log, Page, Read, ReadError},
    metrics::Metrics,
};
use chrono::{DateTime, Utc};
use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, ready},
    stream::BoxStream,
};
use serde_json::Value;
use std::sync::{Arc, Mutex};

/// A hub over a new log that keeps so many events.
pub(super) fn hub_of(events_max: usize) -> Hub {
    let bus = Bus::new(&bus::Options::default());
    let log = ListLog { events_max, epoch: Epoch::random(), bus: bus.clone(), kept: Mutex::default() };
    Hub::new(Arc::new(log), bus, Metrics::new(), Limits::default())
}

/// As much of a log as this room's tests need: a list of which the front may be cut off.
#[derive(Debug)]
struct ListLog {
    events_max: usize,
    epoch: Epoch,
    bus: Bus,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    cut: u64,
    events: Vec<Arc<Event>>,
}

impl Kept {
    fn bounds(&self) -> Bounds {
        let head = Offset::new(self.cut + self.events.len() as u64);
        Bounds { earliest: Offset::new(self.cut + 1), head }
    }

    fn append(&mut self, new: NewEvent, epoch: Epoch, index: usize) -> Result<Appended, AppendError> {
        let known = self.events.iter().find(|one| (one.source(), one.id()) == (new.source(), new.id()));
        if let Some(known) = known {
            let first = known.cursor();
            return match known.data() == new.data() {
                true => Ok(Appended { cursor: first, duplicate: true }),
                false => Err(AppendError::Conflict {
                    index,
                    id: new.id().to_owned(),
                    source_name: new.source().to_owned(),
                    first,
                }),
            };
        }
        let cursor = Cursor { epoch, offset: self.bounds().head.next() };
        self.events.push(Arc::new(Event::logged(new, cursor)));
        Ok(Appended { cursor, duplicate: false })
    }

    fn page(&self, read: &Read) -> Result<Page, ReadError> {
        let Bounds { earliest, head } = self.bounds();
        let matching = self.events.iter().filter(|event| read.filter.matches(event)).cloned();
        let (events, end): (Vec<_>, _) = match read.from {
            From::After(offset) if offset.next() < earliest => return Err(ReadError::Expired { earliest }),
            From::After(offset) => (matching.filter(|event| event.offset() > offset).collect(), head),
            From::Before(offset) => {
                (matching.rev().filter(|event| event.offset() < offset).collect(), Offset::new(0))
            }
        };
        let is_last = events.len() <= read.events_max;
        let events: Vec<_> = events.into_iter().take(read.events_max).collect();
        let through = events.last().filter(|_| !is_last).map_or(end, |event| event.offset());
        Ok(Page { events, through, is_last })
    }
}

impl Log for ListLog {
    fn append(&self, events: Vec<NewEvent>) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>> {
        let mut kept = self.kept.lock().unwrap();
        let before = kept.events.len();
        let appended: Result<Vec<_>, _> =
            events.into_iter().enumerate().map(|(index, new)| kept.append(new, self.epoch, index)).collect();
        match appended.is_ok() {
            true => self.bus.publish(kept.events[before..].into()),
            false => kept.events.truncate(before),
        }
        let cut = kept.events.len().saturating_sub(self.events_max);
        kept.events.drain(..cut);
        kept.cut += cut as u64;
        ready(appended).boxed()
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Page, ReadError>> {
        ready(self.kept.lock().unwrap().page(&read)).boxed()
    }

    fn find(&self, id: String) -> BoxFuture<'_, Result<Option<Arc<Event>>, ReadError>> {
        ready(Ok(self.kept.lock().unwrap().events.iter().rfind(|event| event.id() == id).cloned())).boxed()
    }

    fn before_time(&self, _: DateTime<Utc>) -> BoxFuture<'_, Result<Offset, ReadError>> {
        ready(Err(ReadError::Failed { reason: "no event here has a time of logging".to_owned() })).boxed()
    }

    fn bounds(&self) -> Bounds {
        self.kept.lock().unwrap().bounds()
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn health(&self) -> Health {
        Health::Writable
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }
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
