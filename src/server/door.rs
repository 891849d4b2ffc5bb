//! Who comes in, and from which address: a bound on connections in all and for each address.
//!
//! Flow: the accept loop asks [`Door::admit`]; what it gets is on every request of the connection. What is long-lived asks
//! [`Admission::seat`] as well, which counts those who come through a proxy.
//! Invariants: a header says where a request comes from only when a trusted proxy has written it; nothing here waits.
//! Not here: what a caller may do (`auth`), how a refusal is told (`turned_away`, `problem`).

use super::Options;
use crate::{
    auth::{
        Refusals,
        limits::{Account, Accounts, Key, RETRY_AFTER, Seat, jittered},
    },
    error::{Code, Refusal},
};
use axum::http::HeaderMap;
use ipnet::IpNet;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// When all connections are taken it is worth trying again after so long: clients leave, or another server is found.
const FULL_PAUSE: Duration = Duration::from_secs(5);
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The bounds on connections. Cloning shares them.
#[derive(Clone, Debug)]
pub(super) struct Door {
    connections: Arc<Semaphore>,
    connections_max: usize,
    subscriptions_max: usize,
    accounts: Accounts,
    trusted_proxies: Arc<[IpNet]>,
}

/// A connection's share of [`Options::connections_max`]; an upgraded socket keeps it until it is closed. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Admission(Arc<Share>);

#[derive(Debug)]
struct Share {
    door: Door,
    socket: SocketAddr,
    peer: IpAddr,
    /// Of the peer itself, unless it is exempt.
    account: Option<Arc<Account>>,
    subscriptions: Arc<Semaphore>,
    refusals: Arc<Refusals>,
    _connection: OwnedSemaphorePermit,
    _seat: Option<Seat>,
}

impl Door {
    pub(super) fn new(options: &Options, accounts: Accounts) -> Self {
        Door {
            connections: Arc::new(Semaphore::new(options.connections_max)),
            connections_max: options.connections_max,
            subscriptions_max: options.subscriptions_max,
            accounts,
            trusted_proxies: options.trusted_proxies.clone().into(),
        }
    }

    /// Lets a connection in. Fails with `UNAVAILABLE` when all are taken, with `TOO_MANY` when its address has its
    /// share, with `RATE_LIMITED` when its address knocks too often.
    pub(super) fn admit(&self, socket: SocketAddr) -> Result<Admission, Refusal> {
        let peer = socket.ip().to_canonical();
        let connection = Arc::clone(&self.connections).try_acquire_owned().map_err(|_| {
            let most = format!("{} connections (setting connections_max)", self.connections_max);
            Refusal::new(Code::Unavailable, "the server has as many connections as it may have")
                .with("allowed", most)
                .with(RETRY_AFTER, jittered(FULL_PAUSE).as_millis().to_string())
        })?;
        // A proxy's own connections are not its clients'.
        let account = (!self.is_trusted(peer)).then(|| self.account(peer)).flatten();
        // A handshake costs about as much as an operation.
        account.as_ref().map(|account| account.operation(1)).transpose()?;
        let seat = account.as_ref().map(Account::connect).transpose()?;
        let subscriptions = Arc::new(Semaphore::new(self.subscriptions_max));
        let door = self.clone();
        let refusals = Arc::default();
        let share = Share {
            door,
            socket,
            peer,
            account,
            subscriptions,
            refusals,
            _connection: connection,
            _seat: seat,
        };
        Ok(Admission(Arc::new(share)))
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }

    /// The account of an address. Loopback has none: whoever is on this machine is its operator, or a proxy of which we have
    /// not been told, behind which everybody would share one account.
    fn account(&self, address: IpAddr) -> Option<Arc<Account>> {
        (!address.is_loopback()).then(|| self.accounts.of(Key::address(address)))
    }

    /// The right-most address that no trusted proxy has: what stands left of it was written by whoever that is.
    fn forwarded(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lines = headers.get_all(FORWARDED_FOR).iter();
        let lines: Vec<&str> = lines.map(|line| line.to_str().unwrap_or_default()).collect();
        let mut nearest = peer;
        for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            // What cannot be read was written by the one who sent it.
            let Some(address) = read_hop(hop) else { break };
            nearest = address;
            if !self.is_trusted(address) {
                break;
            }
        }
        nearest
    }
}

impl Admission {
    /// The other end of the connection.
    pub(super) fn peer(&self) -> SocketAddr {
        self.0.socket
    }

    /// The credentials that were refused on the connection.
    pub(super) fn refusals(&self) -> &Arc<Refusals> {
        &self.0.refusals
    }

    /// One of the connection's subscriptions, while a streaming response lives; none when all are taken.
    pub(super) fn subscription(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.subscriptions).try_acquire_owned().ok()
    }

    /// The address that a request comes from: the peer's, or what a trusted proxy says.
    pub(super) fn address(&self, headers: &HeaderMap) -> IpAddr {
        match self.is_proxied() {
            true => self.0.door.forwarded(self.0.peer, headers),
            false => self.0.peer,
        }
    }

    /// The account of whoever sent a request without saying who it is; none for those on this machine.
    pub(super) fn account(&self, headers: &HeaderMap) -> Option<Arc<Account>> {
        match self.is_proxied() {
            true => self.0.door.account(self.address(headers)),
            false => self.0.account.clone(),
        }
    }

    /// Counts what is long-lived as a connection of the address it comes from, if a proxy's connection carries it. Fails with
    /// `TOO_MANY`.
    pub(super) fn seat(&self, headers: &HeaderMap) -> Result<Option<Seat>, Refusal> {
        match self.is_proxied() {
            true => self.account(headers).as_ref().map(Account::connect).transpose(),
            false => Ok(None),
        }
    }

    fn is_proxied(&self) -> bool {
        self.0.door.is_trusted(self.0.peer)
    }
}

/// An address as proxies write it, some with a port.
fn read_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
