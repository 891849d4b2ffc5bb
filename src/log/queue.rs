//! What waits for the writer's thread: a queue that is bounded in requests and in bytes, and taken many at a time.
//!
//! Invariants: a request is taken once; after closing none is added; the thread is woken once for all that came while it slept.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Something that waits.
pub(super) struct Waiting<T> {
    pub(super) request: T,
    pub(super) events: usize,
    pub(super) bytes: usize,
}

/// Bounds in numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Requests in the queue, or events in a batch.
    pub(super) count: usize,
    pub(super) bytes: usize,
}

/// Why a request was not added.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// So many wait already.
    Full(usize),
    /// Nobody takes requests any more.
    Closed,
}

/// What the thread is given.
pub(super) enum Taken<T> {
    /// Requests in order, one at least.
    Batch(Vec<T>),
    /// Nothing came in time.
    Nothing,
    /// Nothing waits, and nothing will come.
    Closed,
}

pub(super) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    came: Condvar,
    bounds: Bounds,
}

struct Inner<T> {
    waiting: VecDeque<Waiting<T>>,
    bytes: usize,
    is_closed: bool,
    is_thread_asleep: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(bounds: Bounds) -> Self {
        let inner = Inner { waiting: VecDeque::new(), bytes: 0, is_closed: false, is_thread_asleep: false };
        Queue { inner: Mutex::new(inner), came: Condvar::new(), bounds }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request. Bytes beyond the bound are taken when nothing else waits.
    pub(super) fn add(&self, waiting: Waiting<T>) -> Result<(), Refused> {
        let mut inner = self.lock();
        if inner.is_closed {
            return Err(Refused::Closed);
        }
        let count = inner.waiting.len();
        let bytes = inner.bytes.saturating_add(waiting.bytes);
        if count >= self.bounds.count.max(1) || (bytes > self.bounds.bytes && count > 0) {
            return Err(Refused::Full(count));
        }
        inner.bytes = bytes;
        inner.waiting.push_back(waiting);
        if std::mem::take(&mut inner.is_thread_asleep) {
            self.came.notify_one();
        }
        Ok(())
    }

    /// How many requests wait.
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Takes all that waits, until a batch has its bounds. Waits for the first request, for ever or for so long.
    pub(super) fn take(&self, batch: Bounds, wait: Option<Duration>) -> Taken<T> {
        let mut inner = self.lock();
        if inner.waiting.is_empty() && !inner.is_closed && wait != Some(Duration::ZERO) {
            inner.is_thread_asleep = true;
            let is_idle = |inner: &mut Inner<T>| inner.waiting.is_empty() && !inner.is_closed;
            inner = match wait {
                None => self.came.wait_while(inner, is_idle).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => {
                    self.came
                        .wait_timeout_while(inner, wait, is_idle)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
            inner.is_thread_asleep = false;
        }
        let (mut taken, mut events, mut bytes) = (Vec::new(), 0, 0);
        while taken.is_empty() || (events < batch.count && bytes < batch.bytes) {
            let Some(next) = inner.waiting.pop_front() else { break };
            events += next.events;
            bytes += next.bytes;
            taken.push(next.request);
        }
        inner.bytes -= bytes;
        match (taken.is_empty(), inner.is_closed) {
            (false, _) => Taken::Batch(taken),
            (true, false) => Taken::Nothing,
            (true, true) => Taken::Closed,
        }
    }

    /// Adds no more from now on; what waits is still taken.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.came.notify_one();
    }

    /// Closes and drops what waits.
    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.is_closed = true;
        inner.bytes = 0;
        let dropped = std::mem::take(&mut inner.waiting);
        drop(inner);
        drop(dropped);
    }
}
