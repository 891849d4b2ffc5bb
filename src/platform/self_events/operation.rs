//! The course of a GraphQL operation: `graphql.*.started` and `.completed`, and `performance.slowOperation.detected`.
//!
//! Invariants: of an operation its name is told, how long it took and how many errors it had, and nothing that stands in its
//! document, its variables or its result.

use super::{SelfEvents, transient};
use crate::{
    auth::Principal,
    event::{Draft, Family},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The most bytes of an operation's name that are told.
pub(super) const NAME_BYTES_MAX: usize = 128;

/// An operation of somebody.
#[derive(Clone, Debug)]
pub struct Operation {
    /// `query`, `mutation` or `subscription`.
    pub kind: &'static str,
    /// Its name in the document; `None` for one without.
    pub name: Option<Box<str>>,
    /// The request that it belongs to.
    pub correlation_id: Option<Arc<str>>,
    /// Whose it is.
    pub principal: Principal,
}

impl SelfEvents {
    /// An operation begins.
    pub fn operation_started(&self, operation: &Operation) {
        self.tell(Family::Graphql, || {
            operation.draft("started", &json!({ "operationName": operation.shown_name() }))
        });
    }

    /// An operation is over, with so many errors.
    pub fn operation_completed(&self, operation: &Operation, took: Duration, errors: usize) {
        self.tell(Family::Graphql, || {
            let name = operation.shown_name();
            let data = json!({ "operationName": name, "durationMs": milliseconds(took), "errors": errors });
            operation.draft("completed", &data)
        });
    }

    /// An operation took longer than it may.
    pub fn slow_operation(&self, operation: &Operation, took: Duration, threshold: Duration) {
        self.tell(Family::Performance, || {
            let name = operation.shown_name().unwrap_or(operation.kind);
            let data = json!({
                "operation": name,
                "kind": operation.kind,
                "durationMs": milliseconds(took),
                "thresholdMs": milliseconds(threshold),
            });
            operation.about("performance.slowOperation.detected", &data)
        });
    }
}

impl Operation {
    fn draft(&self, action: &str, data: &Value) -> Draft {
        self.about(&format!("graphql.{}.{action}", self.kind), data)
    }

    fn about(&self, event_type: &str, data: &Value) -> Draft {
        let correlation_id = self.correlation_id.as_deref().map(str::to_owned);
        Draft { correlation_id, ..transient(event_type, &self.principal.scope(), data) }
    }

    /// A name has letters, digits and underscores only, so it can be cut anywhere.
    fn shown_name(&self) -> Option<&str> {
        self.name.as_deref().map(|name| name.get(..NAME_BYTES_MAX).unwrap_or(name))
    }
}

/// Milliseconds with their microseconds.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
