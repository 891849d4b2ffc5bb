//! Which format a request is in, and lists.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const EVENT: &str = r#"{"specversion":"1.0","id":"1","type":"a.b","source":"/s"}"#;
const CORE: [(&str, &str); 4] =
    [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-type", "a.b"), ("ce-source", "/s")];

fn post(headers: &[(&str, &str)], body: &[u8]) -> Result<Ingested, IngestError> {
    read(headers.iter().map(|(name, value)| (*name, value.as_bytes())), body, &Options { events_max: 3 })
}

fn typed(content_type: &str, body: &str) -> Result<Ingested, IngestError> {
    post(&[("Content-Type", content_type)], body.as_bytes())
}

/// One event in binary mode.
fn binary(more: &[(&str, &str)], body: &[u8]) -> Result<NewEvent, Refusal> {
    let headers: Vec<_> = CORE.iter().chain(more).copied().collect();
    let ingested = post(&headers, body).map_err(IngestError::refusal)?;
    Ok(ingested.into_events(&Limits::default())?.remove(0))
}

fn refused(ingested: Result<Ingested, IngestError>) -> Refusal {
    match ingested {
        Err(IngestError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn each_content_type_is_read_in_its_mode() {
    let batch = format!("[{EVENT},{EVENT}]");
    let cases = [
        ("application/cloudevents+json", EVENT, 1, false),
        ("Application/CloudEvents+JSON; charset=UTF-8", EVENT, 1, false),
        ("application/cloudevents-batch+json", &batch, 2, true),
        ("application/cloudevents-batch+json;charset=\"utf-8\"", "[]", 0, true),
        ("application/json", r#"{"type":"a.b"}"#, 1, false),
        ("application/json; charset=utf-8", " [{\"type\":\"a.b\"},{\"type\":\"c\"}]", 2, true),
    ];
    for (content_type, body, count, is_list) in cases {
        let ingested = typed(content_type, body).unwrap_or_else(|error| panic!("{content_type}: {error}"));
        assert_eq!((ingested.drafts.len(), ingested.is_list), (count, is_list), "{content_type}");
    }
}

#[test]
fn any_other_content_type_is_unsupported_and_the_answer_names_the_accepted_ones() {
    let unsupported = [
        "",
        "text/plain",
        "application/xml",
        "nonsense",
        "application/cloudevents",
        "application/cloudevents+avro",
        "application/cloudevents+json; charset=utf-16",
        "application/json; charset=iso-8859-1",
    ];
    for given in unsupported {
        let error = typed(given, EVENT).unwrap_err();
        assert_eq!(error, IngestError::UnsupportedMediaType { given: given.to_owned() });
        assert!(error.to_string().contains("application/cloudevents-batch+json"), "{error}");
        assert_eq!(error.refusal().detail("field"), Some("content-type"));
    }
    assert!(matches!(post(&[], b"{}"), Err(IngestError::UnsupportedMediaType { .. })));
    let avro = [CORE.as_slice(), &[("content-type", "application/cloudevents+avro")]].concat();
    assert!(matches!(post(&avro, b"{}"), Err(IngestError::UnsupportedMediaType { .. })));
}

#[test]
fn a_list_is_refused_as_a_whole_and_says_which_event_is_wrong() {
    let types = ["application/cloudevents-batch+json", "application/json"];
    for (content_type, good) in types.into_iter().zip([EVENT, r#"{"type":"a.b"}"#]) {
        for bad in ["5", "\"text\"", "null", "{", r#"{"specversion":"0.9","type":"a.b"}"#] {
            let refusal = refused(typed(content_type, &format!("[{good},{bad}]")));
            assert!(bad == "{" || refusal.detail("index") == Some("1"), "{content_type} {bad} {refusal:?}");
        }
        let refusal = refused(typed(content_type, &format!("[{good},{good},{good},{good}]")));
        assert_eq!((refusal.code, refusal.detail("allowed")), (Code::TooMany, Some("3 events")));
    }
    let ingested = typed("application/json", r#"[{"type":"a.b"},{"type":"a..b"}]"#).unwrap();
    let refusal = ingested.into_events(&Limits::default()).unwrap_err();
    assert_eq!((refusal.detail("index"), refusal.detail("field")), (Some("1"), Some("type")));
    assert!(refusal.message.starts_with("event 1: type:"), "{refusal}");
}

#[test]
fn hostile_bodies_are_bad_requests() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let in_attributes = format!(r#"{{"type":"a","attributes":{{"a":{deep}}}}}"#);
    let bodies = [
        deep.as_bytes(),
        in_attributes.as_bytes(),
        b"\xff",
        b"",
        br#"{"type":"a","type":"b"}"#,
        br#"{"type":"a","\u0074ype":"b"}"#,
        br#"{"type":"a","attributes":{"a":1,"a":2}}"#,
        br#"{"type":"a","id":"\ud800"}"#,
    ];
    for content_type in
        ["application/json", "application/cloudevents+json", "application/cloudevents-batch+json"]
    {
        for body in bodies {
            let refusal = refused(post(&[("content-type", content_type)], body));
            assert_eq!(refusal.code, Code::BadRequest, "{content_type}");
        }
    }
}

#[test]
fn hostile_data_is_refused_by_its_name_or_as_a_bad_request() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for data in [&deep, r#"{"a":1,"a":2}"#, r#"[{"a":1,"\u0061":2}]"#, r#""\ud800""#, "1e400"] {
        let own = typed("application/json", &format!(r#"[{{"type":"a","data":{data}}}]"#)).unwrap();
        let refusal = own.into_events(&Limits::default()).unwrap_err();
        assert_eq!((refusal.code, refusal.detail("field")), (Code::InvalidEvent, Some("data")), "{refusal}");
        assert_eq!(refusal.detail("index"), Some("0"));
        let event = EVENT.trim_end_matches('}').to_owned() + &format!(r#","data":{data}}}"#);
        let refusal = refused(typed("application/cloudevents+json", &event));
        assert_eq!(refusal.code, Code::BadRequest, "{refusal}");
    }
}

#[test]
fn headers_make_an_event_and_their_values_are_decoded() {
    let text = "caf%C3%A9%20%22x%22%25";
    let more = [
        ("CE-Subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ("ce-time", "2018-04-05T03:56:24Z"),
        ("ce-taskid", "t1"),
        ("ce-priority", "HIGH"),
        ("ce-number", "5"),
        ("ce-old", r#""quoted \"text\" and %41""#),
        ("ce-text", text),
        ("x-other", "\u{e9}"),
        ("content-type", "application/json; charset=utf-8"),
    ];
    let event = binary(&more, br#"{ "n": 1.0 }"#).unwrap();
    assert_eq!((event.subject(), event.data().as_str()), (Some("Euro € 😀"), r#"{"n":1.0}"#));
    assert_eq!(event.time().timestamp(), 1_522_900_584);
    assert_eq!(event.scope().iter().map(|(_, id)| id).collect::<Vec<_>>(), ["t1"]);
    let expected = json!({"number": "5", "old": "quoted \"text\" and A", "text": "café \"x\"%"});
    assert_eq!(Value::Object(event.attributes().clone()), expected);
}

#[test]
fn each_header_is_refused_by_the_name_of_its_attribute() {
    let cases = [
        ("ce-subject", "%C0%A0", "subject"),
        ("ce-subject", "100%", "subject"),
        ("ce-subject", "\u{e9}", "subject"),
        ("ce-subject", "\"open", "subject"),
        ("ce-subject", "", "subject"),
        ("ce-id", "again", "id"),
        ("ce-time", "noon", "time"),
        ("ce-my-ext", "x", "my-ext"),
        ("ce-data", "x", "data"),
        ("ce-datacontenttype", "text/plain", "datacontenttype"),
    ];
    for (name, value, field) in cases {
        let refusal = binary(&[(name, value)], b"").expect_err(name);
        assert_eq!((refusal.code, refusal.detail("field")), (Code::InvalidEvent, Some(field)), "{name}");
    }
    for (missing, (name, _)) in CORE.into_iter().enumerate() {
        let mut headers = CORE.to_vec();
        headers.remove(missing);
        headers.push(("content-type", "application/json"));
        let refusal = refused(post(&headers, b"{}"));
        assert_eq!(refusal.detail("field"), name.strip_prefix("ce-"), "{name}");
    }
    let twice = refused(post(&[("content-type", "text/plain"), ("Content-Type", "text/css")], b""));
    assert_eq!((twice.code, twice.detail("field")), (Code::BadRequest, Some("content-type")));
}

#[test]
fn a_binary_body_becomes_json_text_or_base64_by_its_content_type() {
    // Content type, body; then data, dataBase64 and datacontenttype of the event.
    type Case<'a> = (&'a str, &'a [u8], &'a str, Option<&'a str>, Option<&'a str>);
    let cases: [Case<'_>; 9] = [
        ("application/json", b"[1, 2]", "[1,2]", None, None),
        ("application/problem+json", b"\"x\"", "\"x\"", None, Some("application/problem+json")),
        ("application/json; v=1", b"null", "null", None, Some("application/json; v=1")),
        ("text/plain", "é\n".as_bytes(), "\"é\\n\"", None, Some("text/plain")),
        ("text/plain; charset=latin1", b"\xe9", "null", Some("6Q=="), Some("text/plain; charset=latin1")),
        (
            "application/json; charset=utf-16",
            b"\0",
            "null",
            Some("AA=="),
            Some("application/json; charset=utf-16"),
        ),
        ("image/png", b"\x89PNG", "null", Some("iVBORw=="), Some("image/png")),
        ("application/xml", b"<a/>", "null", Some("PGEvPg=="), Some("application/xml")),
        ("application/json", b"", "null", None, None),
    ];
    for (content_type, body, json, base64, kept) in cases {
        let event = binary(&[("content-type", content_type)], body).unwrap();
        assert_eq!((event.data().as_str(), event.data_base64()), (json, base64), "{content_type}");
        let attribute = event.attributes().get("datacontenttype").and_then(Value::as_str);
        assert_eq!(attribute, kept, "{content_type}");
    }
    let without_type = binary(&[], b"\x01").unwrap();
    assert_eq!((without_type.data_base64(), without_type.attributes().len()), (Some("AQ=="), 0));
}

#[test]
fn a_binary_body_that_is_not_what_it_says_is_a_bad_request() {
    let cases: [(&str, &[u8]); 4] = [
        ("application/json", b"{"),
        ("application/json", b"{\"a\":1,\"a\":2}"),
        ("application/json", b"\"\xff\""),
        ("text/plain", b"\xff"),
    ];
    for (content_type, body) in cases {
        let refusal = binary(&[("content-type", content_type)], body).unwrap_err();
        assert_eq!(refusal.code, Code::BadRequest, "{content_type} {body:?}");
    }
}

#[test]
fn the_body_counts_when_a_structured_event_repeats_its_attributes_as_headers() {
    let headers = [("content-type", "application/cloudevents+json"), ("ce-id", "other"), ("ce-id", "twice")];
    let ingested = post(&headers, EVENT.as_bytes()).unwrap();
    assert_eq!(ingested.drafts[0].id.as_deref(), Some("1"));
}

/// Percent-encodes as the binding says, the plain way.
fn encode(text: &str) -> String {
    let escape = |byte: &u8| match byte {
        0x21 | 0x23 | 0x24 | 0x26..=0x7e => char::from(*byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.as_bytes().iter().map(escape).collect()
}

proptest! {
    #[test]
    fn any_subject_survives_its_header(subject in "[^\\p{Cc}]{1,40}") {
        let event = binary(&[("ce-subject", &encode(&subject))], b"").unwrap();
        prop_assert_eq!(event.subject(), Some(subject.as_str()));
    }

    #[test]
    fn no_header_value_makes_the_reader_panic(value in prop::collection::vec(any::<u8>(), 0..40)) {
        let headers = [("ce-id", value.as_slice()), ("content-type", value.as_slice())];
        let _ = read(headers, &value, &Options::default());
    }
}
