//! Who sees whom: grants, masks, those without a credential, and what is refused.

use super::watch::{Known, Watch, asked, present, refused, rooms};
use crate::support::{Access, DEADLINE, Frame, May, Socket, Stream, TestServer, request};
use fanfare::event::Family;
use reqwest::Method;
use serde_json::json;
use std::collections::BTreeSet;

fn users(known: &Known) -> BTreeSet<&str> {
    known.values().map(|one| one["userId"].as_str().unwrap_or("nobody")).collect()
}

fn serve(access: &Access) -> TestServer {
    access.server_with(|config| config.self_events = vec![Family::Presence])
}

#[tokio::test]
async fn tenants_see_their_own_people_and_nobody_else() {
    let access = Access::new();
    let token = |user: &str, may| access.token(user, may, None);
    let (ann, abe) = (token("ann", May::Organization("acme")), token("abe", May::Organization("acme")));
    let (bob, root) = (token("bob", May::Organization("bolt")), token("root", May::All));
    let server = serve(&access);
    let (mut acme, mut bolt) = (Watch::open(&server, &ann).await, Watch::open(&server, &bob).await);
    let admin = Socket::graphql_as(&server, &root).await;
    let mut abes = Socket::graphql_as(&server, &abe).await;
    abes.subscribe("a", r#"subscription { tasks(filter: { taskId: ["t1"] }) { id } }"#).await;
    acme.until(|known| users(known) == BTreeSet::from(["abe", "ann"])).await;
    bolt.until(|known| users(known) == BTreeSet::from(["bob"])).await;
    for (token, own) in
        [(&ann, &["abe", "ann"][..]), (&bob, &["bob"]), (&root, &["abe", "ann", "bob", "root"])]
    {
        let known = present(&server, token, "").await;
        assert_eq!(users(&known), own.iter().copied().collect());
    }
    // The same room of another tenant is empty, and so is one that nobody is in.
    assert_eq!(rooms(&server, &ann).await["task:t1"], (1, 1));
    assert_eq!(rooms(&server, &bob).await.into_keys().collect::<Vec<_>>(), ["user:bob"]);
    for room in ["task:t1", "user:abe", "task:none"] {
        let found = present(&server, &bob, &format!(r#"room: "{room}""#)).await;
        assert_eq!((room, found.len()), (room, 0));
    }
    // Nor can their connections be touched, whether they are there or not.
    let abes_id = present(&server, &ann, r#"userId: "abe""#).await.into_keys().next().unwrap();
    let mut answers = Vec::new();
    for id in [&abes_id, "0123456789abcdef"] {
        let query = format!(r#"mutation {{ setPresence(status: AWAY, connectionId: "{id}") }}"#);
        let refused = refused(&server, &bob, &query).await.to_string();
        answers.push(refused.replace(id, "ID"));
    }
    assert_eq!(answers[0], answers[1]);
    // Events of others never come, so the next one that Bolt gets is its own.
    abes.close().await;
    acme.until(|known| users(known) == BTreeSet::from(["ann"])).await;
    let another = Socket::graphql_as(&server, &bob).await;
    assert_eq!(bolt.told("presence.connected", Some("bob")).await["organizationId"], "bolt");
    for socket in [admin, another] {
        socket.close().await;
    }
    acme.close().await;
    bolt.close().await;
}

/// Another policy moves somebody: the ones see them leave, the others see them come.
#[tokio::test]
async fn who_belongs_elsewhere_leaves_the_ones_and_comes_to_the_others() {
    let access = Access::new();
    let token = |user: &str, may| access.token(user, may, None);
    let (ann, bob) = (token("ann", May::Organization("acme")), token("bob", May::Organization("bolt")));
    let cyd = token("cyd", May::Organization("acme"));
    let server = serve(&access);
    let (mut acme, mut bolt) = (Watch::open(&server, &ann).await, Watch::open(&server, &bob).await);
    let socket = Socket::graphql_as(&server, &cyd).await;
    let feed = Stream::open(request(&server, Method::GET, "/events").bearer_auth(&cyd)).await;
    acme.until(|known| known.values().filter(|one| one["userId"] == "cyd").count() == 2).await;
    access.change("cyd", May::Organization("bolt"));
    acme.until(|known| users(known) == BTreeSet::from(["ann"])).await;
    bolt.until(|known| known.values().filter(|one| one["userId"] == "cyd").count() == 2).await;
    assert!(bolt.known.values().all(|one| one["organizationId"] == "bolt"), "{:?}", bolt.known);
    assert_eq!(users(&present(&server, &ann, "").await), BTreeSet::from(["ann"]));
    // Who may read all belongs to nobody.
    access.change("cyd", May::All);
    bolt.until(|known| users(known) == BTreeSet::from(["bob"])).await;
    drop(feed);
    for socket in [socket] {
        socket.close().await;
    }
    acme.close().await;
    bolt.close().await;
}

#[tokio::test]
async fn what_is_masked_is_seen_nowhere() {
    let masks = "[[masks]]\ntypes = ['presence.*']\npath = 'userId'\naction = 'hash'\nroles = ['eve']\n\
                 [[masks]]\ntypes = ['presence.*']\npath = 'data.rooms'\naction = 'drop'\nroles = ['eve']\n\
                 [[masks]]\ntypes = ['presence.*']\npath = 'data.status'\naction = 'null'\nroles = ['eve']\n";
    let access = Access::with_policy(masks);
    let token = |user: &str, may| access.token(user, may, None);
    let (una, eve) = (token("una", May::Organization("q")), token("eve", May::Organization("q")));
    let server = serve(&access);
    let mut watch = Socket::graphql_as(&server, &eve).await;
    watch.subscribe("p", "subscription { presence { userId data } }").await;
    let mut socket = Socket::graphql_as(&server, &una).await;
    socket.subscribe("a", r#"subscription { tasks(filter: { taskId: ["t1"] }) { id } }"#).await;
    let event = watch.data("p").await["presence"].clone();
    assert!(event["userId"].as_str().unwrap().starts_with("hash:"), "{event}");
    let hidden = present(&server, &eve, "").await;
    let all = format!("{hidden:?} {event} {:?}", rooms(&server, &eve).await);
    // No canary is made of hexadecimal digits alone: ids and hashes could hold it by chance.
    for canary in ["una", "task:t1", "ONLINE", "online"] {
        assert!(!all.contains(canary), "{canary} in {all}");
    }
    assert!(hidden.values().any(|one| one["userId"] == event["userId"]), "equal values stay equal");
    for (arguments, count) in
        [("room: \"task:t1\"", 0), ("room: \"user:una\"", 0), ("status: ONLINE", 0), ("", 2)]
    {
        assert_eq!(present(&server, &eve, arguments).await.len(), count, "{arguments}");
    }
    let refused = refused(&server, &eve, r#"{ presence(userId: "una") { next } }"#).await;
    assert_eq!((&refused["code"], &refused["field"]), (&json!("FORBIDDEN"), &json!("userId")));
    assert_eq!(present(&server, &una, r#"room: "task:t1""#).await.len(), 1);
    for socket in [watch, socket] {
        socket.close().await;
    }
}

#[tokio::test]
async fn nobody_in_particular_is_there_as_well() {
    let access = Access::new();
    let root = access.token("root", May::All, None);
    access.let_in_anonymous(May::Organization("q"));
    let server = serve(&access);
    let mut watch = Watch::open(&server, &root).await;
    let mut socket = Socket::graphql(&server).await;
    socket.subscribe("a", r#"subscription { chat(roomId: "r1") { id } }"#).await;
    watch.until(|known| known.values().any(|one| one["rooms"] == json!(["room:r1"]))).await;
    assert_eq!(rooms(&server, &root).await["room:r1"], (0, 1));
    let known = present(&server, &root, r#"room: "room:r1""#).await;
    assert_eq!(known.values().next().unwrap()["userId"], json!(null));
    // It speaks for this one connection, and for nobody without one.
    let set = json!({ "query": "mutation { setPresence(status: IDLE) }" });
    socket.send(json!({ "type": "subscribe", "id": "s", "payload": set })).await;
    assert_eq!(socket.data("s").await["setPresence"], 1);
    assert_eq!(watch.told("presence.changed", None).await["status"], "idle");
    let refused = refused(&server, "", "mutation { setPresence(status: IDLE) }").await;
    assert_eq!(refused["code"], "UNAUTHENTICATED", "{refused}");
    // Who signs in is somebody else from then on.
    let mut rpc = Socket::connect(&server, "/rpc", None).await;
    watch.told("presence.connected", None).await;
    let call =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "gateway.authenticate", "params": { "token": root } });
    rpc.send(call).await;
    watch.told("presence.disconnected", None).await;
    watch.told("presence.connected", Some("root")).await;
    for socket in [socket, rpc] {
        socket.close().await;
    }
    watch.until(|known| known.len() == 1).await;
    watch.close().await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_what_can() {
    let access = Access::new();
    let ada = access.token("ada", May::Organization("q"), None);
    let server = serve(&access);
    let long = "x".repeat(129);
    let cases = [
        ("{ presence(first: 0) { next } }".to_owned(), "BAD_REQUEST", "first"),
        ("{ rooms(first: 1001) { next } }".to_owned(), "BAD_REQUEST", "first"),
        (r#"{ presence(after: "7") { next } }"#.to_owned(), "BAD_REQUEST", "after"),
        (r#"{ presence(room: "t1") { next } }"#.to_owned(), "BAD_REQUEST", "room"),
        (r#"{ rooms(after: "agent:a1") { next } }"#.to_owned(), "BAD_REQUEST", "after"),
        (format!(r#"{{ presence(userId: "{long}") {{ next }} }}"#), "INVALID_FILTER", "userId"),
        (
            r#"mutation { setPresence(status: AWAY, connectionId: "me") }"#.to_owned(),
            "BAD_REQUEST",
            "connectionId",
        ),
    ];
    for (query, code, field) in cases {
        let refused = refused(&server, &ada, &query).await;
        assert_eq!((&refused["code"], &refused["field"]), (&json!(code), &json!(field)), "{query}");
        assert!(refused["allowed"].is_string() && refused["next"].is_string(), "{refused}");
    }
    // Who may read no such events is told so, as by the subscription.
    let further = json!({ "fanfare": { "read": [{ "types": ["task.*"] }] } });
    let tim = access.signed_with("tim", &[], None, &further);
    assert_eq!(refused(&server, &tim, "{ presence { next } }").await["code"], "FORBIDDEN");
    assert_eq!(
        asked(&server, &tim, "mutation { setPresence(status: AWAY) }").await["data"]["setPresence"],
        0
    );
}

/// A server that does not tell about presence knows it all the same.
#[tokio::test]
async fn without_the_events_the_queries_answer() {
    let server = TestServer::start();
    let mut watch = Socket::graphql(&server).await;
    watch.subscribe("p", "subscription { presence { type } }").await;
    let socket = Socket::graphql(&server).await;
    assert_eq!(present(&server, "", "").await.len(), 2);
    socket.close().await;
    let gone = async {
        while present(&server, "", "").await.len() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.expect("it stays");
    watch.send(json!({ "type": "ping" })).await;
    assert_eq!(watch.next().await, Frame::Json(json!({ "type": "pong" })), "an event came");
    watch.close().await;
}
