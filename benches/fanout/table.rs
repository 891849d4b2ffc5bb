//! The report: samples of all rounds become one row for each server and setting, with its ratio to every other server.
//!
//! Flow: takes the samples from `main`, gives a table for people or JSON for programs.
//! Invariants: numbers are medians over the rounds; a server that failed in any round has no row, only its reason.
//! Not here: measuring.

use crate::{
    failure::Failure,
    scenario::{IdleSample, Sample},
    server_process::ServerKind,
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

/// Everything that was measured, round after round.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    pub(crate) identical: Vec<(ServerKind, Sample)>,
    pub(crate) idle: Vec<(ServerKind, IdleSample)>,
    pub(crate) failures: Vec<(ServerKind, Failure)>,
}

impl Samples {
    /// Has this server failed already?
    pub(crate) fn has_failed(&self, kind: ServerKind) -> bool {
        self.failures.iter().any(|(failed, _)| *failed == kind)
    }
}

/// Where and how the numbers came about.
#[derive(Debug, Serialize)]
pub(crate) struct Header {
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) kernel: String,
    pub(crate) cores: usize,
    pub(crate) pinned: bool,
    pub(crate) rounds: usize,
    /// Were all rounds run?
    pub(crate) finished: bool,
}

/// The report of one bench.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    header: Header,
    identical: Vec<IdenticalRow>,
    idle: Vec<IdleRow>,
    goals: Vec<Goal>,
    failures: BTreeMap<&'static str, String>,
}

/// A number over the rounds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

/// This server's number divided by that of the server named; below 1 is better than it.
type Ratios = BTreeMap<&'static str, f64>;

#[derive(Debug, Serialize)]
struct IdenticalRow {
    server: ServerKind,
    in_flight: usize,
    rounds: usize,
    events: usize,
    subscribers: usize,
    frame_bytes: f64,
    delivered: u64,
    cpu_us_per_delivery: Spread,
    deliveries_per_core_second: f64,
    ratios: Ratios,
    to_all_p50_ms: f64,
    to_all_p99_ms: f64,
    server_busy: f64,
    load_busy: f64,
}

#[derive(Debug, Serialize)]
struct IdleRow {
    server: ServerKind,
    connections: usize,
    connect_cpu_us: Spread,
    idle_kb: Spread,
    after_burst_kb: Spread,
    socket_buffers_kb: f64,
    ratios: Ratios,
}

/// One of the numbers that `make bench` has to show.
#[derive(Debug, Serialize)]
struct Goal {
    goal: &'static str,
    found: f64,
    met: bool,
}

impl Report {
    /// Makes rows in the order in which `kinds` and `in_flight` were given.
    pub(crate) fn new(header: Header, kinds: &[ServerKind], in_flight: &[usize], samples: &Samples) -> Self {
        let sound = || kinds.iter().copied().filter(|kind| !samples.has_failed(*kind));
        let mut identical: Vec<_> = in_flight
            .iter()
            .flat_map(|window| sound().filter_map(|kind| IdenticalRow::new(kind, *window, samples)))
            .collect();
        for window in in_flight {
            let costs = costs(
                identical
                    .iter()
                    .filter(|row| row.in_flight == *window)
                    .map(|row| (row.server, row.cpu_us_per_delivery)),
            );
            for row in identical.iter_mut().filter(|row| row.in_flight == *window) {
                row.ratios = ratios(row.cpu_us_per_delivery, &costs);
            }
        }
        let mut idle: Vec<_> = sound().filter_map(|kind| IdleRow::new(kind, samples)).collect();
        let costs = costs(idle.iter().map(|row| (row.server, row.idle_kb)));
        for row in &mut idle {
            row.ratios = ratios(row.idle_kb, &costs);
        }
        let failures =
            samples.failures.iter().map(|(kind, failure)| (kind.name(), failure.to_string())).collect();
        let goals = goals(&identical, &idle);
        Report { header, identical, idle, goals, failures }
    }
}

impl IdenticalRow {
    fn new(server: ServerKind, in_flight: usize, samples: &Samples) -> Option<Self> {
        let of = |samples: &Samples| -> Vec<Sample> {
            let own = samples
                .identical
                .iter()
                .filter(|(kind, sample)| *kind == server && sample.in_flight == in_flight);
            own.map(|(_, sample)| *sample).collect()
        };
        let rounds = of(samples);
        let first = rounds.first()?;
        let median = |number: fn(&Sample) -> f64| Spread::of(rounds.iter().map(number)).median;
        let cost = Spread::of(rounds.iter().map(|sample| sample.cpu_us_per_delivery));
        Some(IdenticalRow {
            server,
            in_flight,
            rounds: rounds.len(),
            events: first.events,
            subscribers: first.subscribers,
            frame_bytes: median(|sample| sample.frame_bytes),
            delivered: first.delivered,
            cpu_us_per_delivery: cost,
            deliveries_per_core_second: 1e6 / cost.median,
            ratios: Ratios::new(),
            to_all_p50_ms: median(|sample| sample.to_all_p50_ms),
            to_all_p99_ms: median(|sample| sample.to_all_p99_ms),
            server_busy: median(|sample| sample.server_busy),
            load_busy: median(|sample| sample.load_busy),
        })
    }
}

impl IdleRow {
    fn new(server: ServerKind, samples: &Samples) -> Option<Self> {
        let own = || samples.idle.iter().filter(|(kind, _)| *kind == server).map(|(_, sample)| sample);
        let spread = |number: fn(&IdleSample) -> f64| Spread::of(own().map(number));
        Some(IdleRow {
            server,
            connections: own().next()?.connections,
            connect_cpu_us: spread(|sample| sample.connect_cpu_us),
            idle_kb: spread(|sample| sample.idle_kb),
            after_burst_kb: spread(|sample| sample.after_burst_kb),
            socket_buffers_kb: spread(|sample| sample.socket_buffers_kb).median,
            ratios: Ratios::new(),
        })
    }
}

impl Spread {
    fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = numbers.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
        let (half, last) = (sorted.len() / 2, sorted.len().saturating_sub(1));
        let median =
            if sorted.len() % 2 == 1 { at(half) } else { (at(half.saturating_sub(1)) + at(half)) / 2.0 };
        Spread { median, min: at(0), max: at(last) }
    }
}

fn costs(rows: impl Iterator<Item = (ServerKind, Spread)>) -> Vec<(ServerKind, f64)> {
    rows.map(|(kind, cost)| (kind, cost.median)).collect()
}

fn ratios(own: Spread, costs: &[(ServerKind, f64)]) -> Ratios {
    costs.iter().map(|(kind, cost)| (kind.name(), own.median / cost)).collect()
}

/// The goals of the first release, for those rows that are there.
fn goals(identical: &[IdenticalRow], idle: &[IdleRow]) -> Vec<Goal> {
    let row = identical.iter().find(|row| row.server == ServerKind::Fanfare && row.in_flight == 64);
    let ratio = |kind: ServerKind| row.and_then(|row| row.ratios.get(kind.name())).copied();
    let memory = idle.iter().find(|row| row.server == ServerKind::Fanfare).map(|row| row.idle_kb.median);
    let goals = [
        ratio(ServerKind::Naive).map(|ratio| {
            ("64 in flight, times better than naive: at least 15", 1.0 / ratio, ratio <= 1.0 / 15.0)
        }),
        ratio(ServerKind::Plain)
            .map(|ratio| ("64 in flight, CPU of plain's: at most 1.3", ratio, ratio <= 1.3)),
        memory.map(|kb| ("KB for an idle subscribed connection: at most 12", kb, kb <= 12.0)),
    ];
    goals.into_iter().flatten().map(|(goal, found, met)| Goal { goal, found, met }).collect()
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Header { date, cpu, kernel, cores, pinned, rounds, finished } = &self.header;
        let pins =
            if *pinned { "server on core 0, load on core 1" } else { "NOT PINNED: one core, or no taskset" };
        writeln!(
            f,
            "{date} | {cpu}, {cores} cores | Linux {kernel} | {pins} | medians of {rounds} rounds\n"
        )?;
        self.write_identical(f)?;
        self.write_idle(f)?;
        for Goal { goal, found, met } in &self.goals {
            writeln!(f, "{} {goal}; found {found:.2}", if *met { "met   " } else { "MISSED" })?;
        }
        if !finished {
            writeln!(f, "INCOMPLETE: the time limit came first; give more --time-limit-s or fewer --rounds")?;
        }
        for (server, reason) in &self.failures {
            writeln!(f, "INVALID {server}: {reason}")?;
        }
        Ok(())
    }
}

impl Report {
    fn write_identical(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut head = columns(&[
            "identical",
            "in flight",
            "rounds",
            "events",
            "subscribers",
            "bytes",
            "delivered",
            "us CPU/delivery",
            "min..max",
            "deliveries/s/core",
            "to all ms p50",
            "p99",
            "server busy",
            "load busy",
        ]);
        let peers = peers(self.identical.iter().map(|row| row.server));
        head.extend(peers.iter().map(|peer| format!("of {peer}")));
        let mut rows = vec![head];
        for row in &self.identical {
            let cost = row.cpu_us_per_delivery;
            let mut cells = vec![
                row.server.name().to_owned(),
                row.in_flight.to_string(),
                row.rounds.to_string(),
                row.events.to_string(),
                row.subscribers.to_string(),
                format!("{:.0}", row.frame_bytes),
                row.delivered.to_string(),
                format!("{:.2}", cost.median),
                format!("{:.2}..{:.2}", cost.min, cost.max),
                format!("{:.0} k", row.deliveries_per_core_second / 1e3),
                format!("{:.1}", row.to_all_p50_ms),
                format!("{:.1}", row.to_all_p99_ms),
                format!("{:.0} %", row.server_busy * 100.0),
                format!("{:.0} %", row.load_busy * 100.0),
            ];
            cells.extend(ratio_cells(&peers, &row.ratios));
            rows.push(cells);
        }
        write_rows(f, &rows)
    }

    fn write_idle(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut head = columns(&[
            "idle",
            "connections",
            "connect us CPU",
            "min..max",
            "KB/connection",
            "min..max",
            "KB after a burst",
            "KB socket buffers",
        ]);
        let peers = peers(self.idle.iter().map(|row| row.server));
        head.extend(peers.iter().map(|peer| format!("KB of {peer}")));
        let mut rows = vec![head];
        for row in &self.idle {
            let (cpu, memory) = (row.connect_cpu_us, row.idle_kb);
            let mut cells = vec![
                row.server.name().to_owned(),
                row.connections.to_string(),
                format!("{:.0}", cpu.median),
                format!("{:.0}..{:.0}", cpu.min, cpu.max),
                format!("{:.1}", memory.median),
                format!("{:.1}..{:.1}", memory.min, memory.max),
                format!("{:.1}", row.after_burst_kb.median),
                format!("{:.1}", row.socket_buffers_kb),
            ];
            cells.extend(ratio_cells(&peers, &row.ratios));
            rows.push(cells);
        }
        write_rows(f, &rows)
    }
}

fn columns(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The servers of these rows, each once.
fn peers(servers: impl Iterator<Item = ServerKind>) -> Vec<&'static str> {
    let mut names = Vec::new();
    for server in servers {
        if !names.contains(&server.name()) {
            names.push(server.name());
        }
    }
    names
}

fn ratio_cells(peers: &[&str], ratios: &Ratios) -> Vec<String> {
    let cell = |peer: &&str| ratios.get(peer).map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    peers.iter().map(cell).collect()
}

/// Writes the rows as a Markdown table with aligned columns; nothing when there is only a head.
fn write_rows(f: &mut Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let [head, body @ ..] = rows else { return Ok(()) };
    if body.is_empty() {
        return Ok(());
    }
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    for row in [head, &rule].into_iter().chain(body) {
        for (place, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match place {
                0 => write!(f, "| {cell:<width$} |")?,
                _ => write!(f, " {cell:>width$} |")?,
            }
        }
        writeln!(f)?;
    }
    writeln!(f)
}
