//! The terms by which the index knows an event, and those that a filter asks for.
//!
//! A term is a CRC-32C over what kind it is and its text; it is part of the format. Two texts may share one: whoever uses
//! the index looks at the events it names.

use crate::event::{EventFilter, Family, Ids, NewEvent, Rule, Rules, ScopeField, TypePattern};

const TYPE: u8 = 1;
const TYPE_BEGIN: u8 = 2;
const SOURCE: u8 = 3;
const CORRELATION: u8 = 4;
const SCOPE: u8 = 16;

/// Longer lists of ids are left to the look at each event: every term costs a search of its own in each segment.
const TERMS_MAX: usize = 64;

fn term(kind: u8, text: &str) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[kind]), text.as_bytes())
}

fn scope_term(field: ScopeField, id: &str) -> u32 {
    term(SCOPE + field as u8, id)
}

/// Gives the terms of an event.
pub(super) fn of_event<'a>(
    event_type: &str,
    source: &str,
    correlation_id: Option<&str>,
    scope: impl Iterator<Item = (ScopeField, &'a str)>,
    mut put: impl FnMut(u32),
) {
    put(term(TYPE, event_type));
    for (end, _) in event_type.match_indices('.') {
        put(term(TYPE_BEGIN, event_type.get(..end).unwrap_or_default()));
    }
    put(term(SOURCE, source));
    if let Some(id) = correlation_id {
        put(term(CORRELATION, id));
    }
    for (field, id) in scope {
        put(scope_term(field, id));
    }
}

/// Gives the terms of an event that is about to be stored.
pub(super) fn of_new_event(event: &NewEvent, put: impl FnMut(u32)) {
    of_event(event.event_type().as_str(), event.source(), event.correlation_id(), event.scope().iter(), put);
}

/// What an index can say about a filter: all of these must hold.
#[derive(Debug)]
pub(super) enum Wanted {
    /// One of these terms.
    OneOf(Vec<u32>),
    /// One of these alternatives; each is a list of which all must hold.
    Alternative(Vec<Vec<Wanted>>),
}

/// The parts of a filter that the index covers; empty when it covers none.
pub(super) fn of_filter(filter: &EventFilter) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let lists = filter
        .scope_ids()
        .map(|(field, ids)| terms(ids, |id| scope_term(field, id)))
        .chain(filter.sources().map(|ids| terms(ids, |id| term(SOURCE, id))))
        .chain(filter.correlation_ids().map(|ids| terms(ids, |id| term(CORRELATION, id))))
        .chain(filter.types().map(|patterns| patterns.iter().map(of_pattern).collect::<Option<_>>()))
        .chain(filter.families().map(|families| {
            families.iter().map(of_family).collect::<Option<Vec<_>>>().map(|terms| terms.concat())
        }));
    wanted.extend(lists.flatten().map(Wanted::OneOf));
    wanted.extend(filter.any_of().and_then(|filters| of_alternatives(filters.iter())));
    let granted = |rules: &Rules| of_alternatives(rules.iter().map(Rule::as_filter));
    wanted.extend(filter.grants().iter().filter_map(granted));
    wanted
}

/// That one of these filters must hold; `None` when the index covers nothing of one.
fn of_alternatives<'a>(filters: impl Iterator<Item = &'a EventFilter>) -> Option<Wanted> {
    let all: Vec<_> = filters.map(of_filter).collect();
    all.iter().all(|wanted| !wanted.is_empty()).then_some(Wanted::Alternative(all))
}

fn terms(ids: &Ids, term: impl Fn(&str) -> u32) -> Option<Vec<u32>> {
    (ids.iter().len() <= TERMS_MAX).then(|| ids.iter().map(term).collect())
}

/// The term of a pattern's segments up to its first `*`; `None` when it begins with one.
fn of_pattern(pattern: &TypePattern) -> Option<u32> {
    let fixed: Vec<&str> = pattern.segments().take_while(|segment| *segment != "*").collect();
    let kind = if fixed.len() == pattern.segments().count() { TYPE } else { TYPE_BEGIN };
    (!fixed.is_empty()).then(|| term(kind, &fixed.join(".")))
}

fn of_family(family: &Family) -> Option<Vec<u32>> {
    let segment = family.segment()?;
    Some(vec![term(TYPE, segment), term(TYPE_BEGIN, segment)])
}
