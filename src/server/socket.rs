//! The loop around one WebSocket, the same for every protocol spoken over it.
//!
//! Flow: text from the peer goes to the [`Speaker`]; payloads of the mailbox go through the speaker to the peer, many frames a
//! flush.
//! Invariants: nothing is written without the write deadline; a peer that sends nothing is found by pings; the peer is read
//! between flushes also when payloads never end; the last frame is a close frame, and the peer gets two seconds to answer it.

use super::{App, jobs::Jobs};
use crate::{
    error::{Code, Refusal},
    fanout::{Delivery, Key, Mailbox},
    metrics::Counted,
    protocol::{CloseReason, Closing},
};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::SinkExt;
use std::{collections::VecDeque, future::poll_fn, pin::Pin, sync::Arc, task::ready, time::Duration};
use tokio::time::{Instant, Sleep, timeout};

/// So many bytes of payloads are taken before the socket is flushed.
const FLUSH_BYTES_MAX: usize = 64 * 1024;
/// After so many flushes in a row everything else has its turn.
const FLUSHES_IN_A_ROW: usize = 4;
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

    /// How this protocol ends a connection.
    fn closing(&self, reason: &CloseReason<'_>) -> Closing {
        Closing::new(reason)
    }
}

/// What a speaker may do in its turn.
#[derive(Debug)]
pub(super) struct Turn<'a, D> {
    frames: &'a mut VecDeque<Message>,
    jobs: &'a mut Jobs<D>,
    closing: &'a mut Option<Closing>,
}

impl<D> Turn<'_, D> {
    /// Sends a text.
    pub(super) fn send(&mut self, text: String) {
        self.frames.push_back(Message::Text(Utf8Bytes::from(text)));
    }

    /// Sends a WebSocket ping, for protocols without one of their own.
    pub(super) fn send_ping(&mut self) {
        self.frames.push_back(Message::Ping(bytes::Bytes::new()));
    }

    /// Closes after what was sent.
    pub(super) fn close(&mut self, closing: Closing) {
        self.closing.get_or_insert(closing);
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
    /// The peer is gone or takes nothing.
    Gone,
}

struct Connection<S: Speaker> {
    socket: WebSocket,
    speaker: S,
    mailbox: Arc<Mailbox>,
    jobs: Jobs<S::Done>,
    heard: Instant,
    opened: Instant,
    app: App,
}

/// What happens next.
enum Next<D> {
    Payloads,
    Done(D),
    Received(Option<Result<Message, axum::Error>>),
    Timer,
    Drain,
}

/// Runs a connection to its end.
pub(super) async fn run<S: Speaker>(app: App, socket: WebSocket, mailbox: Arc<Mailbox>, speaker: S) {
    let _counted = Counted::new(&app.hub.metrics().connections_open);
    let now = Instant::now();
    let mut connection =
        Connection { socket, speaker, mailbox, jobs: Jobs::new(), heard: now, opened: now, app };
    if let End::Close(closing) = connection.converse().await {
        connection.close(closing).await;
    }
}

impl<S: Speaker> Connection<S> {
    async fn converse(&mut self) -> End {
        let mut pinged = self.opened;
        if let Some(end) = self.turn(Speaker::opened).await {
            return end;
        }
        let mut timer = std::pin::pin!(tokio::time::sleep_until(self.deadline(pinged)));
        let mut flushes = 0;
        loop {
            let next = self.next(timer.as_mut(), flushes < FLUSHES_IN_A_ROW).await;
            flushes = if matches!(next, Next::Payloads) { flushes + 1 } else { 0 };
            let ended = match next {
                Next::Drain => Some(End::Close(self.speaker.closing(&CloseReason::Draining))),
                Next::Payloads => self.pump().await,
                Next::Done(done) => self.turn(|speaker, turn| speaker.done(done, turn)).await,
                Next::Received(message) => self.received(message).await,
                Next::Timer => {
                    let ended = self.timer(&mut pinged).await;
                    timer.as_mut().reset(self.deadline(pinged));
                    ended
                }
            };
            if let Some(end) = ended {
                return end;
            }
        }
    }

    /// Waits for what happens next. Payloads go first, so that reading the peer is not tried at every wake; but when they
    /// never end, everything else goes first now and then.
    ///
    /// Cancel safety: yes.
    async fn next(&mut self, mut timer: Pin<&mut Sleep>, are_payloads_first: bool) -> Next<S::Done> {
        let drain = &self.app.drain;
        if are_payloads_first {
            return tokio::select! {
                biased;
                () = self.mailbox.ready() => Next::Payloads,
                () = drain.cancelled() => Next::Drain,
                done = self.jobs.next() => Next::Done(done),
                message = self.socket.recv() => Next::Received(message),
                () = &mut timer => Next::Timer,
            };
        }
        tokio::select! {
            biased;
            () = drain.cancelled() => Next::Drain,
            done = self.jobs.next() => Next::Done(done),
            message = self.socket.recv() => Next::Received(message),
            () = &mut timer => Next::Timer,
            () = self.mailbox.ready() => Next::Payloads,
        }
    }

    /// Writes what waits, up to one flush.
    async fn pump(&mut self) -> Option<End> {
        let mut deliveries = Vec::new();
        self.mailbox.take(FLUSH_BYTES_MAX, &mut deliveries);
        self.turn(|speaker, turn| {
            deliveries.into_iter().for_each(|(key, delivery)| speaker.delivered(key, delivery, turn));
        })
        .await
    }

    async fn received(&mut self, message: Option<Result<Message, axum::Error>>) -> Option<End> {
        self.heard = Instant::now();
        match message {
            Some(Ok(Message::Text(text))) => self.turn(|speaker, turn| speaker.received(&text, turn)).await,
            Some(Ok(Message::Binary(_))) => self.turn(Speaker::received_binary).await,
            // Pings are answered by the WebSocket layer; the answer leaves with the next flush.
            Some(Ok(Message::Ping(_))) => self.write(VecDeque::new()).await,
            Some(Ok(Message::Pong(_))) => None,
            Some(Ok(Message::Close(_))) | None => Some(End::Gone),
            Some(Err(error)) => Some(self.broken(&error)),
        }
    }

    /// A frame that the WebSocket layer could not take.
    fn broken(&self, error: &axum::Error) -> End {
        tracing::debug!(%error, "a socket broke");
        let is_large = error.to_string().contains("too long");
        match is_large {
            true => {
                let message = format!("a message may have {} bytes", self.app.options.request_bytes_max);
                End::Close(
                    self.speaker.closing(&CloseReason::Refused(&Refusal::new(Code::TooLarge, message))),
                )
            }
            false => End::Gone,
        }
    }

    async fn timer(&mut self, pinged: &mut Instant) -> Option<End> {
        if self.speaker.introduction_due().is_some_and(|due| self.opened.elapsed() >= due) {
            return self.turn(Speaker::introduction_missing).await;
        }
        if self.silence_due() <= Instant::now() {
            tracing::debug!("a peer has gone silent");
            return Some(End::Gone);
        }
        if pinged.elapsed() < self.app.options.ping_interval {
            return None;
        }
        *pinged = Instant::now();
        self.turn(Speaker::ping).await
    }

    /// By when must the peer have sent anything? Every ping asks it to.
    fn silence_due(&self) -> Instant {
        self.heard + self.app.options.ping_interval + self.app.options.pong_timeout
    }

    /// When the timer has something to do next.
    fn deadline(&self, pinged: Instant) -> Instant {
        let due = (pinged + self.app.options.ping_interval).min(self.silence_due());
        self.speaker.introduction_due().map_or(due, |introduction| due.min(self.opened + introduction))
    }

    /// Gives the speaker its turn and writes what it says.
    async fn turn(&mut self, act: impl FnOnce(&mut S, &mut Turn<'_, S::Done>)) -> Option<End> {
        let (mut frames, mut closing) = (VecDeque::new(), None);
        act(
            &mut self.speaker,
            &mut Turn { frames: &mut frames, jobs: &mut self.jobs, closing: &mut closing },
        );
        let ended = self.write(frames).await;
        ended.or(closing.map(End::Close))
    }

    /// Writes frames and flushes them. The deadline is for progress: a slow peer is served, a stalled one is not.
    async fn write(&mut self, mut frames: VecDeque<Message>) -> Option<End> {
        loop {
            let waiting = frames.len();
            match timeout(self.app.options.write_timeout, feed_and_flush(&mut self.socket, &mut frames)).await
            {
                Ok(Ok(())) => return None,
                Ok(Err(_)) => return Some(End::Gone),
                Err(_) if frames.len() < waiting => {}
                Err(_) => return Some(self.too_slow()),
            }
        }
    }

    fn too_slow(&self) -> End {
        self.app.hub.metrics().slow_consumers_closed.inc();
        let refusal = Refusal::new(Code::SlowConsumer, "the socket took nothing for too long");
        End::Close(self.speaker.closing(&CloseReason::Refused(&refusal)))
    }

    /// Says goodbye and waits for the answer, so that the peer reads the close frame before the socket is gone.
    async fn close(mut self, closing: Closing) {
        let frame = CloseFrame { code: closing.code, reason: closing.reason.into() };
        let goodbye = async {
            if self.socket.send(Message::Close(Some(frame))).await.is_ok() {
                while let Some(Ok(_)) = self.socket.recv().await {}
            }
        };
        // A peer that does not answer in time is cut; there is nobody left to tell.
        let _ = timeout(CLOSE_ANSWER_TIMEOUT, goodbye).await;
    }
}

/// Puts frames into the socket's buffer, which is written whenever it is full, and writes the rest.
///
/// Cancel safety: a frame is taken out of the queue only when the buffer takes it.
async fn feed_and_flush(socket: &mut WebSocket, frames: &mut VecDeque<Message>) -> Result<(), axum::Error> {
    poll_fn(|context| {
        while !frames.is_empty() {
            ready!(socket.poll_ready_unpin(context))?;
            if let Some(frame) = frames.pop_front() {
                socket.start_send_unpin(frame)?;
            }
        }
        socket.poll_flush_unpin(context)
    })
    .await
}
