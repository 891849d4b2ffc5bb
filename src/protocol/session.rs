//! The life of one GraphQL WebSocket: a state and a command give actions. The one place that knows the order of things.
//!
//! Flow: takes commands (or text) from the connection, gives [`Action`]s back; the connection does them in order.
//! Invariants: initialised once and before any operation; an id is reserved before its operation is prepared and is free
//! again once the operation is over; a [`Key`] is never used twice, so what a stopped operation still gives is recognised and
//! dropped; after a close nothing is answered any more.
//! Not here: timers, authentication and execution, which are told to us by `on_init_timeout`, `accepted`, `refreshed`, `finished`.

use super::{
    CloseReason, Closing, Command, Dialect, Duplicate, Operation, Reply,
    credential::{Token, payload_token},
    errors::{write_error, write_errors},
};
use crate::{
    error::{Code, Refusal},
    event::Json,
};

/// The most bytes of operations that are kept while an initialisation is pending: nobody is known by then.
pub const HELD_BYTES_MAX: usize = 256 * 1024;

/// The limits of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most operations that run at once on one connection.
    pub subscriptions_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { subscriptions_max: 100 }
    }
}

/// One incarnation of an operation on its connection; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u64);

impl Key {
    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What the connection has to do next: travels from the session to the connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Find out who the client is, then call [`Session::accepted`] or [`Session::rejected`].
    Authenticate {
        /// What the client sent along.
        payload: Option<Json>,
    },
    /// The client has a new credential: find out whose, then call [`Session::refreshed`] or [`Session::expelled`].
    Refresh {
        /// The token.
        token: Token,
    },
    /// Send this.
    Reply(Reply<'static>),
    /// Execute this; results go out under the id for as long as the session knows the key.
    Start {
        /// The incarnation.
        key: Key,
        /// The client's id.
        id: Box<str>,
        /// What to execute.
        operation: Operation,
    },
    /// Drop the operation; nothing of it may go out any more.
    Stop {
        /// The incarnation.
        key: Key,
    },
    /// Send this and end the connection with all its operations; always the last action.
    Close(Closing),
}

#[derive(Debug)]
struct Active {
    key: Key,
    id: Box<str>,
}

#[derive(Debug)]
enum State {
    New,
    /// Initialising; operations that came early wait here in dialects that allow them.
    Pending {
        held: Vec<(Key, Operation)>,
    },
    Ready,
    Closed,
}

/// The state of one connection. An idle one is as large as its ids.
#[derive(Debug)]
pub struct Session {
    dialect: &'static dyn Dialect,
    options: Options,
    state: State,
    keys_given: u64,
    /// In the order of their keys. A list: even a thousand short ids are read faster than one result is written.
    active: Vec<Active>,
}

impl Session {
    /// A session on a new connection.
    pub fn new(dialect: &'static dyn Dialect, options: Options) -> Self {
        Session { dialect, options, state: State::New, keys_given: 0, active: Vec::new() }
    }

    /// The dialect that it speaks.
    pub fn dialect(&self) -> &'static dyn Dialect {
        self.dialect
    }

    /// Has the connection been acknowledged, and not been closed since?
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    /// Has a close frame been given out?
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// How many operations are alive.
    pub fn active_count(&self) -> usize {
        self.active.len()
    }

    /// The id of an operation that is alive.
    pub fn id(&self, key: Key) -> Option<&str> {
        let at = self.active.binary_search_by_key(&key, |active| active.key).ok()?;
        self.active.get(at).map(|active| &*active.id)
    }

    /// The operation that is alive under an id.
    pub fn key(&self, id: &str) -> Option<Key> {
        self.active.iter().find(|active| *active.id == *id).map(|active| active.key)
    }

    /// A text message came.
    pub fn on_text(&mut self, text: &str) -> Vec<Action> {
        if self.is_closed() {
            return Vec::new();
        }
        match self.dialect.decode(text) {
            Ok(command) => self.handle(command),
            Err(closing) => self.end(closing),
        }
    }

    /// A binary message came.
    pub fn on_binary(&mut self) -> Vec<Action> {
        self.close(&CloseReason::Binary)
    }

    /// The time to initialise is over.
    pub fn on_init_timeout(&mut self) -> Vec<Action> {
        match self.state {
            State::New | State::Pending { .. } => self.close(&CloseReason::InitTimeout),
            State::Ready | State::Closed => Vec::new(),
        }
    }

    /// The server ends the connection. Nothing if it is ended already.
    pub fn close(&mut self, reason: &CloseReason<'_>) -> Vec<Action> {
        self.end(self.dialect.close(reason))
    }

    /// A command came.
    pub fn handle(&mut self, command: Command) -> Vec<Action> {
        if self.is_closed() {
            return Vec::new();
        }
        match command {
            Command::Init { payload } => self.init(payload),
            Command::Subscribe { id, operation } => self.subscribe(id, operation),
            Command::Complete { id } => self.stop(&id),
            Command::Ping { payload } => self.ping(payload),
            Command::Pong => Vec::new(),
            Command::Terminate => self.close(&CloseReason::Terminated),
        }
    }

    /// The client of a pending initialisation is welcome.
    pub fn accepted(&mut self) -> Vec<Action> {
        let State::Pending { held } = &mut self.state else { return Vec::new() };
        let held = std::mem::take(held);
        self.state = State::Ready;
        let mut actions = vec![Action::Reply(Reply::Ack)];
        if self.dialect.rules().keep_alive_after_ack {
            actions.push(Action::Reply(Reply::KeepAlive));
        }
        for (key, operation) in held {
            if let Some(id) = self.id(key) {
                actions.push(Action::Start { key, id: id.into(), operation });
            }
        }
        actions
    }

    /// The client of a pending initialisation is not welcome.
    pub fn rejected(&mut self, refusal: &Refusal) -> Vec<Action> {
        match self.state {
            State::Pending { .. } => self.expelled(refusal),
            State::New | State::Ready | State::Closed => Vec::new(),
        }
    }

    /// The new credential of the client is good: its ping is answered, without the payload.
    pub fn refreshed(&self) -> Vec<Action> {
        match self.is_ready() {
            true => vec![Action::Reply(Reply::Pong { payload: None })],
            false => Vec::new(),
        }
    }

    /// The client is not welcome any more: its credential has ended, or a new one was refused.
    pub fn expelled(&mut self, refusal: &Refusal) -> Vec<Action> {
        if self.is_closed() {
            return Vec::new();
        }
        let mut error = String::new();
        write_error(refusal, &mut error);
        let mut actions = vec![Action::Reply(Reply::InitRefused { error: error.into() })];
        actions.append(&mut self.close(&CloseReason::Refused(refusal)));
        actions
    }

    /// The server's side of an operation is over: its id is free, and comes back if the client is still to be told.
    /// None: the client stopped it, or the connection is closed; then nothing may go out.
    pub fn finished(&mut self, key: Key) -> Option<Box<str>> {
        let at = self.active.binary_search_by_key(&key, |active| active.key).ok()?;
        Some(self.active.remove(at).id)
    }

    fn end(&mut self, closing: Closing) -> Vec<Action> {
        if self.is_closed() {
            return Vec::new();
        }
        self.state = State::Closed;
        self.active = Vec::new();
        vec![Action::Close(closing)]
    }

    fn init(&mut self, payload: Option<Json>) -> Vec<Action> {
        match self.state {
            State::New => {
                self.state = State::Pending { held: Vec::new() };
                vec![Action::Authenticate { payload }]
            }
            State::Pending { .. } | State::Ready | State::Closed => self.close(&CloseReason::InitAgain),
        }
    }

    /// A ping that carries a credential renews the client's; its text does not come back.
    fn ping(&mut self, payload: Option<Json>) -> Vec<Action> {
        if self.is_ready()
            && let Some(given) = &payload
        {
            match payload_token(given) {
                Ok(Some(token)) => return vec![Action::Refresh { token }],
                Ok(None) => {}
                Err(refusal) => return self.expelled(&refusal),
            }
        }
        let payload = payload.map(|payload| payload.as_str().to_owned().into());
        vec![Action::Reply(Reply::Pong { payload })]
    }

    fn subscribe(&mut self, id: Box<str>, operation: Operation) -> Vec<Action> {
        let rules = self.dialect.rules();
        let may_start = match self.state {
            State::Ready => true,
            State::Pending { .. } => rules.holds_early_operations,
            State::New | State::Closed => false,
        };
        if !may_start {
            return self.close(&CloseReason::NotInitialised);
        }
        let mut actions = Vec::new();
        if let Some(key) = self.key(&id) {
            match rules.duplicate {
                Duplicate::Refuse => return self.close(&CloseReason::Duplicate(&id)),
                Duplicate::Replace => actions.extend(self.drop_active(key)),
            }
        }
        actions.push(match self.room_for(&operation) {
            Ok(()) => match self.reserve(id, operation) {
                Some(start) => start,
                None => return actions,
            },
            Err(refusal) => {
                let mut errors = String::new();
                write_errors(&[refusal], &mut errors);
                Action::Reply(Reply::Error { id: id.into_string().into(), errors: errors.into() })
            }
        });
        actions
    }

    fn room_for(&self, operation: &Operation) -> Result<(), Refusal> {
        let limit = self.options.subscriptions_max;
        if self.active.len() >= limit {
            let message = format!("{limit} operations run on this connection already");
            return Err(Refusal::new(Code::TooMany, message).with("allowed", limit.to_string()));
        }
        if let State::Pending { held } = &self.state {
            let bytes = held.iter().map(|(_, held)| held.bytes()).sum::<usize>() + operation.bytes();
            if bytes > HELD_BYTES_MAX {
                let message =
                    format!("{HELD_BYTES_MAX} bytes of operations may wait for the acknowledgement");
                return Err(
                    Refusal::new(Code::TooMany, message).with("allowed", format!("{HELD_BYTES_MAX} bytes"))
                );
            }
        }
        Ok(())
    }

    /// Takes the id; the start follows now, or with the acknowledgement.
    fn reserve(&mut self, id: Box<str>, operation: Operation) -> Option<Action> {
        self.keys_given += 1;
        let key = Key(self.keys_given);
        self.active.push(Active { key, id: id.clone() });
        match &mut self.state {
            State::Pending { held } => {
                held.push((key, operation));
                None
            }
            State::New | State::Ready | State::Closed => Some(Action::Start { key, id, operation }),
        }
    }

    fn stop(&mut self, id: &str) -> Vec<Action> {
        let Some(key) = self.key(id) else { return Vec::new() };
        let mut actions: Vec<Action> = self.drop_active(key).into_iter().collect();
        if self.dialect.rules().answers_stop {
            actions.push(Action::Reply(Reply::Complete { id: id.to_owned().into() }));
        }
        actions
    }

    /// Forgets an operation; one that was still held was never started and needs no stop.
    fn drop_active(&mut self, key: Key) -> Option<Action> {
        self.finished(key)?;
        if let State::Pending { held } = &mut self.state {
            held.retain(|(other, _)| *other != key);
            return None;
        }
        Some(Action::Stop { key })
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
