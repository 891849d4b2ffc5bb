//! The transcripts of `tests/conformance` over a real socket. `src/protocol` plays the same files against the session alone.

use crate::support::{Frame, Socket, TestServer};
use serde_json::{Value, json};
use std::{fs, path::Path, time::Duration};

/// Does what came fit what is written? `"*"` stands for any value.
fn fits(expected: &Value, got: &Value) -> bool {
    match (expected, got) {
        (Value::String(any), _) if any == "*" => true,
        (Value::Object(expected), Value::Object(got)) => {
            expected.len() == got.len()
                && expected.iter().all(|(name, value)| got.get(name).is_some_and(|other| fits(value, other)))
        }
        (Value::Array(expected), Value::Array(got)) => {
            expected.len() == got.len() && expected.iter().zip(got).all(|(value, other)| fits(value, other))
        }
        _ => expected == got,
    }
}

/// Plays one transcript; the error says at which line it went wrong.
async fn play(server: &TestServer, dialect: &str, transcript: &str) -> Result<(), String> {
    let mut socket = Socket::connect(server, "/graphql", Some(dialect)).await;
    for (at, line) in transcript.lines().enumerate() {
        let wrong = |got: &dyn std::fmt::Debug| Err(format!("line {}: {line}\n  got {got:?}", at + 1));
        match line.split_once(' ').unwrap_or((line, "")) {
            ("#" | "", _) => {}
            (">", text) => socket.send_text(text).await,
            (">bin", _) => socket.send_binary(b"\x01").await,
            // The server of this test has a short deadline; the next line waits for what comes of it.
            ("!", "init-timeout") => {}
            ("<", "nothing") => {
                if dialect == "graphql-transport-ws" {
                    socket.send(json!({ "type": "ping", "payload": { "fence": at } })).await;
                    let got = socket.next().await;
                    if got != Frame::Json(json!({ "type": "pong", "payload": { "fence": at } })) {
                        return wrong(&got);
                    }
                }
            }
            ("<", expected) => {
                let got = socket.next().await;
                let is_right = match (expected.strip_prefix("close "), &got) {
                    (Some(close), Frame::Close(code, reason)) => {
                        let (wanted, text) = close.split_once(' ').unwrap_or((close, "*"));
                        wanted == code.to_string() && (text == "*" || text == reason)
                    }
                    (None, Frame::Json(value)) => fits(&serde_json::from_str(expected).unwrap(), value),
                    _ => false,
                };
                if !is_right {
                    return wrong(&got);
                }
            }
            other => panic!("line {}: {other:?} is no line of a transcript", at + 1),
        }
    }
    Ok(())
}

async fn conforms(dialect: &str, folder: &str) {
    let server = TestServer::start();
    let hasty = TestServer::with(|config| config.connection_init_timeout = Duration::from_millis(100));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut failures = Vec::new();
    for file in &files {
        let transcript = fs::read_to_string(file).unwrap();
        let title = transcript.lines().next().unwrap().trim_start_matches("# ");
        let server = if transcript.contains("! init-timeout") { &hasty } else { &server };
        match play(server, dialect, &transcript).await {
            Ok(()) => println!("ok    {dialect} {title}"),
            Err(error) => failures.push(format!("{title}\n  {} {error}", file.display())),
        }
    }
    assert!(failures.is_empty(), "{} of {} rules\n{}", failures.len(), files.len(), failures.join("\n"));
    assert!(files.len() >= 5, "the transcripts are missing");
}

#[tokio::test]
async fn graphql_transport_ws_conforms() {
    conforms("graphql-transport-ws", "transport_ws").await;
}

#[tokio::test]
async fn the_older_graphql_ws_conforms() {
    conforms("graphql-ws", "apollo_ws").await;
}
