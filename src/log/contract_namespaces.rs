//! Keys by namespace: what one tenant publishes is neither a repeat nor a conflict for another, at no time of an event's life.

use super::{Kind, Subject, event as event_of, retention::keeping, run};
use crate::{
    event::{EventFilter, FilterDraft, NewEvent},
    log::{AppendError, Appended},
};
use serde_json::json;
use std::sync::Arc;

/// The event of this id with this number, published by an organization or by somebody who may publish everywhere.
fn event(id: &str, number: u32, organization: Option<&str>) -> NewEvent {
    let json =
        json!({ "id": id, "source": "/x", "type": "t", "organizationId": organization, "data": number });
    event_of(&json).in_namespace(organization.map(Into::into))
}

async fn appended(subject: &Subject, event: NewEvent) -> Result<Appended, AppendError> {
    subject.log.append(vec![event]).await.map(|appended| appended[0])
}

const NAMESPACES: [Option<&str>; 3] = [None, Some("a"), Some("b")];

/// Within each namespace a repeat is one and another body a conflict with its own first event.
async fn judge(subject: &Subject, firsts: &[Appended; 3]) {
    for (number, (namespace, first)) in NAMESPACES.into_iter().zip(firsts).enumerate() {
        let number = u32::try_from(number).unwrap();
        let again = appended(subject, event("same", number, namespace)).await.unwrap();
        assert_eq!(again, Appended { duplicate: true, ..*first }, "{namespace:?}");
        match appended(subject, event("same", 99, namespace)).await {
            Err(AppendError::Conflict { first: Some(cursor), .. }) => {
                assert_eq!(cursor, first.cursor, "{namespace:?}");
            }
            answer => panic!("{namespace:?}: {answer:?}"),
        }
    }
}

pub(super) fn the_keys_of_one_namespace_are_unknown_in_another(kind: Kind) {
    run(async {
        let subject = kind.open_as(keeping(Some(5), None, None));
        let together = (0..3).zip(NAMESPACES).map(|(number, namespace)| event("same", number, namespace));
        let firsts: [Appended; 3] = subject.log.append(together.collect()).await.unwrap().try_into().unwrap();
        assert_eq!(
            firsts.map(|first| (first.offset.get(), first.duplicate)),
            [(1, false), (2, false), (3, false)]
        );
        judge(&subject, &firsts).await;

        // A request that is taken back takes back its own keys only.
        let mine = event("taken back", 1, Some("a"));
        appended(&subject, event("taken back", 1, Some("b"))).await.unwrap();
        let refused = subject.log.append(vec![mine.clone(), event("same", 99, Some("a"))]).await;
        assert!(matches!(refused, Err(AppendError::Conflict { index: 1, .. })), "{refused:?}");
        assert!(!appended(&subject, mine).await.unwrap().duplicate);
        assert!(appended(&subject, event("taken back", 1, Some("b"))).await.unwrap().duplicate);

        for (organization, number) in [("a", "1"), ("b", "2")] {
            let draft = FilterDraft {
                organization_id: Some(vec![organization.to_owned()]),
                ..FilterDraft::default()
            };
            let filter = Arc::new(EventFilter::new(draft).unwrap());
            let found = subject.log.find("same".to_owned(), filter).await.unwrap().unwrap();
            assert_eq!(found.data().as_str(), number, "a newer one of another tenant does not hide it");
        }

        // What retention removed is remembered in its own namespace.
        for number in 0..10 {
            appended(&subject, event(&format!("later {number}"), 0, None)).await.unwrap();
        }
        subject.earliest(11).await;
        judge(&subject, &firsts).await;
    });
}
