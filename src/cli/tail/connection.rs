//! The socket of a tail: connects, carries messages between the server and the [`Session`], connects again.
//!
//! Invariants: a connection on which nothing is heard, not even an answer to a ping, is given up; every wait ends when the
//! tail is stopped.

use super::{
    super::{backoff, target::Target},
    output::Output,
    protocol::{self, SUBPROTOCOL},
    session::{Session, Step, closed},
};
use futures_util::{FutureExt, SinkExt, StreamExt};
use std::{io, time::Duration};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        Error, Message, Utf8Bytes,
        client::IntoClientRequest,
        error::ProtocolError,
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::WebSocketConfig,
    },
};
use tokio_util::sync::CancellationToken;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Heard nothing for so long: ask whether the server is still there.
const SILENCE: Duration = Duration::from_secs(30);
/// Heard nothing for so long after asking: it is not.
const SILENCE_AFTER_PING: Duration = Duration::from_secs(15);
/// A replay that brings nothing for so long has caught up.
const REPLAY_PAUSE: Duration = Duration::from_secs(1);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// More than the largest event that a server can be set to take.
const MESSAGE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// How a tail ended.
#[derive(Debug)]
pub(super) enum End {
    /// It was stopped.
    Stopped,
    /// Nobody reads stdout any more.
    ReaderGone,
    /// It cannot go on.
    Failed(String),
}

/// How one connection ended.
enum Break {
    Again(String),
    End(End),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        match error.kind() == io::ErrorKind::BrokenPipe {
            true => End::ReaderGone,
            false => End::Failed(format!("stdout cannot be written: {error}")),
        }
    }
}

impl From<io::Error> for Break {
    fn from(error: io::Error) -> Self {
        Break::End(error.into())
    }
}

/// Follows events until it is stopped, over as many connections as that takes.
pub(super) async fn follow(
    target: &Target,
    session: &mut Session,
    output: &mut Output,
    stop: &CancellationToken,
) -> End {
    let mut failures = 0;
    loop {
        let reason = match one_connection(target, session, output, stop).await {
            Break::End(end) => return end,
            Break::Again(reason) => reason,
        };
        failures = if session.is_following() { 1 } else { failures + 1 };
        if let Err(error) = output.flush() {
            return error.into();
        }
        let delay = backoff::delay(failures, backoff::Chance::draw());
        output.say(&format!("{reason}; trying again in {:.1} s", delay.as_secs_f64()));
        tokio::select! {
            () = stop.cancelled() => return End::Stopped,
            () = sleep(delay) => {}
        }
    }
}

async fn one_connection(
    target: &Target,
    session: &mut Session,
    output: &mut Output,
    stop: &CancellationToken,
) -> Break {
    // First, so that a failed attempt to connect does not count as a connection that followed.
    let init = session.opened();
    let connected = tokio::select! {
        () = stop.cancelled() => return Break::End(End::Stopped),
        connected = connect(target) => connected,
    };
    let mut socket = match connected {
        Ok(socket) => socket,
        Err(reason) => return reason,
    };
    tokio::select! {
        () = stop.cancelled() => {
            // A server that does not answer the close is left all the same.
            let _ = timeout(CLOSE_TIMEOUT, socket.close(None)).await;
            match output.flush() {
                Ok(()) => Break::End(End::Stopped),
                Err(error) => error.into(),
            }
        }
        Err(reason) = carry(&mut socket, target, session, output, init) => reason,
    }
}

async fn connect(target: &Target) -> Result<Socket, Break> {
    let url = target.ws("/graphql");
    let failed = |error: &dyn std::fmt::Display| Break::End(End::Failed(format!("{url}: {error}")));
    let mut request = url.as_str().into_client_request().map_err(|error| failed(&error))?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    match timeout(CONNECT_TIMEOUT, connect_async_with_config(request, Some(config), true)).await {
        Err(_) => {
            Err(Break::Again(format!("{target} did not answer within {} s", CONNECT_TIMEOUT.as_secs())))
        }
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(unconnected(&error, target)),
    }
}

/// What a failed attempt to connect means.
fn unconnected(error: &Error, target: &Target) -> Break {
    if let Error::Http(response) = error {
        let status = response.status();
        let told = format!("{target} answered {status}");
        return match status.is_server_error() || status.as_u16() == 429 {
            true => Break::Again(told),
            false => Break::End(End::Failed(format!("{told}; is it a Fanfare server?"))),
        };
    }
    if matches!(error, Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_))) {
        let told = format!("{target} does not speak {SUBPROTOCOL}; is it a Fanfare server?");
        return Break::End(End::Failed(told));
    }
    if let Error::Io(error) = error {
        return Break::Again(format!("{target}: {error}"));
    }
    match is_lasting(error) {
        true => Break::End(End::Failed(format!("{target}: {error}"))),
        false => Break::Again(format!("{target}: {error}")),
    }
}

/// Will the same error come again?
fn is_lasting(error: &Error) -> bool {
    matches!(error, Error::Capacity(_) | Error::Url(_) | Error::HttpFormat(_) | Error::Utf8(_))
}

/// Carries messages until the connection breaks.
async fn carry(
    socket: &mut Socket,
    target: &Target,
    session: &mut Session,
    output: &mut Output,
    init: String,
) -> Result<(), Break> {
    send(socket, init).await?;
    let mut has_asked = false;
    loop {
        // While more is there already, events are not flushed one by one.
        let ready = socket.next().now_or_never();
        let received = match ready {
            Some(received) => received,
            None => {
                output.flush()?;
                let patience = match (output.is_replaying() && session.is_following(), has_asked) {
                    (true, _) => REPLAY_PAUSE,
                    (false, true) => SILENCE_AFTER_PING,
                    (false, false) => SILENCE,
                };
                match timeout(patience, socket.next()).await {
                    Ok(received) => received,
                    Err(_) if patience == REPLAY_PAUSE => {
                        output.caught_up();
                        continue;
                    }
                    Err(_) if has_asked => {
                        return Err(Break::Again("the server does not answer".to_owned()));
                    }
                    Err(_) => {
                        send(socket, protocol::ping()).await?;
                        has_asked = true;
                        continue;
                    }
                }
            }
        };
        has_asked = false;
        let Some(text) = read(received)? else { continue };
        let is_replay = session.is_replay();
        let step = session.receive(&text);
        if is_replay && matches!(step, Step::Following) {
            output.replay_begins();
        }
        if let Some(reply) = act(step, target, output)? {
            send(socket, reply).await?;
        }
    }
}

/// Does what the session says; gives a message to send.
fn act(step: Step<'_>, target: &Target, output: &mut Output) -> Result<Option<String>, Break> {
    match step {
        Step::Wait => {}
        Step::Send(message) => return Ok(Some(message)),
        Step::Following => output.say(&format!("connected to {target}")),
        Step::Show(event) => output.show(&event)?,
        Step::Tell(told) => output.say(&told),
        Step::Again(reason) => return Err(Break::Again(reason)),
        Step::End(reason) => return Err(Break::End(End::Failed(reason))),
    }
    Ok(None)
}

/// The text of a message; `None` for control frames, which the socket answers itself.
fn read(received: Option<Result<Message, Error>>) -> Result<Option<Utf8Bytes>, Break> {
    match received {
        Some(Ok(Message::Text(text))) => Ok(Some(text)),
        Some(Ok(Message::Binary(_))) => Err(Break::End(End::Failed(
            "the server sent a binary message, which the protocol does not have".to_owned(),
        ))),
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
        Some(Ok(Message::Close(frame))) => Err(match &frame {
            Some(frame) => broken(closed(Some(frame.code.into()), &frame.reason)),
            None => broken(closed(None, "")),
        }),
        Some(Err(error)) if is_lasting(&error) => Err(Break::End(End::Failed(error.to_string()))),
        Some(Err(error)) => Err(Break::Again(format!("the connection was lost: {error}"))),
        None => Err(broken(closed(None, ""))),
    }
}

fn broken(step: Step<'_>) -> Break {
    match step {
        Step::End(reason) => Break::End(End::Failed(reason)),
        Step::Again(reason) => Break::Again(reason),
        Step::Wait | Step::Send(_) | Step::Following | Step::Show(_) | Step::Tell(_) => {
            Break::Again("the connection was lost".to_owned())
        }
    }
}

async fn send(socket: &mut Socket, text: String) -> Result<(), Break> {
    match timeout(SEND_TIMEOUT, socket.send(Message::text(text))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Break::Again(format!("the connection was lost: {error}"))),
        Err(_) => Err(Break::Again("the server takes no messages".to_owned())),
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
