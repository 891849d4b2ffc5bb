//! The log of tests and throw-away runs: everything in memory, gone with the process.
//!
//! Invariants: never more than `events_max` events are kept: older ones are removed with the commit that pushes them out; what
//! else [`Retention`] says is removed between commits.

mod state;

use super::{
    AppendError, Appended, Bounds, Changed, Decide, FIND_EVENTS_MAX, Health, Log, OnCommit, Page, Read,
    ReadError, Retention, StateKey, StatePage, StateRead, WriterOptions,
    page::PageBuilder,
    retention::Amount,
    store::{
        BodyDigest, First, Held, Holding, Place, Store, StoreError, Transaction, Upkeep, body_digest,
        data_bytes, is_same_body,
    },
    writer::Writer,
};
use crate::event::{Epoch, Event, EventFilter, NewEvent, Offset, Rank};
use chrono::{DateTime, Utc};
use futures_util::future::{BoxFuture, ready};
use state::Keys;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

/// How a [`MemoryLog`] is made.
#[derive(Debug)]
pub struct MemoryOptions {
    /// The most events that are kept, 1 at least; `None` keeps all.
    pub events_max: Option<usize>,
    /// What else is removed, and how long keys outlive their events.
    pub retention: Retention,
    /// The most keys of removed events; beyond it the oldest are forgotten before their window is over.
    pub keys_max: usize,
    /// The most keys under which an event is kept; beyond it changes that need more fail with [`AppendError::Full`].
    pub state_keys_max: usize,
    /// The most events, or keys, that one page looks at.
    pub scan_events_max: usize,
    /// The write path.
    pub writer: WriterOptions,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        MemoryOptions {
            events_max: Some(1_000_000),
            retention: Retention::default(),
            keys_max: 1_000_000,
            state_keys_max: 1_000_000,
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
        let store = MemoryStore::new(&options);
        let kept = Arc::clone(&store.kept);
        let writer = Writer::start(store, options.writer, on_commit);
        MemoryLog { kept, writer, scan_events_max: options.scan_events_max.max(1) }
    }

    /// What is kept, and the ends of it that the writer has published: nobody sees an event before its acknowledgement.
    fn look(&self) -> (RwLockReadGuard<'_, Kept>, Bounds) {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let head = self.writer.bounds().head;
        let earliest = Offset::new(kept.first);
        (kept, Bounds { earliest, head })
    }

    fn page(&self, read: &Read) -> Result<Page, ReadError> {
        let (kept, bounds) = self.look();
        let mut page = PageBuilder::new(read, bounds)?;
        if let Some(span) = page.rest().map(|span| span.first(self.scan_events_max)) {
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

    fn state_page(&self, read: &StateRead) -> StatePage {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let head = kept.bounds().head;
        self.writer.published().advance(head);
        kept.keys.page(read, self.scan_events_max, head)
    }

    fn newest(&self, id: &str, filter: &EventFilter) -> Option<Arc<Event>> {
        let (kept, bounds) = self.look();
        let offsets = kept.by_id.get(id)?.iter().rev();
        let events = offsets
            .filter(|offset| **offset <= bounds.head.get())
            .map_while(|offset| kept.entry(*offset))
            .take(FIND_EVENTS_MAX);
        events.map(|entry| &entry.event).find(|event| filter.matches(event)).map(Arc::clone)
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

    fn change(&self, decide: Decide, bytes: usize) -> BoxFuture<'_, Result<Changed, AppendError>> {
        Box::pin(self.writer.change(decide, bytes))
    }

    fn state(&self, read: StateRead) -> BoxFuture<'_, Result<StatePage, ReadError>> {
        Box::pin(async move { Ok(self.state_page(&read)) })
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Page, ReadError>> {
        Box::pin(async move { self.page(&read) })
    }

    fn find(
        &self,
        id: String,
        filter: Arc<EventFilter>,
    ) -> BoxFuture<'_, Result<Option<Arc<Event>>, ReadError>> {
        Box::pin(async move { Ok(self.newest(&id, &filter)) })
    }

    fn before_time(&self, time: DateTime<Utc>) -> BoxFuture<'_, Result<Offset, ReadError>> {
        Box::pin(ready(Ok(self.last_before(time))))
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

    fn stopped(&self) -> BoxFuture<'static, ()> {
        self.writer.stopped()
    }

    fn waiting(&self) -> usize {
        self.writer.waiting()
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

    fn bytes(&self) -> u64 {
        (EVENT_BYTES + self.event.id().len() + self.event.source().len() + data_bytes(&self.event)) as u64
    }
}

/// What an event takes beside its texts, roughly.
const EVENT_BYTES: usize = 512;
/// The most events or keys that one piece of upkeep removes.
const SLICE_MAX: usize = 4_096;

/// What stays of a removed event while its key is kept.
#[derive(Debug)]
struct Stub {
    offset: u64,
    logged_at: i64,
    id: Arc<str>,
    source: Box<str>,
    namespace: Box<str>,
    digest: BodyDigest,
}

impl Stub {
    fn has_key_of(&self, event: &NewEvent) -> bool {
        *self.id == *event.id() && *self.source == *event.source() && *self.namespace == *event.namespace()
    }
}

/// All events, their offsets by id in rising order, and what is kept of them under keys.
#[derive(Debug, Default)]
struct Kept {
    /// The offset of the first entry, or of the next event when there is none.
    first: u64,
    bytes: u64,
    entries: VecDeque<Entry>,
    /// The removed events whose keys are kept, by offset.
    stubs: VecDeque<Stub>,
    /// Those of stubs and entries.
    by_id: HashMap<Arc<str>, Vec<u64>>,
    keys: Keys,
}

impl Kept {
    fn entry(&self, offset: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(offset.checked_sub(self.first)?).ok()?)
    }

    fn stub(&self, offset: u64) -> Option<&Stub> {
        let index = self.stubs.binary_search_by_key(&offset, |stub| stub.offset).ok()?;
        self.stubs.get(index)
    }

    fn bounds(&self) -> Bounds {
        let earliest = Offset::new(self.first);
        Bounds { earliest, head: Offset::new(self.first - 1 + self.entries.len() as u64) }
    }

    fn amount(&self) -> Amount {
        let earliest_at = self.entries.front().map_or(0, |entry| entry.logged_at);
        Amount { events: self.entries.len() as u64, bytes: self.bytes, earliest_at }
    }

    fn same_key(&self, event: &NewEvent) -> Option<First> {
        self.by_id.get(event.id())?.iter().find_map(|own| {
            let offset = Offset::new(*own);
            if let Some(old) = self.entry(*own) {
                let is_same = is_same_body(&old.event, event);
                let is_its =
                    old.event.source() == event.source() && old.event.namespace() == event.namespace();
                return is_its.then_some(First { offset, is_same });
            }
            let stub = self.stub(*own).filter(|stub| stub.has_key_of(event))?;
            Some(First { offset, is_same: stub.digest == body_digest(event) })
        })
    }

    fn push(&mut self, event: Event, logged_at: i64) {
        let offset = event.offset().get();
        match self.by_id.get_mut(event.id()) {
            Some(offsets) => offsets.push(offset),
            None => {
                self.by_id.insert(event.id().into(), vec![offset]);
            }
        }
        let entry = Entry { logged_at, event: Arc::new(event) };
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
    }

    /// Removes the first event and keeps its key.
    fn pop_front(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.first += 1;
        self.bytes -= entry.bytes();
        self.stubs.push_back(Stub {
            offset: entry.event.offset().get(),
            logged_at: entry.logged_at,
            id: entry.event.id().into(),
            source: entry.event.source().into(),
            namespace: entry.event.namespace().into(),
            digest: body_digest(&entry.event),
        });
    }

    fn pop_stub(&mut self) {
        if let Some(stub) = self.stubs.pop_front() {
            self.forget(&stub.id, stub.offset);
        }
    }

    fn pop_back(&mut self) {
        if let Some(entry) = self.entries.pop_back() {
            self.bytes -= entry.bytes();
            self.forget(entry.event.id(), entry.event.offset().get());
        }
    }

    fn forget(&mut self, id: &str, offset: u64) {
        if let Some(offsets) = self.by_id.get_mut(id) {
            offsets.retain(|own| *own != offset);
            if offsets.is_empty() {
                self.by_id.remove(id);
            }
        }
    }
}

/// The write side of a [`MemoryLog`].
pub(super) struct MemoryStore {
    epoch: Epoch,
    kept: Arc<RwLock<Kept>>,
    events_max: Option<usize>,
    retention: Retention,
    keys_max: usize,
    state_keys_max: usize,
}

impl MemoryStore {
    pub(super) fn new(options: &MemoryOptions) -> Self {
        let kept = Kept { first: 1, ..Kept::default() };
        MemoryStore {
            epoch: Epoch::random(),
            kept: Arc::new(RwLock::new(kept)),
            events_max: options.events_max,
            retention: options.retention,
            keys_max: options.keys_max,
            state_keys_max: options.state_keys_max,
        }
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
        let events_max = self.events_max.map_or(usize::MAX, |events_max| events_max.max(1));
        let state_keys_max = self.state_keys_max;
        Ok(MemoryTransaction { kept, epoch: self.epoch, committed, events_max, state_keys_max })
    }

    fn upkeep(&mut self, now_ms: i64, _is_idle: bool) -> Result<Upkeep, StoreError> {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let before = kept.first;
        let mut left = SLICE_MAX;
        while left > 0 && self.retention.is_exceeded(kept.amount(), now_ms) {
            kept.pop_front();
            left -= 1;
        }
        let is_over = |stub: &Stub| self.retention.is_key_over(stub.logged_at, now_ms);
        while left > 0 && (kept.stubs.len() > self.keys_max || kept.stubs.front().is_some_and(is_over)) {
            kept.pop_stub();
            left -= 1;
        }
        let again = match left {
            0 => Some(0),
            _ => {
                let keys = kept.stubs.front().map(|stub| self.retention.next_key_ms(stub.logged_at, now_ms));
                // A clock that is set forward is noticed within a minute.
                keys.into_iter()
                    .chain(self.retention.next_ms(kept.amount(), now_ms))
                    .min()
                    .map(|ms| ms.min(60_000))
            }
        };
        let moved = (kept.first != before).then(|| kept.bounds());
        Ok(Upkeep { moved, again: again.map(Duration::from_millis) })
    }

    fn close(self, _has_failed: bool) {}
}

/// Readers wait while a transaction is open; it is as short as its batch.
pub(super) struct MemoryTransaction<'a> {
    kept: RwLockWriteGuard<'a, Kept>,
    epoch: Epoch,
    /// The last event that stays when the transaction is dropped.
    committed: Offset,
    events_max: usize,
    state_keys_max: usize,
}

impl Transaction for MemoryTransaction<'_> {
    fn insert(&mut self, event: &NewEvent, place: Place) -> Result<Option<First>, StoreError> {
        if let Some(first) = self.kept.same_key(event) {
            return Ok(Some(first));
        }
        self.kept.push(Event::logged(event.clone(), self.epoch, place.offset), place.logged_at);
        Ok(None)
    }

    fn take_back(&mut self, from: Offset) -> Result<(), StoreError> {
        while self.kept.bounds().head >= from {
            self.kept.pop_back();
        }
        Ok(())
    }

    fn held(&mut self, key: &StateKey) -> Result<Option<Held>, StoreError> {
        Ok(self.kept.keys.get(key).cloned())
    }

    fn referrer(&mut self, key: &StateKey) -> Result<Option<StateKey>, StoreError> {
        Ok(self.kept.keys.referrer(key).cloned())
    }

    fn has_room_for(&self, keys: usize) -> bool {
        self.kept.keys.count().saturating_add(keys) <= self.state_keys_max
    }

    fn hold(
        &mut self,
        key: &StateKey,
        _before: Option<&Held>,
        after: Option<Holding<'_>>,
    ) -> Result<(), StoreError> {
        let after = after.map(|Holding { event, place, references }| {
            let event = match self.kept.entry(place.offset.get()) {
                Some(entry) => Arc::clone(&entry.event),
                None => Arc::new(Event::logged(event.clone(), self.epoch, place.offset)),
            };
            Held { event, references: references.into() }
        });
        self.kept.keys.write(key, after);
        Ok(())
    }

    fn commit(mut self) -> Result<Bounds, StoreError> {
        while self.kept.entries.len() > self.events_max {
            self.kept.pop_front();
        }
        let bounds = self.kept.bounds();
        self.committed = bounds.head;
        self.kept.keys.commit();
        Ok(bounds)
    }
}

impl Drop for MemoryTransaction<'_> {
    fn drop(&mut self) {
        while self.kept.bounds().head > self.committed {
            self.kept.pop_back();
        }
        self.kept.keys.roll_back();
    }
}
