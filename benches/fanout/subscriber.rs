//! The subscriber of the load, made to cost next to nothing, since it shares the machine with the server.
//!
//! Flow: greets and subscribes in its dialect; from then on each read goes into the one buffer that all subscribers
//! share, messages are split off where they lie, and each delivery is entered in the ledger.
//! Invariants: each event is the next one that is due here, or the subscriber fails; a message that is no event, no ping
//! and no confirmation is a failure too.
//! Not here: what the messages look like (`dialect`).

use crate::{
    audience::{Due, Wish},
    dialect::{Dialect, Message, Other},
    failure::Failure,
    ledger::Ledger,
    wire::{Wire, text_of},
};
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
    io::{AsyncRead, ReadBuf},
    time::{Instant, timeout},
};

/// What all subscribers read into; larger than any message and what may stand before its end.
pub(crate) const READ_BYTES: usize = 512 * 1024;

/// How long a server may take from connecting to the acknowledgement.
const ACCEPT: Duration = Duration::from_secs(20);
/// The key whose number counts the events; stands inside the `data` of each.
const SEQUENCE_KEY: &[u8] = b"\"n\":";
/// What the first event of each subscriber must show, so that nothing else is counted as an event.
const NEXT_MARKS: [&str; 4] = [r#""type":"next""#, r#""type":"bench."#, r#""time":""#, r#""events":{""#];

/// One connection.
#[derive(Debug)]
pub(crate) struct Subscriber {
    number: usize,
    dialect: &'static dyn Dialect,
    wire: Wire,
    due: Due,
    last: Option<u64>,
    /// Where the sequence key stood in the last event; nearly always it stands there again.
    key_at: usize,
}

impl Subscriber {
    /// Connects and may subscribe when this returns.
    pub(crate) async fn open(
        dialect: &'static dyn Dialect,
        address: SocketAddr,
        number: usize,
    ) -> Result<Self, Failure> {
        let greeted = async {
            let mut wire = Wire::connect(address).await?;
            dialect.greet(&mut wire, &number.to_string()).await?;
            Ok(Subscriber { number, dialect, wire, due: Due::Nothing, last: None, key_at: 0 })
        };
        timeout(ACCEPT, greeted)
            .await
            .map_err(|_| Failure::NotAccepted { subscriber: number, waited: ACCEPT })?
    }

    /// Sends all subscriptions of a wish; the server may still be about to act on them.
    pub(crate) async fn subscribe(&mut self, wish: &Wish) -> Result<(), Failure> {
        self.due = wish.due;
        self.wire.send(&self.dialect.subscribe(wish)).await
    }

    /// Reads events until something fails; nothing else ends a subscriber but dropping it.
    pub(crate) async fn follow(
        &mut self,
        ledger: &Ledger,
        scratch: &RefCell<Vec<u8>>,
    ) -> Result<Infallible, Failure> {
        loop {
            if let Some(answer) = poll_fn(|context| self.poll_events(context, ledger, scratch)).await? {
                self.wire.send(answer).await?;
            }
        }
    }

    /// One read into the shared buffer, which is borrowed for the length of this poll only. Gives what must be answered.
    fn poll_events(
        &mut self,
        context: &mut Context<'_>,
        ledger: &Ledger,
        scratch: &RefCell<Vec<u8>>,
    ) -> Poll<Result<Option<&'static [u8]>, Failure>> {
        let mut scratch = scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        buffer.put_slice(&self.wire.rest);
        ready!(Pin::new(&mut self.wire.stream).poll_read(context, &mut buffer))
            .map_err(Failure::during("reading events"))?;
        if buffer.filled().len() == self.wire.rest.len() {
            return Poll::Ready(Err(self.disconnected("end of stream".to_owned())));
        }
        let (mut left, mut answer, now) = (buffer.filled(), None, Instant::now());
        while let Some((message, after)) = self
            .dialect
            .split(left)
            .map_err(|problem| Failure::Message { subscriber: self.number, problem })?
        {
            left = after;
            answer = self.take(message, ledger, now)?.or(answer);
        }
        self.wire.rest.clear();
        self.wire.rest.extend_from_slice(left);
        Poll::Ready(Ok(answer))
    }

    /// Enters an event in the ledger; gives what another message wants to be answered.
    fn take(
        &mut self,
        message: Message<'_>,
        ledger: &Ledger,
        now: Instant,
    ) -> Result<Option<&'static [u8]>, Failure> {
        let text = match message {
            Message::Text(text) => text,
            Message::Asks(answer) => return Ok(Some(answer)),
            Message::Aside => return Ok(None),
            Message::Closed(reason) => return Err(self.disconnected(reason)),
        };
        let Some(event) = sequence(text, &mut self.key_at) else {
            return match self.dialect.other(text) {
                Other::Asks(answer) => Ok(Some(answer)),
                Other::Ready => {
                    ledger.ready();
                    Ok(None)
                }
                Other::Unexpected => Err(self.unexpected(text)),
            };
        };
        let Due::Every { by, rest } = self.due else { return Err(self.unexpected(text)) };
        match self.last {
            Some(after) if event != after + by => {
                return Err(Failure::OutOfOrder { subscriber: self.number, after, found: event });
            }
            Some(_) => {}
            None => {
                let shown = text_of(text);
                if event % by != rest || !NEXT_MARKS.iter().all(|mark| shown.contains(mark)) {
                    return Err(self.unexpected(text));
                }
            }
        }
        self.last = Some(event);
        ledger.deliver(event, text.len(), now)?;
        Ok(None)
    }

    fn unexpected(&self, text: &[u8]) -> Failure {
        Failure::Unexpected { subscriber: self.number, text: text_of(text) }
    }

    fn disconnected(&self, reason: String) -> Failure {
        Failure::Disconnected { subscriber: self.number, reason }
    }
}

/// The number behind the sequence key, looked for at `key_at` first.
pub(crate) fn sequence(text: &[u8], key_at: &mut usize) -> Option<u64> {
    if !text.get(*key_at..).is_some_and(|text| text.starts_with(SEQUENCE_KEY)) {
        *key_at = text.windows(SEQUENCE_KEY.len()).position(|window| window == SEQUENCE_KEY)?;
    }
    let digits = text.get(*key_at + SEQUENCE_KEY.len()..)?.iter().take_while(|byte| byte.is_ascii_digit());
    digits.take(18).map(|digit| u64::from(digit - b'0')).reduce(|number, digit| number * 10 + digit)
}
