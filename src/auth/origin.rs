//! Where somebody speaks from: whom the use is charged to, where the deeds are recorded, and in which request.
//!
//! Flow: the edge makes an [`Origin`] for a request or a connection and gives it to the principal; whoever works for the principal
//! charges and records through it, so that each line of the audit has the peer and the connection.
//! Invariants: a principal without an origin, such as the server itself, is neither charged nor recorded.
//! Not here: how much is allowed (`limits`), what a line holds (`audit`).

use super::{
    Audit, Credential, Principal,
    audit::Entry,
    limits::{Account, Seat},
};
use crate::error::{Code, Refusal};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// So many operations the trial of a credential that is not good costs its address.
const TRIAL_OPERATIONS: usize = 10;
/// So many credentials may be refused on a connection, or be missing, before it is told late. A client has one or two; a proxy's
/// connection may carry those of many clients, of which only the refused ones wait.
const REFUSALS_AT_ONCE: u32 = 10;
/// How late: one after the other that is ten guesses a second. Those on their way together are bounded by the protocols.
const REFUSAL_PAUSE: Duration = Duration::from_millis(100);

/// How many credentials were refused on one connection.
#[derive(Debug, Default)]
pub struct Refusals(AtomicU32);

/// Where somebody speaks from.
#[derive(Clone, Debug)]
pub struct Origin {
    audit: Audit,
    /// Of the address.
    account: Option<Arc<Account>>,
    peer: Option<SocketAddr>,
    /// What a trusted proxy says, where it is another address than the peer's.
    forwarded: Option<IpAddr>,
    connection: Option<u64>,
    refusals: Arc<Refusals>,
    /// The request that is spoken in, by the id that came with it.
    correlation_id: Option<Arc<str>>,
}

impl Origin {
    /// From this peer, whose use is charged to this account, if any, as long as nothing better is known.
    pub fn new(audit: Audit, peer: Option<SocketAddr>, account: Option<Arc<Account>>) -> Self {
        Origin {
            audit,
            account,
            peer,
            forwarded: None,
            connection: None,
            refusals: Arc::default(),
            correlation_id: None,
        }
    }

    /// The same on a connection with these refusals.
    #[must_use]
    pub fn refused_on(mut self, refusals: &Arc<Refusals>) -> Self {
        self.refusals = Arc::clone(refusals);
        self
    }

    /// The same for a client of a trusted proxy.
    #[must_use]
    pub fn forwarded(mut self, address: IpAddr) -> Self {
        self.forwarded = Some(address);
        self
    }

    /// The same on the connection of this number.
    #[must_use]
    pub fn on_connection(mut self, number: u64) -> Self {
        self.connection = Some(number);
        self
    }

    /// The same in the request of this id.
    #[must_use]
    pub fn in_request(mut self, correlation_id: Arc<str>) -> Self {
        self.correlation_id = Some(correlation_id);
        self
    }

    /// The id that the request came with.
    pub fn correlation_id(&self) -> Option<&Arc<str>> {
        self.correlation_id.as_ref()
    }

    /// The account of the address; none where the address is not limited.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.account.as_ref()
    }

    /// Records what happened, with the peer and the connection.
    pub fn record(&self, entry: Entry) {
        self.audit.record(self.placed(entry));
    }

    /// Charges the address for the trial of a credential, before it is looked at; what it was worth is told to the [`Trial`].
    /// Fails with `RATE_LIMITED`.
    pub fn trial(&self, has_credential: bool) -> Result<Trial<'_>, Refusal> {
        let cost = if has_credential { TRIAL_OPERATIONS } else { 1 };
        if let Some(account) = &self.account {
            account
                .operation(cost)
                .inspect_err(|refusal| self.record(Entry::limit(None, "operations", refusal)))?;
        }
        Ok(Trial { origin: self, cost })
    }

    /// A credential was refused; how long whoever has sent it waits to be told, if at all.
    pub fn refusal_pause(&self) -> Option<Duration> {
        let before = self.refusals.0.fetch_add(1, Ordering::Relaxed);
        (before >= REFUSALS_AT_ONCE).then_some(REFUSAL_PAUSE)
    }

    fn placed(&self, entry: Entry) -> Entry {
        let entry = match self.peer {
            Some(peer) => entry.peer(peer),
            None => entry,
        };
        let entry = match self.forwarded {
            Some(address) => entry.detail("address", &address.to_string()),
            None => entry,
        };
        match self.connection {
            Some(number) => entry.connection(&number.to_string()),
            None => entry,
        }
    }
}

/// A credential that is being looked at, paid in advance.
#[derive(Debug)]
#[must_use = "what was paid for a good credential is given back"]
pub struct Trial<'a> {
    origin: &'a Origin,
    cost: usize,
}

impl Trial<'_> {
    /// It is known what it was worth: only what was refused stays paid, and is recorded.
    pub fn ends(self, known: Result<(), &Refusal>) {
        let Trial { origin, cost } = self;
        if let Err(refusal) = known {
            origin.record(Entry::refused(refusal));
        }
        let is_guess = known.is_err_and(|refusal| refusal.code == Code::Unauthenticated);
        if let Some(account) = origin.account.as_ref().filter(|_| !is_guess) {
            account.operation_back(cost);
        }
    }
}

impl Principal {
    /// Where it speaks from.
    pub fn origin(&self) -> Option<&Arc<Origin>> {
        self.parts().origin.as_ref()
    }

    /// The same in the request of this id.
    #[must_use]
    pub fn in_request(self, correlation_id: Arc<str>) -> Self {
        let nowhere = || Origin::new(Audit::off(), None, None);
        let origin = self.origin().map_or_else(nowhere, |origin| Origin::clone(origin));
        let account = self.parts().account.clone();
        self.at(Arc::new(origin.in_request(correlation_id)), account)
    }

    /// The id that came with the request in which it speaks.
    pub fn correlation_id(&self) -> Option<&Arc<str>> {
        self.origin()?.correlation_id()
    }

    /// Records what it did.
    pub fn record(&self, entry: Entry) {
        if let Some(origin) = self.origin() {
            origin.record(entry);
        }
    }

    /// Records what it decided, and returns once that is kept: only then may it be done. Fails with `UNAVAILABLE`.
    ///
    /// Cancel safety: as [`Audit::commit`].
    pub async fn commit(&self, entry: Entry) -> Result<(), Refusal> {
        match self.origin() {
            Some(origin) => origin.audit.commit(origin.placed(entry)).await,
            None => Ok(()),
        }
    }

    /// Charges one operation. Fails with `RATE_LIMITED`.
    pub fn charge_operation(&self) -> Result<(), Refusal> {
        self.charge("operations", |account| account.operation(1))
    }

    /// Charges so many events with so many bytes in all. Fails with `RATE_LIMITED`.
    pub fn charge_publish(&self, events: usize, bytes: usize) -> Result<(), Refusal> {
        self.charge("publishes", |account| account.publish(events, bytes))
    }

    /// One more connection of it; none for those without a credential, whose address is counted where they come in. Fails with
    /// `TOO_MANY`.
    pub fn take_seat(&self) -> Result<Option<Seat>, Refusal> {
        let account = self.parts().account.as_ref().filter(|_| *self.credential() != Credential::None);
        account
            .map(Account::connect)
            .transpose()
            .inspect_err(|refusal| self.record(Entry::limit(Some(self), "connections", refusal)))
    }

    fn charge(
        &self,
        limit: &'static str,
        charge: impl FnOnce(&Account) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let Some(account) = &self.parts().account else { return Ok(()) };
        charge(account).inspect_err(|refusal| self.record(Entry::limit(Some(self), limit, refusal)))
    }
}
