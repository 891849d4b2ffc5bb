//! JSON-RPC over POST and over WebSocket.

use crate::support::{Frame, Socket, TestServer, post_json};
use serde_json::{Value, json};

#[allow(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn call(id: u32, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

async fn rpc(server: &TestServer) -> Socket {
    let mut socket = Socket::connect(server, "/rpc", None).await;
    // The answer shows that the connection receives from now on.
    assert!(result(&mut socket, 0, "gateway.subscription", json!({})).await["filter"].is_object());
    socket
}

/// Calls and gives the result; events that come first are an error.
async fn result(socket: &mut Socket, id: u32, method: &str, params: Value) -> Value {
    socket.send(call(id, method, params)).await;
    let answer = socket.json().await;
    assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(id)), "{answer}");
    assert_eq!(answer.get("error"), None, "{answer}");
    answer["result"].clone()
}

#[tokio::test]
async fn a_gateway_client_receives_from_the_moment_it_connects() {
    let server = TestServer::start();
    let mut socket = rpc(&server).await;
    server.publish("agent.started", json!({ "agentId": "a1" })).await;
    server.publish("task.created", json!({})).await;
    server.publish("chat.message", json!({ "roomId": "r1", "data": { "message": { "text": "hi" } } })).await;
    server.publish("presence.connected", json!({ "data": { "conn_id": "c1", "status": "online" } })).await;
    server.publish("health.snapshot", json!({ "data": { "up": true } })).await;
    let expected = [
        json!({ "type": "Agent", "agent_id": "a1", "event": "started" }),
        json!({ "type": "Chat", "room_id": "r1", "message": { "text": "hi" } }),
        json!({ "type": "Presence", "conn_id": "c1", "status": "online" }),
        json!({ "type": "Health", "snapshot": { "up": true } }),
    ];
    for params in expected {
        assert_eq!(
            socket.json().await,
            json!({ "jsonrpc": "2.0", "method": "gateway.event", "params": params })
        );
    }
    socket.close().await;
}

#[tokio::test]
async fn the_gateways_filter_is_replaced_at_runtime_and_can_be_taken_back() {
    let server = TestServer::start();
    let mut socket = rpc(&server).await;
    let subscribed = result(&mut socket, 1, "gateway.subscribe", json!({ "events": ["chat"] })).await;
    assert!(subscribed["cursor"].is_string());
    server.publish("agent.started", json!({ "agentId": "a1" })).await;
    server.publish("chat.message", json!({ "roomId": "r1", "data": "hi" })).await;
    assert_eq!(socket.json().await["params"]["type"], "Chat");
    result(&mut socket, 2, "gateway.subscribe", json!({ "events": ["task", "agent"] })).await;
    server.publish("task.created", json!({ "id": "7" })).await;
    let event = socket.json().await["params"].clone();
    assert_eq!((&event["type"], &event["event"]["id"]), (&json!("Event"), &json!("7")));
    let unsubscribed = result(&mut socket, 3, "gateway.unsubscribe", json!({})).await;
    assert_eq!(unsubscribed, json!({ "filter": null }));
    server.publish("task.created", json!({ "id": "8" })).await;
    assert_eq!(result(&mut socket, 4, "gateway.subscription", json!({})).await["filter"], Value::Null);
    socket.close().await;
}

#[tokio::test]
async fn changing_the_filter_under_load_loses_and_repeats_nothing() {
    let server = TestServer::start();
    let mut socket = rpc(&server).await;
    let url = server.url("/events");
    let publishing = tokio::spawn(async move {
        for number in 0..300 {
            let event =
                json!({ "type": "agent.log", "id": number.to_string(), "agentId": number.to_string() });
            assert_eq!(post_json(&url, &event).await.0, 200);
        }
    });
    let mut seen = Vec::new();
    let mut changes = 0;
    while seen.len() < 300 {
        if seen.len() >= changes * 20 {
            changes += 1;
            let events = if changes % 2 == 0 { json!(["agent"]) } else { json!(["agent", "chat"]) };
            socket
                .send(call(u32::try_from(changes).unwrap(), "gateway.subscribe", json!({ "events": events })))
                .await;
        }
        let message = socket.json().await;
        if message["method"] == "gateway.event" {
            seen.push(message["params"]["agent_id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(seen, (0..300).map(|number| number.to_string()).collect::<Vec<_>>());
    publishing.await.unwrap();
    socket.close().await;
}

#[tokio::test]
async fn a_connection_has_many_subscriptions_with_everything_graphql_has() {
    let server = TestServer::start();
    let first = server.publish("task.created", json!({ "id": "1", "taskId": "t1" })).await;
    server.publish("task.created", json!({ "id": "2", "taskId": "t2" })).await;
    let mut socket = rpc(&server).await;
    result(&mut socket, 1, "gateway.unsubscribe", json!({})).await;
    let live = result(
        &mut socket,
        2,
        "events.subscribe",
        json!({ "filter": { "types": "task.*", "taskId": "t1" } }),
    )
    .await;
    let after = result(&mut socket, 3, "events.subscribe", json!({ "start": { "after": first } })).await;
    let replayed = socket.json().await;
    assert_eq!(
        (&replayed["params"]["subscription"], &replayed["params"]["result"]["id"]),
        (&after["subscription"], &json!("2"))
    );
    assert_eq!(replayed["method"], "events.notification");
    result(&mut socket, 4, "events.unsubscribe", json!({ "subscription": after["subscription"] })).await;
    let publish = json!({ "event": { "type": "task.failed", "id": "3", "taskId": "t1" } });
    socket.send(call(5, "events.publish", publish)).await;
    // The answer and the event may come in either order.
    let (one, other) = (socket.json().await, socket.json().await);
    let (published, event) = if one["id"] == 5 { (one, other) } else { (other, one) };
    assert_eq!(event["params"]["subscription"], live["subscription"]);
    assert_eq!(event["params"]["result"]["cursor"], published["result"]["cursor"]);
    socket.send(call(6, "events.unsubscribe", json!({ "subscription": "99" }))).await;
    assert_eq!(socket.json().await["error"]["data"]["code"], "NOT_FOUND");
    socket.close().await;
}

#[tokio::test]
async fn history_and_publish_all_work_over_post() {
    let server = TestServer::start();
    let url = server.url("/rpc");
    let events = json!({ "events": [{ "type": "a", "id": "1" }, { "type": "b", "id": "2" }] });
    let (status, answer) = post_json(&url, &call(1, "events.publishAll", events)).await;
    assert_eq!((status, answer["result"].as_array().unwrap().len()), (200, 2));
    let (_, page) = post_json(&url, &call(2, "events.history", json!({ "first": 1 }))).await;
    assert_eq!((&page["result"]["events"][0]["id"], &page["result"]["hasMore"]), (&json!("1"), &json!(true)));
    let (_, refused) = post_json(&url, &call(3, "events.subscribe", json!({}))).await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("WebSocket"), "{refused}");
    let (_, described) = post_json(&url, &call(4, "rpc.discover", json!({}))).await;
    assert!(described["result"]["openrpc"].is_string());
    let (_, wrong) =
        post_json(&url, &call(5, "events.publish", json!({ "event": { "type": "a", "taskId": "" } }))).await;
    assert_eq!(wrong["error"]["data"]["code"], "INVALID_EVENT", "{wrong}");
}

/// The examples of the specification (jsonrpc.org, section 7), with methods of ours in place of its arithmetic.
#[tokio::test]
async fn the_specifications_examples_hold_over_post_and_over_a_socket() {
    let server = TestServer::start();
    let unknown = json!({ "jsonrpc": "2.0", "method": "foobar", "id": "1" });
    let notification =
        json!({ "jsonrpc": "2.0", "method": "events.publish", "params": { "event": { "type": "a" } } });
    let cases: Vec<(String, Value)> = vec![
        (unknown.to_string(), json!(-32601)),
        (r#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#.to_owned(), json!(-32700)),
        (r#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#.to_owned(), json!(-32600)),
        (r#"[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},{"jsonrpc": "2.0", "method""#.to_owned(), json!(-32700)),
        ("[]".to_owned(), json!(-32600)),
        ("[1]".to_owned(), json!([-32600])),
        ("[1,2,3]".to_owned(), json!([-32600, -32600, -32600])),
        (json!([unknown, notification, { "foo": "boo" }]).to_string(), json!([-32601, -32600])),
    ];
    let mut socket = rpc(&server).await;
    result(&mut socket, 1, "gateway.unsubscribe", json!({})).await;
    let numbers = |answer: &Value| match answer {
        Value::Array(answers) => answers.iter().map(|answer| answer["error"]["code"].clone()).collect(),
        answer => answer["error"]["code"].clone(),
    };
    for (text, expected) in cases {
        let request =
            reqwest::Client::new().post(server.url("/rpc")).header("content-type", "application/json");
        let answer = request.body(text.clone()).send().await.unwrap().text().await.unwrap();
        assert_eq!(numbers(&serde_json::from_str(&answer).unwrap()), expected, "{text}: {answer}");
        socket.send_text(&text).await;
        let Frame::Json(answer) = socket.next().await else { panic!("{text}") };
        assert_eq!(numbers(&answer), expected, "{text}: {answer}");
    }
    let (status, nothing) = post_json(&server.url("/rpc"), &json!([notification, notification])).await;
    assert_eq!((status, nothing), (204, json!("")));
    socket.close().await;
}
