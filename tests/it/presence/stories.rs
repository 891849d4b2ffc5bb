//! The stories of the systems that Fanfare replaces: one user on several devices, and the room of a task.

use super::watch::{Watch, asked, present, rooms};
use crate::support::{Access, Given, May, Reader, Socket, TestServer};
use fanfare::event::Family;
use serde_json::{Value, json};

const NOTIFICATIONS: &str = "subscription { notifications { id } }";

async fn publish(server: &TestServer, token: &str, event: &str) {
    let query = format!("mutation {{ publish(event: {event}) {{ id }} }}");
    let answer = asked(server, token, &query).await;
    assert!(answer["data"]["publish"]["id"].is_string(), "{answer}");
}

async fn given(reader: &mut Reader) -> String {
    loop {
        match reader.next().await {
            Given::Event(id) => return id,
            Given::Other => {}
            Given::Ended(said) => panic!("{said}"),
        }
    }
}

/// A user's notifications reach every device, and the user is there until the last of them has gone.
#[tokio::test]
async fn a_user_is_there_as_long_as_one_of_their_devices() {
    let access = Access::new();
    let (root, ada) =
        (access.token("root", May::All, None), access.token("ada", May::Organization("q"), None));
    let server = access.server_with(|config| config.self_events = vec![Family::Presence]);
    let mut watch = Watch::open(&server, &root).await;
    let mut laptop = Socket::graphql_as(&server, &ada).await;
    laptop.subscribe("a", NOTIFICATIONS).await;
    let mut phone = Socket::graphql_as(&server, &ada).await;
    phone.subscribe("a", NOTIFICATIONS).await;
    let mut tab = Reader::open(&server, "feed", &ada).await;
    let devices = |count: usize| {
        move |known: &super::watch::Known| {
            known.values().filter(|one| one["userId"] == "ada").count() == count
        }
    };
    watch.until(devices(3)).await;
    assert_eq!(rooms(&server, &root).await["user:ada"], (1, 3));
    publish(&server, &root, r#"{ type: "task.completed", id: "7", userId: "ada", organizationId: "q" }"#)
        .await;
    // Where else she is connected is no news to her.
    assert_eq!(laptop.data("a").await["notifications"]["id"], "7");
    assert_eq!(phone.data("a").await["notifications"]["id"], "7");
    assert_eq!(given(&mut tab).await, "7");
    laptop.close().await;
    watch.until(devices(2)).await;
    drop(tab);
    watch.until(devices(1)).await;
    assert_eq!(rooms(&server, &root).await["user:ada"], (1, 1));
    phone.close().await;
    watch.until(devices(0)).await;
    assert_eq!(rooms(&server, &root).await.get("user:ada"), None);
    assert!(present(&server, &root, r#"userId: "ada""#).await.is_empty());
    watch.close().await;
}

/// Who follows a task is in its room; an event in two rooms of one subscriber comes to them once.
#[tokio::test]
async fn whoever_follows_a_task_is_in_its_room() {
    let access = Access::new();
    let root = access.token("root", May::All, None);
    let (ada, bob) = (
        access.token("ada", May::Organization("q"), None),
        access.token("bob", May::Organization("q"), None),
    );
    let server = access.server_with(|config| config.self_events = vec![Family::Presence]);
    let mut watch = Watch::open(&server, &root).await;
    let mut owner = Socket::graphql_as(&server, &ada).await;
    let both =
        r#"subscription { tasks(filter: { anyOf: [{ taskId: ["t1"] }, { userId: ["ada"] }] }) { id } }"#;
    owner.subscribe("a", both).await;
    let mut other = Socket::graphql_as(&server, &bob).await;
    other.subscribe("a", r#"subscription { tasks(filter: { taskId: ["t1"] }) { id } }"#).await;
    other.subscribe("b", r#"subscription { chat(roomId: "r1") { id } }"#).await;
    let is_in = |user: &'static str, room: &'static str| {
        move |known: &super::watch::Known| {
            let rooms = known.values().filter(|one| one["userId"] == user).map(|one| one["rooms"].clone());
            rooms.flat_map(|rooms| rooms.as_array().unwrap().clone()).any(|name| name == room)
        }
    };
    watch.until(is_in("ada", "task:t1")).await;
    watch.until(is_in("bob", "room:r1")).await;
    let counted = rooms(&server, &root).await;
    assert_eq!((counted["task:t1"], counted["room:r1"]), ((2, 2), (1, 1)));
    assert_eq!(present(&server, &root, r#"room: "task:t1""#).await.len(), 2);
    let events =
        [("1", "t1", "ada"), ("2", "t1", "bob"), ("3", "t2", "ada"), ("4", "t2", "bob"), ("5", "t1", "ada")];
    for (id, task, user) in events {
        let event = format!(
            r#"{{ type: "task.progress", id: "{id}", taskId: "{task}", userId: "{user}", organizationId: "q" }}"#
        );
        publish(&server, &root, &event).await;
    }
    for (socket, due) in [(&mut owner, &["1", "2", "3", "5"][..]), (&mut other, &["1", "2", "5"])] {
        for id in due {
            assert_eq!(socket.data("a").await["tasks"]["id"], **id);
        }
        socket.nothing_more().await;
    }
    other.send(json!({ "type": "complete", "id": "a" })).await;
    watch.until(|known| !is_in("bob", "task:t1")(known)).await;
    assert_eq!(rooms(&server, &root).await["task:t1"], (1, 1), "she is still in it");
    let left = present(&server, &root, r#"userId: "bob""#).await;
    assert_eq!(left.values().next().unwrap()["rooms"], json!(["room:r1"]));
    for socket in [owner, other] {
        socket.close().await;
    }
    watch.until(|known| known.len() == 1).await;
    assert_eq!(rooms(&server, &root).await.keys().collect::<Vec<_>>(), ["user:root"]);
    watch.close().await;
}

/// What somebody does is told by the name of its state, and to a gateway's clients as they know it.
#[tokio::test]
async fn what_somebody_says_that_they_do_is_told() {
    let access = Access::new();
    let (root, ada) =
        (access.token("root", May::All, None), access.token("ada", May::Organization("q"), None));
    let server = access.server_with(|config| config.self_events = vec![Family::Presence]);
    let mut watch = Watch::open(&server, &root).await;
    let mut first = Socket::graphql_as(&server, &ada).await;
    let second = Socket::graphql_as(&server, &ada).await;
    let (one, two) = (
        watch.told("presence.connected", Some("ada")).await,
        watch.told("presence.connected", Some("ada")).await,
    );
    assert_eq!(one["status"], "online");
    let mut gateway = Socket::rpc_as(&server, &root).await;
    watch.told("presence.connected", Some("root")).await;
    // Answered once it follows everything; what is not kept comes to whoever follows by then.
    gateway.send(json!({ "jsonrpc": "2.0", "id": 0, "method": "gateway.subscription" })).await;
    while !gateway.json().await["result"]["filter"].is_object() {}
    // Over a WebSocket: this connection.
    let set = json!({ "query": "mutation { setPresence(status: WORKING) }" });
    first.send(json!({ "type": "subscribe", "id": "s", "payload": set })).await;
    assert_eq!(first.data("s").await["setPresence"], 1);
    let changed = watch.told("presence.changed", Some("ada")).await;
    assert_eq!((&changed["status"], &changed["connectionId"]), (&json!("working"), &one["connectionId"]));
    let heard = loop {
        let heard = gateway.json().await["params"].clone();
        if heard["status"] == "working" {
            break heard;
        }
    };
    assert_eq!(heard, json!({ "type": "Presence", "conn_id": one["connectionId"], "status": "working" }));
    // Over HTTP: all of hers, of which one does so already.
    let all = asked(&server, &ada, "mutation { setPresence(status: WORKING) }").await;
    assert_eq!(all["data"]["setPresence"], 2, "{all}");
    let changed = watch.told("presence.changed", Some("ada")).await;
    assert_eq!(changed["connectionId"], two["connectionId"]);
    let named = format!(r#"mutation {{ setPresence(status: AWAY, connectionId: {}) }}"#, two["connectionId"]);
    assert_eq!(asked(&server, &ada, &named).await["data"]["setPresence"], 1);
    assert_eq!(watch.told("presence.changed", Some("ada")).await["status"], "away");
    let away = present(&server, &root, "status: AWAY").await;
    assert_eq!(away.keys().collect::<Vec<_>>(), [two["connectionId"].as_str().unwrap()]);
    let nobody = super::watch::refused(&server, &root, &named).await;
    assert_eq!(
        (&nobody["code"], &nobody["field"]),
        (&json!("NOT_FOUND"), &json!("connectionId")),
        "not hers"
    );
    drop(second);
    assert_eq!(watch.told("presence.disconnected", Some("ada")).await["status"], "offline");
    let heard = loop {
        let heard: Value = gateway.json().await["params"].clone();
        if heard["status"] == "offline" {
            break heard;
        }
    };
    assert_eq!(heard["conn_id"], two["connectionId"]);
    for socket in [first, gateway] {
        socket.close().await;
    }
    watch.close().await;
}
