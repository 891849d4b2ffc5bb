//! JSON-RPC 2.0 by POST: single calls and batches, executed in their order.

use super::{App, body, credential, problem::Problem, rpc, upgrade};
use crate::{
    auth::Principal,
    protocol::jsonrpc::{
        self, Call, Id, Incoming, Method, RpcError, Unreadable, write_batch, write_error, write_result,
    },
};
use axum::{
    Router,
    extract::{Request, State},
    http::{Method as Verb, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};

/// The routes of this room.
pub(super) fn routes() -> Router<App> {
    Router::new().route("/rpc", any(receive))
}

async fn receive(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    if upgrade::is_wanted(&parts.headers) {
        return Ok(upgrade::rpc(app, &mut parts).await);
    }
    if parts.method != Verb::POST {
        let problem = Problem::with_status(
            StatusCode::METHOD_NOT_ALLOWED,
            "calls are sent by POST, or over a WebSocket",
        );
        return Err(problem.with_header(header::ALLOW, "POST"));
    }
    let principal = match credential::of_request(&app, &parts).await {
        Ok(principal) => principal,
        Err(denied) => {
            // Refused before anything was read: the answer stands for all calls there may be.
            let mut text = String::new();
            write_error(&Id::null(), &RpcError::from(denied.refusal()), &mut text);
            let answer = (denied.status(), [(header::CONTENT_TYPE, "application/json")], text);
            return Ok(denied.challenge(answer.into_response()));
        }
    };
    if body::media_type(&parts.headers)?.as_deref() != Some("application/json") {
        return Err(Problem::with_status(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body must be application/json",
        ));
    }
    let text = body::read_text(&app, body).await?;
    Ok(match answer(&app, &principal, &text).await {
        Some(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// The answer to a request; none where all its calls are notifications.
async fn answer(app: &App, principal: &Principal, text: &str) -> Option<String> {
    match jsonrpc::parse(text, &jsonrpc::Options::default()) {
        Incoming::Single(call) => answer_one(app, principal, call).await,
        Incoming::Batch(calls) => {
            let mut answers = Vec::new();
            for call in calls {
                answers.extend(answer_one(app, principal, call).await);
            }
            let mut out = String::new();
            write_batch(&answers, &mut out).then_some(out)
        }
    }
}

async fn answer_one(app: &App, principal: &Principal, call: Result<Call<'_>, Unreadable>) -> Option<String> {
    let mut out = String::new();
    let call = match call {
        Ok(call) => call,
        Err(Unreadable { id, error }) => {
            write_error(&id, &error, &mut out);
            return Some(out);
        }
    };
    let charged = principal.charge_operation().map_err(|refusal| RpcError::from(&refusal));
    let result = match charged.and_then(|()| Method::parse(&call)) {
        Ok(method) => rpc::answer(app, principal, method, &call.method).await,
        Err(error) => Err(error),
    };
    let id = call.id?;
    match result {
        Ok(result) => write_result(&id, &result, &mut out),
        Err(error) => write_error(&id, &error, &mut out),
    }
    Some(out)
}
