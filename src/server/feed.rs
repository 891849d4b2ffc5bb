//! `GET /events`: whole events for a browser's `EventSource`, or for `curl -N`; the query string is the filter.
//!
//! Invariants: a parameter is a field of the filter or of the start position, or it is refused by name; `Last-Event-ID` wins
//! over the start position, because it is where the reader stands now. A position that is lost does not end a feed, whose
//! readers see no status and would come back for ever: it is told as a `gap`, and the feed goes on from where it can.

use super::{
    App, credential,
    negotiation::{last_event_id, takes},
    operations::{Begun, Operations},
    problem::Problem,
    stream::{self, EventStream},
};
use crate::{
    error::{Code, Refusal},
    event::{AlternativeDraft, EventFilter, FilterDraft, StartDraft, StartPosition, json},
    fanout::{Asked, EventForm},
    protocol::Streaming,
};
use axum::{
    extract::{Query, Request, State},
    http::{StatusCode, request::Parts},
    response::Response,
};
use chrono::DateTime;
use std::sync::Arc;

/// A list of a filter.
type List = fn(&mut FilterDraft) -> &mut Option<Vec<String>>;

/// The lists of a filter, by the names of the query string; repeats are alternatives.
const LISTS: [(&str, List); 15] = [
    ("type", |draft| &mut draft.types),
    ("types", |draft| &mut draft.types),
    ("category", |draft| &mut draft.categories),
    ("categories", |draft| &mut draft.categories),
    ("organizationId", |draft| &mut draft.organization_id),
    ("domainId", |draft| &mut draft.domain_id),
    ("instanceId", |draft| &mut draft.instance_id),
    ("agentId", |draft| &mut draft.agent_id),
    ("taskId", |draft| &mut draft.task_id),
    ("workflowId", |draft| &mut draft.workflow_id),
    ("userId", |draft| &mut draft.user_id),
    ("roomId", |draft| &mut draft.room_id),
    ("source", |draft| &mut draft.sources),
    ("sources", |draft| &mut draft.sources),
    ("correlationId", |draft| &mut draft.correlation_id),
];
/// The parameters that stand at most once, or have a form of their own.
const OTHERS: [&str; 6] = ["minPriority", "anyOf", "after", "time", "last", "earliest"];

/// Follows events.
pub(super) async fn follow(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let principal = credential::of_stream(&app, &parts).await?;
    if !takes(&parts.headers, &["text/event-stream", "text/*", "*/*"]) {
        return Err(Problem::with_status(StatusCode::NOT_ACCEPTABLE, "the feed is text/event-stream"));
    }
    let (filter, start) = read(&parts, app.options.token_in_query)?;
    let start = last_event_id(&parts.headers)?.map_or(start, StartPosition::After);
    let share = stream::share(&parts)?;
    let operations = Operations::new(&app, Streaming::EventSource, &principal)?;
    let claim = operations.claim("").expect("a new response has room for its one operation");
    let form = Arc::new(EventForm::WHOLE);
    let stream = EventStream::new(&app, Streaming::EventSource, Arc::clone(&operations), share, None);
    let mut gap = None;
    let resumes = matches!(start, StartPosition::After(_));
    let asked = Asked { filter, start, ..Asked::default() };
    let mut begun = match principal.charge_operation() {
        Ok(()) => claim.follow(&app, form.clone(), asked.clone()).await,
        Err(refusal) => Begun::Not(refusal),
    };
    if let Begun::Not(refusal) = begun {
        gap = Some(refusal.clone());
        begun = match next_start(&refusal) {
            Some(start) => claim.follow(&app, form, Asked { start, ..asked }).await,
            None => Begun::Not(refusal),
        };
    }
    match begun {
        Begun::Not(refusal) if refusal.code.retryable() => Ok(stream.refuse(&refusal)),
        Begun::Not(refusal) => Err(refusal.into()),
        Begun::Accepted | Begun::Stopped => {
            let resumed = gap.is_none() && resumes;
            Ok(stream.open(claim.start(), resumed, gap.as_ref()))
        }
    }
}

/// Where a feed goes on whose position is lost; none for a refusal of another kind.
fn next_start(refusal: &Refusal) -> Option<StartPosition> {
    match refusal.code {
        // The reader has seen nothing of what is left.
        Code::CursorExpired | Code::EpochChanged => Some(StartPosition::Earliest),
        // The reader has seen more than there is.
        Code::CursorAhead => Some(StartPosition::Live),
        Code::BadRequest
        | Code::InvalidEvent
        | Code::InvalidFilter
        | Code::DocumentTooComplex
        | Code::Unauthenticated
        | Code::Forbidden
        | Code::NotFound
        | Code::IdConflict
        | Code::Conflict
        | Code::CursorInvalid
        | Code::TooLarge
        | Code::TooMany
        | Code::RateLimited
        | Code::SlowConsumer
        | Code::Unavailable
        | Code::StorageFull
        | Code::Internal => None,
    }
}

/// The filter and the start position of a query string.
fn read(parts: &Parts, may_have_token: bool) -> Result<(EventFilter, StartPosition), Refusal> {
    let Query(parameters) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
        .map_err(|_| refused("query", "the query string", "application/x-www-form-urlencoded"))?;
    let (mut filter, mut start) = (FilterDraft::default(), StartDraft::default());
    for (name, value) in parameters {
        if may_have_token && name == credential::PARAMETER {
            continue;
        }
        match LISTS.iter().find(|(list, _)| *list == name) {
            Some((_, list)) => list(&mut filter).get_or_insert_default().push(value),
            None => put(&name, value, &mut filter, &mut start)?,
        }
    }
    let start = match start == StartDraft::default() {
        true => StartPosition::Live,
        false => StartPosition::new(start)?,
    };
    Ok((EventFilter::new(filter)?, start))
}

/// Takes a parameter that is no list.
fn put(name: &str, value: String, filter: &mut FilterDraft, start: &mut StartDraft) -> Result<(), Refusal> {
    match name {
        "minPriority" => once(name, value, &mut filter.min_priority),
        "anyOf" => {
            let alternative: AlternativeDraft = match value.trim_start().starts_with('{') {
                true => json::read(&value).map_err(|refusal| refusal.with("field", "anyOf"))?,
                false => return Err(refused(name, &value, "a filter as a JSON object")),
            };
            filter.any_of.get_or_insert_default().push(alternative);
            Ok(())
        }
        "after" => once(name, value, &mut start.after),
        "time" => {
            let time = DateTime::parse_from_rfc3339(&value).map_err(|_| {
                refused(
                    name,
                    &value,
                    "a time of RFC 3339, such as 2026-11-20T10:00:00Z, its + written as %2B",
                )
            })?;
            once(name, time.to_utc(), &mut start.time)
        }
        "last" => {
            let last = value.parse().map_err(|_| refused(name, &value, "a number"))?;
            once(name, last, &mut start.last)
        }
        "earliest" => {
            let earliest = value.parse().map_err(|_| refused(name, &value, "true"))?;
            once(name, earliest, &mut start.earliest)
        }
        _ => {
            let known: Vec<&str> = LISTS.iter().map(|(list, _)| *list).chain(OTHERS).collect();
            Err(refused("query", name, format!("the parameters {}", known.join(", "))))
        }
    }
}

fn once<T>(name: &str, value: T, place: &mut Option<T>) -> Result<(), Refusal> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(refused(name, "two values", "one value")),
    }
}

fn refused(field: &str, given: &str, allowed: impl Into<String>) -> Refusal {
    Refusal::field(Code::InvalidFilter, field, given, allowed)
}
