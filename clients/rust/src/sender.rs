//! The task that takes events from the queue to the server: in order, one request at a time, until each is settled.
//!
//! Flow: takes batches from `queue`, gives them to `exchange`, and tells `queue` what became of each event.
//! Invariants: while one request is on its way the next batch gathers, so there is no timer for batching; a repeat has the ids
//! and the text of its first attempt; what expires is never sent again; whatever ends this task, nothing stays queued.
//! Not here: what an answer means (`answer`), what of a batch is left (`pending`).

use crate::{
    answer::{Answer, Delay},
    backoff::{self, Chance},
    error::{PublishError, Refusal},
    exchange::Exchange,
    pending::Pending,
    queue::{Entry, Loss, Queue, Taken},
    report::Report,
};
use http::HeaderValue;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// An event that the server answers with `INTERNAL` so many times, alone in its request, is given up: those behind it have done
/// nothing wrong.
const DEFECTS_MAX: u32 = 5;

tokio::task_local! {
    static HERE: ();
}

/// Is this code run by a sender? What happens there must not become events, or they would never end.
pub(crate) fn is_here() -> bool {
    HERE.try_with(|()| ()).is_ok()
}

/// Runs a future as a part of a sender.
pub(crate) async fn here<F: Future>(future: F) -> F::Output {
    HERE.scope((), future).await
}

/// What a batch is at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchBounds {
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
}

/// The one sender of a publisher.
#[derive(Debug)]
pub(crate) struct Sender {
    queue: Arc<Queue>,
    exchange: Exchange,
    token: watch::Receiver<Option<HeaderValue>>,
    batch: BatchBounds,
    window: Duration,
    report: Report,
    /// Attempts in a row that were not answered, or answered with "later".
    failures: u32,
    last_failure: Option<String>,
    /// How often the server failed on the one event that is sent alone.
    defects: u32,
    _ending: Ending,
}

/// Leaves nothing queued when the task ends, also when it is aborted, before its first step or later, or panics.
#[derive(Debug)]
struct Ending(Arc<Queue>);

impl Drop for Ending {
    fn drop(&mut self) {
        let lost = self.0.abandon();
        if lost > 0 {
            tracing::warn!(lost, "the publisher ended before these events were acknowledged");
        }
    }
}

impl Sender {
    pub(crate) fn new(
        queue: Arc<Queue>,
        exchange: Exchange,
        token: watch::Receiver<Option<HeaderValue>>,
        batch: BatchBounds,
        window: Duration,
    ) -> Self {
        let ending = Ending(Arc::clone(&queue));
        Sender {
            queue,
            exchange,
            token,
            batch,
            window,
            report: Report::default(),
            failures: 0,
            last_failure: None,
            defects: 0,
            _ending: ending,
        }
    }

    /// Sends until the queue is closed and empty.
    pub(crate) async fn run(mut self) {
        here(self.send()).await;
    }

    async fn send(&mut self) {
        loop {
            self.report.losses(&self.queue.stats());
            match self.queue.take(self.batch.events_max, self.batch.bytes_max) {
                Taken::Batch(batch) => self.deliver(Pending::new(batch)).await,
                Taken::Nothing => self.idle().await,
                Taken::Ended => break,
            }
        }
        self.report.losses_now(&self.queue.stats());
    }

    /// Waits for something to do, or to say.
    async fn idle(&self) {
        match self.report.due(&self.queue.stats()) {
            Some(due) => tokio::select! {
                () = self.queue.changed() => {}
                () = sleep_until(due) => {}
            },
            None => self.queue.changed().await,
        }
    }

    /// Sends until every event of the batch is settled.
    async fn deliver(&mut self, mut pending: Pending) {
        loop {
            while let Some(entry) = pending.expired(Instant::now()) {
                self.expire(entry);
            }
            self.queue.advance(pending.first().map(|entry| entry.place));
            self.report.losses(&self.queue.stats());
            let Some(part) = pending.part() else { break };
            self.queue.count_sent(part.len());
            let token = self.token.borrow_and_update().clone();
            match self.exchange.publish(part, token).await {
                Answer::Acknowledged(published) => {
                    self.answered();
                    self.queue.acknowledge(pending.settled().into_iter().zip(published).collect());
                }
                Answer::Refused { refusal, index } => {
                    self.answered();
                    if let Some(entry) = pending.refused(index) {
                        self.refuse(entry, refusal);
                    }
                }
                Answer::Denied(refusal) => self.denied(&mut pending, &refusal),
                Answer::Later(delay) => self.later(&mut pending, delay).await,
            }
        }
    }

    fn denied(&mut self, pending: &mut Pending, refusal: &Refusal) {
        // The token that was refused has been replaced meanwhile.
        if self.token.has_changed().unwrap_or(false) {
            return;
        }
        self.answered();
        for entry in pending.settled() {
            self.refuse(entry, refusal.clone());
        }
    }

    async fn later(&mut self, pending: &mut Pending, delay: Delay) {
        self.failures = self.failures.saturating_add(1);
        self.report.failed(&delay.reason, &self.queue.stats());
        if delay.is_defect {
            self.isolate(pending, &delay);
        }
        self.last_failure = Some(delay.reason);
        if let Some(expires) = pending.first().map(|entry| entry.expires) {
            self.pause(delay.pause, expires).await;
        }
    }

    /// Sends the events apart, since one of them may be what the server fails on, and gives that one up in the end.
    fn isolate(&mut self, pending: &mut Pending, delay: &Delay) {
        if pending.part().is_some_and(|part| part.len() > 1) {
            pending.refused(None);
            return;
        }
        self.defects += 1;
        if self.defects < DEFECTS_MAX {
            return;
        }
        self.defects = 0;
        if let Some(entry) = pending.refused(None) {
            let reason = format!("{DEFECTS_MAX} times {}", delay.reason);
            let error =
                PublishError::Unacknowledged { id: entry.id.clone(), waited: self.waited(&entry), reason };
            self.queue.lose(entry, Loss::Refused(error));
        }
    }

    /// Waits before the next attempt, at most until the first event expires. Whoever waits for the sender cuts the wait short,
    /// though not one that the server asked for.
    async fn pause(&mut self, asked: Option<Duration>, expires: Instant) {
        let began = Instant::now();
        let until = |wait: Duration| (began + wait).min(expires);
        let Some(asked) = asked else {
            let wait = backoff::delay(self.failures, Chance::draw());
            tokio::select! {
                () = sleep_until(until(wait)) => {}
                () = self.queue.hurried() => {
                    self.failures = 0;
                    sleep_until(until(wait.min(backoff::FIRST))).await;
                }
            }
            return;
        };
        sleep_until(until(asked)).await;
    }

    fn answered(&mut self) {
        (self.failures, self.defects, self.last_failure) = (0, 0, None);
        self.report.answered();
    }

    fn refuse(&mut self, entry: Entry, refusal: Refusal) {
        self.report.refused(&refusal);
        self.queue.lose(entry, Loss::Refused(PublishError::Refused(Box::new(refusal))));
    }

    fn expire(&self, entry: Entry) {
        let reason =
            self.last_failure.clone().unwrap_or_else(|| "the events before it took as long".to_owned());
        let error =
            PublishError::Unacknowledged { id: entry.id.clone(), waited: self.waited(&entry), reason };
        self.queue.lose(entry, Loss::Expired(error));
    }

    /// How long ago the event was published.
    fn waited(&self, entry: &Entry) -> Duration {
        let left = entry.expires.saturating_duration_since(Instant::now());
        self.window.saturating_sub(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, queue::Bounds};

    fn sender() -> Sender {
        let window = Duration::from_mins(10);
        let queue = Queue::new(Bounds { events_max: 10, bytes_max: 1_000, window });
        let exchange = Exchange::new(&Options::new("http://127.0.0.1:1", "/")).unwrap();
        let (_, token) = watch::channel(None);
        let batch = BatchBounds { events_max: 10, bytes_max: 1_000 };
        Sender::new(Arc::new(queue), exchange, token, batch, window)
    }

    /// How long a sender waits after so many failures, at most until an event expires.
    async fn paused(
        sender: &mut Sender,
        failures: u32,
        asked: Option<Duration>,
        expires: Duration,
    ) -> Duration {
        sender.failures = failures;
        let began = Instant::now();
        sender.pause(asked, began + expires).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_the_first_event_expires() {
        let (mut sender, minute) = (sender(), Duration::from_mins(1));
        assert!(paused(&mut sender, 10, None, minute).await >= Duration::from_secs(15));
        assert_eq!(paused(&mut sender, 10, None, Duration::from_secs(3)).await.as_secs(), 3);
        assert_eq!(paused(&mut sender, 1, Some(minute), Duration::from_secs(3)).await.as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_hurries_cuts_a_wait_short_but_not_one_that_the_server_asked_for() {
        let (mut sender, minute) = (sender(), Duration::from_mins(1));
        let asked = Duration::from_secs(20);
        sender.queue.hurry();
        assert_eq!(paused(&mut sender, 10, Some(asked), minute).await.as_secs(), 20);
        let hurried = paused(&mut sender, 10, None, minute).await;
        assert!(hurried <= backoff::FIRST + Duration::from_millis(1), "{hurried:?}");
        assert_eq!(sender.failures, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_the_server_fails_on_is_given_up_alone() {
        let mut sender = sender();
        for place in 0..8 {
            sender.queue.offer(place.to_string(), "{}".to_owned(), None).unwrap();
        }
        let Taken::Batch(batch) = sender.queue.take(10, 1_000) else { panic!() };
        let (mut pending, mut taken, mut attempts) = (Pending::new(batch), Vec::new(), 0);
        while let Some(part) = pending.part() {
            attempts += 1;
            if part.iter().any(|entry| entry.place == 5) {
                let reason = "INTERNAL: a defect".to_owned();
                sender.later(&mut pending, Delay { reason, pause: None, is_defect: true }).await;
            } else {
                sender.answered();
                taken.extend(pending.settled().iter().map(|entry| entry.place));
            }
        }
        assert_eq!(taken, [0, 1, 2, 3, 4, 6, 7]);
        assert_eq!(sender.queue.stats().lost.refused, 1);
        // Halved three times, and then five times alone.
        assert_eq!(attempts, 3 + DEFECTS_MAX + 3);
    }
}
