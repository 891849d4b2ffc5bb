//! A selection that needs no execution: everything selected can be read straight from the event, so a response is written field
//! by field.
//!
//! Flow: the canonical text of a selection gives its [`Plan`], once for a renderer; each event gives a response.
//! Invariants: a plan writes byte for byte what executing its text gives. Whatever it does not know (a directive, a field with
//! arguments or with fields of its own) has no plan and is executed.
//! Not here: how a field is read from an event (`event`), the extensions of a response (`render`).

use crate::{
    event::{Event, Family},
    graphql::{
        event::{Leaf, Shared, leaf, object},
        subscription::{Gives, gives},
    },
};
use async_graphql::parser::{
    parse_query,
    types::{DocumentOperations, Field, OperationType, Selection as Part, SelectionSet},
};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

/// The interface that every object of a family implements.
const INTERFACE: &str = "Event";

/// How the responses of a selection are written.
pub(super) struct Plan {
    gives: Gives,
    /// `{"data":{"events":`
    opening: String,
    selection: SelectionSet,
    /// The fields of each family whose events were written, in order.
    fields: BTreeMap<Family, Option<Vec<Step>>>,
}

/// One field of an object.
struct Step {
    /// What comes before its value, such as `,"id":`; all of `"__typename":"TaskEvent"`, which no event has to be read for.
    text: String,
    value: Option<Leaf>,
}

impl Plan {
    /// The plan of a canonical text that is valid for the schema; none for one that must be executed.
    pub(super) fn new(text: &str) -> Option<Self> {
        let document = parse_query(text).ok()?;
        let DocumentOperations::Single(operation) = document.operations else { return None };
        let operation = operation.node;
        let [root] = operation.selection_set.node.items.as_slice() else { return None };
        let Part::Field(root) = &root.node else { return None };
        let root = &root.node;
        let gives = gives(&root.name.node)?;
        let selection = root.selection_set.node.clone();
        let is_known = operation.ty == OperationType::Subscription && is_known(&selection);
        is_known.then(|| Plan {
            gives,
            opening: format!("{{\"data\":{{\"{}\":", response_key(root)),
            selection,
            fields: BTreeMap::new(),
        })
    }

    /// Appends the response of an event up to where its extensions begin, such as `{"data":{"events":{"id":"1"}}`. None when the
    /// event must be rendered by an execution; `out` is of no use then.
    pub(super) fn write(&mut self, event: &Arc<Event>, out: &mut Vec<u8>) -> Option<()> {
        let family = match self.gives {
            Gives::Any => event.event_type().family(),
            Gives::One(family) => family,
        };
        let selection = &self.selection;
        let steps = self.fields.entry(family).or_insert_with(|| steps(family, selection)).as_ref()?;
        let shared = Shared::new(Arc::clone(event));
        out.extend_from_slice(self.opening.as_bytes());
        out.push(b'{');
        for step in steps {
            out.extend_from_slice(step.text.as_bytes());
            if let Some(leaf) = step.value {
                leaf(&shared, out).ok()?;
            }
        }
        out.extend_from_slice(b"}}");
        Some(())
    }
}

/// Are there only fields without arguments, fields or directives, and fragments in place?
fn is_known(selection: &SelectionSet) -> bool {
    !selection.items.is_empty()
        && selection.items.iter().all(|part| match &part.node {
            Part::Field(field) => {
                let field = &field.node;
                field.arguments.is_empty()
                    && field.directives.is_empty()
                    && field.selection_set.node.items.is_empty()
            }
            Part::InlineFragment(fragment) => {
                fragment.node.directives.is_empty() && is_known(&fragment.node.selection_set.node)
            }
            Part::FragmentSpread(_) => false,
        })
}

/// The fields that the object of a family has in this selection; none when one of them cannot be read straight from an event.
fn steps(family: Family, selection: &SelectionSet) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    collect(family, selection, &mut HashSet::new(), &mut steps)?;
    Some(steps)
}

/// CollectFields of the GraphQL specification, 6.3.2. Fields of one response key are the same field of this object, so the first
/// stands for all.
fn collect<'s>(
    family: Family,
    selection: &'s SelectionSet,
    keys: &mut HashSet<&'s str>,
    steps: &mut Vec<Step>,
) -> Option<()> {
    for part in &selection.items {
        match &part.node {
            Part::Field(field) => {
                let key = response_key(&field.node);
                if keys.insert(key) {
                    steps.push(step(family, key, &field.node.name.node, steps.is_empty())?);
                }
            }
            Part::InlineFragment(fragment) => {
                let condition =
                    fragment.node.type_condition.as_ref().map(|condition| condition.node.on.node.as_str());
                if condition.is_none_or(|name| name == object(family) || name == INTERFACE) {
                    collect(family, &fragment.node.selection_set.node, keys, steps)?;
                }
            }
            Part::FragmentSpread(_) => return None,
        }
    }
    Some(())
}

fn step(family: Family, key: &str, field: &str, is_first: bool) -> Option<Step> {
    let comma = if is_first { "" } else { "," };
    match field {
        "__typename" => Some(Step { text: format!("{comma}\"{key}\":\"{}\"", object(family)), value: None }),
        _ => Some(Step { text: format!("{comma}\"{key}\":"), value: Some(leaf(family, field)?) }),
    }
}

fn response_key(field: &Field) -> &str {
    field.alias.as_ref().map_or(field.name.node.as_str(), |alias| alias.node.as_str())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
