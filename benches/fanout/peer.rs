//! The servers that are compared: how each is started and what it speaks. A new peer is one more implementation here.
//!
//! Invariants: all listen on the loopback; brokers get a free port and keep nothing on disk unless durability is measured.
//! Not here: the peers that are built from this repository (`benches/peers`).

use crate::{
    access,
    dialect::{Dialect, GraphqlWs, Nats, Redis},
    failure::Failure,
    machine::{Place, installed},
};
use std::{
    ffi::OsString,
    fmt::Debug,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

/// A server that can be measured.
pub(crate) trait Peer: Debug + Sync {
    /// The name in the table and on the command line.
    fn name(&self) -> &'static str;

    /// How subscribers and publishers speak to it.
    fn dialect(&self) -> &'static dyn Dialect;

    /// Writes what the program is to find in its directory.
    fn prepare(&self, _data_dir: &Path) -> Result<(), Failure> {
        Ok(())
    }

    /// The program with its arguments; fails when it is not installed.
    fn launch(&self, place: &Place, data_dir: &Path) -> Result<Launch, Failure>;

    /// What makes the program say its version and end; examples have none.
    fn version_flag(&self) -> Option<&'static str> {
        Some("--version")
    }

    /// How many times fewer events a slow server gets, so that it takes about as long as the others.
    fn slowness(&self) -> usize {
        1
    }
}

/// How a server is started.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) announced: Announced,
}

/// Where a server says on which address it listens.
#[derive(Debug)]
pub(crate) enum Announced {
    /// In a line of its output.
    InOutput,
    /// It was told.
    At(SocketAddr),
}

/// Every peer, by name.
pub(crate) const ALL: [&dyn Peer; 11] = [
    &BARE,
    &PLAIN,
    &NAIVE,
    &GRAPHQL_WS,
    &NATS,
    &REDIS,
    &REDIS_STREAMS,
    &FANFARE,
    &FANFARE_SQLITE,
    &FANFARE_TOKENS,
    &FANFARE_TELLING,
];

/// Fanfare with its log in memory.
pub(crate) const FANFARE: Fanfare =
    Fanfare { name: "fanfare", store: "memory", self_events: "off", asks_who: false };
/// Fanfare with its log on disk.
pub(crate) const FANFARE_SQLITE: Fanfare = Fanfare { name: "fanfare-sqlite", store: "sqlite", ..FANFARE };
/// Fanfare with its log in memory and with authentication: every connection has a token of its own.
pub(crate) const FANFARE_TOKENS: Fanfare = Fanfare { name: "fanfare-tokens", asks_who: true, ..FANFARE };
/// Fanfare with its log in memory, telling everything about itself; nobody is due any of it.
pub(crate) const FANFARE_TELLING: Fanfare = Fanfare {
    name: "fanfare-self-events",
    self_events: "presence,health,system,performance,graphql",
    ..FANFARE
};
/// Writes to sockets and nothing else.
pub(crate) const BARE: Example = Example { name: "bare", example: "bare_writes", slowness: 1 };
/// axum with small buffers and one shared text.
pub(crate) const PLAIN: Example = Example { name: "plain", example: "plain_axum", slowness: 1 };
/// async-graphql-axum as its examples do.
pub(crate) const NAIVE: Example = Example { name: "naive", example: "naive_graphql", slowness: 5 };
/// Redis pub/sub.
pub(crate) const REDIS: RedisServer = RedisServer { name: "redis", is_durable: false };
/// Redis with an append-only file that is synchronised at every command.
pub(crate) const REDIS_STREAMS: RedisServer = RedisServer { name: "redis-streams", is_durable: true };
/// NATS core.
pub(crate) const NATS: NatsServer = NatsServer;
/// graphql-ws and Yoga's pubsub on Node.
pub(crate) const GRAPHQL_WS: NodeServer = NodeServer;

#[derive(Debug)]
pub(crate) struct Fanfare {
    name: &'static str,
    store: &'static str,
    self_events: &'static str,
    asks_who: bool,
}

impl Peer for Fanfare {
    fn name(&self) -> &'static str {
        self.name
    }

    fn dialect(&self) -> &'static dyn Dialect {
        if self.asks_who { &GraphqlWs::WithTokens } else { &GraphqlWs::Anonymous }
    }

    fn prepare(&self, data_dir: &Path) -> Result<(), Failure> {
        if self.asks_who { access::write(data_dir) } else { Ok(()) }
    }

    fn launch(&self, place: &Place, data_dir: &Path) -> Result<Launch, Failure> {
        let mut arguments = words(&["serve", "--store", self.store, "--listen", "127.0.0.1:0", "--data-dir"]);
        arguments.push(data_dir.into());
        arguments.extend(words(&["--set", &format!("self_events={}", self.self_events)]));
        if self.asks_who {
            // Loopback has no account, but a principal has, and the one that publishes is not to be held back.
            let limits = ["operations_per_second", "publishes_per_second", "publish_bytes_per_second"];
            for limit in limits {
                arguments.extend(words(&["--set", &format!("{limit}=off")]));
            }
            let mut policy = OsString::from("policy=");
            policy.push(data_dir.join(access::POLICY_FILE));
            arguments.extend(["--set".into(), policy]);
        }
        Ok(Launch { program: place.fanfare.clone(), arguments, announced: Announced::InOutput })
    }
}

/// A peer that is an example of this repository.
#[derive(Debug)]
pub(crate) struct Example {
    name: &'static str,
    example: &'static str,
    slowness: usize,
}

impl Peer for Example {
    fn name(&self) -> &'static str {
        self.name
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &GraphqlWs::Anonymous
    }

    fn launch(&self, place: &Place, _data_dir: &Path) -> Result<Launch, Failure> {
        let program = place.example(self.example)?;
        Ok(Launch { program, arguments: words(&["--listen", "127.0.0.1:0"]), announced: Announced::InOutput })
    }

    fn version_flag(&self) -> Option<&'static str> {
        None
    }

    fn slowness(&self) -> usize {
        self.slowness
    }
}

#[derive(Debug)]
pub(crate) struct RedisServer {
    name: &'static str,
    is_durable: bool,
}

impl Peer for RedisServer {
    fn name(&self) -> &'static str {
        self.name
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &Redis
    }

    fn launch(&self, _place: &Place, data_dir: &Path) -> Result<Launch, Failure> {
        let program = installed("redis-server", "install the package redis-server")?;
        let address = free_address()?;
        let port = address.port().to_string();
        let mut arguments =
            words(&["--port", &port, "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]);
        arguments.extend(words(if self.is_durable {
            &["--appendonly", "yes", "--appendfsync", "always"]
        } else {
            &["--appendonly", "no"]
        }));
        arguments.extend([OsString::from("--dir"), data_dir.into()]);
        Ok(Launch { program, arguments, announced: Announced::At(address) })
    }
}

#[derive(Debug)]
pub(crate) struct NatsServer;

impl Peer for NatsServer {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &Nats
    }

    fn launch(&self, _place: &Place, _data_dir: &Path) -> Result<Launch, Failure> {
        let program = installed("nats-server", "install the package nats-server")?;
        let address = free_address()?;
        let arguments = words(&["--addr", "127.0.0.1", "--port", &address.port().to_string()]);
        Ok(Launch { program, arguments, announced: Announced::At(address) })
    }
}

#[derive(Debug)]
pub(crate) struct NodeServer;

impl Peer for NodeServer {
    fn name(&self) -> &'static str {
        "graphql-ws"
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &GraphqlWs::Anonymous
    }

    fn launch(&self, _place: &Place, _data_dir: &Path) -> Result<Launch, Failure> {
        let program = installed("node", "install Node.js 20 or newer")?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/node");
        if !folder.join("node_modules/graphql-ws").is_dir() {
            let how = "run `npm ci` in benches/peers/node, or `make bench`";
            return Err(Failure::NotInstalled { what: "graphql-ws", how });
        }
        let arguments = vec![folder.join("server.mjs").into()];
        Ok(Launch { program, arguments, announced: Announced::InOutput })
    }

    fn slowness(&self) -> usize {
        20
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// A port that was free a moment ago, for servers that cannot say which one they took.
fn free_address() -> Result<SocketAddr, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(Failure::during("finding a free port"))
}
