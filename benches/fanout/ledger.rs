//! The books of one load: which events are on their way, how many subscribers still miss each, what has arrived.
//!
//! Flow: the publisher opens events, subscribers enter deliveries, the scenario waits until there is room for more.
//! Invariants: event numbers rise by one; an event is complete when everybody to whom it is due has it; a failure of any
//! part is kept until the scenario asks.
//! Not here: sockets. All parts run on one thread, hence cells instead of locks, and no borrow lives across an await.

use crate::{failure::Failure, histogram::Histogram};
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
    /// The bytes of their messages, without the header of the transport.
    pub(crate) message_bytes: u64,
    /// For each complete event the time from publishing to the last subscriber.
    pub(crate) to_all: Histogram,
    /// For each delivery the time from publishing.
    pub(crate) latency: Histogram,
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
    /// Of `outstanding`, how many are not complete.
    incomplete: usize,
    /// Answers to publishing requests that have not come.
    unanswered: usize,
    /// Subscriptions that have said that they are in force.
    ready: usize,
    tally: Tally,
    failure: Option<Failure>,
}

/// Shared by the publisher, all subscribers and the scenario of one load.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    books: RefCell<Books>,
    /// Rung when an event completes, an answer comes or something fails.
    changed: Notify,
}

impl Ledger {
    /// Books in which events of the past are on their way already: `count` from number `first`, each due to `recipients`.
    pub(crate) fn awaiting(first: u64, count: usize, recipients: usize) -> Self {
        let ledger = Ledger::default();
        ledger.books.borrow_mut().oldest = first;
        ledger.publish(count, recipients, Instant::now());
        ledger
    }

    /// Enters `count` events as published at `published`, each due to so many; gives their numbers.
    pub(crate) fn publish(&self, count: usize, recipients: usize, published: Instant) -> Range<u64> {
        let books = &mut *self.books.borrow_mut();
        let first = books.oldest + books.outstanding.len() as u64;
        if recipients == 0 {
            books.oldest += count as u64;
        } else {
            books.outstanding.extend((0..count).map(|_| Outstanding { missing: recipients, published }));
            books.incomplete += count;
        }
        first..first + count as u64
    }

    /// Enters that so many publishing requests wait for their answers.
    pub(crate) fn expect_answers(&self, count: usize) {
        self.books.borrow_mut().unanswered += count;
    }

    /// Enters the answer to one publishing request.
    pub(crate) fn acknowledge(&self) -> Result<(), Failure> {
        let mut books = self.books.borrow_mut();
        let unasked = || Failure::NotPublished("more answers came than there were requests".to_owned());
        books.unanswered = books.unanswered.checked_sub(1).ok_or_else(unasked)?;
        self.changed.notify_one();
        Ok(())
    }

    /// Enters that one more subscription is in force.
    pub(crate) fn ready(&self) {
        self.books.borrow_mut().ready += 1;
        self.changed.notify_one();
    }

    /// Enters one delivery. Deliveries of abandoned events are not counted.
    pub(crate) fn deliver(&self, event: u64, message_bytes: usize, now: Instant) -> Result<(), Failure> {
        let books = &mut *self.books.borrow_mut();
        let Some(place) = event.checked_sub(books.oldest) else { return Ok(()) };
        let outstanding = usize::try_from(place).ok().and_then(|place| books.outstanding.get_mut(place));
        let Some(outstanding) = outstanding.filter(|outstanding| outstanding.missing > 0) else {
            return Err(Failure::NeverPublished(event));
        };
        outstanding.missing -= 1;
        let taken = now.saturating_duration_since(outstanding.published);
        books.tally.delivered += 1;
        books.tally.message_bytes += message_bytes as u64;
        books.tally.latency.record(taken);
        if outstanding.missing == 0 {
            books.tally.to_all.record(taken);
            books.incomplete -= 1;
            while books.outstanding.pop_front_if(|oldest| oldest.missing == 0).is_some() {
                books.oldest += 1;
            }
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
        books.incomplete = 0;
    }

    /// Waits until fewer than `window` events are on their way; says how many more fit.
    pub(crate) async fn room(&self, window: usize) -> Result<usize, Failure> {
        loop {
            self.check()?;
            let room = window.saturating_sub(self.books.borrow().incomplete);
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
                books.incomplete > 0 || books.unanswered > 0
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

    /// Waits until `expected` subscriptions are in force.
    pub(crate) async fn all_ready(&self, expected: usize) -> Result<(), Failure> {
        loop {
            self.check()?;
            let found = self.books.borrow().ready;
            if found >= expected {
                return Ok(());
            }
            if timeout(STALL, self.changed.notified()).await.is_err() {
                return Err(Failure::NotReady { found, expected, waited: STALL });
            }
        }
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
