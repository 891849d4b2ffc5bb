//! The one task that turns events into deliveries, in log order.
//!
//! Invariants: groups render in lock-step with the log; a panic or a failure costs one event of one group, whose members get
//! an error in its place; if the worker cannot follow the log, every member reads it for itself, from where it stands, and what
//! it finds there decides how it goes on.

use super::{Form, Payload, Renderer, Shared, plan::GroupPlan, way};
use crate::{auth::View, error::Refusal, event::Event, hub::Tail, metrics::Metrics};
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
    if !plans.is_empty() {
        way::live();
    }
    // Groups of one view stand together, so that an event is masked once for all of them.
    plans.sort_by_key(|plan| plan.view.fingerprint());
    let mut shown = ShownStep::new(events);
    for plan in &mut plans {
        render_group(plan, &mut shown, &shared.metrics).await;
    }
    let mut registry = shared.registry();
    plans.into_iter().for_each(|plan| registry.deliver(plan));
    if let Some(last) = events.last() {
        registry.delivered_to(last.offset());
    }
    drop(registry);
    shared.stepped.notify_waiters();
}

async fn render_group(plan: &mut GroupPlan, step: &mut ShownStep<'_>, metrics: &Metrics) {
    let form = Arc::clone(&plan.form);
    step.show_as(&plan.view);
    for place in plan.wanted() {
        let Some(shown) = step.event(place) else { continue };
        let payload = render(&*form, &mut plan.renderer, &shown, metrics).await;
        plan.rendered(payload);
    }
}

/// The events of a step as one view shows them, each masked when it is first asked for.
struct ShownStep<'s> {
    events: &'s [Arc<Event>],
    view: View,
    /// Empty for a view that shows everything.
    shown: Vec<Option<Arc<Event>>>,
}

impl<'s> ShownStep<'s> {
    fn new(events: &'s [Arc<Event>]) -> Self {
        ShownStep { events, view: View::whole(), shown: Vec::new() }
    }

    /// Goes on with this view.
    fn show_as(&mut self, view: &View) {
        if self.view != *view {
            self.view = view.clone();
            self.shown.clear();
            self.shown.resize(if view.is_whole() { 0 } else { self.events.len() }, None);
        }
    }

    /// The event at a place of the step.
    fn event(&mut self, place: usize) -> Option<Arc<Event>> {
        let event = self.events.get(place)?;
        Some(match self.shown.get_mut(place) {
            None => Arc::clone(event),
            Some(shown) => Arc::clone(shown.get_or_insert_with(|| self.view.show(event))),
        })
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

#[cfg(test)]
mod tests {
    use super::{super::EventForm, *};
    use crate::{
        auth::{Action, MaskDraft, MaskKey, Masks},
        event::{Draft, Epoch, Limits, NewEvent, Offset},
    };

    fn event(offset: u64) -> Arc<Event> {
        let new =
            NewEvent::new(Draft::from_json(r#"{"type":"a","data":{"x":1}}"#).unwrap(), &Limits::default());
        Arc::new(Event::logged(new.unwrap(), Epoch::new([1; 16]), Offset::new(offset)))
    }

    fn view(path: &str) -> View {
        let rule = MaskDraft {
            types: vec!["*".to_owned()],
            path: path.to_owned(),
            action: Action::Null,
            roles: None,
            except: Some(Vec::new()),
        };
        Masks::new(vec![rule], MaskKey::new([1; 32])).unwrap().view(&["r"], |_| true)
    }

    #[test]
    fn an_event_is_masked_once_for_all_groups_of_one_view() {
        let events = [event(1), event(2)];
        let mut step = ShownStep::new(&events);
        assert!(Arc::ptr_eq(&step.event(1).unwrap(), &events[1]));
        step.show_as(&view("data.x"));
        let first = step.event(0).unwrap();
        assert_eq!(first.data().as_str(), r#"{"x":null}"#);
        step.show_as(&view("data.x"));
        assert!(Arc::ptr_eq(&step.event(0).unwrap(), &first), "another group of an equal view masks again");
        step.show_as(&view("data"));
        assert_eq!(step.event(0).unwrap().data().as_str(), "null");
        step.show_as(&View::whole());
        assert!(Arc::ptr_eq(&step.event(0).unwrap(), &events[0]));
        assert!(step.event(2).is_none());
    }

    #[tokio::test]
    async fn what_an_event_is_about_is_what_its_reader_sees_of_it() {
        let draft = Draft::from_json(r#"{"type":"a","source":"/s","subject":"secret-1234"}"#).unwrap();
        let new = NewEvent::new(draft, &Limits::default()).unwrap();
        let event = Arc::new(Event::logged(new, Epoch::new([1; 16]), Offset::new(1)));
        let subject = async |view: View| {
            let payload = render(&EventForm::WHOLE, &mut None, &view.show(&event), &Metrics::new()).await;
            payload.subject().map(str::to_owned)
        };
        assert_eq!(subject(View::whole()).await.as_deref(), Some("/s secret-1234"));
        assert_eq!(
            subject(view("subject")).await,
            None,
            "a reader who cannot see the subject gets every event"
        );
    }
}
