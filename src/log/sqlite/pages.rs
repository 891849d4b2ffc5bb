//! Reads of one snapshot: pages, one event by its id, the place of a time.
//!
//! Invariants: nothing beyond the head that the writer had published when the read began is shown, although the snapshot may
//! hold more; what SQL selects is checked again by the page.

use super::{
    super::{
        Bounds, Page, Read, ReadError,
        page::{PageBuilder, Span},
    },
    candidates::{self, Candidates},
    row, sql_offset,
};
use crate::event::{Epoch, Event, EventFilter, Ids, Offset};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Transaction, params_from_iter, types::Value};
use std::sync::Arc;

/// The log as it was at one moment.
pub(super) struct Snapshot<'a> {
    transaction: Transaction<'a>,
    epoch: Epoch,
    bounds: Bounds,
}

impl<'a> Snapshot<'a> {
    /// A snapshot; everything up to `head` must have been committed before.
    pub(super) fn new(connection: &'a Connection, epoch: Epoch, head: Offset) -> rusqlite::Result<Self> {
        let transaction = connection.unchecked_transaction()?;
        let earliest: Option<i64> =
            transaction.prepare_cached("SELECT MIN(offset) FROM events")?.query_one([], |row| row.get(0))?;
        let earliest = earliest.map_or(head.next(), |earliest| Offset::new(earliest.cast_unsigned()));
        let bounds = Bounds { earliest: earliest.min(head.next()), head };
        Ok(Snapshot { transaction, epoch, bounds })
    }

    /// One page that looks at no more than so many rows.
    pub(super) fn page(&self, read: &Read, rows_max: usize) -> Result<Page, ReadError> {
        let mut page = PageBuilder::new(read, self.bounds)?;
        if let Some(span) = page.span() {
            match candidates::best(&self.transaction, &read.filter, span, rows_max)? {
                Some(candidates) => self.pick(&mut page, &candidates)?,
                None => self.scan(&mut page, &read.filter, span.first(rows_max))?,
            }
        }
        Ok(page.finish())
    }

    /// Fills a page with candidates.
    fn pick(&self, page: &mut PageBuilder<'_>, candidates: &Candidates) -> rusqlite::Result<()> {
        for offset in &candidates.offsets {
            if !page.offer(Arc::new(self.event(*offset)?)) {
                return Ok(());
            }
        }
        page.skip_to(candidates.reach);
        Ok(())
    }

    /// Fills a page with the rows of a span, of which SQLite takes out most that do not match.
    fn scan(&self, page: &mut PageBuilder<'_>, filter: &EventFilter, span: Span) -> rusqlite::Result<()> {
        let (conditions, values) = conditions(filter);
        let direction = if span.is_rising { "ASC" } else { "DESC" };
        let select = row::SELECT;
        let sql = format!(
            "{select} NOT INDEXED WHERE offset BETWEEN ? AND ?{conditions} ORDER BY offset {direction}"
        );
        let span_values = [span.low, span.high].map(|offset| Value::Integer(sql_offset(offset)));
        let mut statement = self.transaction.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(span_values.into_iter().chain(values)))?;
        while let Some(row) = rows.next()? {
            if !page.offer(Arc::new(row::event(row, self.epoch)?)) {
                return Ok(());
            }
        }
        page.skip_to(span.end());
        Ok(())
    }

    fn event(&self, offset: u64) -> rusqlite::Result<Event> {
        let mut statement = self.transaction.prepare_cached(row::SELECT_BY_OFFSET)?;
        statement.query_one([sql_offset(offset)], |row| row::event(row, self.epoch))
    }

    /// The last event of an id.
    pub(super) fn newest(&self, id: &str) -> rusqlite::Result<Option<Event>> {
        let sql = "SELECT MAX(offset) FROM events INDEXED BY events_by_id WHERE id = ?1 AND offset <= ?2";
        let mut statement = self.transaction.prepare_cached(sql)?;
        let head = sql_offset(self.bounds.head.get());
        let newest: Option<i64> = statement.query_one((id, head), |row| row.get(0))?;
        newest.map(|offset| self.event(offset.cast_unsigned())).transpose()
    }

    /// The last event that was logged before a time, by halving: the times of logging never decrease.
    pub(super) fn last_before(&self, time: DateTime<Utc>) -> rusqlite::Result<Offset> {
        let mut statement =
            self.transaction.prepare_cached("SELECT logged_at FROM events WHERE offset = ?1")?;
        let (mut low, mut high) = (self.bounds.earliest.get(), self.bounds.head.get() + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let logged_at: i64 = statement.query_one([sql_offset(middle)], |row| row.get(0))?;
            match DateTime::from_timestamp_millis(logged_at).is_some_and(|logged_at| logged_at < time) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(Offset::new(low - 1))
    }
}

/// The fields of a filter that SQLite can check without help, as conditions with their values.
fn conditions(filter: &EventFilter) -> (String, Vec<Value>) {
    let (mut sql, mut values) = (String::new(), Vec::new());
    let scopes = filter.scope_ids().map(|(field, ids)| (field.snake(), ids));
    let sources = filter.sources().map(|ids| ("source", ids));
    let correlations = filter.correlation_ids().map(|ids| ("correlation_id", ids));
    for (column, ids) in scopes.chain(sources).chain(correlations) {
        sql.push_str(" AND ");
        sql.push_str(column);
        sql.push_str(" IN (SELECT value FROM json_each(?))");
        values.push(Value::Text(list(ids)));
    }
    if let Some(priority) = filter.min_priority() {
        sql.push_str(" AND priority >= ?");
        values.push(Value::Integer(priority as i64));
    }
    (sql, values)
}

/// Ids as a JSON array, so that a list of any length is one value of one statement.
fn list(ids: &Ids) -> String {
    serde_json::Value::from_iter(ids.iter()).to_string()
}
