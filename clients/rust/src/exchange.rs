//! One request to `POST /events` and its answer.
//!
//! Invariants: a request ends within its timeout, and an answer is read to a bound; nothing is sent to another address than the
//! one of the options, so a redirect is not followed.

use crate::{
    answer::{self, Answer, Delay},
    options::{Options, OptionsError},
    queue::Entry,
};
use http::{HeaderValue, StatusCode, header};
use reqwest::Url;
use std::{error::Error, time::Duration};

const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// An acknowledgement has some 150 bytes; 1,000 of them are far below.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The way to a server's `POST /events`.
#[derive(Debug)]
pub(crate) struct Exchange {
    http: reqwest::Client,
    url: Url,
}

/// What came back.
struct Response {
    status: StatusCode,
    retry_after: Option<String>,
    body: Vec<u8>,
}

impl Exchange {
    /// Checks the options. Fails as they do, or if the system's certificates are needed and cannot be read.
    pub(crate) fn new(options: &Options) -> Result<Self, OptionsError> {
        let url = options.check()?;
        let http = reqwest::Client::builder()
            .connect_timeout(options.request_timeout.min(CONNECT_TIMEOUT_MAX))
            .timeout(options.request_timeout)
            // A redirect would repeat the POST elsewhere, with the token, or turn it into a GET.
            .redirect(reqwest::redirect::Policy::none());
        let http = match url.scheme() {
            // Without TLS the system's certificates need not be read, and need not be there.
            "http" => http.tls_certs_only([]),
            _ => http,
        };
        let http = http.build().map_err(|error| OptionsError::Client(Box::new(error)))?;
        Ok(Exchange { http, url })
    }

    /// Publishes events in their order, all or none.
    ///
    /// Cancel safety: the server may have the events.
    pub(crate) async fn publish(&self, part: &[Entry], token: Option<HeaderValue>) -> Answer {
        let mut request = self
            .http
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(list(part));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        match receive(request).await {
            Ok(Response { status, retry_after, body }) => {
                let ids: Vec<_> = part.iter().map(|entry| entry.id.as_str()).collect();
                answer::read(status, retry_after.as_deref(), &body, &ids)
            }
            Err(error) => Answer::Later(Delay::unanswered(cause(&error))),
        }
    }
}

async fn receive(request: reqwest::RequestBuilder) -> Result<Response, reqwest::Error> {
    let mut response = request.send().await?;
    let retry_after = response.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (status, mut body) = (response.status(), Vec::new());
    // What is longer than any acknowledgement is none, and is read no further.
    while body.len() <= ANSWER_BYTES_MAX {
        let Some(piece) = response.chunk().await? else { break };
        body.extend_from_slice(&piece);
    }
    Ok(Response { status, retry_after, body })
}

/// A JSON list of the events.
fn list(part: &[Entry]) -> String {
    let bytes: usize = part.iter().map(|entry| entry.json.len() + 1).sum();
    let mut list = String::with_capacity(bytes + 2);
    for (index, entry) in part.iter().enumerate() {
        list.push(if index == 0 { '[' } else { ',' });
        list.push_str(&entry.json);
    }
    list.push(']');
    list
}

/// The innermost reason, such as "connection refused"; the outer ones only say that a request failed, and name its address.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "there was no answer in time".to_owned();
    }
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
