//! The filter against its definition, and its refusals.

use super::*;
use crate::event::{Draft, Limits, json};
use proptest::prelude::*;
use serde_json::{Value, json};

const TYPES: [&str; 6] =
    ["task.created", "task.failed", "agent.created", "claude.session.started", "x", "repo.push.completed"];
const PATTERNS: [&str; 8] =
    ["*", "task.*", "*.created", "claude.*", "claude.*.started", "x", "agent.created", "none.*"];

/// The definition, word for word, on JSON: slow and plain, and it shares no code with the filter.
fn oracle(filter: &Value, event: &Value) -> bool {
    let one_of =
        |name: &str, allowed: &Value| allowed.as_array().unwrap().iter().any(|id| *id == event[name]);
    filter.as_object().unwrap().iter().all(|(name, allowed)| match name.as_str() {
        "types" => allowed.as_array().unwrap().iter().any(|pattern| glob(pattern, &event["type"])),
        "categories" => allowed.as_array().unwrap().iter().any(|category| {
            let first = event["type"].as_str().unwrap().split('.').next().unwrap();
            let known = ["task", "agent", "claude", "repo"].contains(&first);
            if known { category == first } else { category == "custom" }
        }),
        "sources" => one_of("source", allowed),
        "minPriority" => rank(&event["priority"]) >= rank(allowed),
        "anyOf" => allowed.as_array().unwrap().iter().any(|filter| oracle(filter, event)),
        id => one_of(id, allowed),
    })
}

fn rank(priority: &Value) -> usize {
    ["LOW", "NORMAL", "HIGH", "CRITICAL"].iter().position(|name| priority == name).unwrap()
}

fn glob(pattern: &Value, event_type: &Value) -> bool {
    let pattern: Vec<&str> = pattern.as_str().unwrap().split('.').collect();
    let segments: Vec<&str> = event_type.as_str().unwrap().split('.').collect();
    let tail = pattern.last() == Some(&"*");
    (if tail { segments.len() >= pattern.len() } else { segments.len() == pattern.len() })
        && pattern.iter().zip(&segments).all(|(p, s)| *p == "*" || p == s)
}

fn some_of(from: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::collection::vec(prop::sample::select(from), 1..4).prop_map(|list| json!(list))
}

fn alternative() -> impl Strategy<Value = serde_json::Map<String, Value>> {
    let field = |name: &'static str, values: BoxedStrategy<Value>| {
        prop::option::weighted(0.3, values).prop_map(move |value| (name, value))
    };
    (
        field("types", some_of(&PATTERNS).boxed()),
        field("categories", some_of(&["task", "agent", "custom", "chat"]).boxed()),
        field("organizationId", some_of(&["quant", "acme"]).boxed()),
        field("taskId", some_of(&["t1", "t2"]).boxed()),
        field("sources", some_of(&["/a", "/b"]).boxed()),
        field("correlationId", some_of(&["c1", "c2"]).boxed()),
        field(
            "minPriority",
            prop::sample::select(vec!["LOW", "HIGH", "CRITICAL"]).prop_map(|name| json!(name)).boxed(),
        ),
    )
        .prop_map(|(a, b, c, d, e, f, g)| {
            [a, b, c, d, e, f, g]
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .collect()
        })
}

fn filters() -> impl Strategy<Value = Value> {
    (alternative(), prop::option::weighted(0.3, prop::collection::vec(alternative(), 1..4))).prop_map(
        |(mut own, any_of)| {
            own.extend(any_of.map(|list| ("anyOf".to_owned(), json!(list))));
            Value::Object(own)
        },
    )
}

fn events() -> impl Strategy<Value = Value> {
    let id = |ids: &'static [&'static str]| prop::option::of(prop::sample::select(ids));
    (
        prop::sample::select(&TYPES[..]),
        id(&["quant", "acme", "other"]),
        id(&["t1", "t2"]),
        prop::sample::select(&["/a", "/b", "/c"][..]),
        id(&["c1", "c2"]),
        prop::sample::select(&["LOW", "NORMAL", "HIGH", "CRITICAL"][..]),
    )
        .prop_map(|(event_type, organization, task, source, correlation, priority)| {
            json!({ "type": event_type, "organizationId": organization, "taskId": task, "source": source,
                    "correlationId": correlation, "priority": priority })
        })
}

fn filter(value: &Value) -> Result<EventFilter, Refusal> {
    EventFilter::new(json::read::<FilterDraft>(&value.to_string())?)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn a_filter_matches_as_the_naive_oracle_says(wanted in filters(), event in events()) {
        let built = filter(&wanted).unwrap();
        let new = NewEvent::new(Draft::from_json(&event.to_string()).unwrap(), &Limits::default()).unwrap();
        prop_assert_eq!(built.matches(&new), oracle(&wanted, &event), "{} {}", wanted, event);
    }
}

/// A rule from its JSON, whose names mean what those of a filter mean.
fn rule(value: &Value) -> Rule {
    let texts = |name: &str| -> Option<Vec<String>> {
        let list = value.get(name)?.as_array()?;
        Some(list.iter().map(|item| item.as_str().unwrap().to_owned()).collect())
    };
    let patterns = texts("types")
        .map(|texts| texts.iter().map(|text| TypePattern::parse(text, "types").unwrap()).collect::<Vec<_>>());
    let typed = patterns.map_or_else(Rule::default, |patterns| Rule::default().with_types(patterns));
    [ScopeField::Organization, ScopeField::Task]
        .into_iter()
        .filter_map(|field| Some((field, texts(field.camel())?)))
        .fold(typed, |rule, (field, ids)| rule.with_ids(field, ids).unwrap())
}

fn rules() -> impl Strategy<Value = Vec<Value>> {
    let only_rule_fields = |mut fields: serde_json::Map<String, Value>| {
        fields.retain(|name, _| ["types", "organizationId", "taskId"].contains(&name.as_str()));
        Value::Object(fields)
    };
    prop::collection::vec(alternative().prop_map(only_rule_fields), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn a_granted_filter_matches_what_both_it_and_a_rule_allow(
        wanted in filters(), one in rules(), other in rules(), event in events(),
    ) {
        let term = |rules: &[Value]| Rules::new(rules.iter().map(rule).collect()).unwrap();
        let built = filter(&wanted).unwrap();
        let new = NewEvent::new(Draft::from_json(&event.to_string()).unwrap(), &Limits::default()).unwrap();
        let allowed = |rules: &[Value]| rules.iter().any(|rule| oracle(rule, &event));
        let granted = built.clone().granted(&term(&one));
        let expected = oracle(&wanted, &event) && allowed(&one);
        prop_assert_eq!(granted.matches(&new), expected, "{} {:?} {}", wanted, one, event);
        // A second grant narrows once more, the same one not.
        prop_assert_eq!(&granted.clone().granted(&term(&one)), &granted);
        let twice = granted.granted(&term(&other));
        prop_assert_eq!(twice.matches(&new), expected && allowed(&other));
        prop_assert_eq!(twice, built.granted(&term(&other)).granted(&term(&one)));
    }
}

#[test]
fn rules_of_a_grant_are_bounded_and_equal_by_what_they_allow() {
    let of = |ids: Vec<String>| Rule::default().with_ids(ScopeField::Task, ids).unwrap();
    let many = |count: usize| (0..count).map(|n| format!("t{n}")).collect::<Vec<_>>();
    let refused = |rules: Vec<Rule>| {
        let refusal = Rules::new(rules).unwrap_err();
        (refusal.code, refusal.detail("field").unwrap().to_owned())
    };
    assert_eq!(
        refused(many(65).into_iter().map(|id| of(vec![id])).collect()),
        (Code::TooMany, "rules".to_owned())
    );
    assert_eq!(refused(vec![of(many(1_001))]), (Code::TooMany, "ids".to_owned()));
    let patterns = many(65).iter().map(|text| TypePattern::parse(text, "t").unwrap()).collect();
    assert_eq!(refused(vec![Rule::default().with_types(patterns)]), (Code::TooMany, "types".to_owned()));
    assert!(Rules::new(vec![of(many(1_000)); 70]).is_ok(), "repeats are not counted");

    let (a, b) = (|| of(vec!["a".to_owned()]), || of(vec!["b".to_owned(), "b".to_owned()]));
    assert_eq!(Rules::new(vec![a(), b(), a()]).unwrap(), Rules::new(vec![b(), a()]).unwrap());
    assert!(of(Vec::new()) != Rule::default() && !of(Vec::new()).is_unlimited());
    let everything = ["task.*", "*"].map(|text| TypePattern::parse(text, "t").unwrap());
    assert!(Rule::default().with_types(everything.into()).is_unlimited());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn events_that_route_alike_meet_the_same_filters(wanted in filters(), one in events(), mut other in events()) {
        // Everything that a filter could look at from the one, everything else from the other.
        for member in ["type", "source", "correlationId", "priority", "organizationId", "domainId", "instanceId",
            "agentId", "taskId", "workflowId", "userId", "roomId"] {
            other.as_object_mut().unwrap().remove(member);
            if let Some(value) = one.get(member) {
                other[member] = value.clone();
            }
        }
        let new = |event: &Value| {
            NewEvent::new(Draft::from_json(&event.to_string()).unwrap(), &Limits::default()).unwrap()
        };
        let (one, other, wanted) = (new(&one), new(&other), filter(&wanted).unwrap());
        prop_assert!(one.routes_like(&other));
        prop_assert_eq!(wanted.matches(&one), wanted.matches(&other));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn an_event_that_matches_has_one_of_the_needed_ids(
        wanted in filters(), rules in prop::option::of(rules()), event in events(),
    ) {
        let built = filter(&wanted).unwrap();
        let granted = rules.map_or(built.clone(), |rules| {
            built.granted(&Rules::new(rules.iter().map(rule).collect()).unwrap())
        });
        let new = NewEvent::new(Draft::from_json(&event.to_string()).unwrap(), &Limits::default()).unwrap();
        for field in ScopeField::ALL {
            let id = new.scope().get(field);
            let is_among = |ids: BTreeSet<&str>| id.is_some_and(|id| ids.contains(id));
            prop_assert!(!granted.matches(&new) || granted.needed_ids(field).is_none_or(is_among));
        }
    }
}

#[test]
fn the_needed_ids_are_those_of_every_alternative_and_within_every_list() {
    let needed = |wanted: Value, rules: Option<Value>| {
        let built = filter(&wanted).unwrap();
        let rules = rules.map(|rules| rules.as_array().unwrap().iter().map(rule).collect());
        let granted = match rules {
            Some(rules) => built.granted(&Rules::new(rules).unwrap()),
            None => built,
        };
        let needed = granted.needed_ids(ScopeField::Organization);
        needed.map(|ids| ids.into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    let ids = |ids: &[&str]| Some(ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
    assert_eq!(needed(json!({ "taskId": "t1" }), None), None);
    assert_eq!(needed(json!({ "organizationId": ["b", "a"] }), None), ids(&["a", "b"]));
    let either = json!([{ "organizationId": "a" }, { "organizationId": "c" }]);
    assert_eq!(needed(json!({ "anyOf": either }), None), ids(&["a", "c"]));
    assert_eq!(needed(json!({ "anyOf": [{ "organizationId": "a" }, { "taskId": "t" }] }), None), None);
    let granted = json!([{ "organizationId": ["a"] }, { "organizationId": ["b"] }]);
    assert_eq!(needed(json!({ "anyOf": either }), Some(granted.clone())), ids(&["a"]));
    assert_eq!(needed(json!({ "organizationId": "c" }), Some(granted)), ids(&[]));
    assert_eq!(needed(json!({ "organizationId": "c" }), Some(json!([{ "taskId": ["t"] }]))), ids(&["c"]));
    assert_eq!(needed(json!({}), Some(json!([]))), ids(&[]), "nothing is allowed");
}

#[test]
fn filters_that_mean_the_same_are_equal() {
    let one = filter(&json!({ "types": ["b.*", "a.*", "a.*"], "taskId": "t1" })).unwrap();
    let other = filter(&json!({ "types": ["a.*", "b.*"], "taskId": ["t1", "t1"] })).unwrap();
    assert_eq!(one, other);
}

#[test]
fn a_typed_field_narrows_to_its_family_and_never_widens() {
    let tasks = filter(&json!({ "categories": ["agent"] })).unwrap().within(Family::Task);
    let event = Draft { event_type: "task.created".to_owned(), ..Draft::default() };
    assert!(!tasks.matches(&NewEvent::new(event, &Limits::default()).unwrap()));
}

#[test]
fn each_refusal_names_its_field() {
    let many: Vec<String> = (0..65).map(|number| format!("a{number}")).collect();
    let ids: Vec<String> = (0..1_001).map(|number| format!("a{number}")).collect();
    let cases = [
        (json!({ "types": [] }), "types"),
        (json!({ "types": ["a", "a..b"] }), "types[1]"),
        (json!({ "types": many }), "types"),
        (json!({ "categories": ["agents"] }), "categories[0]"),
        (json!({ "taskId": [] }), "taskId"),
        (json!({ "taskId": ["a b"] }), "taskId[0]"),
        (json!({ "taskId": ids }), "filter"),
        (json!({ "sources": [] }), "sources"),
        (json!({ "correlationId": [""] }), "correlationId[0]"),
        (json!({ "minPriority": "MAX" }), "minPriority"),
        (json!({ "anyOf": [] }), "anyOf"),
        (json!({ "anyOf": [{}, { "userId": [] }] }), "anyOf[1].userId"),
        (json!({ "anyOf": [{}, {}, {}, {}, {}, {}, {}, {}, {}] }), "anyOf"),
    ];
    for (wanted, field) in cases {
        let refusal = filter(&wanted).unwrap_err();
        assert_eq!((refusal.code, refusal.detail("field")), (Code::InvalidFilter, Some(field)), "{wanted}");
        assert!(refusal.detail("allowed").is_some());
    }
    assert_eq!(filter(&json!({ "anyOf": [[]] })).map_err(|refusal| refusal.code), Err(Code::BadRequest));
    assert_eq!(filter(&json!({ "typo": 1 })).map_err(|refusal| refusal.code), Err(Code::BadRequest));
    assert_eq!(
        filter(&json!({ "anyOf": [{ "anyOf": [{}] }] })).map_err(|refusal| refusal.code),
        Err(Code::BadRequest)
    );
}
