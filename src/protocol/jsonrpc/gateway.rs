//! What the gateway's own clients understand: their form of an event, and which events they get unasked.
//!
//! Not here: the connection's filter in force (`session`), delivering (`server`).

use crate::{
    error::Refusal,
    event::{Event, EventFilter, Family, FilterDraft, ScopeField, write_event},
    protocol::text::push_string,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The families that a gateway client gets until it asks for others.
pub const GATEWAY_FAMILIES: [Family; 4] = [Family::Presence, Family::Health, Family::Agent, Family::Chat];

/// What a gateway client receives from the moment it connects.
pub(super) fn default_filter() -> EventFilter {
    let categories = GATEWAY_FAMILIES.into_iter().filter_map(Family::segment).map(str::to_owned).collect();
    EventFilter::new(FilterDraft { categories: Some(categories), ..FilterDraft::default() })
        .expect("four families with a name each are a filter")
}

/// The filter of `gateway.subscribe`: `events` are families; a filter that names neither families nor types keeps to the
/// default ones. Fails with `INVALID_FILTER`.
pub fn gateway_filter(
    events: Option<Vec<String>>,
    filter: Option<FilterDraft>,
) -> Result<EventFilter, Refusal> {
    let mut draft = filter.unwrap_or_default();
    if let Some(events) = events {
        if let Some(given) = draft.categories {
            let allowed = "either events or filter.categories, which mean the same";
            let code = crate::error::Code::InvalidFilter;
            return Err(Refusal::field(code, "filter.categories", &given.join(", "), allowed));
        }
        let only = FilterDraft { categories: Some(events.clone()), ..FilterDraft::default() };
        EventFilter::new(only).map_err(|refusal| renamed(refusal, "categories", "events"))?;
        draft.categories = Some(events);
    }
    let names_types = draft.types.is_some()
        || draft.categories.is_some()
        || draft.any_of.iter().flatten().any(|one| one.types.is_some() || one.categories.is_some());
    if !names_types {
        let families = GATEWAY_FAMILIES.into_iter().filter_map(Family::segment);
        draft.categories = Some(families.map(str::to_owned).collect());
    }
    EventFilter::new(draft).map_err(|refusal| renamed(refusal, "", "filter."))
}

/// The same refusal with another beginning of its field's path.
pub(super) fn renamed(mut refusal: Refusal, from: &str, to: &str) -> Refusal {
    let rename = |text: &str| text.strip_prefix(from).map(|rest| format!("{to}{rest}"));
    if let Some((_, field)) = refusal.details.iter_mut().find(|(name, _)| *name == "field") {
        if let Some(message) = refusal.message.strip_prefix(field.as_str()) {
            refusal.message = format!("{}{message}", rename(field).unwrap_or_default()).into();
        }
        if let Some(path) = rename(field) {
            *field = path;
        }
    }
    refusal
}

/// What the gateway reads from an event's data.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Data<'a> {
    #[serde(borrow)]
    conn_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "connectionId")]
    connection_id: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    snapshot: Option<&'a RawValue>,
}

/// Appends the gateway's form of an event, the `params` of `gateway.event`: an object tagged by `type`. Families that the
/// gateway does not know come as `{"type":"Event","event":{…the whole event…}}`.
pub fn write_gateway_event(event: &Event, out: &mut String) {
    let json = event.data().as_str();
    // Data that is no object has none of these members.
    let data: Data<'_> = match json.starts_with('{') {
        true => serde_json::from_str(json).unwrap_or_default(),
        false => Data::default(),
    };
    let scope = |field| event.scope().get(field).unwrap_or_default();
    let family = event.event_type().family();
    if family == Family::Presence {
        let connection = data.conn_id.and_then(text).or_else(|| data.connection_id.and_then(text));
        let connection = connection.unwrap_or_else(|| event.subject().unwrap_or_default().into());
        let status = data.status.and_then(text).unwrap_or_else(|| event.event_type().action().into());
        out.push_str(r#"{"type":"Presence","conn_id":"#);
        push_string(out, &connection);
        out.push_str(r#","status":"#);
        push_string(out, &status);
    } else if family == Family::Health {
        out.push_str(r#"{"type":"Health","snapshot":"#);
        out.push_str(data.snapshot.map_or(json, RawValue::get));
    } else if family == Family::Agent {
        out.push_str(r#"{"type":"Agent","agent_id":"#);
        push_string(out, scope(ScopeField::Agent));
        out.push_str(r#","event":"#);
        push_string(out, event.event_type().action());
    } else if family == Family::Chat {
        out.push_str(r#"{"type":"Chat","room_id":"#);
        push_string(out, scope(ScopeField::Room));
        out.push_str(r#","message":"#);
        out.push_str(data.message.map_or(json, RawValue::get));
    } else {
        out.push_str(r#"{"type":"Event","event":"#);
        write_event(event, out);
    }
    out.push('}');
}

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<String>(raw.get()).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Draft, Epoch, Limits, NewEvent, Offset};
    use serde_json::{Value, json};

    fn event(json: &Value) -> Event {
        let draft = Draft::from_json(&json.to_string()).unwrap();
        Event::logged(NewEvent::new(draft, &Limits::default()).unwrap(), Epoch::new([1; 16]), Offset::new(1))
    }

    fn written(json: &Value) -> Value {
        let mut out = String::new();
        write_gateway_event(&event(json), &mut out);
        serde_json::from_str(&out).unwrap()
    }

    #[test]
    fn each_family_of_the_gateway_has_its_form() {
        let cases = [
            (
                json!({"type": "presence.changed", "data": {"conn_id": "c1", "status": "away"}}),
                json!({"type": "Presence", "conn_id": "c1", "status": "away"}),
            ),
            (
                json!({"type": "presence.connected", "data": {"connectionId": "c2"}}),
                json!({"type": "Presence", "conn_id": "c2", "status": "connected"}),
            ),
            (
                json!({"type": "presence.connected", "subject": "c3", "data": [1]}),
                json!({"type": "Presence", "conn_id": "c3", "status": "connected"}),
            ),
            (
                json!({"type": "presence.connected", "data": {"conn_id": 7, "status": null}}),
                json!({"type": "Presence", "conn_id": "", "status": "connected"}),
            ),
            (
                json!({"type": "health.snapshot", "data": {"ok": true}}),
                json!({"type": "Health", "snapshot": {"ok": true}}),
            ),
            (
                json!({"type": "health.snapshot", "data": {"status": "healthy", "snapshot": {"queue": 0}}}),
                json!({"type": "Health", "snapshot": {"queue": 0}}),
            ),
            (
                json!({"type": "agent.status_changed", "agentId": "a1"}),
                json!({"type": "Agent", "agent_id": "a1", "event": "status_changed"}),
            ),
            (
                json!({"type": "chat.message", "roomId": "r1", "data": {"message": {"text": "hi"}}}),
                json!({"type": "Chat", "room_id": "r1", "message": {"text": "hi"}}),
            ),
            (
                json!({"type": "chat.message", "roomId": "r1", "data": {"message": null}}),
                json!({"type": "Chat", "room_id": "r1", "message": {"message": null}}),
            ),
            (
                json!({"type": "chat.message", "data": "hi"}),
                json!({"type": "Chat", "room_id": "", "message": "hi"}),
            ),
        ];
        for (given, expected) in cases {
            assert_eq!(written(&given), expected, "{given}");
        }
    }

    #[test]
    fn another_family_comes_whole() {
        let value = written(&json!({"type": "task.created", "id": "e1", "taskId": "t1", "data": {"n": 1}}));
        assert_eq!((&value["type"], &value["event"]["type"]), (&json!("Event"), &json!("task.created")));
        assert_eq!((&value["event"]["taskId"], &value["event"]["data"]), (&json!("t1"), &json!({"n": 1})));
        assert!(value["event"]["cursor"].is_string());
    }

    fn meets(params: (Option<&[&str]>, Option<Value>), types: &[&str]) -> Vec<bool> {
        let events = params.0.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let filter =
            gateway_filter(events, params.1.map(|value| serde_json::from_value(value).unwrap())).unwrap();
        types
            .iter()
            .map(|name| filter.matches(&event(&json!({"type": name, "organizationId": "q"}))))
            .collect()
    }

    #[test]
    fn other_families_come_to_those_who_ask_only() {
        let types = ["agent.created", "chat.message", "task.created", "x"];
        assert_eq!(meets((None, None), &types), [true, true, false, false]);
        assert_eq!(meets((None, Some(json!({"organizationId": "q"}))), &types), [true, true, false, false]);
        assert_eq!(meets((Some(&["agent", "task"]), None), &types), [true, false, true, false]);
        assert_eq!(meets((None, Some(json!({"types": ["*"]}))), &types), [true, true, true, true]);
        assert_eq!(
            meets((None, Some(json!({"anyOf": [{"types": ["x"]}]}))), &types),
            [false, false, false, true]
        );
        let both = (Some(&["agent", "custom"][..]), Some(json!({"organizationId": "other"})));
        assert_eq!(meets(both, &types), [false; 4]);
    }

    #[test]
    fn a_refused_family_is_named_as_the_client_wrote_it() {
        let refusal =
            gateway_filter(Some(vec!["agent".to_owned(), "Presence".to_owned()]), None).unwrap_err();
        assert_eq!(refusal.detail("field"), Some("events[1]"));
        assert!(refusal.message.starts_with("events[1]: \"Presence\""), "{refusal}");
        let draft = serde_json::from_value(json!({"types": ["a..b"]})).unwrap();
        assert_eq!(gateway_filter(None, Some(draft)).unwrap_err().detail("field"), Some("filter.types[0]"));
        let draft = serde_json::from_value(json!({"categories": ["task"]})).unwrap();
        let refusal = gateway_filter(Some(vec!["agent".to_owned()]), Some(draft)).unwrap_err();
        assert_eq!(refusal.detail("field"), Some("filter.categories"));
        assert!(gateway_filter(Some(Vec::new()), None).is_err());
    }
}
