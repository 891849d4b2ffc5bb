//! Filters against masked fields: single cases, and a naive oracle over a small world of types.

use super::*;
use crate::{
    auth::mask::{Action, path::Target},
    event::{Draft, EventType, FilterDraft, Limits, NewEvent, ScopeField},
};
use proptest::prelude::*;

fn mask(path: &str, types: &[&str]) -> Mask {
    let types = types.iter().map(|text| TypePattern::parse(text, "t").unwrap()).collect();
    Mask { types, target: Target::parse(path).unwrap(), action: Action::Hash }
}

fn filter(json: &str) -> EventFilter {
    EventFilter::new(serde_json::from_str::<FilterDraft>(json).unwrap()).unwrap()
}

#[test]
fn every_field_by_which_a_filter_selects_is_refused_where_it_is_masked() {
    for (path, given) in [
        ("organizationId", r#"{"organizationId":"o"}"#),
        ("domainId", r#"{"domainId":"o"}"#),
        ("instanceId", r#"{"instanceId":"o"}"#),
        ("agentId", r#"{"agentId":"o"}"#),
        ("taskId", r#"{"taskId":"o"}"#),
        ("workflowId", r#"{"workflowId":"o"}"#),
        ("userId", r#"{"userId":"o"}"#),
        ("roomId", r#"{"roomId":"o"}"#),
        ("source", r#"{"sources":"/o"}"#),
        ("correlationId", r#"{"correlationId":"o"}"#),
    ] {
        let masks = [mask(path, &["agent.*"])];
        assert_eq!(asked(&filter(given), masks.iter()), Some(path));
        assert_eq!(
            asked(&filter(&format!(r#"{{"anyOf":[{{"types":"x"}},{given}]}}"#)), masks.iter()),
            Some(path)
        );
        assert_eq!(asked(&filter(r#"{"types":"agent.*","minPriority":"LOW"}"#), masks.iter()), None);
        let elsewhere = [mask("data.a", &["*"]), mask("attributes.*", &["*"]), mask("subject", &["*"])];
        assert_eq!(asked(&filter(given), elsewhere.iter()), None);
    }
}

#[test]
fn a_mask_stands_in_the_way_only_where_its_types_can_be_asked_for() {
    let masks = [mask("agentId", &["agent.*", "*.failed"])];
    for (given, expected) in [
        (r#"{"agentId":"a","types":"task.*"}"#, true),
        (r#"{"agentId":"a","types":"task.created"}"#, false),
        (r#"{"agentId":"a","types":["task.created","agent.log"]}"#, true),
        (r#"{"agentId":"a","categories":"agent"}"#, true),
        (r#"{"agentId":"a","types":"*.created","categories":"task"}"#, false),
        (r#"{"agentId":"a","types":"task.a.*"}"#, false),
        (r#"{"agentId":"a","anyOf":[{"types":"task.created"},{"types":"x"}]}"#, false),
        (
            r#"{"types":"task.*","anyOf":[{"agentId":"a","types":"*.created"},{"types":"task.failed"}]}"#,
            false,
        ),
        (r#"{"types":"task.*","anyOf":[{"agentId":"a"},{"types":"task.created"}]}"#, true),
    ] {
        assert_eq!(asked(&filter(given), masks.iter()).is_some(), expected, "{given}");
    }
}

const SEGMENTS: [&str; 4] = ["agent", "task", "x", "y"];

/// Every type of up to four segments of the small world.
fn world() -> Vec<NewEvent> {
    let mut types: Vec<String> = SEGMENTS.iter().map(|segment| (*segment).to_owned()).collect();
    let mut last = types.clone();
    for _ in 1..4 {
        last = last
            .iter()
            .flat_map(|text| SEGMENTS.iter().map(move |segment| format!("{text}.{segment}")))
            .collect();
        types.extend(last.clone());
    }
    let event = |event_type: String| {
        let mut draft = Draft { event_type, ..Draft::default() };
        *draft.scope_mut(ScopeField::Agent) = Some("a".to_owned());
        NewEvent::new(draft, &Limits::default()).unwrap()
    };
    types.into_iter().map(event).collect()
}

fn patterns() -> impl Strategy<Value = Vec<String>> {
    let segment = prop::sample::select(vec!["*", "*", "agent", "task", "x"]);
    let pattern = prop::collection::vec(segment, 1..4).prop_map(|segments| segments.join("."));
    prop::collection::vec(pattern, 1..3)
}

fn level() -> impl Strategy<Value = serde_json::Value> {
    let families = prop::sample::subsequence(vec!["agent", "task", "custom"], 1..3);
    (prop::option::of(patterns()), prop::option::of(families)).prop_map(|(types, families)| {
        let mut level = serde_json::Map::new();
        level.extend(types.map(|types| ("types".to_owned(), types.into())));
        level.extend(families.map(|families| ("categories".to_owned(), families.into())));
        level.into()
    })
}

proptest! {
    #[test]
    fn a_filter_is_refused_exactly_when_some_type_meets_both(
        masked in patterns(), mut top in level(), alternative in prop::option::of(level()), asks_at_top in any::<bool>(),
    ) {
        thread_local!(static WORLD: Vec<NewEvent> = world());
        let asks_at_top = asks_at_top || alternative.is_none();
        if asks_at_top {
            top["agentId"] = "a".into();
        }
        if let Some(mut alternative) = alternative {
            if !asks_at_top {
                alternative["agentId"] = "a".into();
            }
            top["anyOf"] = vec![alternative].into();
        }
        let filter = filter(&top.to_string());
        let mask = mask("agentId", &masked.iter().map(String::as_str).collect::<Vec<_>>());
        let is_refused = asked(&filter, std::iter::once(&mask)).is_some();
        // The events have the value that the filter asks for, so only their types decide.
        let expected = WORLD.with(|world| world.iter().any(|event| {
            let event_type: &EventType = event.event_type();
            mask.concerns(event_type) && filter.matches(event)
        }));
        prop_assert_eq!(is_refused, expected, "{:?} {}", masked, top);
    }
}
