//! Reads of one snapshot: pages, one event by its id, the place of a time.
//!
//! Invariants: nothing beyond the head that the writer has published is shown, although the snapshot may hold more; every row that a page passes is there and has the right checksum, or the read fails; what an index names is
//! checked again by the page.

use super::{
    super::{
        Page, Read, ReadError,
        page::{PageBuilder, Span},
    },
    damage::{self, LoadError},
    ends,
    record::Record,
    segment::{self, Places, Segment},
    sql_offset,
    terms::{self, Wanted},
};
use crate::{
    event::{Epoch, Event, EventFilter, Offset},
    log::{Bounds, FIND_EVENTS_MAX},
};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Transaction};
use std::sync::Arc;

/// Asking a segment's index costs as much as looking at so many rows.
const SEGMENT_ROWS: usize = 32;

const BY_OFFSET: &str = "SELECT record FROM events WHERE offset = ?1";

/// The log as it was at one moment.
pub(super) struct Snapshot<'a> {
    transaction: Transaction<'a>,
    epoch: Epoch,
    bounds: Bounds,
    /// The head that the snapshot has, published or not.
    committed: Offset,
}

impl<'a> Snapshot<'a> {
    /// A snapshot of now; `published` gives the ends that the writer has published.
    pub(super) fn new(
        connection: &'a Connection,
        published: impl FnOnce() -> Bounds,
    ) -> Result<Self, LoadError> {
        let transaction = connection.unchecked_transaction()?;
        let ends = ends::read(&transaction)?;
        // Asked after the snapshot: retention never passes what is published, so the head is not before the earliest event.
        let head = published().head.min(ends.bounds().head);
        let bounds = Bounds { earliest: ends.bounds().earliest, head };
        Ok(Snapshot { transaction, epoch: ends.epoch, bounds, committed: ends.bounds().head })
    }

    pub(super) fn transaction(&self) -> &Transaction<'a> {
        &self.transaction
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The head of the log as the snapshot has it: what is kept is as of then.
    pub(super) fn committed(&self) -> Offset {
        self.committed
    }

    /// One page that looks at about so many rows.
    pub(super) fn page(&self, read: &Read, rows_max: usize) -> Result<Page, ReadError> {
        let mut page = PageBuilder::new(read, self.bounds)?;
        let wanted = terms::of_filter(&read.filter);
        let mut left = Some(rows_max);
        let mut is_full = false;
        while let (Some(rows), Some(span), false) = (left, page.rest(), is_full) {
            let part = if wanted.is_empty() { None } else { self.part(span)? };
            let used = match part {
                Some(Part::Indexed(segment, part)) => {
                    let used = self.pick(&mut page, &read.filter, (&segment, &wanted), part, rows)?;
                    used.map(|used| used.saturating_add(SEGMENT_ROWS))
                }
                Some(Part::Loose(part)) => self.scan(&mut page, &read.filter, None, part.first(rows))?,
                None => self.scan(&mut page, &read.filter, None, span.first(rows))?,
            };
            is_full = used.is_none();
            left = rows.checked_sub(used.unwrap_or_default()).filter(|left| *left > 0);
        }
        Ok(page.finish())
    }

    /// The part of a span that comes first in its direction and lies in one segment, or outside of all.
    fn part(&self, span: Span) -> Result<Option<Part>, LoadError> {
        let start = if span.is_rising { span.low } else { span.high };
        let next = segment::at_or_after(&self.transaction, start)?;
        if let Some(segment) = next.filter(|segment| segment.first <= start) {
            return Ok(Some(Part::Indexed(segment, span.within(segment.first, segment.last))));
        }
        let until = match (span.is_rising, next) {
            (true, Some(next)) => (span.low, next.first - 1),
            (true, None) => (span.low, span.high),
            (false, _) => {
                let before = segment::before(&self.transaction, start)?;
                (before.map_or(span.low, |segment| segment.last + 1), span.high)
            }
        };
        Ok(Some(Part::Loose(span.within(until.0, until.1))))
    }

    /// Fills a page with what the index of a segment names. Gives how many rows it looked at, `None` when the page is full.
    fn pick(
        &self,
        page: &mut PageBuilder<'_>,
        filter: &EventFilter,
        (segment, wanted): (&Segment, &[Wanted]),
        span: Span,
        rows_max: usize,
    ) -> Result<Option<usize>, LoadError> {
        let places = segment.places(&self.transaction, wanted)?;
        if places.count() > usize::try_from(segment.last - segment.first).unwrap_or(usize::MAX) / 8 {
            return self.scan(page, filter, Some((segment, &places)), span.first(rows_max));
        }
        let mut offsets = span.low..=span.high;
        let next = || if span.is_rising { offsets.next() } else { offsets.next_back() };
        let mut looked_at = 0;
        for offset in std::iter::from_fn(next).filter(|offset| places.has(offset - segment.first)) {
            if looked_at == rows_max {
                return Ok(Some(looked_at));
            }
            looked_at += 1;
            let is_open = self.with_record(offset, |record| self.offer(page, filter, offset, record))?;
            if !is_open {
                return Ok(None);
            }
        }
        page.skip_to(span.end());
        Ok(Some(looked_at))
    }

    /// Fills a page with the rows of a span, those alone that an index names, if there is one; every row must be there.
    /// Gives how many rows it looked at, `None` when the page is full.
    fn scan(
        &self,
        page: &mut PageBuilder<'_>,
        filter: &EventFilter,
        named: Option<(&Segment, &Places)>,
        span: Span,
    ) -> Result<Option<usize>, LoadError> {
        let sql = match span.is_rising {
            true => "SELECT offset, record FROM events WHERE offset BETWEEN ?1 AND ?2 ORDER BY offset",
            false => "SELECT offset, record FROM events WHERE offset BETWEEN ?1 AND ?2 ORDER BY offset DESC",
        };
        let mut statement = self.transaction.prepare_cached(sql)?;
        let mut rows = statement.query((sql_offset(span.low), sql_offset(span.high)))?;
        let mut offsets = span.low..=span.high;
        let mut next = || if span.is_rising { offsets.next() } else { offsets.next_back() };
        let mut looked_at = 0;
        while let Some(expected) = next() {
            let row = rows.next().map_err(damage::at(expected))?;
            let row = row.ok_or_else(|| LoadError::event(expected, &"it is missing"))?;
            let found: i64 = row.get(0).map_err(damage::at(expected))?;
            if found.cast_unsigned() != expected {
                return Err(LoadError::event(expected, &format!("offset {found} stands in its place")));
            }
            looked_at += 1;
            if named.is_some_and(|(segment, places)| !places.has(expected - segment.first)) {
                page.skip_to(expected);
                continue;
            }
            if !self.offer(page, filter, expected, &record(row, 1, expected)?)? {
                return Ok(None);
            }
        }
        Ok(Some(looked_at))
    }

    /// Shows a row to a page; false when the page is full.
    fn offer(
        &self,
        page: &mut PageBuilder<'_>,
        filter: &EventFilter,
        offset: u64,
        record: &Record<'_>,
    ) -> Result<bool, LoadError> {
        let damaged = |reason| LoadError::event(offset, &reason);
        if !record.may_match(filter).map_err(damaged)? {
            page.skip_to(offset);
            return Ok(true);
        }
        Ok(page.offer(Arc::new(record.event(self.epoch, offset).map_err(damaged)?)))
    }

    fn with_record<T>(
        &self,
        offset: u64,
        look: impl FnOnce(&Record<'_>) -> Result<T, LoadError>,
    ) -> Result<T, LoadError> {
        with_record(&self.transaction, offset, look)
    }

    /// The last matching event of an id.
    pub(super) fn newest(&self, id: &str, filter: &EventFilter) -> Result<Option<Event>, LoadError> {
        let sql = "SELECT offset FROM keys WHERE id = ?1 AND offset BETWEEN ?2 AND ?3 ORDER BY offset DESC LIMIT ?4";
        let mut statement = self.transaction.prepare_cached(sql)?;
        let (earliest, head) = (self.bounds.earliest.get(), self.bounds.head.get());
        let mut rows =
            statement.query((id, sql_offset(earliest), sql_offset(head), FIND_EVENTS_MAX as i64))?;
        while let Some(row) = rows.next()? {
            let offset = row.get::<_, i64>(0)?.cast_unsigned();
            let found = self.with_record(offset, |record| {
                record.event(self.epoch, offset).map_err(|reason| LoadError::event(offset, &reason))
            })?;
            if found.id() != id {
                let reason = format!("its id is not {id:?}, as the table of keys says");
                return Err(LoadError::event(offset, &reason));
            }
            if filter.matches(&found) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The last event that was logged before a time, by halving: the times of logging never decrease.
    pub(super) fn last_before(&self, time: DateTime<Utc>) -> Result<Offset, LoadError> {
        let (mut low, mut high) = (self.bounds.earliest.get(), self.bounds.head.get() + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let logged_at = self.with_record(middle, |record| Ok(record.logged_at))?;
            match DateTime::from_timestamp_millis(logged_at).is_some_and(|logged_at| logged_at < time) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(Offset::new(low.saturating_sub(1)))
    }
}

/// The first part of a span.
enum Part {
    /// In a segment.
    Indexed(Segment, Span),
    /// Outside of all segments.
    Loose(Span),
}

/// The record in a column of a row.
pub(super) fn record<'a>(
    row: &'a rusqlite::Row<'_>,
    column: usize,
    offset: u64,
) -> Result<Record<'a>, LoadError> {
    let bytes = row.get_ref(column).map_err(damage::at(offset))?;
    let bytes = bytes.as_blob().map_err(|error| LoadError::event(offset, &error))?;
    Record::read(bytes, offset).map_err(|reason| LoadError::event(offset, &reason))
}

/// Looks at the record of an offset, which must be there.
pub(super) fn with_record<T>(
    connection: &Connection,
    offset: u64,
    look: impl FnOnce(&Record<'_>) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    let mut statement = connection.prepare_cached(BY_OFFSET)?;
    let mut rows = statement.query([sql_offset(offset)]).map_err(damage::at(offset))?;
    let row = rows.next().map_err(damage::at(offset))?;
    let row = row.ok_or_else(|| LoadError::event(offset, &"it is missing"))?;
    look(&record(row, 0, offset)?)
}
