//! Which masked fields a filter asks about: whoever may not see a field may not find out what it holds by asking for events
//! that have a value in it.
//!
//! Invariants: a mask stands in the way only where some type meets both its patterns and the filter.

use super::{Mask, path::Field};
use crate::event::{EventFilter, Family, TYPE_SEGMENTS_MAX, TypePattern};

/// The types that meet several patterns at once: these first segments, `None` for any, and perhaps one or more after them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape<'p> {
    first: Vec<Option<&'p str>>,
    has_more: bool,
}

impl<'p> Shape<'p> {
    fn of(pattern: &'p TypePattern) -> Self {
        let mut first: Vec<_> =
            pattern.segments().map(|segment| Some(segment).filter(|text| *text != "*")).collect();
        let has_more = first.last().is_some_and(Option::is_none);
        if has_more {
            first.pop();
        }
        Shape { first, has_more }
    }

    /// The types that meet both.
    fn meet(&self, other: &Shape<'p>) -> Option<Shape<'p>> {
        let (long, short) = if self.first.len() >= other.first.len() { (self, other) } else { (other, self) };
        let has_common_length = match (long.has_more, short.has_more) {
            (true, true) => long.first.len() < TYPE_SEGMENTS_MAX,
            (false, true) => long.first.len() > short.first.len(),
            (false, false) => long.first.len() == short.first.len(),
            (true, false) => false,
        };
        if !has_common_length {
            return None;
        }
        let mut both = long.clone();
        for (place, segment) in both.first.iter_mut().zip(&short.first) {
            match (*place, *segment) {
                (Some(one), Some(other)) if one != other => return None,
                (None, Some(_)) => *place = *segment,
                (Some(_), Some(_)) | (Some(_) | None, None) => {}
            }
        }
        Some(both)
    }

    /// Is a type of a family that `allows` takes among them?
    fn has_family(&self, allows: impl Fn(Family) -> bool) -> bool {
        match self.first.first().copied().flatten() {
            Some(segment) => allows(Family::of(segment)),
            None => Family::ALL.iter().any(|family| allows(*family)),
        }
    }
}

/// One way to meet a filter: every pattern list and every family list on it counts.
struct Way<'f>(Vec<&'f EventFilter>);

impl Way<'_> {
    /// Can an event whose type meets one of the patterns go this way?
    fn admits(&self, patterns: &[TypePattern]) -> bool {
        patterns.iter().any(|pattern| self.goes_on(&Shape::of(pattern), 0))
    }

    fn goes_on<'p>(&'p self, shape: &Shape<'p>, from: usize) -> bool {
        match self.0.get(from).map(|filter| filter.types()) {
            None => shape.has_family(|family| {
                self.0
                    .iter()
                    .all(|filter| filter.families().is_none_or(|families| families.contains(&family)))
            }),
            Some(None) => self.goes_on(shape, from + 1),
            Some(Some(types)) => types
                .iter()
                .any(|other| shape.meet(&Shape::of(other)).is_some_and(|both| self.goes_on(&both, from + 1))),
        }
    }
}

/// The first masked field that the filter asks about.
pub(in crate::auth) fn asked<'m>(
    filter: &EventFilter,
    masks: impl Iterator<Item = &'m Mask>,
) -> Option<&'static str> {
    let masked: Vec<_> = masks.filter_map(|mask| Some((mask.field()?, mask.types()))).collect();
    let ways: Vec<Way<'_>> = match filter.any_of() {
        None => vec![Way(vec![filter])],
        Some(alternatives) => alternatives.iter().map(|one| Way(vec![filter, one])).collect(),
    };
    ways.iter().find_map(|way| {
        let asked: Vec<Field> = way.0.iter().copied().flat_map(fields).collect();
        let mut masked = masked.iter().filter(|(field, _)| asked.contains(field));
        masked.find(|(_, types)| way.admits(types)).map(|(field, _)| field.name())
    })
}

/// The fields that one level of a filter asks about.
fn fields(filter: &EventFilter) -> impl Iterator<Item = Field> {
    let scopes = filter.scope_ids().map(|(field, _)| Field::Scope(field));
    let source = filter.sources().map(|_| Field::Source);
    let correlation = filter.correlation_ids().map(|_| Field::CorrelationId);
    scopes.chain(source).chain(correlation)
}

#[cfg(test)]
#[path = "overlap_tests.rs"]
mod tests;
