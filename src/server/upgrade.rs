//! From an HTTP request to a WebSocket: who may open one, which protocol is spoken, and the socket's buffers.
//!
//! Invariants: a browser's request comes from an allowed origin; the subprotocol is chosen once, for the answer and for the
//! session; a peer that offers none that we speak is told 4406.

use super::{
    App, accept::Admission, graphql_ws::GraphqlSpeaker, problem::Problem, rpc_ws::RpcSpeaker, socket,
};
use crate::{
    error::{Code, Refusal},
    fanout::Mailbox,
    protocol::{self, CloseReason, Closing},
};
use axum::{
    Extension,
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use std::sync::Arc;

/// The buffers of a socket. Tungstenite's own default of 128 KiB is allocated for each socket and cleared at each read.
const READ_BUFFER_BYTES: usize = 4 * 1024;
const WRITE_BUFFER_BYTES: usize = 8 * 1024;

/// Opens a WebSocket that speaks a GraphQL dialect.
pub(super) async fn graphql(
    State(app): State<App>,
    admission: Option<Extension<Admission>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Err(refusal) = check_origin(&app, &headers) {
        return Problem::from(refusal).into_response();
    }
    let offered =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let dialect = protocol::negotiate(offered.flat_map(|value| value.split(',')).map(str::trim));
    let upgrade = sized(&app, upgrade);
    let Some(dialect) = dialect else {
        return upgrade.on_upgrade(refuse_subprotocol);
    };
    let tracker = app.tracker.clone();
    upgrade.protocols([dialect.name()]).on_upgrade(move |socket| {
        tracker.track_future(async move {
            let mailbox = Arc::new(Mailbox::new(app.options.mailbox_bytes_max));
            let speaker = GraphqlSpeaker::new(&app, dialect, Arc::clone(&mailbox));
            socket::run(app, socket, mailbox, speaker).await;
            drop(admission);
        })
    })
}

/// Opens a WebSocket that speaks JSON-RPC.
pub(super) async fn rpc(
    State(app): State<App>,
    admission: Option<Extension<Admission>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Err(refusal) = check_origin(&app, &headers) {
        return Problem::from(refusal).into_response();
    }
    let tracker = app.tracker.clone();
    sized(&app, upgrade).on_upgrade(move |socket| {
        tracker.track_future(async move {
            let mailbox = Arc::new(Mailbox::new(app.options.mailbox_bytes_max));
            let speaker = RpcSpeaker::new(&app, Arc::clone(&mailbox));
            socket::run(app, socket, mailbox, speaker).await;
            drop(admission);
        })
    })
}

/// Does the request ask for an upgrade to a WebSocket (RFC 6455 over HTTP/1.1, RFC 8441 over HTTP/2)?
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let names_websocket = |value: &str| value.eq_ignore_ascii_case("websocket");
    headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).is_some_and(names_websocket)
}

fn sized(app: &App, upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(app.options.request_bytes_max)
        .max_frame_size(app.options.request_bytes_max)
}

/// Browsers send an origin and nobody else has to; a page of another origin must not speak in its visitor's name.
fn check_origin(app: &App, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_own = origin
        .split_once("://")
        .is_some_and(|(scheme, rest)| matches!(scheme, "http" | "https") && rest == host);
    match is_own || app.options.origins.iter().any(|allowed| allowed == origin) {
        true => Ok(()),
        false => Err(Refusal::field(
            Code::Forbidden,
            "Origin",
            origin,
            "the server's own origin and those of the setting `origins`",
        )),
    }
}

async fn refuse_subprotocol(mut socket: WebSocket) {
    let closing = Closing::new(&CloseReason::UnknownSubprotocol);
    let frame = CloseFrame { code: closing.code, reason: closing.reason.into() };
    // A peer that is gone already needs no answer.
    let _ = socket.send(Message::Close(Some(frame))).await;
}
