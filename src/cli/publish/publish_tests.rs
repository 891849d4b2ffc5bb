//! Batches, retries, and what is said about a refused line.

use super::*;
use crate::cli::target::Target;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Answers each request with the next status and body; gives the events of every request.
async fn server(answers: Vec<(u16, Value)>) -> (Client, tokio::task::JoinHandle<Vec<Value>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let requests = tokio::spawn(async move {
        let mut requests = Vec::new();
        for (status, body) in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            requests.push(request(&mut socket).await);
            let body = body.to_string();
            let head =
                format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
        requests
    });
    (Client::new(&target).unwrap(), requests)
}

async fn request(socket: &mut TcpStream) -> Value {
    let mut read = Vec::new();
    loop {
        socket.read_buf(&mut read).await.unwrap();
        let text = String::from_utf8(read.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            assert!(
                head.starts_with("POST /events ") && head.contains("content-type: application/json"),
                "{head}"
            );
            return serde_json::from_str(body).unwrap();
        }
    }
}

fn types(request: &Value) -> Vec<&str> {
    request.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn acknowledged(count: usize) -> (u16, Value) {
    (200, vec![json!({"id": "x", "cursor": "c", "duplicate": false}); count].into())
}

#[tokio::test]
async fn a_refused_line_is_named_and_the_others_are_published_in_order() {
    let refusal = json!({"code": "TOO_LARGE", "detail": "no", "index": 1});
    let (client, requests) = server(vec![(413, refusal), acknowledged(2)]).await;
    let file = "{\"type\":\"a\"}\nnonsense\n{\"type\":\"b\"}\n{\"type\":\"c\"}\n";
    let result = publish_lines(&client, file.as_bytes()).await;
    assert!(matches!(result, Err(Failure::Told)), "{result:?}");
    let requests = requests.await.unwrap();
    assert_eq!(requests.iter().map(types).collect::<Vec<_>>(), [vec!["a", "b", "c"], vec!["a", "c"]]);
}

#[tokio::test]
async fn a_batch_whose_answer_failed_is_sent_again_with_the_same_ids() {
    let busy = (503, json!({"code": "UNAVAILABLE", "detail": "not now"}));
    let (client, requests) = server(vec![busy, acknowledged(2)]).await;
    publish_lines(&client, "{\"type\":\"a\"}\n{\"type\":\"b\"}\n".as_bytes()).await.unwrap();
    let requests = requests.await.unwrap();
    assert_eq!(requests[0], requests[1]);
    assert!(requests[0][0]["id"].is_string());
}

#[tokio::test]
async fn a_server_that_is_something_else_stops_the_file_at_its_line() {
    let (client, _requests) = server(vec![(404, json!({}))]).await;
    let result = publish_lines(&client, "\n\n{\"type\":\"a\"}\n".as_bytes()).await;
    assert!(
        matches!(&result, Err(Failure::Failed(told)) if told.contains("stopped at line 3")),
        "{result:?}"
    );
}

#[tokio::test]
async fn one_event_without_an_answer_says_how_to_publish_it_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let draft = Draft { event_type: "a".to_owned(), id: Some("x1".to_owned()), ..Draft::default() };
    let line = || lines::line_of(draft.clone(), None).unwrap();
    let result = publish_one(&Client::new(&target).unwrap(), line(), true).await;
    assert!(matches!(&result, Err(Failure::Failed(told)) if told.contains("with --id x1")), "{result:?}");
    let result = publish_one(&Client::new(&target).unwrap(), line(), false).await;
    let told = "may have been delivered";
    assert!(matches!(&result, Err(Failure::Failed(failure)) if failure.contains(told)), "{result:?}");
}
