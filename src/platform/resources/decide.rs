//! What is decided inside the transaction: is it there, is what it refers to there, and does anything belong to it?
//!
//! Invariants: everything that needs no look at what is kept was done before. What a caller may not know of is as if it were not
//! there: nobody learns from a refusal that an id is taken beyond their grant.

use super::{
    change::{self, Current, Stamp},
    fields::Checked,
    kind::{Kind, Transition},
    resource::Image,
};
use crate::{
    auth::Principal,
    error::{Code, Refusal},
    event::{Draft, Event, Limits, NewEvent, Scope, ScopeField},
    hub::{Change, Decide, State, StateKey},
};
use std::sync::Arc;

/// What is asked for of a resource that is there.
#[derive(Debug)]
pub(super) enum Asked {
    Update(Checked),
    Transition(&'static Transition, Checked),
    Delete,
}

/// A request to change a resource that is there.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) principal: Principal,
    pub(super) kind: Kind,
    pub(super) key: StateKey,
    pub(super) asked: Asked,
    pub(super) expected_version: Option<u64>,
    pub(super) stamp: Stamp,
    pub(super) limits: Limits,
}

/// A new resource, by the event of its creation, which its publisher may publish.
pub(super) fn create(principal: Principal, kind: Kind, key: StateKey, event: NewEvent) -> Decide {
    Box::new(move |state| {
        if state.get(&key)?.is_some() || !state.is_free(&key)? {
            let message = format!("id: {:?} is the id of another {}", key.id(), kind.name());
            return Err(Refusal::new(Code::Conflict, message)
                .with("field", "id")
                .with("given", key.id())
                .with("allowed", "an id that is not taken, or none"));
        }
        let references =
            References { principal: &principal, kind, event: &event, before: None }.find(state)?;
        Ok(Change::new().keep(key, event, references))
    })
}

/// Another state of a resource, or its end.
pub(super) fn change(request: Request) -> Decide {
    Box::new(move |state| {
        let Request { principal, kind, key, asked, expected_version, stamp, limits } = request;
        let Some(kept) = state.get(&key)? else { return Err(not_found(kind, "id", key.id())) };
        let image = Image::new(kind, &kept);
        let shown = shown(&principal, kind, &kept);
        let current = Current { image: &image, shown: shown.as_ref().unwrap_or(&image) };
        let draft = match &asked {
            Asked::Update(given) => change::update(current, given, expected_version, &stamp),
            Asked::Transition(transition, given) => {
                change::transition(current, transition, given, expected_version, &stamp)
            }
            Asked::Delete => change::delete(current, expected_version, &stamp),
        };
        let event = admitted(&principal, draft?, &limits)?;
        match asked {
            Asked::Delete => {
                if let Some(other) = state.referrer(&key)? {
                    return Err(in_use(kind, &other));
                }
                Ok(Change::new().remove(key, event))
            }
            Asked::Update(_) | Asked::Transition(..) => {
                let before = Some(&image.scope);
                let references =
                    References { principal: &principal, kind, event: &event, before }.find(state)?;
                Ok(Change::new().keep(key, event, references))
            }
        }
    })
}

/// What the caller sees of it; `None` where that is everything.
fn shown(principal: &Principal, kind: Kind, kept: &Arc<Event>) -> Option<Image> {
    let shown = principal.view().show(kept);
    (!Arc::ptr_eq(&shown, kept)).then(|| Image::new(kind, &shown))
}

/// The event as the principal may publish it. Fails with `FORBIDDEN`, `BAD_REQUEST` or `TOO_LARGE`.
pub(super) fn admitted(principal: &Principal, draft: Draft, limits: &Limits) -> Result<NewEvent, Refusal> {
    principal.admit(NewEvent::new(draft, limits)?)
}

/// There is none, or none that the caller may know of.
pub(super) fn not_found(kind: Kind, field: &'static str, id: &str) -> Refusal {
    let message = format!("{field}: there is no {} {id:?} that you may see or change", kind.name());
    Refusal::new(Code::NotFound, message).with("field", field).with("given", id)
}

fn in_use(kind: Kind, other: &StateKey) -> Refusal {
    let (noun, other) = (kind.name(), other.kind());
    let message = format!("the {noun} cannot be deleted while others of kind {other} belong to it");
    Refusal::new(Code::Conflict, message)
        .with("kind", other)
        .with("allowed", format!("after each {other} of it was deleted"))
}

/// What a resource refers to after a change.
struct References<'a> {
    principal: &'a Principal,
    kind: Kind,
    event: &'a NewEvent,
    /// Its scope before: what it referred to then was there, and still is.
    before: Option<&'a Scope>,
}

impl References<'_> {
    /// The keys that must not be deleted while it is there. Fails with `NOT_FOUND` for the first that is not there.
    fn find(&self, state: &mut dyn State) -> Result<Vec<StateKey>, Refusal> {
        let declaration = self.kind.declaration();
        let scope = self.event.scope();
        let organization = scope.get(ScopeField::Organization);
        let status = Image::new(self.kind, self.event).text("status");
        let is_over = status.is_some_and(|status| declaration.is_over(&status));
        let mut keys = Vec::new();
        for reference in declaration.references() {
            let Some(id) = scope.get(reference.field) else { continue };
            let key = StateKey::new(reference.kind.name(), organization, id)?;
            let was_there = self.before.is_some_and(|before| before.get(reference.field) == Some(id));
            if !was_there && !self.is_known(state, &key, reference.field)? {
                return Err(not_found(reference.kind, reference.field.camel(), id));
            }
            if reference.outlives || !is_over {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// Is it there, as far as the caller may know? An id that the grant itself names tells nothing beyond the grant.
    fn is_known(&self, state: &mut dyn State, key: &StateKey, field: ScopeField) -> Result<bool, Refusal> {
        if state.get(key)?.is_some() {
            return Ok(true);
        }
        Ok(self.principal.grant().names(self.event, field) && !state.is_free(key)?)
    }
}
