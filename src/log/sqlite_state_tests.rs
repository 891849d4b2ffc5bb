//! What is kept under keys on disk: reopened, damaged, migrated, without room, on a failing disk.

use super::*;
use crate::{
    error::Code,
    event::{Draft, FilterDraft, Limits, ScopeField, json},
    log::{
        Change, StateKey,
        contract::state::{announcing, decide, every, key, number},
    },
};
use rusqlite::Connection;
use serde_json::json;
use std::{fs, path::Path};
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

/// Keeps a number under a key, with what it needs.
async fn keep(
    log: &SqliteLog,
    own: &StateKey,
    number: u64,
    references: &[StateKey],
) -> Result<Changed, AppendError> {
    let updated = announcing(own, "updated", &json!(number));
    let change = Change::new().keep(own.clone(), updated, references.to_vec());
    log.change(decide(move |_| Ok(change)), 0).await
}

async fn kept(log: &SqliteLog) -> Vec<(StateKey, Event)> {
    let page = log.state(every("agent")).await.unwrap();
    assert_eq!(page.next, None);
    page.kept.into_iter().map(|kept| (kept.key, Event::clone(&kept.event))).collect()
}

async fn numbers(log: &SqliteLog) -> Vec<u64> {
    kept(log).await.iter().map(|(_, event)| number(event)).collect()
}

/// Three agents, the first of which has been changed twice and needs the second.
async fn three(dir: &TempDir) -> [StateKey; 3] {
    let log = open(dir).unwrap();
    let keys = ["a", "b", "c"].map(|id| key("agent", "quant", id));
    for (own, number) in [(&keys[1], 2), (&keys[2], 3)] {
        keep(&log, own, number, &[]).await.unwrap();
    }
    for number in [0, 1] {
        keep(&log, &keys[0], number, &keys[1..2]).await.unwrap();
    }
    log.close().await;
    keys
}

fn findings(dir: &TempDir) -> Vec<String> {
    check(dir.path()).unwrap().findings
}

#[tokio::test]
async fn a_reopened_log_has_its_state_and_its_references() {
    let dir = tempfile::tempdir().unwrap();
    let keys = three(&dir).await;
    let log = open(&dir).unwrap();
    assert_eq!(numbers(&log).await, [1, 2, 3]);
    let of_log: Vec<_> = kept(&log).await.into_iter().map(|(_, event)| event.offset().get()).collect();
    assert_eq!(of_log, [4, 1, 2]);
    let (needed, needs) = (keys[1].clone(), keys[0].clone());
    let asked = decide(move |state| {
        assert_eq!(state.referrer(&needed)?, Some(needs));
        Ok(Change::new())
    });
    log.change(asked, 0).await.unwrap();
    log.close().await;
    let report = check(dir.path()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.state, 3);
    let stats = stats(dir.path()).unwrap();
    assert_eq!(stats.state.iter().map(|one| (&*one.kind, one.keys)).collect::<Vec<_>>(), [("agent", 3)]);
}

#[tokio::test]
async fn a_flipped_byte_of_a_record_is_found_and_costs_its_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let keys = three(&dir).await;
    let beside = database(&dir);
    let record: Vec<u8> =
        beside.query_one("SELECT record FROM state WHERE id = 'a'", [], |row| row.get(0)).unwrap();
    for place in 0..record.len() {
        let mut flipped = record.clone();
        flipped[place] ^= 0x10;
        assert!(state::StateRecord::read(&flipped, &keys[0], 4).is_err(), "byte {place}");
    }
    assert!(state::StateRecord::read(&record, &keys[0], 4).is_ok());
    assert!(state::StateRecord::read(&record, &keys[0], 3).is_err(), "another event's");
    assert!(state::StateRecord::read(&record, &keys[1], 4).is_err(), "another key's");

    let mut flipped = record.clone();
    flipped[record.len() / 2] ^= 1;
    beside.execute("UPDATE state SET record = ?1 WHERE id = 'a'", [&flipped]).unwrap();
    drop(beside);
    assert!(findings(&dir)[0].contains("agent \"a\" of organization \"quant\""), "{:?}", findings(&dir));
    let log = open(&dir).unwrap();
    match log.state(every("agent")).await {
        Err(ReadError::Damaged { reason, .. }) => assert!(reason.contains("agent \"a\""), "{reason}"),
        answer => panic!("{answer:?}"),
    }
    assert_eq!(log.damaged_reads(), 1);
    // Neither is it written over, nor does it keep others from being changed, whatever the closure makes of the error.
    let refused = keep(&log, &keys[0], 7, &[]).await.unwrap_err();
    assert_eq!(refused.refusal().code, Code::Unavailable);
    let (own, other) = (keys[0].clone(), keys[2].clone());
    let passing_over = decide(move |state| {
        assert_eq!(state.get(&own).unwrap_err().code, Code::Unavailable);
        let updated = announcing(&other, "updated", &json!(8));
        Ok(Change::new().keep(other, updated, Vec::new()))
    });
    let refused = log.change(passing_over, 0).await.unwrap_err();
    assert_eq!((refused.refusal().code, log.bounds().head.get()), (Code::Unavailable, 4));
    keep(&log, &keys[2], 9, &[]).await.unwrap();
    assert_eq!(log.health(), Health::Writable);
    let of_c = StateRead { id: Some("c".into()), ..every("agent") };
    assert_eq!(number(&log.state(of_c).await.unwrap().kept[0].event), 9);
}

#[tokio::test]
async fn what_is_missing_or_older_than_acknowledged_is_found_by_the_check() {
    let older = "UPDATE state SET (offset, record) = (SELECT offset, record FROM before) WHERE id = 'a'";
    for (harm, tells) in [
        ("DELETE FROM state WHERE id = 'c'", "2 keys, but 3 are noted"),
        ("DELETE FROM refs", "reference to agent \"b\" of organization \"quant\" is not noted"),
        (
            "INSERT INTO refs VALUES ('agent', 'quant', 'b', 'agent', 'quant', 'c')",
            "1 references, but 2 are noted",
        ),
        ("UPDATE state SET domain = 'd' WHERE id = 'b'", "\"d\""),
        ("UPDATE state SET organization = 'acme' WHERE id = 'b'", "checksum"),
        ("UPDATE state SET offset = 3 WHERE id = 'a'", "checksum"),
        (older, "another event than was acknowledged"),
        (
            "UPDATE events SET record = (SELECT record FROM events WHERE offset = 3) WHERE offset = 4",
            "not the one at offset 4",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir).unwrap();
        keep(&log, &key("agent", "quant", "b"), 2, &[]).await.unwrap();
        keep(&log, &key("agent", "quant", "c"), 3, &[]).await.unwrap();
        let a = key("agent", "quant", "a");
        keep(&log, &a, 0, &[key("agent", "quant", "b")]).await.unwrap();
        let beside = database(&dir);
        beside.execute_batch("CREATE TABLE before AS SELECT * FROM state WHERE id = 'a'").unwrap();
        keep(&log, &a, 1, &[key("agent", "quant", "b")]).await.unwrap();
        assert_eq!(findings(&dir), Vec::<String>::new());
        beside.execute_batch(harm).unwrap();
        let findings = findings(&dir);
        assert!(findings.iter().any(|finding| finding.contains(tells)), "{harm}: {findings:?}");
    }
}

/// The tables of a log of format 3, word for word.
const FORMAT_3: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE ends (only INTEGER PRIMARY KEY CHECK (only = 0), ends BLOB NOT NULL) STRICT;
CREATE TABLE events (offset INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT;
CREATE TABLE keys (
    id TEXT NOT NULL,
    source TEXT NOT NULL,
    namespace TEXT NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (id, source, namespace)
) STRICT, WITHOUT ROWID;
CREATE TABLE forgotten (offset INTEGER PRIMARY KEY, stub BLOB NOT NULL) STRICT;
CREATE TABLE segments (last INTEGER PRIMARY KEY, segment BLOB NOT NULL) STRICT;
CREATE TABLE postings (
    last INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    groups BLOB NOT NULL,
    PRIMARY KEY (last, bucket)
) STRICT, WITHOUT ROWID;
PRAGMA application_id = 0x46616e66;
INSERT INTO meta (name, value) VALUES ('format', 3);
";

/// The same log in the form of format 3.
fn aged(log: &TempDir) -> TempDir {
    let old = tempfile::tempdir().unwrap();
    let database = Connection::open(old.path().join("fanfare.db")).unwrap();
    database.execute_batch(FORMAT_3).unwrap();
    database.execute("ATTACH ?1 AS new", [log.path().join("fanfare.db").to_str().unwrap()]).unwrap();
    for table in ["events", "keys", "forgotten", "segments", "postings"] {
        database.execute(&format!("INSERT INTO {table} SELECT * FROM new.{table}"), []).unwrap();
    }
    let mut ends: Vec<u8> = database.query_one("SELECT ends FROM new.ends", [], |row| row.get(0)).unwrap();
    // Without the two numbers of the state and the checksum.
    ends.truncate(ends.len() - 20);
    record::seal(&mut ends, 0);
    assert_eq!(ends.len(), 84);
    database.execute("INSERT INTO ends (only, ends) VALUES (0, ?1)", [ends]).unwrap();
    for file in ["acknowledged", "secret"] {
        fs::copy(log.path().join(file), old.path().join(file)).unwrap();
    }
    old
}

fn event(id: usize) -> NewEvent {
    let draft = Draft { id: Some(id.to_string()), event_type: "task.created".to_owned(), ..Draft::default() };
    NewEvent::new(draft, &Limits::default()).unwrap()
}

#[tokio::test]
async fn a_log_of_format_3_is_looked_at_as_it_is_and_gets_its_tables_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let small = SqliteOptions { segment_events_max: 7, ..options(dir.path()) };
    let log = SqliteLog::open(small, Box::new(|_| ())).unwrap();
    let cursor = log.append((0..30).map(event).collect()).await.unwrap()[20].cursor;
    let found = log.find("20".to_owned(), Arc::default()).await.unwrap();
    let epoch = log.epoch();
    log.close().await;

    let old = aged(&dir);
    let before = fs::read(old.path().join("fanfare.db")).unwrap();
    let report = check(old.path()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.events, report.state), (30, 0));
    let counted = stats(old.path()).unwrap();
    assert_eq!((counted.events, counted.state.len()), (30, 0));
    assert_eq!(fs::read(old.path().join("fanfare.db")).unwrap(), before, "looking changes nothing");

    let log = open(&old).unwrap();
    assert_eq!((log.epoch(), log.bounds().head.get()), (epoch, 30));
    assert_eq!(log.find("20".to_owned(), Arc::default()).await.unwrap(), found);
    let again = log.append(vec![event(20)]).await.unwrap();
    assert_eq!((again[0].cursor, again[0].duplicate), (cursor, true));
    assert_eq!(kept(&log).await, []);
    keep(&log, &key("agent", "quant", "a"), 1, &[]).await.unwrap();
    log.close().await;
    let log = open(&old).unwrap();
    assert_eq!((numbers(&log).await, log.bounds().head.get()), (vec![1], 31));
    log.close().await;
    let report = check(old.path()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.events, report.state), (31, 1));
}

#[tokio::test]
async fn a_migration_that_fails_leaves_the_log_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).unwrap();
    log.append((0..3).map(event).collect()).await.unwrap();
    log.close().await;
    let old = aged(&dir);
    // The last of the new tables is in the way, so what was made before it must go again.
    database(&old).execute_batch("CREATE TABLE refs (x)").unwrap();
    let error = open(&old).unwrap_err();
    assert!(matches!(error, OpenError::Store { .. }), "{error}");
    let beside = database(&old);
    let count = |sql: &str| beside.query_one(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT COUNT(*) FROM sqlite_schema WHERE name LIKE 'state%'"), 0);
    assert_eq!(count("SELECT value FROM meta WHERE name = 'format'"), 3);
    beside.execute_batch("DROP TABLE refs").unwrap();
    drop(beside);
    assert_eq!(open(&old).unwrap().bounds().head.get(), 3);
}

#[tokio::test]
async fn a_full_disk_refuses_changes_whole_and_takes_them_again_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let limited = || SqliteOptions { bytes_max: Some(512 * 1024), ..options(dir.path()) };
    let log = SqliteLog::open(limited(), Box::new(|_| ())).unwrap();
    let large = |own: &StateKey| {
        let updated = announcing(own, "updated", &json!("x".repeat(10_000)));
        let change = Change::new().keep(own.clone(), updated, Vec::new());
        decide(move |_| Ok(change))
    };
    let own = |number: u64| key("agent", "quant", &format!("a{number:03}"));
    let mut made = 0;
    let error = loop {
        match log.change(large(&own(made)), 10_000).await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 100);
    };
    assert!(matches!(error, AppendError::Full), "{error}");
    assert_eq!((log.health(), log.bounds().head.get()), (Health::Writable, made));
    assert_eq!(kept(&log).await.len() as u64, made, "an event without its key, or a key without its event");
    log.close().await;
    assert_eq!(findings(&dir), Vec::<String>::new());

    // Retention removes events and not what is kept of them; with that room changes go on.
    let retention = Retention { events: Some(3), ..Retention::default() };
    let log = SqliteLog::open(SqliteOptions { retention, reserve_bytes: 0, ..limited() }, Box::new(|_| ()))
        .unwrap();
    while log.bounds().earliest.get() < made - 2 {
        tokio::task::yield_now().await;
    }
    for number in 0..60 {
        log.change(large(&own(number % made)), 10_000).await.unwrap();
        while log.bounds().head.get() - log.bounds().earliest.get() > 2 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(kept(&log).await.len() as u64, made);
    log.close().await;
    assert_eq!(findings(&dir), Vec::<String>::new());
}

#[tokio::test]
async fn the_first_error_of_the_store_stops_changes_for_good_and_leaves_no_event_without_its_key() {
    for table in ["state", "refs", "events"] {
        let dir = tempfile::tempdir().unwrap();
        let keys = three(&dir).await;
        let log = open(&dir).unwrap();
        let beside = database(&dir);
        let broken = format!(
            "CREATE TRIGGER broken BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'the disk is on fire'); END"
        );
        beside.execute_batch(&broken).unwrap();
        match keep(&log, &key("agent", "quant", "d"), 4, &keys).await {
            Err(AppendError::Stopped { reason }) => assert!(reason.contains("on fire"), "{reason}"),
            answer => panic!("{answer:?}"),
        }
        assert_eq!(log.health(), Health::ReadOnly);
        beside.execute_batch("DROP TRIGGER broken").unwrap();
        assert!(matches!(keep(&log, &keys[0], 5, &[]).await, Err(AppendError::Stopped { .. })));
        assert_eq!((numbers(&log).await, log.bounds().head.get()), (vec![1, 2, 3], 4));
        log.close().await;
        drop(beside);
        assert_eq!(findings(&dir), Vec::<String>::new());
        let log = open(&dir).unwrap();
        keep(&log, &key("agent", "quant", "d"), 4, &keys).await.unwrap();
        assert_eq!(numbers(&log).await, [1, 2, 3, 4]);
    }
}

#[tokio::test]
async fn a_domain_and_an_id_are_found_without_a_look_at_other_keys() {
    let dir = tempfile::tempdir().unwrap();
    let log =
        SqliteLog::open(SqliteOptions { scan_rows_max: 3, ..options(dir.path()) }, Box::new(|_| ())).unwrap();
    let mut change = Change::new();
    for organization in ["acme", "quant"] {
        for number in 0..40 {
            let own = key("agent", organization, &format!("a{number:02}"));
            let domain = if number == 33 { "rare" } else { "usual" };
            let updated = announcing(&own, "updated", &json!(number)).or_scope(ScopeField::Domain, domain);
            change = change.keep(own, updated.unwrap(), Vec::new());
        }
    }
    log.change(decide(move |_| Ok(change)), 0).await.unwrap();
    let found = async |filter: serde_json::Value, id: Option<&str>| {
        let filter = EventFilter::new(json::read::<FilterDraft>(&filter.to_string()).unwrap()).unwrap();
        let read = StateRead { filter: Arc::new(filter), id: id.map(Into::into), ..every("agent") };
        let page = log.state(read).await.unwrap();
        assert_eq!(page.next, None);
        page.kept
            .into_iter()
            .map(|kept| (kept.key.organization().to_owned(), number(&kept.event)))
            .collect::<Vec<_>>()
    };
    let both = [("acme".to_owned(), 33), ("quant".to_owned(), 33)];
    assert_eq!(found(json!({ "domainId": "rare" }), None).await, both);
    assert_eq!(found(json!({ "domainId": "rare", "organizationId": "quant" }), None).await, both[1..]);
    assert_eq!(found(json!({}), Some("a33")).await, both);
    assert_eq!(found(json!({ "domainId": "usual" }), Some("a33")).await, []);
    // A domain that has changed is found, and the one that it was is not.
    let own = key("agent", "quant", "a20");
    let moved = announcing(&own, "updated", &json!(20)).or_scope(ScopeField::Domain, "new").unwrap();
    let change = Change::new().keep(own, moved, Vec::new());
    log.change(decide(move |_| Ok(change)), 0).await.unwrap();
    assert_eq!(found(json!({ "domainId": "new" }), None).await, [("quant".to_owned(), 20)]);
    log.close().await;
    assert_eq!(findings(&dir), Vec::<String>::new());
}
