//! What a reader is due, from the definitions alone; and grants, filters and events at random.
//!
//! Invariants: nothing of the server is used here.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Ids that are near each other: by case, by beginning and end, as patterns, paths, subjects, numbers and escapes.
pub(super) const IDS: [&str; 20] = [
    "quant", "Quant", "QUANT", "quan", "quant2", "2quant", "quant.", "quant.*", "*", ">", "**", "..",
    "../quant", "%71uant", "quant%20", "1", "01", "1.0", "{org}", "null",
];
pub(super) const TYPES: [&str; 12] = [
    "task",
    "task.created",
    "task.created.late",
    "Task.created",
    "taskforce.created",
    "agent.created",
    "agent.log",
    "quant",
    "billing.x",
    "chat.message",
    "presence.changed",
    "health.snapshot",
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
pub(super) const SCOPE: [&str; 4] = ["organizationId", "domainId", "userId", "roomId"];

/// Does the grant allow the event? One rule must: every list that it has must name what the event has.
pub(super) fn allows(grant: &[Value], event: &Value) -> bool {
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
pub(super) fn matches(filter: &Value, event: &Value) -> bool {
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

pub(super) fn category_of(event: &Value) -> &str {
    match event["type"].as_str().unwrap().split('.').next().unwrap() {
        first @ ("task" | "agent" | "chat" | "presence" | "health") => first,
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

pub(super) fn grants() -> impl Strategy<Value = Vec<Value>> {
    let rule = members(limits(0.4, 0.35)).prop_map(|mut rule| {
        if rule.is_empty() {
            rule.insert("types".to_owned(), json!(["*"]));
        }
        Value::Object(rule)
    });
    prop::collection::vec(rule, 0..5)
}

pub(super) fn filters() -> impl Strategy<Value = Value> {
    let fields = || {
        let mut fields = limits(0.2, 0.15);
        fields.push(("categories", 0.1, list(&["task", "agent", "chat", "custom"])));
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

pub(super) fn events() -> impl Strategy<Value = Value> {
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
