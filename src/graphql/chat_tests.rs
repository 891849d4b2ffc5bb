//! Chat as one caller after the other sees it.

use crate::{
    auth::{Credential, Grant, Principal, View},
    event::{Rule, ScopeField},
    graphql::{
        Schema,
        testing::{ask, code, follow, new_schema},
    },
};
use async_graphql::{Request, Variables};
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};

const SEND: &str = "mutation($room: ID!, $message: JSON!, $id: ID, $task: ID) {
    sendMessage(roomId: $room, message: $message, id: $id, taskId: $task) { id cursor duplicate } }";
const FOLLOW: &str = "subscription($room: ID!, $start: StartPosition) {
    chat(roomId: $room, start: $start) { type userId subject persist taskId message content sender isTyping } }";
const MESSAGES: &str =
    "query($room: ID!, $first: Int, $after: Cursor) { messages(roomId: $room, first: $first, after: $after) {
    nodes { content cursor } edges { cursor } pageInfo { hasNextPage endCursor } } }";

/// Somebody with a credential, who may publish where these ids are.
fn member(subject: &str, publish: &[(ScopeField, &[&str])]) -> Principal {
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    let rule = publish
        .iter()
        .fold(Rule::default(), |rule, (field, allowed)| rule.with_ids(*field, ids(allowed)).unwrap());
    let grant = Grant::new(vec![Rule::default()], vec![rule], false).unwrap();
    let credential = Credential::Token { id: None, key: "k".into() };
    Principal::new(subject, credential, grant, View::whole(), None)
}

fn request(query: &str, variables: Value) -> Request {
    Request::new(query).variables(Variables::from_json(variables))
}

/// The mutation of this text inside braces, by somebody.
async fn mutate(schema: &Schema, by: &Principal, mutation: &str) -> Value {
    ask(schema, Request::new(format!("mutation {{ {mutation} {{ id cursor duplicate }} }}")).data(by.clone()))
        .await
}

#[tokio::test]
async fn what_is_said_and_who_is_typing_reach_the_room_with_their_sender() {
    let (schema, ada) = (new_schema(), member("ada", &[]));
    let mut room = follow(&schema, request(FOLLOW, json!({ "room": "r" })));
    assert!(room.next().now_or_never().is_none(), "nothing was said yet");
    mutate(&schema, &ada, r#"setTyping(roomId: "r", isTyping: true, taskId: "t")"#).await;
    mutate(&schema, &ada, r#"sendMessage(roomId: "r", message: "Hallo", taskId: "t")"#).await;
    mutate(&schema, &ada, r#"sendMessage(roomId: "other", message: "not here")"#).await;
    mutate(&schema, &Principal::anonymous(), r#"sendMessage(roomId: "r", message: { text: "Hi", n: 1.0 })"#)
        .await;

    let typing = room.next().await.unwrap()["data"]["chat"].clone();
    assert!(typing["subject"].as_str().is_some_and(|subject| !subject.contains("ada")), "{typing}");
    let expected = json!({ "type": "chat.typing", "userId": "ada", "subject": typing["subject"], "persist": false,
        "taskId": "t", "message": null, "content": null, "sender": "ada", "isTyping": true });
    assert_eq!(typing, expected);
    let said = json!({ "type": "chat.message", "userId": "ada", "subject": null, "persist": true,
        "taskId": "t", "message": "Hallo", "content": "Hallo", "sender": "ada", "isTyping": null });
    assert_eq!(room.next().await.unwrap()["data"]["chat"], said);
    let said = json!({ "type": "chat.message", "userId": null, "subject": null, "persist": true,
        "taskId": null, "message": { "text": "Hi", "n": 1.0 }, "content": null, "sender": null, "isTyping": null });
    assert_eq!(room.next().await.unwrap()["data"]["chat"], said);
}

/// A feed that keeps the latest of each subject must not let one room, or one person, replace another.
#[tokio::test]
async fn the_subject_of_typing_is_one_for_each_person_in_each_room() {
    let schema = new_schema();
    let mut all = follow(&schema, "subscription { events { subject } }");
    assert!(all.next().now_or_never().is_none());
    let mut subjects = Vec::new();
    for (name, room) in [("ada", "r"), ("bob", "r"), ("ada", "s"), ("ada", "r")] {
        mutate(&schema, &member(name, &[]), &format!(r#"setTyping(roomId: "{room}", isTyping: true)"#)).await;
        subjects.push(all.next().await.unwrap()["data"]["events"]["subject"].clone());
    }
    assert_eq!(subjects[0], subjects[3]);
    assert!(
        subjects[0] != subjects[1] && subjects[0] != subjects[2] && subjects[1] != subjects[2],
        "{subjects:?}"
    );
}

#[tokio::test]
async fn the_sender_is_the_user_whom_the_grant_allows() {
    let schema = new_schema();
    let mut all = follow(&schema, "subscription { events { userId organizationId } }");
    assert!(all.next().now_or_never().is_none());
    let cases = [
        (
            member("ada", &[(ScopeField::Organization, &["o"])]),
            json!({ "userId": "ada", "organizationId": "o" }),
        ),
        (
            member("ada", &[(ScopeField::User, &["ada", "eva"])]),
            json!({ "userId": "ada", "organizationId": null }),
        ),
        (member("ada", &[(ScopeField::User, &["7"])]), json!({ "userId": "7", "organizationId": null })),
        (member("Ada L.", &[]), json!({ "userId": null, "organizationId": null })),
    ];
    for (by, expected) in cases {
        mutate(&schema, &by, r#"sendMessage(roomId: "r", message: "x")"#).await;
        assert_eq!(all.next().await.unwrap()["data"]["events"], expected, "{by:?}");
    }
    let elsewhere = member("ada", &[(ScopeField::Room, &["s"])]);
    for mutation in [r#"sendMessage(roomId: "r", message: "x")"#, r#"setTyping(roomId: "r", isTyping: true)"#]
    {
        let answer = mutate(&schema, &elsewhere, mutation).await;
        assert_eq!(
            (code(&answer), &answer["errors"][0]["extensions"]["field"]),
            ("FORBIDDEN", &json!("roomId"))
        );
    }
    assert!(all.next().now_or_never().is_none(), "what was refused is not published");
}

#[tokio::test]
async fn a_message_that_is_sent_again_is_said_once() {
    let schema = new_schema();
    let said = |message: &str| request(SEND, json!({ "room": "r", "message": message, "id": "m1" }));
    let first = ask(&schema, said("once")).await["data"]["sendMessage"].clone();
    let again = ask(&schema, said("once")).await["data"]["sendMessage"].clone();
    assert_eq!((&first["id"], &first["duplicate"]), (&json!("m1"), &json!(false)));
    assert_eq!((&again["cursor"], &again["duplicate"]), (&first["cursor"], &json!(true)));
    assert_eq!(code(&ask(&schema, said("another")).await), "ID_CONFLICT");
}

#[tokio::test]
async fn the_pages_of_a_room_and_what_follows_them_are_without_a_gap() {
    let schema = new_schema();
    for number in 0..5 {
        for (room, message) in [("r", number.to_string()), ("s", "elsewhere".to_owned())] {
            ask(&schema, request(SEND, json!({ "room": room, "message": message }))).await;
        }
        mutate(&schema, &member("ada", &[]), r#"setTyping(roomId: "r", isTyping: true)"#).await;
    }
    let (mut seen, mut after) = (Vec::new(), Value::Null);
    loop {
        let answer =
            ask(&schema, request(MESSAGES, json!({ "room": "r", "first": 2, "after": after }))).await;
        let page = &answer["data"]["messages"];
        seen.extend(page["nodes"].as_array().unwrap().iter().map(|node| node["content"].clone()));
        assert_eq!(page["edges"][0]["cursor"], page["nodes"][0]["cursor"]);
        after = page["pageInfo"]["endCursor"].clone();
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
    }
    ask(&schema, request(SEND, json!({ "room": "r", "message": "5" }))).await;
    let mut room = follow(&schema, request(FOLLOW, json!({ "room": "r", "start": { "after": after } })));
    ask(&schema, request(SEND, json!({ "room": "r", "message": "6" }))).await;
    for _ in 0..2 {
        seen.push(room.next().await.unwrap()["data"]["chat"]["content"].clone());
    }
    assert_eq!(seen, (0..7).map(|number| json!(number.to_string())).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_cannot_be_said_is_refused_by_its_field_and_its_limit() {
    let schema = new_schema();
    let text = |bytes: usize| json!("x".repeat(bytes - 2));
    let cases = [
        ("", json!("x"), "INVALID_EVENT", "roomId", "1 to 128 visible ASCII"),
        (&"r".repeat(129), json!("x"), "INVALID_EVENT", "roomId", "1 to 128 visible ASCII"),
        ("a room", json!("x"), "INVALID_EVENT", "roomId", "1 to 128 visible ASCII"),
        ("r", json!(""), "INVALID_EVENT", "message", "not empty, 32768 bytes"),
        ("r", json!(" \n\t"), "INVALID_EVENT", "message", "not empty, 32768 bytes"),
        ("r", json!({}), "INVALID_EVENT", "message", "not empty, 32768 bytes"),
        ("r", json!([]), "INVALID_EVENT", "message", "not empty, 32768 bytes"),
        ("r", text(32 * 1024 + 1), "TOO_LARGE", "message", "32768 bytes"),
    ];
    for (room, message, expected, field, allowed) in cases {
        let answer = ask(&schema, request(SEND, json!({ "room": room, "message": message }))).await;
        let told = &answer["errors"][0]["extensions"];
        assert_eq!((code(&answer), &told["field"]), (expected, &json!(field)), "{answer}");
        assert!(told["allowed"].as_str().unwrap().contains(allowed), "{answer}");
    }
    let answer = ask(&schema, request(SEND, json!({ "room": "r", "message": null }))).await;
    assert_eq!(answer["data"], Value::Null, "{answer}");
    let answer = ask(&schema, request(SEND, json!({ "room": "r", "message": text(32 * 1024) }))).await;
    assert_eq!(answer["errors"], Value::Null, "{answer}");
    let answer = mutate(&schema, &Principal::anonymous(), r#"setTyping(roomId: "", isTyping: true)"#).await;
    assert_eq!(code(&answer), "INVALID_EVENT");

    for (room, arguments, expected) in [
        ("", json!({}), "INVALID_FILTER"),
        ("r", json!({ "first": 0 }), "BAD_REQUEST"),
        ("r", json!({ "after": "x" }), "CURSOR_INVALID"),
    ] {
        let mut variables = json!({ "room": room });
        variables.as_object_mut().unwrap().extend(arguments.as_object().unwrap().clone());
        assert_eq!(code(&ask(&schema, request(MESSAGES, variables)).await), expected);
    }
}
