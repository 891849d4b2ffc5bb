//! The write path against a store that waits, fails and panics when it is told to.

use super::*;
use crate::{
    event::{Batch, Draft, Limits},
    log::{
        Change, StateKey,
        memory::{MemoryOptions, MemoryStore, MemoryTransaction},
        store::{First, Held, Holding, Place},
    },
};
use futures_util::FutureExt;
use std::sync::{Mutex, mpsc as channel};
use tokio::sync::mpsc;

/// What the store does with the next transaction.
enum Step {
    Go,
    FailToBegin(StoreError),
    FailToCommit(StoreError),
    Panic,
}

/// A store that waits for a step before each transaction; once nobody can give steps any more, it works.
struct Scripted {
    inner: MemoryStore,
    steps: channel::Receiver<Step>,
    began: mpsc::Sender<()>,
}

struct ScriptedTransaction<'a> {
    inner: MemoryTransaction<'a>,
    failure: Option<StoreError>,
}

impl Store for Scripted {
    type Transaction<'a> = ScriptedTransaction<'a>;

    fn epoch(&self) -> Epoch {
        self.inner.epoch()
    }

    fn bounds(&self) -> Bounds {
        self.inner.bounds()
    }

    fn last_logged_at(&self) -> i64 {
        self.inner.last_logged_at()
    }

    fn begin(&mut self) -> Result<ScriptedTransaction<'_>, StoreError> {
        self.began.blocking_send(()).unwrap();
        let failure = match self.steps.recv().unwrap_or(Step::Go) {
            Step::Go => None,
            Step::FailToBegin(error) => return Err(error),
            Step::FailToCommit(error) => Some(error),
            Step::Panic => panic!("as the test asked for"),
        };
        Ok(ScriptedTransaction { inner: self.inner.begin()?, failure })
    }

    fn upkeep(&mut self, now_ms: i64, is_idle: bool) -> Result<Upkeep, StoreError> {
        self.inner.upkeep(now_ms, is_idle)
    }

    fn close(self, has_failed: bool) {
        self.inner.close(has_failed);
    }
}

impl Transaction for ScriptedTransaction<'_> {
    fn insert(&mut self, event: &NewEvent, place: Place) -> Result<Option<First>, StoreError> {
        self.inner.insert(event, place)
    }

    fn take_back(&mut self, from: Offset) -> Result<(), StoreError> {
        self.inner.take_back(from)
    }

    fn held(&mut self, key: &StateKey) -> Result<Option<Held>, StoreError> {
        self.inner.held(key)
    }

    fn referrer(&mut self, key: &StateKey) -> Result<Option<StateKey>, StoreError> {
        self.inner.referrer(key)
    }

    fn hold(
        &mut self,
        key: &StateKey,
        before: Option<&Held>,
        after: Option<Holding<'_>>,
    ) -> Result<(), StoreError> {
        self.inner.hold(key, before, after)
    }

    fn commit(self) -> Result<Bounds, StoreError> {
        match self.failure {
            Some(error) => Err(error),
            None => self.inner.commit(),
        }
    }
}

fn unlimited() -> MemoryOptions {
    MemoryOptions { events_max: None, ..MemoryOptions::default() }
}

/// A writer over a scripted store, and what the observer saw: the offsets of each batch.
struct Subject {
    writer: Arc<Writer>,
    steps: channel::Sender<Step>,
    began: mpsc::Receiver<()>,
    seen: Arc<Mutex<Vec<Vec<u64>>>>,
}

fn subject(options: WriterOptions) -> Subject {
    let (steps, script) = channel::channel();
    let (began_sender, began) = mpsc::channel(64);
    let store = Scripted { inner: MemoryStore::new(&unlimited()), steps: script, began: began_sender };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let observer = Arc::clone(&seen);
    let on_commit: OnCommit = Box::new(move |batch: Batch| {
        observer.lock().unwrap().push(batch.iter().map(|event| event.offset().get()).collect());
    });
    Subject { writer: Arc::new(Writer::start(store, options, on_commit)), steps, began, seen }
}

impl Subject {
    /// Asks for an append without waiting for its answer; it stands in the queue when this returns.
    fn ask(&self, events: Vec<NewEvent>) -> tokio::task::JoinHandle<Answer> {
        let writer = Arc::clone(&self.writer);
        let mut asked = Box::pin(async move { writer.append(events).await });
        match asked.as_mut().now_or_never() {
            Some(answer) => tokio::spawn(async { answer }),
            None => tokio::spawn(asked),
        }
    }

    fn give(&self, step: Step) {
        self.steps.send(step).unwrap();
    }

    async fn begun(&mut self) {
        self.began.recv().await.unwrap();
    }
}

fn event(id: &str, source: &str) -> NewEvent {
    let draft = Draft {
        id: Some(id.to_owned()),
        source: Some(source.to_owned()),
        event_type: "task.created".to_owned(),
        ..Draft::default()
    };
    NewEvent::new(draft, &Limits::default()).unwrap()
}

fn transient(id: &str) -> NewEvent {
    let draft = Draft {
        id: Some(id.to_owned()),
        event_type: "task.progress".to_owned(),
        persist: Some(false),
        ..Draft::default()
    };
    NewEvent::new(draft, &Limits::default()).unwrap()
}

/// The same key with another body.
fn other(id: &str) -> NewEvent {
    let draft = Draft {
        id: Some(id.to_owned()),
        source: Some("/".to_owned()),
        event_type: "task.failed".to_owned(),
        ..Draft::default()
    };
    NewEvent::new(draft, &Limits::default()).unwrap()
}

fn failed() -> StoreError {
    StoreError::Failed { reason: "the disk is on fire".to_owned() }
}

#[tokio::test]
async fn all_that_waits_while_a_commit_runs_goes_into_the_next_one() {
    let mut subject = subject(WriterOptions::default());
    let first = subject.ask(vec![event("first", "/")]);
    subject.begun().await;
    let rest: Vec<_> = (0..10).map(|number| subject.ask(vec![event(&number.to_string(), "/")])).collect();
    subject.give(Step::Go);
    subject.give(Step::Go);
    assert_eq!(first.await.unwrap().unwrap()[0].offset.get(), 1);
    for (answer, offset) in rest.into_iter().zip(2..) {
        assert_eq!(answer.await.unwrap().unwrap()[0].offset.get(), offset);
    }
    assert_eq!(*subject.seen.lock().unwrap(), [vec![1], (2..=11).collect()]);
}

#[tokio::test]
async fn the_bounds_are_published_before_the_observer_is_called() {
    let writer: Arc<OnceLock<Arc<Writer>>> = Arc::default();
    let (seen, observer) = (Arc::new(Mutex::new(Vec::new())), Arc::clone(&writer));
    let to = Arc::clone(&seen);
    let on_commit: OnCommit = Box::new(move |batch: Batch| {
        to.lock().unwrap().push((batch[0].offset(), observer.wait().bounds().head));
    });
    let started =
        Arc::new(Writer::start(MemoryStore::new(&unlimited()), WriterOptions::default(), on_commit));
    writer.set(Arc::clone(&started)).unwrap();
    for id in ["a", "b"] {
        started.append(vec![event(id, "/")]).await.unwrap();
    }
    let (one, two) = (Offset::new(1), Offset::new(2));
    assert_eq!(*seen.lock().unwrap(), [(one, one), (two, two)]);
}

#[tokio::test]
async fn a_batch_takes_no_more_requests_than_its_bounds_allow() {
    let mut subject = subject(WriterOptions { batch_events_max: 3, ..WriterOptions::default() });
    let first = subject.ask(vec![event("first", "/")]);
    subject.begun().await;
    let rest: Vec<_> = (0..5).map(|number| subject.ask(vec![event(&number.to_string(), "/")])).collect();
    drop(subject.steps);
    first.await.unwrap().unwrap();
    for answer in rest {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(*subject.seen.lock().unwrap(), [vec![1], vec![2, 3, 4], vec![5, 6]]);
}

#[tokio::test]
async fn a_conflict_fails_alone_and_takes_back_its_own_request_only() {
    let mut subject = subject(WriterOptions::default());
    let first = subject.ask(vec![event("a", "/")]);
    subject.begun().await;
    let before = subject.ask(vec![event("b", "/")]);
    let conflict = subject.ask(vec![event("c", "/"), event("d", "/"), other("b"), event("e", "/")]);
    let within = subject.ask(vec![event("f", "/"), other("f")]);
    let after = subject.ask(vec![event("c", "/"), event("b", "/")]);
    drop(subject.steps);
    first.await.unwrap().unwrap();
    let b = before.await.unwrap().unwrap()[0].cursor;
    let conflict = conflict.await.unwrap();
    assert!(
        matches!(&conflict, Err(AppendError::Conflict { index: 2, id, first, .. }) if id == "b" && *first == Some(b)),
        "{conflict:?}"
    );
    let within = within.await.unwrap();
    assert!(matches!(within, Err(AppendError::Conflict { index: 1, first: None, .. })), "{within:?}");
    let after = after.await.unwrap().unwrap();
    assert_eq!((after[0].offset.get(), after[0].duplicate), (3, false));
    assert_eq!((after[1].cursor, after[1].duplicate), (b, true));
    assert_eq!(*subject.seen.lock().unwrap(), [vec![1], vec![2, 3]]);
}

#[tokio::test]
async fn a_full_queue_is_busy_at_once_in_requests_and_in_bytes() {
    for options in [
        WriterOptions { queue_requests_max: 2, ..WriterOptions::default() },
        WriterOptions { queue_bytes_max: 1_100, ..WriterOptions::default() },
    ] {
        let mut subject = subject(options);
        let first = subject.ask(vec![event("first", "/")]);
        subject.begun().await;
        let waiting = [subject.ask(vec![event("a", "/")]), subject.ask(vec![event("b", "/")])];
        match subject.writer.append(vec![event("c", "/")]).now_or_never() {
            Some(Err(error @ AppendError::Busy { waiting: 2 })) => {
                assert_eq!(error.refusal().code, crate::error::Code::RateLimited);
            }
            answer => panic!("{answer:?}"),
        }
        drop(subject.steps);
        first.await.unwrap().unwrap();
        for answer in waiting {
            answer.await.unwrap().unwrap();
        }
        subject.writer.append(vec![event("c", "/")]).await.unwrap();
    }
}

#[tokio::test]
async fn the_first_failure_stops_appends_for_good_and_answers_all_who_wait() {
    for step in [Step::FailToBegin(failed()), Step::FailToCommit(failed()), Step::Panic] {
        let mut subject = subject(WriterOptions::default());
        let first = subject.ask(vec![event("first", "/")]);
        subject.begun().await;
        let waiting = subject.ask(vec![event("waiting", "/")]);
        assert_eq!(subject.writer.health(), Health::Writable);
        subject.give(step);
        drop(subject.steps);
        for answer in [first, waiting] {
            match answer.await.unwrap() {
                Err(AppendError::Stopped { reason }) => {
                    assert!(
                        reason.contains("on fire") || reason.contains("as the test asked for"),
                        "{reason}"
                    );
                }
                answer => panic!("{answer:?}"),
            }
        }
        assert_eq!(subject.writer.health(), Health::ReadOnly);
        let late = subject.writer.append(vec![event("late", "/")]).await;
        assert!(matches!(late, Err(AppendError::Stopped { .. })));
        assert!(subject.seen.lock().unwrap().is_empty());
        subject.writer.close().await;
    }
}

#[tokio::test]
async fn a_log_that_has_stopped_says_so_once_and_lets_transient_events_pass() {
    let subject = subject(WriterOptions::default());
    let mut stopped = subject.writer.stopped();
    assert!(stopped.as_mut().now_or_never().is_none());
    subject.give(Step::FailToCommit(failed()));
    assert!(subject.writer.append(vec![event("a", "/")]).await.is_err());
    stopped.await;
    let passed = subject.writer.append(vec![transient("b")]).await.unwrap();
    assert_eq!((passed[0].offset, passed[0].duplicate), (Offset::ZERO, false));
    assert!(subject.writer.append(vec![transient("c"), event("d", "/")]).await.is_err());
    assert_eq!(*subject.seen.lock().unwrap(), [[0]]);
    assert_eq!((subject.writer.health(), subject.writer.waiting()), (Health::ReadOnly, 0));
}

#[tokio::test]
async fn a_full_disk_and_a_foreign_lock_refuse_and_the_next_append_may_succeed() {
    for at_commit in [false, true] {
        let mut subject = subject(WriterOptions::default());
        for error in [StoreError::Full, StoreError::Busy] {
            let is_full = matches!(error, StoreError::Full);
            let answer = subject.ask(vec![event("a", "/")]);
            subject.begun().await;
            subject.give(if at_commit { Step::FailToCommit(error) } else { Step::FailToBegin(error) });
            match answer.await.unwrap() {
                Err(AppendError::Full) => assert!(is_full),
                Err(AppendError::Busy { .. }) => assert!(!is_full),
                answer => panic!("{answer:?}"),
            }
        }
        assert_eq!((subject.writer.health(), subject.writer.bounds().head), (Health::Writable, Offset::ZERO));
        drop(subject.steps);
        let appended = subject.writer.append(vec![event("a", "/")]).await.unwrap();
        assert_eq!((appended[0].offset.get(), appended[0].duplicate), (1, false));
    }
}

#[tokio::test]
async fn closing_commits_what_waits_and_refuses_what_comes_later() {
    let mut subject = subject(WriterOptions::default());
    let first = subject.ask(vec![event("first", "/")]);
    subject.begun().await;
    let waiting = subject.ask(vec![event("waiting", "/")]);
    let closed = subject.writer.close();
    assert!(matches!(
        subject.writer.append(vec![event("late", "/")]).await,
        Err(AppendError::Stopped { .. })
    ));
    drop(subject.steps);
    closed.await;
    first.await.unwrap().unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(*subject.seen.lock().unwrap(), [[1], [2]]);
}

#[tokio::test]
async fn an_append_whose_caller_went_away_is_logged() {
    let mut subject = subject(WriterOptions::default());
    let first = subject.ask(vec![event("first", "/")]);
    subject.begun().await;
    first.abort();
    drop(subject.steps);
    let again = subject.writer.append(vec![event("first", "/")]).await.unwrap();
    assert!(again[0].duplicate);
}

#[tokio::test]
async fn each_commit_that_logged_something_is_counted_and_repeats_are_not() {
    let (counted, mut counts) = mpsc::channel(8);
    let on_append: OnAppend = Box::new(move |events, _took| counted.try_send(events).unwrap());
    let subject = subject(WriterOptions { on_append: Some(on_append), ..WriterOptions::default() });
    drop(subject.steps);
    let events = || vec![event("a", "/"), event("a", "/other"), event("a", "/")];
    let appended = subject.writer.append(events()).await.unwrap();
    assert_eq!(appended.iter().filter(|one| one.duplicate).count(), 1);
    subject.writer.append(events()).await.unwrap();
    subject.writer.close().await;
    drop(subject.writer);
    assert_eq!((counts.recv().await, counts.recv().await), (Some(2), None));
    assert_eq!(*subject.seen.lock().unwrap(), [[1, 2]]);
}

#[tokio::test]
async fn a_batch_of_transient_events_begins_no_transaction_and_is_no_commit() {
    let (counted, mut counts) = mpsc::channel(8);
    let on_append: OnAppend = Box::new(move |events, _took| counted.try_send(events).unwrap());
    // No step is given: a transaction would wait for ever.
    let subject = subject(WriterOptions { on_append: Some(on_append), ..WriterOptions::default() });
    let appended = subject.writer.append(vec![transient("a"), transient("b")]).await.unwrap();
    assert!(appended.iter().all(|one| one.offset == Offset::ZERO && !one.duplicate));
    assert_eq!(*subject.seen.lock().unwrap(), [[0, 0]]);
    assert!(subject.began.is_empty());
    drop(subject.steps);
    subject.writer.append(vec![transient("c"), event("d", "/"), transient("e")]).await.unwrap();
    subject.writer.close().await;
    drop(subject.writer);
    assert_eq!(
        (counts.recv().await, counts.recv().await),
        (Some(1), None),
        "only what was logged is counted"
    );
    assert_eq!(*subject.seen.lock().unwrap(), [vec![0, 0], vec![0, 1, 1]]);
}

#[tokio::test]
async fn a_transient_event_waits_for_the_commits_before_it() {
    let mut subject = subject(WriterOptions::default());
    let first = subject.ask(vec![event("first", "/")]);
    subject.begun().await;
    let behind = subject.ask(vec![transient("behind")]);
    assert!(subject.seen.lock().unwrap().is_empty());
    subject.give(Step::Go);
    first.await.unwrap().unwrap();
    assert_eq!(behind.await.unwrap().unwrap()[0].offset.get(), 1);
    assert_eq!(*subject.seen.lock().unwrap(), [[1], [1]]);
}

#[tokio::test]
async fn what_shares_a_commit_that_fails_is_refused_and_not_shown() {
    let mut subject = subject(WriterOptions::default());
    let first = subject.ask(vec![event("first", "/")]);
    subject.begun().await;
    let waiting = [subject.ask(vec![event("a", "/")]), subject.ask(vec![transient("b")])];
    subject.give(Step::Go);
    subject.give(Step::FailToCommit(StoreError::Full));
    first.await.unwrap().unwrap();
    for answer in waiting {
        assert!(matches!(answer.await.unwrap(), Err(AppendError::Full)));
    }
    assert_eq!(*subject.seen.lock().unwrap(), [[1]]);
}

#[tokio::test]
async fn what_a_change_keeps_goes_with_the_commit_that_fails() {
    let mut subject = subject(WriterOptions::default());
    let (writer, key) = (Arc::clone(&subject.writer), StateKey::new("agent", None, "a").unwrap());
    let keep = |id: &str| {
        let (key, event) = (key.clone(), event(id, "/"));
        let decide: Decide = Box::new(move |state| {
            assert!(state.is_free(&key)? && state.referrer(&key)?.is_none());
            Ok(Change::new().keep(key.clone(), event, vec![key]))
        });
        let writer = Arc::clone(&writer);
        tokio::spawn(async move { writer.change(decide, 0).await })
    };
    for error in [StoreError::Full, StoreError::Busy] {
        let answer = keep("1");
        subject.begun().await;
        subject.give(Step::FailToCommit(error));
        assert!(matches!(answer.await.unwrap(), Err(AppendError::Full | AppendError::Busy { .. })));
    }
    drop(subject.steps);
    let changed = keep("2").await.unwrap().unwrap();
    assert_eq!((changed.events[0].offset().get(), changed.is_repeat), (1, false));
    assert_eq!(*subject.seen.lock().unwrap(), [[1]]);
}

#[tokio::test]
async fn a_store_without_room_for_a_key_refuses_its_change_alone() {
    let store = MemoryStore::new(&MemoryOptions { state_keys_max: 1, ..MemoryOptions::default() });
    let writer = Writer::start(store, WriterOptions::default(), Box::new(|_| ()));
    let keep = |id: &str, key: &str| {
        let (key, event) = (StateKey::new("agent", None, key).unwrap(), event(id, "/"));
        writer.change(Box::new(move |_| Ok(Change::new().keep(key, event, Vec::new()))), 0)
    };
    let answers =
        tokio::join!(keep("1", "a"), keep("2", "b"), keep("3", "a"), writer.append(vec![event("4", "/")]));
    assert!(answers.0.is_ok() && answers.2.is_ok() && answers.3.is_ok());
    assert!(matches!(answers.1, Err(AppendError::Full)));
    assert_eq!(writer.bounds().head.get(), 3);
}
