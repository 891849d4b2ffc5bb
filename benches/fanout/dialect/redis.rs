//! RESP2: Redis pub/sub for fan-out.
//!
//! Not here: `XADD`, which is one constant command (`rows::durable`).

use super::{Dialect, Message, Split, number, ready_made, split_line};
use crate::{
    audience::{Audience, Wish},
    failure::Failure,
    wire::{Wire, text_of},
};
use futures_util::future::LocalBoxFuture;
use std::{future::ready, ops::Range};

/// Redis.
#[derive(Debug)]
pub(crate) struct Redis;

impl Dialect for Redis {
    fn greet<'a>(
        &'a self,
        _wire: &'a mut Wire,
        _subject: &'a str,
    ) -> LocalBoxFuture<'a, Result<(), Failure>> {
        Box::pin(ready(Ok(())))
    }

    fn subscribe(&self, wish: &Wish) -> Vec<u8> {
        let mut words = vec!["SUBSCRIBE"];
        words.extend(wish.subjects.iter().map(String::as_str));
        command(&words)
    }

    fn split<'a>(&self, bytes: &'a [u8]) -> Split<'a, Message<'a>> {
        let Some((head, after)) = split_line(bytes) else { return Ok(None) };
        if head != b"*3" {
            return Err("is no push of three parts");
        }
        let Some((kind, after)) = split_bulk(after)? else { return Ok(None) };
        let Some((_, after)) = split_bulk(after)? else { return Ok(None) };
        match kind {
            b"message" => Ok(split_bulk(after)?.map(|(text, after)| (Message::Text(text), after))),
            b"subscribe" => Ok(split_line(after).map(|(_, after)| (Message::Aside, after))),
            _ => Err("is neither a message nor a confirmation"),
        }
    }

    fn publish(&self, audience: Audience, events: Range<u64>, padding: &str) -> (Vec<u8>, usize) {
        let (mut bytes, mut answers) = (Vec::new(), 0);
        for event in events {
            let text = ready_made(audience, event, padding);
            bytes.extend(command(&["PUBLISH", &audience.subject(event), &text]));
            answers += 1;
        }
        (bytes, answers)
    }

    fn split_answer<'a>(&self, bytes: &'a [u8]) -> Result<Option<(bool, &'a [u8])>, Failure> {
        let Some((line, after)) = split_line(bytes) else { return Ok(None) };
        match line {
            [b':', ..] => Ok(Some((true, after))),
            // The id that XADD gives; its length says that one more line follows.
            [b'$', ..] => Ok(split_line(after).map(|(_, after)| (true, after))),
            _ => Err(Failure::NotPublished(text_of(line))),
        }
    }
}

/// A command as RESP has it: an array of bulk strings.
pub(crate) fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

fn split_bulk(bytes: &[u8]) -> Split<'_, &[u8]> {
    let Some((head, after)) = split_line(bytes) else { return Ok(None) };
    let size = head.strip_prefix(b"$").and_then(number).ok_or("has a part without a length")?;
    let Some((text, after)) = after.split_at_checked(size) else { return Ok(None) };
    Ok(after.get(2..).map(|after| (text, after)))
}
