//! The rules of [`Log`], one function each, run for every implementation.
//!
//! How to add an implementation: a [`Kind`] and its two ways to open.

use super::*;
use crate::event::{Draft, FilterDraft, Limits, json};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Mutex;

#[path = "contract_crowds.rs"]
mod crowds;
#[path = "contract_namespaces.rs"]
mod namespaces;
#[path = "contract_pages.rs"]
mod pages;
#[path = "contract_retention.rs"]
mod retention;
#[path = "contract_state.rs"]
pub(super) mod state;
#[path = "contract_transients.rs"]
mod transients;

use crowds::{
    a_closed_log_takes_nothing_and_had_committed_what_waited, a_reader_among_writers_misses_nothing,
    many_publishers_get_distinct_contiguous_offsets_in_the_observers_order,
};
use namespaces::the_keys_of_one_namespace_are_unknown_in_another;
use pages::pages_agree_with_a_naive_reading;
use retention::{
    a_key_outlives_its_event_for_its_window_and_no_longer,
    each_limit_removes_from_the_front_and_the_last_event_stays,
    pages_agree_with_a_naive_reading_after_retention,
    readers_get_every_event_or_expired_while_retention_runs_at_full_speed, the_ends_of_a_log_are_told_apart,
};
use state::{
    a_change_that_was_made_is_not_made_again, a_page_is_as_of_its_head_while_others_write_at_full_speed,
    a_reference_is_found_as_long_as_it_is_kept, a_tenants_page_looks_at_no_other_tenants_keys,
    many_who_change_one_key_lose_no_change, pages_of_the_state_agree_with_a_naive_reading,
    the_changes_of_one_batch_see_each_other, what_is_kept_is_the_latest_event_of_its_key,
    what_is_kept_outlives_its_event_in_the_log, what_refuses_a_change_leaves_nothing_of_it,
};
use transients::{
    a_refused_request_shows_nothing_of_its_transient_events, the_newest_rank_parts_what_was_from_what_comes,
    transient_events_are_shown_in_their_place_and_never_stored,
};

/// An implementation of the log.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Memory,
    Sqlite,
}

/// A log under test, what its observer saw, and its directory if it has one.
struct Subject {
    log: Arc<dyn Log>,
    seen: Arc<Mutex<Vec<Batch>>>,
    _dir: Option<tempfile::TempDir>,
}

/// How a log under test is opened.
#[derive(Clone, Copy, Debug)]
struct Opened {
    /// The most events that a page looks at.
    scan_max: usize,
    /// Events of a segment of the index, where there is one.
    segment: usize,
    retention: Retention,
}

impl Default for Opened {
    fn default() -> Self {
        Opened { scan_max: 1_000, segment: 50, retention: Retention::default() }
    }
}

impl Kind {
    /// An empty log whose pages look at no more than so many events.
    fn open(self, scan_max: usize) -> Subject {
        self.open_as(Opened { scan_max, ..Opened::default() })
    }

    fn open_as(self, opened: Opened) -> Subject {
        let (seen, on_commit) = observer();
        let Opened { scan_max, segment, retention } = opened;
        match self {
            Kind::Memory => {
                let options =
                    MemoryOptions { scan_events_max: scan_max, retention, ..MemoryOptions::default() };
                Subject { log: Arc::new(MemoryLog::open(options, on_commit)), seen, _dir: None }
            }
            Kind::Sqlite => {
                let dir = tempfile::tempdir().unwrap();
                let options = SqliteOptions {
                    dir: dir.path().to_owned(),
                    scan_rows_max: scan_max,
                    segment_events_max: segment,
                    retention,
                    reserve_bytes: 64 * 1024,
                    ..SqliteOptions::default()
                };
                let log = Arc::new(SqliteLog::open(options, on_commit).unwrap());
                Subject { log, seen, _dir: Some(dir) }
            }
        }
    }

    /// A log that had all of the events and has only the last so many.
    async fn open_with_last(self, events: Vec<NewEvent>, kept: u64) -> Subject {
        let retention = Retention { events: Some(kept), ..Retention::default() };
        let subject = self.open_as(Opened { retention, ..Opened::default() });
        let count = events.len() as u64;
        subject.log.append(events).await.unwrap();
        subject.earliest(count - kept + 1).await;
        subject
    }
}

fn observer() -> (Arc<Mutex<Vec<Batch>>>, OnCommit) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&seen);
    (seen, Box::new(move |batch| to.lock().unwrap().push(batch)))
}

impl Subject {
    async fn append(&self, events: &[Value]) -> Result<Vec<Appended>, AppendError> {
        self.log.append(events.iter().map(event).collect()).await
    }

    /// Waits until retention has come this far.
    async fn earliest(&self, offset: u64) {
        while self.log.bounds().earliest.get() < offset {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.log.bounds().earliest.get(), offset);
    }

    /// Every event, page by page.
    async fn all(&self) -> Vec<Arc<Event>> {
        let (mut events, mut after) = (Vec::new(), self.log.bounds().earliest.previous());
        loop {
            let page = self.log.read(rising(after, 7)).await.unwrap();
            events.extend(page.events);
            if page.is_last {
                return events;
            }
            assert!(page.through > after);
            after = page.through;
        }
    }

    fn seen(&self) -> Vec<Arc<Event>> {
        self.seen.lock().unwrap().iter().flat_map(|batch| batch.iter().cloned()).collect()
    }
}

fn event(json: &Value) -> NewEvent {
    NewEvent::new(Draft::from_json(&json.to_string()).unwrap(), &Limits::default()).unwrap()
}

fn events(count: usize) -> Vec<NewEvent> {
    (0..count).map(|number| event(&json!({ "type": "task.created", "data": number }))).collect()
}

fn rising(after: Offset, events_max: usize) -> Read {
    Read { filter: Arc::default(), from: From::After(after), events_max, bytes_max: usize::MAX }
}

fn falling(before: Offset, events_max: usize) -> Read {
    Read { from: From::Before(before), ..rising(Offset::ZERO, events_max) }
}

fn offsets(events: &[Arc<Event>]) -> Vec<u64> {
    events.iter().map(|event| event.offset().get()).collect()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test)
}

macro_rules! contract {
    ($($rule:ident)*) => {
        mod memory { $(#[test] fn $rule() { super::$rule(super::Kind::Memory); })* }
        mod sqlite { $(#[test] fn $rule() { super::$rule(super::Kind::Sqlite); })* }
    };
}

contract! {
    offsets_rise_by_one_from_one
    what_is_read_is_what_was_appended_and_what_the_observer_saw
    every_field_of_an_event_survives
    an_acknowledged_event_was_shown_and_can_be_read
    a_repeat_is_answered_with_the_first_cursor_and_not_logged
    another_body_under_the_same_key_is_a_conflict_and_nothing_of_its_request_is_logged
    the_keys_of_one_namespace_are_unknown_in_another
    a_time_that_the_server_filled_in_is_no_part_of_the_body
    pages_agree_with_a_naive_reading
    an_offset_at_or_beyond_the_head_gives_an_empty_last_page
    a_start_whose_successor_is_gone_is_expired_and_the_next_one_is_not
    an_id_is_found_at_its_highest_offset
    a_time_leads_to_the_last_event_logged_before_it
    a_closed_log_takes_nothing_and_had_committed_what_waited
    many_publishers_get_distinct_contiguous_offsets_in_the_observers_order
    a_reader_among_writers_misses_nothing
    each_limit_removes_from_the_front_and_the_last_event_stays
    the_ends_of_a_log_are_told_apart
    a_key_outlives_its_event_for_its_window_and_no_longer
    pages_agree_with_a_naive_reading_after_retention
    readers_get_every_event_or_expired_while_retention_runs_at_full_speed
    transient_events_are_shown_in_their_place_and_never_stored
    a_refused_request_shows_nothing_of_its_transient_events
    the_newest_rank_parts_what_was_from_what_comes
    what_is_kept_is_the_latest_event_of_its_key
    what_refuses_a_change_leaves_nothing_of_it
    a_change_that_was_made_is_not_made_again
    the_changes_of_one_batch_see_each_other
    many_who_change_one_key_lose_no_change
    a_reference_is_found_as_long_as_it_is_kept
    what_is_kept_outlives_its_event_in_the_log
    a_page_is_as_of_its_head_while_others_write_at_full_speed
    pages_of_the_state_agree_with_a_naive_reading
    a_tenants_page_looks_at_no_other_tenants_keys
}

fn offsets_rise_by_one_from_one(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        assert_eq!(subject.log.bounds(), Bounds { earliest: Offset::new(1), head: Offset::ZERO });
        let first = subject.log.append(events(3)).await.unwrap();
        let second = subject.log.append(events(2)).await.unwrap();
        let none = subject.log.append(Vec::new()).await.unwrap();
        let all: Vec<_> = first.iter().chain(&second).chain(&none).collect();
        assert_eq!(all.iter().map(|one| one.offset.get()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(
            all.iter().all(|one| !one.duplicate && subject.log.epoch().open(one.cursor) == Ok(one.offset))
        );
        assert_eq!(subject.log.bounds(), Bounds { earliest: Offset::new(1), head: Offset::new(5) });
    });
}

fn what_is_read_is_what_was_appended_and_what_the_observer_saw(kind: Kind) {
    run(async {
        let subject = kind.open(4);
        let events = events(20);
        for request in events.chunks(3) {
            subject.log.append(request.to_vec()).await.unwrap();
        }
        let read = subject.all().await;
        assert_eq!(read, subject.seen());
        assert_eq!(read.iter().map(|event| (***event).clone()).collect::<Vec<_>>(), events);
        assert!(subject.seen.lock().unwrap().iter().all(|batch| !batch.is_empty()));
    });
}

fn every_field_of_an_event_survives(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        let whole = json!({
            "id": "ü\"1'", "type": "task.status", "time": "-0044-03-15T12:00:00.123456789Z", "source": "/a?b", "subject": "s",
            "organizationId": "o", "domainId": "d", "instanceId": "i", "agentId": "a", "taskId": "t",
            "workflowId": "w", "userId": "u", "roomId": "r", "correlationId": "c", "priority": "CRITICAL",
            "data": { "b": [1.0, null, "\u{0000}\u{1f600}"], "a": 1e300 }, "attributes": { "x": 1, "y": "z" },
        });
        let binary = json!({ "type": "x", "dataBase64": "AAEC" });
        subject.append(&[whole.clone(), binary, json!({ "type": "y" })]).await.unwrap();
        let read = subject.all().await;
        assert_eq!(read, subject.seen());
        assert_eq!(**read[0], event(&whole));
        assert_eq!((read[1].data_base64(), read[2].subject()), (Some("AAEC"), None));
    });
}

fn an_acknowledged_event_was_shown_and_can_be_read(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        for event in events(20) {
            let id = event.id().to_owned();
            let Appended { cursor, offset, .. } = subject.log.append(vec![event]).await.unwrap()[0];
            assert_eq!(subject.seen().last().unwrap().cursor(), cursor);
            assert_eq!(subject.log.bounds().head, offset);
            assert_eq!(subject.log.find(id, Arc::default()).await.unwrap().unwrap().cursor(), cursor);
        }
    });
}

fn a_repeat_is_answered_with_the_first_cursor_and_not_logged(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        let a = json!({ "id": "a", "source": "/x", "type": "t", "data": { "n": 1 }, "time": "2026-01-01T00:00:00Z" });
        let elsewhere = json!({ "id": "a", "source": "/y", "type": "t" });
        let first = subject.append(&[a.clone(), elsewhere, a.clone()]).await.unwrap();
        assert_eq!(first.iter().map(|one| one.duplicate).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(first[0].cursor, first[2].cursor);
        let again = subject.append(&[json!({ "type": "t" }), a]).await.unwrap();
        assert_eq!((again[1].cursor, again[1].duplicate), (first[0].cursor, true));
        assert_eq!(offsets(&subject.all().await), [1, 2, 3]);
        assert_eq!(offsets(&subject.seen()), [1, 2, 3]);
    });
}

fn another_body_under_the_same_key_is_a_conflict_and_nothing_of_its_request_is_logged(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        let a = json!({ "id": "a", "source": "/x", "type": "t", "subject": "s", "taskId": "1", "data": 1,
                        "time": "2026-01-01T00:00:00Z", "correlationId": "c", "attributes": { "x": 1 } });
        let first = subject.append(std::slice::from_ref(&a)).await.unwrap()[0];
        let changes = json!({ "type": "u", "subject": "r", "taskId": "2", "data": "1", "time": "2026-01-01T00:00:01Z",
                              "correlationId": "d", "priority": "LOW", "attributes": { "x": 2 }, "userId": "u" });
        for (field, value) in changes.as_object().unwrap() {
            let mut changed = a.clone();
            changed[field] = value.clone();
            let error = subject.append(&[json!({ "type": "new" }), changed]).await.unwrap_err();
            assert!(
                matches!(&error, AppendError::Conflict { index: 1, id, source_name, first: Some(cursor) }
                if (id.as_str(), source_name.as_str(), *cursor) == ("a", "/x", first.cursor)),
                "{field}: {error}"
            );
            assert_eq!(error.refusal().code, Code::IdConflict);
        }
        let within =
            subject.append(&[json!({ "id": "b", "type": "t" }), json!({ "id": "b", "type": "u" })]).await;
        assert!(matches!(within, Err(AppendError::Conflict { index: 1, first: None, .. })));
        assert_eq!(subject.log.bounds().head, first.offset);
        assert_eq!(subject.append(&[json!({ "type": "t" })]).await.unwrap()[0].offset, first.offset.next());
        assert_eq!(offsets(&subject.seen()), [1, 2]);
    });
}

fn a_time_that_the_server_filled_in_is_no_part_of_the_body(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        let a = json!({ "id": "a", "type": "t" });
        subject.append(std::slice::from_ref(&a)).await.unwrap();
        assert!(subject.append(&[a]).await.unwrap()[0].duplicate);
        let timed = json!({ "id": "a", "type": "t", "time": "2026-01-01T00:00:00Z" });
        assert!(matches!(subject.append(&[timed]).await, Err(AppendError::Conflict { .. })));
    });
}

fn an_offset_at_or_beyond_the_head_gives_an_empty_last_page(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        for count in [0, 3] {
            subject.log.append(events(count)).await.unwrap();
            let head = subject.log.bounds().head.get();
            for after in [head, head + 1, u64::MAX] {
                let page = subject.log.read(rising(Offset::new(after), 10)).await.unwrap();
                assert_eq!((page.events.len(), page.through.get(), page.is_last), (0, after, true));
            }
            let page = subject.log.read(falling(Offset::new(u64::MAX), 10)).await.unwrap();
            assert_eq!((page.events.len(), page.through.get(), page.is_last), (count, 0, true));
            for before in [0, 1] {
                let page = subject.log.read(falling(Offset::new(before), 10)).await.unwrap();
                assert_eq!((page.events.len(), page.through.get(), page.is_last), (0, 0, true));
            }
        }
    });
}

fn a_start_whose_successor_is_gone_is_expired_and_the_next_one_is_not(kind: Kind) {
    run(async {
        let subject = kind.open_with_last(events(10), 4).await;
        assert_eq!(subject.log.bounds(), Bounds { earliest: Offset::new(7), head: Offset::new(10) });
        for after in 0..6 {
            let error = subject.log.read(rising(Offset::new(after), 10)).await.unwrap_err();
            assert!(matches!(error, ReadError::Expired { earliest } if earliest.get() == 7), "{error}");
        }
        let page = subject.log.read(rising(Offset::new(6), 10)).await.unwrap();
        assert_eq!((offsets(&page.events), page.through.get(), page.is_last), (vec![7, 8, 9, 10], 10, true));
        let page = subject.log.read(falling(Offset::new(11), 3)).await.unwrap();
        assert_eq!((offsets(&page.events), page.through.get(), page.is_last), (vec![10, 9, 8], 8, false));
        let page = subject.log.read(falling(page.through, 3)).await.unwrap();
        assert_eq!((offsets(&page.events), page.through.get(), page.is_last), (vec![7], 0, true));
        assert_eq!(subject.log.append(events(1)).await.unwrap()[0].offset.get(), 11);
        subject.earliest(8).await;
        assert_eq!(
            subject.log.before_time(chrono::DateTime::UNIX_EPOCH).await.unwrap().next(),
            subject.log.bounds().earliest
        );
    });
}

fn an_id_is_found_at_its_highest_offset(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        assert_eq!(subject.log.find("a".to_owned(), Arc::default()).await.unwrap(), None);
        let of = |id: &str, source: &str| json!({ "id": id, "source": source, "type": "t" });
        subject.append(&[of("a", "/1"), of("a", "/2"), of("b", "/1")]).await.unwrap();
        let found = subject.log.find("a".to_owned(), Arc::default()).await.unwrap().unwrap();
        assert_eq!((found.offset().get(), found.source()), (2, "/2"));
        let from = |source: &str| {
            let draft = FilterDraft { sources: Some(vec![source.to_owned()]), ..FilterDraft::default() };
            Arc::new(EventFilter::new(draft).unwrap())
        };
        let older = subject.log.find("a".to_owned(), from("/1")).await.unwrap().unwrap();
        assert_eq!(older.offset().get(), 1, "a newer one of the same id that does not match hides none");
        assert_eq!(subject.log.find("a".to_owned(), from("/3")).await.unwrap(), None);
        assert_eq!(subject.log.find("A".to_owned(), Arc::default()).await.unwrap(), None);
    });
}

fn a_time_leads_to_the_last_event_logged_before_it(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        let start = chrono::Utc::now();
        assert_eq!(subject.log.before_time(start).await.unwrap(), Offset::ZERO);
        let mut ends = Vec::new();
        for _ in 0..5 {
            subject.log.append(events(3)).await.unwrap();
            // The log's clock ticks in milliseconds; the next batch must fall into a later one.
            let end = chrono::Utc::now();
            while chrono::Utc::now().timestamp_millis() <= end.timestamp_millis() + 1 {
                std::hint::spin_loop();
            }
            ends.push(chrono::DateTime::from_timestamp_millis(end.timestamp_millis() + 1).unwrap());
        }
        let hour = chrono::TimeDelta::hours(1);
        assert_eq!(subject.log.before_time(start - hour).await.unwrap(), Offset::ZERO);
        for (end, offset) in ends.iter().zip([3, 6, 9, 12, 15]) {
            assert_eq!(subject.log.before_time(*end).await.unwrap().get(), offset);
        }
        assert_eq!(subject.log.before_time(start + hour).await.unwrap().get(), 15);
    });
}
