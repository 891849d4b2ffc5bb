//! What is kept, for a principal: changes within its grant, and reads through its grant and its view.
//!
//! Invariants: who changes what is kept under a key may publish the announcement in the scope that it had as well as in the one
//! it gets, so nobody takes over what is beyond its grant; what a principal may not know of is not there for it.
//! Not here: what is kept and under which keys (`platform`).

use super::{Hub, Published, admitted, append_refusal, check_count};
use crate::{
    auth::{Principal, audit::Entry},
    error::{Code, Refusal},
    event::{Cursor, Event, EventFilter, EventType, Scope, ScopeField},
    log::{Change, Changed, Decide, Kept, State, StateKey, StateRead},
};
use std::sync::Arc;

/// The source of the events of what is kept. Nobody publishes under it: only changes do.
pub const STATE_SOURCE: &str = "/resources";

/// What came of a change.
#[derive(Clone, Debug)]
pub struct ChangeMade {
    /// The cursors of its events.
    pub cursors: Vec<Cursor>,
    /// Its events as the principal sees them; `None` for one that it may not read.
    pub events: Vec<Option<Arc<Event>>>,
    /// Was it made before? Its events are repeats then.
    pub is_repeat: bool,
}

/// What is kept and matches, as a principal sees it.
#[derive(Clone, Debug)]
pub struct KeptPage {
    /// In the order of keys.
    pub kept: Vec<Kept>,
    /// Where to go on, as [`StatePage::next`](crate::log::StatePage::next); `None`: there is no more.
    pub next: Option<StateKey>,
    /// The position of the page: whoever subscribes after it misses nothing and gets nothing that the page tells already.
    pub as_of: Cursor,
}

impl Hub {
    /// The scope that an event of this type gets from this principal: what is given, and what its grant fixes beside. Ask before a
    /// key is made of a scope. Fails with `FORBIDDEN`.
    pub fn complete_scope(
        &self,
        principal: &Principal,
        event_type: &EventType,
        given: Scope,
    ) -> Result<Scope, Refusal> {
        let refused = |refusal: &Refusal| principal.record(Entry::publish_refused(principal, refusal));
        principal.grant().complete(event_type, given).inspect_err(refused)
    }

    /// Makes a change for a principal. `event_type` says what it may know of: what it can neither read nor publish events of this
    /// type about is not there for [`State::get`]. `bytes` is about how much `decide` holds; it is charged with one event, and
    /// further events are charged with the change. Each event passes the grant as in [`Hub::publish`], and so does the scope of
    /// what it replaces. Fails with what `decide` refuses with, with `CONFLICT`, and as [`Hub::publish`] does.
    ///
    /// Cancel safety: dropping the future does not take the change back.
    pub async fn change(
        &self,
        principal: &Principal,
        event_type: &EventType,
        bytes: usize,
        decide: Decide,
    ) -> Result<ChangeMade, Refusal> {
        let answer = self.allow_and_change(principal, event_type, bytes, decide).await;
        self.count(answer.as_ref().ok().map(|Changed { events, is_repeat }| {
            let transients = events.iter().filter(|event| !event.is_persistent()).count();
            let logged = events.len() - transients;
            match is_repeat {
                true => Published { logged: 0, transients, repeats: logged },
                false => Published { logged, transients, repeats: 0 },
            }
        }));
        let Changed { events, is_repeat } = answer?;
        let show =
            |event: &Arc<Event>| principal.grant().may_read(event).then(|| principal.view().show(event));
        Ok(ChangeMade {
            cursors: events.iter().map(|event| event.cursor()).collect(),
            events: events.iter().map(show).collect(),
            is_repeat,
        })
    }

    async fn allow_and_change(
        &self,
        principal: &Principal,
        event_type: &EventType,
        bytes: usize,
        decide: Decide,
    ) -> Result<Changed, Refusal> {
        principal.charge_publish(1, bytes)?;
        let (by, asked_type) = (principal.clone(), event_type.clone());
        let decide: Decide = Box::new(move |state| {
            let mut known = Known { state: &mut *state, principal: &by, event_type: &asked_type };
            let change = decide(&mut known)?;
            let events = change.events().len();
            check_count(events)?;
            by.charge_publish(events - 1, 0)?;
            let change = change.map_events(|(index, event)| admitted(&by, index, event))?;
            check_replaced(&by, &change, state)?;
            Ok(change)
        });
        self.log.change(decide, bytes).await.map_err(|error| {
            let refusal = append_refusal(&error);
            if refusal.code == Code::Forbidden {
                principal.record(Entry::publish_refused(principal, &refusal));
            }
            refusal
        })
    }

    /// A page of what is kept and the principal may read, as it sees it. An organization that is asked for is asked for as by a
    /// filter. Fails as [`Principal::narrow`] does, and with `UNAVAILABLE`.
    ///
    /// Cancel safety: yes.
    pub async fn kept(&self, principal: &Principal, read: StateRead) -> Result<KeptPage, Refusal> {
        if let Some(organization) =
            read.organization.as_deref().filter(|organization| !organization.is_empty())
        {
            principal.narrow(EventFilter::default().with_scope(ScopeField::Organization, organization)?)?;
        }
        let filter = Arc::new(principal.narrow(EventFilter::clone(&read.filter))?);
        let page = self.log.state(StateRead { filter, ..read }).await;
        let page = page.map_err(|error| self.read_refusal(&error))?;
        let show = |kept: Kept| Kept { event: principal.view().show(&kept.event), ..kept };
        let kept = page.kept.into_iter().map(show).collect();
        Ok(KeptPage { kept, next: page.next, as_of: self.position(page.head) })
    }

    /// What is kept under a key, as the principal sees it, and as of when; what is beyond its grant is as if it were not there.
    /// Fails as [`Hub::kept`] does.
    ///
    /// Cancel safety: yes.
    pub async fn kept_one(
        &self,
        principal: &Principal,
        key: &StateKey,
    ) -> Result<(Option<Arc<Event>>, Cursor), Refusal> {
        let read = StateRead {
            kind: key.kind().into(),
            organization: Some(key.organization().into()),
            id: Some(key.id().into()),
            filter: Arc::default(),
            after: None,
            events_max: 1,
            bytes_max: usize::MAX,
        };
        let KeptPage { kept, as_of, .. } = self.kept(principal, read).await?;
        Ok((kept.into_iter().next().map(|kept| kept.event), as_of))
    }
}

/// The state as far as a principal may know of it.
struct Known<'a> {
    state: &'a mut dyn State,
    principal: &'a Principal,
    event_type: &'a EventType,
}

impl State for Known<'_> {
    fn get(&mut self, key: &StateKey) -> Result<Option<Arc<Event>>, Refusal> {
        let grant = self.principal.grant();
        let may_know = |event: &Arc<Event>| {
            grant.may_read(event) || grant.check_publish(self.event_type, event.scope()).is_ok()
        };
        Ok(self.state.get(key)?.filter(may_know))
    }

    fn is_free(&mut self, key: &StateKey) -> Result<bool, Refusal> {
        self.state.is_free(key)
    }

    fn referrer(&mut self, key: &StateKey) -> Result<Option<StateKey>, Refusal> {
        self.state.referrer(key)
    }
}

/// May the principal announce these changes in the scopes that are changed? What it may not read is not there for it.
fn check_replaced(principal: &Principal, change: &Change, state: &mut dyn State) -> Result<(), Refusal> {
    for (key, event) in change.writes() {
        let Some(before) = state.get(key)? else { continue };
        let grant = principal.grant();
        grant.check_publish(event.event_type(), before.scope()).map_err(|refusal| {
            match grant.may_read(&before) {
                true => refusal,
                false => Refusal::new(Code::NotFound, format!("there is no {key}")),
            }
        })?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
