//! GraphQL in streaming responses: graphql-sse distinct connections and multipart.

use crate::support::{Block, Stream, TestServer, ask, get, request, sent, sse};
use fanfare::event::Cursor;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const MULTIPART: &str = "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json";
const TASKS: &str = "subscription ($start: StartPosition) { tasks(start: $start) { id } }";

#[tokio::test]
async fn every_form_has_headers_that_let_events_through() {
    let server = TestServer::start();
    let subscription = json!({ "query": "subscription { events { id } }" });
    let multipart = "multipart/mixed; boundary=\"graphql\"; subscriptionSpec=1.0";
    let event_stream = "text/event-stream; charset=utf-8";
    let streams = [
        (Stream::open(sse(&server, &subscription)).await, event_stream),
        (Stream::open(ask(&server, MULTIPART, &subscription)).await, multipart),
        (Stream::events(&server, "").await, event_stream),
    ];
    for (stream, content_type) in &streams {
        assert_eq!(stream.header("content-type"), Some(*content_type));
        assert_eq!(stream.header("cache-control"), Some("no-store"));
        assert_eq!(stream.header("x-accel-buffering"), Some("no"));
        assert_eq!(stream.header("transfer-encoding"), Some("chunked"));
        assert_eq!((stream.header("content-length"), stream.header("content-encoding")), (None, None));
    }
    assert_eq!(server.hub.metrics().streams_open.get(), 3);
    for (stream, _) in streams {
        drop(stream);
    }
    Stream::events(&server, "").await.close(&server).await;
}

#[tokio::test]
async fn a_distinct_connection_streams_results_whose_id_is_their_cursor() {
    let server = TestServer::start();
    let operation = json!({ "query": "subscription { tasks { id } }", "extensions": { "ready": true } });
    let mut stream = Stream::open(sse(&server, &operation)).await;
    let ready = stream.named("next").await;
    assert_eq!(ready.json()["extensions"]["ready"], true);
    assert_eq!(ready.json()["extensions"]["cursor"], json!(ready.id));
    let cursors = server.tasks(0..3).await;
    for (number, cursor) in cursors.iter().enumerate() {
        let next = stream.named("next").await;
        assert_eq!(next.json()["data"]["tasks"]["id"], number.to_string());
        assert_eq!((next.id.as_ref(), &next.json()["extensions"]["cursor"]), (Some(cursor), &json!(cursor)));
    }
    stream.close(&server).await;
    assert_eq!(server.fanout.len(), (0, 0), "a disconnect ends the subscription at once");
}

#[tokio::test]
async fn queries_mutations_and_errors_are_one_result_and_complete() {
    let server = TestServer::start();
    let names = |blocks: &[Block]| -> Vec<String> {
        blocks.iter().filter(|block| block.data.is_some()).map(|block| block.event.clone()).collect()
    };
    let publish = r#"mutation { publish(event: { id: "1", type: "a" }) { id } }"#;
    let cases = [
        (json!({ "query": publish }), "/data/publish/id", json!("1")),
        (json!({ "query": "{ event(id: \"1\") { type } }" }), "/data/event/type", json!("a")),
        (json!({ "query": "{ nope }" }), "/errors/0/extensions/code", json!("BAD_REQUEST")),
        (json!({ "query": "{" }), "/errors/0/extensions/code", json!("BAD_REQUEST")),
        (
            json!({ "query": "subscription { nope { id } }" }),
            "/errors/0/extensions/code",
            json!("BAD_REQUEST"),
        ),
        (
            json!({ "query": "subscription { notifications { id } }" }),
            "/errors/0/extensions/code",
            json!("UNAUTHENTICATED"),
        ),
        (
            json!({ "query": "subscription { events(filter: { types: [] }) { id } }" }),
            "/errors/0/extensions/code",
            json!("INVALID_FILTER"),
        ),
    ];
    for (operation, place, expected) in cases {
        let blocks = Stream::open(sse(&server, &operation)).await.rest().await;
        assert_eq!(names(&blocks), ["next", "complete"], "{operation}");
        assert!(
            blocks.iter().all(|block| block.id.is_none()),
            "nothing is followed, so there is no position"
        );
        let result = blocks.iter().find(|block| block.event == "next").unwrap().json();
        assert_eq!(result.pointer(place), Some(&expected), "{result}");
        assert_eq!(blocks.last().unwrap().data.as_deref(), Some(""));
    }
}

#[tokio::test]
async fn a_subscription_by_get_streams_and_a_mutation_by_get_is_refused() {
    let server = TestServer::start();
    let by_get =
        |query: &str| get(&server, "/graphql", &[("query", query)]).header("accept", "text/event-stream");
    let mut stream = Stream::open(by_get("subscription { tasks { id } }")).await;
    server.tasks(7..8).await;
    assert_eq!(stream.named("next").await.json()["data"]["tasks"]["id"], "7");
    let answer = by_get("mutation { publish(event: { type: \"a\" }) { id } }").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()), (405, "GET, POST"));
    assert_eq!(server.hub.bounds().head.get(), 1, "nothing was published");
    stream.close(&server).await;
}

#[tokio::test]
async fn what_is_no_graphql_request_is_refused_before_the_stream() {
    let server = TestServer::start();
    let typed = |content_type: &str, text: &'static str| {
        let request = request(&server, Method::POST, "/graphql").header("accept", "text/event-stream");
        request.header("content-type", content_type).body(text)
    };
    let body = |text| typed("application/json", text);
    let cases = [
        (body("{"), 400),
        (body("[]"), 400),
        (body("{}"), 400),
        (body(r#"{"query":1}"#), 400),
        (body(r#"{"query":"{ a }","variables":[]}"#), 400),
        (typed("text/plain", r#"{"query":"{ a }"}"#), 415),
        (
            request(&server, Method::GET, "/graphql?query=%7Ba%7D&variables=%7B")
                .header("accept", "text/event-stream"),
            400,
        ),
        (request(&server, Method::PUT, "/graphql").header("accept", "text/event-stream"), 405),
        (request(&server, Method::GET, "/graphql?query=%7Ba%7D").header("accept", "image/png"), 406),
        (ask(&server, "multipart/mixed;deferSpec=20220824", &json!({ "query": "{ a }" })), 406),
    ];
    for (request, expected) in cases {
        let (status, answer) = sent(request).await;
        assert_eq!(status, expected, "{answer}");
    }
    let (code, answer) =
        sent(ask(&server, "application/json", &json!({ "query": "subscription { events { id } }" }))).await;
    assert_eq!((code, &answer["errors"][0]["extensions"]["code"]), (200, &json!("BAD_REQUEST")), "{answer}");
}

#[tokio::test]
async fn the_last_event_id_wins_over_the_start_argument() {
    let server = TestServer::start();
    let cursors = server.tasks(0..10).await;
    let operation = json!({ "query": TASKS, "variables": { "start": { "after": cursors[1] } } });
    let mut argument = Stream::open(sse(&server, &operation)).await;
    assert_eq!(argument.named("next").await.json()["data"]["tasks"]["id"], "2");
    let mut header = Stream::open(sse(&server, &operation).header("last-event-id", &cursors[6])).await;
    assert_eq!(header.named("next").await.json()["data"]["tasks"]["id"], "7");

    let mut feed = Stream::events(&server, &format!("after={}", cursors[1])).await;
    assert_eq!(feed.named("ready").await.json()["resumed"], true);
    feed.arrives(2).await;
    drop(feed);
    let mut feed = Stream::events_after(&server, "last=3", &cursors[6]).await;
    let ready = feed.named("ready").await.json();
    assert_eq!(
        (&ready["resumed"], server.opened(&ready["cursor"])),
        (&json!(true), server.opened(&cursors[6]))
    );
    feed.arrives(7).await;
    drop((argument, header));
    feed.close(&server).await;
}

#[tokio::test]
async fn silence_is_filled_and_moves_the_position_of_a_quiet_feed() {
    let server = TestServer::with(|config| config.ping_interval = Duration::from_millis(20));
    let mut feed = Stream::events(&server, "type=task.*").await;
    let ready = feed.named("ready").await.id.unwrap();
    let (one, other) = (feed.named("checkpoint").await, feed.named("checkpoint").await);
    assert_eq!(server.opened(&one.json()["cursor"]), server.opened(&ready));
    assert_eq!(server.opened(&other.json()["cursor"]), server.opened(&ready));
    assert_ne!(one, other, "silence says the same whether or not others publish");
    let passed = server.opened(&server.publish("agent.created", json!({})).await);
    let checkpoint = loop {
        let checkpoint = feed.named("checkpoint").await;
        assert_eq!(checkpoint.json(), json!({ "cursor": checkpoint.id }));
        if server.opened(&checkpoint.json()["cursor"]) == passed {
            break checkpoint.id.unwrap();
        }
    };
    let mut again = Stream::events_after(&server, "type=task.*", &checkpoint).await;
    let ready = again.named("ready").await.json();
    assert_eq!((&ready["resumed"], server.opened(&ready["cursor"])), (&json!(true), passed));

    let operation = json!({ "query": TASKS });
    let mut distinct = Stream::open(sse(&server, &operation)).await;
    let head = server.opened(&server.publish("agent.created", json!({})).await);
    while distinct.block().await.unwrap().id.is_none_or(|id| server.opened(&id) != head) {}
    let mut multipart = Stream::open(ask(&server, MULTIPART, &operation)).await;
    assert_eq!(multipart.until("--graphql").await.unwrap(), "\r\n--graphql");
    let beat = multipart.until("--graphql").await.unwrap();
    assert_eq!(beat, "\r\ncontent-type: application/json\r\n\r\n{}\r\n--graphql");
    drop((feed, distinct, multipart));
    again.close(&server).await;
}

#[tokio::test]
async fn a_multipart_part_is_a_payload_and_what_has_one_answer_gets_it_without_a_stream() {
    let server = TestServer::start();
    let operation = json!({ "query": "subscription { tasks { id } }" });
    let mut stream = Stream::open(ask(&server, MULTIPART, &operation)).await;
    let cursors = server.tasks(0..2).await;
    assert_eq!(stream.until("--graphql").await.unwrap(), "\r\n--graphql");
    for (number, cursor) in cursors.iter().enumerate() {
        let part = stream.until("--graphql").await.unwrap();
        let json: Value = serde_json::from_str(
            part.strip_prefix("\r\ncontent-type: application/json\r\n\r\n")
                .unwrap()
                .strip_suffix("\r\n--graphql")
                .unwrap(),
        )
        .unwrap();
        assert_eq!(json["payload"]["data"]["tasks"]["id"], number.to_string());
        assert_eq!(json["payload"]["extensions"]["cursor"], **cursor);
    }
    stream.close(&server).await;

    let answer = ask(&server, MULTIPART, &json!({ "query": "{ stats { events } }" })).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
    let only = "multipart/mixed;subscriptionSpec=1.0";
    for query in ["{ __typename }", "subscription { nope { id } }"] {
        let mut stream = Stream::open(ask(&server, only, &json!({ "query": query }))).await;
        let text = stream.until("--graphql--\r\n").await.unwrap();
        assert!(text.contains("\r\n\r\n{\"payload\":{\""), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_ends_ends_every_stream_so_that_its_reader_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::on_disk(dir.path());
    let operation = json!({ "query": "subscription { tasks { id } }" });
    let mut feed = Stream::events(&server, "type=task.*").await;
    let mut distinct = Stream::open(sse(&server, &operation)).await;
    let mut multipart = Stream::open(ask(&server, MULTIPART, &operation)).await;
    let last = server.tasks(0..1).await.remove(0);
    feed.named("ready").await;
    feed.arrives(0).await;
    distinct.named("next").await;
    multipart.until("{\"payload\"").await.unwrap();
    let epoch = server.hub.epoch();
    tokio::task::spawn_blocking(move || server.stop()).await.unwrap();

    let blocks = feed.rest().await;
    let ended = blocks.last().unwrap();
    assert_eq!((&*ended.event, &ended.json()["code"], &ended.id), ("ended", &json!("UNAVAILABLE"), &None));
    let position = blocks.iter().rev().find_map(|block| block.id.clone());
    let opened = |cursor: &str| epoch.open(Cursor::parse(cursor).unwrap()).unwrap();
    assert_eq!(opened(&position.unwrap()), opened(&last));
    let pause = blocks.iter().find_map(|block| block.retry).expect("how long to wait");
    assert!((1_000..4_000).contains(&pause));
    assert!(
        distinct.rest().await.iter().all(|block| block.event != "complete"),
        "a complete would be the end"
    );
    let rest = multipart.until("--graphql--\r\n").await.unwrap();
    assert!(rest.contains(r#"{"payload":null,"errors":[{"#) && rest.contains("UNAVAILABLE"), "{rest}");

    let server = TestServer::on_disk(dir.path());
    server.tasks(1..2).await;
    let mut feed = Stream::events_after(&server, "type=task.*", &last).await;
    assert_eq!(feed.named("ready").await.json()["resumed"], true);
    feed.arrives(1).await;
    feed.close(&server).await;
}
