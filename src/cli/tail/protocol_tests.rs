//! The messages of `tail`.

use super::*;
use proptest::prelude::*;

const EVENT: &str = r#"{"id":"e1","type":"task.created","time":"2026-11-20T10:00:00Z","source":"/","subject":null,
    "organizationId":"quant","domainId":null,"priority":"NORMAL","cursor":"C","attributes":null,"dataBase64":null,
    "data":{"big":12345678901234567890123}}"#;

fn next(payload: &str) -> String {
    format!(r#"{{"id":"tail","type":"next","payload":{payload}}}"#)
}

#[test]
fn a_subscribe_carries_filter_and_start_only_where_they_are_given() {
    let bare: Value = serde_json::from_str(&subscribe(&Map::new(), None)).unwrap();
    assert_eq!(bare["payload"]["variables"], json!({}));
    assert_eq!(bare["payload"]["extensions"], json!({"ready": true}));
    let filter = json!({"types": ["task.*"]}).as_object().cloned().unwrap();
    let whole: Value = serde_json::from_str(&subscribe(&filter, Some(&json!({"last": 10})))).unwrap();
    assert_eq!(
        whole["payload"]["variables"],
        json!({"filter": {"types": ["task.*"]}, "start": {"last": 10}})
    );
}

#[test]
fn an_event_comes_with_its_cursor_and_its_numbers_untouched() {
    let text = next(&format!(r#"{{"data":{{"events":{EVENT}}},"extensions":{{"cursor":"C1"}}}}"#));
    let Ok(Incoming::Event(event, Some(cursor))) = read(&text) else { panic!("no event") };
    assert_eq!((cursor.as_str(), event.organization_id.as_deref()), ("C1", Some("quant")));
    assert_eq!(event.data.map(RawValue::get), Some(r#"{"big":12345678901234567890123}"#));
    assert!(event.attributes.is_none());
}

#[test]
fn data_that_is_null_stays_a_member_and_binary_data_has_none_beside_it() {
    let plain = EVENT.replace(r#"{"big":12345678901234567890123}"#, "null");
    let binary = plain.replace(r#""dataBase64":null"#, r#""dataBase64":"AA==""#);
    for (event, expected) in [(plain, Some("null")), (binary, None)] {
        let text = next(&format!(r#"{{"data":{{"events":{event}}}}}"#));
        let Ok(Incoming::Event(event, Some(cursor))) = read(&text) else { panic!("no event") };
        assert_eq!((event.data.map(RawValue::get), cursor.as_str()), (expected, "C"));
    }
}

#[test]
fn only_an_event_that_is_not_kept_says_so() {
    for (persist, shown) in [("true", false), ("null", false), ("false", true)] {
        let event = EVENT.replace(r#""cursor":"C""#, &format!(r#""persist":{persist},"cursor":"C""#));
        let text = next(&format!(r#"{{"data":{{"events":{event}}}}}"#));
        let Ok(Incoming::Event(event, Some(_))) = read(&text) else { panic!("no event") };
        assert_eq!(serde_json::to_string(&event).unwrap().contains(r#""persist":false"#), shown, "{persist}");
    }
}

#[test]
fn every_message_of_the_protocol_is_understood() {
    assert!(matches!(read(r#"{"type":"connection_ack"}"#), Ok(Incoming::Ack)));
    assert!(matches!(read(r#"{"type":"ping"}"#), Ok(Incoming::Ping(None))));
    assert!(matches!(read(r#"{"type":"ping","payload":{"cursor":"C"}}"#), Ok(Incoming::Ping(Some(_)))));
    assert!(matches!(read(r#"{"type":"pong","payload":null}"#), Ok(Incoming::Pong)));
    assert!(matches!(read(r#"{"type":"complete","id":"tail"}"#), Ok(Incoming::Complete)));
    let ready = next(r#"{"data":null,"extensions":{"ready":true,"cursor":"C"}}"#);
    assert!(matches!(read(&ready), Ok(Incoming::Ready(Some(cursor))) if cursor == "C"));
}

#[test]
fn an_error_of_one_event_is_told_from_an_error_of_the_subscription() {
    let error =
        r#"{"message":"no","extensions":{"code":"CURSOR_EXPIRED","next":"Start anew.","earliest":"E"}}"#;
    let expected = GraphqlError {
        code: Some("CURSOR_EXPIRED".into()),
        message: "no".into(),
        next: Some("Start anew.".into()),
        earliest: Some("E".into()),
    };
    let of_subscription = format!(r#"{{"id":"tail","type":"error","payload":[{error}]}}"#);
    assert!(matches!(read(&of_subscription), Ok(Incoming::Error(read)) if read == expected));
    let refused = next(&format!(r#"{{"data":null,"errors":[{error}]}}"#));
    assert!(matches!(read(&refused), Ok(Incoming::Error(read)) if read == expected));
    let of_event = next(&format!(r#"{{"data":null,"errors":[{error}],"extensions":{{"cursor":"C"}}}}"#));
    assert!(matches!(read(&of_event), Ok(Incoming::Unshown(_, cursor)) if cursor == "C"));
}

proptest! {
    #[test]
    fn no_message_makes_the_reader_panic(kind in "[a-z_]{0,10}", payload in ".{0,30}") {
        for text in [payload.clone(), json!({"type": kind, "payload": payload}).to_string()] {
            let _ = read(&text);
        }
        let _ = read(&next(&payload));
    }
}

#[test]
fn other_messages_are_errors_that_say_so() {
    for text in
        ["", "null", "[]", "{}", r#"{"type":"ka"}"#, r#"{"type":"next","payload":{"data":{"events":{}}}}"#]
    {
        assert!(read(text).unwrap_err().starts_with("the server sent"), "{text}");
    }
}
