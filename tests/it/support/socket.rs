//! [`Socket`]: a WebSocket that sends and shows exactly what a test says, with no protocol of its own.

use super::{DEADLINE, TestServer};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest, protocol::CloseFrame},
};

/// What came from the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// A text that is JSON.
    Json(Value),
    /// A close frame.
    Close(u16, String),
    /// The socket ended without one.
    Ended,
}

/// An open WebSocket.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Connects and offers these subprotocols.
    pub async fn connect(server: &TestServer, path: &str, protocols: Option<&str>) -> Self {
        let mut request = format!("ws://{}{path}", server.address).into_client_request().unwrap();
        if let Some(protocols) = protocols {
            request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
        }
        let (socket, response) = connect_async(request).await.unwrap();
        if let (Some(offered), Some(chosen)) = (protocols, response.headers().get("sec-websocket-protocol")) {
            assert!(offered.contains(chosen.to_str().unwrap()));
        }
        Socket(socket)
    }

    /// Connects with `graphql-transport-ws` and is acknowledged.
    pub async fn graphql(server: &TestServer) -> Self {
        let mut socket = Self::connect(server, "/graphql", Some("graphql-transport-ws")).await;
        socket.send(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.next().await, Frame::Json(json!({ "type": "connection_ack" })));
        socket
    }

    /// Starts a subscription and waits until it can miss nothing. Gives the cursor it starts from.
    pub async fn subscribe(&mut self, id: &str, query: &str) -> String {
        let payload = json!({ "query": query, "extensions": { "ready": true } });
        self.send(json!({ "type": "subscribe", "id": id, "payload": payload })).await;
        let ready = self.json().await;
        assert_eq!(ready["payload"]["extensions"]["ready"], true, "{ready}");
        ready["payload"]["extensions"]["cursor"].as_str().unwrap().to_owned()
    }

    /// Sends JSON.
    pub async fn send(&mut self, value: Value) {
        self.send_text(&value.to_string()).await;
    }

    /// Sends any text.
    pub async fn send_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// Sends a binary frame.
    pub async fn send_binary(&mut self, bytes: &'static [u8]) {
        self.0.send(Message::binary(bytes)).await.unwrap();
    }

    /// The next text or close; pings of the WebSocket layer are answered unseen.
    pub async fn next(&mut self) -> Frame {
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
    pub async fn json(&mut self) -> Value {
        match self.next().await {
            Frame::Json(value) => value,
            other => panic!("JSON was expected, not {other:?}"),
        }
    }

    /// The `data` of the next `next` message of an operation.
    pub async fn data(&mut self, id: &str) -> Value {
        let message = self.json().await;
        assert_eq!((&message["type"], &message["id"]), (&json!("next"), &json!(id)), "{message}");
        message["payload"]["data"].clone()
    }

    /// Everything the server had to say until now has come: nothing is left before the answer to this ping.
    pub async fn nothing_more(&mut self) {
        self.send(json!({ "type": "ping", "payload": { "fence": 1 } })).await;
        assert_eq!(self.json().await, json!({ "type": "pong", "payload": { "fence": 1 } }));
    }

    /// Closes and waits for the server's answer.
    pub async fn close(mut self) {
        // The server may have closed already.
        let _ = self.0.close(None).await;
        while self.next().await != Frame::Ended {}
    }
}
