//! What is kept of the fields of a span: a bounded amount, the words that mean something to the server apart from the rest.

use super::{CORRELATION_ID, EMIT, ERROR};
use crate::{Event, context::is_correlation_id};
use serde_json::{Map, Value};
use std::fmt::{self, Write};
use tracing::field::{Field, Visit};

/// Most bytes of a text; a span has 32 fields at most, so an event stays below what the server takes.
const TEXT_BYTES_MAX: usize = 4 * 1024;
/// What a text ends with that was cut.
const CUT: char = '…';

/// The fields of a span or event.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    /// The name of the span's events.
    pub(super) emit: Option<Box<str>>,
    /// Which request it belongs to.
    pub(super) correlation_id: Option<Box<str>>,
    /// That it failed.
    pub(super) failure: Option<Failure>,
    rest: Map<String, Value>,
}

/// Why a span failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure(pub(super) String);

impl Failure {
    pub(super) fn panic() -> Self {
        Failure("it panicked".to_owned())
    }
}

impl Fields {
    /// Takes over what was recorded later.
    pub(super) fn update(&mut self, later: Fields) {
        self.rest.extend(later.rest);
    }

    /// Why the span in which this event of level ERROR happened has failed.
    pub(super) fn into_failure(mut self) -> Failure {
        let message = self.rest.remove("message");
        self.failure.unwrap_or_else(|| {
            Failure(match message {
                Some(Value::String(text)) => text,
                Some(other) => other.to_string(),
                None => "an error without a message".to_owned(),
            })
        })
    }

    /// The event of these fields and of some more, which go before fields of the same name.
    pub(super) fn into_event(self, mut event: Event, more: Vec<(&str, Value)>) -> Event {
        let mut data = Map::new();
        for (name, value) in self.rest {
            // Ids follow the rule of the correlation id; what the server would refuse stays among the data.
            match (setter(&name), value.as_str().filter(|id| is_correlation_id(id))) {
                (Some(set), Some(id)) => event = set(event, id),
                _ => drop(data.insert(name, value)),
            }
        }
        data.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        match data.is_empty() {
            true => event,
            false => event.data(data),
        }
    }

    fn keep(&mut self, field: &Field, value: Value) {
        match (field.name(), &value) {
            (EMIT, Value::String(text)) if !text.is_empty() => self.emit = Some(text.as_str().into()),
            (CORRELATION_ID, Value::String(text)) => self.correlation_id = Some(text.as_str().into()),
            (CORRELATION_ID, _) => self.correlation_id = Some(value.to_string().into()),
            (ERROR, Value::Bool(false)) => {}
            (ERROR, Value::String(text)) => self.failure = Some(Failure(text.clone())),
            (ERROR, _) => self.failure = Some(Failure(value.to_string())),
            (name, _) => drop(self.rest.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, bounded(format_args!("{value:?}")).into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.keep(field, bounded(format_args!("{value}")).into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, bounded(format_args!("{value}")).into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, value.into());
    }
}

/// The setter of the id that a field names.
fn setter(name: &str) -> Option<fn(Event, &str) -> Event> {
    Some(match name {
        "organization_id" => |event, id| event.organization_id(id),
        "domain_id" => |event, id| event.domain_id(id),
        "instance_id" => |event, id| event.instance_id(id),
        "agent_id" => |event, id| event.agent_id(id),
        "task_id" => |event, id| event.task_id(id),
        "workflow_id" => |event, id| event.workflow_id(id),
        "user_id" => |event, id| event.user_id(id),
        "room_id" => |event, id| event.room_id(id),
        _ => return None,
    })
}

/// The text, no longer than it may be however much there is of it.
fn bounded(text: fmt::Arguments<'_>) -> String {
    let mut out = Bounded(String::new());
    // It fails when the text is cut, or when the value cannot be shown; what is there by then is kept.
    let _cut = out.write_fmt(text);
    out.0
}

struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT_BYTES_MAX - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.extend(text.get(..text.floor_char_boundary(room)));
        self.0.truncate(self.0.floor_char_boundary(TEXT_BYTES_MAX - CUT.len_utf8()));
        self.0.push(CUT);
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character_however_it_is_written() {
        let long = "é".repeat(TEXT_BYTES_MAX);
        for text in [bounded(format_args!("{long}")), bounded(format_args!("{:?}", vec![&long; 3]))] {
            assert!((TEXT_BYTES_MAX - 8..=TEXT_BYTES_MAX).contains(&text.len()), "{}", text.len());
            assert!(text.ends_with(CUT));
        }
        let exact = "x".repeat(TEXT_BYTES_MAX);
        assert_eq!(bounded(format_args!("{exact}")), exact);
    }
}
