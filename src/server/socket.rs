//! The loop around one WebSocket, the same for every protocol spoken over it.
//!
//! Flow: text from the peer goes to the [`Speaker`]; payloads of the mailbox go through the speaker to the peer, many frames a
//! write. Orders for the connection (drain, review of its principal, an administrator's) come through its directory line.
//! Invariants: payloads are taken only when the socket has taken all that was written before; a socket that takes nothing for
//! the write deadline is closed, and one that does not read its answers is not read either; a peer that sends nothing is found
//! by pings; the peer is read between writes also when payloads never end; orders go before payloads; nothing is taken for a
//! principal that has expired or lost its grant; the last frame is a close frame, and the peer gets two seconds to answer it.

use super::{
    App,
    caller::{Caller, Change},
    directory::{Line, Question, disconnected},
    jobs::Jobs,
    scratch::Scratch,
    wire::{Frames, Wire},
};
use crate::{
    error::{Code, Refusal},
    event::Cursor,
    fanout::{Delivery, Key, Mailbox},
    graphql::Following,
    metrics::Counted,
    protocol::{CloseReason, Closing},
};
use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};

/// So many bytes of payloads are taken for one write.
const WRITE_BYTES_MAX: usize = 64 * 1024;
/// After so many writes in a row everything else has its turn.
const WRITES_IN_A_ROW: usize = 4;
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

/// Why the loop ends.
enum End {
    /// Say this and go.
    Close(Closing),
    /// The peer is gone.
    Gone,
}

struct Connection<S: Speaker> {
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
    app: App,
}

/// What happens next.
enum Next<D> {
    Payloads,
    Done(D),
    Received(Option<Result<Message, Error>>),
    Drained(io::Result<()>),
    Timer,
    Called,
}

/// Runs a connection to its end.
pub(super) async fn run<S: Speaker>(app: App, wire: Wire, mailbox: Arc<Mailbox>, line: Line, speaker: S) {
    let _counted = Counted::new(&app.hub.metrics().connections_open);
    let now = Instant::now();
    let (heard, opened, pinged) = (now, now, now);
    let mut connection = Connection {
        wire,
        speaker,
        mailbox,
        line,
        caller: Caller::nobody(),
        jobs: Jobs::new(),
        heard,
        opened,
        pinged,
        is_blocked: false,
        app,
    };
    if let End::Close(closing) = connection.converse().await {
        close(connection.wire, closing).await;
    }
}

impl<S: Speaker> Connection<S> {
    async fn converse(&mut self) -> End {
        if let Some(end) = self.turn(Speaker::opened) {
            return end;
        }
        let mut alarm = self.deadline();
        // Lives as long as the loop: to look at it again costs little, to make it anew does not.
        let mut timer = std::pin::pin!(tokio::time::sleep_until(alarm));
        let mut writes = 0;
        loop {
            let due = self.deadline();
            if due < alarm {
                alarm = due;
                timer.as_mut().reset(alarm);
            }
            let are_payloads_first = writes < WRITES_IN_A_ROW;
            if !are_payloads_first {
                // Fair between connections as well.
                tokio::task::yield_now().await;
            }
            let next = poll_fn(|context| self.poll_next(context, timer.as_mut(), are_payloads_first)).await;
            writes = if matches!(next, Next::Payloads) { writes + 1 } else { 0 };
            let ended = match next {
                Next::Called => self.called(),
                Next::Payloads => self.pump(),
                Next::Done(done) => self.turn(|speaker, turn| speaker.done(done, turn)),
                Next::Received(message) => self.received(message),
                Next::Drained(Ok(())) => {
                    self.note_backlog();
                    None
                }
                Next::Drained(Err(_)) => Some(End::Gone),
                Next::Timer => {
                    let ended = self.timer();
                    alarm = self.deadline();
                    timer.as_mut().reset(alarm);
                    ended
                }
            };
            if let Some(end) = ended {
                return end;
            }
        }
    }

    /// What happens next. Payloads go first, so that not everything is looked at for every write; but when they never end,
    /// everything else goes first now and then.
    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        timer: Pin<&mut Sleep>,
        are_payloads_first: bool,
    ) -> Poll<Next<S::Done>> {
        // The one place where the task waits for payloads and for orders; it touches nothing that other connections touch.
        if self.mailbox.poll_called(context).is_ready() {
            return Poll::Ready(Next::Called);
        }
        let has_backlog = self.wire.stalled_since().is_some();
        if are_payloads_first && !has_backlog && self.mailbox.poll_ready(context).is_ready() {
            return Poll::Ready(Next::Payloads);
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
        if self.wire.stalled_since().is_some()
            && let Poll::Ready(drained) = self.wire.poll_drain(context)
        {
            return Poll::Ready(Next::Drained(drained));
        }
        if timer.poll(context).is_ready() {
            return Poll::Ready(Next::Timer);
        }
        if !are_payloads_first && !has_backlog && self.mailbox.poll_ready(context).is_ready() {
            return Poll::Ready(Next::Payloads);
        }
        Poll::Pending
    }

    /// Writes what waits, up to one write.
    fn pump(&mut self) -> Option<End> {
        let mut scratch = self.app.scratches.borrow();
        let Scratch { frames, deliveries } = &mut *scratch;
        self.mailbox.take(WRITE_BYTES_MAX, deliveries);
        self.turn_into(frames, |speaker, turn| {
            deliveries.drain(..).for_each(|(key, delivery)| speaker.delivered(key, delivery, turn));
        })
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

    fn received(&mut self, message: Option<Result<Message, Error>>) -> Option<End> {
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

    /// A frame that the WebSocket layer could not take.
    fn broken(&self, error: &Error) -> End {
        tracing::debug!(%error, "a socket broke");
        if !matches!(error, Error::Capacity(_)) {
            return End::Gone;
        }
        let message = format!("a message may have {} bytes", self.app.options.request_bytes_max);
        let refusal = Refusal::new(Code::TooLarge, message);
        End::Close(self.speaker.closing(&CloseReason::Refused(&refusal)))
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

    /// When the timer has something to do next.
    fn deadline(&self) -> Instant {
        let introduction = self.speaker.introduction_due().map(|due| self.opened + due);
        let others = [introduction, self.stall_due(), self.caller.due()].into_iter().flatten();
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
