//! Who sends a request: the credential of a request becomes a principal, in this one place for every path.
//!
//! Invariants: a credential stands in the header `Authorization`, or, where the setting `token_in_query` allows it, in the query
//! string of a WebSocket's handshake or of a stream that is opened by GET; never in a cookie, which a browser would add by
//! itself; two different ones are refused. What is refused is told as RFC 6750 has it, and never echoed.
//! Not here: credentials inside messages (`protocol`), the form of an endpoint's errors.

use super::{
    App,
    problem::{Problem, status},
};
use crate::{
    auth::Principal,
    error::{Code, Refusal},
    protocol::{Token, two_credentials},
};
use axum::{
    extract::Query,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};

/// The query parameter that may hold a token.
pub(super) const PARAMETER: &str = "token";

/// The error codes of RFC 6750, section 3.1.
const ERRORS: [(Code, &str); 3] = [
    (Code::Unauthenticated, "invalid_token"),
    (Code::BadRequest, "invalid_request"),
    (Code::Forbidden, "insufficient_scope"),
];

/// A client that has said in its handshake who it is.
#[derive(Debug)]
pub(super) struct Introduced {
    /// What it sent.
    pub(super) token: Token,
    /// Who that is.
    pub(super) principal: Principal,
}

/// A request that is refused for its credential.
#[derive(Debug)]
pub(super) struct Denied {
    refusal: Refusal,
    was_given: bool,
}

impl Denied {
    /// Why.
    pub(super) fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        status(self.refusal.code)
    }

    /// The answer with the challenge that belongs to it (RFC 6750, section 3).
    pub(super) fn challenge(&self, mut response: Response) -> Response {
        if let Some(value) = self.value() {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        response
    }

    fn value(&self) -> Option<HeaderValue> {
        if self.refusal.code == Code::Unauthenticated && !self.was_given {
            return Some(HeaderValue::from_static("Bearer realm=\"fanfare\""));
        }
        let (_, error) = ERRORS.into_iter().find(|(code, _)| *code == self.refusal.code)?;
        let is_plain = |c: &char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
        let description: String = self.refusal.message.chars().filter(is_plain).collect();
        let value =
            format!("Bearer realm=\"fanfare\", error=\"{error}\", error_description=\"{description}\"");
        HeaderValue::try_from(value).ok()
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let value = denied.value();
        let problem = Problem::from(denied.refusal);
        match value {
            Some(value) => problem.with_value(header::WWW_AUTHENTICATE, value),
            None => problem,
        }
    }
}

impl App {
    /// Who has this token, or none.
    ///
    /// Cancel safety: yes.
    pub(super) async fn authenticate(&self, token: Option<&Token>) -> Result<Principal, Refusal> {
        match self.authority.is_open() {
            true => Ok(self.everybody.clone()),
            false => self.authority.authenticate(token.map(Token::as_str)).await,
        }
    }
}

/// Who sends a request.
pub(super) async fn of_request(app: &App, parts: &Parts) -> Result<Principal, Denied> {
    of(app, || from_header(&parts.headers)).await
}

/// Who opens a stream.
pub(super) async fn of_stream(app: &App, parts: &Parts) -> Result<Principal, Denied> {
    of(app, || from_header_or_query(app, parts)).await
}

/// Who opens a WebSocket; none where nothing was said.
pub(super) async fn of_handshake(app: &App, parts: &Parts) -> Result<Option<Introduced>, Denied> {
    if app.authority.is_open() {
        return Ok(None);
    }
    let Some(token) = from_header_or_query(app, parts)? else { return Ok(None) };
    let principal = app.authenticate(Some(&token)).await;
    let principal = principal.map_err(|refusal| Denied { refusal, was_given: true })?;
    Ok(Some(Introduced { token, principal }))
}

/// Only an administrator is let through, or everybody on a server without authentication.
pub(super) async fn of_admin(app: &App, parts: &Parts) -> Result<Principal, Denied> {
    let principal = of_request(app, parts).await?;
    match principal.grant().is_admin() {
        true => Ok(principal),
        false => {
            let refusal = Refusal::new(Code::Forbidden, "this is for administrators");
            Err(Denied { refusal, was_given: true })
        }
    }
}

async fn of(app: &App, token: impl FnOnce() -> Result<Option<Token>, Denied>) -> Result<Principal, Denied> {
    if app.authority.is_open() {
        // Whatever is sent was meant for somebody else, such as a proxy.
        return Ok(app.everybody.clone());
    }
    let token = token()?;
    let principal = app.authenticate(token.as_ref()).await;
    principal.map_err(|refusal| Denied { refusal, was_given: token.is_some() })
}

fn from_header_or_query(app: &App, parts: &Parts) -> Result<Option<Token>, Denied> {
    let header = from_header(&parts.headers)?;
    if !app.options.token_in_query || parts.method != Method::GET {
        return Ok(header);
    }
    let Query(parameters) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).unwrap_or_default();
    let given = parameters.iter().filter(|(name, _)| name == PARAMETER);
    given.filter_map(|(_, value)| Token::read(value)).try_fold(header, one)
}

fn from_header(headers: &HeaderMap) -> Result<Option<Token>, Denied> {
    let mut found = None;
    for value in headers.get_all(header::AUTHORIZATION) {
        let value = value.to_str().unwrap_or_default().trim();
        let is_bearer =
            value.split([' ', '\t']).next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer"));
        let token = Token::read(value).filter(|_| is_bearer).ok_or_else(|| {
            let message = "the header Authorization must be: Bearer, a space, and a token";
            Denied { refusal: Refusal::new(Code::Unauthenticated, message), was_given: true }
        })?;
        found = one(found, token)?;
    }
    Ok(found)
}

fn one(found: Option<Token>, token: Token) -> Result<Option<Token>, Denied> {
    match found {
        Some(other) if other != token => Err(Denied { refusal: two_credentials(), was_given: true }),
        Some(_) | None => Ok(Some(token)),
    }
}
