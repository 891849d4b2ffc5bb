//! How large everything is: the full sizes, those of a smoke run, and what the command line changes.
//!
//! Invariants: the full sizes of all rows together take less than 15 minutes on two quiet cores.

use crate::{
    machine::Place,
    mob::Attack,
    peer::{ALL, Peer},
    rows::Row,
};
use clap::{Parser, ValueEnum};
use std::{path::PathBuf, time::Duration};

/// Measures what Fanfare costs, beside its peers.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Which rows of the goals table; soak only when it is named.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) rows: Vec<Row>,
    /// Which servers [default: all that are installed].
    #[arg(long, value_delimiter = ',')]
    pub(crate) servers: Vec<String>,
    /// How many events are on their way at a time, in the row `identical`.
    #[arg(long, value_delimiter = ',', default_value = "64,256,1")]
    in_flight: Vec<usize>,
    /// Subscribers that all ask for the same [default: 1000, quick: 100].
    #[arg(long)]
    subscribers: Option<usize>,
    /// Events when several are in flight; slow servers get fewer [default: 2000, quick: 300].
    #[arg(long)]
    events: Option<usize>,
    /// Events when one is in flight; the same [default: 300, quick: 50].
    #[arg(long)]
    events_single: Option<usize>,
    /// Idle subscribed connections [default: 5000, quick: 200].
    #[arg(long)]
    connections: Option<usize>,
    /// Rounds, of which the median counts [default: 3, quick: 1].
    #[arg(long)]
    rounds: Option<usize>,
    /// Padding of each event; 67 makes messages of about 250 bytes.
    #[arg(long, default_value_t = 67)]
    padding_bytes: usize,
    /// What the mob of the row `hostile` does [default: everything at once].
    #[arg(long, value_enum, value_delimiter = ',')]
    attacks: Vec<Attack>,
    /// How long the soak lasts [default: 600, quick: 10].
    #[arg(long)]
    soak_s: Option<u64>,
    /// Measuring ends here, with the rows there are, and the bench fails when it was not through [default: 1800, and twice the soak].
    #[arg(long)]
    time_limit_s: Option<u64>,
    /// A smoke run: whether everything works, with numbers too small to quote.
    #[arg(long)]
    quick: bool,
    /// JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// The Fanfare to measure.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_fanfare"))]
    pub(crate) fanfare: PathBuf,
    /// What a crowd is to do, as JSON: the bench starts itself once more for clients that must not slow it down.
    #[arg(long, hide = true)]
    pub(crate) crowd: Option<String>,
    /// What a mob is to do, as JSON; the same for peers that want to do harm.
    #[arg(long, hide = true)]
    pub(crate) mob: Option<String>,
    /// Given by `cargo bench`. Without it this is a test run of all targets, where nothing is measured.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

/// The options with their defaults filled in.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rows: Vec<Row>,
    servers: Vec<String>,
    pub(crate) place: Place,
    pub(crate) is_quick: bool,
    pub(crate) rounds: usize,
    pub(crate) in_flight: Vec<usize>,
    pub(crate) subscribers: usize,
    pub(crate) events: usize,
    pub(crate) events_single: usize,
    pub(crate) connections: usize,
    pub(crate) padding_bytes: usize,
    pub(crate) groups: usize,
    pub(crate) group_members: usize,
    /// Connections that share the distinct filters of the row `sparse`, and filters of each: few, many.
    pub(crate) filter_connections: usize,
    pub(crate) filters_each: [usize; 2],
    pub(crate) scale: [usize; 3],
    pub(crate) publishers: usize,
    /// How long each durable run and each latency window lasts.
    pub(crate) durable_window: Duration,
    pub(crate) latency_window: Duration,
    pub(crate) replay_events: usize,
    pub(crate) storm_clients: usize,
    pub(crate) storm_events: usize,
    pub(crate) live_subscribers: usize,
    pub(crate) live_rate: f64,
    pub(crate) honest_subscribers: usize,
    pub(crate) attacks: Vec<Attack>,
    /// Hostile peers that never finish their request, and of each other kind.
    pub(crate) slow_peers: usize,
    pub(crate) hostile_each: usize,
    /// Longer than the server is patient with a slow request.
    pub(crate) hostile_window: Duration,
    pub(crate) soak: Duration,
    /// More events than the caches of the log hold, so that their filling is not taken for a leak.
    pub(crate) cache_events: usize,
    pub(crate) time_limit: Duration,
}

impl Plan {
    /// Fails with a sentence for the terminal.
    pub(crate) fn new(options: &Options, place: Place) -> Result<Self, String> {
        if options.in_flight.contains(&0) {
            return Err("--in-flight must be at least 1".to_owned());
        }
        if let Some(unknown) = options.servers.iter().find(|name| ALL.iter().all(|peer| peer.name() != *name))
        {
            let known: Vec<_> = ALL.iter().map(|peer| peer.name()).collect();
            return Err(format!("--servers: {unknown} is not known; known are {}", known.join(", ")));
        }
        let is_quick = options.quick;
        let size = |given: Option<usize>, whole, quick| given.unwrap_or(if is_quick { quick } else { whole });
        let of = |whole: usize, quick: usize| size(None, whole, quick);
        let seconds = |whole, quick| Duration::from_secs(if is_quick { quick } else { whole });
        let soak = options.soak_s.map_or_else(|| seconds(600, 10), Duration::from_secs);
        let rows = if options.rows.is_empty() { Row::GOALS.to_vec() } else { options.rows.clone() };
        let soaks = if rows.contains(&Row::Soak) { soak } else { Duration::ZERO };
        let time_limit =
            options.time_limit_s.map_or(Duration::from_secs(1800) + soaks * 2, Duration::from_secs);
        Ok(Plan {
            rows,
            servers: options.servers.clone(),
            place,
            is_quick,
            rounds: size(options.rounds, 3, 1).max(1),
            in_flight: options.in_flight.clone(),
            subscribers: size(options.subscribers, 1000, 100).max(1),
            events: size(options.events, 2000, 300).max(1),
            events_single: size(options.events_single, 300, 50).max(1),
            connections: size(options.connections, 5000, 200).max(1),
            padding_bytes: options.padding_bytes,
            groups: of(500, 50),
            group_members: 10,
            filter_connections: of(50, 10),
            filters_each: [of(10, 5), of(1000, 100)],
            scale: if is_quick { [100, 500, 1000] } else { [1000, 5000, 15_000] },
            publishers: 50,
            durable_window: seconds(5, 1),
            latency_window: seconds(5, 2),
            replay_events: of(200_000, 20_000),
            storm_clients: of(5000, 200),
            storm_events: of(1000, 200),
            live_subscribers: of(200, 50),
            live_rate: 100.0,
            honest_subscribers: of(500, 50),
            attacks: if options.attacks.is_empty() {
                Attack::value_variants().to_vec()
            } else {
                options.attacks.clone()
            },
            slow_peers: of(2000, 200),
            hostile_each: of(8, 2),
            hostile_window: seconds(15, 3),
            soak,
            cache_events: of(300_000, 30_000),
            time_limit,
        })
    }

    /// Those of `peers` that are wanted.
    pub(crate) fn wanted(&self, peers: &[&'static dyn Peer]) -> Vec<&'static dyn Peer> {
        let is_wanted = |peer: &&'static dyn Peer| {
            self.servers.is_empty() || self.servers.iter().any(|name| name == peer.name())
        };
        peers.iter().copied().filter(is_wanted).collect()
    }

    /// How many events a server gets with so many in flight.
    pub(crate) fn events_for(&self, peer: &dyn Peer, in_flight: usize) -> usize {
        let events = if in_flight == 1 { self.events_single } else { self.events };
        (events / peer.slowness()).max(in_flight)
    }
}
