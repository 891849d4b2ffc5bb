//! Every type of event that the systems in the field name: published by name, it arrives as its typed object, and as the gateway's.
//!
//! What makes these events by itself is held where it is made: what changes of a resource announce in `resources`, who comes, goes
//! and does what in `presence`, what is said in rooms in `chat`, what a user is told of in `notifications`, health, the server's
//! own processes and its GraphQL operations in `self_events`, what GitHub's webhooks become in `src/ingest/github_tests.rs`.

use crate::support::{Socket, TestServer};
use fanfare::event::Family;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Some types of one family, as one of the systems names them, and what their producer says.
struct Entry {
    system: &'static str,
    object: &'static str,
    /// With dots; where the system writes a colon or an enum's variants, the same words.
    types: &'static [&'static str],
    /// The data, in that system's words.
    data: &'static str,
    /// A field of the object, and what it must show.
    field: (&'static str, &'static str),
}

/// One room for each task, one for each user.
const ADR_017: &str = "adr-017-real-time-event-broadcasting";
/// Pages that follow the database.
const BROADCASTING: &str = "event-broadcasting-system";
/// A daemon and its clients.
const BUS: &str = "event-bus-subscription";
/// The gateway's enum.
const GATEWAY: &str = "gateway-event-broadcasting";
/// Services that tell of their operations.
const WEBSOCKET: &str = "websocket-event-system";

macro_rules! catalogue {
    ($($system:ident $object:ident [$($event_type:literal)+] $data:literal => $field:literal: $shown:literal;)*) => {
        &[$(Entry {
            system: $system,
            object: stringify!($object),
            types: &[$($event_type),+],
            data: $data,
            field: ($field, $shown),
        },)*]
    };
}

const CATALOGUE: &[Entry] = catalogue! {
    ADR_017 TaskEvent ["task.created" "task.started" "task.status"] r#"{"status":"running"}"# => "status": r#""running""#;
    ADR_017 TaskEvent ["task.completed" "task.deleted"] r#"{"title":"Report"}"# => "name": r#""Report""#;
    ADR_017 TaskEvent ["task.failed" "task.cancelled"] r#"{"error":"timeout"}"# => "error": r#""timeout""#;

    BROADCASTING AgentEvent ["agent.created" "agent.updated" "agent.deleted"] r#"{"display_name":"Scout"}"# => "displayName": r#""Scout""#;
    BROADCASTING AgentEvent ["agent.status_changed"] r#"{"status":"idle","old_status":"busy"}"# => "previousStatus": r#""busy""#;
    BROADCASTING OrganizationEvent ["organization.created" "organization.updated" "organization.deleted"] r#"{"name":"quant"}"# => "name": r#""quant""#;
    BROADCASTING DomainEvent ["domain.created" "domain.updated" "domain.deleted"] r#"{"display_name":"Risk"}"# => "displayName": r#""Risk""#;
    BROADCASTING InstanceEvent ["instance.created" "instance.updated" "instance.deleted"] r#"{"status":"running"}"# => "status": r#""running""#;
    BROADCASTING DeploymentEvent ["deployment.started" "deployment.completed"] r#"{"environment":"production"}"# => "environment": r#""production""#;
    BROADCASTING DeploymentEvent ["deployment.failed"] r#"{"error":"no image"}"# => "error": r#""no image""#;
    BROADCASTING UserEvent ["user.created" "user.updated" "user.deleted"] r#"{"name":"ada"}"# => "name": r#""ada""#;

    BUS AgentEvent ["agent.spawned" "agent.started" "agent.status_changed" "agent.paused" "agent.resumed"] r#"{"status":"running"}"# => "status": r#""running""#;
    BUS AgentEvent ["agent.completed" "agent.killed"] r#"{"name":"scout"}"# => "name": r#""scout""#;
    BUS AgentEvent ["agent.failed"] r#"{"error":"out of memory"}"# => "error": r#""out of memory""#;
    BUS AgentEvent ["agent.log"] r#"{"level":"warn","message":"slow"}"# => "level": r#""warn""#;
    BUS AgentEvent ["agent.metric"] r#"{"metric":"tokens","value":1.5}"# => "metricValue": "1.5";
    BUS TaskEvent ["task.created" "task.started" "task.cancelled"] r#"{"name":"Report"}"# => "name": r#""Report""#;
    BUS TaskEvent ["task.progress"] r#"{"progress":0.5,"message":"half"}"# => "progress": "0.5";
    BUS TaskEvent ["task.completed"] r#"{"result":{"pages":3}}"# => "result": r#"{"pages":3}"#;
    BUS TaskEvent ["task.failed"] r#"{"error":"timeout"}"# => "error": r#""timeout""#;
    BUS WorkflowEvent ["workflow.started" "workflow.completed" "workflow.paused" "workflow.resumed"] r#"{"name":"nightly"}"# => "name": r#""nightly""#;
    BUS WorkflowEvent ["workflow.step_completed"] r#"{"step":2}"# => "step": r#""2""#;
    BUS WorkflowEvent ["workflow.failed"] r#"{"error":"step 2"}"# => "error": r#""step 2""#;
    BUS SystemEvent ["system.daemon_started" "system.daemon_stopping"] r#"{"component":"daemon"}"# => "component": r#""daemon""#;
    BUS SystemEvent ["system.health_check"] r#"{"status":"healthy"}"# => "status": r#""healthy""#;
    BUS SystemEvent ["system.metrics_update"] r#"{"metrics":{"cpu":0.1}}"# => "metrics": r#"{"cpu":0.1}"#;
    BUS SystemEvent ["system.connection_established" "system.connection_closed"] r#"{"message":"client 7"}"# => "message": r#""client 7""#;
    BUS SystemEvent ["system.error"] r#"{"error":"disk full"}"# => "error": r#""disk full""#;
    BUS StateEvent ["state.created" "state.deleted"] r#"{"key":"mode"}"# => "key": r#""mode""#;
    BUS StateEvent ["state.updated"] r#"{"key":"mode","old_value":"a","new_value":"b"}"# => "previous": r#""a""#;

    GATEWAY PresenceEvent ["presence.connected" "presence.disconnected" "presence.changed"] r#"{"conn_id":"c1","status":"online"}"# => "connectionId": r#""c1""#;
    GATEWAY HealthEvent ["health.snapshot"] r#"{"snapshot":{"up":true}}"# => "snapshot": r#"{"up":true}"#;
    GATEWAY AgentEvent ["agent.started" "agent.completed" "agent.failed"] r#"{"message":"run 1"}"# => "message": r#""run 1""#;
    GATEWAY ChatEvent ["chat.message"] r#"{"message":{"text":"hi"},"sender":"ada"}"# => "sender": r#""ada""#;

    WEBSOCKET ClaudeEvent ["claude.session.started" "claude.session.completed"] r#"{"sessionId":"s1"}"# => "sessionId": r#""s1""#;
    WEBSOCKET ClaudeEvent ["claude.session.failed"] r#"{"error":"refused"}"# => "error": r#""refused""#;
    WEBSOCKET ClaudeEvent ["claude.command.executed"] r#"{"command":"make test"}"# => "command": r#""make test""#;
    WEBSOCKET ClaudeEvent ["claude.agentRun.progress"] r#"{"runId":"r1","progress":40}"# => "progress": "40.0";
    WEBSOCKET RepositoryEvent ["repo.status.queried" "repo.scan.completed"] r#"{"repository":"a/b"}"# => "repository": r#""a/b""#;
    WEBSOCKET RepositoryEvent ["repo.commit.created"] r#"{"hash":"0a1b"}"# => "commit": r#""0a1b""#;
    WEBSOCKET RepositoryEvent ["repo.push.completed"] r#"{"branch":"main"}"# => "ref": r#""main""#;
    WEBSOCKET GithubEvent ["github.api.started" "github.api.completed"] r#"{"endpoint":"/user"}"# => "operation": r#""/user""#;
    WEBSOCKET GithubEvent ["github.workflow.triggered"] r#"{"event":"workflow_run"}"# => "event": r#""workflow_run""#;
    WEBSOCKET GraphqlEvent ["graphql.query.started" "graphql.mutation.started" "graphql.subscription.started"] r#"{"operationName":"Tasks"}"# => "operationName": r#""Tasks""#;
    WEBSOCKET GraphqlEvent ["graphql.query.completed" "graphql.mutation.completed" "graphql.subscription.completed"] r#"{"duration":12.5}"# => "durationMs": "12.5";
    WEBSOCKET PerformanceEvent ["performance.slowOperation.detected"] r#"{"operation":"scan","threshold":100.5}"# => "thresholdMs": "100.5";
};

/// The `params` of `gateway.event`, as the gateway's enum has them; `None` for families that it does not know.
fn gateway_form(event_type: &str, data: &Value) -> Option<Value> {
    let (family, action) = event_type.split_once('.').unwrap();
    match family {
        "presence" => {
            Some(json!({ "type": "Presence", "conn_id": data["conn_id"], "status": data["status"] }))
        }
        "health" => Some(json!({ "type": "Health", "snapshot": data["snapshot"] })),
        "agent" => Some(json!({ "type": "Agent", "agent_id": "a1", "event": action })),
        "chat" => Some(json!({ "type": "Chat", "room_id": "r1", "message": data["message"] })),
        _ => None,
    }
}

#[test]
fn the_catalogue_has_every_known_type() {
    let known = |family: &'static Family| {
        family.actions().iter().map(|action| format!("{}.{action}", family.segment().unwrap()))
    };
    let known: BTreeSet<String> = Family::ALL.iter().flat_map(known).collect();
    let listed = CATALOGUE.iter().flat_map(|entry| entry.types).map(|event_type| (*event_type).to_owned());
    assert_eq!(listed.collect::<BTreeSet<_>>(), known);
    let systems: BTreeSet<&str> = CATALOGUE.iter().map(|entry| entry.system).collect();
    assert_eq!(systems.len(), 5);
}

#[tokio::test]
async fn every_type_that_is_named_arrives_as_its_typed_object_and_in_the_gateways_form() {
    let server = TestServer::start();
    let mut graphql = Socket::graphql(&server).await;
    let mut gateway = Socket::connect(&server, "/rpc", None).await;
    // The answer shows that the connection receives from now on.
    gateway.send(json!({ "jsonrpc": "2.0", "id": 0, "method": "gateway.subscription" })).await;
    assert!(gateway.json().await["result"]["filter"].is_object());
    for (number, Entry { system, object, types, data, field: (field, shown) }) in CATALOGUE.iter().enumerate()
    {
        let (data, shown): (Value, Value) =
            (serde_json::from_str(data).unwrap(), serde_json::from_str(shown).unwrap());
        let id = format!("s{number}");
        let query =
            format!("subscription {{ events {{ __typename type ... on {object} {{ shown: {field} }} }} }}");
        graphql.subscribe(&id, &query).await;
        for event_type in *types {
            server.publish(event_type, json!({ "agentId": "a1", "roomId": "r1", "data": data })).await;
            let expected = json!({ "__typename": object, "type": event_type, "shown": shown });
            assert_eq!(graphql.data(&id).await["events"], expected, "{system}");
            if let Some(form) = gateway_form(event_type, &data) {
                let event = gateway.json().await;
                assert_eq!(
                    (&event["method"], &event["params"]),
                    (&json!("gateway.event"), &form),
                    "{system}"
                );
            }
        }
        graphql.send(json!({ "type": "complete", "id": id })).await;
        graphql.nothing_more().await;
    }
    let query = "subscription { events { __typename type ... on CustomEvent { status } } }";
    graphql.subscribe("other", query).await;
    server.publish("invoice.paid", json!({ "data": { "status": "late" } })).await;
    let expected = json!({ "__typename": "CustomEvent", "type": "invoice.paid", "status": "late" });
    assert_eq!(graphql.data("other").await["events"], expected);
    graphql.close().await;
    gateway.close().await;
}
