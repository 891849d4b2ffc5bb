//! Several streaming responses on one connection of HTTP/2: how many there may be, and one that is not read.

use crate::support::{DEADLINE, TestServer};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use std::time::Duration;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

/// A connection of HTTP/2 whose streams have windows of 64 KiB.
async fn multiplexed(
    server: &TestServer,
) -> (SendRequest<Empty<bytes::Bytes>>, JoinHandle<hyper::Result<()>>) {
    let socket = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (client, connection) = builder
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(1 << 20)
        .handshake(socket)
        .await
        .unwrap();
    (client, tokio::spawn(connection))
}

#[tokio::test]
async fn a_stream_that_is_not_read_ends_alone_on_its_connection() {
    let server = TestServer::with(|config| {
        config.write_timeout = Duration::from_secs(1);
        config.ping_interval = Duration::from_millis(50);
    });
    let (mut client, connection) = multiplexed(&server).await;
    let mut follow = || {
        let url = format!("http://{}/events?type=task.*", server.address);
        client.send_request(hyper::Request::get(url).body(Empty::new()).unwrap())
    };
    let (stalled, mut other) = (follow().await.unwrap(), follow().await.unwrap().into_body());
    let reading = tokio::spawn(async move {
        while let Some(Ok(frame)) = other.frame().await {
            drop(frame);
        }
    });
    let data = "x".repeat(100_000);
    for number in 0..3 {
        server.publish("task.log", json!({ "id": number.to_string(), "data": data })).await;
    }
    let cut = async {
        while server.fanout.len().1 > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, cut).await.expect("the stream that is not read must end");
    assert_eq!(server.hub.metrics().slow_consumers_closed.get(), 1);
    assert_eq!(server.hub.metrics().streams_open.get(), 2, "the peer may still read what it has");
    let text = timeout(DEADLINE, stalled.into_body().collect())
        .await
        .expect("the stream must end")
        .unwrap()
        .to_bytes();
    assert!(
        text.starts_with(b"event: ready\n") && text.ends_with(b"\n\n"),
        "whole blocks, and an end in order"
    );
    assert!(!reading.is_finished(), "the other stream goes on");
    reading.abort();
    assert!(reading.await.unwrap_err().is_cancelled());
    drop(client);
    timeout(DEADLINE, connection).await.expect("the connection must end").unwrap().unwrap();
}

#[tokio::test]
async fn more_streams_on_a_connection_than_it_may_have_subscriptions_are_refused() {
    let server = TestServer::with(|config| config.subscriptions_max = 1);
    let (mut client, connection) = multiplexed(&server).await;
    let mut ask = || {
        let url = format!("http://{}/events", server.address);
        client.send_request(hyper::Request::get(url).body(Empty::new()).unwrap())
    };
    let first = ask().await.unwrap();
    assert_eq!(first.status(), 200);
    assert_eq!(ask().await.unwrap().status(), 429);
    drop(first);
    let ended = async {
        while server.hub.metrics().streams_open.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, ended).await.expect("a stream that is reset ends");
    assert_eq!(ask().await.unwrap().status(), 200);
    drop(client);
    timeout(DEADLINE, connection).await.expect("the connection must end").unwrap().unwrap();
}
