//! Documents and JSON that want to do harm are refused by name on every way in, and the server goes on.

use crate::support::{Socket, TestServer, post_json};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

fn documents() -> Vec<(&'static str, String)> {
    let nested =
        |open: &str, close: &str, count: usize| format!("{}{}", open.repeat(count), close.repeat(count));
    let chain: String = (0..30)
        .map(|at| format!("fragment f{at} on Event{{...f{next} ...f{next}}}", next = at + 1))
        .collect();
    let mut documents = vec![
        (
            "thirty chained fragments",
            format!("{{events{{nodes{{...f0}}}}}}{chain}fragment f30 on Event{{id}}"),
        ),
        (
            "cyclic fragments",
            "{events{nodes{...a}}}fragment a on Event{...b}fragment b on Event{...a}".to_owned(),
        ),
        ("a fragment in itself", "{events{nodes{...a}}}fragment a on Event{id ...a}".to_owned()),
        (
            "ten thousand aliases",
            format!("{{{}}}", (0..10_000).map(|at| format!("a{at}:version ")).collect::<String>()),
        ),
        ("ten thousand directives", format!("{{version{}}}", "@skip(if:false)".repeat(10_000))),
        ("ten thousand unknown directives", format!("{{version{}}}", "@a".repeat(10_000))),
        ("sixty-four kilobytes of fields", format!("{{{}}}", "version ".repeat(8 * 1024))),
        ("sixty-four kilobytes of spaces", format!("{{version}}{}", " ".repeat(64 * 1024))),
    ];
    for count in [3_000, 30_000] {
        documents.push(("nested selections", nested("{a", "}", count)));
        documents.push(("nested lists", format!("{{version(x:{})}}", nested("[", "]", count))));
        documents.push((
            "nested objects",
            format!("{{version(x:{}1{})}}", "{a:".repeat(count), "}".repeat(count)),
        ));
        documents.push((
            "nested types",
            format!("query($v:{}Int{}){{version}}", "[".repeat(count), "]".repeat(count)),
        ));
        documents.push(("open brackets", "{".repeat(count)));
    }
    documents
}

fn is_refused(errors: &Value) -> bool {
    ["BAD_REQUEST", "DOCUMENT_TOO_COMPLEX", "TOO_LARGE"]
        .iter()
        .any(|code| errors[0]["extensions"]["code"] == *code)
}

#[tokio::test]
async fn hostile_documents_are_refused_over_http() {
    let server = TestServer::start();
    let mut slowest = (Duration::ZERO, "");
    for (name, document) in documents() {
        let started = Instant::now();
        let answer = server.graphql(&document, json!({})).await;
        slowest = slowest.max((started.elapsed(), name));
        assert!(is_refused(&answer["errors"]), "{name}: {answer}");
        assert!(answer.to_string().len() < 4_096, "{name}: an error must not grow with what caused it");
    }
    assert_eq!(server.graphql("{ version }", json!({})).await["errors"], Value::Null);
    // Not judged here, where other tests run beside; `cargo test --test it -- hostile --nocapture` shows it.
    println!("the slowest refusal, there and back: {slowest:?}");
}

#[tokio::test]
async fn hostile_documents_are_refused_over_a_socket_and_the_socket_stays() {
    let server = TestServer::start();
    let mut socket = Socket::graphql(&server).await;
    for (name, document) in documents() {
        for query in [document.clone(), format!("subscription{}", document.trim_start_matches("query"))] {
            socket.send(json!({ "type": "subscribe", "id": "a", "payload": { "query": query } })).await;
            let message = socket.json().await;
            assert_eq!(message["type"], "error", "{name}: {message}");
            assert!(is_refused(&message["payload"]), "{name}: {message}");
        }
    }
    socket.subscribe("a", "subscription { events { id } }").await;
    socket.close().await;
}

fn texts() -> Vec<(&'static str, String)> {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    vec![
        ("nested a hundred thousand deep", format!(r#"{{"type":"a","query":"{{version}}","data":{deep}}}"#)),
        ("a key twice", r#"{"type":"a","type":"b","query":"{version}","query":"{version}"}"#.to_owned()),
        (
            "a key twice, once escaped",
            r#"{"type":"a","data":{"k":1,"\u006b":2},"query":"{version}","variables":{"k":1,"\u006b":2}}"#
                .to_owned(),
        ),
        (
            "a lone surrogate",
            r#"{"type":"a","data":"\ud800","query":"{version}","operationName":"\ud800"}"#.to_owned(),
        ),
        (
            "a number out of range",
            r#"{"type":"a","data":1e400,"query":"{version}","variables":{"a":1e400}}"#.to_owned(),
        ),
        ("a byte order mark", "\u{feff}{\"type\":\"a\",\"query\":\"{version}\"}".to_owned()),
        ("cut off", r#"{"type":"a","query":"{version}"#.to_owned()),
    ]
}

#[tokio::test]
async fn hostile_json_is_refused_at_every_door_alike() {
    let server = TestServer::start();
    let client = reqwest::Client::new();
    for (name, text) in texts() {
        for path in ["/events", "/graphql", "/rpc"] {
            let answer =
                client.post(server.url(path)).header("content-type", "application/json").body(text.clone());
            let answer = answer.send().await.unwrap();
            let (status, body) = (answer.status().as_u16(), answer.text().await.unwrap());
            let is_error = status == 400 || (path == "/rpc" && body.contains("-32700"));
            assert!(is_error, "{name} at {path}: {status} {body}");
        }
    }
    assert_eq!(server.hub.bounds().head.get(), 0);
}

#[tokio::test]
async fn hostile_fields_are_refused_by_name() {
    let server = TestServer::start();
    let url = server.url("/events");
    let cases = [
        (json!({ "type": "x".repeat(129) }), "type"),
        (json!({ "type": "a.b.c.d.e.f.g.h.i" }), "type"),
        (json!({ "type": "a", "organizationId": "\u{202e}quant" }), "organizationId"),
        (json!({ "type": "a", "source": "x\u{0}" }), "source"),
    ];
    for (event, field) in cases {
        let (status, problem) = post_json(&url, &event).await;
        assert_eq!(
            (status, &problem["code"], &problem["field"]),
            (400, &json!("INVALID_EVENT"), &json!(field)),
            "{problem}"
        );
    }
    let empty = server.graphql("{ events(filter: { taskId: [] }) { nodes { id } } }", json!({})).await;
    assert_eq!(empty["errors"][0]["extensions"]["code"], "INVALID_FILTER", "{empty}");
}
