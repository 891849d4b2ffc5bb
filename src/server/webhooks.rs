//! `POST /webhooks/github`: signed webhooks become events.

use super::{App, body, events, problem::Problem};
use crate::{
    auth::Principal,
    error::{Code, Refusal},
    event::NewEvent,
    ingest::github,
};
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::post,
};

/// The routes of this room.
pub(super) fn routes() -> Router<App> {
    Router::new().route("/webhooks/github", post(receive))
}

async fn receive(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let Some(secret) = app.options.github_webhook_secret.clone() else {
        let message = "webhooks of GitHub are off: the setting github_webhook_secret has no value";
        return Err(Refusal::new(Code::NotFound, message).into());
    };
    let (parts, body) = request.into_parts();
    let (event, delivery) =
        (needed(&parts.headers, "X-GitHub-Event")?, needed(&parts.headers, "X-GitHub-Delivery")?);
    let body = body::read(&app, body).await?;
    let signature = parts.headers.get("X-Hub-Signature-256").and_then(|value| value.to_str().ok());
    github::verify(secret.as_bytes(), &body, signature)?;
    let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let payload = github::body_text(media_type, &body).map_err(events::ingest_problem)?;
    let drafts = github::drafts(event, delivery, &payload)?.into_iter();
    let checked: Result<Vec<_>, _> = drafts.map(|draft| NewEvent::new(draft, app.hub.limits())).collect();
    // The signature is GitHub's credential: what it covers is published by the server itself.
    let published = events::log(&app, &Principal::anonymous(), checked?).await?;
    Ok(Json(published).into_response())
}

fn needed<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Refusal> {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty());
    value.ok_or_else(|| Refusal::field(Code::BadRequest, name, "nothing", "the header that GitHub sends"))
}
