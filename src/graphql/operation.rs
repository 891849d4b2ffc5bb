//! What a client's subscription asks for, learned from the engine itself: its document is validated and its arguments are
//! coerced by running it with a [`Capture`].
//!
//! Invariants: nothing is executed but subscription fields, and those only up to their arguments.
//! Not here: what a document may cost (`guard`, before this), the one root field of a subscription and the sharing key
//! (`selection`).

use super::{
    Schema,
    error::{complete, server_error},
    source::Capture,
};
use crate::{
    auth::Principal,
    error::{Code, Refusal},
    fanout::Asked,
};
use async_graphql::{
    Name, Positioned, Request, ServerError,
    parser::types::{
        DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
        SelectionSet,
    },
};
use futures_util::StreamExt;
use std::collections::HashSet;

/// Validates a subscription and gives what it asks for; the request may hold its parsed document already. Fails with the
/// errors to answer, each with its code.
///
/// Cancel safety: yes.
pub async fn prepare(
    schema: &Schema,
    request: Request,
    principal: &Principal,
) -> Result<Asked, Vec<ServerError>> {
    let asked = match reachable(request) {
        Ok(request) => capture(schema, request, principal).await,
        Err(error) => Err(vec![error]),
    };
    asked.map_err(|mut errors| {
        complete(&mut errors);
        errors
    })
}

async fn capture(
    schema: &Schema,
    request: Request,
    principal: &Principal,
) -> Result<Asked, Vec<ServerError>> {
    let capture = Capture::default();
    let mut responses = schema.execute_stream(request.data(capture.clone()).data(principal.clone()));
    while let Some(response) = responses.next().await {
        response.into_result()?;
    }
    capture.asked().ok_or_else(|| vec![refused("a subscription needs a root field that is not skipped")])
}

/// The request with a root field that the engine sees: it runs the fields that stand in the operation itself and passes over
/// those in fragments. Such a one gets a twin in the operation, with the same arguments.
fn reachable(mut request: Request) -> Result<Request, ServerError> {
    let mut document = request.parsed_query()?.clone();
    let operation =
        operation(&mut document.operations, request.operation_name.as_deref()).ok_or_else(|| {
            refused("the document has no operation of that name, or several and no name was given")
        })?;
    if operation.ty != OperationType::Subscription {
        return Err(refused("the operation is not a subscription"));
    }
    let set = &operation.selection_set.node;
    if !set.items.iter().any(|item| matches!(item.node, Selection::Field(_))) {
        let selected = set.clone();
        let twin = root_field(&document, &selected, &mut HashSet::new()).map(twin);
        if let Some(operation) = self::operation(&mut document.operations, request.operation_name.as_deref())
        {
            operation.selection_set.node.items.extend(twin);
        }
    }
    request.set_parsed_query(document);
    Ok(request)
}

fn operation<'d>(
    operations: &'d mut DocumentOperations,
    name: Option<&str>,
) -> Option<&'d mut OperationDefinition> {
    let operation = match (operations, name) {
        (DocumentOperations::Single(only), None) => Some(only),
        (DocumentOperations::Single(_), Some(_)) => None,
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get_mut(name),
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => {
            operations.values_mut().next()
        }
        (DocumentOperations::Multiple(_), None) => None,
    };
    operation.map(|operation| &mut operation.node)
}

/// The first field of a selection set, out of its fragments; each named fragment is looked into once.
fn root_field<'d>(
    document: &'d ExecutableDocument,
    set: &'d SelectionSet,
    seen: &mut HashSet<&'d Name>,
) -> Option<&'d Positioned<Field>> {
    set.items.iter().find_map(|item| match &item.node {
        Selection::Field(field) => Some(field),
        Selection::InlineFragment(fragment) => root_field(document, &fragment.node.selection_set.node, seen),
        Selection::FragmentSpread(spread) => {
            let name = &spread.node.fragment_name.node;
            let fragment = document.fragments.get(name).filter(|_| seen.insert(name))?;
            root_field(document, &fragment.node.selection_set.node, seen)
        }
    })
}

fn twin(field: &Positioned<Field>) -> Positioned<Selection> {
    let typename = Field {
        alias: None,
        name: Positioned::new(Name::new("__typename"), field.pos),
        arguments: Vec::new(),
        directives: Vec::new(),
        selection_set: Positioned::new(SelectionSet::default(), field.pos),
    };
    let mut twin = field.clone();
    twin.node.selection_set.node.items =
        vec![Positioned::new(Selection::Field(Positioned::new(typename, field.pos)), field.pos)];
    Positioned::new(Selection::Field(twin), field.pos)
}

fn refused(message: &'static str) -> ServerError {
    server_error(Refusal::new(Code::BadRequest, message))
}

#[cfg(test)]
#[path = "operation_tests.rs"]
mod tests;
