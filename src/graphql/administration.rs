//! What administrators see and end: the port to whoever knows the connections, which the edge implements.

use crate::{
    auth::{Authority, Principal},
    error::Refusal,
    platform::presence::ConnectionId,
};
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use std::{fmt, net::SocketAddr, sync::Arc};

/// A connection, as an administrator sees it.
#[derive(Clone, Debug)]
pub struct Connected {
    /// Its number on this server; never given twice.
    pub id: u64,
    /// What others call it.
    pub name: ConnectionId,
    /// Who it is, once it has said so.
    pub principal: Option<Principal>,
    /// Since when.
    pub since: DateTime<Utc>,
    /// The protocol that it speaks.
    pub protocol: &'static str,
    /// The peer's address.
    pub address: Option<SocketAddr>,
}

/// A subscription of a connection, as an administrator sees it.
#[derive(Clone, Debug)]
pub struct Following {
    /// The client's name for it on its connection.
    pub id: String,
    /// In which form events are shown: a canonical GraphQL document, or the name of another form.
    pub form: String,
    /// The filter, as JSON.
    pub filter: String,
    /// Everything that matches up to this cursor has been given to the connection.
    pub position: String,
    /// So many events of the log, matching or not, come after it.
    pub lag: u64,
    /// So many bytes wait for the connection.
    pub waiting_bytes: usize,
}

/// Who is connected, and how to end it.
pub trait Connections: fmt::Debug + Send + Sync {
    /// Up to `count` connections in the order of their numbers, after the one of that number.
    fn page(&self, count: usize, after: Option<u64>) -> Vec<Connected>;

    /// The connection of this number.
    fn find(&self, connection: u64) -> Option<Connected>;

    /// How many there are.
    fn count(&self) -> usize;

    /// What a connection follows. Fails with `NOT_FOUND`, or `UNAVAILABLE` when it does not answer in time.
    fn subscriptions(&self, connection: u64) -> BoxFuture<'_, Result<Vec<Following>, Refusal>>;

    /// Ends a connection; says whether there was one.
    fn disconnect(&self, connection: u64) -> bool;

    /// Ends a subscription; says whether there was one. Fails as [`Connections::subscriptions`] does.
    fn unsubscribe<'a>(
        &'a self,
        connection: u64,
        subscription: &'a str,
    ) -> BoxFuture<'a, Result<bool, Refusal>>;
}

/// What the fields for administrators work on. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Administration {
    /// Who is accepted.
    pub authority: Authority,
    /// Who is connected.
    pub connections: Arc<dyn Connections>,
}
