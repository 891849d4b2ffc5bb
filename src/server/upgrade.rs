//! From an HTTP request to a WebSocket: who may open one, and which protocol is spoken (RFC 6455, section 4.2).
//!
//! Invariants: a credential in the handshake is good, or there is no WebSocket; the subprotocol is chosen once, for the answer and for the
//! session; a peer that offers none that we speak is told 4406.

use super::{
    App,
    accept::without_silence_max,
    credential::{self, Introduced, Visit},
    door::Admission,
    graphql_ws::GraphqlSpeaker,
    problem::Problem,
    rpc_ws::RpcSpeaker,
    socket::{self, Speaker},
    wire::{Wire, accept_key},
    write_deadline::WriteDeadline,
};
use crate::{
    auth::{Origin, limits::Seat},
    fanout::Mailbox,
    protocol::{self, CloseReason, Closing},
};
use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade::downcast};
use std::{io, net::SocketAddr, sync::Arc};
use tokio::net::TcpStream;

/// 16 bytes in base64.
const KEY_BYTES: usize = 24;

/// Opens a WebSocket that speaks a GraphQL dialect.
pub(super) async fn graphql(app: App, parts: &mut Parts) -> Response {
    let (handshake, origin, introduced) = match begin(&app, parts).await {
        Ok(begun) => begun,
        Err(problem) => return problem.into_response(),
    };
    let offered = parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let offered =
        offered.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim);
    match protocol::negotiate(offered) {
        None => handshake.finish(app, None, refuse_subprotocol),
        Some(dialect) => {
            let peer = handshake.peer();
            handshake.finish(app, Some(dialect.name()), move |app, wire| {
                let speaker =
                    move |app: &App, mailbox, visit| GraphqlSpeaker::new(app, dialect, mailbox, visit);
                serve(&app, wire, (dialect.name(), peer), (origin, introduced), speaker)
            })
        }
    }
}

/// Opens a WebSocket that speaks JSON-RPC.
pub(super) async fn rpc(app: App, parts: &mut Parts) -> Response {
    match begin(&app, parts).await {
        Ok((handshake, origin, introduced)) => {
            let peer = handshake.peer();
            handshake.finish(app, None, move |app, wire| {
                let speaker = move |app: &App, mailbox, visit| RpcSpeaker::new(app, mailbox, visit);
                serve(&app, wire, ("json-rpc", peer), (origin, introduced), speaker)
            })
        }
        Err(problem) => problem.into_response(),
    }
}

/// Where a WebSocket comes from, and who its client says it is.
type Begun = (Handshake, Arc<Origin>, Option<Introduced>);

async fn begin(app: &App, parts: &mut Parts) -> Result<Begun, Problem> {
    // The handshake takes the admission.
    let origin = app.origin(parts);
    let handshake = Handshake::begin(parts)?;
    let introduced = credential::of_handshake(app, &origin, parts).await?;
    Ok((handshake, origin, introduced))
}

/// Runs a connection to its end. No `async fn`, as [`socket::run`] is none.
fn serve<S: Speaker + 'static, F: FnOnce(&App, Arc<Mailbox>, Visit) -> S>(
    app: &App,
    wire: Wire,
    (protocol, peer): (&'static str, Option<SocketAddr>),
    (origin, introduced): (Arc<Origin>, Option<Introduced>),
    speaker: F,
) -> impl Future<Output = ()> + Send + use<S, F> {
    let mailbox = Arc::new(Mailbox::new(app.options.mailbox_bytes_max));
    let number = app.directory.number();
    let line = app.directory.register(number, protocol, peer, &mailbox);
    let speaker = speaker(app, Arc::clone(&mailbox), Visit::new(&origin, number, introduced));
    socket::run(app, wire, mailbox, line, speaker)
}

/// The server's side of an opening handshake (RFC 6455, section 4.2).
struct Handshake {
    accept: HeaderValue,
    on_upgrade: OnUpgrade,
    admission: Option<Admission>,
    seat: Option<Seat>,
}

impl Handshake {
    /// Checks a request that [`is_wanted`].
    fn begin(parts: &mut Parts) -> Result<Self, Problem> {
        if parts.method != Method::GET {
            let problem =
                Problem::with_status(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket is opened by GET");
            return Err(problem.with_header(header::ALLOW, "GET"));
        }
        if !has_token(&parts.headers, header::CONNECTION, "upgrade") {
            return Err(malformed("the header `Connection` must name `Upgrade`"));
        }
        if parts.headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            let problem =
                Problem::with_status(StatusCode::UPGRADE_REQUIRED, "the version of WebSocket must be 13");
            return Err(problem.with_header(header::SEC_WEBSOCKET_VERSION, "13"));
        }
        let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == KEY_BYTES);
        let accept = key.and_then(accept_key);
        let accept =
            accept.ok_or_else(|| malformed("the header `Sec-WebSocket-Key` must be 16 bytes in base64"))?;
        let on_upgrade = parts.extensions.remove::<OnUpgrade>();
        let on_upgrade = on_upgrade.ok_or_else(|| malformed("a WebSocket is opened over HTTP/1.1"))?;
        let admission = parts.extensions.remove::<Admission>();
        let seat = admission.as_ref().map(|admission| admission.seat(&parts.headers)).transpose()?;
        Ok(Handshake { accept, on_upgrade, admission, seat: seat.flatten() })
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.admission.as_ref().map(Admission::peer)
    }

    /// Switches protocols and goes on with `run`; until that ends the socket keeps its share of the connections allowed.
    fn finish<F: Future<Output = ()> + Send + 'static>(
        self,
        app: App,
        subprotocol: Option<&'static str>,
        run: impl FnOnce(App, Wire) -> F + Send + 'static,
    ) -> Response {
        let Handshake { accept, on_upgrade, admission, seat } = self;
        let mut response = (
            StatusCode::SWITCHING_PROTOCOLS,
            [
                (header::CONNECTION, HeaderValue::from_static("upgrade")),
                (header::UPGRADE, HeaderValue::from_static("websocket")),
                (header::SEC_WEBSOCKET_ACCEPT, accept),
            ],
        )
            .into_response();
        if let Some(name) = subprotocol {
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
        }
        let (tracker, sockets) = (app.tracker.clone(), app.sockets.clone());
        sockets.spawn(tracker.track_future(async move {
            match on_upgrade.await.map(|upgraded| open(upgraded, &app)) {
                Ok(Some(Ok(wire))) => run(app, wire).await,
                Ok(Some(Err(error))) => tracing::error!(%error, "a socket cannot change its runtime"),
                Ok(None) => tracing::error!("an upgraded connection is no TCP stream of ours"),
                Err(error) => tracing::debug!(%error, "a peer left during its handshake"),
            }
            drop((admission, seat));
        }));
        response
    }
}

/// The stream under an upgraded connection, read by the runtime that this is called on.
fn open(upgraded: Upgraded, app: &App) -> Option<io::Result<Wire>> {
    let parts = downcast::<TokioIo<WriteDeadline<TcpStream>>>(upgraded).ok()?;
    let stream = parts.io.into_inner().into_inner().into_std().and_then(TcpStream::from_std);
    Some(
        stream
            .inspect(without_silence_max)
            .map(|stream| Wire::new(stream, parts.read_buf.to_vec(), app.options.request_bytes_max)),
    )
}

fn malformed(message: &'static str) -> Problem {
    Problem::with_status(StatusCode::BAD_REQUEST, message)
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}

/// Does the request ask for an upgrade to a WebSocket (RFC 6455, section 4.1)?
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let names_websocket = |value: &str| value.eq_ignore_ascii_case("websocket");
    headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).is_some_and(names_websocket)
}

async fn refuse_subprotocol(_app: App, wire: Wire) {
    let closing = Closing::new(&CloseReason::UnknownSubprotocol);
    socket::close(wire, closing).await;
}
