//! One subscription of the load: what it asks for, its books, and the position after which it resumes.

use super::{
    arguments::Scenario,
    load::{Load, Wish},
    sequence::{Faults, Missing, Sequence},
    tick::{self, Tick},
    wire::Start,
};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// One subscription and its books.
#[derive(Debug)]
pub(super) struct Subscription {
    sequence: Sequence,
    filter: Value,
    /// Does its pattern match the run's events?
    matches: bool,
    position: Option<Position>,
}

/// After what a subscription resumes.
#[derive(Debug)]
enum Position {
    Cursor(String),
    /// The message that holds the cursor, which is seldom needed.
    Event(Utf8Bytes),
}

impl Subscription {
    /// Those of a connection.
    pub(super) fn all(load: &Load, connection: usize) -> Vec<Self> {
        let subscription = |wish: Wish| Subscription {
            sequence: Sequence::new(wish.key, load.plan.publishers),
            filter: wish.filter,
            matches: wish.matches,
            position: None,
        };
        load.wishes(connection).map(subscription).collect()
    }

    pub(super) fn filter(&self) -> &Value {
        &self.filter
    }

    /// From where to ask for events, the first time or again.
    pub(super) fn start(&self, scenario: Scenario) -> Start {
        match &self.position {
            Some(Position::Cursor(cursor)) => Start::After(cursor.clone()),
            Some(Position::Event(text)) => Start::After(tick::cursor_of(text).unwrap_or_default().to_owned()),
            None if scenario == Scenario::Replay => Start::Earliest,
            None => Start::Live,
        }
    }

    /// It stands at this cursor, which matters until there is a later one.
    pub(super) fn stands_at(&mut self, cursor: Option<String>) {
        if self.position.is_none() {
            self.position = cursor.map(Position::Cursor);
        }
    }

    /// It resumes after the event of this message.
    pub(super) fn passed(&mut self, text: Utf8Bytes) {
        self.position = Some(Position::Event(text));
    }

    /// Enters a delivery; says whether it is the first of an event that is for it.
    pub(super) fn enter(&mut self, tick: Tick) -> bool {
        if !self.matches {
            self.sequence.enter_foreign();
            return false;
        }
        self.sequence.enter(tick.publisher, tick.key, tick.number)
    }

    /// A delivery that is none of this run's events.
    pub(super) fn enter_foreign(&mut self) {
        self.sequence.enter_foreign();
    }

    pub(super) fn faults(&self) -> Faults {
        self.sequence.faults()
    }

    /// Distinct events that came.
    pub(super) fn received(&self) -> u64 {
        self.sequence.received()
    }

    /// How many events must have come.
    pub(super) fn expected(&self, load: &Load, acknowledged: impl IntoIterator<Item = u64>) -> u64 {
        if self.matches { self.sequence.expected(load.deal(), acknowledged) } else { 0 }
    }

    /// What of the acknowledged events has not come.
    pub(super) fn missing(&self, load: &Load, acknowledged: &[u64]) -> Missing {
        match self.matches {
            true => self.sequence.missing(load.deal(), acknowledged),
            false => Missing::default(),
        }
    }
}
