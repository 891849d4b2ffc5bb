//! The web pages inside the binary: GraphiQL for now. Nothing is loaded from another host, and the pages say so to the browser.

use super::{App, problem::Problem};
use crate::error::{Code, Refusal};
use axum::{
    Router,
    body::Body,
    http::{HeaderName, StatusCode, Uri, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use rust_embed::{EmbeddedFile, RustEmbed};

/// What `make web` built; empty when it was not run.
#[derive(RustEmbed)]
#[folder = "web/dist/"]
#[allow_missing = true]
struct Pages;

const GRAPHIQL: &str = "graphiql/index.html";

/// Scripts, workers and connections of this origin only. The editor writes its styles in place.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; font-src 'self'; worker-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

const NOT_BUILT: &str = "<!doctype html><meta charset=utf-8><title>Fanfare</title>\
     <h1>The web pages are not part of this build</h1>\
     <p>Run <code>make web</code> (it needs Node.js), then build again: <code>cargo build</code>. \
     Everything else works without them; the schema is at <a href=\"/schema.graphql\">/schema.graphql</a>.</p>";

const SWITCHED_OFF: &str = "<!doctype html><meta charset=utf-8><title>Fanfare</title>\
     <h1>GraphiQL is switched off</h1>\
     <p>It is off where authentication is on, unless the setting <code>graphiql</code> is <code>true</code>.</p>";

/// The routes of this room.
pub(super) fn routes(has_graphiql: bool) -> Router<App> {
    let router = Router::new().route("/", get(root));
    match has_graphiql {
        true => router.route("/graphiql", get(graphiql)).route("/assets/{*path}", get(file)),
        false => router.route("/graphiql", get(switched_off)),
    }
}

/// For people, who came here by the address that they know.
async fn switched_off() -> Response {
    let headers = [(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'")];
    (StatusCode::NOT_FOUND, headers, Html(SWITCHED_OFF)).into_response()
}

/// Answers for every other path.
pub(super) async fn not_found(uri: Uri) -> Response {
    Problem::from(
        Refusal::new(Code::NotFound, "there is nothing at this path")
            .with("given", crate::error::excerpt(uri.path())),
    )
    .into_response()
}

async fn root() -> Redirect {
    Redirect::to("/graphiql")
}

async fn graphiql() -> Response {
    match Pages::get(GRAPHIQL) {
        Some(page) => respond(GRAPHIQL, page),
        None => Html(NOT_BUILT).into_response(),
    }
}

async fn file(uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    match Pages::get(path) {
        Some(page) => respond(path, page),
        None => not_found(uri).await,
    }
}

fn respond(path: &str, page: EmbeddedFile) -> Response {
    // File names of assets carry a hash of their content; the page itself is asked for anew.
    let caching = if path == GRAPHIQL { "no-cache" } else { "public, max-age=31536000, immutable" };
    let headers = [
        (header::CONTENT_TYPE, media_type(path)),
        (header::CACHE_CONTROL, caching),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    (headers, Body::from(page.data)).into_response()
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        Some("ttf") => "font/ttf",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}
