//! JSON-RPC 2.0 over WebSocket: calls, the gateway's one filter, and as many subscriptions as the limit allows.
//!
//! Flow: a text becomes a [`Message`] of calls, which are executed one after the other; messages run side by side.
//! Invariants: outside a batch the answer to a subscription goes out before its first event; changing the gateway's filter loses and repeats
//! nothing that both filters allow.

use super::{
    App, rpc,
    socket::{Speaker, Turn},
};
use crate::{
    error::{Code, Refusal},
    event::{Cursor, EventFilter, Offset, Overflow, StartPosition},
    fanout::{Asked, Delivery, EventForm, Key, Mailbox, Run, Subscription},
    protocol::{
        CloseReason,
        jsonrpc::{
            self, Call, GATEWAY_EVENT_PREFIX, GATEWAY_EVENT_SUFFIX, Id, Incoming, Method,
            NOTIFICATION_SUFFIX, RpcError, RpcSession, SubscriptionId, Unreadable, notification_prefix,
            notification_suffix_replaced, write_batch, write_error, write_gateway_event,
            write_gateway_subscription, write_result, write_subscribed,
        },
    },
};
use std::{borrow::Cow, collections::VecDeque, sync::Arc, time::Duration};

const GATEWAY: EventForm = EventForm::new("gateway", write_gateway_event);
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
}

/// A subscription that delivers.
#[derive(Debug)]
struct Live {
    key: Key,
    /// None for the gateway's.
    id: Option<SubscriptionId>,
    subscription: Subscription,
    prefix: Cow<'static, str>,
}

impl Live {
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

/// Where the gateway's one filter stands.
#[derive(Debug)]
struct Gateway {
    /// The latest subscription that was asked for; an older one that gets ready later is dropped.
    wanted: Option<Key>,
    /// Up to where events have gone out when the last one was taken back.
    position: Option<Offset>,
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
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Answered(Result<String, RpcError>),
    Subscribed { key: Key, id: SubscriptionId, subscribed: Result<Subscription, Refusal> },
    GatewaySubscribed { key: Key, filter: Arc<EventFilter>, subscribed: Result<Subscription, Refusal> },
}

impl RpcSpeaker {
    pub(super) fn new(app: &App, mailbox: Arc<Mailbox>) -> Self {
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
            gateway: Gateway { wanted: None, position: None },
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
            let result = match planned.method {
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
            Method::GatewaySubscribe { filter } => {
                self.gateway_subscribe(Some(message), Arc::new(*filter), turn);
                None
            }
            Method::GatewayUnsubscribe => {
                self.gateway_stop();
                self.gateway.position = None;
                self.session.set_gateway(None);
                Some(Ok(self.gateway_filter()))
            }
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
                let app = self.app.clone();
                let job = async move {
                    let result = rpc::answer(&app, method, &name).await;
                    Done { message: Some(message), outcome: Outcome::Answered(result) }
                };
                turn.jobs().start(message, Box::pin(job));
                None
            }
        }
    }

    fn subscribe(&mut self, message: Key, id: SubscriptionId, asked: Asked, turn: &mut Turn<'_, Done>) {
        let (app, mailbox, key) = (self.app.clone(), Arc::clone(&self.mailbox), self.next_key());
        let job = async move {
            let form = Arc::new(EventForm::WHOLE);
            let subscribed = app.fanout.subscribe(&app.principal(), form, asked, (&mailbox, key)).await;
            Done { message: Some(message), outcome: Outcome::Subscribed { key, id, subscribed } }
        };
        turn.jobs().start(message, Box::pin(job));
    }

    fn unsubscribe(&mut self, subscription: &str) -> Result<String, RpcError> {
        let id = self.session.find(subscription).map_err(|refusal| RpcError::from(&refusal))?;
        self.session.close(id);
        self.live.retain(|live| live.id != Some(id));
        Ok("true".to_owned())
    }

    /// The gateway's filter in force, as a result.
    fn gateway_filter(&self) -> String {
        let mut text = String::new();
        write_gateway_subscription(self.session.gateway().map(|filter| &**filter), None, &mut text);
        text
    }

    /// Takes the gateway's subscription back and remembers up to where its events have gone out.
    fn gateway_stop(&mut self) {
        self.gateway.wanted = None;
        if let Some(at) = self.live.iter().position(|live| live.id.is_none()) {
            self.gateway.position = Some(self.live.remove(at).subscription.position());
        }
    }

    fn gateway_subscribe(
        &mut self,
        message: Option<Key>,
        filter: Arc<EventFilter>,
        turn: &mut Turn<'_, Done>,
    ) {
        self.gateway_stop();
        let (app, mailbox, key) = (self.app.clone(), Arc::clone(&self.mailbox), self.next_key());
        self.gateway.wanted = Some(key);
        let position = self.gateway.position.map(|position| app.hub.position(position));
        let start = position.map_or(StartPosition::Live, StartPosition::After);
        let job = async move {
            let asked = Asked { filter: EventFilter::clone(&filter), start, overflow: Overflow::Replay };
            let form = Arc::new(GATEWAY);
            let subscribed = app.fanout.subscribe(&app.principal(), form, asked, (&mailbox, key)).await;
            Done { message, outcome: Outcome::GatewaySubscribed { key, filter, subscribed } }
        };
        turn.jobs().start(message.unwrap_or_default(), Box::pin(job));
    }

    fn gateway_subscribed(
        &mut self,
        key: Key,
        filter: Arc<EventFilter>,
        subscribed: Result<Subscription, Refusal>,
    ) -> Result<String, RpcError> {
        let subscription = subscribed.map_err(|refusal| RpcError::from(&refusal))?;
        let start = subscription.start();
        let mut text = String::new();
        write_gateway_subscription(Some(&filter), Some(&self.app.hub.position(start)), &mut text);
        if self.gateway.wanted == Some(key) {
            self.gateway.position = Some(start);
            self.session.set_gateway(Some(filter));
            self.insert(Live { key, id: None, subscription, prefix: Cow::Borrowed(GATEWAY_EVENT_PREFIX) });
        }
        Ok(text)
    }

    fn subscribed(
        &mut self,
        key: Key,
        id: SubscriptionId,
        subscribed: Result<Subscription, Refusal>,
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
        if let Some(id) = live.id {
            self.session.close(id);
        } else {
            self.session.set_gateway(None);
        }
        let mut error = serde_json::Map::from_iter([("message".to_owned(), (&*refusal.message).into())]);
        error.extend(refusal.members());
        let subscription = live.id.map(|id| id.to_string());
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
        if let Some(filter) = self.session.gateway().cloned() {
            self.gateway_subscribe(None, filter, turn);
        }
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
        let result = match done.outcome {
            Outcome::Answered(result) => result,
            Outcome::Subscribed { key, id, subscribed } => self.subscribed(key, id, subscribed),
            Outcome::GatewaySubscribed { key, filter, subscribed } => {
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
        None
    }

    fn introduction_missing(&mut self, _turn: &mut Turn<'_, Done>) {}
}
