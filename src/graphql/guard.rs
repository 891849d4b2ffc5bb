//! The document guard: nothing a stranger wrote reaches the executor before its cost is known and small.
//!
//! Flow: text -> bytes limit -> linear scan (`scan`) -> parser -> expanded cost (`cost`) and conflicts (`conflict`) ->
//! [`ExecutableDocument`]; then [`admit_variables`] for the variables that came with it.
//! Invariants: every step costs at most a small constant times the limits of [`GuardOptions`]; the parser, which recurses on the
//! stack for every bracket, and the executor's visitors, which expand fragments without memory, see admitted documents only.
//! Not here: whether the document fits the schema (async-graphql's validation), what a resolver costs (complexity limit).

mod conflict;
mod cost;
mod scan;

use crate::error::{Code, Refusal, excerpt};
use async_graphql::{
    Pos, Variables,
    parser::{
        self, parse_query, parse_schema,
        types::{BaseType, ExecutableDocument, Type, TypeSystemDefinition},
    },
};
use std::{collections::BTreeSet, sync::Arc};

/// The scalars that every schema has without declaring them.
const BUILT_IN_SCALARS: [&str; 5] = ["Boolean", "Float", "ID", "Int", "String"];
/// The longest message of a parser that a caller is shown, in characters.
const SYNTAX_CHARS_MAX: usize = 150;

/// What a document may cost at most. "Expanded" counts a fragment again wherever it is spread.
#[derive(Clone, Debug)]
pub struct GuardOptions {
    /// Bytes of the document.
    pub document_bytes_max: usize,
    /// Open brackets at any place; `{`, `[` and `(` are counted together.
    pub brackets_max: usize,
    /// Tokens: names, numbers, strings and punctuation.
    pub tokens_max: usize,
    /// Bytes of all names together: validation compares each unknown one with those that exist, byte by byte.
    pub name_bytes_max: usize,
    /// Directives, as written.
    pub directives_max: usize,
    /// Operations in one document.
    pub operations_max: usize,
    /// Nested selection sets, those of fragments included, expanded.
    pub levels_max: usize,
    /// Fields, fragments, directives and argument values of any one operation or fragment, expanded.
    pub nodes_max: usize,
    /// The same, all operations and all fragments together.
    pub nodes_total_max: usize,
    /// Aliases of any one operation or fragment, expanded.
    pub aliases_max: usize,
    /// Root fields of an operation, expanded.
    pub root_fields_max: usize,
    /// Nodes below `__schema` and `__type` of an operation, expanded; the standard introspection query has about 250.
    pub introspection_nodes_max: usize,
    /// Lists within lists below `__schema` and `__type`: each level multiplies the answer by the size of the schema.
    pub introspection_lists_max: usize,
    /// Aliases below `__schema` and `__type`, expanded.
    pub introspection_aliases_max: usize,
    /// Bytes of variables that may be copied because a variable is used more than once.
    pub variable_copies_max: usize,
    /// The types of the schema; with `None` the types of variables are not looked at. See [`GuardOptions::for_schema`].
    pub types: Option<Arc<BTreeSet<String>>>,
}

impl Default for GuardOptions {
    fn default() -> Self {
        GuardOptions {
            document_bytes_max: 64 * 1024,
            brackets_max: 32,
            tokens_max: 4_000,
            name_bytes_max: 24 * 1024,
            directives_max: 64,
            operations_max: 32,
            levels_max: 24,
            nodes_max: 2_000,
            nodes_total_max: 6_000,
            aliases_max: 200,
            root_fields_max: 32,
            introspection_nodes_max: 350,
            introspection_lists_max: 2,
            introspection_aliases_max: 0,
            variable_copies_max: 256 * 1024,
            types: None,
        }
    }
}

impl GuardOptions {
    /// Also refuses variables whose type is not in the schema (given as SDL): async-graphql 8.0.0-rc.5 panics while it
    /// validates the default value of a variable that is a list of an unknown type.
    ///
    /// # Errors
    /// When the SDL is not one.
    pub fn for_schema(self, sdl: &str) -> Result<Self, parser::Error> {
        let declared = parse_schema(sdl)?.definitions.into_iter().filter_map(|definition| match definition {
            TypeSystemDefinition::Type(declared) => Some(declared.node.name.node.to_string()),
            TypeSystemDefinition::Schema(_) | TypeSystemDefinition::Directive(_) => None,
        });
        let types = BUILT_IN_SCALARS.into_iter().map(str::to_owned).chain(declared).collect();
        Ok(GuardOptions { types: Some(Arc::new(types)), ..self })
    }
}

/// Why a document is not admitted.
#[derive(Debug, thiserror::Error)]
enum GuardError {
    #[error("the document has {bytes} bytes; allowed are fewer than {allowed}")]
    TooLarge { bytes: usize, allowed: usize },
    #[error("the document has more than {allowed} {what}")]
    TooComplex { what: &'static str, allowed: usize },
    #[error("the bracket {bracket:?} at {pos} has no counterpart")]
    Unbalanced { bracket: char, pos: Pos },
    #[error("the string that starts at {pos} has no end")]
    Unterminated { pos: Pos },
    #[error("syntax error at {pos}: {message}")]
    Syntax { message: String, pos: Pos },
    #[error("the document cannot be read: {0}")]
    Document(parser::Error),
    #[error("fragment {0:?} spreads itself")]
    Cycle(String),
    #[error("the fields at {first} and {second} have the same key {key:?} but differ in name or arguments")]
    Conflict { key: String, first: Pos, second: Pos },
    #[error("introspection selects the key {key:?} twice in one place")]
    Repeated { key: String, pos: Pos },
    #[error("variable {variable:?} has the unknown type {unknown:?}")]
    UnknownType { variable: String, unknown: String, pos: Pos },
}

impl From<GuardError> for Refusal {
    fn from(error: GuardError) -> Self {
        let code = match error {
            GuardError::TooLarge { .. } => Code::TooLarge,
            GuardError::TooComplex { .. } | GuardError::Repeated { .. } => Code::DocumentTooComplex,
            GuardError::Unbalanced { .. }
            | GuardError::Unterminated { .. }
            | GuardError::Syntax { .. }
            | GuardError::Document(_)
            | GuardError::Cycle(_)
            | GuardError::Conflict { .. }
            | GuardError::UnknownType { .. } => Code::BadRequest,
        };
        let refusal = Refusal::new(code, error.to_string());
        match error {
            GuardError::TooLarge { allowed, .. } => {
                refusal.with("limit", "bytes").with("allowed", allowed.to_string())
            }
            GuardError::TooComplex { what, allowed } => {
                refusal.with("limit", what).with("allowed", allowed.to_string())
            }
            GuardError::Unbalanced { pos, .. }
            | GuardError::Unterminated { pos }
            | GuardError::Syntax { pos, .. }
            | GuardError::Conflict { second: pos, .. }
            | GuardError::Repeated { pos, .. }
            | GuardError::UnknownType { pos, .. } => {
                refusal.with("line", pos.line.to_string()).with("column", pos.column.to_string())
            }
            GuardError::Document(_) | GuardError::Cycle(_) => refusal,
        }
    }
}

impl From<parser::Error> for GuardError {
    fn from(error: parser::Error) -> Self {
        let pos = error.positions().next();
        match (error, pos) {
            (parser::Error::Syntax { message, .. }, Some(pos)) => {
                GuardError::Syntax { message: expectation(&message), pos }
            }
            (parser::Error::OperationDuplicated { operation, .. }, Some(pos)) => GuardError::Syntax {
                message: format!("operation {:?} is defined twice", excerpt(&operation)),
                pos,
            },
            (parser::Error::FragmentDuplicated { fragment, .. }, Some(pos)) => GuardError::Syntax {
                message: format!("fragment {:?} is defined twice", excerpt(&fragment)),
                pos,
            },
            (other, _) => GuardError::Document(other),
        }
    }
}

/// The last line of the parser's drawing, which says what it expected, without the lines of the document above it.
fn expectation(drawing: &str) -> String {
    let last = drawing.lines().next_back().unwrap_or_default().trim_start_matches([' ', '=']);
    last.chars().take(SYNTAX_CHARS_MAX).collect()
}

/// Parses a document once it is known that parsing, validating and planning it stays cheap.
///
/// # Errors
/// `TOO_LARGE` for bytes, `DOCUMENT_TOO_COMPLEX` for every other limit (details `limit` and `allowed`), `BAD_REQUEST` for what
/// is no document, with `line` and `column` where there is a place: bad syntax, open brackets or strings, fragments that spread
/// themselves, fields that conflict. A spread of an unknown fragment is left to validation.
pub fn admit(query: &str, options: &GuardOptions) -> Result<ExecutableDocument, Refusal> {
    if query.len() >= options.document_bytes_max {
        let (bytes, allowed) = (query.len(), options.document_bytes_max);
        return Err(GuardError::TooLarge { bytes, allowed }.into());
    }
    scan::scan(query, options)?;
    let document = parse_query(query).map_err(GuardError::from)?;
    cost::check(&document, options)?;
    conflict::check(&document)?;
    check_types(&document, options)?;
    Ok(document)
}

/// Checks that the variables stay small where the document uses them: the executor copies a variable for every use.
///
/// # Errors
/// `DOCUMENT_TOO_COMPLEX`.
pub fn admit_variables(
    document: &ExecutableDocument,
    variables: &Variables,
    options: &GuardOptions,
) -> Result<(), Refusal> {
    Ok(cost::check_variables(document, variables, options)?)
}

fn check_types(document: &ExecutableDocument, options: &GuardOptions) -> Result<(), GuardError> {
    let Some(types) = &options.types else { return Ok(()) };
    let definitions =
        document.operations.iter().flat_map(|(_, operation)| &operation.node.variable_definitions);
    for definition in definitions {
        let name = named(&definition.node.var_type.node);
        if !types.contains(name) {
            return Err(GuardError::UnknownType {
                variable: excerpt(&definition.node.name.node),
                unknown: excerpt(name),
                pos: definition.pos,
            });
        }
    }
    Ok(())
}

/// The name inside the lists of a type.
fn named(mut of: &Type) -> &str {
    loop {
        match &of.base {
            BaseType::Named(name) => return name,
            BaseType::List(inner) => of = inner,
        }
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
