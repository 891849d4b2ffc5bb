//! The sample feed tells whole stories, and only such events as the server takes.

use super::*;
use crate::event::{Family, Limits, NewEvent, ScopeField};
use std::collections::{BTreeSet, HashMap};

/// So many events of a feed, after the checks that every published event passes.
fn events(seed: u64, count: usize) -> Vec<NewEvent> {
    let mut feed = SampleFeed::new(seed);
    let drafts = (0..count).map(|_| feed.next().1);
    drafts.map(|draft| NewEvent::new(draft, &Limits::default()).unwrap()).collect()
}

/// The types of each story, in order, by correlation id.
fn stories(seed: u64) -> HashMap<String, Vec<String>> {
    let mut stories: HashMap<String, Vec<String>> = HashMap::new();
    for event in events(seed, 5_000) {
        let story = stories.entry(event.correlation_id().unwrap().to_owned()).or_default();
        story.push(event.event_type().as_str().to_owned());
    }
    stories
}

#[test]
fn every_sample_is_marked_as_one_and_leaves_id_and_time_to_the_server() {
    let mut feed = SampleFeed::new(7);
    for _ in 0..1_000 {
        let (_, draft) = feed.next();
        assert_eq!(draft.source.as_deref(), Some(SOURCE));
        assert_eq!((draft.id, draft.time), (None, None));
        assert!(draft.organization_id.is_some() && draft.domain_id.is_some());
    }
}

#[test]
fn the_same_seed_tells_the_same_and_another_seed_something_else() {
    let told = |seed| -> Vec<String> {
        let mut feed = SampleFeed::new(seed);
        (0..500).map(|_| format!("{:?}", feed.next())).collect()
    };
    assert_eq!(told(1), told(1));
    assert_ne!(told(1), told(2));
}

#[test]
fn the_feed_is_slow_enough_to_read() {
    let mut feed = SampleFeed::new(3);
    let total: Duration = (0..1_000).map(|_| feed.next().0).sum();
    assert!((500..1_000).contains(&total.as_secs()), "{total:?}");
}

#[test]
fn every_known_family_appears() {
    let seen: BTreeSet<Family> = events(11, 5_000).iter().map(|event| event.event_type().family()).collect();
    let known: BTreeSet<Family> =
        Family::ALL.iter().copied().filter(|family| *family != Family::Custom).collect();
    assert_eq!(seen, known);
}

#[test]
fn every_type_is_one_that_the_design_names() {
    for event in events(12, 5_000) {
        let event_type = event.event_type();
        assert!(event_type.family().actions().contains(&event_type.action()), "{event_type}");
    }
}

#[test]
fn nothing_goes_on_before_it_started_or_after_it_ended() {
    let lives = [
        ("task.", "task.created", ["task.completed", "task.failed"].as_slice()),
        ("workflow.", "workflow.started", &["workflow.completed", "workflow.failed"]),
        ("deployment.", "deployment.started", &["deployment.completed", "deployment.failed"]),
        ("presence.", "presence.connected", &["presence.disconnected"]),
        ("claude.", "claude.session.started", &["claude.session.completed", "claude.session.failed"]),
        ("repo.", "repo.commit.created", &["repo.scan.completed"]),
    ];
    for seed in 0..4 {
        let stories = stories(seed);
        for (prefix, start, ends) in lives {
            let of_this_kind = |story: &&Vec<String>| story.iter().any(|name| name.starts_with(prefix));
            let (mut told, mut ended) = (0, 0);
            for story in stories.values().filter(of_this_kind) {
                let life: Vec<&str> =
                    story.iter().map(String::as_str).filter(|name| name.starts_with(prefix)).collect();
                told += 1;
                assert_eq!(life[0], start, "{story:?}");
                match life.iter().position(|name| ends.contains(name)) {
                    Some(end) => {
                        ended += 1;
                        assert_eq!(end, life.len() - 1, "{story:?}");
                    }
                    None => assert!(life.len() < 20, "{story:?}"),
                }
            }
            // Only the stories that still run when the test stops may lack their end.
            assert!(told > 20 && told - ended <= STORIES_AT_ONCE, "{prefix}: {ended} of {told} ended");
        }
    }
}

#[test]
fn a_task_starts_before_it_makes_progress_and_its_progress_rises() {
    let mut progress: HashMap<String, Option<u64>> = HashMap::new();
    let mut seen = 0;
    for event in events(21, 5_000) {
        let Some(task) = event.scope().get(ScopeField::Task) else { continue };
        let fields: serde_json::Value = serde_json::from_str(event.data().as_str()).unwrap();
        match event.event_type().as_str() {
            "task.started" => assert_eq!(progress.insert(task.to_owned(), Some(0)), None, "{task}"),
            "task.progress" | "task.completed" => {
                let last = progress.get_mut(task).and_then(Option::as_mut).expect("a started task");
                let now = fields["progress"].as_u64().unwrap();
                assert!(now > *last && now <= 100, "{task}: {last} then {now}");
                *last = now;
                seen += 1;
            }
            _ => {}
        }
    }
    assert!(seen > 500, "{seen}");
}

#[test]
fn every_event_of_a_story_is_in_the_same_organization() {
    let mut organizations: HashMap<String, String> = HashMap::new();
    for event in events(31, 5_000) {
        let story = event.correlation_id().unwrap().to_owned();
        let organization = event.scope().get(ScopeField::Organization).unwrap().to_owned();
        assert_eq!(organizations.entry(story).or_insert(organization.clone()), &organization);
    }
}
