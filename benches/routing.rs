//! What it costs to find the one filter that an event meets, among 500 and among 50,000 that differ in a single value.
//!
//! Flow: five mixes of filters, of which the last are empty and limited by the grants of their readers alone, each measured with one event again and again, when all it touches is in the processor's
//! cache, and with thousands of different ones, when it is not; then those on their whole way from the publish to the mailbox
//! of the one subscription that wants it. Criterion reports the index; the table at the end has all and the ratios.

use criterion::{BenchmarkId, Criterion, Throughput};
use fanfare::{
    auth::{Credential, Grant, Principal, View},
    bus::{self, Bus, Index},
    event::{Draft, EventFilter, FilterDraft, Limits, NewEvent, Rule, ScopeField},
    fanout::{Asked, EventForm, Fanout, Mailbox, Subscription},
    hub::Hub,
    log::{MemoryLog, MemoryOptions},
    metrics::Metrics,
};
use std::{cell::Cell, hint::black_box, sync::Arc, time::Duration};
use tokio::time::Instant;

const FEW: usize = 500;
const MANY: usize = 50_000;
/// So many different events are looked up in turn.
const EVENTS: usize = 4_096;
/// Spreads the filters that events meet over all that there are.
const STRIDE: usize = 7_919;
const RATIO_MAX: f64 = 1.5;
/// So many events are published in one request, and so many requests are measured.
const REQUEST_EVENTS: usize = 256;
const REQUESTS: usize = 100;

struct Mix {
    name: &'static str,
    filter: fn(usize) -> FilterDraft,
    grant: fn(usize) -> Grant,
}

/// Allows what concerns one user.
fn own_user(n: usize) -> Grant {
    let rule = Rule::default().with_ids(ScopeField::User, vec![format!("user-{n}")]);
    Grant::new(vec![rule.expect("the id is valid")], Vec::new(), false).expect("one rule is within bounds")
}

fn one(text: String) -> Option<Vec<String>> {
    Some(vec![text])
}

const MIXES: [Mix; 5] = [
    Mix {
        name: "one pattern, own organizations",
        filter: |n| FilterDraft {
            types: one("task.*".to_owned()),
            organization_id: one(format!("organization-{n}")),
            ..FilterDraft::default()
        },
        grant: |_| Grant::everything(),
    },
    Mix {
        name: "own tasks",
        filter: |n| FilterDraft { task_id: one(format!("task-{n}")), ..FilterDraft::default() },
        grant: |_| Grant::everything(),
    },
    Mix {
        name: "own types",
        filter: |n| FilterDraft { types: one(format!("task.x{n}")), ..FilterDraft::default() },
        grant: |_| Grant::everything(),
    },
    Mix {
        name: "own patterns *.x<n>",
        filter: |n| FilterDraft { types: one(format!("*.x{n}")), ..FilterDraft::default() },
        grant: |_| Grant::everything(),
    },
    Mix { name: "no filters, own grants", filter: |_| FilterDraft::default(), grant: own_user },
];

/// An event that meets filter `n` of each mix.
fn event(n: usize) -> NewEvent {
    let draft = Draft {
        event_type: format!("task.x{n}"),
        organization_id: Some(format!("organization-{n}")),
        agent_id: Some(format!("agent-{n}")),
        task_id: Some(format!("task-{n}")),
        user_id: Some(format!("user-{n}")),
        ..Draft::default()
    };
    NewEvent::new(draft, &Limits::default()).expect("the event is valid")
}

/// Who asks, and for what.
fn readers(mix: &Mix, count: usize) -> impl Iterator<Item = (Principal, EventFilter)> {
    let (filter, grant) = (mix.filter, mix.grant);
    (0..count).map(move |n| {
        let reader = Principal::new("reader", Credential::None, grant(n), View::whole(), None);
        (reader, EventFilter::new(filter(n)).expect("the filter is valid"))
    })
}

fn index(mix: &Mix, count: usize) -> Index {
    let mut index = Index::default();
    for (reader, filter) in readers(mix, count) {
        index.insert(&Arc::new(reader.narrow(filter).expect("the grant allows some of it")));
    }
    assert_eq!(index.len(), count, "the filters of a mix differ");
    index
}

/// Measures the events in turn; returns the nanoseconds of one, of the best sample.
fn measure(criterion: &mut Criterion, id: BenchmarkId, index: &Index, events: &[NewEvent]) -> f64 {
    let best = Cell::new(f64::INFINITY);
    let mut group = criterion.benchmark_group("routing");
    group.throughput(Throughput::Elements(1));
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|iterations| {
            let (mut met, mut found) = (Vec::new(), 0);
            let in_turn = (0..iterations).zip(events.iter().cycle());
            let start = Instant::now();
            for (_, event) in in_turn {
                met.clear();
                index.matches(black_box(event), &mut met);
                found += met.len() as u64;
            }
            let took = start.elapsed();
            assert_eq!(found, iterations, "each event meets one filter");
            if iterations >= EVENTS as u64 {
                best.set(best.get().min(took.as_secs_f64() * 1e9 / iterations as f64));
            }
            took
        });
    });
    group.finish();
    best.get()
}

/// A subscription for each filter.
async fn subscribe(fanout: &Fanout, mix: &Mix, count: usize) -> Vec<(Arc<Mailbox>, Subscription)> {
    let mut all = Vec::with_capacity(count);
    for (reader, filter) in readers(mix, count) {
        let mailbox = Arc::new(Mailbox::new(1 << 20));
        let asked = Asked { filter, ..Asked::default() };
        let subscribing = fanout.subscribe(&reader, Arc::new(EventForm::WHOLE), asked, (&mailbox, 1));
        let subscription = subscribing.await.expect("a live subscription is never refused");
        all.push((mailbox, subscription));
    }
    all
}

/// The nanoseconds of an event from the publish to its mailbox, of the best request.
async fn deliver(mix: &Mix, count: usize) -> f64 {
    let bus = Bus::new(&bus::Options::default());
    let ring = bus.clone();
    let log = MemoryLog::open(MemoryOptions::default(), Box::new(move |batch| ring.publish(batch)));
    let hub = Hub::new(Arc::new(log), bus, Metrics::new(), Limits::default());
    let (fanout, worker) = Fanout::start(hub.clone(), &tokio::runtime::Handle::current());
    let subscriptions = subscribe(&fanout, mix, count).await;
    let (mut best, mut taken) = (f64::INFINITY, Vec::new());
    for request in 0..REQUESTS {
        let numbers = (0..REQUEST_EVENTS).map(|at| (request * REQUEST_EVENTS + at) * STRIDE % count);
        let events = numbers.clone().map(event).collect();
        let start = Instant::now();
        hub.publish(&Principal::anonymous(), events).await.expect("a log in memory takes events");
        for (mailbox, _) in numbers.filter_map(|n| subscriptions.get(n)) {
            mailbox.ready().await;
            mailbox.take(usize::MAX, &mut taken);
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / REQUEST_EVENTS as f64);
        assert_eq!(taken.len(), REQUEST_EVENTS, "each event comes once");
        taken.clear();
    }
    worker.abort();
    best
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing measured; run: cargo bench --bench routing");
        return;
    }
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut rows = Vec::new();
    for mix in &MIXES {
        let indexes = [FEW, MANY].map(|filters| (filters, index(mix, filters)));
        for (events, kind) in [(1, "one event"), (EVENTS, "many events")] {
            let [few, many] = indexes.each_ref().map(|(filters, index)| {
                let events: Vec<_> = (0..events).map(|n| event(n * STRIDE % filters)).collect();
                let id = BenchmarkId::new(format!("{}, {kind}", mix.name), filters);
                measure(&mut criterion, id, index, &events)
            });
            rows.push((mix.name, kind, few, many));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
        let [few, many] = [FEW, MANY].map(|count| runtime.block_on(deliver(mix, count)));
        rows.push((mix.name, "whole way", few, many));
    }
    criterion.final_summary();
    println!(
        "\nns an event, best sample{:>30} {:>8} {:>6}   goal <= {RATIO_MAX}",
        format!("{FEW} filters"),
        MANY,
        "ratio"
    );
    for (mix, kind, few, many) in rows {
        println!("{mix:<32} {kind:<12} {few:>9.0} {many:>8.0} {:>6.2}", many / few);
    }
}
