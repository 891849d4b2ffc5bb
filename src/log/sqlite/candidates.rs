//! The rows that an index says may match a filter: cheap when few of very many events are wanted.
//!
//! How: every list of ids or types that an index covers gives a list of offsets; the one that reaches furthest within the same
//! number of rows is the most selective, and the rest of the filter is checked on its rows.
//! Invariants: every matching event from the start of the span up to `reach` is among the offsets.

use super::{super::page::Span, sql_offset};
use crate::event::{EventFilter, EventType, Family, ScopeField, TypePattern};
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeSet;

/// Lists longer than this are left to the scan: each value costs a search of its own.
const VALUES_MAX: usize = 16;
/// How many types of the log are looked at to find those that a pattern means.
const TYPES_MAX: usize = 64;

/// Offsets in the direction of the page.
pub(super) struct Candidates {
    pub(super) offsets: Vec<u64>,
    /// How far they are complete.
    pub(super) reach: u64,
}

/// The shortest list of candidates that an index gives for a filter; `None` when no index helps.
pub(super) fn best(
    connection: &Connection,
    filter: &EventFilter,
    span: Span,
    rows_max: usize,
) -> rusqlite::Result<Option<Candidates>> {
    let mut best: Option<Candidates> = None;
    for (column, values) in terms(connection, filter)? {
        let found = candidates(connection, column, &values, span, rows_max)?;
        let rank = |candidates: &Candidates| {
            (span.distance(candidates.reach), std::cmp::Reverse(candidates.offsets.len()))
        };
        if best.as_ref().is_none_or(|best| rank(&found) > rank(best)) {
            best = Some(found);
        }
    }
    Ok(best)
}

/// The parts of a filter that an index covers: a column and the values that it may have.
fn terms(
    connection: &Connection,
    filter: &EventFilter,
) -> rusqlite::Result<Vec<(&'static str, Vec<String>)>> {
    let indexed = [ScopeField::Task, ScopeField::Room, ScopeField::User, ScopeField::Organization];
    let scopes = filter.scope_ids().filter(|(field, _)| indexed.contains(field));
    let correlations = filter.correlation_ids().map(|ids| ("correlation_id", ids));
    let ids = correlations.into_iter().chain(scopes.map(|(field, ids)| (field.snake(), ids)));
    let mut terms: Vec<_> = ids
        .filter(|(_, ids)| ids.iter().len() <= VALUES_MAX)
        .map(|(column, ids)| (column, ids.iter().map(str::to_owned).collect()))
        .collect();
    if let Some(types) = types(connection, filter)? {
        terms.push(("type", types));
    }
    Ok(terms)
}

fn candidates(
    connection: &Connection,
    column: &str,
    values: &[String],
    span: Span,
    rows_max: usize,
) -> rusqlite::Result<Candidates> {
    let direction = if span.is_rising { "ASC" } else { "DESC" };
    let sql = format!(
        "SELECT offset FROM events INDEXED BY events_by_{column} WHERE {column} = ?1 AND offset BETWEEN ?2 AND ?3 \
         ORDER BY offset {direction} LIMIT ?4"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let limit = (rows_max / values.len().max(1)).max(1);
    let (low, high, mut reach) = (sql_offset(span.low), sql_offset(span.high), span.end());
    let mut offsets = Vec::new();
    for value in values {
        let before = offsets.len();
        let rows = statement.query_map((value, low, high, sql_offset(limit as u64)), |row| row.get(0))?;
        for offset in rows {
            offsets.push(i64::cast_unsigned(offset?));
        }
        if offsets.len() - before == limit {
            let last = offsets.last().copied().unwrap_or(reach);
            reach = if span.is_rising { reach.min(last) } else { reach.max(last) };
        }
    }
    match span.is_rising {
        true => offsets.retain(|offset| *offset <= reach),
        false => offsets.retain(|offset| *offset >= reach),
    }
    offsets.sort_unstable();
    if !span.is_rising {
        offsets.reverse();
    }
    Ok(Candidates { offsets, reach })
}

/// Types with a common beginning, or one type.
struct Prefix {
    /// Whole segments.
    segments: String,
    /// Is the type of just these segments meant?
    itself: bool,
    /// Are the types meant that go on after these segments?
    longer: bool,
}

/// The types in the log that the filter's patterns, or else its families, allow; `None` when they are not few.
fn types(connection: &Connection, filter: &EventFilter) -> rusqlite::Result<Option<Vec<String>>> {
    let patterns = filter.types().and_then(|patterns| patterns.iter().map(of_pattern).collect());
    let families = || filter.families().and_then(|families| families.iter().map(of_family).collect());
    let prefixes: Option<Vec<Prefix>> = patterns.or_else(families);
    let Some(prefixes) = prefixes else { return Ok(None) };
    let mut types = BTreeSet::new();
    let mut looked_at = 0;
    for prefix in prefixes {
        if prefix.itself {
            types.insert(prefix.segments.clone());
        }
        let mut last = if prefix.longer { Some(format!("{}.", prefix.segments)) } else { None };
        while let Some(after) = last.take() {
            if let Some(next) = next_type(connection, &after, &prefix.segments)? {
                looked_at += 1;
                if is_wanted(filter, &next) {
                    types.insert(next.clone());
                }
                last = Some(next);
            }
            if types.len() > VALUES_MAX || looked_at > TYPES_MAX {
                return Ok(None);
            }
        }
        if types.len() > VALUES_MAX {
            return Ok(None);
        }
    }
    Ok(Some(types.into_iter().collect()))
}

/// The types of a pattern up to its first `*`; `None` when it begins with one.
fn of_pattern(pattern: &TypePattern) -> Option<Prefix> {
    let fixed: Vec<&str> = pattern.segments().take_while(|segment| *segment != "*").collect();
    let is_whole = fixed.len() == pattern.segments().count();
    (!fixed.is_empty()).then(|| Prefix { segments: fixed.join("."), itself: is_whole, longer: !is_whole })
}

fn of_family(family: &Family) -> Option<Prefix> {
    let segments = family.segment()?.to_owned();
    Some(Prefix { segments, itself: true, longer: true })
}

/// A check that never takes out a type that the filter allows.
fn is_wanted(filter: &EventFilter, event_type: &str) -> bool {
    EventType::parse(event_type, "type").is_ok_and(|event_type| {
        filter.types().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(&event_type)))
    })
}

/// The first type in the log beyond `after` that goes on from these segments.
fn next_type(connection: &Connection, after: &str, segments: &str) -> rusqlite::Result<Option<String>> {
    // '/' is the character after '.', so this is the end of everything that begins with the segments and a dot.
    let end = format!("{segments}/");
    let sql = "SELECT type FROM events INDEXED BY events_by_type WHERE type > ?1 AND type < ?2 ORDER BY type LIMIT 1";
    connection.prepare_cached(sql)?.query_one((after, end), |row| row.get(0)).optional()
}
