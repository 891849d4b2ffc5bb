//! Connections: who may open one, what ends one, and what a slow one costs.

use crate::support::{Frame, Socket, TestServer};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_peer_without_a_known_subprotocol_is_told_4406() {
    let server = TestServer::start();
    for protocols in [None, Some("mqtt"), Some("graphql-transport-ws2, x")] {
        let mut socket = Socket::connect_unchosen(&server, "/graphql", protocols).await;
        assert_eq!(socket.next().await, Frame::Close(4406, "Subprotocol not acceptable".to_owned()));
    }
}

#[tokio::test]
async fn a_peer_that_never_introduces_itself_is_told_4408() {
    let server = TestServer::with(|config| config.connection_init_timeout = Duration::from_millis(50));
    for dialect in ["graphql-transport-ws", "graphql-ws"] {
        let mut socket = Socket::connect(&server, "/graphql", Some(dialect)).await;
        let mut last = socket.next().await;
        while let Frame::Json(_) = last {
            last = socket.next().await;
        }
        assert!(matches!(last, Frame::Close(4408, _)), "{last:?}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_open_a_socket() {
    let server = TestServer::with(|config| config.origins = vec!["https://app.example".to_owned()]);
    let own = format!("http://{}", server.address);
    let cases = [
        ("https://evil.example", 403),
        ("null", 403),
        ("https://app.example.evil.net", 403),
        ("https://app.example:8443", 403),
        ("https://app.example", 101),
        (own.as_str(), 101),
    ];
    for (origin, expected) in cases {
        for path in ["/graphql", "/rpc"] {
            let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n",
                server.address
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&status), format!("HTTP/1.1 {expected}"), "{origin} {path}");
        }
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_closes_with_1009_and_costs_nobody_else() {
    let server = TestServer::start();
    let mut other = Socket::graphql(&server).await;
    other.subscribe("a", "subscription { events { id } }").await;
    let mut socket = Socket::graphql(&server).await;
    // The server hangs up as soon as it has read the length; a peer that is still sending may not see the close frame.
    socket.send_while_open(&" ".repeat((1 << 20) + 1)).await;
    assert!(matches!(socket.next().await, Frame::Close(1009, _) | Frame::Ended));
    server.publish("a", json!({ "id": "1" })).await;
    assert_eq!(other.data("a").await["events"]["id"], "1");
    other.close().await;
}

#[tokio::test]
async fn more_subscriptions_than_allowed_are_refused_one_by_one() {
    let server = TestServer::with(|config| config.subscriptions_max = 2);
    let mut socket = Socket::graphql(&server).await;
    socket.subscribe("a", "subscription { events { id } }").await;
    socket.subscribe("b", "subscription { events { id } }").await;
    let payload = json!({ "query": "subscription { events { id } }" });
    socket.send(json!({ "type": "subscribe", "id": "c", "payload": payload })).await;
    let refused = socket.json().await;
    assert_eq!(
        (&refused["type"], &refused["payload"][0]["extensions"]["code"]),
        (&json!("error"), &json!("TOO_MANY"))
    );
    socket.send(json!({ "type": "complete", "id": "a" })).await;
    socket.subscribe("c", "subscription { events { id } }").await;
    socket.close().await;
}

#[tokio::test]
async fn a_server_that_ends_says_1012_so_that_clients_come_back() {
    let server = TestServer::start();
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let mut socket = Socket::graphql(&server).await;
        socket.subscribe("a", "subscription { events { id } }").await;
        sockets.push(socket);
    }
    let mut rpc = Socket::connect(&server, "/rpc", None).await;
    let stopping = tokio::task::spawn_blocking(move || server.stop());
    for socket in &mut sockets {
        assert!(matches!(socket.next().await, Frame::Close(1012, _)));
    }
    assert!(matches!(rpc.next().await, Frame::Close(1012, _)));
    drop((sockets, rpc));
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_peer_that_goes_silent_is_let_go() {
    let server = TestServer::with(|config| {
        config.ping_interval = Duration::from_millis(250);
        config.pong_timeout = Duration::from_millis(250);
    });
    // Reads nothing and answers nothing, as a peer behind a dead link.
    let stalled = Socket::graphql(&server).await;
    while server.hub.metrics().connections_open.get() > 0 {
        tokio::task::yield_now().await;
    }
    drop(stalled);
}

#[tokio::test]
async fn a_stalled_reader_is_closed_and_costs_nobody_else() {
    let server = TestServer::with(|config| config.write_timeout = Duration::from_millis(200));
    let mut stalled = Socket::graphql(&server).await;
    stalled.subscribe("a", "subscription { events { id data } }").await;
    let mut other = Socket::graphql(&server).await;
    other.subscribe("a", "subscription { events { id } }").await;
    let data = "x".repeat(100_000);
    let mut published = 0;
    while server.hub.metrics().slow_consumers_closed.get() == 0 {
        server.publish("a", json!({ "id": published.to_string(), "data": data })).await;
        assert_eq!(other.data("a").await["events"]["id"], published.to_string());
        published += 1;
        assert!(published < 2_000, "the stalled reader must have been closed by now");
    }
    // What it does read is without a gap, up to the place that the close frame names.
    let (mut got, mut cursor) = (0, String::new());
    let last = loop {
        match stalled.next().await {
            Frame::Json(message) => {
                assert_eq!(message["payload"]["data"]["events"]["id"], got.to_string());
                cursor = message["payload"]["extensions"]["cursor"].as_str().unwrap().to_owned();
                got += 1;
            }
            last => break last,
        }
    };
    let Frame::Close(4008, reason) = last else { panic!("{last:?}") };
    let named = reason.rsplit(' ').next().unwrap();
    assert!(reason.contains("SLOW_CONSUMER"), "{reason}");
    assert_eq!(server.opened(named), server.opened(&cursor), "{reason} after {cursor}");
    assert!((1..published).contains(&got));
    other.close().await;
}

/// A board of states: whoever is behind gets the newest of each subject and the count of those it stands for.
#[tokio::test]
async fn a_reader_that_wants_the_latest_only_is_told_how_many_it_missed() {
    let server = TestServer::start();
    let mut behind = Socket::graphql(&server).await;
    let query = "subscription { events(overflow: LATEST_PER_SUBJECT) { id subject data } }";
    behind.subscribe("a", query).await;
    let data = "x".repeat(100_000);
    let mut published = 0_u64;
    while published < 400 {
        let subject = format!("agent-{}", published % 2);
        let event = json!({ "id": published.to_string(), "subject": subject, "data": data });
        server.publish("agent.updated", event).await;
        published += 1;
    }
    let (mut delivered, mut replaced, mut last) = (0, 0, 0);
    while last != published - 1 {
        let message = behind.json().await;
        let event = &message["payload"]["data"]["events"];
        last = event["id"].as_str().unwrap().parse().unwrap();
        delivered += 1;
        let count =
            message["payload"]["extensions"].get("replaced").map_or(0, |count| count.as_u64().unwrap());
        assert!(count == 0 || event["subject"] == format!("agent-{}", last % 2));
        replaced += count;
    }
    assert_eq!(delivered + replaced, published, "every event is delivered or counted");
    assert!(replaced > published / 2, "{replaced}");
    behind.close().await;
}
