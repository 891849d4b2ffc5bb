//! The course of a GraphQL operation, as the server tells of it: that it begins, that it is over, and whether it was slow.
//!
//! Invariants: what began is over once, however it ended, and what never began is not told; an operation of which nothing is told costs a look at a number.
//! Not here: what is told (`platform::self_events`).

use super::{App, operation::Does};
use crate::{
    auth::Principal,
    event::Family,
    platform::self_events::{Operation, SelfEvents},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// An operation that runs. Dropped, it is over.
#[derive(Debug)]
pub(super) struct Course(Option<Box<Running>>);

#[derive(Debug)]
struct Running {
    self_events: SelfEvents,
    operation: Operation,
    began: Instant,
    is_told: bool,
    errors: usize,
    /// From when on it is slow; none for what lasts as long as its client wants.
    slow: Option<Duration>,
}

impl Course {
    /// The operation of a caller, which is about to begin: from now on its time counts.
    pub(super) fn of(app: &App, principal: &Principal, does: Does, name: Option<&str>) -> Self {
        let is_timed = does != Does::Subscribe && app.self_events.tells(Family::Performance);
        if !is_timed && !app.self_events.tells(Family::Graphql) {
            return Course::untold();
        }
        let operation = Operation {
            kind: does.name(),
            name: name.map(Into::into),
            correlation_id: principal.correlation_id().cloned(),
            principal: principal.clone(),
        };
        let slow = is_timed.then_some(app.options.slow_operation);
        let (self_events, began) = (app.self_events.clone(), Instant::now());
        Course(Some(Box::new(Running { self_events, operation, began, is_told: false, errors: 0, slow })))
    }

    /// The operation begins.
    pub(super) fn begins(&mut self) {
        if let Some(running) = &mut self.0
            && running.self_events.tells(Family::Graphql)
        {
            running.is_told = true;
            running.self_events.operation_started(correlated(&mut running.operation));
        }
    }

    /// Nothing is told.
    pub(super) fn untold() -> Self {
        Course(None)
    }

    /// It has failed with so many errors.
    pub(super) fn failed(&mut self, errors: usize) {
        if let Some(running) = &mut self.0 {
            running.errors = errors;
        }
    }
}

/// The operation under an id, which is made where none was given.
fn correlated(operation: &mut Operation) -> &Operation {
    operation.correlation_id.get_or_insert_with(|| Arc::from(uuid::Uuid::new_v4().to_string()));
    operation
}

impl Drop for Running {
    fn drop(&mut self) {
        let Running { self_events, operation, began, is_told, errors, slow } = self;
        let took = began.elapsed();
        if *is_told {
            self_events.operation_completed(correlated(operation), took, *errors);
        }
        if let Some(threshold) = slow.filter(|threshold| took >= *threshold) {
            self_events.slow_operation(correlated(operation), took, threshold);
        }
    }
}
