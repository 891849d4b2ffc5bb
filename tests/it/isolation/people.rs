//! People with grants at random, what they ask for, and the events of their world with a fence for each subscription.

use super::oracle::{IDS, SCOPE, TYPES, allows, category_of, events, filters, grants, matches};
use crate::support::{Access, Root, TestServer, Way};
use fanfare::{
    auth::Principal,
    event::{Draft, NewEvent},
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

pub(super) const PEOPLE: usize = 12;
const FILTERS: usize = 3;
pub(super) const EVENTS: usize = 160;
const CORRELATIONS: [&str; 3] = ["c1", "c2", "C1"];

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

pub(super) struct Person {
    pub(super) subject: &'static str,
    pub(super) grant: Vec<Value>,
    pub(super) token: String,
    pub(super) asks: Vec<Ask>,
}

/// What somebody subscribes to.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) root: Root,
    pub(super) filter: Value,
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
    pub(super) fn is_due(&self, ask: &Ask, event: &Value) -> bool {
        let fits = |(field, wanted): &(&str, String)| match *field {
            "category" => category_of(event) == wanted,
            field => event[field] == **wanted,
        };
        // What a server tells about itself, such as where somebody is connected, is no notification.
        let is_left_out =
            ask.root == Root::Notifications && matches!(category_of(event), "presence" | "health");
        allows(&self.grant, event)
            && matches(&ask.filter, event)
            && ask.limits(self.subject).iter().all(fits)
            && !is_left_out
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

pub(super) struct World {
    pub(super) access: Access,
    pub(super) people: Vec<Person>,
    /// The fences last; each has its place as its id.
    pub(super) events: Vec<Value>,
}

pub(super) fn id_of(place: usize) -> String {
    format!("e{place}")
}

/// The place of an event in the world, however it looks.
pub(super) fn place_of(way: Way, event: &Value) -> usize {
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
    pub(super) fn new(runner: &mut TestRunner) -> Self {
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
            // Fences are kept: what is read to its end needs one.
            event["persist"] = (place >= EVENTS || place % 4 > 0).into();
        }
        World { access, people, events: all }
    }

    pub(super) async fn publish(&self, server: &TestServer) -> Vec<String> {
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

    /// The places of what is due to somebody who follows from the beginning, or who reads what is kept from a place on.
    pub(super) fn due(&self, person: &Person, ask: &Ask, kept_from: Option<usize>) -> Vec<usize> {
        let is_due = |place: &usize| {
            let event = &self.events[*place];
            (kept_from.is_none() || event["persist"] == true) && person.is_due(ask, event)
        };
        (kept_from.unwrap_or(0)..self.events.len()).filter(is_due).collect()
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
