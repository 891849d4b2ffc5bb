//! The rules of events that are shown and not stored.

use super::*;

fn kept(id: &str) -> Value {
    json!({ "id": id, "type": "task.created" })
}

fn transient(id: &str) -> Value {
    json!({ "id": id, "type": "task.progress", "persist": false })
}

fn ids(events: &[Arc<Event>]) -> Vec<&str> {
    events.iter().map(|event| event.id()).collect()
}

pub(super) fn transient_events_are_shown_in_their_place_and_never_stored(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        let mut answers = Vec::new();
        for request in [
            vec![transient("a")],
            vec![kept("b"), transient("c"), kept("d"), transient("e")],
            vec![transient("f"), transient("g")],
            // Its id is that of another: nothing is compared.
            vec![transient("f"), transient("b")],
            // Nor is a logged event compared with a transient one; this is none but a repeat, and a transient one behind it.
            vec![kept("b"), transient("h")],
            vec![kept("a")],
        ] {
            answers.extend(subject.append(&request).await.unwrap());
        }
        let offsets_of: Vec<u64> = answers.iter().map(|one| one.offset.get()).collect();
        assert_eq!(offsets_of, [0, 1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 3]);
        let repeats: Vec<usize> =
            (0..).zip(&answers).filter(|(_, one)| one.duplicate).map(|(at, _)| at).collect();
        assert_eq!(repeats, [9], "only the logged event is known again");

        let seen = subject.seen();
        assert_eq!(ids(&seen), ["a", "b", "c", "d", "e", "f", "g", "f", "b", "h", "a"]);
        assert!(seen.is_sorted_by(|one, next| one.rank() < next.rank()), "{seen:?}");
        answers.remove(9);
        for (event, answer) in seen.iter().zip(&answers) {
            assert_eq!((event.offset(), event.cursor()), (answer.offset, answer.cursor));
            assert_eq!(subject.log.epoch().open(event.cursor()), Ok(event.offset()));
            assert_eq!(event.rank().is_transient(), !event.is_persistent());
        }
        assert_ne!(seen[5].cursor(), seen[6].cursor(), "two positions must not tell that they are one");

        let stored: Vec<_> = seen.into_iter().filter(|event| event.is_persistent()).collect();
        assert_eq!(subject.all().await, stored);
        assert_eq!(subject.log.bounds().head, Offset::new(3));
        assert_eq!(subject.log.find("c".to_owned(), Arc::default()).await.unwrap(), None);
        let found = subject.log.find("a".to_owned(), Arc::default()).await.unwrap().unwrap();
        assert_eq!(found.offset(), Offset::new(3));
    });
}

pub(super) fn a_refused_request_shows_nothing_of_its_transient_events(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        subject.append(&[kept("a")]).await.unwrap();
        let other = json!({ "id": "a", "type": "task.failed" });
        let refused = subject.append(&[transient("b"), kept("c"), transient("d"), other]).await.unwrap_err();
        assert!(matches!(refused, AppendError::Conflict { index: 3, .. }), "{refused}");
        assert_eq!(subject.append(&[transient("e")]).await.unwrap()[0].offset, Offset::new(1));
        assert_eq!(ids(&subject.seen()), ["a", "e"]);
    });
}

pub(super) fn the_newest_rank_parts_what_was_from_what_comes(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        let mut parts = vec![(0, subject.log.newest())];
        for request in
            [vec![transient("a")], vec![kept("b")], vec![kept("c"), transient("d")], vec![transient("e")]]
        {
            subject.append(&request).await.unwrap();
            parts.push((subject.seen().len(), subject.log.newest()));
        }
        let seen = subject.seen();
        for (count, newest) in parts {
            assert!(seen[..count].iter().all(|event| event.rank() <= newest), "{newest:?}");
            assert!(seen[count..].iter().all(|event| event.rank() > newest), "{newest:?}");
        }
    });
}
