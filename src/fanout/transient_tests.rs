//! Logged and transient events mixed, over the whole fan-out, against a naive oracle: what the log has shown, in order.

use super::*;
use crate::event::Cursor;
use proptest::prelude::*;
use std::{collections::HashMap, time::Duration};

/// How long anything may take that must happen.
const DEADLINE: Duration = Duration::from_secs(20);
const FENCE: &str = "fence";
/// A mailbox and a ring that hold everything of a test.
const AMPLE_BYTES: usize = 1 << 20;
const AMPLE_BATCHES: usize = 1_024;
const CLIENTS_MAX: usize = 6;

/// What an event of a test is.
#[derive(Clone, Copy, Debug)]
struct Kind {
    is_persistent: bool,
    is_task: bool,
}

#[derive(Clone, Debug)]
enum Step {
    /// Requests that are made at the same time.
    Publish(Vec<Vec<Kind>>),
    /// One more client.
    Join { is_live: bool, tasks_only: bool, bytes_max: usize },
    /// A client takes about so many bytes.
    Take(usize, usize),
    /// A client leaves and resumes after the last event that it got.
    Resume(usize),
    /// A client is admitted anew.
    Readmit(usize),
    /// Whatever runs in the background gets on.
    Yield(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind =
        (any::<bool>(), any::<bool>()).prop_map(|(is_persistent, is_task)| Kind { is_persistent, is_task });
    let requests = prop::collection::vec(prop::collection::vec(kind, 1..6), 1..4);
    let bytes_max = prop::sample::select(vec![150, 400, 2_000, AMPLE_BYTES]);
    let join = (any::<bool>(), any::<bool>(), bytes_max)
        .prop_map(|(is_live, tasks_only, bytes_max)| Step::Join { is_live, tasks_only, bytes_max });
    let step = prop_oneof![
        4 => requests.prop_map(Step::Publish),
        2 => join,
        4 => (any::<usize>(), 1..1_000_usize).prop_map(|(client, bytes)| Step::Take(client, bytes)),
        1 => any::<usize>().prop_map(Step::Resume),
        1 => any::<usize>().prop_map(Step::Readmit),
        3 => (1..20_usize).prop_map(Step::Yield),
    ];
    prop::collection::vec(step, 1..50)
}

/// Somebody who writes down everything.
struct Client {
    reader: Option<Reader>,
    tasks_only: bool,
    bytes_max: usize,
    /// Everything logged after this is due.
    start: Offset,
    /// Every event is due that was shown after so many; none for one that may have missed transient ones.
    ample_since: Option<usize>,
    got: Vec<(String, Cursor)>,
    /// Where it stood when it had got so many.
    stood: Vec<(Offset, usize)>,
}

impl Client {
    fn filter(&self) -> EventFilter {
        let all = EventFilter::default();
        if self.tasks_only { all.within(Family::Task) } else { all }
    }

    fn wants(&self, event: &Event) -> bool {
        !self.tasks_only || event.event_type().family() == Family::Task
    }

    fn reader(&mut self) -> &mut Reader {
        self.reader.as_mut().expect("a client is connected between two steps")
    }

    /// Takes what there is, about so many bytes of it.
    fn take(&mut self, bytes: usize) {
        let mut out = Vec::new();
        let reader = self.reader();
        reader.mailbox.take(bytes, &mut out);
        for (_, delivery) in out {
            match delivery {
                Delivery::Run(run) => {
                    let payloads = run.payloads().iter();
                    self.got.extend(payloads.map(|payload| (payload.text().to_owned(), payload.cursor())));
                }
                Delivery::Lagged => {
                    assert!(self.ample_since.is_none(), "it has room for everything");
                    self.reader().subscription.catch_up();
                }
                Delivery::Ended(refusal) => panic!("{refusal}"),
            }
        }
        let position = self.reader().subscription.position();
        self.stood.push((position, self.got.len()));
    }

    /// Takes everything up to the fence.
    async fn finish(&mut self) {
        while self.got.last().is_none_or(|(id, _)| id != FENCE) {
            let ready = tokio::time::timeout(DEADLINE, self.reader().mailbox.ready());
            ready.await.expect("the fence must come");
            self.take(AMPLE_BYTES);
        }
    }

    /// Is what it got right, by what was shown?
    fn check(&self, fixture: &Fixture) {
        let shown = fixture.shown();
        let places: HashMap<&str, usize> = shown.iter().map(|event| event.id()).zip(0..).collect();
        let got: Vec<usize> = self.got.iter().map(|(id, _)| places[&**id]).collect();
        assert!(got.is_sorted_by(|one, next| one < next), "out of order or twice: {:?}", self.got);
        for (place, (_, cursor)) in got.iter().zip(&self.got) {
            assert!(self.wants(&shown[*place]));
            assert_eq!(fixture.hub.epoch().open(*cursor), Ok(shown[*place].offset()));
        }
        let due = |until: Offset| {
            let is_due = |event: &Event| {
                event.is_persistent()
                    && self.wants(event)
                    && event.offset() > self.start
                    && event.offset() <= until
            };
            (0..shown.len()).filter(|place| is_due(&shown[*place])).collect::<Vec<_>>()
        };
        let logged = |count: usize| -> Vec<usize> {
            got[..count].iter().copied().filter(|place| shown[*place].is_persistent()).collect()
        };
        assert_eq!(logged(got.len()), due(fixture.hub.bounds().head));
        for (position, count) in &self.stood {
            assert_eq!(logged(*count), due(*position), "at {position:?} after {count} of {:?}", self.got);
        }
        if let Some(since) = self.ample_since {
            let all: Vec<_> = (since..shown.len()).filter(|place| self.wants(&shown[*place])).collect();
            assert_eq!(got, all, "it kept up and missed something");
        }
    }
}

/// The test on its way.
struct Play {
    fixture: Fixture,
    is_ample: bool,
    clients: Vec<Client>,
    numbers: u64,
}

impl Play {
    fn new(ring_batches_max: usize) -> Self {
        let fixture = Fixture::with_ring(ring_batches_max);
        Play { fixture, is_ample: ring_batches_max == AMPLE_BATCHES, clients: Vec::new(), numbers: 0 }
    }

    fn event(&mut self, kind: Kind) -> NewEvent {
        self.numbers += 1;
        let event_type = if kind.is_task { "task.progress" } else { "agent.log" };
        event(&self.numbers.to_string(), event_type, kind.is_persistent)
    }

    async fn publish(&mut self, requests: Vec<Vec<Kind>>) {
        let mut publishing = Vec::new();
        for request in requests {
            let events = request.into_iter().map(|kind| self.event(kind)).collect();
            let hub = self.fixture.hub.clone();
            publishing.push(async move { hub.publish(&Principal::anonymous(), events).await.unwrap() });
        }
        futures_util::future::join_all(publishing).await;
    }

    async fn connect(&self, client: &mut Client, start: StartPosition) {
        let reader = self.fixture.reader(numbers(), client.filter(), start, client.bytes_max);
        client.reader = Some(reader.await);
    }

    async fn join(&mut self, is_live: bool, tasks_only: bool, bytes_max: usize) {
        let is_ample = self.is_ample && is_live && bytes_max == AMPLE_BYTES;
        let mut client = Client {
            reader: None,
            tasks_only,
            bytes_max,
            start: Offset::ZERO,
            ample_since: is_ample.then(|| self.fixture.shown().len()),
            got: Vec::new(),
            stood: Vec::new(),
        };
        self.connect(&mut client, if is_live { StartPosition::Live } else { StartPosition::Earliest }).await;
        client.start = client.reader().subscription.start();
        self.clients.push(client);
    }

    async fn resume(&mut self, at: usize) {
        let mut client = self.clients.swap_remove(at);
        client.reader = None;
        client.ample_since = None;
        let after =
            client.got.last().map_or_else(|| self.fixture.hub.position(client.start), |(_, cursor)| *cursor);
        self.connect(&mut client, StartPosition::After(after)).await;
        self.clients.push(client);
    }

    async fn step(&mut self, step: Step) {
        let count = self.clients.len();
        match step {
            Step::Publish(requests) => self.publish(requests).await,
            Step::Join { is_live, tasks_only, bytes_max } if count < CLIENTS_MAX => {
                self.join(is_live, tasks_only, bytes_max).await;
            }
            Step::Take(client, bytes) if count > 0 => self.clients[client % count].take(bytes),
            Step::Resume(client) if count > 0 => self.resume(client % count).await,
            Step::Readmit(client) if count > 0 => {
                let client = &mut self.clients[client % count];
                client.ample_since = None;
                let filter = Arc::new(client.filter());
                client.reader().subscription.reseat(filter, View::whole());
            }
            Step::Yield(times) => {
                for _ in 0..times {
                    tokio::task::yield_now().await;
                }
            }
            Step::Join { .. } | Step::Take(..) | Step::Resume(_) | Step::Readmit(_) => {}
        }
    }

    /// Everybody reads to the end and is judged; then somebody resumes wherever the first one has been.
    async fn finish(mut self) {
        let fence = event(FENCE, "task.created", true);
        self.fixture.hub.publish(&Principal::anonymous(), vec![fence]).await.unwrap();
        for client in &mut self.clients {
            client.finish().await;
            client.check(&self.fixture);
        }
        let Some(first) = self.clients.first() else { return };
        let shown = self.fixture.shown();
        for (id, cursor) in first.got.iter().filter(|(id, _)| id != FENCE) {
            let start = StartPosition::After(*cursor);
            let again = self.fixture.reader(numbers(), first.filter(), start, AMPLE_BYTES).await;
            let seen = shown.iter().find(|event| event.id() == id).unwrap();
            let is_due = |event: &&Arc<Event>| {
                event.is_persistent() && first.wants(event) && event.offset() > seen.offset()
            };
            let due: Vec<&str> = shown.iter().filter(is_due).map(|event| event.id()).collect();
            assert_eq!(again.take(due.len()).await, due, "after {id}");
        }
    }
}

fn event(id: &str, event_type: &str, is_persistent: bool) -> NewEvent {
    let draft = Draft {
        event_type: event_type.to_owned(),
        id: Some(id.to_owned()),
        persist: Some(is_persistent),
        ..Draft::default()
    };
    NewEvent::new(draft, &Limits::default()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn logged_events_come_once_and_in_order_and_transient_ones_at_most_once_among_them(
        ring_batches_max in prop::sample::select(vec![1, 3, AMPLE_BATCHES, AMPLE_BATCHES]),
        steps in steps(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut play = Play::new(ring_batches_max);
            for step in steps {
                play.step(step).await;
            }
            play.finish().await;
        });
    }
}

#[tokio::test]
async fn a_reader_without_room_for_transient_events_misses_them_and_keeps_its_seat() {
    let fixture = Fixture::new();
    let reader = fixture.reader(numbers(), EventFilter::default(), StartPosition::Live, 100).await;
    for (id, is_persistent) in [("kept", true), ("1", false), ("2", false)] {
        fixture.hub.publish(&Principal::anonymous(), vec![event(id, "a", is_persistent)]).await.unwrap();
    }
    let other = fixture.live().await;
    fixture.publish("a", 3).await;
    other.take(1).await;
    let metrics = fixture.hub.metrics();
    assert_eq!(metrics.transients_dropped.get(), 2);
    assert_eq!(metrics.mailbox_lagged.get(), 1, "only what is in the log is worth reading it for");
    assert_eq!(reader.take(2).await, ["kept", "3"]);
}

#[tokio::test]
async fn a_transient_event_is_rendered_once_for_all_and_counted_as_what_it_is() {
    let fixture = Fixture::new();
    let readers = [fixture.live().await, fixture.live().await];
    fixture.hub.publish(&Principal::anonymous(), vec![event("x", "a", false)]).await.unwrap();
    for reader in &readers {
        assert_eq!(reader.take(1).await, ["x"]);
    }
    let metrics = fixture.hub.metrics();
    assert_eq!((metrics.executions.get(), metrics.events_delivered.get()), (1, 2));
    assert_eq!((metrics.events_transient.get(), metrics.events_published.get()), (1, 0));
    assert_eq!(fixture.hub.bounds().head, Offset::ZERO);
}
