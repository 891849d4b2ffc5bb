//! The tables, and the check that a database has them in the form that this version knows.
//!
//! Invariants: `events` is ordered by `offset` and has no gaps; the last event is never removed, so the next offset is known.
//! Indexes cost: there is one where a reader asks for a few events among very many, and none elsewhere. Together the six on
//! single columns cost as much CPU as the rest of an append; those on type and organization touch a page for nearly every
//! value in a batch and are the dearest. The one on (`id`, `source`) makes a publish idempotent; ids that rise with time
//! (UUIDv7) keep its writes in one place, random ids spread them over the whole index.

use super::directory::{Directory, OpenError};
use crate::event::Epoch;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

/// The form of the tables below.
const FORMAT: i64 = 1;
/// Marks the file as ours in its header: "Fanf".
const APPLICATION: i64 = 0x4661_6e66;

const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE events (
    offset INTEGER PRIMARY KEY,
    logged_at INTEGER NOT NULL,
    type TEXT NOT NULL,
    priority INTEGER NOT NULL,
    source TEXT NOT NULL,
    organization_id TEXT,
    domain_id TEXT,
    instance_id TEXT,
    agent_id TEXT,
    task_id TEXT,
    workflow_id TEXT,
    user_id TEXT,
    room_id TEXT,
    correlation_id TEXT,
    id TEXT NOT NULL,
    time_seconds INTEGER NOT NULL,
    time_nanos INTEGER NOT NULL,
    time_is_given INTEGER NOT NULL,
    subject TEXT,
    attributes TEXT,
    data TEXT NOT NULL,
    data_base64 TEXT
) STRICT;
CREATE UNIQUE INDEX events_by_id ON events (id, source);
CREATE INDEX events_by_type ON events (type);
CREATE INDEX events_by_organization_id ON events (organization_id) WHERE organization_id IS NOT NULL;
CREATE INDEX events_by_task_id ON events (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX events_by_user_id ON events (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX events_by_room_id ON events (room_id) WHERE room_id IS NOT NULL;
CREATE INDEX events_by_correlation_id ON events (correlation_id) WHERE correlation_id IS NOT NULL;
";

/// Makes the tables in an empty database, or checks those that are there; gives the log's epoch.
pub(super) fn prepare(connection: &mut Connection, directory: &Directory) -> Result<Epoch, OpenError> {
    let failed = directory.failed();
    let not_ours = || OpenError::NotOurs { file: directory.database() };
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
    let application: i64 = number(&transaction, "PRAGMA application_id").map_err(&failed)?;
    let tables: i64 = number(&transaction, "SELECT COUNT(*) FROM sqlite_schema").map_err(&failed)?;
    if (application, tables) == (0, 0) {
        create(&transaction).map_err(&failed)?;
    } else if application != APPLICATION {
        return Err(not_ours());
    }
    let found = meta(&transaction, "format").map_err(&failed)?.ok_or_else(not_ours)?;
    if found != FORMAT {
        return Err(OpenError::UnknownFormat { file: directory.database(), found, known: FORMAT });
    }
    let epoch = meta(&transaction, "epoch").map_err(&failed)?.ok_or_else(not_ours)?;
    transaction.commit().map_err(&failed)?;
    Ok(Epoch::new(epoch.cast_unsigned()))
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    for (name, value) in [("format", FORMAT), ("epoch", Epoch::random().get().cast_signed())] {
        connection.execute("INSERT INTO meta (name, value) VALUES (?1, ?2)", (name, value))?;
    }
    Ok(())
}

fn meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection.query_one("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.query_one(sql, [], |row| row.get(0))
}
