//! The audit file of a server: what it tells of a story over several protocols, what it never holds, and what is not done without
//! it.

use crate::support::{
    Access, Frame, Given, May, Reader, Socket, Stream, TestServer, ask, post_json, request, sent, sse,
};
use fanfare::auth::audit::verify;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Nothing with this in it may be in the file.
const CANARY: &str = "canary7f3a";

/// A server that keeps its audit here, and its policy file.
fn server_in(access: &Access, dir: &Path) -> (TestServer, PathBuf) {
    let mut policy = None;
    let server = access.server_with(|config| {
        config.data_dir = dir.join("made").join("by the server");
        config.connections_per_principal_max = Some(4);
        policy.clone_from(&config.policy);
    });
    (server, policy.unwrap())
}

fn file(dir: &Path) -> PathBuf {
    dir.join("made/by the server/audit.jsonl")
}

fn lines(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file(dir)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn by(request: RequestBuilder, token: &str) -> RequestBuilder {
    request.header("authorization", format!("Bearer {token}")).header("content-type", "application/json")
}

async fn asked(server: &TestServer, token: &str, query: &str) -> Value {
    sent(by(ask(server, "application/json", &json!({ "query": query })), token)).await.1
}

async fn done(server: &TestServer, root: &str, mutation: &str) {
    let answer = asked(server, root, &format!("mutation {{ done: {mutation} }}")).await;
    assert_eq!(answer["data"]["done"], true, "{mutation}: {answer}");
}

/// What `ada` is refused, in every way: three publishes and two subscriptions; three times somebody has no good credential.
async fn refusals(server: &TestServer, eve: &str) {
    let event = json!({ "type": "agent.log", "organizationId": "other", "data": { "secret": CANARY } });
    let posted = sent(by(request(server, Method::POST, "/events"), eve).body(event.to_string())).await;
    assert_eq!(posted.0, 403, "{posted:?}");
    let publish = r#"mutation { publish(event: { type: "agent.log", organizationId: "other" }) { id } }"#;
    assert_eq!(asked(server, eve, publish).await["errors"][0]["extensions"]["code"], "FORBIDDEN");
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "events.publish", "params": { "event": event } });
    let called = sent(by(request(server, Method::POST, "/rpc"), eve).body(call.to_string())).await.1;
    assert_eq!(called["error"]["data"]["code"], "FORBIDDEN", "{called}");

    let outside = r#"subscription { events(filter: { organizationId: ["other"] }) { id } }"#;
    let mut socket = Socket::graphql_as(server, eve).await;
    socket.send(json!({ "type": "subscribe", "id": "x", "payload": { "query": outside } })).await;
    assert_eq!(socket.json().await["payload"][0]["extensions"]["code"], "FORBIDDEN");
    socket.close().await;
    let feed = sent(by(request(server, Method::GET, "/events?organizationId=other"), eve)).await;
    assert_eq!(feed.0, 403, "{feed:?}");

    assert!(asked(server, CANARY, "{ version }").await["errors"].is_array());
    let mut socket = Socket::connect(server, "/graphql", Some("graphql-transport-ws")).await;
    socket.send(json!({ "type": "connection_init", "payload": { "token": CANARY } })).await;
    assert!(matches!(socket.next().await, Frame::Close(4403, _)));
    let mut socket = Socket::connect(server, "/rpc", None).await;
    authenticate(&mut socket, CANARY).await;
    assert_eq!(socket.json().await["error"]["data"]["code"], "UNAUTHENTICATED");
    socket.close().await;
}

async fn authenticate(socket: &mut Socket, token: &str) {
    let params = json!({ "token": token });
    socket
        .send(json!({ "jsonrpc": "2.0", "id": 7, "method": "gateway.authenticate", "params": params }))
        .await;
}

/// What an administrator looks at, ends and changes. The connections 1 and 2 are those of `ada`.
async fn administration(server: &TestServer, root: &str, policy: &Path) {
    let ids = asked(server, root, "{ connections { nodes { id protocol } } }").await;
    let id = |protocol: &str| {
        let nodes = ids["data"]["connections"]["nodes"].as_array().unwrap();
        nodes.iter().find(|node| node["protocol"] == protocol).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let (graphql, rpc) = (id("graphql-transport-ws"), id("json-rpc"));
    asked(server, root, &format!("{{ subscriptions(connectionId: \"{graphql}\") {{ id }} }}")).await;
    asked(server, root, "{ stats { published } }").await;
    assert_eq!(sent(by(request(server, Method::GET, "/metrics"), root)).await.0, 200);
    done(server, root, &format!("unsubscribe(connectionId: \"{graphql}\", subscriptionId: \"a\")")).await;
    done(server, root, &format!("disconnect(connectionId: \"{rpc}\")")).await;
    let text = fs::read_to_string(policy).unwrap();
    fs::write(
        policy,
        text + "[[masks]]\ntypes = ['*']\npath = 'data.secret'\naction = 'drop'\nexcept = ['root']\n",
    )
    .unwrap();
    done(server, root, "reloadPolicy").await;
    // As after a signal.
    server.authority.reload(None).await.unwrap();
    done(server, root, r#"revoke(what: { subject: "eve" })"#).await;
}

#[tokio::test]
async fn a_story_over_several_protocols_is_told_line_by_line_without_tokens_and_payloads() {
    let dir = tempfile::tempdir().unwrap();
    let access = Access::new();
    let root = access.token("root", May::All, None);
    let [ada, again, eve] =
        ["ada", "ada", "eve"].map(|name| access.token(name, May::Organization("q"), None));
    let (server, policy) = server_in(&access, dir.path());

    let mut graphql = Reader::open(&server, "graphql", &ada).await;
    let mut rpc = Reader::open(&server, "rpc", &ada).await;
    let sse = Reader::open(&server, "sse", &ada).await;
    let feed = Reader::open(&server, "feed", &ada).await;
    let fifth = sent(by(sse_request(&server), &ada)).await;
    assert_eq!((fifth.0, &fifth.1["code"]), (429, &json!("TOO_MANY")), "{fifth:?}");
    refusals(&server, &eve).await;
    let published = json!({ "type": "agent.log", "organizationId": "q", "data": { "secret": CANARY } });
    assert_eq!(
        sent(by(request(&server, Method::POST, "/events"), &ada).body(published.to_string())).await.0,
        200
    );
    let (Reader::Graphql(socket), Reader::Rpc(other)) = (&mut graphql, &mut rpc) else { unreachable!() };
    socket.send(json!({ "type": "ping", "payload": { "token": again } })).await;
    while socket.json().await["type"] != "pong" {}
    authenticate(other, &again).await;
    while other.json().await["id"] != 7 {}
    administration(&server, &root, &policy).await;
    drop((graphql, rpc, sse, feed));
    server.stop();

    let lines = lines(dir.path());
    let mut kinds = BTreeMap::new();
    for line in &lines {
        *kinds.entry(line["kind"].as_str().unwrap()).or_insert(0) += 1;
        assert_eq!(
            line.get("peer").is_none(),
            line["kind"] == "policy_changed" && line.get("subject").is_none()
        );
        let is_told = ["connect", "subscribe", "subscribe_refused", "token_refreshed"];
        if is_told.contains(&line["kind"].as_str().unwrap()) {
            assert!(line["connection"].is_string(), "{line}");
        }
    }
    let expected = [
        ("admin_read", 4),
        // Each reader, and the two of those whose subscriptions were refused.
        ("connect", 6),
        ("disconnected", 1),
        ("limit", 1),
        ("policy_changed", 2),
        ("publish_refused", 3),
        ("refused", 3),
        ("revoked", 1),
        // The gateway's own begins by itself.
        ("subscribe", 5),
        ("subscribe_refused", 2),
        ("token_refreshed", 2),
        ("unsubscribed", 1),
    ];
    assert_eq!(kinds, BTreeMap::from(expected), "{lines:#?}");
    story(&lines);
    let text = fs::read_to_string(file(dir.path())).unwrap();
    for secret in [CANARY, &ada, &again, &eve, &root] {
        assert!(!text.contains(secret), "{secret}");
    }
    let report = verify(&file(dir.path()), None).unwrap();
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
}

fn sse_request(server: &TestServer) -> RequestBuilder {
    sse(server, &json!({ "query": "subscription { events { id } }" }))
}

/// What the lines say beside their kind.
fn story(lines: &[Value]) {
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    let first = of("subscribe")[0];
    assert_eq!((&first["subject"], &first["credential"]), (&json!("ada"), &json!("token")), "{first}");
    assert_eq!(first["details"]["filter"], "{}");
    assert!(first["details"]["within"].as_str().unwrap().contains("organizationId q"), "{first}");
    let policies = of("policy_changed");
    let masks: Vec<_> = policies.iter().map(|line| &line["details"]["masks"]).collect();
    assert_eq!(masks, ["changed", "unchanged"]);
    assert_eq!(policies[0]["details"]["policy"], policies[1]["details"]["policy"]);
    assert_eq!(policies[0]["details"]["policy"].as_str().unwrap().len(), 64);
    assert_eq!((&policies[0]["subject"], policies[1].get("subject")), (&json!("root"), None));
    let kicked = of("disconnected")[0];
    assert_eq!((&kicked["subject"], &kicked["details"]["target_subject"]), (&json!("root"), &json!("ada")));
    assert_eq!(of("revoked")[0]["details"]["revoked_subject"], "eve");
    let reads: Vec<_> = of("admin_read").iter().map(|line| line["details"]["read"].clone()).collect();
    assert_eq!(reads, ["connections", "subscriptions", "stats", "metrics"]);
    let limit = of("limit")[0];
    assert_eq!((&limit["outcome"], &limit["details"]["limit"]), (&json!("TOO_MANY"), &json!("connections")));
    for line in of("publish_refused") {
        assert_eq!((&line["outcome"], &line["subject"]), (&json!("FORBIDDEN"), &json!("eve")));
    }
    for line in of("refused") {
        assert_eq!((&line["outcome"], line.get("subject")), (&json!("UNAUTHENTICATED"), None));
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_cannot_be_recorded_is_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let access = Access::new();
    let (root, ada) = (access.token("root", May::All, None), access.token("ada", May::All, None));
    let (server, policy) = server_in(&access, dir.path());
    let mut reader = Reader::open(&server, "graphql", &ada).await;
    let found = asked(&server, &root, "{ connections { nodes { id } } }").await;
    let id = found["data"]["connections"]["nodes"][0]["id"].as_str().unwrap().to_owned();

    // The disk is full from now on, and in one step: the file is never missing, or it would be made anew.
    let (file, full) = (file(dir.path()), dir.path().join("full"));
    fs::hard_link(&file, format!("{}.{:020}", file.display(), 1)).unwrap();
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    fs::rename(&full, &file).unwrap();
    let text = fs::read_to_string(&policy).unwrap();
    fs::write(&policy, text.replace("[roles.ada]", "[roles.nobody]")).unwrap();
    let decisions = [
        format!("unsubscribe(connectionId: \"{id}\", subscriptionId: \"a\")"),
        format!("disconnect(connectionId: \"{id}\")"),
        "reloadPolicy".to_owned(),
        r#"revoke(what: { subject: "ada" })"#.to_owned(),
    ];
    for decision in &decisions {
        let answer = asked(&server, &root, &format!("mutation {{ {decision} }}")).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{decision}: {answer}");
    }
    assert!(server.authority.reload(None).await.is_err());
    let (status, why) = sent(request(&server, Method::GET, "/readyz")).await;
    assert_eq!(status, 503);
    assert!(why["detail"].as_str().unwrap().contains("audit"), "{why}");
    // Everything else goes on, for those who were to be ended too.
    let event = json!({ "type": "agent.log", "id": "1" });
    assert_eq!(
        sent(by(request(&server, Method::POST, "/events"), &ada).body(event.to_string())).await.0,
        200
    );
    assert_eq!(reader.next().await, Given::Event("1".to_owned()));

    fs::remove_file(&file).unwrap();
    for decision in &decisions {
        done(&server, &root, decision).await;
    }
    assert_eq!(sent(request(&server, Method::GET, "/readyz")).await.0, 200);
    drop(reader);
    server.stop();
    let report = verify(&file, None).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[tokio::test]
async fn without_authentication_nothing_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::with(|config| config.data_dir = dir.path().join("none"));
    let stream = Stream::events(&server, "").await;
    assert_eq!(post_json(&server.url("/events"), &json!({ "type": "agent.log" })).await.0, 200);
    stream.close(&server).await;
    server.stop();
    assert!(!dir.path().join("none").exists());
}
