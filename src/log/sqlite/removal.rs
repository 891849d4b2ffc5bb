//! Retention in the database: small transactions between commits that remove events from the front, and keys whose window is
//! over.
//!
//! How: an event that goes before its key leaves a stub, with what is needed to find the key again and to judge a repeat.
//! Invariants: the ends tell what is removed in the same transaction, so a reader's snapshot is before or after it; damage of
//! an event does not keep it from being removed. Freed pages are used for new events: the file stays as large as it ever was.

use super::{
    super::{
        Retention,
        retention::Amount,
        store::{BodyDigest, StoreError, Upkeep, body_digest},
    },
    damage::LoadError,
    directory::Directory,
    ends::{self, Ends},
    insert,
    record::{self, Damage, Record, counted_bytes},
    reserve::Reserve,
    sql_offset,
};
use rusqlite::{Connection, OptionalExtension};
use std::{sync::Arc, time::Duration};

/// The most events that one transaction removes, or so many bytes of them.
const SLICE_EVENTS_MAX: usize = 1_024;
const SLICE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The writer's retention.
pub(super) struct Removal {
    options: Retention,
    reserve: Option<Reserve>,
    /// The head at the last look: under load at least as much is removed as was added since.
    head: u64,
}

/// An event on its way out.
struct Leaving {
    offset: u64,
    bytes: u64,
    /// Key, time and digest; `None` when the record is damaged.
    stub: Option<Stub>,
}

/// What stays of an event while its key is kept.
struct Stub {
    logged_at: i64,
    digest: BodyDigest,
    id: String,
    source: String,
    namespace: String,
}

impl Stub {
    fn of(record: &Record<'_>) -> Result<Self, Damage> {
        Ok(Stub {
            logged_at: record.logged_at,
            digest: body_digest(&record.new_event()?),
            id: record.id.to_owned(),
            source: record.source.to_owned(),
            namespace: record.namespace().to_owned(),
        })
    }

    fn to_bytes(&self, offset: u64) -> Result<Vec<u8>, Damage> {
        let mut out = self.logged_at.to_le_bytes().to_vec();
        out.extend_from_slice(&self.digest);
        for text in [&self.id, &self.source, &self.namespace] {
            record::write_text(&mut out, text)?;
        }
        record::seal(&mut out, offset);
        Ok(out)
    }

    fn from_bytes(bytes: &[u8], offset: u64) -> Result<Self, Damage> {
        let mut fields = record::unseal(bytes, offset)?;
        Ok(Stub {
            logged_at: fields.i64()?,
            digest: fields.take()?,
            id: fields.text()?.to_owned(),
            source: fields.text()?.to_owned(),
            namespace: fields.text()?.to_owned(),
        })
    }
}

/// What stays of the body of an event that was removed; `None` when nothing does.
pub(super) fn digest(connection: &Connection, offset: u64) -> Result<Option<BodyDigest>, LoadError> {
    let sql = "SELECT stub FROM forgotten WHERE offset = ?1";
    let read = |row: &rusqlite::Row<'_>| Ok(Stub::from_bytes(row.get_ref(0)?.as_blob()?, offset));
    let stub = connection.prepare_cached(sql)?.query_one([sql_offset(offset)], read).optional()?;
    Ok(stub.and_then(Result::ok).map(|stub| stub.digest))
}

fn amount(ends: &Ends) -> Amount {
    Amount { events: ends.events(), bytes: ends.bytes(), earliest_at: ends.earliest_at }
}

impl Removal {
    pub(super) fn new(options: Retention, reserve_bytes: usize, directory: &Arc<Directory>) -> Self {
        let removes = options.age.is_some() || options.events.is_some() || options.bytes.is_some();
        let reserve = (removes && reserve_bytes > 0).then(|| Reserve::hold(directory, reserve_bytes));
        Removal { options, reserve, head: 0 }
    }

    /// As [`Store::upkeep`](super::super::store::Store::upkeep).
    pub(super) fn upkeep(
        &mut self,
        connection: &Connection,
        ends: &mut Ends,
        now_ms: i64,
        is_idle: bool,
    ) -> Result<Upkeep, StoreError> {
        let added = usize::try_from(ends.head.saturating_sub(std::mem::replace(&mut self.head, ends.head)));
        let is_due = match is_idle {
            true => self.options.is_exceeded(amount(ends), now_ms),
            false => self.options.is_far_exceeded(amount(ends), now_ms),
        };
        // Under load keys may wait a minute: their removal then serves many commits.
        let keys_now_ms = if is_idle { now_ms } else { now_ms.saturating_sub(60_000) };
        let are_keys_due =
            ends.keys_from < ends.earliest && self.options.is_key_over(ends.keys_at, keys_now_ms);
        let before = *ends;
        if is_due || are_keys_due {
            let events_max = SLICE_EVENTS_MAX.max(added.unwrap_or_default().saturating_mul(2));
            *ends = self.with_room(connection, |options| match is_due {
                true => slice(options, connection, before, now_ms, events_max),
                false => key_slice(options, connection, before, now_ms),
            })?;
        } else if is_idle && let Some(reserve) = &mut self.reserve {
            reserve.take();
        }
        let moved = (ends.earliest != before.earliest).then(|| ends.bounds());
        Ok(Upkeep { moved, again: self.again(ends, now_ms) })
    }

    /// Runs a transaction; when it finds no room, gives up the reserve, which lets the journal be emptied into the database,
    /// and runs it once more.
    fn with_room(
        &mut self,
        connection: &Connection,
        run: impl Fn(&Retention) -> Result<Ends, StoreError>,
    ) -> Result<Ends, StoreError> {
        let result = run(&self.options);
        if !matches!(result, Err(StoreError::Full)) {
            return result;
        }
        if let Some(reserve) = &mut self.reserve {
            reserve.give_up();
        }
        // Gives its outcome as a row. If it finds no room either, the next run says so.
        let emptied = connection.query_one("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(0));
        if let Err(error) = emptied {
            tracing::debug!(%error, "the journal cannot be emptied");
        }
        run(&self.options)
    }

    fn again(&self, ends: &Ends, now_ms: i64) -> Option<Duration> {
        if self.options.is_exceeded(amount(ends), now_ms) {
            return Some(Duration::ZERO);
        }
        let keys = (ends.keys_from < ends.earliest).then(|| self.options.next_key_ms(ends.keys_at, now_ms));
        let events = self.options.next_ms(amount(ends), now_ms);
        // A clock that is set forward is noticed within a minute.
        keys.into_iter().chain(events).min().map(|ms| Duration::from_millis(ms.min(60_000)))
    }
}

/// Runs a piece of work in a transaction of its own.
fn in_transaction(
    connection: &Connection,
    work: impl FnOnce() -> Result<Ends, LoadError>,
) -> Result<Ends, StoreError> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let done = work().map_err(StoreError::from).and_then(|ends| {
        ends::write(connection, &ends)?;
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(ends)
    });
    if done.is_err() {
        insert::roll_back(connection);
    }
    done
}

/// Removes the first events that are too many; gives the new ends.
fn slice(
    options: &Retention,
    connection: &Connection,
    before: Ends,
    now_ms: i64,
    events_max: usize,
) -> Result<Ends, StoreError> {
    in_transaction(connection, || {
        let (leaving, mut ends) = leaving(options, connection, before, now_ms, events_max)?;
        // First, so that the stubs find free pages even in a database that may not grow.
        let last = sql_offset(ends.earliest - 1);
        connection.prepare_cached("DELETE FROM events WHERE offset <= ?1")?.execute([last])?;
        connection.prepare_cached("DELETE FROM postings WHERE last <= ?1")?.execute([last])?;
        connection.prepare_cached("DELETE FROM segments WHERE last <= ?1")?.execute([last])?;
        let mut keep =
            connection.prepare_cached("INSERT OR REPLACE INTO forgotten (offset, stub) VALUES (?1, ?2)")?;
        for Leaving { offset, stub, .. } in leaving {
            match stub {
                Some(stub) if options.is_key_over(stub.logged_at, now_ms) => {
                    if ends.keys_from == offset {
                        ends.keys_from = offset + 1;
                    }
                    remove_key(connection, &stub, offset)?;
                }
                Some(stub) => {
                    if ends.keys_from == offset {
                        ends.keys_at = stub.logged_at;
                    }
                    let bytes = stub.to_bytes(offset).map_err(|reason| LoadError::event(offset, &reason))?;
                    keep.execute((sql_offset(offset), bytes))?;
                }
                None => tracing::error!(offset, "retention removed a damaged event; its key stays"),
            }
        }
        Ok(ends)
    })
}

/// The events that go now, and the ends that the log has then.
fn leaving(
    options: &Retention,
    connection: &Connection,
    mut ends: Ends,
    now_ms: i64,
    events_max: usize,
) -> Result<(Vec<Leaving>, Ends), LoadError> {
    let sql = "SELECT offset, record FROM events WHERE offset >= ?1 ORDER BY offset LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    // One more than go, which is the first that stays.
    let limit = sql_offset(events_max as u64 + 1);
    let mut rows = statement.query((sql_offset(ends.earliest), limit))?;
    let (mut leaving, mut bytes): (Vec<Leaving>, u64) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let offset = row.get::<_, i64>(0)?.cast_unsigned();
        let stored = row.get_ref(1)?.as_blob().map_err(|error| LoadError::event(offset, &error))?;
        let record = Record::read(stored, offset).ok();
        if let Some(last) = leaving.last() {
            ends.earliest = offset;
            ends.earliest_at = record.as_ref().map_or(ends.earliest_at, |record| record.logged_at);
            ends.bytes_out = ends.bytes_out.saturating_add(last.bytes).min(ends.bytes_in);
        }
        let is_enough = leaving.len() == events_max || bytes >= SLICE_BYTES_MAX;
        if is_enough || !options.is_exceeded(amount(&ends), now_ms) {
            break;
        }
        let counted = match &record {
            Some(record) => record.counted_bytes(),
            None => counted_bytes(stored.len(), [""; 3]),
        };
        let stub = record.and_then(|record| Stub::of(&record).ok());
        leaving.push(Leaving { offset, bytes: counted, stub });
        bytes = bytes.saturating_add(counted);
    }
    // The rows may end before there is one that stays, only when some are missing: the last event never goes.
    leaving.retain(|leaving| leaving.offset < ends.earliest);
    Ok((leaving, ends))
}

/// Removes the first keys whose window is over and whose events are gone; gives the new ends.
fn key_slice(
    options: &Retention,
    connection: &Connection,
    before: Ends,
    now_ms: i64,
) -> Result<Ends, StoreError> {
    in_transaction(connection, || {
        let mut ends = Ends { keys_from: before.earliest, ..before };
        let sql = "SELECT offset, stub FROM forgotten ORDER BY offset LIMIT ?1";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([sql_offset(SLICE_EVENTS_MAX as u64 + 1)])?;
        let mut over = Vec::new();
        while let Some(row) = rows.next()? {
            let offset = row.get::<_, i64>(0)?.cast_unsigned();
            let stub = row.get_ref(1)?.as_blob().map_err(|error| LoadError::event(offset, &error))?;
            let stub = Stub::from_bytes(stub, offset);
            let logged_at = stub.as_ref().map_or(ends.keys_at, |stub| stub.logged_at);
            if over.len() == SLICE_EVENTS_MAX || !options.is_key_over(logged_at, now_ms) {
                (ends.keys_from, ends.keys_at) = (offset, logged_at);
                break;
            }
            over.push((offset, stub));
        }
        drop(rows);
        for (offset, stub) in &over {
            match stub {
                Ok(stub) => remove_key(connection, stub, *offset)?,
                Err(reason) => tracing::error!(offset, reason, "the stub of a key is damaged; its key stays"),
            }
        }
        if let Some((last, _)) = over.last() {
            let sql = "DELETE FROM forgotten WHERE offset <= ?1";
            connection.prepare_cached(sql)?.execute([sql_offset(*last)])?;
        }
        Ok(ends)
    })
}

fn remove_key(connection: &Connection, stub: &Stub, offset: u64) -> rusqlite::Result<()> {
    // Its own only: the key may have been used anew.
    let sql = "DELETE FROM keys WHERE id = ?1 AND source = ?2 AND namespace = ?3 AND offset = ?4";
    let key = (&stub.id, &stub.source, &stub.namespace, sql_offset(offset));
    connection.prepare_cached(sql)?.execute(key)?;
    Ok(())
}
