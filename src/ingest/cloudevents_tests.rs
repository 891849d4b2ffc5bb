//! CloudEvents in and out, against the tables of its specification.

use super::*;
use crate::event::{Epoch, Limits, Offset};
use proptest::prelude::*;
use serde_json::json;

/// The smallest event with more or other members; `null` takes one away.
fn event(changes: &Value) -> String {
    let mut event = json!({"specversion": "1.0", "id": "1", "type": "io.example.test", "source": "/test"});
    for (name, value) in changes.as_object().unwrap() {
        event.as_object_mut().unwrap().insert(name.clone(), value.clone());
    }
    event.to_string()
}

fn read(text: &str) -> Result<NewEvent, Refusal> {
    NewEvent::new(read_json(text)?, &Limits::default())
}

fn written(event: &NewEvent) -> String {
    let mut out = String::new();
    write(event, None, &mut out);
    out
}

#[test]
fn every_kind_of_valid_event_is_read() {
    let cases = [
        json!({}),
        json!({"datacontenttype": null, "dataschema": null, "subject": null, "time": null, "ext": null}),
        json!({"datacontenttype": "text/plain", "dataschema": "https://example.org/s", "subject": "tests"}),
        json!({"time": "2018-04-05T17:31:00Z"}),
        json!({"time": "2018-04-05T17:31:00.000000000Z"}),
        json!({"time": "2018-04-05T18:31:00+01:00"}),
        json!({"time": "2018-04-05T16:31:00-01:00"}),
        json!({"source": "#fragment"}),
        json!({"type": "com.github.pull_request.opened"}),
        json!({"datacontenttype": "text/plain", "data": "Simple text"}),
        json!({"data": null, "data_base64": "TWE="}),
        json!({"extinteger": -10, "extboolean": true, "exttext": "", "exturi": "//authority/path"}),
    ];
    for case in cases {
        let event = read(&event(&case)).unwrap_or_else(|refusal| panic!("{case}: {refusal}"));
        if let Some(time) = case["time"].as_str() {
            assert_eq!(event.time().timestamp(), 1_522_949_460, "{time}");
        }
    }
}

#[test]
fn every_kind_of_invalid_event_is_refused_by_the_name_of_its_attribute() {
    let cases = [
        (json!({"specversion": null}), "specversion"),
        (json!({"specversion": ""}), "specversion"),
        (json!({"specversion": "0.9"}), "specversion"),
        (json!({"specversion": 1.0}), "specversion"),
        (json!({"id": null}), "id"),
        (json!({"id": ""}), "id"),
        (json!({"id": 25}), "id"),
        (json!({"id": {"xyz": "abc"}}), "id"),
        (json!({"type": null}), "type"),
        (json!({"type": ""}), "type"),
        (json!({"type": "com.example/foo"}), "type"),
        (json!({"source": null}), "source"),
        (json!({"source": ""}), "source"),
        (json!({"subject": ""}), "subject"),
        (json!({"time": "lunchtime"}), "time"),
        (json!({"time": "2018-04-05T18:31Z"}), "time"),
        (json!({"time": "2018-04-05T18:31:00X"}), "time"),
        (json!({"time": "2018-04-05T18:31:00+25:00"}), "time"),
        (json!({"time": "2018-04-05T18:31:00+xx:00"}), "time"),
        (json!({"time": "2018-04-05T18:31:00+05"}), "time"),
        (json!({"time": 1_522_949_460}), "time"),
        (json!({"datacontenttype": "xyz"}), "datacontenttype"),
        (json!({"datacontenttype": ""}), "datacontenttype"),
        (json!({"dataschema": ""}), "dataschema"),
        (json!({"MyExtension": "bad"}), "MyExtension"),
        (json!({"my.extension": "bad"}), "my.extension"),
        (json!({"": "bad"}), ""),
        (json!({"ext": 1.5}), "ext"),
        (json!({"ext": 9_223_372_036_854_775_808_u64}), "ext"),
        (json!({"ext": [1]}), "ext"),
        (json!({"taskid": 5}), "taskid"),
        (json!({"taskid": ""}), "taskid"),
        (json!({"priority": "URGENT"}), "priority"),
        (json!({"data": "text", "data_base64": "TWE="}), "data_base64"),
        (json!({"data_base64": 5}), "data_base64"),
    ];
    for (case, field) in cases {
        let refusal = read(&event(&case)).expect_err(&case.to_string());
        assert_eq!((refusal.code, refusal.detail("field")), (Code::InvalidEvent, Some(field)), "{case}");
        assert!(refusal.detail("given").is_some() && refusal.detail("allowed").is_some(), "{refusal:?}");
    }
}

#[test]
fn broken_json_and_what_is_no_object_are_bad_requests() {
    let twice = r#"{"specversion":"1.0","id":"1","id":"2","type":"a","source":"/"}"#;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let hidden = event(&json!({})).replace('}', &format!(r#","data":{deep}}}"#));
    let surrogate = event(&json!({})).replace("/test", r"\ud800");
    for bad in ["", "{", "[]", "\"text\"", twice, &deep, &hidden, &surrogate] {
        let refusal = read(bad).expect_err(bad);
        assert_eq!(refusal.code, Code::BadRequest, "{}", crate::error::excerpt(bad));
    }
}

#[test]
fn extensions_that_are_our_fields_arrive_in_them_and_the_cursor_is_ignored() {
    let text = event(&json!({
        "organizationid": "quant", "domainid": "d", "instanceid": "i", "agentid": "a", "taskid": "t", "workflowid": "w",
        "userid": "u", "roomid": "r", "correlationid": "c", "priority": "HIGH", "cursor": "whatever", "ext": "x",
        "datacontenttype": "application/json; charset=UTF-8",
    }));
    let event = read(&text).unwrap();
    let ids: Vec<_> = event.scope().iter().map(|(_, id)| id).collect();
    assert_eq!(ids, ["quant", "d", "i", "a", "t", "w", "u", "r"]);
    assert_eq!((event.correlation_id(), event.priority()), (Some("c"), Priority::High));
    assert_eq!(Value::Object(event.attributes().clone()), json!({"ext": "x"}));
}

#[test]
fn a_logged_event_carries_its_cursor_and_reads_back_without_it() {
    let new = read(&event(&json!({"time": "2018-04-05T17:31:00.5Z", "data": {"n": 1.0}}))).unwrap();
    let cursor = Epoch::new([1; 16]).seal(Offset::new(2));
    let mut out = String::new();
    write(&new, Some(cursor), &mut out);
    let expected = format!(
        r#"{{"specversion":"1.0","id":"1","source":"/test","type":"io.example.test","time":"2018-04-05T17:31:00.500Z","cursor":"{cursor}","data":{{"n":1.0}}}}"#
    );
    assert_eq!(out, expected);
    assert_eq!(read(&out), Ok(new));
}

#[test]
fn an_attribute_with_the_name_of_a_field_never_makes_a_key_stand_twice() {
    let names = OWN_NAMES.into_iter().map(str::to_owned);
    let scope = ScopeField::ALL.into_iter().map(|field| field.camel().to_ascii_lowercase());
    for name in names.chain(scope) {
        let own = json!({
            "type": "a.b", "id": "1", "source": "/s", "subject": "s", "taskId": "t", "correlationId": "c", "data": 1,
            "attributes": {&name: "x", "kept": "y"},
        });
        let event = NewEvent::new(Draft::from_json(&own.to_string()).unwrap(), &Limits::default());
        // Where the event's own rules refuse the name already, nothing is left to write.
        let Ok(event) = event else { continue };
        let read = read(&written(&event)).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert_eq!(Value::Object(read.attributes().clone()), json!({"kept": "y"}), "{name}");
    }
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let value = prop_oneof![
        ".{0,20}".prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
    ];
    let kept = |name: &String| !is_own_name(name) && !name.starts_with("data");
    let extensions = prop::collection::btree_map("[a-z0-9]{1,20}".prop_filter("own name", kept), value, 0..5);
    let content_type = prop::option::of(prop::sample::select(vec![
        "text/plain",
        "text/csv; charset=iso-8859-1",
        "application/problem+json",
        "application/json; profile=x",
        "application/octet-stream",
    ]));
    let schema = prop::option::of("[a-z:/#?%0-9]{1,20}");
    (extensions, content_type, schema).prop_map(|(extensions, content_type, schema)| {
        let mut attributes: Attributes = extensions.into_iter().collect();
        attributes.extend(content_type.map(|text| ("datacontenttype".to_owned(), text.into())));
        attributes.extend(schema.map(|text| ("dataschema".to_owned(), text.into())));
        attributes
    })
}

fn bodies() -> impl Strategy<Value = (Option<String>, Option<String>)> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let json = prop_oneof![
        Just("1.0".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        Just(r#"{"b":[null,{"a":-0.0}],"a":"\u0000é"}"#.to_owned()),
        ".{0,40}".prop_map(|text| Value::from(text).to_string()),
    ];
    prop_oneof![
        Just((None, None)),
        json.prop_map(|json| (Some(json), None)),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| (None, Some(STANDARD.encode(bytes)))),
    ]
}

prop_compose! {
    fn events()(
        (id, source, subject) in ("[^\\p{Cc}]{1,40}", "[^\\p{Cc}]{1,40}", prop::option::of("[^\\p{Cc}]{1,40}")),
        event_type in "[A-Za-z0-9_-]{1,8}(\\.[A-Za-z0-9_-]{1,8}){0,7}",
        (seconds, nanoseconds) in (-62_000_000_000_i64..253_000_000_000, 0..1_000_000_000_u32),
        ids in prop::array::uniform8(prop::option::of("[!-~]{1,12}")),
        (correlation_id, priority) in (prop::option::of("[!-~]{1,12}"), prop::sample::select(Priority::ALL.to_vec())),
        attributes in attributes(),
        (body, body_base64) in bodies(),
    ) -> NewEvent {
        let mut draft = Draft {
            id: Some(id),
            event_type,
            time: DateTime::from_timestamp(seconds, nanoseconds),
            source: Some(source),
            subject,
            correlation_id,
            priority: Some(priority.name().to_owned()),
            data: body.map(|json| RawValue::from_string(json).unwrap()),
            data_base64: body_base64,
            attributes: Some(attributes),
            ..Draft::default()
        };
        for (field, id) in ScopeField::ALL.into_iter().zip(ids) {
            *draft.scope_mut(field) = id;
        }
        NewEvent::new(draft, &Limits::default()).unwrap()
    }
}

proptest! {
    #[test]
    fn writing_and_reading_an_event_loses_nothing(event in events()) {
        prop_assert_eq!(read(&written(&event)), Ok(event));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in r#"[{}\[\]":, a-z0-9.\\]{0,60}"#) {
        let _ = read_json(&text);
    }
}
