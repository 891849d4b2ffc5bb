//! Refusals in GraphQL's form: `message` for people, `extensions` with `code`, `next` and the refusal's details for programs.
//!
//! Invariants: every error that leaves this room has an `extensions.code`, those of the engine itself included.

use crate::error::{Code, Refusal};
use async_graphql::{Error, ErrorExtensionValues, ServerError, Value};
use std::sync::Arc;

/// A refusal as a resolver returns it.
pub fn graphql_error(refusal: Refusal) -> Error {
    let mut extensions = ErrorExtensionValues::default();
    for (name, value) in refusal.members() {
        extensions.set(name, Value::from_json(value).unwrap_or_default());
    }
    Error {
        message: refusal.message.clone().into_owned(),
        source: Some(Arc::new(refusal)),
        extensions: Some(extensions),
    }
}

/// The code of an error, whoever made it: a refusal's own, else that of the engine's complaint about the document.
pub fn code_of(error: &ServerError) -> Code {
    match (error.source::<Refusal>(), error.message.as_str()) {
        (Some(refusal), _) => refusal.code,
        // These two come from the engine's limits, which have no code of their own.
        (None, "Query is too complex." | "Query is nested too deep.") => Code::DocumentTooComplex,
        (None, _) => Code::BadRequest,
    }
}

/// Gives `code` and `next` to those errors that came from the engine without them.
pub fn complete(errors: &mut [ServerError]) {
    for error in errors {
        let code = code_of(error);
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            extensions.set("code", code.name());
            extensions.set("next", code.next());
        }
    }
}

/// A refusal that no resolver made, such as one of the operation as a whole.
pub(super) fn server_error(refusal: Refusal) -> ServerError {
    let Error { message, source, extensions } = graphql_error(refusal);
    let mut error = ServerError::new(message, None);
    error.source = source;
    error.extensions = extensions;
    error
}
