//! What one user has read, and what they have not, as several callers see it.

use crate::{
    auth::{Credential, Grant, Principal, View},
    event::{Rule, ScopeField},
    graphql::{
        GraphqlOptions, Schema, schema,
        testing::{ask, code, follow, hub_of, new_schema, publish},
    },
};
use async_graphql::Request;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};

const UNREAD: &str = "{ unreadNotifications { count isAtLeast readUpTo asOf nodes { id } } }";

/// Somebody who reads in these organizations, all where none is named, and may publish nothing.
fn reader(subject: &str, organizations: &[&str]) -> Principal {
    let ids: Vec<_> = organizations.iter().map(|id| (*id).to_owned()).collect();
    let rule = match ids.is_empty() {
        true => Rule::default(),
        false => Rule::default().with_ids(ScopeField::Organization, ids).unwrap(),
    };
    let grant = Grant::new(vec![rule], Vec::new(), false).unwrap();
    Principal::new(subject, Credential::Token { id: None, key: "k".into() }, grant, View::whole(), None)
}

async fn by(schema: &Schema, who: &Principal, query: &str) -> Value {
    ask(schema, Request::new(query).data(who.clone())).await
}

async fn unread(schema: &Schema, who: &Principal) -> Value {
    let answer = by(schema, who, UNREAD).await;
    assert_eq!(answer["errors"], Value::Null, "{answer}");
    answer["data"]["unreadNotifications"].clone()
}

fn ids(unread: &Value) -> Vec<&str> {
    unread["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect()
}

async fn mark(schema: &Schema, who: &Principal, up_to: &Value) -> Value {
    by(schema, who, &format!("mutation {{ markRead(upTo: {up_to}) {{ upTo moved }} }}")).await
}

/// The cursor of the event of this id.
async fn cursor(schema: &Schema, id: &str) -> Value {
    ask(schema, format!("{{ event(id: {id:?}) {{ cursor }} }}")).await["data"]["event"]["cursor"].clone()
}

/// Publishes events of these ids to a user.
async fn address(schema: &Schema, user: &str, ids: impl IntoIterator<Item = u32>) {
    let events: Vec<_> = ids
        .into_iter()
        .map(|id| format!(r#"{{"type":"task.completed","id":"{id}","userId":"{user}"}}"#))
        .collect();
    publish(schema, &events.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn what_was_read_counts_no_more_and_a_marker_never_goes_back() {
    let (schema, ada) = (new_schema(), reader("ada", &[]));
    address(&schema, "ada", 1..=3).await;
    address(&schema, "bob", 4..=4).await;
    let before = unread(&schema, &ada).await;
    assert_eq!(
        (&before["count"], &before["isAtLeast"], &before["readUpTo"]),
        (&json!(3), &json!(false), &Value::Null)
    );
    assert_eq!(ids(&before), ["1", "2", "3"]);

    let (first, second) = (cursor(&schema, "1").await, cursor(&schema, "2").await);
    let mut device = follow(
        &schema,
        Request::new("subscription { notifications { type userId data source } }").data(ada.clone()),
    );
    assert!(device.next().now_or_never().is_none());
    for (up_to, moved) in [(&second, true), (&second, false), (&first, false)] {
        let answer = mark(&schema, &ada, up_to).await;
        assert_eq!(answer["data"]["markRead"], json!({ "upTo": second, "moved": moved }), "{answer}");
    }
    let told = json!({ "type": "notification.read", "userId": "ada", "data": { "upTo": second }, "source": "/notifications" });
    assert_eq!(device.next().await.unwrap()["data"]["notifications"], told);
    assert!(device.next().now_or_never().is_none(), "what did not move is not told");

    let after = unread(&schema, &ada).await;
    assert_eq!((&after["count"], &after["readUpTo"], ids(&after)), (&json!(1), &second, vec!["3"]));
    // What was counted is marked whole, and what comes then counts.
    assert_eq!(mark(&schema, &ada, &after["asOf"]).await["data"]["markRead"]["moved"], true);
    assert_eq!(unread(&schema, &ada).await["count"], 0);
    address(&schema, "ada", 5..=5).await;
    assert_eq!(ids(&unread(&schema, &ada).await), ["5"]);
    assert_eq!(unread(&schema, &reader("bob", &[])).await["count"], 1);
}

#[tokio::test]
async fn what_somebody_says_in_a_room_is_no_notification_for_them() {
    let (schema, ada) = (new_schema(), reader("ada", &[]));
    publish(
        &schema,
        &[
            r#"{"type":"chat.message","roomId":"r","userId":"ada"}"#,
            r#"{"type":"notification.read","userId":"ada"}"#,
            r#"{"type":"notification.created","id":"own","userId":"ada"}"#,
        ],
    )
    .await;
    assert_eq!(ids(&unread(&schema, &ada).await), ["own"]);
}

#[tokio::test]
async fn a_thousand_are_counted_and_the_oldest_are_shown() {
    let (schema, ada) = (new_schema(), reader("ada", &[]));
    address(&schema, "ada", 0..1_000).await;
    let all = unread(&schema, &ada).await;
    assert_eq!((&all["count"], &all["isAtLeast"], ids(&all).len()), (&json!(1_000), &json!(false), 20));
    address(&schema, "ada", 1_000..1_003).await;
    let most = unread(&schema, &ada).await;
    assert_eq!((&most["count"], &most["isAtLeast"]), (&json!(1_000), &json!(true)));
    assert_eq!(most["asOf"], cursor(&schema, "999").await, "up to where was counted");
    mark(&schema, &ada, &most["asOf"]).await;
    let rest = unread(&schema, &ada).await;
    assert_eq!((ids(&rest), &rest["isAtLeast"]), (vec!["1000", "1001", "1002"], &json!(false)));
    let none = by(&schema, &ada, "{ unreadNotifications(first: 0) { count nodes { id } } }").await;
    assert_eq!(none["data"]["unreadNotifications"], json!({ "count": 3, "nodes": [] }));
}

#[tokio::test]
async fn a_marker_outlives_the_events_around_it() {
    let (schema, ada) = (schema(hub_of(4), &GraphqlOptions::default()), reader("ada", &[]));
    address(&schema, "ada", 1..=2).await;
    let marked = cursor(&schema, "2").await;
    assert_eq!(mark(&schema, &ada, &marked).await["data"]["markRead"]["moved"], true);
    address(&schema, "ada", 3..=12).await;
    let left = unread(&schema, &ada).await;
    assert_eq!((ids(&left), &left["readUpTo"]), (vec!["9", "10", "11", "12"], &marked));
    assert_eq!(code(&mark(&schema, &ada, &marked).await), "CURSOR_EXPIRED");
}

#[tokio::test]
async fn a_reader_of_one_organization_has_a_marker_there_and_learns_of_it() {
    let schema = new_schema();
    let (here, there) = (reader("ada", &["acme"]), reader("ada", &["bolt"]));
    publish(
        &schema,
        &[
            r#"{"type":"task.completed","id":"a","userId":"ada","organizationId":"acme"}"#,
            r#"{"type":"task.completed","id":"b","userId":"ada","organizationId":"bolt"}"#,
        ],
    )
    .await;
    let mut device =
        follow(&schema, Request::new("subscription { notifications { organizationId } }").data(here.clone()));
    assert!(device.next().now_or_never().is_none());
    let head = unread(&schema, &here).await["asOf"].clone();
    assert_eq!(mark(&schema, &here, &head).await["data"]["markRead"]["moved"], true);
    assert_eq!(device.next().await.unwrap()["data"]["notifications"], json!({ "organizationId": "acme" }));
    assert_eq!(unread(&schema, &here).await["count"], 0);
    assert_eq!(ids(&unread(&schema, &there).await), ["b"]);
}

#[tokio::test]
async fn marking_takes_no_grant_to_publish_and_gives_none() {
    let (schema, ada) = (new_schema(), reader("ada", &["acme"]));
    let head = unread(&schema, &ada).await["asOf"].clone();
    assert_eq!(mark(&schema, &ada, &head).await["errors"], Value::Null);
    let forged = r#"mutation { publish(event: { type: "notification.read", userId: "ada", organizationId: "acme" }) { id } }"#;
    assert_eq!(code(&by(&schema, &ada, forged).await), "FORBIDDEN");
}

#[tokio::test]
async fn who_is_not_signed_in_and_what_is_no_position_is_refused() {
    let (schema, ada) = (new_schema(), reader("ada", &[]));
    let nobody = Principal::anonymous();
    let other = unread(&new_schema(), &ada).await["asOf"].clone();
    assert_eq!(code(&by(&schema, &nobody, UNREAD).await), "UNAUTHENTICATED");
    assert_eq!(code(&mark(&schema, &nobody, &other).await), "UNAUTHENTICATED");
    assert_eq!(code(&mark(&schema, &ada, &other).await), "EPOCH_CHANGED");
    assert_eq!(code(&mark(&schema, &ada, &json!("x")).await), "CURSOR_INVALID");
    let hub = schema.data::<crate::hub::Hub>().unwrap();
    let ahead = hub.epoch().seal(hub.bounds().head.next()).to_string();
    assert_eq!(code(&mark(&schema, &ada, &json!(ahead)).await), "CURSOR_AHEAD");
    for first in [-1, 1_001] {
        let answer =
            by(&schema, &ada, &format!("{{ unreadNotifications(first: {first}) {{ count }} }}")).await;
        assert_eq!(
            (code(&answer), &answer["errors"][0]["extensions"]["field"]),
            ("BAD_REQUEST", &json!("first"))
        );
    }
    assert_eq!(unread(&schema, &ada).await["readUpTo"], Value::Null, "what was refused has marked nothing");
}
