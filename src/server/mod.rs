//! How it reaches a wire: HTTP and WebSocket, on axum.
//!
//! Flow: takes bytes from sockets, gives requests to `graphql`, `ingest` and `hub`; takes payloads out of mailboxes and writes
//! them as frames of the connection's dialect.
//! Invariants: every request body, frame, queue and wait has a bound that is a setting; `server` never sees `log`'s store or
//! the ring.
//! Not here: settings (`config`), protocol rules (`protocol`), the schema (`graphql`).

mod accept;
mod admin;
mod assets;
mod body;
mod browser;
mod caller;
mod correlation;
mod course;
mod credential;
mod delivery;
mod directory;
mod door;
mod events;
mod feed;
mod following;
mod graphql_http;
mod graphql_stream;
mod graphql_ws;
mod jobs;
mod meter;
mod negotiation;
mod openings;
mod operation;
mod operations;
mod problem;
mod reservations;
mod rpc;
mod rpc_http;
mod rpc_ws;
mod scratch;
mod socket;
mod stream;
mod turned_away;
mod upgrade;
mod webhooks;
mod wire;
mod write_deadline;

use crate::{
    auth::{
        Audit, Authority, Credential, Principal,
        limits::{Accounts, Limits},
    },
    fanout::Fanout,
    graphql::{Documents, GuardOptions, Schema},
    hub::Hub,
    platform::self_events::SelfEvents,
};
use axum::Router;
use browser::Browser;
use delivery::Deliveries;
pub use directory::Directory;
use ipnet::IpNet;
use openings::Openings;
use reservations::Reservations;
use std::{fmt, ops::Deref, sync::Arc, time::Duration};
use tokio::{net::TcpListener, runtime::Handle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Proxies cut a response that is silent for longer than 30 to 60 seconds, some earlier.
const HEARTBEAT_INTERVAL_MAX: Duration = Duration::from_secs(15);

/// The bounds of the edge.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most connections at a time; more are refused.
    pub connections_max: usize,
    /// How much one address or principal may use.
    pub limits: Limits,
    /// The proxies whose `X-Forwarded-For` says where a request comes from.
    pub trusted_proxies: Vec<IpNet>,
    /// The most subscriptions of one connection.
    pub subscriptions_max: usize,
    /// The most bytes of a request body or of a WebSocket message.
    pub request_bytes_max: usize,
    /// The bounds of a GraphQL document.
    pub guard: GuardOptions,
    /// The most bytes that wait for one connection before its subscriptions read the log instead.
    pub mailbox_bytes_max: usize,
    /// A peer must have sent the headers of a request by then.
    pub header_timeout: Duration,
    /// A peer must have sent the body of a request, or the rest of a WebSocket message, by then.
    pub body_timeout: Duration,
    /// A GraphQL WebSocket must have sent `connection_init` by then.
    pub connection_init_timeout: Duration,
    /// A WebSocket is pinged so often; a streaming response says something so often, and every 15 seconds at least.
    pub ping_interval: Duration,
    /// A WebSocket that has sent nothing for so long after a ping is closed.
    pub pong_timeout: Duration,
    /// A socket that takes no bytes for so long is closed as a slow consumer.
    pub write_timeout: Duration,
    /// Connections are given so long to end when the server ends.
    pub shutdown_grace: Duration,
    /// Browser origins beside the server's own whose pages may ask.
    pub origins: Vec<String>,
    /// Is GraphiQL served? `None` is as long as everybody may do everything.
    pub graphiql: Option<bool>,
    /// Are introspection queries answered? `None` is for everybody who says who it is, and for all as long as everybody may
    /// do everything.
    pub introspection: Option<bool>,
    /// May a WebSocket or a stream be opened with its token in the query string?
    pub token_in_query: bool,
    /// A query or mutation that takes so long is slow.
    pub slow_operation: Duration,
    /// The secret of `/webhooks/github`; without one the path answers 404.
    pub github_webhook_secret: Option<Arc<str>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            connections_max: 20_000,
            limits: Limits::default(),
            trusted_proxies: Vec::new(),
            subscriptions_max: 1_000,
            request_bytes_max: 1024 * 1024,
            guard: GuardOptions::default(),
            mailbox_bytes_max: 1024 * 1024,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            connection_init_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            shutdown_grace: Duration::from_secs(10),
            origins: Vec::new(),
            graphiql: None,
            introspection: None,
            token_in_query: false,
            slow_operation: Duration::from_secs(1),
            github_webhook_secret: None,
        }
    }
}

impl Options {
    /// A streaming response says something so often.
    fn heartbeat_interval(&self) -> Duration {
        self.ping_interval.min(HEARTBEAT_INTERVAL_MAX)
    }

    /// What was sent may be unacknowledged for so long: a peer that is gone is found as soon as over a WebSocket, by the next
    /// heartbeat and this, unless the setting gives a peer that takes nothing more time.
    fn silence_max(&self) -> Duration {
        let limit = self.ping_interval + self.pong_timeout;
        limit.saturating_sub(self.heartbeat_interval()).max(self.write_timeout)
    }
}

/// The rooms that a server is made of.
pub struct Rooms {
    /// The pipeline.
    pub hub: Hub,
    /// Who gets what.
    pub fanout: Fanout,
    /// What can be asked.
    pub schema: Schema,
    /// Decides who is accepted.
    pub authority: Authority,
    /// Lists who is connected.
    pub directory: Directory,
    /// Where is told what happens.
    pub self_events: SelfEvents,
    /// The runtime of WebSockets.
    pub sockets: Handle,
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms").field("hub", &self.hub).finish_non_exhaustive()
    }
}

impl Rooms {
    /// Rooms without authentication, all on the runtime that this is called on.
    pub fn open(hub: Hub, fanout: Fanout, schema: Schema) -> Self {
        let (authority, directory) = (Authority::open(), Directory::default());
        let (self_events, sockets) = (SelfEvents::off(), Handle::current());
        Rooms { hub, fanout, schema, authority, directory, self_events, sockets }
    }
}

/// What every request can reach. Cloning shares it.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts of an [`App`], behind one count: a request clones it several times on its way.
pub struct Parts {
    hub: Hub,
    fanout: Fanout,
    schema: Schema,
    /// Where WebSockets run.
    sockets: Handle,
    authority: Authority,
    audit: Audit,
    /// The principal of everybody while there is no authentication.
    everybody: Principal,
    directory: Directory,
    self_events: SelfEvents,
    options: Options,
    drain: CancellationToken,
    tracker: TaskTracker,
    scratches: scratch::Scratches,
    deliveries: Deliveries,
    documents: Documents,
    reservations: Reservations,
    openings: Openings,
    accounts: Accounts,
    browser: Arc<Browser>,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("App").field(&*self.0).finish()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("options", &self.options).finish_non_exhaustive()
    }
}

impl App {
    /// The server's parts together. Must be called on a tokio runtime.
    pub fn new(rooms: Rooms, options: Options) -> Self {
        let Rooms { hub, fanout, schema, authority, directory, self_events, sockets } = rooms;
        let documents = Documents::new(options.guard.clone());
        let accounts = Accounts::new(options.limits.clone(), hub.metrics().limited.clone());
        let browser = Arc::new(Browser::new(&options.origins, authority.is_open()));
        App(Arc::new(Parts {
            hub,
            fanout,
            schema,
            sockets,
            audit: authority.audit(),
            authority,
            everybody: Principal::anonymous(),
            directory,
            self_events,
            options,
            drain: CancellationToken::new(),
            tracker: TaskTracker::new(),
            scratches: scratch::Scratches::default(),
            deliveries: Deliveries::start(),
            documents,
            reservations: Reservations::default(),
            openings: Openings::new(),
            accounts,
            browser,
        }))
    }

    /// What everybody uses.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Is GraphiQL served?
    fn has_graphiql(&self) -> bool {
        self.options.graphiql.unwrap_or(self.authority.is_open())
    }

    /// May this principal ask what the schema is?
    fn introspects(&self, principal: &Principal) -> bool {
        let is_known = *principal.credential() != Credential::None;
        self.options.introspection.unwrap_or(self.authority.is_open() || is_known)
    }
}

/// Every path.
fn router(app: App) -> Router {
    Router::new()
        .merge(admin::routes())
        .merge(assets::routes(app.has_graphiql()))
        .merge(graphql_http::routes())
        .merge(graphql_stream::routes())
        .merge(events::routes())
        .merge(rpc_http::routes())
        .merge(webhooks::routes())
        .fallback(assets::not_found)
        .with_state(app)
}

/// Serves until `shutdown` is done, then ends in order: no new connections, every WebSocket closed with 1012 and every
/// stream ended so that clients come back and resume, requests answered, all within [`Options::shutdown_grace`].
pub async fn run(listener: TcpListener, app: App, shutdown: impl Future<Output = ()>) {
    let router = router(app.clone());
    tokio::select! {
        () = accept::run(&listener, &router, &app) => {}
        () = app.directory.follow(&app.authority) => {}
        () = shutdown => {}
    }
    app.drain.cancel();
    app.directory.drain();
    drop(listener);
    app.tracker.close();
    let ended = tokio::time::timeout(app.options.shutdown_grace, app.tracker.wait());
    if ended.await.is_err() {
        tracing::warn!(
            connections = app.tracker.len(),
            "connections were cut at the end of the grace period"
        );
    }
}
