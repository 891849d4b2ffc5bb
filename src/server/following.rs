//! Subscriptions of every protocol: how they begin, and how an administrator sees them.
//!
//! Invariants: each one that begins, and each that the grant refuses, is recorded.

use super::App;
use crate::{
    auth::{Principal, audit::Entry},
    error::{Code, Refusal},
    event::EventFilter,
    fanout::{Asked, Form, Key, Mailbox, Subscription},
    graphql::Following,
    hub::Hub,
    protocol::jsonrpc::write_filter,
};
use std::sync::Arc;

impl App {
    /// Begins a subscription. Fails as [`Fanout::subscribe`](crate::fanout::Fanout::subscribe) does.
    ///
    /// Cancel safety: yes.
    pub(super) async fn subscribe(
        &self,
        principal: &Principal,
        form: Arc<dyn Form>,
        asked: Asked,
        at: (&Arc<Mailbox>, Key),
    ) -> Result<Subscription, Refusal> {
        let subscribed = self.fanout.subscribe(principal, form, asked, at).await;
        if self.authority.is_open() {
            return subscribed;
        }
        match &subscribed {
            Ok(subscription) => {
                let entry = Entry::subscribe(principal, &written(subscription.asked()));
                principal.record(entry.detail("within", &principal.grant().readable()));
            }
            Err(refusal) if refusal.code == Code::Forbidden => {
                principal.record(Entry::subscribe_refused(principal, refusal));
            }
            Err(_) => {}
        }
        subscribed
    }
}

fn written(filter: &EventFilter) -> String {
    let mut text = String::new();
    write_filter(filter, &mut text);
    text
}

/// What a subscription follows and how far it is.
pub(super) fn following(id: &str, subscription: &Subscription, hub: &Hub) -> Following {
    let position = subscription.position();
    Following {
        id: id.to_owned(),
        form: subscription.form().to_owned(),
        filter: written(subscription.asked()),
        lag: hub.bounds().head.get().saturating_sub(position.get()),
        position: hub.position(position).to_string(),
        waiting_bytes: subscription.waiting_bytes(),
    }
}
