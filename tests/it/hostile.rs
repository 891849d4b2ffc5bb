//! Documents and JSON that want to do harm are refused by name on every way in, and the server goes on.

use crate::support::{Frame, Socket, TestServer, get, post_json};
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
async fn hostile_json_is_refused_in_every_format_of_events() {
    let server = TestServer::start();
    let client = reqwest::Client::new();
    for (name, text) in texts() {
        let list = format!("[{text}]");
        for (format, body) in [
            ("application/json", &list),
            ("application/cloudevents+json", &text),
            ("application/cloudevents-batch+json", &list),
        ] {
            let posted = client.post(server.url("/events")).header("content-type", format).body(body.clone());
            assert_eq!(posted.send().await.unwrap().status(), 400, "{name} as {format}");
        }
        // In binary mode the body is the data.
        let posted = client.post(server.url("/events")).header("content-type", "application/json");
        let posted = posted.header("ce-specversion", "1.0").header("ce-type", "a");
        let posted = posted.header("ce-id", "1").header("ce-source", "/x").body(text);
        assert_eq!(posted.send().await.unwrap().status(), 400, "{name} in binary mode");
    }
    assert_eq!(server.hub.bounds().head.get(), 0);
}

#[tokio::test]
async fn hostile_json_is_refused_in_frames_and_in_the_address() {
    let server = TestServer::start();
    for (name, text) in texts() {
        let mut socket = Socket::graphql(&server).await;
        socket.send_text(&text).await;
        assert!(matches!(socket.next().await, Frame::Close(4400, _)), "{name}");
        let mut socket = Socket::connect(&server, "/rpc", None).await;
        for batch in [text.clone(), format!("[{text}]")] {
            socket.send_text(&batch).await;
            assert_eq!(socket.json().await["error"]["code"], -32700, "{name}");
        }
        socket.close().await;
        for parameter in ["variables", "extensions"] {
            let short: String = text.chars().take(2_000).collect();
            let asked = get(&server, "/graphql", &[("query", "{version}"), (parameter, &short)]);
            let asked = asked.header("accept", "application/graphql-response+json");
            assert_eq!(asked.send().await.unwrap().status(), 400, "{name} as {parameter}");
        }
    }
}

#[tokio::test]
async fn a_batch_is_bounded_alike_at_every_door() {
    let server = TestServer::with(|config| config.batch_max = 3);
    let events = |count: usize| json!(vec![json!({ "type": "a" }); count]);
    for (count, is_taken) in [(3, true), (4, false)] {
        let (status, _) = post_json(&server.url("/events"), &events(count)).await;
        assert_eq!(status == 200, is_taken);
        let query = "mutation ($events: [NewEvent!]!) { publishAll(events: $events) { id } }";
        let answer = server.graphql(query, json!({ "events": events(count) })).await;
        assert_eq!(answer["errors"].is_null(), is_taken, "{answer}");
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "events.publishAll", "params": { "events": events(count) } });
        let (_, answer) = post_json(&server.url("/rpc"), &call).await;
        assert_eq!(answer["error"].is_null(), is_taken, "{answer}");
        if !is_taken {
            assert_eq!(answer["error"]["data"]["code"], "TOO_MANY", "{answer}");
        }
    }
    assert_eq!(server.hub.bounds().head.get(), 9);
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
