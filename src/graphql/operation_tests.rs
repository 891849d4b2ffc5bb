//! What a subscription asks for, learned from the executor.

use super::*;
use crate::{
    event::{AlternativeDraft, EventFilter, Family, FilterDraft, StartPosition},
    graphql::{
        error::code_of,
        testing::{ask, new_schema},
    },
};
use async_graphql::Variables;
use serde_json::json;

async fn prepared(query: &str, variables: serde_json::Value) -> Result<Asked, Vec<ServerError>> {
    let request = Request::new(query).variables(Variables::from_json(variables));
    prepare(&new_schema(), request, &Principal::anonymous()).await
}

fn filter(draft: FilterDraft) -> EventFilter {
    EventFilter::new(draft).unwrap()
}

fn list(items: &[&str]) -> Option<Vec<String>> {
    Some(items.iter().map(|item| (*item).to_owned()).collect())
}

#[tokio::test]
async fn the_arguments_are_coerced_with_variables_and_defaults() {
    let query = r#"subscription($org: [ID!], $types: [String!] = "agent.*", $least: Priority, $last: Int = 10) {
        agents(filter: { organizationId: $org, types: $types, minPriority: $least, anyOf: [{ userId: 7 }] },
            start: { last: $last }) { id } }"#;
    let asked = prepared(query, json!({ "org": "quant", "least": "HIGH" })).await.unwrap();
    let expected = FilterDraft {
        organization_id: list(&["quant"]),
        types: list(&["agent.*"]),
        min_priority: Some("HIGH".to_owned()),
        any_of: Some(vec![AlternativeDraft { user_id: list(&["7"]), ..AlternativeDraft::default() }]),
        ..FilterDraft::default()
    };
    assert_eq!(asked.filter, filter(expected).within(Family::Agent));
    assert_eq!(asked.start, StartPosition::Last(10));
}

#[tokio::test]
async fn a_plain_subscription_asks_for_everything_from_now_on() {
    let asked = prepared("subscription { events { id } }", json!({})).await.unwrap();
    assert_eq!(asked, Asked::default());
}

#[tokio::test]
async fn a_root_field_in_fragments_is_found_with_its_arguments() {
    let fragments = r#"fragment F on Subscription { ...on Subscription { ...G } }
        fragment G on Subscription { mine: tasks(filter: { taskId: $id }) { id ...H } } fragment H on TaskEvent { status }"#;
    for root in ["...F", "...on Subscription { ...F }"] {
        let query = format!("subscription S($id: ID!) {{ {root} }} query Q {{ version }} {fragments}");
        let variables = Variables::from_json(json!({ "id": "t" }));
        let request = Request::new(query).operation_name("S").variables(variables);
        let asked = prepare(&new_schema(), request, &Principal::anonymous()).await.unwrap();
        let expected = FilterDraft { task_id: list(&["t"]), ..FilterDraft::default() };
        assert_eq!(asked.filter, filter(expected).within(Family::Task), "{root}");
    }
}

#[tokio::test]
async fn every_refusal_carries_its_code() {
    let cases = [
        ("subscription {", Code::BadRequest),
        ("subscription { event { id } }", Code::BadRequest),
        ("subscription { events { nothing } }", Code::BadRequest),
        ("subscription { chat { id } }", Code::BadRequest),
        ("subscription($x: Int) { events { id } }", Code::BadRequest),
        ("subscription { ...F } fragment F on Subscription { events { nothing } }", Code::BadRequest),
        ("subscription { ...F } fragment F on Subscription { ...F }", Code::BadRequest),
        ("subscription { events @skip(if: true) { id } }", Code::BadRequest),
        ("subscription A { events { id } } subscription B { events { id } }", Code::BadRequest),
        ("query { version }", Code::BadRequest),
        (r#"subscription { events(start: { after: "x" }) { id } }"#, Code::CursorInvalid),
        ("subscription { events(filter: { types: [] }) { id } }", Code::InvalidFilter),
        ("subscription { notifications { id } }", Code::Unauthenticated),
    ];
    for (query, expected) in cases {
        let errors = prepared(query, json!({})).await.unwrap_err();
        assert!(errors.iter().all(|error| code_of(error) == expected), "{query}: {errors:?}");
        let extensions = serde_json::to_value(&errors[0]).unwrap()["extensions"].clone();
        assert_eq!((&extensions["code"], extensions["next"].is_string()), (&json!(expected.name()), true));
    }
}

#[tokio::test]
async fn a_mutation_is_refused_and_not_executed() {
    let schema = new_schema();
    let request = Request::new(r#"mutation { publish(event: { type: "task.created" }) { id } }"#);
    let errors = prepare(&schema, request, &Principal::anonymous()).await.unwrap_err();
    assert_eq!(code_of(&errors[0]), Code::BadRequest);
    assert_eq!(ask(&schema, "{ stats { published } }").await["data"]["stats"]["published"], 0);
}
