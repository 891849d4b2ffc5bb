//! Pages in a browser: whose requests go through, who may read the answers, and what the web pages are told.

use crate::support::{Access, May, TestServer, get, post_json, request};
use reqwest::{Client, Method};
use serde_json::json;

const LISTED: &str = "https://app.example";
const EVIL: &str = "https://evil.example";

fn server() -> TestServer {
    TestServer::with(|config| config.origins = vec![LISTED.to_owned()])
}

#[tokio::test]
async fn a_page_of_another_origin_neither_publishes_nor_reads() {
    let server = server();
    let event = json!({ "type": "a" }).to_string();
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "events.publish", "params": { "event": { "type": "a" } } });
    let mutation = json!({ "query": "mutation { publish(event: { type: \"a\" }) { id } }" });
    for (path, body) in [("/events", event), ("/rpc", call.to_string()), ("/graphql", mutation.to_string())] {
        for (origin, status, readable_by) in
            [(EVIL, 403, None), ("null", 403, None), (LISTED, 200, Some(LISTED))]
        {
            let posted = request(&server, Method::POST, path).header("content-type", "application/json");
            let answer = posted.header("origin", origin).body(body.clone()).send().await.unwrap();
            assert_eq!(answer.status(), status, "{path} {origin}");
            let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(header("access-control-allow-origin"), readable_by, "{path} {origin}");
            assert_eq!(
                (header("vary"), header("cache-control")),
                (Some("origin"), Some("no-store")),
                "{path}"
            );
        }
    }
    for path in ["/events", "/graphql/stream", "/graphql?query=subscription{events{id}}", "/schema.graphql"] {
        for (name, value) in
            [("origin", EVIL), ("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site")]
        {
            let asked = request(&server, Method::GET, path).header("accept", "text/event-stream");
            assert_eq!(
                asked.header(name, value).send().await.unwrap().status(),
                403,
                "{path} {name} {value}"
            );
        }
    }
    assert_eq!(server.hub.bounds().head.get(), 3, "one for each listed origin");
}

/// What a browser sends to another origin without asking first.
#[tokio::test]
async fn a_form_publishes_nothing() {
    let server = server();
    let body = r#"{"type":"a","query":"mutation{publish(event:{type:\"a\"}){id}}","jsonrpc":"2.0","id":1,
                   "method":"events.publish","params":{"event":{"type":"a"}}}"#;
    let types = [
        "text/plain",
        "text/plain; application/json",
        "TEXT/PLAIN;charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
    ];
    for path in ["/events", "/rpc", "/graphql", "/graphql/stream"] {
        for content_type in types {
            let mut posted = request(&server, Method::POST, path).body(body);
            if !content_type.is_empty() {
                posted = posted.header("content-type", content_type);
            }
            let status = posted.send().await.unwrap().status();
            assert!(status == 415 || status == 400 || status == 401, "{path} as {content_type:?}: {status}");
        }
    }
    let mutation = [("query", "mutation { publish(event: { type: \"a\" }) { id } }")];
    assert_eq!(get(&server, "/graphql", &mutation).send().await.unwrap().status(), 405);
    assert_eq!(server.hub.bounds().head.get(), 0);
}

#[tokio::test]
async fn a_listed_origin_is_permitted_what_our_protocols_send() {
    let server = server();
    for path in ["/graphql", "/graphql/stream", "/events", "/rpc", "/schema.graphql"] {
        let ask = |origin| {
            let asked = request(&server, Method::OPTIONS, path).header("origin", origin);
            asked.header("access-control-request-method", "POST").send()
        };
        let answer = ask(LISTED).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["access-control-allow-origin"]),
            (204, &LISTED.parse().unwrap())
        );
        let answer = ask(EVIL).await.unwrap();
        assert_eq!(answer.status(), 403, "{path}");
        assert!(!answer.headers().contains_key("access-control-allow-origin"), "{path}");
    }
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_refused_while_everybody_may_do_everything() {
    let server = server();
    for (host, status) in [("evil.example", 421), ("app.example", 200), ("localhost:8080", 200)] {
        let asked = request(&server, Method::GET, "/graphql?query={version}").header("host", host);
        assert_eq!(asked.send().await.unwrap().status(), status, "{host}");
    }
    let (status, problem) =
        crate::support::sent(request(&server, Method::GET, "/").header("host", "evil.example")).await;
    assert_eq!((status, &problem["field"], &problem["given"]), (421, &json!("Host"), &json!("evil.example")));
}

#[tokio::test]
async fn the_web_pages_are_closed_to_other_pages() {
    let server = server();
    let page = request(&server, Method::GET, "/graphiql").send().await.unwrap();
    assert_eq!(page.status(), 200);
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(page.headers()[name], value);
    }
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("script-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe-eval") && !policy.contains('*'), "{policy}");

    let feed =
        request(&server, Method::GET, "/events").header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(
        (&feed.headers()["cache-control"], &feed.headers()["x-accel-buffering"]),
        (&"no-store".parse().unwrap(), &"no".parse().unwrap())
    );
    drop(feed);
    while server.hub.metrics().streams_open.get() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn with_authentication_graphiql_and_introspection_are_off_unless_they_are_switched_on() {
    for (switch, is_on) in [(None, false), (Some(true), true), (Some(false), false)] {
        let access = Access::new();
        access.let_in_anonymous(May::All);
        let server = access.server_with(|config| {
            config.graphiql = switch;
            config.introspection = switch;
        });
        let url = server.url("");
        let page = Client::new().get(format!("{url}/graphiql")).send().await.unwrap();
        assert_eq!(page.status() == 200, is_on, "{switch:?}");
        if !is_on {
            assert_eq!(page.status(), 404);
            assert!(page.text().await.unwrap().contains("the setting <code>graphiql</code>"));
        }
        let question = json!({ "query": "{ __schema { queryType { name } } }" });
        let (_, answer) = post_json(&format!("{url}/graphql"), &question).await;
        assert_eq!(answer["data"]["__schema"].is_object(), is_on, "{switch:?}: {answer}");
        // A name is as good as another where a request has to say who it is.
        let named =
            Client::new().get(format!("{url}/graphql?query={{version}}")).header("host", "any.example");
        assert_eq!(named.send().await.unwrap().status(), 200);
    }
}
