//! Resources with a canary in every place that can be masked: in lists, lookups, changes and the events of changes, and in what
//! is refused.

use super::{CANARY, READERS, Sight, canary, masks, principal};
use crate::support::DEADLINE;
use fanfare::{
    auth::{Action, Principal},
    platform::resources::{Fields, Kind, Resources, Verb, Which},
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;

/// Every field but the ids of its own, which the rules do not mask.
const TASK: &str =
    "version organizationId domainId userId agentId name description status progress message result error
    metadata createdAt updatedAt cursor";

async fn fill(resources: &Resources) {
    let me = Principal::anonymous();
    let create = async |kind, fields: Value| {
        resources.create(&me, kind, Fields::from_json(&fields.to_string()).unwrap()).await.unwrap();
    };
    let (organization, domain) = (canary("organizationId"), canary("domainId"));
    create(Kind::Organization, json!({ "id": organization, "name": "x" })).await;
    create(Kind::Domain, json!({ "id": domain, "organizationId": organization, "name": "x" })).await;
    create(Kind::User, json!({ "id": canary("userId"), "organizationId": organization, "name": "x" })).await;
    create(Kind::Agent, json!({ "id": canary("agentId"), "organizationId": organization, "name": "x" }))
        .await;
    let task = json!({
        "id": "t1", "organizationId": organization, "domainId": domain, "userId": canary("userId"),
        "agentId": canary("agentId"), "name": canary("name"),
    });
    create(Kind::Task, task).await;
    let error = Fields::new().with("error", canary("error"));
    resources.transition(&me, &Which::new(Kind::Task, "t1"), Verb::Fail, error, None).await.unwrap();
}

async fn asked(sight: &Sight, principal: &Principal, query: &str) -> Value {
    let request = async_graphql::Request::new(query).data(principal.clone());
    serde_json::to_value(sight.schema.execute(request).await).unwrap()
}

#[tokio::test]
async fn no_canary_of_a_resource_is_seen_by_anybody_masked_and_all_by_those_who_are_spared() {
    let mut seen = 0;
    for action in [Action::Drop, Action::Null, Action::Hash, Action::Partial] {
        let (sight, masks) = (Sight::new(), masks(action));
        let resources = Resources::new(sight.hub.clone());
        fill(&resources).await;
        for (roles, is_masked) in READERS {
            let principal = principal(&masks, roles);
            for query in [
                format!("{{ tasks {{ nodes {{ {TASK} }} }} }}"),
                format!(
                    "{{ tasks {{ edges {{ cursor node {{ {TASK} }} }} pageInfo {{ startCursor endCursor }} asOf }} }}"
                ),
                format!(
                    r#"mutation {{ updateTask(id: "t1", changes: {{ description: "x" }}) {{ task {{ {TASK} }} }} }}"#
                ),
            ] {
                let answer = asked(&sight, &principal, &query).await;
                if query.starts_with("mutation") && is_masked {
                    // Whoever may not see a task's id cannot name it.
                    assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN", "{answer}");
                } else {
                    assert!(answer.get("errors").is_none(), "{answer}");
                }
                assert_eq!(answer.to_string().contains(CANARY), !is_masked, "{roles:?} {action:?}: {answer}");
                seen += 1;
            }
            let query = format!(
                "subscription {{ tasks(start: {{ earliest: true }}) {{ name error changed task {{ {TASK} }} }} }}"
            );
            let request = async_graphql::Request::new(query).data(principal.clone());
            let events: Vec<_> =
                timeout(DEADLINE, sight.schema.execute_stream(request).take(2).collect()).await.unwrap();
            for event in events {
                let event = serde_json::to_string(&event).unwrap();
                assert_eq!(event.contains(CANARY), !is_masked, "{roles:?} {action:?}: {event}");
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "{seen}");
}

#[tokio::test]
async fn nobody_selects_a_resource_by_what_is_masked_for_them() {
    let (sight, masks) = (Sight::new(), masks(Action::Hash));
    fill(&Resources::new(sight.hub.clone())).await;
    let masked = [
        (r#"tasks(organizationId: "ID") { asOf }"#, "organizationId", canary("organizationId")),
        (r#"tasks(domainId: "ID") { asOf }"#, "domainId", canary("domainId")),
        (r#"tasks(userId: "ID") { asOf }"#, "userId", canary("userId")),
        (r#"tasks(agentId: "ID") { asOf }"#, "agentId", canary("agentId")),
        (r#"tasks(status: "ID") { asOf }"#, "status", "failed".to_owned()),
        (r#"task(id: "ID") { version }"#, "taskId", "t1".to_owned()),
    ];
    for (field, named, right) in masked {
        for (roles, is_masked) in READERS {
            let principal = principal(&masks, roles);
            let wrong = if named == "status" { "started" } else { "wrong" };
            let hit = asked(&sight, &principal, &format!("{{ {} }}", field.replace("ID", &right))).await;
            let miss = asked(&sight, &principal, &format!("{{ {} }}", field.replace("ID", wrong))).await;
            if !is_masked {
                assert!(hit.get("errors").is_none(), "{field}: {hit}");
                continue;
            }
            assert_eq!(hit, miss, "{field}: right and wrong guesses must be refused alike");
            let extensions = &hit["errors"][0]["extensions"];
            assert_eq!(
                (&extensions["code"], &extensions["field"]),
                (&json!("FORBIDDEN"), &json!(named)),
                "{hit}"
            );
        }
    }
}

#[tokio::test]
async fn whoever_changes_what_is_masked_for_them_learns_nothing_of_it() {
    let policy = "[[masks]]\ntypes = ['*']\npath = 'data.status'\naction = 'null'\nroles = ['member']
        [[masks]]\ntypes = ['*']\npath = 'data.version'\naction = 'null'\nroles = ['member']
        [[masks]]\ntypes = ['*']\npath = 'data.name'\naction = 'hash'\nroles = ['member']";
    #[derive(serde::Deserialize)]
    struct Section {
        masks: Vec<fanfare::auth::MaskDraft>,
    }
    let drafts = toml::from_str::<Section>(policy).unwrap().masks;
    let masks = fanfare::auth::Masks::new(drafts, fanfare::auth::MaskKey::new([5; 32])).unwrap();
    let sight = Sight::new();
    let resources = Resources::new(sight.hub.clone());
    fill(&resources).await;
    let (member, task) = (principal(&masks, &["member"]), Which::new(Kind::Task, "t1"));

    let refusal = resources.transition(&member, &task, Verb::Start, Fields::new(), None).await.unwrap_err();
    assert!(!format!("{refusal:?}").contains("failed"), "{refusal:?}");
    let refusal =
        resources.update(&member, &task, Fields::new().with("name", "x"), Some(9)).await.unwrap_err();
    assert_eq!(refusal.detail("version"), None);
    assert!(!refusal.message.contains("version 2"), "{refusal}");
    // Whether the guess is right does not show in what changed.
    for name in [canary("name"), "wrong".to_owned(), "wrong".to_owned()] {
        let made = resources.update(&member, &task, Fields::new().with("name", name), None).await.unwrap();
        let event = made.resource.unwrap();
        let data: Value = serde_json::from_str(event.event().data().as_str()).unwrap();
        assert_eq!((&data["changed"], &data["version"]), (&json!(["name"]), &Value::Null));
    }
    let agent = Which::new(Kind::Agent, canary("agentId"));
    for _ in 0..2 {
        let status = Fields::new().with("status", "idle");
        assert!(resources.transition(&member, &agent, Verb::SetStatus, status, None).await.is_ok());
    }
}
