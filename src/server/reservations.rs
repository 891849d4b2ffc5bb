//! Who may open the stream of graphql-sse's single connection mode: a token for each reservation.
//!
//! Invariants: a token opens one stream, once; a reservation that is not taken up in time is gone, with its operations; their
//! number is bounded.

use super::{App, operations::Operations, problem::Problem};
use crate::{
    error::{Code, Refusal},
    protocol::Streaming,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The reservations of a server. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Reservations(Arc<Mutex<HashMap<Box<str>, Reserved>>>);

#[derive(Debug)]
struct Reserved {
    operations: Arc<Operations>,
    is_open: bool,
}

/// Why a stream is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unopened {
    /// Nothing is reserved under this token.
    Unknown,
    /// Its stream is open already.
    Open,
}

impl Reservations {
    /// Reserves a stream and gives its token. Fails with `TOO_MANY`.
    pub(super) fn reserve(&self, app: &App) -> Result<String, Problem> {
        let token = uuid::Uuid::new_v4().simple().to_string();
        {
            let mut reserved = self.lock();
            let allowed = app.options.connections_max;
            if reserved.len() >= allowed {
                let message = format!("{allowed} streams are reserved, and no more are allowed");
                return Err(Refusal::new(Code::TooMany, message).into());
            }
            let operations = Operations::new(app, Streaming::GraphqlSseShared);
            reserved.insert(token.as_str().into(), Reserved { operations, is_open: false });
        }
        let (all, drain, expiring) = (self.clone(), app.drain.clone(), token.clone());
        let due = app.options.connection_init_timeout;
        app.tracker.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(due) => {}
                () = drain.cancelled() => {}
            }
            all.expire(&expiring);
        });
        Ok(token)
    }

    /// The operations of a reservation, open or not.
    pub(super) fn find(&self, token: &str) -> Option<Arc<Operations>> {
        self.lock().get(token).map(|reserved| Arc::clone(&reserved.operations))
    }

    /// Takes up a reservation; the seat ends it.
    pub(super) fn open(&self, token: &str) -> Result<(Arc<Operations>, Seat), Unopened> {
        let mut all = self.lock();
        let reserved = all.get_mut(token).ok_or(Unopened::Unknown)?;
        if std::mem::replace(&mut reserved.is_open, true) {
            return Err(Unopened::Open);
        }
        let seat = Seat { reservations: self.clone(), token: token.into() };
        Ok((Arc::clone(&reserved.operations), seat))
    }

    fn expire(&self, token: &str) {
        let mut all = self.lock();
        if all.get(token).is_some_and(|reserved| !reserved.is_open) {
            let expired = all.remove(token);
            drop(all);
            if let Some(Reserved { operations, .. }) = expired {
                operations.close();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Reserved>> {
        // Entries are put in and taken out whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open reservation; dropped, its token is worth nothing.
#[derive(Debug)]
pub(super) struct Seat {
    reservations: Reservations,
    token: Box<str>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let removed = self.reservations.lock().remove(&self.token);
        drop(removed);
    }
}
