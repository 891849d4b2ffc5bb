//! Events that are delivered and not kept, from every way in to every way out: in their place among the others, once, and never
//! again.

use crate::support::{
    Access, Line, May, Past, Root, Socket, Start, TestServer, Wanted, Way, by_id, request, sent,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// A family that every way shows whole; the gateway's own would lose their ids.
const TYPE: &str = "x.tick";

/// Publishes an event in the words of each way in, and gives its cursor and whether it was there already.
async fn publish(server: &TestServer, token: &str, way: usize, event: &Value) -> (String, bool) {
    let publish = "mutation ($event: NewEvent!) { publish(event: $event) { cursor duplicate } }";
    let publish_all = "mutation ($events: [NewEvent!]!) { publishAll(events: $events) { cursor duplicate } }";
    let call = |method, params| json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let (path, body, answer) = match way % 6 {
        0 => ("/events", event.clone(), ""),
        1 => ("/events", json!([event]), "/0"),
        2 => ("/graphql", json!({ "query": publish, "variables": { "event": event } }), "/data/publish"),
        3 => (
            "/graphql",
            json!({ "query": publish_all, "variables": { "events": [event] } }),
            "/data/publishAll/0",
        ),
        4 => ("/rpc", call("events.publish", json!({ "event": event })), "/result"),
        _ => ("/rpc", call("gateway.publish", json!({ "event": event })), "/result"),
    };
    let request = request(server, Method::POST, path).header("content-type", "application/json");
    let (_, whole) = sent(request.bearer_auth(token).body(body.to_string())).await;
    let answer = whole.pointer(answer).filter(|answer| answer["cursor"].is_string());
    let answer = answer.unwrap_or_else(|| panic!("{event}: {whole}"));
    (answer["cursor"].as_str().unwrap().to_owned(), answer["duplicate"] == true)
}

async fn follow(server: &TestServer, token: &str, way: Way, start: Option<Start>) -> Line {
    let wanted = Wanted {
        id: "a".to_owned(),
        root: Root::Events,
        filter: json!({ "types": [TYPE] }),
        start,
        selection: "id persist cursor".to_owned(),
    };
    way.open(server, token, &[wanted]).await.pop().unwrap()
}

/// The next events as (id, is it kept, cursor); the gateway's form has the whole event inside.
async fn read(line: &mut Line, count: usize) -> Vec<(String, bool, String)> {
    let mut events = Vec::new();
    for _ in 0..count {
        let (_, event) = line.next().await;
        let event = if line.way == Way::Gateway { &event["event"] } else { &event };
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        events.push((text("id"), event["persist"] != false, text("cursor")));
    }
    events
}

#[tokio::test]
async fn every_way_in_takes_them_and_every_way_out_delivers_them_in_their_place_and_never_again() {
    let access = Access::new();
    let token = access.token("root", May::All, None);
    let server = access.server();
    let mut lines = Vec::new();
    for way in Way::ALL.into_iter().filter(|way| *way != Way::FeedAgain) {
        lines.push(follow(&server, &token, way, None).await);
    }
    let mut expected = Vec::new();
    for number in 0..24 {
        let is_kept = number % 4 == 3;
        let id = format!("e{number}");
        let mut event = json!({ "type": TYPE, "id": id, "persist": is_kept });
        if is_kept && number % 8 == 3 {
            event.as_object_mut().unwrap().remove("persist");
        }
        let (cursor, duplicate) = publish(&server, &token, number, &event).await;
        assert!(!duplicate);
        expected.push((id, is_kept, cursor));
    }
    let kept_after = |place: usize| -> Vec<&str> {
        let kept = expected.iter().skip(place).filter(|(_, is_kept, _)| *is_kept);
        kept.map(|(id, _, _)| id.as_str()).collect()
    };
    for line in &mut lines {
        for (got, expected) in read(line, expected.len()).await.iter().zip(&expected) {
            assert_eq!((&got.0, got.1), (&expected.0, expected.1), "{:?}", line.way);
            assert!(got.2 == expected.2 || (got.2.is_empty() && line.way == Way::Gateway), "{:?}", line.way);
        }
    }
    // Whoever resumes, wherever it was, gets what is kept and nothing else.
    for way in Way::ALL.into_iter().filter(|way| *way != Way::Gateway) {
        for (place, (id, _, cursor)) in expected.iter().enumerate().take(23) {
            let mut line = follow(&server, &token, way, Some(Start::After(cursor.clone()))).await;
            let kept = kept_after(place + 1);
            let got = read(&mut line, kept.len()).await;
            assert!(got.iter().map(|(id, _, _)| id).eq(kept), "{way:?} after {id}: {got:?}");
        }
    }
    for past in Past::ALL {
        let found = past.read(&server, &token, (&json!({}), "id cursor"), 4).await.unwrap();
        let ids: Vec<&str> = found.iter().map(|event| event["id"].as_str().unwrap()).collect();
        assert_eq!(ids, kept_after(0), "{past:?}");
    }
    let ids: Vec<String> = expected.iter().map(|(id, _, _)| id.clone()).collect();
    for ((id, is_kept, _), found) in expected.iter().zip(by_id(&server, &token, &ids, "id").await.unwrap()) {
        assert_eq!(!found.is_null(), *is_kept, "{id}");
    }
}

#[tokio::test]
async fn a_repeat_is_known_again_only_where_the_first_one_was_kept() {
    let access = Access::new();
    let token = access.token("root", May::All, None);
    let server = access.server();
    let mut line = follow(&server, &token, Way::Rpc, None).await;
    let tick = json!({ "type": TYPE, "id": "tick", "persist": false });
    let kept = json!({ "type": TYPE, "id": "kept" });
    for (event, is_repeat) in [(&tick, false), (&tick, false), (&kept, false), (&kept, true), (&tick, false)]
    {
        assert_eq!(publish(&server, &token, 0, event).await.1, is_repeat, "{event}");
    }
    let got = read(&mut line, 4).await;
    assert!(got.iter().map(|(id, _, _)| id.as_str()).eq(["tick", "tick", "kept", "tick"]), "{got:?}");
    let metrics = sent(request(&server, Method::GET, "/metrics").bearer_auth(&token)).await.1;
    let metrics = metrics.as_str().unwrap();
    for line in ["fanfare_events_transient_total 3\n", "fanfare_events_published_total 1\n"] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

/// A CloudEvent comes with the extensions of whatever it passed: none of them may take durability away.
#[tokio::test]
async fn an_extension_of_a_cloudevent_named_persist_is_an_attribute_like_others() {
    let server = TestServer::start();
    let event = json!({ "specversion": "1.0", "id": "a", "source": "/s", "type": TYPE, "persist": false });
    let publishing =
        request(&server, Method::POST, "/events").header("content-type", "application/cloudevents+json");
    let (status, answer) = sent(publishing.body(event.to_string())).await;
    assert_eq!(status, 200, "{answer}");
    let found = server.graphql("{ event(id: \"a\") { persist attributes } }", json!({})).await;
    assert_eq!(found["data"]["event"], json!({ "persist": true, "attributes": { "persist": false } }));
}

#[tokio::test]
async fn the_cursor_of_one_resumes_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::on_disk(dir.path());
    server.publish(TYPE, json!({ "id": "a" })).await;
    let cursor = server.publish(TYPE, json!({ "id": "b", "persist": false })).await;
    server.publish(TYPE, json!({ "id": "c" })).await;
    server.stop();
    let server = TestServer::on_disk(dir.path());
    let mut socket = Socket::graphql(&server).await;
    let query = "subscription ($after: Cursor) { events(start: { after: $after }) { id } }";
    let payload = json!({ "query": query, "variables": { "after": cursor } });
    socket.send(json!({ "type": "subscribe", "id": "a", "payload": payload })).await;
    assert_eq!(socket.data("a").await["events"]["id"], "c");
    // What is not kept comes from when the past has been read to its end, which may be a moment after its last event.
    let mut heard = Box::pin(socket.data("a"));
    let heard = loop {
        server.publish(TYPE, json!({ "id": "d", "persist": false })).await;
        tokio::select! {
            heard = &mut heard => break heard,
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    };
    assert_eq!(heard["events"]["id"], "d");
}

#[tokio::test]
async fn what_persist_must_be_is_said() {
    let server = TestServer::start();
    let publishing = request(&server, Method::POST, "/events").header("content-type", "application/json");
    let (status, answer) = sent(publishing.body(r#"{"type":"a","persist":"no"}"#)).await;
    assert_eq!((status, &answer["code"]), (400, &json!("BAD_REQUEST")));
    let told = answer.to_string();
    assert!(told.contains("expected a boolean"), "{told}");
}

/// A board of progress that nobody needs to keep: whoever is behind gets the newest tick of each subject.
#[tokio::test]
async fn a_reader_that_wants_the_latest_gets_the_newest_of_each_subject() {
    const TICKS: u64 = 400;
    let server = TestServer::start();
    let mut behind = Socket::graphql(&server).await;
    behind.subscribe("a", "subscription { events(overflow: LATEST_PER_SUBJECT) { id subject data } }").await;
    let data = "x".repeat(100_000);
    for number in 0..TICKS {
        let subject = format!("task-{}", number % 2);
        let event = json!({ "id": number.to_string(), "subject": subject, "data": data, "persist": false });
        server.publish("task.progress", event).await;
    }
    let (mut delivered, mut replaced, mut last) = (0, 0, None);
    while last != Some(TICKS - 1) {
        let message = behind.json().await;
        let event = &message["payload"]["data"]["events"];
        let id = event["id"].as_str().unwrap().parse::<u64>().unwrap();
        assert!(last < Some(id), "{last:?} {id}");
        last = Some(id);
        delivered += 1;
        replaced +=
            message["payload"]["extensions"].get("replaced").map_or(0, |count| count.as_u64().unwrap());
    }
    assert_eq!(delivered + replaced, TICKS, "every event is delivered or counted");
    assert!(replaced > TICKS / 2, "{replaced}");
    assert_eq!(server.hub.bounds().head.get(), 0, "nothing is kept");
    behind.close().await;
}
