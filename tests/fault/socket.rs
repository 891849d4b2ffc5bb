//! A WebSocket that carries JSON texts.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
    },
};

/// An open socket.
#[derive(Debug)]
pub(crate) struct Socket(WebSocketStream<TcpStream>);

/// Why a socket is over: the close code, if the server gave one, and a sentence.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) code: Option<u16>,
    pub(crate) why: String,
}

impl Closed {
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Closed { code: None, why: why.into() }
    }
}

impl From<Error> for Closed {
    fn from(error: Error) -> Self {
        Closed::because(error.to_string())
    }
}

impl Socket {
    pub(crate) async fn connect(
        address: SocketAddr,
        path: &str,
        subprotocol: Option<&'static str>,
    ) -> Result<Self, Closed> {
        let stream = TcpStream::connect(address).await.map_err(Error::from)?;
        Self::over(stream, address, path, subprotocol).await
    }

    /// Upgrades a connection that is there.
    pub(crate) async fn over(
        stream: TcpStream,
        address: SocketAddr,
        path: &str,
        subprotocol: Option<&'static str>,
    ) -> Result<Self, Closed> {
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        if let Some(subprotocol) = subprotocol {
            let value = HeaderValue::from_static(subprotocol);
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, value);
        }
        let (socket, _) = client_async(request, stream).await?;
        Ok(Socket(socket))
    }

    pub(crate) async fn send(&mut self, message: &Value) -> Result<(), Closed> {
        Ok(self.0.send(Message::text(message.to_string())).await?)
    }

    /// The next JSON text; pings of the WebSocket are answered on the way.
    pub(crate) async fn next(&mut self) -> Result<Value, Closed> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text)
                        .map_err(|error| Closed::because(format!("{error} in {text}")));
                }
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.as_ref().map(|frame| frame.code.into());
                    let why = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                    return Err(Closed { code, why });
                }
                Some(Ok(Message::Ping(_))) => self.0.flush().await?,
                Some(Ok(Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(Closed::because("end of stream")),
            }
        }
    }
}
