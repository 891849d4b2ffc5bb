//! Opens WebSockets to one address, found once, with small buffers, since there are many of them.

use super::super::{Failure, tail::protocol::SUBPROTOCOL, target::Target};
use futures_util::{SinkExt, StreamExt};
use reqwest::Url;
use std::{fmt, io, net::SocketAddr, time::Duration};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error, Message, Utf8Bytes,
        client::IntoClientRequest,
        error::ProtocolError,
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::WebSocketConfig,
    },
};

pub(super) type Socket = WebSocketStream<TcpStream>;

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const READ_BUFFER_BYTES: usize = 16 * 1024;
const WRITE_BUFFER_BYTES: usize = 1024;
/// A message is an event's data and some hundred bytes around it.
const MESSAGE_BYTES_OVERHEAD: usize = 64 * 1024;

/// Why a connection does not stand or stands no more. The text says it in a few words, the same for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// The server asks for patience.
    Later(String),
    /// It will be refused again.
    Refused(String),
    /// It did not get an answer.
    Silent(String),
    /// The server closed it with this code and reason.
    Closed(u16, String),
    /// It broke.
    Lost(String),
}

impl Break {
    /// Does another attempt make sense before anything has stood?
    pub(super) fn passes(&self) -> bool {
        match self {
            Break::Later(_) => true,
            // Going away, restarting, overloaded.
            Break::Closed(code, _) => matches!(code, 1001 | 1012 | 1013),
            Break::Refused(_) | Break::Silent(_) | Break::Lost(_) => false,
        }
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Break::Later(why) => write!(f, "put off: {why}"),
            Break::Refused(why) => write!(f, "refused: {why}"),
            Break::Closed(code, reason) if reason.is_empty() => write!(f, "closed by the server: {code}"),
            Break::Closed(code, reason) => write!(f, "closed by the server: {code} {reason}"),
            Break::Silent(why) | Break::Lost(why) => f.write_str(why),
        }
    }
}

/// Where the server is.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    address: SocketAddr,
    url: String,
    message_bytes_max: usize,
}

impl Endpoint {
    /// The first address of the target that takes a connection.
    pub(super) async fn find(target: &Target, payload: usize) -> Result<Self, Failure> {
        let told = |error: &dyn fmt::Display| Failure::failed(format!("{target} cannot be reached: {error}"));
        let url = Url::parse(&target.http("/graphql")).map_err(|error| told(&error))?;
        let lookup = tokio::task::spawn_blocking(move || url.socket_addrs(|| None));
        let addresses = lookup.await.map_err(|error| told(&error))?.map_err(|error| told(&error))?;
        let mut last = io::Error::other("the name has no address");
        for address in addresses {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(_)) => {
                    let message_bytes_max = payload + MESSAGE_BYTES_OVERHEAD;
                    return Ok(Endpoint { address, url: target.ws("/graphql"), message_bytes_max });
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(told(&format!("{last}; is the server running, and is this its address?")))
    }

    /// Opens a WebSocket.
    pub(super) async fn open(&self) -> Result<Socket, Break> {
        timeout(CONNECT_TIMEOUT, self.handshake()).await.unwrap_or_else(|_| {
            let seconds = CONNECT_TIMEOUT.as_secs();
            Err(Break::Silent(format!("connect: no answer to the WebSocket handshake within {seconds} s")))
        })
    }

    async fn handshake(&self) -> Result<Socket, Break> {
        let stream = TcpStream::connect(self.address).await.map_err(|error| unconnected(&error))?;
        stream.set_nodelay(true).map_err(|error| unconnected(&error))?;
        let refused = |error: Error| Break::Refused(error.to_string());
        let mut request = self.url.as_str().into_client_request().map_err(refused)?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(self.message_bytes_max))
            .max_frame_size(Some(self.message_bytes_max));
        match client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, _)) => Ok(socket),
            Err(error) => Err(unupgraded(&error)),
        }
    }
}

fn unconnected(error: &io::Error) -> Break {
    let is_out_of_ports = error.kind() == io::ErrorKind::AddrNotAvailable;
    let hint = if is_out_of_ports { " (no local port is left: net.ipv4.ip_local_port_range)" } else { "" };
    Break::Lost(format!("connect: {error}{hint}"))
}

fn unupgraded(error: &Error) -> Break {
    if let Error::Http(response) = error {
        let status = response.status();
        return match status.is_server_error() || status.as_u16() == 429 {
            true => Break::Later(format!("WebSocket handshake: {status}")),
            false => Break::Refused(format!("WebSocket handshake: {status}; is it a Fanfare server?")),
        };
    }
    if matches!(error, Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_))) {
        return Break::Refused(format!("the server does not speak {SUBPROTOCOL}; is it a Fanfare server?"));
    }
    if let Error::Io(error) = error {
        return unconnected(error);
    }
    Break::Lost(format!("connect: {error}"))
}

/// The text of what a socket gave; `None` for control frames, which the socket answers itself.
pub(super) fn text(received: Option<Result<Message, Error>>) -> Result<Option<Utf8Bytes>, Break> {
    match received {
        Some(Ok(Message::Text(text))) => Ok(Some(text)),
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
        Some(Ok(Message::Binary(_))) => Err(Break::Refused("the server sent a binary message".to_owned())),
        Some(Ok(Message::Close(Some(frame)))) => {
            Err(Break::Closed(frame.code.into(), frame.reason.as_str().to_owned()))
        }
        Some(Ok(Message::Close(None))) => Err(Break::Lost("closed by the server without a code".to_owned())),
        Some(Err(error)) => Err(Break::Lost(format!("connection lost: {error}"))),
        None => Err(Break::Lost("connection lost".to_owned())),
    }
}

/// Sends texts in one write.
pub(super) async fn send(socket: &mut Socket, texts: impl IntoIterator<Item = String>) -> Result<(), Break> {
    let sending = async {
        for text in texts {
            socket.feed(Message::text(text)).await?;
        }
        socket.flush().await
    };
    match timeout(SEND_TIMEOUT, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Break::Lost(format!("connection lost: {error}"))),
        Err(_) => Err(Break::Silent("the server takes no messages".to_owned())),
    }
}

/// Says goodbye and waits a moment for the answer; a server that does not give one is left all the same.
pub(super) async fn leave(mut socket: Socket) {
    let goodbye = async {
        if socket.close(None).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
}
