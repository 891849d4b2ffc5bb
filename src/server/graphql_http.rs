//! GraphQL over HTTP (GraphQL-over-HTTP specification, draft): queries and mutations by POST, queries by GET.
//!
//! Invariants: a POST body is `application/json`, which a browser never sends to another origin unasked; a GET never changes
//! anything; the answer's media type is the one that the client prefers.

use super::{
    App, body,
    operation::{self, Answer, Does},
    problem::{Problem, status},
    upgrade,
};
use crate::{
    error::{Code, Refusal},
    event::{Json, json},
    protocol::Operation,
};
use axum::{
    Router,
    extract::{Query, Request, State},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
    routing::any,
};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The routes of this room.
pub(super) fn routes() -> Router<App> {
    Router::new().route("/graphql", any(graphql)).route("/graphql/ws", any(graphql))
}

async fn graphql(State(app): State<App>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    if upgrade::is_wanted(&parts.headers) {
        return upgrade::graphql(app, &mut parts).await;
    }
    if parts.method == Method::GET && wants_page(&parts) {
        return Redirect::to("/graphiql").into_response();
    }
    let Some(media) = Media::accepted(&parts.headers) else {
        let offered = "the answer is application/graphql-response+json or application/json";
        return Problem::with_status(StatusCode::NOT_ACCEPTABLE, offered).into_response();
    };
    let asked = match parts.method {
        Method::GET => from_query(&parts),
        Method::POST => match post_text(&app, &parts, body).await {
            Ok(text) => from_json(&text),
            Err(problem) => return problem.into_response(),
        },
        _ => return not_allowed("only GET and POST are allowed"),
    };
    match asked.and_then(|operation| operation::admit(&app, operation)) {
        Err(refusal) => media.answer(&operation::refused(&refusal), refused_status(media, &refusal)),
        Ok(admitted) => match (admitted.does(), &parts.method) {
            (Does::Subscribe, _) => {
                let refusal =
                    Refusal::new(Code::BadRequest, "a subscription needs a WebSocket, at this same address");
                media.answer(&operation::refused(&refusal), refused_status(media, &refusal))
            }
            (Does::Mutate, &Method::GET) => not_allowed("a mutation needs POST"),
            (Does::Mutate | Does::Query, _) => {
                let answer = operation::execute(&app, admitted).await;
                let status = if answer.is_request_error { media.request_error() } else { StatusCode::OK };
                media.answer(&answer, status)
            }
        },
    }
}

fn not_allowed(why: &'static str) -> Response {
    Problem::with_status(StatusCode::METHOD_NOT_ALLOWED, why)
        .with_header(header::ALLOW, "GET, POST")
        .into_response()
}

/// The media types of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    /// `application/graphql-response+json`: the status tells a request error.
    GraphqlResponse,
    /// `application/json`: a well-formed request is always answered with 200.
    Json,
}

impl Media {
    /// The type that the `Accept` header likes best; without a header the older one. `None` when it likes neither.
    fn accepted(headers: &HeaderMap) -> Option<Media> {
        let values: Vec<&str> =
            headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        if values.is_empty() {
            return Some(Media::Json);
        }
        let ranges = values.iter().flat_map(|value| value.split(',')).filter_map(range);
        // Of equal weights the first one counts.
        ranges.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(media, _)| media)
    }

    const fn name(self) -> &'static str {
        match self {
            Media::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Media::Json => "application/json; charset=utf-8",
        }
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

/// A media range that we can answer, with its weight in thousandths.
fn range(text: &str) -> Option<(Media, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let media = match parts.next()?.to_ascii_lowercase().as_str() {
        "application/graphql-response+json" => Media::GraphqlResponse,
        "application/json" | "application/*" | "*/*" => Media::Json,
        _ => return None,
    };
    let weight = parts
        .find_map(|parameter| parameter.strip_prefix("q="))
        .map_or(Some(1.0), |text| text.parse::<f32>().ok())?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000")]
    let weight = (weight.clamp(0.0, 1.0) * 1000.0) as u16;
    (weight > 0).then_some((media, weight))
}

/// What is not well formed is 400 in either media type; what does not parse or validate is so only in the newer one.
fn refused_status(media: Media, refusal: &Refusal) -> StatusCode {
    match (media, refusal.code, refusal.detail("field").is_some()) {
        (Media::Json, Code::BadRequest, false) => StatusCode::OK,
        _ => status(refusal.code),
    }
}

fn wants_page(parts: &Parts) -> bool {
    let accept = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("text/html") && !parts.uri.query().unwrap_or_default().contains("query=")
}

async fn post_text(app: &App, parts: &Parts, body: axum::body::Body) -> Result<String, Problem> {
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
