//! While connected: a credential that ends or is renewed, a revocation, another policy, and what administrators see and end.

use crate::support::{
    Access, DEADLINE, Frame, May, Socket, Stream, TestServer, ask, post_json, request, sent,
};
use fanfare::{
    auth::Principal,
    event::{Draft, NewEvent},
    hub::Hub,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

const SUBSCRIPTION: &str = "subscription { events { id } }";
const LIFETIME: Duration = Duration::from_millis(1_500);
/// So late a connection may end: a second, and what a busy machine needs.
const LATE_MAX: Duration = Duration::from_millis(1_900);

async fn publish(hub: &Hub, id: u64, organization: &str) {
    let event = json!({ "type": "agent.log", "id": id.to_string(), "agentId": id.to_string(), "organizationId": organization });
    let draft = Draft::from_json(&event.to_string()).unwrap();
    let event = NewEvent::new(draft, hub.limits()).unwrap();
    hub.publish(&Principal::anonymous(), vec![event]).await.unwrap();
}

/// Publishes without a pause, to the organizations in turn, until it is stopped.
struct Publisher {
    published: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Publisher {
    fn start(server: &TestServer, organizations: &'static [&'static str]) -> Self {
        let (published, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (hub, count, end) = (server.hub.clone(), Arc::clone(&published), Arc::clone(&is_over));
        let task = tokio::spawn(async move {
            while !end.load(Ordering::Relaxed) {
                let id = count.load(Ordering::Relaxed);
                let turn = usize::try_from(id).unwrap() % organizations.len();
                publish(&hub, id, organizations[turn]).await;
                count.store(id + 1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        Publisher { published, is_over, task }
    }

    /// How many were published.
    async fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.published.load(Ordering::Relaxed)
    }
}

/// A reader of all events in some protocol.
enum Reader {
    Graphql(Socket),
    Legacy(Socket),
    Rpc(Socket),
    Stream(Stream),
    Parts(Stream),
}

/// What a reader was given.
#[derive(Debug, PartialEq)]
enum Given {
    Event(String),
    /// The end, with its code and what was said.
    Ended(String),
    Other,
}

const PROTOCOLS: [&str; 7] = ["graphql", "legacy", "rpc", "gateway", "sse", "multipart", "feed"];

impl Reader {
    async fn open(server: &TestServer, protocol: &str, token: &str) -> Self {
        let bearer = format!("Bearer {token}");
        let stream = |accept: &str| {
            ask(server, accept, &json!({ "query": SUBSCRIPTION })).header("authorization", &bearer)
        };
        match protocol {
            "graphql" => {
                let mut socket = Socket::graphql_as(server, token).await;
                socket.subscribe("a", SUBSCRIPTION).await;
                Reader::Graphql(socket)
            }
            "legacy" => {
                let mut socket = Socket::connect(server, "/graphql", Some("graphql-ws")).await;
                let init = json!({ "type": "connection_init", "payload": { "token": token } });
                socket.send(init).await;
                let payload = json!({ "query": SUBSCRIPTION, "extensions": { "ready": true } });
                socket.send(json!({ "type": "start", "id": "a", "payload": payload })).await;
                while socket.json().await["type"] != "data" {}
                Reader::Legacy(socket)
            }
            "rpc" | "gateway" => {
                let mut socket = Socket::rpc_as(server, token).await;
                if protocol == "rpc" {
                    call(&mut socket, "gateway.unsubscribe").await;
                    call(&mut socket, "events.subscribe").await;
                } else {
                    call(&mut socket, "gateway.subscription").await;
                }
                Reader::Rpc(socket)
            }
            "sse" => Reader::Stream(Stream::open(stream("text/event-stream")).await),
            "multipart" => Reader::Parts(Stream::open(stream("multipart/mixed;subscriptionSpec=1.0")).await),
            "feed" => {
                let request = request(server, Method::GET, "/events").header("authorization", &bearer);
                let mut stream = Stream::open(request).await;
                stream.named("ready").await;
                Reader::Stream(stream)
            }
            other => panic!("{other}"),
        }
    }

    async fn next(&mut self) -> Given {
        match self {
            Reader::Graphql(socket) | Reader::Legacy(socket) | Reader::Rpc(socket) => {
                match socket.next().await {
                    Frame::Json(message) => read(&message),
                    Frame::Close(code, reason) => Given::Ended(format!("{code} {reason}")),
                    Frame::Ended => Given::Ended("broken off".to_owned()),
                }
            }
            Reader::Stream(stream) => match stream.block().await {
                Some(block) => block.data.as_deref().map_or(Given::Other, |data| {
                    serde_json::from_str(data).map_or(Given::Other, |value| read(&value))
                }),
                None => Given::Ended("over".to_owned()),
            },
            Reader::Parts(stream) => match stream.until("\r\n--graphql").await {
                Some(part) => part.rfind("\r\n\r\n").map_or(Given::Other, |at| {
                    let body = part[at..].trim_end_matches("\r\n--graphql").trim();
                    serde_json::from_str(body).map_or(Given::Other, |value| read(&value))
                }),
                None => Given::Ended("over".to_owned()),
            },
        }
    }

    /// The ids until the end, and what was said of the end.
    async fn to_end(&mut self) -> (Vec<u64>, String) {
        let (mut ids, mut said) = (Vec::new(), String::new());
        loop {
            match self.next().await {
                Given::Event(id) => {
                    assert_eq!(said, "", "an event after the last words");
                    ids.push(id.parse().unwrap());
                }
                Given::Other => {}
                Given::Ended(last) if last == "over" || last.starts_with("44") => {
                    return (ids, said + &last);
                }
                Given::Ended(words) => said += &words,
            }
        }
    }
}

fn read(message: &Value) -> Given {
    for place in
        ["/payload/data/events/id", "/data/events/id", "/params/result/id", "/params/agent_id", "/id"]
    {
        if let Some(Value::String(id)) = message.pointer(place)
            && id.parse::<u64>().is_ok()
        {
            return Given::Event(id.clone());
        }
    }
    let text = message.to_string();
    match text.contains("\"code\":\"") {
        true => Given::Ended(text),
        false => Given::Other,
    }
}

async fn call(socket: &mut Socket, method: &str) -> Value {
    socket.send(json!({ "jsonrpc": "2.0", "id": 9, "method": method })).await;
    loop {
        let answer = socket.json().await;
        if answer["id"] == 9 {
            return answer;
        }
    }
}

/// The ids of a reader until its end, which must come.
async fn ended(protocol: &str, reader: &mut Reader) -> (Vec<u64>, String) {
    timeout(DEADLINE, reader.to_end()).await.unwrap_or_else(|_| panic!("{protocol} does not end"))
}

fn contiguous(ids: &[u64]) {
    for pair in ids.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "a gap or a repeat");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_ends_ends_its_connection_on_time_idle_and_under_load() {
    for is_loaded in [false, true] {
        let access = Access::new();
        let server = access.server();
        let publisher = is_loaded.then(|| Publisher::start(&server, &["q"]));
        let mut readers = Vec::new();
        for protocol in PROTOCOLS {
            let token = access.token("ada", May::All, Some(LIFETIME));
            let ends = Instant::now() + LIFETIME;
            let mut reader = Reader::open(&server, protocol, &token).await;
            readers.push(tokio::spawn(async move {
                let (ids, said) = timeout(DEADLINE, reader.to_end()).await.expect("it must end");
                (protocol, ids, said, ends, Instant::now())
            }));
        }
        for reader in readers {
            let (protocol, ids, said, ends, ended) = reader.await.unwrap();
            contiguous(&ids);
            assert_eq!(!ids.is_empty(), is_loaded, "{protocol}");
            assert!(ended + Duration::from_millis(20) >= ends, "{protocol} ended early");
            assert!(ended <= ends + LATE_MAX, "{protocol} ended {:?} late", ended - ends);
            assert!(said.contains("UNAUTHENTICATED") && said.contains("token expired"), "{protocol}: {said}");
            let is_socket = ["graphql", "legacy", "rpc", "gateway"].contains(&protocol);
            assert_eq!(said.contains("4403"), is_socket, "{protocol}: {said}");
            // Where words can be said before the end, they say where it stopped.
            assert_eq!(
                said.contains("cursor"),
                !["graphql", "legacy"].contains(&protocol),
                "{protocol}: {said}"
            );
        }
        if let Some(publisher) = publisher {
            publisher.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_is_renewed_at_full_publish_speed_without_gap_or_repeat() {
    const RENEWALS: u32 = 8;
    for protocol in ["graphql", "rpc"] {
        let access = Access::new();
        let server = access.server();
        let first = access.token("ada", May::All, Some(LIFETIME));
        let mut reader = Reader::open(&server, protocol, &first).await;
        let publisher = Publisher::start(&server, &["q"]);
        let began = Instant::now();
        let (mut ids, mut renewed) = (Vec::new(), 0);
        while renewed < RENEWALS {
            if began.elapsed() >= LIFETIME / 3 * renewed {
                renewed += 1;
                // Every second one comes with another grant that allows the same.
                let may = if renewed % 2 == 0 { May::All } else { May::Organization("q") };
                // The last one is for what is still to be read when the publisher has stopped.
                let lifetime = (renewed < RENEWALS).then_some(LIFETIME);
                let token = access.token("ada", may, lifetime);
                let (Reader::Graphql(socket) | Reader::Rpc(socket)) = &mut reader else { unreachable!() };
                let params = json!({ "token": token });
                socket
                    .send(match protocol {
                        "graphql" => json!({ "type": "ping", "payload": params }),
                        _ => json!({ "jsonrpc": "2.0", "id": 1, "method": "gateway.authenticate", "params": params }),
                    })
                    .await;
            }
            match reader.next().await {
                Given::Event(id) => ids.push(id.parse::<u64>().unwrap()),
                Given::Other => {}
                Given::Ended(said) => panic!("{protocol} ended: {said}"),
            }
        }
        let published = publisher.stop().await;
        while ids.last() != Some(&(published - 1)) {
            match reader.next().await {
                Given::Event(id) => ids.push(id.parse().unwrap()),
                Given::Other => {}
                Given::Ended(said) => panic!("{protocol} ended: {said}"),
            }
        }
        contiguous(&ids);
        assert_eq!(ids.first(), Some(&0), "{protocol}");
    }
}

#[tokio::test]
async fn a_new_credential_of_another_subject_or_a_bad_one_is_refused() {
    let access = Access::new();
    let (ada, bob) = (access.token("ada", May::All, None), access.token("bob", May::All, None));
    let server = access.server();
    for (token, code) in [(bob.as_str(), "FORBIDDEN"), ("secret-x", "UNAUTHENTICATED")] {
        let mut socket = Socket::graphql_as(&server, &ada).await;
        socket
            .send(json!({ "type": "ping", "payload": { "authorization": format!("Bearer {token}") } }))
            .await;
        let Frame::Close(4403, reason) = socket.next().await else { panic!("{code}") };
        assert!(reason.starts_with(code) && !reason.contains("secret"), "{reason}");
        // JSON-RPC can say it, so the socket goes on as whom it was.
        let mut socket = Socket::rpc_as(&server, &ada).await;
        let params = json!({ "token": token });
        socket
            .send(json!({ "jsonrpc": "2.0", "id": 1, "method": "gateway.authenticate", "params": params }))
            .await;
        assert_eq!(socket.json().await["error"]["data"]["code"], code);
        assert!(call(&mut socket, "gateway.subscription").await["result"]["filter"].is_object());
        socket.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_reaches_every_connection_within_a_second() {
    let access = Access::new();
    let server = access.server();
    let publisher = Publisher::start(&server, &["q"]);
    let mut readers = Vec::new();
    for protocol in PROTOCOLS {
        let token = access.token("ada", May::All, None);
        readers.push((protocol, Reader::open(&server, protocol, &token).await));
    }
    let other = access.token("bob", May::All, None);
    let mut bystander = Reader::open(&server, "graphql", &other).await;
    let reading = readers.into_iter().map(|(protocol, mut reader)| {
        tokio::spawn(async move {
            let (ids, said) = timeout(DEADLINE, reader.to_end()).await.expect("it must end");
            (protocol, ids, said, Instant::now())
        })
    });
    let reading: Vec<_> = reading.collect();
    tokio::time::timeout(DEADLINE, async { while !matches!(bystander.next().await, Given::Event(_)) {} })
        .await
        .unwrap();
    access.revoke("ada").await;
    let (revoked, published) = (Instant::now(), publisher.published.load(Ordering::Relaxed));
    for reader in reading {
        let (protocol, ids, said, ended) = reader.await.unwrap();
        contiguous(&ids);
        assert!(said.contains("UNAUTHENTICATED") && said.contains("revoked"), "{protocol}: {said}");
        let late = ended.saturating_duration_since(revoked);
        assert!(late <= Duration::from_secs(1), "{protocol} ended {late:?} late");
        println!(
            "{protocol}: ended after {late:?}, {:?} events late",
            ids.last().map(|last| last.saturating_sub(published))
        );
    }
    publisher.stop().await;
    assert!(matches!(bystander.next().await, Given::Event(_)));
}

/// The grant goes back and forth between two that both allow what is published, then to one that allows less.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_policy_at_full_publish_speed_leaves_no_gap_and_no_repeat() {
    let access = Access::new();
    let server = access.server();
    let mut readers = Vec::new();
    for protocol in PROTOCOLS {
        let token = access.token("ada", May::All, None);
        readers.push((protocol, Reader::open(&server, protocol, &token).await));
    }
    let publisher = Publisher::start(&server, &["q"]);
    let reading: Vec<_> = readers
        .into_iter()
        .map(|(protocol, mut reader)| {
            tokio::spawn(async move { (protocol, ended(protocol, &mut reader).await) })
        })
        .collect();
    for change in 0..20 {
        access.change("ada", if change % 2 == 0 { May::Organization("q") } else { May::All });
        let seen = publisher.published.load(Ordering::Relaxed);
        while publisher.published.load(Ordering::Relaxed) < seen + 100 {
            tokio::task::yield_now().await;
        }
    }
    let open = server.hub.metrics().subscriptions_open.get();
    assert_eq!(usize::try_from(open), Ok(PROTOCOLS.len()), "somebody was dropped");
    let published = publisher.stop().await;
    access.change("ada", May::Organization("elsewhere"));
    // Whatever they are still owed has been asked for under the grant of then.
    access.revoke("ada").await;
    for reader in reading {
        let (protocol, (ids, said)) = reader.await.unwrap();
        contiguous(&ids);
        assert_eq!(ids.first(), Some(&0), "{protocol}: {said}");
        assert!(ids.len() as u64 <= published && ids.len() > 100, "{protocol}: {} of {published}", ids.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_another_policy_nothing_outside_it_goes_out() {
    let access = Access::new();
    let server = access.server();
    let mut readers = Vec::new();
    for protocol in PROTOCOLS {
        let token = access.token("ada", May::All, None);
        readers.push((protocol, Reader::open(&server, protocol, &token).await));
    }
    let publisher = Publisher::start(&server, &["q", "other"]);
    let reading: Vec<_> = readers
        .into_iter()
        .map(|(protocol, mut reader)| {
            tokio::spawn(async move { (protocol, ended(protocol, &mut reader).await.0) })
        })
        .collect();
    while publisher.published.load(Ordering::Relaxed) < 200 {
        tokio::task::yield_now().await;
    }
    access.change("ada", May::Organization("q"));
    let ends = Instant::now() + Duration::from_secs(1);
    while Instant::now() < ends {
        tokio::task::yield_now().await;
    }
    let due = publisher.published.load(Ordering::Relaxed) + 1;
    while publisher.published.load(Ordering::Relaxed) < due + 1_000 {
        tokio::task::yield_now().await;
    }
    publisher.stop().await;
    access.revoke("ada").await;
    for reader in reading {
        let (protocol, ids) = reader.await.unwrap();
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] < pair[1]), "{protocol} repeats");
        let outside = ids.iter().filter(|id| **id % 2 == 1).max();
        assert!(outside.is_none_or(|last| *last <= due), "{protocol} got {outside:?} after {due}");
        // The change shows: up to it everything, from it on every second one.
        let change = ids.windows(2).position(|pair| pair[1] == pair[0] + 2);
        let change = change.unwrap_or_else(|| panic!("{protocol} never changed"));
        contiguous(&ids[..=change]);
        assert!(ids[change..].windows(2).all(|pair| pair[1] == pair[0] + 2), "{protocol} has a gap");
    }
}

#[tokio::test]
async fn a_subscription_that_the_new_grant_does_not_allow_ends_and_the_connection_stays() {
    let access = Access::new();
    let token = access.token("ada", May::All, None);
    let server = access.server();
    let mut socket = Socket::graphql_as(&server, &token).await;
    let query = r#"subscription { events(filter: { organizationId: "q" }) { id } }"#;
    let start = socket.subscribe("a", query).await;
    socket.subscribe("b", SUBSCRIPTION).await;
    access.change("ada", May::Organization("x"));
    let ended = socket.json().await;
    let extensions = &ended["payload"][0]["extensions"];
    assert_eq!((&ended["type"], &ended["id"]), (&json!("error"), &json!("a")));
    assert_eq!((&extensions["code"], &extensions["cursor"]), (&json!("FORBIDDEN"), &json!(start)));
    publish(&server.hub, 1, "q").await;
    publish(&server.hub, 2, "x").await;
    assert_eq!(socket.data("b").await["events"]["id"], "2");
    socket.close().await;
}

/// Asks as somebody and gives the answer.
async fn asked(server: &TestServer, token: &str, query: &str) -> Value {
    let request = ask(server, "application/json", &json!({ "query": query }));
    sent(request.header("authorization", format!("Bearer {token}"))).await.1
}

#[tokio::test]
async fn an_administrator_sees_who_is_connected_and_what_they_follow() {
    let access = Access::new();
    let (root, ada) =
        (access.token("root", May::All, None), access.token("ada", May::Organization("q"), None));
    let server = access.server();
    let mut readers = Vec::new();
    for protocol in PROTOCOLS {
        readers.push(Reader::open(&server, protocol, &ada).await);
    }
    publish(&server.hub, 1, "x").await;
    let list =
        "{ connections(first: 4) { total next nodes { id subject protocol address since expiresAt } } }";
    let page = asked(&server, &root, list).await["data"]["connections"].clone();
    assert_eq!((&page["total"], &page["next"]), (&json!(7), &json!("4")));
    let node = &page["nodes"][0];
    assert_eq!((&node["subject"], &node["protocol"]), (&json!("ada"), &json!("graphql-transport-ws")));
    assert!(node["address"].as_str().unwrap().starts_with("127.0.0.1:") && node["since"].is_string());
    let rest = asked(&server, &root, r#"{ connections(after: "4") { next nodes { protocol } } }"#).await;
    let rest = &rest["data"]["connections"];
    assert_eq!((rest["nodes"].as_array().unwrap().len(), &rest["next"]), (3, &Value::Null));
    for id in 1..=7 {
        let query = format!(
            r#"{{ subscriptions(connectionId: "{id}") {{ id form filter position lag queuedBytes }} }}"#
        );
        let answer = asked(&server, &root, &query).await;
        let list = answer["data"]["subscriptions"].as_array().unwrap_or_else(|| panic!("{answer}"));
        assert_eq!(list.len(), 1, "{id}");
        assert!(list[0]["position"].is_string() && list[0]["lag"].is_number(), "{answer}");
        assert!(list[0]["filter"].is_object() && list[0]["form"].is_string(), "{answer}");
    }
    let gone = asked(&server, &root, r#"{ subscriptions(connectionId: "99") { id } }"#).await;
    assert_eq!(gone["errors"][0]["extensions"]["code"], "NOT_FOUND");
}

#[tokio::test]
async fn an_administrator_ends_subscriptions_and_connections_of_every_protocol() {
    let access = Access::new();
    let (root, ada) =
        (access.token("root", May::All, None), access.token("ada", May::Organization("q"), None));
    let server = access.server();
    let names = ["a", "a", "1", "gateway", "", "", ""];
    for (protocol, name) in PROTOCOLS.into_iter().zip(names) {
        for query in [
            format!(r#"mutation {{ done: unsubscribe(connectionId: "ID", subscriptionId: "{name}") }}"#),
            r#"mutation { done: disconnect(connectionId: "ID") }"#.to_owned(),
        ] {
            let mut reader = Reader::open(&server, protocol, &ada).await;
            let found = asked(&server, &root, "{ connections { nodes { id } } }").await;
            let id = found["data"]["connections"]["nodes"][0]["id"].as_str().unwrap().to_owned();
            let query = query.replace("ID", &id);
            let answer = asked(&server, &root, &query).await;
            assert_eq!(answer["data"]["done"], true, "{protocol}: {answer}");
            let said = loop {
                match reader.next().await {
                    Given::Ended(said) => break said,
                    Given::Other => {}
                    Given::Event(id) => panic!("{id}"),
                }
            };
            assert!(said.contains("FORBIDDEN") && said.contains("administrator"), "{protocol}: {said}");
            drop(reader);
            while asked(&server, &root, "{ connections { total } }").await["data"]["connections"]["total"]
                != 0
            {}
            let again = asked(&server, &root, &query).await;
            assert_ne!(again["data"]["done"], true, "{protocol}: {again}");
        }
    }
}

#[tokio::test]
async fn what_is_for_administrators_is_refused_to_others() {
    let access = Access::new();
    let ada = access.token("ada", May::Organization("q"), None);
    let server = access.server();
    let fields = [
        "{ connections { total } }",
        r#"{ subscriptions(connectionId: "1") { id } }"#,
        "{ stats { published } }",
        r#"mutation { disconnect(connectionId: "1") }"#,
        r#"mutation { unsubscribe(connectionId: "1", subscriptionId: "a") }"#,
        r#"mutation { revoke(what: { subject: "root" }) }"#,
        "mutation { reloadPolicy }",
    ];
    for query in fields {
        let answer = asked(&server, &ada, query).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN", "{query}: {answer}");
    }
    let metrics = request(&server, Method::GET, "/metrics").header("authorization", format!("Bearer {ada}"));
    assert_eq!(sent(metrics).await.0, 403);
    // Without authentication everybody is one.
    let open = TestServer::start();
    for query in ["{ connections { total } }", "{ stats { published } }", "mutation { reloadPolicy }"] {
        let (_, answer) = post_json(&open.url("/graphql"), &json!({ "query": query })).await;
        assert!(answer.get("errors").is_none(), "{answer}");
    }
}

#[tokio::test]
async fn an_administrator_revokes_by_subject_by_token_and_by_key() {
    for what in [r#"{ subject: "ada" }"#, r#"{ tokenId: "TOKEN" }"#] {
        let access = Access::new();
        let (root, ada) = (access.token("root", May::All, None), access.token("ada", May::All, None));
        let server = access.server();
        let mut socket = Socket::graphql_as(&server, &ada).await;
        let query = format!("mutation {{ revoke(what: {}) }}", what.replace("TOKEN", &ada));
        assert_eq!(asked(&server, &root, &query).await["data"]["revoke"], true);
        assert!(matches!(socket.next().await, Frame::Close(4403, _)), "{what}");
        let again = asked(&server, &ada, "{ version }").await;
        assert_eq!(again["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
        assert_eq!(asked(&server, &root, "{ version }").await["data"]["version"], env!("CARGO_PKG_VERSION"));
    }
    let access = Access::new();
    let root = access.token("root", May::All, None);
    let server = access.server();
    let wrong = asked(&server, &root, r#"mutation { revoke(what: { subject: "a", keyId: "b" }) }"#).await;
    assert!(wrong["errors"].is_array() && asked(&server, &root, "{ version }").await["data"].is_object());
}
