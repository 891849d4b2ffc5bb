//! Changes and reads of what is kept within grants and views, over a log in memory.

use super::*;
use crate::{
    auth::{
        Action, Audit, Credential, Grant, MaskDraft, MaskKey, Masks, Origin, View,
        audit::AuditOptions,
        limits::{self, Accounts, Key},
    },
    bus::{self, Bus},
    event::{Draft, Limits, NewEvent, Offset, Rule, StartPosition},
    hub::PUBLISH_EVENTS_MAX,
    log::{MemoryLog, MemoryOptions},
    metrics::Metrics,
};
use serde_json::{Value, json};

fn hub() -> Hub {
    let bus = Bus::new(&bus::Options { ring_batches_max: 16 });
    let ring = bus.clone();
    let log = MemoryLog::open(MemoryOptions::default(), Box::new(move |batch| ring.publish(batch)));
    Hub::new(Arc::new(log), bus, Metrics::new(), Limits::default())
}

fn rules(scope: &[(ScopeField, &str)]) -> Vec<Rule> {
    let limit =
        |rule: Rule, (field, id): &(ScopeField, &str)| rule.with_ids(*field, vec![(*id).to_owned()]).unwrap();
    vec![scope.iter().fold(Rule::default(), limit)]
}

fn principal(read: Vec<Rule>, publish: Vec<Rule>, view: View) -> Principal {
    Principal::new("somebody", Credential::None, Grant::new(read, publish, false).unwrap(), view, None)
}

/// Somebody who reads and publishes what is in this scope.
fn member(scope: &[(ScopeField, &str)]) -> Principal {
    principal(rules(scope), rules(scope), View::whole())
}

fn quant() -> Principal {
    member(&[(ScopeField::Organization, "quant")])
}

fn updated() -> EventType {
    EventType::parse("agent.updated", "type").unwrap()
}

fn key(organization: &str, id: &str) -> StateKey {
    StateKey::new("agent", Some(organization), id).unwrap()
}

fn event(scope: &Scope, data: &Value) -> NewEvent {
    let mut draft = Draft::from_json(r#"{"type":"agent.updated"}"#).unwrap();
    draft.data = Some(serde_json::value::to_raw_value(data).unwrap());
    let event = NewEvent::new(draft, &Limits::default()).unwrap();
    scope.iter().fold(event, |event, (field, id)| event.or_scope(field, id).unwrap())
}

fn scope(ids: &[(ScopeField, &str)]) -> Scope {
    let mut scope = Scope::default();
    ids.iter().for_each(|(field, id)| scope.set(*field, id).unwrap());
    scope
}

/// Puts an agent under its key, whatever is there; its scope is what is given and what the grant fixes beside.
async fn put(hub: &Hub, by: &Principal, id: &str, given: Scope, data: Value) -> Result<ChangeMade, Refusal> {
    let scope = hub.complete_scope(by, &updated(), given)?;
    let key = key(scope.get(ScopeField::Organization).unwrap_or("nobody"), id);
    let decide: Decide = Box::new(move |_| Ok(Change::new().keep(key, event(&scope, &data), Vec::new())));
    hub.change(by, &updated(), 10, decide).await
}

/// Whether a change finds something under a key, and whether it is free.
async fn finds(hub: &Hub, by: &Principal, key: StateKey) -> (bool, bool) {
    let (tell, told) = std::sync::mpsc::channel();
    let decide: Decide = Box::new(move |state| {
        tell.send((state.get(&key)?.is_some(), state.is_free(&key)?)).unwrap();
        Err(Refusal::new(Code::Conflict, "only a look"))
    });
    assert_eq!(hub.change(by, &updated(), 0, decide).await.unwrap_err().code, Code::Conflict);
    told.recv().unwrap()
}

fn every() -> StateRead {
    StateRead {
        kind: "agent".into(),
        organization: None,
        id: None,
        filter: Arc::default(),
        after: None,
        events_max: 100,
        bytes_max: usize::MAX,
    }
}

fn data(kept: &[Kept]) -> Vec<&str> {
    kept.iter().map(|kept| kept.event.data().as_str()).collect()
}

#[tokio::test]
async fn a_scope_is_completed_as_an_event_is_admitted() {
    let hub = hub();
    let of = |organization: &str| scope(&[(ScopeField::Organization, organization)]);
    let complete = |by: &Principal, given: Scope| hub.complete_scope(by, &updated(), given);
    assert_eq!(complete(&quant(), Scope::default()).unwrap(), of("quant"));
    assert_eq!(complete(&Principal::anonymous(), Scope::default()).unwrap(), Scope::default());
    let user = scope(&[(ScopeField::User, "u1")]);
    let both = scope(&[(ScopeField::Organization, "quant"), (ScopeField::User, "u1")]);
    assert_eq!(complete(&quant(), user).unwrap(), both);
    let refusal = complete(&quant(), of("acme")).unwrap_err();
    assert_eq!((refusal.code, refusal.detail("field")), (Code::Forbidden, Some("organizationId")));
}

#[tokio::test]
async fn the_same_id_is_another_one_in_another_organization() {
    let hub = hub();
    let acme = member(&[(ScopeField::Organization, "acme")]);
    put(&hub, &quant(), "a", Scope::default(), json!(1)).await.unwrap();
    assert_eq!(finds(&hub, &acme, key("acme", "a")).await, (false, true));
    put(&hub, &acme, "a", Scope::default(), json!(2)).await.unwrap();
    assert_eq!(data(&hub.kept(&quant(), every()).await.unwrap().kept), ["1"]);
    assert_eq!(data(&hub.kept(&acme, every()).await.unwrap().kept), ["2"]);
    assert_eq!(data(&hub.kept(&Principal::anonymous(), every()).await.unwrap().kept), ["2", "1"]);
    let (mine, _) = hub.kept_one(&quant(), &key("quant", "a")).await.unwrap();
    assert_eq!(mine.unwrap().data().as_str(), "1");
    // Whether there is one or not: what is asked for beyond the grant is refused alike.
    for id in ["a", "never"] {
        let refusal = hub.kept_one(&quant(), &key("acme", id)).await.unwrap_err();
        assert_eq!((refusal.code, refusal.detail("given")), (Code::Forbidden, Some("acme")));
    }
    assert_eq!(hub.kept_one(&quant(), &key("quant", "never")).await.unwrap().0, None);
}

#[tokio::test]
async fn each_event_of_a_change_passes_the_grant_or_nothing_of_it_is_made() {
    let hub = hub();
    let made = put(&hub, &quant(), "a", Scope::default(), json!(1)).await.unwrap();
    assert_eq!(made.events[0].as_ref().unwrap().cursor(), made.cursors[0]);
    assert_eq!(made.events[0].as_ref().unwrap().namespace(), "organizationId=quant");
    let outside: Decide = Box::new(|_| {
        let (own, theirs) =
            (scope(&[(ScopeField::Organization, "quant")]), scope(&[(ScopeField::Organization, "acme")]));
        let change = Change::new().keep(key("quant", "a"), event(&own, &json!(2)), Vec::new());
        Ok(change.announce(event(&theirs, &json!(2))))
    });
    let refusal = hub.change(&quant(), &updated(), 0, outside).await.unwrap_err();
    assert_eq!((refusal.code, refusal.detail("index")), (Code::Forbidden, Some("1")));
    assert_eq!(data(&hub.kept(&quant(), every()).await.unwrap().kept), ["1"]);
    for count in [0, PUBLISH_EVENTS_MAX + 1] {
        let own = scope(&[(ScopeField::Organization, "quant")]);
        let many: Decide = Box::new(move |_| {
            Ok((0..count).fold(Change::new(), |change, _| change.announce(event(&own, &json!(1)))))
        });
        assert_eq!(hub.change(&quant(), &updated(), 0, many).await.unwrap_err().code, Code::TooMany);
    }
    assert_eq!(hub.bounds().head, Offset::new(1));
    let counts = hub.metrics();
    assert_eq!((counts.events_published.get(), counts.publishes_refused.get()), (1, 3));
}

#[tokio::test]
async fn nobody_takes_over_or_learns_of_what_is_beyond_the_grant() {
    let hub = hub();
    let of = |user: &'static str| [(ScopeField::Organization, "quant"), (ScopeField::User, user)];
    let (ann, bob) = (member(&of("ann")), member(&of("bob")));
    put(&hub, &ann, "a", Scope::default(), json!("ann's")).await.unwrap();
    // Not there to look at, yet its place is taken.
    assert_eq!(finds(&hub, &bob, key("quant", "a")).await, (false, false));
    assert_eq!(finds(&hub, &bob, key("quant", "b")).await, (false, true));
    assert_eq!(finds(&hub, &ann, key("quant", "a")).await, (true, false));
    // Whoever writes all the same is told what is true of a free key.
    let refusal = put(&hub, &bob, "a", Scope::default(), json!("bob's")).await.unwrap_err();
    assert_eq!(
        (refusal.code, &*refusal.message),
        (Code::NotFound, "there is no agent \"a\" of organization \"quant\"")
    );
    let own = scope(&of("bob"));
    let removing: Decide =
        Box::new(move |_| Ok(Change::new().remove(key("quant", "a"), event(&own, &json!(0)))));
    assert_eq!(hub.change(&bob, &updated(), 0, removing).await.unwrap_err().code, Code::NotFound);
    // Who may read it is told why not.
    let reader = principal(rules(&[]), rules(&of("bob")), View::whole());
    let refusal = put(&hub, &reader, "a", Scope::default(), json!("bob's")).await.unwrap_err();
    assert_eq!((refusal.code, refusal.detail("given")), (Code::Forbidden, Some("ann")));
    assert_eq!(data(&hub.kept(&ann, every()).await.unwrap().kept), ["\"ann's\""]);
    // Who may publish about it knows of it, and is not shown what it may not read.
    let worker =
        principal(rules(&of("nobody")), rules(&[(ScopeField::Organization, "quant")]), View::whole());
    assert_eq!(finds(&hub, &worker, key("quant", "a")).await, (true, false));
    let made = put(&hub, &worker, "a", scope(&of("ann")), json!("worked on")).await.unwrap();
    assert_eq!(made.events, [None]);
    let as_of = hub.kept(&worker, every()).await.unwrap();
    assert!(as_of.kept.is_empty());
    assert_eq!(data(&hub.kept(&ann, every()).await.unwrap().kept), ["\"worked on\""]);
}

#[tokio::test]
async fn what_is_kept_is_shown_through_the_view_and_no_filter_asks_about_what_it_hides() {
    let hub = hub();
    let mask = |path: &str| MaskDraft {
        types: vec!["agent.*".to_owned()],
        path: path.to_owned(),
        action: Action::Null,
        roles: Some(vec!["member".to_owned()]),
        except: None,
    };
    let masks = Masks::new(vec![mask("data.secret"), mask("organizationId")], MaskKey::new([1; 32])).unwrap();
    let masked = principal(rules(&[]), rules(&[]), masks.view(&["member"], |role| role == "member"));
    let of_quant = scope(&[(ScopeField::Organization, "quant")]);
    let made = put(&hub, &masked, "a", of_quant, json!({ "secret": 1, "open": 2 })).await.unwrap();
    let page = hub.kept(&masked, every()).await.unwrap();
    for event in [made.events[0].as_ref().unwrap(), &page.kept[0].event] {
        assert_eq!(event.data().as_str(), r#"{"open":2,"secret":null}"#);
        assert_eq!(event.scope().get(ScopeField::Organization), None);
    }
    let asked = StateRead { organization: Some("quant".into()), ..every() };
    let refusal = hub.kept(&masked, asked).await.unwrap_err();
    assert_eq!((refusal.code, refusal.detail("field")), (Code::Forbidden, Some("organizationId")));
    assert_eq!(hub.kept_one(&masked, &key("quant", "a")).await.unwrap_err().code, Code::Forbidden);
}

#[tokio::test]
async fn whoever_follows_the_log_after_a_page_misses_nothing_and_gets_nothing_twice() {
    let hub = hub();
    put(&hub, &quant(), "a", Scope::default(), json!(1)).await.unwrap();
    put(&hub, &quant(), "b", Scope::default(), json!(2)).await.unwrap();
    let page = hub.kept(&quant(), every()).await.unwrap();
    assert_eq!(data(&page.kept), ["1", "2"]);
    put(&hub, &quant(), "a", Scope::default(), json!(3)).await.unwrap();
    let start = StartPosition::After(page.as_of);
    let after = hub.locate(&quant(), &EventFilter::default(), &start).await.unwrap().unwrap();
    let mut tail = hub.tail(&quant(), EventFilter::default(), after).unwrap();
    let next = tail.next().await.unwrap().unwrap();
    assert_eq!(next.iter().map(|event| event.data().as_str()).collect::<Vec<_>>(), ["3"]);
    let page = hub.kept(&quant(), StateRead { events_max: 1, ..every() }).await.unwrap();
    assert_eq!((data(&page.kept), &page.next), (vec!["3"], &Some(key("quant", "a"))));
    let page = hub.kept(&quant(), StateRead { after: page.next, ..every() }).await.unwrap();
    assert_eq!((data(&page.kept), page.next), (vec!["2"], None));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_charged_and_what_the_grant_refuses_is_recorded() {
    let hub = hub();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let audit =
        Audit::open(&AuditOptions { file: file.clone(), bytes_max: 1 << 20 }, Metrics::new()).unwrap();
    let limited = |publishes_per_second, publish_bytes_per_second| {
        let limits =
            limits::Limits { publishes_per_second, publish_bytes_per_second, ..limits::Limits::default() };
        let account = Accounts::new(limits, Metrics::new().limited.clone()).of(Key::subject("somebody"));
        quant().at(Arc::new(Origin::new(audit.clone(), None, None)), Some(account))
    };
    let charge = async |by: &Principal, events: usize, bytes| {
        let own = scope(&[(ScopeField::Organization, "quant")]);
        let announcing: Decide = Box::new(move |_| {
            Ok((0..events).fold(Change::new(), |change, _| change.announce(event(&own, &json!(1)))))
        });
        hub.change(by, &updated(), bytes, announcing).await.map(drop).map_err(|refusal| refusal.code)
    };
    // Two seconds' worth may come at once.
    let (by_events, by_bytes) = (limited(Some(3), None), limited(None, Some(1_000)));
    assert_eq!(charge(&by_events, 4, 0).await, Ok(()));
    assert_eq!(charge(&by_events, 3, 0).await, Err(Code::RateLimited));
    assert_eq!(charge(&by_bytes, 1, 1_500).await, Ok(()));
    assert_eq!(charge(&by_bytes, 1, 1_500).await, Err(Code::RateLimited));
    assert_eq!(hub.bounds().head, Offset::new(5), "nothing of what was refused is there");

    let acme = scope(&[(ScopeField::Organization, "acme")]);
    put(&hub, &by_bytes, "a", acme, json!(1)).await.unwrap_err();
    audit.close().await;
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_told = |kind: &str, outcome: &str| {
        lines.iter().any(|line| (&line["kind"], &line["outcome"]) == (&kind.into(), &outcome.into()))
    };
    assert!(is_told("limit", "RATE_LIMITED") && is_told("publish_refused", "FORBIDDEN"), "{text}");
}
