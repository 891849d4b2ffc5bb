//! Executes GraphQL operations for every transport: the one file of the edge that knows the executor.
//!
//! Flow: a document passes the guard, then a query or mutation is executed, and a subscription becomes a member of the group
//! of its selection.
//! Invariants: no text reaches the parser but through the guard; a subscription's arguments are coerced by the executor itself,
//! on the client's own document.

use super::{
    App,
    course::Course,
    following::{Followed, Place},
};
use crate::{
    auth::Principal,
    error::{Code, Refusal},
    event::{Cursor, StartPosition},
    fanout::Asked,
    graphql::{
        self, SelectionForm, Speaking,
        error::{complete, graphql_error},
        guard, selection,
    },
    protocol::{Operation, write_errors},
};
use async_graphql::{
    Pos, Request, Response, Value, Variables,
    parser::types::{ExecutableDocument, OperationType},
};
use futures_util::FutureExt;
use std::{panic::AssertUnwindSafe, sync::Arc};

/// An answer lists no more errors than a person reads; a document can hold thousands.
const ERRORS_MAX: usize = 20;

/// What became of an operation.
#[derive(Debug)]
pub(super) enum Begun {
    /// A query or a mutation: its response.
    Answered(String),
    /// A subscription that delivers into the mailbox.
    Live(Followed),
    /// Nothing was executed: a JSON array of errors.
    Refused(String),
}

/// Why a subscription did not begin; either holds a JSON array of errors.
#[derive(Debug)]
pub(super) enum NotBegun {
    /// The request itself is wrong (GraphQL specification, "request error").
    Invalid(String),
    /// The request is right, but what it asks for cannot be had, such as a position that is gone.
    Refused(String),
}

impl NotBegun {
    /// The errors.
    pub(super) fn into_errors(self) -> String {
        match self {
            NotBegun::Invalid(errors) | NotBegun::Refused(errors) => errors,
        }
    }
}

/// The answer to a query or mutation.
#[derive(Debug)]
pub(super) struct Answer {
    /// The response, encoded; without `data` when nothing was executed.
    pub(super) text: String,
    /// Was the request refused before execution (GraphQL specification, "request error")?
    pub(super) is_request_error: bool,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// Reads.
    Query,
    /// Changes.
    Mutate,
    /// Follows.
    Subscribe,
}

impl Does {
    /// The word for an operation that does this.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Does::Query => "query",
            Does::Mutate => "mutation",
            Does::Subscribe => "subscription",
        }
    }
}

/// An operation that passed the guard.
#[derive(Debug)]
pub(super) struct Admitted {
    kind: OperationType,
    document: Arc<ExecutableDocument>,
    variables: Variables,
    operation: Operation,
    correlation_id: Option<Arc<str>>,
}

impl Admitted {
    /// Does the client want to be told when the subscription can miss nothing any more?
    pub(super) fn wants_ready(&self) -> bool {
        self.operation.wants_ready()
    }

    /// What it does.
    pub(super) fn does(&self) -> Does {
        match self.kind {
            OperationType::Query => Does::Query,
            OperationType::Mutation => Does::Mutate,
            OperationType::Subscription => Does::Subscribe,
        }
    }

    /// Who speaks, in the request that the operation says it belongs to.
    fn spoken_by(&self, principal: &Principal) -> Principal {
        match &self.correlation_id {
            Some(id) => principal.clone().in_request(Arc::clone(id)),
            None => principal.clone(),
        }
    }

    /// What is told of it.
    fn course(&self, app: &App, principal: &Principal) -> Course {
        let name = selection::operation_name(&self.document, self.operation.operation_name.as_deref());
        Course::of(app, principal, self.does(), name)
    }
}

/// Lets a document in, or not.
pub(super) fn admit(app: &App, operation: Operation) -> Result<Admitted, Refusal> {
    let document = app.documents.admit(&operation.query)?;
    let variables = match &operation.variables {
        Some(json) => crate::event::json::read(json.as_str())?,
        None => Variables::default(),
    };
    guard::admit_variables(&document, &variables, app.documents.options())?;
    let name = operation.operation_name.as_deref();
    let kind = selection::operation_kind(&document, name)?;
    let variables = selection::with_defaults(&document, name, variables)?;
    let correlation_id = operation.correlation_id()?.map(Arc::from);
    Ok(Admitted { kind, document, variables, operation, correlation_id })
}

/// Begins whatever the operation is; a subscription delivers to the place.
pub(super) async fn begin(app: &App, principal: &Principal, operation: Operation, place: Place<'_>) -> Begun {
    let charged = principal.charge_operation();
    let admitted = match charged.and_then(|()| admit(app, operation)) {
        Ok(admitted) => admitted,
        Err(refusal) => return Begun::Refused(errors(&refusal)),
    };
    if admitted.kind == OperationType::Subscription {
        return match subscribe(app, principal, admitted, None, place).await {
            Ok(followed) => Begun::Live(followed),
            Err(not_begun) => Begun::Refused(not_begun.into_errors()),
        };
    }
    let response = respond(app, principal, admitted, Some(place.number)).await;
    match is_request_error(&response) {
        true => Begun::Refused(encode(&response.errors)),
        false => Begun::Answered(encode(&response)),
    }
}

/// Begins a subscription, which delivers to the place. It resumes after the cursor, if there is one,
/// whatever its argument says.
pub(super) async fn subscribe(
    app: &App,
    principal: &Principal,
    admitted: Admitted,
    resume: Option<Cursor>,
    place: Place<'_>,
) -> Result<Followed, NotBegun> {
    let principal = admitted.spoken_by(principal);
    let mut course = admitted.course(app, &principal);
    // A defect of a resolver costs this operation and nobody else.
    let followed = AssertUnwindSafe(follow(app, &principal, admitted, resume, place)).catch_unwind().await;
    // Whoever follows what is told of operations is told of its own.
    course.begins();
    match followed.unwrap_or_else(|_| Err(NotBegun::Refused(errors(&defect())))) {
        Ok(followed) => Ok(followed.on(course)),
        Err(not_begun) => {
            course.failed(1);
            Err(not_begun)
        }
    }
}

/// Executes a query or mutation that was sent over the connection of this number, or in a request of its own.
pub(super) async fn execute(
    app: &App,
    principal: &Principal,
    admitted: Admitted,
    number: Option<u64>,
) -> Answer {
    let response = respond(app, principal, admitted, number).await;
    let is_request_error = is_request_error(&response);
    let text = match is_request_error {
        true => not_executed(&encode(&response.errors)),
        false => encode(&response),
    };
    Answer { text, is_request_error }
}

/// The answer to an operation that was refused before it reached the executor.
pub(super) fn refused(refusal: &Refusal) -> Answer {
    Answer { text: not_executed(&errors(refusal)), is_request_error: true }
}

/// The response to what was not executed, for a JSON array of errors.
pub(super) fn not_executed(errors: &str) -> String {
    format!(r#"{{"errors":{errors}}}"#)
}

async fn respond(app: &App, principal: &Principal, admitted: Admitted, number: Option<u64>) -> Response {
    let principal = admitted.spoken_by(principal);
    let mut course = admitted.course(app, &principal);
    course.begins();
    let request = request(app, &admitted, &principal);
    let request = match number {
        Some(number) => request.data(Speaking { connection: number }),
        None => request,
    };
    // A defect of a resolver costs this operation and nobody else.
    let executed = AssertUnwindSafe(app.schema.execute(request)).catch_unwind().await;
    let mut response = executed.unwrap_or_else(|_| {
        Response::from_errors(vec![graphql_error(defect()).into_server_error(Pos::default())])
    });
    course.failed(response.errors.len());
    response.errors.truncate(ERRORS_MAX);
    complete(&mut response.errors);
    response
}

fn defect() -> Refusal {
    tracing::error!("an operation could not be executed");
    Refusal::new(Code::Internal, "the operation could not be executed")
}

async fn follow(
    app: &App,
    principal: &Principal,
    admitted: Admitted,
    resume: Option<Cursor>,
    place: Place<'_>,
) -> Result<Followed, NotBegun> {
    let turn = app.openings.turn().await;
    let name = admitted.operation.operation_name.as_deref();
    let request = request(app, &admitted, principal);
    let asked = graphql::prepare(&app.schema, request, principal).await.map_err(|errors| {
        let text = encode(&errors);
        match errors.iter().all(|error| error.path.is_empty()) {
            true => NotBegun::Invalid(text),
            false => NotBegun::Refused(text),
        }
    })?;
    let selection =
        selection::select(&admitted.document, name, &admitted.variables, graphql::REQUIRED_ARGUMENTS)
            .map_err(|refusal| NotBegun::Invalid(errors(&refusal)))?;
    let form = SelectionForm::new(app.schema.clone(), &selection.text);
    let start = resume.map_or(asked.start, StartPosition::After);
    let asked = Asked { start, ..asked };
    // Finding the start may wait for the log, and a few of those must not hold up everybody who opens.
    drop(turn);
    app.subscribe(principal, Arc::new(form), asked, place)
        .await
        .map_err(|refusal| NotBegun::Refused(errors(&refusal)))
}

fn request(app: &App, admitted: &Admitted, principal: &Principal) -> Request {
    let request = Request::new("").variables(admitted.variables.clone()).data(principal.clone());
    let mut request = match app.introspects(principal) {
        true => request,
        false => request.disable_introspection(),
    };
    request.operation_name.clone_from(&admitted.operation.operation_name);
    request.set_parsed_query(ExecutableDocument::clone(&admitted.document));
    request
}

/// Field errors have a path; errors without one, and without data, come from before the execution.
fn is_request_error(response: &Response) -> bool {
    response.data == Value::Null
        && !response.errors.is_empty()
        && response.errors.iter().all(|error| error.path.is_empty())
}

fn errors(refusal: &Refusal) -> String {
    let mut text = String::new();
    write_errors(std::slice::from_ref(refusal), &mut text);
    text
}

fn encode<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a response of strings, numbers and lists is JSON")
}
