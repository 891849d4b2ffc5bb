//! The write path: one thread owns the store's write side and commits whatever has come in while the last commit ran.
//!
//! Flow: takes requests through a bounded queue; gives each committed batch to the `OnCommit` observer, then each request its
//! answer.
//! Invariants: nothing is answered or shown before the commit; bounds are published before the observer is called; offsets
//! rise by one; a request is logged whole or not at all; after the first failure no append succeeds again.
//! Not here: how events are stored (`sqlite`, `memory`).

use super::{
    AppendError, Appended, Bounds, Health, OnCommit,
    store::{Place, Store, StoreError, Transaction, data_bytes, is_same_body},
};
use crate::event::{Batch, Cursor, Epoch, Event, NewEvent, Offset};
use futures_util::future::BoxFuture;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// Is told after each commit that logged something how many events it logged and how long it took; must not block.
pub type OnAppend = Box<dyn Fn(usize, Duration) + Send>;

/// How much may wait for the writer, and how much it commits at once.
pub struct WriterOptions {
    /// The most requests that wait; beyond it an append fails with [`AppendError::Busy`].
    pub queue_requests_max: usize,
    /// The most bytes of events that wait; beyond it an append fails with [`AppendError::Busy`], unless nothing else waits.
    pub queue_bytes_max: usize,
    /// A batch takes no further request once it has this many events.
    pub batch_events_max: usize,
    /// A batch takes no further request once it has this many bytes of events.
    pub batch_bytes_max: usize,
    /// Is told about every commit.
    pub on_append: Option<OnAppend>,
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions {
            queue_requests_max: 4_096,
            queue_bytes_max: 64 * 1024 * 1024,
            batch_events_max: 4_096,
            batch_bytes_max: 8 * 1024 * 1024,
            on_append: None,
        }
    }
}

impl fmt::Debug for WriterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterOptions")
            .field("queue_requests_max", &self.queue_requests_max)
            .field("queue_bytes_max", &self.queue_bytes_max)
            .field("batch_events_max", &self.batch_events_max)
            .field("batch_bytes_max", &self.batch_bytes_max)
            .finish_non_exhaustive()
    }
}

type Answer = Result<Vec<Appended>, AppendError>;

/// The bytes that an event takes beside its data, roughly; for the bounds of the queue and of batches.
const EVENT_BYTES: usize = 512;

struct Request {
    events: Vec<NewEvent>,
    bytes: usize,
    answer: oneshot::Sender<Answer>,
}

/// What the thread and the callers both see.
struct Shared {
    epoch: Epoch,
    earliest: AtomicU64,
    head: AtomicU64,
    waiting_bytes: AtomicUsize,
    /// Why the log takes no events any more; set once.
    stopped: OnceLock<String>,
}

impl Shared {
    /// Loaded before `head`: both only rise, so the pair never shows an earliest beyond the event after the head.
    fn bounds(&self) -> Bounds {
        let earliest = Offset::new(self.earliest.load(Ordering::Acquire));
        Bounds { earliest, head: Offset::new(self.head.load(Ordering::Acquire)) }
    }

    fn publish(&self, bounds: Bounds) {
        self.head.store(bounds.head.get(), Ordering::Release);
        self.earliest.store(bounds.earliest.get(), Ordering::Release);
    }

    fn stop(&self, reason: String) {
        if self.stopped.set(reason).is_ok() {
            tracing::error!(reason = self.stopped.get(), "the log takes no more events; reads go on");
        }
    }

    fn stopped(&self) -> AppendError {
        let reason = self.stopped.get().map_or("it is closing", String::as_str);
        AppendError::Stopped { reason: reason.to_owned() }
    }

    /// Counts bytes as waiting, if there is room for them.
    fn admit(&self, bytes: usize, bytes_max: usize) -> bool {
        let room = |waiting: usize| {
            let sum = waiting.saturating_add(bytes);
            (waiting == 0 || sum <= bytes_max).then_some(sum)
        };
        self.waiting_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).is_ok()
    }
}

/// The callers' side of the thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// `None` once the log is closing.
    queue: Mutex<Option<mpsc::Sender<Request>>>,
    queue_bytes_max: usize,
    /// Ends when the thread has ended.
    ended: watch::Receiver<()>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("bounds", &self.bounds())
            .field("stopped", &self.shared.stopped)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts the thread. If that fails, the log is stopped from the start and says why.
    pub(super) fn start<S: Store>(store: S, options: WriterOptions, on_commit: OnCommit) -> Self {
        let bounds = store.bounds();
        let shared = Arc::new(Shared {
            epoch: store.epoch(),
            earliest: AtomicU64::new(bounds.earliest.get()),
            head: AtomicU64::new(bounds.head.get()),
            waiting_bytes: AtomicUsize::new(0),
            stopped: OnceLock::new(),
        });
        let (queue, requests) = mpsc::channel(options.queue_requests_max.max(1));
        let (ending, ended) = watch::channel(());
        let queue_bytes_max = options.queue_bytes_max;
        let thread = Thread {
            logged_at: store.last_logged_at(),
            store,
            shared: Arc::clone(&shared),
            requests,
            options,
            on_commit,
            _ending: ending,
        };
        if let Err(error) =
            std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || thread.run())
        {
            shared.stop(format!("its thread could not be started: {error}"));
        }
        Writer { shared, queue: Mutex::new(Some(queue)), queue_bytes_max, ended }
    }

    /// As [`Log::append`](super::Log::append).
    pub(super) async fn append(&self, events: Vec<NewEvent>) -> Answer {
        let answer = self.enqueue(events)?;
        // A thread that ended without an answer has noted why.
        answer.await.unwrap_or_else(|_| Err(self.shared.stopped()))
    }

    fn enqueue(&self, events: Vec<NewEvent>) -> Result<oneshot::Receiver<Answer>, AppendError> {
        if self.shared.stopped.get().is_some() {
            return Err(self.shared.stopped());
        }
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().ok_or_else(|| self.shared.stopped())?;
        let waiting = queue.max_capacity() - queue.capacity();
        let busy = || AppendError::Busy { waiting };
        let place = queue.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => busy(),
            mpsc::error::TrySendError::Closed(()) => self.shared.stopped(),
        })?;
        let bytes = events.iter().map(|event| EVENT_BYTES + data_bytes(event)).sum();
        if !self.shared.admit(bytes, self.queue_bytes_max) {
            return Err(busy());
        }
        let (answer, answered) = oneshot::channel();
        place.send(Request { events, bytes, answer });
        Ok(answered)
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.shared.bounds()
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    pub(super) fn health(&self) -> Health {
        match self.shared.stopped.get() {
            Some(_) => Health::ReadOnly,
            None => Health::Writable,
        }
    }

    /// Takes no more requests; the future ends when those that wait are committed and the store is closed.
    pub(super) fn close(&self) -> BoxFuture<'static, ()> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut ended = self.ended.clone();
        Box::pin(async move { while ended.changed().await.is_ok() {} })
    }
}

/// The thread and all that it owns.
struct Thread<S> {
    store: S,
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    options: WriterOptions,
    on_commit: OnCommit,
    /// When the last event was logged.
    logged_at: i64,
    _ending: watch::Sender<()>,
}

impl<S: Store> Thread<S> {
    fn run(mut self) {
        while let Some(first) = self.requests.blocking_recv() {
            let batch = self.gather(first);
            self.commit_and_answer(batch);
        }
        let has_failed = self.shared.stopped.get().is_some();
        self.store.close(has_failed);
    }

    /// The first request and all that wait behind it, up to the bounds of a batch.
    fn gather(&mut self, first: Request) -> Vec<Request> {
        let (mut events, mut bytes) = (first.events.len(), first.bytes);
        let mut batch = vec![first];
        while events < self.options.batch_events_max && bytes < self.options.batch_bytes_max {
            let Ok(next) = self.requests.try_recv() else { break };
            events += next.events.len();
            bytes += next.bytes;
            batch.push(next);
        }
        self.shared.waiting_bytes.fetch_sub(bytes, Ordering::AcqRel);
        batch
    }

    fn commit_and_answer(&mut self, batch: Vec<Request>) {
        let (mut asked, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|request| (request.events, request.answer)).unzip();
        if self.shared.stopped.get().is_some() {
            return self.refuse(answers, || self.shared.stopped());
        }
        // After a panic nothing of the store is used again but its closing, so a broken state cannot spread.
        match catch_unwind(AssertUnwindSafe(|| self.commit(&mut asked))) {
            Ok(Ok(results)) => {
                for (answer, result) in answers.into_iter().zip(results) {
                    // Nobody may be waiting any more; the events stay.
                    let _ = answer.send(result);
                }
            }
            Ok(Err(StoreError::Full)) => self.refuse(answers, || AppendError::Full),
            Ok(Err(StoreError::Busy)) => {
                let waiting = answers.len();
                self.refuse(answers, || AppendError::Busy { waiting });
            }
            Ok(Err(StoreError::Failed { reason })) => {
                self.shared.stop(reason);
                self.refuse(answers, || self.shared.stopped());
            }
            Err(panic) => {
                self.shared.stop(format!("its writer panicked: {}", panic_text(panic.as_ref())));
                self.refuse(answers, || self.shared.stopped());
            }
        }
    }

    fn refuse(&self, answers: Vec<oneshot::Sender<Answer>>, error: impl Fn() -> AppendError) {
        for answer in answers {
            let _ = answer.send(Err(error()));
        }
    }

    /// One transaction for all requests; then the new bounds, the observer, and what to answer.
    fn commit(&mut self, asked: &mut Vec<Vec<NewEvent>>) -> Result<Vec<Answer>, StoreError> {
        let started = Instant::now();
        let epoch = self.shared.epoch;
        let head = self.store.bounds().head;
        let logged_at = chrono::Utc::now().timestamp_millis().max(self.logged_at);
        let mut placing = Placing { transaction: self.store.begin()?, epoch, logged_at, last: head };
        let answers =
            asked.iter().map(|events| placing.request(events)).collect::<Result<Vec<Answer>, _>>()?;
        if placing.last == head {
            return Ok(answers);
        }
        let bounds = placing.transaction.commit()?;
        let took = started.elapsed();
        self.logged_at = logged_at;
        self.shared.publish(bounds);
        let batch = logged(asked, &answers);
        let events = batch.len();
        (self.on_commit)(batch);
        if let Some(on_append) = &self.options.on_append {
            on_append(events, took);
        }
        Ok(answers)
    }
}

/// The events that were newly logged, in order.
fn logged(asked: &mut Vec<Vec<NewEvent>>, answers: &[Answer]) -> Batch {
    let mut batch = Vec::new();
    for (events, answer) in asked.drain(..).zip(answers) {
        let places = answer.iter().flatten();
        let new = events.into_iter().zip(places).filter(|(_, place)| !place.duplicate);
        batch.extend(new.map(|(event, place)| Arc::new(Event::logged(event, place.cursor))));
    }
    batch.into()
}

/// A transaction and the last place that it gave away.
struct Placing<T> {
    transaction: T,
    epoch: Epoch,
    logged_at: i64,
    last: Offset,
}

impl<T: Transaction> Placing<T> {
    /// Inserts the events of one request, all or none.
    fn request(&mut self, events: &[NewEvent]) -> Result<Answer, StoreError> {
        let before = self.last;
        let mut places = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            let cursor = Cursor { epoch: self.epoch, offset: self.last.next() };
            match self.transaction.insert(event, Place { cursor, logged_at: self.logged_at })? {
                None => {
                    self.last = cursor.offset;
                    places.push(Appended { cursor, duplicate: false });
                }
                Some(first) if is_same_body(&first, event) => {
                    places.push(Appended { cursor: first.cursor(), duplicate: true });
                }
                Some(first) => {
                    if self.last > before {
                        self.transaction.take_back(before.next())?;
                        self.last = before;
                    }
                    let first = Some(first.cursor()).filter(|first| first.offset <= before);
                    return Ok(Err(conflict(index, event, first)));
                }
            }
        }
        Ok(Ok(places))
    }
}

fn conflict(index: usize, event: &NewEvent, first: Option<Cursor>) -> AppendError {
    AppendError::Conflict { index, id: event.id().to_owned(), source_name: event.source().to_owned(), first }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
