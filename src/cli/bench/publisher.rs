//! One publisher of the load: builds events, sends them by the clock or one request after the other, counts answers.
//!
//! Invariants: one request is on the way at a time, so a publisher's events are in the log in their order; a request is sent
//! again until it is answered, and its events keep their ids, so none is published twice.

use super::{
    super::{
        backoff,
        publish::{
            client::{Answer, Client},
            lines::Line,
        },
    },
    load::Load,
    pace::{Pace, counted_from},
    tick::Tick,
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// After the end an answer may take so long.
const LAST_ANSWER: Duration = Duration::from_secs(5);
/// A server that puts the same events off for so long will not take them.
const PUT_OFF_MAX: Duration = Duration::from_secs(60);

/// A proxy's page, or another server.
pub(super) const UNACKNOWLEDGED: &str =
    "publish: an answer without an acknowledgement for each event; is it a Fanfare server?";

/// How a publisher ended.
#[derive(Debug, Default)]
pub(super) struct PublisherEnd {
    /// Events that were acknowledged.
    pub(super) acknowledged: u64,
    /// Events that were sent and not answered for: they may be in the log or not.
    pub(super) unknown: u64,
    /// Why it ended before its time.
    pub(super) failed: Option<String>,
}

/// Events that were not acknowledged.
struct Unpublished {
    /// Why no request can succeed any more.
    failed: Option<String>,
    /// Did the server say that they are not in the log?
    is_refused: bool,
}

/// One of the senders.
#[derive(Debug)]
pub(super) struct Publisher {
    load: Arc<Load>,
    number: usize,
    client: Client,
    pace: Option<Pace>,
    /// Nothing is due from here on.
    until: Option<Instant>,
    /// Events to publish; none for as many as the time allows.
    limit: Option<u64>,
}

impl Publisher {
    pub(super) fn new(load: Arc<Load>, number: usize, client: Client, start: Instant) -> Self {
        let (senders, batch) = (load.plan.publishers, load.plan.batch);
        let pace = load.plan.rate.map(|rate| Pace::new(start, rate / batch as f64, number, senders));
        let share = |events: u64| {
            let (number, senders) = (number as u64, senders as u64);
            events / senders + u64::from(number < events % senders)
        };
        let until = load.plan.duration.map(|duration| start + duration);
        Publisher { limit: load.plan.events.map(share), load, number, client, pace, until }
    }

    /// Publishes until it is ended, has published all, or cannot go on; then it ends the others, too.
    pub(super) async fn run(self, end: CancellationToken) -> PublisherEnd {
        let mut done = PublisherEnd::default();
        let mut free = Instant::now();
        for request in 0_u64.. {
            let left = self.limit.map_or(u64::MAX, |limit| limit - done.acknowledged);
            let count = left.min(self.load.plan.batch as u64);
            if count == 0 || end.is_cancelled() {
                break;
            }
            let Some(counted) = self.wait(request, free, &end).await else { break };
            let lines = self.lines(done.acknowledged, count, counted);
            match self.publish(&lines, &end).await {
                Ok(()) => {
                    free = Instant::now();
                    done.acknowledged += count;
                    let micros = self.load.micros_at(free).saturating_sub(self.load.micros_at(counted));
                    self.load.tally.acknowledge(self.number, done.acknowledged, micros);
                }
                Err(unpublished) => {
                    done.unknown = if unpublished.is_refused { 0 } else { count };
                    done.failed = unpublished.failed;
                    break;
                }
            }
        }
        if done.failed.is_some() {
            end.cancel();
        }
        done
    }

    /// Waits until a request is due; gives the instant from which its latency counts, or `None` at the end.
    async fn wait(&self, request: u64, free: Instant, end: &CancellationToken) -> Option<Instant> {
        let Some(pace) = &self.pace else { return Some(Instant::now()) };
        let due = pace.due(request);
        let is_last = self.until.is_some_and(|until| due >= until);
        if due > free || is_last {
            tokio::select! {
                biased;
                () = end.cancelled() => return None,
                // Whoever has nothing left to do still ends with the others.
                () = sleep_until(self.until.filter(|_| is_last).unwrap_or(due)) => {}
            }
        }
        (!is_last).then(|| counted_from(due, free, Instant::now()))
    }

    fn lines(&self, first: u64, count: u64, counted: Instant) -> Vec<Line> {
        let (deal, time) = (self.load.deal(), self.load.micros_at(counted));
        let line = |event| {
            let (key, number) = deal.place(self.number, event);
            let tick = Tick { publisher: self.number, key, number, time };
            self.load.run.line(event, &tick, self.load.plan.payload)
        };
        (first..first + count).map(line).collect()
    }

    /// Sends until it is acknowledged, cannot be, or the run ends.
    async fn publish(&self, lines: &[Line], end: &CancellationToken) -> Result<(), Unpublished> {
        let began = Instant::now();
        let mut attempts = 0;
        loop {
            let ended = async {
                end.cancelled().await;
                sleep(LAST_ANSWER).await;
            };
            let answer = tokio::select! {
                biased;
                answer = self.client.publish(lines) => answer,
                () = ended => {
                    self.load.tally.trouble("publish: no answer");
                    let waited = began.elapsed().as_secs_f64();
                    let failed = format!("a request was not answered within {waited:.0} s");
                    return Err(Unpublished { failed: Some(failed), is_refused: false });
                }
            };
            let (message, code) = match answer {
                Answer::Published(published) if published.len() == lines.len() => return Ok(()),
                Answer::Published(_) => {
                    self.load.tally.trouble(UNACKNOWLEDGED);
                    return Err(Unpublished { failed: Some(UNACKNOWLEDGED.to_owned()), is_refused: false });
                }
                Answer::Refused { message, .. } | Answer::Stop(message) => {
                    self.load.tally.trouble(&format!("publish refused: {message}"));
                    return Err(Unpublished { failed: Some(message), is_refused: true });
                }
                Answer::Later { message, code } => (message, code),
            };
            let told = code.map_or_else(|| message.clone(), |code| code.name().to_owned());
            self.load.tally.trouble(&format!("publish put off: {told}"));
            // A server that answers is there; one that does not may be gone.
            let patience = if code.is_some() { PUT_OFF_MAX } else { self.load.patience / 2 };
            if began.elapsed() >= patience {
                return Err(Unpublished { failed: Some(message), is_refused: code.is_some() });
            }
            attempts += 1;
            let pause = backoff::delay(attempts, backoff::Chance::draw());
            if timeout(pause, end.cancelled()).await.is_ok() {
                // The last answer was that they are not in the log; without one nobody knows.
                return Err(Unpublished { failed: None, is_refused: code.is_some() });
            }
        }
    }
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
