//! Looks at everything that is stored and says what is wrong: for `fanfare log check`.
//!
//! Invariants: nothing is changed; beside a running server one snapshot is looked at.

use super::{
    damage::{self, LoadError},
    directory::{Directory, OpenError},
    ends::{self, Ends},
    mark::{self, Witness},
    open, pages, schema, segment, sql_offset, state_check,
};
use rusqlite::Connection;
use serde::Serialize;
use std::path::Path;

/// The most findings that are told one by one.
const FINDINGS_MAX: usize = 100;
const CACHE_KIB: u32 = 16 * 1024;

/// What a check has found.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Was a server running on the log? Then the log was looked at as it was at one moment.
    pub beside_server: bool,
    /// Events that were looked at.
    pub events: u64,
    /// Keys of the state that were looked at, each with its latest event.
    pub state: u64,
    /// The first offset that is kept.
    pub earliest: u64,
    /// The last offset.
    pub head: u64,
    /// What is wrong, the first hundred of it, each a sentence.
    pub findings: Vec<String>,
    /// How much is wrong beyond those.
    pub more_findings: u64,
}

impl CheckReport {
    /// Is nothing wrong?
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn found(&mut self, finding: &impl ToString) {
        match self.findings.len() < FINDINGS_MAX {
            true => self.findings.push(finding.to_string()),
            false => self.more_findings += 1,
        }
    }

    /// Takes down what a part of the check could not read, and goes on with the next part.
    fn take(&mut self, result: Result<(), LoadError>) {
        if let Err(error) = result {
            self.found(&error);
        }
    }
}

/// Checks the log in a data directory: the database's own structure, the checksum and place of every event, the idempotency
/// keys, the index, the state, the ends. Takes as long as reading all of it. Fails when there is no log, or it cannot be opened at all.
pub fn check(dir: &Path) -> Result<CheckReport, OpenError> {
    let directory = Directory::existing(dir)?;
    let mut report = CheckReport { beside_server: !directory.is_locked(), ..CheckReport::default() };
    // Before the snapshot: a running server moves it on.
    let opened = open::reading(&directory, CACHE_KIB).map_err(directory.failed())?;
    let before = opened.unchecked_transaction().map_err(directory.failed())?;
    let ends = match schema::check(&before, &directory) {
        Ok(ends) => ends,
        Err(error @ OpenError::Damaged { .. }) => {
            report.found(&error);
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    (report.earliest, report.head) = (ends.earliest, ends.head);
    let verified = structure(&before, &mut report);
    report.take(verified);
    report.take(ends::verify(&before, &ends));
    if !report.beside_server {
        witness(&directory, &ends, &mut report)?;
    }
    let counted = events(&before, &ends, &mut report);
    report.take(counted);
    let counted = keys(&before, &ends, &mut report);
    report.take(counted);
    let counted = index(&before, &ends, &mut report);
    report.take(counted);
    let counted = state(&before, &ends, &mut report);
    report.take(counted);
    Ok(report)
}

/// SQLite's own check of its pages and trees.
fn structure(connection: &Connection, report: &mut CheckReport) -> Result<(), LoadError> {
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let line: String = row.get(0)?;
        if line != "ok" {
            report.found(&format!("the database file: {line}"));
        }
    }
    Ok(())
}

fn witness(directory: &Directory, ends: &Ends, report: &mut CheckReport) -> Result<(), OpenError> {
    let witness = mark::witness(directory, ends)?;
    if let Err(error) = mark::verify(witness, directory, ends) {
        report.found(&error);
    }
    if witness == Witness::Unusable {
        report.found(&format!(
            "the mark {} is unusable; the next start makes it anew",
            directory.mark().display()
        ));
    }
    Ok(())
}

/// Every event is there, at its place, with the right checksum, can be made an event, and has its key.
fn events(connection: &Connection, ends: &Ends, report: &mut CheckReport) -> Result<(), LoadError> {
    let mut statement = connection.prepare("SELECT offset, record FROM events ORDER BY offset")?;
    let mut key =
        connection.prepare("SELECT offset FROM keys WHERE id = ?1 AND source = ?2 AND namespace = ?3")?;
    let mut rows = statement.query([])?;
    let (mut expected, mut bytes, mut last_at) = (ends.earliest, 0_u64, i64::MIN);
    while let Some(row) = rows.next().map_err(damage::at(expected))? {
        let offset = row.get::<_, i64>(0)?.cast_unsigned();
        if offset != expected {
            report.found(&format!("offset {offset} follows {}", expected.saturating_sub(1)));
        }
        (expected, report.events) = (offset + 1, report.events + 1);
        let record = match pages::record(row, 1, offset) {
            Ok(record) => record,
            Err(error) => {
                report.found(&error);
                continue;
            }
        };
        bytes += record.counted_bytes();
        if record.logged_at < last_at {
            report.found(&format!("the event at offset {offset} was logged before the one in front of it"));
        }
        last_at = record.logged_at;
        if let Err(reason) = record.new_event() {
            report.found(&LoadError::event(offset, &reason));
        }
        let found: Vec<i64> = {
            let key_of = (record.id, record.source, record.namespace());
            key.query_map(key_of, |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        if found != [sql_offset(offset)] {
            report.found(&format!("the key of the event at offset {offset} leads to {found:?}"));
        }
    }
    if expected != ends.head + 1 {
        report.found(&format!(
            "the events end at offset {}, not at {}",
            expected.saturating_sub(1),
            ends.head
        ));
    }
    if report.is_sound() && bytes != ends.bytes() {
        report.found(&format!("the events have {bytes} bytes, but {} are noted", ends.bytes()));
    }
    Ok(())
}

/// Every key has its event, or what stays of it.
fn keys(connection: &Connection, ends: &Ends, report: &mut CheckReport) -> Result<(), LoadError> {
    let count = |sql: &str| connection.query_one(sql, [], |row| row.get::<_, i64>(0));
    let keys = count("SELECT COUNT(*) FROM keys")?.cast_unsigned();
    let stubs = count("SELECT COUNT(*) FROM forgotten")?.cast_unsigned();
    let expected = ends.events() + stubs;
    if keys != expected {
        report.found(&format!("there are {keys} keys for {} events and {stubs} removed ones", ends.events()));
    }
    let sql = "SELECT k.offset, k.id FROM keys k LEFT JOIN events e ON e.offset = k.offset
               LEFT JOIN forgotten f ON f.offset = k.offset WHERE e.offset IS NULL AND f.offset IS NULL";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (offset, id): (i64, String) = (row.get(0)?, row.get(1)?);
        report.found(&format!("the key {id:?} leads to offset {offset}, where nothing is"));
    }
    Ok(())
}

/// Every bucket of every segment is there and right, and no event but the last ones is outside of all segments.
fn index(connection: &Connection, ends: &Ends, report: &mut CheckReport) -> Result<(), LoadError> {
    let mut at = ends.earliest;
    while let Some(segment) = segment::at_or_after(connection, at)? {
        if segment.last > ends.head {
            report.found(&format!("the index covers offset {}, beyond the last event", segment.last));
        }
        if segment.first > at {
            report.found(&format!("no index covers the offsets {at} to {}", segment.first - 1));
        }
        if let Err(error) = segment.check(connection) {
            report.found(&error);
        }
        at = segment.last + 1;
    }
    Ok(())
}

/// All that is kept under keys is right; a log that this version has not opened yet keeps nothing.
fn state(connection: &Connection, ends: &Ends, report: &mut CheckReport) -> Result<(), LoadError> {
    if schema::has_state(connection)? {
        report.state = state_check::check(connection, ends, |finding| report.found(&finding.to_string()))?;
    }
    Ok(())
}
