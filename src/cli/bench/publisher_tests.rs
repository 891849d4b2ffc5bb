//! A publisher against servers that put off, refuse, answer nonsense or go away.

use super::*;
use crate::cli::bench::load::testing;
use fanfare::error::Code;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Publishes four events in two requests to a server that gives these answers, one a connection, and then goes away.
async fn published(answers: Vec<(u16, String)>) -> (PublisherEnd, Arc<Load>, Vec<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut load, target) = testing::load(&listener).await;
    (load.plan.batch, load.plan.events) = (2, Some(4));
    load.patience = Duration::from_millis(400);
    let (load, end) = (Arc::new(load), CancellationToken::new());
    let publisher = Publisher::new(Arc::clone(&load), 0, Client::new(&target).unwrap(), Instant::now());
    let server = async {
        let mut requests = Vec::new();
        for (status, body) in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            requests.push(request(&mut socket).await);
            answer(&mut socket, status, &body).await;
        }
        drop(listener);
        requests
    };
    let (done, requests) = tokio::join!(publisher.run(end.clone()), server);
    assert_eq!(end.is_cancelled(), done.failed.is_some(), "a failure ends the others, too");
    (done, load, requests)
}

async fn request(socket: &mut TcpStream) -> Value {
    let mut read = Vec::new();
    loop {
        socket.read_buf(&mut read).await.unwrap();
        let text = String::from_utf8(read.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            return serde_json::from_str(body).unwrap();
        }
    }
}

async fn answer(socket: &mut TcpStream, status: u16, body: &str) {
    let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
}

fn acknowledged() -> (u16, String) {
    (200, json!(vec![json!({"id": "x", "cursor": "c", "duplicate": false}); 2]).to_string())
}

fn refused(status: u16, code: Code) -> (u16, String) {
    (status, json!({"code": code.name(), "detail": "no"}).to_string())
}

#[tokio::test]
async fn what_is_put_off_is_sent_again_as_it_was_and_counted() {
    let answers = vec![acknowledged(), refused(429, Code::RateLimited), acknowledged()];
    let (done, load, requests) = published(answers).await;
    assert_eq!((done.acknowledged, done.unknown, done.failed), (4, 0, None));
    assert_eq!(requests[1], requests[2], "with the same ids, so that nothing is published twice");
    assert_eq!(load.tally.troubles()["publish put off: RATE_LIMITED"], 1);
    assert_eq!(load.tally.acknowledged().collect::<Vec<_>>(), [4]);
}

#[tokio::test]
async fn a_refusal_ends_the_load_and_its_events_are_known_not_to_be_there() {
    let (done, load, _) = published(vec![acknowledged(), refused(413, Code::TooLarge)]).await;
    assert_eq!((done.acknowledged, done.unknown), (2, 0));
    assert!(done.failed.unwrap().contains("TOO_LARGE"));
    assert!(load.tally.troubles().keys().any(|told| told.contains("publish refused: TOO_LARGE")));
}

#[tokio::test]
async fn an_answer_that_acknowledges_nothing_is_no_acknowledgement() {
    for body in ["", "<html>", "[]", r#"[{"id":"x","cursor":"c"}]"#] {
        let (done, _, _) = published(vec![(200, body.to_owned())]).await;
        assert_eq!((done.acknowledged, done.unknown), (0, 2), "{body}");
        assert!(done.failed.unwrap().contains("Fanfare server"));
    }
}

#[tokio::test]
async fn a_server_that_is_gone_is_given_up_and_its_last_events_are_unknown() {
    let (done, load, _) = published(vec![acknowledged()]).await;
    assert_eq!((done.acknowledged, done.unknown), (2, 2));
    assert!(done.failed.is_some());
    assert!(load.tally.troubles().keys().any(|told| told.starts_with("publish put off: http://")));
}

#[tokio::test]
async fn a_rate_and_a_duration_make_exactly_so_many_events() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut load, target) = testing::load(&listener).await;
    (load.plan.rate, load.plan.duration, load.plan.batch) =
        (Some(100.0), Some(Duration::from_millis(100)), 2);
    let (load, start) = (Arc::new(load), Instant::now());
    let publisher = Publisher::new(Arc::clone(&load), 0, Client::new(&target).unwrap(), start);
    let server = async {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            request(&mut socket).await;
            let (status, body) = acknowledged();
            answer(&mut socket, status, &body).await;
        }
    };
    let done = tokio::select! {
        done = publisher.run(CancellationToken::new()) => done,
        () = server => panic!("it takes every connection"),
    };
    assert_eq!((done.acknowledged, done.failed), (10, None));
    assert!(start.elapsed() >= Duration::from_millis(100));
}
