//! Queries and mutations.

use super::testing::{ask, code, new_schema, publish};
use crate::event::Cursor;
use async_graphql::{Request, Variables};
use serde_json::{Value, json};

fn request(query: &str, variables: Value) -> Request {
    Request::new(query).variables(Variables::from_json(variables))
}

const PUBLISH_ALL: &str =
    "mutation($events: [NewEvent!]!) { publishAll(events: $events) { id cursor duplicate } }";

#[tokio::test]
async fn a_repeat_is_answered_with_the_first_ones_cursor_and_another_body_is_a_conflict() {
    let schema = new_schema();
    let publish = "mutation($data: JSON) { publish(event: { type: \"task.created\", id: \"1\", data: $data })
        { id cursor duplicate } }";
    let first = ask(&schema, request(publish, json!({ "data": { "n": 1 } }))).await;
    let again = ask(&schema, request(publish, json!({ "data": { "n": 1 } }))).await;
    let (first, again) = (&first["data"]["publish"], &again["data"]["publish"]);
    assert_eq!((&first["duplicate"], &again["duplicate"]), (&json!(false), &json!(true)));
    assert_eq!(first["cursor"], again["cursor"]);

    let conflict = ask(&schema, request(publish, json!({ "data": { "n": 2 } }))).await;
    assert_eq!((code(&conflict), &conflict["data"]), ("ID_CONFLICT", &Value::Null));
}

#[tokio::test]
async fn an_event_of_a_list_is_refused_by_its_index_and_field_and_none_is_logged() {
    let schema = new_schema();
    let cases = [
        (json!({ "type": "a..b" }), "INVALID_EVENT", "events[1].type"),
        (json!({ "type": "a", "taskId": "a b" }), "INVALID_EVENT", "events[1].taskId"),
        (json!({ "type": "a", "attributes": [1] }), "INVALID_EVENT", "events[1].attributes"),
        (json!({ "type": "a", "data": "x".repeat(256 * 1024) }), "TOO_LARGE", "events[1].data"),
        (json!({ "type": "a", "id": "same", "data": 2 }), "ID_CONFLICT", "events[1].id"),
    ];
    for (event, expected, field) in cases {
        let first = json!({ "type": "a", "id": "same", "data": 1 });
        let answer = ask(&schema, request(PUBLISH_ALL, json!({ "events": [first, event] }))).await;
        assert_eq!(code(&answer), expected, "{answer}");
        assert_eq!(answer["errors"][0]["extensions"]["field"], field);
        assert!(answer["errors"][0]["message"].as_str().unwrap().starts_with("events[1]"), "{answer}");
    }
    let empty = ask(&schema, request(PUBLISH_ALL, json!({ "events": [] }))).await;
    assert_eq!(code(&empty), "TOO_MANY");
    let stats = ask(&schema, "{ stats { published refused } }").await;
    assert_eq!(stats["data"]["stats"], json!({ "published": 0, "refused": 2 }));
}

#[tokio::test]
async fn everything_a_producer_can_say_comes_back() {
    let schema = new_schema();
    let event = json!({
        "id": "1", "type": "task.created", "time": "2026-11-20T10:00:00.500Z", "source": "/ci", "subject": "s",
        "organizationId": "o", "domainId": "d", "instanceId": "i", "agentId": "a", "taskId": "t",
        "workflowId": "w", "userId": "u", "roomId": "r", "correlationId": "c", "priority": "HIGH",
        "data": { "$serde_json::private::RawValue": "1" }, "attributes": { "dataschema": "x" },
    });
    let answer = ask(&schema, request(PUBLISH_ALL, json!({ "events": [event.clone()] }))).await;
    assert_eq!(answer["data"]["publishAll"][0]["id"], "1", "{answer}");
    let query =
        "{ event(id: \"1\") { id type time source subject organizationId domainId instanceId agentId taskId
        workflowId userId roomId correlationId priority data attributes } }";
    // Compared as text: reading the marker of raw values as JSON would interpret it.
    let answer = serde_json::to_string(&schema.execute(query).await).unwrap();
    for (name, value) in event.as_object().unwrap() {
        assert!(answer.contains(&format!("{name:?}:{value}")), "{name} in {answer}");
    }
    assert_eq!(ask(&schema, "{ event(id: \"2\") { id } }").await["data"], json!({ "event": null }));
}

#[tokio::test]
async fn history_is_paged_in_both_directions() {
    let schema = new_schema();
    for id in 1..=5 {
        publish(&schema, &[&format!(r#"{{"id":"{id}","type":"task.created"}}"#), r#"{"type":"other"}"#])
            .await;
    }
    let page = "query($first: Int, $after: Cursor, $last: Int, $before: Cursor) {
        events(filter: { types: \"task.*\" }, first: $first, after: $after, last: $last, before: $before) {
            nodes { id } edges { cursor node { id cursor } }
            pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";
    let ids = |answer: &Value| {
        let nodes = answer["data"]["events"]["nodes"].as_array().unwrap();
        nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let front = ask(&schema, request(page, json!({ "first": 2 }))).await;
    let bounds = &front["data"]["events"]["pageInfo"];
    assert_eq!((ids(&front), &bounds["hasNextPage"]), (vec!["1".to_owned(), "2".to_owned()], &json!(true)));
    let edges = &front["data"]["events"]["edges"];
    assert_eq!((&edges[1]["cursor"], &edges[0]["cursor"]), (&bounds["endCursor"], &bounds["startCursor"]));
    assert_eq!(edges[1]["cursor"], edges[1]["node"]["cursor"]);

    let next = ask(&schema, request(page, json!({ "first": 10, "after": bounds["endCursor"] }))).await;
    assert_eq!(ids(&next), ["3", "4", "5"]);
    assert_eq!(next["data"]["events"]["pageInfo"]["hasNextPage"], false);

    let before = next["data"]["events"]["pageInfo"]["startCursor"].clone();
    let back = ask(&schema, request(page, json!({ "last": 1, "before": before }))).await;
    assert_eq!(
        (ids(&back), &back["data"]["events"]["pageInfo"]["hasPreviousPage"]),
        (vec!["2".to_owned()], &json!(true))
    );
}

#[tokio::test]
async fn a_wrong_page_is_refused_with_its_code() {
    let schema = new_schema();
    let cases = [
        ("first: 0", "BAD_REQUEST"),
        ("first: 1001", "BAD_REQUEST"),
        ("first: 1, last: 1", "BAD_REQUEST"),
        (r#"after: "x""#, "CURSOR_INVALID"),
        (r#"before: "AgAAAAAAAAAAAAAAAAAAAAAAAAAB""#, "EPOCH_CHANGED"),
        ("filter: { types: [] }", "INVALID_FILTER"),
    ];
    for (arguments, expected) in cases {
        let answer = ask(&schema, format!("{{ events({arguments}) {{ nodes {{ id }} }} }}")).await;
        assert_eq!(code(&answer), expected, "{arguments}");
    }
}

#[tokio::test]
async fn stats_say_what_the_server_did_and_where_its_log_stands() {
    let schema = new_schema();
    publish(&schema, &[r#"{"id":"1","type":"a"}"#, r#"{"id":"1","type":"a"}"#, r#"{"type":"b"}"#]).await;
    let query = "{ stats { published duplicates writable connections groups version earliest head } version
        events(last: 1) { pageInfo { endCursor } } }";
    let answer = ask(&schema, query).await;
    let stats = &answer["data"]["stats"];
    assert_eq!((&stats["published"], &stats["duplicates"]), (&json!(2), &json!(1)));
    assert_eq!(
        (&stats["writable"], &stats["connections"], &stats["groups"]),
        (&json!(true), &json!(0), &json!(0))
    );
    assert_eq!(stats["version"], answer["data"]["version"]);
    let epoch = schema.data::<crate::hub::Hub>().unwrap().epoch();
    let opened = |cursor: &Value| epoch.open(Cursor::parse(cursor.as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(opened(&stats["head"]), opened(&answer["data"]["events"]["pageInfo"]["endCursor"]));
    let resumed = format!("{{ events(first: 1, after: {}) {{ nodes {{ id }} }} }}", stats["earliest"]);
    assert_eq!(ask(&schema, resumed).await["data"]["events"]["nodes"][0]["id"], "1");
}
