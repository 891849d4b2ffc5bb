//! GraphQL over WebSocket (`graphql-transport-ws`) for subscribers, `POST /events` with a list for the publisher.
//!
//! Invariants: client frames are masked with zeros, which is a mask and leaves the bytes as they are.
//! Not here: fragments, compression, the closing handshake; the servers measured send none of the first two.

use super::{Dialect, Message, Other, Split};
use crate::{
    access,
    audience::{Audience, Wish},
    failure::Failure,
    wire::{Wire, text_of},
};
use futures_util::future::LocalBoxFuture;
use std::{net::SocketAddr, ops::Range};

/// Every server here that speaks GraphQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GraphqlWs {
    /// Nobody says who it is.
    Anonymous,
    /// Every connection has a token of its own.
    WithTokens,
}

/// No message of any row is larger.
const TEXT_BYTES_MAX: u64 = 128 * 1024;
/// The answer to a ping of the protocol, as a masked text frame, and to one of the WebSocket itself.
const PONG: &[u8] = b"\x81\x8f\0\0\0\0{\"type\":\"pong\"}";
const CONTROL_PONG: &[u8] = b"\x8a\x80\0\0\0\0";

/// The opcodes of RFC 6455 that a server may send here.
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;

impl Dialect for GraphqlWs {
    fn greet<'a>(&'a self, wire: &'a mut Wire, subject: &'a str) -> LocalBoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let request = format!(
                "GET /graphql/ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n",
                wire.address
            );
            wire.send(request.as_bytes()).await?;
            let init = self.init(subject);
            let head = wire.read_until(b"\r\n\r\n").await?;
            let lower = head.to_ascii_lowercase();
            if !lower.starts_with("http/1.1 101")
                || !lower.contains("sec-websocket-protocol: graphql-transport-ws")
            {
                return Err(Failure::Refused(head.trim().replace("\r\n", " | ")));
            }
            wire.send(&frame(init.as_bytes())).await?;
            await_acknowledgement(wire).await
        })
    }

    fn subscribe(&self, wish: &Wish) -> Vec<u8> {
        let start = wish.start.as_ref().map_or_else(String::new, |start| format!(", start: {start}"));
        let extensions = if wish.asks_ready { r#","extensions":{"ready":true}"# } else { "" };
        let mut bytes = Vec::new();
        for (place, filter) in wish.filters.iter().enumerate() {
            let query = format!("subscription {{ events(filter: {filter}{start}) {{ id type time data }} }}");
            let query = serde_json::Value::String(query);
            let id = place + 1;
            let text =
                format!(r#"{{"id":"{id}","type":"subscribe","payload":{{"query":{query}{extensions}}}}}"#);
            bytes.extend(frame(text.as_bytes()));
        }
        bytes
    }

    fn split<'a>(&self, bytes: &'a [u8]) -> Split<'a, Message<'a>> {
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
        let size = usize::try_from(size.min(TEXT_BYTES_MAX + 1)).unwrap_or(usize::MAX);
        if size as u64 > TEXT_BYTES_MAX {
            return Err("is too long");
        }
        let Some((payload, after)) = after.split_at_checked(size) else { return Ok(None) };
        match first & 0x0f {
            TEXT => Ok(Some((Message::Text(payload), after))),
            PING => Ok(Some((Message::Asks(CONTROL_PONG), after))),
            CLOSE => Ok(Some((Message::Closed(close_reason(payload)), after))),
            _ => Err("is no text"),
        }
    }

    fn other(&self, text: &[u8]) -> Other {
        let text = String::from_utf8_lossy(text);
        if text.contains(r#""type":"ping""#) {
            Other::Asks(PONG)
        } else if text.contains(r#""ready":true"#) {
            Other::Ready
        } else {
            Other::Unexpected
        }
    }

    fn publish(&self, audience: Audience, events: Range<u64>, padding: &str) -> (Vec<u8>, usize) {
        let mut body = String::new();
        for event in events {
            body.push(if body.is_empty() { '[' } else { ',' });
            audience.write_event(event, padding, &mut body);
        }
        body.push(']');
        let token = match self {
            GraphqlWs::Anonymous => None,
            GraphqlWs::WithTokens => Some(access::publisher_token()),
        };
        (post_events_with(token, &body), 1)
    }

    fn split_answer<'a>(&self, bytes: &'a [u8]) -> Result<Option<(bool, &'a [u8])>, Failure> {
        let Some((body, after)) = split_response(bytes)? else { return Ok(None) };
        match body {
            Ok(_) => Ok(Some((true, after))),
            Err(refused) => Err(Failure::NotPublished(refused)),
        }
    }
}

impl GraphqlWs {
    fn init(self, subject: &str) -> String {
        match self {
            GraphqlWs::Anonymous => r#"{"type":"connection_init"}"#.to_owned(),
            GraphqlWs::WithTokens => {
                let token = access::token(subject);
                format!(r#"{{"type":"connection_init","payload":{{"Authorization":"Bearer {token}"}}}}"#)
            }
        }
    }
}

/// Publishes one event of its own and gives its cursor.
pub(crate) async fn publish_mark(address: SocketAddr) -> Result<String, Failure> {
    let mut wire = Wire::connect(address).await?;
    wire.send(&post_events(r#"{"type":"bench.mark","source":"/bench","data":{}}"#)).await?;
    loop {
        if let Some((body, _)) = split_response(&wire.rest)? {
            let body = body.map_err(Failure::NotPublished)?;
            let cursor = body.split_once(r#""cursor":""#).and_then(|(_, after)| after.split_once('"'));
            return cursor.map(|(cursor, _)| cursor.to_owned()).ok_or(Failure::NotPublished(body));
        }
        wire.read_more().await?;
    }
}

/// One request that publishes.
pub(crate) fn post_events(body: &str) -> Vec<u8> {
    post_events_with(None, body)
}

fn post_events_with(token: Option<&str>, body: &str) -> Vec<u8> {
    let authorization = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    format!(
        "POST /events HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The body of the first response, or as an error what a response other than 2xx says.
type Body = Result<String, String>;

/// The first response and what follows it; `None` while its end is missing.
pub(crate) fn split_response(bytes: &[u8]) -> Result<Option<(Body, &[u8])>, Failure> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.ok_or_else(|| Failure::NotPublished(format!("{head} without a length")))?;
    let Some((body, after)) = bytes.get(end + 4..).and_then(|rest| rest.split_at_checked(length)) else {
        return Ok(None);
    };
    let is_good = head.starts_with("HTTP/1.1 2");
    let status = head.lines().next().unwrap_or_default();
    let body = match is_good {
        true => Ok(text_of(body)),
        false => Err(format!("{status} {}", text_of(body))),
    };
    Ok(Some((body, after)))
}

async fn await_acknowledgement(wire: &mut Wire) -> Result<(), Failure> {
    loop {
        let split =
            GraphqlWs::Anonymous.split(&wire.rest).map_err(|problem| Failure::Refused(problem.to_owned()))?;
        if let Some((message, after)) = split {
            let is_acknowledged =
                matches!(message, Message::Text(text) if text_of(text).contains(r#""connection_ack""#));
            let refused = format!("{message:?}");
            let after = after.len();
            wire.rest.drain(..wire.rest.len() - after);
            return if is_acknowledged { Ok(()) } else { Err(Failure::Refused(refused)) };
        }
        wire.read_more().await?;
    }
}

/// A masked text frame. No text of this bench is longer than 64 KiB.
fn frame(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | TEXT];
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(short @ ..126), _) => frame.push(0x80 | short),
        (_, long) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&long.unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text);
    frame
}

fn close_reason(payload: &[u8]) -> String {
    match payload.split_first_chunk() {
        Some((code, reason)) => format!("close {} {}", u16::from_be_bytes(*code), text_of(reason)),
        None => "close without a code".to_owned(),
    }
}
