//! The pipeline over a log in memory: positions at their edges, tails against what was published, history against a list.

use super::*;
use crate::{
    auth::{Credential, Grant, View},
    bus,
    event::{Batch, Draft, Epoch, Family, FilterDraft, Rule, ScopeField, StartPosition},
    log::{MemoryLog, MemoryOptions},
};
use futures_util::StreamExt;
use proptest::prelude::*;
use std::sync::Mutex;

fn hub(ring_batches_max: usize, events_max: Option<usize>) -> Hub {
    watched_hub(ring_batches_max, events_max).0
}

/// A hub, and what its log has shown, in order.
fn watched_hub(ring_batches_max: usize, events_max: Option<usize>) -> (Hub, Arc<Mutex<Vec<Arc<Event>>>>) {
    let bus = Bus::new(&bus::Options { ring_batches_max });
    let ring = bus.clone();
    let options = MemoryOptions { events_max, ..MemoryOptions::default() };
    let shown = Arc::<Mutex<Vec<_>>>::default();
    let to = Arc::clone(&shown);
    let on_commit = move |batch: Batch| {
        to.lock().unwrap().extend(batch.iter().cloned());
        ring.publish(batch);
    };
    let log = MemoryLog::open(options, Box::new(on_commit));
    (Hub::new(Arc::new(log), bus, Metrics::new(), Limits::default()), shown)
}

fn event(event_type: &str, id: usize) -> NewEvent {
    let draft = Draft { event_type: event_type.to_owned(), id: Some(id.to_string()), ..Draft::default() };
    NewEvent::new(draft, &Limits::default()).unwrap()
}

/// Every third one is not kept.
fn mixed(ids: std::ops::Range<usize>) -> Vec<NewEvent> {
    let draft = |id: usize| Draft {
        event_type: "task.progress".to_owned(),
        id: Some(id.to_string()),
        persist: Some(is_kept(id)),
        ..Draft::default()
    };
    ids.map(|id| NewEvent::new(draft(id), &Limits::default()).unwrap()).collect()
}

fn is_kept(id: usize) -> bool {
    !id.is_multiple_of(3)
}

async fn publish(hub: &Hub, ids: std::ops::Range<usize>) {
    for id in ids {
        let event_type = if id.is_multiple_of(2) { "task.created" } else { "agent.created" };
        hub.publish(&Principal::anonymous(), vec![event(event_type, id)]).await.unwrap();
    }
}

async fn locate(hub: &Hub, start: StartPosition) -> Result<Option<u64>, Code> {
    let located = hub.locate(&Principal::anonymous(), &EventFilter::default(), &start).await;
    located.map(|offset| offset.map(Offset::get)).map_err(|refusal| refusal.code)
}

async fn take(tail: &mut Tail, count: usize) -> Vec<usize> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.extend(ids(&tail.next().await.unwrap().unwrap()));
    }
    taken
}

fn ids(events: &[Arc<Event>]) -> Vec<usize> {
    events.iter().map(|event| event.id().parse().unwrap()).collect()
}

#[tokio::test]
async fn a_cursor_is_judged_exactly_at_the_ends_of_the_log() {
    let hub = hub(16, Some(10));
    publish(&hub, 0..30).await;
    let Bounds { earliest, head } = hub.bounds();
    assert_eq!((earliest.get(), head.get()), (21, 30));
    let after = |offset| StartPosition::After(hub.position(Offset::new(offset)));
    assert_eq!(locate(&hub, after(19)).await, Err(Code::CursorExpired));
    assert_eq!(locate(&hub, after(20)).await, Ok(Some(20)));
    assert_eq!(locate(&hub, after(30)).await, Ok(Some(30)));
    assert_eq!(locate(&hub, after(31)).await, Err(Code::CursorAhead));
    let foreign = Epoch::new([1; 16]).seal(Offset::new(25));
    assert_eq!(locate(&hub, StartPosition::After(foreign)).await, Err(Code::EpochChanged));
    // The last character is part of what is sealed.
    let mut altered = hub.position(Offset::new(25)).to_string();
    let last = if altered.pop() == Some('A') { 'B' } else { 'A' };
    altered.push(last);
    let altered = Cursor::parse(&altered).unwrap();
    assert_eq!(locate(&hub, StartPosition::After(altered)).await, Err(Code::CursorInvalid));
    assert_eq!(locate(&hub, StartPosition::Earliest).await, Ok(Some(20)));
    assert_eq!(locate(&hub, StartPosition::Live).await, Ok(None));
}

#[tokio::test]
async fn a_time_to_come_is_refused_and_a_clock_that_is_a_little_ahead_forgiven() {
    let hub = hub(16, None);
    publish(&hub, 0..3).await;
    let at = |seconds| StartPosition::Time(chrono::Utc::now() + chrono::TimeDelta::seconds(seconds));
    assert_eq!(locate(&hub, at(-60)).await, Ok(Some(0)));
    assert_eq!(locate(&hub, at(5)).await, Ok(Some(3)));
    assert_eq!(locate(&hub, at(60)).await, Err(Code::InvalidFilter));
}

#[tokio::test]
async fn an_expired_cursor_names_the_earliest_from_which_nothing_is_missing() {
    let hub = hub(16, Some(10));
    publish(&hub, 0..30).await;
    let start = StartPosition::After(hub.position(Offset::new(3)));
    let filter = EventFilter::default();
    let refusal = hub.locate(&Principal::anonymous(), &filter, &start).await.unwrap_err();
    let earliest = Cursor::parse(refusal.detail("earliest").unwrap()).unwrap();
    let mut tail = hub.tail(&Principal::anonymous(), filter, hub.open(earliest).unwrap()).unwrap();
    assert_eq!(take(&mut tail, 10).await, (20..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn last_counts_matching_events_only() {
    let hub = hub(16, None);
    publish(&hub, 0..20).await;
    let tasks = EventFilter::default().within(Family::Task);
    let located =
        hub.locate(&Principal::anonymous(), &tasks, &StartPosition::Last(3)).await.unwrap().unwrap();
    let mut tail = hub.tail(&Principal::anonymous(), tasks.clone(), located).unwrap();
    assert_eq!(take(&mut tail, 3).await, [14, 16, 18]);
    for wrong in [0, 10_001] {
        let refused =
            hub.locate(&Principal::anonymous(), &tasks, &StartPosition::Last(wrong)).await.unwrap_err();
        assert_eq!((refused.code, refused.detail("field")), (Code::InvalidFilter, Some("start.last")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tails_that_start_anywhere_and_lag_get_everything_once_and_in_order() {
    const EVENTS: usize = 3_000;
    // A ring of two batches, so that every tail lags again and again.
    let hub = hub(2, None);
    publish(&hub, 0..100).await;
    let publishing = tokio::spawn({
        let hub = hub.clone();
        async move { publish(&hub, 100..EVENTS).await }
    });
    let mut tails = Vec::new();
    for start in 0..20 {
        let mut tail =
            hub.tail(&Principal::anonymous(), EventFilter::default(), Offset::new(start * 5)).unwrap();
        let first = usize::try_from(start * 5).unwrap();
        tails.push(tokio::spawn(async move { (first, take(&mut tail, EVENTS - first).await) }));
        tokio::task::yield_now().await;
    }
    publishing.await.unwrap();
    for tail in tails {
        let (first, ids) = tail.await.unwrap();
        assert_eq!(ids, (first..EVENTS).collect::<Vec<_>>());
    }
    assert!(hub.metrics().tail_lagged.get() > 0, "the ring was too large to test anything");
}

/// Everything up to this one.
async fn take_until(tail: &mut Tail, last: usize) -> Vec<usize> {
    let mut taken = Vec::new();
    while taken.last() != Some(&last) {
        taken.extend(take(tail, 1).await);
    }
    taken
}

#[tokio::test]
async fn transient_events_come_in_their_place_to_those_who_follow_and_to_nobody_later() {
    let hub = hub(16, None);
    let everybody = Principal::anonymous();
    let from = |after| hub.tail(&everybody, EventFilter::default(), Offset::new(after)).unwrap();
    hub.publish(&everybody, mixed(1..3)).await.unwrap();
    let (mut at_the_head, mut at_the_front) = (from(2), from(0));
    hub.publish(&everybody, mixed(3..4)).await.unwrap();
    hub.publish(&everybody, mixed(4..8)).await.unwrap();
    assert_eq!(take_until(&mut at_the_head, 7).await, [3, 4, 5, 6, 7]);
    // It has to read what was there when it came, and with that it reads all that is there by then.
    assert_eq!(take_until(&mut at_the_front, 7).await, [1, 2, 4, 5, 7]);
    hub.publish(&everybody, mixed(9..10)).await.unwrap();
    for tail in [&mut at_the_head, &mut at_the_front] {
        assert_eq!(take(tail, 1).await, [9], "behind the last logged one, for all who have come there");
    }
    assert_eq!(take_until(&mut from(0), 7).await, [1, 2, 4, 5, 7]);
    assert_eq!(hub.bounds().head, Offset::new(5));
    assert_eq!((hub.metrics().events_published.get(), hub.metrics().events_transient.get()), (5, 3));
}

#[tokio::test]
async fn the_past_has_no_transient_events_however_it_is_asked() {
    let hub = hub(16, None);
    let everybody = Principal::anonymous();
    let appended = hub.publish(&everybody, mixed(0..10)).await.unwrap();
    let history = hub.history(&everybody, HistoryRequest::default()).await.unwrap();
    assert_eq!(ids(&history.events), [1, 2, 4, 5, 7, 8]);
    assert!(hub.find(&everybody, "3").await.unwrap().is_none());
    let last = StartPosition::Last(2);
    assert_eq!(locate(&hub, last).await, Ok(Some(4)), "only what is kept is counted");
    // A cursor of a transient event leads behind the last logged one before it.
    for (id, appended) in appended.iter().enumerate() {
        let logged = (0..=id).filter(|id| is_kept(*id)).count() as u64;
        assert_eq!(locate(&hub, StartPosition::After(appended.cursor)).await, Ok(Some(logged)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tails_get_what_is_logged_once_and_what_is_not_at_most_once_in_one_order() {
    const EVENTS: usize = 3_001;
    for ring_batches_max in [2, 1 << 14] {
        let (hub, shown) = watched_hub(ring_batches_max, None);
        let mut tails =
            vec![(0, hub.tail(&Principal::anonymous(), EventFilter::default(), Offset::ZERO).unwrap())];
        hub.publish(&Principal::anonymous(), mixed(0..100)).await.unwrap();
        for start in 0..20 {
            tails.push((
                start,
                hub.tail(&Principal::anonymous(), EventFilter::default(), Offset::new(start)).unwrap(),
            ));
        }
        let reading: Vec<_> = tails
            .into_iter()
            .map(|(start, mut tail)| {
                tokio::spawn(async move { (start, take_until(&mut tail, EVENTS).await) })
            })
            .collect();
        let publishing = (100..EVENTS).map(|id| {
            let hub = hub.clone();
            async move { hub.publish(&Principal::anonymous(), mixed(id..id + 1)).await.unwrap() }
        });
        futures_util::stream::iter(publishing).buffered(20).count().await;
        hub.publish(&Principal::anonymous(), mixed(EVENTS..EVENTS + 1)).await.unwrap();
        let shown = ids(&shown.lock().unwrap());
        for (nth, reading) in reading.into_iter().enumerate() {
            let (start, got) = reading.await.unwrap();
            let mut rest = shown.iter();
            assert!(got.iter().all(|id| rest.any(|other| other == id)), "{nth}: out of order or twice");
            let logged = |ids: &[usize]| ids.iter().copied().filter(|id| is_kept(*id)).collect::<Vec<_>>();
            assert_eq!(logged(&got), logged(&shown)[usize::try_from(start).unwrap()..], "{nth}");
            assert!(nth > 0 || ring_batches_max == 2 || got == shown, "it kept up and missed something");
        }
    }
}

#[tokio::test]
async fn a_tail_that_retention_overtakes_says_where_it_stopped() {
    let hub = hub(2, Some(10));
    publish(&hub, 0..5).await;
    let mut events = Box::pin(
        hub.tail(&Principal::anonymous(), EventFilter::default(), Offset::ZERO).unwrap().into_stream(),
    );
    for id in 0..5 {
        assert_eq!(events.next().await.unwrap().unwrap().id(), id.to_string());
    }
    publish(&hub, 5..100).await;
    let refusal = events.next().await.unwrap().unwrap_err();
    assert_eq!(refusal.code, Code::CursorExpired);
    assert_eq!(
        hub.epoch().open(Cursor::parse(refusal.detail("cursor").unwrap()).unwrap()).unwrap(),
        Offset::new(5)
    );
    assert!(events.next().await.is_none(), "nothing follows an error");
}

#[tokio::test]
async fn too_many_events_or_none_are_refused_before_the_log() {
    let hub = hub(2, None);
    for count in [0, PUBLISH_EVENTS_MAX + 1] {
        let events = (0..count).map(|id| event("a", id)).collect();
        let refused = hub.publish(&Principal::anonymous(), events).await.unwrap_err();
        assert_eq!((refused.code, refused.detail("field")), (Code::TooMany, Some("events")));
    }
    assert_eq!(hub.bounds().head, Offset::ZERO);
    assert_eq!(hub.metrics().publishes_refused.get(), 2);
}

/// The definition of Relay's arguments on a list.
fn oracle(hub: &Hub, ids: &[usize], request: &HistoryRequest) -> (Vec<usize>, bool, bool) {
    let inside = |id: &&usize| {
        let offset = Offset::new(**id as u64 + 1);
        request.after.is_none_or(|cursor| offset > hub.open(cursor).unwrap())
            && request.before.is_none_or(|cursor| offset < hub.open(cursor).unwrap())
    };
    let inside: Vec<usize> = ids.iter().filter(inside).copied().collect();
    let count = |given: Option<i64>| usize::try_from(given.unwrap_or(50)).unwrap().min(inside.len());
    match request.first {
        Some(_) => {
            let (page, rest) = inside.split_at(count(request.first));
            (page.to_vec(), !rest.is_empty(), false)
        }
        None => {
            let (rest, page) = inside.split_at(inside.len() - count(request.last));
            (page.to_vec(), false, !rest.is_empty())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn history_pages_as_the_naive_oracle_says(
        logged in 0..40_usize,
        tasks_only: bool,
        count in prop::option::of(1..50_i64),
        is_first: bool,
        after in prop::option::of(0..41_u64),
        before in prop::option::of(0..41_u64),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let hub = hub(64, None);
            publish(&hub, 0..logged).await;
            let head = hub.bounds().head.get();
            let cursor = |offset: Option<u64>| offset.map(|offset| hub.position(Offset::new(offset.min(head))));
            let filter = match tasks_only {
                true => EventFilter::default().within(Family::Task),
                false => EventFilter::new(FilterDraft::default()).unwrap(),
            };
            let (first, last) = if is_first && count.is_some() { (count, None) } else { (None, count) };
            let request = HistoryRequest { filter, first, after: cursor(after), last, before: cursor(before) };
            let ids: Vec<usize> = (0..logged).filter(|id| !tasks_only || id.is_multiple_of(2)).collect();
            let page = hub.history(&Principal::anonymous(), request.clone()).await.unwrap();
            let got: Vec<usize> = page.events.iter().map(|event| event.id().parse().unwrap()).collect();
            prop_assert_eq!((got, page.has_next, page.has_previous), oracle(&hub, &ids, &request));
            Ok(())
        })?;
    }
}

/// Somebody who reads and publishes one organization only.
fn member(organization: &str) -> Principal {
    let rules =
        |id: &str| vec![Rule::default().with_ids(ScopeField::Organization, vec![id.to_owned()]).unwrap()];
    let grant = Grant::new(rules(organization), rules(organization), false).unwrap();
    Principal::new("somebody", Credential::None, grant, View::whole(), None)
}

fn of(organization: Option<&str>, source: &str) -> NewEvent {
    let draft = Draft {
        event_type: "task.created".to_owned(),
        id: Some("e".to_owned()),
        source: Some(source.to_owned()),
        organization_id: organization.map(str::to_owned),
        ..Draft::default()
    };
    NewEvent::new(draft, &Limits::default()).unwrap()
}

#[tokio::test]
async fn an_id_beyond_the_grant_is_as_if_it_were_not_there() {
    let hub = hub(16, None);
    let everybody = Principal::anonymous();
    hub.publish(&everybody, vec![of(Some("quant"), "/1"), of(Some("acme"), "/2"), of(None, "/3")])
        .await
        .unwrap();
    let found = async |principal: &Principal, id: &str| {
        let found = hub.find(principal, id).await.unwrap();
        found.map(|event| event.source().to_owned())
    };
    assert_eq!(
        found(&member("quant"), "e").await.as_deref(),
        Some("/1"),
        "a newer one of another hides nothing"
    );
    assert_eq!(found(&member("acme"), "e").await.as_deref(), Some("/2"));
    assert_eq!(found(&everybody, "e").await.as_deref(), Some("/3"));
    assert_eq!(found(&member("zeta"), "e").await, None);
    assert_eq!(found(&member("zeta"), "never published").await, None);
    let nobody = Principal::new("nobody", Credential::None, Grant::nothing(), View::whole(), None);
    let (one, other) =
        (hub.find(&nobody, "e").await.unwrap_err(), hub.find(&nobody, "no").await.unwrap_err());
    assert_eq!((one.code, &one), (Code::Forbidden, &other));
}

#[tokio::test]
async fn every_way_through_the_pipeline_stays_within_the_grant() {
    let hub = hub(16, None);
    let everybody = Principal::anonymous();
    let quant = member("quant");
    // Four of them, every other one within the grant, and one without the field that the grant limits.
    for (nth, organization) in
        [Some("quant"), Some("acme"), Some("quant"), Some("acme"), None].into_iter().enumerate()
    {
        hub.publish(&everybody, vec![of(organization, &format!("/{nth}"))]).await.unwrap();
    }
    let sources =
        |events: &[Arc<Event>]| events.iter().map(|event| event.source().to_owned()).collect::<Vec<_>>();
    let history = hub.history(&quant, HistoryRequest::default()).await.unwrap();
    assert_eq!(sources(&history.events), ["/0", "/2"]);
    let start = hub.locate(&quant, &EventFilter::default(), &StartPosition::Last(1)).await.unwrap();
    assert_eq!(start, Some(Offset::new(2)), "the last one is the last one within the grant");

    let mut tail = hub.tail(&quant, EventFilter::default(), Offset::ZERO).unwrap();
    assert_eq!(sources(&tail.next().await.unwrap().unwrap()), ["/0", "/2"]);
    hub.publish(&everybody, vec![of(Some("acme"), "/5"), of(Some("quant"), "/6")]).await.unwrap();
    assert_eq!(sources(&tail.next().await.unwrap().unwrap()), ["/6"], "live too");

    let acme = FilterDraft { organization_id: Some(vec!["acme".to_owned()]), ..FilterDraft::default() };
    let acme = EventFilter::new(acme).unwrap();
    assert_eq!(hub.tail(&quant, acme.clone(), Offset::ZERO).unwrap_err().code, Code::Forbidden);
    let request = HistoryRequest { filter: acme.clone(), ..HistoryRequest::default() };
    assert_eq!(hub.history(&quant, request).await.unwrap_err().code, Code::Forbidden);
    let last = hub.locate(&quant, &acme, &StartPosition::Last(1)).await;
    assert_eq!(last.unwrap_err().code, Code::Forbidden);
}

#[tokio::test]
async fn a_publish_outside_the_grant_logs_nothing_of_its_request_and_names_the_event() {
    let hub = hub(16, None);
    let quant = member("quant");
    let refusal = hub.publish(&quant, vec![of(None, "/1"), of(Some("acme"), "/2")]).await.unwrap_err();
    assert_eq!(refusal.code, Code::Forbidden);
    assert_eq!((refusal.detail("index"), refusal.detail("given")), (Some("1"), Some("acme")));
    assert_eq!(hub.bounds().head, Offset::ZERO);
    hub.publish(&quant, vec![of(None, "/1")]).await.unwrap();
    let logged = hub.find(&Principal::anonymous(), "e").await.unwrap().unwrap();
    assert_eq!(
        logged.scope().get(ScopeField::Organization),
        Some("quant"),
        "the grant fixes the organization"
    );
}
