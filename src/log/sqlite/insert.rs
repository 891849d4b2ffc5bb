//! The write side of the database, as the writer's thread uses it.

use super::{
    super::{
        Bounds,
        store::{Place, Store, StoreError, Transaction},
    },
    SqliteOptions,
    directory::{Directory, OpenError},
    row, schema, sql_offset,
};
use crate::event::{Epoch, Event, NewEvent, Offset};
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, OptionalExtension, config::DbConfig};
use std::{io, sync::Arc, time::Duration};

/// How long a commit waits for somebody else's write lock, such as a backup's.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// The tables alone need about 40 KiB.
const BYTES_MAX_LEAST: u64 = 128 * 1024;
/// The database file is brought up to date whenever the journal has grown by so many pages (16 MiB).
const CHECKPOINT_PAGES: u32 = 4_096;
/// A journal that outgrew this behind a long read is cut back to it.
const JOURNAL_BYTES_MAX: u32 = 64 * 1024 * 1024;

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
    epoch: Epoch,
    bounds: Bounds,
    last_logged_at: i64,
    /// Declared after the connection, so the directory is let go after it is closed.
    _directory: Arc<Directory>,
}

impl SqliteStore {
    pub(super) fn open(directory: &Arc<Directory>, options: &SqliteOptions) -> Result<Self, OpenError> {
        let failed = directory.failed();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(directory.database(), flags).map_err(&failed)?;
        connection.busy_timeout(LOCK_WAIT).map_err(&failed)?;
        // First, because it changes nothing in a file that is not ours.
        let epoch = schema::prepare(&mut connection, directory)?;
        configure(&connection, options).map_err(&failed)?;
        keep_journal(&connection, directory)?;
        let (bounds, last_logged_at) = ends(&connection).map_err(&failed)?;
        Ok(SqliteStore { connection, epoch, bounds, last_logged_at, _directory: Arc::clone(directory) })
    }
}

fn configure(connection: &Connection, options: &SqliteOptions) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Only macOS knows the difference: there a plain fsync leaves the bytes in the disk's cache.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", JOURNAL_BYTES_MAX)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // Negative: KiB instead of pages.
    connection.pragma_update(None, "cache_size", -i64::from(options.write_cache_kib))?;
    if let Some(bytes_max) = options.bytes_max {
        let page_bytes: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = sql_offset(bytes_max.max(BYTES_MAX_LEAST)) / page_bytes.max(1);
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    Ok(())
}

/// Switches to the write-ahead log, which some network file systems cannot keep.
fn keep_journal(connection: &Connection, directory: &Directory) -> Result<(), OpenError> {
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(directory.failed())?;
    match mode.as_str() {
        "wal" => Ok(()),
        _ => Err(OpenError::Io {
            path: directory.database(),
            source: io::Error::new(
                io::ErrorKind::Unsupported,
                "its file system cannot keep a write-ahead log",
            ),
        }),
    }
}

/// The ends of the log, and when its last event was logged.
fn ends(connection: &Connection) -> rusqlite::Result<(Bounds, i64)> {
    let last = "SELECT offset, logged_at FROM events ORDER BY offset DESC LIMIT 1";
    let last = connection.query_one(last, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let (head, logged_at): (i64, i64) = last.unwrap_or_default();
    let earliest: Option<i64> =
        connection.query_one("SELECT MIN(offset) FROM events", [], |row| row.get(0))?;
    let offset = |value: i64| Offset::new(u64::try_from(value).unwrap_or_default());
    let head = offset(head);
    Ok((Bounds { earliest: earliest.map_or(head.next(), offset), head }, logged_at))
}

impl Store for SqliteStore {
    type Transaction<'a> = SqliteTransaction<'a>;

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn bounds(&self) -> Bounds {
        self.bounds
    }

    fn last_logged_at(&self) -> i64 {
        self.last_logged_at
    }

    fn begin(&mut self) -> Result<SqliteTransaction<'_>, StoreError> {
        let insert = self.connection.prepare_cached(row::INSERT)?;
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(SqliteTransaction {
            connection: &self.connection,
            insert,
            head: self.bounds.head,
            epoch: self.epoch,
            bounds: &mut self.bounds,
        })
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
    insert: CachedStatement<'a>,
    epoch: Epoch,
    /// The last event, those of this transaction included.
    head: Offset,
    bounds: &'a mut Bounds,
}

impl Transaction for SqliteTransaction<'_> {
    fn insert(&mut self, event: &NewEvent, place: Place) -> Result<Option<Event>, StoreError> {
        if row::insert(&mut self.insert, event, place)? {
            self.head = place.cursor.offset;
            return Ok(None);
        }
        let mut by_key = self.connection.prepare_cached(row::SELECT_BY_KEY)?;
        let first = by_key.query_one((event.id(), event.source()), |row| row::event(row, self.epoch))?;
        Ok(Some(first))
    }

    fn take_back(&mut self, from: Offset) -> Result<(), StoreError> {
        let mut delete = self.connection.prepare_cached("DELETE FROM events WHERE offset >= ?1")?;
        delete.execute([sql_offset(from.get())])?;
        self.head = from.previous();
        Ok(())
    }

    fn commit(self) -> Result<Bounds, StoreError> {
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.bounds.head = self.head;
        Ok(*self.bounds)
    }
}

impl Drop for SqliteTransaction<'_> {
    /// Rolls back, unless the transaction is committed or SQLite has rolled it back itself.
    fn drop(&mut self) {
        if self.connection.is_autocommit() {
            return;
        }
        let rolled_back = self.connection.prepare_cached("ROLLBACK").and_then(|mut end| end.execute([]));
        if let Err(error) = rolled_back {
            tracing::error!(%error, "a transaction of the log could not be rolled back");
        }
    }
}
