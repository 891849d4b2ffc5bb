//! The tables, and the check that a database has them in the form that this version knows.
//!
//! `events` holds each event as one record (`record`), ordered by offset and without gaps. `keys` makes a publish idempotent;
//! a key outlives its event for the rest of its window, with what is needed to judge a repeat in `forgotten`. `segments` and
//! `postings` are the index (`segment`), `ends` is what the log knows about itself (`ends`).
//! Invariants: everything but `keys` is written in the order of offsets and removed from the front, so a commit touches few
//! pages, and removed ones are used again; `keys` has its writes in one place when ids rise with time (UUIDv7).

use super::{
    directory::{Directory, OpenError},
    ends::{self, Ends},
};
use crate::event::Epoch;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

/// The form of the tables below.
const FORMAT: i64 = 3;
/// Marks the file as ours in its header: "Fanf".
const APPLICATION: i64 = 0x4661_6e66;

const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE ends (only INTEGER PRIMARY KEY CHECK (only = 0), ends BLOB NOT NULL) STRICT;
CREATE TABLE events (offset INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT;
CREATE TABLE keys (
    id TEXT NOT NULL,
    source TEXT NOT NULL,
    namespace TEXT NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (id, source, namespace)
) STRICT, WITHOUT ROWID;
CREATE TABLE forgotten (offset INTEGER PRIMARY KEY, stub BLOB NOT NULL) STRICT;
CREATE TABLE segments (last INTEGER PRIMARY KEY, segment BLOB NOT NULL) STRICT;
CREATE TABLE postings (
    last INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    groups BLOB NOT NULL,
    PRIMARY KEY (last, bucket)
) STRICT, WITHOUT ROWID;
";

/// Makes the tables in an empty database, or checks those that are there; gives the log's ends.
pub(super) fn prepare(connection: &mut Connection, directory: &Directory) -> Result<Ends, OpenError> {
    let failed = directory.failed();
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
    let application: i64 = number(&transaction, "PRAGMA application_id").map_err(&failed)?;
    let tables: i64 = number(&transaction, "SELECT COUNT(*) FROM sqlite_schema").map_err(&failed)?;
    if (application, tables) == (0, 0) {
        create(&transaction).map_err(&failed)?;
    }
    let ends = check(&transaction, directory)?;
    transaction.commit().map_err(&failed)?;
    Ok(ends)
}

/// Checks that the tables are ours and of this format; gives the log's ends.
pub(super) fn check(connection: &Connection, directory: &Directory) -> Result<Ends, OpenError> {
    let failed = directory.failed();
    let not_ours = || OpenError::NotOurs { file: directory.database() };
    let application: i64 = number(connection, "PRAGMA application_id").map_err(&failed)?;
    if application != APPLICATION {
        return Err(not_ours());
    }
    let sql = "SELECT value FROM meta WHERE name = 'format'";
    let found: Option<i64> = connection.query_one(sql, [], |row| row.get(0)).optional().map_err(&failed)?;
    let found = found.ok_or_else(not_ours)?;
    if found != FORMAT {
        return Err(OpenError::UnknownFormat { file: directory.database(), found, known: FORMAT });
    }
    ends::read(connection).map_err(|error| error.on_open(directory))
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.execute("INSERT INTO meta (name, value) VALUES ('format', ?1)", [FORMAT])?;
    ends::create(connection, &Ends::new(Epoch::random()))
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.query_one(sql, [], |row| row.get(0))
}
