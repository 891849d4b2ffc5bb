//! A conversation over one WebSocket: what a peer, a job, an order or a clock leads to.
//!
//! Invariants: whoever calls holds the conversation's lock; nothing here waits; payloads are written only by the thread that
//! writes, but for the last ones before the server stops; everything else is done by the task.

use super::{Alarm, End, Speaker, Turn};
use crate::{
    error::{Code, Refusal},
    fanout::{Mailbox, Taken, way::give_way},
    protocol::CloseReason,
    server::{
        App,
        caller::{Caller, Change},
        directory::{Line, Question, disconnected},
        jobs::Jobs,
        scratch::Scratch,
        wire::{Frames, Unreadable, Wire},
    },
};
use std::{
    io,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

/// So many bytes of payloads are taken for one write.
const WRITE_BYTES_MAX: usize = 64 * 1024;
/// With so many bytes of answers waiting for the socket no more requests are read.
const BACKLOG_BYTES_MAX: usize = 256 * 1024;

/// A conversation.
pub(super) struct Talk<S: Speaker> {
    pub(super) wire: Wire,
    pub(super) speaker: S,
    mailbox: Arc<Mailbox>,
    pub(super) line: Line,
    caller: Caller,
    jobs: Jobs<S::Done>,
    heard: Instant,
    opened: Instant,
    pinged: Instant,
    /// As the mailbox knows it.
    pub(super) is_blocked: bool,
    /// There may be payloads that were left for the task to let go.
    pub(super) wants_bell: bool,
    /// Found by the thread that writes, for the task.
    pub(super) ended: Option<End>,
    app: App,
}

/// What happens next.
enum Next<D> {
    Called,
    Done(D),
    Received(Option<Result<Message, Unreadable>>),
    Drained(io::Result<()>),
}

impl<S: Speaker> Talk<S> {
    pub(super) fn new(app: App, wire: Wire, mailbox: Arc<Mailbox>, line: Line, speaker: S) -> Self {
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
    pub(super) fn poll(&mut self, context: &mut Context<'_>, alarm: &mut Alarm<'_>) -> Poll<End> {
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
                    give_way();
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

    /// Writes what waits in the mailbox, up to one write.
    pub(super) fn write_payloads(&mut self, scratch: &mut Scratch) -> (Option<End>, Taken) {
        let Scratch { frames, deliveries } = scratch;
        let taken = self.mailbox.take(WRITE_BYTES_MAX, deliveries);
        let ended = self.turn_into(frames, |speaker, turn| {
            deliveries.drain(..).for_each(|(key, delivery)| speaker.delivered(key, delivery, turn));
        });
        (ended, taken)
    }

    /// Writes what waits when the connection is about to end, as far as the socket takes it: the mailbox's budget at most.
    fn write_rest(&mut self) -> Option<End> {
        let mut scratch = self.app.scratches.borrow();
        let writes_max = self.app.options.mailbox_bytes_max / WRITE_BYTES_MAX + 1;
        for _ in 0..writes_max {
            let (ended, taken) = match self.is_blocked {
                true => (None, Taken::default()),
                false => self.write_payloads(&mut scratch),
            };
            scratch.empty();
            if ended.is_some() || !taken.has_more {
                return ended;
            }
        }
        None
    }

    /// Does what was ordered.
    fn called(&mut self) -> Option<End> {
        let orders = self.line.orders();
        if orders.drains {
            let ended = self.write_rest();
            return ended.or_else(|| Some(self.end(&CloseReason::Draining)));
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
            // Pings are answered by the WebSocket layer. Nobody needs many.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                give_way();
                None
            }
            Some(Ok(Message::Close(frame))) => {
                self.wire.answer_close();
                Some(End::Left(frame.map(|frame| frame.code.into())))
            }
            None => Some(End::Gone),
            Some(Err(error)) => Some(self.broken(&error)),
        }
    }

    /// What the peer sent cannot be taken.
    fn broken(&self, error: &Unreadable) -> End {
        tracing::debug!(%error, "a socket broke");
        // Whoever breaks one on purpose comes again at once.
        give_way();
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
    pub(super) fn turn(&mut self, act: impl FnOnce(&mut S, &mut Turn<'_, S::Done>)) -> Option<End> {
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
        // Before it is told so: whoever is acknowledged is present.
        if let Some(principal) = self.caller.news() {
            self.line.identify(principal);
        }
        if !frames.is_empty() && self.wire.write(frames).is_err() {
            return Some(End::Gone);
        }
        self.note_backlog();
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
