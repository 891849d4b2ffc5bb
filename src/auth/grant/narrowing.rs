//! Is there nothing that both a filter and a grant allow?
//!
//! Invariants: a [`Clash`] is a proof: every alternative of the filter excludes every rule by one of its fields. Where there is no
//! proof, the filter is narrowed and may still match nothing.

use super::Clash;
use crate::event::{EventFilter, Ids, Rule, Rules, ScopeField};
use std::collections::{BTreeMap, BTreeSet};

/// A field by which a filter and a rule may exclude each other, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    Scope(ScopeField),
    Types,
    Categories,
}

/// Why a filter and all rules exclude each other; `None` when that is not proven. Tells the field that excludes most.
pub(super) fn clash(filter: &EventFilter, rules: &Rules) -> Option<Clash> {
    if rules.iter().len() == 0 {
        let patterns = filter.types().unwrap_or_default().iter().map(ToString::to_string);
        return Some(Clash { field: "types", given: patterns.collect(), allowed: BTreeSet::new() });
    }
    // What holds of an event that meets the filter: its own fields, and those of one alternative.
    let branches: Vec<Vec<&EventFilter>> = match filter.any_of() {
        None => vec![vec![filter]],
        Some(alternatives) => alternatives.iter().map(|alternative| vec![filter, alternative]).collect(),
    };
    let mut excluded: BTreeMap<Field, usize> = BTreeMap::new();
    for branch in &branches {
        for rule in rules.iter() {
            let mut fields: Vec<_> = branch.iter().flat_map(|part| exclusions(part, rule)).collect();
            if fields.is_empty() {
                return None;
            }
            fields.sort_unstable();
            fields.dedup();
            fields.into_iter().for_each(|field| *excluded.entry(field).or_default() += 1);
        }
    }
    let most = excluded.values().copied().max()?;
    let field = excluded.into_iter().find(|(_, count)| *count == most)?.0;
    Some(told(field, branches.into_iter().flatten(), rules))
}

/// The fields of which the two allow nothing in common.
fn exclusions(part: &EventFilter, rule: &Rule) -> Vec<Field> {
    let is_apart = |(field, ids): (ScopeField, &Ids)| {
        let allowed = rule.ids(field)?;
        (!ids.iter().any(|id| allowed.contains(id))).then_some(Field::Scope(field))
    };
    let mut fields: Vec<_> = part.scope_ids().filter_map(is_apart).collect();
    let Some(allowed) = rule.types() else { return fields };
    if let Some(patterns) = part.types()
        && !patterns.iter().any(|pattern| allowed.iter().any(|own| own.intersects(pattern)))
    {
        fields.push(Field::Types);
    }
    if let Some(families) = part.families()
        && !families.iter().any(|family| allowed.iter().any(|own| own.meets_family(*family)))
    {
        fields.push(Field::Categories);
    }
    fields
}

fn told<'a>(field: Field, parts: impl Iterator<Item = &'a EventFilter>, rules: &Rules) -> Clash {
    let texts = |ids: &Ids| ids.iter().map(str::to_owned).collect::<Vec<_>>();
    let given = |part: &EventFilter| -> Vec<String> {
        match field {
            Field::Scope(field) => {
                part.scope_ids().filter(|(own, _)| *own == field).flat_map(|(_, ids)| texts(ids)).collect()
            }
            Field::Types => part.types().unwrap_or_default().iter().map(ToString::to_string).collect(),
            Field::Categories => {
                let families = part.families().unwrap_or_default().iter();
                families.map(|family| family.segment().unwrap_or("custom").to_owned()).collect()
            }
        }
    };
    let allowed = |rule: &Rule| -> Vec<String> {
        match field {
            Field::Scope(field) => rule.ids(field).map(texts).unwrap_or_default(),
            Field::Types | Field::Categories => {
                rule.types().unwrap_or_default().iter().map(ToString::to_string).collect()
            }
        }
    };
    let name = match field {
        Field::Scope(field) => field.camel(),
        Field::Types => "types",
        Field::Categories => "categories",
    };
    Clash {
        field: name,
        given: parts.flat_map(given).collect(),
        allowed: rules.iter().flat_map(allowed).collect(),
    }
}
