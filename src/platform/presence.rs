//! Who is here: the connections whose callers are known, in which rooms they are and what they say that they do.
//!
//! Flow: the edge says who is known, which subscriptions are open and who has left; a roster keeps that; one task tells the
//! changes as events, and queries are answered through the reader's grant and view as those events are.
//! Invariants: a connection is present exactly as long as its line in the edge's directory, once it is known who speaks; nobody
//! who connects waits for a reader or for the log; a reader sees of a connection what the last event about it shows; nothing is
//! kept on disk, so a server that starts, after whatever end, lists nobody but those who connect to it.
//! Not here: when a peer counts as gone (the edge), who may read which event (`auth`).

mod connection;
mod listing;
mod room;
mod roster;

pub use connection::{ConnectionId, Status};
pub use listing::{PAGE_MAX, Page, RoomPage, RoomSeen, Seen, Wanted};
pub use room::{ROOMS_MAX, Room};

use crate::{
    auth::Principal,
    error::{Code, Refusal},
    event::{EventFilter, NewEvent},
    hub::Hub,
};
use chrono::{DateTime, Utc};
use connection::News;
use roster::{Roster, Untold};
use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::sleep};

/// So many connections are told about at once; two events each at most.
const TOLD_AT_ONCE: usize = 512;
/// So many connections of one user are changed before somebody else may change something.
const CHANGED_AT_ONCE: usize = 64;
/// After changes could not be told. By then they may have come to nothing.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Who is present on a server. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Presence(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    roster: Mutex<Roster>,
    /// There is something to tell.
    news: Notify,
    /// Makes ids of the edge's numbers, which would tell how many connections others make.
    ids: RandomState,
}

impl Default for Presence {
    /// Nobody, and nobody to tell.
    fn default() -> Self {
        Presence::new(false)
    }
}

impl Presence {
    /// Nobody. `is_told`: will [`Presence::tell`] be run?
    pub fn new(is_told: bool) -> Self {
        let roster = Roster::new(is_told);
        Presence(Arc::new(Shared {
            roster: Mutex::new(roster),
            news: Notify::new(),
            ids: RandomState::new(),
        }))
    }

    /// It is known, for the first time or anew, whose connection that of this number is.
    pub fn know(&self, number: u64, protocol: &'static str, since: DateTime<Utc>, principal: &Principal) {
        let id = self.id(number);
        self.change(|roster| roster.know(id, protocol, since, principal));
    }

    /// The connection of this number has left.
    pub fn leave(&self, number: u64) {
        let id = self.id(number);
        self.change(|roster| roster.leave(id));
    }

    /// The connection of this number follows what meets the filter, as its grant has narrowed it, and is in the rooms that it
    /// names as long as the stay lives.
    pub fn enter(&self, number: u64, filter: &EventFilter) -> Stay {
        let (rooms, id) = (room::named_by(filter), self.id(number));
        let rooms = match rooms.is_empty() {
            true => Box::default(),
            false => self.change(|roster| roster.enter(id, rooms)),
        };
        Stay { presence: self.clone(), id, rooms }
    }

    /// Sets the status of the caller's own connections and says of how many: of the one that is named, else of the one of this
    /// number, by which the caller speaks, else of all those of the signed-in user. Fails with `NOT_FOUND` for a connection that
    /// is not the caller's, and with `UNAUTHENTICATED` where nobody is signed in and no connection is meant.
    pub fn set_status(
        &self,
        principal: &Principal,
        number: Option<u64>,
        named: Option<ConnectionId>,
        status: Status,
    ) -> Result<usize, Refusal> {
        let speaking = number.map(|number| self.id(number));
        if let Some(id) = named.or(speaking) {
            let is_own = |roster: &Roster| {
                Some(id) == speaking || roster.find(id).is_some_and(|found| found.is_of(principal))
            };
            let set = self.change(|roster| is_own(roster) && roster.set_status(id, status));
            // Its own connection may be one that is not open yet, but a foreign one is as if it were not there.
            return match (set, Some(id) == speaking) {
                (false, false) => Err(foreign(id)),
                (is_set, _) => Ok(usize::from(is_set)),
            };
        }
        let user = principal.signed_in().map(Room::of_user).ok_or_else(nobody)?;
        let (mut count, mut after) = (0, None);
        loop {
            let (set, last) = self.change(|roster| {
                let some = roster.some(Some(user.name()), after, CHANGED_AT_ONCE);
                let own = some.iter().filter(|found| found.is_of(principal));
                (
                    own.filter(|found| roster.set_status(found.id, status)).count(),
                    some.last().map(|last| last.id),
                )
            });
            count += set;
            after = match last {
                None => return Ok(count),
                last => last,
            };
        }
    }

    /// How many connections are present.
    pub fn count(&self) -> usize {
        self.roster().len()
    }

    /// Publishes what changes as `presence.connected`, `presence.changed` and `presence.disconnected`, without end: what changes
    /// while one publish runs goes into the next. What cannot be published is tried again, as it is then.
    ///
    /// Cancel safety: what was taken may be told or not.
    pub async fn tell(&self, hub: &Hub) {
        let mut is_failing = false;
        loop {
            let untold = self.roster().take(TOLD_AT_ONCE);
            if untold.is_empty() {
                self.0.news.notified().await;
                continue;
            }
            let events: Vec<NewEvent> = untold.iter().flat_map(news).collect();
            let told = match events.is_empty() {
                true => Ok(0),
                false => hub.publish(&Principal::anonymous(), events).await.map(|told| told.len()),
            };
            match told {
                Ok(count) => {
                    hub.metrics().self_events_published.inc_by(count as u64);
                    is_failing = false;
                }
                Err(refusal) => {
                    if !is_failing {
                        tracing::warn!(%refusal, "presence cannot be told; it is tried again");
                    }
                    is_failing = true;
                    self.roster().give_back(untold);
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// What the connection of this number is called outside of the server.
    pub fn id(&self, number: u64) -> ConnectionId {
        ConnectionId::new(self.0.ids.hash_one(number))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Roster) -> T) -> T {
        let changed = change(&mut self.roster());
        self.0.news.notify_one();
        changed
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        // Nothing in the roster can panic but for want of memory.
        self.0.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rooms that a subscription is in; dropped, it has left them.
#[derive(Debug)]
pub struct Stay {
    presence: Presence,
    id: ConnectionId,
    rooms: Box<[Room]>,
}

impl Drop for Stay {
    fn drop(&mut self) {
        if !self.rooms.is_empty() {
            self.presence.change(|roster| roster.exit(self.id, &self.rooms));
        }
    }
}

/// What readers are told: who gets another place leaves one and comes to the other, for each may have its own readers.
fn news(untold: &Untold) -> Vec<NewEvent> {
    match (&untold.before, &untold.now) {
        (None, None) => Vec::new(),
        (None, Some(now)) => vec![now.event(News::Connected)],
        (Some(before), None) => vec![before.event(News::Disconnected)],
        (Some(before), Some(now)) if before.scope() != now.scope() => {
            vec![before.event(News::Disconnected), now.event(News::Connected)]
        }
        (Some(before), Some(now)) if before.looks_like(now) => Vec::new(),
        (Some(_), Some(now)) => vec![now.event(News::Changed)],
    }
}

fn foreign(id: ConnectionId) -> Refusal {
    let message = "you have no connection of this id";
    Refusal::new(Code::NotFound, message).with("field", "connectionId").with("given", id.to_string())
}

fn nobody() -> Refusal {
    let message =
        "no connection was meant: over HTTP sign in, or set the status over the WebSocket that it is for";
    Refusal::new(Code::Unauthenticated, message)
}

#[cfg(test)]
#[path = "presence/tests.rs"]
mod tests;
