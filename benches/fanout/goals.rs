//! The goals: what the rows must show, and whether they do.
//!
//! Invariants: a goal over two servers is the ratio of their medians, measured in the same run; a goal whose row was run and
//! whose number is missing says so and counts as missed.

use crate::{report::Line, rows::Row};
use Found::{Number, Ratio};
use serde::Serialize;

/// CPU of the server, the figure of most rows.
pub(crate) const US_PER_DELIVERY: &str = "us CPU/delivery";
pub(crate) const US_PER_EVENT: &str = "us CPU/event";
pub(crate) const US_TO_CONNECT: &str = "us CPU to connect";
pub(crate) const KB_IDLE: &str = "KB idle";
pub(crate) const KB_AFTER_BURST: &str = "KB after burst";
pub(crate) const PUBLISHES_PER_S: &str = "publishes/s";
pub(crate) const CHANGES_PER_S: &str = "changes/s";
pub(crate) const EVENTS_PER_S: &str = "events/s";
pub(crate) const P99_MS: &str = "p99 ms";
pub(crate) const P99_RATIO: &str = "p99 during/before";
pub(crate) const KB_PER_CLIENT: &str = "KB/client at peak";
pub(crate) const KB_HELD: &str = "KB held";
pub(crate) const MEMORY_GROWTH: &str = "memory last/first";
pub(crate) const FILES_GROWTH: &str = "files last/first";

/// What a goal asks of a number.
#[derive(Clone, Copy, Debug)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Limit {
    fn is_kept(self, found: f64) -> bool {
        match self {
            Limit::AtMost(most) => found <= most,
            Limit::AtLeast(least) => found >= least,
        }
    }

    fn text(self) -> String {
        match self {
            Limit::AtMost(most) => format!("<= {most}"),
            Limit::AtLeast(least) => format!(">= {least}"),
        }
    }
}

/// A number of one line, named by setting, server and figure.
type Place = (&'static str, &'static str, &'static str);

/// What a goal looks at.
#[derive(Debug)]
enum Found {
    Number(Place),
    /// The first divided by the second.
    Ratio(Place, Place),
}

#[derive(Debug)]
struct Goal {
    row: Row,
    measure: &'static str,
    found: Found,
    must: Option<Limit>,
    wanted: Option<Limit>,
}

/// A goal beside what was found.
#[derive(Debug, Serialize)]
pub(crate) struct Judged {
    pub(crate) row: Row,
    pub(crate) measure: &'static str,
    pub(crate) must: Option<String>,
    pub(crate) wanted: Option<String>,
    /// The number that the goal is about.
    pub(crate) value: Option<f64>,
    /// What it is divided by, when the goal is a ratio.
    pub(crate) beside: Option<f64>,
    /// What is held against the limits.
    pub(crate) found: Option<f64>,
    pub(crate) is_reached: Option<bool>,
    pub(crate) is_wanted_reached: Option<bool>,
}

/// Holds the lines against the goals of the rows that were run.
pub(crate) fn judge(rows: &[Row], lines: &[Line]) -> Vec<Judged> {
    let number = |row: Row, (setting, server, figure): Place| {
        let line =
            lines.iter().find(|line| line.row == row && line.setting == setting && line.server == server);
        line.and_then(|line| line.figure(figure))
    };
    let goals = goals().into_iter().filter(|goal| rows.contains(&goal.row));
    goals
        .map(|goal| {
            let (value, beside, found) = match goal.found {
                Found::Number(own) => {
                    let own = number(goal.row, own);
                    (own, None, own)
                }
                Found::Ratio(own, other) => {
                    let (own, other) = (number(goal.row, own), number(goal.row, other));
                    (own, other, own.zip(other).map(|(own, other)| own / other))
                }
            };
            let is_kept = |limit: Limit| found.is_some_and(|found| limit.is_kept(found));
            Judged {
                row: goal.row,
                measure: goal.measure,
                must: goal.must.map(Limit::text),
                wanted: goal.wanted.map(Limit::text),
                value,
                beside,
                found,
                is_reached: goal.must.map(is_kept),
                is_wanted_reached: goal.wanted.map(is_kept),
            }
        })
        .collect()
}

const OURS: &str = "fanfare";
const TOKENS: &str = "fanfare-tokens";
const TELLING: &str = "fanfare-self-events";
const DISK: &str = "fanfare-sqlite";
const ONE: &str = "1 in flight";
const SOME: &str = "64 in flight";
const MANY: &str = "256 in flight";

fn against(setting: &'static str, peer: &'static str) -> Found {
    Found::Ratio((setting, OURS, US_PER_DELIVERY), (setting, peer, US_PER_DELIVERY))
}

fn of_anonymous(setting: &'static str) -> Found {
    Found::Ratio((setting, TOKENS, US_PER_DELIVERY), (setting, OURS, US_PER_DELIVERY))
}

fn of_silent(setting: &'static str) -> Found {
    Found::Ratio((setting, TELLING, US_PER_DELIVERY), (setting, OURS, US_PER_DELIVERY))
}

const fn most(limit: f64) -> Option<Limit> {
    Some(Limit::AtMost(limit))
}

const fn least(limit: f64) -> Option<Limit> {
    Some(Limit::AtLeast(limit))
}

fn goal(row: Row, measure: &'static str, found: Found, must: Option<Limit>, wanted: Option<Limit>) -> Goal {
    Goal { row, measure, found, must, wanted }
}

/// The goals table of the project, row by row.
fn goals() -> Vec<Goal> {
    [fan_out_goals(), connection_goals(), log_goals(), endurance_goals()].into_iter().flatten().collect()
}

fn fan_out_goals() -> Vec<Goal> {
    let (identical, us) = (Row::Identical, US_PER_DELIVERY);
    let better = Ratio((SOME, "naive", us), (SOME, OURS, us));
    let filters = Ratio(("distinct", OURS, us), ("identical", OURS, us));
    let groups = Number(("groups", OURS, us));
    let sparse = Ratio(("many filters", OURS, US_PER_EVENT), ("few filters", OURS, US_PER_EVENT));
    vec![
        goal(identical, "64 in flight, of Redis's CPU", against(SOME, "redis"), most(1.3), most(1.0)),
        goal(identical, "64 in flight, times better than naive", better, least(25.0), None),
        goal(identical, "256 in flight, of Redis's CPU", against(MANY, "redis"), most(1.0), most(0.8)),
        goal(identical, "1 in flight, of plain's CPU", against(ONE, "plain"), most(1.1), None),
        goal(identical, "1 in flight, of Redis's CPU", against(ONE, "redis"), None, most(1.0)),
        goal(identical, "64 in flight, of the CPU without self events", of_silent(SOME), most(1.05), None),
        goal(identical, "1 in flight, of the CPU without self events", of_silent(ONE), most(1.05), None),
        goal(Row::Authenticated, "64 in flight, of the anonymous CPU", of_anonymous(SOME), most(1.1), None),
        goal(Row::Authenticated, "256 in flight, of the anonymous CPU", of_anonymous(MANY), most(1.1), None),
        goal(Row::Authenticated, "1 in flight, of the anonymous CPU", of_anonymous(ONE), most(1.1), None),
        goal(Row::Distinct, "of identical filters' CPU", filters, most(1.5), most(1.0)),
        goal(Row::Groups, "us CPU a delivery", groups, most(12.0), most(8.0)),
        goal(Row::Sparse, "many filters, of the CPU of few", sparse, most(1.5), None),
    ]
}

fn connection_goals() -> Vec<Goal> {
    let own = |figure| Number(("idle", OURS, figure));
    let more = Ratio(("more", OURS, US_PER_DELIVERY), ("fewest", OURS, US_PER_DELIVERY));
    let all = Ratio(("most", OURS, US_PER_DELIVERY), ("fewest", OURS, US_PER_DELIVERY));
    vec![
        goal(Row::Idle, "KB a connection", own(KB_IDLE), most(10.0), most(5.0)),
        goal(Row::Idle, "KB a connection after a burst", own(KB_AFTER_BURST), most(10.0), most(5.0)),
        goal(Row::Idle, "us CPU to connect and subscribe", own(US_TO_CONNECT), most(80.0), most(50.0)),
        goal(Row::Scale, "CPU a delivery, more of fewest", more, most(1.2), None),
        goal(Row::Scale, "CPU a delivery, most of fewest", all, most(1.2), None),
    ]
}

fn log_goals() -> Vec<Goal> {
    let rate = |setting, server| (setting, server, PUBLISHES_PER_S);
    let (single, batch) = ("one by one", "batches of 100");
    let of_redis = |setting| Ratio(rate(setting, DISK), rate(setting, "redis-streams"));
    let replay = Number(("replay", DISK, EVENTS_PER_S));
    let changes = |setting| Number((setting, DISK, CHANGES_PER_S));
    vec![
        goal(Row::Durable, "one by one, publishes/s", Number(rate(single, DISK)), least(40e3), None),
        goal(Row::Durable, "one by one, of Redis Streams", of_redis(single), None, least(1.0)),
        goal(Row::Durable, "batches of 100, publishes/s", Number(rate(batch, DISK)), least(150e3), None),
        goal(Row::Durable, "batches of 100, of Redis Streams", of_redis(batch), None, least(1.0)),
        goal(Row::Resources, "agents' status, changes/s", changes("agents' status"), least(5e3), None),
        goal(Row::Resources, "new tasks, changes/s", changes("new tasks"), least(5e3), None),
        goal(Row::Replay, "events/s to one client", replay, least(200e3), least(400e3)),
    ]
}

fn endurance_goals() -> Vec<Goal> {
    let number = |setting, figure| Number((setting, DISK, figure));
    let stalled = "with a stalled reader";
    let p99 = Ratio((stalled, DISK, P99_MS), ("without", DISK, P99_MS));
    vec![
        goal(Row::Storm, "live p99, during of before", number("storm", P99_RATIO), most(2.0), most(1.3)),
        goal(Row::Storm, "KB a client at the peak", number("storm", KB_PER_CLIENT), most(64.0), None),
        goal(
            Row::Hostile,
            "honest p99, during of before",
            Number(("hostile", TOKENS, P99_RATIO)),
            most(1.5),
            None,
        ),
        goal(Row::Stalled, "others' p99, with of without", p99, most(1.2), None),
        goal(Row::Stalled, "KB held for it", number(stalled, KB_HELD), most(2048.0), None),
        goal(Row::Soak, "memory, last of first", number("soak", MEMORY_GROWTH), most(1.05), None),
        goal(Row::Soak, "open files, last of first", number("soak", FILES_GROWTH), most(1.05), None),
    ]
}
