//! What a grant says about events: [`Rules`], of which one must hold, each a conjunction.
//!
//! Invariants: an event that lacks a scope field which a rule limits is outside of it. Rules are sorted, free of repeats and
//! bounded, so grants that mean the same compare equal and cost little to hold.
//! Not here: whose rules they are and where they come from (`auth`).

use super::{EventFilter, Ids};
use crate::{
    error::{Code, Refusal},
    event::{EventType, NewEvent, Scope, ScopeField, TypePattern, scope::check_id},
};
use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

/// The most rules that one grant reads or publishes by.
pub const RULES_MAX: usize = 64;
/// The most patterns in them together.
pub const RULE_PATTERNS_MAX: usize = 64;
/// The most ids in them together.
pub const RULE_IDS_MAX: usize = 1_000;

/// Events of certain types that concern certain ids: the type meets one of the patterns, and each limited scope field has one
/// of its ids. The default allows every event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule(EventFilter);

impl Rule {
    /// The same rule for types that meet one of these patterns; none allows nothing.
    #[must_use]
    pub fn with_types(mut self, mut patterns: Vec<TypePattern>) -> Self {
        patterns.sort_unstable();
        patterns.dedup();
        let is_limited = patterns.iter().all(|pattern| pattern.as_str() != "*");
        self.0.types = is_limited.then(|| patterns.into());
        self
    }

    /// The same rule for events that have one of these ids in a scope field; none allows nothing. Fails with
    /// `INVALID_FILTER` for what is no id.
    pub fn with_ids(mut self, field: ScopeField, ids: Vec<String>) -> Result<Self, Refusal> {
        ids.iter().try_for_each(|id| check_id(id, Code::InvalidFilter, field.camel()))?;
        if let Some(place) = self.0.scope.get_mut(field as usize) {
            *place = Some(Ids::new(ids));
        }
        Ok(self)
    }

    /// The patterns of which the type must meet one; `None` allows every type.
    pub fn types(&self) -> Option<&[TypePattern]> {
        self.0.types()
    }

    /// The scope fields that are limited, with the ids that are allowed.
    pub fn scope_ids(&self) -> impl Iterator<Item = (ScopeField, &Ids)> {
        self.0.scope_ids()
    }

    /// The ids that are allowed in a scope field; `None` allows every id, and none.
    pub fn ids(&self, field: ScopeField) -> Option<&Ids> {
        self.0.scope.get(field as usize).and_then(Option::as_ref)
    }

    /// Does it allow events of this type, as far as the type says?
    pub fn allows_type(&self, event_type: &EventType) -> bool {
        self.types().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(event_type)))
    }

    /// Does it allow an event of this type with this scope? A rule looks at nothing else.
    pub fn allows_in(&self, event_type: &EventType, scope: &Scope) -> bool {
        self.allows_type(event_type)
            && self.scope_ids().all(|(field, ids)| scope.get(field).is_some_and(|id| ids.contains(id)))
    }

    /// Does it allow the event?
    pub fn allows(&self, event: &NewEvent) -> bool {
        self.allows_in(event.event_type(), event.scope())
    }

    /// Does it allow every event?
    pub fn is_unlimited(&self) -> bool {
        *self == Rule::default()
    }

    /// The same as a filter.
    pub fn as_filter(&self) -> &EventFilter {
        &self.0
    }
}

/// Rules of which an event must meet one. Cloning shares them; equal ones are told by their address first.
#[derive(Clone, Debug)]
pub struct Rules(Arc<[Rule]>);

impl Rules {
    /// Sorts the rules and removes repeats. Fails with `TOO_MANY` beyond [`RULES_MAX`] rules, [`RULE_PATTERNS_MAX`] patterns
    /// or [`RULE_IDS_MAX`] ids.
    pub fn new(mut rules: Vec<Rule>) -> Result<Self, Refusal> {
        rules.sort_unstable();
        rules.dedup();
        let (patterns, ids) = rules
            .iter()
            .map(|rule| rule.0.count())
            .fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
        let bounds = [
            (rules.len(), RULES_MAX, "rules"),
            (patterns, RULE_PATTERNS_MAX, "types"),
            (ids, RULE_IDS_MAX, "ids"),
        ];
        match bounds.into_iter().find(|(count, most, _)| count > most) {
            None => Ok(Rules(rules.into())),
            Some((count, most, what)) => Err(Refusal::field(
                Code::TooMany,
                what,
                &format!("{count} {what}"),
                format!("{most} {what} in all rules of a grant together"),
            )),
        }
    }

    /// Does one of them allow an event of this type with this scope?
    pub fn allow_in(&self, event_type: &EventType, scope: &Scope) -> bool {
        self.0.iter().any(|rule| rule.allows_in(event_type, scope))
    }

    /// Does one of them allow the event?
    pub fn allow(&self, event: &NewEvent) -> bool {
        self.0.iter().any(|rule| rule.allows(event))
    }

    /// The rules in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.0.iter()
    }
}

/// None, which allow nothing.
impl Default for Rules {
    fn default() -> Self {
        Rules(Arc::new([]))
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Rules {}

impl Hash for Rules {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialOrd for Rules {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rules {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
