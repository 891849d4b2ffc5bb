//! Retention as readers see it, and `fanfare log` on the directory that it leaves.

use crate::support::TestServer;
use fanfare::{
    auth::Principal,
    config::Store,
    error::Code,
    event::{Cursor, Draft, EventFilter, Limits, NewEvent, Offset, StartPosition},
    hub::{HistoryRequest, Hub},
};
use serde_json::Value;
use std::{path::Path, process::Command};

fn server(dir: &Path, events: usize) -> TestServer {
    TestServer::with(|config| {
        config.store = Store::Sqlite;
        config.data_dir = dir.to_owned();
        config.retention_events = Some(events);
    })
}

fn events(count: usize) -> Vec<NewEvent> {
    let draft = |number| Draft { event_type: format!("task.t{}", number % 25), ..Draft::default() };
    (0..count).map(|number| NewEvent::new(draft(number), &Limits::default()).unwrap()).collect()
}

async fn publish(hub: &Hub, count: usize) {
    hub.publish(&Principal::anonymous(), events(count)).await.unwrap();
}

async fn until_earliest(hub: &Hub, offset: u64) {
    while hub.bounds().earliest < Offset::new(offset) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn each_end_of_the_log_has_its_own_answer() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), 10);
    publish(&server.hub, 50).await;
    until_earliest(&server.hub, 41).await;
    let (principal, filter) = (Principal::anonymous(), EventFilter::default());
    let cursor = |offset| server.hub.position(Offset::new(offset));
    for (offset, expected) in
        [(39, Err(Code::CursorExpired)), (40, Ok(Some(40))), (50, Ok(Some(50))), (51, Err(Code::CursorAhead))]
    {
        let start = StartPosition::After(cursor(offset));
        let located = server.hub.locate(&principal, &filter, &start).await;
        if let Err(refusal) = &located {
            let earliest = Cursor::parse(refusal.detail("earliest").unwrap()).unwrap();
            assert_eq!(
                server.hub.epoch().open(earliest),
                Ok(Offset::new(40)),
                "the first cursor from which nothing is missing"
            );
        }
        let located = located.map(|offset| offset.map(Offset::get)).map_err(|refusal| refusal.code);
        assert_eq!(located, expected, "{offset}");
    }
    let mut tail = server.hub.tail(&principal, filter, Offset::new(40)).unwrap();
    let first = tail.next().await.unwrap().unwrap();
    assert_eq!(
        first.iter().map(|event| event.offset().get()).collect::<Vec<_>>(),
        (41..=50).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn history_from_the_front_is_never_refused_because_retention_was_faster() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), 5);
    publish(&server.hub, 5).await;
    let hub = server.hub.clone();
    let publisher = tokio::spawn(async move {
        for _ in 0..100 {
            publish(&hub, 5).await;
        }
    });
    while !publisher.is_finished() {
        let request = HistoryRequest { first: Some(3), ..HistoryRequest::default() };
        let page = server.hub.history(&Principal::anonymous(), request).await.unwrap();
        assert!(page.events.windows(2).all(|pair| pair[0].offset().next() == pair[1].offset()));
    }
    publisher.await.unwrap();
}

/// Runs the program; gives its exit code and what it wrote to stdout and to stderr.
fn fanfare(arguments: &[&str], dir: &Path) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .args(arguments)
        .args(["--data-dir", dir.to_str().unwrap()])
        .env_remove("FANFARE_CONFIG")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_log_is_checked_and_counted_beside_its_server_and_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), 40);
    publish(&server.hub, 100).await;
    until_earliest(&server.hub, 61).await;
    let epoch = fanfare::log::epoch(dir.path()).unwrap();
    let (head, earliest) = (epoch.seal(Offset::new(100)), epoch.seal(Offset::new(60)));
    let mut server = Some(server);
    for runs in [true, false] {
        if !runs {
            drop(server.take());
        }
        let (code, out, err) = fanfare(&["log", "check"], dir.path());
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(out.ends_with("40 events, offsets 61 to 100: sound\n"), "{out}");
        assert_eq!(out.contains("a server is running"), runs, "{out}");

        let (code, out, _) = fanfare(&["log", "stats", "--json"], dir.path());
        let stats: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (code, stats["events"].as_u64(), stats["beside_server"].as_bool()),
            (Some(0), Some(40), Some(runs))
        );
        assert_eq!(
            (stats["head"].as_str(), stats["earliest"].as_str()),
            (Some(&*head.to_string()), Some(&*earliest.to_string()))
        );
        assert_eq!((stats["removed_keys"].as_u64(), stats["damaged"].as_u64()), (Some(60), Some(0)));
        assert_eq!((stats["types"].as_array().unwrap().len(), stats["more_types"].as_u64()), (20, Some(5)));
        assert_eq!(stats["types"][0]["events"].as_u64(), Some(2));
        let (code, out, _) = fanfare(&["log", "stats"], dir.path());
        assert_eq!(code, Some(0));
        assert!(
            out.contains("events") && out.contains("type task.t0 ") && out.contains("file fanfare.db "),
            "{out}"
        );
    }
    // Looking at it left a log that opens.
    assert_eq!(TestServer::on_disk(dir.path()).hub.bounds().earliest, Offset::new(61));
}

#[tokio::test]
async fn a_damaged_log_and_none_at_all_fail_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let (code, out, err) = fanfare(&["log", "check"], dir.path());
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("there is no log in"), "{err}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a check makes nothing");

    let server = TestServer::on_disk(dir.path());
    publish(&server.hub, 3).await;
    let id = events(1)[0].id().to_owned();
    let draft = Draft {
        id: Some(id.clone()),
        event_type: "t".to_owned(),
        subject: Some("needle".to_owned()),
        ..Draft::default()
    };
    let event = NewEvent::new(draft, &Limits::default()).unwrap();
    server.hub.publish(&Principal::anonymous(), vec![event]).await.unwrap();
    drop(server);
    let file = dir.path().join("fanfare.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let place = bytes.windows(6).position(|window| window == b"needle").unwrap();
    bytes[place] ^= 1;
    std::fs::write(&file, bytes).unwrap();

    let (code, out, _) = fanfare(&["log", "check"], dir.path());
    assert_eq!(code, Some(1));
    assert!(out.contains("the event at offset 4 is damaged: its checksum is wrong\n"), "{out}");
    assert!(out.contains("DAMAGED"), "{out}");
    let (code, out, _) = fanfare(&["log", "check", "--json"], dir.path());
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, report["sound"].as_bool(), report["head"].as_u64()), (Some(1), Some(false), Some(4)));
}

#[tokio::test]
async fn damage_is_seen_in_the_probe_and_in_the_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::on_disk(dir.path());
    publish(&server.hub, 1).await;
    drop(server);
    let file = dir.path().join("fanfare.db");
    // A read that is under way when a server ends leaves the journal to the next one.
    let found = (0..20).find_map(|_| {
        let bytes = std::fs::read(&file).unwrap();
        let place = bytes.windows(7).position(|window| window == b"task.t0");
        place.map(|place| (bytes, place)).or_else(|| {
            drop(TestServer::on_disk(dir.path()));
            None
        })
    });
    let (mut bytes, place) = found.expect("the journal is emptied at some end");
    bytes[place] ^= 1;
    std::fs::write(&file, bytes).unwrap();

    let server = TestServer::on_disk(dir.path());
    let get = async |path: &str| reqwest::get(server.url(path)).await.unwrap().text().await.unwrap();
    assert_eq!(get("/health/ready").await, "ready\n");
    let request = HistoryRequest::default();
    let refusal = server.hub.history(&Principal::anonymous(), request).await.unwrap_err();
    assert_eq!(refusal.code, Code::Unavailable);
    assert!(!refusal.to_string().contains("offset"), "where it is, is the operator's business: {refusal}");
    assert!(get("/health/ready").await.contains("the log is damaged"));
    assert!(get("/metrics").await.contains("fanfare_log_damaged_reads 1\n"));
    publish(&server.hub, 1).await;
}
