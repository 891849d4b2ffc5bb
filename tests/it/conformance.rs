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

/// One connection that plays a transcript.
struct Player {
    server: Option<TestServer>,
    socket: Socket,
    dialect: &'static str,
    /// A message that came and did not fit an optional line.
    ahead: Option<Frame>,
}

impl Player {
    async fn next(&mut self) -> Frame {
        match self.ahead.take() {
            Some(frame) => frame,
            None => self.socket.next().await,
        }
    }

    /// Asks for something whose answer must be the next to come.
    async fn nothing(&mut self, at: usize) -> Result<(), Frame> {
        let id = format!("fence-{at}");
        if self.dialect == "graphql-transport-ws" {
            self.socket.send(json!({ "type": "ping", "payload": { "fence": id } })).await;
            let got = self.next().await;
            let is_answer = got == Frame::Json(json!({ "type": "pong", "payload": { "fence": id } }));
            return if is_answer { Ok(()) } else { Err(got) };
        }
        let payload = json!({ "query": "query { __typename }" });
        self.socket.send(json!({ "type": "start", "id": id, "payload": payload })).await;
        for expected in ["data", "complete"] {
            match self.next().await {
                Frame::Json(message) if message["id"] == *id && message["type"] == expected => {}
                other => return Err(other),
            }
        }
        Ok(())
    }

    /// Plays a line of what the server says.
    async fn expect(&mut self, expected: &str) -> Result<(), Frame> {
        let got = self.next().await;
        let is_right = match (expected.strip_prefix("close "), &got) {
            (Some(close), Frame::Close(code, reason)) => {
                let (wanted, text) = close.split_once(' ').unwrap_or((close, "*"));
                wanted == code.to_string() && (text == "*" || text == reason)
            }
            (None, Frame::Json(value)) => fits(&serde_json::from_str(expected).unwrap(), value),
            _ => false,
        };
        if is_right { Ok(()) } else { Err(got) }
    }

    async fn line(&mut self, at: usize, line: &str) -> Result<(), Frame> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("#" | "", _) => {}
            (">", text) => self.socket.send_text(text).await,
            (">bin", _) => self.socket.send_binary(b"\x01").await,
            // The server of such a transcript has a short deadline; the next line waits for what comes of it.
            ("!", "init-timeout") => {}
            ("!", "drain") => {
                let server = self.server.take().expect("a server drains once");
                // Ends when the connection does.
                drop(tokio::task::spawn_blocking(move || server.stop()));
            }
            ("<", "nothing") => self.nothing(at).await?,
            ("<", expected) => self.expect(expected).await?,
            ("<?", expected) => {
                if let Err(other) = self.expect(expected).await {
                    self.ahead = Some(other);
                }
            }
            other => panic!("line {}: {other:?} is no line of a transcript", at + 1),
        }
        Ok(())
    }
}

/// Plays one transcript; the error says at which line it went wrong.
async fn play(dialect: &'static str, transcript: &str) -> Result<(), String> {
    let server = TestServer::with(|config| {
        if transcript.contains("! init-timeout") {
            config.connection_init_timeout = Duration::from_millis(100);
        }
    });
    let socket = Socket::connect(&server, "/graphql", Some(dialect)).await;
    let mut player = Player { server: Some(server), socket, dialect, ahead: None };
    let mut ended = Ok(());
    for (at, line) in transcript.lines().enumerate() {
        if let Err(got) = player.line(at, line).await {
            ended = Err(format!("line {}: {line}\n  got {got:?}", at + 1));
            break;
        }
    }
    player.socket.close().await;
    // Ends the server and checks that the connection left nothing.
    tokio::task::spawn_blocking(move || drop(player.server)).await.unwrap();
    ended
}

async fn conforms(dialect: &'static str, folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut failures = Vec::new();
    for file in &files {
        let transcript = fs::read_to_string(file).unwrap();
        let title = transcript.lines().next().unwrap().trim_start_matches("# ");
        match play(dialect, &transcript).await {
            Ok(()) => println!("ok    {dialect} {title}"),
            Err(error) => failures.push(format!("{title}\n  {} {error}", file.display())),
        }
    }
    assert!(failures.is_empty(), "{} of {} rules\n{}", failures.len(), files.len(), failures.join("\n"));
    assert!(files.len() >= 20, "transcripts are missing");
}

#[tokio::test]
async fn graphql_transport_ws_conforms() {
    conforms("graphql-transport-ws", "transport_ws").await;
}

#[tokio::test]
async fn the_older_graphql_ws_conforms() {
    conforms("graphql-ws", "apollo_ws").await;
}
