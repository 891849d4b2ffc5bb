//! Who sends a request: the credential of a request becomes a principal, in this one place for every path.
//!
//! Invariants: a credential stands in the header `Authorization`, or, where the setting `token_in_query` allows it, in the query
//! string of a WebSocket's handshake or of a stream that is opened by GET; never in a cookie, which a browser would add by
//! itself; two different ones are refused. What is refused is told as RFC 6750 has it, and never echoed.
//! Not here: credentials inside messages (`protocol`), the form of an endpoint's errors.

use super::{
    App,
    correlation::Correlation,
    door::Admission,
    problem::{Problem, status},
};
use crate::{
    auth::{
        Credential, Origin, Principal,
        audit::Entry,
        limits::{Key, Seat},
    },
    error::{Code, Refusal},
    fanout::way::give_way,
    protocol::{Token, two_credentials},
};
use axum::{
    extract::Query,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};
use std::sync::Arc;

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
    /// Its share of the principal's connections.
    pub(super) seat: Option<Seat>,
}

/// A client on a WebSocket: where it comes from, and who it has said it is.
#[derive(Debug)]
pub(super) struct Visit {
    /// Of its connection.
    pub(super) number: u64,
    /// On its connection.
    pub(super) origin: Arc<Origin>,
    /// Until it is known who it is.
    introduced: Option<Box<Introduced>>,
}

impl Visit {
    /// On the connection of this number.
    pub(super) fn new(origin: &Origin, number: u64, introduced: Option<Introduced>) -> Self {
        let introduced = introduced
            .map(|own| Box::new(Introduced { principal: own.principal.on_connection(number), ..own }));
        Visit { number, origin: Arc::new(origin.clone().on_connection(number)), introduced }
    }

    /// What the handshake said, once.
    pub(super) fn introduced(&mut self) -> Option<Introduced> {
        self.introduced.take().map(|introduced| *introduced)
    }
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

    fn entry(&self) -> Entry {
        Entry::refused(&self.refusal)
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
    /// Where a request comes from.
    pub(super) fn origin(&self, parts: &Parts) -> Arc<Origin> {
        // The accept loop gives every request its admission.
        let Some(admission) = parts.extensions.get::<Admission>() else {
            return Arc::new(Origin::new(self.audit.clone(), None, None));
        };
        let (peer, address) = (admission.peer(), admission.address(&parts.headers));
        let origin = Origin::new(self.audit.clone(), Some(peer), admission.account(&parts.headers))
            .refused_on(admission.refusals());
        let origin = if address == peer.ip().to_canonical() { origin } else { origin.forwarded(address) };
        Arc::new(match parts.extensions.get::<Correlation>() {
            Some(Correlation(id)) => origin.in_request(Arc::clone(id)),
            None => origin,
        })
    }

    /// Everybody, on a server without authentication.
    pub(super) fn everybody(&self, origin: &Arc<Origin>) -> Principal {
        match (origin.account(), origin.correlation_id()) {
            // Neither charged nor recorded.
            (None, None) => self.everybody.clone(),
            (account, _) => self.everybody.clone().at(Arc::clone(origin), account.cloned()),
        }
    }

    /// Who has this token, or none. Fails as [`Authority::authenticate`](crate::auth::Authority::authenticate) does, and with
    /// `RATE_LIMITED` when the address has tried too many; late, where the connection has tried many.
    ///
    /// Cancel safety: yes; the trial stays paid.
    pub(super) async fn authenticate(
        &self,
        origin: &Arc<Origin>,
        token: Option<&Token>,
    ) -> Result<Principal, Refusal> {
        if self.authority.is_open() {
            return Ok(self.everybody(origin));
        }
        let known = async {
            let trial = origin.trial(token.is_some())?;
            let known = self.authority.authenticate(token.map(Token::as_str)).await;
            trial.ends(known.as_ref().map(|_| ()));
            known
        };
        match known.await {
            Ok(principal) => Ok(self.placed(origin, principal)),
            Err(refusal) => {
                // Whoever guesses does so again at once.
                give_way();
                if let Some(pause) = origin.refusal_pause() {
                    tokio::time::sleep(pause).await;
                }
                Err(refusal)
            }
        }
    }

    /// Who somebody without a credential is, where nobody has been asked for one yet.
    pub(super) async fn without_credential(&self, origin: &Arc<Origin>) -> Result<Principal, Refusal> {
        self.authority.authenticate(None).await.map(|principal| self.placed(origin, principal))
    }

    fn placed(&self, origin: &Arc<Origin>, principal: Principal) -> Principal {
        let account = match principal.credential() {
            Credential::None => origin.account().cloned(),
            Credential::Token { .. } | Credential::ApiKey { .. } => {
                Some(self.accounts.of(Key::subject(principal.subject())))
            }
        };
        principal.at(Arc::clone(origin), account)
    }
}

/// Who sends a request.
pub(super) async fn of_request(app: &App, parts: &Parts) -> Result<Principal, Denied> {
    of(app, parts, || from_header(&parts.headers)).await
}

/// Who opens a stream.
pub(super) async fn of_stream(app: &App, parts: &Parts) -> Result<Principal, Denied> {
    of(app, parts, || from_header_or_query(app, parts)).await
}

/// Who opens a WebSocket; none where nothing was said.
pub(super) async fn of_handshake(
    app: &App,
    origin: &Arc<Origin>,
    parts: &Parts,
) -> Result<Option<Introduced>, Denied> {
    if app.authority.is_open() {
        return Ok(None);
    }
    let token = from_header_or_query(app, parts).inspect_err(|denied| origin.record(denied.entry()))?;
    let Some(token) = token else { return Ok(None) };
    let denied = |refusal| Denied { refusal, was_given: true };
    let principal = app.authenticate(origin, Some(&token)).await.map_err(denied)?;
    let seat = principal.take_seat().map_err(denied)?;
    Ok(Some(Introduced { token, principal, seat }))
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

async fn of(
    app: &App,
    parts: &Parts,
    token: impl FnOnce() -> Result<Option<Token>, Denied>,
) -> Result<Principal, Denied> {
    let origin = app.origin(parts);
    if app.authority.is_open() {
        // Whatever is sent was meant for somebody else, such as a proxy.
        return Ok(app.everybody(&origin));
    }
    let token = token().inspect_err(|denied| origin.record(denied.entry()))?;
    let principal = app.authenticate(&origin, token.as_ref()).await;
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
