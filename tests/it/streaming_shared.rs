//! `/graphql/stream`: graphql-sse's single connection mode, and its whole table of answers.

use crate::support::{DEADLINE, Stream, TestServer, get, request, sent};
use fanfare::{
    auth::Principal,
    event::{Draft, NewEvent},
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;

const PATH: &str = "/graphql/stream";
const TOKEN: &str = "x-graphql-event-stream-token";

async fn reserve(server: &TestServer) -> String {
    let answer = request(server, Method::PUT, PATH).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
    answer.text().await.unwrap()
}

fn opening(server: &TestServer, token: &str) -> RequestBuilder {
    request(server, Method::GET, PATH).header("accept", "text/event-stream").header(TOKEN, token)
}

fn starting(server: &TestServer, token: &str, operation: &Value) -> RequestBuilder {
    request(server, Method::POST, PATH)
        .header(TOKEN, token)
        .header("content-type", "application/json")
        .body(operation.to_string())
}

fn operation(id: &str, query: &str) -> Value {
    json!({ "query": query, "extensions": { "operationId": id } })
}

async fn start(server: &TestServer, token: &str, id: &str, query: &str) -> u16 {
    sent(starting(server, token, &operation(id, query))).await.0
}

async fn stop(server: &TestServer, token: &str, id: &str) -> u16 {
    let path = format!("{PATH}?operationId={id}");
    sent(request(server, Method::DELETE, &path).header(TOKEN, token)).await.0
}

fn code(answer: &Value) -> &Value {
    &answer["errors"][0]["extensions"]["code"]
}

#[tokio::test]
async fn many_operations_share_one_stream() {
    let server = TestServer::start();
    let token = reserve(&server).await;
    let mut stream = Stream::open(opening(&server, &token)).await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(start(&server, &token, "tasks", "subscription { tasks { id } }").await, 202);
    assert_eq!(start(&server, &token, "a\"\n", "subscription { agents { id } }").await, 202);
    server.publish("agent.created", json!({ "id": "1" })).await;
    let cursor = server.publish("task.created", json!({ "id": "2" })).await;
    let next = stream.named("next").await;
    assert_eq!(
        (&next.json()["id"], &next.json()["payload"]["data"]),
        (&json!("a\"\n"), &json!({ "agents": { "id": "1" } }))
    );
    let next = stream.named("next").await.json();
    assert_eq!((&next["id"], &next["payload"]["data"]["tasks"]["id"]), (&json!("tasks"), &json!("2")));
    assert_eq!(next["payload"]["extensions"]["cursor"], *cursor);

    assert_eq!(start(&server, &token, "query", "{ event(id: \"2\") { type } }").await, 202);
    let next = stream.named("next").await.json();
    assert_eq!(
        next,
        json!({ "id": "query", "payload": { "data": { "event": { "type": "task.created" } } } })
    );
    assert_eq!(stream.named("complete").await.json(), json!({ "id": "query" }));

    assert_eq!(stop(&server, &token, "tasks").await, 200);
    assert_eq!(stream.named("complete").await.json(), json!({ "id": "tasks" }));
    assert_eq!(server.fanout.len().1, 1, "a stopped subscription is gone at once");
    server.publish("task.created", json!({ "id": "3" })).await;
    server.publish("agent.created", json!({ "id": "4" })).await;
    assert_eq!(stream.named("next").await.json()["payload"]["data"]["agents"]["id"], "4");
    assert_eq!(stop(&server, &token, "tasks").await, 200, "what is over is stopped as well");
    assert_eq!(start(&server, &token, "tasks", "subscription { tasks { id } }").await, 202, "its id is free");
    stream.close(&server).await;
    assert_eq!(server.fanout.len(), (0, 0));
    assert_eq!(start(&server, &token, "late", "{ __typename }").await, 404);
}

#[tokio::test]
async fn what_is_said_before_the_stream_is_open_is_kept_for_it() {
    let server = TestServer::start();
    let token = reserve(&server).await;
    let ready = json!({ "query": "subscription { tasks { id } }", "extensions": { "operationId": "a", "ready": true } });
    assert_eq!(sent(starting(&server, &token, &ready)).await.0, 202);
    assert_eq!(start(&server, &token, "b", "{ __typename }").await, 202);
    for number in 0..100 {
        server.publish("task.progress", json!({ "id": number.to_string() })).await;
    }
    let mut stream = Stream::open(
        request(&server, Method::GET, &format!("{PATH}?token={token}")).header("accept", "text/event-stream"),
    )
    .await;
    assert_eq!(stream.named("next").await.json()["payload"]["extensions"]["ready"], true);
    assert_eq!(stream.named("next").await.json()["id"], "b");
    assert_eq!(stream.named("complete").await.json(), json!({ "id": "b" }));
    for number in 0..100 {
        assert_eq!(stream.named("next").await.json()["payload"]["data"]["tasks"]["id"], number.to_string());
    }
    stream.close(&server).await;
}

#[tokio::test]
async fn every_answer_of_the_protocol() {
    let server = TestServer::start();
    let query = operation("q", "{ __typename }");
    let token = reserve(&server).await;
    let bare = |method| request(&server, method, PATH);
    let post = |operation: &Value| starting(&server, &token, operation);
    let cases = [
        // No token, then one that is not (or no more) known.
        (bare(Method::DELETE), 401, "UNAUTHENTICATED"),
        (
            bare(Method::POST).header("content-type", "application/json").body(query.to_string()),
            401,
            "UNAUTHENTICATED",
        ),
        (get(&server, PATH, &[("query", "{ __typename }")]), 401, "UNAUTHENTICATED"),
        (opening(&server, "nobody"), 404, "NOT_FOUND"),
        (starting(&server, "nobody", &query), 404, "NOT_FOUND"),
        (bare(Method::DELETE).header(TOKEN, "nobody"), 404, "NOT_FOUND"),
        (bare(Method::PUT).header(TOKEN, &token), 409, "BAD_REQUEST"),
        // Operations.
        (post(&json!({ "query": "{ __typename }" })), 400, "BAD_REQUEST"),
        (post(&operation("", "{ __typename }")), 400, "BAD_REQUEST"),
        (post(&operation(&"x".repeat(257), "{ __typename }")), 400, "BAD_REQUEST"),
        (post(&json!({ "query": "{ a }", "extensions": { "operationId": 1 } })), 400, "BAD_REQUEST"),
        (post(&operation("q", "{")), 400, "BAD_REQUEST"),
        (post(&operation("q", "{ nope }")), 400, "BAD_REQUEST"),
        (post(&operation("q", "subscription { nope { id } }")), 400, "BAD_REQUEST"),
        (post(&json!([])), 400, "BAD_REQUEST"),
        (bare(Method::DELETE).header(TOKEN, &token), 400, "BAD_REQUEST"),
    ];
    for (request, expected, name) in cases {
        let (status, answer) = sent(request).await;
        assert_eq!((status, code(&answer)), (expected, &json!(name)), "{answer}");
    }
    let mutation = [
        ("query", "mutation { publish(event: { type: \"a\" }) { id } }"),
        ("extensions", r#"{"operationId":"m"}"#),
    ];
    let problems = [
        (bare(Method::PATCH), 405),
        (get(&server, PATH, &mutation).header(TOKEN, &token), 405),
        (bare(Method::POST).header(TOKEN, &token).header("content-type", "text/plain").body("{}"), 415),
        (starting(&server, &token, &query).header("accept", "image/png"), 406),
        (bare(Method::PUT).header("accept", "application/json"), 406),
    ];
    for (request, expected) in problems {
        let (status, answer) = sent(request).await;
        assert_eq!(status, expected, "{answer}");
    }
    assert_eq!(server.hub.bounds().head.get(), 0, "nothing was published");

    let mut stream = Stream::open(opening(&server, &token)).await;
    let (status, answer) = sent(opening(&server, &token)).await;
    assert_eq!(status, 409, "one stream a reservation: {answer}");
    assert_eq!(start(&server, &token, "s", "subscription { events { id } }").await, 202);
    let (status, answer) = sent(post(&operation("s", "{ __typename }"))).await;
    assert_eq!(status, 409, "{answer}");
    let by_get = [("query", "{ __typename }"), ("extensions", r#"{"operationId":"g"}"#)];
    assert_eq!(sent(get(&server, PATH, &by_get).header(TOKEN, &token)).await.0, 202);
    assert_eq!(stream.named("next").await.json()["id"], "g");
    stream.close(&server).await;
    assert_eq!(sent(opening(&server, &token)).await.0, 404, "a token opens one stream, once");
}

#[tokio::test]
async fn the_failure_of_a_valid_subscription_is_its_result() {
    let server = TestServer::start();
    let other = TestServer::start();
    let foreign = other.publish("a", json!({})).await;
    let token = reserve(&server).await;
    let mut stream = Stream::open(opening(&server, &token)).await;
    let lost = format!("subscription {{ events(start: {{ after: \"{foreign}\" }}) {{ id }} }}");
    for (query, expected) in
        [(&*lost, "EPOCH_CHANGED"), ("subscription { notifications { id } }", "UNAUTHENTICATED")]
    {
        assert_eq!(start(&server, &token, "a", query).await, 202);
        let next = stream.named("next").await.json();
        assert_eq!((&next["id"], code(&next["payload"])), (&json!("a"), &json!(expected)), "{next}");
        assert_eq!(stream.named("complete").await.json(), json!({ "id": "a" }));
    }
    stream.close(&server).await;
}

#[tokio::test]
async fn without_a_token_the_path_serves_distinct_connections() {
    let server = TestServer::start();
    let operation = json!({ "query": "subscription { tasks { id } }" });
    let opened = request(&server, Method::POST, PATH)
        .header("accept", "text/event-stream")
        .header("content-type", "application/json")
        .body(operation.to_string());
    let mut stream = Stream::open(opened).await;
    server.publish("task.created", json!({ "id": "1" })).await;
    assert_eq!(stream.named("next").await.json()["data"]["tasks"]["id"], "1");
    stream.close(&server).await;
}

#[tokio::test]
async fn a_reservation_that_is_not_taken_up_in_time_is_gone_with_its_operations() {
    let server = TestServer::with(|config| config.connection_init_timeout = Duration::from_millis(100));
    let (taken, left) = (reserve(&server).await, reserve(&server).await);
    let mut stream = Stream::open(opening(&server, &taken)).await;
    for token in [&taken, &left] {
        assert_eq!(start(&server, token, "a", "subscription { events { id } }").await, 202);
    }
    let expired = async {
        while server.fanout.len().1 > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, expired).await.expect("the reservation must expire");
    assert_eq!(sent(opening(&server, &left)).await.0, 404);
    server.publish("a", json!({ "id": "1" })).await;
    assert_eq!(stream.named("next").await.json()["payload"]["data"]["events"]["id"], "1");
    stream.close(&server).await;
}

#[tokio::test]
async fn reservations_and_operations_are_bounded() {
    let server = TestServer::with(|config| {
        config.connections_max = 8;
        config.subscriptions_max = 2;
    });
    let mut tokens = Vec::new();
    for _ in 0..8 {
        tokens.push(reserve(&server).await);
    }
    let (status, problem) = sent(request(&server, Method::PUT, PATH)).await;
    assert_eq!((status, &problem["code"]), (429, &json!("TOO_MANY")));
    for id in ["a", "b"] {
        assert_eq!(start(&server, &tokens[0], id, "subscription { events { id } }").await, 202);
    }
    let third = operation("c", "subscription { events { id } }");
    let (status, answer) = sent(starting(&server, &tokens[0], &third)).await;
    assert_eq!((status, code(&answer)), (429, &json!("TOO_MANY")));
    assert_eq!(stop(&server, &tokens[0], "a").await, 200);
    assert_eq!(sent(starting(&server, &tokens[0], &third)).await.0, 202);
}

#[tokio::test]
async fn a_server_that_ends_ends_the_stream_and_its_reservations() {
    let server = TestServer::start();
    let (open, unopened) = (reserve(&server).await, reserve(&server).await);
    let stream = Stream::open(opening(&server, &open)).await;
    for token in [&open, &unopened] {
        assert_eq!(start(&server, token, "a", "subscription { events { id } }").await, 202);
    }
    // Checks that nothing is left.
    tokio::task::spawn_blocking(move || server.stop()).await.unwrap();
    assert!(stream.rest().await.iter().all(|block| block.event != "complete"));
}

#[tokio::test]
async fn operations_started_while_events_pour_in_miss_nothing() {
    let server = TestServer::start();
    let token = reserve(&server).await;
    let mut stream = Stream::open(opening(&server, &token)).await;
    let is_enough = Arc::new(AtomicBool::new(false));
    let pouring = tokio::spawn({
        let (hub, is_enough) = (server.hub.clone(), Arc::clone(&is_enough));
        async move {
            let mut number = 0;
            while !is_enough.load(Ordering::Relaxed) {
                let event = json!({ "id": number.to_string(), "type": "task.progress" }).to_string();
                let event = NewEvent::new(Draft::from_json(&event).unwrap(), hub.limits()).unwrap();
                hub.publish(&Principal::anonymous(), vec![event]).await.unwrap();
                number += 1;
            }
        }
    });
    let mut names = HashMap::new();
    for number in 0..40 {
        let id = number.to_string();
        let operation = json!({ "query": "subscription { tasks { id } }", "extensions": { "operationId": id, "ready": true } });
        assert_eq!(sent(starting(&server, &token, &operation)).await.0, 202);
        names.insert(id, None);
    }
    is_enough.store(true, Ordering::Relaxed);
    pouring.await.unwrap();
    let mut unfinished = names.len();
    while unfinished > 0 {
        let next = stream.named("next").await.json();
        let seen = names.get_mut(next["id"].as_str().unwrap()).unwrap();
        let extensions = &next["payload"]["extensions"];
        let offset = server.opened(&extensions["cursor"]);
        match seen.replace(offset) {
            None => assert_eq!(extensions["ready"], true, "the first word of an operation"),
            Some(before) => assert_eq!(offset, before.next(), "without gap or repeat"),
        }
        unfinished -= usize::from(offset == server.hub.bounds().head);
    }
    stream.close(&server).await;
}
