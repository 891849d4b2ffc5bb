//! The write path: one thread owns the store's write side and commits whatever has come in while the last commit ran.
//!
//! Flow: takes requests through a bounded queue; gives each committed batch to the `OnCommit` observer, then each request its
//! answer.
//! Invariants: nothing is answered or shown before the commit; bounds are published before the observer is called; offsets
//! rise by one; a request is made whole or not at all; after the first failure no request succeeds again. Transient events
//! are shown in their place among the others and never given to the store; a batch of nothing else waits for no disk.
//! Not here: how events are stored (`sqlite`, `memory`), what a request becomes there (`placing`, `changing`).

use super::{
    AppendError, Bounds, Decide, Health, OnCommit,
    placing::{Placing, pass_on},
    queue::{self, Queue, Refused, Taken, Waiting},
    request::{Answer, Ask, Births, ChangeAnswer, Done, Placed, Reply, Request, refuse, send},
    store::{Store, StoreError, Transaction, Upkeep, data_bytes},
};
use crate::event::{Epoch, NewEvent, Offset, Rank};
use futures_util::future::BoxFuture;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

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

/// How long upkeep that found no room or no lock waits.
const UPKEEP_RETRY: Duration = Duration::from_secs(1);
/// The bytes that an event takes beside its data, roughly; for the bounds of the queue and of batches.
const EVENT_BYTES: usize = 512;

/// What the thread and the callers both see.
struct Shared {
    epoch: Epoch,
    earliest: AtomicU64,
    head: AtomicU64,
    /// How many transient events were shown since the log was opened.
    transients: AtomicU64,
    queue: Queue<Request>,
    /// Why the log takes no events any more; set once.
    stopped: OnceLock<String>,
    /// Tells those who wait for it.
    stopping: CancellationToken,
}

impl Shared {
    /// Loaded before `head`: both only rise, so the pair never shows an earliest beyond the event after the head.
    fn bounds(&self) -> Bounds {
        let earliest = Offset::new(self.earliest.load(Ordering::Acquire));
        Bounds { earliest, head: Offset::new(self.head.load(Ordering::Acquire)) }
    }

    /// The number is loaded first: both only rise, so no event that was shown before has a higher rank.
    fn newest(&self) -> Rank {
        let transients = self.transients.load(Ordering::Acquire);
        Rank::transient(Offset::new(self.head.load(Ordering::Acquire)), transients)
    }

    fn publish(&self, bounds: Bounds) {
        self.head.store(bounds.head.get(), Ordering::Release);
        self.earliest.store(bounds.earliest.get(), Ordering::Release);
    }

    fn stop(&self, reason: String) {
        if self.stopped.set(reason).is_ok() {
            tracing::error!(reason = self.stopped.get(), "the log takes no more events; reads go on");
            self.stopping.cancel();
        }
    }

    fn stopped(&self) -> AppendError {
        let reason = self.stopped.get().map_or("it is closing", String::as_str);
        AppendError::Stopped { reason: reason.to_owned() }
    }
}

/// The callers' side of the thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
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
            transients: AtomicU64::new(0),
            queue: Queue::new(queue::Bounds {
                count: options.queue_requests_max,
                bytes: options.queue_bytes_max,
            }),
            stopped: OnceLock::new(),
            stopping: CancellationToken::new(),
        });
        let (ending, ended) = watch::channel(());
        let thread = Thread {
            logged_at: store.last_logged_at(),
            store,
            shared: Arc::clone(&shared),
            options,
            on_commit,
            is_upkeep_put_off: false,
            _ending: ending,
        };
        if let Err(error) =
            std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || thread.run())
        {
            shared.stop(format!("its thread could not be started: {error}"));
        }
        Writer { shared, ended }
    }

    /// As [`Log::append`](super::Log::append).
    pub(super) async fn append(&self, events: Vec<NewEvent>) -> Answer {
        let bytes = events.iter().map(|event| EVENT_BYTES + data_bytes(event)).sum();
        let (reply, answer) = oneshot::channel();
        let (events, ask) = (events.len(), Ask::Append(events));
        self.enqueue(Waiting { events, bytes, request: Request { ask, reply: Reply::Append(reply) } })?;
        // A thread that ended without an answer has noted why.
        answer.await.unwrap_or_else(|_| Err(self.shared.stopped()))
    }

    /// As [`Log::change`](super::Log::change).
    pub(super) async fn change(&self, decide: Decide, bytes: usize) -> ChangeAnswer {
        let bytes = bytes.saturating_add(EVENT_BYTES);
        let (reply, answer) = oneshot::channel();
        let ask = Ask::Change(decide);
        self.enqueue(Waiting { events: 1, bytes, request: Request { ask, reply: Reply::Change(reply) } })?;
        answer.await.unwrap_or_else(|_| Err(self.shared.stopped()))
    }

    fn enqueue(&self, waiting: Waiting<Request>) -> Result<(), AppendError> {
        if self.shared.stopped.get().is_some() && waiting.request.ask.needs_the_store() {
            return Err(self.shared.stopped());
        }
        match self.shared.queue.add(waiting) {
            Ok(()) => Ok(()),
            Err(Refused::Full(waiting)) => Err(AppendError::Busy { waiting }),
            Err(Refused::Closed) => Err(self.shared.stopped()),
        }
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.shared.bounds()
    }

    pub(super) fn newest(&self) -> Rank {
        self.shared.newest()
    }

    /// The published ends, for a reader elsewhere.
    pub(super) fn published(&self) -> Published {
        Published(Arc::clone(&self.shared))
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

    /// As [`Log::stopped`](super::Log::stopped).
    pub(super) fn stopped(&self) -> BoxFuture<'static, ()> {
        Box::pin(self.shared.stopping.clone().cancelled_owned())
    }

    /// How many requests wait for the thread.
    pub(super) fn waiting(&self) -> usize {
        self.shared.queue.len()
    }

    /// Takes no more requests; the future ends when those that wait are committed and the store is closed.
    pub(super) fn close(&self) -> BoxFuture<'static, ()> {
        self.shared.queue.close();
        let mut ended = self.ended.clone();
        Box::pin(async move { while ended.changed().await.is_ok() {} })
    }
}

impl Drop for Writer {
    /// Nobody can ask any more: the thread commits what waits and ends.
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

/// The published ends as a reader has them.
pub(super) struct Published(Arc<Shared>);

impl Published {
    pub(super) fn bounds(&self) -> Bounds {
        self.0.bounds()
    }

    /// Publishes a head that a reader has found committed: the writer is about to do the same, and whoever is told of the head
    /// may ask for what comes after it at once.
    pub(super) fn advance(&self, head: Offset) {
        self.0.head.fetch_max(head.get(), Ordering::AcqRel);
    }
}

/// The thread and all that it owns.
struct Thread<S> {
    store: S,
    shared: Arc<Shared>,
    options: WriterOptions,
    on_commit: OnCommit,
    /// When the last event was logged.
    logged_at: i64,
    /// Has the last upkeep found no room or no lock?
    is_upkeep_put_off: bool,
    _ending: watch::Sender<()>,
}

/// Empties the queue when the thread ends in whatever way, so that nobody waits for an answer for ever.
struct AtEnd(Arc<Shared>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.queue.end();
    }
}

impl<S: Store> Thread<S> {
    fn run(mut self) {
        let _at_end = AtEnd(Arc::clone(&self.shared));
        let bounds =
            queue::Bounds { count: self.options.batch_events_max, bytes: self.options.batch_bytes_max };
        let mut again = Some(Duration::ZERO);
        loop {
            let is_idle = match self.shared.queue.take(bounds, again) {
                Taken::Batch(batch) => {
                    self.commit_and_answer(batch);
                    false
                }
                Taken::Nothing => true,
                Taken::Closed => break,
            };
            again = self.upkeep(is_idle);
        }
        let has_failed = self.shared.stopped.get().is_some();
        self.store.close(has_failed);
    }

    /// One piece of the store's upkeep; gives how long to wait for requests before the next one.
    fn upkeep(&mut self, is_idle: bool) -> Option<Duration> {
        if self.shared.stopped.get().is_some() {
            return None;
        }
        let now_ms = chrono::Utc::now().timestamp_millis();
        match catch_unwind(AssertUnwindSafe(|| self.store.upkeep(now_ms, is_idle))) {
            Ok(Ok(Upkeep { moved, again })) => {
                self.is_upkeep_put_off = false;
                if let Some(bounds) = moved {
                    self.shared.publish(bounds);
                }
                return again;
            }
            Ok(Err(error @ (StoreError::Full | StoreError::Busy))) => {
                if !std::mem::replace(&mut self.is_upkeep_put_off, true) {
                    tracing::warn!(%error, "retention is put off and tried again");
                }
                return Some(UPKEEP_RETRY);
            }
            Ok(Err(StoreError::Failed { reason } | StoreError::Damaged { reason })) => {
                self.shared.stop(reason);
            }
            Err(panic) => {
                self.shared.stop(format!("its upkeep panicked: {}", panic_text(panic.as_ref())));
            }
        }
        None
    }

    fn commit_and_answer(&mut self, batch: Vec<Request>) {
        let (asked, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|request| (request.ask, request.reply)).unzip();
        if self.shared.stopped.get().is_some() {
            return self.answer_stopped(asked, replies);
        }
        // After a panic nothing of the store is used again but its closing, so a broken state cannot spread.
        match catch_unwind(AssertUnwindSafe(|| self.commit(asked))) {
            Ok(Ok(outcomes)) => send(replies, outcomes),
            Ok(Err(StoreError::Full)) => refuse(replies, || AppendError::Full),
            Ok(Err(StoreError::Busy)) => {
                let waiting = replies.len();
                refuse(replies, || AppendError::Busy { waiting });
            }
            Ok(Err(StoreError::Failed { reason } | StoreError::Damaged { reason })) => {
                self.stop(reason, replies);
            }
            Err(panic) => self.stop(format!("its writer panicked: {}", panic_text(panic.as_ref())), replies),
        }
    }

    fn stop(&self, reason: String, replies: Vec<Reply>) {
        self.shared.stop(reason);
        refuse(replies, || self.shared.stopped());
    }

    /// Refuses what was to be logged. A request of transient events only needs no log, and is how those who follow hear that this
    /// one has stopped.
    fn answer_stopped(&mut self, asked: Vec<Ask>, replies: Vec<Reply>) {
        let last = self.shared.bounds().head;
        let placed = asked.into_iter().map(|ask| match ask.needs_the_store() {
            true => Placed::refused(self.shared.stopped()),
            false => pass_on(ask, self.shared.epoch, last),
        });
        let placed = placed.collect();
        send(replies, self.show(placed));
    }

    /// One transaction for all requests; then the new bounds, the observer, and what to answer.
    fn commit(&mut self, asked: Vec<Ask>) -> Result<Vec<Result<Done, AppendError>>, StoreError> {
        let started = Instant::now();
        let head = self.shared.bounds().head;
        let placed = match asked.iter().any(Ask::needs_the_store) {
            true => self.log(asked)?,
            false => asked.into_iter().map(|ask| pass_on(ask, self.shared.epoch, head)).collect(),
        };
        let took = started.elapsed();
        let outcomes = self.show(placed);
        let logged = self.shared.bounds().head.get() - head.get();
        if let (Some(on_append), 1..) = (&self.options.on_append, logged) {
            on_append(usize::try_from(logged).unwrap_or(usize::MAX), took);
        }
        Ok(outcomes)
    }

    /// The transaction and the new bounds; where the events of each request stand.
    fn log(&mut self, asked: Vec<Ask>) -> Result<Vec<Placed>, StoreError> {
        let head = self.store.bounds().head;
        let logged_at = chrono::Utc::now().timestamp_millis().max(self.logged_at);
        let mut placing = Placing::new(self.store.begin()?, self.shared.epoch, logged_at, head);
        let placed = asked.into_iter().map(|ask| placing.place(ask)).collect::<Result<Vec<_>, _>>()?;
        if placing.last > head {
            let bounds = placing.transaction.commit()?;
            self.logged_at = logged_at;
            self.shared.publish(bounds);
        }
        Ok(placed)
    }

    /// Shows the new events to the observer; gives what to answer.
    fn show(&mut self, placed: Vec<Placed>) -> Vec<Result<Done, AppendError>> {
        // Nobody else writes the number of the transient ones.
        let mut births = Births::new(self.shared.epoch, self.shared.transients.load(Ordering::Relaxed));
        let outcomes = placed.into_iter().map(|placed| births.done(placed)).collect();
        let (batch, transients) = births.into_parts();
        self.shared.transients.store(transients, Ordering::Release);
        if !batch.is_empty() {
            (self.on_commit)(batch);
        }
        outcomes
    }
}

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
