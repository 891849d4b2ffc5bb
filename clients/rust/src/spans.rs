//! A `tracing` layer that turns chosen spans into events: an operation announces its start and its end by itself.
//!
//! Flow: takes spans from `tracing`, gives `<name>.started`, `<name>.completed` and `<name>.failed` to the publisher.
//! Invariants: no span of the publisher, or of the HTTP client under it, becomes an event; nothing here waits, and no extension
//! of a span is locked while anything else is called.
//! Not here: what is kept of a span's fields (`fields`).

mod fields;

use crate::{Event, Publisher, RequestContext, context::is_correlation_id, sender};
use fields::{Failure, Fields};
use serde_json::Value;
use tokio::time::Instant;
use tracing::{
    Level, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

/// The field that names a span's events.
const EMIT: &str = "emit";
/// The field that says which request a span belongs to.
const CORRELATION_ID: &str = "correlation_id";
/// The field that says that a span failed, and why.
const ERROR: &str = "error";

/// The publisher and the libraries under it. What they do is the consequence of an event.
const OWN_TARGETS: [&str; 7] = ["fanfare_client", "reqwest", "hyper", "hyper_util", "h2", "rustls", "tokio"];

/// A layer that publishes chosen spans as events, so that an annotated function announces its start and its end.
///
/// A span is chosen by a field `emit`, which names its events, or by its target or name. It publishes `<name>.started` when it is
/// made and, when it closes, `<name>.completed`, or `<name>.failed` if it has recorded a field `error` (other than `false`), if
/// there was an event of level ERROR in it and in no chosen span inside it, or if it ends by a panic.
///
/// The fields of the span are the event's `data`, as they were when it began or closed, texts cut to 4 KiB; `durationMs` and,
/// of a failure, `error` come on top. `organization_id`, `domain_id`, `instance_id`, `agent_id`, `task_id`, `workflow_id`,
/// `user_id` and `room_id` become the ids of the event. Its correlation id is the field `correlation_id` of the span or of the
/// nearest span around it that has one, and otherwise that of the [`RequestContext`] in whose
/// [scope](RequestContext::scope) the span, or one around it, was made; so is its trace.
///
/// A span closes when the last handle to it is dropped, also where the work was given up halfway: `completed` says that nothing
/// reported an error.
///
/// ```no_run
/// use fanfare_client::{Options, Publisher, SpanEvents};
/// use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let publisher = Publisher::new(Options::new("http://127.0.0.1:8080", "/shop/orders"))?;
/// tracing_subscriber::registry()
///     .with(SpanEvents::new(publisher.clone()).target("shop::billing", "billing"))
///     .init();
///
/// let _span = tracing::info_span!("ship", emit = "order.shipping", task_id = "t1").entered();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SpanEvents {
    publisher: Publisher,
    choices: Vec<Choice>,
}

/// Spans that become events without saying so.
#[derive(Debug)]
enum Choice {
    /// Those of this target and below it, as `<prefix>.<name of the span>`.
    Target { target: Box<str>, prefix: Box<str> },
    /// Those of this name.
    Name { name: Box<str>, event: Box<str> },
}

/// What a chosen span has of its own.
#[derive(Debug)]
struct Operation {
    /// The type of its events, without the last segment.
    name: Box<str>,
    began: Instant,
    fields: Fields,
    failure: Option<Failure>,
}

/// Where a span belongs.
#[derive(Debug, Default)]
struct Origin {
    correlation_id: Option<Box<str>>,
    context: Option<RequestContext>,
}

impl SpanEvents {
    /// A layer that publishes the spans with a field `emit`.
    pub fn new(publisher: Publisher) -> Self {
        SpanEvents { publisher, choices: Vec::new() }
    }

    /// Also the spans of a target (a module path, unless the span names another) and of those below it, as `<prefix>.<name of
    /// the span>.started` and so on; what no event type may hold becomes `_`.
    #[must_use]
    pub fn target(mut self, target: &str, prefix: &str) -> Self {
        self.choices.push(Choice::Target { target: target.into(), prefix: prefix.into() });
        self
    }

    /// Also the spans of a name, as `<event>.started` and so on.
    #[must_use]
    pub fn name(mut self, name: &str, event: &str) -> Self {
        self.choices.push(Choice::Name { name: name.into(), event: event.into() });
        self
    }

    /// What the span's events are called, if it is chosen without a field `emit`.
    fn chosen(&self, metadata: &Metadata<'_>) -> Option<Box<str>> {
        self.choices.iter().find_map(|choice| match choice {
            Choice::Target { target, prefix } => is_within(metadata.target(), target)
                .then(|| format!("{prefix}.{}", segment(metadata.name())).into()),
            Choice::Name { name, event } => (**name == *metadata.name()).then(|| event.clone()),
        })
    }

    fn publish<S>(
        &self,
        span: &SpanRef<'_, S>,
        name: &str,
        ending: &str,
        fields: Fields,
        more: Vec<(&str, Value)>,
    ) where
        S: for<'a> LookupSpan<'a>,
    {
        let event = fields.into_event(Event::new(format!("{name}.{ending}")), more);
        self.publisher.publish(origin(span).stamp(event));
    }
}

impl<S> Layer<S> for SpanEvents
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let metadata = attributes.metadata();
        let has = |field: &str| metadata.fields().field(field).is_some();
        if is_own(metadata) {
            return;
        }
        let chosen = self.chosen(metadata);
        if chosen.is_none() && !has(EMIT) && !has(CORRELATION_ID) {
            return;
        }
        let Some(span) = ctx.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let name = fields.emit.take().or(chosen);
        let origin =
            Origin { correlation_id: fields.correlation_id.take(), context: RequestContext::current() };
        span.extensions_mut().replace(origin);
        let Some(name) = name else { return };
        let (began, failure) = (Instant::now(), fields.failure.take());
        self.publish(&span, &name, "started", fields.clone(), Vec::new());
        span.extensions_mut().replace(Operation { name, began, fields, failure });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        let (is_operation, has_origin) = {
            let extensions = span.extensions();
            (extensions.get::<Operation>().is_some(), extensions.get::<Origin>().is_some())
        };
        if !is_operation && !has_origin {
            return;
        }
        let mut recorded = Fields::default();
        values.record(&mut recorded);
        let (correlation_id, failure) = (recorded.correlation_id.take(), recorded.failure.take());
        let mut extensions = span.extensions_mut();
        if let (Some(origin), Some(id)) = (extensions.get_mut::<Origin>(), correlation_id) {
            origin.correlation_id = Some(id);
        }
        if let Some(operation) = extensions.get_mut::<Operation>() {
            operation.fields.update(recorded);
            operation.failure = failure.or(operation.failure.take());
        }
    }

    fn on_event(&self, event: &tracing::Event<'_>, ctx: Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let mut scope = ctx.event_scope(event).into_iter().flatten();
        let Some(span) = scope.find(|span| span.extensions().get::<Operation>().is_some()) else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let failure = fields.into_failure();
        if let Some(operation) = span.extensions_mut().get_mut::<Operation>() {
            operation.failure = Some(failure);
        }
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(&id) else { return };
        let operation = span.extensions_mut().remove::<Operation>();
        let Some(Operation { name, began, fields, failure }) = operation else { return };
        // Spans that close while their thread unwinds are those that it leaves.
        let failure = failure.or_else(|| std::thread::panicking().then(Failure::panic));
        let mut more = vec![("durationMs", milliseconds(began))];
        let ending = match failure {
            None => "completed",
            Some(Failure(reason)) => {
                more.push((ERROR, reason.into()));
                "failed"
            }
        };
        self.publish(&span, &name, ending, fields, more);
    }
}

impl Origin {
    fn stamp(&self, event: Event) -> Event {
        let traceparent = || self.context.as_ref().map(RequestContext::traceparent);
        match (&self.correlation_id, &self.context) {
            (Some(id), _) => event.in_request(id, traceparent()),
            (None, Some(context)) => context.stamp(event),
            (None, None) => event,
        }
    }
}

/// Where a span belongs, by what it says itself and by the spans around it, the nearest first.
fn origin<S>(span: &SpanRef<'_, S>) -> Origin
where
    S: for<'a> LookupSpan<'a>,
{
    let mut found = Origin::default();
    for span in span.scope() {
        let extensions = span.extensions();
        let Some(Origin { correlation_id, context }) = extensions.get() else { continue };
        if found.correlation_id.is_none() {
            found.correlation_id = correlation_id.clone().filter(|id| is_correlation_id(id));
        }
        if found.context.is_none() {
            found.context.clone_from(context);
        }
    }
    found
}

fn is_own(metadata: &Metadata<'_>) -> bool {
    sender::is_here() || OWN_TARGETS.iter().any(|own| is_within(metadata.target(), own))
}

/// Is a target this one or below it?
fn is_within(target: &str, above: &str) -> bool {
    target
        .strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || above.is_empty() || rest.starts_with("::"))
}

/// The name of a span as a segment of an event type.
fn segment(name: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    name.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect()
}

/// The time since then, to the microsecond.
fn milliseconds(began: Instant) -> Value {
    let micros = u32::try_from(began.elapsed().as_micros()).map_or(f64::INFINITY, f64::from);
    match micros.is_finite() {
        true => Value::from(micros / 1_000.0),
        // More than an hour: nobody asks for the fractions.
        false => Value::from(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn a_target_holds_what_is_below_it_and_not_what_only_begins_alike() {
        assert!(is_within("shop::orders", "shop::orders") && is_within("shop::orders::ship", "shop::orders"));
        assert!(!is_within("shop::orders2", "shop::orders") && !is_within("shop", "shop::orders"));
        assert!(is_within("anything", ""));
    }

    #[test]
    fn a_name_becomes_one_segment_of_a_type() {
        assert_eq!(segment("charge-card_2"), "charge-card_2");
        assert_eq!(segment("HTTP request.é"), "HTTP_request__");
    }

    #[tokio::test]
    async fn what_a_sender_does_is_no_event_whoever_does_it_for_it() {
        let publisher = Publisher::new(Options::new("http://127.0.0.1:1", "/test")).unwrap();
        let spans = SpanEvents::new(publisher.clone()).target("", "all");
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans));
        let work = || drop(tracing::info_span!(target: "some::library", "work", emit = "work"));
        sender::here(async { work() }).await;
        assert_eq!(publisher.stats().published, 0);
        work();
        assert_eq!(publisher.stats().published, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_duration_has_microseconds_and_never_overflows() {
        let began = Instant::now();
        tokio::time::advance(std::time::Duration::from_micros(12_345)).await;
        assert_eq!(milliseconds(began), Value::from(12.345));
        tokio::time::advance(std::time::Duration::from_hours(2)).await;
        assert_eq!(milliseconds(began), Value::from(7_200_012));
    }
}
