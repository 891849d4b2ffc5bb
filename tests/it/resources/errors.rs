//! What is refused: each with its code, the field, what was given, and what is allowed. Nothing of it is half done.

use super::{all_done, done};
use crate::support::{TestServer, post_json};
use serde_json::{Value, json};

/// A document, and what its refusal has: code, field, and a part of the sentence.
type Case = (&'static str, &'static str, &'static str, &'static str);

const CASES: &[Case] = &[
    // What is not there.
    (r#"updateAgent(id: "a9", changes: { name: "x" })"#, "NOT_FOUND", "id", r#"no agent "a9""#),
    (r#"startTask(id: "t9")"#, "NOT_FOUND", "id", r#"no task "t9""#),
    (r#"deleteUser(id: "u9")"#, "NOT_FOUND", "id", r#"no user "u9""#),
    // What it refers to is not there.
    (
        r#"createAgent(agent: { organizationId: "nowhere", name: "x" })"#,
        "NOT_FOUND",
        "organizationId",
        r#"no organization "nowhere""#,
    ),
    (
        r#"createAgent(agent: { organizationId: "quant", domainId: "d9", name: "x" })"#,
        "NOT_FOUND",
        "domainId",
        r#"no domain "d9""#,
    ),
    (
        r#"createTask(task: { organizationId: "quant", userId: "u9", name: "x" })"#,
        "NOT_FOUND",
        "userId",
        r#"no user "u9""#,
    ),
    (r#"updateTask(id: "t1", changes: { agentId: "a9" })"#, "NOT_FOUND", "agentId", r#"no agent "a9""#),
    (
        r#"startDeployment(deployment: { organizationId: "acme", instanceId: "i1", release: "1" })"#,
        "NOT_FOUND",
        "instanceId",
        r#"no instance "i1""#,
    ),
    (r#"createDomain(domain: { name: "x" })"#, "BAD_REQUEST", "organizationId", "the id of its organization"),
    // Another version than the one that is there.
    (
        r#"updateAgent(id: "a1", changes: { name: "x" }, expectedVersion: 7)"#,
        "CONFLICT",
        "expectedVersion",
        "has version 1 now, not 7",
    ),
    (r#"deleteTask(id: "done", expectedVersion: 1)"#, "CONFLICT", "expectedVersion", "has version 3 now"),
    // An id that is taken.
    (
        r#"createAgent(agent: { id: "a1", organizationId: "quant", name: "x" })"#,
        "CONFLICT",
        "id",
        r#""a1" is the id of another agent"#,
    ),
    // Others belong to it.
    (r#"deleteOrganization(id: "quant")"#, "CONFLICT", "", "belong to it"),
    (r#"deleteDomain(id: "demo")"#, "CONFLICT", "", "while others of kind agent belong to it"),
    (r#"deleteUser(id: "ada")"#, "CONFLICT", "", "while others of kind task belong to it"),
    (r#"deleteAgent(id: "a1")"#, "CONFLICT", "", "while others of kind task belong to it"),
    // What cannot follow.
    (r#"startTask(id: "done")"#, "CONFLICT", "", "is completed, so it cannot start; its life is over"),
    (r#"progressTask(id: "t1", progress: 1)"#, "CONFLICT", "", "allowed from here is start, fail, cancel"),
    (r#"completeTask(id: "t1")"#, "CONFLICT", "", "is created, so it cannot complete"),
    (r#"failDeployment(id: "live")"#, "CONFLICT", "", "is completed, so it cannot fail"),
    (r#"setAgentStatus(id: "a1", status: "idle")"#, "CONFLICT", "status", "already"),
    // Fields that break a rule.
    (r#"setAgentStatus(id: "a1", status: "on a break")"#, "BAD_REQUEST", "status", "1 to 64 characters"),
    (r#"updateAgent(id: "a1", changes: { name: "" })"#, "BAD_REQUEST", "name", "text of 1 to 256 bytes"),
    (r#"updateAgent(id: "a1", changes: { name: null })"#, "BAD_REQUEST", "name", "which it must have"),
    (r#"updateAgent(id: "a1", changes: {})"#, "BAD_REQUEST", "changes", "at least one field"),
    (
        r#"createAgent(agent: { id: "a 2", organizationId: "quant", name: "x" })"#,
        "BAD_REQUEST",
        "id",
        "visible ASCII",
    ),
    (r#"progressTask(id: "t1", progress: -1)"#, "BAD_REQUEST", "progress", "a number from 0 up"),
    (r#"failTask(id: "t1", error: "LONG")"#, "BAD_REQUEST", "error", r#""5000 bytes" is not allowed"#),
    (
        r#"createTask(task: { organizationId: "quant", name: "x", metadata: "LONGER" })"#,
        "BAD_REQUEST",
        "metadata",
        "JSON of at most 65536 bytes",
    ),
    // Where an id is not enough.
    (r#"deleteDomain(id: "same")"#, "BAD_REQUEST", "organizationId", "several have one of this id"),
];

async fn platform() -> TestServer {
    let server = TestServer::start();
    all_done(
        &server,
        &[
            r#"createOrganization(organization: { id: "quant", name: "Quant" })"#,
            r#"createOrganization(organization: { id: "acme", name: "Acme" })"#,
            r#"createDomain(domain: { id: "demo", organizationId: "quant", name: "Demo" })"#,
            r#"createDomain(domain: { id: "same", organizationId: "quant", name: "Same" })"#,
            r#"createDomain(domain: { id: "same", organizationId: "acme", name: "Same" })"#,
            r#"createInstance(instance: { id: "i1", organizationId: "quant", name: "One" })"#,
            r#"createUser(user: { id: "ada", organizationId: "quant", name: "Ada" })"#,
            r#"createAgent(agent: { id: "a1", organizationId: "quant", domainId: "demo", name: "One" })"#,
            r#"createTask(task: { id: "t1", organizationId: "quant", userId: "ada", agentId: "a1", name: "One" })"#,
            r#"createTask(task: { id: "done", organizationId: "quant", agentId: "a1", name: "Done" })"#,
            r#"startTask(id: "done")"#,
            r#"completeTask(id: "done", result: { pages: 3 })"#,
            r#"startDeployment(deployment: { id: "live", organizationId: "quant", instanceId: "i1", release: "1" })"#,
            r#"completeDeployment(id: "live")"#,
        ],
    )
    .await;
    server
}

#[tokio::test]
async fn each_bad_request_is_refused_by_name_and_changes_nothing() {
    let server = platform().await;
    let everything = "{ organizations { nodes { id version } } domains { nodes { id version } } agents { nodes { id version } }
        instances { nodes { id version } } deployments { nodes { id version } } users { nodes { id version } }
        tasks { nodes { id version } } }";
    let (before, head) = (server.graphql(everything, json!({})).await, server.hub.bounds().head);
    for &(field, code, named, part) in CASES {
        let field = field.replace("LONGER", &"x".repeat(70_000)).replace("LONG", &"x".repeat(5_000));
        // Longer than a document may be, so the text goes beside it.
        let answer = match field.len() > 60_000 {
            false => server.graphql(&format!("mutation {{ {field} {{ cursor }} }}"), json!({})).await,
            true => {
                let query = "mutation($task: NewTask!) { createTask(task: $task) { cursor } }";
                let task = json!({ "organizationId": "quant", "name": "x", "metadata": "x".repeat(70_000) });
                post_json(&server.url("/graphql"), &json!({ "query": query, "variables": { "task": task } }))
                    .await
                    .1
            }
        };
        let error = &answer["errors"][0];
        let field = field.chars().take(100).collect::<String>();
        assert_eq!(error["extensions"]["code"], code, "{field}: {answer}");
        assert_eq!(error["extensions"]["field"].as_str().unwrap_or_default(), named, "{field}: {answer}");
        assert!(error["message"].as_str().unwrap().contains(part), "{field}: {answer}");
        assert!(error["message"].as_str().unwrap().len() < 300, "{field}: {answer}");
        assert!(error["extensions"]["next"].is_string(), "{field}: {answer}");
    }
    assert_eq!(server.graphql(everything, json!({})).await, before);
    assert_eq!(server.hub.bounds().head, head, "no event either");
}

#[tokio::test]
async fn lists_and_lookups_say_what_is_wrong_with_them() {
    let server = platform().await;
    let cases = [
        ("tasks(first: 0) { asOf }", "BAD_REQUEST", "first", "1 to 1000"),
        (r#"tasks(status: "done") { asOf }"#, "BAD_REQUEST", "status", "created, started, paused, completed"),
        (r#"agents(status: "on a break") { asOf }"#, "BAD_REQUEST", "status", "a word"),
        (r#"agents(after: "x") { asOf }"#, "CURSOR_INVALID", "after", "not one of this server's"),
        (r#"agents(organizationId: []) { asOf }"#, "INVALID_FILTER", "organizationId", "at least one"),
        (r#"agents(organizationId: "é") { asOf }"#, "INVALID_FILTER", "organizationId[0]", "visible ASCII"),
        (r#"domain(id: "same") { name }"#, "BAD_REQUEST", "organizationId", "several have one of this id"),
        (r#"domain(id: "") { name }"#, "BAD_REQUEST", "id", "visible ASCII"),
    ];
    for (field, code, named, part) in cases {
        let answer = server.graphql(&format!("{{ {field} }}"), json!({})).await;
        let error = &answer["errors"][0];
        assert_eq!(
            (&error["extensions"]["code"], &error["extensions"]["field"]),
            (&json!(code), &json!(named)),
            "{field}"
        );
        assert!(error["message"].as_str().unwrap().contains(part), "{field}: {error}");
    }
    assert_eq!(
        done(&server, r#"{ domain(id: "same", organizationId: "acme") { organizationId } }"#).await["organizationId"],
        "acme"
    );
    assert_eq!(done(&server, r#"{ agent(id: "a9") { id } }"#).await, Value::Null);
    // Only started, as nobody said otherwise.
    let page = done(&server, r#"{ tasks(status: ["created", "completed"], first: 1) { nodes { id } edges { cursor } pageInfo { hasNextPage endCursor } } }"#).await;
    assert_eq!(
        (&page["nodes"], &page["pageInfo"]["hasNextPage"]),
        (&json!([{ "id": "done" }]), &json!(true))
    );
    let next = page["pageInfo"]["endCursor"].as_str().unwrap();
    let page = done(
        &server,
        &format!(r#"{{ tasks(first: 5, after: "{next}") {{ nodes {{ id }} pageInfo {{ hasNextPage }} }} }}"#),
    )
    .await;
    assert_eq!(page, json!({ "nodes": [{ "id": "t1" }], "pageInfo": { "hasNextPage": false } }));
}

#[tokio::test]
async fn nobody_announces_a_change_that_was_not_made() {
    let server = platform().await;
    let head = server.hub.bounds().head;
    let event = json!({ "type": "agent.deleted", "source": "/resources", "agentId": "a1", "data": { "id": "a1", "version": 2 } });
    let (status, answer) = post_json(&server.url("/events"), &event).await;
    assert_eq!((status, &answer["code"], &answer["field"]), (400, &json!("INVALID_EVENT"), &json!("source")));
    assert_eq!(server.hub.bounds().head, head);
    // Under another source it is an event like any other, and no state.
    server
        .publish(
            "agent.updated",
            json!({ "agentId": "a1", "data": { "id": "a1", "version": 9, "name": "x" } }),
        )
        .await;
    let agent = done(&server, r#"{ agent(id: "a1") { name version } }"#).await;
    assert_eq!(agent, json!({ "name": "One", "version": 1 }));
    let events =
        done(&server, "{ events(last: 1) { nodes { ... on AgentEvent { name agent { name } } } } }").await;
    assert_eq!(events["nodes"][0], json!({ "name": "x", "agent": null }));
}
