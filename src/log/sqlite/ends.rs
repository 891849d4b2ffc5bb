//! What the log knows about itself, in one row with a checksum: which log it is, where it begins and ends, how much it holds.
//!
//! Invariants: written in the same transaction as what it tells. It is a second witness: a tree of pages that has lost its
//! last or its first branch tells other ends, and that is found when the log is opened.

use super::{
    damage::LoadError,
    record::{self, Damage},
};
use crate::{
    event::{Epoch, Offset},
    log::Bounds,
};
use rusqlite::Connection;

/// The row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// The identity of the log.
    pub(super) epoch: Epoch,
    /// The first event that is kept; `head + 1` for an empty log.
    pub(super) earliest: u64,
    /// When it was logged, in milliseconds since 1970.
    pub(super) earliest_at: i64,
    /// The last event; 0 for a log that never had one.
    pub(super) head: u64,
    /// When it was logged.
    pub(super) head_at: i64,
    /// Bytes of all events that were ever logged, as retention counts them.
    pub(super) bytes_in: u64,
    /// Bytes of those that retention removed.
    pub(super) bytes_out: u64,
    /// The first event whose key is kept; all from `earliest` on are, and maybe some before it.
    pub(super) keys_from: u64,
    /// When that event was logged, if it is before `earliest`.
    pub(super) keys_at: i64,
    /// How many keys of the state are kept.
    pub(super) state_keys: u64,
    /// The sum of their [`state::mark`](super::state::mark)s: another one when a key is missing or has an older event.
    pub(super) state_marks: u64,
}

impl Ends {
    pub(super) fn new(epoch: Epoch) -> Self {
        Ends {
            epoch,
            earliest: 1,
            earliest_at: 0,
            head: 0,
            head_at: 0,
            bytes_in: 0,
            bytes_out: 0,
            keys_from: 1,
            keys_at: 0,
            state_keys: 0,
            state_marks: 0,
        }
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds { earliest: Offset::new(self.earliest), head: Offset::new(self.head) }
    }

    /// How many events are kept.
    pub(super) fn events(&self) -> u64 {
        (self.head + 1).saturating_sub(self.earliest)
    }

    /// How many bytes the kept events count.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes_in.saturating_sub(self.bytes_out)
    }

    /// Counts one more event at the end.
    pub(super) fn add(&mut self, offset: u64, logged_at: i64, bytes: u64) {
        if offset == self.earliest {
            self.earliest_at = logged_at;
        }
        (self.head, self.head_at) = (offset, logged_at);
        self.bytes_in += bytes;
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(104);
        out.extend_from_slice(&self.epoch.secret());
        for number in [self.earliest, self.head, self.bytes_in, self.bytes_out, self.keys_from] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for time in [self.earliest_at, self.head_at, self.keys_at] {
            out.extend_from_slice(&time.to_le_bytes());
        }
        for number in [self.state_keys, self.state_marks] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        record::seal(&mut out, 0);
        out
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Damage> {
        let mut fields = record::unseal(bytes, 0)?;
        let mut ends = Ends {
            epoch: Epoch::new(fields.take()?),
            earliest: fields.u64()?,
            head: fields.u64()?,
            bytes_in: fields.u64()?,
            bytes_out: fields.u64()?,
            keys_from: fields.u64()?,
            earliest_at: fields.i64()?,
            head_at: fields.i64()?,
            keys_at: fields.i64()?,
            state_keys: 0,
            state_marks: 0,
        };
        // A log of format 3 ends here.
        if !fields.is_empty() {
            (ends.state_keys, ends.state_marks) = (fields.u64()?, fields.u64()?);
        }
        let is_sound =
            (1..=ends.head + 1).contains(&ends.earliest) && (1..=ends.earliest).contains(&ends.keys_from);
        is_sound.then_some(ends).ok_or_else(|| "its numbers cannot be".to_owned())
    }
}

/// Reads the row.
pub(super) fn read(connection: &Connection) -> Result<Ends, LoadError> {
    let mut statement = connection.prepare_cached("SELECT ends FROM ends WHERE only = 0")?;
    let mut rows = statement.query([])?;
    let damaged = |reason: &dyn ToString| LoadError::part("the row of the log's ends", &reason.to_string());
    let row = rows.next()?.ok_or_else(|| damaged(&"it is missing"))?;
    let bytes = row.get_ref(0)?.as_blob().map_err(|error| damaged(&error))?;
    Ends::from_bytes(bytes).map_err(|reason| damaged(&reason))
}

/// Writes the row into a new log.
pub(super) fn create(connection: &Connection, ends: &Ends) -> rusqlite::Result<()> {
    connection.execute("INSERT INTO ends (only, ends) VALUES (0, ?1)", [ends.to_bytes()])?;
    Ok(())
}

/// Writes the row.
pub(super) fn write(connection: &Connection, ends: &Ends) -> rusqlite::Result<()> {
    let written =
        connection.prepare_cached("UPDATE ends SET ends = ?1 WHERE only = 0")?.execute([ends.to_bytes()])?;
    match written {
        1 => Ok(()),
        _ => Err(rusqlite::Error::StatementChangedRows(written)),
    }
}

/// Do the events agree with the row? Looks at the first and the last one only.
pub(super) fn verify(connection: &Connection, ends: &Ends) -> Result<(), LoadError> {
    let sql = "SELECT MIN(offset), MAX(offset) FROM (SELECT (SELECT MIN(offset) FROM events) AS offset
               UNION ALL SELECT MAX(offset) FROM events)";
    let found: (Option<i64>, Option<i64>) =
        connection.query_one(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let found = found.0.zip(found.1).map(|(first, last)| (first.cast_unsigned(), last.cast_unsigned()));
    let told = (ends.events() > 0).then_some((ends.earliest, ends.head));
    if found != told {
        let shown = |ends: Option<(u64, u64)>| match ends {
            Some((first, last)) => format!("{first} to {last}"),
            None => "none".to_owned(),
        };
        let reason = format!("it holds offsets {}, but acknowledged are {}", shown(found), shown(told));
        return Err(LoadError::part("the table of events", &reason));
    }
    Ok(())
}
