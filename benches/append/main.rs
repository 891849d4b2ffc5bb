//! How fast durable publishes are: many publishers, one event or a hundred a request, each answer after its fsync.
//!
//! `cargo bench --bench append -- [seconds] [dir] [most events to keep]`; run it on the disk that matters, and compare runs of
//! the same minute.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a bench ends by a panic")]

use fanfare::{
    auth::Principal,
    bus::{self, Bus},
    event::{Draft, Limits, NewEvent},
    hub::Hub,
    log::{Retention, SqliteLog, SqliteOptions},
    metrics::Metrics,
};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// An event of about 300 bytes as the sample feed has them: 40 types, 100 organizations, ids that mostly differ.
fn event(number: u64) -> NewEvent {
    let text = format!("{{\"n\":{number},\"text\":\"{}\"}}", "x".repeat(150));
    let draft = Draft {
        event_type: format!("family{}.happened{}", number % 8, number % 5),
        source: Some(format!("/source/{}", number % 10)),
        organization_id: Some(format!("org-{}", number.wrapping_mul(7_919) % 100)),
        agent_id: Some(format!("agent-{}", number.wrapping_mul(104_729) % 1_000)),
        task_id: Some(format!("task-{}", number / 10)),
        correlation_id: Some(format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        data: Some(serde_json::value::RawValue::from_string(text).unwrap()),
        ..Draft::default()
    };
    NewEvent::new(draft, &Limits::default()).unwrap()
}

fn hub(dir: &Path, kept: Option<u64>) -> Hub {
    let bus = Bus::new(&bus::Options { ring_batches_max: 64 });
    let ring = bus.clone();
    let retention = Retention { events: kept, ..Retention::default() };
    let options = SqliteOptions { dir: dir.to_owned(), retention, ..SqliteOptions::default() };
    let log = SqliteLog::open(options, Box::new(move |batch| ring.publish(batch))).unwrap();
    Hub::new(Arc::new(log), bus, Metrics::new(), Limits::default())
}

async fn measure(dir: &Path, kept: Option<u64>, (publishers, batch): (u64, u64), time: Duration) {
    let hub = hub(dir, kept);
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let tasks: Vec<_> = (0..publishers)
        .map(|publisher| {
            let (hub, stop, count) = (hub.clone(), Arc::clone(&stop), Arc::clone(&count));
            tokio::spawn(async move {
                let (principal, mut number) = (Principal::anonymous(), publisher << 32);
                let mut slowest = Duration::ZERO;
                while !stop.load(Ordering::Relaxed) {
                    let events = (number..number + batch).map(event).collect();
                    let asked = Instant::now();
                    hub.publish(&principal, events).await.unwrap();
                    slowest = slowest.max(asked.elapsed());
                    number += batch;
                    count.fetch_add(batch, Ordering::Relaxed);
                }
                slowest
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut slowest = Duration::ZERO;
    for task in tasks {
        slowest = slowest.max(task.await.unwrap());
    }
    let took = started.elapsed();
    let events = count.load(Ordering::Relaxed);
    let bounds = hub.bounds();
    hub.close().await;
    let bytes: u64 =
        std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    println!(
        "{publishers} publishers, {batch} a request: {:.1} k events/s, slowest answer {slowest:.1?}, {} bytes of disk an event, {} kept",
        events as f64 / took.as_secs_f64() / 1_000.0,
        bytes / events.max(1),
        bounds.head.get() + 1 - bounds.earliest.get()
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let time = Duration::from_secs(arguments.next().map_or(5, |text| text.parse().unwrap()));
    let below = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let kept = arguments.next().map(|text| text.parse().unwrap());
    for publishers_and_batch in [(1, 1), (50, 1), (10, 100)] {
        let dir = tempfile::tempdir_in(&below).unwrap();
        runtime.block_on(measure(dir.path(), kept, publishers_and_batch, time));
    }
}
