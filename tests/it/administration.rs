//! What administrators see and end, and what nobody else does.

use crate::support::{
    Access, Frame, Given, May, PROTOCOLS, Reader, Socket, TestServer, ask, post_json, publish, request, sent,
};
use reqwest::Method;
use serde_json::{Value, json};

/// Asks as somebody and gives the answer.
async fn asked(server: &TestServer, token: &str, query: &str) -> Value {
    let request = ask(server, "application/json", &json!({ "query": query }));
    sent(request.header("authorization", format!("Bearer {token}"))).await.1
}

#[tokio::test]
async fn an_administrator_sees_who_is_connected_and_what_they_follow() {
    let access = Access::new();
    let (root, ada) =
        (access.token("root", May::All, None), access.token("ada", May::Organization("q"), None));
    let server = access.server();
    let mut readers = Vec::new();
    for protocol in PROTOCOLS {
        readers.push(Reader::open(&server, protocol, &ada).await);
    }
    publish(&server.hub, 1, "x").await;
    let list =
        "{ connections(first: 4) { total next nodes { id subject protocol address since expiresAt } } }";
    let page = asked(&server, &root, list).await["data"]["connections"].clone();
    assert_eq!((&page["total"], &page["next"]), (&json!(7), &json!("4")));
    let node = &page["nodes"][0];
    assert_eq!((&node["subject"], &node["protocol"]), (&json!("ada"), &json!("graphql-transport-ws")));
    assert!(node["address"].as_str().unwrap().starts_with("127.0.0.1:") && node["since"].is_string());
    let rest = asked(&server, &root, r#"{ connections(after: "4") { next nodes { protocol } } }"#).await;
    let rest = &rest["data"]["connections"];
    assert_eq!((rest["nodes"].as_array().unwrap().len(), &rest["next"]), (3, &Value::Null));
    for id in 1..=7 {
        let query = format!(
            r#"{{ subscriptions(connectionId: "{id}") {{ id form filter position lag queuedBytes }} }}"#
        );
        let answer = asked(&server, &root, &query).await;
        let list = answer["data"]["subscriptions"].as_array().unwrap_or_else(|| panic!("{answer}"));
        assert_eq!(list.len(), 1, "{id}");
        assert!(list[0]["position"].is_string() && list[0]["lag"].is_number(), "{answer}");
        assert!(list[0]["filter"].is_object() && list[0]["form"].is_string(), "{answer}");
    }
    let gone = asked(&server, &root, r#"{ subscriptions(connectionId: "99") { id } }"#).await;
    assert_eq!(gone["errors"][0]["extensions"]["code"], "NOT_FOUND");
}

#[tokio::test]
async fn an_administrator_ends_subscriptions_and_connections_of_every_protocol() {
    let access = Access::new();
    let (root, ada) =
        (access.token("root", May::All, None), access.token("ada", May::Organization("q"), None));
    let server = access.server();
    let names = ["a", "a", "1", "gateway", "", "", ""];
    for (protocol, name) in PROTOCOLS.into_iter().zip(names) {
        for query in [
            format!(r#"mutation {{ done: unsubscribe(connectionId: "ID", subscriptionId: "{name}") }}"#),
            r#"mutation { done: disconnect(connectionId: "ID") }"#.to_owned(),
        ] {
            let mut reader = Reader::open(&server, protocol, &ada).await;
            let found = asked(&server, &root, "{ connections { nodes { id } } }").await;
            let id = found["data"]["connections"]["nodes"][0]["id"].as_str().unwrap().to_owned();
            let query = query.replace("ID", &id);
            let answer = asked(&server, &root, &query).await;
            assert_eq!(answer["data"]["done"], true, "{protocol}: {answer}");
            let said = loop {
                match reader.next().await {
                    Given::Ended(said) => break said,
                    Given::Other => {}
                    Given::Event(id) => panic!("{id}"),
                }
            };
            assert!(said.contains("FORBIDDEN") && said.contains("administrator"), "{protocol}: {said}");
            drop(reader);
            while asked(&server, &root, "{ connections { total } }").await["data"]["connections"]["total"]
                != 0
            {}
            let again = asked(&server, &root, &query).await;
            assert_ne!(again["data"]["done"], true, "{protocol}: {again}");
        }
    }
}

#[tokio::test]
async fn what_is_for_administrators_is_refused_to_others() {
    let access = Access::new();
    let ada = access.token("ada", May::Organization("q"), None);
    let server = access.server();
    let fields = [
        "{ connections { total } }",
        r#"{ subscriptions(connectionId: "1") { id } }"#,
        "{ stats { published } }",
        r#"mutation { disconnect(connectionId: "1") }"#,
        r#"mutation { unsubscribe(connectionId: "1", subscriptionId: "a") }"#,
        r#"mutation { revoke(what: { subject: "root" }) }"#,
        "mutation { reloadPolicy }",
    ];
    for query in fields {
        let answer = asked(&server, &ada, query).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN", "{query}: {answer}");
    }
    let metrics = request(&server, Method::GET, "/metrics").header("authorization", format!("Bearer {ada}"));
    assert_eq!(sent(metrics).await.0, 403);
    // Without authentication everybody is one.
    let open = TestServer::start();
    for query in ["{ connections { total } }", "{ stats { published } }", "mutation { reloadPolicy }"] {
        let (_, answer) = post_json(&open.url("/graphql"), &json!({ "query": query })).await;
        assert!(answer.get("errors").is_none(), "{answer}");
    }
}

#[tokio::test]
async fn an_administrator_revokes_by_subject_by_token_and_by_key() {
    for what in [r#"{ subject: "ada" }"#, r#"{ tokenId: "TOKEN" }"#] {
        let access = Access::new();
        let (root, ada) = (access.token("root", May::All, None), access.token("ada", May::All, None));
        let server = access.server();
        let mut socket = Socket::graphql_as(&server, &ada).await;
        let query = format!("mutation {{ revoke(what: {}) }}", what.replace("TOKEN", "token-1"));
        assert_eq!(asked(&server, &root, &query).await["data"]["revoke"], true);
        assert!(matches!(socket.next().await, Frame::Close(4403, _)), "{what}");
        let again = asked(&server, &ada, "{ version }").await;
        assert_eq!(again["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
        assert_eq!(asked(&server, &root, "{ version }").await["data"]["version"], env!("CARGO_PKG_VERSION"));
    }
    let access = Access::new();
    let root = access.token("root", May::All, None);
    let server = access.server();
    let wrong = asked(&server, &root, r#"mutation { revoke(what: { subject: "a", keyId: "b" }) }"#).await;
    assert!(wrong["errors"].is_array() && asked(&server, &root, "{ version }").await["data"].is_object());
}
