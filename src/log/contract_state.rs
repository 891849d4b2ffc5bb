//! What is kept beside the events: whole or not at all, in the order in which it was decided, and as of one moment.

use super::{
    pages::{granted_filters, logged_events},
    *,
};
use crate::event::ScopeField;
use proptest::{strategy::ValueTree, test_runner::TestRunner};
use std::collections::BTreeMap;

const ORGANIZATIONS: [&str; 4] = ["", "acme", "none", "quant"];

pub(in crate::log) fn key(kind: &str, organization: &str, id: &str) -> StateKey {
    StateKey::new(kind, Some(organization).filter(|id| !id.is_empty()), id).unwrap()
}

/// An event that announces a key: its type is of the key's kind, its subject the id.
pub(in crate::log) fn announcing(key: &StateKey, action: &str, data: &Value) -> NewEvent {
    let organization = Some(key.organization()).filter(|id| !id.is_empty());
    event(
        &json!({ "type": format!("{}.{action}", key.kind()), "subject": key.id(), "organizationId": organization,
                   "data": data }),
    )
}

/// Keeps a number under a key.
fn keep(key: &StateKey, number: u64) -> Change {
    Change::new().keep(key.clone(), announcing(key, "updated", &json!(number)), Vec::new())
}

pub(in crate::log) fn number(event: &Event) -> u64 {
    event.data().as_str().parse().unwrap()
}

pub(in crate::log) fn decide(
    decide: impl FnOnce(&mut dyn State) -> Result<Change, Refusal> + Send + 'static,
) -> Decide {
    Box::new(decide)
}

/// Puts the next number under a key, 1 first.
fn count_up(key: &StateKey) -> Decide {
    let key = key.clone();
    decide(move |state| {
        let last = state.get(&key)?.map_or(0, |event| number(&event));
        assert_eq!(state.is_free(&key)?, last == 0);
        Ok(keep(&key, last + 1))
    })
}

pub(in crate::log) fn every(kind: &str) -> StateRead {
    StateRead {
        kind: kind.into(),
        organization: None,
        id: None,
        filter: Arc::default(),
        after: None,
        events_max: 10_000,
        bytes_max: usize::MAX,
    }
}

impl Subject {
    async fn change(&self, change: Change) -> Result<Changed, AppendError> {
        self.log.change(decide(move |_| Ok(change)), 0).await
    }

    /// All that is kept of a kind.
    async fn kept(&self, kind: &str) -> Vec<(StateKey, u64)> {
        let mut read = every(kind);
        let mut all = Vec::new();
        loop {
            let page = self.log.state(read.clone()).await.unwrap();
            all.extend(page.kept.iter().map(|kept| (kept.key.clone(), number(&kept.event))));
            match page.next {
                None => return all,
                next => read.after = next,
            }
        }
    }
}

pub(super) fn what_is_kept_is_the_latest_event_of_its_key(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        let (a, theirs, none) =
            (key("agent", "quant", "a"), key("agent", "acme", "a"), key("agent", "", "a"));
        for (number, key) in [(1, &a), (2, &theirs), (3, &a), (4, &none)] {
            let changed = subject.change(keep(key, number)).await.unwrap();
            assert!(!changed.is_repeat);
            assert_eq!(changed.events[0], subject.seen()[usize::try_from(number).unwrap() - 1]);
        }
        assert_eq!(subject.kept("agent").await, [(none.clone(), 4), (theirs.clone(), 2), (a.clone(), 3)]);
        assert_eq!(subject.kept("task").await, []);
        let page = subject.log.state(every("agent")).await.unwrap();
        assert_eq!(page.kept[2].event, subject.seen()[2]);
        assert_eq!(page.head.get(), 4);

        subject.change(Change::new().remove(a.clone(), announcing(&a, "deleted", &json!(5)))).await.unwrap();
        assert_eq!(subject.kept("agent").await, [(none.clone(), 4), (theirs.clone(), 2)]);
        // A key that is free again is as one that never was.
        let seen = decide(move |state| {
            assert!(state.is_free(&a)? && state.get(&a)?.is_none() && !state.is_free(&theirs)?);
            let both = keep(&a, 6).remove(theirs.clone(), announcing(&theirs, "deleted", &json!(7)));
            Ok(both.announce(event(&json!({ "type": "x", "data": 8 }))))
        });
        let changed = subject.log.change(seen, 0).await.unwrap();
        assert_eq!(offsets(&changed.events), [6, 7, 8]);
        assert_eq!(subject.kept("agent").await, [(none, 4), (key("agent", "quant", "a"), 6)]);
        assert_eq!(subject.all().await, subject.seen());
        // The places of what is kept are right though transient events stand in front and have none of their own.
        let transient = || event(&json!({ "type": "x.progress", "persist": false }));
        let own = key("agent", "quant", "a");
        let updated = announcing(&own, "updated", &json!(9));
        let mixed = Change::new().announce(transient()).keep(own, updated, Vec::new()).announce(transient());
        let changed = subject.change(mixed).await.unwrap();
        assert_eq!(offsets(&changed.events), [8, 9, 9]);
        assert_eq!(subject.seen()[8..], changed.events);
        let kept = subject.log.state(every("agent")).await.unwrap().kept;
        assert_eq!(kept[1].event, changed.events[1]);
        assert_eq!(offsets(&subject.change(Change::new().announce(transient())).await.unwrap().events), [9]);
        // What is not kept of an event is still an event.
        assert_eq!(subject.change(Change::new()).await.unwrap().events, []);
        assert_eq!(subject.log.bounds().head.get(), 9);
    });
}

pub(super) fn what_refuses_a_change_leaves_nothing_of_it(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        let (a, b) = (key("agent", "quant", "a"), key("agent", "quant", "b"));
        subject.change(keep(&a, 1)).await.unwrap();
        subject.append(&[json!({ "id": "taken", "type": "t" })]).await.unwrap();
        let taken = |data: Value| event(&json!({ "id": "taken", "type": "t", "data": data }));
        let change = || keep(&a, 2).keep(b.clone(), announcing(&b, "created", &json!(2)), vec![a.clone()]);

        let refused = decide(|_| Err(Refusal::new(Code::Conflict, "no").with("given", "7")));
        match subject.log.change(refused, 0).await {
            Err(AppendError::Refused(refusal)) => {
                assert_eq!((refusal.code, refusal.detail("given")), (Code::Conflict, Some("7")));
            }
            answer => panic!("{answer:?}"),
        }
        let conflict = subject.change(change().announce(taken(json!(1)))).await;
        assert!(matches!(conflict, Err(AppendError::Conflict { index: 2, .. })), "{conflict:?}");
        let code = |answer: Result<Changed, AppendError>| answer.unwrap_err().refusal().code;
        let panicking = subject.log.change(decide(|_| panic!("as the test asked for")), 0).await;
        assert_eq!(code(panicking), Code::Internal);
        // A part of it was logged before.
        assert_eq!(code(subject.change(change().announce(taken(Value::Null))).await), Code::Conflict);
        let elsewhere =
            Change::new().keep(b.clone(), announcing(&key("agent", "acme", "b"), "c", &json!(1)), vec![]);
        assert_eq!(code(subject.change(elsewhere).await), Code::Internal);
        let transient = event(&json!({ "type": "agent.c", "organizationId": "quant", "persist": false }));
        let passing = Change::new().keep(b.clone(), transient, vec![]);
        assert_eq!(code(subject.change(passing).await), Code::Internal);
        assert_eq!(
            code(subject.change(keep(&b, 1).remove(b.clone(), announcing(&b, "d", &json!(1)))).await),
            Code::Internal
        );

        assert_eq!(subject.kept("agent").await, [(a.clone(), 1)]);
        assert_eq!((subject.log.bounds().head.get(), subject.log.health()), (2, Health::Writable));
        assert_eq!(subject.seen().len(), 2);
        let referrer = a.clone();
        let none = decide(move |state| {
            assert_eq!(state.referrer(&referrer)?, None);
            Ok(Change::new())
        });
        subject.log.change(none, 0).await.unwrap();
        let changed = subject.change(change()).await.unwrap();
        assert_eq!(offsets(&changed.events), [3, 4]);
    });
}

pub(super) fn a_change_that_was_made_is_not_made_again(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        let a = key("agent", "quant", "a");
        let announced = |id: &str, number: u64| {
            event(&json!({ "id": id, "type": "agent.updated", "organizationId": "quant", "data": number,
                           "time": "2026-01-01T00:00:00Z" }))
        };
        let first = || subject.change(Change::new().keep(a.clone(), announced("1", 1), vec![]));
        let made = first().await.unwrap();
        subject.change(Change::new().keep(a.clone(), announced("2", 2), vec![])).await.unwrap();
        let again = first().await.unwrap();
        assert!(!made.is_repeat && again.is_repeat);
        assert_eq!(again.events, made.events);
        assert_eq!(subject.kept("agent").await, [(a.clone(), 2)]);
        assert_eq!((subject.seen().len(), subject.log.bounds().head.get()), (2, 2));
    });
}

pub(super) fn the_changes_of_one_batch_see_each_other(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        let (a, b) = (key("agent", "quant", "a"), key("agent", "quant", "b"));
        // The first one holds the batch of the others up until they all wait.
        let (begun, begins) = std::sync::mpsc::channel::<()>();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let first = decide({
            let a = a.clone();
            move |_| {
                begun.send(()).unwrap();
                wait.recv().unwrap();
                Ok(keep(&a, 1))
            }
        });
        let ask = |decide: Decide| {
            let log = Arc::clone(&subject.log);
            let mut asked = Box::pin(async move { log.change(decide, 0).await });
            assert!(futures_util::FutureExt::now_or_never(asked.as_mut()).is_none());
            asked
        };
        let first = ask(first);
        begins.recv().unwrap();
        let up = || ask(count_up(&a));
        let (one, two) = (up(), up());
        let refused = ask(decide(|_| Err(Refusal::new(Code::NotFound, "no"))));
        let panicked = ask(decide(|_| panic!("as the test asked for")));
        let conflicting = ask({
            let (a, id) = (a.clone(), event(&json!({ "id": "same", "type": "t" })));
            let other = event(&json!({ "id": "same", "type": "u" }));
            decide(move |_| Ok(keep(&a, 1_000).announce(id).announce(other)))
        });
        let removed = ask({
            let (a, b) = (a.clone(), b.clone());
            decide(move |state| {
                assert_eq!(state.get(&a)?.map(|event| number(&event)), Some(3));
                let deleted = announcing(&a, "deleted", &json!(0));
                Ok(Change::new().remove(a.clone(), deleted).keep(
                    b.clone(),
                    announcing(&b, "c", &json!(9)),
                    vec![a],
                ))
            })
        });
        let again = up();
        let found = ask({
            let (a, b) = (a.clone(), b.clone());
            decide(move |state| {
                assert_eq!(state.referrer(&a)?, Some(b));
                Ok(Change::new())
            })
        });
        go.send(()).unwrap();
        for asked in [first, one, two, removed, again, found] {
            asked.await.unwrap();
        }
        assert_eq!(refused.await.unwrap_err().refusal().code, Code::NotFound);
        assert_eq!(panicked.await.unwrap_err().refusal().code, Code::Internal);
        assert!(matches!(conflicting.await, Err(AppendError::Conflict { index: 2, first: None, .. })));
        assert_eq!(subject.kept("agent").await, [(a, 1), (b, 9)]);
        let batches: Vec<usize> = subject.seen.lock().unwrap().iter().map(|batch| batch.len()).collect();
        assert_eq!(batches, [1, 5]);
    });
}

pub(super) fn many_who_change_one_key_lose_no_change(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        let (a, b) = (key("agent", "quant", "a"), key("agent", "acme", "a"));
        let changers = (0..16).map(|changer| {
            let (log, key) = (Arc::clone(&subject.log), if changer % 2 == 0 { a.clone() } else { b.clone() });
            tokio::spawn(async move {
                for _ in 0..25 {
                    log.change(count_up(&key), 0).await.unwrap();
                    log.append(events(1)).await.unwrap();
                }
            })
        });
        for changer in futures_util::future::join_all(changers).await {
            changer.unwrap();
        }
        assert_eq!(subject.kept("agent").await, [(b, 200), (a.clone(), 200)]);
        let versions: Vec<u64> = subject
            .seen()
            .iter()
            .filter(|event| event.scope().get(ScopeField::Organization) == Some("quant"))
            .map(|event| number(event))
            .collect();
        assert_eq!(versions, (1..=200).collect::<Vec<_>>());
    });
}

pub(super) fn a_reference_is_found_as_long_as_it_is_kept(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        let organization = key("organization", "quant", "quant");
        let (a, b) = (key("agent", "quant", "a"), key("agent", "quant", "b"));
        let other = key("organization", "acme", "quant");
        let needs = |own: &StateKey, references: &[&StateKey]| {
            let references = references.iter().map(|key| (*key).clone()).collect();
            subject.change(Change::new().keep(own.clone(), announcing(own, "updated", &json!(1)), references))
        };
        let referrer = |of: &StateKey| {
            let (found, of, log) = (Arc::new(Mutex::new(None)), of.clone(), Arc::clone(&subject.log));
            let to = Arc::clone(&found);
            async move {
                let asking = decide(move |state| {
                    *to.lock().unwrap() = state.referrer(&of)?;
                    Ok(Change::new())
                });
                log.change(asking, 0).await.unwrap();
                found.lock().unwrap().take()
            }
        };
        needs(&organization, &[]).await.unwrap();
        assert_eq!(referrer(&organization).await, None);
        needs(&b, &[&organization, &organization]).await.unwrap();
        assert_eq!(referrer(&organization).await, Some(b.clone()));
        needs(&a, &[&organization, &b, &other]).await.unwrap();
        assert_eq!(referrer(&organization).await, Some(a.clone()), "the first in order");
        assert_eq!(referrer(&b).await, Some(a.clone()));
        assert_eq!(referrer(&key("organization", "", "quant")).await, None);
        needs(&a, &[&other]).await.unwrap();
        assert_eq!((referrer(&organization).await, referrer(&b).await), (Some(b.clone()), None));
        assert_eq!(referrer(&other).await, Some(a.clone()));
        subject.change(Change::new().remove(b.clone(), announcing(&b, "deleted", &json!(1)))).await.unwrap();
        assert_eq!(referrer(&organization).await, None);
    });
}

pub(super) fn what_is_kept_outlives_its_event_in_the_log(kind: Kind) {
    run(async {
        let retention = Retention { events: Some(3), ..Retention::default() };
        let subject = kind.open_as(Opened { retention, ..Opened::default() });
        let (a, b) = (key("agent", "quant", "a"), key("agent", "quant", "b"));
        for own in [&a, &b, &b] {
            subject.log.change(count_up(own), 0).await.unwrap();
        }
        subject.log.append(events(200)).await.unwrap();
        subject.earliest(201).await;
        let page = subject.log.state(every("agent")).await.unwrap();
        let kept: Vec<_> = page.kept.iter().map(|kept| Arc::clone(&kept.event)).collect();
        assert_eq!(
            (kept, page.head.get()),
            (vec![subject.seen()[0].clone(), subject.seen()[2].clone()], 203)
        );
        subject.log.change(count_up(&b), 0).await.unwrap();
        assert_eq!(subject.kept("agent").await, [(a, 1), (b, 3)]);
    });
}

/// What should be kept, by replaying what was logged.
fn folded(events: &[Arc<Event>], head: Offset) -> BTreeMap<StateKey, Arc<Event>> {
    let mut kept = BTreeMap::new();
    for event in events.iter().filter(|event| event.offset() <= head) {
        let (kind, action) = event.event_type().as_str().split_once('.').unwrap();
        let Some(id) = event.subject() else { continue };
        let key = key(kind, event.scope().get(ScopeField::Organization).unwrap_or_default(), id);
        match action {
            "deleted" => drop(kept.remove(&key)),
            _ => drop(kept.insert(key, Arc::clone(event))),
        }
    }
    kept
}

pub(super) fn a_page_is_as_of_its_head_while_others_write_at_full_speed(kind: Kind) {
    run(async {
        let subject = kind.open(1_000);
        let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (log, is_over) = (Arc::clone(&subject.log), Arc::clone(&is_over));
                tokio::spawn(async move {
                    let mut round = 0;
                    while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                        let own = key("agent", ["quant", "acme"][writer % 2], &format!("a{}", round % 7));
                        let change = match round % 5 {
                            4 => {
                                Change::new().remove(own.clone(), announcing(&own, "deleted", &json!(round)))
                            }
                            _ => keep(&own, round),
                        };
                        log.change(decide(move |_| Ok(change)), 0).await.unwrap();
                        round += 1;
                    }
                })
            })
            .collect();
        let mut last = Offset::ZERO;
        while last.get() < 500 {
            let page = subject.log.state(every("agent")).await.unwrap();
            // Whoever is told the head may ask for what comes after it.
            assert!(subject.log.bounds().head >= page.head && page.head >= last);
            let after = subject.log.read(rising(page.head, 1)).await.unwrap();
            assert!(after.through >= page.head);
            last = page.head;
            // The observer is called after the bounds are published.
            while subject.seen().last().map_or(Offset::ZERO, |event| event.offset()) < page.head {
                tokio::task::yield_now().await;
            }
            let kept: BTreeMap<_, _> = page.kept.into_iter().map(|kept| (kept.key, kept.event)).collect();
            assert_eq!(kept, folded(&subject.seen(), page.head));
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

/// Events under keys of two kinds, with the organizations and scopes of the events of pages; later ones replace earlier ones
/// or remove them.
fn changes(runner: &mut TestRunner) -> Vec<(StateKey, Option<NewEvent>)> {
    let events = logged_events().new_tree(runner).unwrap().current();
    let strategy = (0..2_usize, 0..12_usize, 0..10_usize, 0..3_usize);
    let one = |event: NewEvent, runner: &mut TestRunner| {
        let (of_kind, id, action, domain) = strategy.new_tree(runner).unwrap().current();
        let organization = event.scope().get(ScopeField::Organization).unwrap_or_default().to_owned();
        let own = key(["agent", "task"][of_kind], &organization, &format!("i{id}"));
        let event = match domain {
            0 => event,
            number => event.or_scope(ScopeField::Domain, &format!("d{number}")).unwrap(),
        };
        (own, (action > 1).then_some(event))
    };
    events.into_iter().map(|event| one(event, runner)).collect()
}

fn state_reads() -> impl Strategy<Value = StateRead> {
    let id = prop::option::weighted(0.25, (0..14_usize).prop_map(|id| format!("i{id}").into_boxed_str()));
    let organization = prop::option::weighted(0.3, prop::sample::select(&ORGANIZATIONS[..]));
    let domain = prop::option::weighted(0.3, prop::sample::select(&["d1", "d2", "d3"][..]));
    let most = (prop_oneof![0..8_usize, Just(1_000)], prop_oneof![0..90_usize, Just(usize::MAX)]);
    let of_kind = prop::sample::select(&["agent", "task", "tas", "unknown"][..]);
    (of_kind, organization, id, domain, granted_filters(), most).prop_map(
        |(of_kind, organization, id, domain, filter, (events_max, bytes_max))| StateRead {
            kind: of_kind.into(),
            organization: organization.map(Into::into),
            id,
            filter: match domain {
                Some(domain) => {
                    Arc::new(EventFilter::clone(&filter).with_scope(ScopeField::Domain, domain).unwrap())
                }
                None => filter,
            },
            after: None,
            events_max,
            bytes_max,
        },
    )
}

pub(super) fn pages_of_the_state_agree_with_a_naive_reading(kind: Kind) {
    run(async {
        let mut runner = TestRunner::deterministic();
        let changes = changes(&mut runner);
        let mut subjects = Vec::new();
        let mut expected: BTreeMap<StateKey, NewEvent> = BTreeMap::new();
        for scan_max in [1, 3, 10, 10_000] {
            let subject = kind.open(scan_max);
            for (own, event) in &changes {
                let change = match event.clone() {
                    Some(event) => Change::new().keep(own.clone(), event, Vec::new()),
                    None => Change::new().remove(own.clone(), announcing(own, "deleted", &Value::Null)),
                };
                subject.change(change).await.unwrap();
            }
            subjects.push((subject, scan_max));
        }
        for (own, event) in changes {
            match event {
                Some(event) => drop(expected.insert(own, event)),
                None => drop(expected.remove(&own)),
            }
        }
        assert!(expected.len() > 40);
        let strategy = (0..subjects.len(), state_reads());
        for _ in 0..1_500 {
            let (index, read) = strategy.new_tree(&mut runner).unwrap().current();
            let (subject, scan_max) = &subjects[index];
            agrees(subject, &expected, read, *scan_max).await;
        }
    });
}

/// Reads page by page what the naive reading finds by looking at every key.
async fn agrees(
    subject: &Subject,
    expected: &BTreeMap<StateKey, NewEvent>,
    mut read: StateRead,
    scan_max: usize,
) {
    let is_asked_for = |key: &StateKey, event: &NewEvent| {
        key.kind() == &*read.kind
            && read.organization.as_deref().is_none_or(|organization| key.organization() == organization)
            && read.id.as_deref().is_none_or(|id| key.id() == id)
            && read.filter.matches(event)
    };
    let matching = expected.iter().filter(|(key, event)| is_asked_for(key, event));
    let expected: Vec<_> = matching.map(|(key, event)| (key.clone(), event.clone())).collect();
    let mut found = Vec::new();
    loop {
        let page = subject.log.state(read.clone()).await.unwrap();
        let size: usize = page.kept.iter().map(|kept| kept.event.data().as_str().len()).sum();
        assert!(page.kept.len() <= read.events_max.max(1).min(scan_max));
        assert!(size <= read.bytes_max || page.kept.len() == 1);
        found.extend(page.kept.into_iter().map(|kept| (kept.key, (**kept.event).clone())));
        assert_eq!(page.head, subject.log.bounds().head);
        let Some(next) = page.next else { break };
        assert!(read.after.as_ref() < Some(&next), "the page must get on");
        assert!(found.last().is_none_or(|(key, _)| *key <= next));
        read.after = Some(next);
    }
    assert_eq!(found, expected, "{read:?}");
}

pub(super) fn a_tenants_page_looks_at_no_other_tenants_keys(kind: Kind) {
    run(async {
        let subject = kind.open(6);
        for organization in ["acme", "none", "quant"] {
            let all = (0..40).map(|number| key("agent", organization, &format!("a{number:02}")));
            let change = all.fold(Change::new(), |change, own| {
                let updated = announcing(&own, "updated", &json!(1));
                change.keep(own, updated, Vec::new())
            });
            subject.change(change).await.unwrap();
        }
        // Six keys are looked at for a page, so it is full only if each of them is one of its own.
        let of = |organizations: &[&str], id: Option<&str>| {
            let filter = json!({ "organizationId": organizations }).to_string();
            let filter = EventFilter::new(json::read::<FilterDraft>(&filter).unwrap()).unwrap();
            let read = StateRead { filter: Arc::new(filter), id: id.map(Into::into), ..every("agent") };
            let log = Arc::clone(&subject.log);
            async move { log.state(read).await.unwrap() }
        };
        let ids = |page: &StatePage| page.kept.iter().map(|kept| kept.key.clone()).collect::<Vec<_>>();
        let page = of(&["quant"], None).await;
        assert_eq!(
            ids(&page),
            (0..6).map(|id| key("agent", "quant", &format!("a0{id}"))).collect::<Vec<_>>()
        );
        assert_eq!(page.next, Some(key("agent", "quant", "a05")));
        let page = of(&["quant", "acme"], Some("a17")).await;
        assert_eq!(ids(&page), ["acme", "quant"].map(|organization| key("agent", organization, "a17")));
        assert_eq!(page.next, None);
    });
}
