//! Signatures, mapping and refusals of GitHub's webhooks.

use super::*;
use crate::event::{Limits, NewEvent};
use serde_json::json;

const SECRET: &[u8] = b"It's a Secret to Everybody";
const BODY: &[u8] = b"Hello, World!";
const RIGHT: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
const DELIVERY_ID: &str = "72d3162e-cc78-11e3-81ab-4c9367dc0958";

fn push() -> Value {
    let commit = |sha: &str, time: &str| {
        json!({
            "id": sha, "message": "Fix: \"ünïcode\"\n", "timestamp": time, "distinct": true,
            "author": {"name": "Ada", "email": "ada@example.org"}, "added": ["a.rs"], "removed": [], "modified": [],
        })
    };
    json!({
        "ref": "refs/heads/main",
        "before": "0".repeat(40),
        "after": "b".repeat(40),
        "commits": [
            commit(&"a".repeat(40), "2019-05-15T15:19:25+02:00"),
            commit(&"b".repeat(40), "2019-05-15T15:20:25+02:00"),
        ],
        "head_commit": commit(&"b".repeat(40), "2019-05-15T15:20:25+02:00"),
        "repository": {
            "full_name": "octo-org/hello", "html_url": "https://github.com/octo-org/hello",
            "owner": {"name": "octo-org", "login": "octo-org"}, "pushed_at": 1_557_933_657,
        },
        "sender": {"login": "ada", "html_url": "https://github.com/ada"},
    })
}

fn events(event: &str, body: &Value) -> Vec<NewEvent> {
    let drafts = drafts(event, DELIVERY_ID, &body.to_string()).unwrap();
    drafts.into_iter().map(|draft| NewEvent::new(draft, &Limits::default()).unwrap()).collect()
}

fn only(event: &str, body: &Value) -> NewEvent {
    let mut events = events(event, body);
    assert_eq!(events.len(), 1);
    events.remove(0)
}

#[test]
fn githubs_own_example_of_a_signature_is_right_and_every_change_of_it_is_not() {
    assert_eq!(verify(SECRET, BODY, Some(RIGHT)), Ok(()));
    assert_eq!(verify(SECRET, BODY, Some(&RIGHT.replace("ea0eb", "EA0EB"))), Ok(()));
    let changed = RIGHT.replace("757107", "757108");
    let wrong = [
        (SECRET, BODY, None),
        (SECRET, BODY, Some("")),
        (SECRET, BODY, Some("sha256=")),
        (SECRET, BODY, Some("sha1=757107ea0eb2509fc211221cce984b8a37570b6d")),
        (SECRET, BODY, Some(&RIGHT[..RIGHT.len() - 2])),
        (SECRET, BODY, Some(&RIGHT[..RIGHT.len() - 1])),
        (SECRET, BODY, Some("sha256=é")),
        (SECRET, BODY, Some(changed.as_str())),
        (SECRET, b"Hello, World?", Some(RIGHT)),
        (b"another", BODY, Some(RIGHT)),
    ];
    for (secret, body, header) in wrong {
        let refusal = verify(secret, body, header).expect_err("a wrong signature");
        assert_eq!((refusal.code, refusal.detail("field")), (Code::Unauthenticated, Some(SIGNATURE)));
        assert!(!refusal.to_string().contains("757107"), "{refusal}");
    }
}

#[test]
fn an_empty_secret_admits_nobody() {
    let mac = Hmac::<Sha256>::new_from_slice(b"").unwrap().chain_update(BODY).finalize().into_bytes();
    let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(verify(b"", BODY, Some(&format!("sha256={hex}"))).is_err());
}

#[test]
fn a_push_gives_its_commits_in_order_and_then_itself() {
    let events = events("push", &push());
    let types: Vec<_> = events.iter().map(|event| event.event_type().as_str()).collect();
    assert_eq!(types, ["repo.commit.created", "repo.commit.created", "repo.push.completed"]);
    let ids: Vec<_> = events.iter().map(NewEvent::id).collect();
    let (first, second) = ("a".repeat(40), "b".repeat(40));
    assert_eq!(
        ids,
        [format!("{DELIVERY_ID}-{first}"), format!("{DELIVERY_ID}-{second}"), DELIVERY_ID.to_owned()]
    );
    for event in &events {
        assert_eq!(event.source(), "https://github.com/octo-org/hello");
        assert_eq!(event.correlation_id(), Some(DELIVERY_ID));
        assert_eq!(event.scope().iter().collect::<Vec<_>>(), [(ScopeField::Organization, "octo-org")]);
    }
    let subjects: Vec<_> = events.iter().filter_map(NewEvent::subject).collect();
    assert_eq!(subjects, [&format!("commit/{first}"), &format!("commit/{second}"), "refs/heads/main"]);
    let times: Vec<_> = events.iter().map(|event| event.time().timestamp()).collect();
    assert_eq!(times, [1_557_926_365, 1_557_926_425, 1_557_933_657]);
}

#[test]
fn a_push_keeps_every_word_of_github() {
    let events = events("push", &push());
    let data: Vec<Value> =
        events.iter().map(|event| serde_json::from_str(event.data().as_str()).unwrap()).collect();
    assert_eq!(data[2], push());
    let expected =
        json!({"repository": "octo-org/hello", "ref": "refs/heads/main", "commit": push()["commits"][1]});
    assert_eq!(data[1], expected);
}

#[test]
fn a_redelivery_is_the_same_events() {
    assert_eq!(events("push", &push()), events("push", &push()));
}

#[test]
fn a_push_without_commits_is_a_push() {
    for commits in [json!([]), json!(null)] {
        let mut body = push();
        body["commits"] = commits;
        body["head_commit"] = json!(null);
        assert_eq!(only("push", &body).event_type().as_str(), "repo.push.completed");
    }
}

#[test]
fn each_event_has_its_type_and_subject() {
    let cases = [
        ("ping", json!({"zen": "Design for failure."}), "github.ping", None),
        ("projects_v2_item", json!({"action": "edited"}), "github.projects_v2_item.edited", None),
        (
            "workflow_run",
            json!({"action": "requested", "workflow_run": {"id": 289_782_451}}),
            "github.workflow.triggered",
            Some("actions/runs/289782451"),
        ),
        (
            "workflow_run",
            json!({"action": "completed", "workflow_run": {"id": 1}}),
            "github.workflow_run.completed",
            Some("actions/runs/1"),
        ),
        (
            "pull_request",
            json!({"action": "opened", "number": 2, "pull_request": {"number": 2}}),
            "github.pull_request.opened",
            Some("pull/2"),
        ),
        (
            "issue_comment",
            json!({"action": "created", "issue": {"number": 1}, "comment": {"id": 4}}),
            "github.issue_comment.created",
            Some("issues/1"),
        ),
        ("status", json!({"sha": "6113728f", "state": "success"}), "github.status", Some("commit/6113728f")),
        ("create", json!({"ref": "v1", "ref_type": "tag"}), "github.create", Some("v1")),
        (
            "release",
            json!({"action": "published", "release": {"tag_name": "0.0.1"}}),
            "github.release.published",
            Some("releases/tag/0.0.1"),
        ),
        (
            "repository_dispatch",
            json!({"action": "Nightly build: é.v2"}),
            "github.repository_dispatch.Nightly_build____v2",
            None,
        ),
    ];
    for (name, body, event_type, subject) in cases {
        let event = only(name, &body);
        assert_eq!((event.event_type().as_str(), event.subject()), (event_type, subject), "{name}");
        assert!(!event.time_is_given(), "{name}");
    }
}

#[test]
fn the_longest_names_still_make_a_type() {
    let event = only(&"e".repeat(EVENT_BYTES_MAX), &json!({"action": "é".repeat(500)}));
    assert!(event.event_type().as_str().ends_with("___"));
}

#[test]
fn source_and_organization_come_from_what_the_delivery_has() {
    let organization = json!({"login": "octo-org", "url": "https://api.github.com/orgs/octo-org"});
    let sender = json!({"login": "ada", "html_url": "https://github.com/ada"});
    let cases = [
        (
            json!({"organization": organization, "sender": sender}),
            "https://api.github.com/orgs/octo-org",
            Some("octo-org"),
        ),
        (json!({"organization": null, "sender": sender}), "https://github.com/ada", None),
        (json!({"organization": {"login": "not an id"}}), "https://github.com", None),
        (json!({"repository": {"owner": {"login": "ada"}}}), "https://github.com", Some("ada")),
    ];
    for (body, source, organization) in cases {
        let event = only("member", &body);
        assert_eq!(event.source(), source);
        assert_eq!(event.scope().get(ScopeField::Organization), organization, "{body}");
        assert_eq!(event.scope().get(ScopeField::User), None);
    }
}

#[test]
fn deliveries_that_are_none_are_refused_by_what_is_wrong() {
    let mut without_sha = push();
    without_sha["commits"][1]["id"] = json!("no sha");
    let cases = [
        ("", DELIVERY_ID, "{}".to_owned(), Some(EVENT)),
        ("a.b", DELIVERY_ID, "{}".to_owned(), Some(EVENT)),
        (&"e".repeat(57), DELIVERY_ID, "{}".to_owned(), Some(EVENT)),
        ("ping", "", "{}".to_owned(), Some(DELIVERY)),
        ("ping", "a b", "{}".to_owned(), Some(DELIVERY)),
        ("ping", DELIVERY_ID, "[]".to_owned(), None),
        ("ping", DELIVERY_ID, r#"{"a":1,"a":2}"#.to_owned(), None),
        ("ping", DELIVERY_ID, "[".repeat(100_000), None),
        ("push", DELIVERY_ID, r#"{"commits":5}"#.to_owned(), None),
        ("push", DELIVERY_ID, r#"{"commits":[{}]}"#.to_owned(), Some("commits[0].id")),
        ("push", DELIVERY_ID, without_sha.to_string(), Some("commits[1].id")),
    ];
    for (event, delivery, body, field) in cases {
        let refusal = drafts(event, delivery, &body).expect_err("no delivery");
        assert_eq!((refusal.code, refusal.detail("field")), (Code::BadRequest, field), "{event}");
    }
}

#[test]
fn a_delivery_larger_than_an_events_data_is_too_large() {
    let body = json!({"zen": "x".repeat(256 * 1024)}).to_string();
    let draft = drafts("ping", DELIVERY_ID, &body).unwrap().remove(0);
    let refusal = NewEvent::new(draft, &Limits::default()).unwrap_err();
    assert_eq!((refusal.code, refusal.detail("field")), (Code::TooLarge, Some("data")));
}

#[test]
fn a_form_holds_the_same_json() {
    let form = body_text(
        Some("application/x-www-form-urlencoded"),
        b"x=1&payload=%7B%22zen%22%3A%22a+b%2Bc+%C3%A9%22%7D&y=2",
    );
    assert_eq!(form.unwrap(), r#"{"zen":"a b+c é"}"#);
    let plain = body_text(Some("application/json; charset=utf-8"), b"{}");
    assert_eq!(plain.unwrap(), "{}");
    for bad in [b"".as_slice(), b"payload", b"other=1", b"payload=%", b"payload=%ff"] {
        let error = body_text(Some("application/x-www-form-urlencoded"), bad).unwrap_err();
        assert_eq!(error.refusal().detail("field"), Some("payload"));
    }
    let not_text = body_text(Some("application/json"), b"\xff").unwrap_err();
    assert_eq!(not_text.refusal().code, Code::BadRequest);
    for other in [None, Some("text/plain"), Some("application/json; charset=utf-16")] {
        assert!(matches!(body_text(other, b"{}"), Err(IngestError::UnsupportedMediaType { .. })));
    }
}
