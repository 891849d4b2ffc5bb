//! Whom the server tells about itself: tenants see their own, whoever has a limited grant sees nothing that concerns nobody, and
//! nobody sees a secret.

use super::ALL;
use crate::support::{Access, May, Socket, Stream, TestServer, ask, request, sent};
use fanfare::{
    auth::Principal,
    config::Config,
    event::{Draft, NewEvent},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// In what clients send and nobody else may see: documents, variables, data, addresses.
const CANARY: &str = "canary_0042";

/// Everything that is told of a visit, but for the snapshots.
const KINDS: [&str; 10] = [
    "graphql.mutation.completed",
    "graphql.mutation.started",
    "graphql.query.completed",
    "graphql.query.started",
    "graphql.subscription.completed",
    "graphql.subscription.started",
    "performance.slowOperation.detected",
    "system.connection_closed",
    "system.connection_established",
    "system.error",
];

fn loud(config: &mut Config) {
    config.self_events = ALL.to_vec();
    config.health_interval = Duration::from_millis(20);
    config.slow_operation = Duration::ZERO;
}

/// What somebody does with a server: every kind of connection and of operation, with canaries in all that is theirs.
async fn visit(server: &TestServer, token: &str) {
    let post = async |body: Value| {
        let (status, answer) = sent(ask(server, "application/json", &body).bearer_auth(token)).await;
        assert!(status == 200 && answer.get("errors").is_none(), "{answer}");
    };
    let query = format!(
        "query Visit($a: [String!]) {{ {CANARY}: events(filter: {{ sources: $a }}) {{ nodes {{ id }} }} }}"
    );
    post(json!({ "query": query, "variables": { "a": [CANARY] }, "extensions": { "x": CANARY } })).await;
    let event = json!({ "type": "task.created", "subject": CANARY, "data": { "secret": CANARY } });
    let query = "mutation Publishing($e: NewEvent!) { publish(event: $e) { id } }";
    post(json!({ "query": query, "variables": { "e": event } })).await;
    let mut rpc = Socket::rpc_as(server, token).await;
    rpc.send(json!({ "jsonrpc": "2.0", "id": CANARY, "method": CANARY })).await;
    while rpc.json().await["id"] != CANARY {}
    rpc.close().await;
    let feed = request(server, Method::GET, &format!("/events?source={CANARY}")).bearer_auth(token);
    drop(Stream::open(feed).await);
    let mut socket = Socket::graphql_as(server, token).await;
    let query = format!("subscription Following {{ tasks(filter: {{ sources: [\"{CANARY}\"] }}) {{ id }} }}");
    socket.subscribe("a", &query).await;
    socket.send_text(CANARY).await;
    socket.close().await;
}

/// Follows everything that a token may read.
async fn follow(server: &TestServer, token: &str) -> Socket {
    let mut socket = Socket::graphql_as(server, token).await;
    let fields = "type source subject organizationId userId correlationId data attributes";
    socket.subscribe("a", &format!("subscription Watching {{ events {{ {fields} }} }}")).await;
    socket
}

/// Publishes the end of a story for everybody in an organization, past the edge.
async fn end(server: &TestServer, organization: &str) {
    let organization_id = Some(organization.to_owned());
    let draft = Draft { event_type: "story.end".to_owned(), organization_id, ..Draft::default() };
    let event = NewEvent::new(draft, server.hub.limits()).unwrap();
    server.hub.publish(&Principal::anonymous(), vec![event]).await.unwrap();
}

/// What the server told until the end of the story, and on until it is whole: the server tells of itself on its own time.
async fn told(socket: &mut Socket, is_whole: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let (mut told, mut is_over) = (Vec::new(), false);
    while !is_over || !is_whole(&told) {
        let event = socket.data("a").await["events"].clone();
        is_over |= event["type"] == "story.end";
        if event["source"] == "fanfare" {
            told.push(event);
        }
    }
    told
}

/// All of a visit, and perhaps more.
fn has_all(told: &[Value]) -> bool {
    kinds(told).is_superset(&BTreeSet::from(KINDS))
}

fn of(told: &[Value], organization: &str) -> Vec<Value> {
    told.iter().filter(|event| event["organizationId"] == organization).cloned().collect()
}

/// Nobody but those who watch is left.
async fn gone(server: &TestServer, watching: i64) {
    let metrics = server.hub.metrics();
    while metrics.connections_open.get() > watching || metrics.streams_open.get() > 0 {
        tokio::task::yield_now().await;
    }
}

fn kinds(events: &[Value]) -> BTreeSet<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_tenant_is_told_of_its_own_only() {
    let access = Access::new();
    let organizations = ["acme", "bolt"];
    let tokens =
        organizations.map(|organization| access.token(organization, May::Organization(organization), None));
    let root = access.token("root", May::All, None);
    let server = access.server_with(loud);
    let mut watching = Vec::new();
    for token in tokens.iter().chain([&root]) {
        watching.push(follow(&server, token).await);
    }
    for token in &tokens {
        visit(&server, token).await;
    }
    gone(&server, 3).await;
    for organization in organizations {
        end(&server, organization).await;
    }
    for (socket, organization) in watching.iter_mut().zip(organizations) {
        let told = told(socket, has_all).await;
        assert_eq!(kinds(&told), BTreeSet::from(KINDS), "{organization}");
        for event in told {
            assert_eq!(
                (&event["organizationId"], &event["userId"]),
                (&json!(organization), &json!(organization))
            );
            let other = organizations.iter().find(|other| **other != organization).unwrap();
            assert!(!event.to_string().contains(other), "{event}");
        }
    }
    let is_whole = |told: &[Value]| {
        kinds(told).contains("health.snapshot") && organizations.iter().all(|one| has_all(&of(told, one)))
    };
    let mut told = told(&mut watching[2], is_whole).await;
    // It may come before or after somebody watches.
    told.retain(|event| event["type"] != "system.daemon_started");
    let mut all = BTreeSet::from(KINDS);
    all.insert("health.snapshot");
    assert_eq!(kinds(&told), all);
    for organization in organizations {
        let of_one = of(&told, organization);
        assert_eq!(kinds(&of_one), BTreeSet::from(KINDS), "an administrator is told of {organization}");
    }
    for token in tokens {
        let body = json!({ "query": "{ events(filter: { types: [\"system.*\", \"health.*\"] }) { nodes { type } } }" });
        let (_, history) = sent(ask(&server, "application/json", &body).bearer_auth(&token)).await;
        assert_eq!(history["data"]["events"]["nodes"], json!([]), "what concerns nobody is not theirs");
    }
    for socket in watching {
        socket.close().await;
    }
}

#[tokio::test]
async fn nobody_is_told_what_stands_in_an_operation_nor_a_token() {
    let access = Access::new();
    let root = access.token("root", May::All, None);
    let ann = access.token("ann", May::Organization("acme"), None);
    let server = access.server_with(loud);
    let mut watching = follow(&server, &root).await;
    visit(&server, &ann).await;
    gone(&server, 1).await;
    end(&server, "acme").await;
    let told = told(&mut watching, has_all).await;
    for event in told {
        let text = event.to_string();
        assert!(!text.contains(CANARY) && !text.contains(&ann) && !text.contains(&root), "{text}");
    }
    watching.close().await;
}

#[tokio::test]
async fn what_is_masked_is_masked_in_what_the_server_tells_too() {
    let masks = [
        "userId",
        "organizationId",
        "correlationId",
        "data.protocol",
        "data.operationName",
        "data.operation",
    ];
    let mask = |path: &str| {
        format!("[[masks]]\ntypes = ['*']\npath = '{path}'\naction = 'hash'\nroles = ['masked']\n")
    };
    let access = Access::with_policy(&masks.map(mask).concat());
    access.change("masked", May::All);
    let masked = access.signed("masked", &["masked"], None);
    let ann = access.token(CANARY, May::Organization("canary_org"), None);
    let server = access.server_with(loud);
    let mut watching = follow(&server, &masked).await;
    let body = json!({ "query": "query canary_query { me { subject } }" });
    sent(
        ask(&server, "application/json", &body)
            .bearer_auth(&ann)
            .header("x-correlation-id", "canary_request"),
    )
    .await;
    visit(&server, &ann).await;
    gone(&server, 1).await;
    end(&server, "acme").await;
    let told = told(&mut watching, has_all).await;
    let hashed =
        told.iter().filter(|event| event["userId"].as_str().is_some_and(|id| id.starts_with("hash:")));
    assert!(hashed.count() > KINDS.len());
    for event in told {
        let text = event.to_string();
        assert!(!text.contains("canary") && !text.contains("json-rpc"), "{text}");
    }
    watching.close().await;
}
