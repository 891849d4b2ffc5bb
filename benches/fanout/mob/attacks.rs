//! One hostile peer and what it does, until it is thrown out.
//!
//! Invariants: whoever was thrown out waits a little, so that attacks and not handshakes are measured; guesses do not wait.

use super::Attack;
use crate::access;
use std::{future::pending, io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::yield_now,
    time::{sleep, timeout},
};

/// A slow peer sends a byte so often.
const DRIBBLE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
const MASK: [u8; 4] = [0; 4];
const PIECES: usize = 200;
/// Guesses of one connection before it begins anew.
const GUESSES: usize = 1000;

/// Attacks once, in this way.
pub(super) async fn attack(kind: Attack, address: SocketAddr) {
    let empty = |first: u8| [&[first, 0x80][..], &MASK].concat();
    let attacked = match kind {
        Attack::Slow => dribble(address).await,
        Attack::Pings => flood(address, &[], &empty(0x89).repeat(PIECES)).await,
        Attack::Fragments => flood(address, &empty(0x01), &empty(0x00).repeat(PIECES)).await,
        Attack::Huge => {
            let begun = [&[0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0][..], &MASK].concat();
            flood(address, &begun, &b"x".repeat(1024)).await
        }
        Attack::Silent => flood(address, &[], &[]).await,
        Attack::Tokens => guess(address).await,
    };
    // Thrown out: that is what it is for.
    drop(attacked);
    sleep(PAUSE).await;
}

async fn dribble(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /graphql HTTP/1.1\r\nx: ").await?;
    while timeout(DRIBBLE, stream.read(&mut [0])).await.is_err() {
        stream.write_all(b"x").await?;
    }
    Ok(())
}

/// Upgrades, and writes until the server hangs up; without anything to write it only waits for that.
async fn flood(address: SocketAddr, first: &[u8], again: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "GET /graphql HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let (mut reader, mut writer) = stream.split();
    let reading = async {
        let mut sink = [0; 4096];
        while reader.read(&mut sink).await? > 0 {}
        Ok(())
    };
    let writing = async {
        writer.write_all(first).await?;
        while !again.is_empty() {
            writer.write_all(again).await?;
            yield_now().await;
        }
        pending().await
    };
    tokio::select! {
        ended = reading => ended,
        failed = writing => failed,
    }
}

/// One guess in a WebSocket's first message, then one request after the other, each with another signature.
async fn guess(address: SocketAddr) -> io::Result<()> {
    let token = access::token("nobody");
    let forged = |number: usize| {
        let (signed, signature) = token.rsplit_once('.').unwrap_or_default();
        format!("{signed}.{number:06}{}", signature.get(6..).unwrap_or_default())
    };
    let init = format!(r#"{{"type":"connection_init","payload":{{"token":"{}"}}}}"#, forged(GUESSES));
    let length = u16::try_from(init.len()).unwrap_or(u16::MAX).to_be_bytes();
    flood(address, &[&[0x81, 0xfe][..], &length, &MASK, init.as_bytes()].concat(), &[]).await?;

    let mut stream = TcpStream::connect(address).await?;
    let mut answer = [0; 4096];
    for number in 0..GUESSES {
        let request = format!(
            "POST /graphql HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: 24\r\n\r\n{{\"query\":\"{{__typename}}\"}}",
            forged(number)
        );
        stream.write_all(request.as_bytes()).await?;
        // Answers are short and come whole.
        if stream.read(&mut answer).await? == 0 {
            break;
        }
    }
    Ok(())
}
