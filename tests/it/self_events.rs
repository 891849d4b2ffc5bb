//! What a server says about itself: each event arrives at a real subscriber as the object of its family, with numbers that are
//! right; families that are off are silent; nothing that is told is the cause of more.

/// How the server does: snapshots, `stats` and metrics say the same.
mod health;
/// Whom it is told to: tenants see their own, and nobody sees a secret.
mod privacy;

use crate::support::{Block, Frame, Socket, Stream, TestServer, ask, post_json, request, sent, sse};
use fanfare::{
    auth::Principal,
    config::Config,
    event::{Draft, Family, NewEvent},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Longer than any test: the first measurement is the only one.
const NEVER: Duration = Duration::from_secs(86_400);

const ALL: [Family; 4] = [Family::Health, Family::System, Family::Performance, Family::Graphql];

/// A server that tells these families.
fn telling(families: &[Family]) -> TestServer {
    telling_with(families, |_| ())
}

fn telling_with(families: &[Family], change: impl FnOnce(&mut Config)) -> TestServer {
    TestServer::with(|config| {
        config.self_events = families.to_vec();
        config.health_interval = NEVER;
        change(config);
    })
}

/// The next event under a root field whose type is this.
async fn next(socket: &mut Socket, root: &str, event_type: &str) -> Value {
    loop {
        let event = socket.data("a").await[root].clone();
        if event["type"] == event_type {
            return event;
        }
    }
}

const SYSTEM: &str = "subscription { system { __typename id type source persist userId component status message error data } }";

#[tokio::test]
async fn connections_of_every_kind_are_told_when_they_come_and_when_they_go() {
    let server = telling(&[Family::System]);
    let mut watching = Socket::graphql(&server).await;
    watching.subscribe("a", SYSTEM).await;
    let own = server.graphql("{ connections { nodes { connectionId } } }", json!({})).await;
    let own = &own["data"]["connections"]["nodes"][0]["connectionId"];
    let socket = Socket::graphql(&server).await;
    let came = loop {
        let came = next(&mut watching, "system", "system.connection_established").await;
        if came["data"]["connectionId"] != *own {
            break came;
        }
    };
    assert_eq!((&came["__typename"], &came["source"]), (&json!("SystemEvent"), &json!("fanfare")));
    assert_eq!((&came["component"], &came["status"]), (&json!("connection"), &json!("established")));
    assert_eq!(
        (&came["persist"], &came["data"]["protocol"]),
        (&json!(false), &json!("graphql-transport-ws"))
    );
    socket.close().await;
    let left = next(&mut watching, "system", "system.connection_closed").await;
    assert_eq!(left["data"]["connectionId"], came["data"]["connectionId"]);
    assert_eq!((&left["data"]["closeCode"], &left["data"]["reason"]), (&json!(1005), &json!("left")));
    assert_eq!(left["data"]["since"], came["data"]["since"]);

    let stream = Stream::events(&server, "type=task.*").await;
    let came = next(&mut watching, "system", "system.connection_established").await;
    assert_eq!(came["data"]["protocol"], "event feed", "{came}");
    stream.close(&server).await;
    let left = next(&mut watching, "system", "system.connection_closed").await;
    assert_eq!((&left["data"]["closeCode"], &left["data"]["reason"]), (&Value::Null, &json!("gone")));

    let mut broken = Socket::connect(&server, "/rpc", None).await;
    broken.send_binary(&[1]).await;
    let error = next(&mut watching, "system", "system.error").await;
    assert_eq!((&error["component"], &error["error"]), (&json!("connection"), &json!("protocol-error")));
    assert_eq!((&error["data"]["closeCode"], &error["data"]["protocol"]), (&json!(4400), &json!("json-rpc")));
    next(&mut watching, "system", "system.connection_closed").await;
    watching.close().await;
}

#[tokio::test]
async fn the_beginning_is_history_and_the_end_comes_before_the_connections_are_closed() {
    let dir = tempfile::tempdir().unwrap();
    let on_disk = |config: &mut Config| {
        config.store = fanfare::config::Store::Sqlite;
        config.data_dir = dir.path().to_owned();
    };
    let server = telling_with(&[Family::System], on_disk);
    let mut socket = Socket::graphql(&server).await;
    let query = "subscription { system(start: { earliest: true }) { type status persist data } }";
    socket.subscribe("a", query).await;
    let started = next(&mut socket, "system", "system.daemon_started").await;
    assert_eq!((&started["status"], &started["persist"]), (&json!("started"), &json!(true)));
    assert_eq!(started["data"]["version"], env!("CARGO_PKG_VERSION"));
    socket.close().await;
    let mut socket = Socket::graphql(&server).await;
    socket.subscribe("a", SYSTEM).await;
    let streams = [
        Stream::open(sse(&server, &json!({ "query": "subscription { system { type } }" }))).await,
        Stream::events(&server, "type=system.daemon_stopping").await,
    ];
    let stopping = tokio::task::spawn_blocking(move || server.stop());
    let stopped = next(&mut socket, "system", "system.daemon_stopping").await;
    assert_eq!((&stopped["status"], &stopped["persist"]), (&json!("stopping"), &json!(true)));
    let last = loop {
        match socket.next().await {
            Frame::Json(_) => {}
            last => break last,
        }
    };
    assert!(matches!(last, Frame::Close(1012, _)), "{last:?}");
    for stream in streams {
        let blocks = stream.rest().await;
        let tells =
            |block: &Block| block.data.as_ref().is_some_and(|data| data.contains("system.daemon_stopping"));
        assert!(blocks.iter().any(tells), "{blocks:?}");
    }
    drop(socket);
    stopping.await.unwrap();

    let server = telling_with(&[Family::System], on_disk);
    let mut socket = Socket::graphql(&server).await;
    socket.subscribe("a", "subscription { system(start: { earliest: true }) { type persist } }").await;
    for kept in ["system.daemon_started", "system.daemon_stopping", "system.daemon_started"] {
        let event = loop {
            let event = socket.data("a").await["system"].clone();
            if event["persist"] == true {
                break event;
            }
        };
        assert_eq!(event["type"], kept);
    }
    socket.close().await;
}

const GRAPHQL: &str =
    "subscription Watching { graphql { __typename type operationName durationMs correlationId data } }";

#[tokio::test]
async fn an_operation_is_told_when_it_begins_and_when_it_is_over_under_the_id_of_its_request() {
    let server = telling(&[Family::Graphql]);
    let mut watching = Socket::graphql(&server).await;
    watching.subscribe("a", GRAPHQL).await;
    let own = next(&mut watching, "graphql", "graphql.subscription.started").await;
    assert_eq!(own["operationName"], "Watching");

    let body = json!({ "query": "query Who($x: Int = 1) { me { subject } a: events(first: $x, last: 1) { nodes { id } } }" });
    let answer =
        ask(&server, "application/json", &body).header("x-correlation-id", "c-1").send().await.unwrap();
    assert_eq!(answer.headers()["x-correlation-id"], "c-1");
    let started = next(&mut watching, "graphql", "graphql.query.started").await;
    assert_eq!((&started["__typename"], &started["operationName"]), (&json!("GraphqlEvent"), &json!("Who")));
    assert_eq!(
        (&started["correlationId"], &started["data"]),
        (&json!("c-1"), &json!({ "operationName": "Who" }))
    );
    let completed = next(&mut watching, "graphql", "graphql.query.completed").await;
    assert!(completed["durationMs"].as_f64().unwrap() > 0.0, "{completed}");
    assert_eq!((&completed["correlationId"], &completed["data"]["errors"]), (&json!("c-1"), &json!(1)));

    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let body = json!({ "query": "mutation { publish(event: { type: \"task.created\" }) { id } }" });
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    sent(ask(&server, "application/json", &body).header("traceparent", parent)).await;
    let started = next(&mut watching, "graphql", "graphql.mutation.started").await;
    assert_eq!((&started["correlationId"], &started["operationName"]), (&json!(trace), &Value::Null));
    let completed = next(&mut watching, "graphql", "graphql.mutation.completed").await;
    assert_eq!((&completed["correlationId"], &completed["data"]["errors"]), (&json!(trace), &json!(0)));

    let mut socket = Socket::graphql(&server).await;
    let payload =
        json!({ "query": "subscription Tasks { tasks { id } }", "extensions": { "correlationId": "c-2" } });
    socket.send(json!({ "type": "subscribe", "id": "t", "payload": payload })).await;
    let started = next(&mut watching, "graphql", "graphql.subscription.started").await;
    assert_eq!((&started["correlationId"], &started["operationName"]), (&json!("c-2"), &json!("Tasks")));
    socket.send(json!({ "type": "complete", "id": "t" })).await;
    let completed = next(&mut watching, "graphql", "graphql.subscription.completed").await;
    assert_eq!((&completed["correlationId"], &completed["data"]["errors"]), (&json!("c-2"), &json!(0)));
    socket.close().await;

    let stream = Stream::open(sse(&server, &json!({ "query": "subscription { tasks { id } }" }))).await;
    let started = next(&mut watching, "graphql", "graphql.subscription.started").await;
    assert_eq!(started["correlationId"].as_str().unwrap().len(), 36, "one is made: {started}");
    stream.close(&server).await;
    let completed = next(&mut watching, "graphql", "graphql.subscription.completed").await;
    assert_eq!(completed["correlationId"], started["correlationId"]);
    watching.close().await;
}

#[tokio::test]
async fn a_subscription_that_fails_is_over_with_an_error() {
    let server = telling(&[Family::Graphql]);
    let mut watching = Socket::graphql(&server).await;
    watching.subscribe("a", GRAPHQL).await;
    next(&mut watching, "graphql", "graphql.subscription.started").await;
    let mut socket = Socket::graphql(&server).await;
    let payload = json!({ "query": "subscription { tasks(start: { after: \"nonsense\" }) { id } }" });
    socket.send(json!({ "type": "subscribe", "id": "t", "payload": payload })).await;
    assert_eq!(socket.json().await["type"], "error");
    let completed = next(&mut watching, "graphql", "graphql.subscription.completed").await;
    assert_eq!(completed["data"]["errors"], 1);
    socket.subscribe("u", "subscription { tasks { id } }").await;
    next(&mut watching, "graphql", "graphql.subscription.started").await;
    let mutation = "mutation { unsubscribe(connectionId: \"2\", subscriptionId: \"u\") }";
    assert_eq!(server.graphql(mutation, json!({})).await, json!({ "data": { "unsubscribe": true } }));
    let completed = next(&mut watching, "graphql", "graphql.subscription.completed").await;
    assert_eq!(completed["data"]["errors"], 1);
    socket.close().await;
    watching.close().await;
}

#[tokio::test]
async fn an_operation_that_takes_too_long_is_told_with_its_threshold() {
    let slow = |config: &mut Config| config.slow_operation = Duration::ZERO;
    let server = telling_with(&[Family::Performance], slow);
    let mut watching = Socket::graphql(&server).await;
    let fields = "__typename type operation durationMs thresholdMs correlationId data";
    watching.subscribe("a", &format!("subscription {{ performance {{ {fields} }} }}")).await;
    let body = json!({ "query": "query Who { me { subject } }" });
    sent(ask(&server, "application/json", &body).header("x-correlation-id", "c-1")).await;
    let told = next(&mut watching, "performance", "performance.slowOperation.detected").await;
    assert_eq!((&told["__typename"], &told["operation"]), (&json!("PerformanceEvent"), &json!("Who")));
    assert_eq!((&told["thresholdMs"], &told["correlationId"]), (&json!(0.0), &json!("c-1")));
    assert!(told["durationMs"].as_f64().unwrap() > 0.0 && told["data"]["kind"] == "query", "{told}");
    // What lasts as long as its client wants is not slow, and what is fast enough is not told.
    watching.nothing_more().await;
    watching.close().await;
    let server = telling(&[Family::Performance]);
    let mut watching = Socket::graphql(&server).await;
    watching.subscribe("a", "subscription { events { type } }").await;
    server.graphql("{ me { subject } }", json!({})).await;
    marker(&server, 1).await;
    assert_eq!(watching.data("a").await["events"]["type"], "marker.1");
    watching.close().await;
}

/// Publishes an event past the edge, so that nothing but it happens.
async fn marker(server: &TestServer, number: usize) {
    let draft = Draft { event_type: format!("marker.{number}"), ..Draft::default() };
    let event = NewEvent::new(draft, server.hub.limits()).unwrap();
    server.hub.publish(&Principal::anonymous(), vec![event]).await.unwrap();
}

/// A subscriber to everything is told what it does itself, once. From then on what is delivered to it causes nothing: between two
/// markers there is nothing but the snapshots of health.
#[tokio::test]
async fn what_is_told_is_never_the_cause_of_more() {
    let often = |config: &mut Config| {
        config.health_interval = Duration::from_millis(20);
        config.slow_operation = Duration::ZERO;
    };
    let server = telling_with(&[&ALL[..], &[Family::Presence]].concat(), often);
    let mut sockets = Vec::new();
    for path in ["/graphql", "/graphql", "/rpc"] {
        let mut socket = match path {
            "/graphql" => Socket::graphql(&server).await,
            _ => Socket::connect(&server, path, None).await,
        };
        if path == "/graphql" {
            socket.subscribe("a", "subscription All { events { type } }").await;
        }
        sockets.push(socket);
    }
    let mut feed = Stream::events(&server, "").await;
    feed.named("ready").await;
    let metrics = server.hub.metrics();
    let lost = metrics.self_events_lost.get();
    marker(&server, 0).await;
    let mut health = 0;
    let mut is_begun = false;
    while health < 20 {
        let event_type = sockets[0].data("a").await["events"]["type"].as_str().unwrap().to_owned();
        match event_type.as_str() {
            "marker.0" => is_begun = true,
            "health.snapshot" if is_begun => health += 1,
            // What the last of the beginnings causes may come after the marker, which goes another way.
            "system.connection_established"
            | "graphql.subscription.started"
            | "presence.connected"
            | "presence.changed"
                if health < 10 => {}
            other => assert!(!is_begun, "{other} after {health} snapshots"),
        }
    }
    assert_eq!(metrics.self_events_lost.get(), lost);
    while feed.named("").await.json()["type"] != "health.snapshot" {}
    for socket in sockets {
        socket.close().await;
    }
    feed.close(&server).await;
}

#[tokio::test]
async fn a_family_that_is_off_is_silent_and_each_can_be_on_alone() {
    for family in ALL {
        let change = |config: &mut Config| config.slow_operation = Duration::ZERO;
        let server = telling_with(&[family], change);
        let mut watching = Socket::graphql(&server).await;
        watching.subscribe("a", "subscription { events { type } }").await;
        server.graphql("{ me { subject } }", json!({})).await;
        Socket::graphql(&server).await.close().await;
        let prefix = format!("{}.", family.segment().unwrap());
        // The only snapshot of health came at the start, for nobody.
        let due = if family == Family::Health { 0 } else { 1 };
        for _ in 0..due {
            let event = watching.data("a").await;
            assert!(event["events"]["type"].as_str().unwrap().starts_with(&prefix), "{event}");
        }
        marker(&server, 1).await;
        loop {
            let event = watching.data("a").await;
            let event_type = event["events"]["type"].as_str().unwrap();
            if event_type == "marker.1" {
                break;
            }
            assert!(event_type.starts_with(&prefix), "{event_type} of {prefix}");
        }
        watching.close().await;
    }
}

#[tokio::test]
async fn an_event_without_a_correlation_id_gets_that_of_its_request_and_is_known_again_in_another() {
    let server = TestServer::start();
    let url = server.url("/events");
    let publish = async |headers: &[(&str, &str)], event: Value| {
        let request = request(&server, Method::POST, "/events").header("content-type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        sent(request.body(event.to_string())).await.1
    };
    let stamped = json!({ "type": "task.created", "id": "1" });
    assert_eq!(publish(&[("x-correlation-id", "c-1")], stamped.clone()).await["duplicate"], false);
    assert_eq!(publish(&[("x-correlation-id", "c-2")], stamped.clone()).await["duplicate"], true);
    assert_eq!(post_json(&url, &stamped).await.1["duplicate"], true);
    let own = json!({ "type": "task.created", "id": "2", "correlationId": "own" });
    assert_eq!(publish(&[("x-correlation-id", "c-1")], own.clone()).await["duplicate"], false);
    let other = json!({ "type": "task.created", "id": "2" });
    assert_eq!(publish(&[("x-correlation-id", "own")], other).await["code"], "ID_CONFLICT");
    let plain = json!({ "type": "task.created", "id": "3" });
    publish(&[("x-correlation-id", "no id")], plain).await;
    let history = server.graphql("{ events { nodes { id correlationId } } }", json!({})).await;
    let expected = [("1", json!("c-1")), ("2", json!("own")), ("3", Value::Null)];
    let expected = expected.map(|(id, correlation)| json!({ "id": id, "correlationId": correlation }));
    assert_eq!(history["data"]["events"]["nodes"], json!(expected));

    let payload = json!({
        "query": "mutation { publish(event: { type: \"task.created\", id: \"4\" }) { id } }",
        "extensions": { "correlationId": "c-4" },
    });
    post_json(&server.url("/graphql"), &payload).await;
    let event = server.graphql("{ event(id: \"4\") { correlationId } }", json!({})).await;
    assert_eq!(event["data"]["event"]["correlationId"], "c-4");
}
