//! What a log holds, for `fanfare log stats`.
//!
//! Invariants: nothing is changed; beside a running server one snapshot is looked at.

use super::{
    damage::LoadError,
    directory::{Directory, OpenError},
    ends::Ends,
    open, pages, schema,
};
use crate::event::{Epoch, Offset};
use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::Connection;
use serde::Serialize;
use std::{collections::BTreeMap, fs, path::Path};

const TYPES_MAX: usize = 20;
const CACHE_KIB: u32 = 16 * 1024;

/// What a log holds.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct LogStats {
    /// Was a server running on the log? Then this is how it was at one moment.
    pub beside_server: bool,
    /// Events that are kept.
    pub events: u64,
    /// Their bytes, as `retention_bytes` counts them.
    pub bytes: u64,
    /// The cursor before the first event: a subscription that starts after it gets everything.
    pub earliest: String,
    /// The cursor of the last event.
    pub head: String,
    /// The offset of the first event.
    pub earliest_offset: u64,
    /// The offset of the last event.
    pub head_offset: u64,
    /// When the first event was logged (RFC 3339); `None` without events.
    pub first_time: Option<String>,
    /// When the last event was logged.
    pub last_time: Option<String>,
    /// Removed events whose (source, id) is still recognised.
    pub removed_keys: u64,
    /// What is kept beside the events: of each kind the number of keys.
    pub state: Vec<KindCount>,
    /// The most frequent types with their counts, the most frequent first.
    pub types: Vec<TypeCount>,
    /// How many other types there are.
    pub more_types: u64,
    /// Events that cannot be read.
    pub damaged: u64,
    /// The files of the data directory with their bytes.
    pub files: Vec<FileSize>,
    /// Bytes inside the database file that new events will use.
    pub free_bytes: u64,
}

/// How often a type occurs.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TypeCount {
    /// The type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Events of it.
    pub events: u64,
}

/// How much is kept of a kind.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct KindCount {
    /// The kind.
    pub kind: String,
    /// Keys of it.
    pub keys: u64,
}

/// How large a file is.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FileSize {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// Counts what the log in a data directory holds. Takes as long as reading all of it. Fails when there is no log, or it
/// cannot be read.
pub fn stats(dir: &Path) -> Result<LogStats, OpenError> {
    let directory = Directory::existing(dir)?;
    let opened = open::reading(&directory, CACHE_KIB).map_err(directory.failed())?;
    let snapshot = opened.unchecked_transaction().map_err(directory.failed())?;
    let ends = schema::check(&snapshot, &directory)?;
    let mut stats = of_ends(&ends);
    stats.beside_server = !directory.is_locked();
    stats.files = files(dir).map_err(|source| OpenError::Io { path: dir.to_owned(), source })?;
    count(&snapshot, &mut stats).map_err(|error| error.on_open(&directory))?;
    Ok(stats)
}

/// The identity of the log in a data directory, beside a running server too: with it its cursors can be opened and made, so it
/// is for tools that judge a log from outside and for nobody else. Fails as [`stats`] does.
pub fn epoch(dir: &Path) -> Result<Epoch, OpenError> {
    let directory = Directory::existing(dir)?;
    let opened = open::reading(&directory, CACHE_KIB).map_err(directory.failed())?;
    Ok(schema::check(&opened, &directory)?.epoch)
}

fn of_ends(ends: &Ends) -> LogStats {
    let cursor = |offset: u64| ends.epoch.seal(Offset::new(offset)).to_string();
    let time = |ms: i64| {
        let time: Option<DateTime<Utc>> = DateTime::from_timestamp_millis(ms).filter(|_| ends.events() > 0);
        time.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
    };
    LogStats {
        events: ends.events(),
        bytes: ends.bytes(),
        earliest: cursor(ends.earliest - 1),
        head: cursor(ends.head),
        earliest_offset: ends.earliest,
        head_offset: ends.head,
        first_time: time(ends.earliest_at),
        last_time: time(ends.head_at),
        ..LogStats::default()
    }
}

fn files(dir: &Path) -> std::io::Result<Vec<FileSize>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push(FileSize { name, bytes: entry.metadata()?.len() });
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

fn count(connection: &Connection, stats: &mut LogStats) -> Result<(), LoadError> {
    let number =
        |sql: &str| connection.query_one(sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned);
    stats.free_bytes = number("PRAGMA freelist_count")? * number("PRAGMA page_size")?;
    stats.removed_keys = number("SELECT COUNT(*) FROM forgotten")?;
    stats.state = kinds(connection)?;
    let mut types: BTreeMap<String, u64> = BTreeMap::new();
    let mut statement = connection.prepare("SELECT offset, record FROM events ORDER BY offset")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let offset = row.get::<_, i64>(0)?.cast_unsigned();
        let event_type = pages::record(row, 1, offset)
            .and_then(|record| record.event_type().map_err(|reason| LoadError::event(offset, &reason)));
        match event_type {
            Ok(event_type) => match types.get_mut(event_type.as_str()) {
                Some(events) => *events += 1,
                None => drop(types.insert(event_type.as_str().to_owned(), 1)),
            },
            Err(LoadError::Damaged { .. }) => stats.damaged += 1,
            Err(error @ LoadError::Sqlite(_)) => return Err(error),
        }
    }
    let mut types: Vec<_> =
        types.into_iter().map(|(event_type, events)| TypeCount { event_type, events }).collect();
    // Stable: equal counts stay in the order of their names.
    types.sort_by_key(|one| std::cmp::Reverse(one.events));
    stats.more_types = types.len().saturating_sub(TYPES_MAX) as u64;
    types.truncate(TYPES_MAX);
    stats.types = types;
    Ok(())
}

fn kinds(connection: &Connection) -> Result<Vec<KindCount>, LoadError> {
    if !schema::has_state(connection)? {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare("SELECT kind, COUNT(*) FROM state GROUP BY kind ORDER BY kind")?;
    let kinds = statement.query_map([], |row| {
        Ok(KindCount { kind: row.get(0)?, keys: row.get::<_, i64>(1)?.cast_unsigned() })
    })?;
    Ok(kinds.collect::<Result<_, _>>()?)
}
