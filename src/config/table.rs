//! The settings: each has one row here, which is its field of [`Config`], its documentation and its rules.

use super::value::{self, KIB, LogFormat, MIB, Secret, Store, Unit, Value};
use crate::event::Family;
use ipnet::IpNet;
use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

/// One row of [`TABLE`].
#[derive(Debug)]
pub struct Setting {
    /// The name in the TOML file and of the field of [`Config`].
    pub name: &'static str,
    /// The flag of its own, if it has one; every setting can be given by `--set name=value`.
    pub flag: Option<&'static str>,
    /// The environment variables, the strongest first: `FANFARE_X`, then the bare standard ones.
    pub env: &'static [&'static str],
    /// The default as it would be written in the file; empty for none.
    pub default: &'static str,
    /// What kind of value it is and what is allowed.
    pub unit: Unit,
    /// What it does, one sentence.
    pub doc: &'static str,
    /// Reads the value into a configuration; `None` when it is not allowed.
    pub(super) read: fn(&mut Config, &str) -> Option<()>,
    /// The value of a configuration as TOML; `None` for a secret or an absent value.
    pub(super) show: fn(&Config) -> Option<toml::Value>,
}

impl Setting {
    /// The row of that name.
    pub fn find(name: &str) -> Option<&'static Setting> {
        TABLE.iter().find(|setting| setting.name == name)
    }

    /// The `FANFARE_*` variable.
    pub fn own_variable(&self) -> &'static str {
        self.env.first().copied().unwrap_or_default()
    }

    /// Is it a secret, which is never shown and may come from a file that `FANFARE_X_FILE` names?
    pub fn is_secret(&self) -> bool {
        matches!(self.unit, Unit::Secret)
    }
}

macro_rules! settings {
    ($($name:ident: $type:ty = $default:literal, $unit:expr, $flag:expr, [$($env:literal),*], $doc:literal;)*) => {
        /// Every setting of a server, checked. The default is that of the table.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $(#[doc = $doc] pub $name: $type,)*
        }

        impl Default for Config {
            fn default() -> Self {
                Config {
                    $($name: Value::read($default, &$unit).expect("the table's defaults are allowed"),)*
                }
            }
        }

        /// Every setting, in the order of the documentation.
        pub const TABLE: &[Setting] = &[
            $(Setting {
                name: stringify!($name),
                flag: $flag,
                env: &[$($env),*],
                default: $default,
                unit: $unit,
                doc: $doc,
                read: |config, text| Value::read(text, &$unit).map(|value| config.$name = value),
                show: |config| config.$name.show(&$unit),
            },)*
        ];
    };
}

/// Ten years: longer times are typing errors, too.
const YEARS: Duration = Duration::from_secs(10 * 365 * 86_400);
const MINUTE: Duration = Duration::from_secs(60);
const LEEWAY_MAX: Duration = MINUTE;
const RETENTION_AGE: Unit = Unit::Time(Duration::from_secs(1), YEARS);
const RETENTION_EVENTS: Unit = Unit::Count(1, 1 << 48);
const RETENTION_BYTES: Unit = Unit::Bytes(MIB, 1 << 50);

const SELF_EVENTS: Unit = Unit::Families(Family::OF_SERVERS);

const CONNECTIONS: Unit = Unit::Count(1, 10_000_000);
const RATE: Unit = Unit::Count(1, 1 << 30);
const BYTE_RATE: Unit = Unit::Bytes(KIB, 1 << 40);

/// A day: longer timeouts are typing errors.
const DAY: Duration = Duration::from_secs(86_400);
const TICK: Duration = Duration::from_millis(1);

settings! {
    listen: SocketAddr = "127.0.0.1:8080", Unit::Address, Some("--listen"), ["FANFARE_LISTEN", "HOST", "PORT"],
        "Address and port to serve on; HOST and PORT each replace their part. Loopback only without authentication.";
    data_dir: PathBuf = "./data", Unit::Path, Some("--data-dir"), ["FANFARE_DATA_DIR"],
        "Directory of the embedded log; created when it is missing.";
    store: Store = "sqlite", Unit::Choice(value::STORES), Some("--store"), ["FANFARE_STORE"],
        "Where events are kept: sqlite in data_dir, or memory, which forgets them at the end.";
    retention_age: Option<Duration> = "off", Unit::OrOff(&RETENTION_AGE), None, ["FANFARE_RETENTION_AGE"],
        "Events logged longer ago are removed; (source, id) is still recognised for 24 hours.";
    retention_events: Option<usize> = "off", Unit::OrOff(&RETENTION_EVENTS), None, ["FANFARE_RETENTION_EVENTS"],
        "Most events that are kept; older ones are removed. Store memory keeps 1,000,000 at most.";
    retention_bytes: Option<usize> = "off", Unit::OrOff(&RETENTION_BYTES), None, ["FANFARE_RETENTION_BYTES"],
        "Most bytes of events that are kept, indexes included; older ones are removed. The database file takes its room again, but does not shrink.";
    demo: bool = "false", Unit::Switch, Some("--demo"), ["FANFARE_DEMO"],
        "Publish a sample feed, marked as such by its source.";
    self_events: Vec<Family> = "presence,health,system,performance", SELF_EVENTS, None, ["FANFARE_SELF_EVENTS"],
        "Families of events that the server publishes about itself; graphql, which tells of every operation, is the one to choose.";
    health_interval: Duration = "10s", Unit::Time(TICK, DAY), None, ["FANFARE_HEALTH_INTERVAL"],
        "Time between two measurements of how the server does, for the metrics and for the event health.snapshot.";
    slow_operation: Duration = "1s", Unit::Time(Duration::ZERO, DAY), None, ["FANFARE_SLOW_OPERATION"],
        "Time from which on a GraphQL query or mutation is slow: then the event performance.slowOperation.detected says so.";
    github_webhook_secret: Option<Secret> = "", Unit::Secret, None, ["FANFARE_GITHUB_WEBHOOK_SECRET"],
        "Secret that GitHub signs its webhooks with; without it /webhooks/github refuses everything.";
    policy: Option<PathBuf> = "", Unit::Path, None, ["FANFARE_POLICY"],
        "File (TOML) that says who may do what: keys, API keys, roles, masks. It, or one of the next three, turns authentication on.";
    jwt_secret: Option<Secret> = "", Unit::Secret, None, ["FANFARE_JWT_SECRET"],
        "Shared secret of at least 32 random bytes that tokens are signed with (HS256).";
    jwks_url: Option<String> = "", Unit::Text, None, ["FANFARE_JWKS_URL", "JWKS_URL"],
        "Where a login server publishes its keys; https, or http on loopback. Fetched again every 10 minutes and for unknown keys.";
    jwks_file: Option<PathBuf> = "", Unit::Path, None, ["FANFARE_JWKS_FILE"],
        "File with a JWK set of public keys.";
    jwt_issuer: Option<String> = "", Unit::Text, None, ["FANFARE_JWT_ISSUER"],
        "What the claim iss must be, for the keys of these settings; required with them.";
    jwt_audience: Option<String> = "", Unit::Text, None, ["FANFARE_JWT_AUDIENCE"],
        "What the claim aud must be or contain, for the keys of these settings; required with them.";
    jwt_algorithms: Vec<String> = "", Unit::Algorithms, None, ["FANFARE_JWT_ALGORITHMS"],
        "Accepted algorithms for the keys of these settings; without it the usual one of each key's type.";
    jwt_leeway: Duration = "5s", Unit::Time(Duration::ZERO, LEEWAY_MAX), None, ["FANFARE_JWT_LEEWAY"],
        "By how much the clocks of login server and this server may differ.";
    jwt_lifetime_max: Duration = "8784h", Unit::Time(MINUTE, YEARS), None, ["FANFARE_JWT_LIFETIME_MAX"],
        "How far ahead a token's exp may lie; so long the revocation of a token is kept.";
    audit_file: PathBuf = "audit.jsonl", Unit::Path, None, ["FANFARE_AUDIT_FILE"],
        "File that tells who came, what was refused and what admins did, once there is authentication; a relative path is inside data_dir.";
    audit_bytes_max: usize = "256MiB", Unit::Bytes(64 * KIB, 1 << 40), None, ["FANFARE_AUDIT_BYTES_MAX"],
        "Bytes beyond which the audit goes on in a new file; the full one gets the number of its first line at the end of its name.";
    origins: Vec<String> = "", Unit::Origins, None, ["FANFARE_ORIGINS"],
        "Browser origins whose pages may use the server, beside its own. While there is no authentication, their hosts are also the only names that the server is reached by, beside addresses and localhost.";
    data_bytes_max: usize = "256KiB", Unit::Bytes(1, 64 * MIB), None, ["FANFARE_DATA_BYTES_MAX"],
        "Most bytes of an event's data.";
    request_bytes_max: usize = "1MiB", Unit::Bytes(KIB, 256 * MIB), None, ["FANFARE_REQUEST_BYTES_MAX"],
        "Most bytes of a request body or of a message from a client.";
    document_bytes_max: usize = "64KiB", Unit::Bytes(KIB, 16 * MIB), None, ["FANFARE_DOCUMENT_BYTES_MAX"],
        "Most bytes of a GraphQL document.";
    ring_batches_max: usize = "1024", Unit::Count(1, 1 << 20), None, ["FANFARE_RING_BATCHES_MAX"],
        "Committed batches that the live ring keeps; a reader further behind goes back to the log.";
    mailbox_bytes_max: usize = "1MiB", Unit::Bytes(KIB, 1024 * MIB), None, ["FANFARE_MAILBOX_BYTES_MAX"],
        "Byte budget of each connection for what waits to be written to it.";
    connections_max: usize = "20000", Unit::Count(1, 10_000_000), None, ["FANFARE_CONNECTIONS_MAX"],
        "Most open connections.";
    connections_per_address_max: Option<usize> = "1000", Unit::OrOff(&CONNECTIONS), None, ["FANFARE_CONNECTIONS_PER_ADDRESS_MAX"],
        "Most open connections of one address, or of one IPv6 /64; loopback addresses are exempt.";
    connections_per_principal_max: Option<usize> = "10000", Unit::OrOff(&CONNECTIONS), None, ["FANFARE_CONNECTIONS_PER_PRINCIPAL_MAX"],
        "Most open connections of one principal.";
    operations_per_second: Option<usize> = "5000", Unit::OrOff(&RATE), None, ["FANFARE_OPERATIONS_PER_SECOND"],
        "Most operations each second of one principal, or of one address without one; twice as many may come at once. Loopback addresses without one are exempt.";
    publishes_per_second: Option<usize> = "10000", Unit::OrOff(&RATE), None, ["FANFARE_PUBLISHES_PER_SECOND"],
        "Most events each second that one principal or address may publish; counted like operations.";
    publish_bytes_per_second: Option<usize> = "32MiB", Unit::OrOff(&BYTE_RATE), None, ["FANFARE_PUBLISH_BYTES_PER_SECOND"],
        "Most bytes of events each second that one principal or address may publish; counted like operations.";
    batch_max: usize = "1000", Unit::Count(1, 4096), None, ["FANFARE_BATCH_MAX"],
        "Most events of one publish request.";
    trusted_proxies: Vec<IpNet> = "", Unit::Networks, None, ["FANFARE_TRUSTED_PROXIES"],
        "Addresses and networks of the proxies whose X-Forwarded-For says where a request comes from; from all others it is ignored.";
    subscriptions_max: usize = "1000", Unit::Count(1, 1_000_000), None, ["FANFARE_SUBSCRIPTIONS_MAX"],
        "Most subscriptions of one connection.";
    header_timeout: Duration = "10s", Unit::Time(TICK, DAY), None, ["FANFARE_HEADER_TIMEOUT"],
        "Time that a client has for the head of its request, the first one included.";
    body_timeout: Duration = "30s", Unit::Time(TICK, DAY), None, ["FANFARE_BODY_TIMEOUT"],
        "Time that a client has for the body of its request, or for the rest of a WebSocket message.";
    connection_init_timeout: Duration = "10s", Unit::Time(TICK, DAY), None, ["FANFARE_CONNECTION_INIT_TIMEOUT"],
        "Time that a client has for its connection_init.";
    ping_interval: Duration = "25s", Unit::Time(TICK, DAY), None, ["FANFARE_PING_INTERVAL"],
        "Time between pings to a client.";
    pong_timeout: Duration = "10s", Unit::Time(TICK, DAY), None, ["FANFARE_PONG_TIMEOUT"],
        "Time that a client has to answer a ping.";
    write_timeout: Duration = "10s", Unit::Time(TICK, DAY), None, ["FANFARE_WRITE_TIMEOUT"],
        "Time that a client may take no byte while some wait; then it is a slow consumer.";
    shutdown_grace: Duration = "10s", Unit::Time(Duration::ZERO, DAY), None, ["FANFARE_SHUTDOWN_GRACE"],
        "Time that open connections have to end when the server ends.";
    graphiql: Option<bool> = "auto", Unit::SwitchOrAuto, None, ["FANFARE_GRAPHIQL"],
        "Serve GraphiQL at /graphiql; auto does so while there is no authentication.";
    introspection: Option<bool> = "auto", Unit::SwitchOrAuto, None, ["FANFARE_INTROSPECTION"],
        "Answer introspection queries, which GraphiQL needs; auto does so for everybody while there is no authentication, and else for those with a credential.";
    token_in_query: bool = "false", Unit::Switch, None, ["FANFARE_TOKEN_IN_QUERY"],
        "Accept a token as ?token= where a WebSocket or an event stream is opened, for clients that cannot set headers; proxies may log it.";
    worker_threads: Option<NonZeroUsize> = "cores", Unit::Threads, None, ["FANFARE_WORKER_THREADS"],
        "Threads that serve connections; cores is one for each core.";
    log: String = "info", Unit::LogFilter, None, ["FANFARE_LOG", "RUST_LOG"],
        "What is logged to stderr, such as info or fanfare=debug,warn.";
    log_format: LogFormat = "text", Unit::Choice(value::LOG_FORMATS), None, ["FANFARE_LOG_FORMAT"],
        "How log lines are written.";
}
