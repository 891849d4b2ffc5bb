//! The report: readings of all rounds become one line for each row, setting and server, and the goals are judged by them.
//!
//! Flow: rows add readings; the end makes tables for people or JSON for programs.
//! Invariants: numbers are medians over the rounds; a server that failed in any round of a row has no line there, only its
//! reason.
//! Not here: measuring (`rows`), the goals themselves (`goals`), aligned columns (`table`).

use crate::{
    failure::Failure,
    goals::{self, Judged},
    machine::Situation,
    peer::{self, Launch, Peer},
    plan::Plan,
    rows::Row,
};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path, process::Command};

/// One round of one server in one setting of a row.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) row: Row,
    pub(crate) setting: String,
    pub(crate) server: &'static str,
    pub(crate) counted: Counted,
    /// Names with their units; the first is what the row is about.
    pub(crate) figures: Vec<(&'static str, f64)>,
}

/// What was moved for a reading.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Counted {
    pub(crate) events: usize,
    pub(crate) subscribers: usize,
    /// The mean length of a message without the header of the transport, or of a publish.
    pub(crate) bytes: f64,
    /// Deliveries that were checked, or publishes that were acknowledged.
    pub(crate) checked: u64,
    pub(crate) what: &'static str,
}

/// Where and how the numbers came about.
#[derive(Debug, Serialize)]
pub(crate) struct Header {
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) kernel: String,
    pub(crate) cores: usize,
    pub(crate) pinned: bool,
    pub(crate) quick: bool,
    pub(crate) command: String,
    pub(crate) before: Situation,
    pub(crate) after: Situation,
    /// The share of all cores' time that a hypervisor gave to other machines meanwhile.
    pub(crate) stolen: f64,
    pub(crate) took_s: u64,
    /// Were all rounds run?
    pub(crate) finished: bool,
}

/// A number over the rounds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// A server in one setting of a row.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) row: Row,
    pub(crate) setting: String,
    pub(crate) server: &'static str,
    pub(crate) rounds: usize,
    #[serde(flatten)]
    pub(crate) counted: Counted,
    pub(crate) figures: Vec<Figure>,
}

/// One number of a line.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    #[serde(flatten)]
    pub(crate) spread: Spread,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    readings: Vec<Reading>,
    failures: Vec<(Row, &'static str, Failure)>,
}

impl Readings {
    /// Keeps what one round brought.
    pub(crate) fn add(&mut self, reading: Reading) {
        self.readings.push(reading);
    }

    /// Keeps why a server has no line in a row.
    pub(crate) fn fail(&mut self, row: Row, server: &'static str, failure: Failure) {
        eprintln!("  {server}: {failure}");
        self.failures.push((row, server, failure));
    }

    /// Has this server failed in this row, or is it not installed?
    pub(crate) fn is_out(&self, row: Row, server: &str) -> bool {
        self.failures.iter().any(|(failed_row, failed, failure)| {
            *failed == server && (*failed_row == row || failure.is_absence())
        })
    }
}

/// The report of one bench.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) header: Header,
    pub(crate) lines: Vec<Line>,
    pub(crate) goals: Vec<Judged>,
    pub(crate) commands: BTreeMap<&'static str, String>,
    /// Servers that are not installed, with how to install them.
    pub(crate) left_out: Vec<String>,
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// Makes lines in the order in which they were measured first.
    pub(crate) fn new(header: Header, plan: &Plan, readings: &Readings) -> Self {
        let mut lines: Vec<Line> = Vec::new();
        for reading in &readings.readings {
            let is_known = lines.iter().any(|line| line.is_of(reading));
            if !is_known && !readings.is_out(reading.row, reading.server) {
                let own: Vec<_> = readings.readings.iter().filter(|other| same(reading, other)).collect();
                lines.push(Line::new(reading, &own));
            }
        }
        let (mut left_out, mut failures) = (Vec::new(), Vec::new());
        for (row, server, failure) in &readings.failures {
            match failure.is_absence() {
                true => left_out.push(format!("{server}: {failure}")),
                false => failures.push(format!("{}, {server}: {failure}", row.name())),
            }
        }
        let goals = goals::judge(&plan.rows, &lines);
        let is_shown = |peer: &&dyn Peer| lines.iter().any(|line| line.server == peer.name());
        let commands = peer::ALL.into_iter().filter(|peer| is_shown(peer));
        let commands = commands.map(|peer| (peer.name(), command(peer, plan))).collect();
        Report { header, lines, goals, commands, left_out, failures }
    }

    /// Was everything run, is every line valid, and did nothing grow in a soak that was long enough to tell?
    pub(crate) fn is_sound(&self) -> bool {
        let grows = |goal: &Judged| goal.row == Row::Soak && goal.is_reached == Some(false);
        let has_grown = !self.header.quick && self.goals.iter().any(grows);
        self.header.finished && self.failures.is_empty() && !has_grown
    }
}

/// How a server was started, for whoever wants to do it again.
fn command(peer: &dyn Peer, plan: &Plan) -> String {
    let Ok(launch) = peer.launch(&plan.place, Path::new("DIR")) else { return String::new() };
    let program = launch.program.file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(launch.arguments.iter().map(AsRef::as_ref));
    let words = words.map(|word| match word.to_string_lossy() {
        word if word.is_empty() => "''".to_owned(),
        word => word.replace(concat!(env!("CARGO_MANIFEST_DIR"), "/"), ""),
    });
    let command = words.collect::<Vec<_>>().join(" ");
    match version(peer, &launch) {
        Some(version) => format!("{command} ({version})"),
        None => command,
    }
}

/// What the program says of itself.
fn version(peer: &dyn Peer, launch: &Launch) -> Option<String> {
    let output = Command::new(&launch.program).arg(peer.version_flag()?).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // Redis goes on with how it was built.
    text.lines().next()?.split(" sha=").next().map(str::to_owned)
}

fn same(one: &Reading, other: &Reading) -> bool {
    one.row == other.row && one.setting == other.setting && one.server == other.server
}

impl Line {
    fn new(first: &Reading, rounds: &[&Reading]) -> Self {
        let spread = |name: &str| {
            let numbers = rounds.iter().filter_map(|round| {
                round.figures.iter().find(|(other, _)| *other == name).map(|(_, number)| *number)
            });
            Spread::of(numbers)
        };
        let figures = first.figures.iter().map(|(name, _)| Figure { name, spread: spread(name) });
        Line {
            row: first.row,
            setting: first.setting.clone(),
            server: first.server,
            rounds: rounds.len(),
            counted: first.counted,
            figures: figures.collect(),
        }
    }

    fn is_of(&self, reading: &Reading) -> bool {
        self.row == reading.row && self.setting == reading.setting && self.server == reading.server
    }

    /// The median of a figure.
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.spread.median)
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
