//! The threads that write payloads to WebSockets, apart from the tasks that read them.
//!
//! Flow: a mailbox that gets something rings its connection's [`Bell`]; the bell waits in the queue of its thread; the thread
//! has the connection write what waits, one write for each turn. Connections that are catching up stand in a line of their own,
//! of which one has a turn after all the others that wait, as sparse flows go before dense ones in RFC 8290.
//! Invariants: the runtime's queue is first in, first out, so thousands of requests would stand before a live event; here the
//! system shares the cores between threads instead. A connection is in its queue once at most; a thread waits for nothing but
//! its queue.
//! Not here: what is written (`socket`).

use super::scratch::Scratch;
use crate::fanout::{Taken, way};
use std::{
    collections::VecDeque,
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
    /// Writes what waits, up to one write; says what there was to take, and so whether it wants another turn and is catching up.
    fn write(&self, bell: &Waker, scratch: &mut Scratch) -> Taken;

    /// Writing panicked: the connection must end.
    fn abandon(&self);
}

/// Rings when there is something to write for a connection.
pub(super) struct Bell {
    outlet: Weak<dyn Outlet>,
    is_queued: AtomicBool,
    /// Was its connection catching up when it last wrote?
    is_past: AtomicBool,
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
    /// Those that are catching up.
    past: VecDeque<Arc<Bell>>,
    is_asleep: bool,
    is_closed: bool,
}

impl Queue {
    fn push(&self, bell: Arc<Bell>) {
        let mut waiting = self.lock();
        match bell.is_past.load(Ordering::Relaxed) {
            true => waiting.past.push_back(bell),
            false => waiting.bells.push(bell),
        }
        if mem::take(&mut waiting.is_asleep) {
            self.pushed.notify_one();
        }
    }

    /// Swaps what waits with an empty list, once something waits, with one that is catching up as its last; `false` at the end.
    fn take(&self, bells: &mut Vec<Arc<Bell>>) -> bool {
        let mut waiting = self.lock();
        while waiting.bells.is_empty() && waiting.past.is_empty() {
            if waiting.is_closed {
                return false;
            }
            waiting.is_asleep = true;
            waiting = self.pushed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            way::woke();
            if !waiting.bells.is_empty() {
                // Whoever rang first mostly rings many; on a shared core that goes on before this thread does.
                drop(waiting);
                thread::yield_now();
                waiting = self.lock();
            }
        }
        mem::swap(&mut waiting.bells, bells);
        bells.extend(waiting.past.pop_front());
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
        Arc::new(Bell { outlet, is_queued: AtomicBool::default(), is_past: AtomicBool::default(), queue })
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
                Ok(taken) => {
                    bell.is_past.store(taken.is_past, Ordering::Relaxed);
                    if taken.has_more {
                        bell.wake_by_ref();
                    }
                    if taken.is_past {
                        way::give_way();
                    }
                }
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

    const MORE: Taken = Taken { has_more: true, is_past: false };

    /// Says which turn it has, and what it is told to do then.
    struct Told {
        turns: mpsc::SyncSender<&'static str>,
        next: Mutex<Vec<Taken>>,
    }

    impl Outlet for Told {
        fn write(&self, _: &Waker, _: &mut Scratch) -> Taken {
            self.turns.send("turn").unwrap();
            self.next.lock().unwrap().pop().expect("no further turn was due")
        }

        fn abandon(&self) {
            self.turns.send("abandoned").unwrap();
        }
    }

    fn told(deliveries: &Deliveries, next: &[Taken]) -> (Arc<Told>, Arc<Bell>, mpsc::Receiver<&'static str>) {
        let (turns, taken) = mpsc::sync_channel(16);
        let told = Arc::new(Told { turns, next: Mutex::new(next.to_vec()) });
        let outlet: Weak<dyn Outlet> = Arc::downgrade(&told) as Weak<dyn Outlet>;
        (told, deliveries.bell(outlet), taken)
    }

    #[tokio::test]
    async fn whoever_wants_another_turn_has_it_and_a_panic_costs_its_own_connection_only() {
        let deliveries = Deliveries::start();
        let (_panics, broken, theirs) = told(&deliveries, &[]);
        let (_goes_on, bell, ours) = told(&deliveries, &[Taken::default(), MORE, MORE]);
        broken.wake_by_ref();
        bell.wake_by_ref();
        assert_eq!([theirs.recv(), theirs.recv()], [Ok("turn"), Ok("abandoned")]);
        assert_eq!([ours.recv(), ours.recv(), ours.recv()], [Ok("turn"); 3]);
    }

    #[tokio::test]
    async fn a_bell_that_rings_often_is_queued_once() {
        struct Held(Barrier, mpsc::SyncSender<()>);
        impl Outlet for Held {
            fn write(&self, _: &Waker, _: &mut Scratch) -> Taken {
                self.1.send(()).unwrap();
                self.0.wait();
                Taken::default()
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

    /// Writes its number whenever it has a turn.
    struct Numbered(usize, bool, Arc<Barrier>, mpsc::SyncSender<usize>);

    impl Outlet for Numbered {
        fn write(&self, _: &Waker, _: &mut Scratch) -> Taken {
            self.3.send(self.0).unwrap();
            self.2.wait();
            Taken { has_more: false, is_past: self.1 }
        }

        fn abandon(&self) {}
    }

    #[tokio::test]
    async fn those_that_catch_up_have_one_turn_after_all_that_are_live() {
        let deliveries = Deliveries::start();
        let (sender, turns) = mpsc::sync_channel(16);
        let turn = Arc::new(Barrier::new(2));
        let outlets: Vec<_> = (0..4)
            .map(|number| Arc::new(Numbered(number, number < 2, Arc::clone(&turn), sender.clone())))
            .collect();
        let bells: Vec<_> = outlets
            .iter()
            .map(|outlet| deliveries.bell(Arc::downgrade(outlet) as Weak<dyn Outlet>))
            .collect();
        // Once it has written, it is known who catches up.
        for bell in &bells {
            bell.wake_by_ref();
            turns.recv().unwrap();
            turn.wait();
        }
        bells[3].wake_by_ref();
        assert_eq!(turns.recv(), Ok(3), "the thread is held until all have rung");
        bells.iter().for_each(|bell| bell.wake_by_ref());
        turn.wait();
        for due in [2, 3, 0, 1] {
            assert_eq!(turns.recv(), Ok(due));
            turn.wait();
        }
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
