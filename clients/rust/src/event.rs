//! An [`Event`] as a service makes it, before the server has seen it.
//!
//! Invariants: id and time are given when the event is made, so it is the same event however often it is sent; whether its
//! fields are allowed is judged by the server alone, so that there is one set of rules.
//! Not here: `source`, which the publisher adds.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// The CloudEvents attribute that says which trace an event belongs to (extension "distributed tracing").
pub(crate) const TRACEPARENT_ATTRIBUTE: &str = "traceparent";

/// How urgent an event is, in rising order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Priority {
    /// May wait.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before normal ones.
    High,
    /// Before everything else.
    Critical,
}

/// Something that happened, to be given to a [`Publisher`](crate::Publisher).
///
/// It has an id (UUIDv7) and a time from the start. A clone is the same event: published twice, it is logged once.
///
/// ```
/// use fanfare_client::Event;
/// use serde_json::json;
///
/// let event = Event::new("task.created").task_id("t1").data(json!({ "name": "Try Fanfare" }));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    time: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<Priority>,
    #[serde(skip_serializing_if = "Option::is_none")]
    persist: Option<bool>,
    #[serde(skip_serializing_if = "Value::is_null")]
    data: Value,
    #[serde(skip_serializing_if = "Map::is_empty")]
    attributes: Map<String, Value>,
}

/// Setters of optional texts, each with its meaning.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(mut self, $name: impl Into<String>) -> Self {
                self.$name = Some($name.into());
                self
            }
        )*
    };
}

impl Event {
    /// An event of this type, such as `task.created`: 1 to 8 segments of `A-Z a-z 0-9 _ -`, joined by dots.
    pub fn new(event_type: impl Into<String>) -> Self {
        Event {
            id: Uuid::now_v7().to_string(),
            event_type: event_type.into(),
            time: Utc::now(),
            subject: None,
            organization_id: None,
            domain_id: None,
            instance_id: None,
            agent_id: None,
            task_id: None,
            workflow_id: None,
            user_id: None,
            room_id: None,
            correlation_id: None,
            priority: None,
            persist: None,
            data: Value::Null,
            attributes: Map::new(),
        }
    }

    texts! {
        /// What it is about inside the source.
        subject,
        /// The organization it concerns.
        organization_id,
        /// The domain it concerns.
        domain_id,
        /// The instance it concerns.
        instance_id,
        /// The agent it concerns.
        agent_id,
        /// The task it concerns.
        task_id,
        /// The workflow it concerns.
        workflow_id,
        /// The user it concerns.
        user_id,
        /// The room it concerns.
        room_id,
        /// The request it belongs to; a request-scoped publisher fills it in where it is missing.
        correlation_id,
    }

    /// An id of the caller's own in place of the UUIDv7, unique within the source. The server logs it once, whoever
    /// publishes it again within 24 hours, and refuses another event of the same id (`ID_CONFLICT`).
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// When it happened, in place of the time at which it was made.
    #[must_use]
    pub fn time(mut self, time: SystemTime) -> Self {
        self.time = utc(time);
        self
    }

    /// How urgent it is.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Whether it is kept in the log, as it is by default. One that is not kept goes out to those who follow right now, and goes
    /// out again if an acknowledgement was lost; the acknowledgement says that the server took it, for it is on no disk. For what
    /// nobody misses later, such as a tick of progress.
    #[must_use]
    pub fn persist(mut self, persist: bool) -> Self {
        self.persist = Some(persist);
        self
    }

    /// What there is to say: `json!({ … })`, or what [`serde_json::to_value`] makes of a type of the caller's own. The
    /// server takes 256 KiB unless it is set up otherwise.
    #[must_use]
    pub fn data(mut self, data: impl Into<Value>) -> Self {
        self.data = data.into();
        self
    }

    /// A CloudEvents attribute that has no field here; a string, a boolean or an integer under a name of `a-z 0-9`.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its type.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// The event as a part of a request; what it says itself of either is kept.
    pub(crate) fn in_request(mut self, correlation_id: &str, traceparent: Option<String>) -> Self {
        self.correlation_id.get_or_insert_with(|| correlation_id.to_owned());
        if let Some(traceparent) = traceparent {
            self.attributes.entry(TRACEPARENT_ATTRIBUTE).or_insert_with(|| traceparent.into());
        }
        self
    }

    /// Nothing but its id.
    pub(crate) fn into_id(self) -> String {
        self.id
    }

    /// The JSON that the server reads, in its field names.
    pub(crate) fn to_json(&self, source: &str) -> String {
        #[derive(Serialize)]
        struct Sourced<'a> {
            source: &'a str,
            #[serde(flatten)]
            event: &'a Event,
        }
        serde_json::to_string(&Sourced { source, event: self })
            .expect("texts and JSON values are JSON, and every key is a text")
    }
}

/// What lies beyond the calendar becomes its nearest end, which the server refuses by its own words.
fn utc(time: SystemTime) -> DateTime<Utc> {
    let at = |seconds: i64, nanos: u32| DateTime::from_timestamp(seconds, nanos);
    let whole = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => at(whole(since), since.subsec_nanos()).unwrap_or(DateTime::<Utc>::MAX_UTC),
        Err(before) => {
            let before = before.duration();
            at(-whole(before), 0)
                .and_then(|second| {
                    second.checked_sub_signed(chrono::TimeDelta::nanoseconds(before.subsec_nanos().into()))
                })
                .unwrap_or(DateTime::<Utc>::MIN_UTC)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare::event::{Draft, Limits, NewEvent};
    use serde_json::json;

    fn read(event: &Event) -> NewEvent {
        NewEvent::new(Draft::from_json(&event.to_json("/shop")).unwrap(), &Limits::default()).unwrap()
    }

    #[test]
    fn the_server_reads_every_field_as_it_was_given() {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        let event = Event::new("task.created")
            .with_id("e1")
            .time(time)
            .subject("s")
            .organization_id("o")
            .domain_id("d")
            .instance_id("i")
            .agent_id("a")
            .task_id("t")
            .workflow_id("w")
            .user_id("u")
            .room_id("r")
            .correlation_id("c")
            .priority(Priority::Critical)
            .data(json!({ "name": "x" }))
            .attribute("region", "eu");
        let read = read(&event);
        assert_eq!((read.id(), read.event_type().as_str(), read.source()), ("e1", "task.created", "/shop"));
        assert_eq!((read.subject(), read.correlation_id()), (Some("s"), Some("c")));
        assert!(read.time_is_given() && SystemTime::from(read.time()) == time);
        assert_eq!(read.priority().name(), "CRITICAL");
        assert_eq!(read.data().as_str(), r#"{"name":"x"}"#);
        assert_eq!(read.attributes().get("region"), Some(&json!("eu")));
        let ids: Vec<_> =
            fanfare::event::ScopeField::ALL.iter().map(|field| read.scope().get(*field).unwrap()).collect();
        assert_eq!(ids, ["o", "d", "i", "a", "t", "w", "u", "r"]);
    }

    #[test]
    fn an_event_of_nothing_but_a_type_is_whole_and_a_clone_is_the_same_event() {
        let event = Event::new("task.created");
        let read = read(&event);
        assert_eq!(Uuid::parse_str(read.id()).unwrap().get_version_num(), 7);
        assert!(read.time_is_given());
        assert_eq!(event.clone().to_json("/"), event.to_json("/"));
    }

    #[test]
    fn an_event_is_kept_unless_it_says_otherwise() {
        let event = Event::new("task.progress");
        assert!(read(&event).is_persistent() && read(&event.clone().persist(true)).is_persistent());
        assert!(!read(&event.persist(false)).is_persistent());
    }

    #[test]
    fn a_request_fills_in_what_is_missing_and_changes_nothing() {
        let own = Event::new("a").correlation_id("mine").attribute(TRACEPARENT_ATTRIBUTE, "mine");
        assert_eq!(own.clone().in_request("c", Some("t".to_owned())), own);
        let filled = Event::new("a").in_request("c", Some("t".to_owned()));
        assert_eq!(read(&filled).correlation_id(), Some("c"));
        assert_eq!(read(&filled).attributes().get("traceparent"), Some(&json!("t")));
    }

    #[test]
    fn no_time_panics() {
        let before = SystemTime::UNIX_EPOCH - Duration::new(1, 500_000_000);
        assert_eq!(utc(before).timestamp_millis(), -1_500);
        for seconds in [u64::from(u32::MAX), i64::MAX as u64] {
            let span = Duration::from_secs(seconds);
            for time in [SystemTime::UNIX_EPOCH.checked_add(span), SystemTime::UNIX_EPOCH.checked_sub(span)] {
                assert!(time.is_none_or(|time| !utc(time).to_string().is_empty()));
            }
        }
    }
}
