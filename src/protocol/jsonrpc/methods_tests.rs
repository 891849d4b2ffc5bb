//! Each method's parameters, and what is said of wrong ones.

use super::*;
use crate::protocol::jsonrpc::{Incoming, Options, parse};
use serde_json::{Value, json};

fn method(name: &str, params: &Value) -> Result<Method, RpcError> {
    let text = json!({"jsonrpc": "2.0", "method": name, "params": params, "id": 1}).to_string();
    match parse(&text, &Options::default()) {
        Incoming::Single(Ok(call)) => Method::parse(&call),
        other @ (Incoming::Single(_) | Incoming::Batch(_)) => panic!("{other:?}"),
    }
}

#[test]
fn every_method_in_the_table_is_known_and_no_other() {
    for name in METHODS {
        let found = method(name, &json!({"nope": 1})).map_err(|error| error.number);
        assert_eq!(found.err(), Some(-32602), "{name} exists and refuses an unknown parameter");
    }
    for name in ["", "rpc.", "rpc.discovery", "Gateway.subscribe", "events.subscribe "] {
        let error = method(name, &json!({})).unwrap_err();
        assert_eq!((error.number, &error.data["code"]), (-32601, &json!("NOT_FOUND")), "{name}");
    }
}

#[test]
fn methods_without_parameters_take_none() {
    for params in [json!({}), json!([])] {
        assert!(matches!(method("gateway.unsubscribe", &params), Ok(Method::GatewayUnsubscribe)));
        assert!(matches!(method("gateway.subscription", &params), Ok(Method::GatewaySubscription)));
        assert!(matches!(method("rpc.discover", &params), Ok(Method::Discover)));
    }
    let error = method("rpc.discover", &json!([1])).unwrap_err();
    assert_eq!((error.number, &error.data["field"]), (-32602, &json!("params")));
}

#[test]
fn the_parameters_of_each_method_are_read() {
    let cursor = "AgAAAAAAAAAAAAAAAAAAAAAAAAAB";
    assert!(matches!(
        method("gateway.subscribe", &json!({"events": ["agent"], "filter": null})),
        Ok(Method::GatewaySubscribe { .. })
    ));
    assert!(matches!(
        method("events.subscribe", &json!({"start": {"last": 10}})),
        Ok(Method::EventsSubscribe { start: StartPosition::Last(10), .. })
    ));
    let Ok(Method::EventsSubscribe { filter, start: StartPosition::After(after), .. }) =
        method("events.subscribe", &json!({"filter": {"types": "task.*"}, "start": {"after": cursor}}))
    else {
        panic!("both")
    };
    assert_eq!((filter.types().unwrap().len(), after.to_string()), (1, cursor.to_owned()));
    let Ok(Method::EventsUnsubscribe { subscription }) =
        method("events.unsubscribe", &json!({"subscription": "7"}))
    else {
        panic!("unsubscribe")
    };
    assert_eq!(subscription, "7");
    for name in ["gateway.publish", "events.publish"] {
        let read = method(name, &json!({"event": {"type": "task.created", "data": {"n": 1}}})).unwrap();
        let (Method::GatewayPublish { event } | Method::EventsPublish { event }) = read else {
            panic!("{name}")
        };
        assert_eq!(event.data.unwrap().get(), r#"{"n":1}"#);
    }
    let Ok(Method::EventsPublishAll { events }) =
        method("events.publishAll", &json!({"events": [{"type": "a"}, {"type": "b"}]}))
    else {
        panic!("publishAll")
    };
    assert_eq!(events[1].event_type, "b");
}

#[test]
fn a_page_of_the_past_goes_one_way() {
    let page = |params: Value| match method("events.history", &params) {
        Ok(Method::EventsHistory { page, .. }) => Ok(page),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.data["field"].clone()),
    };
    assert_eq!(page(json!({})), Ok(Page::Forward { first: None, after: None }));
    assert_eq!(page(json!({"first": 3})), Ok(Page::Forward { first: Some(3), after: None }));
    let Ok(Page::Backward { last: Some(2), before: Some(_) }) =
        page(json!({"last": 2, "before": "AgAAAAAAAAAAAAAAAAAAAAAAAAAB"}))
    else {
        panic!("backward")
    };
    assert_eq!(page(json!({"first": 3, "last": 3})), Err(json!("last")));
    assert_eq!(page(json!({"after": "x", "before": "y"})), Err(json!("before")));
    assert_eq!(page(json!({"after": "x"})), Err(json!("after")));
    for wrong in [json!(0), json!(-1), json!(1.5), json!("1"), json!(4_294_967_296_u64)] {
        assert_eq!(page(json!({ "first": wrong })), Err(json!("first")), "{wrong}");
    }
}

#[test]
fn a_wrong_parameter_is_named_by_its_path_and_code() {
    let cases = [
        ("gateway.subscribe", json!({"event": ["agent"]}), "BAD_REQUEST", "params.event"),
        ("gateway.subscribe", json!({"events": "agent"}), "BAD_REQUEST", "events"),
        ("gateway.subscribe", json!({"events": ["agent", 7]}), "BAD_REQUEST", "events[1]"),
        ("gateway.subscribe", json!({"events": ["agents"]}), "INVALID_FILTER", "events[0]"),
        ("gateway.subscribe", json!({"filter": []}), "BAD_REQUEST", "filter"),
        ("events.subscribe", json!({"filter": {"taskId": 1}}), "BAD_REQUEST", "filter.taskId"),
        ("events.subscribe", json!({"filter": {"types": []}}), "INVALID_FILTER", "filter.types"),
        (
            "events.subscribe",
            json!({"filter": {"anyOf": [{}, {"userId": ""}]}}),
            "INVALID_FILTER",
            "filter.anyOf[1].userId[0]",
        ),
        ("events.subscribe", json!({"start": {"last": 0}}), "INVALID_FILTER", "start.last"),
        ("events.subscribe", json!({"start": {"from": 0}}), "BAD_REQUEST", "start.from"),
        ("events.unsubscribe", json!({}), "BAD_REQUEST", "subscription"),
        ("events.unsubscribe", json!({"subscription": 1}), "BAD_REQUEST", "subscription"),
        ("events.publish", json!({"event": {"id": "a"}}), "BAD_REQUEST", "event.type"),
        ("events.publish", json!({"event": null}), "BAD_REQUEST", "event"),
        ("events.publish", json!({"event": {"type": "a", "kind": 1}}), "BAD_REQUEST", "event.kind"),
        ("events.publishAll", json!({"events": []}), "BAD_REQUEST", "events"),
        ("events.publishAll", json!({"events": [{"type": "a"}, []]}), "BAD_REQUEST", "events[1]"),
        (
            "events.publishAll",
            json!({"events": [{"type": "a"}, {"type": 1}]}),
            "BAD_REQUEST",
            "events[1].type",
        ),
        (
            "events.publishAll",
            json!({"events": vec![json!({"type": "a"}); EVENTS_MAX + 1]}),
            "TOO_MANY",
            "events",
        ),
    ];
    for (name, params, code, field) in cases {
        let error = method(name, &params).unwrap_err();
        assert_eq!(
            (&error.data["code"], &error.data["field"]),
            (&json!(code), &json!(field)),
            "{name}: {error:?}"
        );
        assert!(!error.message.contains(" line "), "{name}: {}", error.message);
    }
}

#[test]
fn methods_of_a_connection_are_refused_over_post() {
    let needs = |name: &str, params: &Value| method(name, params).unwrap().needs_socket();
    assert!(needs("gateway.subscribe", &json!({})) && needs("events.subscribe", &json!({})));
    assert!(needs("gateway.unsubscribe", &json!({})) && needs("gateway.subscription", &json!({})));
    assert!(needs("events.unsubscribe", &json!({"subscription": "1"})));
    assert!(!needs("events.history", &json!({})) && !needs("rpc.discover", &json!({})));
    let error = Method::needs_socket_error("events.subscribe");
    assert!(error.number == -32600 && error.message.starts_with("events.subscribe needs a WebSocket"));
}
