//! What is kept, against the oracle: people whose grants come by tokens list, look up and try to change resources of
//! organizations, domains and owners with ids that are near each other, and nobody is shown, changes or learns anything of what
//! is beyond their grant.

use super::oracle::{IDS, allows, grants};
use crate::support::{Access, TestServer, ask, code_of, sent};
use fanfare::{
    auth::Principal,
    platform::resources::{Fields, Kind, Resource, Resources, Verb, Which},
};
use futures_util::{StreamExt, stream};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PEOPLE: usize = 48;
/// So many people ask at once.
const AT_ONCE: usize = 8;
/// Aliases of one document.
const ALIASES: usize = 20;
/// Small, so that every list has several pages.
const PAGE: usize = 4;
const OWNED: [(&str, Kind); 3] = [("domain", Kind::Domain), ("agent", Kind::Agent), ("task", Kind::Task)];

/// A resource, and its latest event as the oracle reads it.
struct Kept {
    noun: &'static str,
    id: String,
    organization: String,
    event: Value,
}

impl Kept {
    fn new(noun: &'static str, resource: &Resource) -> Self {
        let event = resource.event();
        let mut told = json!({ "type": event.event_type().as_str() });
        for (field, id) in event.scope().iter() {
            told[field.camel()] = id.into();
        }
        let organization = told["organizationId"].as_str().unwrap().to_owned();
        Kept { noun, id: resource.id().unwrap(), organization, event: told }
    }

    fn name(&self) -> String {
        format!("{} {}", self.organization, self.id)
    }
}

struct Person {
    read: Vec<Value>,
    publish: Vec<Value>,
    token: String,
}

impl Person {
    fn may_read(&self, kept: &Kept) -> bool {
        allows(&self.read, &kept.event)
    }

    /// May they know of it who want to publish an event of this type about it?
    fn may_know(&self, kept: &Kept, event_type: &str) -> bool {
        let mut event = kept.event.clone();
        event["type"] = event_type.into();
        self.may_read(kept) || allows(&self.publish, &event)
    }
}

/// Four organizations, each with two domains, two owners, and agents and tasks of the same ids as in the others.
async fn fill(resources: &Resources) -> Vec<Kept> {
    let me = Principal::anonymous();
    let mut kept = Vec::new();
    let create = async |kind, fields: Value| {
        let fields = Fields::from_json(&fields.to_string()).unwrap();
        resources.create(&me, kind, fields).await.unwrap().resource.unwrap()
    };
    for organization in &IDS[..4] {
        create(Kind::Organization, json!({ "id": organization, "name": "x" })).await;
        for user in &IDS[1..3] {
            create(Kind::User, json!({ "id": user, "organizationId": organization, "name": "x" })).await;
        }
        for domain in &IDS[..2] {
            let fields = json!({ "id": domain, "organizationId": organization, "name": "x" });
            kept.push(Kept::new("domain", &create(Kind::Domain, fields).await));
        }
        for number in 0..6 {
            let domain = [Some(IDS[0]), Some(IDS[1]), None][number % 3];
            let user = [Some(IDS[1]), Some(IDS[2]), None][number / 2];
            let id = format!("r{number}");
            let agent = json!({ "id": id, "organizationId": organization, "domainId": domain, "name": "x" });
            kept.push(Kept::new("agent", &create(Kind::Agent, agent.clone()).await));
            let mut task = agent;
            task["userId"] = user.into();
            let mut created = create(Kind::Task, task).await;
            if number % 2 == 0 {
                let which = Which::new(Kind::Task, id.clone()).of(Some((*organization).to_owned()));
                let started = resources.transition(&me, &which, Verb::Start, Fields::new(), None).await;
                created = started.unwrap().resource.unwrap();
            }
            kept.push(Kept::new("task", &created));
        }
    }
    kept
}

fn people(access: &Access) -> Vec<Person> {
    let mut runner = TestRunner::deterministic();
    let strategy = prop::collection::vec((grants(), grants()), PEOPLE);
    let grants = strategy.new_tree(&mut runner).unwrap().current();
    let person = |(nth, (read, publish)): (usize, (Vec<Value>, Vec<Value>))| {
        let claims = json!({ "fanfare": { "read": read, "publish": publish } });
        Person { token: access.signed_with(&format!("p{nth}"), &[], None, &claims), read, publish }
    };
    grants.into_iter().enumerate().map(person).collect()
}

async fn answer(server: &TestServer, person: &Person, query: String) -> Value {
    let request = ask(server, "application/json", &json!({ "query": query }));
    sent(request.bearer_auth(&person.token)).await.1
}

/// Everything of a kind that somebody is shown, by small pages; or the refusal.
async fn listed(server: &TestServer, person: &Person, noun: &str) -> Result<BTreeSet<String>, Value> {
    let (mut names, mut after) = (BTreeSet::new(), String::new());
    loop {
        let query = format!(
            "{{ {noun}s(first: {PAGE}{after}) {{ nodes {{ id organizationId }} pageInfo {{ hasNextPage endCursor }} }} }}"
        );
        let answer = answer(server, person, query).await;
        if let Some(error) = answer["errors"].get(0) {
            return Err(error.clone());
        }
        let page = &answer["data"][format!("{noun}s")];
        for node in page["nodes"].as_array().unwrap_or_else(|| panic!("{answer}")) {
            let (organization, id) = (node["organizationId"].as_str().unwrap(), node["id"].as_str().unwrap());
            assert!(names.insert(format!("{organization} {id}")), "{id} came twice");
        }
        if page["pageInfo"]["hasNextPage"] == false {
            return Ok(names);
        }
        after = format!(", after: {}", page["pageInfo"]["endCursor"]);
    }
}

/// What aliased fields answer, each its value or its error.
async fn asked(server: &TestServer, person: &Person, fields: &[String]) -> Vec<Result<Value, Value>> {
    let mut answers = Vec::new();
    for fields in fields.chunks(ALIASES) {
        let aliased = fields.iter().enumerate().map(|(at, field)| format!("a{at}: {field} "));
        let answer = answer(server, person, format!("{{ {} }}", aliased.collect::<String>())).await;
        assert!(answer["data"].is_object(), "{answer}");
        for at in 0..fields.len() {
            let alias = format!("a{at}");
            let mut errors = answer["errors"].as_array().into_iter().flatten();
            let error = errors.find(|error| error["path"][0] == *alias).cloned();
            answers.push(error.map_or_else(|| Ok(answer["data"][&alias].clone()), Err));
        }
    }
    answers
}

/// Lists and lookups; gives how many were due and how many refused.
async fn look(server: &TestServer, person: &Person, kept: &[Kept]) -> (usize, usize) {
    let (mut seen, mut refused) = (0, 0);
    for (noun, _) in OWNED {
        let of_kind = || kept.iter().filter(|one| one.noun == noun);
        let due: BTreeSet<_> = of_kind().filter(|one| person.may_read(one)).map(Kept::name).collect();
        match listed(server, person, noun).await {
            Ok(names) => assert_eq!(names, due, "{noun} {:?}", person.read),
            Err(refusal) => {
                assert_eq!((code_of(&refusal), due.len()), ("FORBIDDEN", 0), "{noun} {:?}", person.read);
                refused += 1;
            }
        }
        seen += due.len();
        let lookup = |one: &Kept| {
            format!(
                "{noun}(id: {}, organizationId: {}) {{ id organizationId }}",
                json!(one.id),
                json!(one.organization)
            )
        };
        let fields: Vec<_> = of_kind().map(lookup).collect();
        for (one, answer) in of_kind().zip(asked(server, person, &fields).await) {
            match answer {
                Ok(found) => {
                    assert_eq!(
                        found.is_object(),
                        person.may_read(one),
                        "{} {:?} {found}",
                        one.event,
                        person.read
                    );
                }
                Err(refusal) => {
                    assert_eq!(code_of(&refusal), "FORBIDDEN");
                    assert!(!person.may_read(one), "{} {:?}", one.event, person.read);
                }
            }
        }
    }
    (seen, refused)
}

/// Somebody tries to change everything, with a version that nothing has: who may know of a resource learns that it has another
/// one, and everybody else what they would learn of an id that is free.
async fn try_to_change(server: &TestServer, person: &Person, kept: &[Kept]) -> (usize, usize) {
    let (mut known, mut unknown) = (0, 0);
    for (noun, event_type, mutation) in [
        (
            "domain",
            "domain.updated",
            r#"updateDomain(id: ID, organizationId: ORG, changes: { name: "mine" }, expectedVersion: 99)"#,
        ),
        (
            "agent",
            "agent.status_changed",
            r#"setAgentStatus(id: ID, organizationId: ORG, status: "mine", expectedVersion: 99)"#,
        ),
        ("task", "task.deleted", "deleteTask(id: ID, organizationId: ORG, expectedVersion: 99)"),
    ] {
        let refused = async |id: &str, organization: &str| {
            let field = mutation
                .replace("ID,", &format!("{},", json!(id)))
                .replace("ORG", &json!(organization).to_string());
            let answer = answer(server, person, format!("mutation {{ {field} {{ cursor }} }}")).await;
            let error = answer["errors"][0].clone();
            assert!(error.is_object(), "something was changed: {answer}");
            let code = code_of(&error).to_owned();
            // The same but for the id that was named.
            let text = format!("{} {}", error["message"], error["extensions"]);
            (code, text.replace(&json!(id).to_string(), "ID").replace(&format!("\\\"{id}\\\""), "ID"))
        };
        for organization in &IDS[..4] {
            let (code, free) = refused("free", organization).await;
            assert_eq!(code, "NOT_FOUND");
            for one in kept.iter().filter(|one| one.noun == noun && one.organization == *organization) {
                let (code, text) = refused(&one.id, organization).await;
                if person.may_know(one, event_type) {
                    assert_eq!(code, "CONFLICT", "{} {:?} {:?}", one.event, person.read, person.publish);
                    known += 1;
                } else {
                    assert_eq!(text, free, "{} {:?} {:?}", one.event, person.read, person.publish);
                    unknown += 1;
                }
            }
        }
    }
    (known, unknown)
}

#[tokio::test]
async fn nobody_sees_changes_or_guesses_a_resource_beyond_their_grant() {
    let access = Access::new();
    let people = people(&access);
    let server = access.server_with(|config| config.operations_per_second = None);
    let resources = Resources::new(server.hub.clone());
    let kept = fill(&resources).await;
    let head = server.hub.bounds().head;
    let (server, kept) = (&server, &kept);
    let asked = stream::iter(people.into_iter().enumerate()).map(|(nth, person)| async move {
        let (seen, refused) = look(server, &person, kept).await;
        let (known, unknown) = match nth % 3 {
            0 => try_to_change(server, &person, kept).await,
            _ => (0, 0),
        };
        [seen, refused, known, unknown]
    });
    let counts: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
    let [seen, refused, known, unknown] =
        counts.into_iter().fold([0; 4], |sum, one| std::array::from_fn(|at| sum[at] + one[at]));
    assert_eq!(server.hub.bounds().head, head, "nothing was changed");
    assert!(seen > 300 && refused > 5 && known > 100 && unknown > 300, "{seen} {refused} {known} {unknown}");
}
