//! Pages against the plainest reading there is: look at every event in order.

use super::*;
use crate::event::{Rule, Rules, ScopeField, TypePattern};
use proptest::{strategy::ValueTree, test_runner::TestRunner};

const TYPES: [&str; 8] = [
    "task.created",
    "task.failed",
    "task",
    "taskforce.created",
    "agent.created",
    "claude.session.started",
    "claude.x",
    "z",
];
const PATTERNS: [&str; 11] = [
    "*",
    "task.*",
    "task",
    "*.created",
    "claude.*",
    "claude.*.started",
    "claude.session.*",
    "z",
    "z.*",
    "none.*",
    "*.*",
];

fn some_of(from: &'static [&'static str]) -> BoxedStrategy<Value> {
    prop::collection::vec(prop::sample::select(from), 1..4).prop_map(|list| json!(list)).boxed()
}

fn alternative() -> impl Strategy<Value = serde_json::Map<String, Value>> {
    let field = |name: &'static str, values: BoxedStrategy<Value>| {
        prop::option::weighted(0.2, values).prop_map(move |value| Some((name.to_owned(), value?)))
    };
    let priority = prop::sample::select(&["LOW", "HIGH", "CRITICAL"][..]).prop_map(|name| json!(name));
    let fields = [
        field("types", some_of(&PATTERNS)).boxed(),
        field("categories", some_of(&["task", "agent", "claude", "custom", "chat"])).boxed(),
        field("organizationId", some_of(&["quant", "acme", "none"])).boxed(),
        field("taskId", some_of(&["t1", "t2", "t3"])).boxed(),
        field("workflowId", some_of(&["w1", "w2"])).boxed(),
        field("userId", some_of(&["u1", "u2"])).boxed(),
        field("sources", some_of(&["/a", "/b"])).boxed(),
        field("correlationId", some_of(&["c1", "c2"])).boxed(),
        field("minPriority", priority.boxed()).boxed(),
    ];
    fields.to_vec().prop_map(|fields| fields.into_iter().flatten().collect())
}

fn filters() -> impl Strategy<Value = EventFilter> {
    let any_of = prop::option::weighted(0.2, prop::collection::vec(alternative(), 1..4));
    (alternative(), any_of).prop_map(|(mut own, any_of)| {
        own.extend(any_of.map(|list| ("anyOf".to_owned(), json!(list))));
        let draft = json::read::<FilterDraft>(&Value::Object(own).to_string()).unwrap();
        EventFilter::new(draft).unwrap()
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let ids = |ids: &'static [&'static str]| {
        let list = prop::collection::vec(prop::sample::select(ids), 1..3);
        prop::option::weighted(
            0.4,
            list.prop_map(|ids| ids.into_iter().map(str::to_owned).collect::<Vec<_>>()),
        )
    };
    let types = prop::option::weighted(0.4, prop::collection::vec(prop::sample::select(&PATTERNS[..]), 1..3));
    let rule = (types, ids(&["quant", "acme", "none"]), ids(&["t1", "t2"]), ids(&["u1", "u2"]));
    let rule = rule.prop_map(|(types, organizations, tasks, users)| {
        let pattern = |text| TypePattern::parse(text, "types").unwrap();
        let typed = types.map_or_else(Rule::default, |types| {
            Rule::default().with_types(types.into_iter().map(pattern).collect())
        });
        let scope =
            [(ScopeField::Organization, organizations), (ScopeField::Task, tasks), (ScopeField::User, users)];
        scope
            .into_iter()
            .filter_map(|(field, ids)| Some((field, ids?)))
            .fold(typed, |rule, (field, ids)| rule.with_ids(field, ids).unwrap())
    });
    prop::collection::vec(rule, 1..4).prop_map(|rules| Rules::new(rules).unwrap())
}

/// Half of them within a grant.
pub(super) fn granted_filters() -> impl Strategy<Value = Arc<EventFilter>> {
    let granted = |(filter, rules): (EventFilter, Option<Rules>)| {
        Arc::new(rules.map_or(filter.clone(), |rules| filter.granted(&rules)))
    };
    (filters(), prop::option::of(rules())).prop_map(granted)
}

pub(super) fn logged_events() -> impl Strategy<Value = Vec<NewEvent>> {
    let id = |ids: &'static [&'static str]| prop::option::of(prop::sample::select(ids));
    let one = (
        prop::sample::select(&TYPES[..]),
        (id(&["quant", "acme"]), id(&["t1", "t2"]), id(&["w1", "w2"]), id(&["u1"])),
        prop::sample::select(&["/a", "/b", "/c"][..]),
        id(&["c1", "c2"]),
        prop::sample::select(&["LOW", "NORMAL", "HIGH", "CRITICAL"][..]),
        0..30_usize,
    );
    let one =
        one.prop_map(|(event_type, (org, task, workflow, user), source, correlation, priority, length)| {
            event(&json!({ "type": event_type, "organizationId": org, "taskId": task, "workflowId": workflow,
            "userId": user, "source": source, "correlationId": correlation, "priority": priority,
            "data": "x".repeat(length) }))
        });
    prop::collection::vec(one, 120)
}

fn reads(length: u64) -> impl Strategy<Value = Read> {
    let from = (0..9, 0..length + 3).prop_map(|(direction, offset)| match direction {
        0 => From::Earliest,
        1..5 => From::After(Offset::new(offset)),
        _ => From::Before(Offset::new(offset)),
    });
    let events_max = prop_oneof![0..8_usize, Just(1_000)];
    let bytes_max = prop_oneof![0..90_usize, Just(usize::MAX)];
    (granted_filters(), from, events_max, bytes_max).prop_map(|(filter, from, events_max, bytes_max)| Read {
        filter,
        from,
        events_max,
        bytes_max,
    })
}

fn bytes(event: &Event) -> usize {
    event.data().as_str().len()
}

/// Checks one page against all events that are kept; gives where to go on.
fn check(all: &[Arc<Event>], read: &Read, page: &Page, may_be_cut: bool) -> Option<From> {
    let first = all.first().map_or(1, |event| event.offset().get());
    let (head, through) = (first - 1 + all.len() as u64, page.through.get());
    let matching = |event: &&Arc<Event>| read.filter.matches(event);
    let (mut expected, next, start): (Vec<_>, _, _) = match read.from {
        From::After(_) | From::Earliest => {
            let after = match read.from {
                From::After(after) => after.get(),
                From::Earliest | From::Before(_) => first - 1,
            };
            assert!(through >= after && through <= head.max(after));
            assert_eq!(page.is_last, through >= head);
            let range = |event: &&Arc<Event>| event.offset().get() > after;
            (all.iter().filter(range).filter(matching).collect(), From::After(page.through), after)
        }
        From::Before(before) => {
            let before = before.get();
            assert!(through == 0 || through < before);
            assert_eq!(page.is_last, through == 0);
            assert!(through == 0 || through > first, "the start of the log is told as 0");
            let range = |event: &&Arc<Event>| event.offset().get() < before;
            (all.iter().rev().filter(range).filter(matching).collect(), From::Before(page.through), before)
        }
    };
    let is_within = |event: &&Arc<Event>| match read.from {
        From::After(_) | From::Earliest => event.offset().get() <= through,
        From::Before(_) => event.offset().get() >= through,
    };
    let beyond = expected.iter().find(|event| !is_within(event)).copied();
    expected.retain(is_within);
    assert_eq!(page.events.iter().collect::<Vec<_>>(), expected);
    let size: usize = page.events.iter().map(|event| bytes(event)).sum();
    assert!(page.events.len() <= read.events_max.max(1));
    assert!(size <= read.bytes_max || page.events.len() == 1);
    if !page.is_last && !may_be_cut {
        let is_full = page.events.len() == read.events_max.max(1);
        let has_no_room = beyond.is_some_and(|event| size + bytes(event) > read.bytes_max);
        assert!(is_full || has_no_room, "the page ended for no reason");
    }
    assert!(page.is_last || through != start, "the page must get on");
    (!page.is_last).then_some(next)
}

pub(super) fn pages_agree_with_a_naive_reading(kind: Kind) {
    run(pages_agree(kind, None));
}

/// Pages of logs that look at few and at many rows, with small segments and none, against a look at every event.
pub(super) async fn pages_agree(kind: Kind, kept: Option<u64>) {
    let mut runner = TestRunner::deterministic();
    let events = logged_events().new_tree(&mut runner).unwrap().current();
    let length = events.len() as u64;
    let first = kept.map_or(1, |kept| length - kept + 1);
    let retention = Retention { events: kept, ..Retention::default() };
    let mut subjects = Vec::new();
    for (scan_max, segment) in [(1, 20), (7, 1_000), (40, 33), (10_000, 7)] {
        let subject = kind.open_as(Opened { scan_max, segment, retention });
        for request in events.chunks(50) {
            subject.log.append(request.to_vec()).await.unwrap();
        }
        subject.earliest(first).await;
        subjects.push((subject, scan_max));
    }
    let strategy = (0..subjects.len(), reads(length));
    for _ in 0..1_500 {
        let (index, mut read) = strategy.new_tree(&mut runner).unwrap().current();
        let (subject, scan_max) = &subjects[index];
        let all = subject.seen().split_off(usize::try_from(first).unwrap() - 1);
        let mut steps = 0;
        loop {
            let page = match (subject.log.read(read.clone()).await, read.from) {
                (Ok(page), _) => page,
                (Err(ReadError::Expired { earliest }), From::After(after)) => {
                    assert!(after.get() + 1 < first && earliest.get() == first);
                    break;
                }
                (Err(error), _) => panic!("{error}"),
            };
            let Some(next) = check(&all, &read, &page, *scan_max < 10_000) else { break };
            read.from = next;
            steps += 1;
            assert!(steps <= length, "{read:?}");
        }
    }
}
