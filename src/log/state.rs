//! What is kept beside the events: of each key the latest event, changed in the transaction that logs the event.
//!
//! How: a resource is its latest event, kept. A [`Change`] binds each write to the event that announces it, so neither is
//! there without the other. It is decided on the writer's thread, inside the transaction: nobody comes between what was read
//! and what is written, and nothing is tried twice.
//! Invariants: what is kept stays when retention has removed the event from the log; the organization of a key is the one in
//! the scope of its event.
//! Not here: what a resource is and who may change it (`platform`, `hub`), how it is stored (each store).

use crate::{
    error::{Code, Refusal},
    event::{Event, EventFilter, NewEvent, Offset, ScopeField, check_id},
};
use std::{collections::BTreeSet, fmt, sync::Arc};

/// Names what is kept. Ids are unique within a kind and an organization: one that another tenant uses is free for this one.
/// Keys are in order of kind, organization, id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateKey {
    kind: Box<str>,
    organization: Box<str>,
    id: Box<str>,
}

impl StateKey {
    /// A key; `None` for what belongs to no organization. Fails with `BAD_REQUEST` for what is no id.
    pub fn new(kind: &str, organization: Option<&str>, id: &str) -> Result<Self, Refusal> {
        let given =
            [("kind", Some(kind)), (ScopeField::Organization.camel(), organization), ("id", Some(id))];
        for (field, text) in given {
            text.map_or(Ok(()), |text| check_id(text, Code::BadRequest, field))?;
        }
        Ok(StateKey::stored(kind, organization.unwrap_or_default(), id))
    }

    /// A key as a store has it.
    pub(super) fn stored(kind: &str, organization: &str, id: &str) -> Self {
        StateKey { kind: kind.into(), organization: organization.into(), id: id.into() }
    }

    /// What kind of thing it is, such as `agent`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Whose it is; empty for what belongs to no organization.
    pub fn organization(&self) -> &str {
        &self.organization
    }

    /// Which one it is.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// For people: `agent "a7" of organization "quant"`.
impl fmt::Display for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind, self.id)?;
        match &*self.organization {
            "" => Ok(()),
            organization => write!(f, " of organization {organization:?}"),
        }
    }
}

/// What is kept, as a change in the making sees it: as its transaction has it, earlier changes of the same batch included.
///
/// Every method fails with `UNAVAILABLE` when the store cannot tell. The change is then refused, whatever is made of it.
pub trait State {
    /// What is kept under a key, as far as whoever asks for the change may know of it.
    fn get(&mut self, key: &StateKey) -> Result<Option<Arc<Event>>, Refusal>;

    /// Is nothing kept under a key, whoever may know of it?
    fn is_free(&mut self, key: &StateKey) -> Result<bool, Refusal>;

    /// One of those that are kept with this key among their references, whoever may know of it.
    fn referrer(&mut self, key: &StateKey) -> Result<Option<StateKey>, Refusal>;
}

/// Decides on a change, or refuses it. Runs on the log's own thread with everybody else waiting: it must be quick, must not
/// block and should have done before what needs no [`State`]. A panic refuses the change with `INTERNAL` and harms nobody else.
pub type Decide = Box<dyn FnOnce(&mut dyn State) -> Result<Change, Refusal> + Send>;

/// Events, and what is kept of them. The default changes nothing.
#[derive(Debug, Default)]
pub struct Change {
    events: Vec<NewEvent>,
    writes: Vec<Write>,
}

/// A key to be written, with the place of its event in the change.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) key: StateKey,
    pub(super) event: usize,
    /// Sorted, without repeats; `None` removes the key.
    pub(super) references: Option<Vec<StateKey>>,
}

impl Change {
    /// A change without events.
    pub fn new() -> Self {
        Change::default()
    }

    /// One more event, which is kept under a key in place of what was there. `references` are the keys that it needs:
    /// [`State::referrer`] finds it by them.
    #[must_use]
    pub fn keep(self, key: StateKey, event: NewEvent, mut references: Vec<StateKey>) -> Self {
        references.sort_unstable();
        references.dedup();
        self.write(key, event, Some(references))
    }

    /// One more event, which announces that nothing is kept under a key from now on.
    #[must_use]
    pub fn remove(self, key: StateKey, event: NewEvent) -> Self {
        self.write(key, event, None)
    }

    /// One more event, of which nothing is kept.
    #[must_use]
    pub fn announce(mut self, event: NewEvent) -> Self {
        self.events.push(event);
        self
    }

    fn write(mut self, key: StateKey, event: NewEvent, references: Option<Vec<StateKey>>) -> Self {
        self.writes.push(Write { key, event: self.events.len(), references });
        self.announce(event)
    }

    /// The events in order.
    pub fn events(&self) -> &[NewEvent] {
        &self.events
    }

    /// The keys that are written, each with the event that announces it.
    pub fn writes(&self) -> impl Iterator<Item = (&StateKey, &NewEvent)> {
        self.writes.iter().filter_map(|write| Some((&write.key, self.events.get(write.event)?)))
    }

    /// The same change with each event, given with its place, as `map` makes it; the first refusal is given back.
    pub fn map_events(
        self,
        map: impl FnMut((usize, NewEvent)) -> Result<NewEvent, Refusal>,
    ) -> Result<Self, Refusal> {
        let events = self.events.into_iter().enumerate().map(map).collect::<Result<_, _>>()?;
        Ok(Change { events, ..self })
    }

    /// The events and the writes, if the change can be made: no key is written twice, and each has an event that is logged and
    /// of its organization. Fails with `INTERNAL`, because no caller can ask for another.
    pub(super) fn into_parts(self) -> Result<(Vec<NewEvent>, Vec<Write>), Refusal> {
        let mut keys = BTreeSet::new();
        for (key, event) in self.writes() {
            let organization = event.scope().get(ScopeField::Organization).unwrap_or_default();
            let wrong = match keys.insert(key) {
                false => format!("{key} is written twice in one change"),
                true if !event.is_persistent() => format!("{key} has a transient event"),
                true if organization != key.organization() => {
                    format!("{key} has an event of organization {organization:?}")
                }
                true => continue,
            };
            tracing::error!(wrong, "a change cannot be made");
            return Err(Refusal::new(Code::Internal, "the change cannot be made"));
        }
        Ok((self.events, self.writes))
    }
}

/// A change that was made.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Its events, at their places; of a repeat with the times of this request, where the server filled them in.
    pub events: Vec<Arc<Event>>,
    /// Was it made before? Its events are repeats then, and nothing was written.
    pub is_repeat: bool,
}

/// A request to read what is kept of a kind.
#[derive(Clone, Debug)]
pub struct StateRead {
    /// Of which kind.
    pub kind: Box<str>,
    /// Of this organization only, empty for what belongs to none; `None` for all of which the filter allows some.
    pub organization: Option<Box<str>>,
    /// With this id only.
    pub id: Option<Box<str>>,
    /// Which events, as for those of the log. One organization, a few of them, and one domain are found without a look at
    /// others; whatever else it says is looked at event by event.
    pub filter: Arc<EventFilter>,
    /// Go on after this key: [`StatePage::next`].
    pub after: Option<StateKey>,
    /// The most events in one page.
    pub events_max: usize,
    /// The page ends before the event whose data would take it past this many bytes; it may have one event always.
    pub bytes_max: usize,
}

impl StateRead {
    /// The organizations of the keys that can match; `None` for every one, and none.
    pub(super) fn organizations(&self) -> Option<BTreeSet<&str>> {
        let needed = self.filter.needed_ids(ScopeField::Organization);
        match (self.organization.as_deref(), needed) {
            (None, needed) => needed,
            (Some(own), Some(needed)) if !needed.contains(own) => Some(BTreeSet::new()),
            (Some(own), _) => Some([own].into()),
        }
    }

    /// The domain that every match is in, if there is one for all.
    pub(super) fn domain(&self) -> Option<&str> {
        let needed = self.filter.needed_ids(ScopeField::Domain)?;
        needed.first().copied().filter(|_| needed.len() == 1)
    }
}

/// An event that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Under which key. It tells what a mask may hide: it is for going on from here, not for showing.
    pub key: StateKey,
    /// The event.
    pub event: Arc<Event>,
}

/// What is kept and matches, in the order of keys, all as it was at one moment.
#[derive(Clone, Debug)]
pub struct StatePage {
    /// Those that are kept.
    pub kept: Vec<Kept>,
    /// Where to go on: every key up to this one, inclusive, is in the page or does not match. A page may end early, because it
    /// looked at as many keys as one may. `None`: there is no more.
    pub next: Option<StateKey>,
    /// The head of the log at that moment: the page tells of all events up to this one and of none beyond it, so whoever
    /// follows the log after it misses nothing.
    pub head: Offset,
}
