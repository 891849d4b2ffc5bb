//! `GET /events`: the feed of whole events, and what a slow or absent reader of it gets.

use crate::support::{DEADLINE, Stream, TestServer, request, sent, sse};
use fanfare::{
    auth::Principal,
    bus::{self, Bus},
    event::{Cursor, Draft, Epoch, Limits, NewEvent, Offset},
    fanout::Fanout,
    graphql::{self, GraphqlOptions},
    hub::Hub,
    log::{MemoryLog, MemoryOptions},
    metrics::Metrics,
    server::{self, App, Rooms},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::timeout,
};

const TASKS: &str = "subscription ($start: StartPosition) { tasks(start: $start) { id } }";

#[tokio::test]
async fn a_feed_resumed_after_each_drop_has_every_event_once() {
    let server = TestServer::start();
    let mut feed = Stream::events(&server, "type=task.*").await;
    let ready = feed.named("ready").await;
    assert_eq!(ready.json()["resumed"], false);
    let mut last = ready.id.unwrap();
    for round in 0..5 {
        server.tasks(round * 4..round * 4 + 2).await;
        last = feed.arrives(round * 4).await;
        // The second one is lost on the way.
        feed.close(&server).await;
        server.tasks(round * 4 + 2..round * 4 + 4).await;
        feed = Stream::events_after(&server, "type=task.*", &last).await;
        let ready = feed.named("ready").await.json();
        assert_eq!(
            (&ready["resumed"], server.opened(&ready["cursor"])),
            (&json!(true), server.opened(&last))
        );
        for number in round * 4 + 1..round * 4 + 4 {
            last = feed.arrives(number).await;
        }
    }
    assert!(Cursor::parse(&last).is_ok());
    feed.close(&server).await;
}

#[tokio::test]
async fn a_position_that_is_lost_is_told_as_a_gap_and_the_feed_goes_on() {
    let server = TestServer::start();
    server.tasks(0..3).await;
    let foreign = Epoch::new([1; 16]).seal(Offset::new(3));
    let ahead = server.hub.position(Offset::new(9));
    for (lost, code, goes_on) in [(foreign, "EPOCH_CHANGED", 0), (ahead, "CURSOR_AHEAD", u32::MAX)] {
        let mut by_header = Stream::events_after(&server, "", &lost.to_string()).await;
        let mut by_query = Stream::events(&server, &format!("after={lost}")).await;
        let head = u32::try_from(server.hub.bounds().head.get()).unwrap();
        for feed in [&mut by_header, &mut by_query] {
            let gap = feed.named("gap").await;
            assert_eq!((&gap.json()["code"], &gap.json()["resumed"]), (&json!(code), &json!(false)));
            assert_eq!(server.opened(&gap.json()["earliest"]), Offset::ZERO);
            assert_eq!(gap.json()["cursor"], json!(gap.id));
            let ready = feed.named("ready").await;
            assert_eq!((&ready.json()["resumed"], &ready.id), (&json!(false), &gap.id));
            for number in goes_on..head {
                feed.arrives(number).await;
            }
        }
        server.tasks(head..head + 1).await;
        by_header.arrives(head).await;
        by_query.arrives(head).await;
        drop(by_header);
        by_query.close(&server).await;

        let operation = json!({ "query": TASKS });
        let refused = sse(&server, &operation).header("last-event-id", lost.to_string());
        let blocks = Stream::open(refused).await.rest().await;
        let result = blocks.iter().find(|block| block.event == "next").unwrap().json();
        assert_eq!(result["errors"][0]["extensions"]["code"], code, "{result}");
        assert_eq!(server.opened(&result["errors"][0]["extensions"]["earliest"]), Offset::ZERO, "{result}");
        assert_eq!(blocks.last().unwrap().event, "complete");
    }
    let (status, problem) =
        sent(request(&server, Method::GET, "/events").header("last-event-id", "17")).await;
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
            feed.arrives(*id).await;
        }
        feed.close(&server).await;
    }
}

#[tokio::test]
async fn each_start_of_a_feed_starts_where_it_says() {
    let server = TestServer::start();
    let cursors = server.tasks(0..20).await;
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
            feed.arrives(number).await;
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
        let (code, problem) = sent(request(&server, Method::GET, &format!("/events?{query}"))).await;
        assert_eq!((code, &problem["code"]), (400, &json!("INVALID_FILTER")), "{query}: {problem}");
        assert_eq!((&problem["field"], &problem["given"]), (&json!(field), &json!(given)), "{query}");
        assert!(problem["allowed"].as_str().is_some_and(|allowed| !allowed.is_empty()), "{problem}");
    }
    let others = [("after=x", 400, "CURSOR_INVALID"), ("anyOf=%7B%22nope%22%3A1%7D", 400, "BAD_REQUEST")];
    for (query, expected, code) in others {
        let (status, problem) = sent(request(&server, Method::GET, &format!("/events?{query}"))).await;
        assert_eq!((status, &problem["code"]), (expected, &json!(code)), "{problem}");
    }
    let all = sent(request(&server, Method::GET, "/events?nope=1")).await.1["allowed"].to_string();
    for name in ["type", "organizationId", "correlationId", "minPriority", "anyOf", "after", "earliest"] {
        assert!(all.contains(name), "{all}");
    }
    let (code, _) = sent(request(&server, Method::GET, "/events").header("accept", "application/json")).await;
    assert_eq!(code, 406);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_and_what_it_got_has_no_gap() {
    let server = TestServer::with(|config| {
        config.write_timeout = Duration::from_millis(200);
        config.ping_interval = Duration::from_millis(50);
    });
    let mut stalled = TcpStream::connect(server.address).await.unwrap();
    stalled.write_all(b"GET /events?type=task.* HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut other = Stream::events(&server, "type=task.*").await;
    other.named("ready").await;
    while server.hub.metrics().streams_open.get() < 2 {
        tokio::task::yield_now().await;
    }
    let data = "x".repeat(100_000);
    let mut published = 0;
    while server.hub.metrics().slow_consumers_closed.get() == 0 {
        server.publish("task.log", json!({ "id": published.to_string(), "data": data })).await;
        other.arrives(published).await;
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
        feed.arrives(number).await;
    }
    assert!(server.hub.metrics().mailbox_lagged.get() > 0, "the reader must have fallen behind");
    feed.close(&server).await;
}

#[tokio::test]
async fn many_events_at_once_leave_in_few_pieces() {
    let server = TestServer::start();
    let mut socket = BufReader::new(TcpStream::connect(server.address).await.unwrap());
    socket.write_all(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        socket.read_line(&mut line).await.unwrap();
    }
    let events = (0..2_000).map(|number| {
        let event = json!({ "id": number.to_string(), "type": "task.progress" }).to_string();
        NewEvent::new(Draft::from_json(&event).unwrap(), server.hub.limits()).unwrap()
    });
    server.hub.publish(&Principal::anonymous(), events.collect()).await.unwrap();
    let (mut pieces, mut events) = (0, 0);
    while events < 2_000 {
        line.clear();
        timeout(DEADLINE, socket.read_line(&mut line)).await.unwrap().unwrap();
        let mut piece = vec![0; usize::from_str_radix(line.trim_end(), 16).unwrap() + 2];
        socket.read_exact(&mut piece).await.unwrap();
        events += String::from_utf8(piece).unwrap().matches("\ndata: {\"id\"").count();
        pieces += 1;
    }
    assert!(pieces < 100, "2,000 events in {pieces} pieces");
    drop(socket);
    Stream::events(&server, "").await.close(&server).await;
}

/// A server whose log keeps so few events.
async fn forgetful(events_max: usize) -> (String, Hub, oneshot::Sender<()>) {
    let bus = Bus::new(&bus::Options::default());
    let ring = bus.clone();
    let options = MemoryOptions { events_max: Some(events_max), ..MemoryOptions::default() };
    let log = MemoryLog::open(options, Box::new(move |batch| ring.publish(batch)));
    let hub = Hub::new(Arc::new(log), bus, Metrics::new(), Limits::default());
    let (fanout, _) = Fanout::start(hub.clone(), &tokio::runtime::Handle::current());
    let schema = graphql::schema(hub.clone(), &GraphqlOptions::default());
    let options = server::Options { mailbox_bytes_max: 16 * 1024, ..server::Options::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let app = App::new(Rooms::open(hub.clone(), fanout, schema), options);
    tokio::spawn(server::run(listener, app, async { drop(stopped.await) }));
    (url, hub, stop)
}

async fn log(hub: &Hub, number: u32, data: &str) -> String {
    let event = json!({ "id": number.to_string(), "type": "task.log", "data": data }).to_string();
    let event = NewEvent::new(Draft::from_json(&event).unwrap(), hub.limits()).unwrap();
    hub.publish(&Principal::anonymous(), vec![event]).await.unwrap().remove(0).cursor.to_string()
}

#[tokio::test]
async fn a_reader_that_was_away_for_too_long_is_told_what_is_gone() {
    let (url, hub, _stop) = forgetful(10).await;
    let mut cursors = Vec::new();
    for number in 0..30 {
        cursors.push(log(&hub, number, "").await);
    }
    let back = |after: &str| reqwest::Client::new().get(&url).header("last-event-id", after);
    let mut feed = Stream::open(back(&cursors[3])).await;
    let gap = feed.named("gap").await;
    assert_eq!((&gap.json()["code"], &gap.json()["resumed"]), (&json!("CURSOR_EXPIRED"), &json!(false)));
    let opened = |cursor: &Value| hub.epoch().open(Cursor::parse(cursor.as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(opened(&gap.json()["earliest"]), Offset::new(20));
    assert_eq!(opened(&json!(gap.id)), Offset::new(20));
    let ready = feed.named("ready").await.json();
    assert_eq!((&ready["resumed"], opened(&ready["cursor"])), (&json!(false), Offset::new(20)));
    for number in 20..30 {
        feed.arrives(number).await;
    }
    let mut just_in_time = Stream::open(back(&cursors[19])).await;
    assert_eq!(just_in_time.named("ready").await.json()["resumed"], true);
    just_in_time.arrives(20).await;
}

#[tokio::test]
async fn a_reader_that_retention_overtakes_is_told_where_it_stopped() {
    let (url, hub, _stop) = forgetful(10).await;
    let mut feed = Stream::open(reqwest::Client::new().get(&url)).await;
    feed.named("ready").await;
    let data = "x".repeat(100_000);
    // More than all buffers between the log and this reader hold.
    for number in 0..300 {
        log(&hub, number, &data).await;
    }
    let (mut last, mut next) = (None, 0);
    let ended = loop {
        let block = feed.next().await;
        if block.event == "ended" {
            break block;
        }
        assert_eq!(block.json()["id"], next.to_string());
        (last, next) = (block.id, next + 1);
    };
    assert_eq!((&ended.json()["code"], &ended.id), (&json!("CURSOR_EXPIRED"), &None));
    let opened = |cursor: &str| hub.epoch().open(Cursor::parse(cursor).unwrap()).unwrap();
    assert_eq!(opened(ended.json()["cursor"].as_str().unwrap()), opened(last.as_deref().unwrap()));
    assert_eq!(feed.rest().await, []);
    let mut again =
        Stream::open(reqwest::Client::new().get(&url).header("last-event-id", last.unwrap())).await;
    assert_eq!(again.named("gap").await.json()["code"], "CURSOR_EXPIRED");
    again.named("ready").await;
    again.arrives(290).await;
}
