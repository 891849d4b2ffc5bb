//! One WebSocket, the same for every protocol spoken over it: a task reads it, a delivery thread writes payloads to it.
//!
//! Flow: text from the peer goes to the [`Speaker`]; payloads of the mailbox go through the speaker to the peer, many frames a
//! write. Orders for the connection (drain, review of its principal, an administrator's) come through its directory line.
//! Invariants: task and thread have the conversation in turn, by its lock; the thread never waits for the task, and a bell that
//! found the lock taken rings again; payloads are taken only when the socket has taken all that was written before, and not
//! before orders; a socket that takes nothing for the write deadline is closed, and one that does not read its answers is not
//! read either; a peer that sends nothing is found by pings; the last frame is a close frame, and the peer gets two seconds to
//! answer it.

use super::{
    App,
    caller::{Caller, Change},
    delivery::{Bell, Outlet},
    directory::{Line, Question, disconnected},
    jobs::Jobs,
    scratch::Scratch,
    wire::{Frames, Unreadable, Wire},
};
use crate::{
    error::{Code, Refusal},
    event::Cursor,
    fanout::{Delivery, Key, Mailbox},
    graphql::Following,
    metrics::Counted,
    protocol::{CloseReason, Closing},
};
use futures_util::task::AtomicWaker;
use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;

/// So many bytes of payloads are taken for one write.
const WRITE_BYTES_MAX: usize = 64 * 1024;
/// With so many bytes of answers waiting for the socket no more requests are read.
const BACKLOG_BYTES_MAX: usize = 256 * 1024;
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
    /// The peer is gone.
    Gone,
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

/// A conversation.
struct Talk<S: Speaker> {
    wire: Wire,
    speaker: S,
    mailbox: Arc<Mailbox>,
    line: Line,
    caller: Caller,
    jobs: Jobs<S::Done>,
    heard: Instant,
    opened: Instant,
    pinged: Instant,
    /// As the mailbox knows it.
    is_blocked: bool,
    /// There may be payloads that were left for the task to let go.
    wants_bell: bool,
    /// Found by the thread that writes, for the task.
    ended: Option<End>,
    app: App,
}

/// Runs a connection to its end.
pub(super) async fn run<S: Speaker + 'static>(
    app: App,
    wire: Wire,
    mailbox: Arc<Mailbox>,
    line: Line,
    speaker: S,
) {
    let _counted = Counted::new(&app.hub.metrics().connections_open);
    let talk = Talk::new(app.clone(), wire, Arc::clone(&mailbox), line, speaker);
    let connection = Arc::new(Connection {
        talk: Mutex::new(Some(talk)),
        mailbox,
        task: AtomicWaker::new(),
        is_missed: AtomicBool::new(false),
    });
    let outlet: Weak<dyn Outlet> = Arc::downgrade(&connection) as Weak<dyn Outlet>;
    let bell = app.deliveries.bell(outlet);
    let end = connection.converse(&bell).await;
    let talk = connection.lock().take();
    if let (End::Close(closing), Some(talk)) = (end, talk) {
        close(talk.wire, closing).await;
    }
}

impl<S: Speaker> Connection<S> {
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

    fn write(&self, bell: &Waker, scratch: &mut Scratch) -> bool {
        let Some(mut guard) = self.try_lock() else { return false };
        let Some(talk) = guard.as_mut() else { return false };
        // When the socket has taken what waits, and when orders are carried out, the task rings.
        if talk.is_blocked || talk.ended.is_some() || self.mailbox.is_called() {
            return false;
        }
        if self.mailbox.poll_ready(&mut Context::from_waker(bell)).is_pending() {
            return false;
        }
        let (ended, has_more) = talk.write_payloads(scratch);
        let needs_task = ended.is_some() || talk.is_blocked;
        talk.ended = ended;
        if needs_task {
            self.task.wake();
        }
        has_more
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

/// What happens next.
enum Next<D> {
    Called,
    Done(D),
    Received(Option<Result<Message, Unreadable>>),
    Drained(io::Result<()>),
}

impl<S: Speaker> Talk<S> {
    fn new(app: App, wire: Wire, mailbox: Arc<Mailbox>, line: Line, speaker: S) -> Self {
        let now = Instant::now();
        Talk {
            wire,
            speaker,
            mailbox,
            line,
            caller: Caller::nobody(),
            jobs: Jobs::new(),
            heard: now,
            opened: now,
            pinged: now,
            is_blocked: false,
            wants_bell: false,
            ended: None,
            app,
        }
    }

    /// Does what there is to do but writing payloads.
    fn poll(&mut self, context: &mut Context<'_>, alarm: &mut Alarm<'_>) -> Poll<End> {
        loop {
            if let Some(end) = self.ended.take() {
                return Poll::Ready(end);
            }
            let ended = match self.poll_next(context) {
                Poll::Ready(Next::Called) => {
                    self.wants_bell = true;
                    self.called()
                }
                Poll::Ready(Next::Done(done)) => self.turn(|speaker, turn| speaker.done(done, turn)),
                Poll::Ready(Next::Received(message)) => self.received(message),
                Poll::Ready(Next::Drained(Ok(()))) => {
                    self.note_backlog();
                    None
                }
                Poll::Ready(Next::Drained(Err(_))) => Some(End::Gone),
                Poll::Pending => {
                    ready!(alarm.poll(self.deadline(), context));
                    self.timer()
                }
            };
            if let Some(end) = ended {
                return Poll::Ready(end);
            }
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next<S::Done>> {
        // The one place where the task waits for orders; it touches nothing that other connections touch.
        if self.mailbox.poll_called(context).is_ready() {
            return Poll::Ready(Next::Called);
        }
        if self.wire.backlog_bytes() < BACKLOG_BYTES_MAX {
            if let Poll::Ready(done) = self.jobs.poll_next(context) {
                return Poll::Ready(Next::Done(done));
            }
            if let Poll::Ready(message) = self.wire.poll_recv(context) {
                return Poll::Ready(Next::Received(message));
            }
        }
        // Reading may have brought a pong to write.
        if self.wire.stalled_since().is_some() {
            return self.wire.poll_drain(context).map(Next::Drained);
        }
        Poll::Pending
    }

    /// Writes what waits in the mailbox, up to one write; says whether more is left.
    fn write_payloads(&mut self, scratch: &mut Scratch) -> (Option<End>, bool) {
        let Scratch { frames, deliveries } = scratch;
        let has_more = self.mailbox.take(WRITE_BYTES_MAX, deliveries);
        let ended = self.turn_into(frames, |speaker, turn| {
            deliveries.drain(..).for_each(|(key, delivery)| speaker.delivered(key, delivery, turn));
        });
        (ended, has_more)
    }

    /// Does what was ordered.
    fn called(&mut self) -> Option<End> {
        let orders = self.line.orders();
        if orders.drains {
            return Some(End::Close(self.speaker.closing(&CloseReason::Draining)));
        }
        if orders.ends {
            return Some(self.expel(&disconnected()));
        }
        if orders.reviews {
            match self.caller.review(&self.app.authority) {
                Err(refusal) => return Some(self.expel(&refusal)),
                Ok(Change::None) => {}
                Ok(Change::Readmit) => {
                    if let Some(end) = self.turn(Speaker::readmit) {
                        return Some(end);
                    }
                }
            }
        }
        orders.questions.into_iter().find_map(|question| self.answer(question))
    }

    fn answer(&mut self, question: Question) -> Option<End> {
        match question {
            // Whoever asked may be gone.
            Question::Subscriptions(asker) => {
                let _ = asker.send(self.speaker.following());
                None
            }
            Question::Unsubscribe(id, asker) => {
                let mut was_there = false;
                let end = self.turn(|speaker, turn| was_there = speaker.unsubscribe(&id, turn));
                let _ = asker.send(was_there);
                end
            }
        }
    }

    /// Ends the connection of a peer that is not welcome any more.
    fn expel(&mut self, refusal: &Refusal) -> End {
        let end = self.turn(|speaker, turn| speaker.expelled(refusal, turn));
        end.unwrap_or_else(|| End::Close(self.speaker.closing(&CloseReason::Refused(refusal))))
    }

    fn received(&mut self, message: Option<Result<Message, Unreadable>>) -> Option<End> {
        self.heard = Instant::now();
        match message {
            Some(Ok(Message::Text(text))) => self.turn(|speaker, turn| speaker.received(&text, turn)),
            Some(Ok(Message::Binary(_))) => self.turn(Speaker::received_binary),
            // Pings are answered by the WebSocket layer.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => None,
            Some(Ok(Message::Close(_))) => {
                self.wire.answer_close();
                Some(End::Gone)
            }
            None => Some(End::Gone),
            Some(Err(error)) => Some(self.broken(&error)),
        }
    }

    /// What the peer sent cannot be taken.
    fn broken(&self, error: &Unreadable) -> End {
        tracing::debug!(%error, "a socket broke");
        let refusal = match error {
            Unreadable::Gone(_) => return End::Gone,
            Unreadable::Malformed(fault) => return self.end(&CloseReason::BadFrame(&fault.to_string())),
            Unreadable::NotUtf8 => return self.end(&CloseReason::BadText),
            Unreadable::TooLarge => {
                let message = format!("a message may have {} bytes", self.app.options.request_bytes_max);
                Refusal::new(Code::TooLarge, message)
            }
            Unreadable::Fragments => Refusal::new(Code::TooLarge, error.to_string()),
            Unreadable::ControlFlood => Refusal::new(Code::RateLimited, error.to_string()),
        };
        self.end(&CloseReason::Refused(&refusal))
    }

    fn end(&self, reason: &CloseReason<'_>) -> End {
        End::Close(self.speaker.closing(reason))
    }

    fn timer(&mut self) -> Option<End> {
        if let Some(refusal) = self.caller.expired() {
            return Some(self.expel(&refusal));
        }
        let now = Instant::now();
        if self.speaker.introduction_due().is_some_and(|due| now >= self.opened + due) {
            return self.turn(Speaker::introduction_missing);
        }
        if self.stall_due().is_some_and(|due| now >= due) {
            return Some(self.too_slow());
        }
        if self.message_due().is_some_and(|due| now >= due) {
            let refusal = Refusal::new(Code::BadRequest, "a message took too long to be whole");
            return Some(self.end(&CloseReason::Refused(&refusal)));
        }
        if now >= self.silence_due() {
            tracing::debug!("a peer has gone silent");
            return Some(End::Gone);
        }
        if now < self.ping_due() {
            return None;
        }
        self.pinged = now;
        self.turn(Speaker::ping)
    }

    fn ping_due(&self) -> Instant {
        self.pinged + self.app.options.ping_interval
    }

    /// By when must the peer have sent anything? Every ping asks it to.
    fn silence_due(&self) -> Instant {
        self.heard + self.app.options.ping_interval + self.app.options.pong_timeout
    }

    /// By when must the socket have taken anything of what waits?
    fn stall_due(&self) -> Option<Instant> {
        self.wire.stalled_since().map(|since| since + self.app.options.write_timeout)
    }

    /// By when must the message on its way be whole? Pings between its frames are no excuse.
    fn message_due(&self) -> Option<Instant> {
        self.wire.message_since().map(|since| since + self.app.options.body_timeout)
    }

    /// When the timer has something to do next.
    fn deadline(&self) -> Instant {
        let introduction = self.speaker.introduction_due().map(|due| self.opened + due);
        let others =
            [introduction, self.stall_due(), self.message_due(), self.caller.due()].into_iter().flatten();
        others.fold(self.ping_due().min(self.silence_due()), Instant::min)
    }

    /// Gives the speaker its turn and writes what it says.
    fn turn(&mut self, act: impl FnOnce(&mut S, &mut Turn<'_, S::Done>)) -> Option<End> {
        let mut scratch = self.app.scratches.borrow();
        self.turn_into(&mut scratch.frames, act)
    }

    fn turn_into(
        &mut self,
        frames: &mut Frames,
        act: impl FnOnce(&mut S, &mut Turn<'_, S::Done>),
    ) -> Option<End> {
        let mut closing = None;
        let (jobs, caller) = (&mut self.jobs, &mut self.caller);
        act(&mut self.speaker, &mut Turn { frames, jobs, caller, closing: &mut closing });
        if !frames.is_empty() && self.wire.write(frames).is_err() {
            return Some(End::Gone);
        }
        self.note_backlog();
        if let Some(principal) = self.caller.news() {
            self.line.identify(principal);
        }
        closing.map(End::Close)
    }

    /// Tells the mailbox when the socket takes no more, and when it has taken everything.
    fn note_backlog(&mut self) {
        let is_blocked = self.wire.stalled_since().is_some();
        if is_blocked != self.is_blocked {
            self.is_blocked = is_blocked;
            self.mailbox.set_blocked(is_blocked);
        }
    }

    fn too_slow(&self) -> End {
        self.app.hub.metrics().slow_consumers_closed.inc();
        let taken = "the socket took nothing for too long";
        let message = match self.speaker.position() {
            Some(cursor) => format!("{taken}; sent up to cursor {cursor}"),
            None => taken.to_owned(),
        };
        let refusal = Refusal::new(Code::SlowConsumer, message);
        End::Close(self.speaker.closing(&CloseReason::Refused(&refusal)))
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
