//! Plans beside executions of the same text: the same bytes.

use super::*;
use crate::{
    event::{Epoch, Offset},
    fanout::Renderer,
    graphql::{
        Schema,
        render::{SelectionForm, SelectionRenderer},
        testing::{ask, new_event, new_schema, type_of},
    },
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use serde_json::{Map, Value, json};

const INTROSPECTION: &str = "{ __schema { types { kind name possibleTypes { name }
    fields { name args { name } type { kind ofType { kind ofType { kind } } } } } } }";

/// What an event's data can hold under the names of its fields, whatever the field's type.
const MEMBERS: &[&str] = &[
    r#""text""#,
    r#""\u00e9\"\\\u0000</script>""#,
    r#""2026-11-20T10:00:00.5+02:00""#,
    "null",
    "true",
    "7",
    "-1.50",
    "1e308",
    "12345678901234567890123",
    r#"["a","\n"]"#,
    r#"[1,{"a":1.0}]"#,
    r#"{"login":"octocat","z":1.0}"#,
];

/// An object of the schema that shows events, and its fields that have no fields of their own.
struct Object {
    name: String,
    leaves: Vec<String>,
}

/// The objects of all families.
fn objects() -> Vec<Object> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answer = runtime.block_on(async { ask(&new_schema(), INTROSPECTION).await });
    let types = answer["data"]["__schema"]["types"].as_array().unwrap();
    let named = |name: &Value| types.iter().find(|one| one["name"] == *name).unwrap();
    let objects = named(&json!(INTERFACE))["possibleTypes"].as_array().unwrap().iter();
    objects
        .map(|object| Object {
            name: object["name"].as_str().unwrap().to_owned(),
            leaves: named(&object["name"])["fields"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(leaf_name)
                .collect(),
        })
        .collect()
}

/// The name of a field that needs no selection.
fn leaf_name(field: &Value) -> Option<String> {
    let mut of = &field["type"];
    while matches!(of["kind"].as_str(), Some("NON_NULL" | "LIST")) && !of["ofType"].is_null() {
        of = &of["ofType"];
    }
    let is_leaf = matches!(of["kind"].as_str(), Some("SCALAR" | "ENUM")) && field["args"] == json!([]);
    is_leaf.then(|| field["name"].as_str().unwrap().to_owned())
}

fn event_of(json: &Value) -> Arc<Event> {
    Arc::new(Event::logged(new_event(&json.to_string()), Epoch::new([7; 16]), Offset::new(3)))
}

/// What a renderer of this text writes with its plan, and what the execution of the text gives.
async fn both(schema: &Schema, text: &str, event: &Arc<Event>) -> (Option<String>, Option<String>) {
    let form = SelectionForm::new(schema.clone(), text);
    let renderer =
        |plan| SelectionRenderer { form: form.clone(), plan, execution: None, scratch: Vec::new() };
    let mut planned = renderer(Plan::new(text));
    (planned.written(event), renderer(None).render(event).await)
}

#[tokio::test]
async fn every_field_without_fields_of_its_own_is_written_as_an_execution_does() {
    let objects = tokio::task::spawn_blocking(objects).await.unwrap();
    let schema = new_schema();
    assert_eq!(objects.len(), Family::ALL.len());
    for family in Family::ALL {
        let Object { leaves, .. } = objects.iter().find(|one| one.name == object(*family)).unwrap();
        let text =
            format!("subscription{{events{{__typename ...on {}{{{}}}}}}}", object(*family), leaves.join(" "));
        let event_type = type_of(family.segment().unwrap_or("invoice"), "done");
        for member in MEMBERS {
            let data: String = leaves.iter().map(|name| format!("{name:?}:{member},")).collect();
            let data: Box<serde_json::value::RawValue> =
                serde_json::from_str(&format!("{{{data}\"repo\":{member}}}")).unwrap();
            let event = format!(
                r#"{{"type":"{event_type}","id":"e","data":{data},"taskId":"t\"1","subject":"s\"é"}}"#
            );
            let event = Arc::new(Event::logged(new_event(&event), Epoch::new([7; 16]), Offset::new(3)));
            let (planned, executed) = both(&schema, &text, &event).await;
            assert!(
                executed.as_deref().is_some_and(|text| text.starts_with(r#"{"data":{"events":{"#)),
                "{executed:?}"
            );
            assert_eq!(planned, executed, "{text}");
        }
    }
}

/// A selection of some fields and fragments, as canonical text: aliases, repetitions, fragments inside each other.
fn selection(objects: &[Object]) -> impl Strategy<Value = String> + use<> {
    let shared: Vec<String> = objects
        .iter()
        .map(|one| one.leaves.clone())
        .reduce(|all, leaves| all.into_iter().filter(|name| leaves.contains(name)).collect())
        .unwrap();
    let fields = objects.iter().map(|one| (one.name.clone(), one.leaves.clone())).collect::<Vec<_>>();
    let plain = select(shared).prop_flat_map(|name| {
        prop_oneof![Just(name.clone()), Just(format!("mine_{name}:{name}")), Just("__typename".to_owned())]
    });
    let of_one = (select(fields), vec(any::<Index>(), 1..6)).prop_map(|((object, leaves), picks)| {
        let picked: Vec<_> = picks.iter().map(|pick| pick.get(&leaves).as_str()).collect();
        // A field of two objects may have two types, which may not stand under one key: each object has its own.
        let picked: Vec<_> = picked.iter().map(|name| format!("{object}_{name}:{name}")).collect();
        format!("...on {object}{{{}}}", picked.join(" "))
    });
    let part = prop_oneof![3 => plain, 2 => of_one].prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..4).prop_map(|parts| format!("...{{{}}}", parts.join(" "))),
            vec(inner, 1..4).prop_map(|parts| format!("...on Event{{{}}}", parts.join(" "))),
        ]
    });
    vec(part, 1..6).prop_map(|parts| parts.join(" "))
}

/// An event of any family; its data has some of the names of the fields, with members of any type.
fn event(objects: &[Object]) -> impl Strategy<Value = Arc<Event>> + use<> {
    let names: Vec<String> = objects.iter().flat_map(|one| one.leaves.clone()).collect();
    let segments: Vec<_> = Family::ALL.iter().map(|family| family.segment().unwrap_or("invoice")).collect();
    let members: Vec<Value> = MEMBERS.iter().filter_map(|member| serde_json::from_str(member).ok()).collect();
    let data = vec((select(names), select(members)), 0..8)
        .prop_map(|members| members.into_iter().collect::<Map<_, _>>());
    (select(segments), data, prop::option::of("[a-z\"/<]{1,4}"), select(vec!["LOW", "CRITICAL"])).prop_map(
        |(segment, data, task, priority)| {
            event_of(&json!({ "type": type_of(segment, "done"), "id": "e", "data": data, "taskId": task, "priority": priority }))
        },
    )
}

#[test]
fn a_plan_writes_what_an_execution_of_its_text_gives() {
    let objects = objects();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let schema = runtime.block_on(async { new_schema() });
    let mut runner = TestRunner::new(Config::with_cases(1_000));
    let outcome = runner.run(&(selection(&objects), event(&objects)), |(selection, event)| {
        let text = format!("subscription{{events{{{selection}}}}}");
        let (planned, executed) = runtime.block_on(both(&schema, &text, &event));
        prop_assert!(executed.is_some(), "not valid: {text}");
        prop_assert_eq!(planned, executed);
        Ok(())
    });
    outcome.unwrap();
}

#[tokio::test]
async fn a_field_of_one_family_gives_its_object_under_its_alias() {
    let event = event_of(&json!({ "type": "task.done", "id": "e", "data": { "status": "ok" } }));
    let schema = new_schema();
    for text in [
        "subscription{mine:tasks{id __typename status}}",
        r#"subscription{trace(correlationId:""){id ...on TaskEvent{status}...on ChatEvent{content}}}"#,
        "subscription{notifications{...on ChatEvent{content}}}",
    ] {
        let (planned, executed) = both(&schema, text, &event).await;
        assert!(planned.is_some() && planned == executed, "{text}: {planned:?}, {executed:?}");
    }
}

#[test]
fn what_cannot_be_read_straight_from_an_event_has_no_plan() {
    for text in [
        "subscription{tasks{task{id}}}",
        "subscription{events{...@include(if:false){__typename}}}",
        "subscription{events{id@include(if:true)}}",
        "subscription{events{...F}}fragment F on Event{id}",
        "subscription{events{id}tasks{id}}",
        "subscription{nothing{id}}",
        "subscription{events}",
        "query{events{id}}",
        "",
    ] {
        assert!(Plan::new(text).is_none(), "{text}");
    }
}
