//! Promise 3. Below the edge: an event reaches a reader exactly when the reader's grant allows it and its filter matches it, by
//! the filter itself, by the index and by both logs, against an oracle that is written from the definitions and shares no code
//! with any of them. Over real connections: `endpoints`, `tenants`; what is kept: `state`; who shares what: `sharing`.

mod endpoints;
mod oracle;
mod people;
mod sharing;
mod state;
mod tenants;

use fanfare::{
    auth::{Grant, Policy},
    bus::Index,
    error::Code,
    event::{Draft, EventFilter, FilterDraft, Limits, NewEvent, Offset},
    log::{From, Log, MemoryLog, MemoryOptions, Read, SqliteLog, SqliteOptions},
};
use oracle::{SCOPE, allows, events, filters, grants, matches};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// 160 worlds of 5 grants, 5 filters and 25 events: 100,000 cases.
const WORLDS: usize = 160;
const GRANTS: usize = 5;
const FILTERS: usize = 5;
const EVENTS: usize = 25;
/// Every so many worlds, the log on disk too.
const ON_DISK: usize = 8;

/// Everything generated for one round, and what it becomes.
struct World {
    grants: Vec<Vec<Value>>,
    filters: Vec<Value>,
    events: Vec<Value>,
    new: Vec<NewEvent>,
}

/// A reader: its grant and its filter by their places, and what is left of the filter.
struct Reader {
    grant: usize,
    filter: usize,
    effective: Arc<EventFilter>,
}

impl World {
    fn new(runner: &mut TestRunner) -> Self {
        let strategy = (
            prop::collection::vec(grants(), GRANTS),
            prop::collection::vec(filters(), FILTERS),
            prop::collection::vec(events(), EVENTS),
        );
        let (grants, filters, events) = strategy.new_tree(runner).unwrap().current();
        let new = |event: &Value| {
            NewEvent::new(Draft::from_json(&event.to_string()).unwrap(), &Limits::default()).unwrap()
        };
        let new = events.iter().map(new).collect();
        World { grants, filters, events, new }
    }

    /// The events that a reader is due, by the oracle.
    fn due(&self, grant: usize, filter: usize) -> BTreeSet<usize> {
        let is_due =
            |event: &Value| allows(&self.grants[grant], event) && matches(&self.filters[filter], event);
        (0..EVENTS).filter(|event| is_due(&self.events[*event])).collect()
    }

    /// Every grant with every filter. What is refused is due nothing.
    fn readers(&self) -> Vec<Reader> {
        let mut readers = Vec::new();
        for grant in 0..GRANTS {
            let granted = grant_of(&self.grants[grant]);
            for filter in 0..FILTERS {
                let draft = serde_json::from_value::<FilterDraft>(self.filters[filter].clone()).unwrap();
                match granted.narrow(EventFilter::new(draft).unwrap()) {
                    Ok(effective) => readers.push(Reader { grant, filter, effective: Arc::new(effective) }),
                    Err(refusal) => {
                        assert_eq!(refusal.code, Code::Forbidden);
                        let due = self.due(grant, filter);
                        assert!(
                            due.is_empty(),
                            "{:?} {} {refusal}",
                            self.grants[grant],
                            self.filters[filter]
                        );
                    }
                }
            }
        }
        readers
    }

    fn check(&self, way: &str, reader: &Reader, got: &BTreeSet<usize>) {
        let due = self.due(reader.grant, reader.filter);
        let (grant, filter) = (&self.grants[reader.grant], &self.filters[reader.filter]);
        let wrong: Vec<_> = got.symmetric_difference(&due).map(|event| &self.events[*event]).collect();
        assert!(wrong.is_empty(), "{way}: {} events are wrong: {wrong:?}\n{grant:?}\n{filter}", wrong.len());
    }
}

/// The grant of a token that carries these rules.
fn grant_of(rules: &[Value]) -> Grant {
    let claims = json!({ "sub": "u", "fanfare": { "read": rules } });
    Policy::default().resolve(claims.as_object().unwrap()).unwrap().grant
}

/// The events that a log gives a reader, as places in the world.
async fn read(log: &dyn Log, filter: &Arc<EventFilter>, rising: bool) -> BTreeSet<usize> {
    let mut places = BTreeSet::new();
    let mut from = if rising { From::Earliest } else { From::Before(Offset::new(EVENTS as u64 + 1)) };
    loop {
        let read = Read { filter: Arc::clone(filter), from, events_max: 10, bytes_max: usize::MAX };
        let page = log.read(read).await.unwrap();
        for event in &page.events {
            assert!(places.insert(usize::try_from(event.offset().get()).unwrap() - 1), "an event came twice");
        }
        if page.is_last {
            return places;
        }
        from = if rising { From::After(page.through) } else { From::Before(page.through) };
    }
}

#[tokio::test]
async fn an_event_reaches_a_reader_exactly_when_grant_and_filter_allow_it() {
    let mut runner = TestRunner::deterministic();
    let (mut due, mut refused) = (0, 0);
    for nth in 0..WORLDS {
        let world = World::new(&mut runner);
        let readers = world.readers();
        refused += GRANTS * FILTERS - readers.len();

        let mut index = Index::default();
        let ids: Vec<_> = readers.iter().map(|reader| index.insert(&reader.effective)).collect();
        let mut met = Vec::new();
        let mut found = vec![BTreeSet::new(); readers.len()];
        for (place, event) in world.new.iter().enumerate() {
            met.clear();
            index.matches(event, &mut met);
            for (reader, id) in ids.iter().enumerate() {
                if met.contains(id) {
                    found[reader].insert(place);
                }
            }
        }

        let memory = MemoryLog::open(MemoryOptions::default(), Box::new(drop));
        memory.append(world.new.clone()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let disk = (nth % ON_DISK == 0).then(|| {
            let options = SqliteOptions {
                dir: dir.path().to_owned(),
                segment_events_max: 7,
                scan_rows_max: 10,
                reserve_bytes: 0,
                ..SqliteOptions::default()
            };
            SqliteLog::open(options, Box::new(drop)).unwrap()
        });
        if let Some(disk) = &disk {
            disk.append(world.new.clone()).await.unwrap();
        }
        for (reader, found) in readers.iter().zip(&found) {
            let of_filter =
                (0..EVENTS).filter(|place| reader.effective.matches(&world.new[*place])).collect();
            due += found.len();
            world.check("filter", reader, &of_filter);
            world.check("index", reader, found);
            world.check("log in memory", reader, &read(&memory, &reader.effective, true).await);
            if let Some(disk) = &disk {
                world.check("log on disk", reader, &read(disk, &reader.effective, true).await);
                world.check("log on disk, backwards", reader, &read(disk, &reader.effective, false).await);
            }
        }
        memory.close().await;
        if let Some(disk) = disk {
            disk.close().await;
        }
    }
    assert!(due > 5_000 && refused > 200, "the cases are about something: {due} due, {refused} refused");
}

#[test]
fn look_alikes_never_get_as_far_as_being_compared() {
    let alike = [
        "quant\u{301}",
        "qu\u{e4}nt",
        "ｑuant",
        "\u{212a}elvin",
        "\u{17f}ession",
        "qu\u{200b}ant",
        "\u{200f}quant",
        "quant\0",
        "quant ",
        " quant",
        "qu\tant",
        "",
        "quant\n",
    ];
    for id in alike {
        for field in SCOPE {
            let event = json!({ "type": "task.created", field: id });
            let refused = Draft::from_json(&event.to_string())
                .and_then(|draft| NewEvent::new(draft, &Limits::default()))
                .unwrap_err();
            assert!([Code::InvalidEvent, Code::BadRequest].contains(&refused.code), "{field} {id:?}");
            let filter = serde_json::from_value::<FilterDraft>(json!({ field: id })).unwrap();
            assert_eq!(EventFilter::new(filter).unwrap_err().code, Code::InvalidFilter, "{field} {id:?}");
            let claims = json!({ "sub": "u", "fanfare": { "read": [{ field: [id] }] } });
            let refused = Policy::default().resolve(claims.as_object().unwrap()).unwrap_err();
            assert_eq!(refused.code, Code::Unauthenticated, "{field} {id:?}");
        }
    }
    for (field, number) in
        [("userId", json!(1)), ("userId", json!(9_007_199_254_740_993_u64)), ("roomId", json!(true))]
    {
        let claims = json!({ "sub": "u", "fanfare": { "read": [{ field: [number] }] } });
        assert!(Policy::default().resolve(claims.as_object().unwrap()).is_err(), "a number is no id");
    }
}
