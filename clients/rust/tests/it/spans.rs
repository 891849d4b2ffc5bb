//! Spans that become events, as the server has them afterwards.

use crate::support::{DEADLINE, TestServer, publisher};
use fanfare_client::{Publisher, RequestContext, SpanEvents};
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;
use tracing::{Instrument, error, error_span, field, info_span, subscriber::DefaultGuard};
use tracing_subscriber::layer::SubscriberExt;

/// A server, a publisher, and its spans as events on this thread.
fn set_up(choose: impl FnOnce(SpanEvents) -> SpanEvents) -> (TestServer, Publisher, DefaultGuard) {
    let server = TestServer::start();
    let publisher = publisher(&server.url());
    let spans = choose(SpanEvents::new(publisher.clone()));
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans));
    (server, publisher, guard)
}

async fn events(server: &TestServer, publisher: &Publisher) -> Vec<Value> {
    publisher.flush(DEADLINE).await.unwrap();
    let events = server.history("{}").await;
    let stats = publisher.stats();
    assert_eq!((stats.acknowledged, stats.lost.total()), (events.len() as u64, 0));
    events
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// The data without the duration, which must be there.
fn timed(event: &Value) -> Value {
    let mut data = event["data"].clone();
    let duration = data.as_object_mut().unwrap().remove("durationMs");
    assert!(duration.and_then(|ms| ms.as_f64()).is_some_and(|ms| ms >= 0.0), "{event}");
    data
}

#[tokio::test]
async fn a_span_announces_its_start_and_its_end_with_its_fields() {
    let (server, publisher, _guard) = set_up(|spans| spans);
    let long = "x".repeat(5_000);
    let span = info_span!(
        "ship",
        emit = "order.shipping",
        task_id = "t1",
        organization_id = "acme",
        user_id = "not an id",
        parcels = 3,
        weight = 1.5,
        express = true,
        address = ?["a", "b"],
        carrier = field::Empty,
        note = %long,
    );
    span.record("carrier", "mail");
    span.in_scope(|| ());
    drop(span);
    drop(info_span!("not chosen", parcels = 1));

    let events = events(&server, &publisher).await;
    assert_eq!(types(&events), ["order.shipping.started", "order.shipping.completed"]);
    for event in &events {
        assert_eq!((&event["taskId"], &event["organizationId"]), (&json!("t1"), &json!("acme")));
        assert_eq!((&event["correlationId"], &event["attributes"]), (&Value::Null, &Value::Null));
    }
    let mut completed = timed(&events[1]);
    let note = completed.as_object_mut().unwrap().remove("note").unwrap();
    assert_eq!(note.as_str().map(str::len), Some(4_096));
    let expected = json!({
        "user_id": "not an id", "parcels": 3, "weight": 1.5, "express": true, "address": "[\"a\", \"b\"]",
        "carrier": "mail",
    });
    assert_eq!(completed, expected);
    assert_eq!((events[0]["data"].get("carrier"), events[0]["data"].get("durationMs")), (None, None));
}

#[tokio::test]
async fn an_error_in_a_span_makes_it_fail_and_not_the_one_around_it() {
    #[tracing::instrument(err, fields(emit = "inner"))]
    fn inner() -> Result<(), String> {
        Err("no paper".to_owned())
    }

    let (server, publisher, _guard) = set_up(|spans| spans);
    info_span!("outer", emit = "outer").in_scope(|| inner().unwrap_err());
    // An error in a span that is not chosen belongs to the chosen one around it.
    info_span!("middle", emit = "middle")
        .in_scope(|| info_span!("plain").in_scope(|| error!("out of {}", "ink")));
    let recorded = info_span!("recorded", emit = "recorded", error = field::Empty);
    recorded.record("error", "jammed");
    drop(recorded);
    drop(info_span!("fine", emit = "fine", error = false));

    let events = events(&server, &publisher).await;
    let ended: Vec<_> = events
        .iter()
        .filter(|event| !event["type"].as_str().unwrap().ends_with(".started"))
        .map(|event| (event["type"].as_str().unwrap(), timed(event)))
        .collect();
    let error = |text: &str| json!({ "error": text });
    let expected = [
        ("inner.failed", error("no paper")),
        ("outer.completed", json!({})),
        ("middle.failed", error("out of ink")),
        ("recorded.failed", error("jammed")),
        ("fine.completed", json!({})),
    ];
    assert_eq!(ended, expected);
}

#[tokio::test]
async fn a_panic_makes_a_span_fail() {
    let (server, publisher, _guard) = set_up(|spans| spans);
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let _span = info_span!("work", emit = "work").entered();
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    let events = events(&server, &publisher).await;
    assert_eq!(types(&events), ["work.started", "work.failed"]);
    assert_eq!(timed(&events[1]), json!({ "error": "it panicked" }));
}

#[tokio::test]
async fn spans_are_chosen_by_target_and_by_name() {
    let (server, publisher, _guard) =
        set_up(|spans| spans.target("shop::billing", "billing").name("charge", "payment.charge"));
    drop(info_span!(target: "shop::billing::cards", "check card"));
    drop(info_span!(target: "shop::billing2", "no"));
    drop(info_span!("charge"));
    drop(error_span!(target: "shop::billing", "own", emit = "its.own"));
    let events = events(&server, &publisher).await;
    let expected = ["billing.check_card", "payment.charge", "its.own"];
    let names: Vec<_> = expected
        .iter()
        .flat_map(|name| ["started", "completed"].map(|end| format!("{name}.{end}")))
        .collect();
    assert_eq!(types(&events), names);
}

#[tokio::test]
async fn a_span_belongs_to_the_request_of_its_field_of_a_span_around_it_or_of_its_scope() {
    let (server, publisher, _guard) = set_up(|spans| spans);
    let context = RequestContext::from_values(Some("scope"), None);
    let trace_id = context.trace_id();
    drop(info_span!("own", emit = "own", correlation_id = "field"));
    info_span!("request", correlation_id = %"around").in_scope(|| {
        info_span!("plain").in_scope(|| drop(info_span!("inner", emit = "inner")));
    });
    context
        .clone()
        .scope(async {
            drop(info_span!("scoped", emit = "scoped"));
            drop(info_span!("both", emit = "both", correlation_id = "field"));
            // A task of its own is outside of the scope, but not of the span.
            let outer = info_span!("outer", emit = "outer");
            let inner = async { drop(info_span!("spawned", emit = "spawned")) };
            inner.instrument(outer).await;
        })
        .await;
    let late = info_span!("late", emit = "late", correlation_id = field::Empty);
    late.record("correlation_id", "late");
    drop(late);
    drop(info_span!("bad", emit = "bad", correlation_id = "two words"));

    let events = events(&server, &publisher).await;
    let told: Vec<_> = events
        .iter()
        .filter(|event| event["type"].as_str().unwrap().ends_with(".completed"))
        .map(|event| {
            let traceparent = event["attributes"]["traceparent"].as_str().unwrap_or_default();
            let is_traced = traceparent.contains(&trace_id);
            (event["type"].as_str().unwrap(), event["correlationId"].as_str().unwrap_or_default(), is_traced)
        })
        .collect();
    let expected = [
        ("own.completed", "field", false),
        ("inner.completed", "around", false),
        ("scoped.completed", "scope", true),
        ("both.completed", "field", true),
        ("spawned.completed", "scope", true),
        ("outer.completed", "scope", true),
        ("late.completed", "late", false),
        ("bad.completed", "", false),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_span_that_outlives_its_scope_still_belongs_to_it() {
    let (server, publisher, _guard) = set_up(|spans| spans);
    let context = RequestContext::from_values(Some("scope"), None);
    let span = context.scope(async { info_span!("outer", emit = "outer") }).await;
    span.in_scope(|| drop(info_span!("inner", emit = "inner")));
    drop(span);
    let events = events(&server, &publisher).await;
    assert_eq!(types(&events), ["outer.started", "inner.started", "inner.completed", "outer.completed"]);
    assert!(events.iter().all(|event| event["correlationId"] == "scope"), "{events:?}");
}

/// Everything that has a span becomes an event, the publisher's own work and its HTTP client's included: publishing one event
/// would go on for ever.
#[tokio::test]
async fn publishing_is_never_itself_a_cause_of_events() {
    let (server, publisher, _guard) = set_up(|spans| spans.target("", "all"));
    drop(info_span!(target: "fanfare_client::sender", "own"));
    drop(info_span!(target: "hyper_util::client", "own"));
    drop(info_span!(target: "h2::proto", "own"));
    drop(info_span!(target: "reqwest", "own"));
    for _ in 0..20 {
        drop(info_span!("work"));
        publisher.flush(DEADLINE).await.unwrap();
    }
    let events = events(&server, &publisher).await;
    assert_eq!(events.len(), 40);
    assert!(types(&events).iter().all(|event_type| event_type.starts_with("all.work.")));
    assert_eq!(publisher.stats().published, 40);
}
