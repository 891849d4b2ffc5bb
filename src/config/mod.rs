//! Every setting: one table, from which parsing, `--help`, `fanfare check-config` and the README come.
//!
//! Flow: takes flags, the environment and a TOML file from `cli`; gives a checked [`Config`], from which the roof fills each
//! room's own options.
//! Invariants: nothing is bound or opened before every setting is valid; all problems are reported at once, each with the
//! setting, where it came from, what was given and what is allowed; a secret is never shown.
//! Not here: the process environment, which only `main.rs` reads.

mod authentication;
mod file;
mod load;
mod problem;
mod show;
mod table;
mod texts;
mod value;

pub use load::{Flag, Loaded, load};
pub use problem::{Problem, Problems, Source};
pub use show::{print, readme_table, settings_help};
pub use table::{Config, Setting, TABLE};
pub use value::{LogFormat, Secret, Store, Unit};

use crate::{
    auth::{self, audit::AuditOptions},
    bus,
    event::Limits,
    graphql::{GraphqlOptions, GuardOptions},
    log::{MemoryOptions, OnAppend, Retention, SqliteOptions, WriterOptions},
    server,
};
use std::{num::NonZeroUsize, sync::Arc};

impl Config {
    /// The limits of an event.
    pub fn event_limits(&self) -> Limits {
        Limits { data_bytes_max: self.data_bytes_max, batch_max: self.batch_max }
    }

    /// The bounds of the live ring.
    pub fn bus_options(&self) -> bus::Options {
        bus::Options { ring_batches_max: self.ring_batches_max }
    }

    /// The log in memory; the observer is told about every commit.
    pub fn memory_options(&self, observer: OnAppend) -> MemoryOptions {
        MemoryOptions {
            retention: self.retention(),
            writer: writer_options(observer),
            ..MemoryOptions::default()
        }
    }

    /// The log on disk; the observer is told about every commit.
    pub fn sqlite_options(&self, observer: OnAppend) -> SqliteOptions {
        SqliteOptions {
            dir: self.data_dir.clone(),
            retention: self.retention(),
            writer: writer_options(observer),
            ..SqliteOptions::default()
        }
    }

    fn retention(&self) -> Retention {
        Retention {
            age: self.retention_age,
            events: self.retention_events.map(|events| events as u64),
            bytes: self.retention_bytes.map(|bytes| bytes as u64),
            ..Retention::default()
        }
    }

    /// The audit file, for a server with authentication.
    pub fn audit_options(&self) -> AuditOptions {
        AuditOptions { file: self.data_dir.join(&self.audit_file), bytes_max: self.audit_bytes_max as u64 }
    }

    /// The executor of GraphQL.
    pub fn graphql_options(&self) -> GraphqlOptions {
        GraphqlOptions { introspection: self.introspection.unwrap_or(true), ..GraphqlOptions::default() }
    }

    /// The bounds of the edge.
    pub fn server_options(&self, guard: GuardOptions) -> server::Options {
        server::Options {
            connections_max: self.connections_max,
            limits: self.limits(),
            trusted_proxies: self.trusted_proxies.clone(),
            subscriptions_max: self.subscriptions_max,
            request_bytes_max: self.request_bytes_max,
            guard: GuardOptions { document_bytes_max: self.document_bytes_max, ..guard },
            mailbox_bytes_max: self.mailbox_bytes_max,
            header_timeout: self.header_timeout,
            body_timeout: self.body_timeout,
            connection_init_timeout: self.connection_init_timeout,
            ping_interval: self.ping_interval,
            pong_timeout: self.pong_timeout,
            write_timeout: self.write_timeout,
            shutdown_grace: self.shutdown_grace,
            origins: self.origins.clone(),
            graphiql: self.graphiql,
            introspection: self.introspection,
            token_in_query: self.token_in_query,
            slow_operation: self.slow_operation,
            github_webhook_secret: self
                .github_webhook_secret
                .as_ref()
                .map(|secret| Arc::from(secret.expose())),
        }
    }

    fn limits(&self) -> auth::limits::Limits {
        auth::limits::Limits {
            connections_per_address_max: self.connections_per_address_max,
            connections_per_principal_max: self.connections_per_principal_max,
            operations_per_second: self.operations_per_second,
            publishes_per_second: self.publishes_per_second,
            publish_bytes_per_second: self.publish_bytes_per_second,
        }
    }

    /// How many threads serve connections; `None` is one for each core.
    pub fn threads(&self) -> Option<usize> {
        self.worker_threads.map(NonZeroUsize::get)
    }
}

fn writer_options(observer: OnAppend) -> WriterOptions {
    WriterOptions { on_append: Some(observer), ..WriterOptions::default() }
}
