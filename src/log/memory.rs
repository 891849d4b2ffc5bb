//! The log of tests and throw-away runs: everything in memory, gone with the process.
//!
//! Invariants: the newest `events_max` events are kept; older ones are removed with the commit that pushes them out.

use super::{
    AppendError, Appended, Bounds, Health, Log, OnCommit, Page, Read, ReadError, WriterOptions,
    page::PageBuilder,
    store::{Place, Store, StoreError, Transaction},
    writer::Writer,
};
use crate::event::{Epoch, Event, NewEvent, Offset};
use chrono::{DateTime, Utc};
use futures_util::future::{BoxFuture, ready};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// How a [`MemoryLog`] is made.
#[derive(Debug)]
pub struct MemoryOptions {
    /// The most events that are kept, 1 at least; `None` keeps all.
    pub events_max: Option<usize>,
    /// The most events that one page looks at.
    pub scan_events_max: usize,
    /// The write path.
    pub writer: WriterOptions,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        MemoryOptions {
            events_max: Some(1_000_000),
            scan_events_max: 65_536,
            writer: WriterOptions::default(),
        }
    }
}

/// A log in memory.
#[derive(Debug)]
pub struct MemoryLog {
    kept: Arc<RwLock<Kept>>,
    writer: Writer,
    scan_events_max: usize,
}

impl MemoryLog {
    /// A new, empty log.
    pub fn open(options: MemoryOptions, on_commit: OnCommit) -> Self {
        let store = MemoryStore::new(options.events_max);
        let kept = Arc::clone(&store.kept);
        let writer = Writer::start(store, options.writer, on_commit);
        MemoryLog { kept, writer, scan_events_max: options.scan_events_max.max(1) }
    }

    /// What is kept, and the ends of it that the writer has published: nobody sees an event before its acknowledgement.
    fn look(&self) -> (RwLockReadGuard<'_, Kept>, Bounds) {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let head = self.writer.bounds().head;
        let earliest = Offset::new(kept.first.min(head.get() + 1));
        (kept, Bounds { earliest, head })
    }

    fn page(&self, read: &Read) -> Result<Page, ReadError> {
        let (kept, bounds) = self.look();
        let mut page = PageBuilder::new(read, bounds)?;
        if let Some(span) = page.span().map(|span| span.first(self.scan_events_max)) {
            let mut offsets = span.low..=span.high;
            let next = || if span.is_rising { offsets.next() } else { offsets.next_back() };
            for offset in std::iter::from_fn(next) {
                let Some(entry) = kept.entry(offset) else { break };
                if !page.offer(Arc::clone(&entry.event)) {
                    break;
                }
            }
        }
        Ok(page.finish())
    }

    fn newest(&self, id: &str) -> Option<Arc<Event>> {
        let (kept, bounds) = self.look();
        let offsets = kept.by_id.get(id)?;
        let newest = offsets.iter().rev().find(|offset| **offset <= bounds.head.get())?;
        kept.entry(*newest).map(|entry| Arc::clone(&entry.event))
    }

    fn last_before(&self, time: DateTime<Utc>) -> Offset {
        let (kept, bounds) = self.look();
        let before = kept.entries.partition_point(|entry| entry.is_before(time));
        Offset::new(kept.first - 1 + before as u64).min(bounds.head)
    }
}

impl Log for MemoryLog {
    fn append(&self, events: Vec<NewEvent>) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>> {
        Box::pin(self.writer.append(events))
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Page, ReadError>> {
        Box::pin(async move { self.page(&read) })
    }

    fn find(&self, id: String) -> BoxFuture<'_, Result<Option<Arc<Event>>, ReadError>> {
        Box::pin(async move { Ok(self.newest(&id)) })
    }

    fn before_time(&self, time: DateTime<Utc>) -> BoxFuture<'_, Result<Offset, ReadError>> {
        Box::pin(ready(Ok(self.last_before(time))))
    }

    fn bounds(&self) -> Bounds {
        self.writer.bounds()
    }

    fn epoch(&self) -> Epoch {
        self.writer.epoch()
    }

    fn health(&self) -> Health {
        self.writer.health()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.writer.close()
    }
}

#[derive(Debug)]
struct Entry {
    logged_at: i64,
    event: Arc<Event>,
}

impl Entry {
    fn is_before(&self, time: DateTime<Utc>) -> bool {
        DateTime::from_timestamp_millis(self.logged_at).is_some_and(|logged_at| logged_at < time)
    }
}

/// All events, and their offsets by id in rising order.
#[derive(Debug, Default)]
struct Kept {
    /// The offset of the first entry, or of the next event when there is none.
    first: u64,
    entries: VecDeque<Entry>,
    by_id: HashMap<Arc<str>, Vec<u64>>,
}

impl Kept {
    fn entry(&self, offset: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(offset.checked_sub(self.first)?).ok()?)
    }

    fn bounds(&self) -> Bounds {
        let earliest = Offset::new(self.first);
        Bounds { earliest, head: Offset::new(self.first - 1 + self.entries.len() as u64) }
    }

    fn same_key(&self, event: &NewEvent) -> Option<&Event> {
        let offsets = self.by_id.get(event.id())?.iter();
        offsets
            .filter_map(|offset| Some(&*self.entry(*offset)?.event))
            .find(|old| old.source() == event.source())
    }

    fn push(&mut self, event: Event, logged_at: i64) {
        let offset = event.offset().get();
        match self.by_id.get_mut(event.id()) {
            Some(offsets) => offsets.push(offset),
            None => {
                self.by_id.insert(event.id().into(), vec![offset]);
            }
        }
        self.entries.push_back(Entry { logged_at, event: Arc::new(event) });
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.forget(&entry.event);
            self.first += 1;
        }
    }

    fn pop_back(&mut self) {
        if let Some(entry) = self.entries.pop_back() {
            self.forget(&entry.event);
        }
    }

    fn forget(&mut self, event: &Event) {
        if let Some(offsets) = self.by_id.get_mut(event.id()) {
            offsets.retain(|offset| *offset != event.offset().get());
            if offsets.is_empty() {
                self.by_id.remove(event.id());
            }
        }
    }
}

/// The write side of a [`MemoryLog`].
pub(super) struct MemoryStore {
    epoch: Epoch,
    kept: Arc<RwLock<Kept>>,
    events_max: Option<usize>,
}

impl MemoryStore {
    pub(super) fn new(events_max: Option<usize>) -> Self {
        let kept = Kept { first: 1, ..Kept::default() };
        MemoryStore { epoch: Epoch::random(), kept: Arc::new(RwLock::new(kept)), events_max }
    }
}

impl Store for MemoryStore {
    type Transaction<'a> = MemoryTransaction<'a>;

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn bounds(&self) -> Bounds {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).bounds()
    }

    fn last_logged_at(&self) -> i64 {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.entries.back().map_or(0, |entry| entry.logged_at)
    }

    fn begin(&mut self) -> Result<MemoryTransaction<'_>, StoreError> {
        let kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let committed = kept.bounds().head;
        Ok(MemoryTransaction { kept, committed, events_max: self.events_max })
    }

    fn close(self, _has_failed: bool) {}
}

/// Readers wait while a transaction is open; it is as short as its batch.
pub(super) struct MemoryTransaction<'a> {
    kept: RwLockWriteGuard<'a, Kept>,
    /// The last event that stays when the transaction is dropped.
    committed: Offset,
    events_max: Option<usize>,
}

impl Transaction for MemoryTransaction<'_> {
    fn insert(&mut self, event: &NewEvent, place: Place) -> Result<Option<Event>, StoreError> {
        if let Some(first) = self.kept.same_key(event) {
            return Ok(Some(first.clone()));
        }
        self.kept.push(Event::logged(event.clone(), place.cursor), place.logged_at);
        Ok(None)
    }

    fn take_back(&mut self, from: Offset) -> Result<(), StoreError> {
        while self.kept.bounds().head >= from {
            self.kept.pop_back();
        }
        Ok(())
    }

    fn commit(mut self) -> Result<Bounds, StoreError> {
        let events_max = self.events_max.map_or(usize::MAX, |events_max| events_max.max(1));
        while self.kept.entries.len() > events_max {
            self.kept.pop_front();
        }
        let bounds = self.kept.bounds();
        self.committed = bounds.head;
        Ok(bounds)
    }
}

impl Drop for MemoryTransaction<'_> {
    fn drop(&mut self) {
        while self.kept.bounds().head > self.committed {
            self.kept.pop_back();
        }
    }
}
