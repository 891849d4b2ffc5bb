//! Type and scope of one event and the rules: what they fix of the scope, and why they do not allow it.

use super::Clash;
use crate::event::{EventType, Rule, Rules, Scope, ScopeField};

/// The ids on which all rules agree that could still allow an event of this type with this scope; for fields that it has as well.
pub(super) fn fixed_scope<'a>(
    event_type: &EventType,
    scope: &Scope,
    rules: &'a Rules,
) -> impl Iterator<Item = (ScopeField, &'a str)> + use<'a> {
    let left = left_open(event_type, scope, rules);
    ScopeField::ALL.into_iter().filter_map(move |field| Some((field, agreed(field, &left)?)))
}

/// The rules for a type that nothing in the scope contradicts.
fn left_open<'a>(event_type: &EventType, scope: &Scope, rules: &'a Rules) -> Vec<&'a Rule> {
    let is_open = |rule: &&Rule| ScopeField::ALL.iter().all(|field| !is_contradicted(rule, scope, *field));
    rules.iter().filter(|rule| rule.allows_type(event_type)).filter(is_open).collect()
}

fn is_contradicted(rule: &Rule, scope: &Scope, field: ScopeField) -> bool {
    let outside = |id: &str| rule.ids(field).is_some_and(|ids| !ids.contains(id));
    scope.get(field).is_some_and(outside)
}

/// The one id that each of these rules allows in a field.
pub(super) fn agreed<'a>(field: ScopeField, rules: &[&'a Rule]) -> Option<&'a str> {
    let single = |rule: &&'a Rule| {
        let mut ids = rule.ids(field)?.iter();
        ids.next().filter(|_| ids.len() == 0)
    };
    let (first, others) = rules.split_first()?;
    let id = single(first)?;
    others.iter().all(|rule| single(rule) == Some(id)).then_some(id)
}

/// Why no rule allows an event: its type; or the field that it lacks, where nothing else is wrong; or the field that contradicts
/// most of the rules for its type.
pub(super) fn clash(event_type: &EventType, scope: &Scope, rules: &Rules) -> Clash {
    let fitting: Vec<&Rule> = rules.iter().filter(|rule| rule.allows_type(event_type)).collect();
    if fitting.is_empty() {
        let patterns = rules.iter().filter_map(Rule::types).flatten();
        return Clash {
            field: "type",
            given: [event_type.to_string()].into(),
            allowed: patterns.map(ToString::to_string).collect(),
        };
    }
    let left = left_open(event_type, scope, rules);
    let (rules, is_lacking) = if left.is_empty() { (fitting, false) } else { (left, true) };
    let excludes = |field: ScopeField| {
        let is_outside = |rule: &&&Rule| match is_lacking {
            true => rule.ids(field).is_some() && scope.get(field).is_none(),
            false => is_contradicted(rule, scope, field),
        };
        rules.iter().filter(is_outside).count()
    };
    // The first of those that exclude most; there is one, or a rule would allow the event.
    let worst = ScopeField::ALL.into_iter().rev().max_by_key(|field| excludes(*field));
    let field = worst.unwrap_or(ScopeField::Organization);
    let ids = rules.iter().filter_map(|rule| rule.ids(field)).flat_map(|ids| ids.iter());
    Clash {
        field: field.camel(),
        given: scope.get(field).into_iter().map(str::to_owned).collect(),
        allowed: ids.map(str::to_owned).collect(),
    }
}
