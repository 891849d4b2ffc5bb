//! What a subscription selects, as one canonical text that everybody who selects the same can share.
//!
//! Flow: (document, operation name, variables) -> [`Selection`]; its text is the sharing key and the document that the shared
//! group executes.
//! Invariants: the text is a fixed point: selecting from it gives it again. Executing it gives the same bytes as executing the
//! original. It holds no variables, so two texts are equal only if everything that resolvers of the payload can read is equal.
//! Not here: the arguments of the root field, which are the filter (async-graphql coerces them); validation, which has happened.

mod text;

use crate::error::{Code, Refusal, excerpt};
use async_graphql::{
    Name, Positioned, Value, Variables,
    parser::types::{
        Directive, DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType,
        Selection as Part, SelectionSet, VariableDefinition,
    },
};
use async_graphql_value::Value as Literal;
use std::collections::HashSet;
use text::{
    check_length, write_arguments, write_constant, write_key, write_list, write_name, write_object,
    write_string,
};

/// The most fields and fragments that are written; the guard allows fewer, so this only holds for unguarded documents.
const PARTS_MAX: usize = 10_000;
/// The deepest nesting of selections and fragments; the guard allows less.
const LEVELS_MAX: usize = 64;
/// Selects nothing and is valid everywhere: what is left of a selection set when `@skip` took all of it.
const NOTHING: &str = "...@include(if:false){__typename}";

/// What a subscription selects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selection {
    /// The name (not the alias) of the root field.
    pub root: Name,
    /// The canonical document.
    pub text: String,
}

/// Why there is no canonical selection.
#[derive(Debug, thiserror::Error)]
enum SelectionError {
    #[error("the document has no operation named {0:?}")]
    UnknownOperation(String),
    #[error("the document has {0} operations: say which with operationName")]
    OperationNameNeeded(usize),
    #[error("the operation is a {0}, not a subscription")]
    NotSubscription(OperationType),
    #[error("a subscription must have exactly one root field, this one has {0}")]
    RootFields(usize),
    #[error("{0:?} cannot be the root field of a subscription")]
    RootIntrospection(String),
    #[error("@{0} is not allowed on the root field of a subscription")]
    RootDirective(String),
    #[error("directive @{0} is not allowed in a subscription")]
    Directive(String),
    #[error("@{0} needs the argument \"if\" with a Boolean")]
    Condition(String),
    #[error("variable {0:?} is not defined by the operation")]
    VariableUndefined(String),
    #[error("variable {0:?} needs a value")]
    VariableMissing(String),
    #[error("there is no fragment {0:?}")]
    UnknownFragment(String),
    #[error("fragment {0:?} spreads itself")]
    Cycle(String),
    #[error("{0:?} cannot stand in a document: it is not a GraphQL name")]
    NotAName(String),
    #[error("a file cannot be an argument of a subscription")]
    Binary,
    #[error("the selection has more than {allowed} {what}")]
    TooLarge { what: &'static str, allowed: usize },
}

impl From<SelectionError> for Refusal {
    fn from(error: SelectionError) -> Self {
        let refusal = Refusal::new(Code::BadRequest, error.to_string());
        match error {
            SelectionError::TooLarge { what, allowed } => {
                Refusal { code: Code::DocumentTooComplex, ..refusal }
                    .with("limit", what)
                    .with("allowed", allowed.to_string())
            }
            SelectionError::UnknownOperation(_) | SelectionError::OperationNameNeeded(_) => {
                refusal.with("field", "operationName")
            }
            SelectionError::VariableUndefined(name) | SelectionError::VariableMissing(name) => {
                refusal.with("variable", name)
            }
            SelectionError::NotSubscription(_)
            | SelectionError::RootFields(_)
            | SelectionError::RootIntrospection(_)
            | SelectionError::RootDirective(_)
            | SelectionError::Directive(_)
            | SelectionError::Condition(_)
            | SelectionError::UnknownFragment(_)
            | SelectionError::Cycle(_)
            | SelectionError::NotAName(_)
            | SelectionError::Binary => refusal,
        }
    }
}

/// Is the operation that would run a query, a mutation or a subscription?
///
/// # Errors
/// `BAD_REQUEST` when there is no operation of that name, or no name and several operations.
pub fn operation_kind(
    document: &ExecutableDocument,
    operation_name: Option<&str>,
) -> Result<OperationType, Refusal> {
    Ok(operation(document, operation_name)?.ty)
}

/// The name of the operation that would run; `None` for one without.
pub fn operation_name<'d>(document: &'d ExecutableDocument, given: Option<&'d str>) -> Option<&'d str> {
    match (&document.operations, given) {
        (DocumentOperations::Single(_), _) => None,
        (DocumentOperations::Multiple(_), Some(given)) => Some(given),
        (DocumentOperations::Multiple(operations), None) => operations.keys().next().map(Name::as_str),
    }
}

/// The variables of the operation that would run, with the defaults of those that were left out: async-graphql 8.0.0-rc.5 looks at
/// given variables only when it resolves `@skip` and `@include`.
///
/// # Errors
/// As [`operation_kind`].
pub fn with_defaults(
    document: &ExecutableDocument,
    operation_name: Option<&str>,
    mut variables: Variables,
) -> Result<Variables, Refusal> {
    for definition in &operation(document, operation_name)?.variable_definitions {
        let Some(default) = &definition.node.default_value else { continue };
        variables.entry(definition.node.name.node.clone()).or_insert_with(|| default.node.clone());
    }
    Ok(variables)
}

/// The canonical selection of a subscription. Of the root field's arguments only those named in `required` stay, each with the
/// value `""`: without them the text would not be valid, and their real values belong to the filter.
///
/// # Errors
/// `BAD_REQUEST` for what cannot be shared, `DOCUMENT_TOO_COMPLEX` for a text above 64 KiB. Any parsed document is answered,
/// valid or not, without a panic.
pub fn select(
    document: &ExecutableDocument,
    operation_name: Option<&str>,
    variables: &Variables,
    required: &[&str],
) -> Result<Selection, Refusal> {
    let operation = operation(document, operation_name)?;
    if operation.ty != OperationType::Subscription {
        return Err(SelectionError::NotSubscription(operation.ty).into());
    }
    if let Some(directive) = operation.directives.first() {
        return Err(SelectionError::Directive(excerpt(&directive.node.name.node)).into());
    }
    let definitions = &operation.variable_definitions;
    let mut writer = Writer { document, variables, definitions, open: Vec::new(), level: 0, parts: 0 };
    let mut roots = Vec::new();
    writer.roots(&operation.selection_set.node, &mut roots)?;
    let [root] = roots.as_slice() else { return Err(SelectionError::RootFields(roots.len()).into()) };
    if root.name.node.starts_with("__") {
        return Err(SelectionError::RootIntrospection(excerpt(&root.name.node)).into());
    }
    let mut text = "subscription{".to_owned();
    write_key(root, &mut text);
    let kept =
        root.arguments.iter().map(|(name, _)| name.node.as_str()).filter(|name| required.contains(name));
    write_arguments(kept.map(|name| (name, "\"\"".to_owned())).collect(), &mut text);
    writer.write_set(&root.selection_set.node, &mut text)?;
    text.push('}');
    check_length(&text)?;
    Ok(Selection { root: root.name.node.clone(), text })
}

fn operation<'d>(
    document: &'d ExecutableDocument,
    name: Option<&str>,
) -> Result<&'d OperationDefinition, SelectionError> {
    let found = match (&document.operations, name) {
        (DocumentOperations::Single(only), None) => Some(only),
        (DocumentOperations::Single(_), Some(_)) => None,
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name),
        (DocumentOperations::Multiple(operations), None) => match operations.len() {
            1 => operations.values().next(),
            count => return Err(SelectionError::OperationNameNeeded(count)),
        },
    };
    found
        .map(|operation| &operation.node)
        .ok_or_else(|| SelectionError::UnknownOperation(excerpt(name.unwrap_or_default())))
}

/// Writes selections with fragments in place and variables replaced.
struct Writer<'d> {
    document: &'d ExecutableDocument,
    variables: &'d Variables,
    definitions: &'d [Positioned<VariableDefinition>],
    /// The fragments around the place that is being written.
    open: Vec<&'d str>,
    level: usize,
    parts: usize,
}

impl<'d> Writer<'d> {
    /// The fields of the root, out of their fragments.
    fn roots(&mut self, set: &'d SelectionSet, roots: &mut Vec<&'d Field>) -> Result<(), SelectionError> {
        self.enter()?;
        for part in &set.items {
            self.count()?;
            if let Some(directive) = part.node.directives().first() {
                return Err(SelectionError::RootDirective(excerpt(&directive.node.name.node)));
            }
            match &part.node {
                Part::Field(field) => roots.push(&field.node),
                Part::InlineFragment(fragment) => self.roots(&fragment.node.selection_set.node, roots)?,
                Part::FragmentSpread(spread) => {
                    let (_, set) = self.open_fragment(&spread.node.fragment_name.node)?;
                    self.roots(set, roots)?;
                    self.open.pop();
                }
            }
        }
        self.level -= 1;
        Ok(())
    }

    /// Writes `{…}`, or nothing for the empty set of a leaf.
    fn write_set(&mut self, set: &'d SelectionSet, text: &mut String) -> Result<(), SelectionError> {
        if set.items.is_empty() {
            return Ok(());
        }
        let parts = self.parts_of(set)?;
        text.push('{');
        text.push_str(&if parts.is_empty() { NOTHING.to_owned() } else { parts.join(" ") });
        text.push('}');
        check_length(text)
    }

    /// What is selected, in order; what is selected a second time in the very same words changes nothing and is left out.
    fn parts_of(&mut self, set: &'d SelectionSet) -> Result<Vec<String>, SelectionError> {
        self.enter()?;
        let mut parts = Vec::new();
        let mut seen = HashSet::new();
        for part in &set.items {
            self.count()?;
            if !self.is_selected(part.node.directives())? {
                continue;
            }
            let text = match &part.node {
                Part::Field(field) => Some(self.field(&field.node)?),
                Part::InlineFragment(fragment) => {
                    let on = fragment.node.type_condition.as_ref().map(|condition| &condition.node.on.node);
                    self.fragment(on, &fragment.node.selection_set.node)?
                }
                Part::FragmentSpread(spread) => {
                    let (on, set) = self.open_fragment(&spread.node.fragment_name.node)?;
                    let text = self.fragment(Some(on), set)?;
                    self.open.pop();
                    text
                }
            };
            if let Some(text) = text
                && seen.insert(text.clone())
            {
                parts.push(text);
            }
        }
        self.level -= 1;
        Ok(parts)
    }

    fn field(&mut self, field: &'d Field) -> Result<String, SelectionError> {
        let mut text = String::new();
        write_key(field, &mut text);
        let mut arguments = Vec::with_capacity(field.arguments.len());
        for (name, value) in &field.arguments {
            // The argument of a nullable variable without a value counts as not given.
            let mut written = String::new();
            if self.write_value(&value.node, &mut written)? {
                arguments.push((name.node.as_str(), written));
            }
        }
        write_arguments(arguments, &mut text);
        self.write_set(&field.selection_set.node, &mut text)?;
        Ok(text)
    }

    /// A fragment in place, or nothing when nothing in it is selected.
    fn fragment(
        &mut self,
        on: Option<&Name>,
        set: &'d SelectionSet,
    ) -> Result<Option<String>, SelectionError> {
        let parts = self.parts_of(set)?;
        if parts.is_empty() {
            return Ok(None);
        }
        let condition = on.map(|on| format!("on {on}")).unwrap_or_default();
        let text = format!("...{condition}{{{}}}", parts.join(" "));
        check_length(&text)?;
        Ok(Some(text))
    }

    /// The type condition and selection set of a fragment, which stays open until the caller pops it.
    fn open_fragment(&mut self, name: &'d Name) -> Result<(&'d Name, &'d SelectionSet), SelectionError> {
        let document = self.document;
        let Some(fragment) = document.fragments.get(name) else {
            return Err(SelectionError::UnknownFragment(excerpt(name)));
        };
        if self.open.contains(&name.as_str()) {
            return Err(SelectionError::Cycle(excerpt(name)));
        }
        self.open.push(name);
        Ok((&fragment.node.type_condition.node.on.node, &fragment.node.selection_set.node))
    }

    /// What `@skip` and `@include` say.
    fn is_selected(&self, directives: &[Positioned<Directive>]) -> Result<bool, SelectionError> {
        let mut selected = true;
        for directive in directives {
            let name = directive.node.name.node.as_str();
            let wanted = match name {
                "include" => true,
                "skip" => false,
                other => return Err(SelectionError::Directive(excerpt(other))),
            };
            let condition = match directive.node.get_argument("if").map(|value| &value.node) {
                Some(Literal::Boolean(condition)) => *condition,
                Some(Literal::Variable(variable)) => match self.variable(variable)? {
                    Some(Value::Boolean(condition)) => *condition,
                    Some(_) | None => return Err(SelectionError::Condition(name.to_owned())),
                },
                Some(_) | None => return Err(SelectionError::Condition(name.to_owned())),
            };
            selected &= condition == wanted;
        }
        Ok(selected)
    }

    /// The value of a variable; none when it is nullable and was not given.
    fn variable(&self, name: &str) -> Result<Option<&'d Value>, SelectionError> {
        let Some(definition) = self.definitions.iter().find(|definition| definition.node.name.node == *name)
        else {
            return Err(SelectionError::VariableUndefined(excerpt(name)));
        };
        let default = definition.node.default_value.as_ref().map(|default| &default.node);
        match self.variables.get(name).or(default) {
            None if !definition.node.var_type.node.nullable => {
                Err(SelectionError::VariableMissing(excerpt(name)))
            }
            value => Ok(value),
        }
    }

    /// Writes a value with its variables replaced and its members sorted; writes nothing and says so for a variable without a
    /// value.
    fn write_value(&self, value: &Literal, text: &mut String) -> Result<bool, SelectionError> {
        match value {
            Literal::Variable(name) => match self.variable(name)? {
                Some(value) => write_constant(value, text)?,
                None => return Ok(false),
            },
            Literal::List(items) => write_list(items, text, |item, text| {
                if !self.write_value(item, text)? {
                    text.push_str("null");
                }
                Ok(())
            })?,
            Literal::Object(members) => {
                write_object(members, text, |member, text| self.write_value(member, text))?;
            }
            Literal::Null => text.push_str("null"),
            Literal::Number(number) => text.push_str(&number.to_string()),
            Literal::Boolean(boolean) => text.push_str(if *boolean { "true" } else { "false" }),
            Literal::String(string) => write_string(string, text),
            Literal::Enum(name) => write_name(name, text)?,
            Literal::Binary(_) => return Err(SelectionError::Binary),
        }
        check_length(text)?;
        Ok(true)
    }

    fn enter(&mut self) -> Result<(), SelectionError> {
        self.level += 1;
        match self.level > LEVELS_MAX {
            true => Err(SelectionError::TooLarge { what: "levels", allowed: LEVELS_MAX }),
            false => Ok(()),
        }
    }

    fn count(&mut self) -> Result<(), SelectionError> {
        self.parts += 1;
        match self.parts > PARTS_MAX {
            true => Err(SelectionError::TooLarge { what: "fields and fragments", allowed: PARTS_MAX }),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "selection_tests.rs"]
mod tests;
