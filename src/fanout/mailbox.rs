//! The bounded place where payloads wait for one connection: a queue for each of its subscriptions.
//!
//! Flow: the worker and replays put runs of payloads in; the connection takes them out, subscriptions in turn. Whoever has
//! something else to tell the connection leaves word here ([`Mailbox::call`]), so that it waits in one place, which it shares
//! with no other connection.
//! Invariants: a queue is contiguous in what is logged, so what is in it can always be sent; when the connection's byte budget
//! is used up a queue takes no more live payloads and its subscription reads the log again, but for what is not in the log:
//! that is dropped; the lock is held for moves only.

use super::{Run, conflate::conflate};
use crate::{
    error::Refusal,
    event::{Offset, Overflow, Rank},
};
use futures_util::task::AtomicWaker;
use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::sync::Notify;

/// Names a subscription within its connection; never used twice on one connection.
pub type Key = u64;

/// A queue longer than this gives its memory back when it is empty.
const IDLE_CAPACITY_MAX: usize = 4;
/// So many bytes of one subscription go out before it is the turn of the next.
const TURN_BYTES: usize = 16 * 1024;

/// What a connection takes out for one of its subscriptions.
#[derive(Debug)]
pub enum Delivery {
    /// The next events.
    Run(Run),
    /// The subscription fell behind: everything before has been taken, the rest is in the log. The connection answers by
    /// [`Subscription::catch_up`](super::Subscription::catch_up).
    Lagged,
    /// The subscription is over; nothing follows.
    Ended(Refusal),
}

/// The waiting payloads of one connection.
#[derive(Debug)]
pub struct Mailbox {
    state: Mutex<State>,
    reader: AtomicWaker,
    /// Is there something beside payloads that the reader should look at?
    is_called: AtomicBool,
    /// Who hears that; may be another task than the one that takes payloads.
    called: AtomicWaker,
    room: Notify,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Rising by key.
    queues: Vec<(Key, Queue)>,
    /// The queues that have something to take, in turn.
    ready: VecDeque<Key>,
    /// Bytes that can be taken.
    queued_bytes: usize,
    /// Bytes that wait behind a replay.
    held_bytes: usize,
    /// Does what was taken out last still wait for the socket?
    is_blocked: bool,
}

#[derive(Debug)]
struct Queue {
    items: VecDeque<Run>,
    held: VecDeque<Run>,
    gate: Gate,
    overflow: Overflow,
    is_ready: bool,
    /// Everything logged that matches up to here has been put in.
    through: Offset,
    ended: Option<Refusal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// Live payloads can be taken.
    Open,
    /// Live payloads wait until a replay has put the past before them.
    Held,
    /// Live payloads were turned away while a replay runs; the replay learns it at its end, the reader never.
    Overflown,
    /// Live payloads were turned away from an open queue; the reader is told when it has taken the rest.
    Lagging,
}

/// What there is about payloads that were taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    /// More is left.
    pub has_more: bool,
    /// Among them are payloads that a replay has read from the log.
    pub is_past: bool,
}

/// What became of live payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// They are in.
    Taken,
    /// They are not in: no room, and none of them is in the log. The member stays.
    Dropped,
    /// They are not in: no room, or the subscription is gone. Its member gets no more.
    Refused,
}

impl Mailbox {
    /// An empty mailbox with this many bytes of room.
    pub fn new(bytes_max: usize) -> Self {
        Mailbox {
            state: Mutex::default(),
            reader: AtomicWaker::new(),
            is_called: AtomicBool::new(false),
            called: AtomicWaker::new(),
            room: Notify::new(),
            bytes_max,
        }
    }

    /// Waits until there is something to take.
    ///
    /// Cancel safety: yes. One task at a time may wait.
    pub async fn ready(&self) {
        poll_fn(|context| self.poll_ready(context)).await;
    }

    /// Is there something to take? If not, the task is woken once there is; one task at a time.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.reader.register(context.waker());
        match self.lock().ready.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    /// Wakes the reader for something that is no payload.
    pub fn call(&self) {
        self.is_called.store(true, Ordering::Release);
        self.called.wake();
    }

    /// Was the reader called? It hears so at [`Mailbox::poll_called`].
    pub fn is_called(&self) -> bool {
        self.is_called.load(Ordering::Acquire)
    }

    /// Was the reader called since the last time? If not, the task is woken once it is; one task at a time.
    pub fn poll_called(&self, context: &mut Context<'_>) -> Poll<()> {
        self.called.register(context.waker());
        match self.is_called() && self.is_called.swap(false, Ordering::AcqRel) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Takes out up to about `bytes_max` bytes, the subscriptions in turn.
    pub fn take(&self, bytes_max: usize, out: &mut Vec<(Key, Delivery)>) -> Taken {
        let mut state = self.lock();
        let (mut taken, mut is_past) = (0, false);
        while taken < bytes_max {
            let Some(key) = state.ready.pop_front() else { break };
            let is_alone = state.ready.is_empty();
            let turn = if is_alone { bytes_max - taken } else { TURN_BYTES.min(bytes_max - taken) };
            let Some((delivery, is_replayed)) = state.next_of(key, turn) else { continue };
            if let Delivery::Run(run) = &delivery {
                taken += run.bytes();
                is_past |= is_replayed;
            }
            out.push((key, delivery));
        }
        state.queued_bytes -= taken;
        let has_more = !state.ready.is_empty();
        drop(state);
        if taken > 0 {
            self.room.notify_waiters();
        }
        Taken { has_more, is_past }
    }

    /// Opens a queue from which everything up to `through` is left out; a held one waits for a replay.
    pub(super) fn open(&self, key: Key, through: Offset, is_held: bool, overflow: Overflow) {
        let gate = if is_held { Gate::Held } else { Gate::Open };
        let queue = Queue {
            items: VecDeque::new(),
            held: VecDeque::new(),
            gate,
            overflow,
            is_ready: false,
            through,
            ended: None,
        };
        let mut state = self.lock();
        // Keys are given out rising, but a later subscription may be ready first.
        let at = state.queues.partition_point(|(other, _)| *other < key);
        state.queues.insert(at, (key, queue));
    }

    /// Nothing up to `through` is wanted any more.
    pub(super) fn advance(&self, key: Key, through: Offset) {
        if let Some(queue) = self.lock().queue(key) {
            queue.through = queue.through.max(through);
        }
    }

    /// Removes a queue with all that is in it.
    pub(super) fn close(&self, key: Key) {
        let mut state = self.lock();
        let Ok(at) = state.queues.binary_search_by_key(&key, |(key, _)| *key) else { return };
        let (_, queue) = state.queues.remove(at);
        state.queued_bytes -= bytes(&queue.items);
        state.held_bytes -= bytes(&queue.held);
        state.ready.retain(|ready| *ready != key);
        drop(state);
        self.room.notify_waiters();
    }

    /// Puts in what the worker rendered.
    pub(super) fn push_live(&self, key: Key, run: Run) -> Pushed {
        let mut state = self.lock();
        let in_all = state.queued_bytes + state.held_bytes;
        // A payload larger than the whole budget still goes to an empty mailbox.
        let fits = in_all == 0 || in_all + run.bytes() <= self.bytes_max;
        let Some(queue) = state.queue(key) else { return Pushed::Refused };
        let pushed = match (queue.gate, fits) {
            (Gate::Open, true) => {
                let more = run.bytes();
                queue.through = run.last().map_or(queue.through, Rank::offset);
                queue.items.push_back(run);
                state.queued_bytes += more;
                Pushed::Taken
            }
            (Gate::Held, true) => {
                let more = run.bytes();
                queue.held.push_back(run);
                state.held_bytes += more;
                return Pushed::Taken;
            }
            (Gate::Open | Gate::Held, false) if queue.drops(&run) => return Pushed::Dropped,
            (Gate::Open, false) => state.overflow(key, run, self.bytes_max),
            (Gate::Held, false) => {
                queue.gate = Gate::Overflown;
                let held = bytes(&std::mem::take(&mut queue.held));
                state.held_bytes -= held;
                return Pushed::Refused;
            }
            (Gate::Overflown | Gate::Lagging, _) => return Pushed::Refused,
        };
        self.announce(state, key);
        pushed
    }

    /// Waits until a replay may put in more.
    ///
    /// Cancel safety: yes.
    pub(super) async fn room(&self) {
        // Replays leave the other half to live payloads.
        let bytes_max = self.bytes_max / 2;
        self.until(|state| state.queued_bytes <= bytes_max).await;
    }

    /// The connection says whether what it has taken out still waits for its socket.
    pub fn set_blocked(&self, is_blocked: bool) {
        self.lock().is_blocked = is_blocked;
        if !is_blocked {
            self.room.notify_waiters();
        }
    }

    /// Waits until everything of a subscription has gone to the socket.
    ///
    /// Cancel safety: yes.
    pub(super) async fn emptied(&self, key: Key) {
        let is_empty = |state: &mut State| state.queue(key).is_none_or(|queue| queue.items.is_empty());
        self.until(|state| !state.is_blocked && is_empty(state)).await;
    }

    async fn until(&self, is_so: impl Fn(&mut State) -> bool) {
        loop {
            let mut notified = std::pin::pin!(self.room.notified());
            // From here on, so that what is taken out after the look is not missed.
            notified.as_mut().enable();
            if is_so(&mut self.lock()) {
                return;
            }
            notified.await;
        }
    }

    /// Puts in what a replay rendered, before what is held. The replay has waited for [`Mailbox::room`].
    pub(super) fn push_replayed(&self, key: Key, run: Run) {
        let mut state = self.lock();
        let Some(queue) = state.queue(key) else { return };
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return };
        assert!(first > Rank::logged(queue.through), "a replay must continue where the queue ends");
        queue.through = last.offset();
        let more = run.bytes();
        queue.items.push_back(run);
        state.queued_bytes += more;
        self.announce(state, key);
    }

    /// The replay has put in everything up to `through`: what was held follows, and the queue is live. `false` when the room
    /// for held payloads did not suffice; the queue is held again and the replay goes on.
    pub(super) fn release(&self, key: Key, through: Offset) -> bool {
        let mut state = self.lock();
        let Some(queue) = state.queue(key) else { return true };
        queue.through = queue.through.max(through);
        if queue.gate == Gate::Overflown {
            queue.gate = Gate::Held;
            return false;
        }
        queue.gate = Gate::Open;
        let held = std::mem::take(&mut queue.held);
        queue.through = held.back().and_then(Run::last).map_or(queue.through, Rank::offset);
        let more = bytes(&held);
        queue.items.extend(held);
        state.held_bytes -= more;
        state.queued_bytes += more;
        self.announce(state, key);
        true
    }

    /// Nothing live follows what is in a queue; the rest is in the log, after what was delivered.
    pub(super) fn lag(&self, key: Key, delivered: Offset) {
        let mut state = self.lock();
        let Some(queue) = state.queue(key) else { return };
        match queue.gate {
            Gate::Open => {
                queue.gate = Gate::Lagging;
                queue.through = queue.through.max(delivered);
            }
            Gate::Held => {
                queue.gate = Gate::Overflown;
                let held = bytes(&std::mem::take(&mut queue.held));
                state.held_bytes -= held;
            }
            Gate::Overflown | Gate::Lagging => {}
        }
        self.announce(state, key);
    }

    /// Ends a queue after what is in it.
    pub(super) fn end(&self, key: Key, refusal: Refusal) {
        let mut state = self.lock();
        let Some(queue) = state.queue(key) else { return };
        queue.ended = Some(refusal);
        self.announce(state, key);
    }

    /// How many bytes wait for a subscription, those behind a replay included.
    pub(super) fn waiting_bytes(&self, key: Key) -> usize {
        self.lock().queue(key).map_or(0, |queue| bytes(&queue.items) + bytes(&queue.held))
    }

    /// Everything logged that matches up to here has been put in; for an open queue that is at least `routed`.
    pub(super) fn through(&self, key: Key) -> Offset {
        self.lock().queue(key).map_or(Offset::ZERO, |queue| queue.through)
    }

    /// Everything logged that matches up to here has been taken out, when the worker has routed everything up to `routed`.
    pub(super) fn taken_through(&self, key: Key, routed: Offset) -> Option<Offset> {
        let mut state = self.lock();
        let queue = state.queue(key)?;
        Some(match (queue.items.front(), queue.gate) {
            (Some(next), _) => next.first().map_or(queue.through, Rank::before),
            (None, Gate::Open) => queue.through.max(routed),
            (None, Gate::Held | Gate::Overflown | Gate::Lagging) => queue.through,
        })
    }

    fn announce(&self, mut state: MutexGuard<'_, State>, key: Key) {
        let Some(queue) = state.queue(key) else { return };
        let has_work = !queue.items.is_empty() || queue.gate == Gate::Lagging || queue.ended.is_some();
        if has_work && !queue.is_ready {
            queue.is_ready = true;
            state.ready.push_back(key);
            drop(state);
            self.reader.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes that belong together, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Without room, is this run dropped? Nothing of it is in the log, so that reading it again would bring nothing back.
    fn drops(&self, run: &Run) -> bool {
        run.is_transient() && (self.gate == Gate::Held || self.overflow == Overflow::Replay)
    }
}

impl State {
    fn queue(&mut self, key: Key) -> Option<&mut Queue> {
        let at = self.queues.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        self.queues.get_mut(at).map(|(_, queue)| queue)
    }

    /// Takes up to about so many bytes of a queue and puts the queue back in line while it has more; says whether a replay fills it.
    fn next_of(&mut self, key: Key, bytes_max: usize) -> Option<(Delivery, bool)> {
        let queue = self.queue(key)?;
        let is_replayed = matches!(queue.gate, Gate::Held | Gate::Overflown);
        let delivery = match queue.items.pop_front() {
            Some(run) => {
                let (first, rest) = run.split(bytes_max);
                rest.into_iter().for_each(|rest| queue.items.push_front(rest));
                Delivery::Run(first)
            }
            None if queue.ended.is_some() => Delivery::Ended(queue.ended.take()?),
            None if queue.gate == Gate::Lagging => {
                queue.gate = Gate::Held;
                Delivery::Lagged
            }
            None => {
                queue.is_ready = false;
                return None;
            }
        };
        queue.is_ready = !queue.items.is_empty() || queue.ended.is_some() || queue.gate == Gate::Lagging;
        if queue.items.is_empty() && queue.items.capacity() > IDLE_CAPACITY_MAX {
            queue.items = VecDeque::new();
        }
        if queue.is_ready {
            self.ready.push_back(key);
        }
        Some((delivery, is_replayed))
    }

    /// There is no room for a run in an open queue.
    fn overflow(&mut self, key: Key, run: Run, bytes_max: usize) -> Pushed {
        let Some(queue) = self.queue(key) else { return Pushed::Refused };
        if queue.overflow == Overflow::Replay {
            // What was routed before did not match, or is in; the log need not be read from further back.
            let before = run.first().map_or(Offset::ZERO, Rank::before);
            queue.through = queue.through.max(before);
            queue.gate = Gate::Lagging;
            return Pushed::Refused;
        }
        let before = bytes(&queue.items);
        queue.through = run.last().map_or(queue.through, Rank::offset);
        queue.items.push_back(run);
        queue.items = conflate(std::mem::take(&mut queue.items));
        let after = bytes(&queue.items);
        let in_all = self.queued_bytes + self.held_bytes - before + after;
        self.queued_bytes = self.queued_bytes - before + after;
        // With little room won the next run would bring the same work again: the log is the better place then.
        if in_all <= bytes_max / 4 * 3 {
            return Pushed::Taken;
        }
        if let Some(queue) = self.queue(key) {
            queue.gate = Gate::Lagging;
        }
        Pushed::Refused
    }
}

fn bytes(runs: &VecDeque<Run>) -> usize {
    runs.iter().map(Run::bytes).sum()
}

#[cfg(test)]
#[path = "mailbox_tests.rs"]
mod tests;
