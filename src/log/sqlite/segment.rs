//! The index: for each run of consecutive events, a segment, which events have which term.
//!
//! How: the writer gathers the terms of new events in memory and, with the commit that fills a segment, writes them sorted, in
//! buckets of about a page; so the index is appended to and never searched while publishing. Events after the last segment
//! are found by looking at each. A reader asks each segment on its way for the events that have a term.
//! Invariants: every bucket of a segment is there and has a checksum, so a damaged index is an error and never a missing event.
//! An event outside all segments is looked at, so a missing segment costs time only.

use super::{
    damage::LoadError,
    record::{self, Damage},
    sql_offset,
    terms::Wanted,
};
use rusqlite::{Connection, OptionalExtension};

/// A term of an event in one number that sorts by term and then by place: the term, and the place after the segment's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry(u64);

impl Entry {
    fn new(term: u32, place: u32) -> Self {
        Entry(u64::from(term) << 32 | u64::from(place))
    }

    #[allow(clippy::cast_possible_truncation, reason = "the upper half is what was put there")]
    fn term(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[allow(clippy::cast_possible_truncation, reason = "the lower half is what was put there")]
    fn place(self) -> u32 {
        self.0 as u32
    }
}

/// The most events of a segment: a place has 16 bits.
pub(super) const SEGMENT_EVENTS_MAX: usize = 1 << 15;
/// A segment is full with so many bytes of events as well, since they are read again at a start.
const SEGMENT_BYTES_MAX: u64 = 32 * 1024 * 1024;
const BUCKETS_MAX: usize = 256;
/// About one page of the database.
const BUCKET_ENTRIES: usize = 500;

/// The terms of the events that are in no segment yet.
#[derive(Debug)]
pub(super) struct Pending {
    first: u64,
    /// By place.
    entries: Vec<Entry>,
    events: u32,
    bytes: u64,
    events_max: u32,
    scratch: Vec<Entry>,
}

/// How much was pending at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingMark {
    entries: usize,
    events: u32,
    bytes: u64,
}

impl Pending {
    pub(super) fn new(events_max: usize) -> Self {
        let events_max = u32::try_from(events_max.clamp(1, SEGMENT_EVENTS_MAX)).unwrap_or(1);
        Pending { first: 1, entries: Vec::new(), events: 0, bytes: 0, events_max, scratch: Vec::new() }
    }

    /// Forgets everything and goes on with this event.
    pub(super) fn restart(&mut self, first: u64) {
        self.first = first;
        self.entries.clear();
        (self.events, self.bytes) = (0, 0);
    }

    /// Takes the next event; `terms` gives its terms.
    pub(super) fn push(&mut self, bytes: u64, terms: impl FnOnce(&mut dyn FnMut(u32))) {
        let place = self.events;
        terms(&mut |term| self.entries.push(Entry::new(term, place)));
        self.events += 1;
        self.bytes += bytes;
    }

    pub(super) fn mark(&self) -> PendingMark {
        PendingMark { entries: self.entries.len(), events: self.events, bytes: self.bytes }
    }

    /// Forgets what came after a mark.
    pub(super) fn back_to(&mut self, mark: PendingMark) {
        self.entries.truncate(mark.entries);
        (self.events, self.bytes) = (mark.events, mark.bytes);
    }

    /// Writes the segments that are full; [`Pending::sealed`] forgets them once that is committed. Gives how many events.
    pub(super) fn seal(&mut self, connection: &Connection) -> Result<u32, LoadError> {
        let mut sealed = 0;
        while self.events - sealed >= self.events_max {
            self.write(connection, sealed, self.events_max)?;
            sealed += self.events_max;
        }
        // Large events: what is left is one segment, however few they are.
        if sealed < self.events && self.bytes >= SEGMENT_BYTES_MAX {
            self.write(connection, sealed, self.events - sealed)?;
            sealed = self.events;
        }
        Ok(sealed)
    }

    /// Forgets the first so many events, whose segments are committed.
    pub(super) fn sealed(&mut self, events: u32) {
        if events == 0 {
            return;
        }
        let end = self.entries.partition_point(|entry| entry.place() < events);
        self.entries.drain(..end);
        for entry in &mut self.entries {
            *entry = Entry::new(entry.term(), entry.place() - events);
        }
        self.first += u64::from(events);
        self.events -= events;
        self.bytes = 0;
    }

    /// Writes the segment of so many events from this place on.
    fn write(&mut self, connection: &Connection, from: u32, events: u32) -> Result<(), LoadError> {
        let start = self.entries.partition_point(|entry| entry.place() < from);
        let end = self.entries.partition_point(|entry| entry.place() < from + events);
        self.scratch.clear();
        let own = self.entries.get(start..end).unwrap_or_default().iter();
        self.scratch.extend(own.map(|entry| Entry::new(entry.term(), entry.place() - from)));
        self.scratch.sort_unstable();
        self.scratch.dedup();
        let first = self.first + u64::from(from);
        let last = first + u64::from(events) - 1;
        let bits = (self.scratch.len() / BUCKET_ENTRIES).clamp(1, BUCKETS_MAX).next_power_of_two().ilog2();
        let segment = Segment { first, last, bits };
        let mut insert = connection.prepare_cached("INSERT INTO segments (last, segment) VALUES (?1, ?2)")?;
        insert.execute((sql_offset(last), segment.to_bytes()))?;
        let sql = "INSERT INTO postings (last, bucket, groups) VALUES (?1, ?2, ?3)";
        let mut insert = connection.prepare_cached(sql)?;
        let mut rest = self.scratch.as_slice();
        let mut out = Vec::new();
        for bucket in 0..1_u32 << bits {
            let (own, others) =
                rest.split_at(rest.partition_point(|entry| segment.bucket(entry.term()) <= bucket));
            rest = others;
            out.clear();
            write_groups(&mut out, own, segment.events());
            record::seal(&mut out, segment.seal_place(bucket));
            insert.execute((sql_offset(last), bucket, out.as_slice()))?;
        }
        Ok(())
    }
}

/// Writes each term with its places: as bits when it has many of the segment's events, as a list otherwise.
fn write_groups(out: &mut Vec<u8>, entries: &[Entry], events: u32) {
    for group in entries.chunk_by(|one, other| one.term() == other.term()) {
        let (Some(first), Ok(count)) = (group.first(), u16::try_from(group.len())) else { continue };
        out.extend_from_slice(&first.term().to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        if is_dense(count, events) {
            let mut bits = Places::none(events);
            group.iter().for_each(|entry| bits.set(entry.place()));
            out.extend(bits.0.iter().flat_map(|word| word.to_le_bytes()));
        } else {
            let place = |entry: &Entry| u16::try_from(entry.place()).unwrap_or(u16::MAX).to_le_bytes();
            out.extend(group.iter().flat_map(place));
        }
    }
}

fn is_dense(count: u16, events: u32) -> bool {
    u32::from(count) >= (events / 16).max(4)
}

/// Places inside a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places(Vec<u64>);

impl Places {
    fn none(events: u32) -> Self {
        Places(vec![0; (events as usize).div_ceil(64)])
    }

    fn set(&mut self, place: u32) {
        if let Some(word) = self.0.get_mut(place as usize / 64) {
            *word |= 1 << (place % 64);
        }
    }

    fn and(&mut self, other: &Places) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own &= other);
    }

    fn or(&mut self, other: &Places) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own |= other);
    }

    /// Is the place one of these?
    pub(super) fn has(&self, place: u64) -> bool {
        let word = usize::try_from(place / 64).ok().and_then(|index| self.0.get(index));
        word.is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// One run of consecutive events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The first offset.
    pub(super) first: u64,
    /// The last offset.
    pub(super) last: u64,
    /// The index of a bucket has so many bits.
    bits: u32,
}

impl Segment {
    fn to_bytes(self) -> Vec<u8> {
        let mut out = self.first.to_le_bytes().to_vec();
        out.extend_from_slice(&self.bits.to_le_bytes());
        record::seal(&mut out, self.last);
        out
    }

    pub(super) fn from_bytes(last: u64, bytes: &[u8]) -> Result<Self, Damage> {
        let mut fields = record::unseal(bytes, last)?;
        let (first, bits) = (fields.u64()?, u32::from_le_bytes(fields.take()?));
        let is_sound = (1..=last).contains(&first) && last - first < SEGMENT_EVENTS_MAX as u64 && bits <= 8;
        is_sound.then_some(Segment { first, last, bits }).ok_or_else(|| "its numbers cannot be".to_owned())
    }

    #[allow(clippy::cast_possible_truncation, reason = "a segment has 2^15 events at most")]
    fn events(&self) -> u32 {
        (self.last - self.first + 1) as u32
    }

    /// How many buckets it has.
    pub(super) fn buckets(&self) -> u32 {
        1 << self.bits
    }

    fn bucket(&self, term: u32) -> u32 {
        // Without buckets there is nothing to shift out, and shifting by all 32 bits is not defined.
        term.checked_shr(32 - self.bits).unwrap_or(0)
    }

    fn seal_place(&self, bucket: u32) -> u64 {
        self.last.rotate_left(8) ^ u64::from(bucket)
    }

    fn damaged(&self, reason: &impl ToString) -> LoadError {
        LoadError::part(format!("the index of offsets {} to {}", self.first, self.last), reason)
    }

    /// The events that have all that is wanted, and maybe a few more.
    pub(super) fn places(&self, connection: &Connection, wanted: &[Wanted]) -> Result<Places, LoadError> {
        let mut all: Option<Places> = None;
        for one in wanted {
            let mut any = Places::none(self.events());
            match one {
                Wanted::OneOf(terms) => {
                    for term in terms {
                        self.add_places(connection, *term, &mut any)?;
                    }
                }
                Wanted::Alternative(alternatives) => {
                    for alternative in alternatives {
                        any.or(&self.places(connection, alternative)?);
                    }
                }
            }
            match &mut all {
                Some(all) => all.and(&any),
                None => all = Some(any),
            }
            if all.as_ref().is_some_and(|all| all.count() == 0) {
                break;
            }
        }
        Ok(all.unwrap_or_else(|| Places(vec![u64::MAX; (self.events() as usize).div_ceil(64)])))
    }

    fn add_places(&self, connection: &Connection, term: u32, to: &mut Places) -> Result<(), LoadError> {
        let bucket = self.bucket(term);
        let sql = "SELECT groups FROM postings WHERE last = ?1 AND bucket = ?2";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query((sql_offset(self.last), bucket))?;
        let row = rows.next()?.ok_or_else(|| self.damaged(&"a bucket is missing"))?;
        let bytes = row.get_ref(0)?.as_blob().map_err(|error| self.damaged(&error))?;
        self.find(bytes, bucket, term, to).map_err(|reason| self.damaged(&reason))
    }

    fn find(&self, bytes: &[u8], bucket: u32, term: u32, to: &mut Places) -> Result<(), Damage> {
        let mut groups = record::unseal(bytes, self.seal_place(bucket))?.rest();
        while let Some((head, rest)) = groups.split_first_chunk::<6>() {
            let [t0, t1, t2, t3, c0, c1] = *head;
            let (own, count) = (u32::from_le_bytes([t0, t1, t2, t3]), u16::from_le_bytes([c0, c1]));
            let is_dense = is_dense(count, self.events());
            let length =
                if is_dense { (self.events() as usize).div_ceil(64) * 8 } else { usize::from(count) * 2 };
            let (places, others) = rest.split_at_checked(length).ok_or("a list is cut")?;
            if own == term {
                match is_dense {
                    true => {
                        let words = places.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
                        to.or(&Places(words.collect()));
                    }
                    false => places
                        .as_chunks::<2>()
                        .0
                        .iter()
                        .for_each(|place| to.set(u32::from(u16::from_le_bytes(*place)))),
                }
                return Ok(());
            }
            groups = others;
        }
        Ok(())
    }

    /// Checks every bucket.
    pub(super) fn check(&self, connection: &Connection) -> Result<(), LoadError> {
        let mut nothing = Places::none(self.events());
        (0..self.buckets()).try_for_each(|bucket| {
            let term = bucket.checked_shl(32 - self.bits).unwrap_or(0);
            self.add_places(connection, term, &mut nothing)
        })
    }
}

/// The segment that ends at or after an offset.
pub(super) fn at_or_after(connection: &Connection, offset: u64) -> Result<Option<Segment>, LoadError> {
    one(connection, "SELECT last, segment FROM segments WHERE last >= ?1 ORDER BY last LIMIT 1", offset)
}

/// The last segment that ends before an offset.
pub(super) fn before(connection: &Connection, offset: u64) -> Result<Option<Segment>, LoadError> {
    one(connection, "SELECT last, segment FROM segments WHERE last < ?1 ORDER BY last DESC LIMIT 1", offset)
}

fn one(connection: &Connection, sql: &str, offset: u64) -> Result<Option<Segment>, LoadError> {
    let read = |row: &rusqlite::Row<'_>| {
        let last = row.get::<_, i64>(0)?.cast_unsigned();
        Ok((last, Segment::from_bytes(last, row.get_ref(1)?.as_blob()?)))
    };
    let found = connection.prepare_cached(sql)?.query_one([sql_offset(offset)], read).optional()?;
    found
        .map(|(last, segment)| {
            segment
                .map_err(|reason| LoadError::part(format!("the index of the offsets up to {last}"), &reason))
        })
        .transpose()
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
