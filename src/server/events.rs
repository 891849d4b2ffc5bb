//! `POST /events`: CloudEvents in three modes, and our own JSON. GET is the feed.

use super::{App, body, credential, feed, problem::Problem};
use crate::{
    auth::Principal,
    error::Refusal,
    event::{Cursor, EventType, NewEvent},
    ingest::{self, IngestError},
    log::Appended,
};
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::{Serialize, Serializer};

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
    // Both are parts of the connection's read buffer, which is used again while the log writes if nobody holds it.
    drop((parts, body));
    let is_list = ingested.is_list;
    let events = ingested.into_events(app.hub.limits())?;
    let published = log(&app, &principal, events).await?;
    Ok(match published.as_slice() {
        [only] if !is_list => Json(only).into_response(),
        all => Json(all).into_response(),
    })
}

/// What this edge answers to one published event. The order of the members is that of their names.
#[derive(Debug, Serialize)]
pub(super) struct Published {
    #[serde(serialize_with = "cursor_text")]
    cursor: Cursor,
    duplicate: bool,
    id: String,
    #[serde(rename = "type", serialize_with = "type_text")]
    event_type: EventType,
}

fn cursor_text<S: Serializer>(cursor: &Cursor, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(cursor)
}

fn type_text<S: Serializer>(event_type: &EventType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(event_type.as_str())
}

/// Publishes events and gives the answers of this edge.
pub(super) async fn log(
    app: &App,
    principal: &Principal,
    events: Vec<NewEvent>,
) -> Result<Vec<Published>, Refusal> {
    let names: Vec<_> =
        events.iter().map(|event| (event.id().to_owned(), event.event_type().clone())).collect();
    let appended = app.hub.publish(principal, events).await?;
    let answer = |((id, event_type), Appended { cursor, duplicate, .. })| Published {
        cursor,
        duplicate,
        id,
        event_type,
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
