//! What a server has to say about itself, as events like all others: one way out for all of it.
//!
//! Flow: whoever sees something happen tells [`SelfEvents`], which never waits; the [`Announcer`] publishes what has gathered,
//! as the server itself: while one publish runs, the next gathers.
//! Invariants: a family that is off costs a look at a number; the queue has a bound, and what does not fit, or is not taken by
//! the log, is counted. Nothing is told for a publish, a rendering or a delivery, so an event of the server is never the cause
//! of another one: the rooms that do these stand on lower floors and cannot name this one (`tests/it/house.rs`).
//! Not here: who sees what happen (`server`, `health`, the roof).

mod connection;
mod daemon;
mod operation;

pub use connection::{Connection, End, Reason};
pub use operation::Operation;

use crate::{
    auth::Principal,
    error::Refusal,
    event::{Draft, Family, NewEvent, Offset, Scope},
    hub::Hub,
    metrics::Metrics,
};
use chrono::Utc;
use serde_json::{Value, value::to_raw_value};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// The source of every event that a server publishes about itself.
pub const SOURCE: &str = "fanfare";

/// So many events may wait to be published.
const WAITING_EVENTS_MAX: usize = 8_192;
/// So many are published together.
const BATCH_EVENTS_MAX: usize = 1_024;

/// Where everybody tells what happens. Cloning shares it.
#[derive(Clone, Debug)]
pub struct SelfEvents(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    /// A bit for each family that is told.
    families: u32,
    sender: mpsc::Sender<Told>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Told {
    draft: Draft,
    /// Who waits until it is published.
    published: Option<oneshot::Sender<Offset>>,
}

/// Publishes what is told.
#[derive(Debug)]
pub struct Announcer {
    hub: Hub,
    told: mpsc::Receiver<Told>,
    /// Was the last batch refused?
    is_refused: bool,
}

impl SelfEvents {
    /// Events of these families for this hub; they are published as long as the announcer runs.
    pub fn new(hub: &Hub, families: &[Family]) -> (Self, Announcer) {
        let (sender, told) = mpsc::channel(WAITING_EVENTS_MAX);
        let families = families.iter().fold(0, |bits, family| bits | bit(*family));
        let parts = Parts { families, sender, metrics: hub.metrics().clone() };
        (SelfEvents(Arc::new(parts)), Announcer { hub: hub.clone(), told, is_refused: false })
    }

    /// Nothing is told.
    pub fn off() -> Self {
        let (sender, _) = mpsc::channel(1);
        SelfEvents(Arc::new(Parts { families: 0, sender, metrics: Metrics::new() }))
    }

    /// Are events of this family told?
    pub fn tells(&self, family: Family) -> bool {
        self.0.families & bit(family) != 0
    }

    /// Tells what happens now; the event is made only if its family is told. Never waits: what does not fit is counted.
    pub fn tell(&self, family: Family, make: impl FnOnce() -> Draft) {
        if self.tells(family) {
            let told = Told { draft: made(make()), published: None };
            if self.0.sender.try_send(told).is_err() {
                self.0.metrics.self_events_lost.inc();
            }
        }
    }

    /// Tells what happens now and waits until it is in the log; `None` where it is not told, or the log does not take it. Whoever
    /// calls this bounds the wait.
    ///
    /// Cancel safety: the event may be published all the same.
    async fn publish(&self, family: Family, make: impl FnOnce() -> Draft) -> Option<Offset> {
        if !self.tells(family) {
            return None;
        }
        let (sender, published) = oneshot::channel();
        let told = Told { draft: made(make()), published: Some(sender) };
        self.0.sender.send(told).await.ok()?;
        published.await.ok()
    }
}

impl Announcer {
    /// Publishes until nobody can tell anything any more.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(1);
        while self.told.recv_many(&mut batch, BATCH_EVENTS_MAX).await > 0 {
            self.publish(&mut batch).await;
        }
    }

    /// Publishes a batch, all of it or none: the events of the server are alike, and what the log does not take now it takes
    /// none of.
    async fn publish(&mut self, batch: &mut Vec<Told>) {
        let count = batch.len() as u64;
        let (mut events, mut waiting) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for Told { draft, published } in batch.drain(..) {
            match NewEvent::new(draft, self.hub.limits()) {
                Ok(event) => {
                    events.push(event);
                    waiting.push(published);
                }
                Err(refusal) => tracing::error!(%refusal, "an event of the server itself is none"),
            }
        }
        let metrics = self.hub.metrics().clone();
        let published = if events.is_empty() { Ok(Vec::new()) } else { self.append(events).await };
        let published = published.unwrap_or_default();
        metrics.self_events_published.inc_by(published.len() as u64);
        metrics.self_events_lost.inc_by(count.saturating_sub(published.len() as u64));
        for (waiting, offset) in waiting.into_iter().zip(published) {
            // Whoever waited may have given up.
            let _ = waiting.map(|waiting| waiting.send(offset));
        }
    }

    async fn append(&mut self, events: Vec<NewEvent>) -> Result<Vec<Offset>, Refusal> {
        let appended = self.hub.publish(&Principal::anonymous(), events).await;
        let was_refused = std::mem::replace(&mut self.is_refused, appended.is_err());
        let appended = appended.inspect_err(|refusal| {
            // Once for all that are refused in a row; the count says how many.
            if !was_refused {
                tracing::warn!(%refusal, "events about the server itself are not published");
            }
        });
        Ok(appended?.into_iter().map(|one| one.offset).collect())
    }
}

const fn bit(family: Family) -> u32 {
    1 << family as u32
}

/// What all events of the server have.
fn made(draft: Draft) -> Draft {
    Draft { source: Some(SOURCE.to_owned()), time: Some(Utc::now()), ..draft }
}

/// An event of this type that concerns these, with these data. It is delivered and not kept: what it tells is over when
/// somebody asks for the past.
pub(super) fn transient(event_type: &str, scope: &Scope, data: &Value) -> Draft {
    let data = to_raw_value(data).expect("strings, numbers and lists are JSON");
    let mut draft = Draft {
        event_type: event_type.to_owned(),
        data: Some(data),
        persist: Some(false),
        ..Draft::default()
    };
    for (field, id) in scope.iter() {
        *draft.scope_mut(field) = Some(id.to_owned());
    }
    draft
}

#[cfg(test)]
mod tests;
