//! Events with a canary in every place that can be masked, rules that mask them all, and those who are masked or spared.

use fanfare::{
    auth::{Action, MaskDraft, MaskKey, Masks},
    event::{Draft, Limits, NewEvent, ScopeField},
};
use serde_json::{Value, json};

/// In each value that is masked, and nowhere else. Its end may be shown by `partial`, its beginning never.
pub(super) const CANARY: &str = "canary";
/// The roles of the policy: masked by name, spared by name, and one that no rule names.
pub(super) const ROLES: [&str; 3] = ["member", "support", "other"];

/// Paths into the data of [`events`]; each holds a canary somewhere.
const PATHS: [&str; 12] = [
    "data.name",
    "data.status",
    "data.message.text",
    "data.content",
    "data.snapshot.*[*]",
    "data.items.x",
    "data.rows[*].cells[*]",
    "data.password",
    "data.conn_id",
    "data.value.*.deep",
    r#"data."a.b""#,
    "data.error",
];

pub(super) fn canary(place: &str) -> String {
    format!("{CANARY}-{place}-0042")
}

/// [`texts`], checked.
pub(super) fn events() -> Vec<NewEvent> {
    checked(texts())
}

/// [`transient_texts`], checked.
pub(super) fn transient_events() -> Vec<NewEvent> {
    checked(transient_texts())
}

fn checked(texts: Vec<String>) -> Vec<NewEvent> {
    let event = |text: String| NewEvent::new(Draft::from_json(&text).unwrap(), &Limits::default()).unwrap();
    texts.into_iter().map(event).collect()
}

/// As many as [`texts`] and like them, under other ids, delivered and not kept.
pub(super) fn transient_texts() -> Vec<String> {
    let passing = |text: String| {
        let renamed = text.replacen(r#""id":"e"#, r#""id":"t"#, 1);
        renamed.replacen('{', r#"{"persist":false,"#, 1)
    };
    texts().into_iter().map(passing).collect()
}

/// One event of each family that a form treats in its own way, and one with binary data.
pub(super) fn texts() -> Vec<String> {
    let types = [
        "agent.log",
        "chat.message",
        "presence.changed",
        "health.snapshot",
        "task.progress",
        "state.updated",
        "x.custom",
    ];
    let mut drafts: Vec<Value> =
        types.iter().map(|event_type| json!({ "type": event_type, "data": "DATA" })).collect();
    drafts.push(json!({ "type": "x.binary", "dataBase64": "Y2FuYXJ5LWJpbmFyeQ==" }));
    let plain = json!({
        "name": canary("name"), "status": canary("status"), "message": { "text": canary("text"), "open": "message" },
        "content": canary("content"), "snapshot": { "a": [canary("a"), [canary("b")]] }, "progress": 7, "key": "key",
        "items": [{ "x": canary("x") }, [{ "x": { "deeper": canary("y") } }]], "rows": [{ "cells": [canary("cell"), 1] }],
        "conn_id": canary("connection"), "value": { "v": [{ "deep": canary("deep") }] }, "a.b": canary("dots"),
        "error": canary("error"), "open": "everybody sees this",
    });
    // The key of the password is written with an escape.
    let data = plain.to_string().replacen('{', &format!(r#"{{"p\u0061ssword":"{}","#, canary("password")), 1);
    let event = |(number, mut draft): (usize, Value)| {
        for field in ScopeField::ALL.map(ScopeField::camel).into_iter().chain(["subject", "correlationId"]) {
            draft[field] = canary(field).into();
        }
        draft["id"] = format!("e{number}").into();
        draft["source"] = format!("/{}", canary("source")).into();
        draft["attributes"] = json!({ "dataschema": canary("schema"), "open": "yes" });
        draft.to_string().replace("\"DATA\"", &data)
    };
    drafts.into_iter().enumerate().map(event).collect()
}

/// The rules of [`drafts`].
pub(super) fn masks(action: Action) -> Masks {
    Masks::new(drafts(action), MaskKey::new([5; 32])).unwrap()
}

/// Rules that mask every place with one action, or with the nearest one that the place allows.
pub(super) fn drafts(action: Action) -> Vec<MaskDraft> {
    let fields = ScopeField::ALL.map(ScopeField::camel).into_iter();
    let paths = PATHS.into_iter().chain(fields).chain([
        "subject",
        "correlationId",
        "source",
        "dataBase64",
        "attributes.dataschema",
    ]);
    let draft = |(at, path): (usize, &str)| {
        let action = match (path, action) {
            ("source", Action::Drop | Action::Null) => Action::Hash,
            ("dataBase64", Action::Hash | Action::Partial) => Action::Drop,
            (_, action) => action,
        };
        // Both ways to say whom a rule concerns.
        let (roles, except) = match at % 2 {
            0 => (Some(vec!["member".to_owned()]), None),
            _ => (None, Some(vec!["support".to_owned(), "other".to_owned()])),
        };
        MaskDraft { types: vec!["*".to_owned()], path: path.to_owned(), action, roles, except }
    };
    paths.enumerate().map(draft).collect()
}

/// Readers by their roles, and whether everything is masked for them.
pub(super) const READERS: [(&[&str], bool); 7] = [
    (&["member"], true),
    (&["support"], false),
    (&["other", "support"], false),
    (&["member", "support"], true),
    (&[], true),
    (&["stranger"], true),
    (&["support", "stranger"], true),
];

/// Every field of every object.
pub(super) const FIELDS: &str = "id type action time source subject organizationId domainId instanceId agentId taskId workflowId userId \
    roomId correlationId priority cursor data dataBase64 attributes \
    ...on AgentEvent{name displayName status message error} ...on ChatEvent{message content sender} \
    ...on PresenceEvent{connectionId status} ...on HealthEvent{status snapshot} \
    ...on TaskEvent{name status progress message result error} ...on StateEvent{key value previous} \
    ...on CustomEvent{name status message}";
