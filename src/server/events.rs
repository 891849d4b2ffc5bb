//! `POST /events`: CloudEvents in three modes, and our own JSON. GET is the feed.

use super::{App, body, credential, feed, problem::Problem};
use crate::{
    auth::Principal,
    error::Refusal,
    event::NewEvent,
    ingest::{self, IngestError},
    log::Appended,
};
use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};

/// The routes of this room.
pub(super) fn routes() -> Router<App> {
    Router::new().route("/events", post(publish).get(feed::follow).fallback(not_allowed))
}

async fn publish(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let principal = credential::of_request(&app, &parts).await?;
    let body = body::read(&app, body).await?;
    let headers = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let options = ingest::Options { events_max: app.hub.limits().batch_max };
    let ingested = ingest::read(headers, &body, &options).map_err(ingest_problem)?;
    let is_list = ingested.is_list;
    let events = ingested.into_events(app.hub.limits())?;
    let published = log(&app, &principal, events).await?;
    let answer = match (is_list, published) {
        (false, Value::Array(mut list)) => list.pop().unwrap_or_default(),
        (_, list) => list,
    };
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response())
}

/// Publishes events and gives the answer of this edge: a list of `{id, type, cursor, duplicate}`.
pub(super) async fn log(app: &App, principal: &Principal, events: Vec<NewEvent>) -> Result<Value, Refusal> {
    let names: Vec<_> =
        events.iter().map(|event| (event.id().to_owned(), event.event_type().clone())).collect();
    let appended = app.hub.publish(principal, events).await?;
    let answer = |((id, event_type), Appended { cursor, duplicate, .. }): ((String, _), Appended)| {
        let event_type: crate::event::EventType = event_type;
        json!({ "id": id, "type": event_type.as_str(), "cursor": cursor.to_string(), "duplicate": duplicate })
    };
    Ok(names.into_iter().zip(appended).map(answer).collect())
}

/// A body that is no event.
pub(super) fn ingest_problem(error: IngestError) -> Problem {
    let status = matches!(error, IngestError::UnsupportedMediaType { .. })
        .then_some(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let refusal = error.refusal();
    match status {
        Some(status) => Problem::of(status, refusal),
        None => refusal.into(),
    }
}

async fn not_allowed() -> Problem {
    Problem::with_status(StatusCode::METHOD_NOT_ALLOWED, "events are published by POST and followed by GET")
        .with_header(header::ALLOW, "GET, POST")
}
