//! Looks at all that is kept under keys, for `fanfare log check`, and counts it.

use super::{
    super::StateKey,
    damage::LoadError,
    ends::Ends,
    sql_offset,
    state::{self, StateRecord},
};
use crate::event::ScopeField;
use rusqlite::{Connection, OptionalExtension, Row};

/// Every key has its record with the right checksum, whose event is the log's where the log has it; organization, domain and
/// references of the columns are those of the record; the keys are those that the ends tell. Gives how many there are.
pub(super) fn check(
    connection: &Connection,
    ends: &Ends,
    mut found: impl FnMut(&dyn ToString),
) -> Result<u64, LoadError> {
    let sql =
        "SELECT kind, organization, id, domain, offset, record FROM state ORDER BY kind, organization, id";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let (mut keys, mut marks, mut references) = (0_u64, 0_u64, 0_u64);
    while let Some(row) = rows.next()? {
        let key = StateKey::stored(state::text(row, 0)?, state::text(row, 1)?, state::text(row, 2)?);
        keys += 1;
        match StateRecord::of_row(row, (4, 5), &key) {
            Ok(record) => {
                marks = marks.wrapping_add(u64::from(state::mark(&key, record.offset())));
                references += record.references().len() as u64;
                for reason in [
                    agrees(row, &key, &record)?,
                    stands(connection, ends, &record)?,
                    refers(connection, &key, &record)?,
                ] {
                    reason.into_iter().for_each(|reason| found(&state::damaged(&key, &reason)));
                }
            }
            Err(error) => found(&error),
        }
    }
    let rows: i64 = connection.query_one("SELECT COUNT(*) FROM refs", [], |row| row.get(0))?;
    if rows.cast_unsigned() != references {
        found(&format!("the state has {references} references, but {rows} are noted"));
    }
    if (keys, marks) != (ends.state_keys, ends.state_marks) {
        found(&format!(
            "the state has {keys} keys, but {} are noted, or one has another event than was acknowledged",
            ends.state_keys
        ));
    }
    Ok(keys)
}

/// Why the record is not one of its row, if it is not.
fn agrees(row: &Row<'_>, key: &StateKey, record: &StateRecord<'_>) -> Result<Option<String>, LoadError> {
    let event = match record.record.new_event() {
        Ok(event) => event,
        Err(reason) => return Ok(Some(reason)),
    };
    let organization = event.scope().get(ScopeField::Organization).unwrap_or_default();
    if organization != key.organization() {
        return Ok(Some(format!("its event is of organization {organization:?}")));
    }
    let (found, domain) = (row.get::<_, Option<String>>(3)?, event.scope().get(ScopeField::Domain));
    Ok((found.as_deref() != domain)
        .then(|| format!("its event is of domain {domain:?}, but {found:?} is noted")))
}

/// Why the event is not the log's, if it is not.
fn stands(
    connection: &Connection,
    ends: &Ends,
    record: &StateRecord<'_>,
) -> Result<Option<String>, LoadError> {
    let offset = record.offset();
    if offset > ends.head {
        return Ok(Some(format!("its event has offset {offset}, beyond the last one")));
    }
    if offset < ends.earliest {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached("SELECT record = ?2 FROM events WHERE offset = ?1")?;
    let is_same =
        statement.query_one((sql_offset(offset), record.bytes), |row| row.get::<_, bool>(0)).optional()?;
    Ok((is_same != Some(true)).then(|| format!("its event is not the one at offset {offset} of the log")))
}

/// Which reference is not noted, if one is not.
fn refers(
    connection: &Connection,
    key: &StateKey,
    record: &StateRecord<'_>,
) -> Result<Option<String>, LoadError> {
    let sql = "SELECT 1 FROM refs WHERE kind = ?1 AND organization = ?2 AND id = ?3
               AND by_kind = ?4 AND by_organization = ?5 AND by_id = ?6";
    let mut statement = connection.prepare_cached(sql)?;
    for own in record.references() {
        let row = (own.kind(), own.organization(), own.id(), key.kind(), key.organization(), key.id());
        if !statement.exists(row)? {
            return Ok(Some(format!("its reference to {own} is not noted")));
        }
    }
    Ok(None)
}
