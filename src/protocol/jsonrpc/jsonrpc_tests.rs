//! The specification's own examples (jsonrpc.org, section 7), and what it leaves to us.

use super::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The server of the examples: `subtract`, `sum`, `get_data`, and notifications that do nothing.
fn run(call: &Call<'_>) -> Result<Value, RpcError> {
    let params: Value = call.params.map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap());
    let number = |place: &Value| place.as_i64().unwrap();
    match call.method.as_str() {
        "subtract" if params.is_array() => Ok(json!(number(&params[0]) - number(&params[1]))),
        "subtract" => Ok(json!(number(&params["minuend"]) - number(&params["subtrahend"]))),
        "sum" => Ok(json!(params.as_array().unwrap().iter().map(number).sum::<i64>())),
        "get_data" => Ok(json!(["hello", 5])),
        "update" | "notify_sum" | "notify_hello" => Ok(Value::Null),
        unknown => Err(RpcError::method_not_found(unknown, &[])),
    }
}

fn answer(item: Result<Call<'_>, Unreadable>) -> Option<String> {
    let (id, outcome) = match item {
        Ok(call) => {
            let outcome = run(&call);
            (call.id?, outcome)
        }
        Err(Unreadable { id, error }) => (id, Err(error)),
    };
    let mut out = String::new();
    match outcome {
        Ok(result) => write_result(&id, &result.to_string(), &mut out),
        Err(error) => write_error(&id, &error, &mut out),
    }
    Some(out)
}

fn whole_answer(text: &str) -> Option<Value> {
    let text = match parse(text, &Options::default()) {
        Incoming::Single(item) => answer(item)?,
        Incoming::Batch(items) => {
            let answers: Vec<String> = items.into_iter().filter_map(answer).collect();
            let mut out = String::new();
            if !write_batch(&answers, &mut out) {
                return None;
            }
            out
        }
    };
    Some(serde_json::from_str(&text).unwrap())
}

/// The specification's errors have no `data`; ours say more there.
fn without_data(mut answer: Value) -> Value {
    if let Some(answers) = answer.as_array_mut() {
        answers.iter_mut().for_each(|one| *one = without_data(one.take()));
    } else if let Some(error) = answer.get_mut("error").and_then(Value::as_object_mut) {
        let data = error.remove("data").unwrap();
        assert!(data["code"].is_string() && data["next"].is_string());
    }
    answer
}

fn error(number: i32, message: &str, id: &str) -> Value {
    let id: Value = if id.is_empty() { Value::Null } else { id.into() };
    json!({"jsonrpc": "2.0", "error": {"code": number, "message": message}, "id": id})
}

fn invalid() -> Value {
    error(-32600, "Invalid Request", "")
}

#[test]
fn the_examples_of_the_specification_hold() {
    let result = |result: Value, id: Value| json!({"jsonrpc": "2.0", "result": result, "id": id});
    let cases: [(&str, Option<Value>); 15] = [
        (
            r#"{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}"#,
            Some(result(json!(19), json!(1))),
        ),
        (
            r#"{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}"#,
            Some(result(json!(-19), json!(2))),
        ),
        (
            r#"{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}"#,
            Some(result(json!(19), json!(3))),
        ),
        (
            r#"{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}"#,
            Some(result(json!(19), json!(4))),
        ),
        (r#"{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}"#, None),
        (r#"{"jsonrpc": "2.0", "method": "foobar"}"#, None),
        (
            r#"{"jsonrpc": "2.0", "method": "foobar", "id": "1"}"#,
            Some(error(-32601, "Method not found", "1")),
        ),
        (
            r#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#,
            Some(error(-32700, "Parse error", "")),
        ),
        (r#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#, Some(invalid())),
        (
            r#"[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},{"jsonrpc": "2.0", "method"]"#,
            Some(error(-32700, "Parse error", "")),
        ),
        ("[]", Some(invalid())),
        ("[1]", Some(json!([invalid()]))),
        ("[1,2,3]", Some(json!([invalid(), invalid(), invalid()]))),
        (
            r#"[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
                {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
                {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
                {"foo": "boo"},
                {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
                {"jsonrpc": "2.0", "method": "get_data", "id": "9"}]"#,
            Some(json!([
                result(json!(7), json!("1")),
                result(json!(19), json!("2")),
                invalid(),
                error(-32601, "Method not found", "5"),
                result(json!(["hello", 5]), json!("9")),
            ])),
        ),
        (
            r#"[{"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
                {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}]"#,
            None,
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(whole_answer(text).map(without_data), expected, "{text}");
    }
}

#[test]
fn ids_come_back_byte_for_byte() {
    for id in ["null", "0", "-7", "1.0", "12345678901234567890123", r#""""#, r#""\u00e9\n""#, r#""1""#] {
        let text = format!(r#" {{"jsonrpc":"2.0","method":"get_data","id": {id} }} "#);
        let Incoming::Single(item) = parse(&text, &Options::default()) else { panic!("{id}") };
        let answer = answer(item).unwrap();
        assert!(answer.starts_with(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"#)), "{answer}");
    }
}

#[test]
fn what_is_no_call_is_told_by_its_fault_with_the_id_where_there_is_one() {
    let long = "x".repeat(ID_BYTES_MAX);
    let cases = [
        (r#"{"method":"m","id":5}"#.to_owned(), json!(5), r#"jsonrpc must be "2.0""#),
        (r#"{"jsonrpc":2.0,"method":"m","id":5}"#.to_owned(), json!(5), r#"jsonrpc must be "2.0""#),
        (r#"{"jsonrpc":"2.0","method":null,"id":"a"}"#.to_owned(), json!("a"), "method must be a string"),
        (
            r#"{"jsonrpc":"2.0","method":"m","params":null,"id":1}"#.to_owned(),
            json!(1),
            "params must be an object or a list, or be left out",
        ),
        (
            r#"{"jsonrpc":"2.0","method":"m","id":{}}"#.to_owned(),
            Value::Null,
            "the id must be a string, a number or null",
        ),
        (
            r#"{"jsonrpc":"2.0","method":"m","id":true}"#.to_owned(),
            Value::Null,
            "the id must be a string, a number or null",
        ),
        (
            format!(r#"{{"jsonrpc":"2.0","method":"m","id":"{long}"}}"#),
            Value::Null,
            "the id has more than 256 bytes",
        ),
        (r#""m""#.to_owned(), Value::Null, "a call is an object"),
        (r#"[["2.0","m",[],1]]"#.to_owned(), Value::Null, "a call is an object"),
    ];
    for (text, id, reason) in cases {
        let mut answer = whole_answer(&text).unwrap();
        let answer = answer.get_mut(0).map(Value::take).unwrap_or(answer);
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32600), &id), "{text}");
        assert_eq!(answer["error"]["data"]["reason"], reason, "{text}");
    }
}

#[test]
fn json_that_is_not_strict_is_a_parse_error_that_says_why() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (text, reason) in [
        (r#"{"jsonrpc":"2.0","method":"a","method":"b","id":1}"#, "the key \"method\" stands twice"),
        (r#"{"jsonrpc":"2.0","method":"\ud800","id":1}"#, "broken JSON at line 1"),
        (&deep, "nested more than 64 deep"),
        ("", "broken JSON at line 1"),
    ] {
        let answer = whole_answer(text).unwrap();
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32700), &Value::Null));
        assert!(answer["error"]["data"]["reason"].as_str().unwrap().starts_with(reason), "{answer}");
    }
}

#[test]
fn a_batch_over_the_limit_is_one_error() {
    let batch = |count: usize| {
        let call = r#"{"jsonrpc":"2.0","method":"get_data","id":1}"#;
        format!("[{}]", vec![call; count].join(","))
    };
    assert_eq!(whole_answer(&batch(50)).unwrap().as_array().unwrap().len(), 50);
    let answer = whole_answer(&batch(51)).unwrap();
    assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32028), &Value::Null));
    assert_eq!(
        (&answer["error"]["data"]["code"], &answer["error"]["data"]["allowed"]),
        (&json!("TOO_MANY"), &json!("50"))
    );
}

#[test]
fn notifications_are_spliced_around_an_encoded_event() {
    let mut session = RpcSession::new(&Options::default());
    let id = session.open().unwrap();
    let frame = format!(r#"{}{{"id":"e"}}{NOTIFICATION_SUFFIX}"#, notification_prefix(id));
    assert_eq!(
        serde_json::from_str::<Value>(&frame).unwrap(),
        json!({"jsonrpc": "2.0", "method": "events.notification", "params": {"subscription": "1", "result": {"id": "e"}}})
    );
    let frame = format!(r#"{GATEWAY_EVENT_PREFIX}{{"type":"Health"}}{GATEWAY_EVENT_SUFFIX}"#);
    assert_eq!(
        serde_json::from_str::<Value>(&frame).unwrap(),
        json!({"jsonrpc": "2.0", "method": "gateway.event", "params": {"type": "Health"}})
    );
}

#[test]
fn results_are_json_of_the_documented_form() {
    use crate::event::{Draft, Epoch, Event, Limits, NewEvent, Offset};
    let (epoch, offset) = (Epoch::new([1; 16]), Offset::new(2));
    let cursor = epoch.seal(offset);
    let written = |write: &dyn Fn(&mut String)| {
        let mut out = String::new();
        write(&mut out);
        serde_json::from_str::<Value>(&out).unwrap()
    };
    let text = cursor.to_string();
    assert_eq!(
        written(&|out| write_published("a\"b", &cursor, true, out)),
        json!({"id": "a\"b", "cursor": text, "duplicate": true})
    );
    let id = RpcSession::new(&Options::default()).open().unwrap();
    assert_eq!(
        written(&|out| write_subscribed(id, &cursor, out)),
        json!({"subscription": "1", "cursor": text})
    );
    let filter = EventFilter::default();
    assert_eq!(
        written(&|out| write_gateway_subscription(Some(&filter), Some(&cursor), out)),
        json!({"filter": {}, "cursor": text})
    );
    assert_eq!(written(&|out| write_gateway_subscription(None, None, out)), json!({"filter": null}));
    let draft = Draft { event_type: "task.created".to_owned(), ..Draft::default() };
    let event = Event::logged(NewEvent::new(draft, &Limits::default()).unwrap(), epoch, offset);
    let history = written(&|out| write_history([&event, &event], true, out));
    assert_eq!((&history["hasMore"], &history["events"][1]["cursor"]), (&json!(true), &json!(text)));
    assert_eq!(written(&|out| write_history([], false, out)), json!({"events": [], "hasMore": false}));
}

#[test]
fn the_openrpc_document_lists_exactly_the_methods_there_are() {
    let document: Value = serde_json::from_str(OPENRPC).unwrap();
    let listed: Vec<&str> = document["methods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|method| method["name"].as_str().unwrap())
        .collect();
    assert_eq!(listed, METHODS);
    for method in document["methods"].as_array().unwrap() {
        assert!(method["params"].is_array() && method["result"]["schema"].is_object(), "{}", method["name"]);
        assert!(method["summary"].is_string() && method["paramStructure"] == "by-name", "{}", method["name"]);
        for error in method["errors"].as_array().unwrap() {
            let name = error["$ref"].as_str().unwrap().strip_prefix("#/components/errors/").unwrap();
            assert!(document["components"]["errors"][name].is_object(), "{name}");
        }
    }
}

#[test]
fn the_openrpc_document_has_every_field_of_an_event() {
    use crate::event::Draft;
    let document: Value = serde_json::from_str(OPENRPC).unwrap();
    let fields = |name: &str| {
        let properties = document["components"]["schemas"][name]["properties"].as_object().unwrap();
        properties.keys().cloned().collect::<BTreeSet<_>>()
    };
    // A field that is none is answered with all that there are.
    let refusal = Draft::from_json(r#"{"none":1}"#).unwrap_err().to_string();
    let known = refusal.split_once("expected one of").unwrap().1.split('`').skip(1).step_by(2);
    let known: BTreeSet<String> = known.map(str::to_owned).collect();
    assert_eq!(fields("NewEvent"), known);
    assert_eq!(fields("Event"), known.into_iter().chain(["cursor".to_owned()]).collect());
}

#[test]
fn the_openrpc_document_numbers_every_code_as_we_do() {
    let document: Value = serde_json::from_str(OPENRPC).unwrap();
    let errors = document["components"]["errors"].as_object().unwrap();
    for code in Code::ALL {
        assert_eq!(errors[code.name()]["code"], number(code), "{code}");
    }
    assert_eq!(errors.len(), Code::ALL.len());
}
