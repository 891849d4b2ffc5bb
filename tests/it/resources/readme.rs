//! The documents of the README work when they are pasted, in their order.

use crate::support::{Socket, TestServer};
use serde_json::json;

const README: &str = include_str!("../../../README.md");

/// The GraphQL documents of a section.
fn documents(section: &str) -> Vec<&'static str> {
    let (_, text) = README.split_once(&format!("\n## {section}\n")).unwrap();
    let text = text.split("\n## ").next().unwrap();
    text.split("```graphql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[tokio::test]
async fn the_documents_about_state_work_when_they_are_pasted() {
    let server = TestServer::start();
    let documents = documents("State that announces itself");
    let [create, list, follow, change] = documents.as_slice() else { panic!("{documents:?}") };
    let answer = server.graphql(create, json!({})).await;
    assert_eq!(
        answer["data"]["createAgent"]["agent"],
        json!({ "id": "scout", "version": 1, "status": "idle" })
    );
    let page = server.graphql(list, json!({})).await;
    assert_eq!(page["data"]["agents"]["nodes"][0]["name"], "Scout", "{page}");
    let mut socket = Socket::graphql(&server).await;
    socket.subscribe("a", follow).await;
    let answer = server.graphql(change, json!({})).await;
    assert_eq!(answer["data"]["startTask"]["task"], json!({ "version": 2, "status": "started" }), "{answer}");
    let event = &socket.data("a").await["agents"];
    assert_eq!((&event["action"], &event["previousStatus"]), (&json!("status_changed"), &json!("idle")));
    assert_eq!((&event["changed"], &event["agent"]["version"]), (&json!(["status"]), &json!(2)));
    socket.close().await;
}
