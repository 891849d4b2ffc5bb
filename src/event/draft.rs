//! An event as it comes in, in our own field names, and the one door through which it becomes a [`NewEvent`].

use super::{Attributes, EventType, Json, NewEvent, Priority, Scope, ScopeField, json, scope::check_id};
use crate::error::{Code, Refusal};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The limits of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of `data` (or of `dataBase64`).
    pub data_bytes_max: usize,
    /// The most events of one publish request of a caller.
    pub batch_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { data_bytes_max: 256 * 1024, batch_max: 1_000 }
    }
}

impl Limits {
    /// May a caller publish so many events at once? Fails with `TOO_MANY`.
    pub fn check_batch(&self, events: usize) -> Result<(), Refusal> {
        let most = self.batch_max;
        match events <= most {
            true => Ok(()),
            false => {
                let (given, allowed) =
                    (format!("{events} events"), format!("{most} events (setting batch_max)"));
                Err(Refusal::field(Code::TooMany, "events", &given, allowed))
            }
        }
    }
}

/// The most bytes of `source` and of `subject`, and of all attributes together.
const TEXT_BYTES_MAX: usize = 512;
const ATTRIBUTES_BYTES_MAX: usize = 4 * 1024;
const ATTRIBUTES_MAX: usize = 32;
const SOURCE_DEFAULT: &str = "/";

/// An event as a producer writes it: our own JSON field names, nothing checked but their types.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Draft {
    /// Unique within the source; default a UUIDv7.
    #[serde(default)]
    pub id: Option<String>,
    /// What happened, such as `task.created`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When it happened (RFC 3339); default now.
    #[serde(default)]
    pub time: Option<DateTime<Utc>>,
    /// Who says so, a URI reference; default `/`.
    #[serde(default)]
    pub source: Option<String>,
    /// What it is about inside the source.
    #[serde(default)]
    pub subject: Option<String>,
    /// The organization it concerns.
    #[serde(default)]
    pub organization_id: Option<String>,
    /// The domain it concerns.
    #[serde(default)]
    pub domain_id: Option<String>,
    /// The instance it concerns.
    #[serde(default)]
    pub instance_id: Option<String>,
    /// The agent it concerns.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// The task it concerns.
    #[serde(default)]
    pub task_id: Option<String>,
    /// The workflow it concerns.
    #[serde(default)]
    pub workflow_id: Option<String>,
    /// The user it concerns.
    #[serde(default)]
    pub user_id: Option<String>,
    /// The room it concerns.
    #[serde(default)]
    pub room_id: Option<String>,
    /// The request it belongs to.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// `LOW`, `NORMAL` (default), `HIGH` or `CRITICAL`.
    #[serde(default)]
    pub priority: Option<String>,
    /// Any JSON; default `null`.
    #[serde(default)]
    pub data: Option<Box<RawValue>>,
    /// Binary data as base64, in place of `data`.
    #[serde(default)]
    pub data_base64: Option<String>,
    /// CloudEvents attributes without a field of their own.
    #[serde(default, deserialize_with = "json::strict")]
    pub attributes: Option<Attributes>,
    /// Is it kept in the log? `false`: it is delivered and not kept; default `true`.
    #[serde(default)]
    pub persist: Option<bool>,
}

impl Draft {
    /// The place of a scope field.
    pub fn scope_mut(&mut self, field: ScopeField) -> &mut Option<String> {
        match field {
            ScopeField::Organization => &mut self.organization_id,
            ScopeField::Domain => &mut self.domain_id,
            ScopeField::Instance => &mut self.instance_id,
            ScopeField::Agent => &mut self.agent_id,
            ScopeField::Task => &mut self.task_id,
            ScopeField::Workflow => &mut self.workflow_id,
            ScopeField::User => &mut self.user_id,
            ScopeField::Room => &mut self.room_id,
        }
    }

    /// Reads one event in our own JSON field names. Fails with `BAD_REQUEST`.
    pub fn from_json(text: &str) -> Result<Self, Refusal> {
        // A derived reader also takes a list for an object, by the order of the fields.
        match text.trim_ascii_start().starts_with('[') {
            true => Err(Refusal::new(Code::BadRequest, "an event is a JSON object, not a list")),
            // Not checked as a whole first: each field is checked, `data` when the event is made.
            false => json::read_typed(text),
        }
    }

    fn scope(&mut self) -> Result<Scope, Refusal> {
        let mut scope = Scope::default();
        for field in ScopeField::ALL {
            if let Some(id) = self.scope_mut(field).take() {
                scope.set(field, &id)?;
            }
        }
        Ok(scope)
    }
}

impl NewEvent {
    /// Checks a draft and fills in what it leaves open. Fails with `INVALID_EVENT`, or `TOO_LARGE` for the data; the
    /// refusal names the field, what was given and what is allowed.
    pub fn new(mut draft: Draft, limits: &Limits) -> Result<Self, Refusal> {
        let event_type = EventType::parse(&draft.event_type, "type")?;
        let scope = draft.scope()?;
        let id = match draft.id {
            Some(id) => text(id, "id")?.into(),
            None => uuid::Uuid::now_v7().to_string().into(),
        };
        let source = match draft.source {
            Some(source) => text(source, "source")?.into(),
            None => SOURCE_DEFAULT.into(),
        };
        if let Some(correlation_id) = &draft.correlation_id {
            check_id(correlation_id, Code::InvalidEvent, "correlationId")?;
        }
        Ok(NewEvent {
            id,
            namespace: None,
            event_type,
            time_is_given: draft.time.is_some(),
            time: draft.time.unwrap_or_else(Utc::now),
            source,
            subject: draft.subject.map(|subject| text(subject, "subject")).transpose()?.map(Into::into),
            scope,
            correlation_id: draft.correlation_id.map(Into::into),
            correlation_is_inherited: false,
            priority: priority(draft.priority.as_deref())?,
            data: data(draft.data.as_deref(), draft.data_base64.is_some(), limits)?,
            data_base64: draft.data_base64.map(|data| base64_data(data, limits)).transpose()?,
            attributes: attributes(draft.attributes.unwrap_or_default())?,
            is_persistent: draft.persist.unwrap_or(true),
        })
    }
}

fn text(given: String, field: &str) -> Result<String, Refusal> {
    match !given.is_empty() && given.len() <= TEXT_BYTES_MAX && !given.chars().any(char::is_control) {
        true => Ok(given),
        false => Err(Refusal::field(
            Code::InvalidEvent,
            field,
            &given,
            format!("1 to {TEXT_BYTES_MAX} bytes without control characters"),
        )),
    }
}

fn priority(given: Option<&str>) -> Result<Priority, Refusal> {
    let Some(name) = given else { return Ok(Priority::default()) };
    Priority::from_name(name)
        .ok_or_else(|| Refusal::field(Code::InvalidEvent, "priority", name, "LOW, NORMAL, HIGH or CRITICAL"))
}

fn too_large(field: &'static str, bytes: usize, limits: &Limits) -> Refusal {
    let allowed = format!("{} bytes", limits.data_bytes_max);
    Refusal::new(Code::TooLarge, format!("{field} has {bytes} bytes; {allowed} are allowed"))
        .with("field", field)
        .with("given", format!("{bytes} bytes"))
        .with("allowed", allowed)
}

fn data(given: Option<&RawValue>, is_binary: bool, limits: &Limits) -> Result<Json, Refusal> {
    let Some(raw) = given.filter(|raw| raw.get() != "null") else { return Ok(Json::null()) };
    if is_binary {
        return Err(Refusal::field(
            Code::InvalidEvent,
            "dataBase64",
            "beside data",
            "either data or dataBase64",
        ));
    }
    if raw.get().len() > limits.data_bytes_max {
        return Err(too_large("data", raw.get().len(), limits));
    }
    Json::parse(raw.get())
        .map_err(|error| Refusal::field(Code::InvalidEvent, "data", raw.get(), format!("JSON ({error})")))
}

fn base64_data(given: String, limits: &Limits) -> Result<Box<str>, Refusal> {
    if given.len() > limits.data_bytes_max {
        return Err(too_large("dataBase64", given.len(), limits));
    }
    match STANDARD.decode(&given) {
        Ok(_) => Ok(given.into()),
        Err(error) => Err(Refusal::field(
            Code::InvalidEvent,
            "dataBase64",
            &given,
            format!("base64 with padding ({error})"),
        )),
    }
}

fn attributes(given: Attributes) -> Result<Attributes, Refusal> {
    if given.len() > ATTRIBUTES_MAX {
        let count = format!("{} attributes", given.len());
        return Err(Refusal::field(
            Code::InvalidEvent,
            "attributes",
            &count,
            format!("{ATTRIBUTES_MAX} attributes"),
        ));
    }
    let mut bytes = 0;
    for (name, value) in &given {
        if is_field(name) {
            let rule = "names that are no field of an event, whatever the case of the letters";
            return Err(Refusal::field(Code::InvalidEvent, "attributes", name, rule));
        }
        let is_name = (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !is_name {
            let rule = "names of 1 to 64 characters a-z 0-9 (CloudEvents)";
            return Err(Refusal::field(Code::InvalidEvent, "attributes", name, rule));
        }
        let is_scalar = value.is_string() || value.is_boolean() || value.is_i64();
        if !is_scalar {
            let field = format!("attributes.{name}");
            return Err(Refusal::field(
                Code::InvalidEvent,
                &field,
                &value.to_string(),
                "a string, a boolean or an integer",
            ));
        }
        bytes += name.len() + value.as_str().map_or(8, str::len);
    }
    match bytes <= ATTRIBUTES_BYTES_MAX {
        true => Ok(given),
        false => {
            let rule = format!("{ATTRIBUTES_BYTES_MAX} bytes in all");
            Err(Refusal::field(Code::InvalidEvent, "attributes", &format!("{bytes} bytes"), rule))
        }
    }
}

/// As a CloudEvent, a field of ours and an attribute of its lower-case name would be one member.
fn is_field(name: &str) -> bool {
    const FIELDS: [&str; 11] = [
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "data",
        "correlationid",
        "priority",
        "cursor",
        "database64",
    ];
    FIELDS.contains(&name) || ScopeField::ALL.iter().any(|field| field.camel().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> (Code, String) {
        let refusal =
            Draft::from_json(json).and_then(|draft| NewEvent::new(draft, &Limits::default())).unwrap_err();
        (refusal.code, refusal.detail("field").unwrap_or_default().to_owned())
    }

    #[test]
    fn each_field_is_refused_by_its_name() {
        let long = "x".repeat(513);
        let cases = [
            (r#"{"type":"a..b"}"#.to_owned(), "type"),
            (r#"{"type":"a","id":""}"#.to_owned(), "id"),
            (format!(r#"{{"type":"a","source":"{long}"}}"#), "source"),
            (r#"{"type":"a","subject":"a\u0000"}"#.to_owned(), "subject"),
            (r#"{"type":"a","agentId":"a b"}"#.to_owned(), "agentId"),
            (r#"{"type":"a","correlationId":"é"}"#.to_owned(), "correlationId"),
            (r#"{"type":"a","priority":"URGENT"}"#.to_owned(), "priority"),
            (r#"{"type":"a","data":1,"dataBase64":"AA=="}"#.to_owned(), "dataBase64"),
            (r#"{"type":"a","dataBase64":"?"}"#.to_owned(), "dataBase64"),
            (r#"{"type":"a","attributes":{"Up":1}}"#.to_owned(), "attributes"),
            (r#"{"type":"a","attributes":{"up":[1]}}"#.to_owned(), "attributes.up"),
            (r#"{"type":"a","attributes":{"taskid":"t1"}}"#.to_owned(), "attributes"),
        ];
        for (json, field) in cases {
            assert_eq!(refused(&json), (Code::InvalidEvent, field.to_owned()), "{json}");
        }
    }

    #[test]
    fn unknown_fields_and_broken_json_are_bad_requests_and_large_data_is_too_large() {
        assert_eq!(refused(r#"{"type":"a","kind":"b"}"#).0, Code::BadRequest);
        assert_eq!(refused("{").0, Code::BadRequest);
        let large = format!(r#"{{"type":"a","data":"{}"}}"#, "x".repeat(256 * 1024));
        assert_eq!(refused(&large), (Code::TooLarge, "data".to_owned()));
    }

    #[test]
    fn what_is_left_open_is_filled_in() {
        let draft = Draft { event_type: "task.created".to_owned(), ..Draft::default() };
        let event = NewEvent::new(draft, &Limits::default()).unwrap();
        assert_eq!(
            (event.source(), event.priority(), event.data().as_str()),
            ("/", Priority::Normal, "null")
        );
        assert_eq!(uuid::Uuid::parse_str(event.id()).unwrap().get_version_num(), 7);
        assert!(!event.time_is_given());
    }
}
