//! Who may open the stream of graphql-sse's single connection mode: a token for each reservation.
//!
//! Invariants: a token opens one stream, once; a reservation that is not taken up in time is gone, with its operations; their
//! number is bounded.

use super::{App, operations::Operations, problem::Problem};
use crate::{
    auth::Principal,
    error::{Code, Refusal},
    protocol::Streaming,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::task::AbortHandle;

/// The reservations of a server. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Reservations(Arc<Mutex<HashMap<Box<str>, Reserved>>>);

#[derive(Debug)]
struct Reserved {
    operations: Arc<Operations>,
    /// Ends the reservation when it is not taken up in time; none once it is.
    expiry: Option<AbortHandle>,
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
    pub(super) fn reserve(&self, app: &App, principal: &Principal) -> Result<String, Problem> {
        let operations = Operations::new(app, Streaming::GraphqlSseShared, principal)?;
        let token = uuid::Uuid::new_v4().simple().to_string();
        let mut all = self.lock();
        let allowed = app.options.connections_max;
        if all.len() >= allowed {
            let message = format!("{allowed} streams are reserved, and no more are allowed");
            return Err(Refusal::new(Code::TooMany, message).into());
        }
        // What expires waits for the lock, so it finds the entry.
        let expiry = app.tracker.spawn(expire(self.clone(), token.clone(), app.clone())).abort_handle();
        all.insert(token.as_str().into(), Reserved { operations, expiry: Some(expiry) });
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
        reserved.expiry.take().ok_or(Unopened::Open)?.abort();
        let seat = Seat { reservations: self.clone(), token: token.into() };
        Ok((Arc::clone(&reserved.operations), seat))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Reserved>> {
        // Entries are put in and taken out whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a reservation that is not taken up in time, or by the end of the server.
async fn expire(reservations: Reservations, token: String, app: App) {
    tokio::select! {
        () = tokio::time::sleep(app.options.connection_init_timeout) => {}
        () = app.drain.cancelled() => {}
    }
    let mut all = reservations.lock();
    let expired = match all.get(token.as_str()) {
        // Taken up in this moment: its seat ends it.
        None | Some(Reserved { expiry: None, .. }) => None,
        Some(Reserved { expiry: Some(_), .. }) => all.remove(token.as_str()),
    };
    drop(all);
    if let Some(Reserved { operations, .. }) = expired {
        operations.close();
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
