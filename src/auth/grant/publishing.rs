//! One event and the rules: what they fix of its scope, and why they do not allow it.

use super::Clash;
use crate::{
    error::Refusal,
    event::{NewEvent, Rule, Rules, ScopeField},
};

/// The event with those ids that it leaves out and on which all rules agree that could still allow it.
pub(super) fn with_fixed_scope(event: NewEvent, rules: &Rules) -> Result<NewEvent, Refusal> {
    let left = left_open(&event, rules);
    let fixed = |field: ScopeField| Some((field, agreed(field, &left)?));
    ScopeField::ALL
        .into_iter()
        .filter_map(fixed)
        .try_fold(event, |event, (field, id)| event.or_scope(field, id))
}

/// The rules for the type of an event that nothing which the event has contradicts.
fn left_open<'a>(event: &NewEvent, rules: &'a Rules) -> Vec<&'a Rule> {
    let is_open = |rule: &&Rule| ScopeField::ALL.iter().all(|field| !is_contradicted(rule, event, *field));
    rules.iter().filter(|rule| rule.allows_type(event.event_type())).filter(is_open).collect()
}

fn is_contradicted(rule: &Rule, event: &NewEvent, field: ScopeField) -> bool {
    let outside = |id: &str| rule.ids(field).is_some_and(|ids| !ids.contains(id));
    event.scope().get(field).is_some_and(outside)
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
pub(super) fn clash(event: &NewEvent, rules: &Rules) -> Clash {
    let fitting: Vec<&Rule> = rules.iter().filter(|rule| rule.allows_type(event.event_type())).collect();
    if fitting.is_empty() {
        let patterns = rules.iter().filter_map(Rule::types).flatten();
        return Clash {
            field: "type",
            given: [event.event_type().to_string()].into(),
            allowed: patterns.map(ToString::to_string).collect(),
        };
    }
    let left = left_open(event, rules);
    let (rules, is_lacking) = if left.is_empty() { (fitting, false) } else { (left, true) };
    let excludes = |field: ScopeField| {
        let is_outside = |rule: &&&Rule| match is_lacking {
            true => rule.ids(field).is_some() && event.scope().get(field).is_none(),
            false => is_contradicted(rule, event, field),
        };
        rules.iter().filter(is_outside).count()
    };
    // The first of those that exclude most; there is one, or a rule would allow the event.
    let worst = ScopeField::ALL.into_iter().rev().max_by_key(|field| excludes(*field));
    let field = worst.unwrap_or(ScopeField::Organization);
    let ids = rules.iter().filter_map(|rule| rule.ids(field)).flat_map(|ids| ids.iter());
    Clash {
        field: field.camel(),
        given: event.scope().get(field).into_iter().map(str::to_owned).collect(),
        allowed: ids.map(str::to_owned).collect(),
    }
}
