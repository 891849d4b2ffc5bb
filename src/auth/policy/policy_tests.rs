//! The policy file, its problems, and what claims make of it.

use super::*;
use crate::event::{Draft, EventFilter, FilterDraft, Limits, NewEvent};
use serde_json::{Value, json};

const FILE: &str = r#"
[claims]
roles = "realm_access.roles"
variables = { org = "org_id", user = "sub", teams = "https://example.org/teams" }

[roles.member]
read = [{ types = ["agent.*", "task.*"], organizationId = "{org}" }]
publish = [{ types = ["task.*"], organizationId = "{org}", userId = "{user}" }]

[roles.teamlead]
read = [{ roomId = ["team-{teams}", "lobby"] }, { types = ["chat.*"], roomId = "{org}/{teams}" }]

[roles.operator]
read = [{ types = ["*"] }]
admin = true

[anonymous]
roles = ["visitor"]

[roles.visitor]
read = [{ types = ["system.*"] }, { userId = "{user}" }]

[[masks]]
types = ["*"]
path = "data.secret"

[[api_keys]]
id = "ci"
expires = 2027-01-01T00:00:00Z
variables = { fleet = ["f1"] }

[roles.fleet]
read = [{ instanceId = "{fleet}" }]
"#;

fn claims(value: &Value) -> Claims {
    value.as_object().unwrap().clone()
}

fn resolved(policy: &Policy, value: &Value) -> Resolved {
    policy.resolve(&claims(value)).unwrap()
}

fn problems(text: &str) -> Vec<String> {
    Policy::parse(text).unwrap_err().0.iter().map(ToString::to_string).collect()
}

fn lines(grant: &Grant) -> Vec<String> {
    grant.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn roles_of_a_token_become_rules_with_the_values_of_its_claims() {
    let policy = Policy::parse(FILE).unwrap();
    let token = json!({ "sub": "u1", "org_id": "quant", "realm_access": { "roles": ["member"] } });
    let member = resolved(&policy, &token);
    assert_eq!((&*member.subject, &*member.roles), ("u1", &["member".into()][..]));
    assert_eq!(
        lines(&member.grant),
        [
            "read: types agent.*, task.* in organizationId quant",
            "publish: types task.* in organizationId quant and userId u1",
            "admin: no"
        ]
    );
    assert_eq!(member.grant.origin(), "role member (claim realm_access.roles) and claim fanfare");
    assert!(member.notes.is_empty());

    let token = json!({ "sub": "u1", "org_id": ["q", "a"], "https://example.org/teams": ["red", "blue"],
        "realm_access.roles": "teamlead operator" });
    let lead = resolved(&policy, &token);
    assert_eq!(lead.roles, ["operator".into(), "teamlead".into()]);
    assert!(lead.grant.is_admin());
    assert_eq!(lines(&lead.grant)[0], "read: everything");
    let token = json!({ "sub": "u1", "org_id": ["q", "a"], "https://example.org/teams": ["red", "blue"],
        "realm_access.roles": ["teamlead"] });
    assert_eq!(
        lines(&resolved(&policy, &token).grant)[..2],
        [
            "read: every type in roomId lobby, team-blue, team-red",
            "read: types chat.* in roomId a/blue, a/red, q/blue, q/red"
        ]
    );
}

#[test]
fn a_variable_without_a_usable_value_grants_nothing_and_says_so() {
    let policy = Policy::parse(FILE).unwrap();
    for org in [
        json!(null),
        json!(""),
        json!([]),
        json!(["quant", ""]),
        json!(7),
        json!({ "id": "quant" }),
        json!(["quant", 7]),
        json!(true),
    ] {
        let token = json!({ "sub": "u1", "org_id": org, "realm_access": { "roles": ["member"] } });
        let member = resolved(&policy, &token);
        assert_eq!(member.grant, Grant::nothing(), "{org}");
        assert_eq!(
            member.notes[0],
            "role member, read[0] grants nothing: variable org, claim org_id, is missing or empty"
        );
        let refusal = member.grant.narrow(EventFilter::default()).unwrap_err();
        assert!(refusal.message.contains("claim org_id, is missing or empty"), "{}", refusal.message);
    }
    for org in ["a b", "quant\u{200b}", "\u{212a}", "x\0"] {
        let token = json!({ "sub": "u1", "org_id": org, "realm_access": { "roles": ["member"] } });
        let member = resolved(&policy, &token);
        assert_eq!(member.grant, Grant::nothing(), "{org:?}");
        assert!(member.notes[0].contains("a value that makes no id"), "{}", member.notes[0]);
    }
    let token = json!({ "sub": "u1", "org_id": ["a b", "quant"], "realm_access": { "roles": ["member"] } });
    let partly = resolved(&policy, &token);
    assert_eq!(lines(&partly.grant)[0], "read: types agent.*, task.* in organizationId quant");
    assert!(partly.notes[0].starts_with("role member, read[0] grants less: "), "{}", partly.notes[0]);
}

#[test]
fn a_value_that_looks_like_a_pattern_or_a_template_is_only_an_id() {
    let policy = Policy::parse(FILE).unwrap();
    for org in ["*", "{user}", "quant.*", ">", "../quant", "%71uant", "{{", "Quant"] {
        let token = json!({ "sub": "u1", "org_id": org, "realm_access": { "roles": ["member"] } });
        let readable = resolved(&policy, &token).grant.narrow(EventFilter::default()).unwrap();
        let event = |organization: &str| {
            let draft = Draft {
                event_type: "task.created".to_owned(),
                organization_id: Some(organization.to_owned()),
                ..Draft::default()
            };
            NewEvent::new(draft, &Limits::default()).unwrap()
        };
        assert!(readable.matches(&event(org)), "{org}");
        assert!(!readable.matches(&event("quant")) && !readable.matches(&event("u1")), "{org}");
    }
}

#[test]
fn a_claim_may_carry_a_grant_that_adds_to_the_roles_unless_it_is_switched_off() {
    let token = json!({ "sub": "u1", "fanfare": {
        "read": [{ "types": "agent.*", "organizationId": ["quant", "{org}"] }, { "types": [] }, { "userId": [] }],
        "publish": [{ "types": ["task.*"], "userId": "u1" }], "roles": ["admin", "ghost"] } });
    let read = "read: types agent.* in organizationId quant, {org}";
    let publish = "publish: types task.* in userId u1";

    let default = resolved(&Policy::default(), &token);
    assert_eq!(default.roles, ["admin".into(), "ghost".into()]);
    assert_eq!(default.grant, Grant::everything(), "without a file there is one role, admin");
    let without_role =
        json!({ "sub": "u1", "roles": ["admin"], "fanfare": { "read": [{ "userId": "u1" }] } });
    let claimed = resolved(&Policy::default(), &without_role);
    assert_eq!(lines(&claimed.grant)[0], "read: every type in userId u1");
    assert!(!claimed.grant.is_admin(), "a claim of general use counts only where a policy names it");

    let parse = |text: &str| Policy::parse(text).unwrap();
    let both = resolved(&parse("[claims]\nroles = \"groups\"\n"), &token);
    assert_eq!(lines(&both.grant), [read, publish, "admin: no"]);
    assert_eq!(both.notes.len(), 4, "two unknown roles and two empty rules: {:?}", both.notes);
    let off = resolved(&parse("[claims]\ngrant = \"off\"\n"), &token);
    assert_eq!((off.grant, off.roles.len()), (Grant::nothing(), 0));
    let limited = resolved(&parse("[claims]\ngrant_parts = [\"read\"]\n"), &token);
    assert_eq!(
        (lines(&limited.grant), limited.roles.len()),
        (vec![read.to_owned(), "publish: nothing".to_owned(), "admin: no".to_owned()], 0)
    );
}

#[test]
fn a_claim_in_a_form_that_it_cannot_have_refuses_the_token_and_names_its_place() {
    let policy = Policy::parse(FILE).unwrap();
    let cases = [
        (json!({}), "sub", "names who speaks"),
        (json!({ "sub": 7 }), "sub", "names who speaks"),
        (json!({ "sub": "u", "realm_access": { "roles": [7] } }), "realm_access.roles", "a list of texts"),
        (json!({ "sub": "u", "realm_access": { "roles": null } }), "realm_access.roles", "a list of texts"),
        (json!({ "sub": "u", "fanfare": null }), "fanfare", "a table"),
        (json!({ "sub": "u", "fanfare": [] }), "fanfare", "a table"),
        (json!({ "sub": "u", "fanfare": { "admin": true } }), "fanfare", "read, publish, roles"),
        (json!({ "sub": "u", "fanfare": { "read": {} } }), "fanfare", "fanfare.read: \"a table\""),
        (json!({ "sub": "u", "fanfare": { "read": [{}] } }), "fanfare", "fanfare.read[0]: a rule limits"),
        (
            json!({ "sub": "u", "fanfare": { "read": [{ "orgId": "q" }] } }),
            "fanfare",
            "fanfare.read[0]: \"orgId\"",
        ),
        (
            json!({ "sub": "u", "fanfare": { "read": [{ "types": null }] } }),
            "fanfare",
            "fanfare.read[0].types: \"null\"",
        ),
        (
            json!({ "sub": "u", "fanfare": { "read": [{ "types": ["a..b"] }] } }),
            "fanfare",
            "read[0].types[0]: \"a..b\"",
        ),
        (
            json!({ "sub": "u", "fanfare": { "read": [{ "taskId": [1] }] } }),
            "fanfare",
            "taskId[0]: \"a number\"",
        ),
        (
            json!({ "sub": "u", "fanfare": { "read": [{ "taskId": ["a b"] }] } }),
            "fanfare",
            "taskId[0]: \"a b\"",
        ),
        (json!({ "sub": "u", "fanfare": { "publish": [[]] } }), "fanfare", "fanfare.publish[0]: \"a list\""),
    ];
    for (token, field, part) in cases {
        let refusal = policy.resolve(&claims(&token)).unwrap_err();
        assert_eq!((refusal.code, refusal.detail("field")), (Code::Unauthenticated, Some(field)), "{token}");
        assert!(refusal.message.contains(part), "{token}: {}", refusal.message);
    }
}

#[test]
fn a_token_beyond_the_bounds_is_refused_and_told_where_its_grant_comes_from() {
    let policy = Policy::parse(FILE).unwrap();
    let many = |count: usize| (0..count).map(|n| format!("o{n}")).collect::<Vec<_>>();
    let token =
        |org: Value, roles: Value| json!({ "sub": "u", "org_id": org, "realm_access": { "roles": roles } });
    let refused = policy.resolve(&claims(&token(json!(many(1_001)), json!(["member"])))).unwrap_err();
    assert_eq!((refused.code, refused.detail("field")), (Code::TooMany, Some("ids")));
    assert!(refused.detail("grant").unwrap().contains("role member (claim realm_access.roles)"));
    assert!(policy.resolve(&claims(&token(json!(many(999)), json!(["member"])))).is_ok());
    let refused = policy.resolve(&claims(&token(json!("q"), json!(many(257))))).unwrap_err();
    assert_eq!((refused.code, refused.detail("field")), (Code::TooMany, Some("roles")));
    let rules: Vec<Value> = (0..65).map(|n| json!({ "userId": format!("u{n}") })).collect();
    let refused = Policy::default().resolve(&claims(&json!({ "sub": "u", "fanfare": { "read": rules } })));
    assert_eq!(refused.unwrap_err().detail("given"), Some("65 rules"));
}

#[test]
fn roles_that_nobody_knows_grant_nothing_and_are_kept() {
    let policy = Policy::parse(FILE).unwrap();
    let token =
        json!({ "sub": "u1", "org_id": "quant", "realm_access": { "roles": ["Member", "ghost", ""] } });
    let nobody = resolved(&policy, &token);
    assert_eq!(nobody.grant, Grant::nothing());
    assert_eq!(nobody.roles, ["".into(), "Member".into(), "ghost".into()]);
    assert_eq!(nobody.notes.len(), 3);
    let without = resolved(&policy, &json!({ "sub": "u1" }));
    assert_eq!((without.grant, without.roles.len()), (Grant::nothing(), 0));
}

#[test]
fn those_without_a_credential_and_api_keys_have_roles_too() {
    let policy = Policy::parse(FILE).unwrap();
    let visitor = policy.anonymous().unwrap().unwrap();
    assert_eq!(lines(&visitor.grant)[..2], ["read: types system.*", "publish: nothing"]);
    assert!(visitor.notes[0].contains("variable user, which needs a credential"));
    assert!(Policy::parse("[roles.a]\n").unwrap().anonymous().unwrap().is_none());
    assert!(Policy::default().anonymous().unwrap().is_none());

    let mut variables = Variables::default();
    variables.set("fleet", vec!["f1".to_owned(), "f2".to_owned()]);
    let key = policy.resolve_api_key("ci", &["fleet".to_owned()], &variables).unwrap();
    assert_eq!(lines(&key.grant)[0], "read: every type in instanceId f1, f2");
    assert_eq!(key.grant.origin(), "role fleet (of the API key)");

    assert_eq!(policy.masks[0].at, "masks[0] (line 23)");
    assert_eq!(policy.api_keys()[0].table["id"].as_str(), Some("ci"));
    let problem = policy.masks[0].read::<BTreeMap<String, String>>().unwrap_err();
    assert_eq!(problem.at, "masks[0] (line 23)");
    let mask = policy.masks[0].read::<BTreeMap<String, toml::Value>>().unwrap();
    assert_eq!(mask["path"].as_str(), Some("data.secret"));
    assert!(policy.knows("visitor") && !policy.knows("Visitor"));
    assert_eq!(policy.roles().collect::<Vec<_>>(), ["fleet", "member", "operator", "teamlead", "visitor"]);
}

#[test]
fn every_problem_of_a_file_is_told_at_once_with_its_line() {
    let text = r#"
[claim]
[claims]
role = "x"
grant = 1
variables = { "a b" = "x", ok = "" }
[roles.a]
read = [{ types = ["a..b", "ok"], organisationId = "q" }, {}]
publish = [{ taskId = "{user", userId = ["a b", "{}"] }, { types = [] }]
admin = "yes"
write = []
[roles.b]
read = [{ organizationId = "{orgg}" }, { roomId = [] }]
[anonymous]
roles = ["ghost"]
[masks]
path = "x"
"#;
    let found = problems(text);
    let expected = [
        "policy (line 2): \"claim\"",
        "claims (line 4): \"role\"",
        "claims.grant (line 5): \"a number\"",
        "claims.variables (line 6): \"a b\"",
        "claims.variables.ok (line 6): \"\"",
        "roles.a.read[0].types[0] (line 8): \"a..b\"",
        "roles.a.read[0] (line 8): \"organisationId\"",
        "roles.a.read[1] (line 8): a rule limits types or a scope field",
        "roles.a.publish[0].taskId (line 9): \"{user\"",
        "roles.a.publish[0].userId[0] (line 9): \"a b\"",
        "roles.a.publish[0].userId[1] (line 9): \"{}\"",
        "roles.a.publish[1].types",
        "roles.a.admin (line 10): \"text\"",
        "roles.a (line 11): \"write\"",
        "roles.b.read[1].roomId",
        "roles.b (line 12): \"orgg\"",
        "anonymous.roles[0] (line 15): \"ghost\"",
        "masks (line 16): write each entry as [[masks]]",
    ];
    for part in expected {
        assert!(found.iter().any(|problem| problem.starts_with(part)), "{part} is not in {found:#?}");
    }
    assert_eq!(found.len(), expected.len() + 2, "lists that lost their items are empty too: {found:#?}");
    let shown = Policy::parse(text).unwrap_err().to_string();
    assert!(shown.starts_with("the policy has 20 problems:\n  policy (line 2)"), "{shown}");

    let broken = problems("[roles.a\n\nread = = 1\n");
    assert!(broken[0].starts_with("policy (line 1): this is not TOML"), "{broken:?}");
    assert!(broken[1].starts_with("policy (line 3): this is not TOML"), "{broken:?}");
    let missing = Policy::load(std::path::Path::new("/nowhere/policy.toml")).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/policy.toml: cannot be read"), "{missing}");
}

#[test]
fn templates_write_braces_twice_and_a_variable_that_stands_twice_has_one_value() {
    let fill = |text: &str, values: &[&str]| {
        let mut variables = Variables::default();
        variables.set("v", values.iter().map(ToString::to_string).collect());
        Template::parse(text).unwrap().fill(&variables).0
    };
    assert_eq!(fill("{{a}}-{v}", &["1", "2"]), ["{a}-1", "{a}-2"]);
    assert_eq!(fill("{v}:{v}", &["1", "2"]), ["1:1", "2:2"]);
    assert_eq!(fill("plain", &[]), ["plain"]);
    assert_eq!(fill("{v}", &[]), [""; 0]);
    for bad in ["", "{", "}", "{v", "v}", "{}", "{a b}", "{a{b}}", "a b", "é", "{v}}"] {
        assert!(Template::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_grant_of_claims_narrows_what_is_asked_for() {
    let policy = Policy::parse(FILE).unwrap();
    let token = json!({ "sub": "u1", "org_id": "quant", "realm_access": { "roles": ["member"] } });
    let draft = FilterDraft { organization_id: Some(vec!["acme".to_owned()]), ..FilterDraft::default() };
    let refusal = resolved(&policy, &token).grant.narrow(EventFilter::new(draft).unwrap()).unwrap_err();
    assert_eq!(refusal.detail("allowed"), Some("quant"));
    assert_eq!(
        refusal.message,
        "organizationId: acme is not within the grant, which may read quant; it comes from role member \
         (claim realm_access.roles) and claim fanfare"
    );
}
