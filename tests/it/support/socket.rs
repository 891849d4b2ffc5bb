//! [`Socket`]: a WebSocket that sends and shows exactly what a test says, with no protocol of its own.

use super::{DEADLINE, Served, TestServer};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        protocol::{CloseFrame, Role},
    },
};

/// What came from the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// A text that is JSON.
    Json(Value),
    /// A close frame.
    Close(u16, String),
    /// The socket ended without one.
    Ended,
}

/// An open WebSocket.
#[derive(Debug)]
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Connects and offers these subprotocols.
    pub(crate) async fn connect(server: &impl Served, path: &str, protocols: Option<&str>) -> Self {
        let mut request = format!("ws://{}{path}", server.address()).into_client_request().unwrap();
        if let Some(protocols) = protocols {
            request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
        }
        let (socket, response) = connect_async(request).await.unwrap();
        if let (Some(offered), Some(chosen)) = (protocols, response.headers().get("sec-websocket-protocol")) {
            assert!(offered.contains(chosen.to_str().unwrap()));
        }
        Socket(socket)
    }

    /// Connects with a credential in the handshake; the status and the body where that is refused.
    pub(crate) async fn connect_as(
        server: &TestServer,
        path: &str,
        protocols: Option<&str>,
        authorization: Option<&str>,
    ) -> Result<Self, (u16, String, String)> {
        let mut request = format!("ws://{}{path}", server.address).into_client_request().unwrap();
        if let Some(protocols) = protocols {
            request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
        }
        if let Some(authorization) = authorization {
            request.headers_mut().insert("authorization", authorization.parse().unwrap());
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Socket(socket)),
            Err(Error::Http(response)) => {
                let challenge = response.headers().get("www-authenticate");
                let challenge = challenge.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
                let body = String::from_utf8(response.body().clone().unwrap_or_default()).unwrap();
                Err((response.status().as_u16(), challenge, body))
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Connects with `graphql-transport-ws` and says by a token who it is.
    pub(crate) async fn graphql_as(server: &impl Served, token: &str) -> Self {
        let mut socket = Self::connect(server, "/graphql", Some("graphql-transport-ws")).await;
        socket.send(json!({ "type": "connection_init", "payload": { "token": token } })).await;
        assert_eq!(socket.next().await, Frame::Json(json!({ "type": "connection_ack" })));
        socket
    }

    /// Connects to JSON-RPC and says by a token who it is.
    pub(crate) async fn rpc_as(server: &impl Served, token: &str) -> Self {
        let mut socket = Self::connect(server, "/rpc", None).await;
        let params = json!({ "token": token });
        socket
            .send(json!({ "jsonrpc": "2.0", "id": 0, "method": "gateway.authenticate", "params": params }))
            .await;
        assert!(socket.json().await["result"]["subject"].is_string());
        socket
    }

    /// Connects as a client that goes on although none of its subprotocols was chosen; a stricter one would hang up.
    pub(crate) async fn connect_unchosen(server: &TestServer, path: &str, protocols: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let offer = protocols.map(|names| format!("Sec-WebSocket-Protocol: {names}\r\n")).unwrap_or_default();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n",
            server.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap().to_lowercase();
        assert!(answer.starts_with("http/1.1 101") && !answer.contains("sec-websocket-protocol"), "{answer}");
        Socket(WebSocketStream::from_raw_socket(MaybeTlsStream::Plain(stream), Role::Client, None).await)
    }

    /// Connects with `graphql-transport-ws` and is acknowledged.
    pub(crate) async fn graphql(server: &TestServer) -> Self {
        let mut socket = Self::connect(server, "/graphql", Some("graphql-transport-ws")).await;
        socket.send(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.next().await, Frame::Json(json!({ "type": "connection_ack" })));
        socket
    }

    /// The same to an address, where the server may be on its way out: `None` then.
    pub(crate) async fn try_graphql(address: SocketAddr) -> Option<Self> {
        let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
        let (socket, _) = connect_async(request).await.ok()?;
        let mut socket = Socket(socket);
        socket.send_while_open(&json!({ "type": "connection_init" }).to_string()).await;
        (socket.next().await == Frame::Json(json!({ "type": "connection_ack" }))).then_some(socket)
    }

    /// Starts a subscription and waits until it can miss nothing. Gives the cursor it starts from.
    pub(crate) async fn subscribe(&mut self, id: &str, query: &str) -> String {
        let payload = json!({ "query": query, "extensions": { "ready": true } });
        self.send(json!({ "type": "subscribe", "id": id, "payload": payload })).await;
        let ready = self.json().await;
        assert_eq!(ready["payload"]["extensions"]["ready"], true, "{ready}");
        ready["payload"]["extensions"]["cursor"].as_str().unwrap().to_owned()
    }

    /// Sends JSON.
    pub(crate) async fn send(&mut self, value: Value) {
        self.send_text(&value.to_string()).await;
    }

    /// Sends any text.
    pub(crate) async fn send_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// Sends any text to a server that may hang up meanwhile.
    pub(crate) async fn send_while_open(&mut self, text: &str) {
        // What became of it shows in what comes next.
        let _ = self.0.send(Message::text(text)).await;
    }

    /// Sends a binary frame.
    pub(crate) async fn send_binary(&mut self, bytes: &'static [u8]) {
        self.0.send(Message::binary(bytes)).await.unwrap();
    }

    /// The next text or close; pings of the WebSocket layer are answered unseen.
    pub(crate) async fn next(&mut self) -> Frame {
        loop {
            match timeout(DEADLINE, self.0.next()).await.expect("the server says nothing") {
                Some(Ok(Message::Text(text))) => return Frame::Json(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                    return Frame::Close(code.into(), reason.as_str().to_owned());
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Frame::Ended,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next JSON.
    pub(crate) async fn json(&mut self) -> Value {
        match self.next().await {
            Frame::Json(value) => value,
            other => panic!("JSON was expected, not {other:?}"),
        }
    }

    /// The `data` of the next `next` message of an operation.
    pub(crate) async fn data(&mut self, id: &str) -> Value {
        let message = self.json().await;
        assert_eq!((&message["type"], &message["id"]), (&json!("next"), &json!(id)), "{message}");
        message["payload"]["data"].clone()
    }

    /// Everything the server had to say until now has come: nothing is left before the answer to this ping.
    pub(crate) async fn nothing_more(&mut self) {
        self.send(json!({ "type": "ping", "payload": { "fence": 1 } })).await;
        assert_eq!(self.json().await, json!({ "type": "pong", "payload": { "fence": 1 } }));
    }

    /// Closes and waits for the server's answer.
    pub(crate) async fn close(mut self) {
        // The server may have closed already.
        let _ = self.0.close(None).await;
        while self.next().await != Frame::Ended {}
    }
}
