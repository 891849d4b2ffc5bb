//! How the server does: the numbers in one [`Snapshot`], measured at an interval and told as `health.snapshot`.
//!
//! Flow: a [`Pulse`] looks at what nobody counts (memory, disk, rates), puts it among the metrics, and tells the snapshot, also
//! when the log stops taking events; `stats` shows the same snapshot to those who ask.
//! Invariants: what is slow to look at is looked at by the pulse alone, away from the runtime's threads; what the system does
//! not tell is unknown, never 0.
//! Not here: the probes (`server`), what is counted (`metrics`).

mod process;

use crate::{
    auth::Audit,
    event::{Draft, Family, Scope},
    fanout::Fanout,
    hub::Hub,
    log,
    metrics::Metrics,
    platform::self_events::{SelfEvents, transient},
};
use serde_json::{Value, json};
use std::{pin::pin, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// With less room than this on its disk the log is about to be full.
const DISK_FREE_MIN: u64 = 256 * 1024 * 1024;

/// How a server does, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It does what it is for.
    Healthy,
    /// It does, but somebody should look at it.
    Degraded,
    /// It takes no publishes, or does not record what it must.
    Unhealthy,
}

impl Status {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Healthy => "healthy",
            Status::Degraded => "degraded",
            Status::Unhealthy => "unhealthy",
        }
    }
}

/// How a server does, in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// In a word.
    pub status: Status,
    /// Why it is not healthy, a sentence each.
    pub reasons: Vec<&'static str>,
    /// Can the log take events?
    pub store: log::Health,
    /// How long it has run.
    pub uptime: Duration,
    /// Open WebSockets.
    pub connections: u64,
    /// Open streaming responses.
    pub streams: u64,
    /// Open subscriptions.
    pub subscriptions: u64,
    /// Distinct selections that are rendered once for all their subscriptions.
    pub groups: u64,
    /// Subscriptions that read the log now, because they started in the past or fell behind.
    pub replays: u64,
    /// Events that were logged.
    pub published: u64,
    /// Events that were delivered and not logged.
    pub transient: u64,
    /// Events that were handed to subscriptions.
    pub delivered: u64,
    /// Events logged each second, over the last interval.
    pub published_per_second: f64,
    /// Events handed to subscriptions each second, over the last interval.
    pub delivered_per_second: f64,
    /// Publishes that wait for the log.
    pub queue: u64,
    /// Events in the log that have not been handed to those who follow live.
    pub lag: u64,
    /// Bytes of the process that are in RAM, where the system tells.
    pub memory: Option<u64>,
    /// Bytes that are left for the log on its disk, where there is one.
    pub disk_free: Option<u64>,
}

impl Snapshot {
    /// The numbers of now; memory, disk, lag and the rates as the pulse saw them the last time.
    pub fn of(hub: &Hub, audit: &Audit) -> Self {
        let metrics = hub.looked_at();
        let store = hub.health();
        let disk_free = metrics.disk_free_bytes.get();
        let concerns = [
            (
                store == log::Health::ReadOnly,
                Status::Unhealthy,
                "the log takes no events after an I/O error; reading goes on",
            ),
            (!audit.is_writing(), Status::Unhealthy, "the audit file cannot be written"),
            (hub.damaged_reads() > 0, Status::Degraded, "the log is damaged: run fanfare log check"),
            (
                disk_free.is_some_and(|free| free < DISK_FREE_MIN),
                Status::Degraded,
                "the log's disk is nearly full",
            ),
        ];
        let concerns: Vec<_> = concerns.into_iter().filter(|(is_so, _, _)| *is_so).collect();
        let status = concerns.first().map_or(Status::Healthy, |(_, status, _)| *status);
        Snapshot {
            status,
            reasons: concerns.into_iter().map(|(_, _, reason)| reason).collect(),
            store,
            uptime: hub.uptime(),
            connections: open(metrics.connections_open.get()),
            streams: open(metrics.streams_open.get()),
            subscriptions: open(metrics.subscriptions_open.get()),
            groups: open(metrics.groups_open.get()),
            replays: open(metrics.replays_running.get()),
            published: metrics.events_published.get(),
            transient: metrics.events_transient.get(),
            delivered: metrics.events_delivered.get(),
            published_per_second: metrics.events_published_per_second.get(),
            delivered_per_second: metrics.events_delivered_per_second.get(),
            queue: open(metrics.log_queue_requests.get()),
            lag: open(metrics.fanout_lag_events.get()),
            memory: metrics.memory_resident_bytes.get(),
            disk_free,
        }
    }

    /// The snapshot as it stands in an event.
    fn json(&self) -> Value {
        let store = match self.store {
            log::Health::Writable => "writable",
            log::Health::ReadOnly => "read-only",
        };
        json!({
            "status": self.status.name(),
            "reasons": self.reasons,
            "store": store,
            "uptimeSeconds": self.uptime.as_secs(),
            "connections": self.connections,
            "streams": self.streams,
            "subscriptions": self.subscriptions,
            "groups": self.groups,
            "replays": self.replays,
            "published": self.published,
            "transient": self.transient,
            "delivered": self.delivered,
            "publishedPerSecond": self.published_per_second,
            "deliveredPerSecond": self.delivered_per_second,
            "queue": self.queue,
            "lag": self.lag,
            "memoryBytes": self.memory,
            "diskFreeBytes": self.disk_free,
        })
    }

    fn event(&self) -> Draft {
        let data = json!({ "status": self.status.name(), "snapshot": self.json() });
        transient("health.snapshot", &Scope::default(), &data)
    }
}

/// Gauges fall below 0 for moments only.
fn open(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}

/// Measures at an interval.
#[derive(Debug)]
pub struct Pulse {
    /// The pipeline.
    pub hub: Hub,
    /// Who gets what.
    pub fanout: Fanout,
    /// Where it is told whether the audit is written.
    pub audit: Audit,
    /// Where the snapshots are told.
    pub self_events: SelfEvents,
    /// The time between two.
    pub interval: Duration,
}

impl Pulse {
    /// Measures and tells, at once and at every interval, and when the log has stopped; without end.
    pub async fn run(self) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopped = pin!(self.hub.stopped());
        let mut has_stopped = false;
        let mut before = Totals::of(self.hub.metrics());
        loop {
            tokio::select! {
                _ = ticks.tick() => before = self.measure(&before).await,
                () = &mut stopped, if !has_stopped => {
                    has_stopped = true;
                    self.self_events.log_stopped();
                }
            }
            self.self_events.tell(Family::Health, || Snapshot::of(&self.hub, &self.audit).event());
        }
    }

    async fn measure(&self, before: &Totals) -> Totals {
        let hub = self.hub.clone();
        // The file system may be slow.
        let looked = tokio::task::spawn_blocking(move || (process::resident_bytes(), hub.disk_free())).await;
        let (memory, disk_free) = looked.unwrap_or_default();
        let (metrics, now) = (self.hub.metrics(), Totals::of(self.hub.metrics()));
        metrics.memory_resident_bytes.set(memory);
        metrics.disk_free_bytes.set(disk_free);
        let lag = self.hub.bounds().head.get().saturating_sub(self.fanout.delivered().get());
        metrics.fanout_lag_events.set(i64::try_from(lag).unwrap_or(i64::MAX));
        let took = now.at - before.at;
        metrics.events_published_per_second.set(rate(now.published - before.published, took));
        metrics.events_delivered_per_second.set(rate(now.delivered - before.delivered, took));
        now
    }
}

/// What had been counted at a moment.
#[derive(Debug)]
struct Totals {
    at: Instant,
    published: u64,
    delivered: u64,
}

impl Totals {
    fn of(metrics: &Metrics) -> Self {
        let (published, delivered) = (metrics.events_published.get(), metrics.events_delivered.get());
        Totals { at: Instant::now(), published, delivered }
    }
}

/// How many each second, to a tenth.
#[allow(clippy::cast_precision_loss, reason = "a rate needs no exact count")]
fn rate(count: u64, took: Duration) -> f64 {
    if took.is_zero() {
        return 0.0;
    }
    (count as f64 / took.as_secs_f64() * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests;
