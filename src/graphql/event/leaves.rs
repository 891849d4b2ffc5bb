//! The fields that can be read straight from an event: each as a function that writes what the resolver of that name gives.
//!
//! Invariants: a leaf writes byte for byte what an execution of its field writes; the tests of `plan` hold every field of the
//! schema to it.

use super::{Priority, Shared};
use crate::{
    event::ScopeField,
    graphql::scalars::{CursorText, Time, WriteJson},
};
use async_graphql::resolver_utils::enum_value;

/// Writes the value of one field as JSON.
pub(in crate::graphql) type Leaf = fn(&Shared, &mut Vec<u8>) -> serde_json::Result<()>;

/// The fields that no family has to itself, as they are called in the code.
pub(super) const SHARED: &[(&str, Leaf)] = &[
    ("id", |shared, out| shared.event.id().write_json(out)),
    ("type", |shared, out| shared.event.event_type().as_str().write_json(out)),
    ("action", |shared, out| shared.event.event_type().action().write_json(out)),
    ("time", |shared, out| Time(shared.event.time()).write_json(out)),
    ("source", |shared, out| shared.event.source().write_json(out)),
    ("subject", |shared, out| shared.event.subject().write_json(out)),
    ("organization_id", |shared, out| shared.event.scope().get(ScopeField::Organization).write_json(out)),
    ("domain_id", |shared, out| shared.event.scope().get(ScopeField::Domain).write_json(out)),
    ("instance_id", |shared, out| shared.event.scope().get(ScopeField::Instance).write_json(out)),
    ("agent_id", |shared, out| shared.event.scope().get(ScopeField::Agent).write_json(out)),
    ("task_id", |shared, out| shared.event.scope().get(ScopeField::Task).write_json(out)),
    ("workflow_id", |shared, out| shared.event.scope().get(ScopeField::Workflow).write_json(out)),
    ("user_id", |shared, out| shared.event.scope().get(ScopeField::User).write_json(out)),
    ("room_id", |shared, out| shared.event.scope().get(ScopeField::Room).write_json(out)),
    ("correlation_id", |shared, out| shared.event.correlation_id().write_json(out)),
    ("priority", |shared, out| enum_value(Priority::from(shared.event.priority())).write_json(out)),
    ("persist", |shared, out| shared.event.is_persistent().write_json(out)),
    ("cursor", |shared, out| CursorText::from(shared.event.cursor()).write_json(out)),
    ("data", |shared, out| shared.event.data().write_json(out)),
    ("data_base64", |shared, out| shared.event.data_base64().write_json(out)),
    ("attributes", |shared, out| shared.attributes_text().write_json(out)),
    // Those that tell of a resource alone have it.
    ("changed", |shared, out| shared.members().texts(&["changed"]).write_json(out)),
];

/// The leaf of a field of the schema, among some that are named as in the code.
pub(super) fn find(leaves: &[(&str, Leaf)], field: &str) -> Option<Leaf> {
    leaves.iter().find(|(name, _)| is_camel_case(field, name)).map(|(_, leaf)| *leaf)
}

/// Is this a name of the code as the schema has it, such as `taskId` for `task_id`?
fn is_camel_case(field: &str, name: &str) -> bool {
    let mut capital = false;
    let letters = name.trim_start_matches("r#").chars().filter_map(|letter| match letter {
        '_' => {
            capital = true;
            None
        }
        _ if std::mem::take(&mut capital) => Some(letter.to_ascii_uppercase()),
        _ => Some(letter),
    });
    letters.eq(field.chars())
}
