//! What every peer of the bench has in common: how it listens and the form in which it is given events.
//!
//! Invariants: the line that names the address is the one `fanfare serve` prints; sockets send without delay.
//! Not here: how events reach subscribers, the one thing in which the peers differ.

use axum::{Router, serve::ListenerExt};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::io;
use tokio::net::TcpListener;
use uuid::Uuid;

/// How many events a subscriber may lie behind the newest one; more than the bench ever has in flight.
pub(crate) const RING_EVENTS: usize = 4096;

/// One event of the list that `POST /events` takes; other fields are ignored.
#[derive(Debug, Deserialize)]
pub(crate) struct Posted<T> {
    #[serde(rename = "type")]
    pub(crate) event_type: String,
    pub(crate) data: T,
}

/// What a server adds to an event that comes without: a time-ordered id and the time.
pub(crate) fn stamp() -> (Uuid, DateTime<Utc>) {
    (Uuid::now_v7(), Utc::now())
}

/// Serves until killed on the address given by `--listen ADDR`, or on a free port of the loopback.
pub(crate) async fn serve(routes: Router) -> io::Result<()> {
    let address = std::env::args().skip_while(|argument| argument != "--listen").nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:0")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("TCP_NODELAY was refused: {error}");
        }
    });
    axum::serve(listener, routes).await
}
