//! What the server counts: one registry per server, verbs of the domain for the rooms, Prometheus text for the operator.
//!
//! Invariants: no label ever holds an id, a name or a type of an event, so the number of series is fixed.

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};
use std::{sync::Arc, time::Duration};

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
    /// Renderings of an event for a group or a replay: one GraphQL execution and encoding each.
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
}

fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help.trim().trim_end_matches('.'), metric.clone());
    metric
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
}
