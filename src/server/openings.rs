//! Who may begin a subscription now. To begin one is the dearest thing that a small message can ask for, and after a restart
//! thousands of clients ask at once.
//!
//! Invariants: at most a few begin in one round of the runtime, so that what is live finds its turn soon; the others wait in
//! order, outside the runtime's queue.

use tokio::{
    runtime::Handle,
    sync::{Semaphore, SemaphorePermit},
    task::yield_now,
};

/// So many for each thread that runs connections.
const AT_ONCE: usize = 4;

/// The turns.
#[derive(Debug)]
pub(super) struct Openings(Semaphore);

impl Openings {
    /// Must be called on a tokio runtime.
    pub(super) fn new() -> Self {
        Openings(Semaphore::new(AT_ONCE * Handle::current().metrics().num_workers()))
    }

    /// Waits for a turn, which lasts until the permit is dropped.
    ///
    /// Cancel safety: yes.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        let permit = self.0.acquire().await.ok();
        // Whoever has begun lets everybody else run once before the next one begins.
        yield_now().await;
        permit
    }
}
