//! Histories made by hand, one for each way in which a promise can be broken, and those that look like a breach and are none.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends by a panic")]

#[allow(dead_code, reason = "the faults choose more")]
mod chance;
mod checker;
#[allow(dead_code, reason = "the faults fail in more ways")]
mod failure;
#[allow(dead_code, reason = "the faults play more with it")]
mod storage;

mod history;
mod storage_tests;

use checker::{Property, Report, check};
use fanfare::event::{Epoch, Offset};
use history::{Filter, Record, Start, Traits, body_hash};
use serde_json::json;

fn cursor_of(epoch: u8, offset: u64) -> String {
    Epoch::new([epoch; 16]).seal(Offset::new(offset)).to_string()
}

fn cursor(offset: u64) -> String {
    cursor_of(7, offset)
}

fn traits(event_type: &str) -> Traits {
    Traits { event_type: event_type.to_owned(), organization: "o1".to_owned(), priority: "NORMAL".to_owned() }
}

/// A history that grows by calls; event `eN` has the type `task.created` if N is odd and `agent.log` if it is even.
#[derive(Default)]
struct History(Vec<Record>);

fn kind(id: &str) -> Traits {
    let number: u64 = id[1..].parse().unwrap();
    traits(if number.is_multiple_of(2) { "agent.log" } else { "task.created" })
}

fn hash(id: &str) -> String {
    body_hash(&kind(id), &json!({ "id": id }))
}

impl History {
    fn with(mut self, record: Record) -> Self {
        self.0.push(record);
        self
    }

    fn invoked_in(self, id: &str, batch: &str) -> Self {
        self.with(Record::Invoked {
            id: id.to_owned(),
            batch: batch.to_owned(),
            hash: hash(id),
            traits: kind(id),
        })
    }

    fn invoked(self, id: &str) -> Self {
        self.invoked_in(id, id)
    }

    fn acked(self, id: &str, offset: u64) -> Self {
        self.with(Record::Acked { id: id.to_owned(), cursor: cursor(offset), duplicate: false })
    }

    fn repeated(self, id: &str, offset: u64) -> Self {
        self.with(Record::Acked { id: id.to_owned(), cursor: cursor(offset), duplicate: true })
    }

    fn unknown(self, id: &str) -> Self {
        self.with(Record::Unknown { id: id.to_owned(), why: "connection reset".to_owned() })
    }

    fn refused(self, id: &str) -> Self {
        self.with(Record::Refused { id: id.to_owned(), code: "STORAGE_FULL".to_owned() })
    }

    fn opened(self, connection: u32, start: Start) -> Self {
        self.selecting(&[], connection, start)
    }

    fn selecting(self, types: &[&str], connection: u32, start: Start) -> Self {
        let filter = Filter { types: types.iter().map(ToString::to_string).collect(), ..Filter::default() };
        self.with(Record::Opened { client: "c".to_owned(), connection, filter, start })
    }

    fn ready(self, offset: u64) -> Self {
        self.with(Record::Ready { client: "c".to_owned(), connection: 1, cursor: cursor(offset) })
    }

    fn got(self, id: &str, offset: u64) -> Self {
        self.with(Record::Delivered {
            client: "c".to_owned(),
            connection: 1,
            cursor: cursor(offset),
            id: id.to_owned(),
            hash: hash(id),
        })
    }

    fn checkpoint(self, offset: u64) -> Self {
        self.with(Record::Checkpoint { client: "c".to_owned(), connection: 1, cursor: cursor(offset) })
    }

    fn ended(self, code: Option<&str>, offset: Option<u64>) -> Self {
        self.with(Record::Ended {
            client: "c".to_owned(),
            connection: 1,
            code: code.map(str::to_owned),
            cursor: offset.map(cursor),
            why: String::new(),
        })
    }

    fn reached(self, offset: u64) -> Self {
        self.with(Record::Reached { client: "c".to_owned(), connection: 1, cursor: cursor(offset) })
    }

    fn logged(self, id: &str, offset: u64) -> Self {
        self.with(Record::Logged {
            cursor: cursor(offset),
            id: id.to_owned(),
            hash: hash(id),
            traits: kind(id),
        })
    }

    /// Four events, published and acknowledged.
    fn four() -> Self {
        (1..=4).fold(History::default(), |history, number| {
            let id = format!("e{number}");
            history.invoked(&id).acked(&id, number)
        })
    }

    /// The same four events in the final log.
    fn four_logged(self) -> Self {
        (1..=4).fold(self, |history, number| history.logged(&format!("e{number}"), number))
    }

    /// The breached properties, each once.
    #[track_caller]
    /// Judges it, with the secret of the log in front, as a run has it in front of its final log.
    fn judged(self) -> Report {
        let epoch = Record::Epoch { secret: "07".repeat(16) };
        check(&[vec![epoch], self.0].concat())
    }

    fn breaches(self, expected: &[Property]) {
        let report = self.judged();
        let mut found: Vec<Property> = report.violations.iter().map(|breach| breach.property).collect();
        found.sort();
        found.dedup();
        assert_eq!(found, expected, "{report}");
    }
}

fn after(offset: u64) -> Start {
    Start::After(cursor(offset))
}

#[test]
fn a_history_that_keeps_every_promise_passes() {
    let history = History::four()
        .opened(1, Start::Live)
        .ready(0)
        .got("e1", 1)
        .got("e2", 2)
        .ended(None, None)
        .opened(2, after(2))
        .ready(2)
        .got("e3", 3)
        .got("e4", 4)
        .reached(4)
        .four_logged();
    let report = history.judged();
    assert_eq!(report.violations, []);
    let counts = report.counts;
    assert_eq!((counts.published, counts.acked, counts.logged), (4, 4, 4));
    assert_eq!((counts.clients, counts.connections, counts.delivered), (1, 2, 4));
}

#[test]
fn an_acknowledged_event_that_is_gone_is_not_durable() {
    History::default()
        .invoked("e1")
        .acked("e1", 1)
        .invoked("e2")
        .acked("e2", 2)
        .logged("e1", 1)
        .breaches(&[Property::Durable]);
    History::default().invoked("e1").acked("e1", 1).breaches(&[Property::Durable]);
}

#[test]
fn an_acknowledged_event_that_stands_elsewhere_is_not_durable() {
    let history = History::default().invoked("e1").acked("e1", 1).invoked("e2").unknown("e2");
    history.logged("e2", 1).logged("e1", 2).breaches(&[Property::Durable]);
}

#[test]
fn an_event_that_somebody_saw_and_that_did_not_stay_was_shown_too_early() {
    let history = History::four().four_logged().invoked("e5").unknown("e5");
    history.opened(1, after(4)).got("e5", 5).reached(4).breaches(&[Property::Durable]);
}

#[test]
fn a_client_ahead_of_the_log_is_a_loss() {
    let history = History::four().four_logged().opened(1, after(4)).ended(Some("CURSOR_AHEAD"), None);
    history.reached(4).breaches(&[Property::Durable]);
}

#[test]
fn another_epoch_is_another_log() {
    let elsewhere = |duplicate| Record::Acked { id: "e1".to_owned(), cursor: cursor_of(8, 1), duplicate };
    let replaced = History::default().invoked("e1").with(elsewhere(false)).logged("e1", 1);
    replaced.breaches(&[Property::Durable, Property::Whole]);
    History::four().with(elsewhere(true)).four_logged().breaches(&[Property::Idempotent]);
}

#[test]
fn a_hole_in_the_log_is_found() {
    let history = History::default().invoked("e1").unknown("e1").invoked("e2").unknown("e2");
    history.logged("e1", 1).logged("e2", 3).breaches(&[Property::Whole]);
}

#[test]
fn an_event_that_nobody_published_is_invented() {
    History::four().four_logged().logged("e5", 5).breaches(&[Property::NoInvention]);
    let delivered = History::four().four_logged().opened(1, after(4)).got("e9", 5).reached(4);
    delivered.breaches(&[Property::Durable, Property::NoInvention]);
}

#[test]
fn an_event_with_another_content_is_invented() {
    let mut history = History::four().four_logged();
    let last = history.0.last_mut().unwrap();
    let Record::Logged { hash, .. } = last else { panic!("{last:?}") };
    *hash = "0123".to_owned();
    history.breaches(&[Property::NoInvention]);

    let altered = Record::Delivered {
        client: "c".to_owned(),
        connection: 1,
        cursor: cursor(4),
        id: "e4".to_owned(),
        hash: "0123".to_owned(),
    };
    let history = History::four().four_logged().opened(1, after(3)).with(altered).reached(4);
    history.breaches(&[Property::NoInvention]);
}

#[test]
fn a_retried_event_is_logged_once_at_one_place() {
    let retried = || History::default().invoked("e1").unknown("e1").invoked("e1");
    retried().repeated("e1", 1).logged("e1", 1).breaches(&[]);
    retried().acked("e1", 1).invoked("e1").repeated("e1", 1).logged("e1", 1).breaches(&[]);
    retried().acked("e1", 2).logged("e1", 1).logged("e1", 2).breaches(&[Property::Idempotent]);
    retried().acked("e1", 1).invoked("e1").acked("e1", 1).logged("e1", 1).breaches(&[Property::Idempotent]);
}

#[test]
fn an_unknown_publish_may_be_logged_or_not() {
    History::default().invoked("e1").unknown("e1").breaches(&[]);
    History::default().invoked("e1").unknown("e1").logged("e1", 1).breaches(&[]);
    History::default().invoked("e1").logged("e1", 1).breaches(&[]);
}

#[test]
fn a_publish_that_was_refused_for_good_leaves_nothing_behind() {
    History::default().invoked("e1").refused("e1").breaches(&[]);
    History::default().invoked("e1").refused("e1").logged("e1", 1).breaches(&[Property::Refused]);
    let retried = History::default().invoked("e1").refused("e1").invoked("e1").acked("e1", 1);
    retried.logged("e1", 1).breaches(&[]);
}

#[test]
fn half_a_batch_is_torn() {
    let batch = || History::default().invoked_in("e1", "b").invoked_in("e2", "b").unknown("e1").unknown("e2");
    batch().breaches(&[]);
    batch().logged("e1", 1).logged("e2", 2).breaches(&[]);
    batch().logged("e1", 1).breaches(&[Property::Atomic]);
}

#[test]
fn a_skipped_event_is_found_by_the_next_one() {
    let history = History::four().four_logged().opened(1, after(1)).got("e2", 2).got("e4", 4);
    history.reached(4).breaches(&[Property::Reliable]);
}

#[test]
fn a_skipped_event_is_found_by_a_checkpoint_and_by_the_end() {
    let history = || History::four().four_logged().opened(1, after(1)).got("e2", 2);
    history().checkpoint(2).got("e3", 3).got("e4", 4).reached(4).breaches(&[]);
    history().checkpoint(3).got("e4", 4).reached(4).breaches(&[Property::Reliable]);
    history().got("e3", 3).reached(4).breaches(&[Property::Reliable]);
}

#[test]
fn a_skipped_event_is_found_across_connections() {
    let history = History::four().four_logged().opened(1, after(1)).got("e2", 2).ended(None, None);
    history.opened(2, after(2)).got("e4", 4).reached(4).breaches(&[Property::Reliable]);
}

#[test]
fn an_error_that_names_a_place_too_far_on_is_found() {
    let history = || History::four().four_logged().opened(1, after(1)).got("e2", 2);
    let slow = Some("SLOW_CONSUMER");
    let resumed = |history: History| history.opened(2, after(2)).got("e3", 3).got("e4", 4).reached(4);
    resumed(history().ended(slow, Some(2))).breaches(&[]);
    history()
        .ended(slow, Some(3))
        .opened(2, after(3))
        .got("e4", 4)
        .reached(4)
        .breaches(&[Property::Reliable]);
}

#[test]
fn a_repeat_is_found_on_one_connection_and_along_the_chain() {
    let history = || History::four().four_logged().opened(1, after(2)).got("e3", 3);
    history().got("e3", 3).got("e4", 4).reached(4).breaches(&[Property::Unique]);
    let resumed = history().ended(None, None).opened(2, after(3)).got("e3", 3).got("e4", 4).reached(4);
    resumed.breaches(&[Property::Unique]);
}

#[test]
fn a_client_that_goes_back_gets_again_what_it_asks_for() {
    let history = History::four().four_logged().opened(1, after(2)).got("e3", 3).ended(None, None);
    history.opened(2, after(2)).got("e3", 3).got("e4", 4).reached(4).breaches(&[]);
}

#[test]
fn disorder_is_found() {
    let history = History::four().four_logged().opened(1, after(1)).got("e2", 2).got("e4", 4).got("e3", 3);
    history.reached(4).breaches(&[Property::Ordered, Property::Reliable]);
    History::four()
        .logged("e2", 2)
        .logged("e1", 1)
        .logged("e3", 3)
        .logged("e4", 4)
        .breaches(&[Property::Whole, Property::Ordered]);
}

#[test]
fn a_jump_without_an_error_is_a_silent_gap_and_one_with_an_error_is_not() {
    let history = || History::four().four_logged().opened(1, after(1)).got("e2", 2);
    let jump = |history: History| history.opened(2, after(3)).got("e4", 4).reached(4);
    jump(history().ended(None, None)).breaches(&[Property::ExplicitGap]);
    jump(history().ended(Some("CURSOR_EXPIRED"), None)).breaches(&[]);
}

#[test]
fn filters_are_applied_without_the_servers_help() {
    let tasks = || History::four().four_logged().selecting(&["task.*"], 1, Start::Earliest);
    tasks().got("e1", 1).got("e3", 3).reached(4).breaches(&[]);
    tasks().got("e1", 1).got("e2", 2).got("e3", 3).reached(4).breaches(&[Property::Reliable]);
    tasks().got("e1", 1).reached(4).breaches(&[Property::Reliable]);
    let by = |pattern| History::four().four_logged().selecting(&[pattern], 1, Start::Earliest);
    by("*.created").got("e1", 1).got("e3", 3).reached(4).breaches(&[]);
    by("*").got("e1", 1).got("e2", 2).got("e3", 3).got("e4", 4).reached(4).breaches(&[]);
    by("task").reached(4).breaches(&[]);
    by("task.created.*").reached(4).breaches(&[]);
}

#[test]
fn organizations_and_priorities_select_too() {
    let with = |filter| {
        let opened = Record::Opened { client: "c".to_owned(), connection: 1, filter, start: Start::Earliest };
        History::four().four_logged().with(opened)
    };
    let organizations = |id: &str| Filter { organizations: vec![id.to_owned()], ..Filter::default() };
    with(organizations("o2")).reached(4).breaches(&[]);
    with(organizations("o1")).reached(4).breaches(&[Property::Reliable]);
    let least = |priority: &str| Filter { min_priority: Some(priority.to_owned()), ..Filter::default() };
    with(least("HIGH")).reached(4).breaches(&[]);
    with(least("NORMAL")).reached(4).breaches(&[Property::Reliable]);
}

#[test]
fn a_live_client_misses_nothing_after_the_start_that_it_was_told() {
    let history = || History::four().four_logged().opened(1, Start::Live);
    history().ready(2).got("e3", 3).got("e4", 4).reached(4).breaches(&[]);
    history().ready(2).got("e4", 4).reached(4).breaches(&[Property::Reliable]);
}

#[test]
fn a_client_that_never_gets_to_the_end_is_found() {
    History::four().four_logged().opened(1, after(4)).breaches(&[Property::Live]);
}

#[test]
fn what_is_no_cursor_is_found() {
    let bad = Record::Acked { id: "e1".to_owned(), cursor: "?".to_owned(), duplicate: false };
    let history = History::default().invoked("e1").with(bad).logged("e1", 1);
    history.breaches(&[Property::Durable, Property::Whole]);
}

#[test]
fn a_history_is_read_back_from_its_files_and_a_broken_line_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let records = History::four().four_logged().opened(1, after(4)).ended(None, None).reached(4).0;
    let lines = |records: &[Record]| {
        let lines: Vec<_> = records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
        lines.join("\n")
    };
    std::fs::write(directory.path().join("a.jsonl"), lines(&records[..5])).unwrap();
    std::fs::write(directory.path().join("b.jsonl"), lines(&records[5..])).unwrap();
    std::fs::write(directory.path().join("server.log"), "not a history").unwrap();
    assert_eq!(history::read(directory.path()).unwrap(), records);
    std::fs::write(directory.path().join("b.jsonl"), "{\"is\":\"acked\"").unwrap();
    let error = history::read(directory.path()).unwrap_err().to_string();
    assert!(error.contains("b.jsonl line 1"), "{error}");
}
