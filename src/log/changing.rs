//! One change in an open transaction: what it sees, what it decides, and its events and writes in one piece.
//!
//! Invariants: nothing is written before the events stand, so what refuses a change has events to take back and nothing else;
//! a closure that panics, or a key that is damaged, costs its own change only.

use super::{
    AppendError, Appended, Decide, State, StateKey,
    placing::Placing,
    request::Placed,
    state::Write,
    store::{Held, Holding, Place, StoreError, Transaction},
    writer::panic_text,
};
use crate::{
    error::{Code, Refusal},
    event::{Event, NewEvent},
};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// What was found under the keys that a change has looked at, which are not looked at again.
type Found = HashMap<StateKey, Option<Held>>;

/// The state as one change sees it.
struct Sight<'a, T> {
    transaction: &'a mut T,
    found: Found,
    /// Why the store could not tell, the first time that it could not.
    failure: Option<StoreError>,
}

impl<T: Transaction> Sight<'_, T> {
    fn held(&mut self, key: &StateKey) -> Result<Option<&Held>, Refusal> {
        if !self.found.contains_key(key) {
            let held = self.transaction.held(key).map_err(|error| self.failed(error))?;
            self.found.insert(key.clone(), held);
        }
        Ok(self.found.get(key).and_then(Option::as_ref))
    }

    fn failed(&mut self, error: StoreError) -> Refusal {
        self.failure.get_or_insert(error);
        unreadable()
    }
}

impl<T: Transaction> State for Sight<'_, T> {
    fn get(&mut self, key: &StateKey) -> Result<Option<Arc<Event>>, Refusal> {
        Ok(self.held(key)?.map(|held| Arc::clone(&held.event)))
    }

    fn is_free(&mut self, key: &StateKey) -> Result<bool, Refusal> {
        Ok(self.held(key)?.is_none())
    }

    fn referrer(&mut self, key: &StateKey) -> Result<Option<StateKey>, Refusal> {
        self.transaction.referrer(key).map_err(|error| self.failed(error))
    }
}

fn unreadable() -> Refusal {
    Refusal::new(Code::Unavailable, "the log cannot be read now")
}

/// What a change is made of.
struct Parts {
    events: Vec<NewEvent>,
    writes: Vec<Write>,
    found: Found,
}

impl<T: Transaction> Placing<T> {
    /// Makes a change, or refuses it.
    pub(super) fn change(&mut self, decide: Decide) -> Result<Placed, StoreError> {
        let Parts { events, writes, found } = match self.decided(decide)? {
            Ok(parts) => parts,
            Err(error) => return Ok(Placed::refused(error)),
        };
        let before = self.last;
        let mut answer = self.insert(&events)?;
        if let Ok(places) = &answer {
            let repeats = places.iter().filter(|place| place.duplicate).count();
            let logged = events.iter().filter(|event| event.is_persistent()).count();
            match repeats {
                0 => self.write(&events, &writes, &found, places)?,
                _ if repeats == logged => {}
                _ => {
                    self.take_back(before)?;
                    let message = "some events of the change were logged before, and others were not";
                    answer = Err(AppendError::Refused(Refusal::new(Code::Conflict, message)));
                }
            }
        }
        Ok(Placed { events, answer, is_change: true })
    }

    /// Asks for a decision, and looks at all that it will write over.
    fn decided(&mut self, decide: Decide) -> Result<Result<Parts, AppendError>, StoreError> {
        let mut sight = Sight { transaction: &mut self.transaction, found: HashMap::new(), failure: None };
        // The closure has read at most, so whatever it left half done is not the store's.
        let decided = catch_unwind(AssertUnwindSafe(|| decide(&mut sight))).unwrap_or_else(|panic| {
            tracing::error!(reason = panic_text(panic.as_ref()), "who decides on a change panicked");
            Err(Refusal::new(Code::Internal, "the change cannot be decided on"))
        });
        let parts = decided.and_then(|change| {
            let (events, writes) = change.into_parts()?;
            writes.iter().try_for_each(|write| sight.held(&write.key).map(drop))?;
            Ok((events, writes))
        });
        let Sight { found, failure, .. } = sight;
        match failure {
            None => {}
            Some(StoreError::Damaged { reason }) => {
                tracing::error!(reason, "a change is refused; run `fanfare log check` for all damage");
                return Ok(Err(AppendError::Refused(unreadable())));
            }
            Some(failure) => return Err(failure),
        }
        let (events, writes) = match parts {
            Ok(parts) => parts,
            Err(refusal) => return Ok(Err(AppendError::Refused(refusal))),
        };
        let is_new =
            |write: &&Write| write.references.is_some() && found.get(&write.key).is_none_or(Option::is_none);
        match self.transaction.has_room_for(writes.iter().filter(is_new).count()) {
            true => Ok(Ok(Parts { events, writes, found })),
            false => Ok(Err(AppendError::Full)),
        }
    }

    /// Writes what is kept of events that stand at these places.
    fn write(
        &mut self,
        events: &[NewEvent],
        writes: &[Write],
        found: &Found,
        places: &[Appended],
    ) -> Result<(), StoreError> {
        for Write { key, event, references } in writes {
            let held = found.get(key).and_then(Option::as_ref);
            let holding = references.as_deref().and_then(|references| {
                let (event, appended) = (events.get(*event)?, places.get(*event)?);
                let place = Place { offset: appended.offset, logged_at: self.logged_at };
                Some(Holding { event, place, references })
            });
            self.transaction.hold(key, held, holding)?;
        }
        Ok(())
    }
}
