//! Fields of one key that cannot be one field, or that introspection does not need twice.
//!
//! async-graphql has the rule of conflicts too, but reports every pair and every argument: 4,000 tokens give it a million errors.
//! This one walks the same way, compares the same things and stops at the first. Below `__schema` and `__type`, where every
//! field is answered for the whole schema, a key that is already there is refused even if it is the same field.
//! Invariants: what passes here passes there without an error. Runs after `cost`, so recursion and spreads are bounded.

use super::GuardError;
use crate::error::excerpt;
use async_graphql::{
    Positioned,
    parser::types::{ExecutableDocument, Field, Selection, SelectionSet},
};
use std::collections::{HashMap, HashSet, hash_map::Entry};

/// Refuses the first conflict of any selection set.
pub(super) fn check(document: &ExecutableDocument) -> Result<(), GuardError> {
    for (_, operation) in document.operations.iter() {
        check_set(document, &operation.node.selection_set.node, false)?;
    }
    for fragment in document.fragments.values() {
        let introspects = fragment.node.type_condition.node.on.node.starts_with("__");
        check_set(document, &fragment.node.selection_set.node, introspects)?;
    }
    Ok(())
}

fn check_set(document: &ExecutableDocument, set: &SelectionSet, introspects: bool) -> Result<(), GuardError> {
    Keys { document, introspects, fields: HashMap::new(), spread: HashSet::new() }.add_set(None, set)?;
    set.items.iter().try_for_each(|selection| match &selection.node {
        Selection::Field(field) => {
            let introspects = introspects || matches!(field.node.name.node.as_str(), "__schema" | "__type");
            check_set(document, &field.node.selection_set.node, introspects)
        }
        Selection::InlineFragment(fragment) => {
            check_set(document, &fragment.node.selection_set.node, introspects)
        }
        Selection::FragmentSpread(_) => Ok(()),
    })
}

/// The fields of one selection set by type condition and key.
struct Keys<'d> {
    document: &'d ExecutableDocument,
    introspects: bool,
    fields: HashMap<(Option<&'d str>, &'d str), &'d Positioned<Field>>,
    spread: HashSet<&'d str>,
}

impl<'d> Keys<'d> {
    fn add_set(&mut self, on: Option<&'d str>, set: &'d SelectionSet) -> Result<(), GuardError> {
        set.items.iter().try_for_each(|selection| match &selection.node {
            Selection::Field(field) => self.add_field(on, field),
            Selection::InlineFragment(fragment) => {
                let on =
                    fragment.node.type_condition.as_ref().map(|condition| condition.node.on.node.as_str());
                self.add_set(on, &fragment.node.selection_set.node)
            }
            Selection::FragmentSpread(spread) => {
                let name = spread.node.fragment_name.node.as_str();
                match self.document.fragments.get(name) {
                    Some(fragment) if self.spread.insert(name) => self.add_set(
                        Some(fragment.node.type_condition.node.on.node.as_str()),
                        &fragment.node.selection_set.node,
                    ),
                    Some(_) | None => Ok(()),
                }
            }
        })
    }

    fn add_field(&mut self, on: Option<&'d str>, field: &'d Positioned<Field>) -> Result<(), GuardError> {
        let key = field.node.response_key().node.as_str();
        match self.fields.entry((on, key)) {
            Entry::Vacant(free) => {
                free.insert(field);
                Ok(())
            }
            Entry::Occupied(_) if self.introspects => {
                Err(GuardError::Repeated { key: excerpt(key), pos: field.pos })
            }
            Entry::Occupied(first) if are_one(&first.get().node, &field.node) => Ok(()),
            Entry::Occupied(first) => {
                Err(GuardError::Conflict { key: excerpt(key), first: first.get().pos, second: field.pos })
            }
        }
    }
}

/// Same name, and the same arguments in any order?
fn are_one(first: &Field, second: &Field) -> bool {
    first.name.node == second.name.node
        && first.arguments.len() == second.arguments.len()
        && first
            .arguments
            .iter()
            .all(|(name, value)| second.get_argument(&name.node).is_some_and(|other| value == other))
}
