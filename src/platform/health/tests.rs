//! What a snapshot says of a server that does well, of one that does not, and of one that stops taking events.

use super::*;
use crate::{
    auth::Principal,
    bus::{self, Bus},
    event::{Limits, NewEvent},
    log::{MemoryLog, MemoryOptions},
    metrics::Metrics,
};
use std::sync::Arc;

fn hub() -> Hub {
    let bus = Bus::new(&bus::Options::default());
    let ring = bus.clone();
    let log = MemoryLog::open(MemoryOptions::default(), Box::new(move |batch| ring.publish(batch)));
    Hub::new(Arc::new(log), bus, Metrics::new(), Limits::default())
}

async fn publish(hub: &Hub, count: usize) {
    let draft = || Draft { event_type: "task.created".to_owned(), ..Draft::default() };
    let events = (0..count).map(|_| NewEvent::new(draft(), hub.limits()).unwrap()).collect();
    hub.publish(&Principal::anonymous(), events).await.unwrap();
}

#[tokio::test]
async fn a_server_is_healthy_until_something_is_wrong_and_says_what() {
    let (hub, audit) = (hub(), Audit::off());
    let fine = Snapshot::of(&hub, &audit);
    assert_eq!((fine.status, fine.reasons, fine.disk_free), (Status::Healthy, vec![], None));
    hub.metrics().disk_free_bytes.set(Some(DISK_FREE_MIN));
    assert_eq!(Snapshot::of(&hub, &audit).status, Status::Healthy);
    hub.metrics().disk_free_bytes.set(Some(DISK_FREE_MIN - 1));
    let full = Snapshot::of(&hub, &audit);
    assert_eq!(
        (full.status, full.reasons.clone()),
        (Status::Degraded, vec!["the log's disk is nearly full"])
    );
    assert_eq!(full.json()["diskFreeBytes"], DISK_FREE_MIN - 1);
}

#[tokio::test(start_paused = true)]
async fn the_pulse_measures_rates_memory_and_lag() {
    let hub = hub();
    let (fanout, worker) = Fanout::start(hub.clone(), &tokio::runtime::Handle::current());
    let (audit, self_events) = (Audit::off(), SelfEvents::off());
    let pulse = Pulse { hub: hub.clone(), fanout, audit, self_events, interval: Duration::from_secs(10) };
    let before = Totals::of(hub.metrics());
    publish(&hub, 25).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    let between = pulse.measure(&before).await;
    let snapshot = Snapshot::of(&hub, &Audit::off());
    assert_eq!((snapshot.published, snapshot.published_per_second), (25, 2.5));
    assert!(cfg!(not(target_os = "linux")) || snapshot.memory.is_some_and(|bytes| bytes > 1 << 20));
    tokio::time::advance(Duration::from_secs(10)).await;
    pulse.measure(&between).await;
    let snapshot = Snapshot::of(&hub, &Audit::off());
    assert_eq!((snapshot.published, snapshot.published_per_second), (25, 0.0));
    pulse.fanout.until_delivered(hub.bounds().head).await;
    pulse.measure(&between).await;
    assert_eq!(Snapshot::of(&hub, &Audit::off()).lag, 0);
    worker.abort();
}
