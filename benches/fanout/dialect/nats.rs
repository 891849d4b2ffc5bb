//! The text protocol of NATS core.
//!
//! Flow: the server greets with `INFO`; `PONG` says that what came before it has been acted upon.

use super::{Dialect, Message, Split, number, ready_made, split_line};
use crate::{
    audience::{Audience, Wish},
    failure::Failure,
    wire::{Wire, text_of},
};
use futures_util::future::LocalBoxFuture;
use std::{fmt::Write, ops::Range};

/// NATS.
#[derive(Debug)]
pub(crate) struct Nats;

const PING: &[u8] = b"PING\r\n";
const PONG: &[u8] = b"PONG\r\n";
const CONNECT: &[u8] =
    b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"bench\",\"version\":\"1\"}\r\n";

impl Dialect for Nats {
    fn greet<'a>(&'a self, wire: &'a mut Wire, _subject: &'a str) -> LocalBoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let info = wire.read_until(b"\r\n").await?;
            if !info.starts_with("INFO ") {
                return Err(Failure::Refused(info));
            }
            wire.send(&[CONNECT, PING].concat()).await?;
            wire.read_until(PONG).await.map(drop)
        })
    }

    fn greets_publishers(&self) -> bool {
        true
    }

    fn subscribe(&self, wish: &Wish) -> Vec<u8> {
        let mut text = String::new();
        for (place, subject) in wish.subjects.iter().enumerate() {
            write!(text, "SUB {subject} {}\r\n", place + 1).expect("writing to a string cannot fail");
        }
        text.into_bytes()
    }

    fn split<'a>(&self, bytes: &'a [u8]) -> Split<'a, Message<'a>> {
        let Some((line, after)) = split_line(bytes) else { return Ok(None) };
        match line {
            [b'M', b'S', b'G', b' ', head @ ..] => {
                let size = head.rsplit(|byte| *byte == b' ').next().and_then(number);
                let size = size.ok_or("has no length")?;
                let Some((text, after)) = after.split_at_checked(size) else { return Ok(None) };
                Ok(after.get(2..).map(|after| (Message::Text(text), after)))
            }
            b"PING" => Ok(Some((Message::Asks(PONG), after))),
            b"PONG" | b"+OK" | [b'I', b'N', b'F', b'O', ..] => Ok(Some((Message::Aside, after))),
            _ => Ok(Some((Message::Closed(text_of(line)), after))),
        }
    }

    fn publish(&self, audience: Audience, events: Range<u64>, padding: &str) -> (Vec<u8>, usize) {
        let mut bytes = String::new();
        for event in events {
            let text = ready_made(audience, event, padding);
            write!(bytes, "PUB {} {}\r\n{text}\r\n", audience.subject(event), text.len())
                .expect("writing to a string cannot fail");
        }
        (bytes.into_bytes(), 0)
    }

    /// Publishing is not answered. A ping may go without an answer, since no run lasts as long as the server's patience.
    fn split_answer<'a>(&self, bytes: &'a [u8]) -> Result<Option<(bool, &'a [u8])>, Failure> {
        match split_line(bytes) {
            None => Ok(None),
            Some((line @ [b'-', ..], _)) => Err(Failure::NotPublished(text_of(line))),
            Some((_, after)) => Ok(Some((false, after))),
        }
    }
}
