//! `/graphql/stream`: graphql-sse's single connection mode. PUT reserves, GET opens, POST starts, DELETE stops.
//!
//! Invariants: a reservation has one stream; what is wrong with a request is its own answer, results go to the stream. A
//! request of a reservation comes from the subject that made it. A
//! request for an event stream without a token is a distinct connection, as the protocol's own server has it.

use super::{
    App, credential, graphql_http,
    negotiation::{self, Accepted, Media},
    operation::{self, Admitted, Does, NotBegun},
    operations::{Begun, Claim, Operations, Unclaimed},
    problem::{Problem, status},
    reservations::Unopened,
    stream::{self, EventStream},
};
use crate::{
    auth::Principal,
    error::{Code, Refusal},
    protocol::{ID_BYTES_MAX, Operation, Streaming},
};
use axum::{
    Router,
    body::Body,
    extract::{Query, Request, State},
    http::{Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::any,
};
use serde_json::Value;
use std::{collections::HashMap, sync::Arc};

/// The header that names a reservation; a browser's EventSource puts `?token=` into the address instead.
const TOKEN: &str = "x-graphql-event-stream-token";

/// The routes of this room.
pub(super) fn routes() -> Router<App> {
    Router::new().route("/graphql/stream", any(receive))
}

async fn receive(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let principal = match credential::of_request(&app, &parts).await {
        Ok(principal) => principal,
        Err(denied) => return Media::Json.deny(&denied),
    };
    let answered = match parts.method {
        Method::PUT => reserve(&app, &principal, &parts),
        Method::DELETE => stop(&app, &principal, &parts),
        Method::GET | Method::POST => open_or_start(&app, &principal, &parts, body).await,
        _ => {
            let problem = Problem::with_status(StatusCode::METHOD_NOT_ALLOWED, "PUT, GET, POST or DELETE");
            Err(problem.with_header(header::ALLOW, "GET, POST, PUT, DELETE").into())
        }
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

fn reserve(app: &App, principal: &Principal, parts: &Parts) -> Result<Response, Refused> {
    if !negotiation::takes(&parts.headers, &["text/plain", "text/*", "*/*"]) {
        return Err(Problem::with_status(StatusCode::NOT_ACCEPTABLE, "the token is text/plain").into());
    }
    if token(parts).is_some_and(|token| app.reservations.find(&token).is_some()) {
        return Err(refused(StatusCode::CONFLICT, &bad("the stream of this token is registered already")));
    }
    principal.charge_operation().map_err(|refusal| refused(status(refusal.code), &refusal))?;
    let token = app.reservations.reserve(app, principal)?;
    Ok((StatusCode::CREATED, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], token).into_response())
}

fn stop(app: &App, principal: &Principal, parts: &Parts) -> Result<Response, Refused> {
    let operations = reserved(app, principal, parts)?;
    match query(parts).remove("operationId").filter(|id| !id.is_empty()) {
        None => {
            Err(refused(StatusCode::BAD_REQUEST, &field("operationId", "nothing", "the id of an operation")))
        }
        Some(id) => {
            // One that is over already is stopped as well.
            operations.stop(&id);
            Ok(StatusCode::OK.into_response())
        }
    }
}

async fn open_or_start(
    app: &App,
    principal: &Principal,
    parts: &Parts,
    body: Body,
) -> Result<Response, Refused> {
    let accepted = Accepted::of(&parts.headers);
    let wants_stream = accepted.streaming == Some(Streaming::GraphqlSse);
    match (wants_stream, token(parts)) {
        (true, None) => Ok(graphql_http::answer(app, parts, body).await?),
        (true, Some(token)) if parts.method == Method::GET => open(app, principal, parts, &token),
        (_, _) if accepted.media.is_none() => {
            let problem = Problem::with_status(
                StatusCode::NOT_ACCEPTABLE,
                "operations are answered by application/json",
            );
            Err(problem.into())
        }
        (_, _) => start(app, principal, parts, body).await,
    }
}

fn open(app: &App, principal: &Principal, parts: &Parts, token: &str) -> Result<Response, Refused> {
    let known = app.reservations.find(token).ok_or_else(unknown)?;
    known.join(&app.authority, principal).map_err(|_| unknown())?;
    // Before the reservation is taken up: what is refused may be tried again.
    let share = stream::share(parts)?;
    let (operations, seat) = app.reservations.open(token).map_err(|unopened| match unopened {
        Unopened::Unknown => unknown(),
        Unopened::Open => refused(StatusCode::CONFLICT, &bad("the stream of this token is open already")),
    })?;
    let stream = EventStream::new(app, Streaming::GraphqlSseShared, operations, share, Some(seat));
    Ok(stream.open(None, false, None))
}

async fn start(app: &App, principal: &Principal, parts: &Parts, body: Body) -> Result<Response, Refused> {
    let operations = reserved(app, principal, parts)?;
    let operation = graphql_http::read(app, parts, body).await?;
    let operation = operation.map_err(|refusal| refused(status(refusal.code), &refusal))?;
    let id = operation_id(&operation).map_err(|refusal| refused(StatusCode::BAD_REQUEST, &refusal))?;
    let claim = operations.claim(&id).map_err(|unclaimed| match unclaimed {
        Unclaimed::Duplicate => refused(StatusCode::CONFLICT, &bad("an operation of this id runs already")),
        Unclaimed::Closed => unknown(),
        Unclaimed::Refused(refusal) => refused(status(refusal.code), &refusal),
    })?;
    let admitted = principal.charge_operation().and_then(|()| operation::admit(app, operation));
    let admitted = admitted.map_err(|refusal| refused(status(refusal.code), &refusal))?;
    begin(app, parts, admitted, claim).await
}

async fn begin(app: &App, parts: &Parts, admitted: Admitted, claim: Claim) -> Result<Response, Refused> {
    let text = match admitted.does() {
        Does::Mutate if parts.method == Method::GET => {
            let problem = Problem::with_status(StatusCode::METHOD_NOT_ALLOWED, "a mutation needs POST");
            return Err(problem.with_header(header::ALLOW, "POST").into());
        }
        Does::Query | Does::Mutate => {
            // The stream is gone when nobody is known any more.
            let Some((principal, _)) = claim.caller() else { return Err(unknown()) };
            let answer = operation::execute(app, &principal, admitted, Some(claim.number())).await;
            if answer.is_request_error {
                return Err(Refused::Graphql(StatusCode::BAD_REQUEST, answer.text));
            }
            answer.text
        }
        Does::Subscribe => match claim.subscribe(app, admitted, None).await {
            Begun::Accepted => return Ok(StatusCode::ACCEPTED.into_response()),
            Begun::Stopped => return Ok(StatusCode::NO_CONTENT.into_response()),
            Begun::Not(NotBegun::Invalid(errors)) => {
                let text = operation::not_executed(&errors);
                return Err(Refused::Graphql(StatusCode::BAD_REQUEST, text));
            }
            // A valid request's own failure is its result.
            Begun::Not(NotBegun::Refused(errors)) => operation::not_executed(&errors),
        },
    };
    claim.answer(&text);
    Ok(StatusCode::ACCEPTED.into_response())
}

/// The reservation that the request names.
fn reserved(app: &App, principal: &Principal, parts: &Parts) -> Result<Arc<Operations>, Refused> {
    let missing = || {
        let message = "the token of a reservation is missing; PUT reserves a stream and answers with it";
        refused(StatusCode::UNAUTHORIZED, &Refusal::new(Code::Unauthenticated, message))
    };
    let token = token(parts).ok_or_else(missing)?;
    let operations = app.reservations.find(&token).ok_or_else(unknown)?;
    // Nobody learns of the streams of others.
    operations.join(&app.authority, principal).map_err(|_| unknown())?;
    Ok(operations)
}

fn token(parts: &Parts) -> Option<String> {
    let header = parts.headers.get(TOKEN).and_then(|value| value.to_str().ok()).map(str::to_owned);
    header.or_else(|| query(parts).remove("token")).filter(|token| !token.is_empty())
}

fn query(parts: &Parts) -> HashMap<String, String> {
    Query::try_from_uri(&parts.uri).map(|Query(parameters)| parameters).unwrap_or_default()
}

fn operation_id(operation: &Operation) -> Result<String, Refusal> {
    let allowed = format!("a string of 1 to {ID_BYTES_MAX} bytes");
    let name = "extensions.operationId";
    match operation.extensions.get("operationId") {
        Some(Value::String(id)) if (1..=ID_BYTES_MAX).contains(&id.len()) => Ok(id.clone()),
        Some(other) => Err(Refusal::field(Code::BadRequest, name, &other.to_string(), allowed)),
        None => Err(Refusal::field(Code::BadRequest, name, "nothing", allowed)),
    }
}

fn bad(message: &'static str) -> Refusal {
    Refusal::new(Code::BadRequest, message)
}

fn field(name: &str, given: &str, allowed: &str) -> Refusal {
    Refusal::field(Code::BadRequest, name, given, allowed)
}

fn unknown() -> Refused {
    let message = "there is no stream of this token; it was closed, or not opened in time";
    refused(StatusCode::NOT_FOUND, &Refusal::new(Code::NotFound, message))
}

fn refused(status: StatusCode, refusal: &Refusal) -> Refused {
    Refused::Graphql(status, operation::refused(refusal).text)
}

/// What is wrong with a request of this path.
#[derive(Debug)]
enum Refused {
    /// It is no request of the protocol.
    Problem(Problem),
    /// It is one, and is answered as the protocol has it: by a GraphQL response with errors.
    Graphql(StatusCode, String),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Refused::Problem(problem)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Refused::Problem(problem) => problem.into_response(),
            Refused::Graphql(status, text) => {
                (status, [(header::CONTENT_TYPE, Media::Json.name())], text).into_response()
            }
        }
    }
}
