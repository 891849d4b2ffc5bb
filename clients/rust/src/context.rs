//! What the services that work on one request have in common: a [`RequestContext`], taken from the headers that came in and
//! given to those that go out.
//!
//! Invariants: headers that are missing or not as they should be are replaced, never passed on; the trace keeps its id from the
//! first service to the last, and each service has a span of its own in it.
//! Not here: the syntax of `traceparent` (`trace`).

use crate::{
    Event,
    trace::{self, TraceContext},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{fmt, sync::Arc};

/// The header of the correlation id.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// The header of the trace (W3C Trace Context, level 1).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header of what vendors of tracing systems add to the trace.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest correlation id that the server takes.
const CORRELATION_ID_BYTES_MAX: usize = 128;

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// The request that is being worked on: its correlation id and its trace. Cloning shares it.
///
/// ```
/// use fanfare_client::RequestContext;
///
/// let mut incoming = http::HeaderMap::new();
/// incoming.insert("x-correlation-id", "order-7".parse().unwrap());
/// incoming.insert("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap());
/// let context = RequestContext::from_headers(&incoming);
///
/// // For every request that this one causes: the same correlation id and trace, from this service's span.
/// let outgoing = context.headers();
/// assert_eq!(outgoing["x-correlation-id"], "order-7");
/// assert!(outgoing["traceparent"].to_str().unwrap().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
/// assert_ne!(outgoing["traceparent"], incoming["traceparent"]);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RequestContext(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    correlation_id: Box<str>,
    trace: TraceContext,
}

impl RequestContext {
    /// The context of work that nobody asked for by HTTP, such as a timer's: a new trace, with its id as the correlation id.
    pub fn new() -> Self {
        Self::from_values(None, None)
    }

    /// The context of a request with these headers: `x-correlation-id`, `traceparent` and `tracestate`.
    ///
    /// A header that is missing, that comes more than once, or whose value is not allowed is as if it were not there: without a
    /// trace a new one begins, and without a correlation id the trace's id takes its place, so that services which pass on only
    /// the trace keep the correlation as well.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let trace = only(headers, &TRACEPARENT).and_then(TraceContext::parse);
        let state: Result<Vec<_>, _> = headers.get_all(TRACESTATE).iter().map(HeaderValue::to_str).collect();
        // Without a trace there is nothing that the state could belong to.
        let trace = trace.map(|trace| match state {
            Ok(lists) => trace.with_state(lists.into_iter()),
            Err(_) => trace,
        });
        Self::of(only(headers, &CORRELATION_ID), trace)
    }

    /// The context of a request that came by another way, such as a message queue: the values as they would stand in the
    /// headers, judged like them.
    pub fn from_values(correlation_id: Option<&str>, traceparent: Option<&str>) -> Self {
        Self::of(correlation_id, traceparent.and_then(TraceContext::parse))
    }

    fn of(correlation_id: Option<&str>, trace: Option<TraceContext>) -> Self {
        let trace = trace.map_or_else(TraceContext::begin, TraceContext::into_own_span);
        let correlation_id = correlation_id.filter(|id| is_correlation_id(id));
        let correlation_id = correlation_id.map_or_else(|| trace.trace_id().into(), Into::into);
        RequestContext(Arc::new(Parts { correlation_id, trace }))
    }

    /// What the events of all services have in common that work on this request: 1 to 128 bytes of visible ASCII.
    pub fn correlation_id(&self) -> &str {
        &self.0.correlation_id
    }

    /// The id of the trace: 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        self.0.trace.trace_id()
    }

    /// The value of `traceparent` for what this service does on behalf of the request.
    pub fn traceparent(&self) -> String {
        self.0.trace.traceparent()
    }

    /// The headers for requests to other services: `x-correlation-id`, `traceparent` with this service's own span as the
    /// parent, and `tracestate` where one came in.
    pub fn headers(&self) -> HeaderMap {
        let value =
            |text: &str| HeaderValue::from_str(text).expect("visible ASCII was checked when it was read");
        let mut headers = HeaderMap::with_capacity(3);
        headers.insert(CORRELATION_ID, value(self.correlation_id()));
        headers.insert(TRACEPARENT, value(&self.traceparent()));
        if let Some(state) = self.0.trace.state() {
            headers.insert(TRACESTATE, value(state));
        }
        headers
    }

    /// The context in whose [`scope`](Self::scope) this code runs.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs a future within this context, so that [`SpanEvents`](crate::SpanEvents) knows which request its spans belong to.
    /// Tasks that the future spawns are outside unless they are given a scope of their own.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// Runs a closure within this context; see [`scope`](Self::scope).
    pub fn sync_scope<R>(&self, run: impl FnOnce() -> R) -> R {
        CURRENT.sync_scope(self.clone(), run)
    }

    /// The event as a part of this request.
    pub(crate) fn stamp(&self, event: Event) -> Event {
        event.in_request(self.correlation_id(), Some(self.traceparent()))
    }
}

impl Default for RequestContext {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RequestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext")
            .field("correlation_id", &self.correlation_id())
            .field("traceparent", &self.traceparent())
            .finish()
    }
}

/// Does the server take it as a correlation id?
pub(crate) fn is_correlation_id(text: &str) -> bool {
    (1..=CORRELATION_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The value of a header that comes once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    match values.next() {
        None => value.to_str().ok().map(trace::trim),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn traceparent() -> String {
        format!("00-{TRACE}-00f067aa0ba902b7-01")
    }

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn context(list: &[(&'static str, &str)]) -> RequestContext {
        RequestContext::from_headers(&headers(list))
    }

    #[test]
    fn both_go_out_as_they_came_in_from_a_span_of_its_own() {
        let traceparent = traceparent();
        let first = context(&[("x-correlation-id", "c-1"), ("traceparent", &traceparent)]);
        let second = RequestContext::from_headers(&first.headers());
        for context in [&first, &second] {
            assert_eq!((context.correlation_id(), context.trace_id().as_str()), ("c-1", TRACE));
        }
        let all = [traceparent, first.traceparent(), second.traceparent()];
        assert!(all[0] != all[1] && all[1] != all[2] && all[2] != all[0], "{all:?}");
        assert_eq!(first.headers(), first.headers());
    }

    #[test]
    fn what_is_missing_is_made_and_the_trace_stands_in_for_the_correlation() {
        let context = context(&[("traceparent", &traceparent())]);
        assert_eq!((context.correlation_id(), context.trace_id().as_str()), (TRACE, TRACE));
        let new = RequestContext::new();
        assert_eq!(new.correlation_id(), new.trace_id());
        assert_ne!(new.trace_id(), RequestContext::new().trace_id());
        assert!(new.traceparent().ends_with("-01"), "{new:?}");
    }

    #[test]
    fn a_correlation_id_that_the_server_would_refuse_or_that_comes_twice_is_replaced() {
        let long = "x".repeat(129);
        for bad in ["", "two words", "tab\tbed", &long] {
            assert_ne!(context(&[("x-correlation-id", bad)]).correlation_id(), bad);
        }
        let twice = context(&[("x-correlation-id", "a"), ("x-correlation-id", "b")]);
        assert!(!["a", "b"].contains(&twice.correlation_id()));
        let mut latin = HeaderMap::new();
        latin.insert(CORRELATION_ID, HeaderValue::from_bytes(b"\xe9").unwrap());
        let context = RequestContext::from_headers(&latin);
        assert_eq!(context.correlation_id(), context.trace_id());
        assert_eq!(
            super::tests::context(&[("x-correlation-id", &"x".repeat(128))]).correlation_id().len(),
            128
        );
    }

    #[test]
    fn a_trace_that_comes_twice_begins_anew_and_the_state_goes_with_its_trace() {
        let traceparent = traceparent();
        let twice = context(&[("traceparent", &traceparent), ("traceparent", &traceparent)]);
        assert_ne!(twice.trace_id(), TRACE);
        let state = [("tracestate", "a=1"), ("tracestate", "b=2")];
        let with_trace = context(&[("traceparent", traceparent.as_str()), state[0], state[1]]);
        assert_eq!(with_trace.headers()[TRACESTATE], "a=1,b=2");
        assert!(!context(&state).headers().contains_key(TRACESTATE));
    }

    #[tokio::test]
    async fn the_current_context_is_that_of_the_scope_and_of_nothing_else() {
        assert_eq!(RequestContext::current(), None);
        let context = RequestContext::new();
        let inner = context.clone().scope(async { RequestContext::current() }).await;
        assert_eq!(inner, Some(context));
        assert_eq!(RequestContext::current(), None);
    }
}
