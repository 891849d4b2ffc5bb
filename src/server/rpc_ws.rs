//! JSON-RPC 2.0 over WebSocket: calls, the gateway's one filter, and as many subscriptions as the limit allows.
//!
//! Flow: a text becomes a [`Message`] of calls, which are executed one after the other; messages run side by side.
//! Invariants: outside a batch the answer to a subscription goes out before its first event; before it is known who the client
//! is, nothing is delivered and nothing is done but to find that out; what began under an older grant is admitted anew.

mod gateway;
mod identity;

use super::{
    App,
    credential::Visit,
    directory::unsubscribed,
    following::{Followed, Place, following},
    rpc,
    socket::{Speaker, Turn},
};
use crate::{
    auth::Principal,
    error::{Code, Refusal},
    event::{Cursor, EventFilter},
    fanout::{Asked, Delivery, EventForm, Key, Mailbox, Run},
    graphql::Following,
    protocol::{
        CloseReason,
        jsonrpc::{
            self, Call, GATEWAY_EVENT_SUFFIX, Id, Incoming, Method, NOTIFICATION_SUFFIX, RpcError,
            RpcSession, SubscriptionId, Unreadable, notification_prefix, notification_suffix_replaced,
            write_batch, write_error, write_result, write_subscribed,
        },
    },
};
use gateway::Gateway;
use std::{borrow::Cow, collections::VecDeque, sync::Arc, time::Duration};

/// So many messages may run at once on one connection.
const MESSAGES_MAX: usize = 64;

/// A connection that speaks JSON-RPC.
#[derive(Debug)]
pub(super) struct RpcSpeaker {
    app: App,
    session: RpcSession,
    options: jsonrpc::Options,
    mailbox: Arc<Mailbox>,
    /// Rising by key.
    live: Vec<Live>,
    messages: Vec<Message>,
    keys_given: u64,
    gateway: Gateway,
    visit: Visit,
    /// Is it known who the client is?
    is_known: bool,
}

/// A subscription that delivers.
#[derive(Debug)]
struct Live {
    key: Key,
    /// None for the gateway's.
    id: Option<SubscriptionId>,
    subscription: Followed,
    prefix: Cow<'static, str>,
}

impl Live {
    /// What administrators call it.
    fn name(&self) -> String {
        self.id.map_or_else(|| "gateway".to_owned(), |id| id.to_string())
    }

    /// The shared texts, each with the subscription's own bytes around it.
    fn send(&self, run: &Run, turn: &mut Turn<'_, Done>) {
        let suffix = if self.id.is_some() { NOTIFICATION_SUFFIX } else { GATEWAY_EVENT_SUFFIX };
        let mut payloads = run.payloads().iter();
        if run.replaced() > 0
            && let Some(first) = payloads.next()
        {
            let replaced = notification_suffix_replaced(run.replaced());
            turn.send(&[&self.prefix, first.text(), &replaced]);
        }
        payloads.for_each(|payload| turn.send(&[&self.prefix, payload.text(), suffix]));
    }
}

/// What a peer sent at once, and how far it is.
#[derive(Debug)]
struct Message {
    key: Key,
    waiting: VecDeque<Planned>,
    /// The call that runs.
    running: Option<Id>,
    answers: Vec<String>,
    is_batch: bool,
}

#[derive(Debug)]
struct Planned {
    id: Option<Id>,
    name: String,
    method: Result<Method, RpcError>,
}

/// A call that ended.
#[derive(Debug)]
pub(super) struct Done {
    message: Option<Key>,
    /// Under which grant and view it began.
    generation: u32,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Answered(Result<String, RpcError>),
    Authenticated(Result<Principal, Refusal>),
    Subscribed { key: Key, id: SubscriptionId, subscribed: Result<Followed, Refusal> },
    GatewaySubscribed { key: Key, filter: Arc<EventFilter>, subscribed: Result<Followed, Refusal> },
}

impl RpcSpeaker {
    pub(super) fn new(app: &App, mailbox: Arc<Mailbox>, visit: Visit) -> Self {
        let options = jsonrpc::Options {
            subscriptions_max: app.options.subscriptions_max,
            ..jsonrpc::Options::default()
        };
        RpcSpeaker {
            app: app.clone(),
            session: RpcSession::new(&options),
            options,
            mailbox,
            live: Vec::new(),
            messages: Vec::new(),
            keys_given: 0,
            gateway: Gateway::default(),
            visit,
            is_known: false,
        }
    }

    fn next_key(&mut self) -> Key {
        self.keys_given += 1;
        self.keys_given
    }

    fn at(&self, key: Key) -> Result<usize, usize> {
        self.live.binary_search_by_key(&key, |live| live.key)
    }

    fn insert(&mut self, live: Live) {
        if let Err(at) = self.at(live.key) {
            self.live.insert(at, live);
        }
    }

    /// Executes what waits of a message until a call has to be waited for, or all are answered.
    fn go_on(&mut self, message: Key, turn: &mut Turn<'_, Done>) {
        while let Some(at) = self.messages.iter().position(|own| own.key == message) {
            let Some(planned) = self.messages.get_mut(at).and_then(|own| own.waiting.pop_front()) else {
                let finished = self.messages.swap_remove(at);
                finish(&finished, turn);
                return;
            };
            let charged = turn.caller().principal().map_or(Ok(()), Principal::charge_operation);
            let method = charged.map_err(|refusal| RpcError::from(&refusal)).and(planned.method);
            let result = match method {
                Err(error) => Err(error),
                Ok(method) => match self.begin(message, method, planned.name, turn) {
                    Some(result) => result,
                    None => {
                        if let Some(own) = self.messages.get_mut(at) {
                            own.running = planned.id;
                        }
                        return;
                    }
                },
            };
            self.answer(at, planned.id.as_ref(), &result);
        }
    }

    /// Executes a call, or begins it as a job; `None` while it runs.
    fn begin(
        &mut self,
        message: Key,
        method: Method,
        name: String,
        turn: &mut Turn<'_, Done>,
    ) -> Option<Result<String, RpcError>> {
        match method {
            Method::GatewayAuthenticate { token } => {
                self.ask(message, token, turn);
                None
            }
            _ if !self.is_known => Some(Err(identity::unknown())),
            Method::GatewaySubscribe { filter } => {
                self.gateway_subscribe(Some(message), Arc::new(*filter), turn);
                None
            }
            Method::GatewayUnsubscribe => Some(Ok(self.gateway_unsubscribe())),
            Method::GatewaySubscription => Some(Ok(self.gateway_filter())),
            Method::EventsSubscribe { filter, start, overflow } => match self.session.open() {
                Ok(id) => {
                    self.subscribe(message, id, Asked { filter: *filter, start, overflow }, turn);
                    None
                }
                Err(refusal) => Some(Err(RpcError::from(&refusal))),
            },
            Method::EventsUnsubscribe { subscription } => Some(self.unsubscribe(&subscription)),
            method @ (Method::GatewayPublish { .. }
            | Method::EventsPublish { .. }
            | Method::EventsPublishAll { .. }
            | Method::EventsHistory { .. }
            | Method::Discover) => {
                let (app, (principal, generation)) = (self.app.clone(), self.speaks(turn));
                let job = async move {
                    let result = rpc::answer(&app, &principal, method, &name).await;
                    Done { message: Some(message), generation, outcome: Outcome::Answered(result) }
                };
                turn.jobs().start(message, Box::pin(job));
                None
            }
        }
    }

    fn subscribe(&mut self, message: Key, id: SubscriptionId, asked: Asked, turn: &mut Turn<'_, Done>) {
        let (app, mailbox, key) = (self.app.clone(), Arc::clone(&self.mailbox), self.next_key());
        let ((principal, generation), number) = (self.speaks(turn), self.visit.number);
        let job = async move {
            let (form, place) = (Arc::new(EventForm::WHOLE), Place { number, mailbox: &mailbox, key });
            let subscribed = app.subscribe(&principal, form, asked, place).await;
            Done { message: Some(message), generation, outcome: Outcome::Subscribed { key, id, subscribed } }
        };
        turn.jobs().start(message, Box::pin(job));
    }

    fn unsubscribe(&mut self, subscription: &str) -> Result<String, RpcError> {
        let id = self.session.find(subscription).map_err(|refusal| RpcError::from(&refusal))?;
        self.session.close(id);
        self.live.retain(|live| live.id != Some(id));
        Ok("true".to_owned())
    }

    fn subscribed(
        &mut self,
        key: Key,
        id: SubscriptionId,
        subscribed: Result<Followed, Refusal>,
    ) -> Result<String, RpcError> {
        let subscription = subscribed.map_err(|refusal| {
            self.session.close(id);
            RpcError::from(&refusal)
        })?;
        let mut text = String::new();
        write_subscribed(id, &self.app.hub.position(subscription.start()), &mut text);
        self.insert(Live { key, id: Some(id), subscription, prefix: notification_prefix(id).into() });
        Ok(text)
    }

    fn answer(&mut self, at: usize, id: Option<&Id>, result: &Result<String, RpcError>) {
        // A call without an id is a notification: nobody waits for an answer.
        let (Some(message), Some(id)) = (self.messages.get_mut(at), id) else { return };
        let mut text = String::new();
        match result {
            Ok(result) => write_result(id, result, &mut text),
            Err(error) => write_error(id, error, &mut text),
        }
        message.answers.push(text);
    }

    fn plan(call: Result<Call<'_>, Unreadable>) -> Planned {
        match call {
            Ok(call) => {
                let method = Method::parse(&call);
                Planned { id: call.id, name: call.method, method }
            }
            Err(Unreadable { id, error }) => {
                Planned { id: Some(id), name: String::new(), method: Err(error) }
            }
        }
    }

    /// The log could not go on for a subscription: its last words.
    fn ended(&mut self, at: usize, refusal: &Refusal, turn: &mut Turn<'_, Done>) {
        let live = self.live.remove(at);
        self.say_ended(live.id, refusal, turn);
    }

    /// Tells that a subscription, or the gateway's for none, is over.
    fn say_ended(&mut self, id: Option<SubscriptionId>, refusal: &Refusal, turn: &mut Turn<'_, Done>) {
        if let Some(id) = id {
            self.session.close(id);
        } else {
            self.session.set_gateway(None);
        }
        let mut error = serde_json::Map::from_iter([("message".to_owned(), (&*refusal.message).into())]);
        error.extend(refusal.members());
        let subscription = id.map(|id| id.to_string());
        let params = serde_json::json!({ "subscription": subscription, "error": error });
        let notification =
            serde_json::json!({ "jsonrpc": "2.0", "method": "events.ended", "params": params });
        turn.send(&[&notification.to_string()]);
    }
}

fn finish(message: &Message, turn: &mut Turn<'_, Done>) {
    let mut text = String::new();
    match message.is_batch {
        true => {
            if write_batch(&message.answers, &mut text) {
                turn.send(&[&text]);
            }
        }
        false => message.answers.iter().for_each(|answer| turn.send(&[answer])),
    }
}

impl Speaker for RpcSpeaker {
    type Done = Done;

    fn opened(&mut self, turn: &mut Turn<'_, Done>) {
        self.introduce(turn);
    }

    fn received(&mut self, text: &str, turn: &mut Turn<'_, Done>) {
        let (is_batch, calls) = match jsonrpc::parse(text, &self.options) {
            Incoming::Single(call) => (false, vec![Self::plan(call)]),
            Incoming::Batch(calls) => (true, calls.into_iter().map(Self::plan).collect()),
        };
        if self.messages.len() >= MESSAGES_MAX {
            let refusal = Refusal::new(
                Code::TooMany,
                format!("{MESSAGES_MAX} messages run on this connection already"),
            );
            let mut text = String::new();
            let id = calls.into_iter().next().and_then(|call| call.id).unwrap_or_else(Id::null);
            write_error(&id, &RpcError::from(&refusal), &mut text);
            turn.send_first(&text);
            return;
        }
        let key = self.next_key();
        self.messages.push(Message {
            key,
            waiting: calls.into(),
            running: None,
            answers: Vec::new(),
            is_batch,
        });
        self.go_on(key, turn);
    }

    fn received_binary(&mut self, turn: &mut Turn<'_, Done>) {
        turn.close(self.closing(&CloseReason::Binary));
    }

    fn done(&mut self, done: Done, turn: &mut Turn<'_, Done>) {
        turn.jobs().finished(done.message.unwrap_or_default());
        let generation = done.generation;
        let result = match done.outcome {
            Outcome::Answered(result) => result,
            Outcome::Authenticated(principal) => self.authenticated(principal, turn),
            Outcome::Subscribed { key, id, subscribed } => {
                let subscribed = readmitted(subscribed, generation, turn);
                self.subscribed(key, id, subscribed)
            }
            Outcome::GatewaySubscribed { key, filter, subscribed } => {
                let subscribed = readmitted(subscribed, generation, turn);
                // Nobody has called for the first one, so nobody gets its answer.
                if let (None, Err(refusal)) = (done.message, &subscribed) {
                    self.say_ended(None, refusal, turn);
                }
                self.gateway_subscribed(key, filter, subscribed)
            }
        };
        let Some(message) = done.message else { return };
        if let Some(at) = self.messages.iter().position(|own| own.key == message) {
            let id = self.messages.get_mut(at).and_then(|own| own.running.take());
            self.answer(at, id.as_ref(), &result);
            self.go_on(message, turn);
        }
    }

    fn delivered(&mut self, key: Key, delivery: Delivery, turn: &mut Turn<'_, Done>) {
        let Ok(at) = self.at(key) else { return };
        let Some(live) = self.live.get(at) else { return };
        match delivery {
            Delivery::Run(run) => live.send(&run, turn),
            Delivery::Lagged => live.subscription.catch_up(),
            Delivery::Ended(refusal) => self.ended(at, &refusal, turn),
        }
    }

    fn ping(&mut self, turn: &mut Turn<'_, Done>) {
        turn.send_ping();
    }

    fn position(&self) -> Option<Cursor> {
        let least = self.live.iter().map(|live| live.subscription.position()).min();
        least.map(|position| self.app.hub.position(position))
    }

    fn introduction_due(&self) -> Option<Duration> {
        (!self.is_known).then_some(self.app.options.connection_init_timeout)
    }

    fn introduction_missing(&mut self, turn: &mut Turn<'_, Done>) {
        turn.close(self.closing(&CloseReason::InitTimeout));
    }

    fn readmit(&mut self, turn: &mut Turn<'_, Done>) {
        let Some(principal) = turn.caller().principal().cloned() else { return };
        let readmitted = self.live.iter_mut().map(|live| (live.key, live.subscription.readmit(&principal)));
        let refused: Vec<_> = readmitted.filter_map(|(key, result)| Some((key, result.err()?))).collect();
        for (key, refusal) in refused {
            if let Ok(at) = self.at(key) {
                self.ended(at, &refusal, turn);
            }
        }
    }

    fn expelled(&mut self, refusal: &Refusal, turn: &mut Turn<'_, Done>) {
        while let Some(last) = self.live.last() {
            let refusal = refusal.clone().with("cursor", last.subscription.cursor().to_string());
            self.ended(self.live.len() - 1, &refusal, turn);
        }
        turn.close(self.closing(&CloseReason::Refused(refusal)));
    }

    fn following(&self) -> Vec<Following> {
        self.live.iter().map(|live| following(&live.name(), &live.subscription, &self.app.hub)).collect()
    }

    fn unsubscribe(&mut self, id: &str, turn: &mut Turn<'_, Done>) -> bool {
        let Some(at) = self.live.iter().position(|live| live.name() == id) else { return false };
        let position = self.live.get(at).map(|live| live.subscription.cursor().to_string());
        self.ended(at, &unsubscribed().with("cursor", position.unwrap_or_default()), turn);
        true
    }
}

/// A subscription that began under an older grant or view, under the one in force.
fn readmitted(
    subscribed: Result<Followed, Refusal>,
    generation: u32,
    turn: &mut Turn<'_, Done>,
) -> Result<Followed, Refusal> {
    let mut subscription = subscribed?;
    if generation != turn.caller().generation()
        && let Some(principal) = turn.caller().principal()
    {
        subscription.readmit(principal)?;
    }
    Ok(subscription)
}
