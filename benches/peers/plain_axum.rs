//! The peer that shows what axum can do at best: no GraphQL, one text encoded once and shared by all subscribers.
//!
//! Flow: `POST /events` encodes each event as the `next` frame of `graphql-transport-ws` and puts it into one ring; every
//! connection writes what the ring has, many frames a flush, through 4 KB buffers.
//! Invariants: the bytes on the wire are those a GraphQL server would send; a subscriber that lags is disconnected.
//! Not here: filters, selections, execution. Whatever the client asks for, it gets every event, as operation `1`.

mod edge;
mod next;

use axum::{
    Router,
    body::Bytes,
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, Utf8Bytes, WebSocket},
    },
    http::StatusCode,
    response::Response,
    routing::{any, post},
};
use edge::{Posted, RING_EVENTS};
use futures_util::SinkExt;
use next::{ACK, encode};
use serde_json::value::RawValue;
use std::io;
use tokio::sync::broadcast::{
    self, Receiver, Sender,
    error::{RecvError, TryRecvError},
};

const BUFFER_BYTES: usize = 4096;

#[tokio::main]
async fn main() -> io::Result<()> {
    let ring = broadcast::channel(RING_EVENTS).0;
    let routes = Router::new().route("/events", post(publish)).route("/graphql/ws", any(upgrade));
    edge::serve(routes.with_state(ring)).await
}

async fn publish(State(ring): State<Sender<Utf8Bytes>>, body: Bytes) -> Result<String, (StatusCode, String)> {
    let posted: Vec<Posted<Box<RawValue>>> =
        serde_json::from_slice(&body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let accepted = posted.len();
    for event in posted {
        // Without subscribers there is nobody to send to, which is no failure.
        let _ = ring.send(encode(&event).into());
    }
    Ok(format!("{{\"accepted\":{accepted}}}"))
}

async fn upgrade(State(ring): State<Sender<Utf8Bytes>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .protocols(["graphql-transport-ws"])
        .on_upgrade(move |socket| connection(socket, ring))
}

/// Acknowledges, waits for the subscription and delivers. A socket that fails needs no report: the client sees it.
async fn connection(mut socket: WebSocket, ring: Sender<Utf8Bytes>) {
    while let Some(Ok(message)) = socket.recv().await {
        let Message::Text(text) = message else { continue };
        if text.contains(r#""connection_init""#) {
            if socket.send(Message::text(ACK)).await.is_err() {
                return;
            }
        } else if text.contains(r#""subscribe""#) {
            let events = ring.subscribe();
            drop(ring);
            return deliver(socket, events).await;
        }
    }
}

async fn deliver(mut socket: WebSocket, mut events: Receiver<Utf8Bytes>) {
    loop {
        tokio::select! {
            // A socket that is only looked at when the ring is empty costs no read buffer per event.
            biased;
            event = events.recv() => {
                let written = match event {
                    Ok(event) => write(&mut socket, &mut events, event).await,
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return,
                };
                if written.is_err() {
                    return;
                }
            }
            message = socket.recv() => if !matches!(message, Some(Ok(_))) { return },
        }
    }
}

/// Writes `event` and all that follow it in the ring, then flushes once.
async fn write(
    socket: &mut WebSocket,
    events: &mut Receiver<Utf8Bytes>,
    event: Utf8Bytes,
) -> Result<(), axum::Error> {
    let mut next = Ok(event);
    loop {
        match next {
            Ok(event) => socket.feed(Message::Text(event)).await?,
            Err(TryRecvError::Empty) => return socket.flush().await,
            Err(lost @ (TryRecvError::Lagged(_) | TryRecvError::Closed)) => {
                return Err(axum::Error::new(lost));
            }
        }
        next = events.try_recv();
    }
}
