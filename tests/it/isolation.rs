//! Promise 3 below the edge: an event reaches a reader exactly when the reader's grant allows it and its filter matches it, by
//! the filter itself, by the index and by both logs, against an oracle that is written from the definitions and shares no code
//! with any of them.

use fanfare::{
    auth::{Grant, Policy},
    bus::Index,
    error::Code,
    event::{Draft, EventFilter, FilterDraft, Limits, NewEvent, Offset},
    log::{From, Log, MemoryLog, MemoryOptions, Read, SqliteLog, SqliteOptions},
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// 160 worlds of 5 grants, 5 filters and 25 events: 100,000 cases.
const WORLDS: usize = 160;
const GRANTS: usize = 5;
const FILTERS: usize = 5;
const EVENTS: usize = 25;
/// Every so many worlds, the log on disk too.
const ON_DISK: usize = 8;

/// Ids that are near each other: by case, by beginning and end, as patterns, paths, subjects, numbers and escapes.
const IDS: [&str; 20] = [
    "quant", "Quant", "QUANT", "quan", "quant2", "2quant", "quant.", "quant.*", "*", ">", "**", "..",
    "../quant", "%71uant", "quant%20", "1", "01", "1.0", "{org}", "null",
];
const TYPES: [&str; 9] = [
    "task",
    "task.created",
    "task.created.late",
    "Task.created",
    "taskforce.created",
    "agent.created",
    "agent.log",
    "quant",
    "billing.x",
];
const PATTERNS: [&str; 12] = [
    "*",
    "*.*",
    "task",
    "task.*",
    "*.created",
    "task.*.late",
    "task.created.*",
    "*.*.late",
    "Task.*",
    "agent.*",
    "quant",
    "none.*",
];
const SCOPE: [&str; 4] = ["organizationId", "domainId", "userId", "roomId"];

/// Does the grant allow the event? One rule must: every list that it has must name what the event has.
fn allows(grant: &[Value], event: &Value) -> bool {
    grant.iter().any(|rule| {
        rule.as_object().unwrap().iter().all(|(field, list)| {
            let list = list.as_array().unwrap();
            match field.as_str() {
                "types" => list.iter().any(|pattern| glob(pattern, event)),
                field => !event[field].is_null() && list.iter().any(|id| *id == event[field]),
            }
        })
    })
}

/// Does the filter match the event? Every field of it must, and one of its alternatives.
fn matches(filter: &Value, event: &Value) -> bool {
    filter.as_object().unwrap().iter().all(|(field, wanted)| {
        let any = |holds: &dyn Fn(&Value) -> bool| wanted.as_array().unwrap().iter().any(holds);
        match field.as_str() {
            "types" => any(&|pattern| glob(pattern, event)),
            "categories" => any(&|category| *category == category_of(event)),
            "sources" => any(&|source| *source == event["source"]),
            "minPriority" => rank(&event["priority"]) >= rank(wanted),
            "anyOf" => any(&|alternative| matches(alternative, event)),
            field => any(&|id| !event[field].is_null() && *id == event[field]),
        }
    })
}

fn glob(pattern: &Value, event: &Value) -> bool {
    fn fits(pattern: &[&str], segments: &[&str]) -> bool {
        match (pattern, segments) {
            (["*"], [_, ..]) => true,
            ([], []) => true,
            ([first, pattern @ ..], [segment, segments @ ..]) => {
                (*first == "*" || first == segment) && fits(pattern, segments)
            }
            _ => false,
        }
    }
    let pattern: Vec<&str> = pattern.as_str().unwrap().split('.').collect();
    let segments: Vec<&str> = event["type"].as_str().unwrap().split('.').collect();
    fits(&pattern, &segments)
}

fn category_of(event: &Value) -> &str {
    match event["type"].as_str().unwrap().split('.').next().unwrap() {
        first @ ("task" | "agent") => first,
        _ => "custom",
    }
}

fn rank(priority: &Value) -> usize {
    ["LOW", "NORMAL", "HIGH", "CRITICAL"].iter().position(|name| priority == name).unwrap()
}

fn list(pool: &'static [&'static str]) -> BoxedStrategy<Value> {
    prop::collection::vec(prop::sample::select(pool), 1..5).prop_map(|list| json!(list)).boxed()
}

/// Members with these names, each with a probability.
fn members(fields: Vec<(&'static str, f64, BoxedStrategy<Value>)>) -> BoxedStrategy<Map<String, Value>> {
    let member = |(name, probability, value): (&'static str, f64, BoxedStrategy<Value>)| {
        prop::option::weighted(probability, value)
            .prop_map(move |value| Some((name.to_owned(), value?)))
            .boxed()
    };
    let members: Vec<_> = fields.into_iter().map(member).collect();
    members.prop_map(|members| members.into_iter().flatten().collect()).boxed()
}

fn limits(types: f64, scope: f64) -> Vec<(&'static str, f64, BoxedStrategy<Value>)> {
    let mut fields = vec![("types", types, list(&PATTERNS))];
    fields.extend(SCOPE.map(|name| (name, scope, list(&IDS))));
    fields
}

fn grants() -> impl Strategy<Value = Vec<Value>> {
    let rule = members(limits(0.4, 0.35)).prop_map(|mut rule| {
        if rule.is_empty() {
            rule.insert("types".to_owned(), json!(["*"]));
        }
        Value::Object(rule)
    });
    prop::collection::vec(rule, 0..5)
}

fn filters() -> impl Strategy<Value = Value> {
    let fields = || {
        let mut fields = limits(0.2, 0.15);
        fields.push(("categories", 0.1, list(&["task", "agent", "custom"])));
        fields.push(("sources", 0.1, list(&["/a", "/b"])));
        fields.push((
            "minPriority",
            0.1,
            prop::sample::select(vec!["LOW", "HIGH"]).prop_map(|name| json!(name)).boxed(),
        ));
        fields
    };
    let alternatives = prop::collection::vec(members(fields()).prop_map(Value::Object), 1..4);
    (members(fields()), prop::option::weighted(0.25, alternatives)).prop_map(|(mut own, any_of)| {
        own.extend(any_of.map(|list| ("anyOf".to_owned(), json!(list))));
        Value::Object(own)
    })
}

fn events() -> impl Strategy<Value = Value> {
    let one_of =
        |pool: &'static [&'static str]| prop::sample::select(pool).prop_map(|text| json!(text)).boxed();
    let id = || prop::option::weighted(0.6, prop::sample::select(&IDS[..])).prop_map(|id| json!(id)).boxed();
    let mut fields = vec![
        ("type", one_of(&TYPES)),
        ("source", one_of(&["/a", "/b", "/c"])),
        ("priority", one_of(&["LOW", "NORMAL", "HIGH"])),
    ];
    fields.extend(SCOPE.map(|name| (name, id())));
    let (names, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    values.prop_map(move |values| names.iter().map(|name| (*name).to_owned()).zip(values).collect())
}

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
