//! GraphQL over WebSocket: the pure session of `protocol`, applied to the server's parts.
//!
//! Flow: text goes to the session, its actions start and stop operations; payloads leave with the prefix of their
//! subscription around the shared text.
//! Invariants: nothing goes out for an operation that the session does not know any more; an operation runs as the principal of
//! its connection, and what began under an older grant is admitted anew.

use super::{
    App,
    caller::Change,
    credential::Visit,
    directory::unsubscribed,
    following::{Followed, Place, following},
    operation::{self, Begun},
    socket::{Speaker, Turn},
};
use crate::{
    auth::{Principal, audit::Entry},
    error::{Code, Refusal},
    event::{Cursor, Json},
    fanout::{Delivery, Key as MailKey, Mailbox, Run},
    graphql::Following,
    protocol::{
        Action, CloseReason, Closing, Dialect, Key, Operation, Options as SessionOptions, Reply, Session,
        Token, payload_token, two_credentials, with_replaced, write_errors,
    },
};
use std::{sync::Arc, time::Duration};

/// The job that finds out who the client is; operations have greater numbers.
const AUTHENTICATION: u64 = 0;

/// A connection that speaks one of the GraphQL dialects.
#[derive(Debug)]
pub(super) struct GraphqlSpeaker {
    app: App,
    session: Session,
    mailbox: Arc<Mailbox>,
    visit: Visit,
    is_authenticating: bool,
    /// Rising by key.
    live: Vec<Live>,
}

/// A subscription that delivers.
#[derive(Debug)]
struct Live {
    key: Key,
    subscription: Followed,
    /// What stands before each payload.
    prefix: Box<str>,
}

/// A job that ended.
#[derive(Debug)]
pub(super) enum Done {
    /// It is known who the client is.
    Authenticated(Result<Principal, Refusal>),
    /// An operation has begun, or is over.
    Operated {
        key: Key,
        wants_ready: bool,
        /// Under which grant and view.
        generation: u32,
        begun: Begun,
    },
}

impl GraphqlSpeaker {
    pub(super) fn new(app: &App, dialect: &'static dyn Dialect, mailbox: Arc<Mailbox>, visit: Visit) -> Self {
        let options = SessionOptions { subscriptions_max: app.options.subscriptions_max };
        GraphqlSpeaker {
            app: app.clone(),
            session: Session::new(dialect, options),
            mailbox,
            visit,
            is_authenticating: false,
            live: Vec::new(),
        }
    }

    fn act(&mut self, actions: Vec<Action>, turn: &mut Turn<'_, Done>) {
        for action in actions {
            match action {
                Action::Authenticate { payload } => self.authenticate(payload.as_ref(), turn),
                Action::Refresh { token } => self.refresh(token, turn),
                Action::Reply(reply) => self.say(&reply, turn),
                Action::Start { key, operation, .. } => self.start(key, operation, turn),
                Action::Stop { key } => self.stop(key, turn),
                Action::Close(closing) => {
                    self.live.clear();
                    turn.close(closing);
                }
            }
        }
    }

    /// Finds out who the client is, from its handshake or its initialisation.
    fn authenticate(&mut self, payload: Option<&Json>, turn: &mut Turn<'_, Done>) {
        let introduced = self.visit.introduced();
        if self.app.authority.is_open() {
            let everybody = self.app.everybody(&self.visit.origin);
            self.authenticated(Ok(everybody), turn);
            return;
        }
        let given = payload.map_or(Ok(None), payload_token);
        match (given, introduced) {
            (Err(refusal), _) => self.unreadable(refusal, turn),
            (Ok(Some(token)), Some(own)) if token != own.token => {
                self.unreadable(two_credentials(), turn);
            }
            (Ok(_), Some(own)) => {
                turn.caller().sit(own.seat);
                self.authenticated(Ok(own.principal), turn);
            }
            (Ok(token), None) => self.ask(token, turn),
        }
    }

    /// What the client sent is no credential.
    fn unreadable(&mut self, refusal: Refusal, turn: &mut Turn<'_, Done>) {
        self.visit.origin.record(Entry::refused(&refusal));
        self.authenticated(Err(refusal), turn);
    }

    /// A new credential for a connection that lives; one at a time.
    fn refresh(&mut self, token: Token, turn: &mut Turn<'_, Done>) {
        if self.is_authenticating {
            let refusal = Refusal::new(Code::TooMany, "the last token is still being looked at");
            self.expelled(&refusal, turn);
            return;
        }
        self.ask(Some(token), turn);
    }

    fn ask(&mut self, token: Option<Token>, turn: &mut Turn<'_, Done>) {
        self.is_authenticating = true;
        let (app, origin) = (self.app.clone(), Arc::clone(&self.visit.origin));
        let job = async move { Done::Authenticated(app.authenticate(&origin, token.as_ref()).await) };
        turn.jobs().start(AUTHENTICATION, Box::pin(job));
    }

    /// It is known who the client is: welcome, or its new credential is in force.
    fn authenticated(&mut self, principal: Result<Principal, Refusal>, turn: &mut Turn<'_, Done>) {
        self.is_authenticating = false;
        let adopted = principal.and_then(|principal| turn.caller().adopt(&self.app.authority, &principal));
        let is_new = !self.session.is_ready();
        let actions = match adopted {
            Err(refusal) if is_new => self.session.rejected(&refusal),
            Err(refusal) => self.session.expelled(&refusal),
            Ok(_) if is_new => self.session.accepted(),
            Ok(change) => {
                if change == Change::Readmit {
                    self.readmit(turn);
                }
                self.session.refreshed()
            }
        };
        self.act(actions, turn);
    }

    fn start(&mut self, key: Key, operation: Operation, turn: &mut Turn<'_, Done>) {
        let (app, mailbox, number) = (self.app.clone(), Arc::clone(&self.mailbox), self.visit.number);
        let wants_ready = operation.wants_ready();
        let generation = turn.caller().generation();
        // The session starts nothing before it has accepted somebody.
        let Some(principal) = turn.caller().principal().cloned() else { return };
        let job = async move {
            let place = Place { number, mailbox: &mailbox, key: key.get() };
            let begun = operation::begin(&app, &principal, operation, place).await;
            Done::Operated { key, wants_ready, generation, begun }
        };
        turn.jobs().start(key.get(), Box::pin(job));
    }

    fn stop(&mut self, key: Key, turn: &mut Turn<'_, Done>) {
        turn.jobs().cancel(key.get());
        if let Ok(at) = self.at(key) {
            self.live.remove(at);
        }
    }

    fn at(&self, key: Key) -> Result<usize, usize> {
        self.live.binary_search_by_key(&key, |live| live.key)
    }

    fn say(&self, reply: &Reply<'_>, turn: &mut Turn<'_, Done>) {
        let mut text = String::new();
        if !self.session.dialect().encode(reply, &mut text) {
            return;
        }
        match reply {
            // These speak of no event, so they need not wait for any.
            Reply::Ack | Reply::InitRefused { .. } | Reply::Pong { .. } => turn.send_first(&text),
            Reply::KeepAlive
            | Reply::Ping { .. }
            | Reply::Next { .. }
            | Reply::Error { .. }
            | Reply::Complete { .. } => turn.send(&[&text]),
        }
    }

    /// An operation has begun, or is over.
    fn operated(&mut self, key: Key, begun: Begun, turn: &mut Turn<'_, Done>) -> Option<Followed> {
        match begun {
            Begun::Live(subscription) => return Some(subscription),
            Begun::Refused(errors) => self.finish(key, Some(&errors), turn),
            Begun::Answered(text) => {
                if let Some(id) = self.session.id(key) {
                    let id = id.to_owned().into();
                    self.say(&Reply::Next { id, payload: text.into() }, turn);
                    self.finish(key, None, turn);
                }
            }
        }
        None
    }

    /// The last words of a subscription that cannot go on.
    fn fail(&mut self, key: Key, refusal: Refusal, turn: &mut Turn<'_, Done>) {
        if let Some(live) = self.at(key).ok().and_then(|at| self.live.get_mut(at)) {
            live.subscription.course.failed(1);
        }
        let mut errors = String::new();
        write_errors(&[refusal], &mut errors);
        self.finish(key, Some(&errors), turn);
    }

    /// The last words of an operation, unless the client has stopped it.
    fn finish(&mut self, key: Key, errors: Option<&str>, turn: &mut Turn<'_, Done>) {
        self.stop(key, turn);
        let Some(id) = self.session.finished(key) else { return };
        let id = id.into_string().into();
        match errors {
            Some(errors) => self.say(&Reply::Error { id, errors: errors.into() }, turn),
            None => self.say(&Reply::Complete { id }, turn),
        }
    }

    fn begun_live(&mut self, key: Key, subscription: Followed, wants_ready: bool, turn: &mut Turn<'_, Done>) {
        // The client may have stopped it while it was starting; then it ends here.
        let Some(id) = self.session.id(key) else { return };
        let mut prefix = String::new();
        self.session.dialect().next_prefix(id, &mut prefix);
        let start = self.app.hub.position(subscription.start());
        let live = Live { key, subscription, prefix: prefix.into() };
        if wants_ready {
            let ready = format!(r#"{{"data":null,"extensions":{{"ready":true,"cursor":"{start}"}}}}"#);
            turn.send(&[&live.prefix, &ready, self.session.dialect().next_suffix()]);
        }
        if let Err(at) = self.at(key) {
            self.live.insert(at, live);
        }
    }

    /// The shared texts, each with the subscription's own bytes around it.
    fn run(&self, at: usize, run: &Run, turn: &mut Turn<'_, Done>) {
        let Some(live) = self.live.get(at) else { return };
        let suffix = self.session.dialect().next_suffix();
        let mut payloads = run.payloads().iter();
        if run.replaced() > 0
            && let Some(first) = payloads.next()
        {
            turn.send(&[&live.prefix, &with_replaced(first.text(), run.replaced()), suffix]);
        }
        payloads.for_each(|payload| turn.send(&[&live.prefix, payload.text(), suffix]));
    }
}

impl Speaker for GraphqlSpeaker {
    type Done = Done;

    fn received(&mut self, text: &str, turn: &mut Turn<'_, Done>) {
        let actions = self.session.on_text(text);
        self.act(actions, turn);
    }

    fn received_binary(&mut self, turn: &mut Turn<'_, Done>) {
        let actions = self.session.on_binary();
        self.act(actions, turn);
    }

    fn done(&mut self, done: Done, turn: &mut Turn<'_, Done>) {
        let (key, wants_ready, generation, begun) = match done {
            Done::Authenticated(principal) => {
                turn.jobs().finished(AUTHENTICATION);
                self.authenticated(principal, turn);
                return;
            }
            Done::Operated { key, wants_ready, generation, begun } => (key, wants_ready, generation, begun),
        };
        turn.jobs().finished(key.get());
        let Some(mut subscription) = self.operated(key, begun, turn) else { return };
        if generation != turn.caller().generation()
            && let Some(principal) = turn.caller().principal()
            && let Err(refusal) = subscription.readmit(principal)
        {
            subscription.course.failed(1);
            self.fail(key, refusal, turn);
            return;
        }
        self.begun_live(key, subscription, wants_ready, turn);
    }

    fn readmit(&mut self, turn: &mut Turn<'_, Done>) {
        let Some(principal) = turn.caller().principal().cloned() else { return };
        let readmitted = self.live.iter_mut().map(|live| (live.key, live.subscription.readmit(&principal)));
        let refused: Vec<_> = readmitted.filter_map(|(key, result)| Some((key, result.err()?))).collect();
        refused.into_iter().for_each(|(key, refusal)| self.fail(key, refusal, turn));
    }

    fn expelled(&mut self, refusal: &Refusal, turn: &mut Turn<'_, Done>) {
        let actions = self.session.expelled(refusal);
        self.act(actions, turn);
    }

    fn following(&self) -> Vec<Following> {
        let known = self.live.iter().filter_map(|live| Some((self.session.id(live.key)?, live)));
        known.map(|(id, live)| following(id, &live.subscription, &self.app.hub)).collect()
    }

    fn unsubscribe(&mut self, id: &str, turn: &mut Turn<'_, Done>) -> bool {
        let Some(key) = self.session.key(id) else { return false };
        let live = self.at(key).ok().and_then(|at| self.live.get(at));
        let position = live.map(|live| live.subscription.cursor().to_string());
        let refusal = unsubscribed();
        let refusal = match position {
            Some(position) => refusal.with("cursor", position),
            None => refusal,
        };
        self.fail(key, refusal, turn);
        true
    }

    fn delivered(&mut self, key: MailKey, delivery: Delivery, turn: &mut Turn<'_, Done>) {
        let Ok(at) = self.live.binary_search_by_key(&key, |live| live.key.get()) else { return };
        match delivery {
            Delivery::Run(run) => self.run(at, &run, turn),
            Delivery::Lagged => {
                if let Some(live) = self.live.get(at) {
                    live.subscription.catch_up();
                }
            }
            Delivery::Ended(refusal) => {
                if let Some(key) = self.live.get(at).map(|live| live.key) {
                    self.fail(key, refusal, turn);
                }
            }
        }
    }

    fn ping(&mut self, turn: &mut Turn<'_, Done>) {
        if !self.session.is_ready() {
            return;
        }
        let head = || self.app.hub.position(self.app.hub.bounds().head);
        let position = self.position().unwrap_or_else(head);
        let mut text = String::new();
        let ping = Reply::Ping { payload: Some(format!(r#"{{"cursor":"{position}"}}"#).into()) };
        if self.session.dialect().encode(&ping, &mut text) {
            turn.send(&[&text]);
            return;
        }
        // The older dialect has no ping that is answered.
        self.say(&Reply::KeepAlive, turn);
        turn.send_ping();
    }

    fn introduction_due(&self) -> Option<Duration> {
        (!self.session.is_ready()).then_some(self.app.options.connection_init_timeout)
    }

    fn introduction_missing(&mut self, turn: &mut Turn<'_, Done>) {
        let actions = self.session.on_init_timeout();
        self.act(actions, turn);
    }

    fn position(&self) -> Option<Cursor> {
        let least = self.live.iter().map(|live| live.subscription.position()).min();
        least.map(|position| self.app.hub.position(position))
    }

    fn closing(&self, reason: &CloseReason<'_>) -> Closing {
        self.session.dialect().close(reason)
    }
}
