//! Cut, torn and flipped bytes: the log refuses to open and says why, or a read fails and names the damage, or everything is
//! right. Never is a wrong event given, nor is an acknowledged one missing in silence.

use super::*;
use crate::{
    event::{Draft, EventFilter, FilterDraft, Limits},
    log::From,
};
use std::{fs, path::Path};
use tempfile::TempDir;

const EVENTS: u64 = 400;

/// A small generator of numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// In memory where there is such a place: hundreds of logs are opened, and none of them has to outlive a power cut.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn event(number: u64) -> NewEvent {
    let text =
        format!("{{\"n\":{number},\"text\":\"{}\"}}", "y".repeat(usize::try_from(number % 300).unwrap()));
    let draft = Draft {
        id: Some(format!("event-{number:04}")),
        event_type: format!("family{}.happened", number % 5),
        organization_id: (!number.is_multiple_of(3)).then(|| format!("org-{}", number % 7)),
        data: Some(serde_json::value::RawValue::from_string(text).unwrap()),
        ..Draft::default()
    };
    NewEvent::new(draft, &Limits::default()).unwrap()
}

fn open(dir: &Path) -> Result<SqliteLog, OpenError> {
    let options = SqliteOptions {
        dir: dir.to_owned(),
        read_connections: 1,
        segment_events_max: 64,
        write_cache_kib: 512,
        read_cache_kib: 256,
        ..SqliteOptions::default()
    };
    SqliteLog::open(options, Box::new(|_| ()))
}

/// The files of a log, and its events as they were acknowledged.
struct Template {
    database: Vec<u8>,
    journal: Vec<u8>,
    mark: Vec<u8>,
    events: Vec<Arc<Event>>,
}

impl Template {
    /// A log with all of its events in the journal or all of them in the database file.
    async fn new(is_closed: bool) -> Self {
        let dir = directory();
        let log = open(dir.path()).unwrap();
        let mut number = 0;
        while number < EVENTS {
            let batch = (1 + number % 13).min(EVENTS - number);
            log.append((number..number + batch).map(event).collect()).await.unwrap();
            number += batch;
        }
        let events = read_all(&log, Arc::default()).await.unwrap();
        assert_eq!(events.len() as u64, EVENTS);
        if is_closed {
            log.close().await;
        }
        let read = |name: &str| fs::read(dir.path().join(name)).unwrap_or_default();
        let template = Template {
            database: read("fanfare.db"),
            journal: read("fanfare.db-wal"),
            mark: read("acknowledged"),
            events,
        };
        assert_eq!(template.journal.is_empty(), is_closed);
        template
    }

    fn lay_out(&self) -> TempDir {
        let dir = directory();
        for (name, bytes) in
            [("fanfare.db", &self.database), ("fanfare.db-wal", &self.journal), ("acknowledged", &self.mark)]
        {
            if !bytes.is_empty() {
                fs::write(dir.path().join(name), bytes).unwrap();
            }
        }
        dir
    }

    /// Where each commit in the journal ends.
    fn commits(&self) -> Vec<usize> {
        let page = usize::try_from(u32::from_be_bytes(self.journal[8..12].try_into().unwrap())).unwrap();
        let frames = (32..self.journal.len()).step_by(24 + page);
        let is_commit = |at: &usize| self.journal[at + 4..at + 8] != [0; 4];
        frames.filter(is_commit).map(|at| at + 24 + page).collect()
    }

    fn with_journal(&self, journal: Vec<u8>) -> Template {
        Template {
            database: self.database.clone(),
            journal,
            mark: self.mark.clone(),
            events: self.events.clone(),
        }
    }
}

async fn read_all(log: &SqliteLog, filter: Arc<EventFilter>) -> Result<Vec<Arc<Event>>, ReadError> {
    let (mut events, mut after) = (Vec::new(), Offset::ZERO);
    loop {
        let read = Read {
            filter: Arc::clone(&filter),
            from: From::After(after),
            events_max: 100,
            bytes_max: usize::MAX,
        };
        let page = log.read(read).await?;
        events.extend(page.events);
        if page.is_last {
            return Ok(events);
        }
        after = page.through;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Refused,
    ReadFailed,
    Right,
}

/// Opens a log, reads all of it in two ways, adds an event and reads again.
async fn judge(dir: &Path, expected: &[Arc<Event>], what: &str) -> Outcome {
    let log = match open(dir) {
        Ok(log) => log,
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("fanfare.db") && !text.contains("panick"), "{what}: {text}");
            return Outcome::Refused;
        }
    };
    let mut outcome = Outcome::Right;
    let draft = FilterDraft { types: Some(vec!["family3.*".to_owned()]), ..FilterDraft::default() };
    let some = Arc::new(EventFilter::new(draft).unwrap());
    let mut expected = expected.to_vec();
    for is_second in [false, true] {
        for filter in [Arc::default(), Arc::clone(&some)] {
            match read_all(&log, Arc::clone(&filter)).await {
                Ok(events) => {
                    let right: Vec<_> =
                        expected.iter().filter(|event| filter.matches(event)).cloned().collect();
                    assert_eq!(events, right, "{what}");
                }
                Err(error @ (ReadError::Damaged { .. } | ReadError::Failed { .. })) => {
                    assert!(!error.to_string().contains("panick"), "{what}: {error}");
                    outcome = Outcome::ReadFailed;
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
        if !is_second && let Ok(appended) = log.append(vec![event(EVENTS)]).await {
            assert_eq!(appended[0].offset.get(), EVENTS + 1, "{what}");
            let added = log.find(event(EVENTS).id().to_owned(), Arc::default()).await;
            match added {
                Ok(Some(added)) => expected.push(added),
                Ok(None) => panic!("{what}: what was acknowledged is not found"),
                Err(_) => outcome = Outcome::ReadFailed,
            }
            if expected.len() as u64 == EVENTS {
                break;
            }
        }
    }
    let id = expected[7].id().to_owned();
    // That it is found is not certain: the table of keys has no second witness; `fanfare log check` is one.
    if let Ok(Some(found)) = log.find(id, Arc::default()).await {
        assert_eq!(found, expected[7], "{what}");
    }
    log.close().await;
    outcome
}

#[tokio::test]
async fn an_undamaged_log_is_right_whether_it_was_closed_or_not() {
    for is_closed in [false, true] {
        let template = Template::new(is_closed).await;
        let dir = template.lay_out();
        assert_eq!(judge(dir.path(), &template.events, "undamaged").await, Outcome::Right);
    }
}

#[tokio::test]
async fn a_journal_that_was_cut_never_hides_an_acknowledged_event() {
    let template = Template::new(false).await;
    let commits = template.commits();
    assert!(commits.len() > 30, "{}", commits.len());
    let mut cuts: Vec<usize> = commits.iter().flat_map(|end| [end - 1, *end, end + 1]).collect();
    let mut random = Random(1);
    cuts.extend((0..200).map(|_| random.below(template.journal.len())));
    for cut in cuts.into_iter().filter(|cut| *cut <= template.journal.len()) {
        let damaged = template.with_journal(template.journal[..cut].to_vec());
        let what = format!("the journal cut at {cut} of {}", template.journal.len());
        let outcome = judge(damaged.lay_out().path(), &template.events, &what).await;
        let has_all = cut >= *commits.last().unwrap();
        assert_eq!(outcome, if has_all { Outcome::Right } else { Outcome::Refused }, "{what}");
    }
}

#[tokio::test]
async fn a_journal_that_was_overwritten_never_hides_an_acknowledged_event() {
    let template = Template::new(false).await;
    let mut places: Vec<usize> = template.commits().iter().flat_map(|end| [end - 1, *end, end + 1]).collect();
    let mut random = Random(2);
    places.extend((0..200).map(|_| random.below(template.journal.len())));
    for place in places.into_iter().filter(|place| *place < template.journal.len()) {
        let mut journal = template.journal.clone();
        let length = [1, 16, 512, 5_000][random.below(4)].min(journal.len() - place);
        for byte in &mut journal[place..place + length] {
            *byte = u8::try_from(random.below(256)).unwrap();
        }
        let what = format!("{length} bytes of the journal overwritten at {place}");
        judge(template.with_journal(journal).lay_out().path(), &template.events, &what).await;
    }
}

#[tokio::test]
async fn a_flipped_bit_of_the_database_is_found_or_harmless() {
    let mut template = Template::new(true).await;
    let mut random = Random(3);
    let mut counts = [0; 3];
    for _ in 0..1_000 {
        let (byte, bit) = (random.below(template.database.len()), random.below(8));
        template.database[byte] ^= 1 << bit;
        let what =
            format!("bit {bit} of byte {byte} ({} of page {}) flipped", byte % 4_096, byte / 4_096 + 1);
        let outcome = judge(template.lay_out().path(), &template.events, &what).await;
        counts[outcome as usize] += 1;
        template.database[byte] ^= 1 << bit;
    }
    // Most of the file are records, so most flips are found by those who read them.
    assert!(counts[Outcome::ReadFailed as usize] > 300, "{counts:?}");
}

#[tokio::test]
async fn a_flipped_byte_of_an_event_names_its_offset_and_leaves_the_others_readable() {
    let mut template = Template::new(true).await;
    let needle = event(123).id().as_bytes().to_vec();
    let places = template.database.windows(needle.len()).enumerate();
    let places: Vec<usize> = places.filter(|(_, window)| *window == needle).map(|(place, _)| place).collect();
    // In its record and in its key.
    assert!(places.len() >= 2, "{places:?}");
    let (mut failed, mut found) = (0, 0);
    for place in places {
        template.database[place + needle.len() - 1] ^= 1;
        let dir = template.lay_out();
        let log = open(dir.path()).unwrap();
        let offset = template.events[123].offset();
        match read_all(&log, Arc::default()).await {
            Err(error @ ReadError::Damaged { .. }) => {
                assert!(error.to_string().contains(&format!("offset {}", offset.get())), "{error}");
                assert_eq!(log.damaged_reads(), 1);
                failed += 1;
                let read = Read {
                    filter: Arc::default(),
                    from: From::After(offset),
                    events_max: 1_000,
                    bytes_max: usize::MAX,
                };
                assert_eq!(log.read(read).await.unwrap().events, template.events[124..]);
            }
            Ok(events) => assert_eq!(events, template.events),
            Err(error) => panic!("{error}"),
        }
        log.close().await;
        found += usize::from(!check(dir.path()).unwrap().is_sound());
        template.database[place + needle.len() - 1] ^= 1;
    }
    // Pages may hold older copies that nobody reads any more.
    assert_eq!((failed, found), (1, 2));
    assert!(check(template.lay_out().path()).unwrap().is_sound());
}

#[tokio::test]
async fn a_lost_or_damaged_mark_costs_no_event_and_a_lost_one_gives_a_new_epoch() {
    let mut template = Template::new(true).await;
    let cursor = template.events[0].cursor();
    template.mark[9] ^= 1;
    let dir = template.lay_out();
    assert_eq!(judge(dir.path(), &template.events, "a damaged mark").await, Outcome::Right);
    fs::remove_file(dir.path().join("acknowledged")).unwrap();
    let log = open(dir.path()).unwrap();
    assert_eq!(log.epoch().open(cursor), Err(crate::event::OpenCursorError::OtherLog));
    assert_eq!(read_all(&log, Arc::default()).await.unwrap().len() as u64, EVENTS + 1);
    log.close().await;
    // From then on the mark is there.
    let again = open(dir.path()).unwrap();
    assert_eq!(again.epoch(), log.epoch());
}
