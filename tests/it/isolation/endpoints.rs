//! Every way out of a running server against the oracle: people whose grants come by tokens and by the policy file, filters and
//! typed fields at random, and each delivery compared with what was due.
//!
//! A fence for each subscription closes its comparison: an event that it is due, published after all that is compared.

use super::oracle::{IDS, SCOPE, TYPES, allows, category_of, events, filters, grants, matches};
use crate::support::{Access, Line, Past, Root, Start, TestServer, Wanted, Way, by_id, code_of};
use fanfare::{
    auth::Principal,
    event::{Draft, NewEvent, Offset},
};
use futures_util::future::join_all;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};

/// Each with a server, people, filters and events of its own: 60 people, of whom few enough are connected at a time for the
/// files that a process may usually have open.
const WORLDS: usize = 5;
const PEOPLE: usize = 12;
const FILTERS: usize = 3;
const EVENTS: usize = 160;
const CORRELATIONS: [&str; 3] = ["c1", "c2", "C1"];
/// People look for every so many events by id.
const STRIDE: usize = 5;

/// Where the grant of a token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// From the token itself.
    Claim,
    /// From a role of the policy.
    Role,
    /// From a role with variables in the place of ids; the token holds these.
    Variables,
}

struct Person {
    subject: &'static str,
    grant: Vec<Value>,
    token: String,
    asks: Vec<Ask>,
}

/// What somebody subscribes to.
#[derive(Debug)]
struct Ask {
    root: Root,
    filter: Value,
}

impl Ask {
    /// What the root adds to the filter.
    fn limits(&self, subject: &str) -> Vec<(&'static str, String)> {
        match &self.root {
            Root::Events => Vec::new(),
            Root::Family("tasks") => vec![("category", "task".to_owned())],
            Root::Family(_) => vec![("category", "agent".to_owned())],
            Root::Chat(room) => vec![("category", "chat".to_owned()), ("roomId", room.clone())],
            Root::Trace(correlation) => vec![("correlationId", correlation.clone())],
            Root::Notifications => vec![("userId", subject.to_owned())],
        }
    }
}

impl Person {
    fn is_due(&self, ask: &Ask, event: &Value) -> bool {
        let fits = |(field, wanted): &(&str, String)| match *field {
            "category" => category_of(event) == wanted,
            field => event[field] == **wanted,
        };
        allows(&self.grant, event) && matches(&ask.filter, event) && ask.limits(self.subject).iter().all(fits)
    }

    /// An event that is due; none where none can be.
    fn fence(&self, ask: &Ask) -> Option<Value> {
        let alternatives = match ask.filter["anyOf"].as_array() {
            Some(list) => list.clone(),
            None => vec![json!({})],
        };
        let limits: Map<String, Value> =
            ask.limits(self.subject).into_iter().map(|(field, id)| (field.to_owned(), json!([id]))).collect();
        let limits = Value::Object(limits);
        for rule in &self.grant {
            for alternative in &alternatives {
                let parts = [rule, &ask.filter, alternative, &limits];
                let common = |field: &str| -> Option<BTreeSet<&str>> {
                    let sets = parts.iter().filter_map(|part| part[field].as_array());
                    sets.map(|list| list.iter().map(|id| id.as_str().unwrap()).collect::<BTreeSet<_>>())
                        .reduce(|one, other| &one & &other)
                };
                for event_type in TYPES {
                    let mut event = json!({ "type": event_type, "priority": "HIGH" });
                    for (field, name) in SCOPE
                        .iter()
                        .map(|field| (*field, *field))
                        .chain([("sources", "source"), ("correlationId", "correlationId")])
                    {
                        if let Some(id) = common(field).and_then(|ids| ids.into_iter().next()) {
                            event[name] = id.into();
                        }
                    }
                    if self.is_due(ask, &event) {
                        return Some(event);
                    }
                }
            }
        }
        None
    }
}

struct World {
    access: Access,
    people: Vec<Person>,
    /// The fences last; each has its place as its id.
    events: Vec<Value>,
}

fn id_of(place: usize) -> String {
    format!("e{place}")
}

/// The place of an event in the world, however it looks.
fn place_of(way: Way, event: &Value) -> usize {
    let id = match event["type"].as_str() {
        _ if way != Way::Gateway => &event["id"],
        Some("Presence") => &event["conn_id"],
        Some("Health") => &event["snapshot"]["conn_id"],
        Some("Agent") => &event["agent_id"],
        Some("Chat") => &event["message"],
        _ => &event["event"]["id"],
    };
    id.as_str().and_then(|id| id.strip_prefix('e')?.parse().ok()).unwrap_or_else(|| panic!("{way:?} {event}"))
}

/// A rule as the policy file has it: braces of ids twice, or a variable for each list of ids.
fn policy_rule(nth: usize, rule: &Value, origin: Origin, claims: &mut Value) -> String {
    let member = |(field, list): (&String, &Value)| {
        let list = match (origin, field.as_str()) {
            (Origin::Role, field) if field != "types" => {
                list.to_string().replace('{', "{{").replace('}', "}}")
            }
            (Origin::Variables, field) if field != "types" => {
                claims[format!("r{nth}_{field}")] = list.clone();
                format!("'{{r{nth}_{field}}}'")
            }
            _ => list.to_string(),
        };
        format!("{field} = {list}")
    };
    format!("{{ {} }}", rule.as_object().unwrap().iter().map(member).collect::<Vec<_>>().join(", "))
}

impl World {
    fn new(runner: &mut TestRunner) -> Self {
        let strategy = (
            prop::collection::vec(grants(), PEOPLE),
            prop::collection::vec(filters(), PEOPLE * FILTERS),
            prop::collection::vec(
                (events(), prop::option::of(prop::sample::select(&CORRELATIONS[..]))),
                EVENTS,
            ),
        );
        let (grants, filters, events) = strategy.new_tree(runner).unwrap().current();
        let mut policy = String::from("[claims.variables]\n");
        for (rule, field) in (0..5).flat_map(|rule| SCOPE.map(|field| (rule, field))) {
            policy += &format!("r{rule}_{field} = 'r{rule}_{field}'\n");
        }
        let mut claims = Vec::new();
        for (nth, grant) in grants.iter().enumerate() {
            let origin = [Origin::Claim, Origin::Role, Origin::Variables][nth % 3];
            let mut own = json!({});
            if origin == Origin::Claim {
                own["fanfare"] = json!({ "read": grant });
            } else {
                let rules =
                    grant.iter().enumerate().map(|(nth, rule)| policy_rule(nth, rule, origin, &mut own));
                policy += &format!("[roles.p{nth}]\nread = [{}]\n", rules.collect::<Vec<_>>().join(", "));
            }
            claims.push((origin, own));
        }
        let access = Access::with_policy(&policy);
        let people = grants.into_iter().zip(filters.chunks(FILTERS)).enumerate();
        let people: Vec<_> = people
            .map(|(nth, (grant, filters))| {
                let (origin, own) = &claims[nth];
                let (subject, role) = (IDS[nth % IDS.len()], format!("p{nth}"));
                let roles = [&*role];
                let roles: &[&str] = if *origin == Origin::Claim { &[] } else { &roles };
                let token = access.signed_with(subject, roles, None, own);
                Person { subject, grant, token, asks: asks(nth, filters) }
            })
            .collect();
        let mut all: Vec<Value> = events
            .into_iter()
            .map(|(mut event, correlation)| {
                event["correlationId"] = correlation.into();
                event
            })
            .collect();
        all.extend(people.iter().flat_map(|person| person.asks.iter().filter_map(|ask| person.fence(ask))));
        for (place, event) in all.iter_mut().enumerate() {
            event["id"] = id_of(place).into();
            event["agentId"] = id_of(place).into();
            event["data"] = json!({ "conn_id": id_of(place), "message": id_of(place) });
        }
        World { access, people, events: all }
    }

    async fn publish(&self, server: &TestServer) -> Vec<String> {
        let new = |event: &Value| {
            let draft = Draft::from_json(&event.to_string()).unwrap();
            NewEvent::new(draft, server.hub.limits()).unwrap()
        };
        let (mut cursors, mut at) = (Vec::new(), 0);
        // Commits of one event and of many.
        for size in [1, 2, 7, 40].into_iter().cycle() {
            let batch: Vec<_> = self.events.iter().skip(at).take(size).map(new).collect();
            if batch.is_empty() {
                return cursors;
            }
            at += batch.len();
            let appended = server.hub.publish(&Principal::anonymous(), batch).await.unwrap();
            cursors.extend(appended.iter().map(|one| one.cursor.to_string()));
        }
        cursors
    }

    fn due(&self, person: &Person, ask: &Ask, from: usize) -> Vec<usize> {
        (from..self.events.len()).filter(|place| person.is_due(ask, &self.events[*place])).collect()
    }
}

fn asks(nth: usize, filters: &[Value]) -> Vec<Ask> {
    let ask = |root, filter: &Value| Ask { root, filter: filter.clone() };
    let mut asks: Vec<_> = filters.iter().map(|filter| ask(Root::Events, filter)).collect();
    asks.extend([
        ask(Root::Events, &json!({})),
        ask(Root::Family("tasks"), &filters[0]),
        ask(Root::Family("agents"), &json!({})),
        ask(Root::Chat(IDS[nth % 6].to_owned()), &json!({})),
        ask(Root::Trace(CORRELATIONS[nth % 3].to_owned()), &json!({})),
        ask(Root::Notifications, &json!({})),
    ]);
    asks
}

/// What was compared.
#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    delivered: usize,
    refused: usize,
}

/// Somebody's subscriptions over one way, the place that each begins after, and the connections that they are on.
struct Followed<'a> {
    person: &'a Person,
    way: Way,
    from: HashMap<String, (usize, usize)>,
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
                    let place = start.as_ref().map_or(0, |(_, place)| *place);
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
            tally.cases += self.events.len() - place;
            tally.delivered += found.len();
        }
        tally
    }

    async fn compare_all(&self, followed: Vec<Followed<'_>>) -> Tally {
        sum(join_all(followed.into_iter().map(|followed| self.compare(followed))).await)
    }

    /// Everybody reads the past in every way.
    async fn look_back(&self, server: &TestServer) -> Tally {
        let mut all = Vec::new();
        for (nth, person) in self.people.iter().enumerate() {
            for (at, ask) in person.asks.iter().enumerate().filter(|(_, ask)| ask.root == Root::Events) {
                for (of_way, past) in Past::ALL.into_iter().enumerate() {
                    let page = [500, 40, 7][(nth + at + of_way) % 3].max(self.events.len() / 12);
                    all.push(self.compare_past(server, person, ask, past, page));
                }
            }
        }
        sum(join_all(all).await)
    }

    async fn compare_past(
        &self,
        server: &TestServer,
        person: &Person,
        ask: &Ask,
        past: Past,
        page: usize,
    ) -> Tally {
        let due = self.due(person, ask, 0);
        let found = past.read(server, &person.token, (&ask.filter, "id"), page).await;
        let mut tally = Tally { cases: self.events.len(), ..Tally::default() };
        let found: Vec<_> = match &found {
            Ok(events) => events.iter().map(|event| place_of(Way::Rpc, event)).collect(),
            Err(refusal) => {
                assert_eq!(code_of(refusal), "FORBIDDEN", "{past:?} {ask:?}");
                tally.refused += 1;
                Vec::new()
            }
        };
        assert_eq!(found, due, "{past:?} {ask:?} {:?}", person.grant);
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
                        let is_due = person.is_due(whole, &self.events[*place]);
                        assert_eq!(!found.is_null(), is_due, "{:?} {}", person.grant, self.events[*place]);
                        assert!(found.is_null() || found["id"] == id_of(*place));
                        tally.delivered += usize::from(is_due);
                    }
                }
                Err(refusal) => {
                    assert_eq!(code_of(&refusal), "FORBIDDEN");
                    assert!(self.due(person, whole, 0).is_empty());
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
        let server = self.access.server_with(|config| config.operations_per_second = None);
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
