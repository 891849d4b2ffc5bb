//! Streaming forms of HTTP: graphql-sse distinct connections, multipart, and the feed of whole events.

use crate::support::{Block, DEADLINE, Stream, TestServer, get, request};
use fanfare::event::{Cursor, Epoch, Offset};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const MULTIPART: &str = "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json";
const TASKS: &str = "subscription ($start: StartPosition) { tasks(start: $start) { id } }";

fn post(server: &TestServer, accept: &str, operation: &Value) -> RequestBuilder {
    request(server, Method::POST, "/graphql")
        .header("accept", accept)
        .header("content-type", "application/json")
        .body(operation.to_string())
}

fn sse(server: &TestServer, operation: &Value) -> RequestBuilder {
    post(server, "text/event-stream", operation)
}

async fn status(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn tasks(server: &TestServer, numbers: std::ops::Range<u32>) -> Vec<String> {
    let mut cursors = Vec::new();
    for number in numbers {
        cursors.push(server.publish("task.progress", json!({ "id": number.to_string() })).await);
    }
    cursors
}

/// The next event of a feed is this one, and its cursor is its `id`.
async fn arrives(feed: &mut Stream, id: u32) -> String {
    let block = feed.named("").await;
    let event = block.json();
    assert_eq!((&event["id"], &event["cursor"]), (&json!(id.to_string()), &json!(block.id)));
    block.id.unwrap()
}

#[tokio::test]
async fn every_form_has_headers_that_let_events_through() {
    let server = TestServer::start();
    let subscription = json!({ "query": "subscription { events { id } }" });
    let multipart = "multipart/mixed; boundary=\"graphql\"; subscriptionSpec=1.0";
    let event_stream = "text/event-stream; charset=utf-8";
    let streams = [
        (Stream::open(sse(&server, &subscription)).await, event_stream),
        (Stream::open(post(&server, MULTIPART, &subscription)).await, multipart),
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
    let cursors = tasks(&server, 0..3).await;
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
    tasks(&server, 7..8).await;
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
        (post(&server, "multipart/mixed;deferSpec=20220824", &json!({ "query": "{ a }" })), 406),
    ];
    for (request, expected) in cases {
        let (status, answer) = status(request).await;
        assert_eq!(status, expected, "{answer}");
    }
    let (code, answer) =
        status(post(&server, "application/json", &json!({ "query": "subscription { events { id } }" })))
            .await;
    assert_eq!((code, &answer["errors"][0]["extensions"]["code"]), (200, &json!("BAD_REQUEST")), "{answer}");
}

#[tokio::test]
async fn the_last_event_id_wins_over_the_start_argument() {
    let server = TestServer::start();
    let cursors = tasks(&server, 0..10).await;
    let operation = json!({ "query": TASKS, "variables": { "start": { "after": cursors[1] } } });
    let mut argument = Stream::open(sse(&server, &operation)).await;
    assert_eq!(argument.named("next").await.json()["data"]["tasks"]["id"], "2");
    let mut header = Stream::open(sse(&server, &operation).header("last-event-id", &cursors[6])).await;
    assert_eq!(header.named("next").await.json()["data"]["tasks"]["id"], "7");

    let mut feed = Stream::events(&server, &format!("after={}", cursors[1])).await;
    assert_eq!(feed.named("ready").await.json()["resumed"], true);
    arrives(&mut feed, 2).await;
    drop(feed);
    let mut feed = Stream::events_after(&server, "last=3", &cursors[6]).await;
    assert_eq!(feed.named("ready").await.json(), json!({ "resumed": true, "cursor": cursors[6] }));
    arrives(&mut feed, 7).await;
    drop((argument, header));
    feed.close(&server).await;
}

#[tokio::test]
async fn a_feed_resumed_after_each_drop_has_every_event_once() {
    let server = TestServer::start();
    let mut feed = Stream::events(&server, "type=task.*").await;
    let ready = feed.named("ready").await;
    assert_eq!(ready.json()["resumed"], false);
    let mut last = ready.id.unwrap();
    for round in 0..5 {
        tasks(&server, round * 4..round * 4 + 2).await;
        last = arrives(&mut feed, round * 4).await;
        // The second one is lost on the way.
        feed.close(&server).await;
        tasks(&server, round * 4 + 2..round * 4 + 4).await;
        feed = Stream::events_after(&server, "type=task.*", &last).await;
        assert_eq!(feed.named("ready").await.json(), json!({ "resumed": true, "cursor": last }));
        for number in round * 4 + 1..round * 4 + 4 {
            last = arrives(&mut feed, number).await;
        }
    }
    assert!(Cursor::parse(&last).is_ok());
    feed.close(&server).await;
}

#[tokio::test]
async fn a_position_that_is_lost_is_told_as_a_gap_and_the_feed_goes_on() {
    let server = TestServer::start();
    let own = Cursor::parse(&tasks(&server, 0..3).await[2]).unwrap();
    let foreign = Cursor { epoch: Epoch::new(own.epoch.get() ^ 1), ..own };
    let ahead = Cursor { offset: Offset::new(9), ..own };
    let earliest = Cursor { offset: Offset::ZERO, ..own }.to_string();
    for (lost, code, goes_on) in [(foreign, "EPOCH_CHANGED", 0), (ahead, "CURSOR_AHEAD", u32::MAX)] {
        let mut by_header = Stream::events_after(&server, "", &lost.to_string()).await;
        let mut by_query = Stream::events(&server, &format!("after={lost}")).await;
        let head = u32::try_from(server.hub.bounds().head.get()).unwrap();
        for feed in [&mut by_header, &mut by_query] {
            let gap = feed.named("gap").await;
            assert_eq!((&gap.json()["code"], &gap.json()["resumed"]), (&json!(code), &json!(false)));
            assert_eq!((&gap.json()["earliest"], &gap.json()["cursor"]), (&json!(earliest), &json!(gap.id)));
            let ready = feed.named("ready").await;
            assert_eq!((&ready.json()["resumed"], &ready.id), (&json!(false), &gap.id));
            for number in goes_on..head {
                arrives(feed, number).await;
            }
        }
        tasks(&server, head..head + 1).await;
        arrives(&mut by_header, head).await;
        arrives(&mut by_query, head).await;
        drop(by_header);
        by_query.close(&server).await;

        let operation = json!({ "query": TASKS });
        let refused = sse(&server, &operation).header("last-event-id", lost.to_string());
        let blocks = Stream::open(refused).await.rest().await;
        let result = blocks.iter().find(|block| block.event == "next").unwrap().json();
        assert_eq!(result["errors"][0]["extensions"]["code"], code, "{result}");
        assert_eq!(result["errors"][0]["extensions"]["earliest"], *earliest, "{result}");
        assert_eq!(blocks.last().unwrap().event, "complete");
    }
    let (status, problem) =
        status(request(&server, Method::GET, "/events").header("last-event-id", "17")).await;
    assert_eq!(
        (status, &problem["code"], &problem["field"]),
        (400, &json!("CURSOR_INVALID"), &json!("Last-Event-ID"))
    );
}

#[tokio::test]
async fn the_query_string_is_the_filter() {
    let server = TestServer::start();
    let fields = [
        json!({ "type": "agent.created", "organizationId": "quant", "agentId": "a1" }),
        json!({ "type": "agent.failed", "organizationId": "acme", "priority": "HIGH" }),
        json!({ "type": "task.created", "organizationId": "quant", "taskId": "t 1".replace(' ', "-"), "source": "/ci" }),
        json!({ "type": "chat.message", "roomId": "r1", "userId": "u1", "correlationId": "c1" }),
        json!({ "type": "x.y", "domainId": "d1", "instanceId": "i1", "workflowId": "w1" }),
    ];
    for (id, fields) in fields.iter().enumerate() {
        let mut fields = fields.clone();
        fields["id"] = id.to_string().into();
        let event_type = fields["type"].as_str().unwrap().to_owned();
        server.publish(&event_type, fields).await;
    }
    let cases: [(&str, &[u32]); 19] = [
        ("", &[0, 1, 2, 3, 4]),
        ("type=agent.*", &[0, 1]),
        ("types=agent.created&type=task.*", &[0, 2]),
        ("type=agent.*&organizationId=quant", &[0]),
        ("organizationId=quant&organizationId=acme", &[0, 1, 2]),
        ("category=chat&categories=task", &[2, 3]),
        ("category=custom", &[4]),
        ("domainId=d1", &[4]),
        ("instanceId=i1", &[4]),
        ("agentId=a1", &[0]),
        ("taskId=t-1", &[2]),
        ("workflowId=w1", &[4]),
        ("userId=u1", &[3]),
        ("roomId=r1", &[3]),
        ("source=%2Fci", &[2]),
        ("correlationId=c1", &[3]),
        ("minPriority=HIGH", &[1]),
        ("anyOf=%7B%22taskId%22%3A%22t-1%22%7D&anyOf=%7B%22roomId%22%3A%5B%22r1%22%5D%7D", &[2, 3]),
        ("organizationId=nobody", &[]),
    ];
    for (query, expected) in cases {
        let mut feed = Stream::events(&server, &format!("earliest=true&{query}")).await;
        assert_eq!(feed.named("ready").await.json()["resumed"], false);
        for id in expected {
            arrives(&mut feed, *id).await;
        }
        feed.close(&server).await;
    }
}

#[tokio::test]
async fn each_start_of_a_feed_starts_where_it_says() {
    let server = TestServer::start();
    let cursors = tasks(&server, 0..20).await;
    let after = format!("after={}", cursors[4]);
    let cases = [
        ("last=3", 17),
        ("last=100", 0),
        ("earliest=true", 0),
        (&*after, 5),
        ("time=2020-01-01T00:00:00Z", 0),
    ];
    for (start, first) in cases {
        let mut feed = Stream::events(&server, &format!("type=task.*&{start}")).await;
        feed.named("ready").await;
        for number in first..20 {
            arrives(&mut feed, number).await;
        }
        feed.close(&server).await;
    }
}

#[tokio::test]
async fn a_wrong_parameter_is_named_with_what_is_allowed() {
    let server = TestServer::start();
    let cases = [
        ("typ=agent.*", "query", "typ"),
        ("start=x", "query", "start"),
        ("Type=a", "query", "Type"),
        ("type=a..b", "types[0]", "a..b"),
        ("category=nope", "categories[0]", "nope"),
        ("organizationId=a%20b", "organizationId[0]", "a b"),
        ("minPriority=URGENT", "minPriority", "URGENT"),
        ("minPriority=LOW&minPriority=HIGH", "minPriority", "two values"),
        ("last=0", "start.last", "0"),
        ("last=10001", "start.last", "10001"),
        ("last=ten", "last", "ten"),
        ("last=1&last=2", "last", "two values"),
        ("last=1&earliest=true", "start", "last, earliest"),
        ("earliest=false", "start.earliest", "false"),
        ("earliest=yes", "earliest", "yes"),
        ("time=yesterday", "time", "yesterday"),
        ("time=2026-11-20T10:00:00+01:00", "time", "2026-11-20T10:00:00 01:00"),
        ("anyOf=x", "anyOf", "x"),
        ("anyOf=%5B%5D", "anyOf", "[]"),
    ];
    for (query, field, given) in cases {
        let (code, problem) = status(request(&server, Method::GET, &format!("/events?{query}"))).await;
        assert_eq!((code, &problem["code"]), (400, &json!("INVALID_FILTER")), "{query}: {problem}");
        assert_eq!((&problem["field"], &problem["given"]), (&json!(field), &json!(given)), "{query}");
        assert!(problem["allowed"].as_str().is_some_and(|allowed| !allowed.is_empty()), "{problem}");
    }
    let others = [("after=x", 400, "CURSOR_INVALID"), ("anyOf=%7B%22nope%22%3A1%7D", 400, "BAD_REQUEST")];
    for (query, expected, code) in others {
        let (status, problem) = status(request(&server, Method::GET, &format!("/events?{query}"))).await;
        assert_eq!((status, &problem["code"]), (expected, &json!(code)), "{problem}");
    }
    let all = status(request(&server, Method::GET, "/events?nope=1")).await.1["allowed"].to_string();
    for name in ["type", "organizationId", "correlationId", "minPriority", "anyOf", "after", "earliest"] {
        assert!(all.contains(name), "{all}");
    }
    let (code, _) =
        status(request(&server, Method::GET, "/events").header("accept", "application/json")).await;
    assert_eq!(code, 406);
}

#[tokio::test]
async fn silence_is_filled_and_moves_the_position_of_a_quiet_feed() {
    let server = TestServer::with(|config| config.ping_interval = Duration::from_millis(20));
    let mut feed = Stream::events(&server, "type=task.*").await;
    let ready = feed.named("ready").await.id.unwrap();
    let beat = feed.block().await.unwrap();
    assert_eq!(beat, Block::default(), "a comment as long as nothing is new");
    let passed = server.publish("agent.created", json!({})).await;
    assert_ne!(passed, ready);
    let checkpoint = feed.named("checkpoint").await;
    assert_eq!((checkpoint.id.as_ref(), checkpoint.json()), (Some(&passed), json!({ "cursor": passed })));
    let mut again = Stream::events_after(&server, "type=task.*", &passed).await;
    assert_eq!(again.named("ready").await.json(), json!({ "resumed": true, "cursor": passed }));

    let operation = json!({ "query": TASKS });
    let mut distinct = Stream::open(sse(&server, &operation)).await;
    let head = server.publish("agent.created", json!({})).await;
    while distinct.block().await.unwrap().id.as_ref() != Some(&head) {}
    let mut multipart = Stream::open(post(&server, MULTIPART, &operation)).await;
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
    let mut stream = Stream::open(post(&server, MULTIPART, &operation)).await;
    let cursors = tasks(&server, 0..2).await;
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

    let answer = post(&server, MULTIPART, &json!({ "query": "{ stats { events } }" })).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
    let only = "multipart/mixed;subscriptionSpec=1.0";
    for query in ["{ __typename }", "subscription { nope { id } }"] {
        let mut stream = Stream::open(post(&server, only, &json!({ "query": query }))).await;
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
    let mut multipart = Stream::open(post(&server, MULTIPART, &operation)).await;
    let last = tasks(&server, 0..1).await.remove(0);
    feed.named("ready").await;
    arrives(&mut feed, 0).await;
    distinct.named("next").await;
    multipart.until("{\"payload\"").await.unwrap();
    tokio::task::spawn_blocking(move || server.stop()).await.unwrap();

    let blocks = feed.rest().await;
    let ended = blocks.last().unwrap();
    assert_eq!((&*ended.event, &ended.json()["code"], &ended.id), ("ended", &json!("UNAVAILABLE"), &None));
    let position = blocks.iter().rev().find_map(|block| block.id.clone());
    assert_eq!(position.unwrap_or(last.clone()), last);
    let pause = blocks.iter().find_map(|block| block.retry).expect("how long to wait");
    assert!((1_000..4_000).contains(&pause));
    assert!(
        distinct.rest().await.iter().all(|block| block.event != "complete"),
        "a complete would be the end"
    );
    let rest = multipart.until("--graphql--\r\n").await.unwrap();
    assert!(rest.contains(r#"{"payload":null,"errors":[{"#) && rest.contains("UNAVAILABLE"), "{rest}");

    let server = TestServer::on_disk(dir.path());
    tasks(&server, 1..2).await;
    let mut feed = Stream::events_after(&server, "type=task.*", &last).await;
    assert_eq!(feed.named("ready").await.json()["resumed"], true);
    arrives(&mut feed, 1).await;
    feed.close(&server).await;
}

#[tokio::test]
async fn more_streams_on_a_connection_than_it_may_have_subscriptions_are_refused() {
    let server = TestServer::with(|config| config.subscriptions_max = 1);
    let socket = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut ask = || {
        let url = format!("http://{}/events", server.address);
        client.send_request(hyper::Request::get(url).body(Empty::<bytes::Bytes>::new()).unwrap())
    };
    let first = ask().await.unwrap();
    assert_eq!(first.status(), 200);
    assert_eq!(ask().await.unwrap().status(), 429);
    drop(first);
    let ended = async {
        while server.hub.metrics().streams_open.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, ended).await.expect("a stream that is reset ends");
    assert_eq!(ask().await.unwrap().status(), 200);
    connection.abort();
    // The socket goes with its task.
    assert!(connection.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_and_what_it_got_has_no_gap() {
    let server = TestServer::with(|config| {
        config.write_timeout = Duration::from_millis(200);
        config.ping_interval = Duration::from_millis(50);
    });
    let mut stalled = TcpStream::connect(server.address).await.unwrap();
    stalled.write_all(b"GET /events?type=task.* HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut other = Stream::events(&server, "type=task.*").await;
    other.named("ready").await;
    while server.hub.metrics().streams_open.get() < 2 {
        tokio::task::yield_now().await;
    }
    let data = "x".repeat(100_000);
    let mut published = 0;
    while server.hub.metrics().slow_consumers_closed.get() == 0 {
        server.publish("task.log", json!({ "id": published.to_string(), "data": data })).await;
        arrives(&mut other, published).await;
        published += 1;
        assert!(published < 2_000, "the stalled reader must have been cut by now");
    }
    let mut text = Vec::new();
    // The cut shows as a reset or as an end.
    let _ = timeout(DEADLINE, stalled.read_to_end(&mut text)).await.expect("the socket must be closed");
    let text = String::from_utf8_lossy(&text);
    let ids: Vec<u32> = text
        .match_indices("data: {\"id\":\"")
        .map(|(at, mark)| text[at + mark.len()..].split('"').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(ids, (0..u32::try_from(ids.len()).unwrap()).collect::<Vec<_>>());
    assert!(!ids.is_empty() && ids.len() < published as usize);
    other.close(&server).await;
}

#[tokio::test]
async fn a_slow_reader_gets_everything_from_the_log_when_its_budget_is_used_up() {
    let server = TestServer::with(|config| config.mailbox_bytes_max = 64 * 1024);
    let mut feed = Stream::events(&server, "type=task.*").await;
    let data = "x".repeat(50_000);
    for number in 0..200 {
        server.publish("task.log", json!({ "id": number.to_string(), "data": data })).await;
    }
    feed.named("ready").await;
    for number in 0..200 {
        arrives(&mut feed, number).await;
    }
    assert!(server.hub.metrics().mailbox_lagged.get() > 0, "the reader must have fallen behind");
    feed.close(&server).await;
}
