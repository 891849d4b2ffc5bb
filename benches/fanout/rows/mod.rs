//! The rows of the goals table, one file each.
//!
//! Flow: a row names its peers and what one round does with one of them; rounds alternate between the peers.
//! Invariants: every round starts its servers anew; a peer that fails is left out of the row from then on, the others go on.

mod distinct;
mod durable;
mod groups;
mod hostile;
mod identical;
mod idle;
mod replay;
mod replay_streams;
mod resources;
mod scale;
mod soak;
mod sparse;
mod stalled;
mod storm;

use crate::{
    audience::Audience,
    failure::Failure,
    goals::US_PER_DELIVERY,
    ledger::Tally,
    load::{Cost, Load, feed},
    peer::{self, Peer},
    plan::Plan,
    report::{Counted, Reading, Readings},
    server::Server,
};
use clap::ValueEnum;
use serde::Serialize;

/// What every subscriber of most rows asks for.
const TICKS: Audience = Audience::Topic("bench.tick");

/// A row of the goals table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Row {
    /// All subscribers ask for the same: CPU of one delivery.
    Identical,
    /// The same with authentication: every subscriber has a token of its own, and all have one grant and one view.
    Authenticated,
    /// Every subscriber has a filter of its own and all match.
    Distinct,
    /// Many groups of few subscribers; each event is for one group.
    Groups,
    /// Many distinct filters of which one matches.
    Sparse,
    /// Memory of idle connections, before and after a burst, and the CPU of connecting.
    Idle,
    /// Publishes that are on disk when they are answered.
    Durable,
    /// Changes of resources that are on disk, each with its event, when they are answered.
    Resources,
    /// One client reads the log from its beginning.
    Replay,
    /// Thousands resume at once while others are live.
    Storm,
    /// One reader stops reading; what it costs the others.
    Stalled,
    /// Hostile peers attack in every way at once; what it costs the others.
    Hostile,
    /// CPU of one delivery with few and with many connections.
    Scale,
    /// Half the maximum rate for a long time; memory and open files stay flat.
    Soak,
}

impl Row {
    /// All but the soak, which takes as long as all others together.
    pub(crate) const GOALS: [Row; 13] = [
        Row::Identical,
        Row::Authenticated,
        Row::Distinct,
        Row::Groups,
        Row::Sparse,
        Row::Idle,
        Row::Durable,
        Row::Resources,
        Row::Replay,
        Row::Storm,
        Row::Stalled,
        Row::Hostile,
        Row::Scale,
    ];

    /// The name in the table and on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Row::Identical => "identical",
            Row::Authenticated => "authenticated",
            Row::Distinct => "distinct",
            Row::Groups => "groups",
            Row::Sparse => "sparse",
            Row::Idle => "idle",
            Row::Durable => "durable",
            Row::Resources => "resources",
            Row::Replay => "replay",
            Row::Storm => "storm",
            Row::Stalled => "stalled",
            Row::Hostile => "hostile",
            Row::Scale => "scale",
            Row::Soak => "soak",
        }
    }

    fn peers(self) -> &'static [&'static dyn Peer] {
        match self {
            Row::Identical => &[
                &peer::PLAIN,
                &peer::NAIVE,
                &peer::GRAPHQL_WS,
                &peer::NATS,
                &peer::REDIS,
                &peer::FANFARE,
                &peer::FANFARE_SQLITE,
                &peer::FANFARE_TELLING,
            ],
            Row::Authenticated => &[&peer::FANFARE, &peer::FANFARE_TOKENS],
            Row::Groups => &[&peer::NAIVE, &peer::NATS, &peer::REDIS, &peer::FANFARE],
            Row::Idle => &[
                &peer::PLAIN,
                &peer::NAIVE,
                &peer::GRAPHQL_WS,
                &peer::NATS,
                &peer::REDIS,
                &peer::FANFARE,
                &peer::FANFARE_TOKENS,
            ],
            Row::Durable => &[&peer::REDIS_STREAMS, &peer::FANFARE_SQLITE],
            Row::Replay => &[&peer::REDIS_STREAMS, &peer::FANFARE, &peer::FANFARE_SQLITE],
            Row::Scale => &[&peer::BARE, &peer::PLAIN, &peer::FANFARE],
            Row::Distinct | Row::Sparse => &[&peer::FANFARE],
            Row::Hostile => &[&peer::FANFARE_TOKENS],
            Row::Resources | Row::Storm | Row::Stalled | Row::Soak => &[&peer::FANFARE_SQLITE],
        }
    }

    /// Measures the row.
    pub(crate) async fn run(self, plan: &Plan, readings: &mut Readings) {
        let rounds = if self == Row::Soak { 1 } else { plan.rounds };
        let peers = plan.wanted(self.peers());
        for round in 1..=rounds {
            for peer in peers.iter().copied() {
                if readings.is_out(self, peer.name()) {
                    continue;
                }
                eprintln!("{}, round {round} of {rounds}: {}", self.name(), peer.name());
                let stage = Stage { row: self, plan, peer };
                match self.round(&stage).await {
                    Ok(found) => found.into_iter().for_each(|reading| readings.add(reading)),
                    Err(failure) => readings.fail(self, peer.name(), failure),
                }
            }
        }
    }

    async fn round(self, stage: &Stage<'_>) -> Result<Vec<Reading>, Failure> {
        match self {
            Row::Identical | Row::Authenticated => identical::round(stage).await,
            Row::Distinct => distinct::round(stage).await,
            Row::Groups => groups::round(stage).await,
            Row::Sparse => sparse::round(stage).await,
            Row::Idle => idle::round(stage).await,
            Row::Durable => durable::round(stage).await,
            Row::Resources => resources::round(stage).await,
            Row::Replay => replay::round(stage).await,
            Row::Storm => storm::round(stage).await,
            Row::Stalled => stalled::round(stage).await,
            Row::Hostile => hostile::round(stage).await,
            Row::Scale => scale::round(stage).await,
            Row::Soak => soak::round(stage).await,
        }
    }
}

/// What one round of a row has to work with.
#[derive(Clone, Copy, Debug)]
struct Stage<'a> {
    row: Row,
    plan: &'a Plan,
    peer: &'static dyn Peer,
}

impl Stage<'_> {
    /// A new server.
    async fn server(&self) -> Result<Server, Failure> {
        Server::start(self.peer, &self.plan.place).await
    }

    /// A crowd that has sent its subscriptions.
    async fn connect(
        &self,
        server: &Server,
        audience: Audience,
        connections: usize,
    ) -> Result<Load, Failure> {
        let feed = feed(audience, connections, self.plan.padding_bytes);
        Load::connect(self.peer.dialect(), server.address, feed).await
    }

    /// A crowd of which everybody gets events.
    async fn load(&self, server: &Server, audience: Audience, connections: usize) -> Result<Load, Failure> {
        let mut load = self.connect(server, audience, connections).await?;
        load.subscribed().await?;
        Ok(load)
    }

    fn reading(
        &self,
        setting: impl Into<String>,
        counted: Counted,
        figures: Vec<(&'static str, f64)>,
    ) -> Reading {
        Reading { row: self.row, setting: setting.into(), server: self.peer.name(), counted, figures }
    }

    /// The reading of a run whose figure is the CPU of a delivery.
    fn delivery_reading(&self, setting: impl Into<String>, subscribers: usize, cost: &Cost) -> Reading {
        let us = cost.cpu_us_per_delivery();
        let wall = cost.wall.as_secs_f64();
        let figures = vec![
            (US_PER_DELIVERY, us),
            ("deliveries/s/core", 1e6 / us),
            ("to all p50 ms", cost.tally.to_all.percentile_ms(50)),
            ("to all p99 ms", cost.tally.to_all.percentile_ms(99)),
            ("server busy %", cost.server_cpu.as_secs_f64() / wall * 100.0),
            ("load busy %", cost.load_cpu.as_secs_f64() / wall * 100.0),
        ];
        self.reading(setting, delivered(subscribers, cost.events, &cost.tally), figures)
    }
}

/// What a run moved.
fn delivered(subscribers: usize, events: usize, tally: &Tally) -> Counted {
    let bytes = tally.message_bytes as f64 / tally.delivered.max(1) as f64;
    Counted { events, subscribers, bytes, checked: tally.delivered, what: "delivered" }
}
