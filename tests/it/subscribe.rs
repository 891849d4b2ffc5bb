//! Subscriptions over a real WebSocket: typed, filtered, shared, once and in order.

use crate::support::{Frame, Socket, TestServer};
use serde_json::{Value, json};

#[tokio::test]
async fn an_event_arrives_typed_with_its_cursor() {
    let server = TestServer::start();
    let mut socket = Socket::graphql(&server).await;
    let query = "subscription { events { __typename id type time source taskId priority cursor data ... on TaskEvent { action progress } } }";
    socket.subscribe("a", query).await;
    let fields = json!({ "id": "1", "source": "/ci", "taskId": "t1", "time": "2026-11-20T10:00:00Z", "data": { "progress": 0.5, "n": 1.0 } });
    let cursor = server.publish("task.progress", fields).await;
    let message = socket.json().await;
    assert_eq!(message["payload"]["extensions"]["cursor"], *cursor);
    assert_eq!(
        message["payload"]["data"]["events"],
        json!({ "__typename": "TaskEvent", "id": "1", "type": "task.progress", "time": "2026-11-20T10:00:00Z",
                "source": "/ci", "taskId": "t1", "priority": "NORMAL", "cursor": cursor,
                "data": { "progress": 0.5, "n": 1.0 }, "action": "progress", "progress": 0.5 })
    );
    socket.close().await;
}

#[tokio::test]
async fn arguments_are_the_filter() {
    let server = TestServer::start();
    let mut socket = Socket::graphql(&server).await;
    socket.subscribe("quant", r#"subscription { agents(filter: { organizationId: "quant" }) { id } }"#).await;
    socket.subscribe("created", r#"subscription { events(filter: { types: ["*.created"], anyOf: [{ taskId: ["t1", "t2"] }, { minPriority: HIGH }] }) { id } }"#).await;
    server.publish("agent.created", json!({ "id": "1", "organizationId": "quant" })).await;
    server
        .publish("agent.created", json!({ "id": "2", "organizationId": "acme", "priority": "CRITICAL" }))
        .await;
    server.publish("task.created", json!({ "id": "3", "taskId": "t2" })).await;
    server.publish("task.failed", json!({ "id": "4", "taskId": "t2", "organizationId": "quant" })).await;
    assert_eq!(socket.data("quant").await, json!({ "agents": { "id": "1" } }));
    assert_eq!(socket.data("created").await, json!({ "events": { "id": "2" } }));
    assert_eq!(socket.data("created").await, json!({ "events": { "id": "3" } }));
    socket.nothing_more().await;
    socket.close().await;
}

#[tokio::test]
async fn equal_selections_are_executed_once_however_they_are_written() {
    let server = TestServer::start();
    let documents = [
        "subscription { events { id type } }",
        "subscription Named($f: EventFilter) { ...F } fragment F on Subscription { events(filter: $f) { id, type } }",
        "# a comment\nsubscription { events(filter: { types: [\"task.*\"] }) { id @include(if: true) type data @skip(if: true) } }",
    ];
    let mut sockets = Vec::new();
    for document in documents {
        let mut socket = Socket::graphql(&server).await;
        socket.subscribe("a", document).await;
        sockets.push(socket);
    }
    assert_eq!(server.fanout.len(), (1, 3));
    server.publish("task.created", json!({ "id": "1" })).await;
    for socket in &mut sockets {
        assert_eq!(socket.data("a").await["events"], json!({ "id": "1", "type": "task.created" }));
    }
    assert_eq!(server.hub.metrics().executions.get(), 1);
    for socket in sockets {
        socket.close().await;
    }
}

#[tokio::test]
async fn a_root_fragment_is_a_selection_like_any_other() {
    let server = TestServer::start();
    let mut socket = Socket::graphql(&server).await;
    socket.subscribe("a", r#"subscription { ...F } fragment F on Subscription { mine: tasks(filter: { taskId: "t1" }) { id } }"#).await;
    server.publish("task.created", json!({ "id": "0", "taskId": "t0" })).await;
    server.publish("task.created", json!({ "id": "1", "taskId": "t1" })).await;
    assert_eq!(socket.data("a").await, json!({ "mine": { "id": "1" } }));
    socket.close().await;
}

#[tokio::test]
async fn chat_and_trace_take_their_argument_as_filter() {
    let server = TestServer::start();
    let mut socket = Socket::graphql(&server).await;
    socket.subscribe("chat", r#"subscription { chat(roomId: "r1") { id message } }"#).await;
    socket.subscribe("trace", r#"subscription { trace(correlationId: "c1") { id } }"#).await;
    server.publish("chat.message", json!({ "id": "1", "roomId": "r2" })).await;
    server.publish("chat.message", json!({ "id": "2", "roomId": "r1", "data": { "message": "hi" } })).await;
    server.publish("x", json!({ "id": "3", "correlationId": "c1" })).await;
    assert_eq!(socket.data("chat").await, json!({ "chat": { "id": "2", "message": "hi" } }));
    assert_eq!(socket.data("trace").await, json!({ "trace": { "id": "3" } }));
    socket.close().await;
}

async fn refused(server: &TestServer, query: &str, variables: Value) -> Value {
    let mut socket = Socket::graphql(server).await;
    socket
        .send(
            json!({ "type": "subscribe", "id": "a", "payload": { "query": query, "variables": variables } }),
        )
        .await;
    let message = socket.json().await;
    assert_eq!(message["type"], "error", "{message}");
    socket.nothing_more().await;
    socket.close().await;
    message["payload"][0].clone()
}

#[tokio::test]
async fn what_is_wrong_with_a_subscription_is_said_by_name() {
    let server = TestServer::start();
    let cases = [
        ("subscription { nope { id } }", json!({}), "BAD_REQUEST", None),
        ("subscription { events { id } agents { id } }", json!({}), "BAD_REQUEST", None),
        ("subscription { __typename }", json!({}), "BAD_REQUEST", None),
        ("subscription {", json!({}), "BAD_REQUEST", None),
        ("subscription { events(filter: { types: [] }) { id } }", json!({}), "INVALID_FILTER", Some("types")),
        (
            "subscription { events(filter: { types: [\"a..b\"] }) { id } }",
            json!({}),
            "INVALID_FILTER",
            Some("types[0]"),
        ),
        (
            "subscription ($s: StartPosition) { events(start: $s) { id } }",
            json!({ "s": { "last": 0 } }),
            "INVALID_FILTER",
            Some("start.last"),
        ),
        ("subscription { events(start: { after: \"nonsense\" }) { id } }", json!({}), "CURSOR_INVALID", None),
        ("subscription { notifications { id } }", json!({}), "UNAUTHENTICATED", None),
        (
            "subscription ($s: StartPosition) { events(start: $s) { id } }",
            json!({ "s": { "last": 1, "earliest": true } }),
            "BAD_REQUEST",
            None,
        ),
    ];
    for (query, variables, code, field) in cases {
        let error = refused(&server, query, variables).await;
        assert_eq!(error["extensions"]["code"], code, "{query}: {error}");
        assert!(error["extensions"]["next"].is_string(), "{query}: {error}");
        if let Some(field) = field {
            assert_eq!(error["extensions"]["field"], field, "{query}: {error}");
        }
    }
}

#[tokio::test]
async fn queries_and_mutations_work_on_the_same_socket() {
    let server = TestServer::start();
    let mut socket = Socket::graphql(&server).await;
    socket.subscribe("s", "subscription { events { id } }").await;
    let publish = r#"mutation { publish(event: { id: "1", type: "task.created" }) { id duplicate } }"#;
    socket.send(json!({ "type": "subscribe", "id": "m", "payload": { "query": publish } })).await;
    let mut types = Vec::new();
    for _ in 0..3 {
        let message = socket.json().await;
        types
            .push((message["id"].as_str().unwrap().to_owned(), message["type"].as_str().unwrap().to_owned()));
    }
    types.sort();
    let expected =
        [("m", "complete"), ("m", "next"), ("s", "next")].map(|(id, kind)| (id.to_owned(), kind.to_owned()));
    assert_eq!(types, expected);
    socket.close().await;
}

#[tokio::test]
async fn a_stopped_subscription_is_silent_and_its_id_is_free() {
    let server = TestServer::start();
    let mut socket = Socket::graphql(&server).await;
    socket.subscribe("a", "subscription { events { id } }").await;
    socket.send(json!({ "type": "complete", "id": "a" })).await;
    socket.nothing_more().await;
    assert_eq!(server.fanout.len(), (0, 0));
    server.publish("x", json!({ "id": "1" })).await;
    socket.subscribe("a", "subscription { events { id } }").await;
    server.publish("x", json!({ "id": "2" })).await;
    assert_eq!(socket.data("a").await["events"]["id"], "2");
    socket.close().await;
}

#[tokio::test]
async fn the_older_dialect_delivers_the_same_events() {
    let server = TestServer::start();
    let mut socket = Socket::connect(&server, "/graphql/ws", Some("graphql-ws")).await;
    socket.send(json!({ "type": "connection_init", "payload": {} })).await;
    assert_eq!(socket.json().await["type"], "connection_ack");
    assert_eq!(socket.json().await["type"], "ka");
    let payload = json!({ "query": "subscription { events { id } }", "extensions": { "ready": true } });
    socket.send(json!({ "type": "start", "id": "1", "payload": payload })).await;
    assert_eq!(socket.json().await["payload"]["extensions"]["ready"], true);
    server.publish("x", json!({ "id": "7" })).await;
    let message = socket.json().await;
    assert_eq!(
        (&message["type"], &message["payload"]["data"]["events"]["id"]),
        (&json!("data"), &json!("7"))
    );
    socket.send(json!({ "type": "stop", "id": "1" })).await;
    assert_eq!(socket.json().await, json!({ "type": "complete", "id": "1" }));
    socket.send(json!({ "type": "connection_terminate" })).await;
    assert!(matches!(socket.next().await, Frame::Close(..)));
    socket.close().await;
}
