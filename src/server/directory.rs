//! Everybody who is connected by a WebSocket or a stream, and the way to tell them something.
//!
//! Flow: a connection registers and keeps its [`Line`]; whoever has an order for it leaves it there and calls it through its
//! mailbox, where it waits anyway; the connection does what it was told in its next turn.
//! Invariants: a connection is listed exactly as long as its line lives, and present from when it has said who it is; who registers while the server drains is told so; an
//! order that everybody gets (drain, review) is kept once, the number of questions is bounded; the lock is held for moves only.
//! Not here: what a connection does with an order (`socket`, `stream`), who may give one (`graphql`).

use crate::{
    auth::{Authority, Credential, Principal},
    error::{Code, Refusal},
    fanout::Mailbox,
    graphql::{Connected, Connections, Following},
    platform::{
        presence::{ConnectionId, Presence},
        self_events::{Connection, End, Reason, SelfEvents},
    },
};
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// So many questions may wait for one connection.
const QUESTIONS_MAX: usize = 16;
/// A connection answers in its next turn; one that does not is told about as unavailable.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The connections of a server. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Directory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    listed: Mutex<Listed>,
    self_events: SelfEvents,
    presence: Presence,
}

#[derive(Debug, Default)]
struct Listed {
    connections: BTreeMap<u64, Arc<Entry>>,
    ids_given: u64,
    is_draining: bool,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    /// What others call it.
    name: ConnectionId,
    protocol: &'static str,
    address: Option<SocketAddr>,
    since: DateTime<Utc>,
    mailbox: Arc<Mailbox>,
    desk: Mutex<Desk>,
}

/// What lies ready for a connection, and what it has said about itself.
#[derive(Debug, Default)]
struct Desk {
    principal: Option<Principal>,
    orders: Orders,
    /// How it ends, once that is known.
    end: Option<End>,
}

/// What a connection is told.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// The server ends.
    pub(super) drains: bool,
    /// An administrator ends the connection.
    pub(super) ends: bool,
    /// What the principal may do can have changed.
    pub(super) reviews: bool,
    /// What somebody waits for.
    pub(super) questions: Vec<Question>,
}

/// What a connection is asked. Whoever asked may be gone when the answer comes.
#[derive(Debug)]
pub(super) enum Question {
    /// What do you follow?
    Subscriptions(oneshot::Sender<Vec<Following>>),
    /// End this subscription; was there one?
    Unsubscribe(Box<str>, oneshot::Sender<bool>),
}

impl Directory {
    /// Nobody yet; whoever comes and goes is told there, and who has said who it is is present there.
    pub fn new(self_events: SelfEvents, presence: Presence) -> Self {
        Directory(Arc::new(Shared { listed: Mutex::default(), self_events, presence }))
    }

    /// Who is present.
    pub fn presence(&self) -> &Presence {
        &self.0.presence
    }

    /// The number of a connection that is about to come; it is never given again.
    pub(super) fn number(&self) -> u64 {
        let mut listed = self.lock();
        listed.ids_given += 1;
        listed.ids_given
    }

    /// Lists the connection of this number, which waits at this mailbox.
    pub(super) fn register(
        &self,
        number: u64,
        protocol: &'static str,
        address: Option<SocketAddr>,
        mailbox: &Arc<Mailbox>,
    ) -> Line {
        let mut listed = self.lock();
        let entry = Arc::new(Entry {
            id: number,
            name: self.presence().id(number),
            protocol,
            address,
            since: Utc::now(),
            mailbox: Arc::clone(mailbox),
            desk: Mutex::default(),
        });
        listed.connections.insert(entry.id, Arc::clone(&entry));
        if listed.is_draining {
            entry.order(|orders| orders.drains = true);
        }
        Line { directory: self.clone(), entry }
    }

    /// Tells everybody, and all who come later, that the server ends.
    pub(super) fn drain(&self) {
        let mut listed = self.lock();
        listed.is_draining = true;
        listed.connections.values().for_each(|entry| entry.order(|orders| orders.drains = true));
    }

    /// Has everybody's principal reviewed whenever the authority changes, without end.
    ///
    /// Cancel safety: yes.
    pub(super) async fn follow(&self, authority: &Authority) {
        let mut changes = authority.changes();
        while changes.changed().await.is_ok() {
            changes.borrow_and_update();
            self.lock().connections.values().for_each(|entry| entry.order(|orders| orders.reviews = true));
        }
        // An authority that is gone changes nothing any more.
        std::future::pending().await
    }

    fn entry(&self, id: u64) -> Option<Arc<Entry>> {
        self.lock().connections.get(&id).cloned()
    }

    /// Asks a connection. Fails with `NOT_FOUND`, or `UNAVAILABLE` when it does not answer in time.
    async fn ask<T>(
        &self,
        id: u64,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, Refusal> {
        let gone = || {
            Refusal::new(Code::NotFound, "there is no connection of this id").with("given", id.to_string())
        };
        let busy = || Refusal::new(Code::Unavailable, "the connection does not answer now");
        let entry = self.entry(id).ok_or_else(gone)?;
        let (sender, answer) = oneshot::channel();
        let is_taken = entry.order(|orders| {
            let has_room = orders.questions.len() < QUESTIONS_MAX;
            if has_room {
                orders.questions.push(question(sender));
            }
            has_room
        });
        match timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) if is_taken => Err(gone()),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Listed> {
        // Entries are put in and taken out whole.
        self.0.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of whom nothing is told.
impl Default for Directory {
    fn default() -> Self {
        Directory::new(SelfEvents::off(), Presence::default())
    }
}

impl Entry {
    /// Leaves an order and calls the connection.
    fn order<T>(&self, change: impl FnOnce(&mut Orders) -> T) -> T {
        let left = change(&mut self.desk().orders);
        self.mailbox.call();
        left
    }

    fn connected(&self) -> Connected {
        Connected {
            id: self.id,
            name: self.name,
            principal: self.desk().principal.clone(),
            since: self.since,
            protocol: self.protocol,
            address: self.address,
        }
    }

    /// The connection as events tell of it.
    fn connection<'a>(&self, principal: &'a Principal) -> Connection<'a> {
        Connection { id: self.name, protocol: self.protocol, since: self.since, principal }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Changed by single assignments only.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection's own end; dropped, it is listed no more.
#[derive(Debug)]
pub(super) struct Line {
    directory: Directory,
    entry: Arc<Entry>,
}

impl Line {
    /// What has been ordered since the last time. Called for nothing, there is nothing.
    pub(super) fn orders(&self) -> Orders {
        std::mem::take(&mut self.entry.desk().orders)
    }

    /// The connection has said who it is. That is told the first time, and when somebody without a credential signs in.
    pub(super) fn identify(&self, principal: &Principal) {
        let known = self.entry.desk().principal.replace(principal.clone());
        let Entry { id, protocol, since, .. } = *self.entry;
        self.directory.0.presence.know(id, protocol, since, principal);
        let is_signed_in = |one: &Principal| *one.credential() != Credential::None;
        if known.is_none_or(|known| !is_signed_in(&known) && is_signed_in(principal)) {
            self.directory.0.self_events.connection_established(&self.entry.connection(principal));
        }
    }

    /// The connection is about to end in this way.
    pub(super) fn ends(&self, end: End) {
        self.entry.desk().end = Some(end);
    }

    /// Has the connection reviewed in its next turn: its principal is older than its line.
    pub(super) fn review(&self) {
        self.entry.order(|orders| orders.reviews = true);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.directory.lock().connections.remove(&self.entry.id);
        self.directory.0.presence.leave(self.entry.id);
        let mut desk = self.entry.desk();
        // Whoever still waits for an answer need not.
        desk.orders.questions.clear();
        let (principal, end) = (desk.principal.clone(), desk.end);
        drop(desk);
        // Nobody knows whose it was that never said so.
        if let Some(principal) = principal {
            let end = end.unwrap_or(End::of_stream(Reason::Gone));
            self.directory.0.self_events.connection_closed(&self.entry.connection(&principal), end);
        }
    }
}

impl Connections for Directory {
    fn page(&self, count: usize, after: Option<u64>) -> Vec<Connected> {
        let listed = self.lock();
        let first = after.map_or(0, |after| after.saturating_add(1));
        let entries: Vec<_> =
            listed.connections.range(first..).take(count).map(|(_, entry)| Arc::clone(entry)).collect();
        drop(listed);
        entries.iter().map(|entry| entry.connected()).collect()
    }

    fn find(&self, connection: u64) -> Option<Connected> {
        self.entry(connection).map(|entry| entry.connected())
    }

    fn count(&self) -> usize {
        self.lock().connections.len()
    }

    fn subscriptions(&self, connection: u64) -> BoxFuture<'_, Result<Vec<Following>, Refusal>> {
        Box::pin(self.ask(connection, Question::Subscriptions))
    }

    fn disconnect(&self, connection: u64) -> bool {
        self.entry(connection).map(|entry| entry.order(|orders| orders.ends = true)).is_some()
    }

    fn unsubscribe<'a>(
        &'a self,
        connection: u64,
        subscription: &'a str,
    ) -> BoxFuture<'a, Result<bool, Refusal>> {
        Box::pin(self.ask(connection, |sender| Question::Unsubscribe(subscription.into(), sender)))
    }
}

/// The refusal of a connection that an administrator ends.
pub(super) fn disconnected() -> Refusal {
    Refusal::new(Code::Forbidden, "an administrator has ended the connection")
}

/// The refusal of a subscription that an administrator ends.
pub(super) fn unsubscribed() -> Refusal {
    Refusal::new(Code::Forbidden, "an administrator has ended the subscription")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::caller::Caller;

    fn line(directory: &Directory) -> Line {
        directory.register(directory.number(), "test", None, &Arc::new(Mailbox::new(1)))
    }

    #[test]
    fn a_connection_is_listed_while_its_line_lives_and_its_number_is_never_given_again() {
        let directory = Directory::default();
        let lines: Vec<_> = (0..3).map(|_| line(&directory)).collect();
        let ids = |after| directory.page(2, after).iter().map(|one| one.id).collect::<Vec<_>>();
        assert_eq!((ids(None), ids(Some(2)), directory.count()), (vec![1, 2], vec![3], 3));
        drop(lines);
        assert_eq!((ids(None), line(&directory).entry.id), (vec![], 4));
        assert!(!directory.disconnect(1));
    }

    #[test]
    fn who_comes_while_the_server_drains_is_told_so_and_called() {
        let directory = Directory::default();
        directory.drain();
        let late = line(&directory);
        assert!(late.entry.mailbox.is_called() && late.orders().drains);
        assert!(!late.orders().drains, "an order is given once");
    }

    /// An idle connection should cost little: this is what being listed and known adds to it.
    #[test]
    fn to_be_listed_costs_less_than_300_bytes() {
        let counts = 2 * size_of::<usize>();
        let listed = size_of::<(u64, Arc<Entry>)>() * 2;
        let in_all = counts + size_of::<Entry>() + size_of::<Line>() + listed + size_of::<Caller>();
        assert!(in_all <= 300, "{in_all} bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_gone_or_does_not_answer_is_told_apart() {
        let directory = Directory::default();
        let code = |result: Result<Vec<Following>, Refusal>| result.map_err(|refusal| refusal.code).err();
        assert_eq!(code(directory.subscriptions(1).await), Some(Code::NotFound));
        let silent = line(&directory);
        assert_eq!(code(directory.subscriptions(1).await), Some(Code::Unavailable));
        let asking = {
            let directory = directory.clone();
            tokio::spawn(async move { directory.subscriptions(1).await })
        };
        while silent.entry.desk().orders.questions.len() < 2 {
            tokio::task::yield_now().await;
        }
        drop(silent);
        assert_eq!(code(asking.await.unwrap()), Some(Code::NotFound));
    }
}
