//! Promise 2 across restarts: where a subscription starts, and what it is told when it cannot.

use crate::support::{Socket, TestServer};
use serde_json::{Value, json};

async fn publish(server: &TestServer, numbers: std::ops::Range<u32>) -> Vec<String> {
    let mut cursors = Vec::new();
    for number in numbers {
        cursors.push(server.publish("task.progress", json!({ "id": number.to_string() })).await);
    }
    cursors
}

async fn ids(socket: &mut Socket, numbers: std::ops::Range<u32>) {
    for number in numbers {
        assert_eq!(socket.data("a").await["tasks"]["id"], number.to_string());
    }
}

async fn start(server: &TestServer, start: Value) -> Socket {
    let mut socket = Socket::graphql(server).await;
    let query = "subscription ($start: StartPosition) { tasks(start: $start) { id } }";
    let payload = json!({ "query": query, "variables": { "start": start } });
    socket.send(json!({ "type": "subscribe", "id": "a", "payload": payload })).await;
    socket
}

#[tokio::test]
async fn a_subscription_resumed_after_a_restart_continues_without_gap_or_repeat() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::on_disk(dir.path());
    let cursors = publish(&server, 0..20).await;
    server.stop();

    let server = TestServer::on_disk(dir.path());
    let mut socket = start(&server, json!({ "after": cursors[9] })).await;
    ids(&mut socket, 10..20).await;
    publish(&server, 20..30).await;
    ids(&mut socket, 20..30).await;
    socket.nothing_more().await;
    socket.close().await;
}

#[tokio::test]
async fn each_start_position_starts_where_it_says() {
    let server = TestServer::start();
    publish(&server, 0..5).await;
    server.publish("agent.created", json!({ "id": "other" })).await;
    let cursors = publish(&server, 5..20).await;

    let mut last = start(&server, json!({ "last": 10 })).await;
    ids(&mut last, 10..20).await;
    let mut more_than_there_are = start(&server, json!({ "last": 100 })).await;
    ids(&mut more_than_there_are, 0..20).await;
    let mut earliest = start(&server, json!({ "earliest": true })).await;
    ids(&mut earliest, 0..20).await;
    let mut time = start(&server, json!({ "time": "2020-01-01T00:00:00Z" })).await;
    ids(&mut time, 0..20).await;
    let mut future = start(&server, json!({ "time": "2999-01-01T00:00:00Z" })).await;
    let error = future.json().await["payload"][0]["extensions"].clone();
    assert_eq!((&error["code"], &error["field"]), (&json!("INVALID_FILTER"), &json!("start.time")));
    future.close().await;
    let mut head = start(&server, json!({ "after": cursors.last() })).await;
    head.nothing_more().await;

    publish(&server, 20..22).await;
    for socket in [last, more_than_there_are, earliest, time, head] {
        let mut socket = socket;
        ids(&mut socket, 20..22).await;
        socket.nothing_more().await;
        socket.close().await;
    }
}

#[tokio::test]
async fn a_cursor_of_another_log_says_so_and_names_the_ends() {
    let (server, other) = (TestServer::start(), TestServer::start());
    publish(&server, 0..3).await;
    let cursors = publish(&other, 0..3).await;
    let mut socket = start(&server, json!({ "after": cursors[0] })).await;
    let error = socket.json().await["payload"][0]["extensions"].clone();
    assert_eq!(error["code"], "EPOCH_CHANGED");

    let mut again = start(&server, json!({ "after": error["earliest"] })).await;
    ids(&mut again, 0..3).await;
    again.close().await;
    socket.close().await;
}

#[tokio::test]
async fn a_cursor_beyond_the_log_says_so() {
    use fanfare::event::Offset;
    let server = TestServer::start();
    publish(&server, 0..1).await;
    let ahead = server.hub.position(Offset::new(2)).to_string();
    let mut socket = start(&server, json!({ "after": ahead })).await;
    assert_eq!(socket.json().await["payload"][0]["extensions"]["code"], "CURSOR_AHEAD");
    socket.close().await;
}

#[tokio::test]
async fn pings_carry_a_cursor_from_which_an_idle_subscription_can_resume() {
    let server = TestServer::with(|config| config.ping_interval = std::time::Duration::from_millis(50));
    let mut socket = start(&server, Value::Null).await;
    server.publish("agent.created", json!({ "id": "skipped" })).await;
    let head = server.hub.bounds().head;
    loop {
        let ping = socket.json().await;
        assert_eq!(ping["type"], "ping");
        socket.send(json!({ "type": "pong" })).await;
        if server.opened(&ping["payload"]["cursor"]) == head {
            break;
        }
    }
    socket.close().await;
}

#[tokio::test]
async fn a_second_server_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::on_disk(dir.path());
    let config = fanfare::config::Config { data_dir: dir.path().to_owned(), ..Default::default() };
    let error = fanfare::Server::open(&config).unwrap_err().to_string();
    assert!(error.contains(&dir.path().display().to_string()), "{error}");
    publish(&server, 0..1).await;
}

#[tokio::test]
async fn after_an_io_error_publishing_stops_for_good_while_reading_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::on_disk(dir.path());
    let cursors = publish(&server, 0..3).await;
    let mut live = start(&server, Value::Null).await;
    live.nothing_more().await;

    // The database refuses what is written, as a broken disk would.
    let mut files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let database = files.find(|path| path.extension().is_some_and(|extension| extension == "db")).unwrap();
    let breaking = rusqlite::Connection::open(database).unwrap();
    breaking
        .execute_batch(
            "CREATE TRIGGER broken BEFORE INSERT ON events BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END",
        )
        .unwrap();
    let event = json!({ "type": "task.progress", "id": "3" });
    let (status, problem) = crate::support::post_json(&server.url("/events"), &event).await;
    assert_eq!((status, &problem["code"]), (503, &json!("UNAVAILABLE")), "{problem}");
    assert!(!problem.to_string().contains("disk I/O"), "causes stay inside: {problem}");
    breaking.execute_batch("DROP TRIGGER broken").unwrap();

    let (status, _) = crate::support::post_json(&server.url("/events"), &event).await;
    assert_eq!(status, 503, "a log that failed once takes nothing more");
    assert_eq!(reqwest::get(server.url("/health/ready")).await.unwrap().status(), 503);
    assert_eq!(reqwest::get(server.url("/health/live")).await.unwrap().status(), 200);
    let mut replay = start(&server, json!({ "after": cursors[0] })).await;
    ids(&mut replay, 1..3).await;
    replay.close().await;
    live.close().await;
}
