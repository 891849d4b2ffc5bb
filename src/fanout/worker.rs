//! The one task that turns events into deliveries, in log order.
//!
//! Invariants: groups render in lock-step with the log; a panic or a failure costs one event of one group, whose members get
//! an error in its place; if the worker cannot follow the log, every member reads it for itself, from where it stands, and what
//! it finds there decides how it goes on.

use super::{Form, Payload, Renderer, Shared, plan::GroupPlan};
use crate::{error::Refusal, event::Event, hub::Tail, metrics::Metrics};
use futures_util::FutureExt;
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

/// So many events are planned and delivered at once: enough to fill a flush, few enough to hand out soon.
const STEP_EVENTS_MAX: usize = 256;
/// So many bytes of data as well, since what is rendered together is freed together.
const STEP_BYTES_MAX: usize = 256 * 1024;
/// A log that cannot be read is not asked again at once.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Delivers until the hub ends.
pub(super) async fn run(shared: Arc<Shared>, mut tail: Tail) {
    loop {
        match tail.next().await {
            Ok(Some(events)) => {
                let mut rest = &*events;
                while !rest.is_empty() {
                    let (step, more) = rest.split_at(step_events(rest));
                    deliver(&shared, step).await;
                    rest = more;
                }
            }
            Ok(None) => return,
            Err(refusal) => {
                tail = start_over(&shared, &refusal);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// How many events the next step has, one at least.
fn step_events(events: &[Arc<Event>]) -> usize {
    let mut bytes = 0;
    let fits = |event: &&Arc<Event>| {
        bytes += event.data().as_str().len() + event.data_base64().map_or(0, str::len);
        bytes <= STEP_BYTES_MAX
    };
    events.iter().take(STEP_EVENTS_MAX).take_while(fits).count().max(1)
}

async fn deliver(shared: &Shared, events: &[Arc<Event>]) {
    let mut plans = shared.registry().plan(events);
    for plan in &mut plans {
        render_group(plan, events, &shared.metrics).await;
    }
    let mut registry = shared.registry();
    plans.into_iter().for_each(|plan| registry.deliver(plan));
    if let Some(last) = events.last() {
        registry.delivered_to(last.offset());
    }
}

async fn render_group(plan: &mut GroupPlan, events: &[Arc<Event>], metrics: &Metrics) {
    let (form, view) = (Arc::clone(&plan.form), plan.view.clone());
    for event in plan.wanted(events) {
        let shown = view.show(event);
        let payload = render(&*form, &mut plan.renderer, &shown, metrics).await;
        plan.rendered(payload);
    }
}

/// Renders one event once. After a failure the renderer is made anew.
pub(super) async fn render(
    form: &dyn Form,
    renderer: &mut Option<Box<dyn Renderer>>,
    event: &Arc<Event>,
    metrics: &Metrics,
) -> Payload {
    let current = renderer.get_or_insert_with(|| form.renderer());
    metrics.executions.inc();
    // The renderer is thrown away after a panic, so nobody sees it half changed.
    let text = AssertUnwindSafe(async { current.render(event).await }).catch_unwind().await.ok().flatten();
    let text = text.unwrap_or_else(|| {
        metrics.renderings_failed.inc();
        tracing::error!(event.offset = event.offset().get(), event.r#type = %event.event_type(), "an event could not be rendered");
        *renderer = None;
        form.failed(event)
    });
    Payload::new(event, text)
}

/// The log cannot be followed from where the worker stands: everybody reads it for themselves, and the worker goes on from the
/// head.
fn start_over(shared: &Shared, refusal: &Refusal) -> Tail {
    tracing::error!(%refusal, "the fan-out cannot follow the log; all subscriptions read it for themselves");
    let mut registry = shared.registry();
    registry.lag_all();
    let head = shared.hub.bounds().head;
    registry.skip_to(head);
    shared.tail(head)
}
