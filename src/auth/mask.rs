//! Rules that mask parts of events: for whom, in which types, where, and how ([`MaskDraft`], a section of the policy).
//!
//! Flow: [`Masks::new`] checks the rules; [`Masks::view`] picks those that concern somebody's roles and gives the
//! [`View`] that applies them.
//! Invariants: the safe side, always: whoever has no role, or one that the policy does not know, has every mask; of several
//! masks on one place the strictest counts; what cannot be walked is not shown.
//! Not here: which roles somebody has (the policy), where views are applied (`hub`, `fanout`, `graphql`).

mod action;
mod check;
mod explain;
mod overlap;
mod path;
mod plan;
mod scan;
mod tree;

pub use action::{Action, MaskKey};
pub use check::{MASKS_MAX, MaskProblem, MaskProblems, PATTERNS_MAX};
pub(super) use overlap::asked;
pub use path::PATH_SEGMENTS_MAX;
pub(super) use plan::Plan;

use super::View;
use crate::event::{EventType, TypePattern};
use path::{Field, Segment, Target};
use quick_cache::sync::Cache;
use serde::Deserialize;
use std::{collections::BTreeSet, fmt, sync::Arc};

/// So many views of different rules are kept, so that all readers of one view share it.
const VIEWS_MAX: usize = 1_024;

/// One rule as the policy writes it: `[[masks]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskDraft {
    /// Patterns of the types in which it masks, such as `agent.*`.
    pub types: Vec<String>,
    /// What it masks, such as `data.user.email`, `data.items[*].price`, `organizationId` or `attributes.dataschema`.
    pub path: String,
    /// What it does.
    pub action: Action,
    /// For those who have one of these roles (and for those without a role, or with one that the policy does not know).
    #[serde(default)]
    pub roles: Option<Vec<String>>,
    /// In place of `roles`: for all but those who have no other role than these.
    #[serde(default)]
    pub except: Option<Vec<String>>,
}

/// What one rule does, for whomever.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mask {
    types: Box<[TypePattern]>,
    target: Target,
    action: Action,
}

impl Mask {
    /// The types in which it masks.
    pub fn types(&self) -> &[TypePattern] {
        &self.types
    }

    /// What it masks, as the policy writes it.
    pub fn path(&self) -> String {
        self.target.to_string()
    }

    /// What it does.
    pub fn action(&self) -> Action {
        self.action
    }

    /// Does it mask anything in events of this type?
    pub fn concerns(&self, event_type: &EventType) -> bool {
        self.types.iter().any(|pattern| pattern.matches(event_type))
    }

    /// Can it hide this member of the data, or something inside it?
    pub fn hides_member(&self, member: &str) -> bool {
        match &self.target {
            Target::Data(path) => {
                // Data that is an object is itself where a path says each of a list.
                match path.iter().find(|segment| **segment != Segment::Each) {
                    Some(Segment::Key(key)) => **key == *member,
                    Some(Segment::Any | Segment::Each) | None => true,
                }
            }
            Target::Field(_) | Target::Attribute(_) => false,
        }
    }

    /// The field that it masks, if it is one by which filters select.
    fn field(&self) -> Option<Field> {
        match self.target {
            Target::Field(field) => Some(field),
            Target::Data(_) | Target::Attribute(_) => None,
        }
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types: Vec<&str> = self.types.iter().map(TypePattern::as_str).collect();
        write!(f, "{} of {}: {}", self.target, types.join(", "), self.action.name())
    }
}

/// Whom a rule concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Whom {
    /// Those who have one of these roles.
    Roles(BTreeSet<Box<str>>),
    /// All but those who have no other role than these.
    Except(BTreeSet<Box<str>>),
}

impl Whom {
    fn roles(&self) -> &BTreeSet<Box<str>> {
        match self {
            Whom::Roles(roles) | Whom::Except(roles) => roles,
        }
    }

    /// Does it concern somebody with these roles, one at least and all of them known?
    fn concerns(&self, roles: &[&str]) -> bool {
        match self {
            Whom::Roles(masked) => roles.iter().any(|role| masked.contains(*role)),
            Whom::Except(spared) => !roles.iter().all(|role| spared.contains(*role)),
        }
    }
}

#[derive(Clone, Debug)]
struct Rule {
    mask: Arc<Mask>,
    whom: Whom,
}

/// All rules of a policy, checked.
#[derive(Debug)]
pub struct Masks {
    rules: Vec<Rule>,
    key: MaskKey,
    /// By the numbers of the rules that they apply.
    views: Cache<Box<[usize]>, View>,
}

impl Masks {
    /// Checks the rules; `key` makes the hashes. Fails with everything that is wrong.
    pub fn new(drafts: Vec<MaskDraft>, key: MaskKey) -> Result<Self, MaskProblems> {
        Ok(Masks { rules: check::rules(drafts)?, key, views: Cache::new(VIEWS_MAX) })
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Is nothing masked for anybody?
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What somebody with these roles sees; `is_known` says which roles the policy has.
    pub fn view(&self, roles: &[impl AsRef<str>], is_known: impl Fn(&str) -> bool) -> View {
        let roles: Vec<&str> = roles.iter().map(AsRef::as_ref).collect();
        let is_stranger = roles.is_empty() || !roles.iter().all(|role| is_known(role));
        let rules = self.rules.iter().enumerate();
        let concerning = rules.filter(|(_, rule)| is_stranger || rule.whom.concerns(&roles));
        let numbers: Box<[usize]> = concerning.map(|(number, _)| number).collect();
        if let Some(view) = self.views.get(&numbers) {
            return view;
        }
        let masks = numbers.iter().filter_map(|number| self.rules.get(*number));
        let view = View::masked(masks.map(|rule| Arc::clone(&rule.mask)), &self.key);
        self.views.insert(numbers, view.clone());
        view
    }
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
