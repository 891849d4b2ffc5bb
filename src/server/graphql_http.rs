//! GraphQL over HTTP (GraphQL-over-HTTP specification, draft): queries and mutations by POST, queries by GET, and one
//! subscription a response for clients that take a stream.
//!
//! Invariants: a POST body is `application/json`, which a browser never sends to another origin unasked; a GET never changes
//! anything; the answer's media type is the one that the client prefers.

use super::{
    App, body,
    credential::{self, Denied},
    negotiation::{self, Accepted, Media},
    operation::{self, Admitted, Answer, Does},
    operations::{Begun, Operations},
    problem::{self, Problem, status},
    stream::{self, EventStream},
    upgrade,
};
use crate::{
    auth::Principal,
    error::{Code, Refusal},
    event::{Json, json},
    protocol::{Operation, Streaming},
};
use axum::{
    Router,
    body::Body,
    extract::{Query, Request, State},
    http::{Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
    routing::any,
};
use serde_json::{Map, Value};
use std::collections::HashMap;

const NEEDS_STREAM: &str = "a subscription needs a WebSocket at this same address, or an answer that streams: \
                            text/event-stream or multipart/mixed;subscriptionSpec=1.0";

/// The routes of this room.
pub(super) fn routes() -> Router<App> {
    Router::new().route("/graphql", any(graphql)).route("/graphql/ws", any(graphql))
}

async fn graphql(State(app): State<App>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    if upgrade::is_wanted(&parts.headers) {
        return upgrade::graphql(app, &mut parts).await;
    }
    if parts.method == Method::GET && negotiation::wants_page(&parts) {
        return Redirect::to("/graphiql").into_response();
    }
    answer(&app, &parts, body).await.unwrap_or_else(IntoResponse::into_response)
}

/// Executes the operation of a GET or a POST and answers in the form that suits it and the client.
pub(super) async fn answer(app: &App, parts: &Parts, body: Body) -> Result<Response, Problem> {
    let accepted = Accepted::of(&parts.headers);
    if accepted.is_nothing() {
        let offered = "the answer is application/graphql-response+json, application/json, text/event-stream or \
                       multipart/mixed;subscriptionSpec=1.0";
        return Err(Problem::with_status(StatusCode::NOT_ACCEPTABLE, offered));
    }
    // Who takes a stream only reads the status of what is no stream.
    let media = accepted.media.unwrap_or(Media::GraphqlResponse);
    let principal = match accepted.streaming {
        Some(_) => credential::of_stream(app, parts).await,
        None => credential::of_request(app, parts).await,
    };
    let principal = match principal {
        Ok(principal) => principal,
        Err(denied) => return Ok(media.deny(&denied)),
    };
    let operation = match read(app, parts, body).await? {
        Ok(operation) => operation,
        Err(refusal) => return Ok(media.refuse(&refusal)),
    };
    let admitted = principal.charge_operation().and_then(|()| operation::admit(app, operation));
    let does = admitted.as_ref().map(Admitted::does);
    match (does, parts.method == Method::GET) {
        (Ok(Does::Mutate), true) => return Err(not_allowed("a mutation needs POST")),
        (Ok(Does::Subscribe), _) if accepted.streaming.is_none() => {
            return Ok(media.refuse(&Refusal::new(Code::BadRequest, NEEDS_STREAM)));
        }
        (Ok(_) | Err(_), _) => {}
    }
    // What has one answer gets it without a stream wherever the client takes it so.
    match (accepted.streaming, accepted.media, does) {
        (Some(streaming), _, Ok(Does::Subscribe)) | (Some(streaming), None, _) => {
            stream(app, parts, streaming, (&principal, admitted)).await
        }
        (None | Some(_), _, _) => Ok(match admitted {
            Ok(admitted) => media.execute(app, &principal, admitted).await,
            Err(refusal) => media.refuse(&refusal),
        }),
    }
}

/// One operation in a response of its own: graphql-sse's distinct connections, or multipart.
async fn stream(
    app: &App,
    parts: &Parts,
    streaming: Streaming,
    (principal, admitted): (&Principal, Result<Admitted, Refusal>),
) -> Result<Response, Problem> {
    let share = stream::share(parts)?;
    let operations = Operations::new(app, streaming, principal)?;
    let claim = operations.claim("").expect("a new response has room for its one operation");
    let resume = negotiation::last_event_id(&parts.headers);
    let begun = match (admitted, resume) {
        (Err(refusal), _) | (_, Err(refusal)) => Begun::Not(operation::refused(&refusal).text),
        (Ok(admitted), Ok(resume)) if admitted.does() == Does::Subscribe => claim
            .subscribe(app, admitted, resume)
            .await
            .map_not(|not| operation::not_executed(&not.into_errors())),
        (Ok(admitted), Ok(_)) => Begun::Not(operation::execute(app, principal, admitted, None).await.text),
    };
    let start = claim.start();
    // What did not begin has its whole answer already.
    if let Begun::Not(text) = begun {
        claim.answer(&text);
    }
    Ok(EventStream::new(app, streaming, operations, share, None).open(start, false, None))
}

/// The operation of a request: whether it is one, and whether it is well formed.
pub(super) async fn read(
    app: &App,
    parts: &Parts,
    body: Body,
) -> Result<Result<Operation, Refusal>, Problem> {
    match parts.method {
        Method::GET => Ok(from_query(parts)),
        Method::POST => post_text(app, parts, body).await.map(|text| from_json(&text)),
        _ => Err(not_allowed("only GET and POST are allowed")),
    }
}

fn not_allowed(why: &'static str) -> Problem {
    Problem::with_status(StatusCode::METHOD_NOT_ALLOWED, why).with_header(header::ALLOW, "GET, POST")
}

impl Media {
    async fn execute(self, app: &App, principal: &Principal, admitted: Admitted) -> Response {
        let answer = operation::execute(app, principal, admitted, None).await;
        let status = if answer.is_request_error { self.request_error() } else { StatusCode::OK };
        self.answer(&answer, status)
    }

    /// Refuses a request for its credential, before it is read.
    pub(super) fn deny(self, denied: &Denied) -> Response {
        let response = self.answer(&operation::refused(denied.refusal()), denied.status());
        problem::with_pause(denied.challenge(response), denied.refusal())
    }

    fn refuse(self, refusal: &Refusal) -> Response {
        let response = self.answer(&operation::refused(refusal), refused_status(self, refusal));
        problem::with_pause(response, refusal)
    }

    const fn request_error(self) -> StatusCode {
        match self {
            Media::GraphqlResponse => StatusCode::BAD_REQUEST,
            Media::Json => StatusCode::OK,
        }
    }

    fn answer(self, answer: &Answer, status: StatusCode) -> Response {
        (status, [(header::CONTENT_TYPE, self.name())], answer.text.clone()).into_response()
    }
}

/// What is not well formed is 400 in either media type; what does not parse or validate is so only in the newer one.
fn refused_status(media: Media, refusal: &Refusal) -> StatusCode {
    match (media, refusal.code, refusal.detail("field").is_some()) {
        (Media::Json, Code::BadRequest, false) => StatusCode::OK,
        _ => status(refusal.code),
    }
}

async fn post_text(app: &App, parts: &Parts, body: Body) -> Result<String, Problem> {
    match body::media_type(&parts.headers)?.as_deref() {
        Some("application/json") => body::read_text(app, body).await,
        Some(_) | None => {
            Err(Problem::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json"))
        }
    }
}

/// The parameters of a GET: as in a body, with `variables` and `extensions` as JSON texts.
fn from_query(parts: &Parts) -> Result<Operation, Refusal> {
    let Query(parameters) = Query::<HashMap<String, String>>::try_from_uri(&parts.uri)
        .map_err(|_| malformed("query", "the query string", "application/x-www-form-urlencoded"))?;
    let mut body = Map::new();
    for (name, text) in parameters {
        let value = match name.as_str() {
            "variables" | "extensions" => json::read(&text)?,
            _ => Value::String(text),
        };
        body.insert(name, value);
    }
    from_members(body)
}

fn from_json(text: &str) -> Result<Operation, Refusal> {
    json::check(text).map_err(|error| malformed("body", &error, "JSON"))?;
    match serde_json::from_str(text) {
        Ok(Value::Object(members)) => from_members(members),
        Ok(Value::Array(_)) => {
            Err(malformed("body", "a list", "one operation in a request; batches are not executed"))
        }
        Ok(_) | Err(_) => {
            Err(malformed("body", text, "a JSON object with query, operationName, variables, extensions"))
        }
    }
}

fn from_members(mut members: Map<String, Value>) -> Result<Operation, Refusal> {
    let query = match members.remove("query") {
        Some(Value::String(query)) => query,
        Some(other) => return Err(malformed("query", &other.to_string(), "a string")),
        None => return Err(malformed("query", "nothing", "a GraphQL document")),
    };
    let operation_name = match members.remove("operationName") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name),
        Some(other) => return Err(malformed("operationName", &other.to_string(), "a string")),
    };
    let variables = object(&mut members, "variables")?.map(|variables| Json::of(&Value::Object(variables)));
    let extensions = object(&mut members, "extensions")?.unwrap_or_default();
    Ok(Operation { query, operation_name, variables, extensions })
}

fn object(members: &mut Map<String, Value>, name: &str) -> Result<Option<Map<String, Value>>, Refusal> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(other) => Err(malformed(name, &other.to_string(), "an object")),
    }
}

fn malformed(field: &str, given: &str, allowed: &str) -> Refusal {
    Refusal::field(Code::BadRequest, field, given, allowed)
}
