//! The mechanism against a naive model, and who may know of what.

use super::*;
use crate::{
    auth::{Credential, Grant, View},
    bus::{self, Bus},
    event::{EventFilter, Limits, Rule, TypePattern},
    hub::HistoryRequest,
    log::{MemoryLog, MemoryOptions},
    metrics::Metrics,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

fn resources() -> Resources {
    let bus = Bus::new(&bus::Options::default());
    let ring = bus.clone();
    let log = MemoryLog::open(MemoryOptions::default(), Box::new(move |batch| ring.publish(batch)));
    Resources::new(Hub::new(Arc::new(log), bus, Metrics::new(), Limits::default()))
}

fn fields(json: &Value) -> Fields {
    Fields::from_json(&json.to_string()).unwrap()
}

const IDS: [&str; 2] = ["a", "b"];
/// The kinds of the model: what agents belong to, agents, and tasks that they work on.
const KINDS: [Kind; 3] = [Kind::Domain, Kind::Agent, Kind::Task];
const VERBS: [Verb; 8] = [
    Verb::SetStatus,
    Verb::Start,
    Verb::Progress,
    Verb::Pause,
    Verb::Resume,
    Verb::Complete,
    Verb::Fail,
    Verb::Cancel,
];

/// Which version a request expects.
#[derive(Clone, Copy, Debug)]
enum Expects {
    Any,
    Right,
    Wrong,
}

#[derive(Clone, Debug)]
enum Operation {
    /// With what it belongs to: the domain of an agent, the agent of a task.
    Create(Option<&'static str>),
    Update(&'static str),
    Assign(Option<&'static str>),
    Transition(Verb),
    Delete,
}

#[derive(Clone, Debug)]
struct Request {
    kind: Kind,
    id: &'static str,
    expects: Expects,
    operation: Operation,
}

fn requests() -> impl Strategy<Value = Request> {
    let id = || prop::sample::select(IDS.to_vec());
    let parent = || prop::option::of(id());
    let expects =
        prop_oneof![Just(Expects::Any), Just(Expects::Right), Just(Expects::Right), Just(Expects::Wrong)];
    let operation = prop_oneof![
        3 => parent().prop_map(Operation::Create),
        2 => prop::sample::select(vec!["x", "y"]).prop_map(Operation::Update),
        1 => parent().prop_map(Operation::Assign),
        5 => prop::sample::select(VERBS.to_vec()).prop_map(Operation::Transition),
        1 => Just(Operation::Delete),
    ];
    (prop::sample::select(KINDS.to_vec()), id(), expects, operation)
        .prop_map(|(kind, id, expects, operation)| Request { kind, id, expects, operation })
}

/// What the model remembers of a resource.
#[derive(Clone, Debug)]
struct Known {
    version: u64,
    name: String,
    status: Option<String>,
    parent: Option<&'static str>,
}

#[derive(Debug, Default)]
struct Model(BTreeMap<(Kind, &'static str), Known>);

/// The kind that a resource of this one may belong to here.
fn parent(kind: Kind) -> Option<(Kind, &'static str)> {
    let parents = [(Kind::Agent, (Kind::Domain, "domainId")), (Kind::Task, (Kind::Agent, "agentId"))];
    parents.into_iter().find(|(own, _)| *own == kind).map(|(_, parent)| parent)
}

/// The life of a task, word for word: `None` where a verb cannot follow.
fn after(status: &str, verb: Verb) -> Option<&'static str> {
    match (status, verb) {
        ("created" | "paused", Verb::Start) if status == "created" => Some("started"),
        ("started", Verb::Progress) | ("paused", Verb::Resume) => Some("started"),
        ("started", Verb::Pause) => Some("paused"),
        ("started" | "paused", Verb::Complete) => Some("completed"),
        ("created" | "started" | "paused", Verb::Fail) => Some("failed"),
        ("created" | "started" | "paused", Verb::Cancel) => Some("cancelled"),
        _ => None,
    }
}

fn is_over(known: &Known) -> bool {
    matches!(known.status.as_deref(), Some("completed" | "failed" | "cancelled"))
}

impl Model {
    fn has(&self, kind: Kind, id: &'static str) -> bool {
        self.0.contains_key(&(kind, id))
    }

    /// Makes a change, or says with which code it is refused.
    fn apply(&mut self, request: &Request) -> Result<(), Code> {
        let Request { kind, id, expects, operation } = request;
        if let Operation::Create(of) = operation {
            let of = of.filter(|_| parent(*kind).is_some());
            if self.has(*kind, id) {
                return Err(Code::Conflict);
            }
            self.check_parent(*kind, of)?;
            let statuses = [(Kind::Agent, "idle"), (Kind::Task, "created")];
            let status = statuses.iter().find(|(own, _)| own == kind).map(|(_, status)| (*status).to_owned());
            self.0.insert((*kind, id), Known { version: 1, name: "new".to_owned(), status, parent: of });
            return Ok(());
        }
        let is_possible = match operation {
            Operation::Transition(Verb::SetStatus) => *kind == Kind::Agent,
            Operation::Transition(_) | Operation::Assign(_) => *kind == Kind::Task,
            Operation::Create(_) | Operation::Update(_) | Operation::Delete => true,
        };
        if !is_possible {
            return Err(Code::BadRequest);
        }
        let mut known = self.0.get(&(*kind, *id)).cloned().ok_or(Code::NotFound)?;
        if matches!(expects, Expects::Wrong) {
            return Err(Code::Conflict);
        }
        known.version += 1;
        match operation {
            Operation::Update(name) => (*name).clone_into(&mut known.name),
            Operation::Assign(of) => {
                if known.parent != *of {
                    self.check_parent(*kind, *of)?;
                }
                known.parent = *of;
            }
            Operation::Transition(Verb::SetStatus) => {
                if known.status.as_deref() == Some("busy") {
                    return Err(Code::Conflict);
                }
                known.status = Some("busy".to_owned());
            }
            Operation::Transition(verb) => {
                let status = known.status.as_deref().unwrap_or_default();
                known.status = Some(after(status, *verb).ok_or(Code::Conflict)?.to_owned());
            }
            Operation::Delete => {
                let holds = |((of, _), other): (&(Kind, &str), &Known)| {
                    parent(*of).map(|(kind, _)| kind) == Some(*kind)
                        && other.parent == Some(id)
                        && !is_over(other)
                };
                if self.0.iter().any(holds) {
                    return Err(Code::Conflict);
                }
                self.0.remove(&(*kind, *id));
                return Ok(());
            }
            Operation::Create(_) => unreachable!("it is handled above"),
        }
        self.0.insert((*kind, id), known);
        Ok(())
    }

    fn check_parent(&self, kind: Kind, of: Option<&'static str>) -> Result<(), Code> {
        match (parent(kind), of) {
            (Some((kind, _)), Some(id)) if !self.has(kind, id) => Err(Code::NotFound),
            _ => Ok(()),
        }
    }
}

async fn ask(resources: &Resources, model: &Model, request: &Request) -> Result<Made, Refusal> {
    let Request { kind, id, expects, operation } = request;
    let (me, which) = (Principal::anonymous(), Which::new(*kind, *id).of(Some("quant".to_owned())));
    let version = model.0.get(&(*kind, *id)).map_or(0, |known| known.version);
    let expected = match expects {
        Expects::Any => None,
        Expects::Right => Some(version),
        Expects::Wrong => Some(version + 1),
    };
    match operation {
        Operation::Create(of) => {
            let mut given = json!({ "id": id, "organizationId": "quant", "name": "new" });
            if let (Some((_, field)), Some(of)) = (parent(*kind), of) {
                given[field] = (*of).into();
            }
            resources.create(&me, *kind, fields(&given)).await
        }
        Operation::Update(name) => {
            resources.update(&me, &which, fields(&json!({ "name": name })), expected).await
        }
        Operation::Assign(of) => {
            resources.update(&me, &which, fields(&json!({ "agentId": of })), expected).await
        }
        Operation::Transition(verb) => {
            let needed = [
                (Verb::SetStatus, json!({ "status": "busy" })),
                (Verb::Progress, json!({ "progress": 0.5 })),
            ];
            let given = needed.into_iter().find(|(own, _)| own == verb).map_or(json!({}), |(_, given)| given);
            resources.transition(&me, &which, *verb, fields(&given), expected).await
        }
        Operation::Delete => resources.delete(&me, &which, expected).await,
    }
}

/// The state that the events of the log leave, by kind and id; their versions have no holes.
async fn folded(resources: &Resources) -> BTreeMap<(Kind, String), Value> {
    let request = HistoryRequest { first: Some(1_000), ..HistoryRequest::default() };
    let history = resources.hub.history(&Principal::anonymous(), request).await.unwrap();
    let mut state: BTreeMap<(Kind, String), Value> = BTreeMap::new();
    for event in &history.events {
        let data: Value = serde_json::from_str(event.data().as_str()).unwrap();
        let kind = Kind::of(event.event_type().segments().next().unwrap()).unwrap();
        let key = (kind, data["id"].as_str().unwrap().to_owned());
        let before = state.get(&key).map_or(0, |data| data["version"].as_u64().unwrap());
        assert_eq!(data["version"], before + 1, "{event:?}");
        assert_eq!(event.subject(), Some(format!("{}/{}", kind.name(), key.1).as_str()));
        match event.event_type().action() {
            "deleted" => drop(state.remove(&key)),
            _ => drop(state.insert(key, data)),
        }
    }
    state
}

async fn check(requests: Vec<Request>) {
    let (resources, mut model) = (resources(), Model::default());
    let me = Principal::anonymous();
    let quant = fields(&json!({ "id": "quant", "name": "Quant" }));
    resources.create(&me, Kind::Organization, quant).await.unwrap();
    for request in &requests {
        let answer = ask(&resources, &model, request).await;
        let expected = model.apply(request);
        match (&answer, &expected) {
            (Ok(made), Ok(())) => {
                let state = made.resource.as_ref().unwrap();
                if let Some(known) = model.0.get(&(request.kind, request.id)) {
                    assert_eq!(state.version(), Some(known.version), "{request:?}");
                    assert_eq!(
                        (state.status(), state.text("name")),
                        (known.status.clone(), Some(known.name.clone()))
                    );
                    let parent = parent(request.kind)
                        .and_then(|(_, field)| ScopeField::ALL.into_iter().find(|one| one.camel() == field));
                    assert_eq!(parent.and_then(|field| state.belongs_to(field)), known.parent);
                }
            }
            (Err(refusal), Err(code)) => assert_eq!(refusal.code, *code, "{request:?}: {refusal}"),
            _ => panic!("{request:?}: {answer:?}, but the model says {expected:?}"),
        }
    }
    let folded = folded(&resources).await;
    let mut listed = BTreeMap::new();
    for kind in Kind::ALL {
        for Entry { resource, .. } in resources.list(&me, List::new(kind)).await.unwrap().entries {
            let data: Value = serde_json::from_str(resource.event().data().as_str()).unwrap();
            listed.insert((kind, resource.id().unwrap()), data);
        }
    }
    assert_eq!(folded, listed);
    assert_eq!(listed.len(), model.0.len() + 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_sequence_of_requests_does_what_a_naive_model_says(requests in prop::collection::vec(requests(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(check(requests));
    }
}

fn rule(types: &str, ids: &[(ScopeField, &str)]) -> Rule {
    let rule = Rule::default().with_types(vec![TypePattern::parse(types, "types").unwrap()]);
    ids.iter().fold(rule, |rule, (field, id)| rule.with_ids(*field, vec![(*id).to_owned()]).unwrap())
}

/// May publish by these rules, and read what `read` allows.
fn somebody(read: Vec<Rule>, publish: Vec<Rule>) -> Principal {
    let grant = Grant::new(read, publish, false).unwrap();
    Principal::new("somebody", Credential::None, grant, View::whole(), None)
}

#[tokio::test]
async fn who_may_know_only_some_ids_is_given_one_and_who_may_know_all_may_choose() {
    let (resources, me) = (resources(), Principal::anonymous());
    for organization in ["quant", "acme"] {
        let given = json!({ "id": organization, "name": "An organization" });
        resources.create(&me, Kind::Organization, fields(&given)).await.unwrap();
    }
    let owner = json!({ "id": "u1", "organizationId": "quant", "name": "Ada" });
    resources.create(&me, Kind::User, fields(&owner)).await.unwrap();
    let (organization, user) = ((ScopeField::Organization, "quant"), (ScopeField::User, "u1"));
    let own = somebody(Vec::new(), vec![rule("task.*", &[organization, user])]);
    let task = |id: &str| fields(&json!({ "id": id, "name": "A task" }));
    resources.create(&me, Kind::Task, task("foreign").with("organizationId", "quant")).await.unwrap();
    for id in ["foreign", "free"] {
        let refusal = resources.create(&own, Kind::Task, task(id)).await.unwrap_err();
        assert_eq!((refusal.code, refusal.detail("field")), (Code::Forbidden, Some("id")), "{refusal}");
    }
    let made = resources.create(&own, Kind::Task, fields(&json!({ "name": "Mine" }))).await.unwrap();
    assert!(made.resource.is_none(), "who may not read it is not shown it");
    let tasks = resources.list(&me, List::new(Kind::Task)).await.unwrap().entries;
    let mine =
        tasks.iter().map(|entry| &entry.resource).find(|task| task.text("name").unwrap() == "Mine").unwrap();
    assert_eq!(mine.belongs_to(ScopeField::User), Some("u1"), "the grant fixes the owner");

    // Whoever may publish, or read, all of an organization may choose; so may who has just this one.
    let all = somebody(Vec::new(), vec![rule("task.*", &[organization])]);
    assert!(resources.create(&all, Kind::Task, task("chosen")).await.is_ok());
    assert_eq!(resources.create(&all, Kind::Task, task("foreign")).await.unwrap_err().code, Code::Conflict);
    let reader = somebody(vec![rule("task.*", &[organization])], vec![rule("task.*", &[organization, user])]);
    assert!(resources.create(&reader, Kind::Task, task("read")).await.is_ok());
    let agent = (ScopeField::Agent, "a1");
    let itself = somebody(Vec::new(), vec![rule("agent.*", &[organization, agent])]);
    let given = fields(&json!({ "id": "a1", "name": "Itself" }));
    assert!(resources.create(&itself, Kind::Agent, given).await.is_ok());
}

#[tokio::test]
async fn what_is_beyond_a_grant_is_as_if_it_were_not_there() {
    let (resources, root) = (resources(), Principal::anonymous());
    for organization in ["quant", "acme"] {
        let given = json!({ "id": organization, "name": "An organization" });
        resources.create(&root, Kind::Organization, fields(&given)).await.unwrap();
        let given = json!({ "id": "same", "organizationId": organization, "name": organization });
        resources.create(&root, Kind::Agent, fields(&given)).await.unwrap();
    }
    let given = json!({ "id": "only-acme", "organizationId": "acme", "name": "x" });
    resources.create(&root, Kind::Agent, fields(&given)).await.unwrap();
    let organization = (ScopeField::Organization, "quant");
    let tenant = somebody(vec![rule("*", &[organization])], vec![rule("*", &[organization])]);

    let found = resources.get(&tenant, &Which::new(Kind::Agent, "same")).await.unwrap().unwrap();
    assert_eq!(found.text("name").as_deref(), Some("quant"));
    let ambiguous = resources.get(&root, &Which::new(Kind::Agent, "same")).await.unwrap_err();
    assert_eq!((ambiguous.code, ambiguous.detail("field")), (Code::BadRequest, Some("organizationId")));

    let text = |refusal: Refusal, id: &str| format!("{refusal:?}").replace(id, "ID");
    for organization in [None, Some("acme".to_owned())] {
        let mut refusals = BTreeSet::new();
        for id in ["only-acme", "nothing"] {
            let which = Which::new(Kind::Agent, id).of(organization.clone());
            let changes = fields(&json!({ "name": "y" }));
            let status = fields(&json!({ "status": "busy" }));
            for refused in [
                resources.update(&tenant, &which, changes, Some(7)).await,
                resources.transition(&tenant, &which, Verb::SetStatus, status, None).await,
                resources.delete(&tenant, &which, None).await,
            ] {
                let refusal = refused.unwrap_err();
                assert_eq!(refusal.code, Code::NotFound);
                refusals.insert(text(refusal, id));
            }
        }
        assert_eq!(refusals.len(), 1, "{refusals:?}");
    }
    let foreign = json!({ "organizationId": "quant", "name": "t", "agentId": "only-acme" });
    let absent = json!({ "organizationId": "quant", "name": "t", "agentId": "nothing" });
    let foreign = resources.create(&tenant, Kind::Task, fields(&foreign)).await.unwrap_err();
    let absent = resources.create(&tenant, Kind::Task, fields(&absent)).await.unwrap_err();
    assert_eq!((foreign.code, foreign.detail("field")), (Code::NotFound, Some("agentId")));
    assert_eq!(text(foreign, "only-acme"), text(absent, "nothing"));
    assert!(resources.get(&tenant, &Which::new(Kind::Agent, "only-acme")).await.unwrap().is_none());
}

#[tokio::test]
async fn pages_go_on_where_they_ended_and_select_by_scope_and_status() {
    let (resources, me) = (resources(), Principal::anonymous());
    for organization in ["acme", "quant"] {
        let given = json!({ "id": organization, "name": "An organization" });
        resources.create(&me, Kind::Organization, fields(&given)).await.unwrap();
        for number in 0..7 {
            let given = json!({ "id": format!("t{number}"), "organizationId": organization, "name": "t" });
            resources.create(&me, Kind::Task, fields(&given)).await.unwrap();
        }
    }
    for id in ["t1", "t5"] {
        let which = Which::new(Kind::Task, id).of(Some("quant".to_owned()));
        resources.transition(&me, &which, Verb::Start, Fields::new(), None).await.unwrap();
    }
    let in_quant = EventFilter::default().with_scope(ScopeField::Organization, "quant").unwrap();
    let (mut ids, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let list = List { filter: in_quant.clone(), first: Some(3), after, ..List::new(Kind::Task) };
        let page = resources.list(&me, list).await.unwrap();
        ids.extend(page.entries.iter().map(|entry| entry.resource.id().unwrap()));
        pages += 1;
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!((ids.join(" ").as_str(), pages), ("t0 t1 t2 t3 t4 t5 t6", 3));
    let started = Some(vec!["started".to_owned()]);
    let list =
        List { filter: in_quant.clone(), status: started.clone(), first: Some(1), ..List::new(Kind::Task) };
    let page = resources.list(&me, list).await.unwrap();
    assert_eq!((page.entries.len(), page.entries[0].resource.id().as_deref()), (1, Some("t1")));
    let list = List { status: started, after: page.next, ..List::new(Kind::Task) };
    let page = resources.list(&me, list).await.unwrap();
    assert_eq!((page.entries.len(), page.entries[0].resource.id().as_deref()), (1, Some("t5")));
    assert_eq!(page.next, None);

    let place = resources.place(&page.entries[0]);
    let wrong = [
        (List { first: Some(0), ..List::new(Kind::Task) }, Code::BadRequest, "first"),
        (List { first: Some(1_001), ..List::new(Kind::Task) }, Code::BadRequest, "first"),
        (List { status: Some(Vec::new()), ..List::new(Kind::Task) }, Code::BadRequest, "status"),
        (List { status: Some(vec!["done".to_owned()]), ..List::new(Kind::Task) }, Code::BadRequest, "status"),
        (List { after: Some("x".to_owned()), ..List::new(Kind::Task) }, Code::CursorInvalid, "after"),
        (List { after: Some(page.as_of.to_string()), ..List::new(Kind::Task) }, Code::CursorInvalid, "after"),
        (List { after: Some(place), ..List::new(Kind::Agent) }, Code::CursorInvalid, "after"),
    ];
    for (list, code, field) in wrong {
        let refusal = resources.list(&me, list).await.unwrap_err();
        assert_eq!((refusal.code, refusal.detail("field")), (code, Some(field)), "{refusal}");
    }
}

#[tokio::test]
async fn the_event_of_a_change_tells_what_changed_and_in_whose_rooms_it_is() {
    let (resources, me) = (resources(), Principal::anonymous());
    let create = async |kind, given: Value| resources.create(&me, kind, fields(&given)).await.unwrap();
    create(Kind::Organization, json!({ "id": "quant", "name": "Quant" })).await;
    create(Kind::User, json!({ "id": "ada", "organizationId": "quant", "name": "Ada" })).await;
    let given = json!({
        "id": "t1", "organizationId": "quant", "userId": "ada", "name": "Report", "metadata": { "n": 1.50 },
    });
    create(Kind::Task, given).await;
    let task = Which::new(Kind::Task, "t1");
    let changes =
        Fields::new().with("name", "Report").with("description", "Weekly").with("metadata", Value::Null);
    let made = resources.update(&me, &task, changes, Some(1)).await.unwrap();
    let state = made.resource.unwrap();
    let event = state.event();
    assert_eq!((event.event_type().as_str(), event.source()), ("task.updated", SOURCE));
    let scope: Vec<_> = event.scope().iter().collect();
    let expected = [(ScopeField::Organization, "quant"), (ScopeField::Task, "t1"), (ScopeField::User, "ada")];
    assert_eq!(scope, expected);
    let data: Value = serde_json::from_str(event.data().as_str()).unwrap();
    assert_eq!(data["changed"], json!(["description", "metadata"]));
    assert_eq!((&data["metadata"], &data["description"]), (&Value::Null, &json!("Weekly")));
    assert!(data.as_object().unwrap().contains_key("result"), "what is not there is null: {data}");

    let started = resources.transition(&me, &task, Verb::Start, Fields::new(), None).await.unwrap();
    let data: Value = serde_json::from_str(started.resource.unwrap().event().data().as_str()).unwrap();
    assert_eq!((&data["status"], &data["previousStatus"]), (&json!("started"), &json!("created")));
    let deleted = resources.delete(&me, &task, Some(3)).await.unwrap().resource.unwrap();
    assert_eq!((deleted.version(), deleted.status().as_deref()), (Some(4), Some("started")));
    assert_eq!(deleted.event().event_type().as_str(), "task.deleted");
}
