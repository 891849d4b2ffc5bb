//! Rendered events: a [`Payload`] is one, a [`Run`] is some in log order for one subscription.
//!
//! Invariants: a payload is encoded once; a run is shared by every member that gets the same events, so that handing it over
//! costs one count and no allocation.

use crate::event::{Cursor, Event, Offset, Rank};
use std::{ops::Range, sync::Arc};

/// What a payload takes beside its text, roughly: counts, pointers, its place in a run.
const PAYLOAD_BYTES: usize = 96;

/// An event as its group sees it, encoded once. Born in `fanout` only; cloning shares it.
#[derive(Clone, Debug)]
pub struct Payload(Arc<Rendered>);

#[derive(Debug)]
struct Rendered {
    rank: Rank,
    cursor: Cursor,
    text: Box<str>,
    /// Source and subject.
    subject: Option<Box<str>>,
}

impl Payload {
    pub(super) fn new(event: &Event, text: String) -> Self {
        let subject = event.subject().map(|subject| format!("{} {subject}", event.source()).into());
        Payload(Arc::new(Rendered { rank: event.rank(), cursor: event.cursor(), text: text.into(), subject }))
    }

    /// One that takes so many bytes, tens of them.
    #[cfg(test)]
    pub(super) fn of(offset: u64, subject: Option<&str>, tens: usize) -> Self {
        Self::at(Rank::logged(Offset::new(offset)), subject, tens)
    }

    /// One of this rank that takes so many bytes, tens of them.
    #[cfg(test)]
    pub(super) fn at(rank: Rank, subject: Option<&str>, tens: usize) -> Self {
        let (subject, text) = (subject.map(Into::into), "x".repeat(10 * tens - PAYLOAD_BYTES));
        let cursor = crate::event::Epoch::new([0; 16]).seal(rank.offset());
        Payload(Arc::new(Rendered { rank, cursor, text: text.into(), subject }))
    }

    /// The place of the event in the order.
    pub fn rank(&self) -> Rank {
        self.0.rank
    }

    /// The cursor of the event.
    pub fn cursor(&self) -> Cursor {
        self.0.cursor
    }

    /// The JSON text.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.text().len() + PAYLOAD_BYTES
    }

    /// What the event is about, together with who says so; `None` when its producer did not say.
    pub(super) fn subject(&self) -> Option<&str> {
        self.0.subject.as_deref()
    }
}

/// Payloads in log order. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Run {
    all: Arc<[Payload]>,
    from: usize,
    to: usize,
    /// The memory that those from `from` to `to` take.
    bytes: usize,
    /// How many older events the first one stands for.
    replaced: u64,
}

impl Run {
    pub(super) fn new(payloads: Vec<Payload>) -> Self {
        let (to, bytes) = (payloads.len(), bytes(&payloads));
        Run { all: payloads.into(), from: 0, to, bytes, replaced: 0 }
    }

    /// The payloads.
    pub fn payloads(&self) -> &[Payload] {
        self.all.get(self.from..self.to).unwrap_or_default()
    }

    /// How many older events of the same subjects were left out before the first payload, because the reader was behind and
    /// asked for the latest only.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    pub(super) fn with_replaced(mut self, replaced: u64) -> Self {
        self.replaced = replaced;
        self
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The place of the first payload.
    pub(super) fn first(&self) -> Option<Rank> {
        self.payloads().first().map(Payload::rank)
    }

    /// The place of the last payload.
    pub(super) fn last(&self) -> Option<Rank> {
        self.payloads().last().map(Payload::rank)
    }

    /// Is it for the moment only? Nothing of it is in the log.
    pub(super) fn is_transient(&self) -> bool {
        self.payloads().iter().all(|payload| payload.rank().is_transient())
    }

    /// The parts at these places; one part that is connected shares the payloads.
    pub(super) fn parts(&self, parts: impl Iterator<Item = Range<usize>>) -> Run {
        let parts: Vec<Range<usize>> = parts.collect();
        if let [part] = &*parts {
            return self.clone().split_at(part.end).0.split_at(part.start).1.unwrap_or_else(Run::empty);
        }
        let payloads = parts.into_iter().filter_map(|part| self.payloads().get(part)).flatten();
        Run::new(payloads.cloned().collect())
    }

    fn empty() -> Run {
        Run::new(Vec::new())
    }

    /// The part above a rank; `None` when nothing is.
    pub(super) fn above(&self, rank: Rank) -> Option<Run> {
        if self.first()? > rank {
            return Some(self.clone());
        }
        self.clone().split_at(self.payloads().partition_point(|payload| payload.rank() <= rank)).1
    }

    /// The part of a run of logged events up to an offset, inclusive; `None` when nothing is.
    pub(super) fn up_to(self, offset: Offset) -> Option<Run> {
        let count = self.payloads().partition_point(|payload| payload.rank() <= Rank::logged(offset));
        (count > 0).then(|| self.split_at(count).0)
    }

    /// Splits after the first payloads of at most so many bytes, one at least; the rest is `None` when nothing remains.
    pub(super) fn split(self, bytes_max: usize) -> (Run, Option<Run>) {
        if self.bytes <= bytes_max {
            return (self, None);
        }
        let mut bytes = 0;
        let fits = |payload: &&Payload| {
            bytes += payload.bytes();
            bytes <= bytes_max
        };
        let count = self.payloads().iter().take_while(fits).count().max(1);
        self.split_at(count)
    }

    fn split_at(self, count: usize) -> (Run, Option<Run>) {
        let bytes = bytes(self.payloads().get(..count).unwrap_or_default());
        let middle = (self.from + count).min(self.to);
        let rest = Run { from: middle, bytes: self.bytes - bytes, replaced: 0, ..self.clone() };
        let first = Run { to: middle, bytes, ..self };
        let has_rest = rest.from < rest.to;
        (first, has_rest.then_some(rest))
    }
}

fn bytes(payloads: &[Payload]) -> usize {
    payloads.iter().map(Payload::bytes).sum()
}
