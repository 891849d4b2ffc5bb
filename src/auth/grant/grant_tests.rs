//! Grants: what they leave of filters and events, what they refuse and how they say so.

use super::*;
use crate::event::{Draft, FilterDraft, Limits, TypePattern, json};
use proptest::prelude::*;
use serde_json::{Value, json};

fn rule(value: &Value) -> Rule {
    let texts = |name: &str| -> Option<Vec<String>> {
        let list = value.get(name)?.as_array()?;
        Some(list.iter().map(|item| item.as_str().unwrap().to_owned()).collect())
    };
    let patterns = texts("types")
        .map(|texts| texts.iter().map(|text| TypePattern::parse(text, "types").unwrap()).collect());
    let typed = patterns.map_or_else(Rule::default, |patterns| Rule::default().with_types(patterns));
    ScopeField::ALL
        .into_iter()
        .filter_map(|field| Some((field, texts(field.camel())?)))
        .fold(typed, |rule, (field, ids)| rule.with_ids(field, ids).unwrap())
}

fn rules(value: &Value) -> Vec<Rule> {
    value.as_array().unwrap().iter().map(rule).collect()
}

fn reads(value: &Value) -> Grant {
    Grant::new(rules(value), Vec::new(), false).unwrap().from_origin("role member (claim roles)")
}

fn publishes(value: &Value) -> Grant {
    Grant::new(Vec::new(), rules(value), false).unwrap().from_origin("role member (claim roles)")
}

fn filter(value: &Value) -> EventFilter {
    EventFilter::new(json::read::<FilterDraft>(&value.to_string()).unwrap()).unwrap()
}

fn event(value: &Value) -> NewEvent {
    NewEvent::new(Draft::from_json(&value.to_string()).unwrap(), &Limits::default()).unwrap()
}

/// The code, the field, what was given and what is allowed.
fn facts(refusal: &Refusal) -> (Code, &str, &str, &str) {
    let detail = |name| refusal.detail(name).unwrap();
    (refusal.code, detail("field"), detail("given"), detail("allowed"))
}

#[test]
fn a_filter_that_the_grant_provably_excludes_is_refused_by_the_field_that_does() {
    let member = json!([{ "types": ["agent.*", "task.*"], "organizationId": ["quant"] }]);
    let either = json!([{ "organizationId": ["quant"], "userId": ["u1"] }, { "organizationId": ["acme"] }]);
    let cases = [
        (&member, json!({ "organizationId": ["acme", "zeta"] }), "organizationId", "acme, zeta", "quant"),
        (&member, json!({ "types": ["chat.*", "task"] }), "types", "chat.*, task", "agent.*, task.*"),
        (&member, json!({ "categories": ["chat"] }), "categories", "chat", "agent.*, task.*"),
        (&member, json!({ "organizationId": "Quant" }), "organizationId", "Quant", "quant"),
        (&either, json!({ "organizationId": "zeta" }), "organizationId", "zeta", "acme, quant"),
        (
            &either,
            json!({ "organizationId": "quant", "userId": "u2" }),
            "organizationId",
            "quant",
            "acme, quant, but not with the other fields as given",
        ),
        (
            &member,
            json!({ "anyOf": [{ "organizationId": "acme" }, { "organizationId": "zeta", "types": ["x"] }] }),
            "organizationId",
            "acme, zeta",
            "quant",
        ),
        (&json!([]), json!({}), "types", "nothing", "nothing"),
    ];
    for (grant, asked, field, given, allowed) in cases {
        let refusal = reads(grant).narrow(filter(&asked)).unwrap_err();
        assert_eq!(facts(&refusal), (Code::Forbidden, field, given, allowed), "{asked}");
        assert_eq!(refusal.detail("grant"), Some("role member (claim roles)"));
        assert!(refusal.message.contains("role member (claim roles)") && refusal.message.contains(field));
    }
}

#[test]
fn a_filter_that_the_grant_meets_in_part_is_narrowed_without_a_word() {
    let grant = reads(&json!([{ "types": ["agent.*"], "organizationId": ["quant"] }, { "userId": ["u1"] }]));
    for asked in [
        json!({}),
        json!({ "types": ["*"] }),
        json!({ "types": ["*.created"], "organizationId": ["quant", "acme"] }),
        json!({ "categories": ["chat"] }),
        json!({ "anyOf": [{ "userId": "u2", "organizationId": "acme" }, { "userId": "u1" }] }),
    ] {
        let narrowed = grant.narrow(filter(&asked)).unwrap();
        assert_eq!(grant.narrow(narrowed.clone()).unwrap(), narrowed, "narrowing twice changes nothing");
        assert_eq!(narrowed.grants().len(), 1, "{asked}");
    }
    let everything = reads(&json!([{ "types": ["agent.*"] }, { "types": ["task.*", "*"] }]));
    assert_eq!(everything.narrow(filter(&json!({}))).unwrap(), EventFilter::default(), "a wide grant shares");
}

#[test]
fn a_publish_within_the_grant_passes_and_gets_the_scope_that_the_grant_fixes() {
    let grant = publishes(&json!([
        { "types": ["task.*"], "organizationId": ["quant"], "userId": ["u1"] },
        { "types": ["agent.*"], "organizationId": ["quant"], "domainId": ["d1", "d2"] },
        { "types": ["agent.log"], "organizationId": ["acme"], "agentId": ["a1"] },
    ]));
    let admitted = |given: Value| {
        let event = grant.admit(event(&given)).unwrap();
        event.scope().iter().map(|(field, id)| format!("{}={id}", field.camel())).collect::<Vec<_>>()
    };
    assert_eq!(admitted(json!({ "type": "task.created" })), ["organizationId=quant", "userId=u1"]);
    assert_eq!(
        admitted(json!({ "type": "task.created", "organizationId": "quant", "roomId": "r" })),
        ["organizationId=quant", "userId=u1", "roomId=r"]
    );
    assert_eq!(
        admitted(json!({ "type": "agent.created", "domainId": "d2" })),
        ["organizationId=quant", "domainId=d2"]
    );
    // Of two rules for this type, what the producer gave leaves one.
    assert_eq!(
        admitted(json!({ "type": "agent.log", "organizationId": "acme" })),
        ["organizationId=acme", "agentId=a1"]
    );
}

#[test]
fn a_publish_outside_the_grant_is_refused_by_the_field_that_is_outside() {
    let grant = json!([
        { "types": ["task.*"], "organizationId": ["quant"], "userId": ["u1"] },
        { "types": ["agent.*"], "organizationId": ["quant"], "domainId": ["d1", "d2"] },
        { "types": ["agent.*"], "organizationId": ["acme"], "agentId": ["a1"] },
    ]);
    let cases = [
        (json!({ "type": "chat.message" }), "type", "chat.message", "agent.*, task.*"),
        (json!({ "type": "task.created", "organizationId": "acme" }), "organizationId", "acme", "quant"),
        (json!({ "type": "task.created", "userId": "U1" }), "userId", "U1", "u1"),
        (json!({ "type": "agent.x", "organizationId": "quant" }), "domainId", "nothing", "d1, d2"),
        (
            json!({ "type": "agent.x", "organizationId": "quant", "agentId": "a1", "domainId": "d3" }),
            "organizationId",
            "quant",
            "acme, quant, but not with the other fields as given",
        ),
        (json!({ "type": "agent.x" }), "organizationId", "nothing", "acme, quant"),
        (json!({ "type": "agent.x", "organizationId": "zeta" }), "organizationId", "zeta", "acme, quant"),
    ];
    for (given, field, told, allowed) in cases {
        let refusal = publishes(&grant).admit(event(&given)).unwrap_err();
        assert_eq!(facts(&refusal), (Code::Forbidden, field, told, allowed), "{given}");
    }
    let refusal = Grant::nothing().admit(event(&json!({ "type": "task.created" }))).unwrap_err();
    assert_eq!(facts(&refusal), (Code::Forbidden, "type", "task.created", "nothing"));
    assert!(
        reads(&grant).admit(event(&json!({ "type": "task.created" }))).is_err(),
        "reading is not publishing"
    );
}

#[test]
fn ids_of_events_are_told_apart_by_the_fields_that_every_publish_rule_limits() {
    let namespace = |rules: &Value, given: &Value| {
        let grant = publishes(rules);
        grant.publish_namespace(&grant.admit(event(given)).unwrap())
    };
    let both = json!([
        { "organizationId": ["quant", "acme"], "userId": ["u=1 2".replace(' ', "_")] },
        { "organizationId": ["quant"], "userId": ["u2"], "taskId": ["t"] },
    ]);
    let given = json!({ "type": "x", "organizationId": "quant", "userId": "u2", "taskId": "t" });
    assert_eq!(namespace(&both, &given).as_deref(), Some("organizationId=quant userId=u2"));
    let other = json!({ "type": "x", "organizationId": "acme" });
    assert_eq!(namespace(&both, &other).as_deref(), Some("organizationId=acme userId=u=1_2"));
    assert_eq!(namespace(&json!([{ "types": ["x"] }]), &json!({ "type": "x" })).as_deref(), Some("limited"));
    assert_eq!(namespace(&json!([{}]), &given), None);
    assert_eq!(Grant::everything().publish_namespace(&event(&given)), None);
}

#[test]
fn a_union_allows_what_one_of_its_grants_allows_and_equal_grants_are_equal() {
    let one = Grant::new(rules(&json!([{ "organizationId": ["a"] }])), Vec::new(), false).unwrap();
    let other = Grant::new(
        rules(&json!([{ "organizationId": ["b"] }, { "organizationId": ["a"] }])),
        rules(&json!([{ "types": ["x"] }])),
        true,
    )
    .unwrap();
    let union = Grant::union([&one, &other]).unwrap();
    assert_eq!(union, Grant::union([&other, &one, &other]).unwrap().from_origin("elsewhere"));
    assert_eq!(union, other, "the first adds nothing");
    assert_ne!(union, one);
    assert!(union.is_admin() && !one.is_admin());
    assert_eq!(Grant::union([&one, &Grant::everything()]).unwrap(), Grant::everything());
    assert_eq!(Grant::union([]).unwrap(), Grant::nothing());
    assert!(Grant::nothing().narrow(EventFilter::default()).is_err());
}

#[test]
fn a_grant_is_told_in_lines_and_long_lists_are_cut() {
    let many: Vec<String> = (0..40).map(|n| format!("u{n:02}")).collect();
    let grant = Grant::new(
        rules(&json!([{ "types": ["agent.*", "task.*"], "organizationId": ["quant"] }, { "userId": many }])),
        Vec::new(),
        false,
    );
    let text = grant.unwrap().to_string();
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines[0].starts_with("read: every type in userId u00, u01,") && lines[0].ends_with("u15 and 24 more")
    );
    assert_eq!(
        lines[1..],
        ["read: types agent.*, task.* in organizationId quant", "publish: nothing", "admin: no"]
    );
    assert_eq!(Grant::everything().to_string(), "read: everything\npublish: everything\nadmin: yes");
}

#[test]
fn a_grant_beyond_the_bounds_is_refused_and_says_which() {
    let ids: Vec<String> = (0..1_001).map(|n| format!("t{n}")).collect();
    let refusal = Grant::new(Vec::new(), rules(&json!([{ "taskId": ids }])), false).unwrap_err();
    assert_eq!((refusal.code, refusal.detail("field")), (Code::TooMany, Some("ids")));
    assert!(refusal.message.contains("to publish"), "{}", refusal.message);
}

fn some(pool: &'static [&'static str]) -> impl Strategy<Value = Option<Value>> {
    prop::option::weighted(0.5, prop::collection::vec(prop::sample::select(pool), 1..3))
        .prop_map(|list| list.map(|list| json!(list)))
}

fn any_rules() -> impl Strategy<Value = Value> {
    let fields = (some(&["task.*", "*.b", "x", "*"]), some(&["a", "b"]), some(&["a", "A"]));
    let rule = fields.prop_map(|(types, organization, user)| {
        let members = [("types", types), ("organizationId", organization), ("userId", user)];
        Value::Object(
            members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
        )
    });
    prop::collection::vec(rule, 0..4).prop_map(Value::Array)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn what_is_admitted_is_within_a_rule_and_as_the_producer_gave_it(
        rules in any_rules(),
        event_type in prop::sample::select(vec!["task.a", "task.b", "x", "y"]),
        organization in prop::option::of(prop::sample::select(vec!["a", "b", "c"])),
        user in prop::option::of(prop::sample::select(vec!["a", "A", "b"])),
    ) {
        let given = event(&json!({ "type": event_type, "organizationId": organization, "userId": user, "id": "e" }));
        let allowed = |event: &NewEvent| super::tests::rules(&rules).iter().any(|rule| rule.allows(event));
        let completed = publishes(&rules).complete(given.event_type(), given.scope().clone());
        match publishes(&rules).admit(given.clone()) {
            Ok(admitted) => {
                prop_assert!(allowed(&admitted));
                prop_assert_eq!(&completed.unwrap(), admitted.scope());
                for (field, id) in given.scope().iter() {
                    prop_assert_eq!(admitted.scope().get(field), Some(id));
                }
                prop_assert!(!allowed(&given) || admitted.scope() == given.scope());
            }
            Err(refusal) => {
                prop_assert!(!allowed(&given), "{}", refusal);
                prop_assert_eq!(refusal.code, Code::Forbidden);
                prop_assert_eq!(completed.unwrap_err(), refusal);
            }
        }
    }
}

#[test]
fn a_grant_fixes_an_id_on_which_all_its_rules_agree_those_to_read_and_those_to_publish() {
    let cases = [
        (json!([{ "types": ["task.*"], "organizationId": ["quant"] }]), json!([]), vec!["quant"]),
        (json!([]), json!([{ "organizationId": ["quant"], "domainId": ["d"] }]), vec!["quant", "d"]),
        (json!([{ "organizationId": ["quant"] }]), json!([{ "organizationId": ["quant"] }]), vec!["quant"]),
        (json!([{ "organizationId": ["quant"] }]), json!([{ "organizationId": ["acme"] }]), vec![]),
        (json!([{ "organizationId": ["quant", "acme"] }]), json!([]), vec![]),
        (json!([{ "organizationId": ["quant"] }, { "types": ["status.*"] }]), json!([]), vec![]),
        (json!([{ "organizationId": ["quant"] }]), json!([{}]), vec![]),
        (json!([]), json!([]), vec![]),
    ];
    for (read, publish, expected) in cases {
        let grant = Grant::new(rules(&read), rules(&publish), false).unwrap();
        let scope = grant.fixed_scope();
        assert_eq!(scope.iter().map(|(_, id)| id).collect::<Vec<_>>(), expected, "{read} {publish}");
    }
    assert_eq!(Grant::everything().fixed_scope(), Scope::default());
}

#[test]
fn all_that_has_certain_ids_is_within_a_grant_when_one_rule_limits_nothing_else() {
    let cases = [
        (json!([{ "types": ["task.*"], "organizationId": ["a"] }]), true),
        (json!([{ "types": ["task.*"], "organizationId": ["a", "b"], "taskId": ["t"] }]), true),
        (json!([{ "organizationId": ["a"] }]), true),
        (json!([{}]), true),
        (json!([{ "types": ["agent.*"], "organizationId": ["a"] }]), false),
        (json!([{ "types": ["task.*"], "organizationId": ["b"] }]), false),
        (json!([{ "types": ["task.*"], "organizationId": ["a"], "userId": ["u"] }]), false),
        (
            json!([{ "organizationId": ["a"], "userId": ["u"] }, { "organizationId": ["a"], "userId": ["v"] }]),
            false,
        ),
        (json!([]), false),
    ];
    let given = event(&json!({ "type": "task.created", "organizationId": "a", "taskId": "t" }));
    for (rules, expected) in cases {
        assert_eq!(publishes(&rules).publishes_all(given.event_type(), given.scope()), expected, "{rules}");
        assert_eq!(reads(&rules).reads_all(given.event_type(), given.scope()), expected, "{rules}");
        assert!(!reads(&rules).publishes_all(given.event_type(), given.scope()), "{rules}");
    }
}

#[test]
fn an_id_is_in_the_grant_itself_when_a_rule_allows_the_event_by_it() {
    let grant = publishes(&json!([
        { "types": ["task.*"], "organizationId": ["a"] },
        { "types": ["task.*"], "organizationId": ["a"], "userId": ["u"], "domainId": ["d"] },
    ]));
    let names =
        |event: &NewEvent| ScopeField::ALL.map(|field| grant.names(event, field).then(|| field.camel()));
    let named = |value: Value| names(&event(&value)).into_iter().flatten().collect::<Vec<_>>();
    assert_eq!(named(json!({ "type": "task.x", "organizationId": "a", "userId": "u" })), ["organizationId"]);
    let whole = json!({ "type": "task.x", "organizationId": "a", "userId": "u", "domainId": "d" });
    assert_eq!(named(whole), ["organizationId", "domainId", "userId"]);
    assert!(named(json!({ "type": "task.x", "organizationId": "b" })).is_empty());
}
