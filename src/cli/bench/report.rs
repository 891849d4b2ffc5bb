//! The result of a run: what was measured, what was checked, and the verdict; as a table and as JSON.
//!
//! Invariants: whatever was counted is shown; the verdict is good only when every acknowledged event came to everybody whom it
//! was for, once and in order, and the run was what the plan asked for.

use super::{
    arguments::{Filters, Plan},
    conduct::Outcome,
    load::Load,
    sequence::Faults,
    subscription::Subscription,
    tally::Latencies,
};
use clap::ValueEnum;
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// Below this part of the rate that was asked for, the load was another one.
const RATE_REACHED: f64 = 0.98;
/// A tester whose timers are later than this measures itself. Timers have a grain of a millisecond.
const TESTER_LATE_MS: f64 = 5.0;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) scenario: String,
    pub(super) target: String,
    pub(super) run: String,
    pub(super) connections: u64,
    pub(super) subscriptions_each: u64,
    pub(super) filters: String,
    pub(super) publishers: u64,
    pub(super) batch: u64,
    pub(super) payload_bytes: u64,
    /// Events a second that were asked for; none for as fast as acknowledged.
    pub(super) rate: Option<f64>,
    pub(super) interrupted: bool,
    pub(super) opened: u64,
    pub(super) opening_seconds: f64,
    pub(super) published: u64,
    pub(super) publishing_seconds: f64,
    pub(super) published_per_second: f64,
    /// Sent and not answered for.
    pub(super) unknown: u64,
    pub(super) expected: u64,
    pub(super) delivered: u64,
    pub(super) delivered_bytes: u64,
    pub(super) delivering_seconds: f64,
    pub(super) delivered_per_second: f64,
    pub(super) latency_ms: Latency,
    pub(super) lost: u64,
    pub(super) repeated: u64,
    pub(super) out_of_order: u64,
    pub(super) misrouted: u64,
    /// Not delivered because the connection had ended, or the run was stopped.
    pub(super) undelivered: u64,
    /// Connections that did not stand until the end.
    pub(super) ended_early: u64,
    /// Each kind of error, refusal, close or delay with how often it occurred.
    pub(super) troubles: BTreeMap<String, u64>,
    /// What is to be known when reading the numbers.
    pub(super) notes: Vec<String>,
    /// What is wrong; empty is good.
    pub(super) failures: Vec<String>,
    pub(super) ok: bool,
}

/// From what to what, each absent where nothing was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Latency {
    /// From sending, or being due, to the acknowledgement.
    pub(super) publish: Option<Percentiles>,
    /// From sending, or being due, to the subscriber.
    pub(super) delivery: Option<Percentiles>,
    /// From a drop, or the start of a replay, until everything acknowledged by then was there.
    pub(super) catch_up: Option<Percentiles>,
    /// How late the tester's own timers were while it published: what it may have added to the others.
    pub(super) tester: Option<Percentiles>,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    #[serde(rename = "p99.9")]
    pub(super) p999: f64,
    pub(super) max: f64,
}

impl Percentiles {
    fn of(latencies: &Latencies) -> Option<Self> {
        let ms = |micros: u64| micros as f64 / 1_000.0;
        let at = |percentile| ms(latencies.percentile(percentile));
        (latencies.count() > 0).then(|| Percentiles {
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p999: at(99.9),
            max: ms(latencies.max()),
        })
    }
}

/// What the subscriptions have to say.
#[derive(Debug, Default)]
struct Checked {
    expected: u64,
    received: u64,
    lost: u64,
    undelivered: u64,
    ended_early: u64,
    faults: Faults,
}

impl Checked {
    fn of(load: &Load, outcome: &Outcome) -> Self {
        let acknowledged: Vec<u64> = load.tally.acknowledged().collect();
        let mut checked = Checked::default();
        for client in &outcome.clients {
            checked.ended_early += u64::from(!client.stood);
            let is_complete = client.stood && !outcome.is_interrupted;
            for subscription in &client.subscriptions {
                checked.enter(load, subscription, &acknowledged, is_complete);
            }
        }
        checked
    }

    fn enter(&mut self, load: &Load, subscription: &Subscription, acknowledged: &[u64], is_complete: bool) {
        let missing = subscription.missing(load, acknowledged);
        self.expected += subscription.expected(load, acknowledged.iter().copied());
        self.received += subscription.received();
        self.lost += missing.skipped + if is_complete { missing.behind } else { 0 };
        self.undelivered += if is_complete { 0 } else { missing.behind };
        self.faults.add(subscription.faults());
    }
}

impl Report {
    pub(super) fn new(load: &Load, outcome: &Outcome) -> Self {
        let (plan, tally) = (&load.plan, &load.tally);
        let checked = Checked::of(load, outcome);
        let published: u64 = tally.acknowledged().sum();
        let from = outcome.published_from.max(outcome.read_from);
        let delivering = Duration::from_micros(tally.last_delivery().saturating_sub(from));
        let mut report = Report {
            scenario: name(&plan.scenario),
            target: load.target.to_string(),
            run: load.run.id().to_owned(),
            connections: plan.connections as u64,
            subscriptions_each: plan.subscriptions as u64,
            filters: filters(plan),
            publishers: plan.publishers as u64,
            batch: plan.batch as u64,
            payload_bytes: plan.payload as u64,
            rate: plan.rate,
            interrupted: outcome.is_interrupted,
            opened: outcome.opened as u64,
            opening_seconds: outcome.opening.as_secs_f64(),
            published,
            publishing_seconds: outcome.publishing.as_secs_f64(),
            published_per_second: per_second(published, outcome.publishing),
            unknown: outcome.publishers.iter().map(|publisher| publisher.unknown).sum(),
            expected: checked.expected,
            delivered: checked.received,
            delivered_bytes: tally.bytes(),
            delivering_seconds: delivering.as_secs_f64(),
            delivered_per_second: per_second(tally.deliveries(), delivering),
            latency_ms: Latency {
                publish: Percentiles::of(&tally.publishing()),
                delivery: Percentiles::of(&tally.delivering()),
                catch_up: Percentiles::of(&tally.catching_up()),
                tester: Percentiles::of(&tally.lateness()),
            },
            lost: checked.lost,
            repeated: checked.faults.repeated,
            out_of_order: checked.faults.out_of_order,
            misrouted: checked.faults.misrouted,
            undelivered: checked.undelivered,
            ended_early: checked.ended_early,
            troubles: tally.troubles(),
            notes: Vec::new(),
            failures: Vec::new(),
            ok: false,
        };
        report.judge(plan, outcome);
        report
    }

    fn judge(&mut self, plan: &Plan, outcome: &Outcome) {
        let mut failures = Vec::new();
        let mut fail = |count: u64, what: &str| {
            if count > 0 {
                failures.push(format!("{} {what}", thousands(count)));
            }
        };
        fail(self.lost, "deliveries lost");
        fail(self.repeated, "repeated");
        fail(self.out_of_order, "out of order");
        fail(self.misrouted, "delivered to the wrong subscription");
        fail(self.ended_early, "connections ended before the run");
        if !self.interrupted {
            fail(self.connections.saturating_sub(self.opened), "connections never opened");
        }
        if outcome.is_deserted {
            let seconds = self.publishing_seconds;
            failures.push(format!("no connection was left after {seconds:.1} s of publishing"));
        }
        let failed = outcome.publishers.iter().filter_map(|publisher| publisher.failed.as_ref()).next();
        failures.extend(failed.map(|why| format!("publishing ended early: {why}")));
        if self.published == 0 && !self.interrupted && failed.is_none() {
            failures.push("nothing was published".to_owned());
        }
        self.ok = failures.is_empty();
        self.failures = failures;
        if self.interrupted {
            self.notes.push("stopped early: the numbers are those up to then".to_owned());
        }
        let reached = plan.rate.map(|rate| self.published_per_second / rate);
        if let (Some(rate), Some(reached)) = (plan.rate, reached)
            && reached < RATE_REACHED
        {
            self.notes.push(format!(
                "{} of {} events/s were reached: publishers waited for acknowledgements; --publishers or --batch tells \
                 whether the server or the waiting was the limit",
                decimal(self.published_per_second),
                decimal(rate)
            ));
        }
        let late = self.latency_ms.tester.map_or(0.0, |late| late.p99);
        if late > TESTER_LATE_MS {
            self.notes.push(format!(
                "the load tester itself was up to {late:.1} ms late (p99): give it more cores, or a machine of its own"
            ));
        }
        if self.unknown > 0 {
            let unknown = thousands(self.unknown);
            self.notes.push(format!("{unknown} events were not answered for; they may be in the log or not"));
        }
        self.notes.push(match plan.rate {
            Some(_) => {
                "latency counts from when an event was due (corrected for coordinated omission)".to_owned()
            }
            None => {
                "latency counts from sending: each publisher waits for its answers (closed loop)".to_owned()
            }
        });
    }
}

fn name<T: ValueEnum>(value: &T) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn filters(plan: &Plan) -> String {
    let patterns: Vec<_> = plan.patterns.iter().map(|pattern| pattern.as_str()).collect();
    match plan.filters {
        Filters::Distinct => name(&plan.filters),
        Filters::Same if patterns.len() == 1 => name(&plan.filters),
        Filters::Same => patterns.join(" "),
    }
}

fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { (count as f64 / time.as_secs_f64() * 10.0).round() / 10.0 }
}

/// A number with commas between thousands.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut written = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            written.push(',');
        }
        written.push(digit);
    }
    written
}

/// A rate: whole from 100 on.
pub(super) fn decimal(number: f64) -> String {
    if number < 100.0 {
        return format!("{number:.1}");
    }
    // Written without a fraction it is a row of digits.
    format!("{number:.0}").parse().map_or_else(|_| format!("{number:.0}"), thousands)
}
