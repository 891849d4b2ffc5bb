//! GitHub webhooks: checks the signature and makes drafts of a delivery.
//!
//! Flow: the edge calls [`verify`] on the raw body, [`body_text`] for its JSON, then [`drafts`].
//! Invariants: the same delivery gives the same drafts, so a redelivery is a duplicate and nobody sees it twice; commits
//! stand in the order of the push and before `repo.push.completed`, so who sees the push completed has all its commits.
//! Not here: headers and status (`server`). A delivery whose JSON is larger than the limit of an event's data is refused
//! as `TOO_LARGE` when its drafts are checked, as a whole.

use super::{IngestError, percent, unsupported, utf8};
use crate::{
    error::{Code, Refusal},
    event::{Draft, ID_BYTES_MAX, Json, Scope, ScopeField},
    ingest::media::MediaType,
};
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use sha2::Sha256;
use std::borrow::Cow;

const SIGNATURE: &str = "X-Hub-Signature-256";
const EVENT: &str = "X-GitHub-Event";
const DELIVERY: &str = "X-GitHub-Delivery";
/// Together with `github.` and two dots this stays inside the 128 bytes of a type.
const EVENT_BYTES_MAX: usize = 56;
const ACTION_CHARACTERS_MAX: usize = 56;

/// Checks that whoever sent the body knows the secret: `sha256=` and the HMAC of the raw body in hexadecimal, compared in
/// constant time. Fails with `UNAUTHENTICATED`; an empty secret admits nobody.
pub fn verify(secret: &[u8], body: &[u8], signature_header: Option<&str>) -> Result<(), Refusal> {
    let Some(header) = signature_header else {
        return Err(unsigned("the webhook is not signed; set a secret in its settings at GitHub"));
    };
    let Some(signature) = header.strip_prefix("sha256=").and_then(percent::decode_hex) else {
        return Err(unsigned("the signature is not sha256= and hexadecimal digits"));
    };
    let mac = Hmac::<Sha256>::new_from_slice(secret).ok().filter(|_| !secret.is_empty());
    let is_right = mac.is_some_and(|mac| mac.chain_update(body).verify_slice(&signature).is_ok());
    match is_right {
        true => Ok(()),
        false => {
            Err(unsigned("the signature is not that of the body; set the same secret here and at GitHub"))
        }
    }
}

fn unsigned(message: &'static str) -> Refusal {
    Refusal::new(Code::Unauthenticated, message)
        .with("field", SIGNATURE)
        .with("allowed", "sha256= and the HMAC-SHA256 of the body, keyed with the webhook's secret")
}

/// The JSON of a delivery: the body itself, or its form field `payload`; a webhook has either content type. Fails for any
/// other one, and with `BAD_REQUEST` for a body that is not UTF-8 or has no such field.
pub fn body_text<'a>(content_type: Option<&str>, body: &'a [u8]) -> Result<Cow<'a, str>, IngestError> {
    let given = content_type.unwrap_or_default();
    let media = MediaType::parse(given).filter(MediaType::is_utf8);
    match media.as_ref().map(MediaType::essence) {
        Some("application/json") => Ok(Cow::Borrowed(utf8(body)?)),
        Some("application/x-www-form-urlencoded") => Ok(Cow::Owned(form_field(body)?)),
        Some(_) | None => Err(unsupported(given.as_bytes())),
    }
}

fn form_field(body: &[u8]) -> Result<String, Refusal> {
    body.split(|byte| *byte == b'&')
        .find_map(|pair| pair.strip_prefix(b"payload="))
        .map(|value| value.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect::<Vec<u8>>())
        .and_then(|value| percent::decode(&value))
        .and_then(|value| String::from_utf8(value).ok())
        .ok_or_else(|| {
            Refusal::new(Code::BadRequest, "the form has no field payload with percent-encoded UTF-8")
                .with("field", "payload")
        })
}

/// The drafts of a delivery: `event` is `X-GitHub-Event`, `delivery` is `X-GitHub-Delivery`.
///
/// `push` gives one `repo.commit.created` a commit, then `repo.push.completed`; `workflow_run` requested gives
/// `github.workflow.triggered`; every other event `github.<event>.<action>`, in which characters that a type cannot have
/// are `_`, or `github.<event>` without an action. The id is the delivery's, and `<delivery>-<sha>` for a commit. Fails
/// with `BAD_REQUEST`.
pub fn drafts(event: &str, delivery: &str, body: &str) -> Result<Vec<Draft>, Refusal> {
    let is_event = |text: &str| text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if event.is_empty() || event.len() > EVENT_BYTES_MAX || !is_event(event) {
        return Err(Refusal::field(Code::BadRequest, EVENT, event, "1 to 56 characters a-z 0-9 _"));
    }
    if !is_id(delivery) {
        let rule = format!("1 to {ID_BYTES_MAX} visible ASCII characters");
        return Err(Refusal::field(Code::BadRequest, DELIVERY, delivery, rule));
    }
    let json = Json::parse(body)
        .map_err(|error| Refusal::new(Code::BadRequest, format!("the JSON is not accepted: {error}")))?;
    let delivered = Delivery { event, id: delivery, body: parse(json.as_str())? };
    if !delivered.body.is_object() {
        return Err(Refusal::new(Code::BadRequest, "the JSON of a webhook is an object"));
    }
    let mut drafts = match event {
        "push" => delivered.commits(json.as_str())?,
        _ => Vec::new(),
    };
    drafts.push(delivered.whole(parse(json.as_str())?));
    Ok(drafts)
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Refusal> {
    serde_json::from_str(json)
        .map_err(|error| Refusal::new(Code::BadRequest, format!("the JSON does not fit: {error}")))
}

fn is_id(text: &str) -> bool {
    Scope::default().set(ScopeField::Organization, text).is_ok()
}

/// What a push carries beside the envelope; verbatim, so that nothing of a commit is lost.
#[derive(Deserialize)]
struct Push<'a> {
    #[serde(borrow, default)]
    commits: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Commit {
    id: String,
    #[serde(default)]
    timestamp: Option<String>,
}

/// One delivery whose JSON was read.
struct Delivery<'a> {
    event: &'a str,
    id: &'a str,
    body: Value,
}

impl Delivery<'_> {
    fn text(&self, pointer: &str) -> Option<&str> {
        self.body.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// What all drafts of the delivery share. The sender is not the user whom the event concerns, so no user is set.
    fn envelope(&self) -> Draft {
        let organization = self.text("/organization/login").or_else(|| self.text("/repository/owner/login"));
        Draft {
            source: Some(self.source().to_owned()),
            organization_id: organization.filter(|login| is_id(login)).map(str::to_owned),
            correlation_id: Some(self.id.to_owned()),
            ..Draft::default()
        }
    }

    fn whole(&self, body: Box<RawValue>) -> Draft {
        Draft {
            id: Some(self.id.to_owned()),
            event_type: self.event_type(),
            time: self.time(),
            subject: self.subject(),
            data: Some(body),
            ..self.envelope()
        }
    }

    fn commits(&self, json: &str) -> Result<Vec<Draft>, Refusal> {
        let commits = parse::<Push<'_>>(json)?.commits.unwrap_or_default();
        commits.into_iter().enumerate().map(|(index, raw)| self.commit(index, raw)).collect()
    }

    fn commit(&self, index: usize, raw: &RawValue) -> Result<Draft, Refusal> {
        let refused = |given: &str| {
            let field = format!("commits[{index}].id");
            Refusal::field(Code::BadRequest, &field, given, "a commit with the id that Git gave it")
        };
        let commit: Commit = serde_json::from_str(raw.get()).map_err(|_| refused(raw.get()))?;
        let is_sha = !commit.id.is_empty() && commit.id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_sha || commit.id.len() > 64 {
            return Err(refused(&commit.id));
        }
        let member = |pointer| self.body.pointer(pointer).unwrap_or(&Value::Null);
        let (repository, branch) = (member("/repository/full_name"), member("/ref"));
        let json = format!(r#"{{"repository":{repository},"ref":{branch},"commit":{raw}}}"#);
        Ok(Draft {
            id: Some(format!("{}-{}", self.id, commit.id)),
            event_type: "repo.commit.created".to_owned(),
            time: commit.timestamp.as_deref().and_then(rfc3339),
            subject: Some(format!("commit/{}", commit.id)),
            data: Some(parse(&json)?),
            ..self.envelope()
        })
    }

    fn event_type(&self) -> String {
        match (self.event, self.text("/action")) {
            ("push", _) => "repo.push.completed".to_owned(),
            ("workflow_run", Some("requested")) => "github.workflow.triggered".to_owned(),
            (event, Some(action)) => format!("github.{event}.{}", segment(action)),
            (event, None) => format!("github.{event}"),
        }
    }

    /// The page of the smallest whole that the delivery names: repository, organization, enterprise, sender.
    fn source(&self) -> &str {
        let pages = [
            "/repository/html_url",
            "/organization/html_url",
            "/organization/url",
            "/enterprise/html_url",
            "/sender/html_url",
        ];
        pages.into_iter().find_map(|page| self.text(page)).unwrap_or("https://github.com")
    }

    /// What it is about inside the source; where GitHub has a page for it, its path there.
    fn subject(&self) -> Option<String> {
        const PLACES: [(&str, &str); 13] = [
            ("/pull_request/number", "pull/"),
            ("/issue/number", "issues/"),
            ("/discussion/number", "discussions/"),
            ("/workflow_run/id", "actions/runs/"),
            ("/workflow_job/run_id", "actions/runs/"),
            ("/release/tag_name", "releases/tag/"),
            ("/deployment/id", "deployments/"),
            ("/alert/number", "alerts/"),
            ("/check_run/head_sha", "commit/"),
            ("/check_suite/head_sha", "commit/"),
            ("/comment/commit_id", "commit/"),
            ("/sha", "commit/"),
            ("/ref", ""),
        ];
        PLACES.into_iter().find_map(|(pointer, prefix)| match self.body.pointer(pointer)? {
            Value::String(text) if !text.is_empty() => Some(format!("{prefix}{text}")),
            Value::Number(number) => Some(format!("{prefix}{number}")),
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
        })
    }

    /// When a push happened; for other events GitHub does not say it in one place, so the time of arrival stands.
    fn time(&self) -> Option<DateTime<Utc>> {
        if self.event != "push" {
            return None;
        }
        let pushed_at = self.body.pointer("/repository/pushed_at").and_then(Value::as_i64);
        pushed_at
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
            .or_else(|| self.text("/head_commit/timestamp").and_then(rfc3339))
    }
}

fn rfc3339(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(Into::into)
}

/// An action as one segment of a type. Most are one already; that of `repository_dispatch` is any text of a user.
fn segment(action: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    action
        .chars()
        .take(ACTION_CHARACTERS_MAX)
        .map(|character| if plain(character) { character } else { '_' })
        .collect()
}

#[cfg(test)]
#[path = "github_tests.rs"]
mod tests;
