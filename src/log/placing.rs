//! Gives the events of each request their places in an open transaction.
//!
//! Invariants: places rise by one; a request has all of its events placed or none; transient events pass without one.

use super::{
    AppendError, Appended,
    request::{Answer, Ask, Placed},
    store::{Place, StoreError, Transaction},
};
use crate::event::{Cursor, Epoch, NewEvent, Offset};

/// A transaction and the last place that it gave away.
pub(super) struct Placing<T> {
    pub(super) transaction: T,
    epoch: Epoch,
    pub(super) logged_at: i64,
    pub(super) last: Offset,
}

impl<T: Transaction> Placing<T> {
    /// Goes on after the last place, at this time.
    pub(super) fn new(transaction: T, epoch: Epoch, logged_at: i64, last: Offset) -> Self {
        Placing { transaction, epoch, logged_at, last }
    }

    /// Places the events of a request.
    pub(super) fn place(&mut self, ask: Ask) -> Result<Placed, StoreError> {
        match ask {
            Ask::Append(events) => {
                let answer = self.insert(&events)?;
                Ok(Placed { events, answer, is_change: false })
            }
            Ask::Change(decide) => self.change(decide),
        }
    }

    /// Inserts events, all or none, and lets the transient ones pass.
    pub(super) fn insert(&mut self, events: &[NewEvent]) -> Result<Answer, StoreError> {
        let before = self.last;
        let mut places = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            if !event.is_persistent() {
                places.push(passed_on(self.epoch, self.last));
                continue;
            }
            let offset = self.last.next();
            match self.transaction.insert(event, Place { offset, logged_at: self.logged_at })? {
                None => {
                    self.last = offset;
                    places.push(self.appended(offset, false));
                }
                Some(first) if first.is_same => places.push(self.appended(first.offset, true)),
                Some(first) => {
                    self.take_back(before)?;
                    let first = Some(first.offset).filter(|first| *first <= before);
                    let first = first.map(|first| self.epoch.seal(first));
                    return Ok(Err(conflict(index, event, first)));
                }
            }
        }
        Ok(Ok(places))
    }

    /// Removes what was inserted after an offset.
    pub(super) fn take_back(&mut self, before: Offset) -> Result<(), StoreError> {
        if self.last > before {
            self.transaction.take_back(before.next())?;
            self.last = before;
        }
        Ok(())
    }

    fn appended(&self, offset: Offset, duplicate: bool) -> Appended {
        Appended { offset, cursor: self.epoch.seal(offset), duplicate }
    }
}

/// Transient events, which pass behind the last logged one.
pub(super) fn pass_on(ask: Ask, epoch: Epoch, last: Offset) -> Placed {
    let events = ask.into_events();
    let answer = Ok(events.iter().map(|_| passed_on(epoch, last)).collect());
    Placed { events, answer, is_change: false }
}

/// What is answered to a transient event behind the last logged one. Its cursor is that of a position: two of them must not
/// tell whether anything was logged in between.
fn passed_on(epoch: Epoch, last: Offset) -> Appended {
    Appended { offset: last, cursor: epoch.seal_position(last), duplicate: false }
}

fn conflict(index: usize, event: &NewEvent, first: Option<Cursor>) -> AppendError {
    AppendError::Conflict { index, id: event.id().to_owned(), source_name: event.source().to_owned(), first }
}
