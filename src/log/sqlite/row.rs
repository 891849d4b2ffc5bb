//! An event as a row of the table `events`, and back.

use super::super::store::Place;
use crate::event::{
    Attributes, Cursor, Epoch, Event, EventType, Json, NewEvent, Offset, Priority, Scope, ScopeField,
    StoredEvent,
};
use chrono::DateTime;
use rusqlite::{CachedStatement, Row, params, types::Type};
use std::error::Error;

/// The columns that make an event, in the order in which [`event`] reads them; `logged_at` is the log's own.
macro_rules! columns {
    () => {
        "offset, type, priority, source, organization_id, domain_id, instance_id, agent_id, task_id, workflow_id, user_id, \
         room_id, correlation_id, id, time_seconds, time_nanos, time_is_given, subject, attributes, data, data_base64"
    };
}

/// Selects events; a condition follows.
pub(super) const SELECT: &str = concat!("SELECT ", columns!(), " FROM events");
/// Selects the event at an offset.
pub(super) const SELECT_BY_OFFSET: &str = concat!("SELECT ", columns!(), " FROM events WHERE offset = ?1");
/// Selects the event of an id and a source.
pub(super) const SELECT_BY_KEY: &str =
    concat!("SELECT ", columns!(), " FROM events WHERE id = ?1 AND source = ?2");

/// Inserts an event, or nothing when its key is there.
pub(super) const INSERT: &str = concat!(
    "INSERT INTO events (",
    columns!(),
    ", logged_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, \
     ?22) ON CONFLICT (id, source) DO NOTHING"
);

/// Runs [`INSERT`]; true when the row is new.
pub(super) fn insert(
    statement: &mut CachedStatement<'_>,
    event: &NewEvent,
    place: Place,
) -> rusqlite::Result<bool> {
    let scope = |field| event.scope().get(field);
    let attributes = (!event.attributes().is_empty())
        .then(|| serde_json::to_string(event.attributes()))
        .transpose()
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let inserted = statement.execute(params![
        super::sql_offset(place.cursor.offset.get()),
        event.event_type().as_str(),
        event.priority() as i64,
        event.source(),
        scope(ScopeField::Organization),
        scope(ScopeField::Domain),
        scope(ScopeField::Instance),
        scope(ScopeField::Agent),
        scope(ScopeField::Task),
        scope(ScopeField::Workflow),
        scope(ScopeField::User),
        scope(ScopeField::Room),
        event.correlation_id(),
        event.id(),
        event.time().timestamp(),
        event.time().timestamp_subsec_nanos(),
        event.time_is_given(),
        event.subject(),
        attributes,
        event.data().as_str(),
        event.data_base64(),
        place.logged_at,
    ])?;
    Ok(inserted == 1)
}

/// Reads an event that [`insert`] wrote.
pub(super) fn event(row: &Row<'_>, epoch: Epoch) -> rusqlite::Result<Event> {
    let text = |column: usize| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str_or_null()?);
    let needed = |column: usize| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str()?);
    let mut scope = Scope::default();
    for (field, column) in ScopeField::ALL.into_iter().zip(4..) {
        if let Some(id) = text(column)? {
            scope.set(field, id).map_err(|refusal| damaged(column, refusal))?;
        }
    }
    let stored = StoredEvent {
        id: needed(13)?.into(),
        event_type: EventType::parse(needed(1)?, "type").map_err(|refusal| damaged(1, refusal))?,
        time: DateTime::from_timestamp(row.get(14)?, row.get(15)?)
            .ok_or_else(|| damaged(14, "not a time"))?,
        time_is_given: row.get(16)?,
        source: needed(3)?.into(),
        subject: text(17)?.map(Into::into),
        scope,
        correlation_id: text(12)?.map(Into::into),
        priority: priority(row.get(2)?)?,
        attributes: attributes(text(18)?)?,
        data: Json::stored(needed(19)?),
        data_base64: text(20)?.map(Into::into),
    };
    let offset = Offset::new(u64::try_from(row.get::<_, i64>(0)?).map_err(|error| damaged(0, error))?);
    Ok(Event::logged(stored.into(), Cursor { epoch, offset }))
}

fn priority(stored: i64) -> rusqlite::Result<Priority> {
    let known = usize::try_from(stored).ok().and_then(|index| Priority::ALL.get(index));
    known.copied().ok_or_else(|| damaged(2, format!("{stored} is no priority")))
}

fn attributes(stored: Option<&str>) -> rusqlite::Result<Attributes> {
    match stored {
        Some(text) => serde_json::from_str(text).map_err(|error| damaged(18, error)),
        None => Ok(Attributes::default()),
    }
}

/// A column that no version of this program wrote.
fn damaged(column: usize, cause: impl Into<Box<dyn Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, cause.into())
}
