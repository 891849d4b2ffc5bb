//! Every way out of a running server against the oracle: people whose grants come by tokens and by the policy file, filters and
//! typed fields at random, and each delivery compared with what was due.
//!
//! A fence for each subscription closes its comparison: an event that it is due, published after all that is compared.

use super::people::{Ask, EVENTS, Person, World, id_of, place_of};
use crate::support::{Line, Past, Root, Start, TestServer, Wanted, Way, by_id, code_of, said_in};
use fanfare::event::Offset;
use futures_util::future::join_all;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};

/// Each with a server, people, filters and events of its own: 60 people, of whom few enough are connected at a time for the
/// files that a process may usually have open.
const WORLDS: usize = 5;
/// People look for every so many events by id.
const STRIDE: usize = 5;

/// What was compared.
#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    delivered: usize,
    refused: usize,
}

/// Somebody's subscriptions over one way, the place of the past that each begins with, and the connections that they are on.
struct Followed<'a> {
    person: &'a Person,
    way: Way,
    from: HashMap<String, (usize, Option<usize>)>,
    lines: Vec<Line>,
}

impl World {
    /// Everybody subscribes over every way, with starts as given for each person and place.
    async fn follow(
        &self,
        server: &TestServer,
        start: impl Fn(usize) -> Option<(Start, usize)>,
    ) -> Vec<Followed<'_>> {
        let mut all = Vec::new();
        for (nth, person) in self.people.iter().enumerate() {
            for (of_way, way) in Way::ALL.into_iter().enumerate() {
                let (mut wanted, mut from) = (Vec::new(), HashMap::new());
                for (at, ask) in person.asks.iter().enumerate() {
                    let start = start(nth * 7 + at * 3 + of_way);
                    let place = start.as_ref().map(|(_, place)| *place);
                    let one = Wanted {
                        id: format!("op{at}"),
                        root: ask.root.clone(),
                        filter: ask.filter.clone(),
                        start: start.map(|(start, _)| start),
                        selection: "id cursor".to_owned(),
                    };
                    if way.can(&one) {
                        from.insert(one.id.clone(), (at, place));
                        wanted.push(one);
                    }
                }
                all.push(async move {
                    let lines = way.open(server, &person.token, &wanted).await;
                    Followed { person, way, from, lines }
                });
            }
        }
        join_all(all).await
    }

    /// Reads what is due and compares it; a subscription that was refused is due nothing.
    async fn compare(&self, followed: Followed<'_>) -> Tally {
        let Followed { person, way, from, lines } = followed;
        let (mut tally, mut got) = (Tally::default(), HashMap::<String, Vec<usize>>::new());
        let mut refused = HashMap::new();
        let due: HashMap<_, _> = from
            .iter()
            .map(|(id, (at, place))| (id.as_str(), self.due(person, &person.asks[*at], *place)))
            .collect();
        for mut line in lines {
            refused.extend(std::mem::take(&mut line.refused));
            let mut open: BTreeSet<&str> = line
                .operations()
                .into_iter()
                .filter_map(|id| {
                    let (id, _) = from.get_key_value(id)?;
                    (!due[id.as_str()].is_empty() && !refused.contains_key(id)).then_some(id.as_str())
                })
                .collect();
            while !open.is_empty() {
                let (id, event) = line.next().await;
                let place = place_of(way, &event);
                if due[id.as_str()].last() == Some(&place) {
                    open.remove(id.as_str());
                }
                got.entry(id).or_default().push(place);
            }
        }
        for (id, (at, place)) in &from {
            let ask = &person.asks[*at];
            let found = got.remove(id).unwrap_or_default();
            assert_eq!(found, due[id.as_str()], "{way:?} {ask:?} {} {:?}", person.subject, person.grant);
            if let Some(refusal) = refused.get(id) {
                assert_eq!(code_of(refusal), "FORBIDDEN", "{way:?} {ask:?}");
                tally.refused += 1;
            }
            tally.cases += self.events.len() - place.unwrap_or(0);
            tally.delivered += found.len();
        }
        tally
    }

    async fn compare_all(&self, followed: Vec<Followed<'_>>) -> Tally {
        sum(join_all(followed.into_iter().map(|followed| self.compare(followed))).await)
    }

    /// Everybody reads the past in every way, and what was said in a room.
    async fn look_back(&self, server: &TestServer) -> Tally {
        let mut all = Vec::new();
        for (nth, person) in self.people.iter().enumerate() {
            for (at, ask) in person.asks.iter().enumerate().filter(|(_, ask)| ask.root == Root::Events) {
                for (of_way, past) in Past::ALL.into_iter().enumerate() {
                    let page = [500, 40, 7][(nth + at + of_way) % 3].max(self.events.len() / 12);
                    all.push(self.compare_past(format!("{past:?}"), person, ask, async move {
                        past.read(server, &person.token, (&ask.filter, "id"), page).await
                    }));
                }
            }
        }
        let mut said = Vec::new();
        for (nth, person) in self.people.iter().enumerate() {
            for ask in &person.asks {
                if let Root::Chat(room) = &ask.root {
                    said.push(self.compare_past("messages".to_owned(), person, ask, async move {
                        said_in(server, &person.token, (room, "id"), [1, 2, 50][nth % 3]).await
                    }));
                }
            }
        }
        sum(vec![sum(join_all(all).await), sum(join_all(said).await)])
    }

    async fn compare_past(
        &self,
        way: String,
        person: &Person,
        ask: &Ask,
        read: impl Future<Output = Result<Vec<Value>, Value>>,
    ) -> Tally {
        let due = self.due(person, ask, Some(0));
        let found = read.await;
        let mut tally = Tally { cases: self.events.len(), ..Tally::default() };
        let found: Vec<_> = match &found {
            Ok(events) => events.iter().map(|event| place_of(Way::Rpc, event)).collect(),
            Err(refusal) => {
                assert_eq!(code_of(refusal), "FORBIDDEN", "{way} {ask:?}");
                tally.refused += 1;
                Vec::new()
            }
        };
        assert_eq!(found, due, "{way} {ask:?} {:?}", person.grant);
        tally.delivered += found.len();
        tally
    }

    /// Everybody asks for events by their ids, whoever may read them.
    async fn look_up(&self, server: &TestServer) -> Tally {
        let whole = Ask { root: Root::Events, filter: json!({}) };
        let whole = &whole;
        let people = self.people.iter().enumerate().map(|(nth, person)| async move {
            let places: Vec<_> = (nth % STRIDE..self.events.len()).step_by(STRIDE).collect();
            let ids: Vec<_> = places.iter().map(|place| id_of(*place)).collect();
            let mut tally = Tally { cases: ids.len(), ..Tally::default() };
            match by_id(server, &person.token, &ids, "id").await {
                Ok(found) => {
                    for (place, found) in places.iter().zip(found) {
                        let event = &self.events[*place];
                        let is_due = event["persist"] == true && person.is_due(whole, event);
                        assert_eq!(!found.is_null(), is_due, "{:?} {event}", person.grant);
                        assert!(found.is_null() || found["id"] == id_of(*place));
                        tally.delivered += usize::from(is_due);
                    }
                }
                Err(refusal) => {
                    assert_eq!(code_of(&refusal), "FORBIDDEN");
                    assert!(self.due(person, whole, None).is_empty());
                    tally.refused += 1;
                }
            }
            tally
        });
        sum(join_all(people).await)
    }
}

impl World {
    /// Everything that the people of this world get, live, replayed, as history and by id.
    async fn all_ways(&self) -> [Tally; 4] {
        let server = self.access.server_with(|config| {
            config.operations_per_second = None;
            // What is not kept is not read again by whoever falls behind.
            config.mailbox_bytes_max = 16 << 20;
        });
        let begin = server.hub.position(Offset::ZERO).to_string();
        let live = self.follow(&server, |_| None).await;
        let cursors = self.publish(&server).await;
        let live = self.compare_all(live).await;
        // From the beginning, and after events whose cursors the reader has from somebody else.
        let start = |number: usize| match number % 3 {
            0 => Some((Start::Earliest, 0)),
            1 => Some((Start::After(begin.clone()), 0)),
            _ => {
                let place = number * 31 % EVENTS;
                Some((Start::After(cursors[place].clone()), place + 1))
            }
        };
        let replayed = self.follow(&server, start).await;
        let replayed = self.compare_all(replayed).await;
        [live, replayed, self.look_back(&server).await, self.look_up(&server).await]
    }
}

fn sum(tallies: Vec<Tally>) -> Tally {
    tallies.into_iter().fold(Tally::default(), |one, other| Tally {
        cases: one.cases + other.cases,
        delivered: one.delivered + other.delivered,
        refused: one.refused + other.refused,
    })
}

#[tokio::test]
async fn every_way_out_delivers_exactly_what_grant_and_filter_allow() {
    let mut runner = TestRunner::deterministic();
    let mut tallies: [Vec<Tally>; 4] = Default::default();
    for _ in 0..WORLDS {
        let world = World::new(&mut runner);
        for (tallies, tally) in tallies.iter_mut().zip(world.all_ways().await) {
            tallies.push(tally);
        }
    }
    let tallies = tallies.map(sum);
    println!("live, replayed, history, by id: {tallies:#?}");
    let all = sum(tallies.into());
    println!("{} cases of a grant, a filter and an event over all ways out", all.cases);
    assert!(all.cases > 1_000_000 && all.delivered > 100_000 && all.refused > 400, "{all:?}");
}
