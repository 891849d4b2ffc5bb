//! Who asks for what: the subscriptions of each connection, and the events that meet them.
//!
//! Flow: a load asks for the wishes of each connection, its publisher for the fields of each event.
//! Invariants: an event's number alone decides to whom it is due, so every subscriber knows what to expect.
//! Not here: how a wish or an event looks on the wire (`dialect`).

use std::{borrow::Cow, fmt::Write};

/// What a crowd of connections asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Audience {
    /// All ask for this type, and every event has it.
    Topic(&'static str),
    /// Each asks for two rooms: one is its own, the other is the one of every event.
    Distinct,
    /// Connections are dealt out to so many types; the events go to one after the other.
    Groups(usize),
    /// Each connection asks for so many rooms, one subscription each; all events go to `room`.
    Rooms { per_connection: usize, room: usize },
}

/// What one connection asks for, and what it will get.
#[derive(Debug)]
pub(crate) struct Wish {
    /// A filter for each subscription, as a GraphQL input object.
    pub(crate) filters: Vec<String>,
    /// The same for a broker, which knows names only.
    pub(crate) subjects: Vec<String>,
    /// Where the subscriptions start, as a GraphQL input object; live without it.
    pub(crate) start: Option<String>,
    /// Does it ask to be told when a subscription is in force? Only Fanfare can.
    pub(crate) asks_ready: bool,
    pub(crate) due: Due,
}

/// Which events a connection is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Those whose number leaves `rest` when divided by `by`, each of them.
    Every {
        by: u64,
        rest: u64,
    },
    Nothing,
}

const TICK: &str = "bench.tick";
const ALL: Due = Due::Every { by: 1, rest: 0 };

impl Audience {
    /// What connection number `number` asks for.
    pub(crate) fn wish(self, number: usize) -> Wish {
        let one = |filter: String, subject: String, due| Wish {
            filters: vec![filter],
            subjects: vec![subject],
            start: None,
            asks_ready: false,
            due,
        };
        match self {
            Audience::Topic(topic) => one(format!(r#"{{types: ["{topic}"]}}"#), topic.to_owned(), ALL),
            Audience::Distinct => {
                one(format!(r#"{{roomId: ["all", "own-{number}"]}}"#), TICK.to_owned(), ALL)
            }
            Audience::Groups(groups) => {
                let group = number % groups;
                let due = Due::Every { by: groups as u64, rest: group as u64 };
                one(format!(r#"{{types: ["bench.group-{group}"]}}"#), format!("bench.group-{group}"), due)
            }
            Audience::Rooms { per_connection, room } => {
                let rooms = number * per_connection..(number + 1) * per_connection;
                let due = if rooms.contains(&room) { ALL } else { Due::Nothing };
                let filters = rooms.clone().map(|room| format!(r#"{{roomId: ["room-{room}"]}}"#));
                Wish {
                    filters: filters.collect(),
                    subjects: rooms.map(|room| format!("room-{room}")).collect(),
                    start: None,
                    asks_ready: true,
                    due,
                }
            }
        }
    }

    /// How many of `connections` an event is due to.
    pub(crate) fn recipients(self, connections: usize) -> usize {
        match self {
            Audience::Topic(_) | Audience::Distinct => connections,
            Audience::Groups(groups) => connections / groups,
            Audience::Rooms { .. } => connections.min(1),
        }
    }

    /// So many events in a row reach everybody.
    pub(crate) const fn cycle(self) -> usize {
        match self {
            Audience::Topic(_) | Audience::Distinct | Audience::Rooms { .. } => 1,
            Audience::Groups(groups) => groups,
        }
    }

    /// The type of an event.
    pub(crate) fn event_type(self, event: u64) -> Cow<'static, str> {
        match self {
            Audience::Topic(topic) => topic.into(),
            Audience::Groups(groups) => format!("bench.group-{}", event % groups as u64).into(),
            Audience::Distinct | Audience::Rooms { .. } => TICK.into(),
        }
    }

    /// The name under which a broker gets the event.
    pub(crate) fn subject(self, event: u64) -> Cow<'static, str> {
        match self {
            Audience::Rooms { room, .. } => format!("room-{room}").into(),
            Audience::Topic(_) | Audience::Distinct | Audience::Groups(_) => self.event_type(event),
        }
    }

    /// Writes the event as `POST /events` takes it.
    pub(crate) fn write_event(self, event: u64, padding: &str, out: &mut String) {
        let event_type = self.event_type(event);
        let room = match self {
            Audience::Distinct => r#""roomId":"all","#.to_owned(),
            Audience::Rooms { room, .. } => format!(r#""roomId":"room-{room}","#),
            Audience::Topic(_) | Audience::Groups(_) => String::new(),
        };
        write!(
            out,
            r#"{{"type":"{event_type}","source":"/bench",{room}"data":{{"n":{event},"pad":"{padding}"}}}}"#
        )
        .expect("writing to a string cannot fail");
    }
}
