//! Ways in and out over HTTP.

use crate::support::{TestServer, post_json};
use serde_json::{Value, json};

#[tokio::test]
async fn publish_is_answered_with_its_place_and_repeated_without_harm() {
    let server = TestServer::start();
    let publish = "mutation ($e: NewEvent!) { publish(event: $e) { id cursor duplicate } }";
    let event = json!({ "id": "1", "type": "task.created", "source": "/ci", "data": { "a": 1 } });
    let first = server.graphql(publish, json!({ "e": event })).await["data"]["publish"].clone();
    assert_eq!((&first["id"], &first["duplicate"]), (&json!("1"), &json!(false)));
    let again = server.graphql(publish, json!({ "e": event })).await["data"]["publish"].clone();
    assert_eq!((&again["cursor"], &again["duplicate"]), (&first["cursor"], &json!(true)));
    let other = json!({ "id": "1", "type": "task.created", "source": "/ci", "data": { "a": 2 } });
    let conflict = server.graphql(publish, json!({ "e": other })).await;
    assert_eq!(conflict["errors"][0]["extensions"]["code"], "ID_CONFLICT", "{conflict}");
    assert_eq!(conflict["errors"][0]["extensions"]["cursor"], first["cursor"]);
}

#[tokio::test]
async fn publish_all_is_all_or_none_and_names_the_wrong_one() {
    let server = TestServer::start();
    let publish = "mutation ($e: [NewEvent!]!) { publishAll(events: $e) { id } }";
    let refused =
        server.graphql(publish, json!({ "e": [{ "type": "a" }, { "type": "b", "taskId": "x y" }] })).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "INVALID_EVENT", "{refused}");
    assert_eq!(refused["errors"][0]["extensions"]["field"], "events[1].taskId", "{refused}");
    assert_eq!(server.hub.bounds().head.get(), 0);
    let published = server.graphql(publish, json!({ "e": [{ "type": "a" }, { "type": "b" }] })).await;
    assert_eq!(published["data"]["publishAll"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn history_pages_forth_and_back() {
    let server = TestServer::start();
    for number in 0..10 {
        server.publish("task.progress", json!({ "id": number.to_string() })).await;
        server.publish("agent.log", json!({})).await;
    }
    let page = "query ($first: Int, $after: Cursor, $last: Int, $before: Cursor) {
        events(filter: { types: [\"task.*\"] }, first: $first, after: $after, last: $last, before: $before) {
            nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";
    let ids = |page: &Value| -> Vec<String> {
        let nodes = page["data"]["events"]["nodes"].as_array().unwrap_or_else(|| panic!("{page}"));
        nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = server.graphql(page, json!({ "first": 4 })).await;
    assert_eq!(ids(&first), ["0", "1", "2", "3"]);
    assert_eq!(first["data"]["events"]["pageInfo"]["hasNextPage"], true);
    let after = first["data"]["events"]["pageInfo"]["endCursor"].clone();
    let rest = server.graphql(page, json!({ "first": 100, "after": after })).await;
    assert_eq!(ids(&rest), ["4", "5", "6", "7", "8", "9"]);
    assert_eq!(rest["data"]["events"]["pageInfo"]["hasNextPage"], false);
    let newest = server.graphql(page, json!({ "last": 3 })).await;
    assert_eq!(ids(&newest), ["7", "8", "9"]);
    let before = newest["data"]["events"]["pageInfo"]["startCursor"].clone();
    let earlier = server.graphql(page, json!({ "last": 2, "before": before })).await;
    assert_eq!(ids(&earlier), ["5", "6"]);
    assert_eq!(earlier["data"]["events"]["pageInfo"]["hasPreviousPage"], true);
    let wrong = server.graphql(page, json!({ "first": 0 })).await;
    assert_eq!(wrong["errors"][0]["extensions"]["field"], "first", "{wrong}");
}

#[tokio::test]
async fn events_come_in_as_our_own_json_and_as_cloudevents_in_three_modes() {
    let server = TestServer::start();
    let (client, url) = (reqwest::Client::new(), server.url("/events"));
    let own = post_json(&url, &json!([{ "type": "a.b", "id": "1" }, { "type": "a.c", "id": "2" }])).await;
    assert_eq!((own.0, own.1.as_array().unwrap().len()), (200, 2));

    let event = json!({ "specversion": "1.0", "id": "3", "source": "/x", "type": "a.d", "organizationid": "quant", "data": { "n": 1 } });
    let structured =
        client.post(&url).header("content-type", "application/cloudevents+json").body(event.to_string());
    assert_eq!(structured.send().await.unwrap().status(), 200);
    let batch = client
        .post(&url)
        .header("content-type", "application/cloudevents-batch+json")
        .body(json!([{ "specversion": "1.0", "id": "4", "source": "/x", "type": "a.e" }]).to_string());
    assert_eq!(batch.send().await.unwrap().status(), 200);
    let binary = client
        .post(&url)
        .header("ce-specversion", "1.0")
        .header("ce-id", "5")
        .header("ce-source", "/x")
        .header("ce-type", "a.f")
        .header("ce-taskid", "t1")
        .header("content-type", "application/json")
        .body("{\"n\": 2}");
    assert_eq!(binary.send().await.unwrap().status(), 200);

    let all = server
        .graphql("{ events(first: 10) { nodes { id type organizationId taskId data } } }", json!({}))
        .await;
    assert_eq!(
        all["data"]["events"]["nodes"],
        json!([
            { "id": "1", "type": "a.b", "organizationId": null, "taskId": null, "data": null },
            { "id": "2", "type": "a.c", "organizationId": null, "taskId": null, "data": null },
            { "id": "3", "type": "a.d", "organizationId": "quant", "taskId": null, "data": { "n": 1 } },
            { "id": "4", "type": "a.e", "organizationId": null, "taskId": null, "data": null },
            { "id": "5", "type": "a.f", "organizationId": null, "taskId": "t1", "data": { "n": 2 } },
        ])
    );
}

#[tokio::test]
async fn refusals_are_problems_with_code_and_advice() {
    let server = TestServer::start();
    let client = reqwest::Client::new();
    let post = |path: &str, content_type: &str, body: String| {
        client.post(server.url(path)).header("content-type", content_type.to_owned()).body(body).send()
    };
    let cases = [
        (post("/events", "application/json", "{".to_owned()).await, 400, "BAD_REQUEST"),
        (post("/events", "application/json", "{\"type\":\"a..b\"}".to_owned()).await, 400, "INVALID_EVENT"),
        (post("/events", "text/plain", "{}".to_owned()).await, 415, "BAD_REQUEST"),
        (post("/events", "application/json", format!("\"{}\"", "x".repeat(2 << 20))).await, 413, "TOO_LARGE"),
        (post("/graphql", "text/plain", "{}".to_owned()).await, 415, "BAD_REQUEST"),
        (post("/webhooks/github", "application/json", "{}".to_owned()).await, 400, "BAD_REQUEST"),
        (post("/nothing", "application/json", "{}".to_owned()).await, 404, "NOT_FOUND"),
    ];
    for (answer, status, code) in cases {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!((&problem["code"], &problem["status"]), (&json!(code), &json!(status)));
        assert!(problem["next"].is_string() && problem["detail"].is_string(), "{problem}");
    }
}

#[tokio::test]
async fn a_get_never_mutates_and_a_browser_is_shown_graphiql() {
    let server = TestServer::start();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let query = "query=mutation%7Bpublish(event:%7Btype:%22a%22%7D)%7Bid%7D%7D";
    let answer = client.get(server.url(&format!("/graphql?{query}"))).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["allow"]), (405, &"GET, POST".parse().unwrap()));
    assert_eq!(server.hub.bounds().head.get(), 0);
    let page = client.get(server.url("/graphql")).header("accept", "text/html").send().await.unwrap();
    assert_eq!((page.status().as_u16(), &page.headers()["location"]), (303, &"/graphiql".parse().unwrap()));
}

#[tokio::test]
async fn probes_metrics_schema_and_version_answer() {
    let server = TestServer::start();
    server.publish("a", json!({})).await;
    let get = async |path: &str| reqwest::get(server.url(path)).await.unwrap();
    for path in ["/health/live", "/health/ready", "/livez", "/readyz", "/healthz"] {
        assert_eq!(get(path).await.status(), 200, "{path}");
    }
    let metrics = get("/metrics").await.text().await.unwrap();
    for name in [
        "fanfare_events_published_total 1",
        "fanfare_events_delivered_total",
        "fanfare_executions_total",
        "fanfare_groups_open",
        "fanfare_connections_open",
        "fanfare_tail_lagged_total",
        "fanfare_log_append_seconds_count 1",
    ] {
        assert!(metrics.contains(name), "{name}\n{metrics}");
    }
    let committed = include_str!("../../schema.graphql");
    assert_eq!(get("/schema.graphql").await.text().await.unwrap().trim(), committed.trim());
    assert!(get("/version").await.text().await.unwrap().contains(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn a_left_out_variable_has_its_default_everywhere() {
    let server = TestServer::start();
    let query = "query ($no: Boolean = true, $yes: Boolean = false) { a: version @skip(if: $no) b: version @include(if: $yes) c: __typename }";
    assert_eq!(server.graphql(query, json!({})).await["data"], json!({ "c": "Query" }));
    let both = server.graphql(query, json!({ "no": false, "yes": true })).await;
    assert!(both["data"]["a"].is_string() && both["data"]["b"].is_string(), "{both}");
}
