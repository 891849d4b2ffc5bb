//! What is kept under keys, as rows: its record, and the reads and writes of an open transaction.
//!
//! Layout of a record, little-endian: how many references u32, then kind, organization and id of each as texts, each after its
//! length (u32); the event's record as the log has it; at the end CRC-32C (u32) over the offset, the key and all before.
//! Invariants: a record is never taken for that of another key or of another event of its key.

use super::{
    super::{
        StateKey,
        store::{Held, Holding, StoreError},
    },
    damage::{self, LoadError},
    ends::Ends,
    record::{self, Damage, Record},
    sql_offset,
};
use crate::event::{Epoch, Event, ScopeField};
use rusqlite::{Connection, Row};
use std::sync::Arc;

/// The sum over the place of a record. With the offset it tells which event a key has.
pub(super) fn mark(key: &StateKey, offset: u64) -> u32 {
    let texts = [key.kind(), key.organization(), key.id()];
    texts.into_iter().fold(record::sum_of(offset), |sum, text| {
        let length = crc32c::crc32c_append(sum, &(text.len() as u64).to_le_bytes());
        crc32c::crc32c_append(length, text.as_bytes())
    })
}

/// Damage of what is kept under a key.
pub(super) fn damaged(key: &StateKey, reason: &impl ToString) -> LoadError {
    LoadError::part(format!("the state of {key}"), reason)
}

/// Names the key that was looked at when SQLite found damage.
pub(super) fn at(key: &StateKey) -> impl Fn(rusqlite::Error) -> LoadError {
    move |error| match damage::is_damage(&error) {
        true => damaged(key, &error),
        false => LoadError::Sqlite(error),
    }
}

/// A part of a key in a column of a row.
pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, LoadError> {
    let damaged = |error: &dyn ToString| LoadError::part("a key of the state", &error.to_string());
    row.get_ref(column)?.as_str().map_err(|error| damaged(&error))
}

/// The row of a key, borrowed from the database's page.
pub(super) struct StateRecord<'a> {
    offset: u64,
    references: Box<[StateKey]>,
    /// The event's record as the log has it.
    pub(super) bytes: &'a [u8],
    pub(super) record: Record<'a>,
}

impl<'a> StateRecord<'a> {
    /// Reads the record of a key with an event of this offset.
    pub(super) fn read(bytes: &'a [u8], key: &StateKey, offset: u64) -> Result<Self, Damage> {
        let mut fields = record::unseal_after(bytes, mark(key, offset))?;
        let count = u32::from_le_bytes(fields.take()?);
        let mut references = Vec::new();
        for _ in 0..count {
            references.push(StateKey::stored(fields.text()?, fields.text()?, fields.text()?));
        }
        let bytes = fields.rest();
        Ok(StateRecord { offset, references: references.into(), bytes, record: Record::read(bytes, offset)? })
    }

    /// Reads the record of a key from a row's columns `offset` and `record`, which stand at these places.
    pub(super) fn of_row(
        row: &'a Row<'_>,
        (offset, record): (usize, usize),
        key: &StateKey,
    ) -> Result<Self, LoadError> {
        let offset = row.get::<_, i64>(offset).map_err(at(key))?.cast_unsigned();
        let bytes = row.get_ref(record).map_err(at(key))?;
        let bytes = bytes.as_blob().map_err(|error| damaged(key, &error))?;
        StateRecord::read(bytes, key, offset).map_err(|reason| damaged(key, &reason))
    }

    /// The event.
    pub(super) fn event(&self, epoch: Epoch) -> Result<Event, Damage> {
        self.record.event(epoch, self.offset)
    }

    /// The place of the event.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The keys that it needs.
    pub(super) fn references(&self) -> &[StateKey] {
        &self.references
    }
}

/// Writes the record of a key in place of what `out` holds, around the event's record.
fn write(out: &mut Vec<u8>, key: &StateKey, holding: Holding<'_>, event: &[u8]) -> Result<(), Damage> {
    out.clear();
    let count = u32::try_from(holding.references.len()).map_err(|error| error.to_string())?;
    out.extend_from_slice(&count.to_le_bytes());
    for reference in holding.references {
        for text in [reference.kind(), reference.organization(), reference.id()] {
            record::write_text(out, text)?;
        }
    }
    out.extend_from_slice(event);
    record::seal_after(out, mark(key, holding.place.offset.get()));
    Ok(())
}

/// What is kept under a key.
pub(super) fn held(connection: &Connection, epoch: Epoch, key: &StateKey) -> Result<Option<Held>, LoadError> {
    let sql = "SELECT offset, record FROM state WHERE kind = ?1 AND organization = ?2 AND id = ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((key.kind(), key.organization(), key.id())).map_err(at(key))?;
    let Some(row) = rows.next().map_err(at(key))? else { return Ok(None) };
    let found = StateRecord::of_row(row, (0, 1), key)?;
    let event = found.event(epoch).map_err(|reason| damaged(key, &reason))?;
    Ok(Some(Held { event: Arc::new(event), references: found.references }))
}

/// The first of those that need a key.
pub(super) fn referrer(connection: &Connection, key: &StateKey) -> Result<Option<StateKey>, LoadError> {
    let sql =
        "SELECT by_kind, by_organization, by_id FROM refs WHERE kind = ?1 AND organization = ?2 AND id = ?3
               ORDER BY by_kind, by_organization, by_id LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((key.kind(), key.organization(), key.id())).map_err(at(key))?;
    let Some(row) = rows.next().map_err(at(key))? else { return Ok(None) };
    Ok(Some(StateKey::stored(text(row, 0)?, text(row, 1)?, text(row, 2)?)))
}

/// The state in an open transaction.
pub(super) struct Writing<'a> {
    pub(super) connection: &'a Connection,
    /// The ends that the log will have.
    pub(super) ends: &'a mut Ends,
    /// The record in the making.
    pub(super) out: &'a mut Vec<u8>,
}

impl Writing<'_> {
    /// Writes what is kept under a key around the event's record, in place of what was there.
    pub(super) fn hold(
        &mut self,
        key: &StateKey,
        before: Option<&Held>,
        holding: Holding<'_>,
        event: &[u8],
    ) -> Result<(), StoreError> {
        write(self.out, key, holding, event).map_err(|reason| StoreError::Failed { reason })?;
        let offset = holding.place.offset.get();
        let domain = holding.event.scope().get(ScopeField::Domain);
        let had = before.map(|held| held.event.scope().get(ScopeField::Domain));
        let (kind, organization, id) = (key.kind(), key.organization(), key.id());
        let record = self.out.as_slice();
        let written = match had {
            None => {
                let sql = "INSERT INTO state (kind, organization, id, offset, record, domain)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                let row = (kind, organization, id, sql_offset(offset), record, domain);
                self.connection.prepare_cached(sql)?.execute(row)?
            }
            Some(had) if had == domain => {
                let sql = "UPDATE state SET offset = ?4, record = ?5
                           WHERE kind = ?1 AND organization = ?2 AND id = ?3";
                let row = (kind, organization, id, sql_offset(offset), record);
                self.connection.prepare_cached(sql)?.execute(row)?
            }
            Some(_) => {
                let sql = "UPDATE state SET offset = ?4, record = ?5, domain = ?6
                           WHERE kind = ?1 AND organization = ?2 AND id = ?3";
                let row = (kind, organization, id, sql_offset(offset), record, domain);
                self.connection.prepare_cached(sql)?.execute(row)?
            }
        };
        one(written)?;
        self.count(key, before, Some(offset));
        self.refer(key, before, holding.references)
    }

    /// Removes what is kept under a key.
    pub(super) fn remove(&mut self, key: &StateKey, before: &Held) -> Result<(), StoreError> {
        let sql = "DELETE FROM state WHERE kind = ?1 AND organization = ?2 AND id = ?3";
        let key_of = (key.kind(), key.organization(), key.id());
        one(self.connection.prepare_cached(sql)?.execute(key_of)?)?;
        self.count(key, Some(before), None);
        self.refer(key, Some(before), &[])
    }

    fn count(&mut self, key: &StateKey, before: Option<&Held>, after: Option<u64>) {
        let Ends { state_keys, state_marks, .. } = &mut *self.ends;
        if let Some(held) = before {
            *state_keys = state_keys.wrapping_sub(1);
            *state_marks = state_marks.wrapping_sub(u64::from(mark(key, held.event.offset().get())));
        }
        if let Some(offset) = after {
            *state_keys = state_keys.wrapping_add(1);
            *state_marks = state_marks.wrapping_add(u64::from(mark(key, offset)));
        }
    }

    fn refer(
        &self,
        key: &StateKey,
        before: Option<&Held>,
        references: &[StateKey],
    ) -> Result<(), StoreError> {
        let had = before.map_or(&[][..], |held| &held.references);
        let gone = had.iter().filter(|own| references.binary_search(own).is_err());
        let new = references.iter().filter(|own| had.binary_search(own).is_err());
        let delete = "DELETE FROM refs WHERE kind = ?1 AND organization = ?2 AND id = ?3
                      AND by_kind = ?4 AND by_organization = ?5 AND by_id = ?6";
        let insert = "INSERT INTO refs (kind, organization, id, by_kind, by_organization, by_id)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        for (sql, own) in gone.map(|own| (delete, own)).chain(new.map(|own| (insert, own))) {
            let row = (own.kind(), own.organization(), own.id(), key.kind(), key.organization(), key.id());
            one(self.connection.prepare_cached(sql)?.execute(row)?)?;
        }
        Ok(())
    }
}

/// Every write is of one row; another number is damage of an index, which must not spread.
fn one(rows: usize) -> Result<(), StoreError> {
    match rows {
        1 => Ok(()),
        _ => Err(rusqlite::Error::StatementChangedRows(rows).into()),
    }
}
