//! What a load is to be: the flags, and the checked [`Plan`] that they make.
//!
//! Invariants: a flag that means nothing in the chosen scenario is an error and not ignored.

use super::{
    super::{Failure, target::TargetArguments},
    tick::{DATA_BYTES_MIN, EVENT_TYPE},
};
use clap::{Args, ValueEnum};
use fanfare::event::{EventType, TypePattern};
use std::{num::NonZeroUsize, time::Duration};

const EXAMPLES: &str = "\
Every delivery is checked: each subscription must get each of its events once and in order. Lost, repeated or reordered \
events, closed connections and refusals end with exit code 1.

With --rate the load is open: events are due by the clock, whatever the server does, and latency counts from when an event \
was due if its publisher was still waiting for an earlier answer (corrected for coordinated omission). Without it each \
publisher sends its next request when the last one is acknowledged, and latency counts from sending.

Examples:
  fanfare bench                                               # 100 subscribers, as fast as acknowledged
  fanfare bench fanout --connections 5000 --rate 100 --duration 30s
  fanfare bench fanout --connections 1000 --filters distinct --rate 2000 --publishers 16
  fanfare bench fanout --filter bench.tick --filter 'agent.*' # every second subscription matches
  fanfare bench publish --publishers 32 --batch 10
  fanfare bench replay --events 100000 --connections 50
  fanfare bench storm --connections 2000 --rate 200 --duration 30s --json

A connection needs an open file: raise the limit with `ulimit -n`. Events stay in the server's log (type bench.tick, source \
/fanfare-bench).";

/// The most bytes of a request; more is no load but a mistake.
const REQUEST_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Retention and memory have an end.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Scenario {
    /// Publish to subscribers: time from publish to delivery, deliveries a second.
    Fanout,
    /// Publish alone: acknowledged (durable) events a second, time to the acknowledgement.
    Publish,
    /// Fill the log, then every connection reads all of it from `earliest`: events a second.
    Replay,
    /// Subscribers drop all at once and resume by cursor while publishing goes on: time to catch up.
    Storm,
}

/// Who gets which event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Filters {
    /// All subscriptions have the same filter: each gets each event.
    Same,
    /// Each subscription has a filter of its own: each event is for one of them.
    Distinct,
}

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(in crate::cli) struct Arguments {
    /// What to measure.
    #[arg(value_enum, default_value = "fanout")]
    scenario: Scenario,
    /// WebSocket connections [default: 100].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: Option<u32>,
    /// Subscriptions of each connection [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    subscriptions: Option<u32>,
    /// Does every subscription get every event, or each its own? [default: same]
    #[arg(long, value_enum, conflicts_with = "filter")]
    filters: Option<Filters>,
    /// Type pattern of the subscriptions, in turn where there are several; those that do not match bench.tick only cost.
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    filter: Vec<TypePattern>,
    /// Events a second of all publishers together; 0 for as fast as they are acknowledged [default: 0; storm: 200].
    #[arg(long, value_name = "EVENTS/S", value_parser = rate)]
    rate: Option<f64>,
    /// How long events are published, such as 500ms, 10s or 2m [default: 10s; replay: until all is read].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Bytes of each event's data, at least 128.
    #[arg(long, value_name = "BYTES", default_value_t = DATA_BYTES_MIN, value_parser = payload)]
    payload: usize,
    /// Publishers; each has one request on the way at a time.
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    publishers: u16,
    /// Events of each request [default: 1; replay: 100].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: Option<u16>,
    /// Events to fill the log with before a replay [default: 10000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    events: Option<u64>,
    /// New connections a second [default: as fast as 64 at a time are accepted; in a storm all at once].
    #[arg(long, value_name = "N/S", value_parser = rate)]
    connect_rate: Option<f64>,
    /// Threads of the load tester [default: one for each core].
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Write the result as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
    /// Show no progress.
    #[arg(long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) target: TargetArguments,
}

/// A load that makes sense.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) scenario: Scenario,
    /// 0 where there are none.
    pub(super) connections: usize,
    /// Of each connection.
    pub(super) subscriptions: usize,
    pub(super) filters: Filters,
    /// The subscriptions' type patterns, in turn; never empty.
    pub(super) patterns: Vec<TypePattern>,
    /// Events a second; none for as fast as acknowledged.
    pub(super) rate: Option<f64>,
    /// Of publishing; none in a replay.
    pub(super) duration: Option<Duration>,
    /// Bytes of data.
    pub(super) payload: usize,
    pub(super) publishers: usize,
    /// Events of a request.
    pub(super) batch: usize,
    /// Events to publish; none for as many as the duration allows.
    pub(super) events: Option<u64>,
    pub(super) connect_rate: Option<f64>,
    pub(super) threads: usize,
}

impl Arguments {
    /// Checks what the flags mean together.
    pub(super) fn plan(&self) -> Result<Plan, Failure> {
        self.check_scenario()?;
        let (scenario, is_replay) = (self.scenario, self.scenario == Scenario::Replay);
        let batch = usize::from(self.batch.unwrap_or(if is_replay { 100 } else { 1 }));
        if self.payload.saturating_mul(batch) > REQUEST_BYTES_MAX {
            return Err(Failure::usage(format!(
                "--payload {} times --batch {batch} is more than 256 MiB a request; lower one of them",
                self.payload
            )));
        }
        let patterns = match self.filter.is_empty() {
            true => vec![pattern(EVENT_TYPE).map_err(Failure::usage)?],
            false => self.filter.clone(),
        };
        let tick = EventType::parse(EVENT_TYPE, "type").map_err(Failure::usage)?;
        if !patterns.iter().any(|pattern| pattern.matches(&tick)) {
            return Err(Failure::usage(format!(
                "--filter: none of the patterns matches {EVENT_TYPE}, so nothing would be delivered; add one that does"
            )));
        }
        let rate = self.rate.unwrap_or(if scenario == Scenario::Storm { 200.0 } else { 0.0 });
        let count = |given: Option<u32>, default: u32| given.unwrap_or(default) as usize;
        Ok(Plan {
            scenario,
            connections: if scenario == Scenario::Publish { 0 } else { count(self.connections, 100) },
            subscriptions: count(self.subscriptions, 1),
            filters: self.filters.unwrap_or(Filters::Same),
            patterns,
            rate: Some(rate).filter(|rate| *rate > 0.0),
            duration: (!is_replay).then(|| self.duration.unwrap_or(Duration::from_secs(10))),
            payload: self.payload,
            publishers: usize::from(self.publishers),
            batch,
            events: is_replay.then(|| self.events.unwrap_or(10_000)),
            connect_rate: self.connect_rate.filter(|rate| *rate > 0.0),
            threads: self
                .threads
                .or_else(|| std::thread::available_parallelism().ok())
                .map_or(2, NonZeroUsize::get),
        })
    }

    fn check_scenario(&self) -> Result<(), Failure> {
        let subscribing = [
            ("--connections", self.connections.is_some()),
            ("--subscriptions", self.subscriptions.is_some()),
            ("--filters", self.filters.is_some()),
            ("--filter", !self.filter.is_empty()),
            ("--connect-rate", self.connect_rate.is_some()),
        ];
        let paced = [("--rate", self.rate.is_some()), ("--duration", self.duration.is_some())];
        let (name, useless): (_, Vec<_>) = match self.scenario {
            Scenario::Publish => ("publish, which has no subscribers", subscribing.to_vec()),
            Scenario::Replay => ("replay, which ends when --events are read", paced.to_vec()),
            Scenario::Fanout | Scenario::Storm => ("this scenario, only in replay", Vec::new()),
        };
        let events = ("--events", self.events.is_some() && self.scenario != Scenario::Replay);
        match useless.into_iter().chain([events]).find(|(_, is_given)| *is_given) {
            Some((flag, _)) => Err(Failure::usage(format!("{flag} means nothing in {name}"))),
            None => Ok(()),
        }
    }
}

fn pattern(text: &str) -> Result<TypePattern, String> {
    TypePattern::parse(text, "pattern").map_err(|refusal| refusal.message.into_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate == 0.0 || (0.001..=10_000_000.0).contains(&rate) => Ok(rate),
        Ok(_) | Err(_) => Err("allowed is 0, or 0.001 to 10000000 a second".to_owned()),
    }
}

fn payload(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|bytes| (DATA_BYTES_MIN..=REQUEST_BYTES_MAX).contains(bytes));
    bytes.ok_or_else(|| format!("allowed is a number of bytes from {DATA_BYTES_MIN} to {REQUEST_BYTES_MAX}"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    let given = units.iter().find_map(|(unit, seconds)| {
        let count: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Duration::try_from_secs_f64(count * seconds).ok()
    });
    given
        .filter(|given| (Duration::from_millis(100)..=DURATION_MAX).contains(given))
        .ok_or_else(|| "allowed is 100ms to 24h, written as 500ms, 10s, 2m or 1h".to_owned())
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
