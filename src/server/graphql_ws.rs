//! GraphQL over WebSocket: the pure session of `protocol`, applied to the server's parts.
//!
//! Flow: text goes to the session, its actions start and stop operations; payloads leave with the prefix of their
//! subscription around the shared text.
//! Invariants: nothing goes out for an operation that the session does not know any more.

use super::{
    App,
    operation::{self, Begun},
    socket::{Speaker, Turn},
};
use crate::{
    event::Cursor,
    fanout::{Delivery, Key as MailKey, Mailbox, Run, Subscription},
    protocol::{
        Action, CloseReason, Closing, Dialect, Key, Operation, Options as SessionOptions, Reply, Session,
        with_replaced, write_errors,
    },
};
use std::{sync::Arc, time::Duration};

/// A connection that speaks one of the GraphQL dialects.
#[derive(Debug)]
pub(super) struct GraphqlSpeaker {
    app: App,
    session: Session,
    mailbox: Arc<Mailbox>,
    /// Rising by key.
    live: Vec<Live>,
}

/// A subscription that delivers.
#[derive(Debug)]
struct Live {
    key: Key,
    subscription: Subscription,
    /// What stands before each payload.
    prefix: Box<str>,
}

/// A job that ended.
#[derive(Debug)]
pub(super) struct Done {
    key: Key,
    wants_ready: bool,
    begun: Begun,
}

impl GraphqlSpeaker {
    pub(super) fn new(app: &App, dialect: &'static dyn Dialect, mailbox: Arc<Mailbox>) -> Self {
        let options = SessionOptions { subscriptions_max: app.options.subscriptions_max };
        GraphqlSpeaker {
            app: app.clone(),
            session: Session::new(dialect, options),
            mailbox,
            live: Vec::new(),
        }
    }

    fn act(&mut self, actions: Vec<Action>, turn: &mut Turn<'_, Done>) {
        for action in actions {
            match action {
                Action::Authenticate { .. } => {
                    // Everybody is welcome until tokens exist; the seam is here.
                    let welcome = self.session.accepted();
                    self.act(welcome, turn);
                }
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

    fn start(&mut self, key: Key, operation: Operation, turn: &mut Turn<'_, Done>) {
        let (app, mailbox) = (self.app.clone(), Arc::clone(&self.mailbox));
        let wants_ready = operation.wants_ready();
        let job = async move {
            let begun = operation::begin(&app, operation, &mailbox, key.get()).await;
            Done { key, wants_ready, begun }
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

    fn begun_live(
        &mut self,
        key: Key,
        subscription: Subscription,
        wants_ready: bool,
        turn: &mut Turn<'_, Done>,
    ) {
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
        turn.jobs().finished(done.key.get());
        match done.begun {
            Begun::Live(subscription) => self.begun_live(done.key, subscription, done.wants_ready, turn),
            Begun::Refused(errors) => self.finish(done.key, Some(&errors), turn),
            Begun::Answered(text) => {
                if let Some(id) = self.session.id(done.key) {
                    let id = id.to_owned().into();
                    self.say(&Reply::Next { id, payload: text.into() }, turn);
                    self.finish(done.key, None, turn);
                }
            }
        }
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
                let mut errors = String::new();
                write_errors(&[refusal], &mut errors);
                if let Some(key) = self.live.get(at).map(|live| live.key) {
                    self.finish(key, Some(&errors), turn);
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
