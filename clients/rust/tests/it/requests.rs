//! One request through two services, which are the example of the documentation, seen from the server.

use crate::{
    example,
    support::{DEADLINE, TestServer, http_client, keep_interest},
};
use fanfare_client::{Options, Publisher, SpanEvents};
use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// Two services, of which the first passes on to the second; gives the address of the first and the publishers.
async fn services(server: &TestServer) -> (String, [Publisher; 2]) {
    keep_interest();
    let mut next = None;
    let mut publishers = Vec::new();
    for source in ["/billing", "/shop"] {
        let publisher = Publisher::new(Options::new(server.url(), source)).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = example::router(publisher.clone(), http_client(), next.replace(url));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        publishers.push(publisher);
    }
    let [billing, shop] = <[Publisher; 2]>::try_from(publishers).unwrap();
    (next.unwrap(), [shop, billing])
}

/// Trace id and span id of the event's attribute.
fn trace(event: &Value) -> (&str, &str) {
    let traceparent = event["attributes"]["traceparent"].as_str().unwrap_or_else(|| panic!("{event}"));
    let parts: Vec<_> = traceparent.split('-').collect();
    (parts[1], parts[2])
}

/// The events of a source, in their order: two publishers have none between them.
fn of<'a>(events: &'a [Value], source: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["source"] == source).collect()
}

fn types<'a>(events: &[&'a Value]) -> Vec<&'a str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_request_through_two_services_keeps_one_correlation_id_and_one_trace() {
    let server = TestServer::start();
    let (url, [shop, billing]) = services(&server).await;
    let _subscriber =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(SpanEvents::new(shop.clone())));
    let answer = http_client()
        .post(format!("{url}/orders/o1"))
        .header("x-correlation-id", "order-7")
        .header("traceparent", format!("00-{TRACE}-{SPAN}-01"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-correlation-id"]),
        (200, &"order-7".parse().unwrap())
    );
    shop.flush(DEADLINE).await.unwrap();
    billing.flush(DEADLINE).await.unwrap();

    let events = server.trace("order-7", 4).await;
    assert_eq!(server.history("{}").await, events);
    let (shop, billing) = (of(&events, "/shop"), of(&events, "/billing"));
    assert_eq!(types(&shop), ["order.placed", "order.passing.started", "order.passing.completed"]);
    assert_eq!(types(&billing), ["order.placed"]);
    assert!(events.iter().all(|event| trace(event).0 == TRACE), "{events:?}");
    // The work of each service is a span of its own, none of them the caller's.
    let mut spans: Vec<_> = shop.iter().chain(&billing).map(|event| trace(event).1).collect();
    spans.dedup();
    assert!(spans.len() == 2 && !spans.contains(&SPAN), "{spans:?}");
}

#[tokio::test]
async fn a_request_without_headers_gets_one_correlation_id_for_both_and_is_told_it() {
    let server = TestServer::start();
    let (url, [shop, billing]) = services(&server).await;
    let answer = http_client().post(format!("{url}/orders/o2")).send().await.unwrap();
    let correlation_id = answer.headers()["x-correlation-id"].to_str().unwrap().to_owned();
    shop.flush(DEADLINE).await.unwrap();
    billing.flush(DEADLINE).await.unwrap();
    let events = server.history(&format!("{{ correlationId: \"{correlation_id}\" }}")).await;
    let (shop, billing) = (of(&events, "/shop"), of(&events, "/billing"));
    assert_eq!((types(&shop), types(&billing)), (vec!["order.placed"], vec!["order.placed"]));
    assert!(events.iter().all(|event| trace(event).0 == correlation_id), "{events:?}");
}
