//! Chat over a real listener: the room of a task, and what grants and masks leave of a conversation.

use crate::support::{Access, May, Socket, TestServer, ask, sent};
use serde_json::{Value, json};

/// The answer to an operation of somebody.
async fn asked(server: &TestServer, token: &str, query: &str) -> Value {
    sent(ask(server, "application/json", &json!({ "query": query })).bearer_auth(token)).await.1
}

/// Two people on the page of one task: its life, their chat about it, and who is typing.
#[tokio::test]
async fn two_people_in_the_room_of_a_task_talk_and_see_each_other_type_live_only() {
    const PAGE: &str = r#"subscription { events(filter: { taskId: "t1" }) {
        type ... on TaskEvent { status } ... on ChatEvent { content sender isTyping } } }"#;
    let access = Access::new();
    let (ada, bob) = (access.token("ada", May::All, None), access.token("bob", May::All, None));
    let server = access.server();
    let (mut hers, mut his) =
        (Socket::graphql_as(&server, &ada).await, Socket::graphql_as(&server, &bob).await);
    let before = hers.subscribe("page", PAGE).await;
    his.subscribe("page", PAGE).await;
    let story = [
        (
            &ada,
            r#"mutation { publish(event: { type: "task.started", taskId: "t1", userId: "ada", data: { status: "running" } }) { id } }"#,
        ),
        (&bob, r#"mutation { setTyping(roomId: "task:t1", taskId: "t1", isTyping: true) { id } }"#),
        (
            &bob,
            r#"mutation { sendMessage(roomId: "task:t1", taskId: "t1", message: "How far is it?") { id } }"#,
        ),
        (&ada, r#"mutation { setTyping(roomId: "task:t1", taskId: "t1", isTyping: true) { id } }"#),
        (&ada, r#"mutation { setTyping(roomId: "task:t1", taskId: "t1", isTyping: false) { id } }"#),
        (&ada, r#"mutation { sendMessage(roomId: "task:t1", taskId: "t1", message: "Done.") { id } }"#),
    ];
    for (who, mutation) in story {
        let answer = asked(&server, who, mutation).await;
        assert_eq!(answer["errors"], Value::Null, "{answer}");
    }
    let typing = |sender: &str, is_typing: bool| json!({ "type": "chat.typing", "content": null, "sender": sender, "isTyping": is_typing });
    let said = |sender: &str, content: &str| json!({ "type": "chat.message", "content": content, "sender": sender, "isTyping": null });
    let started = json!({ "type": "task.started", "status": "running" });
    let live = [
        started.clone(),
        typing("bob", true),
        said("bob", "How far is it?"),
        typing("ada", true),
        typing("ada", false),
        said("ada", "Done."),
    ];
    for socket in [&mut hers, &mut his] {
        for event in &live {
            assert_eq!(socket.data("page").await["events"], *event);
        }
    }
    his.close().await;

    // Whoever comes back gets what was said, and not who was typing.
    let mut his = Socket::graphql_as(&server, &bob).await;
    let again = PAGE
        .replace("{ taskId: \"t1\" }", &format!("{{ taskId: \"t1\" }}, start: {{ after: \"{before}\" }}"));
    his.subscribe("page", &again).await;
    for event in [started, said("bob", "How far is it?"), said("ada", "Done.")] {
        assert_eq!(his.data("page").await["events"], event);
    }
    his.nothing_more().await;
    his.close().await;
    hers.close().await;
}

#[tokio::test]
async fn a_room_of_the_same_name_in_another_organization_is_another_room() {
    let access = Access::new();
    let (ada, bob) = (
        access.token("ada", May::Organization("acme"), None),
        access.token("bob", May::Organization("bolt"), None),
    );
    let server = access.server();
    let mut his = Socket::graphql_as(&server, &bob).await;
    his.subscribe("room", r#"subscription { chat(roomId: "r") { content organizationId } }"#).await;
    // The id that hers has is free for him: he must not learn that it is taken.
    for (who, message) in [(&ada, "hers"), (&bob, "his")] {
        let send = format!(
            r#"mutation {{ sendMessage(roomId: "r", message: "{message}", id: "m1") {{ duplicate }} }}"#
        );
        let answer = asked(&server, who, &send).await;
        assert_eq!(answer["data"]["sendMessage"], json!({ "duplicate": false }), "{answer}");
    }
    assert_eq!(his.data("room").await["chat"], json!({ "content": "his", "organizationId": "bolt" }));
    his.nothing_more().await;
    his.close().await;
    for (who, expected) in [(&ada, "hers"), (&bob, "his")] {
        let answer = asked(
            &server,
            who,
            r#"{ messages(roomId: "r") { nodes { content } pageInfo { hasPreviousPage } } }"#,
        )
        .await;
        let page = json!({ "nodes": [{ "content": expected }], "pageInfo": { "hasPreviousPage": false } });
        assert_eq!(answer["data"]["messages"], page);
    }
    let send = r#"mutation { sendMessage(roomId: "r", message: "x", organizationId: "acme") { id } }"#;
    let answer = asked(&server, &bob, send).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN");
}

#[tokio::test]
async fn what_is_masked_in_messages_is_in_no_page_and_no_room() {
    let access = Access::with_policy(
        "[[masks]]\ntypes = ['chat.*']\npath = 'userId'\naction = 'drop'\nroles = ['guest']\n\
         [[masks]]\ntypes = ['chat.*']\npath = 'data.sender'\naction = 'drop'\nroles = ['guest']\n",
    );
    let (ada, guest) = (access.token("canary", May::All, None), access.token("guest", May::All, None));
    let server = access.server();
    let mut room = Socket::graphql_as(&server, &guest).await;
    room.subscribe(
        "room",
        r#"subscription { chat(roomId: "r") { type userId sender subject source data attributes } }"#,
    )
    .await;
    for mutation in [
        r#"mutation { setTyping(roomId: "r", isTyping: true) { id } }"#,
        r#"mutation { sendMessage(roomId: "r", message: "hi") { id } }"#,
    ] {
        let answer = asked(&server, &ada, mutation).await;
        assert_eq!(answer["errors"], Value::Null, "{answer}");
    }
    for expected in ["chat.typing", "chat.message"] {
        let event = room.data("room").await["chat"].clone();
        assert_eq!(event["type"], expected);
        assert!(!event.to_string().contains("canary"), "{event}");
    }
    room.close().await;
    let messages = r#"{ messages(roomId: "r") { nodes { userId sender content data } edges { node { userId sender data } } } }"#;
    let page = asked(&server, &guest, messages).await;
    assert_eq!(page["data"]["messages"]["nodes"][0]["content"], "hi", "{page}");
    assert!(!page.to_string().contains("canary"), "{page}");
}
