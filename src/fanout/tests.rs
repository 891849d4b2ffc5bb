//! The fan-out over a real log in memory: sharing, handover, lag, failure, leaving.

use super::*;
use crate::{
    auth::View,
    bus::{self, Bus},
    event::{Batch, Draft, Event, Family, FilterDraft, Limits, NewEvent},
    log::{MemoryLog, MemoryOptions},
};

#[path = "transient_tests.rs"]
mod transients;

struct Fixture {
    hub: Hub,
    fanout: Fanout,
    worker: JoinHandle<()>,
    /// What the log has shown, in order.
    shown: Arc<Mutex<Vec<Arc<Event>>>>,
}

impl Fixture {
    fn new() -> Self {
        Self::with_ring(1_024)
    }

    fn with_ring(ring_batches_max: usize) -> Self {
        let bus = Bus::new(&bus::Options { ring_batches_max });
        let ring = bus.clone();
        let shown = Arc::<Mutex<Vec<_>>>::default();
        let to = Arc::clone(&shown);
        let on_commit = move |batch: Batch| {
            to.lock().unwrap().extend(batch.iter().cloned());
            ring.publish(batch);
        };
        let log = MemoryLog::open(MemoryOptions::default(), Box::new(on_commit));
        let hub = Hub::new(Arc::new(log), bus, Metrics::new(), Limits::default());
        let (fanout, worker) = Fanout::start(hub.clone(), &tokio::runtime::Handle::current());
        Fixture { hub, fanout, worker, shown }
    }

    fn shown(&self) -> Vec<Arc<Event>> {
        self.shown.lock().unwrap().clone()
    }

    async fn publish(&self, event_type: &str, number: u64) -> Offset {
        let draft =
            Draft { event_type: event_type.to_owned(), id: Some(number.to_string()), ..Draft::default() };
        let event = NewEvent::new(draft, &Limits::default()).unwrap();
        self.hub.publish(&Principal::anonymous(), vec![event]).await.unwrap()[0].offset
    }

    async fn publish_many(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.publish("task.created", number).await;
        }
    }

    async fn reader(
        &self,
        form: Arc<dyn Form>,
        filter: EventFilter,
        start: StartPosition,
        bytes_max: usize,
    ) -> Reader {
        let mailbox = Arc::new(Mailbox::new(bytes_max));
        let asked = Asked { filter, start, ..Asked::default() };
        let subscription =
            self.fanout.subscribe(&Principal::anonymous(), form, asked, (&mailbox, 1)).await.unwrap();
        Reader { mailbox, subscription }
    }

    async fn live(&self) -> Reader {
        self.reader(numbers(), EventFilter::default(), StartPosition::Live, 1 << 20).await
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        assert!(!self.worker.is_finished() || std::thread::panicking(), "the worker must not end by itself");
        self.worker.abort();
    }
}

struct Reader {
    mailbox: Arc<Mailbox>,
    subscription: Subscription,
}

impl Reader {
    /// The next deliveries, `count` payloads in all, as a connection takes them.
    async fn take(&self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            self.mailbox.ready().await;
            let mut out = Vec::new();
            self.mailbox.take(64, &mut out);
            for (_, delivery) in out {
                match delivery {
                    Delivery::Run(run) => {
                        texts.extend(run.payloads().iter().map(|payload| payload.text().to_owned()));
                    }
                    Delivery::Lagged => self.subscription.catch_up(),
                    Delivery::Ended(refusal) => texts.push(refusal.to_string()),
                }
            }
        }
        texts
    }
}

/// A form that writes the event's id.
fn numbers() -> Arc<dyn Form> {
    Arc::new(EventForm::new("numbers", |event, out| out.push_str(event.id())))
}

fn texts(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn equal_subscriptions_share_one_rendering_and_all_get_it() {
    let fixture = Fixture::new();
    let mut readers = Vec::new();
    for _ in 0..50 {
        readers.push(fixture.live().await);
    }
    fixture.publish("task.created", 7).await;
    for reader in &readers {
        assert_eq!(reader.take(1).await, ["7"]);
    }
    assert_eq!(fixture.hub.metrics().executions.get(), 1);
    assert_eq!(fixture.hub.metrics().events_delivered.get(), 50);
    assert_eq!(fixture.fanout.len(), (1, 50));
}

#[tokio::test]
async fn members_of_one_group_keep_their_own_filters() {
    let fixture = Fixture::new();
    let tasks = EventFilter::default().within(Family::Task);
    let agents = EventFilter::default().within(Family::Agent);
    let everything = fixture.live().await;
    let tasks = fixture.reader(numbers(), tasks, StartPosition::Live, 1 << 20).await;
    let agents = fixture.reader(numbers(), agents, StartPosition::Live, 1 << 20).await;
    for (number, event_type) in ["task.created", "agent.created", "x", "task.failed"].iter().enumerate() {
        fixture.publish(event_type, number as u64).await;
    }
    assert_eq!(everything.take(4).await, texts(0..4));
    assert_eq!(tasks.take(2).await, ["0", "3"]);
    assert_eq!(agents.take(1).await, ["1"]);
    assert_eq!(
        fixture.hub.metrics().executions.get(),
        4,
        "the group renders each event once for all its filters"
    );
}

#[tokio::test]
async fn the_last_member_to_leave_ends_the_group_at_once() {
    let fixture = Fixture::new();
    let (first, second) = (fixture.live().await, fixture.live().await);
    drop(first);
    assert_eq!(fixture.fanout.len(), (1, 1));
    drop(second);
    assert_eq!(fixture.fanout.len(), (0, 0));
    assert_eq!(fixture.hub.metrics().groups_open.get(), 0);
    fixture.publish("task.created", 1).await;
    assert_eq!(fixture.hub.metrics().executions.get(), 0);
}

#[tokio::test]
async fn a_live_subscription_gets_nothing_that_was_acknowledged_before() {
    let fixture = Fixture::new();
    for number in 0..200 {
        fixture.publish("task.created", 2 * number).await;
        let reader = fixture.live().await;
        fixture.publish("task.created", 2 * number + 1).await;
        assert_eq!(reader.take(1).await, [(2 * number + 1).to_string()]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_joins_at_full_speed_gets_every_event_once_and_in_order() {
    const EVENTS: u32 = 4_000;
    let fixture = Arc::new(Fixture::new());
    fixture.publish_many(0..100).await;
    let publisher = tokio::spawn({
        let fixture = Arc::clone(&fixture);
        async move { fixture.publish_many(100..EVENTS.into()).await }
    });
    let mut readers = Vec::new();
    for joined in 0..40 {
        // Small mailboxes lag on the way, which must not show.
        let reader =
            fixture.reader(numbers(), EventFilter::default(), StartPosition::Earliest, 200 + 40 * joined);
        let reader = reader.await;
        readers.push(tokio::spawn(async move { reader.take(4_000).await }));
        tokio::task::yield_now().await;
    }
    publisher.await.unwrap();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), texts(0..EVENTS.into()));
    }
}

#[tokio::test]
async fn a_reader_that_falls_behind_reads_the_log_and_rejoins() {
    let fixture = Fixture::new();
    let slow = fixture.reader(numbers(), EventFilter::default(), StartPosition::Live, 100).await;
    fixture.publish_many(0..1_000).await;
    assert_eq!(slow.take(1_000).await, texts(0..1_000));
    assert!(fixture.hub.metrics().mailbox_lagged.get() > 0, "it must have fallen behind");
    fixture.publish_many(1_000..1_010).await;
    assert_eq!(slow.take(10).await, texts(1_000..1_010));
}

#[tokio::test]
async fn a_worker_that_lags_behind_the_ring_reads_the_log() {
    let fixture = Fixture::with_ring(2);
    let reader = fixture.live().await;
    let publishes = (0..500).map(|number| fixture.publish("task.created", number));
    futures_util::future::join_all(publishes).await;
    let mut got = reader.take(500).await;
    got.sort_by_key(|text| text.parse::<u64>().unwrap());
    assert_eq!(got, texts(0..500));
}

/// Two filters that mean the same here, so that every change of them must leave no trace.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_admitted_anew_at_full_speed_gets_every_event_once_and_in_order() {
    const EVENTS: usize = 3_000;
    let fixture = Arc::new(Fixture::new());
    let publisher = tokio::spawn({
        let fixture = Arc::clone(&fixture);
        async move { fixture.publish_many(0..EVENTS as u64).await }
    });
    let of_types = |types: &[&str]| {
        let types = Some(types.iter().map(|name| (*name).to_owned()).collect());
        Arc::new(EventFilter::new(FilterDraft { types, ..FilterDraft::default() }).unwrap())
    };
    let filters = [of_types(&["task.*"]), of_types(&["task.created", "x"]), of_types(&["*"])];
    // The last one is so small that it lags on the way.
    for bytes_max in [1 << 20, 10_000, 200] {
        let start = StartPosition::Earliest;
        let mut reader = fixture.reader(numbers(), EventFilter::default(), start, bytes_max).await;
        let (mut got, mut turns) = (Vec::new(), filters.iter().cycle());
        while got.len() < EVENTS {
            got.extend(reader.take(1).await);
            reader.subscription.reseat(Arc::clone(turns.next().unwrap()), View::whole());
        }
        assert_eq!(got, texts(0..EVENTS as u64));
    }
    publisher.await.unwrap();
    assert_eq!(fixture.fanout.len(), (0, 0));
}

#[tokio::test]
async fn what_waits_under_an_old_filter_is_not_given_out_any_more() {
    let fixture = Fixture::new();
    let mut reader = fixture.live().await;
    fixture.publish("agent.started", 0).await;
    fixture.publish("task.created", 1).await;
    reader.mailbox.ready().await;
    let tasks = EventFilter::default().within(Family::Task);
    reader.subscription.reseat(Arc::new(tasks), View::whole());
    fixture.publish("agent.started", 2).await;
    fixture.publish("task.created", 3).await;
    assert_eq!(reader.take(2).await, ["1", "3"]);
}

#[tokio::test]
async fn positions_follow_what_was_taken() {
    let fixture = Fixture::new();
    let reader = fixture.live().await;
    let offset = fixture.publish("task.created", 0).await;
    reader.mailbox.ready().await;
    assert!(reader.subscription.position() < offset, "what waits has not been taken");
    reader.take(1).await;
    assert_eq!(reader.subscription.position(), offset);
}

#[tokio::test]
async fn an_idle_subscription_moves_on_with_the_log() {
    let fixture = Fixture::new();
    let agents = EventFilter::default().within(Family::Agent);
    let idle = fixture.reader(numbers(), agents, StartPosition::Live, 1_000).await;
    let other = fixture.live().await;
    let offset = fixture.publish("task.created", 0).await;
    other.take(1).await;
    // The other reader was served in the same step, which ends under the registry's lock.
    assert_eq!(idle.subscription.position(), offset);
}

/// Fails for odd numbers: by a panic, or by ending.
#[derive(Debug)]
struct Fragile {
    panics: bool,
}

impl Form for Fragile {
    fn key(&self) -> &str {
        if self.panics { "panics" } else { "ends" }
    }

    fn renderer(&self) -> Box<dyn Renderer> {
        Box::new(Fragile { panics: self.panics })
    }

    fn failed(&self, event: &Event) -> String {
        format!("{} failed", event.id())
    }
}

impl Renderer for Fragile {
    fn render<'a>(&'a mut self, event: &'a Arc<Event>) -> RenderFuture<'a> {
        let is_odd = !event.id().parse::<u64>().unwrap().is_multiple_of(2);
        assert!(!(is_odd && self.panics), "a resolver's defect");
        Box::pin(std::future::ready((!is_odd).then(|| event.id().to_owned())))
    }
}

#[tokio::test]
async fn a_rendering_that_fails_costs_one_event_of_one_group() {
    let fixture = Fixture::new();
    let sound = fixture.live().await;
    for panics in [true, false] {
        let form = Arc::new(Fragile { panics });
        let fragile = fixture.reader(form, EventFilter::default(), StartPosition::Live, 1_000).await;
        let before = fixture.hub.metrics().renderings_failed.get();
        let first = if panics { 0 } else { 10 };
        fixture.publish_many(first..first + 3).await;
        let expected = [format!("{first}"), format!("{} failed", first + 1), format!("{}", first + 2)];
        assert_eq!(fragile.take(3).await, expected);
        assert_eq!(sound.take(3).await, texts(first..first + 3));
        assert_eq!(fixture.hub.metrics().renderings_failed.get(), before + 1);
    }
}

#[tokio::test]
async fn leaving_during_a_replay_leaves_nothing_behind() {
    let fixture = Fixture::new();
    fixture.publish_many(0..2_000).await;
    for _ in 0..20 {
        let reader = fixture.reader(numbers(), EventFilter::default(), StartPosition::Earliest, 500).await;
        reader.take(10).await;
    }
    let last = fixture.reader(numbers(), EventFilter::default(), StartPosition::Earliest, 1 << 20).await;
    last.take(2_000).await;
    drop(last);
    // Aborted replays end when the runtime gets to them.
    while fixture.hub.metrics().replays_running.get() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.fanout.len(), (0, 0));
    assert_eq!(fixture.hub.metrics().subscriptions_open.get(), 0);
}

#[tokio::test]
async fn many_who_resume_share_one_rendering_of_the_past() {
    let fixture = Fixture::new();
    fixture.publish_many(0..1_000).await;
    let mut readers = Vec::new();
    for reader in 0..60 {
        // Not all from the same place: later pages are shared nevertheless.
        let start = StartPosition::Last(1_000 - reader % 3);
        readers.push(fixture.reader(numbers(), EventFilter::default(), start, 1 << 20).await);
    }
    for (reader, got) in (0..).zip(&readers) {
        let first = reader % 3;
        let count = usize::try_from(1_000 - first).unwrap();
        assert_eq!(got.take(count).await, texts(first..1_000));
    }
    let executions = fixture.hub.metrics().executions.get();
    assert!(executions <= 6_000, "{executions} renderings of 60,000 deliveries");
}

/// In bursts of one kind and in mixed ones, whatever filters share a group.
#[tokio::test]
async fn a_burst_is_split_exactly_by_the_filters_of_a_group() {
    let fixture = Fixture::new();
    let families = ["task", "agent", "chat"];
    let types = ["task.created", "agent.created", "chat.message"];
    // Every subset of the families, some several times.
    let wanted = |reader: usize| (0..3).filter(move |family| (reader + 1) >> family & 1 == 1);
    let mut readers = Vec::new();
    for reader in 0..14 {
        let names: Vec<String> = wanted(reader % 7).map(|at| format!("{}.*", families[at])).collect();
        let draft = FilterDraft { types: Some(names), ..FilterDraft::default() };
        let filter = EventFilter::new(draft).unwrap();
        readers.push(fixture.reader(numbers(), filter, StartPosition::Live, 1 << 20).await);
    }
    let mut kinds = Vec::new();
    let mut events = Vec::new();
    for number in 0..900_usize {
        // Runs of one kind, from one event to a whole step and more.
        let kind = if number < 400 { number / 100 % 3 } else { number * number / 7 % 3 };
        kinds.push(kind);
        let draft =
            Draft { event_type: types[kind].to_owned(), id: Some(number.to_string()), ..Draft::default() };
        events.push(NewEvent::new(draft, &Limits::default()).unwrap());
    }
    fixture.hub.publish(&Principal::anonymous(), events).await.unwrap();
    for (at, reader) in readers.iter().enumerate() {
        let expected: Vec<String> = (0..900)
            .filter(|n| wanted(at % 7).any(|family| family == kinds[*n]))
            .map(|n| n.to_string())
            .collect();
        assert_eq!(reader.take(expected.len()).await, expected, "reader {at}");
    }
    assert_eq!(fixture.hub.metrics().executions.get(), 900);
}
