//! The pages of an agent platform as documents: a list as it is and every change of it, until nothing differs from what a
//! second reading gives.

use super::all_done;
use crate::support::{Socket, TestServer, post_json};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A page that is open: what it shows, and the changes that it follows.
struct Page {
    document: &'static str,
    /// The root field, and the field of an event that holds the resource.
    field: &'static str,
    resource: &'static str,
    variables: Value,
    rows: BTreeMap<String, Value>,
    socket: Socket,
}

impl Page {
    async fn open(
        server: &TestServer,
        document: &'static str,
        (field, resource): (&'static str, &'static str),
        variables: Value,
    ) -> Self {
        let (rows, as_of) = read(server, document, field, &variables).await;
        let mut socket = Socket::graphql(server).await;
        let mut with_position = variables.clone();
        with_position["asOf"] = as_of.into();
        let payload = json!({ "query": document, "operationName": "Changes", "variables": with_position });
        socket.send(json!({ "type": "subscribe", "id": "page", "payload": payload })).await;
        Page { document, field, resource, variables, rows, socket }
    }

    fn ids(&self) -> Vec<&str> {
        self.rows.keys().map(String::as_str).collect()
    }

    /// Takes the next change in; gives the event.
    async fn next(&mut self) -> Value {
        let event = self.socket.data("page").await[self.field].clone();
        let row = event[self.resource].clone();
        let id = row["id"].as_str().unwrap().to_owned();
        let known = self.rows.get(&id).map_or(0, |row| row["version"].as_u64().unwrap());
        assert_eq!(row["version"], known + 1, "neither a gap nor a repeat: {event}");
        match event["action"].as_str().unwrap() {
            "deleted" => self.rows.remove(&id),
            _ => self.rows.insert(id, row),
        };
        event
    }

    /// The page shows what is there, and nothing more comes.
    async fn close(mut self, server: &TestServer) {
        self.socket.nothing_more().await;
        let (rows, _) = read(server, self.document, self.field, &self.variables).await;
        assert_eq!(self.rows, rows);
        self.socket.close().await;
    }
}

async fn read(
    server: &TestServer,
    document: &str,
    field: &str,
    variables: &Value,
) -> (BTreeMap<String, Value>, String) {
    let body = json!({ "query": document, "operationName": "Page", "variables": variables });
    let (_, answer) = post_json(&server.url("/graphql"), &body).await;
    let page = &answer["data"][field];
    assert_eq!(page["pageInfo"]["hasNextPage"], false, "{answer}");
    let nodes = page["nodes"].as_array().unwrap().iter();
    let rows = nodes.map(|node| (node["id"].as_str().unwrap().to_owned(), node.clone())).collect();
    (rows, page["asOf"].as_str().unwrap().to_owned())
}

/// Two organizations with a domain of one name each.
async fn platform() -> TestServer {
    let server = TestServer::start();
    for organization in ["quant", "acme"] {
        all_done(
            &server,
            &[
                &format!(r#"createOrganization(organization: {{ id: "{organization}", name: "An organization" }})"#),
                &format!(r#"createDomain(domain: {{ id: "demo", organizationId: "{organization}", name: "Demo" }})"#),
            ],
        )
        .await;
    }
    server
}

#[tokio::test]
async fn the_agents_page_shows_who_comes_changes_and_goes() {
    let server = platform().await;
    all_done(
        &server,
        &[
            r#"createAgent(agent: { id: "scout", organizationId: "quant", domainId: "demo", name: "Scout" })"#,
            r#"createAgent(agent: { id: "elsewhere", organizationId: "acme", domainId: "demo", name: "Other" })"#,
        ],
    )
    .await;
    let document = include_str!("documents/agents_page.graphql");
    let variables = json!({ "organizationId": "quant", "domainId": "demo" });
    let mut page = Page::open(&server, document, ("agents", "agent"), variables).await;
    assert_eq!(page.ids(), ["scout"]);

    all_done(
        &server,
        &[
            r#"createAgent(agent: { id: "agt-new", organizationId: "quant", domainId: "demo", name: "new-agent",
                displayName: "New Agent", description: "Newly created agent" })"#,
            r#"setAgentStatus(id: "elsewhere", status: "working")"#,
            r#"setAgentStatus(id: "scout", status: "working", message: "reading 42 articles", expectedVersion: 1)"#,
            r#"updateAgent(id: "scout", changes: { displayName: "The scout" })"#,
            r#"deleteAgent(id: "agt-new", expectedVersion: 1)"#,
        ],
    )
    .await;
    let event = page.next().await;
    assert_eq!((&event["action"], &event["agent"]["displayName"]), (&json!("created"), &json!("New Agent")));
    assert_eq!(page.ids(), ["agt-new", "scout"]);
    let event = page.next().await;
    assert_eq!((&event["action"], &event["previousStatus"]), (&json!("status_changed"), &json!("idle")));
    assert_eq!(event["agent"]["message"], "reading 42 articles");
    let event = page.next().await;
    assert_eq!((&event["action"], &event["changed"]), (&json!("updated"), &json!(["displayName"])));
    assert_eq!(page.next().await["action"], "deleted");
    assert_eq!(page.ids(), ["scout"]);
    page.close(&server).await;
}

#[tokio::test]
async fn the_admin_dashboard_shows_every_organization() {
    let server = platform().await;
    let document = include_str!("documents/admin_dashboard.graphql");
    let mut page = Page::open(&server, document, ("organizations", "organization"), json!({})).await;
    assert_eq!(page.ids(), ["acme", "quant"]);
    all_done(
        &server,
        &[
            r#"createOrganization(organization: { id: "bolt", name: "Bolt", status: "trial" })"#,
            r#"updateOrganization(id: "bolt", changes: { status: "paying", displayName: "Bolt Ltd" })"#,
            r#"deleteOrganization(id: "bolt")"#,
        ],
    )
    .await;
    assert_eq!(page.next().await["organization"]["status"], "trial");
    let event = page.next().await;
    assert_eq!(event["changed"], json!(["displayName", "status"]));
    assert_eq!(page.ids(), ["acme", "bolt", "quant"]);
    assert_eq!(page.next().await["action"], "deleted");
    page.close(&server).await;
}

#[tokio::test]
async fn domain_management_shows_the_domains_of_one_organization() {
    let server = platform().await;
    let document = include_str!("documents/domain_management.graphql");
    let variables = json!({ "organizationId": "quant" });
    let mut page = Page::open(&server, document, ("domains", "domain"), variables).await;
    assert_eq!(page.ids(), ["demo"]);
    all_done(
        &server,
        &[
            r#"createDomain(domain: { id: "web", organizationId: "acme", name: "Not here" })"#,
            r#"createDomain(domain: { id: "research", organizationId: "quant", name: "Research" })"#,
            r#"updateDomain(id: "demo", organizationId: "quant", changes: { description: "For guests" })"#,
            r#"updateDomain(id: "demo", organizationId: "quant", changes: { description: null })"#,
            r#"deleteDomain(id: "research")"#,
        ],
    )
    .await;
    assert_eq!(page.next().await["domain"]["name"], "Research");
    assert_eq!(page.next().await["domain"]["description"], "For guests");
    let event = page.next().await;
    assert_eq!((&event["domain"]["description"], &event["changed"]), (&Value::Null, &json!(["description"])));
    assert_eq!(page.next().await["action"], "deleted");
    page.close(&server).await;
}

#[tokio::test]
async fn the_deployment_monitor_shows_what_runs_and_how_it_ends() {
    let server = platform().await;
    let deployment = |id: &str, release: &str| {
        format!(
            r#"startDeployment(deployment: {{ id: "{id}", organizationId: "quant", domainId: "demo", instanceId: "demo-1",
                release: "{release}", environment: "production" }})"#
        )
    };
    all_done(
        &server,
        &[
            r#"createInstance(instance: { id: "demo-1", organizationId: "quant", domainId: "demo", name: "Demo 1" })"#,
            &deployment("d1", "1.4.1"),
            r#"completeDeployment(id: "d1")"#,
            &deployment("d2", "1.4.2"),
        ],
    )
    .await;
    let document = include_str!("documents/deployment_monitor.graphql");
    let variables = json!({ "organizationId": "quant", "domainId": "demo" });
    let mut page = Page::open(&server, document, ("deployments", "deployment"), variables).await;
    assert_eq!(page.ids(), ["d2"]);
    all_done(
        &server,
        &[
            r#"failDeployment(id: "d2", error: "readiness stayed red", expectedVersion: 1)"#,
            &deployment("d3", "1.4.1"),
            r#"completeDeployment(id: "d3", message: "rolled back")"#,
        ],
    )
    .await;
    let failed = page.next().await;
    assert_eq!((&failed["action"], &failed["error"]), (&json!("failed"), &json!("readiness stayed red")));
    assert_eq!(page.next().await["action"], "started");
    let completed = page.next().await;
    assert_eq!(
        (&completed["action"], &completed["deployment"]["release"]),
        (&json!("completed"), &json!("1.4.1"))
    );
    // What has ended is not asked for any more.
    page.rows.retain(|_, row| row["status"] == "started");
    page.close(&server).await;
}
