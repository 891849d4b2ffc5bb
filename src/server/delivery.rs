//! The threads that write payloads to WebSockets, apart from the tasks that read them.
//!
//! Flow: a mailbox that gets something rings its connection's [`Bell`]; the bell waits in the queue of its thread; the thread
//! has the connection write what waits, one write for each turn.
//! Invariants: the runtime's queue is first in, first out, so thousands of requests would stand before a live event; here the
//! system shares the cores between threads instead. A connection is in its queue once at most; a thread waits for nothing but
//! its queue.
//! Not here: what is written (`socket`).

use super::scratch::Scratch;
use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
    thread,
};
use tokio::runtime::Handle;

/// A connection that has payloads to write.
pub(super) trait Outlet: Send + Sync {
    /// Writes what waits, up to one write; says whether it wants another turn.
    fn write(&self, bell: &Waker, scratch: &mut Scratch) -> bool;

    /// Writing panicked: the connection must end.
    fn abandon(&self);
}

/// Rings when there is something to write for a connection.
pub(super) struct Bell {
    outlet: Weak<dyn Outlet>,
    is_queued: AtomicBool,
    queue: Arc<Queue>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            self.queue.push(Arc::clone(self));
        }
    }
}

/// What waits for one thread.
#[derive(Default)]
struct Queue {
    state: Mutex<Waiting>,
    pushed: Condvar,
}

#[derive(Default)]
struct Waiting {
    bells: Vec<Arc<Bell>>,
    is_asleep: bool,
    is_closed: bool,
}

impl Queue {
    fn push(&self, bell: Arc<Bell>) {
        let mut waiting = self.lock();
        waiting.bells.push(bell);
        if mem::take(&mut waiting.is_asleep) {
            self.pushed.notify_one();
        }
    }

    /// Swaps what waits with an empty list, once something waits; `false` at the end.
    fn take(&self, bells: &mut Vec<Arc<Bell>>) -> bool {
        let mut waiting = self.lock();
        while waiting.bells.is_empty() {
            if waiting.is_closed {
                return false;
            }
            waiting.is_asleep = true;
            waiting = self.pushed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            if !waiting.bells.is_empty() {
                // Whoever rang first mostly rings many; on a shared core that goes on before this thread does.
                drop(waiting);
                thread::yield_now();
                waiting = self.lock();
            }
        }
        mem::swap(&mut waiting.bells, bells);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Each change is a single assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The delivery threads of a server; they end when this is dropped.
pub(super) struct Deliveries {
    queues: Box<[Arc<Queue>]>,
    next: AtomicUsize,
}

impl Deliveries {
    /// Starts a thread for each of the runtime's own. Must be called on it.
    pub(super) fn start() -> Self {
        let runtime = Handle::current();
        let queue = |_| {
            let queue = Arc::new(Queue::default());
            let (theirs, runtime) = (Arc::clone(&queue), runtime.clone());
            let thread = thread::Builder::new().name("delivery".to_owned());
            thread
                .spawn(move || run(&theirs, &runtime))
                .expect("a thread can be started when the server starts");
            queue
        };
        let queues = (0..runtime.metrics().num_workers()).map(queue).collect();
        Deliveries { queues, next: AtomicUsize::new(0) }
    }

    /// The bell of a new connection; the threads have connections in turn.
    pub(super) fn bell(&self, outlet: Weak<dyn Outlet>) -> Arc<Bell> {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.queues.len();
        let queue = self.queues.get(at).map(Arc::clone).unwrap_or_default();
        Arc::new(Bell { outlet, is_queued: AtomicBool::new(false), queue })
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        for queue in &self.queues {
            queue.lock().is_closed = true;
            queue.pushed.notify_one();
        }
    }
}

fn run(queue: &Queue, runtime: &Handle) {
    // A subscription that has fallen behind starts a task.
    let _entered = runtime.enter();
    let (mut scratch, mut bells) = (Scratch::default(), Vec::new());
    while queue.take(&mut bells) {
        for bell in bells.drain(..) {
            // From here on it may ring again.
            bell.is_queued.store(false, Ordering::Release);
            let Some(outlet) = bell.outlet.upgrade() else { continue };
            let waker = Waker::from(Arc::clone(&bell));
            // A defect costs this connection, not those that share its thread.
            match catch_unwind(AssertUnwindSafe(|| outlet.write(&waker, &mut scratch))) {
                Ok(true) => bell.wake_by_ref(),
                Ok(false) => {}
                Err(_) => outlet.abandon(),
            }
            scratch.empty();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Barrier, mpsc};

    /// Says which turn it has, and what it is told to do then.
    struct Told {
        turns: mpsc::SyncSender<&'static str>,
        next: Mutex<Vec<bool>>,
    }

    impl Outlet for Told {
        fn write(&self, _: &Waker, _: &mut Scratch) -> bool {
            self.turns.send("turn").unwrap();
            self.next.lock().unwrap().pop().expect("no further turn was due")
        }

        fn abandon(&self) {
            self.turns.send("abandoned").unwrap();
        }
    }

    fn told(deliveries: &Deliveries, next: &[bool]) -> (Arc<Told>, Arc<Bell>, mpsc::Receiver<&'static str>) {
        let (turns, taken) = mpsc::sync_channel(16);
        let told = Arc::new(Told { turns, next: Mutex::new(next.to_vec()) });
        let outlet: Weak<dyn Outlet> = Arc::downgrade(&told) as Weak<dyn Outlet>;
        (told, deliveries.bell(outlet), taken)
    }

    #[tokio::test]
    async fn whoever_wants_another_turn_has_it_and_a_panic_costs_its_own_connection_only() {
        let deliveries = Deliveries::start();
        let (_panics, broken, theirs) = told(&deliveries, &[]);
        let (_goes_on, bell, ours) = told(&deliveries, &[false, true, true]);
        broken.wake_by_ref();
        bell.wake_by_ref();
        assert_eq!([theirs.recv(), theirs.recv()], [Ok("turn"), Ok("abandoned")]);
        assert_eq!([ours.recv(), ours.recv(), ours.recv()], [Ok("turn"); 3]);
    }

    #[tokio::test]
    async fn a_bell_that_rings_often_is_queued_once() {
        struct Held(Barrier, mpsc::SyncSender<()>);
        impl Outlet for Held {
            fn write(&self, _: &Waker, _: &mut Scratch) -> bool {
                self.1.send(()).unwrap();
                self.0.wait();
                false
            }

            fn abandon(&self) {}
        }
        let deliveries = Deliveries::start();
        let (sender, turns) = mpsc::sync_channel(16);
        let held = Arc::new(Held(Barrier::new(2), sender));
        let bell = deliveries.bell(Arc::downgrade(&held) as Weak<dyn Outlet>);
        bell.wake_by_ref();
        turns.recv().unwrap();
        // The thread has the connection: all of these are one further turn.
        (0..100).for_each(|_| bell.wake_by_ref());
        held.0.wait();
        turns.recv().unwrap();
        held.0.wait();
        drop(deliveries);
        drop(bell);
        drop(held);
        assert!(turns.recv().is_err(), "nothing rings any more");
    }

    #[tokio::test]
    async fn the_threads_end_with_their_owner() {
        let deliveries = Deliveries::start();
        let queue = Arc::downgrade(&deliveries.queues[0]);
        drop(deliveries);
        while queue.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
