//! What a page in a browser may do here: its visitor's browser asks on behalf of every page it shows.
//!
//! Flow: the accept loop has every request judged before it is routed, and every answer dressed before it leaves.
//! Invariants: a page of another origin does nothing unless its origin is listed; no answer may be read by a page of an origin
//! that is not, none says `*`, and none allows credentials; a name that somebody pointed at this address does not make a page
//! our own while everybody may do everything.
//! Why not tower-http: its layer answers a foreign page's request and only keeps the answer from being read.

use super::problem::Problem;
use crate::error::{Code, Refusal};
use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header, uri::Authority},
    response::{IntoResponse, Response},
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, DELETE");
/// What our protocols' clients send.
const HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, last-event-id, traceparent, x-correlation-id, x-graphql-event-stream-token, ce-id, ce-source, \
     ce-specversion, ce-subject, ce-time, ce-type",
);
const EXPOSED: HeaderValue = HeaderValue::from_static("retry-after, x-correlation-id");
/// For so many seconds a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The rules for pages. Made once.
#[derive(Debug)]
pub(super) struct Browser {
    origins: Vec<String>,
    /// Names that a server which trusts everybody is reached by, beside addresses and `localhost`.
    hosts: Option<Vec<String>>,
}

/// What an answer has to say to the page that asked.
#[derive(Debug)]
pub(super) struct Visit {
    /// A page of ours, for people.
    is_page: bool,
    /// The listed origin that asked.
    listed: Option<HeaderValue>,
}

impl Browser {
    /// Beside their own, pages of these origins may ask. `is_open` says that everybody may do everything.
    pub(super) fn new(origins: &[String], is_open: bool) -> Self {
        let hosts = origins.iter().filter_map(|origin| origin.split_once("://"));
        let hosts = is_open.then(|| hosts.map(|(_, host)| name(host).to_owned()).collect());
        Browser { origins: origins.to_vec(), hosts }
    }

    /// What the answer has to say, or the answer itself where the request goes no further.
    pub(super) fn judge<B>(&self, request: &Request<B>) -> (Visit, Option<Response>) {
        let (headers, path) = (request.headers(), request.uri().path());
        let mut visit = Visit { is_page: is_page(path), listed: None };
        let host = host(request.uri(), headers);
        if !self.is_host(host) && !is_for_any_host(path) {
            return (visit, Some(misdirected(host)));
        }
        if visit.is_page {
            return (visit, None);
        }
        let refused = match headers.get(header::ORIGIN) {
            Some(origin) if self.is_listed(origin) => {
                visit.listed = Some(origin.clone());
                is_preflight(request).then(permit)
            }
            Some(origin) => (!is_own(origin, host)).then(|| foreign("Origin", origin)),
            None => cross_site(request).map(|site| foreign("Sec-Fetch-Site", site)),
        };
        (visit, refused)
    }

    fn is_listed(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
    }

    /// May the server be reached by this name? By any, unless it trusts everybody: then a page that was loaded from a name
    /// whose owner later points it at this address would be our own (DNS rebinding).
    fn is_host(&self, host: &str) -> bool {
        let (Some(hosts), name) = (&self.hosts, name(host)) else { return true };
        let is_address = name.parse::<std::net::Ipv4Addr>().is_ok() || name.starts_with('[');
        let is_local = name.eq_ignore_ascii_case("localhost") || name.ends_with(".localhost");
        name.is_empty()
            || is_address
            || is_local
            || hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

impl Visit {
    /// Puts what browsers must know on an answer.
    pub(super) fn dress(self, mut response: Response) -> Response {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return response;
        }
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
        if self.is_page {
            return response;
        }
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = self.listed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        response
    }
}

/// Pages and what they are made of; everything else is for programs.
fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/graphiql") || path.starts_with("/assets/")
}

/// Signed, or told to everybody: tunnels and probes use names of their own.
fn is_for_any_host(path: &str) -> bool {
    path.starts_with("/webhooks/")
        || path.starts_with("/health/")
        || matches!(path, "/livez" | "/readyz" | "/healthz" | "/metrics" | "/version")
}

/// What the request was addressed to: `:authority` in HTTP/2, `Host` before.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    let header = || headers.get(header::HOST).and_then(|host| host.to_str().ok());
    uri.authority().map(Authority::as_str).or_else(header).unwrap_or_default()
}

/// A host without its port.
fn name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        Some(_) | None => host,
    }
}

/// Is it the origin of a page that was loaded from this server? Whether by `https` only a proxy in front of it knows.
fn is_own(origin: &HeaderValue, host: &str) -> bool {
    let parts = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    parts.is_some_and(|(scheme, rest)| matches!(scheme, "http" | "https") && !host.is_empty() && rest == host)
}

/// A page asks whether it may ask (Fetch standard, "CORS-preflight request").
fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Where a request without an origin comes from, when that is a page of another site: an image, a script, a frame. Whoever
/// follows a link to here looks at the answer himself.
fn cross_site<B>(request: &Request<B>) -> Option<&HeaderValue> {
    let headers = request.headers();
    let is = |name: HeaderName, value: &str| headers.get(name).is_some_and(|given| given == value);
    let site = headers.get(SEC_FETCH_SITE)?;
    let is_link = matches!(*request.method(), Method::GET | Method::HEAD)
        && is(SEC_FETCH_MODE, "navigate")
        && is(SEC_FETCH_DEST, "document");
    let is_foreign = site != "same-origin" && site != "none";
    (is_foreign && !is_link).then_some(site)
}

fn permit() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn foreign(name: &str, given: &HeaderValue) -> Response {
    let given = String::from_utf8_lossy(given.as_bytes());
    let allowed = "the server's own origin and those of the setting `origins`";
    Problem::from(Refusal::field(Code::Forbidden, name, &given, allowed)).into_response()
}

fn misdirected(host: &str) -> Response {
    let allowed = "an address, localhost, or the host of an origin in the setting `origins`, as long as the server has no \
                   authentication";
    let refusal = Refusal::field(Code::Forbidden, "Host", host, allowed);
    Problem::of(StatusCode::MISDIRECTED_REQUEST, refusal).into_response()
}

#[cfg(test)]
#[path = "browser_tests.rs"]
mod tests;
