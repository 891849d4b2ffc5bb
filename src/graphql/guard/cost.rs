//! What a parsed document costs once its fragments are expanded.
//!
//! Flow: each definition is walked once; the cost of a fragment is remembered and added wherever it is spread. That is the work
//! which the visitors of async-graphql do without memory: recursion depth, aliases, complexity, caching, execution.
//! Invariants: linear in the document; recursion is bounded by `levels_max` and by the brackets that `scan` allowed.
//! Not here: spreads of unknown fragments cost nothing; validation refuses them.

use super::{GuardError, GuardOptions, scan::within};
use crate::error::excerpt;
use async_graphql::{
    Name, Positioned, Value, Variables,
    parser::types::{Directive, ExecutableDocument, Field, Selection, SelectionSet},
};
use async_graphql_value::Value as Literal;
use std::collections::{HashMap, hash_map::Entry};

/// Lists of the introspection schema that hold types, or lead to them; nested they multiply the answer.
const INTROSPECTION_LISTS: [&str; 5] = ["fields", "inputFields", "interfaces", "possibleTypes", "types"];

/// Refuses a document one of whose definitions, or all of them together, cost more than the limits.
pub(super) fn check(document: &ExecutableDocument, options: &GuardOptions) -> Result<(), GuardError> {
    within(document.operations.iter().len(), options.operations_max, "operations")?;
    Walk { document, options, sizes: HashMap::new(), written: 0, memory: HashMap::new() }.document()?;
    Ok(())
}

/// Refuses variables that would be copied too often: validation clones a variable for every place where it is written, execution
/// for every place where it is used, expanded.
pub(super) fn check_variables(
    document: &ExecutableDocument,
    variables: &Variables,
    options: &GuardOptions,
) -> Result<(), GuardError> {
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    for definition in
        document.operations.iter().flat_map(|(_, operation)| &operation.node.variable_definitions)
    {
        let name = &definition.node.name.node;
        let default = definition.node.default_value.as_ref().map(|default| &default.node);
        let size = variables.get(name).or(default).map_or(0, size);
        let largest = sizes.entry(name).or_default();
        *largest = size.max(*largest);
    }
    let once: usize = sizes.values().sum();
    let mut walk = Walk { document, options, sizes, written: 0, memory: HashMap::new() };
    let used = walk.document()?.variable_bytes;
    let copies = used.max(walk.written).saturating_sub(once);
    within(copies, options.variable_copies_max, "bytes of variables used more than once")
}

/// Bytes in memory, roughly.
fn size(value: &Value) -> usize {
    let inside = match value {
        Value::Null | Value::Number(_) | Value::Boolean(_) => 0,
        Value::String(text) => text.len(),
        Value::Enum(name) => name.len(),
        Value::Binary(bytes) => bytes.len(),
        Value::List(items) => items.iter().map(size).sum(),
        Value::Object(members) => members.iter().map(|(name, value)| name.len() + size(value)).sum(),
    };
    inside + size_of::<Value>()
}

/// The cost of a selection set or a part of one, expanded.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    /// Fields, fragments, directives, argument values.
    nodes: usize,
    /// Fields of the set itself.
    fields: usize,
    aliases: usize,
    /// Nested selection sets.
    levels: usize,
    /// Nested fields that are named like lists of the introspection schema.
    lists: usize,
    /// Nodes below `__schema` and `__type`.
    introspection: usize,
    /// Bytes of the variables where they are used.
    variable_bytes: usize,
}

impl Cost {
    fn add(&mut self, part: Cost) {
        self.nodes = self.nodes.saturating_add(part.nodes);
        self.fields = self.fields.saturating_add(part.fields);
        self.aliases = self.aliases.saturating_add(part.aliases);
        self.levels = self.levels.max(part.levels);
        self.lists = self.lists.max(part.lists);
        self.introspection = self.introspection.saturating_add(part.introspection);
        self.variable_bytes = self.variable_bytes.saturating_add(part.variable_bytes);
    }
}

/// What is known of a fragment.
enum Known {
    /// Its walk has begun: whoever asks now is inside it.
    Begun,
    Cost(Cost),
}

struct Walk<'d> {
    document: &'d ExecutableDocument,
    options: &'d GuardOptions,
    /// Bytes of each variable.
    sizes: HashMap<&'d str, usize>,
    /// Bytes of the variables where they are written, each fragment once.
    written: usize,
    memory: HashMap<&'d str, Known>,
}

impl<'d> Walk<'d> {
    /// The cost of all operations; fragments count towards `nodes_total_max` too, because validation visits the unused ones.
    fn document(&mut self) -> Result<Cost, GuardError> {
        let document = self.document;
        let mut all = Cost::default();
        let mut total = 0_usize;
        for (_, operation) in document.operations.iter() {
            let mut cost = self.directives(&operation.node.directives);
            cost.add(self.set(&operation.node.selection_set.node, 0)?);
            within(cost.fields, self.options.root_fields_max, "root fields")?;
            within(cost.introspection, self.options.introspection_nodes_max, "nodes of introspection")?;
            total = total.saturating_add(cost.nodes);
            all.add(cost);
        }
        for name in document.fragments.keys() {
            total = total.saturating_add(self.fragment(name, 0)?.nodes);
        }
        within(
            total,
            self.options.nodes_total_max,
            "fields and values, all operations and fragments expanded",
        )?;
        Ok(all)
    }

    /// The cost of a selection set that lies inside `above` others.
    fn set(&mut self, set: &'d SelectionSet, above: usize) -> Result<Cost, GuardError> {
        if set.items.is_empty() {
            return Ok(Cost::default());
        }
        self.check_level(above + 1)?;
        let mut cost = Cost::default();
        for selection in &set.items {
            let part = match &selection.node {
                Selection::Field(field) => self.field(&field.node, above + 1)?,
                Selection::InlineFragment(fragment) => {
                    let mut part = self.directives(&fragment.node.directives);
                    part.add(self.set(&fragment.node.selection_set.node, above + 1)?);
                    part.nodes += 1;
                    part
                }
                Selection::FragmentSpread(spread) => {
                    let mut part = self.directives(&spread.node.directives);
                    part.add(self.fragment(&spread.node.fragment_name.node, above + 1)?);
                    part.nodes += 1;
                    part
                }
            };
            cost.add(part);
        }
        cost.levels += 1;
        within(cost.nodes, self.options.nodes_max, "fields and values, fragments expanded")?;
        within(cost.aliases, self.options.aliases_max, "aliases, fragments expanded")?;
        Ok(cost)
    }

    fn field(&mut self, field: &'d Field, above: usize) -> Result<Cost, GuardError> {
        let name = field.name.node.as_str();
        let inside = self.set(&field.selection_set.node, above)?;
        let mut cost = self.directives(&field.directives);
        cost.add(self.arguments(&field.arguments));
        cost.add(Cost { fields: 1, ..inside });
        cost.nodes += 1;
        cost.aliases += usize::from(field.alias.is_some());
        cost.lists += usize::from(INTROSPECTION_LISTS.contains(&name));
        if matches!(name, "__schema" | "__type") {
            cost.introspection = inside.nodes;
            within(inside.lists, self.options.introspection_lists_max, "nested lists of introspection")?;
            within(inside.aliases, self.options.introspection_aliases_max, "aliases in introspection")?;
        }
        Ok(cost)
    }

    fn fragment(&mut self, name: &'d Name, above: usize) -> Result<Cost, GuardError> {
        let document = self.document;
        let Some(fragment) = document.fragments.get(name) else { return Ok(Cost::default()) };
        match self.memory.entry(name) {
            Entry::Occupied(known) => match known.get() {
                Known::Begun => Err(GuardError::Cycle(excerpt(name))),
                Known::Cost(cost) => {
                    let cost = *cost;
                    self.check_level(above + cost.levels)?;
                    Ok(cost)
                }
            },
            Entry::Vacant(unknown) => {
                unknown.insert(Known::Begun);
                let mut cost = self.directives(&fragment.node.directives);
                cost.add(self.set(&fragment.node.selection_set.node, above)?);
                self.memory.insert(name, Known::Cost(cost));
                Ok(cost)
            }
        }
    }

    fn check_level(&self, level: usize) -> Result<(), GuardError> {
        within(level, self.options.levels_max, "levels of selections, fragments expanded")
    }

    fn directives(&mut self, directives: &'d [Positioned<Directive>]) -> Cost {
        let mut cost = Cost { nodes: directives.len(), ..Cost::default() };
        for directive in directives {
            cost.add(self.arguments(&directive.node.arguments));
        }
        cost
    }

    fn arguments(&mut self, arguments: &'d [(Positioned<Name>, Positioned<Literal>)]) -> Cost {
        let mut cost = Cost::default();
        for (_, value) in arguments {
            cost.add(self.value(&value.node));
        }
        cost
    }

    fn value(&mut self, value: &'d Literal) -> Cost {
        let mut cost = Cost { nodes: 1, ..Cost::default() };
        match value {
            Literal::Variable(name) => {
                cost.variable_bytes = self.sizes.get(name.as_str()).copied().unwrap_or_default();
                self.written = self.written.saturating_add(cost.variable_bytes);
            }
            Literal::List(items) => items.iter().for_each(|item| cost.add(self.value(item))),
            Literal::Object(members) => members.values().for_each(|member| cost.add(self.value(member))),
            Literal::Null
            | Literal::Number(_)
            | Literal::String(_)
            | Literal::Boolean(_)
            | Literal::Binary(_)
            | Literal::Enum(_) => {}
        }
        cost
    }
}
