//! An axum service of which every request can be followed: its events, its spans, and the requests that it causes elsewhere.
//!
//! Beside a server (`make run`), in two terminals, the second one with whom the first passes its orders on to:
//!
//! ```text
//! cargo run -p fanfare-client --features tower --example axum -- /shop 3000 http://127.0.0.1:3001
//! cargo run -p fanfare-client --features tower --example axum -- /billing 3001
//! curl -i -X POST http://127.0.0.1:3000/orders/o1 -H 'x-correlation-id: try-1'
//! curl -N 'http://127.0.0.1:8080/events?correlationId=try-1&earliest=true'
//! ```

use axum::{
    Extension, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use fanfare_client::{Event, Options, Publisher, RequestContext, RequestContextLayer, SpanEvents};
use serde_json::json;
use std::{error::Error, time::Duration};
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

/// What every request needs.
#[derive(Clone)]
struct App {
    publisher: Publisher,
    http: reqwest::Client,
    /// Whom orders are passed on to.
    next: Option<String>,
}

/// The routes of the service.
pub(crate) fn router(publisher: Publisher, http: reqwest::Client, next: Option<String>) -> Router {
    Router::new().route("/orders/{id}", post(place)).layer(RequestContextLayer).with_state(App {
        publisher,
        http,
        next,
    })
}

async fn place(
    State(app): State<App>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
) -> Result<String, (StatusCode, String)> {
    let events = app.publisher.request(context);
    let placed = Event::new("order.placed").subject(&id).data(json!({ "order": id }));
    // The customer is told that the order stands only when its event does.
    let published = events.publish_durable(placed).await;
    let published = published.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    if let Some(next) = &app.next {
        let passed = pass_on(&app.http, events.context(), next, &id).await;
        passed.map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))?;
    }
    Ok(published.cursor)
}

/// Publishes `order.passing.started`, and `.completed` or `.failed`, which the field `emit` asks for.
#[tracing::instrument(skip_all, err, fields(emit = "order.passing", order = id))]
async fn pass_on(
    http: &reqwest::Client,
    context: &RequestContext,
    next: &str,
    id: &str,
) -> Result<(), reqwest::Error> {
    let request = http.post(format!("{next}/orders/{id}")).headers(context.headers());
    request.send().await?.error_for_status()?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let source = arguments.next().ok_or("give a source, such as /shop")?;
    let port = arguments.next().ok_or("give a port, such as 3000")?;
    let publisher = Publisher::new(Options::new("http://127.0.0.1:8080", source))?;
    tracing_subscriber::registry().with(SpanEvents::new(publisher.clone())).init();

    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let router = router(publisher.clone(), reqwest::Client::new(), arguments.next());
    let interrupted = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            eprintln!("the service ends now, since it cannot wait for an interrupt: {error}");
        }
    };
    axum::serve(listener, router).with_graceful_shutdown(interrupted).await?;
    // What is still queued gets its chance.
    Ok(publisher.close(Duration::from_secs(5)).await?)
}
