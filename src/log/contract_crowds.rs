//! The rules that show only when many use the log at once.

use super::*;
use futures_util::future::join_all;

pub(super) fn a_closed_log_takes_nothing_and_had_committed_what_waited(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        assert_eq!(subject.log.health(), Health::Writable);
        let appends = join_all((0..20).map(|_| {
            let log = Arc::clone(&subject.log);
            tokio::spawn(async move { log.append(events(2)).await })
        }));
        let answers = appends.await;
        subject.log.close().await;
        subject.log.close().await;
        let logged = answers.iter().filter(|answer| matches!(answer, Ok(Ok(_)))).count();
        assert_eq!((logged, subject.seen().len()), (20, 40));
        let late = subject.log.append(events(1)).await.unwrap_err();
        assert!(matches!(&late, AppendError::Stopped { .. }));
        assert_eq!(late.refusal().code, Code::Unavailable);
        assert_eq!(subject.seen().len(), 40);
    });
}

pub(super) fn many_publishers_get_distinct_contiguous_offsets_in_the_observers_order(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        let publishers = (0..40).map(|_| {
            let log = Arc::clone(&subject.log);
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for count in [1, 3, 1, 2] {
                    let events = events(count);
                    let ids: Vec<String> = events.iter().map(|event| event.id().to_owned()).collect();
                    let appended = log.append(events).await.unwrap();
                    mine.extend(appended.iter().map(|one| one.offset.get()).zip(ids));
                }
                assert!(mine.is_sorted());
                mine
            })
        });
        let mut all: Vec<_> = join_all(publishers).await.into_iter().flat_map(Result::unwrap).collect();
        all.sort_unstable();
        let seen = subject.seen();
        assert_eq!(offsets(&seen), (1..=280).collect::<Vec<_>>());
        assert_eq!(
            seen.iter().map(|event| (event.offset().get(), event.id().to_owned())).collect::<Vec<_>>(),
            all
        );
        assert_eq!(subject.all().await, seen);
    });
}

pub(super) fn a_reader_among_writers_misses_nothing(kind: Kind) {
    run(async {
        let subject = kind.open(16);
        let writers = (0..8).map(|_| {
            let log = Arc::clone(&subject.log);
            tokio::spawn(async move {
                for _ in 0..20 {
                    log.append(events(3)).await.unwrap();
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        let mut after = 0;
        while after < 8 * 20 * 3 {
            let page = subject.log.read(rising(Offset::new(after), 50)).await.unwrap();
            assert_eq!(offsets(&page.events), (after + 1..=page.through.get()).collect::<Vec<_>>());
            assert!(page.through <= subject.log.bounds().head);
            assert!(page.is_last || page.through.get() > after);
            after = page.through.get();
        }
        for writer in writers {
            writer.await.unwrap();
        }
        let before = falling(Offset::new(after + 1), 1_000);
        assert_eq!(subject.log.read(before).await.unwrap().events[0].offset().get(), after);
    });
}
