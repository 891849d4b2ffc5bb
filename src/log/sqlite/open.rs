//! How connections are opened and set up.

use super::{
    SqliteOptions,
    damage::LoadError,
    directory::{Directory, OpenError},
    ends::Ends,
    pages, schema, segment,
    segment::Pending,
    sql_offset,
};
use rusqlite::{Connection, OpenFlags};
use std::{io, time::Duration};

/// How long a commit waits for somebody else's write lock, such as a backup's.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// The tables alone need about 40 KiB.
const BYTES_MAX_LEAST: u64 = 128 * 1024;
/// The database file is brought up to date whenever the journal has grown by so many pages (16 MiB).
const CHECKPOINT_PAGES: u32 = 4_096;
/// A journal that outgrew this behind a long read is cut back to it.
const JOURNAL_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// Statements that each connection keeps prepared.
const STATEMENTS_KEPT: usize = 64;

/// The connection that writes, and the ends of the log; makes the tables of a new one.
pub(super) fn writing(
    directory: &Directory,
    options: &SqliteOptions,
) -> Result<(Connection, Ends), OpenError> {
    let failed = directory.failed();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(directory.database(), flags).map_err(&failed)?;
    connection.busy_timeout(LOCK_WAIT).map_err(&failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // First, because it changes nothing in a file that is not ours.
    let ends = schema::prepare(&mut connection, directory)?;
    configure(&connection, options).map_err(&failed)?;
    keep_journal(&connection, directory)?;
    Ok((connection, ends))
}

fn configure(connection: &Connection, options: &SqliteOptions) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Only macOS knows the difference: there a plain fsync leaves the bytes in the disk's cache.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", JOURNAL_BYTES_MAX)?;
    // A page that cannot be is an error where it is met, not somewhere later.
    connection.pragma_update(None, "cell_size_check", true)?;
    set_up(connection, options.write_cache_kib)?;
    if let Some(bytes_max) = options.bytes_max {
        let page_bytes: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = sql_offset(bytes_max.max(BYTES_MAX_LEAST)) / page_bytes.max(1);
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    Ok(())
}

/// What all connections have.
fn set_up(connection: &Connection, cache_kib: u32) -> rusqlite::Result<()> {
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // Negative: KiB instead of pages.
    connection.pragma_update(None, "cache_size", -i64::from(cache_kib))
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

/// A connection that only reads.
pub(super) fn reading(directory: &Directory, cache_kib: u32) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(directory.database(), flags)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.pragma_update(None, "cell_size_check", true)?;
    set_up(&connection, cache_kib)?;
    Ok(connection)
}

/// Gathers the terms of the events after the last segment; those before a damaged one stay outside of all segments.
pub(super) fn index_tail(
    connection: &Connection,
    ends: &Ends,
    pending: &mut Pending,
) -> Result<(), LoadError> {
    let last = segment::before(connection, ends.head + 1)?;
    let first = last.map_or(1, |last| last.last + 1).max(ends.earliest);
    pending.restart(first);
    for offset in first..=ends.head {
        let indexed = pages::with_record(connection, offset, |record| {
            pending.push(record.counted_bytes(), |put| record.terms(put));
            Ok(())
        });
        if let Err(error @ LoadError::Damaged { .. }) = indexed {
            tracing::error!(%error, "run `fanfare log check` for all damage");
            pending.restart(offset + 1);
        } else {
            indexed?;
        }
    }
    Ok(())
}
