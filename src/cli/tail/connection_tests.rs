//! One connection of `tail`.

use super::*;
use crate::cli::tail::session::Request;
use fanfare::event::{Epoch, Offset};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        handshake::server::{ErrorResponse, Request as Handshake, Response},
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

/// What was shown; fails like a closed pipe once it has this many bytes.
#[derive(Clone)]
struct Shown {
    text: Arc<Mutex<Vec<u8>>>,
    bytes_max: usize,
}

impl io::Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = self.text.lock().unwrap();
        if text.len() >= self.bytes_max {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shown {
    fn new(bytes_max: usize) -> Self {
        Shown { text: Arc::default(), bytes_max }
    }

    fn ids(&self) -> Vec<String> {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
        text.lines().map(id).collect()
    }
}

fn cursor(offset: u64) -> String {
    Epoch::new([7; 16]).seal(Offset::new(offset)).to_string()
}

fn event(offset: u64) -> Message {
    let event =
        json!({"id": format!("e{offset}"), "type": "a", "time": "t", "source": "/", "priority": "LOW"});
    let payload = json!({"data": {"events": event}, "extensions": {"cursor": cursor(offset)}});
    Message::text(json!({"id": "tail", "type": "next", "payload": payload}).to_string())
}

fn close(code: u16) -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::from(code), reason: "".into() }))
}

/// Takes a connection up to its subscribe message and gives the start in it.
#[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
async fn accept(listener: &TcpListener) -> (WebSocketStream<TcpStream>, Value) {
    let choose = |request: &Handshake, mut response: Response| -> Result<Response, ErrorResponse> {
        let asked = request.headers().get(SEC_WEBSOCKET_PROTOCOL).unwrap().clone();
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, asked);
        Ok(response)
    };
    let mut socket = accept_hdr_async(listener.accept().await.unwrap().0, choose).await.unwrap();
    let init: Value = serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
    assert_eq!(init["type"], "connection_init");
    socket.send(Message::text(r#"{"type":"connection_ack"}"#)).await.unwrap();
    let subscribe: Value =
        serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
    assert_eq!(subscribe["type"], "subscribe");
    (socket, subscribe["payload"]["variables"]["start"].clone())
}

async fn listen() -> (TcpListener, Target) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    (listener, target)
}

async fn run(
    target: &Target,
    start: Option<Value>,
    shown: &Shown,
    stop: &CancellationToken,
) -> (End, Session) {
    let mut session = Session::new(Request { start, ..Request::default() });
    let mut output = Output::json_to(Box::new(shown.clone()));
    let end = follow(target, &mut session, &mut output, stop).await;
    (end, session)
}

#[tokio::test]
async fn after_a_break_the_tail_goes_on_after_the_last_event_it_showed() {
    let (listener, target) = listen().await;
    let (shown, stop) = (Shown::new(usize::MAX), CancellationToken::new());
    let server = async {
        let (mut socket, start) = accept(&listener).await;
        assert_eq!(start, json!({"earliest": true}));
        socket.send(event(1)).await.unwrap();
        socket.send(event(2)).await.unwrap();
        socket.send(close(1012)).await.unwrap();
        let (mut socket, start) = accept(&listener).await;
        assert_eq!(start, json!({"after": cursor(2)}));
        socket.send(event(3)).await.unwrap();
        socket.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().to_text().unwrap(), r#"{"type":"pong"}"#);
        stop.cancel();
        // The tail says goodbye.
        assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
    };
    let ((end, session), ()) =
        tokio::join!(run(&target, Some(json!({"earliest": true})), &shown, &stop), server);
    assert!(matches!(end, End::Stopped), "{end:?}");
    assert_eq!(shown.ids(), ["e1", "e2", "e3"]);
    assert_eq!(session.position(), Some(cursor(3).as_str()));
}

#[tokio::test]
async fn a_closed_pipe_ends_the_tail_without_an_error() {
    let (listener, target) = listen().await;
    let shown = Shown::new(1);
    let server = async {
        let (mut socket, _) = accept(&listener).await;
        let mut offset = 0;
        while socket.send(event(offset)).await.is_ok() {
            offset += 1;
        }
    };
    let stop = CancellationToken::new();
    let ((end, _), ()) = tokio::join!(run(&target, None, &shown, &stop), server);
    assert!(matches!(end, End::ReaderGone), "{end:?}");
}

#[tokio::test]
async fn a_refusal_ends_the_tail_with_its_message_and_what_to_do_next() {
    let (listener, target) = listen().await;
    let server = async {
        let (mut socket, _) = accept(&listener).await;
        let error = json!({"message": "no", "extensions": {"code": "EPOCH_CHANGED", "next": "Load anew."}});
        let text = json!({"id": "tail", "type": "error", "payload": [error]}).to_string();
        socket.send(Message::text(text)).await.unwrap();
        socket
    };
    let (shown, stop) = (Shown::new(usize::MAX), CancellationToken::new());
    let ((end, _), _socket) = tokio::join!(run(&target, None, &shown, &stop), server);
    assert!(matches!(&end, End::Failed(told) if told == "EPOCH_CHANGED: no. Load anew."), "{end:?}");
}

#[tokio::test]
async fn a_server_that_is_something_else_ends_the_tail() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (listener, target) = listen().await;
    let server = async {
        let mut socket = listener.accept().await.unwrap().0;
        let _ = socket.read(&mut [0; 4096]).await.unwrap();
        socket.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        socket
    };
    let (shown, stop) = (Shown::new(usize::MAX), CancellationToken::new());
    let ((end, _), _socket) = tokio::join!(run(&target, None, &shown, &stop), server);
    assert!(matches!(&end, End::Failed(told) if told.contains("is it a Fanfare server?")), "{end:?}");
}
