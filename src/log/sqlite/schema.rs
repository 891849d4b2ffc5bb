//! The tables, and the check that a database has them in the form that this version knows.
//!
//! `events` holds each event as one record (`record`), ordered by offset and without gaps. `keys` makes a publish idempotent;
//! a key outlives its event for the rest of its window, with what is needed to judge a repeat in `forgotten`. `segments` and
//! `postings` are the index (`segment`), `ends` is what the log knows about itself (`ends`). `state` holds the latest event of each
//! key of the state, and `refs` who needs whom (`state`).
//! Invariants: everything but `keys` and the state is written in the order of offsets and removed from the front, so a commit
//! touches few pages, and removed ones are used again; `keys` has its writes in one place when ids rise with time (UUIDv7). A
//! change of what is kept under a key touches one page of `state` and no index, unless its domain changes.

use super::{
    directory::{Directory, OpenError},
    ends::{self, Ends},
};
use crate::event::Epoch;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

/// The form of the tables below.
const FORMAT: i64 = 4;
/// The same without the tables of the state: a log of this form gets them when it is opened.
const FORMAT_WITHOUT_STATE: i64 = 3;
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

/// No organization is an empty one, so that keys are unique; no domain is NULL, which is in no index.
const STATE_TABLES: &str = "
CREATE TABLE state (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    organization TEXT NOT NULL,
    id TEXT NOT NULL,
    domain TEXT,
    offset INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX state_by_key ON state (kind, organization, id);
CREATE UNIQUE INDEX state_by_id ON state (kind, id, organization);
CREATE UNIQUE INDEX state_by_domain ON state (kind, domain, organization, id) WHERE domain IS NOT NULL;
CREATE TABLE refs (
    kind TEXT NOT NULL,
    organization TEXT NOT NULL,
    id TEXT NOT NULL,
    by_kind TEXT NOT NULL,
    by_organization TEXT NOT NULL,
    by_id TEXT NOT NULL,
    PRIMARY KEY (kind, organization, id, by_kind, by_organization, by_id)
) STRICT, WITHOUT ROWID;
";

/// Makes the tables in an empty database, adds those that an older log lacks, or checks those that are there; gives the log's
/// ends.
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
    if !has_state(&transaction).map_err(&failed)? {
        add_state(&transaction, &ends).map_err(&failed)?;
        tracing::info!("the log has format {FORMAT} from now on, which older versions do not read");
    }
    transaction.commit().map_err(&failed)?;
    Ok(ends)
}

/// Checks that the tables are ours and of a format that is known; gives the log's ends.
pub(super) fn check(connection: &Connection, directory: &Directory) -> Result<Ends, OpenError> {
    let failed = directory.failed();
    let not_ours = || OpenError::NotOurs { file: directory.database() };
    let application: i64 = number(connection, "PRAGMA application_id").map_err(&failed)?;
    if application != APPLICATION {
        return Err(not_ours());
    }
    let found = format(connection).optional().map_err(&failed)?.ok_or_else(not_ours)?;
    if !(FORMAT_WITHOUT_STATE..=FORMAT).contains(&found) {
        let (file, oldest, known) = (directory.database(), FORMAT_WITHOUT_STATE, FORMAT);
        return Err(OpenError::UnknownFormat { file, found, oldest, known });
    }
    ends::read(connection).map_err(|error| error.on_open(directory))
}

/// Are the tables of the state there? Those of a log that this version has not opened yet are not.
pub(super) fn has_state(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(format(connection)? > FORMAT_WITHOUT_STATE)
}

fn format(connection: &Connection) -> rusqlite::Result<i64> {
    number(connection, "SELECT value FROM meta WHERE name = 'format'")
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)?;
    connection.execute_batch(STATE_TABLES)?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.execute("INSERT INTO meta (name, value) VALUES ('format', ?1)", [FORMAT])?;
    ends::create(connection, &Ends::new(Epoch::random()))
}

fn add_state(connection: &Connection, ends: &Ends) -> rusqlite::Result<()> {
    connection.execute_batch(STATE_TABLES)?;
    connection.execute("UPDATE meta SET value = ?1 WHERE name = 'format'", [FORMAT])?;
    // In the form that counts the state.
    ends::write(connection, ends)
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.query_one(sql, [], |row| row.get(0))
}
