//! One WebSocket, the same for every protocol spoken over it: a task reads it, a delivery thread writes payloads to it.
//!
//! Flow: text from the peer goes to the [`Speaker`]; payloads of the mailbox go through the speaker to the peer, many frames a
//! write. Orders for the connection (drain, review of its principal, an administrator's) come through its directory line.
//! Invariants: task and thread have the conversation in turn, by its lock; the thread never waits for the task, and a bell that
//! found the lock taken rings again; payloads are taken only when the socket has taken all that was written before, and not
//! before orders; a socket that takes nothing for the write deadline is closed, and one that does not read its answers is not
//! read either; a peer that sends nothing is found by pings; the last frame is a close frame, and the peer gets two seconds to
//! answer it.

mod talk;

use super::{
    App,
    caller::Caller,
    delivery::{Bell, Outlet},
    directory::Line,
    jobs::Jobs,
    scratch::Scratch,
    wire::{Frames, Wire},
};
use crate::{
    error::Refusal,
    event::Cursor,
    fanout::{Delivery, Key, Mailbox, Taken},
    graphql::Following,
    metrics::Counted,
    platform::self_events,
    protocol::{CloseReason, Closing},
};
use futures_util::{future::BoxFuture, task::AtomicWaker};
use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
    time::Duration,
};
use talk::Talk;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

const CLOSE_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// One side of a conversation: the protocol's rules applied to the server's parts.
pub(super) trait Speaker: Send {
    /// The result of a job.
    type Done: Send;

    /// The socket is open.
    fn opened(&mut self, _turn: &mut Turn<'_, Self::Done>) {}

    /// The peer sent a text.
    fn received(&mut self, text: &str, turn: &mut Turn<'_, Self::Done>);

    /// The peer sent a binary frame.
    fn received_binary(&mut self, turn: &mut Turn<'_, Self::Done>);

    /// A job ended.
    fn done(&mut self, done: Self::Done, turn: &mut Turn<'_, Self::Done>);

    /// The mailbox had something for a subscription.
    fn delivered(&mut self, key: Key, delivery: Delivery, turn: &mut Turn<'_, Self::Done>);

    /// It is time to show the peer that the connection lives.
    fn ping(&mut self, turn: &mut Turn<'_, Self::Done>);

    /// By when must the peer have introduced itself? Asked until it has.
    fn introduction_due(&self) -> Option<Duration>;

    /// The peer did not introduce itself in time.
    fn introduction_missing(&mut self, turn: &mut Turn<'_, Self::Done>);

    /// The grant or the view is another: what lives goes on under the new one, or ends where that does not allow it.
    fn readmit(&mut self, turn: &mut Turn<'_, Self::Done>);

    /// The peer is not welcome any more: its last words and the end.
    fn expelled(&mut self, refusal: &Refusal, turn: &mut Turn<'_, Self::Done>) {
        turn.close(self.closing(&CloseReason::Refused(refusal)));
    }

    /// What is followed, for administrators.
    fn following(&self) -> Vec<Following>;

    /// An administrator ends a subscription; says whether there was one.
    fn unsubscribe(&mut self, id: &str, turn: &mut Turn<'_, Self::Done>) -> bool;

    /// Everything that matches up to here has gone out, for all subscriptions; `None` without any.
    fn position(&self) -> Option<Cursor>;

    /// How this protocol ends a connection.
    fn closing(&self, reason: &CloseReason<'_>) -> Closing {
        Closing::new(reason)
    }
}

/// What a speaker may do in its turn.
#[derive(Debug)]
pub(super) struct Turn<'a, D> {
    frames: &'a mut Frames,
    jobs: &'a mut Jobs<D>,
    caller: &'a mut Caller,
    closing: &'a mut Option<Closing>,
}

impl<D> Turn<'_, D> {
    /// Sends a text that consists of these parts.
    pub(super) fn send(&mut self, parts: &[&str]) {
        self.frames.text(parts);
    }

    /// Sends a text before whatever waits. Nothing in it may speak of events that could still be waiting.
    pub(super) fn send_first(&mut self, text: &str) {
        self.frames.urgent_text(text);
    }

    /// Sends a WebSocket ping, for protocols without one of their own.
    pub(super) fn send_ping(&mut self) {
        self.frames.ping();
    }

    /// Closes after what was sent.
    pub(super) fn close(&mut self, closing: Closing) {
        self.closing.get_or_insert(closing);
    }

    /// Who is at the other end.
    pub(super) fn caller(&mut self) -> &mut Caller {
        self.caller
    }

    /// The running jobs.
    pub(super) fn jobs(&mut self) -> &mut Jobs<D> {
        self.jobs
    }
}

/// Why the conversation ends.
#[derive(Debug)]
enum End {
    /// Say this and go.
    Close(Closing),
    /// The peer said goodbye, with this close code if it gave one.
    Left(Option<u16>),
    /// The peer is gone.
    Gone,
}

impl From<&End> for self_events::End {
    fn from(end: &End) -> Self {
        match end {
            End::Close(closing) => self_events::End::by_server(closing.code),
            End::Left(code) => self_events::End::by_peer(*code),
            End::Gone => self_events::End::broken_off(),
        }
    }
}

/// What the task that reads and the thread that writes payloads share.
struct Connection<S: Speaker> {
    /// None once the conversation has ended.
    talk: Mutex<Option<Talk<S>>>,
    mailbox: Arc<Mailbox>,
    /// The task, which must look at the connection again.
    task: AtomicWaker,
    /// There was something to write while the task had the connection.
    is_missed: AtomicBool,
}

/// Runs a connection to its end. No `async fn`, since such a future keeps room for its arguments for as long as it lives, and there
/// is one for each connection.
pub(super) fn run<S: Speaker + 'static>(
    app: &App,
    wire: Wire,
    mailbox: Arc<Mailbox>,
    line: Line,
    speaker: S,
) -> impl Future<Output = ()> + Send + use<S> {
    let counted = Counted::new(&app.hub.metrics().connections_open);
    let talk = Talk::new(app.clone(), wire, Arc::clone(&mailbox), line, speaker);
    let connection = Arc::new(Connection {
        talk: Mutex::new(Some(talk)),
        mailbox,
        task: AtomicWaker::new(),
        is_missed: AtomicBool::new(false),
    });
    let outlet: Weak<dyn Outlet> = Arc::downgrade(&connection) as Weak<dyn Outlet>;
    let bell = app.deliveries.bell(outlet);
    async move {
        let _counted = counted;
        let end = connection.converse(&bell).await;
        if let Some(goodbye) = connection.ended(end) {
            goodbye.await;
        }
    }
}

impl<S: Speaker> Connection<S> {
    /// The conversation has ended in this way; gives what is left to do where something is to be said. In a box, as it is short.
    fn ended(&self, end: End) -> Option<BoxFuture<'static, ()>> {
        let talk = self.lock().take()?;
        talk.line.ends((&end).into());
        let wire = talk.wire;
        match end {
            End::Close(closing) => Some(Box::pin(close(wire, closing))),
            End::Left(_) | End::Gone => None,
        }
    }

    async fn converse(&self, bell: &Arc<Bell>) -> End {
        if let Some(end) = self.lock().as_mut().and_then(|talk| talk.turn(Speaker::opened)) {
            return end;
        }
        // From the first ring on the mailbox knows the bell.
        bell.wake_by_ref();
        // Lives as long as the loop: to look at it again costs little, to make it anew does not.
        let mut alarm = Alarm { sleep: pin!(sleep_until(Instant::now())), set_for: None };
        poll_fn(|context| {
            self.task.register(context.waker());
            let (ended, wants_bell) = match self.lock().as_mut() {
                Some(talk) => {
                    let was_blocked = talk.is_blocked;
                    let ended = talk.poll(context, &mut alarm);
                    let has_drained = was_blocked && !talk.is_blocked;
                    (ended, std::mem::take(&mut talk.wants_bell) || has_drained)
                }
                None => (Poll::Ready(End::Gone), false),
            };
            if self.is_missed.swap(false, Ordering::SeqCst) || wants_bell {
                bell.wake_by_ref();
            }
            ended
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Option<Talk<S>>> {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever panicked has left it half changed.
        if self.talk.is_poisoned() {
            *talk = None;
        }
        talk
    }

    /// The conversation, unless the task has it; then the task rings again.
    fn try_lock(&self) -> Option<MutexGuard<'_, Option<Talk<S>>>> {
        self.talk.try_lock().ok().or_else(|| {
            self.is_missed.store(true, Ordering::SeqCst);
            // The task may have let go just before it could see that.
            let talk = self.talk.try_lock().ok()?;
            self.is_missed.store(false, Ordering::SeqCst);
            Some(talk)
        })
    }
}

impl<S: Speaker> Outlet for Connection<S> {
    fn abandon(&self) {
        self.task.wake();
    }

    fn write(&self, bell: &Waker, scratch: &mut Scratch) -> Taken {
        let Some(mut guard) = self.try_lock() else { return Taken::default() };
        let Some(talk) = guard.as_mut() else { return Taken::default() };
        // When the socket has taken what waits, and when orders are carried out, the task rings.
        if talk.is_blocked || talk.ended.is_some() || self.mailbox.is_called() {
            return Taken::default();
        }
        if self.mailbox.poll_ready(&mut Context::from_waker(bell)).is_pending() {
            return Taken::default();
        }
        let (ended, taken) = talk.write_payloads(scratch);
        let needs_task = ended.is_some() || talk.is_blocked;
        talk.ended = ended;
        if needs_task {
            self.task.wake();
        }
        taken
    }
}

/// The connection's one timer: set anew only for an earlier time than it is set for, since most wakes move the time on.
struct Alarm<'a> {
    sleep: Pin<&'a mut Sleep>,
    set_for: Option<Instant>,
}

impl Alarm<'_> {
    /// Ready at `due` at the latest; perhaps before.
    fn poll(&mut self, due: Instant, context: &mut Context<'_>) -> Poll<()> {
        if self.set_for.is_none_or(|set_for| due < set_for) {
            self.set_for = Some(due);
            self.sleep.as_mut().reset(due);
        }
        ready!(self.sleep.as_mut().poll(context));
        self.set_for = None;
        Poll::Ready(())
    }
}

/// Says goodbye and waits for the answer, so that the peer reads the close frame before the socket is gone.
pub(super) async fn close(mut wire: Wire, closing: Closing) {
    if wire.write_close(closing.code, closing.reason).is_err() {
        return;
    }
    let goodbye = poll_fn(|context| {
        if let Poll::Ready(Err(_)) = wire.poll_drain(context) {
            return Poll::Ready(());
        }
        while let Some(_read) = ready!(wire.poll_recv(context)) {}
        Poll::Ready(())
    });
    // A peer that does not answer in time is cut; there is nobody left to tell.
    let _ = timeout(CLOSE_ANSWER_TIMEOUT, goodbye).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::graphql_ws::GraphqlSpeaker;

    fn future_bytes<S, F>(_: impl Fn(&App, Wire, Arc<Mailbox>, Line, S) -> F) -> usize {
        size_of::<F>()
    }

    /// There is one for each connection, for as long as it lives: 4 KB of each were lost here once.
    #[test]
    fn what_waits_for_a_connection_is_small() {
        let bytes = future_bytes(run::<GraphqlSpeaker>);
        assert!(bytes <= 320, "{bytes} bytes");
    }
}
