//! Who has which mask, and what becomes of each part of an event.

use super::*;
use crate::{
    auth::{Credential, Grant, Principal},
    error::Code,
    event::{Draft, Epoch, Event, EventFilter, Limits, NewEvent, Offset, ScopeField},
};

fn key() -> MaskKey {
    MaskKey::new([9; 32])
}

fn masks(toml: &str) -> Result<Masks, MaskProblems> {
    #[derive(Deserialize)]
    struct Section {
        masks: Vec<MaskDraft>,
    }
    let section: Section = toml::from_str(toml).unwrap();
    Masks::new(section.masks, key())
}

fn one(rule: &str) -> Masks {
    masks(&format!("[[masks]]\n{rule}")).unwrap()
}

fn is_known(role: &str) -> bool {
    ["member", "support", "auditor"].contains(&role)
}

fn event(json: &str) -> Arc<Event> {
    let new = NewEvent::new(Draft::from_json(json).unwrap(), &Limits::default()).unwrap();
    Arc::new(Event::logged(new, Epoch::new([1; 16]), Offset::new(7)))
}

#[test]
fn roles_mask_for_any_of_them_and_except_spares_those_who_have_no_other_role() {
    let roles = one("types = ['*']\npath = 'data.a'\naction = 'null'\nroles = ['member']");
    let except = one("types = ['*']\npath = 'data.a'\naction = 'null'\nexcept = ['support', 'auditor']");
    let cases: [(&[&str], bool, bool); 8] = [
        (&[], true, true),
        (&["member"], true, true),
        (&["support"], false, false),
        (&["support", "auditor"], false, false),
        (&["support", "member"], true, true),
        (&["stranger"], true, true),
        (&["support", "stranger"], true, true),
        (&["auditor", "auditor"], false, false),
    ];
    for (given, by_roles, by_except) in cases {
        assert_eq!(!roles.view(given, is_known).is_whole(), by_roles, "{given:?}");
        assert_eq!(!except.view(given, is_known).is_whole(), by_except, "{given:?}");
    }
    // A spared role that the policy does not know spares nobody, and nobody is spared by an empty list.
    let misspelled = one("types = ['*']\npath = 'data.a'\naction = 'null'\nexcept = ['stranger']");
    assert!(!misspelled.view(&["stranger"], is_known).is_whole());
    assert!(
        !one("types = ['*']\npath = 'data.a'\naction = 'null'\nexcept = []")
            .view(&["support"], is_known)
            .is_whole()
    );
}

#[test]
fn views_that_mask_the_same_are_equal_whoever_has_them_and_others_are_not() {
    let masks = masks(
        "[[masks]]\ntypes = ['a.*', 'b']\npath = 'data.x'\naction = 'null'\nroles = ['member']
         [[masks]]\ntypes = ['b', 'a.*']\npath = 'data.\"x\"'\naction = 'null'\nroles = ['auditor']
         [[masks]]\ntypes = ['*']\npath = 'userId'\naction = 'hash'\nroles = ['auditor', 'support']",
    )
    .unwrap();
    let view = |roles: &[&str]| masks.view(roles, is_known);
    assert_eq!(view(&["auditor"]), view(&["member", "auditor"]));
    assert_eq!(view(&["auditor"]).fingerprint(), view(&[]).fingerprint());
    assert_ne!(view(&["member"]), view(&["support"]));
    assert_ne!(view(&["member"]), View::whole());
    let again = self::masks("[[masks]]\ntypes = ['a.*', 'b']\npath = 'data.x'\naction = 'null'\nexcept = []")
        .unwrap();
    assert_eq!(again.view(&["support"], is_known), view(&["member"]));
    let drafts = vec![MaskDraft {
        types: vec!["a.*".to_owned(), "b".to_owned()],
        path: "data.x".to_owned(),
        action: Action::Null,
        roles: None,
        except: Some(Vec::new()),
    }];
    let other_key = Masks::new(drafts, MaskKey::new([1; 32])).unwrap();
    assert_ne!(other_key.view(&["support"], is_known), view(&["member"]));
}

#[test]
fn an_event_of_another_type_is_the_same_event_and_so_is_one_without_the_path() {
    let view =
        one("types = ['agent.*']\npath = 'data.a'\naction = 'drop'\nexcept = []").view(&["member"], is_known);
    for same in [r#"{"type":"task.a","data":{"a":1}}"#, r#"{"type":"agent.a","data":{"b":1}}"#] {
        let event = event(same);
        assert!(Arc::ptr_eq(&view.show(&event), &event), "{same}");
        assert!(Arc::ptr_eq(&View::whole().show(&event), &event));
    }
    let event = event(r#"{"type":"agent.a","data":{"a":1}}"#);
    for _ in 0..2 {
        let shown = view.show(&event);
        assert_eq!((shown.data().as_str(), shown.cursor(), shown.id()), ("{}", event.cursor(), event.id()));
    }
}

const FULL: &str = r#"{"type":"agent.log","id":"i","source":"/canary-source","subject":"canary-subject","organizationId":"canary-org",
    "domainId":"canary-domain","instanceId":"canary-instance","agentId":"canary-agent","taskId":"canary-task",
    "workflowId":"canary-workflow","userId":"canary-user","roomId":"canary-room","correlationId":"canary-correlation",
    "priority":"HIGH","attributes":{"dataschema":"canary-schema","count":12345678,"flag":true},"data":{"n":1}}"#;

#[test]
fn each_field_is_masked_alone_and_nothing_else_changes() {
    let original = event(FULL);
    let json = |event: &Event| {
        let mut out = String::new();
        crate::event::write_event(event, &mut out);
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&out).unwrap()
    };
    let fields =
        ScopeField::ALL.map(ScopeField::camel).into_iter().chain(["subject", "correlationId", "source"]);
    for field in fields {
        for action in ["drop", "null", "hash", "partial"] {
            if field == "source" && matches!(action, "drop" | "null") {
                continue;
            }
            let rule = format!("types = ['*']\npath = '{field}'\naction = '{action}'\nexcept = []");
            let mut shown = json(&one(&rule).view(&["member"], is_known).show(&original));
            let mut expected = json(&original);
            let (value, given) = (shown.remove(field), expected.remove(field).unwrap());
            assert_eq!(shown, expected, "{field} {action}");
            let given = given.as_str().unwrap();
            match (action, value.as_ref().and_then(|value| value.as_str())) {
                ("hash", Some(hash)) => assert!(hash.starts_with("hash:") && hash.len() == 21, "{hash}"),
                ("partial", Some(end)) => assert_eq!(end, format!("***{}", &given[given.len() - 4..])),
                ("drop" | "null", None) => {}
                (_, other) => panic!("{field} {action}: {other:?}"),
            }
        }
    }
}

#[test]
fn attributes_are_masked_by_name_or_all_and_never_become_null() {
    let shown = |path: &str, action: &str| {
        let rule = format!("types = ['*']\npath = '{path}'\naction = '{action}'\nexcept = []");
        let shown = one(&rule).view(&["member"], is_known).show(&event(FULL));
        serde_json::Value::Object(shown.attributes().clone()).to_string()
    };
    assert_eq!(shown("attributes.dataschema", "null"), r#"{"count":12345678,"flag":true}"#);
    assert_eq!(shown("attributes.*", "drop"), "{}");
    assert_eq!(shown("attributes.*", "partial"), r#"{"count":"***","dataschema":"***hema","flag":"***"}"#);
    assert!(shown("attributes.count", "hash").contains(r#""count":"hash:"#));
    assert!(shown("attributes.other", "drop").contains("canary-schema"));
}

#[test]
fn binary_data_goes_as_a_whole_when_any_part_of_the_data_is_masked() {
    let binary = event(r#"{"type":"a","dataBase64":"Y2FuYXJ5"}"#);
    for (path, action) in
        [("data.a.b", "partial"), ("data", "hash"), ("dataBase64", "null"), ("dataBase64", "drop")]
    {
        let rule = format!("types = ['*']\npath = '{path}'\naction = '{action}'\nexcept = []");
        let shown = one(&rule).view(&["member"], is_known).show(&binary);
        assert_eq!((shown.data_base64(), shown.data().as_str()), (None, "null"), "{path}");
    }
    let text = event(r#"{"type":"a","data":"x"}"#);
    let view =
        one("types = ['*']\npath = 'dataBase64'\naction = 'drop'\nexcept = []").view(&["member"], is_known);
    assert!(Arc::ptr_eq(&view.show(&text), &text));
}

#[test]
fn a_filter_on_a_masked_field_is_forbidden_by_its_name_and_the_grants_own_limits_are_not_the_callers() {
    let view = one("types = ['agent.*']\npath = 'agentId'\naction = 'hash'\nroles = ['member']")
        .view(&["member"], is_known);
    let principal = Principal::new("p", Credential::None, Grant::everything(), view, None);
    let filter = EventFilter::default().with_scope(ScopeField::Agent, "a1").unwrap();
    let refusal = principal.narrow(filter).unwrap_err();
    assert_eq!((refusal.code, refusal.detail("field")), (Code::Forbidden, Some("agentId")));
    assert!(refusal.message.contains("agentId is masked for your role") && !refusal.message.contains("a1"));
    assert!(principal.narrow(EventFilter::default()).is_ok());
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_by_its_place() {
    let problems = masks(
        "[[masks]]\ntypes = []\npath = 'data.a'\naction = 'drop'\nroles = ['member']
         [[masks]]\ntypes = ['a..b']\npath = 'time'\naction = 'drop'\nroles = []
         [[masks]]\ntypes = ['*']\npath = 'source'\naction = 'null'\nroles = ['member']\nexcept = ['support']
         [[masks]]\ntypes = ['*']\npath = 'data.a'\naction = 'null'",
    )
    .unwrap_err();
    let places: Vec<&str> = problems.0.iter().map(|problem| problem.place.as_str()).collect();
    assert_eq!(
        places,
        [
            "masks[0].types",
            "masks[1].types[0]",
            "masks[1].path",
            "masks[1].roles",
            "masks[2].action",
            "masks[2].except",
            "masks[3].roles"
        ]
    );
    assert!(
        problems.to_string().contains("id, type, time, cursor and priority cannot be masked"),
        "{problems}"
    );
    let rule = MaskDraft {
        types: vec!["*".to_owned()],
        path: "data".to_owned(),
        action: Action::Null,
        roles: None,
        except: Some(Vec::new()),
    };
    assert_eq!(Masks::new(vec![rule.clone(); 257], key()).unwrap_err().0[0].place, "masks");
    let wide = MaskDraft { types: vec!["*".to_owned(); 1_025], ..rule };
    assert_eq!(Masks::new(vec![wide], key()).unwrap_err().0[0].given, "1025 patterns");
}

#[test]
fn a_role_that_the_policy_does_not_have_is_a_problem_of_the_rule() {
    let masks = masks(
        "[[masks]]\ntypes = ['*']\npath = 'data'\naction = 'null'\nroles = ['member', 'membr']
         [[masks]]\ntypes = ['*']\npath = 'data'\naction = 'null'\nexcept = ['suport']",
    )
    .unwrap();
    let places: Vec<String> =
        masks.check_roles(is_known).unwrap_err().0.into_iter().map(|problem| problem.place).collect();
    assert_eq!(places, ["masks[0].roles", "masks[1].except"]);
}

#[test]
fn unknown_members_and_actions_of_a_rule_are_refused() {
    for bad in ["role = ['x']", "action = 'blur'", "action = 'Drop'"] {
        let text = format!("types = ['*']\npath = 'data'\n{bad}");
        assert!(toml::from_str::<MaskDraft>(&text).is_err(), "{bad}");
    }
}

#[test]
fn the_rules_are_explained_for_each_role_and_for_strangers() {
    let masks = masks(
        "[[masks]]\ntypes = ['agent.*']\npath = 'data.user.email'\naction = 'partial'\nroles = ['member']
         [[masks]]\ntypes = ['*']\npath = 'userId'\naction = 'hash'\nexcept = ['support']",
    )
    .unwrap();
    assert_eq!(
        masks.explain(&["member", "support"]),
        [
            "member sees userId as hash:… in *",
            "member sees data.user.email as ***1234 in agent.*",
            "support sees everything",
            "whoever has no role, or one that is not in the policy, sees userId as hash:… in *",
            "whoever has no role, or one that is not in the policy, sees data.user.email as ***1234 in agent.*",
        ]
    );
}

#[test]
fn nothing_that_is_printed_for_debugging_holds_the_key() {
    let masks = one("types = ['*']\npath = 'data'\naction = 'hash'\nexcept = []");
    let shown = format!("{masks:?} {:?}", masks.view(&["member"], is_known));
    assert!(!shown.contains("9, 9") && shown.contains("MaskKey(…)"), "{shown}");
}

#[test]
fn nothing_is_selected_by_a_member_that_a_mask_hides_and_by_others_it_is() {
    let types = |names: &[&str]| -> Vec<EventType> {
        names.iter().map(|name| EventType::parse(name, "type").unwrap()).collect()
    };
    let task = types(&["task.created", "task.failed"]);
    for (path, hides) in [
        ("data.status", true),
        ("data.status.inside", true),
        ("data", true),
        ("data.*", true),
        ("data[*]", true),
        ("data[*].status", true),
        ("data.name", false),
        ("data.name.status", false),
        ("attributes.status", false),
        ("subject", false),
    ] {
        let masks =
            one(&format!("types = ['*.failed']\npath = '{path}'\naction = 'null'\nroles = ['member']"));
        let view = masks.view(&["member"], is_known);
        let refused = view.check_member(&task, "status");
        assert_eq!(refused.is_err(), hides, "{path}");
        if let Err(refusal) = refused {
            assert_eq!((refusal.code, refusal.detail("field")), (Code::Forbidden, Some("status")));
        }
        assert!(view.check_member(&types(&["task.created"]), "status").is_ok(), "{path}: of other types");
        assert!(
            masks.view(&["support"], is_known).check_member(&task, "status").is_ok(),
            "{path}: for others"
        );
    }
}
