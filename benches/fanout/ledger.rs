//! The books of one load: which events are on their way, how many subscribers still miss each, what has arrived.
//!
//! Flow: the publisher opens events, subscribers enter deliveries, the scenario waits until there is room for more.
//! Invariants: event numbers rise by one; an event is complete when each subscriber has it, and since each subscriber
//! checks its own order, events complete in order; a failure of any part is kept until the scenario asks.
//! Not here: sockets. All parts run on one thread, hence cells instead of locks, and no borrow lives across an await.

use crate::failure::Failure;
use std::{cell::RefCell, collections::VecDeque, ops::Range, time::Duration};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

/// How long nothing may move before a run counts as failed.
const STALL: Duration = Duration::from_secs(20);

/// What one run brought.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Deliveries of complete and incomplete events.
    pub(crate) delivered: u64,
    /// The bytes of their frames, without the WebSocket header.
    pub(crate) frame_bytes: u64,
    /// For each complete event the time from publishing to the last subscriber.
    pub(crate) spread: Vec<Duration>,
}

#[derive(Debug)]
struct Outstanding {
    missing: usize,
    published: Instant,
}

#[derive(Debug, Default)]
struct Books {
    /// The number of the first of `outstanding`.
    oldest: u64,
    outstanding: VecDeque<Outstanding>,
    /// Publishing requests that wait for their answer.
    unanswered: usize,
    tally: Tally,
    failure: Option<Failure>,
}

/// Shared by the publisher, all subscribers and the scenario of one load.
#[derive(Debug)]
pub(crate) struct Ledger {
    subscribers: usize,
    books: RefCell<Books>,
    /// Rung when the oldest event completes, an answer comes or something fails.
    changed: Notify,
}

impl Ledger {
    pub(crate) fn new(subscribers: usize) -> Self {
        Ledger { subscribers, books: RefCell::default(), changed: Notify::new() }
    }

    /// Enters `count` events as published now in one request, and gives their numbers.
    pub(crate) fn publish(&self, count: usize) -> Range<u64> {
        let mut books = self.books.borrow_mut();
        let first = books.oldest + books.outstanding.len() as u64;
        let published = Instant::now();
        books.outstanding.extend((0..count).map(|_| Outstanding { missing: self.subscribers, published }));
        books.unanswered += 1;
        first..first + count as u64
    }

    /// Enters the answer to one publishing request.
    pub(crate) fn acknowledge(&self) {
        self.books.borrow_mut().unanswered -= 1;
        self.changed.notify_one();
    }

    /// Enters one delivery. Deliveries of abandoned events are not counted.
    pub(crate) fn deliver(&self, event: u64, frame_bytes: usize) -> Result<(), Failure> {
        let books = &mut *self.books.borrow_mut();
        let Some(place) = event.checked_sub(books.oldest) else { return Ok(()) };
        let outstanding = usize::try_from(place).ok().and_then(|place| books.outstanding.get_mut(place));
        let Some(outstanding) = outstanding.filter(|outstanding| outstanding.missing > 0) else {
            return Err(Failure::NeverPublished(event));
        };
        outstanding.missing -= 1;
        books.tally.delivered += 1;
        books.tally.frame_bytes += frame_bytes as u64;
        while let Some(complete) = books.outstanding.pop_front_if(|oldest| oldest.missing == 0) {
            books.oldest += 1;
            books.tally.spread.push(complete.published.elapsed());
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Keeps the first failure for whoever waits.
    pub(crate) fn fail(&self, failure: Failure) {
        self.books.borrow_mut().failure.get_or_insert(failure);
        self.changed.notify_one();
    }

    /// Stops to wait for events that are on their way, because a subscriber may have come after them.
    pub(crate) fn abandon(&self) {
        let books = &mut *self.books.borrow_mut();
        books.oldest += books.outstanding.len() as u64;
        books.outstanding.clear();
    }

    /// Waits until fewer than `window` events are on their way; says how many more fit.
    pub(crate) async fn room(&self, window: usize) -> Result<usize, Failure> {
        loop {
            self.check()?;
            let room = window.saturating_sub(self.books.borrow().outstanding.len());
            if room > 0 {
                return Ok(room);
            }
            self.change(STALL).await?;
        }
    }

    /// Waits until every event is complete and every request answered, at most `patience` without any movement.
    pub(crate) async fn settled(&self, patience: Duration) -> Result<(), Failure> {
        loop {
            self.check()?;
            let open = {
                let books = self.books.borrow();
                !books.outstanding.is_empty() || books.unanswered > 0
            };
            if !open {
                return Ok(());
            }
            self.change(patience).await?;
        }
    }

    /// The same with the patience of a run.
    pub(crate) async fn finished(&self) -> Result<(), Failure> {
        self.settled(STALL).await
    }

    /// What arrived since the last call.
    pub(crate) fn take(&self) -> Tally {
        std::mem::take(&mut self.books.borrow_mut().tally)
    }

    /// Fails when any part of the load has failed.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.books.borrow_mut().failure.take().map_or(Ok(()), Err)
    }

    /// Waits for a ring; gives up when there was neither a ring nor a delivery for `patience`.
    async fn change(&self, patience: Duration) -> Result<(), Failure> {
        let mut delivered = self.books.borrow().tally.delivered;
        while timeout(patience, self.changed.notified()).await.is_err() {
            let books = self.books.borrow();
            if books.tally.delivered == delivered {
                return Err(match books.outstanding.front() {
                    Some(oldest) => {
                        Failure::Stalled { waited: patience, event: books.oldest, missing: oldest.missing }
                    }
                    None => Failure::NotAcknowledged(patience),
                });
            }
            delivered = books.tally.delivered;
        }
        Ok(())
    }
}
