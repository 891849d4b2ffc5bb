//! What the server counts: one registry per server, verbs of the domain for the rooms, Prometheus text for the operator.
//!
//! Invariants: no label ever holds an id, a name or a type of an event, so the number of series is fixed.

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, text::encode},
    metrics::{MetricType, counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};
use std::{
    fmt::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// So much of something happens each second.
pub type Rate = Gauge<f64, AtomicU64>;

/// The counts of one server. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Counts>);

macro_rules! counts {
    ($($(#[doc = $doc:literal])* $name:ident: $kind:ty = $make:expr;)*) => {
        /// The single counts; each name is also the Prometheus name after `fanfare_` (counters end in `_total` there).
        #[derive(Debug)]
        #[non_exhaustive]
        pub struct Counts {
            registry: Registry,
            $($(#[doc = $doc])* pub $name: $kind,)*
        }

        impl Counts {
            fn new() -> Self {
                let mut registry = Registry::with_prefix("fanfare");
                $(let $name = register(&mut registry, stringify!($name), concat!($($doc),*), $make);)*
                Counts { registry, $($name,)* }
            }
        }

        /// Each count: its name, its kind, and what it means.
        const TABLE: &[(&str, &str, &str)] = &[$((stringify!($name), stringify!($kind), concat!($($doc),*)),)*];
    };
}

counts! {
    /// Events that were logged; repeats are not counted.
    events_published: Counter = Counter::default();
    /// Events that were published with `persist: false`: delivered and not logged.
    events_transient: Counter = Counter::default();
    /// Publishes that were answered as repeats of a logged event.
    events_duplicate: Counter = Counter::default();
    /// Publish requests that were refused, whatever the reason.
    publishes_refused: Counter = Counter::default();
    /// Payloads put into the mailbox of a subscription.
    events_delivered: Counter = Counter::default();
    /// Payloads of events that are not logged, for which the mailbox of a subscription had no room. What a subscription misses
    /// while it reads the log is not among them.
    transients_dropped: Counter = Counter::default();
    /// Renderings of an event for a group or a replay: each once for all who share it.
    executions: Counter = Counter::default();
    /// Renderings that failed, by a panic of a resolver or an ended stream; each cost one event of one group.
    renderings_failed: Counter = Counter::default();
    /// Open groups: distinct pairs of selection and view.
    groups_open: Gauge = Gauge::default();
    /// Open subscriptions.
    subscriptions_open: Gauge = Gauge::default();
    /// Subscriptions that read the log now, because they started in the past or fell behind.
    replays_running: Gauge = Gauge::default();
    /// Open WebSocket connections.
    connections_open: Gauge = Gauge::default();
    /// Connections that were refused because the server or their address has as many as it may have.
    connections_refused: Counter = Counter::default();
    /// Connections, operations and publishes that were refused because a caller has used up what one may use.
    limited: Counter = Counter::default();
    /// Open streaming responses: event streams and multipart subscriptions.
    streams_open: Gauge = Gauge::default();
    /// Times that a reader of the live ring fell behind it and went back to the log.
    tail_lagged: Counter = Counter::default();
    /// Times that a subscription outgrew its connection's budget and went back to the log.
    mailbox_lagged: Counter = Counter::default();
    /// Connections and streams ended because the peer took nothing for too long.
    slow_consumers_closed: Counter = Counter::default();
    /// Seconds of a commit of the log, group by group.
    log_append_seconds: Histogram = Histogram::new([0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0]);
    /// Credentials that were refused, whatever the reason; also requests without one where one is needed.
    credentials_refused: Counter = Counter::default();
    /// Fetches of a login server's keys that failed; the keys that were had stay in use.
    key_fetches_failed: Counter = Counter::default();
    /// Events of a commit of the log.
    log_append_events: Histogram = Histogram::new([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0]);
    /// The offset of the last event in the log.
    log_head: Gauge = Gauge::default();
    /// The offset of the first event that the log still has.
    log_earliest: Gauge = Gauge::default();
    /// Lines of the audit file that were written.
    audit_entries: Counter = Counter::default();
    /// What should have been recorded in the audit file and was not; anything but 0 means that the record has a hole.
    audit_lost: Counter = Counter::default();
    /// Reads that met damage in the log and failed; anything but 0 calls for `fanfare log check`.
    log_damaged_reads: Gauge = Gauge::default();
    /// Publish requests that wait for the log.
    log_queue_requests: Gauge = Gauge::default();
    /// Events in the log that the fan-out has not handed out yet, at the end of the last health interval.
    fanout_lag_events: Gauge = Gauge::default();
    /// Events that were logged each second, over the last health interval.
    events_published_per_second: Rate = Rate::default();
    /// Payloads that were put into mailboxes each second, over the last health interval.
    events_delivered_per_second: Rate = Rate::default();
    /// Events that the server published about itself.
    self_events_published: Counter = Counter::default();
    /// Events about the server itself that nobody got: more happened than may wait, or the log took none.
    self_events_lost: Counter = Counter::default();
    /// When the server started, in seconds since 1970.
    start_time_seconds: Rate = since_1970();
    /// Memory of the process that is in RAM; where the system tells it.
    memory_resident_bytes: Reading = Reading::default();
    /// Room that is left for the log on its disk; where there is one.
    disk_free_bytes: Reading = Reading::default();
}

fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help.trim().trim_end_matches('.'), metric.clone());
    metric
}

fn since_1970() -> Rate {
    let gauge = Rate::default();
    gauge.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    gauge
}

/// What not every system tells: unknown, and not in the text, until it is set. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Reading(Arc<AtomicU64>);

impl Reading {
    const UNKNOWN: u64 = u64::MAX;

    /// It was looked at.
    pub fn set(&self, value: Option<u64>) {
        self.0.store(value.unwrap_or(Self::UNKNOWN), Ordering::Relaxed);
    }

    /// What it was the last time, if it is known.
    pub fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|value| *value != Self::UNKNOWN)
    }
}

impl Default for Reading {
    fn default() -> Self {
        Reading(Arc::new(AtomicU64::new(Self::UNKNOWN)))
    }
}

impl EncodeMetric for Reading {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.get().map_or(Ok(()), |value| encoder.encode_gauge(&value))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// The counts as the table of the README.
pub fn readme_table() -> String {
    let mut out = String::from("| metric | kind | what |\n|---|---|---|\n");
    for (name, kind, help) in TABLE {
        let (end, kind) = match *kind {
            "Counter" => ("_total", "counter"),
            "Histogram" => ("", "histogram"),
            _ => ("", "gauge"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| `fanfare_{name}{end}` | {kind} | {} |", help.trim());
    }
    out
}

impl Metrics {
    /// A registry with every count at zero.
    pub fn new() -> Self {
        Metrics(Arc::new(Counts::new()))
    }

    /// One commit of the log.
    pub fn appended(&self, events: usize, took: Duration) {
        self.log_append_seconds.observe(took.as_secs_f64());
        self.log_append_events.observe(count(events));
    }

    /// The Prometheus text exposition format (OpenMetrics 1.0).
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.0.registry);
        text
    }
}

#[allow(clippy::cast_precision_loss, reason = "a histogram bucket needs no exact count")]
fn count(events: usize) -> f64 {
    events as f64
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl std::ops::Deref for Metrics {
    type Target = Counts;

    fn deref(&self) -> &Counts {
        &self.0
    }
}

/// Counts one more in a gauge for as long as it lives.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Counted {
    /// One more from now on.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Counted(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_stands_in_the_text_under_its_name() {
        let metrics = Metrics::new();
        metrics.events_published.inc_by(3);
        metrics.appended(3, Duration::from_millis(2));
        let open = Counted::new(&metrics.connections_open);
        let text = metrics.text();
        assert!(text.contains("fanfare_events_published_total 3\n"), "{text}");
        assert!(text.contains("fanfare_connections_open 1\n"), "{text}");
        assert!(text.contains("fanfare_log_append_seconds_count 1\n"), "{text}");
        drop(open);
        assert!(metrics.text().contains("fanfare_connections_open 0\n"));
    }

    #[test]
    fn what_the_system_does_not_tell_is_not_in_the_text() {
        let metrics = Metrics::new();
        metrics.memory_resident_bytes.set(Some(4_096));
        let text = metrics.text();
        assert!(text.contains("fanfare_memory_resident_bytes 4096\n"), "{text}");
        assert!(!text.contains("\nfanfare_disk_free_bytes "), "{text}");
        metrics.memory_resident_bytes.set(None);
        assert!(!metrics.text().contains("\nfanfare_memory_resident_bytes "));
    }

    #[test]
    fn the_table_has_every_count_under_the_name_that_is_in_the_text() {
        let (table, text) = (readme_table(), Metrics::new().text());
        let told: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert_eq!(told.len(), TABLE.len());
        for (name, kind) in told.iter().filter_map(|line| line.split_once(' ')) {
            let end = if kind == "counter" { "_total" } else { "" };
            assert!(table.contains(&format!("| `{name}{end}` | {kind} | ")), "{name} {kind}\n{table}");
        }
    }
}
