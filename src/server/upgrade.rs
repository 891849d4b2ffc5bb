//! From an HTTP request to a WebSocket: who may open one, which protocol is spoken, and the socket's buffers.
//!
//! Invariants: a browser's request comes from an allowed origin; the subprotocol is chosen once, for the answer and for the
//! session; a peer that offers none that we speak is told 4406.

use super::{
    App,
    accept::Admission,
    graphql_ws::GraphqlSpeaker,
    problem::Problem,
    rpc_ws::RpcSpeaker,
    socket::{self, Speaker},
};
use crate::{
    error::{Code, Refusal},
    fanout::Mailbox,
    protocol::{self, CloseReason, Closing},
};
use axum::{
    extract::{
        FromRequestParts,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, header, request::Parts},
    response::{IntoResponse, Response},
};
use std::sync::Arc;

/// The buffers of a socket. Tungstenite's own default of 128 KiB is allocated for each socket and cleared at each read.
const READ_BUFFER_BYTES: usize = 4 * 1024;
const WRITE_BUFFER_BYTES: usize = 8 * 1024;

/// Opens a WebSocket that speaks a GraphQL dialect.
pub(super) async fn graphql(app: App, parts: &mut Parts) -> Response {
    let offered = parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let offered =
        offered.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim);
    let dialect = protocol::negotiate(offered);
    let upgrade = match begin(&app, parts).await {
        Ok(upgrade) => upgrade,
        Err(problem) => return problem.into_response(),
    };
    match dialect {
        None => upgrade.on_upgrade(refuse_subprotocol),
        Some(dialect) => serve(app, parts, upgrade.protocols([dialect.name()]), move |app, mailbox| {
            GraphqlSpeaker::new(app, dialect, mailbox)
        }),
    }
}

/// Opens a WebSocket that speaks JSON-RPC.
pub(super) async fn rpc(app: App, parts: &mut Parts) -> Response {
    match begin(&app, parts).await {
        Ok(upgrade) => serve(app, parts, upgrade, RpcSpeaker::new),
        Err(problem) => problem.into_response(),
    }
}

/// Checks the request and sizes the socket.
async fn begin(app: &App, parts: &mut Parts) -> Result<WebSocketUpgrade, Problem> {
    check_origin(app, &parts.headers)?;
    let upgrade = WebSocketUpgrade::from_request_parts(parts, app).await;
    let upgrade =
        upgrade.map_err(|rejection| Problem::with_status(rejection.status(), rejection.body_text()))?;
    Ok(upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(app.options.request_bytes_max)
        .max_frame_size(app.options.request_bytes_max))
}

/// Upgrades, and runs the connection to its end; until then it keeps its share of the connections allowed.
fn serve<S: Speaker + 'static>(
    app: App,
    parts: &mut Parts,
    upgrade: WebSocketUpgrade,
    speaker: impl FnOnce(&App, Arc<Mailbox>) -> S + Send + 'static,
) -> Response {
    let admission = parts.extensions.remove::<Admission>();
    let tracker = app.tracker.clone();
    upgrade.on_upgrade(move |socket| {
        tracker.track_future(async move {
            let mailbox = Arc::new(Mailbox::new(app.options.mailbox_bytes_max));
            let speaker = speaker(&app, Arc::clone(&mailbox));
            socket::run(app, socket, mailbox, speaker).await;
            drop(admission);
        })
    })
}

/// Does the request ask for an upgrade to a WebSocket (RFC 6455, section 4.1)?
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let names_websocket = |value: &str| value.eq_ignore_ascii_case("websocket");
    headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).is_some_and(names_websocket)
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
