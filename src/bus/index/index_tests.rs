//! The index against the naive one, the paths it chooses, and what it visits when callers are unkind.

use super::*;
use crate::event::{AlternativeDraft, Draft, Family, FilterDraft, Limits, ScopeField, TypePattern};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn event(draft: Draft) -> NewEvent {
    NewEvent::new(draft, &Limits::default()).unwrap()
}

fn typed(event_type: &str) -> Draft {
    Draft { event_type: event_type.to_owned(), ..Draft::default() }
}

fn filter(draft: FilterDraft) -> Arc<EventFilter> {
    Arc::new(EventFilter::new(draft).unwrap())
}

fn texts<T: ToString>(items: impl IntoIterator<Item = T>) -> Option<Vec<String>> {
    Some(items.into_iter().map(|item| item.to_string()).collect())
}

fn rule<const N: usize>(types: &[&str], scope: [(ScopeField, String); N]) -> Rule {
    let pattern = |text: &&str| TypePattern::parse(text, "types").unwrap();
    let typed = match types {
        [] => Rule::default(),
        types => Rule::default().with_types(types.iter().map(pattern).collect()),
    };
    scope.into_iter().fold(typed, |rule, (field, id)| rule.with_ids(field, vec![id]).unwrap())
}

/// The filter of somebody who asks for everything and may read by these rules.
fn granted(rules: Vec<Rule>) -> Arc<EventFilter> {
    Arc::new(EventFilter::default().granted(&Rules::new(rules).unwrap()))
}

fn met(index: &Index, event: &NewEvent) -> Vec<FilterId> {
    let mut met = Vec::new();
    index.matches(event, &mut met);
    met
}

/// How many filters an event visits.
fn visited(index: &Index, event: &NewEvent) -> usize {
    let mut found = Vec::new();
    index.candidates(event, &mut found);
    found.len()
}

/// The kinds under which a filter is posted, when it is the only one.
fn kinds(draft: FilterDraft) -> Vec<&'static str> {
    kinds_of(&filter(draft))
}

fn kinds_of(filter: &Arc<EventFilter>) -> Vec<&'static str> {
    let mut index = Index::default();
    index.insert(filter);
    let name = |kind: &Kind| match kind {
        Kind::Correlation => "correlation",
        Kind::Scope(field) => field.camel(),
        Kind::Source => "source",
        Kind::Type(_) => "type",
        Kind::Family => "family",
        Kind::Priority => "priority",
        Kind::Everything => "everything",
    };
    index.kinds.keys().map(name).collect()
}

#[test]
fn equal_filters_are_one_entry_that_lives_as_long_as_its_last_holder() {
    let mut index = Index::default();
    let tasks = || Arc::new(EventFilter::default().within(Family::Task));
    let (first, second) = (index.insert(&tasks()), index.insert(&tasks()));
    index.insert(&Arc::new(EventFilter::default().within(Family::Agent)));
    assert_eq!((first, index.len()), (second, 2));
    assert_eq!(met(&index, &event(typed("task.created"))), [first]);

    index.remove(first);
    assert_eq!(index.len(), 2);
    index.remove(second);
    assert_eq!(index.len(), 1);
    assert!(met(&index, &event(typed("task.created"))).is_empty());
}

#[test]
fn a_filter_is_posted_under_the_narrowest_thing_it_asks_for() {
    let draft = FilterDraft::default;
    let one = |text: &str| texts([text]);
    let cases = [
        (draft(), vec!["everything"]),
        (FilterDraft { types: one("*"), ..draft() }, vec!["everything"]),
        (FilterDraft { types: texts(["*", "task.*"]), ..draft() }, vec!["everything"]),
        (FilterDraft { min_priority: Some("LOW".to_owned()), ..draft() }, vec!["everything"]),
        (FilterDraft { min_priority: Some("HIGH".to_owned()), ..draft() }, vec!["priority"]),
        (FilterDraft { types: one("*"), categories: one("task"), ..draft() }, vec!["family"]),
        (FilterDraft { types: one("*.*"), categories: one("task"), ..draft() }, vec!["family"]),
        (FilterDraft { types: one("task.*"), categories: one("task"), ..draft() }, vec!["type"]),
        (FilterDraft { types: one("task.*"), organization_id: one("o"), ..draft() }, vec!["organizationId"]),
        (FilterDraft { task_id: one("t"), organization_id: one("o"), ..draft() }, vec!["taskId"]),
        (FilterDraft { task_id: one("t"), correlation_id: one("c"), ..draft() }, vec!["correlation"]),
        (
            FilterDraft { sources: one("/a"), min_priority: Some("HIGH".to_owned()), ..draft() },
            vec!["source"],
        ),
    ];
    for (draft, expected) in cases {
        let shown = format!("{draft:?}");
        assert_eq!(kinds(draft), expected, "{shown}");
    }
}

#[test]
fn alternatives_are_posted_each_where_it_is_narrowest_unless_one_excludes_nothing() {
    let task = AlternativeDraft { task_id: texts(["t"]), ..AlternativeDraft::default() };
    let typed = AlternativeDraft { types: texts(["a.b"]), ..AlternativeDraft::default() };
    let both = FilterDraft { any_of: Some(vec![task.clone(), typed.clone()]), ..FilterDraft::default() };
    assert_eq!(kinds(both), ["taskId", "type"]);

    let organization_id = texts(["o"]);
    let open = Some(vec![task.clone(), AlternativeDraft::default()]);
    assert_eq!(kinds(FilterDraft { any_of: open.clone(), ..FilterDraft::default() }), ["everything"]);
    let own =
        FilterDraft { any_of: open, organization_id: organization_id.clone(), ..FilterDraft::default() };
    assert_eq!(kinds(own), ["organizationId"]);
    let narrower = FilterDraft { any_of: Some(vec![task]), organization_id, ..FilterDraft::default() };
    assert_eq!(kinds(narrower), ["taskId"]);
}

#[test]
fn a_filter_without_a_field_of_its_own_is_posted_where_its_grant_is_narrowest() {
    let of = |field: ScopeField, id: &str| (field, id.to_owned());
    let organization = || rule(&["task.*"], [of(ScopeField::Organization, "o")]);
    let user = || rule(&[], [of(ScopeField::Organization, "o"), of(ScopeField::User, "u")]);
    assert_eq!(kinds_of(&granted(vec![organization()])), ["organizationId"]);
    assert_eq!(kinds_of(&granted(vec![organization(), user()])), ["organizationId", "userId"]);
    assert_eq!(kinds_of(&granted(vec![user(), rule(&["chat.message"], [])])), ["userId", "type"]);
    assert_eq!(kinds_of(&granted(vec![user(), rule(&["*"], [])])), ["everything"]);

    let own = FilterDraft { task_id: texts(["t"]), ..FilterDraft::default() };
    let rules = Rules::new(vec![organization()]).unwrap();
    let narrower = EventFilter::new(own).unwrap().granted(&rules);
    assert_eq!(kinds_of(&Arc::new(narrower)), ["taskId"]);
}

#[test]
fn equal_grants_of_different_callers_are_one_entry_and_different_ones_are_not() {
    let of = |id: &str| granted(vec![rule(&[], [(ScopeField::Organization, id.to_owned())])]);
    let mut index = Index::default();
    assert_eq!(index.insert(&of("a")), index.insert(&of("a")));
    index.insert(&of("A"));
    index.insert(&Arc::new(EventFilter::default()));
    assert_eq!(index.len(), 3);
}

#[test]
fn a_filter_that_an_event_finds_by_several_keys_is_met_once() {
    let mut index = Index::default();
    let types = texts(["task.*", "*.created", "task.created", "*.*"]);
    let alternatives = ["t", "u"].map(|id| AlternativeDraft {
        task_id: texts([id]),
        organization_id: texts(["o"]),
        ..AlternativeDraft::default()
    });
    let typed_id = index.insert(&filter(FilterDraft { types, ..FilterDraft::default() }));
    let any_id =
        index.insert(&filter(FilterDraft { any_of: Some(alternatives.into()), ..FilterDraft::default() }));
    let created = event(Draft {
        task_id: Some("u".to_owned()),
        organization_id: Some("o".to_owned()),
        ..typed("task.created")
    });
    let mut found = vec![any_id];
    index.matches(&created, &mut found);
    assert_eq!(found, [any_id, typed_id, any_id], "what was there before stays, repeats among it too");
}

/// A mix of filters of which the last one matches an event.
type Mix = fn(usize) -> FilterDraft;

#[test]
fn an_event_visits_a_handful_among_many_filters_whatever_they_have_in_common() {
    const FILTERS: usize = 3_000;
    // The event has every value numbered `FILTERS - 1`, and the values that a mix repeats.
    let last = FILTERS - 1;
    let event = event(Draft {
        task_id: Some(format!("t{last}")),
        organization_id: Some("o".to_owned()),
        domain_id: Some(format!("d{last}")),
        user_id: Some("u".to_owned()),
        correlation_id: Some(format!("c{last}")),
        source: Some("/s".to_owned()),
        ..typed(&format!("task.x{last}"))
    });
    let mixes: [(&str, Mix); 9] = [
        ("one pattern, own domains", |n| FilterDraft {
            types: texts(["task.*"]),
            domain_id: texts([format!("d{n}")]),
            ..FilterDraft::default()
        }),
        ("own tasks", |n| FilterDraft { task_id: texts([format!("t{n}")]), ..FilterDraft::default() }),
        ("own types", |n| FilterDraft { types: texts([format!("task.x{n}")]), ..FilterDraft::default() }),
        ("own last segments", |n| FilterDraft {
            types: texts([format!("*.x{n}")]),
            ..FilterDraft::default()
        }),
        ("one user, own types", |n| FilterDraft {
            user_id: texts(["u"]),
            types: texts([format!("task.x{n}")]),
            ..FilterDraft::default()
        }),
        ("one user, one organization, own patterns", |n| FilterDraft {
            user_id: texts(["u"]),
            organization_id: texts(["o"]),
            sources: texts(["/s"]),
            types: texts([format!("*.x{n}")]),
            ..FilterDraft::default()
        }),
        ("lists that share all but one id", |n| FilterDraft {
            task_id: texts(["a", "b", "c"].map(str::to_owned).into_iter().chain([format!("t{n}")])),
            ..FilterDraft::default()
        }),
        ("eight alternatives", |n| FilterDraft {
            any_of: Some(
                (0..8)
                    .map(|turn| AlternativeDraft {
                        correlation_id: texts([format!("c{}", n + turn * FILTERS)]),
                        ..AlternativeDraft::default()
                    })
                    .collect(),
            ),
            ..FilterDraft::default()
        }),
        ("an alternative that only urgent events meet", |n| {
            let task = AlternativeDraft { task_id: texts([format!("t{n}")]), ..AlternativeDraft::default() };
            let urgent =
                AlternativeDraft { min_priority: Some("CRITICAL".to_owned()), ..AlternativeDraft::default() };
            FilterDraft { any_of: Some(vec![task, urgent]), ..FilterDraft::default() }
        }),
    ];
    for (name, mix) in mixes {
        let mut index = Index::default();
        let ids: Vec<_> = (0..FILTERS).map(|n| index.insert(&filter(mix(n)))).collect();
        assert_eq!(index.len(), FILTERS, "{name}");
        assert_eq!(met(&index, &event), ids[last..], "{name}");
        let visits = visited(&index, &event);
        assert!(visits <= 40, "{name}: an event visited {visits} filters");

        ids.into_iter().for_each(|id| index.remove(id));
        assert!(index.is_empty() && index.kinds.is_empty(), "{name}");
        assert_eq!(visited(&index, &event), 0, "{name}");
    }
}

/// The rules of each of many callers.
type GrantMix<'a> = &'a dyn Fn(usize) -> Vec<Rule>;

#[test]
fn an_event_visits_a_handful_among_many_callers_who_ask_for_everything_within_their_grants() {
    const CALLERS: usize = 3_000;
    let last = CALLERS - 1;
    let event = event(Draft {
        organization_id: Some("o".to_owned()),
        user_id: Some(format!("u{last}")),
        room_id: Some("r".to_owned()),
        ..typed("task.created")
    });
    let user = |n: usize| (ScopeField::User, format!("u{n}"));
    let organization = |id: &str| (ScopeField::Organization, id.to_owned());
    let mixes: [(&str, GrantMix<'_>); 3] = [
        ("own user", &|n| vec![rule(&[], [user(n)])]),
        ("own user in one organization", &|n| vec![rule(&["task.*"], [organization("o"), user(n)])]),
        ("own user or own organization", &|n| {
            vec![rule(&[], [user(n)]), rule(&["task.*"], [organization(&format!("o{n}"))])]
        }),
    ];
    for (name, rules) in mixes {
        let mut index = Index::default();
        let ids: Vec<_> = (0..CALLERS).map(|n| index.insert(&granted(rules(n)))).collect();
        assert_eq!(met(&index, &event), ids[last..], "{name}");
        let visits = visited(&index, &event);
        assert!(visits <= 8, "{name}: an event visited {visits} filters");
        ids.into_iter().for_each(|id| index.remove(id));
        assert!(index.is_empty() && index.kinds.is_empty(), "{name}");
    }
}

#[test]
fn lists_of_a_thousand_ids_find_their_filter_by_each_id() {
    let mut index = Index::default();
    let ids = |from: usize| texts((from..from + 1_000).map(|n| format!("t{n}")));
    let lists: Vec<_> = [0, 500, 1_000]
        .map(|from| index.insert(&filter(FilterDraft { task_id: ids(from), ..FilterDraft::default() })))
        .into();
    let of = |n: usize| event(Draft { task_id: Some(format!("t{n}")), ..typed("task.created") });
    assert_eq!(met(&index, &of(0)), [lists[0]]);
    assert_eq!(met(&index, &of(999)).len(), 2);
    index.remove(lists[0]);
    assert_eq!(met(&index, &of(999)), [lists[1]]);
    assert_eq!(met(&index, &of(1_999)), [lists[2]]);
}

const TYPES: [&str; 8] =
    ["task.created", "task.failed", "agent.created", "x", "a.b.c", "a.c", "task.a.b.c", "repo.b"];
const PATTERNS: [&str; 16] = [
    "*",
    "task.*",
    "*.created",
    "task.created",
    "x",
    "*.*",
    "a.*.c",
    "a.b.*",
    "*.b.*",
    "*.*.*.c",
    "none.*",
    "a.b.c",
    "*.c",
    "repo.b",
    "task.*.*.*",
    "agent.created",
];
const CATEGORIES: [&str; 4] = ["task", "agent", "repo", "custom"];
const SOURCES: [&str; 4] = ["/", "/a", "/b", "/c"];
const IDS: [&str; 4] = ["a", "b", "c", "d"];
const PRIORITIES: [&str; 4] = ["LOW", "NORMAL", "HIGH", "CRITICAL"];
const FIELDS: [ScopeField; 3] = [ScopeField::Organization, ScopeField::Task, ScopeField::User];

/// Numbers from which an event or an alternative is made: one for each of its fields.
type Seed = [u16; 9];

/// Nothing in two cases of three, else the items that the bits choose, one at least.
fn some_of(pool: &[&str], seed: u16) -> Option<Vec<String>> {
    if !seed.is_multiple_of(3) {
        return None;
    }
    let bits = seed / 3;
    let chosen = pool.iter().enumerate().filter(|(at, _)| bits & bits >> 4 & 1 << (at % 12) != 0);
    let chosen: Vec<_> = chosen.map(|(_, item)| (*item).to_owned()).collect();
    Some(if chosen.is_empty() { vec![pool[usize::from(bits) % pool.len()].to_owned()] } else { chosen })
}

fn one_of(pool: &[&str], seed: u16) -> String {
    pool[usize::from(seed) % pool.len()].to_owned()
}

fn alternative(seed: Seed) -> AlternativeDraft {
    AlternativeDraft {
        types: some_of(&PATTERNS, seed[0]),
        categories: some_of(&CATEGORIES, seed[1] / 2),
        organization_id: some_of(&IDS, seed[2]),
        task_id: some_of(&IDS, seed[3]),
        user_id: some_of(&IDS, seed[4] / 2),
        sources: some_of(&SOURCES, seed[5] / 2),
        correlation_id: some_of(&IDS, seed[6] / 2),
        min_priority: seed[7].is_multiple_of(5).then(|| one_of(&PRIORITIES, seed[8])),
        ..AlternativeDraft::default()
    }
}

fn generated_rule(seed: &Seed) -> Rule {
    let patterns = some_of(&PATTERNS, seed[0])
        .map(|texts| texts.iter().map(|text| TypePattern::parse(text, "types").unwrap()).collect::<Vec<_>>());
    let typed = patterns.map_or_else(Rule::default, |patterns| Rule::default().with_types(patterns));
    let limited =
        FIELDS.into_iter().zip(&seed[1..]).filter_map(|(field, seed)| Some((field, some_of(&IDS, *seed)?)));
    limited.fold(typed, |rule, (field, ids)| rule.with_ids(field, ids).unwrap())
}

fn generated((own, alternatives, rules): &(Seed, Vec<Seed>, Vec<Seed>)) -> Arc<EventFilter> {
    let own = alternative(*own);
    let asked = EventFilter::new(FilterDraft {
        types: own.types,
        categories: own.categories,
        organization_id: own.organization_id,
        task_id: own.task_id,
        user_id: own.user_id,
        sources: own.sources,
        correlation_id: own.correlation_id,
        min_priority: own.min_priority,
        any_of: (!alternatives.is_empty())
            .then(|| alternatives.iter().map(|seed| alternative(*seed)).collect()),
        ..FilterDraft::default()
    })
    .unwrap();
    Arc::new(match rules.as_slice() {
        [] => asked,
        rules => asked.granted(&Rules::new(rules.iter().map(generated_rule).collect()).unwrap()),
    })
}

fn generated_event(seed: Seed) -> NewEvent {
    let mut draft = typed(TYPES[usize::from(seed[0]) % TYPES.len()]);
    for (field, seed) in FIELDS.into_iter().zip(&seed[1..]) {
        *draft.scope_mut(field) = (!seed.is_multiple_of(4)).then(|| one_of(&IDS, seed / 4));
    }
    draft.id = Some("e".to_owned());
    draft.source = Some(one_of(&SOURCES, seed[4]));
    draft.correlation_id = (!seed[5].is_multiple_of(4)).then(|| one_of(&IDS, seed[5] / 4));
    draft.priority = Some(one_of(&PRIORITIES, seed[6]));
    event(draft)
}

/// An event and the change to the filters before it.
fn steps() -> impl Strategy<Value = Vec<(Seed, u16)>> {
    prop::collection::vec(any::<(Seed, u16)>(), 100)
}

/// A filter: its own fields, its alternatives, and the rules of a grant.
fn seeds() -> impl Strategy<Value = (Seed, Vec<Seed>, Vec<Seed>)> {
    let some = || prop::collection::vec(any::<Seed>(), 0..4);
    (any::<Seed>(), some(), some())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    // A hundred events a case: 100,000 pairs of a set of filters and an event.
    #[test]
    fn an_event_meets_what_the_naive_index_says_while_filters_come_and_go(
        filters in prop::collection::vec(seeds(), 1..24),
        steps in steps(),
    ) {
        let filters: Vec<_> = filters.iter().map(generated).collect();
        let mut index = Index::default();
        // Every holding, repeats among them.
        let mut held: Vec<(FilterId, Arc<EventFilter>)> = Vec::new();
        for (seed, change) in steps {
            let chosen = usize::from(change / 2);
            if change % 2 == 0 && held.len() < 2 * filters.len() {
                let filter = &filters[chosen % filters.len()];
                held.push((index.insert(filter), Arc::clone(filter)));
            } else if !held.is_empty() {
                let (id, _) = held.swap_remove(chosen % held.len());
                index.remove(id);
            }
            let event = generated_event(seed);
            let naive: BTreeSet<FilterId> =
                held.iter().filter(|(_, filter)| filter.matches(&event)).map(|(id, _)| *id).collect();
            let mut found = met(&index, &event);
            found.sort_unstable();
            prop_assert_eq!(found, naive.into_iter().collect::<Vec<_>>());
        }
        let distinct: BTreeSet<_> = held.iter().map(|(id, _)| *id).collect();
        prop_assert_eq!(index.len(), distinct.len());
        held.into_iter().for_each(|(id, _)| index.remove(id));
        prop_assert!(index.is_empty() && index.kinds.is_empty());
    }
}
