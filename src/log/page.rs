//! One page in the making, of the past or of what is kept: what it may cover, when it is full, and how far it has come; the same
//! for every store.
//!
//! Invariants: `through` never passes an offset that was not examined or known not to match; every event in a page has been
//! checked with [`EventFilter::matches`](crate::event::EventFilter::matches), whatever a store's index said.
//! Not here: where events come from (each store).

use super::{Bounds, From, Kept, Page, Read, ReadError, StateKey, StatePage, StateRead, store::data_bytes};
use crate::event::{Event, Offset};
use std::sync::Arc;

/// The offsets, both inclusive, that a page may still cover, and the direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// The lowest offset.
    pub(super) low: u64,
    /// The highest offset; below `low` when there is nothing to cover.
    pub(super) high: u64,
    /// From low to high?
    pub(super) is_rising: bool,
}

impl Span {
    /// The same span, cut to the first so many offsets in its direction.
    pub(super) fn first(self, offsets: usize) -> Span {
        let reach = (offsets as u64).saturating_sub(1);
        match self.is_rising {
            true => Span { high: self.high.min(self.low.saturating_add(reach)), ..self },
            false => Span { low: self.low.max(self.high.saturating_sub(reach)), ..self },
        }
    }

    /// The part of it between two offsets, both inclusive.
    pub(super) fn within(self, low: u64, high: u64) -> Span {
        Span { low: self.low.max(low), high: self.high.min(high), ..self }
    }

    /// The last offset in its direction.
    pub(super) fn end(self) -> u64 {
        if self.is_rising { self.high } else { self.low }
    }
}

/// A page in the making.
#[derive(Debug)]
pub(super) struct PageBuilder<'a> {
    read: &'a Read,
    span: Span,
    events: Vec<Arc<Event>>,
    bytes: usize,
    /// The last offset in the direction up to which the page is complete.
    covered: u64,
}

impl<'a> PageBuilder<'a> {
    /// An empty page of a log with these ends, or the reason why its start is gone.
    pub(super) fn new(read: &'a Read, bounds: Bounds) -> Result<Self, ReadError> {
        let (earliest, head) = (bounds.earliest.get(), bounds.head.get());
        let span = match read.from {
            From::Earliest => Span { low: earliest, high: head, is_rising: true },
            From::After(after) if after.get() >= head => {
                Span { low: after.get().saturating_add(1), high: head, is_rising: true }
            }
            From::After(after) if after.get() + 1 < earliest => {
                return Err(ReadError::Expired { earliest: bounds.earliest });
            }
            From::After(after) => Span { low: after.get() + 1, high: head, is_rising: true },
            From::Before(before) => {
                Span { low: earliest, high: before.previous().get().min(head), is_rising: false }
            }
        };
        let covered = match read.from {
            From::After(after) => after.get(),
            From::Earliest => span.low.saturating_sub(1),
            From::Before(_) => span.high.saturating_add(1),
        };
        Ok(PageBuilder { read, span, events: Vec::new(), bytes: 0, covered })
    }

    /// What the page may still cover; `None` when there is nothing.
    pub(super) fn rest(&self) -> Option<Span> {
        let rest = match self.span.is_rising {
            true => Span { low: self.covered.saturating_add(1), ..self.span },
            false => Span { high: self.covered.saturating_sub(1), ..self.span },
        };
        (rest.low <= rest.high).then_some(rest)
    }

    /// Takes the next event in the direction, all between it and the last one being known not to match. False: the page is
    /// full.
    pub(super) fn offer(&mut self, event: Arc<Event>) -> bool {
        let offset = event.offset().get();
        if self.read.filter.matches(&event) {
            let bytes = self.bytes.saturating_add(data_bytes(&event));
            if !self.events.is_empty() && bytes > self.read.bytes_max {
                return false;
            }
            self.bytes = bytes;
            self.events.push(event);
        }
        self.covered = offset;
        self.events.len() < self.read.events_max.max(1)
    }

    /// Notes that nothing more matches up to this offset, inclusive.
    pub(super) fn skip_to(&mut self, offset: u64) {
        self.covered = offset;
    }

    /// The page.
    pub(super) fn finish(self) -> Page {
        let is_last = match self.span.is_rising {
            true => self.covered >= self.span.high,
            false => self.covered <= self.span.low,
        };
        let through = if is_last && !self.span.is_rising { 0 } else { self.covered };
        Page { events: self.events, through: Offset::new(through), is_last }
    }
}

/// A page of what is kept in the making; it is offered keys in their order.
#[derive(Debug)]
pub(super) struct StatePageBuilder<'a> {
    read: &'a StateRead,
    kept: Vec<Kept>,
    bytes: usize,
    /// The last key that was looked at.
    last: Option<StateKey>,
    /// How many more keys may be looked at.
    keys_left: usize,
}

impl<'a> StatePageBuilder<'a> {
    /// An empty page that looks at so many keys.
    pub(super) fn new(read: &'a StateRead, keys_max: usize) -> Self {
        let (kept, last) = (Vec::new(), read.after.clone());
        StatePageBuilder { read, kept, bytes: 0, last, keys_left: keys_max.max(1) }
    }

    /// How many more keys may be looked at.
    pub(super) fn keys_left(&self) -> usize {
        self.keys_left
    }

    /// Takes the next key, all between it and the last one being known not to match. False: the page is full.
    pub(super) fn offer(&mut self, kept: Kept) -> bool {
        if !self.read.filter.matches(&kept.event) {
            return self.pass(&kept.key);
        }
        let bytes = self.bytes.saturating_add(data_bytes(&kept.event));
        if !self.kept.is_empty() && bytes > self.read.bytes_max {
            return false;
        }
        self.bytes = bytes;
        let goes_on = self.pass(&kept.key);
        self.kept.push(kept);
        goes_on && self.kept.len() < self.read.events_max.max(1)
    }

    /// Notes that nothing more matches up to this key, inclusive. False: the page is full.
    pub(super) fn pass(&mut self, key: &StateKey) -> bool {
        self.last = Some(key.clone());
        self.keys_left = self.keys_left.saturating_sub(1);
        self.keys_left > 0
    }

    /// The page, with the head of the log at its moment.
    pub(super) fn finish(self, head: Offset, is_last: bool) -> StatePage {
        StatePage { kept: self.kept, next: self.last.filter(|_| !is_last), head }
    }
}
