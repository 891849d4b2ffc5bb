//! The embedded log: one SQLite database in one data directory.
//!
//! Flow: the writer's thread owns the connection that writes (`writer`, `insert`); reads run on read-only connections on the
//! runtime's blocking threads (`readers`, `pages`). `schema`, `record`
//! and `ends` tell what is stored in which form, `segment` is the index, `removal` is retention, `state` and `state_pages` are
//! what is kept under keys.
//! Invariants: WAL with `synchronous=FULL`, so a commit returns after the disk has it; a read sees one snapshot, cut at the
//! head that the writer has published; a row whose checksum is wrong is never given; one process at a time has the directory.
//! Not here: group commit (`writer`), the rules of a page (`page`).

mod check;
mod damage;
mod directory;
mod ends;
mod insert;
mod mark;
mod open;
mod pages;
mod readers;
mod record;
mod removal;
mod reserve;
mod schema;
mod secret;
mod segment;
mod state;
mod state_check;
mod state_pages;
mod stats;
mod terms;

pub use check::{CheckReport, check};
pub use directory::OpenError;
pub use secret::{Secret, secret_of};
pub use stats::{FileSize, KindCount, LogStats, TypeCount, epoch, stats};

use super::{
    AppendError, Appended, Bounds, Changed, Decide, Health, Log, OnCommit, Page, Read, ReadError, Retention,
    StatePage, StateRead, WriterOptions, writer::Writer,
};
use crate::event::{Epoch, Event, EventFilter, NewEvent, Offset, Rank};
use chrono::{DateTime, Utc};
use directory::Directory;
use futures_util::future::BoxFuture;
use insert::SqliteStore;
use pages::Snapshot;
use readers::Readers;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::watch;

/// Where a [`SqliteLog`] lives and what it may use.
#[derive(Debug)]
pub struct SqliteOptions {
    /// The data directory; created, for its owner only, when it is not there. Default `data`.
    pub dir: PathBuf,
    /// The most bytes of the database file, 128 KiB at least; beyond it appends fail with [`AppendError::Full`]. `None`
    /// leaves it to the disk.
    pub bytes_max: Option<u64>,
    /// What is kept at most. Removing makes room inside the file for new events; the file does not shrink.
    pub retention: Retention,
    /// Room that is kept on the disk while something can be removed, so that removing works when the disk is full: enough to
    /// empty a journal of the usual size (16 MiB) into the database, whatever part of it is new pages. 0 keeps none.
    pub reserve_bytes: usize,
    /// The index is written whenever so many events have come, up to 32,768; those since then are looked at one by one.
    pub segment_events_max: usize,
    /// How many reads run at once; more wait.
    pub read_connections: usize,
    /// The most rows that one page looks at; a page whose filter matches rarely ends there and says how far it came.
    pub scan_rows_max: usize,
    /// The page cache of the connection that writes, in KiB.
    pub write_cache_kib: u32,
    /// The page cache of each connection that reads, in KiB.
    pub read_cache_kib: u32,
    /// The write path.
    pub writer: WriterOptions,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        SqliteOptions {
            dir: PathBuf::from("data"),
            bytes_max: None,
            retention: Retention::default(),
            reserve_bytes: 24 * 1024 * 1024,
            segment_events_max: 8_192,
            read_connections: 4,
            scan_rows_max: 8_192,
            write_cache_kib: 64 * 1024,
            read_cache_kib: 8 * 1024,
            writer: WriterOptions::default(),
        }
    }
}

/// A log in a data directory.
#[derive(Debug)]
pub struct SqliteLog {
    dir: PathBuf,
    writer: Writer,
    readers: Readers,
    scan_rows_max: usize,
    damaged_reads: Arc<AtomicU64>,
    secret: Secret,
    /// Ends when the last connection has let go of the data directory.
    released: watch::Receiver<()>,
}

impl SqliteLog {
    /// Opens the log of a data directory, or makes one there.
    pub fn open(options: SqliteOptions, on_commit: OnCommit) -> Result<Self, OpenError> {
        let (directory, released) = Directory::open(&options.dir)?;
        let directory = Arc::new(directory);
        let secret = secret::open(&directory)?;
        let store = SqliteStore::open(&directory, &options)?;
        let readers = Readers::open(&directory, &options)?;
        let writer = Writer::start(store, options.writer, on_commit);
        let (scan_rows_max, damaged_reads) = (options.scan_rows_max.max(1), Arc::default());
        Ok(SqliteLog { dir: options.dir, writer, readers, scan_rows_max, damaged_reads, secret, released })
    }

    /// The secret of the data directory.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Runs a read on a snapshot that holds everything up to the published head of now.
    async fn read_with<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Snapshot<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let (published, damaged_reads) = (self.writer.published(), Arc::clone(&self.damaged_reads));
        let answer = self.readers.run(move |connection| {
            let answer = Snapshot::new(connection, || published.bounds()).map_err(ReadError::from);
            let answer = answer.and_then(|snapshot| read(&snapshot));
            if matches!(answer, Err(ReadError::Damaged { .. })) {
                damaged_reads.fetch_add(1, Ordering::Relaxed);
            }
            answer
        });
        answer.await
    }
}

impl Log for SqliteLog {
    fn append(&self, events: Vec<NewEvent>) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>> {
        Box::pin(self.writer.append(events))
    }

    fn change(&self, decide: Decide, bytes: usize) -> BoxFuture<'_, Result<Changed, AppendError>> {
        Box::pin(self.writer.change(decide, bytes))
    }

    fn state(&self, read: StateRead) -> BoxFuture<'_, Result<StatePage, ReadError>> {
        let (rows_max, published) = (self.scan_rows_max, self.writer.published());
        Box::pin(self.read_with(move |snapshot| {
            let page = snapshot.state_page(&read, rows_max)?;
            published.advance(page.head);
            Ok(page)
        }))
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Page, ReadError>> {
        let rows_max = self.scan_rows_max;
        Box::pin(self.read_with(move |snapshot| snapshot.page(&read, rows_max)))
    }

    fn find(
        &self,
        id: String,
        filter: Arc<EventFilter>,
    ) -> BoxFuture<'_, Result<Option<Arc<Event>>, ReadError>> {
        Box::pin(self.read_with(move |snapshot| Ok(snapshot.newest(&id, &filter)?.map(Arc::new))))
    }

    fn before_time(&self, time: DateTime<Utc>) -> BoxFuture<'_, Result<Offset, ReadError>> {
        Box::pin(self.read_with(move |snapshot| Ok(snapshot.last_before(time)?)))
    }

    fn bounds(&self) -> Bounds {
        self.writer.bounds()
    }

    fn newest(&self) -> Rank {
        self.writer.newest()
    }

    fn epoch(&self) -> Epoch {
        self.writer.epoch()
    }

    fn health(&self) -> Health {
        self.writer.health()
    }

    fn damaged_reads(&self) -> u64 {
        self.damaged_reads.load(Ordering::Relaxed)
    }

    fn stopped(&self) -> BoxFuture<'static, ()> {
        self.writer.stopped()
    }

    fn waiting(&self) -> usize {
        self.writer.waiting()
    }

    fn disk_free(&self) -> Option<u64> {
        directory::disk_free(&self.dir)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        // Readers first: the connection that is closed last empties the journal, and only the writer's may.
        self.readers.close();
        let written = self.writer.close();
        let mut released = self.released.clone();
        Box::pin(async move {
            written.await;
            while released.changed().await.is_ok() {}
        })
    }
}

/// An offset as SQLite stores it; one beyond its range is beyond every log.
fn sql_offset(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "sqlite_damage_tests.rs"]
mod damage_tests;

#[cfg(test)]
#[path = "sqlite_state_tests.rs"]
mod state_tests;
