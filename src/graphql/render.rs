//! A selection as a form of the fan-out: the response of each event, once for all who share it.
//!
//! Flow: a selection that has a [`Plan`] is written by it. For any other one execution runs: an event is put into its [`Feed`], its
//! one response comes out of the stream and is encoded. Either way the response gets the event's cursor.
//! Invariants: in lock-step: one event in, one response out. An execution that was left in the middle (a panic, a dropped
//! future) or that ended is thrown away; the next event starts a new one.
//! Not here: which events (`bus`, `fanout`), what the selection is (`selection`).

mod plan;

use super::{
    Schema,
    error::{complete, server_error},
    source::Feed,
};
use crate::{
    error::{Code, Refusal},
    event::{Cursor, Event},
    fanout::{Form, RenderFuture, Renderer},
};
use async_graphql::{Request, Response, Value};
use futures_util::{StreamExt, stream::BoxStream};
use plan::Plan;
use std::{fmt, io::Write as _, sync::Arc};

/// A renderer keeps so much memory between events, as there is one for each selection.
const SCRATCH_BYTES_MAX: usize = 4 * 1024;

/// Events as one selection of GraphQL shows them. Cloning shares it.
#[derive(Clone)]
pub struct SelectionForm {
    schema: Schema,
    key: Arc<str>,
    text: Arc<str>,
}

impl SelectionForm {
    /// The form of a canonical document with one subscription field (`selection::Selection::text`), valid for the schema.
    pub fn new(schema: Schema, text: &str) -> Self {
        SelectionForm { schema, key: format!("graphql:{text}").into(), text: text.into() }
    }
}

impl fmt::Debug for SelectionForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SelectionForm").field(&self.key).finish()
    }
}

impl Form for SelectionForm {
    fn key(&self) -> &str {
        &self.key
    }

    fn renderer(&self) -> Box<dyn Renderer> {
        let plan = Plan::new(&self.text);
        Box::new(SelectionRenderer { form: self.clone(), plan, execution: None, scratch: Vec::new() })
    }

    fn failed(&self, event: &Event) -> String {
        let refusal = Refusal::new(Code::Internal, "this event could not be rendered").with("id", event.id());
        let response = Response::from_errors(vec![server_error(refusal)]);
        // Text members alone always have a JSON form.
        encode(response, event.cursor(), &mut Vec::new()).unwrap_or_default()
    }
}

struct SelectionRenderer {
    form: SelectionForm,
    plan: Option<Plan>,
    execution: Option<Execution>,
    /// Where responses are encoded; what is kept of them has just their size.
    scratch: Vec<u8>,
}

struct Execution {
    feed: Feed,
    responses: BoxStream<'static, Response>,
}

impl Execution {
    fn start(form: &SelectionForm) -> Self {
        let feed = Feed::default();
        // No principal: what resolvers can read must not be more than the event, which its view has been applied to.
        let request = Request::new(&*form.text).data(feed.clone());
        Execution { feed, responses: form.schema.execute_stream(request) }
    }
}

impl SelectionRenderer {
    /// The response of an event by the plan, if there is one.
    fn written(&mut self, event: &Arc<Event>) -> Option<String> {
        self.scratch.clear();
        self.plan.as_mut()?.write(event, &mut self.scratch)?;
        // A cursor has nothing in it that JSON would escape.
        write!(self.scratch, ",\"extensions\":{{\"cursor\":\"{}\"}}}}", event.cursor()).ok()?;
        taken(&mut self.scratch)
    }
}

impl Renderer for SelectionRenderer {
    fn render<'a>(&'a mut self, event: &'a Arc<Event>) -> RenderFuture<'a> {
        if let Some(text) = self.written(event) {
            return Box::pin(std::future::ready(Some(text)));
        }
        Box::pin(async move {
            // Taken out while it runs: only an execution that came to its end is used again.
            let mut execution = self.execution.take().unwrap_or_else(|| Execution::start(&self.form));
            execution.feed.put(Arc::clone(event));
            let response = execution.responses.next().await;
            if execution.feed.is_full() {
                // Errors alone: what the event says has no place in the log output.
                let errors = response.map(|response| response.errors);
                tracing::error!(form = ?self.form, ?errors, "a selection is not executed");
                return None;
            }
            let text = encode(response?, event.cursor(), &mut self.scratch)?;
            self.execution = Some(execution);
            Some(text)
        })
    }
}

/// The response of an event as it is sent.
fn encode(mut response: Response, cursor: Cursor, scratch: &mut Vec<u8>) -> Option<String> {
    complete(&mut response.errors);
    let response = response.extension("cursor", Value::String(cursor.to_string()));
    scratch.clear();
    serde_json::to_writer(&mut *scratch, &response)
        .inspect_err(|error| tracing::error!(%error, "a response has no JSON form"))
        .ok()?;
    taken(scratch)
}

/// What was written into the scratch, in just its size.
fn taken(scratch: &mut Vec<u8>) -> Option<String> {
    let text = str::from_utf8(scratch).ok().map(str::to_owned);
    scratch.shrink_to(SCRATCH_BYTES_MAX);
    text
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
