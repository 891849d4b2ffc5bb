//! The write side of the database, as the writer's thread uses it.
//!
//! Invariants: an event, its key, what is kept of it, the index of the segment that it fills and the ends of the log are one
//! transaction.

use super::{
    super::{
        Bounds, StateKey,
        store::{
            First, Held, Holding, Place, Store, StoreError, Transaction, Upkeep, body_digest, is_same_body,
        },
    },
    SqliteOptions,
    damage::LoadError,
    directory::{Directory, OpenError},
    ends::{self, Ends},
    mark::{self, Mark, Witness},
    open, pages,
    record::{self, Record},
    removal::{self, Removal},
    segment::{Pending, PendingMark},
    sql_offset, state, terms,
};
use crate::event::{Epoch, NewEvent, Offset};
use rusqlite::{CachedStatement, Connection, ErrorCode, config::DbConfig};
use std::sync::Arc;

const INSERT_KEY: &str =
    "INSERT INTO keys (id, source, namespace, offset) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
const INSERT_EVENT: &str = "INSERT INTO events (offset, record) VALUES (?1, ?2)";

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full,
            Some(ErrorCode::DatabaseBusy) => StoreError::Busy,
            Some(_) | None => StoreError::Failed { reason: error.to_string() },
        }
    }
}

/// The connection that writes.
pub(super) struct SqliteStore {
    connection: Connection,
    ends: Ends,
    mark: Mark,
    pending: Pending,
    removal: Removal,
    /// The records in the making, of an event and of a key.
    record: Vec<u8>,
    state_record: Vec<u8>,
    /// Declared after the connection, so the directory is let go after it is closed.
    _directory: Arc<Directory>,
}

impl SqliteStore {
    pub(super) fn open(directory: &Arc<Directory>, options: &SqliteOptions) -> Result<Self, OpenError> {
        let (connection, mut ends) = open::writing(directory, options)?;
        let witness = mark::witness(directory, &ends)?;
        mark::verify(witness, directory, &ends)?;
        ends::verify(&connection, &ends).map_err(|error| error.on_open(directory))?;
        match witness {
            Witness::Missing if ends.head > 0 => {
                ends.epoch = Epoch::random();
                ends::write(&connection, &ends).map_err(directory.failed())?;
                tracing::warn!(
                    "the log was restored or moved: it has a new epoch, and clients load their state anew"
                );
            }
            Witness::Unusable => {
                tracing::warn!("the mark of the last acknowledged event is unusable; it is made anew")
            }
            Witness::Missing | Witness::Acknowledged(_) => {}
        }
        let mark = Mark::open(directory, &ends)?;
        let mut pending = Pending::new(options.segment_events_max);
        open::index_tail(&connection, &ends, &mut pending).map_err(|error| error.on_open(directory))?;
        let removal = Removal::new(options.retention, options.reserve_bytes, directory);
        Ok(SqliteStore {
            connection,
            ends,
            mark,
            pending,
            removal,
            record: Vec::new(),
            state_record: Vec::new(),
            _directory: Arc::clone(directory),
        })
    }
}

impl Store for SqliteStore {
    type Transaction<'a> = SqliteTransaction<'a>;

    fn epoch(&self) -> Epoch {
        self.ends.epoch
    }

    fn bounds(&self) -> Bounds {
        self.ends.bounds()
    }

    fn last_logged_at(&self) -> i64 {
        self.ends.head_at
    }

    fn begin(&mut self) -> Result<SqliteTransaction<'_>, StoreError> {
        let insert_key = self.connection.prepare_cached(INSERT_KEY)?;
        let insert_event = self.connection.prepare_cached(INSERT_EVENT)?;
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(SqliteTransaction {
            connection: &self.connection,
            insert_key,
            insert_event,
            before: self.pending.mark(),
            events: Vec::new(),
            new: self.ends,
            sealed: 0,
            ends: &mut self.ends,
            pending: &mut self.pending,
            mark: &mut self.mark,
            record: &mut self.record,
            state_record: &mut self.state_record,
            recorded: 0,
        })
    }

    fn upkeep(&mut self, now_ms: i64, is_idle: bool) -> Result<Upkeep, StoreError> {
        self.removal.upkeep(&self.connection, &mut self.ends, now_ms, is_idle)
    }

    fn close(self, has_failed: bool) {
        if has_failed {
            // What the last failure left behind is for recovery at the next start, not for a checkpoint now.
            if let Err(error) =
                self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            {
                tracing::warn!(%error, "the log's journal is checkpointed in spite of the failure");
            }
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the log was not closed cleanly; the next start recovers it");
        }
    }
}

/// An open transaction.
pub(super) struct SqliteTransaction<'a> {
    connection: &'a Connection,
    insert_key: CachedStatement<'a>,
    insert_event: CachedStatement<'a>,
    /// What was pending before, to go back to.
    before: PendingMark,
    /// What was pending, and the ends, before each event of this transaction.
    events: Vec<(PendingMark, Ends)>,
    /// The ends with the events of this transaction.
    new: Ends,
    /// How many pending events have become segments.
    sealed: u32,
    ends: &'a mut Ends,
    pending: &'a mut Pending,
    mark: &'a mut Mark,
    record: &'a mut Vec<u8>,
    state_record: &'a mut Vec<u8>,
    /// The offset of the event that the record is of; 0 for none.
    recorded: u64,
}

impl SqliteTransaction<'_> {
    /// The event that has this key.
    fn first(&self, event: &NewEvent) -> Result<Option<First>, LoadError> {
        let sql = "SELECT offset FROM keys WHERE id = ?1 AND source = ?2 AND namespace = ?3";
        let key = (event.id(), event.source(), event.namespace());
        let offset: i64 = self.connection.prepare_cached(sql)?.query_one(key, |row| row.get(0))?;
        let offset = offset.cast_unsigned();
        let first = |is_same| First { offset: Offset::new(offset), is_same };
        if offset < self.new.earliest {
            let digest = removal::digest(self.connection, offset)?;
            return Ok(digest.map(|digest| first(digest == body_digest(event))));
        }
        pages::with_record(self.connection, offset, |record: &Record<'_>| {
            let there = record.new_event().map_err(|reason| LoadError::event(offset, &reason))?;
            Ok(Some(first(is_same_body(&there, event))))
        })
    }
}

impl SqliteTransaction<'_> {
    fn write_record(&mut self, event: &NewEvent, place: Place) -> Result<(), StoreError> {
        let failed = |reason| StoreError::Failed { reason };
        record::write(self.record, event, place).map_err(failed)?;
        self.recorded = place.offset.get();
        Ok(())
    }
}

/// The same where a damaged key concerns only what looks for it.
fn of_state(error: LoadError) -> StoreError {
    match error {
        LoadError::Sqlite(error) => error.into(),
        LoadError::Damaged { .. } => StoreError::Damaged { reason: error.to_string() },
    }
}

impl Transaction for SqliteTransaction<'_> {
    fn insert(&mut self, event: &NewEvent, place: Place) -> Result<Option<First>, StoreError> {
        let offset = place.offset.get();
        let key = (event.id(), event.source(), event.namespace(), sql_offset(offset));
        if self.insert_key.execute(key)? == 0 {
            if let Some(first) = self.first(event)? {
                return Ok(Some(first));
            }
            // A key without an event: what it stood for was damaged when retention removed it.
            let sql = "UPDATE keys SET offset = ?4 WHERE id = ?1 AND source = ?2 AND namespace = ?3";
            self.connection.prepare_cached(sql)?.execute(key)?;
        }
        self.write_record(event, place)?;
        self.insert_event.execute((sql_offset(offset), self.record.as_slice()))?;
        let bytes = record::counted_bytes(self.record.len(), [event.id(), event.source(), event.namespace()]);
        self.events.push((self.pending.mark(), self.new));
        self.pending.push(bytes, |put| terms::of_new_event(event, put));
        self.new.add(offset, place.logged_at, bytes);
        Ok(None)
    }

    fn take_back(&mut self, from: Offset) -> Result<(), StoreError> {
        let index = usize::try_from(from.get() - self.ends.head - 1).unwrap_or(usize::MAX);
        let Some((pending, ends)) = self.events.get(index).copied() else { return Ok(()) };
        for offset in from.get()..=self.new.head {
            pages::with_record(self.connection, offset, |record| {
                let sql = "DELETE FROM keys WHERE id = ?1 AND source = ?2 AND namespace = ?3";
                let key = (record.id, record.source, record.namespace());
                Ok(self.connection.prepare_cached(sql)?.execute(key)?)
            })?;
        }
        let mut delete = self.connection.prepare_cached("DELETE FROM events WHERE offset >= ?1")?;
        delete.execute([sql_offset(from.get())])?;
        self.events.truncate(index);
        self.pending.back_to(pending);
        self.new = ends;
        Ok(())
    }

    fn held(&mut self, key: &StateKey) -> Result<Option<Held>, StoreError> {
        state::held(self.connection, self.new.epoch, key).map_err(of_state)
    }

    fn referrer(&mut self, key: &StateKey) -> Result<Option<StateKey>, StoreError> {
        state::referrer(self.connection, key).map_err(of_state)
    }

    fn hold(
        &mut self,
        key: &StateKey,
        before: Option<&Held>,
        after: Option<Holding<'_>>,
    ) -> Result<(), StoreError> {
        if let Some(Holding { event, place, .. }) = after
            && self.recorded != place.offset.get()
        {
            self.write_record(event, place)?;
        }
        let mut writing =
            state::Writing { connection: self.connection, ends: &mut self.new, out: self.state_record };
        match (before, after) {
            (_, Some(holding)) => writing.hold(key, before, holding, self.record),
            (Some(before), None) => writing.remove(key, before),
            (None, None) => Ok(()),
        }
    }

    fn commit(mut self) -> Result<Bounds, StoreError> {
        let sealed = self.pending.seal(self.connection)?;
        ends::write(self.connection, &self.new)?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.mark.set(self.new.head);
        *self.ends = self.new;
        self.sealed = sealed;
        self.before = self.pending.mark();
        Ok(self.ends.bounds())
    }
}

impl Drop for SqliteTransaction<'_> {
    /// Rolls back, unless the transaction is committed or SQLite has rolled it back itself.
    fn drop(&mut self) {
        self.pending.back_to(self.before);
        self.pending.sealed(self.sealed);
        roll_back(self.connection);
    }
}

/// Rolls back what is open.
pub(super) fn roll_back(connection: &Connection) {
    if connection.is_autocommit() {
        return;
    }
    let rolled_back = connection.prepare_cached("ROLLBACK").and_then(|mut end| end.execute([]));
    if let Err(error) = rolled_back {
        tracing::error!(%error, "a transaction of the log could not be rolled back");
    }
}
