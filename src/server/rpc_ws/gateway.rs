//! The gateway's one filter on a connection: it delivers from the start, and is replaced at runtime.
//!
//! Invariants: changing the filter loses and repeats nothing that both filters allow; of several changes on their way the
//! latest one counts.

use super::{Done, Live, Outcome, RpcSpeaker, Turn};
use crate::{
    error::Refusal,
    event::{EventFilter, Offset, Overflow, StartPosition},
    fanout::{Asked, EventForm, Key},
    protocol::jsonrpc::{GATEWAY_EVENT_PREFIX, RpcError, write_gateway_event, write_gateway_subscription},
    server::following::{Followed, Place},
};
use std::{borrow::Cow, sync::Arc};

const GATEWAY: EventForm = EventForm::new("gateway", write_gateway_event);

/// Where the gateway's one filter stands.
#[derive(Debug, Default)]
pub(super) struct Gateway {
    /// The latest subscription that was asked for; an older one that gets ready later is dropped.
    wanted: Option<Key>,
    /// Up to where events have gone out when the last one was taken back.
    position: Option<Offset>,
}

impl RpcSpeaker {
    /// The client wants nothing of the gateway any more.
    pub(super) fn gateway_unsubscribe(&mut self) -> String {
        self.gateway_stop();
        self.gateway.position = None;
        self.session.set_gateway(None);
        self.gateway_filter()
    }

    /// The gateway's filter in force, as a result.
    pub(super) fn gateway_filter(&self) -> String {
        let mut text = String::new();
        write_gateway_subscription(self.session.gateway().map(|filter| &**filter), None, &mut text);
        text
    }

    /// Takes the gateway's subscription back and remembers up to where its events have gone out.
    pub(super) fn gateway_stop(&mut self) {
        self.gateway.wanted = None;
        if let Some(at) = self.live.iter().position(|live| live.id.is_none()) {
            self.gateway.position = Some(self.live.remove(at).subscription.position());
        }
    }

    pub(super) fn gateway_subscribe(
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
        let ((principal, generation), number) = (self.speaks(turn), self.visit.number);
        let job = async move {
            let asked = Asked { filter: EventFilter::clone(&filter), start, overflow: Overflow::Replay };
            let (form, place) = (Arc::new(GATEWAY), Place { number, mailbox: &mailbox, key });
            let subscribed = app.subscribe(&principal, form, asked, place).await;
            Done { message, generation, outcome: Outcome::GatewaySubscribed { key, filter, subscribed } }
        };
        turn.jobs().start(message.unwrap_or_default(), Box::pin(job));
    }

    pub(super) fn gateway_subscribed(
        &mut self,
        key: Key,
        filter: Arc<EventFilter>,
        subscribed: Result<Followed, Refusal>,
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
}
