//! Subscriptions of every protocol: how they begin, which rooms they are in, and how an administrator sees them.
//!
//! Invariants: each one that begins, and each that the grant refuses, is recorded; a connection is in the rooms of a
//! subscription as long as it lives, as far as the grant in force allows.

use super::{App, course::Course};
use crate::{
    auth::{Principal, audit::Entry},
    error::{Code, Refusal},
    event::EventFilter,
    fanout::{Asked, Form, Key, Mailbox, Subscription, way::give_way},
    graphql::Following,
    hub::Hub,
    platform::presence::{Presence, Stay},
    protocol::jsonrpc::write_filter,
};
use std::{ops::Deref, sync::Arc};

/// Where a subscription delivers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Of the connection.
    pub(super) number: u64,
    pub(super) mailbox: &'a Arc<Mailbox>,
    /// Names the subscription in the mailbox.
    pub(super) key: Key,
}

/// A subscription of a connection.
#[derive(Debug)]
pub(super) struct Followed {
    subscription: Subscription,
    /// As a GraphQL operation; of one that is none nothing is told.
    pub(super) course: Course,
    /// Of the connection.
    number: u64,
    presence: Presence,
    stay: Stay,
}

impl Followed {
    fn new(subscription: Subscription, number: u64, presence: &Presence) -> Self {
        let stay = presence.enter(number, subscription.filter());
        Followed { subscription, course: Course::untold(), number, presence: presence.clone(), stay }
    }

    /// The same as the operation of this course.
    pub(super) fn on(self, course: Course) -> Self {
        Followed { course, ..self }
    }

    /// As [`Subscription::readmit`].
    pub(super) fn readmit(&mut self, principal: &Principal) -> Result<(), Refusal> {
        self.subscription.readmit(principal)?;
        self.stay = self.presence.enter(self.number, self.subscription.filter());
        Ok(())
    }
}

impl Deref for Followed {
    type Target = Subscription;

    fn deref(&self) -> &Subscription {
        &self.subscription
    }
}

impl App {
    /// Begins a subscription. Fails as [`Fanout::subscribe`](crate::fanout::Fanout::subscribe) does.
    ///
    /// Cancel safety: yes.
    pub(super) async fn subscribe(
        &self,
        principal: &Principal,
        form: Arc<dyn Form>,
        asked: Asked,
        Place { number, mailbox, key }: Place<'_>,
    ) -> Result<Followed, Refusal> {
        let subscribed = self.fanout.subscribe(principal, form, asked, (mailbox, key)).await;
        // After an interruption thousands do so at once.
        give_way();
        let subscribed =
            subscribed.map(|subscription| Followed::new(subscription, number, self.directory.presence()));
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
