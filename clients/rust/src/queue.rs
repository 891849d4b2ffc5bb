//! What waits to be sent, between those who publish and the one sender: in order, bounded, and counted.
//!
//! Invariants: what is queued, acknowledged and lost is together what was published, at every moment; an event counts as queued
//! until it is settled, also while it is on its way; whoever publishes waits for nothing but a lock that is held for a few
//! instructions, under which nothing is logged and nothing else is called.
//! Not here: what is sent when (`sender`).

use crate::{
    error::{PublishError, Published},
    stats::Stats,
};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot, watch},
    time::Instant,
};

/// Where the answer to one event goes, if somebody waits for it.
pub(crate) type Answer = Option<oneshot::Sender<Result<Published, PublishError>>>;

/// An event that was published and is not settled.
#[derive(Debug)]
pub(crate) struct Entry {
    /// How many events were taken before it.
    pub(crate) place: u64,
    pub(crate) id: String,
    /// What the server reads; the same text each time, so that a repeat is recognised.
    pub(crate) json: Box<str>,
    /// From then on it is not sent any more.
    pub(crate) expires: Instant,
    answer: Answer,
}

/// Why an event is given up.
#[derive(Debug)]
pub(crate) enum Loss {
    /// Nobody acknowledged it in time.
    Expired(PublishError),
    /// The server refused it.
    Refused(PublishError),
}

/// The bounds of a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
    /// How long an event is tried.
    pub(crate) window: Duration,
}

/// How far the sender is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// All events up to this place are settled.
    pub(crate) settled: u64,
    /// The sender is done and settles nothing any more; so many events were given up with it.
    pub(crate) ended: Option<u64>,
}

/// What there is to send.
#[derive(Debug)]
pub(crate) enum Taken {
    /// These events, in order; there is at least one.
    Batch(Vec<Entry>),
    /// Nothing yet.
    Nothing,
    /// Nothing, and nothing will come.
    Ended,
}

#[derive(Debug)]
pub(crate) struct Queue {
    bounds: Bounds,
    state: Mutex<State>,
    /// Something changed for the sender: an event came or was lost, or the queue was closed.
    changed: Notify,
    /// Somebody waits for the sender, so it should not wait long itself.
    hurried: Notify,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Entry>,
    /// The place of the next event.
    next_place: u64,
    is_closed: bool,
    stats: Stats,
}

impl Queue {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Queue {
            bounds,
            state: Mutex::default(),
            changed: Notify::new(),
            hurried: Notify::new(),
            progress: watch::Sender::new(Progress::default()),
        }
    }

    /// Takes an event, or counts it as lost and says why.
    pub(crate) fn offer(&self, id: String, json: String, answer: Answer) -> Result<(), PublishError> {
        let offered = self.state().offer(&self.bounds, id, json, answer);
        self.changed.notify_one();
        offered
    }

    /// The next events, at most so many, ending behind the one that passes so many bytes.
    pub(crate) fn take(&self, events_max: usize, bytes_max: usize) -> Taken {
        let mut state = self.state();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < events_max {
            let Some(entry) = state.waiting.front() else { break };
            bytes += entry.json.len();
            if bytes > bytes_max && !batch.is_empty() {
                break;
            }
            batch.extend(state.waiting.pop_front());
        }
        match (batch.is_empty(), state.is_closed) {
            (false, _) => Taken::Batch(batch),
            (true, false) => Taken::Nothing,
            (true, true) => Taken::Ended,
        }
    }

    /// Something may have changed since the last time. Cancel safety: yes.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Somebody waits, or waited since the last time. Cancel safety: yes.
    pub(crate) async fn hurried(&self) {
        self.hurried.notified().await;
    }

    /// Has the sender not wait long before its next attempt.
    pub(crate) fn hurry(&self) {
        self.hurried.notify_one();
    }

    /// Counts events that are put into a request.
    pub(crate) fn count_sent(&self, events: usize) {
        self.state().stats.sent += events as u64;
    }

    /// The server has these events.
    pub(crate) fn acknowledge(&self, acknowledged: Vec<(Entry, Published)>) {
        {
            let mut state = self.state();
            for (entry, published) in &acknowledged {
                state.release(entry);
                state.stats.acknowledged += 1;
                state.stats.duplicates += u64::from(published.duplicate);
            }
        }
        for (entry, published) in acknowledged {
            entry.answer(Ok(published));
        }
    }

    /// This event is given up.
    pub(crate) fn lose(&self, entry: Entry, loss: Loss) {
        let error = {
            let mut state = self.state();
            state.release(&entry);
            let (count, error) = match loss {
                Loss::Expired(error) => (&mut state.stats.lost.expired, error),
                Loss::Refused(error) => (&mut state.stats.lost.refused, error),
            };
            *count += 1;
            error
        };
        entry.answer(Err(error));
    }

    /// Tells whoever waits how far the sender is: everything is settled that stands before the first event that it still has.
    pub(crate) fn advance(&self, first: Option<u64>) {
        let settled = {
            let state = self.state();
            first.or_else(|| state.waiting.front().map(|entry| entry.place)).unwrap_or(state.next_place)
        };
        self.progress.send_if_modified(|progress| {
            let has_moved = progress.settled != settled;
            progress.settled = settled;
            has_moved
        });
    }

    /// The place that the next event will have.
    pub(crate) fn next_place(&self) -> u64 {
        self.state().next_place
    }

    /// How far the sender is, now and later.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Takes no more events; those that are there are still sent.
    pub(crate) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_one();
    }

    /// Gives up what is not settled, for a sender that is gone. Says how many events that were.
    pub(crate) fn abandon(&self) -> u64 {
        let (lost, waiting) = {
            let mut state = self.state();
            state.is_closed = true;
            let lost = state.stats.queued as u64;
            state.stats.lost.closed += lost;
            (state.stats.queued, state.stats.queued_bytes) = (0, 0);
            (lost, std::mem::take(&mut state.waiting))
        };
        // Whoever waits for one of them learns that its sender is gone.
        drop(waiting);
        self.progress.send_modify(|progress| progress.ended = Some(lost));
        lost
    }

    pub(crate) fn stats(&self) -> Stats {
        self.state().stats
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock but an allocation, and each step leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn offer(
        &mut self,
        bounds: &Bounds,
        id: String,
        json: String,
        answer: Answer,
    ) -> Result<(), PublishError> {
        self.stats.published += 1;
        if self.is_closed {
            self.stats.lost.closed += 1;
            return Err(PublishError::Closed);
        }
        let (queued, queued_bytes, bytes) = (self.stats.queued, self.stats.queued_bytes, json.len());
        if queued >= bounds.events_max || bytes > bounds.bytes_max.saturating_sub(queued_bytes) {
            self.stats.lost.queue_full += 1;
            return Err(PublishError::QueueFull {
                bytes,
                queued,
                queued_bytes,
                events_max: bounds.events_max,
                bytes_max: bounds.bytes_max,
            });
        }
        self.stats.queued += 1;
        self.stats.queued_bytes += bytes;
        self.waiting.push_back(Entry {
            place: self.next_place,
            id,
            json: json.into(),
            expires: Instant::now() + bounds.window,
            answer,
        });
        self.next_place += 1;
        Ok(())
    }

    fn release(&mut self, entry: &Entry) {
        self.stats.queued -= 1;
        self.stats.queued_bytes -= entry.json.len();
    }
}

impl Entry {
    fn answer(self, result: Result<Published, PublishError>) {
        if let Some(answer) = self.answer {
            // Whoever asked may have stopped waiting.
            let _gone = answer.send(result);
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// An event that stands at a place, for tests.
    pub(crate) fn entry(place: u64, expires: Instant) -> Entry {
        Entry { place, id: place.to_string(), json: "{}".into(), expires, answer: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Lost;

    fn queue(events_max: usize, bytes_max: usize) -> Queue {
        Queue::new(Bounds { events_max, bytes_max, window: Duration::from_secs(60) })
    }

    fn take(queue: &Queue, events_max: usize, bytes_max: usize) -> Vec<Entry> {
        match queue.take(events_max, bytes_max) {
            Taken::Batch(batch) => batch,
            Taken::Nothing | Taken::Ended => Vec::new(),
        }
    }

    fn acknowledged(entry: Entry) -> (Entry, Published) {
        let published = Published { id: entry.id.clone(), cursor: "c".to_owned(), duplicate: false };
        (entry, published)
    }

    #[tokio::test]
    async fn room_is_given_back_when_an_event_is_settled_and_not_when_it_is_taken() {
        let queue = queue(2, 100);
        let offer = || queue.offer("e".to_owned(), "x".repeat(40), None);
        assert_eq!([offer(), offer()], [Ok(()), Ok(())]);
        let full =
            PublishError::QueueFull { bytes: 40, queued: 2, queued_bytes: 80, events_max: 2, bytes_max: 100 };
        assert_eq!(offer(), Err(full.clone()));
        let batch = take(&queue, 1, 1_000);
        assert_eq!(offer(), Err(full));
        queue.acknowledge(batch.into_iter().map(acknowledged).collect());
        assert_eq!(offer(), Ok(()));
        let lost = Lost { queue_full: 2, ..Lost::default() };
        let stats = queue.stats();
        assert_eq!((stats.published, stats.queued, stats.acknowledged, stats.lost), (5, 2, 1, lost));
    }

    #[tokio::test]
    async fn a_queue_is_full_by_bytes_too_and_what_can_never_fit_does_not_block_the_rest() {
        let queue = queue(10, 100);
        assert!(matches!(
            queue.offer("e".to_owned(), "x".repeat(101), None),
            Err(PublishError::QueueFull { bytes: 101, .. })
        ));
        assert_eq!(queue.offer("e".to_owned(), "x".repeat(100), None), Ok(()));
        assert!(queue.offer("e".to_owned(), "x".to_owned(), None).is_err());
        assert_eq!((queue.stats().queued_bytes, queue.stats().lost.queue_full), (100, 2));
    }

    #[tokio::test]
    async fn a_batch_ends_by_count_and_by_bytes_and_a_large_event_goes_alone() {
        let queue = queue(10, 1_000);
        for bytes in [10, 10, 200, 10, 10] {
            queue.offer("e".to_owned(), "x".repeat(bytes), None).unwrap();
        }
        let sizes: Vec<_> = (0..4).map(|_| take(&queue, 3, 100).len()).collect();
        assert_eq!(sizes, [2, 1, 2, 0]);
        queue.offer("e".to_owned(), "x".to_owned(), None).unwrap();
        queue.offer("e".to_owned(), "x".to_owned(), None).unwrap();
        assert_eq!(take(&queue, 1, 100).len(), 1);
    }

    #[tokio::test]
    async fn what_is_not_settled_when_the_sender_ends_is_lost_and_whoever_waits_is_told() {
        let queue = queue(10, 1_000);
        let (answer, answered) = oneshot::channel();
        queue.offer("e".to_owned(), "x".to_owned(), None).unwrap();
        queue.offer("e".to_owned(), "x".to_owned(), Some(answer)).unwrap();
        let on_its_way = take(&queue, 1, 100);
        queue.close();
        assert_eq!(queue.offer("e".to_owned(), "x".to_owned(), None), Err(PublishError::Closed));
        assert_eq!(queue.abandon(), 2);
        assert!(answered.await.is_err());
        drop(on_its_way);
        let stats = queue.stats();
        assert_eq!((stats.queued, stats.queued_bytes, stats.lost.closed), (0, 0, 3));
        assert_eq!(stats.published, stats.lost.total());
        assert!(matches!(queue.take(1, 1), Taken::Ended));
        assert_eq!(queue.progress().borrow().ended, Some(2));
    }

    #[tokio::test]
    async fn progress_stops_before_the_first_event_that_is_not_settled() {
        let queue = queue(10, 1_000);
        let settled = || queue.progress().borrow().settled;
        for _ in 0..3 {
            queue.offer("e".to_owned(), "x".to_owned(), None).unwrap();
        }
        let batch = take(&queue, 2, 100);
        queue.advance(batch.first().map(|entry| entry.place));
        assert_eq!(settled(), 0);
        queue.advance(None);
        assert_eq!(settled(), 2);
        drop(take(&queue, 2, 100));
        queue.advance(None);
        assert_eq!((settled(), queue.next_place()), (3, 3));
    }
}
