//! What retention may remove and what readers see of it.

use super::{pages::pages_agree, *};
use std::time::Duration;

pub(super) fn keeping(events: Option<u64>, bytes: Option<u64>, age: Option<Duration>) -> Opened {
    let retention = Retention { events, bytes, age, ..Retention::default() };
    Opened { retention, ..Opened::default() }
}

pub(super) fn each_limit_removes_from_the_front_and_the_last_event_stays(kind: Kind) {
    run(async {
        let subject = kind.open_as(keeping(Some(3), None, None));
        for count in [1, 2, 1, 200] {
            subject.log.append(events(count)).await.unwrap();
        }
        subject.earliest(202).await;
        assert_eq!(offsets(&subject.all().await), [202, 203, 204]);
        assert_eq!(offsets(&subject.seen()).len(), 204);

        // An event counts a few hundred bytes at least, so two of 5,000 bytes are too much and one is not.
        let subject = kind.open_as(keeping(None, Some(8_000), None));
        let large = json!({ "type": "t", "data": "x".repeat(5_000) });
        for last in 1..=4 {
            subject.append(std::slice::from_ref(&large)).await.unwrap();
            subject.earliest(last).await;
        }
        let huge = json!({ "type": "t", "data": "x".repeat(50_000) });
        subject.append(&[huge]).await.unwrap();
        subject.earliest(5).await;
        assert_eq!(offsets(&subject.all().await), [5]);

        let subject = kind.open_as(keeping(None, None, Some(Duration::from_millis(1))));
        subject.log.append(events(50)).await.unwrap();
        subject.earliest(50).await;
        subject.log.append(events(1)).await.unwrap();
        subject.earliest(51).await;
        assert_eq!(subject.log.append(events(1)).await.unwrap()[0].offset.get(), 52);
    });
}

pub(super) fn the_ends_of_a_log_are_told_apart(kind: Kind) {
    run(async {
        let subject = kind.open_with_last(events(200), 60).await;
        let earliest = 141;
        let page = subject.log.read(rising(Offset::new(earliest - 1), 1_000)).await.unwrap();
        assert_eq!((page.events.len(), page.is_last), (60, true));
        let gone = subject.log.read(rising(Offset::new(earliest - 2), 1_000)).await.unwrap_err();
        assert!(matches!(gone, ReadError::Expired { earliest: at } if at.get() == earliest), "{gone}");
        let page = subject.log.read(rising(Offset::new(200), 1_000)).await.unwrap();
        assert_eq!((page.events.len(), page.through.get(), page.is_last), (0, 200, true));
        let removed = subject.seen()[0].id().to_owned();
        assert_eq!(subject.log.find(removed, Arc::default()).await.unwrap(), None);
        let kept = subject.seen()[140].id().to_owned();
        assert_eq!(subject.log.find(kept, Arc::default()).await.unwrap().unwrap().offset().get(), earliest);
    });
}

pub(super) fn a_key_outlives_its_event_for_its_window_and_no_longer(kind: Kind) {
    run(async {
        let a =
            json!({ "id": "a", "source": "/x", "type": "t", "data": { "n": 1 }, "attributes": { "x": 1 } });
        let other =
            json!({ "id": "a", "source": "/x", "type": "t", "data": { "n": 2 }, "attributes": { "x": 1 } });
        let subject = kind.open_as(keeping(Some(1), None, None));
        let first = subject.append(std::slice::from_ref(&a)).await.unwrap();
        subject.log.append(events(2)).await.unwrap();
        subject.earliest(3).await;
        let again = subject.append(std::slice::from_ref(&a)).await.unwrap();
        assert_eq!((again[0].cursor, again[0].duplicate), (first[0].cursor, true));
        match subject.append(&[json!({ "type": "t" }), other]).await {
            Err(AppendError::Conflict { index: 1, first: Some(at), .. }) => assert_eq!(at, first[0].cursor),
            answer => panic!("{answer:?}"),
        }
        let elsewhere = json!({ "id": "a", "source": "/y", "type": "t" });
        assert!(!subject.append(&[elsewhere]).await.unwrap()[0].duplicate);

        let mut opened = keeping(Some(1), None, None);
        opened.retention.keys = Duration::from_millis(5);
        let subject = kind.open_as(opened);
        subject.append(std::slice::from_ref(&a)).await.unwrap();
        // The window has to end, however often the key is asked for.
        while subject.append(std::slice::from_ref(&a)).await.unwrap()[0].duplicate {
            subject.log.append(events(1)).await.unwrap();
        }
        assert_eq!(subject.log.find("a".to_owned(), Arc::default()).await.unwrap().unwrap().id(), "a");
    });
}

pub(super) fn pages_agree_with_a_naive_reading_after_retention(kind: Kind) {
    run(pages_agree(kind, Some(75)));
}

/// Follows the log from its earliest event; gives how often it had to begin anew.
async fn follow(log: Arc<dyn Log>, until: u64, events_max: usize) -> usize {
    let (mut after, mut begun) = (log.bounds().earliest.previous(), 0);
    while after.get() < until {
        match log.read(rising(after, events_max)).await {
            Ok(page) => {
                let expected: Vec<u64> = (after.get() + 1..=page.through.get()).collect();
                assert_eq!(offsets(&page.events), expected, "a hole");
                after = page.through;
            }
            Err(ReadError::Expired { earliest }) => {
                assert!(earliest > after.next(), "{earliest:?} was not gone for {after:?}");
                assert!(earliest <= log.bounds().earliest.max(log.bounds().head));
                (after, begun) = (earliest.previous(), begun + 1);
            }
            Err(error) => panic!("{error}"),
        }
        // A log in memory answers without a pause.
        tokio::task::yield_now().await;
        let falling = log.read(falling(Offset::new(u64::MAX), 5)).await.unwrap();
        let own = offsets(&falling.events);
        assert!(own.windows(2).all(|pair| pair[0] == pair[1] + 1), "{own:?}");
        assert!(!own.is_empty() || after == Offset::ZERO, "the last event always stays");
    }
    begun
}

pub(super) fn readers_get_every_event_or_expired_while_retention_runs_at_full_speed(kind: Kind) {
    run(async {
        let subject = kind.open_as(keeping(Some(300), None, None));
        let until = 12_000;
        let readers: Vec<_> = [20, 100, 1_000]
            .map(|events_max| tokio::spawn(follow(Arc::clone(&subject.log), until, events_max)))
            .into();
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let log = Arc::clone(&subject.log);
                tokio::spawn(async move {
                    for _ in 0..60 {
                        log.append(events(50)).await.unwrap();
                        let bounds = log.bounds();
                        // Removing keeps up: never more than what came since it last had its turn.
                        assert!(bounds.head.get() - bounds.earliest.get() < 300 + 4_096);
                    }
                })
            })
            .collect();
        for task in writers {
            task.await.unwrap();
        }
        for reader in readers {
            reader.await.unwrap();
        }
        subject.earliest(until - 299).await;
    });
}
