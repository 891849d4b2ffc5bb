//! The peer that shows what sending costs without a server around it: frames are put together once for everybody, and each
//! socket gets them by one `write`. No runtime, no queue, nothing kept for a socket.
//!
//! Flow: `POST /events` makes the frames of all requests that have arrived; the thread that read them writes them to every
//! subscriber.
//! Not here: filters, selections, slow readers. Whatever the client asks for, it gets every event, as operation `1`.

#[expect(dead_code, reason = "shared by the peers; this one needs neither axum nor a ring")]
mod edge;
mod next;

use edge::Posted;
use next::{ACK, encode};
use serde_json::value::RawValue;
use std::{
    env,
    io::{self, Error, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};
use tokio_tungstenite::tungstenite::{
    Message, accept_hdr,
    handshake::server::{ErrorResponse, Request, Response},
    http::HeaderValue,
};

const READ_BYTES: usize = 64 * 1024;

type Subscribers = Arc<Mutex<Vec<TcpStream>>>;

fn main() -> io::Result<()> {
    let address = env::args().skip_while(|argument| argument != "--listen").nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:0"))?;
    println!("listening on http://{}", listener.local_addr()?);
    let subscribers = Subscribers::default();
    for stream in listener.incoming() {
        let (stream, subscribers) = (stream?, Arc::clone(&subscribers));
        stream.set_nodelay(true)?;
        thread::spawn(move || {
            // A peer that goes away sees it itself.
            let _ = serve(stream, &subscribers);
        });
    }
    Ok(())
}

fn serve(stream: TcpStream, subscribers: &Subscribers) -> io::Result<()> {
    let mut first = [0];
    stream.peek(&mut first)?;
    match &first {
        b"G" => subscribe(stream, subscribers),
        _ => publish(stream, subscribers),
    }
}

/// The conversation up to the subscription.
fn subscribe(stream: TcpStream, subscribers: &Subscribers) -> io::Result<()> {
    let mut socket = accept_hdr(stream, choose).map_err(Error::other)?;
    loop {
        let Message::Text(text) = socket.read().map_err(Error::other)? else { continue };
        if text.contains(r#""connection_init""#) {
            socket.send(Message::text(ACK)).map_err(Error::other)?;
        } else if text.contains(r#""subscribe""#) {
            subscribers.lock().map_err(|_| Error::other("poisoned"))?.push(socket.get_ref().try_clone()?);
            return Ok(());
        }
    }
}

#[expect(clippy::result_large_err, reason = "tungstenite's signature")]
#[expect(clippy::unnecessary_wraps, reason = "tungstenite's signature")]
fn choose(_: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let name = HeaderValue::from_static("graphql-transport-ws");
    response.headers_mut().insert("sec-websocket-protocol", name);
    Ok(response)
}

fn publish(mut stream: TcpStream, subscribers: &Subscribers) -> io::Result<()> {
    let (mut read, mut frames, mut answers) = (Vec::new(), Vec::new(), String::new());
    let mut piece = vec![0; READ_BYTES];
    loop {
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        read.extend_from_slice(piece.get(..count).unwrap_or_default());
        while let Some((body, end)) = request(&read)? {
            let posted: Vec<Posted<Box<RawValue>>> = serde_json::from_slice(body)?;
            posted.iter().for_each(|event| push_frame(&encode(event), &mut frames));
            let answer = format!("{{\"accepted\":{}}}", posted.len());
            answers.push_str(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()));
            read.drain(..end);
        }
        for subscriber in subscribers.lock().map_err(|_| Error::other("poisoned"))?.iter_mut() {
            subscriber.write_all(&frames)?;
        }
        stream.write_all(answers.as_bytes())?;
        frames.clear();
        answers.clear();
    }
}

/// The body of the first whole request, and where it ends.
fn request(read: &[u8]) -> io::Result<Option<(&[u8], usize)>> {
    let Some(head) = read.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(read.get(..head).unwrap_or_default()).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.unwrap_or("0").trim().parse().map_err(Error::other)?;
    let (start, end) = (head + 4, head + 4 + length);
    Ok(read.get(start..end).map(|body| (body, end)))
}

/// A text frame of a server (RFC 6455, section 5.2).
fn push_frame(text: &str, out: &mut Vec<u8>) {
    out.push(0x81);
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(length @ ..126), _) => out.push(length),
        (_, Ok(length)) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(text.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}
