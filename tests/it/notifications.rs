//! Notifications over a real listener: one user with several devices, one of which is away.

use crate::support::{Access, May, Socket, TestServer, ask, sent};
use fanfare::config::Store;
use serde_json::{Value, json};
use std::{fs, path::Path};

/// The answer to an operation of somebody.
async fn asked(server: &TestServer, token: &str, query: &str) -> Value {
    let answer = sent(ask(server, "application/json", &json!({ "query": query })).bearer_auth(token)).await.1;
    assert_eq!(answer["errors"], Value::Null, "{answer}");
    answer["data"].clone()
}

const UNREAD: &str = "{ unreadNotifications { count isAtLeast readUpTo asOf nodes { type taskId } } }";

/// One step in the life of Ada's task.
async fn step(server: &TestServer, token: &str, event_type: &str) {
    let event = format!(r#"{{ type: "{event_type}", taskId: "t1", userId: "ada", organizationId: "acme" }}"#);
    asked(server, token, &format!("mutation {{ publish(event: {event}) {{ id }} }}")).await;
}

#[tokio::test]
async fn a_user_on_two_devices_gets_each_once_misses_nothing_and_reads_once_for_both() {
    const ROOMS: &str =
        r#"subscription { events(filter: { anyOf: [{ taskId: "t1" }, { userId: "ada" }] }) { type } }"#;
    let access = Access::with_policy("[roles.viewer]\nread = [{ types = ['*'], organizationId = 'acme' }]\n");
    let worker = access.token("worker", May::Organization("acme"), None);
    // Ada may publish nothing.
    let (laptop, phone) = (access.signed("ada", &["viewer"], None), access.signed("ada", &["viewer"], None));
    let server = access.server();
    let mut on_laptop = Socket::graphql_as(&server, &laptop).await;
    on_laptop.subscribe("rooms", ROOMS).await;
    let mut on_phone = Socket::graphql_as(&server, &phone).await;
    on_phone.subscribe("mine", "subscription { notifications { type cursor } }").await;

    step(&server, &worker, "task.created").await;
    step(&server, &worker, "task.started").await;
    let mut seen = Value::Null;
    for expected in ["task.created", "task.started"] {
        assert_eq!(on_laptop.data("rooms").await["events"], json!({ "type": expected }));
        let notification = on_phone.data("mine").await["notifications"].clone();
        assert_eq!(notification["type"], expected);
        seen = notification["cursor"].clone();
    }
    // Both rooms of the event are the laptop's, and it came once.
    on_laptop.nothing_more().await;

    on_phone.close().await;
    step(&server, &worker, "task.progress").await;
    step(&server, &worker, "task.completed").await;
    for expected in ["task.progress", "task.completed"] {
        assert_eq!(on_laptop.data("rooms").await["events"]["type"], expected);
    }
    let mut on_phone = Socket::graphql_as(&server, &phone).await;
    let again = format!("subscription {{ notifications(start: {{ after: {seen} }}) {{ type data }} }}");
    on_phone.subscribe("mine", &again).await;
    for expected in ["task.progress", "task.completed"] {
        assert_eq!(on_phone.data("mine").await["notifications"]["type"], expected);
    }

    let unread = asked(&server, &laptop, UNREAD).await["unreadNotifications"].clone();
    assert_eq!((&unread["count"], &unread["isAtLeast"]), (&json!(4), &json!(false)));
    assert_eq!(unread["nodes"][3], json!({ "type": "task.completed", "taskId": "t1" }));
    let mark = format!("mutation {{ markRead(upTo: {}) {{ moved }} }}", unread["asOf"]);
    assert_eq!(asked(&server, &laptop, &mark).await["markRead"], json!({ "moved": true }));
    let told = json!({ "type": "notification.read", "data": { "upTo": unread["asOf"] } });
    assert_eq!(on_phone.data("mine").await["notifications"], told);
    assert_eq!(asked(&server, &phone, UNREAD).await["unreadNotifications"]["count"], 0);
    on_phone.close().await;
    on_laptop.close().await;
}

#[tokio::test]
async fn what_was_read_stays_read_after_a_restart() {
    let access = Access::new();
    let ada = access.token("ada", May::Organization("acme"), None);
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        access.server_with(|config| {
            config.store = Store::Sqlite;
            config.data_dir = dir.path().to_owned();
        })
    };
    let server = start();
    step(&server, &ada, "task.created").await;
    step(&server, &ada, "task.started").await;
    let up_to = asked(&server, &ada, UNREAD).await["unreadNotifications"]["asOf"].clone();
    asked(&server, &ada, &format!("mutation {{ markRead(upTo: {up_to}) {{ moved }} }}")).await;
    step(&server, &ada, "task.completed").await;
    let before = asked(&server, &ada, UNREAD).await["unreadNotifications"].clone();
    server.stop();
    let server = start();
    let after = asked(&server, &ada, UNREAD).await["unreadNotifications"].clone();
    for field in ["count", "readUpTo", "nodes"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!((&after["count"], &after["readUpTo"]), (&json!(1), &up_to));
}

/// The GraphQL documents of a section of the README, in order.
fn documents(section: &str) -> Vec<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, section) = readme.split_once(&format!("\n### {section}\n")).unwrap();
    let section = section.split("\n#").next().unwrap();
    let blocks = section.split("```graphql\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_documents_of_the_readme_about_people_work_as_they_stand() {
    let access = Access::new();
    let ada = access.token("ada", May::All, None);
    let server = access.server();
    let mut socket = Socket::graphql_as(&server, &ada).await;
    let [room, talk, history]: [String; 3] = documents("Chat").try_into().unwrap();
    socket.subscribe("room", &room).await;
    let said = asked(&server, &ada, &talk).await;
    assert_eq!(said["sendMessage"]["duplicate"], false);
    assert_eq!(socket.data("room").await["chat"]["isTyping"], true);
    let message = socket.data("room").await["chat"].clone();
    assert_eq!((&message["sender"], &message["cursor"]), (&json!("ada"), &said["sendMessage"]["cursor"]));
    assert_eq!(asked(&server, &ada, &history).await["messages"]["nodes"][0]["content"], message["content"]);

    let [follow, count, mark]: [String; 3] = documents("Notifications").try_into().unwrap();
    socket.send(json!({ "type": "complete", "id": "room" })).await;
    socket.subscribe("mine", &follow).await;
    step(&server, &ada, "task.created").await;
    let notification = socket.data("mine").await["notifications"].clone();
    assert_eq!((&notification["type"], &notification["taskId"]), (&json!("task.created"), &json!("t1")));
    let unread = asked(&server, &ada, &count).await["unreadNotifications"].clone();
    assert_eq!((&unread["count"], &unread["nodes"][0]["type"]), (&json!(1), &json!("task.created")));
    let body = json!({ "query": mark, "variables": { "upTo": notification["cursor"] } });
    let (_, answer) = sent(ask(&server, "application/json", &body).bearer_auth(&ada)).await;
    assert_eq!(
        answer["data"]["markRead"],
        json!({ "upTo": notification["cursor"], "moved": true }),
        "{answer}"
    );
    assert_eq!(socket.data("mine").await["notifications"]["type"], "notification.read");
    socket.close().await;
}
