//! A predicate over events: [`EventFilter`], built from a [`FilterDraft`] as callers write it and narrowed by the [`Rules`] of
//! a grant.
//!
//! Invariants: lists are OR, fields are AND, an absent field allows all. `anyOf` is one more AND term that holds when one of
//! its alternatives does, and so is each grant, which holds when one of its rules does; no method takes a grant away. Lists
//! are sorted and free of repeats, so filters that mean the same compare equal and the index keeps one entry for them.
//! Not here: which filters an event meets among many (`bus`), who has which grant (`auth`).

mod draft;
mod rule;

pub use draft::{AlternativeDraft, FilterDraft};
pub use rule::{RULE_IDS_MAX, RULE_PATTERNS_MAX, RULES_MAX, Rule, Rules};

use super::{EventType, Family, NewEvent, Priority, ScopeField, TypePattern, scope::check_id};
use crate::error::{Code, Refusal};
use std::{collections::BTreeSet, sync::Arc};

/// A sorted list of ids without repeats; an event needs one of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ids(Arc<[Box<str>]>);

impl Ids {
    fn new(mut ids: Vec<String>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        Ids(ids.into_iter().map(String::into_boxed_str).collect())
    }

    /// Is the id in the list?
    pub fn contains(&self, id: &str) -> bool {
        self.0.binary_search_by(|own| (**own).cmp(id)).is_ok()
    }

    /// The ids in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|id| &**id)
    }
}

/// A predicate over events. The default allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventFilter {
    types: Option<Box<[TypePattern]>>,
    families: Option<Box<[Family]>>,
    scope: [Option<Ids>; 8],
    sources: Option<Ids>,
    correlation_ids: Option<Ids>,
    min_priority: Option<Priority>,
    any_of: Option<Box<[EventFilter]>>,
    /// All of these must hold; one, unless a filter was narrowed twice.
    grants: Box<[Rules]>,
}

impl NewEvent {
    /// Do both events meet the same filters, whatever the filter?
    pub fn routes_like(&self, other: &NewEvent) -> bool {
        self.event_type() == other.event_type()
            && self.scope() == other.scope()
            && self.source() == other.source()
            && self.correlation_id() == other.correlation_id()
            && self.priority() == other.priority()
    }
}

impl EventFilter {
    /// Does the event meet the filter? Looks at nothing but what [`NewEvent::routes_like`] compares.
    pub fn matches(&self, event: &NewEvent) -> bool {
        self.types
            .as_deref()
            .is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(event.event_type())))
            && self.families.as_deref().is_none_or(|families| families.contains(&event.event_type().family()))
            && self
                .scope_ids()
                .all(|(field, ids)| event.scope().get(field).is_some_and(|id| ids.contains(id)))
            && self.sources.as_ref().is_none_or(|sources| sources.contains(event.source()))
            && self
                .correlation_ids
                .as_ref()
                .is_none_or(|ids| event.correlation_id().is_some_and(|id| ids.contains(id)))
            && self.min_priority.is_none_or(|least| event.priority() >= least)
            && self.any_of.as_deref().is_none_or(|filters| filters.iter().any(|filter| filter.matches(event)))
            && self.grants.iter().all(|rules| rules.allow(event))
    }

    /// The patterns of which the type must meet one.
    pub fn types(&self) -> Option<&[TypePattern]> {
        self.types.as_deref()
    }

    /// The families of which the type must be one.
    pub fn families(&self) -> Option<&[Family]> {
        self.families.as_deref()
    }

    /// The scope fields that are limited, with the ids that are allowed.
    pub fn scope_ids(&self) -> impl Iterator<Item = (ScopeField, &Ids)> {
        ScopeField::ALL.into_iter().zip(&self.scope).filter_map(|(field, ids)| Some((field, ids.as_ref()?)))
    }

    /// The sources that are allowed.
    pub fn sources(&self) -> Option<&Ids> {
        self.sources.as_ref()
    }

    /// The correlation ids that are allowed.
    pub fn correlation_ids(&self) -> Option<&Ids> {
        self.correlation_ids.as_ref()
    }

    /// The least priority that is allowed.
    pub fn min_priority(&self) -> Option<Priority> {
        self.min_priority
    }

    /// The alternatives of which one must hold.
    pub fn any_of(&self) -> Option<&[EventFilter]> {
        self.any_of.as_deref()
    }

    /// The grants that limit the filter: of each, one rule must hold.
    pub fn grants(&self) -> &[Rules] {
        &self.grants
    }

    /// The ids of which every event that meets the filter has one in a scope field; `None` when that says nothing.
    pub fn needed_ids(&self, field: ScopeField) -> Option<BTreeSet<&str>> {
        let own = self.scope.get(field as usize).and_then(Option::as_ref);
        let own = own.map(|ids| ids.iter().collect::<BTreeSet<_>>());
        let alternatives = self.any_of().and_then(|filters| needed_by_one(filters.iter(), field));
        let granted = self.grants.iter().map(|rules| rules.iter().map(Rule::as_filter));
        let granted = granted.filter_map(|filters| needed_by_one(filters, field));
        own.into_iter().chain(alternatives).chain(granted).reduce(|one, other| &one & &other)
    }

    /// The part of the filter that these rules allow. A filter that was limited before stays so: nothing widens it.
    #[must_use]
    pub fn granted(mut self, rules: &Rules) -> Self {
        if !self.grants.contains(rules) {
            let mut grants = self.grants.into_vec();
            grants.push(rules.clone());
            grants.sort_unstable();
            self.grants = grants.into();
        }
        self
    }

    /// The same filter within one family: what a typed subscription field asks for.
    #[must_use]
    pub fn within(mut self, family: Family) -> Self {
        self.families = Some(match self.families.as_deref() {
            Some(families) if !families.contains(&family) => Box::new([]),
            Some(_) | None => Box::new([family]),
        });
        self
    }

    /// The same filter without these families.
    #[must_use]
    pub fn without(mut self, without: &[Family]) -> Self {
        let families = self.families.as_deref().unwrap_or(Family::ALL);
        self.families = Some(families.iter().copied().filter(|own| !without.contains(own)).collect());
        self
    }

    /// The same filter for one type exactly, such as `chat.message` of a room.
    #[must_use]
    pub fn of_type(mut self, event_type: &EventType) -> Self {
        self.types =
            TypePattern::parse(event_type.as_str(), "type").ok().map(|pattern| Box::new([pattern]) as Box<_>);
        self
    }

    /// The same filter for one id of a scope field; a list that was there before is replaced.
    pub fn with_scope(mut self, field: ScopeField, id: &str) -> Result<Self, Refusal> {
        check_id(id, Code::InvalidFilter, field.camel())?;
        if let Some(place) = self.scope.get_mut(field as usize) {
            *place = Some(Ids::new(vec![id.to_owned()]));
        }
        Ok(self)
    }

    /// The same filter for one correlation id.
    pub fn with_correlation_id(mut self, id: &str) -> Result<Self, Refusal> {
        check_id(id, Code::InvalidFilter, "correlationId")?;
        self.correlation_ids = Some(Ids::new(vec![id.to_owned()]));
        Ok(self)
    }

    fn count(&self) -> (usize, usize) {
        let own = (
            self.types.as_deref().map_or(0, <[_]>::len),
            self.scope_ids()
                .map(|(_, ids)| ids)
                .chain(&self.sources)
                .chain(&self.correlation_ids)
                .map(|ids| ids.iter().len())
                .sum(),
        );
        self.any_of
            .iter()
            .flatten()
            .map(EventFilter::count)
            .fold(own, |sum, count| (sum.0 + count.0, sum.1 + count.1))
    }
}

/// The ids of which an event that meets one of these filters has one in a scope field.
fn needed_by_one<'a>(
    filters: impl Iterator<Item = &'a EventFilter>,
    field: ScopeField,
) -> Option<BTreeSet<&'a str>> {
    let mut all = BTreeSet::new();
    for filter in filters {
        all.extend(filter.needed_ids(field)?);
    }
    Some(all)
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
