//! The subscriber of the load: a WebSocket client made to cost next to nothing, since it shares the machine with the server.
//!
//! Flow: handshake, init and subscribe by hand; from then on each read goes into the one buffer that all subscribers
//! share, frames are parsed where they lie, and each delivery is entered in the ledger.
//! Invariants: each event is one higher than the one before, or the subscriber fails; a frame that is no event, no ping
//! and no keep-alive is a failure too.
//! Not here: fragments, compression, the closing handshake; the servers measured send none of the first two.

use crate::{failure::Failure, ledger::Ledger};
use std::{
    cell::RefCell,
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::timeout,
};

/// What all subscribers read into; far larger than any frame.
pub(crate) const READ_BYTES: usize = 256 * 1024;

/// How long a server may take from connecting to the acknowledgement.
const ACCEPT: Duration = Duration::from_secs(20);
/// The key whose number counts the events; stands inside the `data` of each.
const SEQUENCE_KEY: &[u8] = b"\"n\":";
/// What the first event of each subscriber must show, so that nothing else is counted as an event.
const NEXT_MARKS: [&str; 4] = [r#""type":"next""#, r#""type":"bench.tick""#, r#""time":""#, r#""events":{""#];

const INIT: &str = r#"{"type":"connection_init"}"#;
const PONG: &str = r#"{"type":"pong"}"#;
const SUBSCRIBE: &str = r#"{"id":"1","type":"subscribe","payload":{"query":"subscription { events(filter: {types: [\"bench.tick\"]}) { id type time data } }"}}"#;

/// The opcodes of RFC 6455 that a server may send here.
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;

/// One subscribed connection.
#[derive(Debug)]
pub(crate) struct Subscriber {
    number: usize,
    stream: TcpStream,
    /// The beginning of a frame whose end has not arrived.
    rest: Vec<u8>,
    last: Option<u64>,
    /// Where the sequence key stood in the last event; nearly always it stands there again.
    key_at: usize,
}

/// What a subscriber owes the server after a read.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// To answer a ping of `graphql-transport-ws`.
    Pong,
    /// To answer a ping of the WebSocket itself.
    ControlPong,
}

impl Subscriber {
    /// Connects, is acknowledged and has sent its subscription when this returns.
    pub(crate) async fn open(address: SocketAddr, number: usize) -> Result<Self, Failure> {
        timeout(ACCEPT, Self::subscribe(address, number))
            .await
            .map_err(|_| Failure::NotAccepted { subscriber: number, waited: ACCEPT })?
    }

    async fn subscribe(address: SocketAddr, number: usize) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await.map_err(Failure::during("connecting"))?;
        stream.set_nodelay(true).map_err(Failure::during("setting TCP_NODELAY"))?;
        let mut subscriber = Subscriber { number, stream, rest: Vec::new(), last: None, key_at: 0 };
        subscriber.upgrade(address).await?;
        subscriber.send(TEXT, INIT.as_bytes()).await?;
        subscriber.await_ack().await?;
        subscriber.send(TEXT, SUBSCRIBE.as_bytes()).await?;
        Ok(subscriber)
    }

    async fn upgrade(&mut self, address: SocketAddr) -> Result<(), Failure> {
        let request = format!(
            "GET /graphql/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
        );
        self.stream.write_all(request.as_bytes()).await.map_err(Failure::during("sending the upgrade"))?;
        let end = loop {
            if let Some(end) = self.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.read_more().await?;
        };
        let head = String::from_utf8_lossy(self.rest.get(..end).unwrap_or_default()).into_owned();
        self.rest.drain(..end);
        let lower = head.to_ascii_lowercase();
        if lower.starts_with("http/1.1 101") && lower.contains("sec-websocket-protocol: graphql-transport-ws")
        {
            Ok(())
        } else {
            Err(Failure::Refused(head.trim().replace("\r\n", " | ")))
        }
    }

    async fn await_ack(&mut self) -> Result<(), Failure> {
        let number = self.number;
        loop {
            let framed = split_frame(&self.rest)
                .map_err(|problem| Failure::Frame { subscriber: number, problem })?
                .map(|(frame, after)| (text_of(frame.payload), after.len()));
            if let Some((text, after)) = framed {
                self.rest.drain(..self.rest.len() - after);
                return match text.contains(r#""connection_ack""#) {
                    true => Ok(()),
                    false => Err(Failure::Unexpected { subscriber: number, text }),
                };
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.rest).await.map_err(Failure::during("reading an answer"))? {
            0 => Err(self.disconnected("end of stream before the subscription")),
            _ => Ok(()),
        }
    }

    /// Sends one frame. Clients must mask; the mask of zeros is one, and leaves the bytes as they are.
    async fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<(), Failure> {
        let mut frame = vec![0x80 | opcode];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(short @ ..126), _) => frame.push(0x80 | short),
            (_, Ok(long)) => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&long.to_be_bytes());
            }
            (_, Err(_)) => {
                return Err(Failure::Frame { subscriber: self.number, problem: "is too long to send" });
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).await.map_err(Failure::during("sending a frame"))
    }

    /// Reads events until something fails; nothing else ends a subscriber but dropping it.
    pub(crate) async fn follow(
        &mut self,
        ledger: &Ledger,
        scratch: &RefCell<Vec<u8>>,
    ) -> Result<Infallible, Failure> {
        loop {
            match poll_fn(|context| self.poll_events(context, ledger, scratch)).await? {
                Due::Nothing => {}
                Due::Pong => self.send(TEXT, PONG.as_bytes()).await?,
                Due::ControlPong => self.send(PING + 1, b"").await?,
            }
        }
    }

    /// One read into the shared buffer, which is borrowed for the length of this poll only.
    fn poll_events(
        &mut self,
        context: &mut Context<'_>,
        ledger: &Ledger,
        scratch: &RefCell<Vec<u8>>,
    ) -> Poll<Result<Due, Failure>> {
        let mut scratch = scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        buffer.put_slice(&self.rest);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))
            .map_err(Failure::during("reading events"))?;
        if buffer.filled().len() == self.rest.len() {
            return Poll::Ready(Err(self.disconnected("end of stream")));
        }
        let (mut left, mut due) = (buffer.filled(), Due::Nothing);
        while let Some((frame, after)) =
            split_frame(left).map_err(|problem| Failure::Frame { subscriber: self.number, problem })?
        {
            left = after;
            due = self.take(&frame, ledger)?.unwrap_or(due);
        }
        self.rest.clear();
        self.rest.extend_from_slice(left);
        Poll::Ready(Ok(due))
    }

    /// Enters an event in the ledger; says what another frame asks for.
    fn take(&mut self, frame: &Frame<'_>, ledger: &Ledger) -> Result<Option<Due>, Failure> {
        match frame.opcode {
            TEXT => {}
            PING => return Ok(Some(Due::ControlPong)),
            CLOSE => return Err(self.disconnected(&close_reason(frame.payload))),
            _ => return Err(Failure::Frame { subscriber: self.number, problem: "is no text" }),
        }
        let Some(event) = sequence(frame.payload, &mut self.key_at) else {
            let text = text_of(frame.payload);
            return match text.contains(r#""type":"ping""#) {
                true => Ok(Some(Due::Pong)),
                false => Err(Failure::Unexpected { subscriber: self.number, text }),
            };
        };
        match self.last {
            Some(after) if event != after + 1 => {
                return Err(Failure::OutOfOrder { subscriber: self.number, after, found: event });
            }
            Some(_) => {}
            None => {
                let text = text_of(frame.payload);
                if !NEXT_MARKS.iter().all(|mark| text.contains(mark)) {
                    return Err(Failure::Unexpected { subscriber: self.number, text });
                }
            }
        }
        self.last = Some(event);
        ledger.deliver(event, frame.payload.len())?;
        Ok(None)
    }

    fn disconnected(&self, reason: &str) -> Failure {
        Failure::Disconnected { subscriber: self.number, reason: reason.to_owned() }
    }
}

#[derive(Debug)]
struct Frame<'a> {
    opcode: u8,
    payload: &'a [u8],
}

/// The first frame and what follows it, or `None` while its end is missing.
fn split_frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, &[u8])>, &'static str> {
    let [first, second, after @ ..] = bytes else { return Ok(None) };
    if first & 0xf0 != 0x80 {
        return Err("is a fragment or compressed");
    }
    let sized = match second {
        126 => after.split_first_chunk().map(|(size, after)| (u16::from_be_bytes(*size).into(), after)),
        127 => after.split_first_chunk().map(|(size, after)| (u64::from_be_bytes(*size), after)),
        128.. => return Err("is masked"),
        size => Some((u64::from(*size), after)),
    };
    let Some((size, after)) = sized else { return Ok(None) };
    let size = usize::try_from(size).ok().filter(|size| *size < READ_BYTES / 2).ok_or("is too long")?;
    Ok(after.split_at_checked(size).map(|(payload, after)| (Frame { opcode: first & 0x0f, payload }, after)))
}

/// The number behind the sequence key, looked for at `key_at` first.
fn sequence(text: &[u8], key_at: &mut usize) -> Option<u64> {
    if !text.get(*key_at..).is_some_and(|text| text.starts_with(SEQUENCE_KEY)) {
        *key_at = text.windows(SEQUENCE_KEY.len()).position(|window| window == SEQUENCE_KEY)?;
    }
    let digits = text.get(*key_at + SEQUENCE_KEY.len()..)?.iter().take_while(|byte| byte.is_ascii_digit());
    digits.take(18).map(|digit| u64::from(digit - b'0')).reduce(|number, digit| number * 10 + digit)
}

fn close_reason(payload: &[u8]) -> String {
    match payload.split_first_chunk() {
        Some((code, reason)) => format!("close {} {}", u16::from_be_bytes(*code), text_of(reason)),
        None => "close without a code".to_owned(),
    }
}

/// A frame as a failure shows it.
fn text_of(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload.get(..400).unwrap_or(payload)).into_owned()
}
