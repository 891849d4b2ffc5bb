//! For operators: probes, metrics, the schema and the build.

use super::{App, credential, problem::Problem};
use crate::{
    auth::{Credential, audit::Entry},
    error::{Code, Refusal},
    graphql,
    log::Health,
};
use axum::{
    Json, Router,
    extract::State,
    http::{header, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The routes of this room.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/health/live", get(live))
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/health/ready", get(ready))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/schema.graphql", get(schema))
        .route("/version", get(version))
}

async fn live() -> &'static str {
    "live\n"
}

/// Ready means: publishes are taken. A server that drains or whose log has stopped says so.
async fn ready(State(app): State<App>) -> Response {
    let why = match (app.drain.is_cancelled(), app.hub.health()) {
        (true, _) => "the server is draining",
        (false, Health::ReadOnly) => "the log takes no events after an I/O error; reading goes on",
        (false, Health::Writable) if !app.audit.is_writing() => {
            "the audit file cannot be written; what happens is not recorded"
        }
        // A damaged event must not take the server out of service: everything else is given and taken.
        (false, Health::Writable) if app.hub.damaged_reads() > 0 => {
            return "ready, but the log is damaged: run fanfare log check\n".into_response();
        }
        (false, Health::Writable) => return "ready\n".into_response(),
    };
    Problem::from(Refusal::new(Code::Unavailable, why)).into_response()
}

/// Numbers of everybody's traffic are for administrators.
async fn metrics(State(app): State<App>, parts: Parts) -> Result<Response, Problem> {
    let principal = credential::of_admin(&app, &parts).await?;
    principal.record(Entry::admin_read(&principal, "metrics"));
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], app.hub.looked_at().text()).into_response())
}

/// What introspection would answer, for whom it would.
async fn schema(State(app): State<App>, parts: Parts) -> Result<Response, Problem> {
    let principal = credential::of_request(&app, &parts).await?;
    if !app.authority.is_open() && *principal.credential() == Credential::None {
        let refusal = Refusal::new(Code::Unauthenticated, "the schema is for callers with a credential");
        return Err(refusal.into());
    }
    let headers = [(header::CONTENT_TYPE, "application/graphql; charset=utf-8")];
    Ok((headers, graphql::sdl(&app.schema)).into_response())
}

async fn version() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") }))
}
