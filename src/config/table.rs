//! The settings: each has one row here, which is its field of [`Config`], its documentation and its rules.

use super::value::{self, KIB, LogFormat, MIB, Secret, Store, Unit, Value};
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

const RETENTION_AGE: Unit = Unit::Time(Duration::from_secs(1), Duration::from_secs(10 * 365 * 86_400));
const RETENTION_EVENTS: Unit = Unit::Count(1, 1 << 48);
const RETENTION_BYTES: Unit = Unit::Bytes(MIB, 1 << 50);

/// A day: longer timeouts are typing errors.
const DAY: Duration = Duration::from_secs(86_400);
const TICK: Duration = Duration::from_millis(1);

settings! {
    listen: SocketAddr = "127.0.0.1:8080", Unit::Address, Some("--listen"), ["FANFARE_LISTEN", "HOST", "PORT"],
        "Address and port to serve on; HOST and PORT each replace their part. Loopback only while there is no authentication.";
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
    github_webhook_secret: Option<Secret> = "", Unit::Secret, None, ["FANFARE_GITHUB_WEBHOOK_SECRET"],
        "Secret that GitHub signs its webhooks with; without it /webhooks/github refuses everything.";
    origins: Vec<String> = "", Unit::Origins, None, ["FANFARE_ORIGINS"],
        "Browser origins that may connect, beside the server's own.";
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
    subscriptions_max: usize = "1000", Unit::Count(1, 1_000_000), None, ["FANFARE_SUBSCRIPTIONS_MAX"],
        "Most subscriptions of one connection.";
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
    graphiql: bool = "true", Unit::Switch, None, ["FANFARE_GRAPHIQL"],
        "Serve GraphiQL at /graphiql.";
    token_in_query: bool = "false", Unit::Switch, None, ["FANFARE_TOKEN_IN_QUERY"],
        "Accept a token as ?token= where a WebSocket or an event stream is opened, for clients that cannot set headers; proxies may log it.";
    introspection: bool = "true", Unit::Switch, None, ["FANFARE_INTROSPECTION"],
        "Answer introspection queries, which GraphiQL needs.";
    worker_threads: Option<NonZeroUsize> = "cores", Unit::Threads, None, ["FANFARE_WORKER_THREADS"],
        "Threads that serve connections; cores is one for each core.";
    log: String = "info", Unit::LogFilter, None, ["FANFARE_LOG", "RUST_LOG"],
        "What is logged to stderr, such as info or fanfare=debug,warn.";
    log_format: LogFormat = "text", Unit::Choice(value::LOG_FORMATS), None, ["FANFARE_LOG_FORMAT"],
        "How log lines are written.";
}
