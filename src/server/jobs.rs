//! What a connection has begun and not finished: operations that run and subscriptions that start.
//!
//! Invariants: jobs run inside the connection's own task, so closing the socket ends them; a job that was cancelled by its key
//! gives nothing back.

use futures_util::{
    StreamExt,
    future::BoxFuture,
    stream::{AbortHandle, Abortable, FuturesUnordered},
};
use std::task::{Context, Poll, ready};

/// The running jobs of one connection, named by the session's keys.
#[derive(Debug)]
pub(super) struct Jobs<T> {
    running: FuturesUnordered<Abortable<BoxFuture<'static, T>>>,
    handles: Vec<(u64, AbortHandle)>,
}

impl<T> Jobs<T> {
    pub(super) fn new() -> Self {
        Jobs { running: FuturesUnordered::new(), handles: Vec::new() }
    }

    /// Begins a job.
    pub(super) fn start(&mut self, key: u64, job: BoxFuture<'static, T>) {
        let (handle, registration) = AbortHandle::new_pair();
        self.handles.push((key, handle));
        self.running.push(Abortable::new(job, registration));
    }

    /// Ends a job, if it still runs.
    pub(super) fn cancel(&mut self, key: u64) {
        if let Some(at) = self.handles.iter().position(|(own, _)| *own == key) {
            self.handles.swap_remove(at).1.abort();
        }
    }

    /// The next result; pending while nothing runs.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<T> {
        loop {
            // Without jobs there is nobody to wake; whoever starts one looks again.
            if self.running.is_empty() {
                return Poll::Pending;
            }
            // A job that was cancelled has nothing to say.
            if let Some(Ok(done)) = ready!(self.running.poll_next_unpin(context)) {
                return Poll::Ready(done);
            }
        }
    }

    /// The job of this key has given its result.
    pub(super) fn finished(&mut self, key: u64) {
        self.handles.retain(|(own, _)| *own != key);
    }
}
