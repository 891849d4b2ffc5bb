//! What a reader sees of an event.
//!
//! Invariants: views compare by what they mask, whoever has them, so that readers who see the same share renderings.

use super::mask::{Mask, MaskKey, Plan, asked};
use crate::{
    error::{Code, Refusal},
    event::{Event, EventFilter, EventType, NewEvent, ShownFields},
};
use quick_cache::sync::Cache;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

/// So many types are remembered with what is masked in them.
const PLANS_MAX: usize = 512;

/// What a reader sees of an event: two readers of equal views may share one rendering. Cloning shares it.
#[derive(Clone, Debug)]
pub struct View(Option<Arc<Masked>>);

#[derive(Debug)]
struct Masked {
    /// Sorted, without repeats.
    masks: Box<[Arc<Mask>]>,
    key: MaskKey,
    /// The hash of the masks.
    content: u64,
    plans: Cache<EventType, Option<Arc<Plan>>>,
}

impl View {
    /// Every field.
    pub fn whole() -> Self {
        View(None)
    }

    /// What these masks leave; `key` makes their hashes.
    pub(super) fn masked(masks: impl IntoIterator<Item = Arc<Mask>>, key: &MaskKey) -> Self {
        let mut masks: Vec<Arc<Mask>> = masks.into_iter().collect();
        masks.sort_unstable();
        masks.dedup();
        if masks.is_empty() {
            return View::whole();
        }
        let mut hasher = DefaultHasher::new();
        masks.hash(&mut hasher);
        let content = hasher.finish();
        let plans = Cache::new(PLANS_MAX);
        View(Some(Arc::new(Masked { masks: masks.into(), key: key.clone(), content, plans })))
    }

    /// Is nothing masked?
    pub fn is_whole(&self) -> bool {
        self.0.is_none()
    }

    /// What is masked.
    pub fn masks(&self) -> impl Iterator<Item = &Mask> {
        self.0.iter().flat_map(|masked| &masked.masks).map(|mask| &**mask)
    }

    /// The event as this view shows it; the same one where nothing is masked.
    pub fn show(&self, event: &Arc<Event>) -> Arc<Event> {
        match self.shown(event) {
            None => Arc::clone(event),
            Some(fields) => Arc::new(event.shown_with(fields)),
        }
    }

    /// An event that is not logged yet as this view would show it.
    pub fn show_new(&self, event: &NewEvent) -> NewEvent {
        match self.shown(event) {
            None => event.clone(),
            Some(fields) => event.shown_with(fields),
        }
    }

    fn shown(&self, event: &NewEvent) -> Option<ShownFields> {
        let masked = self.0.as_ref()?;
        let plan = match masked.plans.get(event.event_type()) {
            Some(plan) => plan,
            None => masked.plan(event.event_type()),
        };
        plan?.show(event, &masked.key)
    }

    /// Fails with `FORBIDDEN` when the filter asks about a field that the view masks.
    pub fn check(&self, filter: &EventFilter) -> Result<(), Refusal> {
        match asked(filter, self.masks()) {
            None => Ok(()),
            Some(field) => {
                let message = format!("{field} is masked for your role, so a filter cannot ask about it");
                Err(Refusal::new(Code::Forbidden, message).with("field", field))
            }
        }
    }

    /// Fails with `FORBIDDEN` when a member of the data is masked in events of one of these types: then nobody may select by it
    /// either.
    pub fn check_member(&self, event_types: &[EventType], member: &str) -> Result<(), Refusal> {
        let hides = |mask: &Mask| {
            mask.hides_member(member) && event_types.iter().any(|event_type| mask.concerns(event_type))
        };
        match self.masks().any(hides) {
            false => Ok(()),
            true => {
                let message = format!("{member} is masked for your role, so nothing can be selected by it");
                Err(Refusal::new(Code::Forbidden, message).with("field", member))
            }
        }
    }

    /// Equal views have equal numbers, and others hardly ever.
    pub fn fingerprint(&self) -> u64 {
        self.0.as_ref().map_or(0, |masked| masked.content)
    }
}

impl Masked {
    fn plan(&self, event_type: &EventType) -> Option<Arc<Plan>> {
        let plan = Plan::new(self.masks.iter().map(|mask| &**mask), event_type).map(Arc::new);
        self.plans.insert(event_type.clone(), plan.clone());
        plan
    }
}

impl PartialEq for View {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => {
                Arc::ptr_eq(one, other)
                    || (one.content == other.content && one.masks == other.masks && one.key == other.key)
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl Eq for View {}

impl Hash for View {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.fingerprint());
    }
}
