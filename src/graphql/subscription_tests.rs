//! Subscriptions run alone, by their arguments.

use crate::{
    event::{Cursor, Family},
    graphql::testing::{ask, code, first, follow, hub_of, new_schema, publish, type_of},
    graphql::{GraphqlOptions, schema},
};
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};

/// The subscription field and the object of each family, as the contract names them; `chat` and unknown types aside.
const FIELDS: [(&str, &str, &str); 17] = [
    ("presence", "presence", "PresenceEvent"),
    ("health", "health", "HealthEvent"),
    ("agent", "agents", "AgentEvent"),
    ("organization", "organizations", "OrganizationEvent"),
    ("domain", "domains", "DomainEvent"),
    ("instance", "instances", "InstanceEvent"),
    ("deployment", "deployments", "DeploymentEvent"),
    ("user", "users", "UserEvent"),
    ("task", "tasks", "TaskEvent"),
    ("workflow", "workflows", "WorkflowEvent"),
    ("system", "system", "SystemEvent"),
    ("state", "state", "StateEvent"),
    ("claude", "claude", "ClaudeEvent"),
    ("repo", "repositories", "RepositoryEvent"),
    ("github", "github", "GithubEvent"),
    ("graphql", "graphql", "GraphqlEvent"),
    ("performance", "performance", "PerformanceEvent"),
];

#[tokio::test]
async fn every_known_type_arrives_as_the_object_of_its_family() {
    let schema = new_schema();
    let mut objects: Vec<_> = FIELDS.iter().map(|(segment, _, object)| (*segment, *object)).collect();
    objects.push(("chat", "ChatEvent"));
    let mut expected = Vec::new();
    for family in Family::ALL {
        let Some(segment) = family.segment() else { continue };
        let (_, object) = objects.iter().find(|(known, _)| *known == segment).unwrap();
        for action in family.actions() {
            let event_type = type_of(segment, action);
            publish(&schema, &[&format!(r#"{{"type":"{event_type}"}}"#)]).await;
            expected.push(json!({ "__typename": object, "type": event_type, "action": action }));
        }
    }
    publish(&schema, &[r#"{"type":"invoice.paid"}"#]).await;
    expected.push(json!({ "__typename": "CustomEvent", "type": "invoice.paid", "action": "paid" }));

    let query = "subscription { events(start: { earliest: true }) { __typename type action } }";
    let events = first(&schema, query, expected.len()).await;
    let events: Vec<_> = events.iter().map(|response| response["data"]["events"].clone()).collect();
    assert_eq!(events, expected);
}

#[tokio::test]
async fn the_field_of_a_family_gives_the_events_of_that_family_only() {
    let schema = new_schema();
    for (segment, ..) in FIELDS {
        publish(&schema, &[&format!(r#"{{"type":"{segment}.created"}}"#), r#"{"type":"other.created"}"#])
            .await;
    }
    for (segment, field, object) in FIELDS {
        let query = format!("subscription {{ {field}(start: {{ earliest: true }}) {{ __typename type }} }}");
        let mut events = follow(&schema, query);
        let event = json!({ "__typename": object, "type": format!("{segment}.created") });
        assert_eq!(events.next().await.unwrap()["data"][field], event);
        assert!(events.next().now_or_never().is_none(), "{field} has one event");
    }
}

#[tokio::test]
async fn what_is_published_while_a_subscription_runs_arrives_and_what_was_before_does_not() {
    let schema = new_schema();
    publish(&schema, &[r#"{"type":"task.created","id":"before"}"#]).await;
    let mut tasks = follow(&schema, "subscription { tasks { id } }");
    assert!(tasks.next().now_or_never().is_none(), "nothing has happened yet");
    let answer = ask(&schema, r#"mutation { publish(event: { type: "task.started", id: "after" }) { id } }"#);
    assert_eq!(answer.await["data"]["publish"]["id"], "after");
    assert_eq!(tasks.next().await.unwrap()["data"]["tasks"]["id"], "after");
}

#[tokio::test]
async fn the_arguments_are_the_filter() {
    let schema = new_schema();
    publish(
        &schema,
        &[
            r#"{"id":"1","type":"task.created","organizationId":"a","priority":"LOW"}"#,
            r#"{"id":"2","type":"task.failed","organizationId":"b","correlationId":"c","source":"/ci"}"#,
            r#"{"id":"3","type":"agent.failed","organizationId":"a","priority":"HIGH"}"#,
            r#"{"id":"4","type":"chat.message","roomId":"7","priority":"CRITICAL"}"#,
        ],
    )
    .await;
    let cases = [
        (r#"types: ["*.failed"]"#, vec!["2", "3"]),
        (r#"types: "task.created""#, vec!["1"]),
        ("categories: [AGENT, CHAT]", vec!["3", "4"]),
        (r#"organizationId: "b""#, vec!["2"]),
        (r#"organizationId: ["a", "b"], types: "task.*""#, vec!["1", "2"]),
        ("roomId: 7", vec!["4"]),
        (r#"sources: "/ci", correlationId: "c""#, vec!["2"]),
        ("minPriority: HIGH", vec!["3", "4"]),
        (r#"anyOf: [{ organizationId: "b" }, { categories: CHAT }]"#, vec!["2", "4"]),
        ("types: null", vec!["1", "2", "3", "4"]),
    ];
    for (filter, expected) in cases {
        let query = format!(
            "subscription {{ events(filter: {{ {filter} }}, start: {{ earliest: true }}) {{ id }} }}"
        );
        let mut events = follow(&schema, query);
        for id in &expected {
            assert_eq!(events.next().await.unwrap()["data"]["events"]["id"], *id, "{filter}");
        }
        assert!(events.next().now_or_never().is_none(), "{filter} matches no more");
    }
}

#[tokio::test]
async fn a_room_and_a_request_can_be_followed() {
    let schema = new_schema();
    publish(
        &schema,
        &[
            r#"{"id":"1","type":"chat.message","roomId":"r","data":{"content":"hello","sender":{"login":"ada"}}}"#,
            r#"{"id":"2","type":"chat.message","roomId":"s"}"#,
            r#"{"id":"3","type":"task.created","correlationId":"c"}"#,
        ],
    )
    .await;
    let chat = r#"subscription { chat(roomId: "r", start: { earliest: true }) { id content sender } }"#;
    let said = json!({ "id": "1", "content": "hello", "sender": "ada" });
    assert_eq!(first(&schema, chat, 1).await[0]["data"]["chat"], said);
    let trace = r#"subscription { trace(correlationId: "c", start: { last: 10 }) { id } }"#;
    assert_eq!(first(&schema, trace, 1).await[0]["data"]["trace"]["id"], "3");
}

#[tokio::test]
async fn a_subscription_starts_where_it_says() {
    let schema = new_schema();
    publish(&schema, &[r#"{"type":"a","id":"1"}"#, r#"{"type":"a","id":"2"}"#, r#"{"type":"a","id":"3"}"#])
        .await;
    let all = first(&schema, "subscription { events(start: { earliest: true }) { cursor } }", 1).await;
    let cases = [
        ("earliest: true".to_owned(), "1"),
        (r#"time: "2001-01-01T00:00:00+01:00""#.to_owned(), "1"),
        (format!("after: {}", all[0]["data"]["events"]["cursor"]), "2"),
        ("last: 1".to_owned(), "3"),
    ];
    for (start, expected) in cases {
        let query = format!("subscription {{ events(start: {{ {start} }}) {{ id }} }}");
        assert_eq!(first(&schema, &query, 1).await[0]["data"]["events"]["id"], expected, "{start}");
    }
}

#[tokio::test]
async fn typed_fields_are_read_from_the_data_where_they_are_there_and_of_their_type() {
    let schema = new_schema();
    publish(
        &schema,
        &[
            r#"{"type":"task.progress","data":{"progress":0.5,"status":"running","result":{"b":1.0,"a":1e2}}}"#,
            r#"{"type":"task.progress","data":{"progress":"half","status":7,"error":null}}"#,
            r#"{"type":"task.progress","data":[1]}"#,
        ],
    )
    .await;
    let query = "subscription { tasks(start: { earliest: true }) { progress status result error } }";
    let tasks = first(&schema, query, 3).await;
    let tasks: Vec<_> = tasks.iter().map(|response| response["data"]["tasks"].clone()).collect();
    let nothing = json!({ "progress": null, "status": null, "result": null, "error": null });
    let all =
        json!({ "progress": 0.5, "status": "running", "result": { "b": 1.0, "a": 100.0 }, "error": null });
    assert_eq!(tasks, [all, nothing.clone(), nothing]);
}

#[tokio::test]
async fn data_comes_out_in_the_very_text_in_which_it_was_published() {
    let schema = new_schema();
    let data = r#"{"z":1.0,"a":12345678901234567890123,"s":"\u00e9"}"#;
    publish(&schema, &[&format!(r#"{{"type":"a.b","data":{data}}}"#)]).await;
    let query = "subscription { events(start: { earliest: true }) { data dataBase64 attributes } }";
    let response = schema.execute_stream(query).next().await.unwrap();
    let expected =
        format!(r#"{{"data":{{"events":{{"data":{data},"dataBase64":null,"attributes":null}}}}}}"#);
    assert_eq!(serde_json::to_string(&response).unwrap(), expected);
}

#[tokio::test]
async fn a_wrong_argument_is_refused_with_its_code_and_field() {
    let schema = new_schema();
    let cases = [
        (r#"events(start: { after: "nonsense" })"#, "CURSOR_INVALID", Some("start.after")),
        (r#"events(start: { after: "AgAAAAAAAAAAAAAAAAAAAAAAAAAB" })"#, "EPOCH_CHANGED", None),
        ("events(start: { earliest: false })", "INVALID_FILTER", Some("start.earliest")),
        ("events(start: { last: 0 })", "INVALID_FILTER", Some("start.last")),
        ("events(start: { last: -1 })", "INVALID_FILTER", Some("start.last")),
        ("events(filter: { types: [] })", "INVALID_FILTER", Some("types")),
        (r#"events(filter: { types: ["ok", "a..b"] })"#, "INVALID_FILTER", Some("types[1]")),
        (r#"tasks(filter: { anyOf: [{ taskId: "a b" }] })"#, "INVALID_FILTER", Some("anyOf[0].taskId[0]")),
        (r#"chat(roomId: "a b")"#, "INVALID_FILTER", Some("roomId")),
        (r#"trace(correlationId: "")"#, "INVALID_FILTER", Some("correlationId")),
        ("notifications", "UNAUTHENTICATED", None),
    ];
    for (field, expected, named) in cases {
        let responses = first(&schema, &format!("subscription {{ {field} {{ id }} }}"), 2).await;
        assert_eq!(responses.len(), 1, "{field} ends with its error");
        let extensions = &responses[0]["errors"][0]["extensions"];
        assert_eq!(code(&responses[0]), expected, "{field}");
        assert_eq!(extensions["field"].as_str(), named, "{field}");
        assert!(extensions["next"].as_str().unwrap().ends_with('.'), "{field}");
    }
}

#[tokio::test]
async fn a_start_position_is_one_of_its_fields() {
    let schema = new_schema();
    for start in ["{}", "{ last: 1, earliest: true }", "{ last: null }", r#"{ time: "yesterday" }"#] {
        let responses =
            first(&schema, &format!("subscription {{ events(start: {start}) {{ id }} }}"), 2).await;
        assert!(responses.len() == 1 && responses[0]["errors"].is_array(), "{start}: {responses:?}");
    }
}

#[tokio::test]
async fn a_subscription_that_retention_overtakes_ends_with_an_error_that_says_where_it_stopped() {
    let schema = schema(hub_of(600), &GraphqlOptions::default());
    let tasks = vec![r#"{"type":"task.created"}"#; 600];
    publish(&schema, &tasks).await;
    let mut events = follow(&schema, "subscription { events(start: { earliest: true }) { cursor } }");
    let mut last = events.next().await.unwrap()["data"]["events"]["cursor"].clone();
    publish(&schema, &tasks).await;
    loop {
        let response = events.next().await.unwrap();
        if response["errors"].is_array() {
            assert_eq!(code(&response), "CURSOR_EXPIRED");
            let epoch = schema.data::<crate::hub::Hub>().unwrap().epoch();
            let opened =
                |cursor: &Value| epoch.open(Cursor::parse(cursor.as_str().unwrap()).unwrap()).unwrap();
            assert_eq!(opened(&response["errors"][0]["extensions"]["cursor"]), opened(&last));
            break;
        }
        last = response["data"]["events"]["cursor"].clone();
    }
    assert!(events.next().await.is_none(), "the stream has ended");
}
