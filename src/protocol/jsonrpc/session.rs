//! What a JSON-RPC connection is subscribed to: one gateway filter, and any number of subscriptions of its own.
//!
//! Invariants: a subscription's id is never used twice on its connection, so a late event of a closed one is recognised.
//! Ids are the same small numbers on every connection: equal subscriptions can share whole frames.

use super::Options;
use crate::{
    error::{Code, Refusal},
    event::EventFilter,
};
use std::{fmt, sync::Arc};

/// A subscription of a connection; on the wire a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(u64);

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The state of one connection.
#[derive(Debug)]
pub struct RpcSession {
    gateway: Option<Arc<EventFilter>>,
    subscriptions_max: usize,
    ids_given: u64,
    /// In rising order.
    open: Vec<SubscriptionId>,
}

impl RpcSession {
    /// The session of a new WebSocket: it receives gateway events from now on.
    pub fn new(options: &Options) -> Self {
        RpcSession {
            gateway: Some(Arc::clone(&options.gateway_filter)),
            subscriptions_max: options.subscriptions_max,
            ids_given: 0,
            open: Vec::new(),
        }
    }

    /// Which gateway events it receives; none after `gateway.unsubscribe`.
    pub fn gateway(&self) -> Option<&Arc<EventFilter>> {
        self.gateway.as_ref()
    }

    /// Replaces the gateway filter; none ends the delivery.
    pub fn set_gateway(&mut self, filter: Option<Arc<EventFilter>>) {
        self.gateway = filter;
    }

    /// Opens a subscription. Fails with `TOO_MANY`.
    pub fn open(&mut self) -> Result<SubscriptionId, Refusal> {
        let limit = self.subscriptions_max;
        if self.open.len() >= limit {
            let message = format!("{limit} subscriptions are open on this connection already");
            return Err(Refusal::new(Code::TooMany, message).with("allowed", limit.to_string()));
        }
        self.ids_given += 1;
        let id = SubscriptionId(self.ids_given);
        self.open.push(id);
        Ok(id)
    }

    /// The open subscription that a client means. Fails with `NOT_FOUND`.
    pub fn find(&self, text: &str) -> Result<SubscriptionId, Refusal> {
        // Compared as text, so that "01" and "+1" name nothing.
        self.open.iter().copied().find(|id| id.to_string() == text).ok_or_else(|| {
            let given = crate::error::excerpt(text);
            Refusal::new(Code::NotFound, format!("no subscription {given:?} is open on this connection"))
                .with("field", "subscription")
                .with("given", given)
        })
    }

    /// A subscription is over, from either side. False: it was over already, and nothing of it may go out.
    pub fn close(&mut self, id: SubscriptionId) -> bool {
        match self.open.binary_search(&id) {
            Ok(at) => {
                self.open.remove(at);
                true
            }
            Err(_) => false,
        }
    }

    /// How many subscriptions are open.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(subscriptions_max: usize) -> RpcSession {
        RpcSession::new(&Options { subscriptions_max, ..Options::default() })
    }

    #[test]
    fn a_connection_receives_gateway_events_from_the_start_until_it_says_otherwise() {
        let mut session = session(1);
        assert!(session.gateway().is_some());
        session.set_gateway(None);
        assert!(session.gateway().is_none());
        session.set_gateway(Some(Arc::new(EventFilter::default())));
        assert_eq!(session.gateway().map(|filter| &**filter), Some(&EventFilter::default()));
    }

    #[test]
    fn an_id_is_never_given_twice_and_a_closed_one_stays_closed() {
        let mut session = session(2);
        let (first, second) = (session.open().unwrap(), session.open().unwrap());
        assert_eq!(session.open().map_err(|refusal| refusal.code), Err(Code::TooMany));
        assert!(session.close(first) && !session.close(first));
        let third = session.open().unwrap();
        assert!(third != first && third != second);
        assert_eq!(session.find(&second.to_string()), Ok(second));
        for unknown in ["1", "03", "+3", "", "x"] {
            assert_eq!(
                session.find(unknown).map_err(|refusal| refusal.code),
                Err(Code::NotFound),
                "{unknown}"
            );
        }
        assert_eq!(session.open_count(), 2);
    }
}
