//! What only a log on disk can show: reopening, refusing, failing, filling up.

use super::*;
use crate::{
    event::{Draft, Limits},
    log::From,
};
use rusqlite::Connection;
use std::path::Path;
use tempfile::TempDir;

fn options(dir: &Path) -> SqliteOptions {
    SqliteOptions { dir: dir.to_owned(), ..SqliteOptions::default() }
}

fn open(dir: &TempDir) -> Result<SqliteLog, OpenError> {
    SqliteLog::open(options(dir.path()), Box::new(|_| ()))
}

/// A connection beside the log's own.
fn database(dir: &TempDir) -> Connection {
    Connection::open(dir.path().join("fanfare.db")).unwrap()
}

fn event(id: &str, bytes: usize) -> NewEvent {
    let data = serde_json::value::to_raw_value(&"x".repeat(bytes)).unwrap();
    let draft = Draft {
        id: Some(id.to_owned()),
        event_type: "task.created".to_owned(),
        data: Some(data),
        ..Draft::default()
    };
    NewEvent::new(draft, &Limits::default()).unwrap()
}

/// Writes a record anew as if it had been logged at another time, its checksum and the log's ends included.
fn move_to(dir: &TempDir, offset: u64, logged_at: i64) {
    let beside = database(dir);
    let sql = "SELECT record FROM events WHERE offset = ?1";
    let mut record: Vec<u8> = beside.query_one(sql, [offset.cast_signed()], |row| row.get(0)).unwrap();
    record.truncate(record.len() - 4);
    record[..8].copy_from_slice(&logged_at.to_le_bytes());
    record::seal(&mut record, offset);
    let sql = "UPDATE events SET record = ?1 WHERE offset = ?2";
    beside.execute(sql, (record, offset.cast_signed())).unwrap();
    let mut ends = ends::read(&beside).unwrap();
    ends.head_at = logged_at;
    ends::write(&beside, &ends).unwrap();
}

async fn count(log: &SqliteLog) -> usize {
    let from = From::Before(Offset::new(u64::MAX));
    let read = Read { filter: Arc::default(), from, events_max: 10_000, bytes_max: usize::MAX };
    log.read(read).await.unwrap().events.len()
}

#[tokio::test]
async fn a_reopened_log_has_its_events_its_epoch_and_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).unwrap();
    let epoch = log.epoch();
    let first = log.append(vec![event("a", 1), event("b", 1)]).await.unwrap();
    let theirs = || event("a", 7).in_namespace(Some("them".into()));
    let second = log.append(vec![theirs()]).await.unwrap();
    let found = log.find("b".to_owned(), Arc::default()).await.unwrap();
    log.close().await;
    drop(log);

    let log = open(&dir).unwrap();
    assert_eq!(log.epoch(), epoch);
    assert_eq!(log.bounds(), Bounds { earliest: Offset::new(1), head: Offset::new(3) });
    assert_eq!(log.find("b".to_owned(), Arc::default()).await.unwrap(), found);
    let again = log.append(vec![event("a", 1), event("c", 1)]).await.unwrap();
    assert_eq!((again[0].cursor, again[0].duplicate), (first[0].cursor, true));
    assert_eq!((again[1].offset.get(), again[1].duplicate), (4, false));
    let again = log.append(vec![theirs()]).await.unwrap();
    assert_eq!((again[0].cursor, again[0].duplicate), (second[0].cursor, true));
    assert!(matches!(log.append(vec![event("b", 2)]).await, Err(AppendError::Conflict { .. })));
}

#[tokio::test]
async fn a_log_that_was_dropped_without_closing_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).unwrap();
    log.append(vec![event("a", 1)]).await.unwrap();
    let mut released = log.released.clone();
    drop(log);
    while released.changed().await.is_ok() {}
    assert_eq!(count(&open(&dir).unwrap()).await, 1);
}

#[tokio::test]
async fn another_log_is_another_epoch() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_ne!(open(&one).unwrap().epoch(), open(&other).unwrap().epoch());
}

#[tokio::test]
async fn the_time_of_logging_never_goes_back_even_if_the_clock_does() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).unwrap();
    log.append(vec![event("a", 1), event("b", 1)]).await.unwrap();
    log.close().await;
    let future = Utc::now() + chrono::TimeDelta::hours(1);
    move_to(&dir, 2, future.timestamp_millis());

    let log = open(&dir).unwrap();
    log.append(vec![event("c", 1)]).await.unwrap();
    assert_eq!(log.before_time(future - chrono::TimeDelta::minutes(1)).await.unwrap().get(), 1);
    assert_eq!(log.before_time(future + chrono::TimeDelta::minutes(1)).await.unwrap().get(), 3);
}

#[tokio::test]
async fn a_second_open_is_refused_until_the_first_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(matches!(&error, OpenError::AlreadyOpen { dir: at } if at == dir.path()), "{error}");
    assert!(error.to_string().contains("choose another data directory"));
    log.append(vec![event("a", 1)]).await.unwrap();
    log.close().await;
    open(&dir).unwrap();
    let late = log.find("a".to_owned(), Arc::default()).await;
    assert!(matches!(late, Err(ReadError::Failed { reason }) if reason.contains("closed")));
}

#[tokio::test]
async fn another_format_and_files_of_others_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir).unwrap().close().await;
    database(&dir).execute("UPDATE meta SET value = 1 WHERE name = 'format'", []).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(matches!(error, OpenError::UnknownFormat { found: 1, oldest: 3, known: 4, .. }), "{error}");

    let dir = tempfile::tempdir().unwrap();
    database(&dir).execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (7);").unwrap();
    let before = std::fs::read(dir.path().join("fanfare.db")).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(matches!(error, OpenError::NotOurs { .. }), "{error}");
    assert_eq!(std::fs::read(dir.path().join("fanfare.db")).unwrap(), before);

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("fanfare.db"), "Dear diary, ".repeat(1_000)).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(matches!(error, OpenError::NotOurs { .. }), "{error}");

    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = SqliteLog::open(options(&file), Box::new(|_| ())).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}

#[tokio::test]
async fn the_first_error_of_the_store_stops_appends_for_good_and_reads_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).unwrap();
    log.append(vec![event("a", 1)]).await.unwrap();
    let beside = database(&dir);
    let broken = "CREATE TRIGGER broken BEFORE INSERT ON keys WHEN NEW.id = 'bad'
                  BEGIN SELECT RAISE(ABORT, 'the disk is on fire'); END";
    beside.execute_batch(broken).unwrap();
    match log.append(vec![event("b", 1), event("bad", 1)]).await {
        Err(AppendError::Stopped { reason }) => assert!(reason.contains("on fire"), "{reason}"),
        answer => panic!("{answer:?}"),
    }
    assert_eq!(log.health(), Health::ReadOnly);
    beside.execute_batch("DROP TRIGGER broken").unwrap();
    assert!(matches!(log.append(vec![event("c", 1)]).await, Err(AppendError::Stopped { .. })));
    assert_eq!((count(&log).await, log.bounds().head.get()), (1, 1));
    log.close().await;
    drop(beside);
    let log = open(&dir).unwrap();
    log.append(vec![event("c", 1)]).await.unwrap();
    assert_eq!((count(&log).await, log.health()), (2, Health::Writable));
}

#[tokio::test]
async fn a_full_disk_refuses_appends_and_takes_them_again_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let limited = SqliteOptions { bytes_max: Some(512 * 1024), ..options(dir.path()) };
    let log = SqliteLog::open(limited, Box::new(|_| ())).unwrap();
    let mut logged = 0;
    let error = loop {
        match log.append(vec![event(&logged.to_string(), 30_000)]).await {
            Ok(_) => logged += 1,
            Err(error) => break error,
        }
        assert!(logged < 100);
    };
    assert!(matches!(error, AppendError::Full), "{error}");
    assert_eq!(error.refusal().code, crate::error::Code::StorageFull);
    assert_eq!((log.health(), log.bounds().head.get()), (Health::Writable, logged));
    assert!(matches!(log.append(vec![event("late", 30_000)]).await, Err(AppendError::Full)));
    assert_eq!(count(&log).await as u64, logged);
    log.close().await;

    // Retention finds room in a database that may not grow, and the server takes events again.
    let retention = Retention { events: Some(3), ..Retention::default() };
    let limited =
        SqliteOptions { bytes_max: Some(512 * 1024), retention, reserve_bytes: 0, ..options(dir.path()) };
    let log = SqliteLog::open(limited, Box::new(|_| ())).unwrap();
    while log.bounds().earliest.get() < logged - 2 {
        tokio::task::yield_now().await;
    }
    for id in 0..100 {
        log.append(vec![event(&format!("late{id}"), 30_000)]).await.unwrap();
        // One more may be there until the writer has had a moment.
        while log.bounds().head.get() - log.bounds().earliest.get() > 2 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(log.bounds().head.get(), logged + 100);
}

#[cfg(unix)]
#[tokio::test]
async fn directory_and_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/b");
    let log = SqliteLog::open(options(&dir), Box::new(|_| ())).unwrap();
    log.append(vec![event("a", 1)]).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
}
