//! How much one caller may use: connections, operations, publishes and bytes, each on an account of its own.
//!
//! Flow: the edge opens the [`Account`] of an address or of a principal and asks it before it does what was asked for.
//! Invariants: all that is open is counted exactly, and is given back when its [`Seat`] is dropped; accounts of nobody vanish;
//! the table has a bound, beyond which new callers share one account; nothing here waits.
//! Not here: which address a request comes from (`server`), what one request may be (`server`, `graphql`).

mod bucket;

use crate::error::{Code, Refusal};
use bucket::Bucket;
use prometheus_client::metrics::counter::Counter;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Most accounts at a time, in about 40 MiB. Only callers that have something open or did something within the last two
/// seconds have one.
const ACCOUNTS_MAX: usize = 1 << 18;
/// Idle accounts are looked for when there are twice as many as were left the last time, and no fewer than this.
const SWEEP_AT_LEAST: usize = 1024;
/// A full table is looked through this often at most, or every new caller would cost a look at all others.
const SWEEP_PAUSE_NANOS: u64 = 1_000_000_000;
/// The detail of a refusal that says after how many milliseconds it is worth trying again.
pub const RETRY_AFTER: &str = "retryAfterMs";
/// Where it cannot be known when a connection becomes free.
const CONNECTION_PAUSE: Duration = Duration::from_secs(2);

/// How much one caller may use; `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections of one address.
    pub connections_per_address_max: Option<usize>,
    /// Open connections of one principal.
    pub connections_per_principal_max: Option<usize>,
    /// Queries, mutations, subscriptions and calls of one caller each second.
    pub operations_per_second: Option<usize>,
    /// Events that one caller may publish each second.
    pub publishes_per_second: Option<usize>,
    /// Bytes of events that one caller may publish each second.
    pub publish_bytes_per_second: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_per_address_max: Some(1_000),
            connections_per_principal_max: Some(10_000),
            operations_per_second: Some(5_000),
            publishes_per_second: Some(10_000),
            publish_bytes_per_second: Some(32 * 1024 * 1024),
        }
    }
}

/// Whose account it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(Owner);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Owner {
    V4([u8; 4]),
    /// A network of 64 bits, which is what one customer has at least (RFC 6177).
    V6([u8; 8]),
    Subject(Box<str>),
}

impl Key {
    /// Somebody of whom only the address is known. IPv6 addresses of one /64 are one caller.
    pub fn address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Key(Owner::V4(address.octets())),
            IpAddr::V6(address) => Key(Owner::V6(network(address))),
        }
    }

    /// A principal, by a name that no other has.
    pub fn subject(subject: &str) -> Self {
        Key(Owner::Subject(subject.into()))
    }
}

fn network(address: Ipv6Addr) -> [u8; 8] {
    let [network @ .., _, _, _, _, _, _, _, _] = address.octets();
    network
}

/// What everybody uses of the server. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Accounts(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    terms: Arc<Terms>,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Terms {
    limits: Limits,
    /// Buckets count from here.
    epoch: Instant,
    refused: Counter,
}

impl Terms {
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[derive(Debug)]
struct Table {
    accounts: HashMap<Owner, Arc<Account>>,
    sweep_at: usize,
    /// Not before this time.
    sweep_due: u64,
    /// Shared by everybody who finds the table full: of addresses, and of principals.
    crowd: [Arc<Account>; 2],
}

impl Accounts {
    /// Accounts under these limits; what is refused is counted.
    pub fn new(limits: Limits, refused: Counter) -> Self {
        let terms = Arc::new(Terms { limits, epoch: Instant::now(), refused });
        let crowd = [true, false].map(|is_address| Arc::new(Account::new(&terms, is_address)));
        let table = Table { accounts: HashMap::new(), sweep_at: SWEEP_AT_LEAST, sweep_due: 0, crowd };
        Accounts(Arc::new(Parts { terms, table: Mutex::new(table) }))
    }

    /// The account of a caller, opened when there is none.
    pub fn of(&self, key: Key) -> Arc<Account> {
        let Key(owner) = key;
        // Nothing that can panic runs under this lock, and each step leaves the table whole.
        let mut table = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = table.accounts.get(&owner) {
            return Arc::clone(account);
        }
        if table.accounts.len() >= table.sweep_at {
            table.sweep(self.0.terms.now());
        }
        let is_address = !matches!(owner, Owner::Subject(_));
        if table.accounts.len() >= ACCOUNTS_MAX {
            let [addresses, principals] = &table.crowd;
            return Arc::clone(if is_address { addresses } else { principals });
        }
        let account = Arc::new(Account::new(&self.0.terms, is_address));
        table.accounts.insert(owner, Arc::clone(&account));
        account
    }

    /// How many accounts there are, those of nobody included that have not been swept yet.
    pub fn len(&self) -> usize {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner).accounts.len()
    }

    /// Has nobody an account?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Table {
    /// Forgets accounts that nobody holds and on which nothing is owed: they would be opened anew just as they are.
    fn sweep(&mut self, now: u64) {
        if now < self.sweep_due {
            return;
        }
        self.accounts.retain(|_, account| Arc::strong_count(account) > 1 || !account.is_idle(now));
        self.sweep_at = (2 * self.accounts.len()).clamp(SWEEP_AT_LEAST, ACCOUNTS_MAX);
        self.sweep_due = if self.sweep_at == ACCOUNTS_MAX { now + SWEEP_PAUSE_NANOS } else { now };
        self.accounts.shrink_to(self.sweep_at);
    }
}

/// What one caller uses.
#[derive(Debug)]
pub struct Account {
    terms: Arc<Terms>,
    is_address: bool,
    connections: AtomicUsize,
    operations: Bucket,
    publishes: Bucket,
    bytes: Bucket,
}

/// An open connection on its caller's account, until it is dropped.
#[derive(Debug)]
pub struct Seat(Arc<Account>);

impl Account {
    fn new(terms: &Arc<Terms>, is_address: bool) -> Self {
        Account {
            terms: Arc::clone(terms),
            is_address,
            connections: AtomicUsize::new(0),
            operations: Bucket::default(),
            publishes: Bucket::default(),
            bytes: Bucket::default(),
        }
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// One more connection. Fails with `TOO_MANY`, with the name of the setting and [`RETRY_AFTER`].
    pub fn connect(self: &Arc<Self>) -> Result<Seat, Refusal> {
        let limits = &self.terms.limits;
        let (most, setting, whose) = match self.is_address {
            true => (limits.connections_per_address_max, "connections_per_address_max", "address"),
            false => (limits.connections_per_principal_max, "connections_per_principal_max", "principal"),
        };
        let most = most.unwrap_or(usize::MAX);
        let more = |open: usize| (open < most).then_some(open + 1);
        match self.connections.try_update(Ordering::AcqRel, Ordering::Acquire, more) {
            Ok(_) => Ok(Seat(Arc::clone(self))),
            Err(_) => {
                self.terms.refused.inc();
                let message = format!("this {whose} has as many connections as it may have");
                Err(Refusal::new(Code::TooMany, message)
                    .with("allowed", format!("{most} (setting {setting})"))
                    .with(RETRY_AFTER, jittered_ms(CONNECTION_PAUSE)))
            }
        }
    }

    /// So many operations now. Fails with `RATE_LIMITED`, with the name of the setting and [`RETRY_AFTER`].
    pub fn operation(&self, count: usize) -> Result<(), Refusal> {
        let Some(rate) = self.terms.limits.operations_per_second else { return Ok(()) };
        let taken = self.operations.take(count, rate, self.terms.now());
        taken.map_err(|wait| self.too_fast("operations", "operations_per_second", rate, wait))
    }

    /// Gives operations back that were charged for nothing.
    pub fn operation_back(&self, count: usize) {
        if let Some(rate) = self.terms.limits.operations_per_second {
            self.operations.give_back(count, rate);
        }
    }

    /// So many events with so many bytes in all. Fails with `RATE_LIMITED` as a whole, with the name of the setting and
    /// [`RETRY_AFTER`].
    pub fn publish(&self, events: usize, bytes: usize) -> Result<(), Refusal> {
        let (limits, now) = (&self.terms.limits, self.terms.now());
        if let Some(rate) = limits.publishes_per_second {
            let taken = self.publishes.take(events, rate, now);
            taken.map_err(|wait| self.too_fast("events", "publishes_per_second", rate, wait))?;
        }
        let Some(rate) = limits.publish_bytes_per_second else { return Ok(()) };
        let taken = self.bytes.take(bytes, rate, now);
        taken.map_err(|wait| {
            if let Some(rate) = limits.publishes_per_second {
                self.publishes.give_back(events, rate);
            }
            self.too_fast("bytes of events", "publish_bytes_per_second", rate, wait)
        })
    }

    fn too_fast(&self, what: &str, setting: &str, rate: usize, wait: Duration) -> Refusal {
        self.terms.refused.inc();
        Refusal::new(Code::RateLimited, format!("more {what} than this caller may send in a second"))
            .with("allowed", format!("{rate} each second (setting {setting})"))
            .with(RETRY_AFTER, jittered_ms(wait))
    }

    fn is_idle(&self, now: u64) -> bool {
        self.connections() == 0
            && [&self.operations, &self.publishes, &self.bytes].iter().all(|bucket| bucket.is_idle(now))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The wait and up to half as much again, at least a tenth of a second more: those who were refused together do not come back
/// together.
pub fn jittered(wait: Duration) -> Duration {
    let spread = (wait / 2).max(Duration::from_millis(100));
    let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
    // Random bits of an id.
    wait + Duration::from_millis(uuid::Uuid::new_v4().as_u64_pair().1 % spread_ms)
}

fn jittered_ms(wait: Duration) -> String {
    jittered(wait).as_millis().max(1).to_string()
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
