//! What one caller may use: operations, publishes, bytes and connections of a principal over each protocol, and guesses of an
//! address.

use crate::support::{
    Access, DEADLINE, Frame, May, PROTOCOLS, Reader, SUBSCRIPTION, Socket, Stream, TestServer, ask, request,
    sent,
};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// Each second; twice as many may come at once.
const RATE: usize = 5;
const TRIES: usize = 40;

fn by(request: RequestBuilder, token: &str) -> RequestBuilder {
    request.header("authorization", format!("Bearer {token}")).header("content-type", "application/json")
}

/// Says whether a rate stopped it; if so, as it is said everywhere.
fn is_limited(answer: &Value, setting: &str) -> bool {
    let places = ["/code", "/errors/0/extensions/code", "/error/data/code", "/payload/0/extensions/code"];
    let Some(place) = places.into_iter().find(|place| answer.pointer(place) == Some(&json!("RATE_LIMITED")))
    else {
        assert!(!answer.to_string().contains("RATE_LIMITED"), "{answer}");
        return false;
    };
    let told = answer.pointer(place.trim_end_matches("/code")).unwrap();
    assert!(told["allowed"].as_str().unwrap().contains(setting), "{answer}");
    assert!(told["retryAfterMs"].as_str().unwrap().parse::<u64>().unwrap() > 0, "{answer}");
    true
}

/// So many were let through since then: what may come at once, and what was earned meanwhile.
fn exact(protocol: &str, passed: usize, units: f64, since: Instant) {
    let at_least = (2.0 * units).floor();
    let at_most = ((2.0 + since.elapsed().as_secs_f64()) * units).ceil() + 1.0;
    let passed = f64::from(u32::try_from(passed).unwrap());
    assert!((at_least..=at_most).contains(&passed), "{protocol}: {passed} of {at_least} to {at_most}");
}

/// One operation of a caller by a request of its own.
async fn operate(server: &TestServer, protocol: &str, token: &str) -> Value {
    let query = json!({ "query": "{ version }" });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "events.history" });
    match protocol {
        "http" => sent(by(ask(server, "application/json", &query), token)).await.1,
        "rpc over http" => {
            sent(by(request(server, Method::POST, "/rpc"), token).body(call.to_string())).await.1
        }
        "batch" => {
            let batch = json!([call]).to_string();
            sent(by(request(server, Method::POST, "/rpc"), token).body(batch)).await.1[0].clone()
        }
        "reservation" => match sent(by(request(server, Method::PUT, "/graphql/stream"), token)).await.1 {
            Value::String(_) => Value::Null,
            refused => refused,
        },
        "sse" => first_words(by(ask(server, "text/event-stream", &query), token)).await,
        "feed" => first_words(by(request(server, Method::GET, "/events"), token)).await,
        other => panic!("{other}"),
    }
}

/// The first JSON in a stream: an answer, or a refusal.
async fn first_words(request: RequestBuilder) -> Value {
    let mut stream = Stream::open(request).await;
    stream.next().await.json()
}

#[tokio::test]
async fn operations_of_a_principal_are_limited_over_every_protocol() {
    let access = Access::new();
    let names = ["http", "rpc over http", "batch", "reservation", "sse", "feed"];
    let subjects = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let tokens = subjects.map(|subject| access.token(subject, May::All, None));
    let server = access.server_with(|config| config.operations_per_second = Some(RATE));
    for (protocol, token) in names.into_iter().zip(&tokens) {
        let (began, mut passed) = (Instant::now(), 0);
        for _ in 0..TRIES {
            let answer = operate(&server, protocol, token).await;
            passed += usize::from(!is_limited(&answer, "operations_per_second"));
        }
        exact(protocol, passed, RATE as f64, began);
    }
    let mut socket = Socket::graphql_as(&server, &tokens[6]).await;
    let (began, mut passed) = (Instant::now(), 0);
    for id in 0..TRIES {
        let payload = json!({ "query": "{ version }" });
        socket.send(json!({ "type": "subscribe", "id": id.to_string(), "payload": payload })).await;
        let answer = socket.json().await;
        if !is_limited(&answer, "operations_per_second") {
            passed += 1;
            assert_eq!(socket.json().await["type"], "complete", "{answer}");
        }
    }
    exact("graphql over a socket", passed, RATE as f64, began);
    let mut socket = Socket::rpc_as(&server, &tokens[7]).await;
    let (began, mut passed) = (Instant::now(), 0);
    for id in 1..=TRIES {
        socket.send(json!({ "jsonrpc": "2.0", "id": id, "method": "gateway.subscription" })).await;
        passed += usize::from(!is_limited(&socket.json().await, "operations_per_second"));
    }
    exact("rpc over a socket", passed, RATE as f64, began);
    // A refused operation costs nobody the socket.
    socket.close().await;
}

#[tokio::test]
async fn a_caller_is_told_by_http_when_to_come_back() {
    let access = Access::new();
    let token = access.token("ada", May::All, None);
    let server = access.server_with(|config| config.operations_per_second = Some(1));
    let refused = async {
        loop {
            let query = json!({ "query": "{ version }" });
            let answer = by(ask(&server, "application/json", &query), &token).send().await.unwrap();
            if answer.status() == 429 {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(DEADLINE, refused).await.unwrap();
    assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
}

/// Publishes one event with so much data, in some protocol.
async fn publish(server: &TestServer, protocol: &str, token: &str, data: &str) -> Value {
    let event = json!({ "type": "agent.log", "data": data });
    match protocol {
        "events" => sent(by(request(server, Method::POST, "/events"), token).body(event.to_string())).await.1,
        "graphql" => {
            let query =
                "mutation($data: JSON) { publish(event: { type: \"agent.log\", data: $data }) { id } }";
            let operation = json!({ "query": query, "variables": { "data": data } });
            sent(by(ask(server, "application/json", &operation), token)).await.1
        }
        "rpc" => {
            let params = json!({ "event": event });
            let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "events.publish", "params": params });
            sent(by(request(server, Method::POST, "/rpc"), token).body(call.to_string())).await.1
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn publishes_of_a_principal_are_limited_by_number_and_by_bytes() {
    const BYTES: usize = 1_000;
    for (setting, units) in [("publishes_per_second", RATE as f64), ("publish_bytes_per_second", 5.0)] {
        let access = Access::new();
        let protocols = ["events", "graphql", "rpc"];
        let tokens = ["a", "b", "c", "d"].map(|subject| access.token(subject, May::All, None));
        let server = access.server_with(|config| match setting {
            "publishes_per_second" => config.publishes_per_second = Some(RATE),
            // Room for five of them each second.
            _ => config.publish_bytes_per_second = Some(5 * BYTES + 500),
        });
        let data = "x".repeat(BYTES);
        for (protocol, token) in protocols.into_iter().zip(&tokens) {
            let (began, mut passed) = (Instant::now(), 0);
            for _ in 0..TRIES {
                let answer = publish(&server, protocol, token, &data).await;
                passed += usize::from(!is_limited(&answer, setting));
            }
            exact(protocol, passed, units, began);
        }
        let mut socket = Socket::rpc_as(&server, &tokens[3]).await;
        let (began, mut passed) = (Instant::now(), 0);
        for id in 1..=TRIES {
            let params = json!({ "event": { "type": "task.log", "data": data } });
            let call = json!({ "jsonrpc": "2.0", "id": id, "method": "events.publish", "params": params });
            socket.send(call).await;
            let answer = loop {
                let answer = socket.json().await;
                if answer["id"] == id {
                    break answer;
                }
            };
            passed += usize::from(!is_limited(&answer, setting));
        }
        exact("rpc over a socket", passed, units, began);
        socket.close().await;
    }
}

/// The refusal of a connection, as each protocol says it.
async fn refused(server: &TestServer, protocol: &str, token: &str) -> String {
    let init = json!({ "type": "connection_init", "payload": { "token": token } });
    let operation = json!({ "query": SUBSCRIPTION });
    let request = match protocol {
        "graphql" | "legacy" => {
            let dialect = if protocol == "graphql" { "graphql-transport-ws" } else { "graphql-ws" };
            let mut socket = Socket::connect(server, "/graphql", Some(dialect)).await;
            socket.send(init).await;
            let mut said = String::new();
            loop {
                match socket.next().await {
                    Frame::Json(words) => said += &words.to_string(),
                    Frame::Close(code, reason) => return format!("{said} {code} {reason}"),
                    Frame::Ended => panic!("broken off"),
                }
            }
        }
        "rpc" | "gateway" => {
            let mut socket = Socket::connect(server, "/rpc", None).await;
            let params = json!({ "token": token });
            let call =
                json!({ "jsonrpc": "2.0", "id": 1, "method": "gateway.authenticate", "params": params });
            socket.send(call).await;
            let answer = socket.json().await.to_string();
            socket.close().await;
            return answer;
        }
        "sse" => ask(server, "text/event-stream", &operation),
        "multipart" => ask(server, "multipart/mixed;subscriptionSpec=1.0", &operation),
        "feed" => request(server, Method::GET, "/events"),
        other => panic!("{other}"),
    };
    let (status, answer) = sent(by(request, token)).await;
    assert_eq!(status, 429, "{protocol}: {answer}");
    answer.to_string()
}

#[tokio::test]
async fn connections_of_a_principal_are_limited_over_every_protocol_and_come_free_again() {
    const MOST: usize = 3;
    let access = Access::new();
    let (ada, bob) = (access.token("ada", May::All, None), access.token("bob", May::All, None));
    let server = access.server_with(|config| config.connections_per_principal_max = Some(MOST));
    for (shift, first) in PROTOCOLS.iter().enumerate() {
        let mut readers = Vec::new();
        for protocol in PROTOCOLS.iter().cycle().skip(shift).take(MOST) {
            readers.push(Reader::open(&server, protocol, &ada).await);
        }
        for protocol in PROTOCOLS {
            let said = refused(&server, protocol, &ada).await;
            assert!(said.contains("TOO_MANY"), "{protocol}: {said}");
            if matches!(protocol, "graphql" | "legacy") {
                assert!(said.contains(" 1013 "), "{protocol}: {said}");
            } else {
                assert!(said.contains("connections_per_principal_max"), "{protocol}: {said}");
            }
        }
        for (path, dialect) in [("/graphql", Some("graphql-transport-ws")), ("/rpc", None)] {
            let bearer = format!("Bearer {ada}");
            let (status, _, body) =
                Socket::connect_as(&server, path, dialect, Some(&bearer)).await.unwrap_err();
            assert_eq!(status, 429, "{body}");
            assert!(body.contains("TOO_MANY"), "{body}");
        }
        // Nobody else is concerned, and plain requests are no connections.
        drop(Reader::open(&server, first, &bob).await);
        let version = json!({ "query": "{ version }" });
        assert_eq!(sent(by(ask(&server, "application/json", &version), &ada)).await.0, 200);
        drop(readers);
        nobody_is_connected(&server, &ada).await;
    }
    // A handshake's share is the connection's, not one more.
    let bearer = format!("Bearer {bob}");
    let mut sockets = Vec::new();
    for _ in 0..MOST {
        let protocol = Some("graphql-transport-ws");
        let mut socket = Socket::connect_as(&server, "/graphql", protocol, Some(&bearer)).await.unwrap();
        socket.send(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.json().await["type"], "connection_ack");
        sockets.push(socket);
    }
    assert!(refused(&server, "feed", &bob).await.contains("TOO_MANY"));
}

async fn nobody_is_connected(server: &TestServer, token: &str) {
    let query = json!({ "query": "{ connections { total } }" });
    let gone = async {
        while sent(by(ask(server, "application/json", &query), token)).await.1["data"]["connections"]["total"]
            != 0
        {}
    };
    tokio::time::timeout(DEADLINE, gone).await.expect("connections must end");
}

#[tokio::test]
async fn guesses_of_an_address_are_looked_at_seldom_and_cost_nobody_else() {
    const GUESSES: usize = 1_000;
    // A guess costs ten of them: twenty at once, ten each second.
    const OPERATIONS: usize = 100;
    let access = Access::new();
    let ada = access.token("ada", May::All, None);
    let server = access.server_with(|config| {
        config.operations_per_second = Some(OPERATIONS);
        config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    });
    // Each guess on a connection of its own: on one they would be answered late.
    let client = Client::builder().tls_certs_only([]).pool_max_idle_per_host(0).build().unwrap();
    let attempt = |address: &'static str, token: String| {
        let request = by(client.post(server.url("/graphql")), &token).header("x-forwarded-for", address);
        let request = request.body(r#"{"query":"{ version }"}"#);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    let (began, mut looked_at) = (Instant::now(), 0);
    for guess in 0..GUESSES {
        match attempt("203.0.113.7", format!("a.b.{guess}")).await {
            401 => looked_at += 1,
            status => assert_eq!(status, 429),
        }
    }
    exact("guesses", looked_at, OPERATIONS as f64 / 10.0, began);
    assert_eq!(server.hub.metrics().credentials_refused.get(), looked_at as u64);
    assert_eq!(attempt("203.0.113.8", ada.clone()).await, 200, "another address");
    // A good credential costs its address nothing.
    let began = Instant::now();
    let mut passed = 0;
    for _ in 0..3 * OPERATIONS {
        passed += usize::from(attempt("203.0.113.9", ada.clone()).await == 200);
    }
    exact("good requests", passed, OPERATIONS as f64, began);
    assert_eq!(attempt("203.0.113.9", "a.b.c".to_owned()).await, 401, "the address was not charged for them");
}

/// A lower bound only: what waits may wait longer.
#[tokio::test]
async fn whoever_guesses_on_one_connection_is_told_late_and_a_good_credential_is_not() {
    const AT_ONCE: u32 = 10;
    const LATE: u32 = 5;
    let access = Access::new();
    let ada = access.token("ada", May::All, None);
    let server = access.server();
    let client = Client::builder().tls_certs_only([]).build().unwrap();
    let attempt = async |token: &str| {
        let request = by(client.post(server.url("/graphql")), token).body(r#"{"query":"{ version }"}"#);
        request.send().await.unwrap().status().as_u16()
    };
    let began = Instant::now();
    for guess in 0..AT_ONCE + LATE {
        assert_eq!(attempt(&format!("a.b.{guess}")).await, 401);
    }
    assert!(began.elapsed() >= LATE * Duration::from_millis(100), "{:?}", began.elapsed());
    assert_eq!(attempt(&ada).await, 200);
    assert_eq!(server.hub.metrics().credentials_refused.get(), u64::from(AT_ONCE + LATE));

    let mut socket = Socket::connect(&server, "/rpc", None).await;
    let began = Instant::now();
    let mut authenticate = async |token: &str| {
        let params = json!({ "token": token });
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "gateway.authenticate", "params": params });
        socket.send(call).await;
        socket.json().await
    };
    for guess in 0..AT_ONCE + LATE {
        let answer = authenticate(&format!("a.b.{guess}")).await;
        assert_eq!(answer["error"]["data"]["code"], "UNAUTHENTICATED", "{answer}");
    }
    assert!(began.elapsed() >= LATE * Duration::from_millis(100), "{:?}", began.elapsed());
    assert_eq!(authenticate(&ada).await["result"]["subject"], "ada");
    socket.close().await;
}
