//! One WebSocket on its TCP stream: messages in through tungstenite, whole frames out from a buffer that is only borrowed.
//!
//! Flow: [`Frames`] are put together in a scratch buffer, written at once, and only what the socket did not take is kept.
//! Invariants: frames leave whole and in order, but for urgent ones, which go in at the next boundary of a frame; tungstenite's
//! own frames (pong, close) take the same way, so nothing ever lands inside a frame; nobody reads on after a frame that could
//! not be read.
//! Not here: deadlines and what is said (`socket`).

use super::meter::{FRAGMENTS_MAX, Flood, Meter};
use crate::fanout::way::give_way;
use axum::http::header::HeaderValue;
use std::{
    io::{self, ErrorKind, Read, Write},
    task::{Context, Poll, ready},
};
use tokio::{net::TcpStream, task::coop::poll_proceed, time::Instant};
use tokio_tungstenite::tungstenite::{
    Error, Message,
    error::ProtocolError,
    handshake::derive_accept_key,
    protocol::{
        CloseFrame, Role, WebSocketConfig, WebSocketContext,
        frame::{
            FrameHeader, Utf8Bytes,
            coding::{CloseCode, Control, Data, OpCode},
        },
    },
};

/// What clients send is small; a larger message is read in steps of this many bytes.
const READ_BUFFER_BYTES: usize = 1024;
/// RFC 6455, section 5.2: the low bits of a frame's first byte.
const OPCODE_BITS: u8 = 0x0f;
/// After so many reads in a row without a whole message others have their turn: a peer that sends nothing but fragments would
/// keep the thread.
const READS_IN_A_ROW: usize = 64;
/// So many bytes are thrown away for a peer that still sends while it is told why it must go.
const DISCARDED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The same for one whose end is not in sight: each read lets it send more, and reading is most of what a flood costs.
const FLOOD_BYTES_MAX: usize = 64 * 1024;
const DISCARD_BYTES: usize = 16 * 1024;

/// Whole frames on their way out, in a buffer that many connections use in turn.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// These overtake what waits for the socket.
    urgent: Vec<u8>,
    ordered: Vec<u8>,
}

impl Frames {
    /// Adds a text message that consists of these parts.
    pub(super) fn text(&mut self, parts: &[&str]) {
        write_frame(&mut self.ordered, OpCode::Data(Data::Text), parts);
    }

    /// Adds a text message that overtakes whatever waits. Nothing in it may speak of events that could still be waiting.
    pub(super) fn urgent_text(&mut self, text: &str) {
        write_frame(&mut self.urgent, OpCode::Data(Data::Text), &[text]);
    }

    /// Adds a WebSocket ping without a payload.
    pub(super) fn ping(&mut self) {
        write_frame(&mut self.ordered, OpCode::Control(Control::Ping), &[]);
    }

    /// Is there nothing to write?
    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.ordered.is_empty()
    }

    /// Forgets the frames and keeps the memory, up to so many bytes.
    pub(super) fn clear(&mut self, bytes_max: usize) {
        for buffer in [&mut self.urgent, &mut self.ordered] {
            buffer.clear();
            buffer.shrink_to(bytes_max);
        }
    }
}

fn write_frame(out: &mut Vec<u8>, opcode: OpCode, parts: &[&str]) {
    let length = parts.iter().map(|part| part.len() as u64).sum();
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    header.format(length, out).expect("a vector takes every write");
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

/// The length of the unmasked frame at the start of `bytes`, as [`write_frame`] writes it.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let header = FrameHeader::parse(&mut io::Cursor::new(bytes)).ok()??;
    Some(header.0.len(header.1) + usize::try_from(header.1).ok()?)
}

/// What was written and the socket has not taken.
#[derive(Debug)]
struct Backlog {
    bytes: Vec<u8>,
    taken: usize,
    /// Where the frame ends that the socket is in the middle of; `taken` when it is at a boundary.
    frame_end: usize,
    /// When the socket last took anything.
    progress: Instant,
}

impl Backlog {
    fn new() -> Self {
        Backlog { bytes: Vec::new(), taken: 0, frame_end: 0, progress: Instant::now() }
    }

    fn waiting(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// The socket has taken so many bytes more.
    fn took(&mut self, count: usize) {
        self.taken += count;
        self.progress = Instant::now();
        while self.frame_end < self.taken {
            let next = self.bytes.get(self.frame_end..).and_then(frame_length);
            self.frame_end += next.expect("only whole frames are written");
        }
        if self.taken == self.bytes.len() {
            self.bytes = Vec::new();
            (self.taken, self.frame_end) = (0, 0);
        }
    }

    fn push(&mut self, urgent: &[u8], ordered: &[u8]) {
        if self.bytes.is_empty() {
            self.progress = Instant::now();
        }
        if !urgent.is_empty() {
            self.bytes.splice(self.frame_end..self.frame_end, urgent.iter().copied());
        }
        self.bytes.extend_from_slice(ordered);
    }
}

/// Why a peer is not read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// The socket is gone.
    #[error("the socket is gone: {0}")]
    Gone(Error),
    /// A message is larger than allowed.
    #[error("a message is too large")]
    TooLarge,
    /// A text is not UTF-8.
    #[error("a text message must be UTF-8")]
    NotUtf8,
    /// The frames are not those of RFC 6455; a sentence says why.
    #[error("{0}")]
    Malformed(ProtocolError),
    /// Control frames without end.
    #[error("too many control frames")]
    ControlFlood,
    /// A message in fragments without end.
    #[error("a message may have {FRAGMENTS_MAX} frames")]
    Fragments,
}

impl From<Error> for Unreadable {
    fn from(error: Error) -> Self {
        match error {
            Error::Capacity(_) => Unreadable::TooLarge,
            Error::Utf8(_) => Unreadable::NotUtf8,
            Error::Protocol(ref fault) if *fault != ProtocolError::ResetWithoutClosingHandshake => {
                Unreadable::Malformed(fault.clone())
            }
            Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Io(_)
            | Error::Tls(_)
            | Error::Protocol(_)
            | Error::WriteBufferFull(_)
            | Error::AttackAttempt
            | Error::Url(_)
            | Error::Http(_)
            | Error::HttpFormat(_) => Unreadable::Gone(error),
        }
    }
}

/// A WebSocket, the server's side.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    context: WebSocketContext,
    backlog: Backlog,
    meter: Meter,
    /// The next message may be here already, whatever the socket says.
    may_hold_message: bool,
    /// A frame could not be read: what follows has no meaning.
    is_broken: bool,
    /// How much of it may be thrown away yet.
    discards_left: usize,
}

/// The header `Sec-WebSocket-Accept` for a client's key (RFC 6455, section 4.2.2).
pub(super) fn accept_key(key: &HeaderValue) -> Option<HeaderValue> {
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

impl Wire {
    /// A stream after its handshake, with what the peer has sent since. Messages may have so many bytes.
    pub(super) fn new(stream: TcpStream, read_already: Vec<u8>, message_bytes_max: usize) -> Self {
        let mut meter = Meter::new();
        meter.read(&read_already);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let context = WebSocketContext::from_partially_read(read_already, Role::Server, Some(config));
        Wire {
            stream,
            context,
            backlog: Backlog::new(),
            meter,
            may_hold_message: true,
            is_broken: false,
            discards_left: 0,
        }
    }

    /// Writes frames; what the socket does not take waits for [`Wire::poll_drain`].
    pub(super) fn write(&mut self, frames: &mut Frames) -> io::Result<()> {
        let Frames { urgent, ordered } = frames;
        if !self.backlog.bytes.is_empty() {
            self.backlog.push(urgent, ordered);
            return Ok(());
        }
        if !urgent.is_empty() {
            ordered.splice(0..0, urgent.drain(..));
        }
        let taken = write_some(&self.stream, ordered)?;
        if taken < ordered.len() {
            // The whole batch, so that the end of the frame begun is found; it is gone as soon as it is written.
            self.backlog.push(&[], ordered);
            self.backlog.took(taken);
        }
        Ok(())
    }

    /// Ends the conversation after what was written.
    pub(super) fn write_close(&mut self, code: u16, reason: String) -> Result<(), Error> {
        let frame = CloseFrame { code: CloseCode::from(code), reason: Utf8Bytes::from(reason) };
        let mut io = FrameIo::new(&self.stream, &mut self.backlog, &mut self.meter);
        self.context.close(&mut io, Some(frame))
    }

    /// Answers the peer's close frame, which tungstenite has ready by then.
    pub(super) fn answer_close(&mut self) {
        let mut io = FrameIo::new(&self.stream, &mut self.backlog, &mut self.meter);
        // It reports the end of the conversation as an error; and a peer that is gone needs no answer.
        let _ = self.context.flush(&mut io);
    }

    /// How many bytes wait for the socket.
    pub(super) fn backlog_bytes(&self) -> usize {
        self.backlog.waiting().len()
    }

    /// Since when has the socket taken nothing, while bytes wait?
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        (!self.backlog.bytes.is_empty()).then_some(self.backlog.progress)
    }

    /// Writes on; ready when nothing waits any more.
    pub(super) fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.backlog.bytes.is_empty() {
            match self.stream.try_write(self.backlog.waiting()) {
                Ok(taken) => self.backlog.took(taken),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_write_ready(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Since when the peer is sending a message that is not whole yet.
    pub(super) fn message_since(&self) -> Option<Instant> {
        self.meter.message_since()
    }

    /// The next message; `None` when the conversation is over. After an error whatever the peer still sends is thrown away,
    /// and only its end is reported: if it sends on and on, never, so the caller has a deadline.
    pub(super) fn poll_recv(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, Unreadable>>> {
        if self.is_broken {
            return self.poll_end(context).map(|()| None);
        }
        // What is there already is read without asking the runtime: a peer that never stops sending must not keep the thread.
        let budget = ready!(poll_proceed(context));
        loop {
            if !self.may_hold_message
                && let Err(error) = ready!(self.stream.poll_read_ready(context))
            {
                return Poll::Ready(Some(Err(Unreadable::Gone(error.into()))));
            }
            let mut io = FrameIo::new(&self.stream, &mut self.backlog, &mut self.meter);
            let read = self.context.read(&mut io);
            let is_cut = io.reads_left == 0;
            if let Some(flood) = self.meter.flood() {
                self.break_off(FLOOD_BYTES_MAX);
                return Poll::Ready(Some(Err(match flood {
                    Flood::Control => Unreadable::ControlFlood,
                    Flood::Fragments => Unreadable::Fragments,
                })));
            }
            match read {
                Ok(message) => {
                    self.may_hold_message = true;
                    budget.made_progress();
                    return Poll::Ready(Some(Ok(message)));
                }
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    self.may_hold_message = is_cut;
                    if is_cut {
                        budget.made_progress();
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Poll::Ready(None),
                Err(error) => {
                    let is_readable = matches!(error, Error::Capacity(_) | Error::Utf8(_));
                    let ends_soon = self.meter.frame_bytes_left() <= DISCARDED_BYTES_MAX as u64;
                    let has_end = is_readable && ends_soon;
                    self.break_off(if has_end { DISCARDED_BYTES_MAX } else { FLOOD_BYTES_MAX });
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }

    /// Reads no more messages, and throws so many bytes away at most.
    fn break_off(&mut self, discards_max: usize) {
        self.is_broken = true;
        self.discards_left = discards_max;
    }

    /// Reads to the peer's end and keeps nothing, so that a reset does not take back our last words. Whoever sends on beyond a
    /// bound is not read any more, nor let go: it may read what we said for as long as the caller waits.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut sink = [0; DISCARD_BYTES];
        while self.discards_left > 0 {
            let budget = ready!(poll_proceed(context));
            match self.stream.try_read(&mut sink) {
                Ok(0) => return Poll::Ready(()),
                Ok(count) => {
                    self.discards_left = self.discards_left.saturating_sub(count);
                    budget.made_progress();
                    give_way();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if ready!(self.stream.poll_read_ready(context)).is_err() {
                        return Poll::Ready(());
                    }
                }
                Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

/// Writes until everything is written or the socket takes no more; says how much it took.
fn write_some(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while let Some(rest @ [_, ..]) = bytes.get(taken..) {
        match stream.try_write(rest) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// The stream as tungstenite sees it.
struct FrameIo<'a> {
    stream: &'a TcpStream,
    backlog: &'a mut Backlog,
    meter: &'a mut Meter,
    reads_left: usize,
}

impl<'a> FrameIo<'a> {
    fn new(stream: &'a TcpStream, backlog: &'a mut Backlog, meter: &'a mut Meter) -> Self {
        FrameIo { stream, backlog, meter, reads_left: READS_IN_A_ROW }
    }
}

impl Read for FrameIo<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.reads_left == 0 || self.meter.flood().is_some() {
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.reads_left < READS_IN_A_ROW {
            // Frames that never become a message are seen here only.
            give_way();
        }
        self.reads_left -= 1;
        let count = self.stream.try_read(buffer)?;
        self.meter.read(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl Write for FrameIo<'_> {
    /// Takes whole frames only, and always all of it: what the socket does not take now goes to the backlog.
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        let is_pong =
            frame.first().is_some_and(|byte| byte & OPCODE_BITS == u8::from(OpCode::Control(Control::Pong)));
        if !self.backlog.bytes.is_empty() {
            let (urgent, ordered) = if is_pong { (frame, &[][..]) } else { (&[][..], frame) };
            self.backlog.push(urgent, ordered);
            return Ok(frame.len());
        }
        let taken = write_some(self.stream, frame)?;
        if taken < frame.len() {
            self.backlog.push(&[], frame);
            self.backlog.took(taken);
        }
        Ok(frame.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
