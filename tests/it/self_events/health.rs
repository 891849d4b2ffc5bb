//! How the server does, told at an interval and when its log stops taking events, and shown to those who ask.

use super::{NEVER, next, telling_with};
use crate::support::{Socket, post_json, request, sent};
use fanfare::{
    config::{Config, Store},
    event::Family,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_snapshot_of_health_has_the_numbers_that_the_server_has() {
    let server = telling_with(&[Family::Health], |config| config.health_interval = Duration::from_millis(50));
    let mut socket = Socket::graphql(&server).await;
    socket.subscribe("a", "subscription { health { __typename type persist status snapshot data } }").await;
    server.tasks(0..3).await;
    let event = loop {
        let event = socket.data("a").await["health"].clone();
        assert_eq!(
            (&event["__typename"], &event["type"]),
            (&json!("HealthEvent"), &json!("health.snapshot"))
        );
        if event["snapshot"]["published"] == 3 {
            break event;
        }
    };
    assert_eq!((&event["status"], &event["persist"]), (&json!("healthy"), &json!(false)));
    let snapshot = &event["snapshot"];
    assert_eq!((&event["data"]["snapshot"], &snapshot["status"]), (snapshot, &json!("healthy")));
    assert_eq!((&snapshot["connections"], &snapshot["streams"]), (&json!(1), &json!(0)));
    assert_eq!((&snapshot["subscriptions"], &snapshot["groups"]), (&json!(1), &json!(1)));
    assert_eq!((&snapshot["store"], &snapshot["reasons"]), (&json!("writable"), &json!([])));
    assert_eq!((&snapshot["replays"], &snapshot["diskFreeBytes"]), (&json!(0), &Value::Null));
    assert!(cfg!(not(target_os = "linux")) || snapshot["memoryBytes"].as_u64().unwrap() > 1 << 20);
    let query = "{ stats { status reasons uptimeSeconds published transient delivered publishedPerSecond \
                 deliveredPerSecond groups subscriptions replays connections streams queue lag memoryBytes diskFreeBytes } }";
    let stats = server.graphql(query, json!({})).await["data"]["stats"].clone();
    for (name, value) in stats.as_object().unwrap() {
        assert!(snapshot.get(name).is_some(), "{name} is in stats only");
        if ["connections", "streams", "subscriptions", "groups", "published", "diskFreeBytes"]
            .contains(&&**name)
        {
            assert_eq!(*value, snapshot[name], "{name}");
        }
    }
    assert_eq!(stats["status"], "HEALTHY");

    let mut gateway = Socket::connect(&server, "/rpc", None).await;
    let message = gateway.json().await;
    assert_eq!((&message["method"], &message["params"]["type"]), (&json!("gateway.event"), &json!("Health")));
    assert_eq!(message["params"]["snapshot"]["status"], "healthy", "{message}");
    socket.close().await;
    gateway.close().await;
}

/// No interval passes: that the log has stopped is what makes the server tell how it does.
#[tokio::test]
async fn a_log_that_stops_is_told_at_once_to_those_who_follow() {
    let dir = tempfile::tempdir().unwrap();
    let on_disk = |config: &mut Config| {
        (config.store, config.data_dir) = (Store::Sqlite, dir.path().to_owned());
        assert_eq!(config.health_interval, NEVER);
    };
    let server = telling_with(&[Family::Health, Family::System], on_disk);
    let mut health = Socket::graphql(&server).await;
    health.subscribe("a", "subscription { health { type status snapshot } }").await;
    let mut system = Socket::graphql(&server).await;
    system.subscribe("a", "subscription { system { type component error data } }").await;
    // The database refuses what is written, as a broken disk would.
    let database = rusqlite::Connection::open(dir.path().join("fanfare.db")).unwrap();
    let broken =
        "CREATE TRIGGER broken BEFORE INSERT ON events BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END";
    database.execute_batch(broken).unwrap();
    let (status, _) = post_json(&server.url("/events"), &json!({ "type": "task.created" })).await;
    assert_eq!(status, 503);
    let told = loop {
        let told = next(&mut health, "health", "health.snapshot").await;
        if told["status"] != "healthy" {
            break told;
        }
    };
    assert_eq!((&told["status"], &told["snapshot"]["store"]), (&json!("unhealthy"), &json!("read-only")));
    assert_eq!(told["snapshot"]["reasons"].as_array().unwrap().len(), 1);
    assert!(told["snapshot"]["diskFreeBytes"].as_u64().unwrap() > 0, "{told}");
    let error = next(&mut system, "system", "system.error").await;
    assert_eq!(error["component"], "log");
    assert!(!error.to_string().contains("disk I/O error"), "causes stay inside: {error}");
    health.close().await;
    system.close().await;
}

#[tokio::test]
async fn the_numbers_of_the_server_are_metrics() {
    let server = telling_with(&[Family::Health], |config| config.health_interval = Duration::from_millis(20));
    server.tasks(0..2).await;
    let value = async |name: &str| {
        let (_, text) = sent(request(&server, Method::GET, "/metrics")).await;
        let prefix = format!("fanfare_{name} ");
        let line =
            text.as_str().unwrap().lines().find_map(|line| line.strip_prefix(&prefix).map(str::to_owned));
        line.map(|value| value.parse::<f64>().unwrap())
    };
    while value("self_events_published_total").await < Some(1.0) {}
    assert_eq!(value("events_published_total").await, Some(2.0));
    assert_eq!(value("self_events_lost_total").await, Some(0.0));
    // The next snapshot may be waiting just now.
    assert!(value("log_queue_requests").await <= Some(1.0) && value("log_queue_requests").await.is_some());
    assert_eq!(value("disk_free_bytes").await, None, "a log in memory has no disk");
    assert!(cfg!(not(target_os = "linux")) || value("memory_resident_bytes").await > Some(1e6));
    assert!(value("start_time_seconds").await > Some(1.7e9));
}
