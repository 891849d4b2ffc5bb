//! What was published, as the acknowledgements tell it: the one truth that a trial is judged by.

use super::{
    facts::{Fact, is_transient},
    random::Random,
};
use chrono::{DateTime, Utc};
use fanfare::{
    auth::Principal,
    event::{Cursor, Epoch, Offset},
    hub::Hub,
};
use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry as Place},
    sync::Mutex,
};
use tokio::sync::watch;

/// The most events of one request of a publisher.
const REQUEST_EVENTS_MAX: usize = 4;
/// The most publishers of a trial.
pub(crate) const PUBLISHERS_MAX: usize = 4;
/// The most events of one commit.
pub(crate) const COMMIT_EVENTS_MAX: u64 = (REQUEST_EVENTS_MAX * PUBLISHERS_MAX) as u64;

/// An acknowledged event. It was logged between two times.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) fact: Fact,
    pub(crate) asked_at: DateTime<Utc>,
    pub(crate) acknowledged_at: DateTime<Utc>,
}

/// How far publishing is.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    count: usize,
    is_done: bool,
}

/// An acknowledged event that is not kept, and the last kept one before it.
#[derive(Clone, Debug)]
pub(crate) struct Passed {
    pub(crate) fact: Fact,
    pub(crate) offset: Offset,
}

/// Everything, once nothing more will come.
#[derive(Debug)]
pub(crate) struct Whole {
    /// The event at each offset from 1 on.
    pub(crate) entries: Vec<Entry>,
    /// By their ids.
    pub(crate) passed: HashMap<String, Passed>,
}

/// Everything acknowledged so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    entries: Mutex<BTreeMap<Offset, Entry>>,
    passed: Mutex<HashMap<String, Passed>>,
    progress: watch::Sender<Progress>,
    joined: watch::Sender<usize>,
}

impl History {
    /// Publishes facts in one request and keeps what was answered.
    pub(crate) async fn publish(&self, hub: &Hub, facts: Vec<Fact>) {
        let asked_at = Utc::now();
        let events = facts.iter().map(Fact::event).collect();
        let appended = hub.publish(&Principal::anonymous(), events).await.unwrap();
        let acknowledged_at = Utc::now();
        let count = {
            let mut entries = self.entries.lock().unwrap();
            for (fact, appended) in facts.into_iter().zip(appended) {
                if is_transient(&fact.id) {
                    assert!(!appended.duplicate, "what is not kept is not known again");
                    let passed = Passed { fact, offset: appended.offset };
                    self.passed.lock().unwrap().insert(passed.fact.id.clone(), passed);
                    continue;
                }
                let place = entries.entry(appended.offset);
                assert_eq!(matches!(place, Place::Occupied(_)), appended.duplicate, "one event, one offset");
                place.or_insert(Entry { fact, asked_at, acknowledged_at });
            }
            entries.len()
        };
        self.progress.send_modify(|progress| progress.count = progress.count.max(count));
    }

    /// Publishes random facts, as one of several publishers that go at full speed; some of those that are kept twice.
    pub(crate) async fn publish_random(&self, hub: &Hub, name: String, count: usize, seed: u64) {
        let mut random = Random::new(seed);
        let mut number = 0;
        while number < count {
            let size = random.within(1, REQUEST_EVENTS_MAX);
            let facts: Vec<_> = (number..number + size)
                .map(|number| Fact::random(&mut random, format!("{name}-{number}")))
                .collect();
            number += size;
            let again = random.once_in(16).then(|| facts.clone());
            self.publish(hub, facts).await;
            let again: Vec<_> = again.into_iter().flatten().filter(|fact| !is_transient(&fact.id)).collect();
            if !again.is_empty() {
                self.publish(hub, again).await;
            }
        }
    }

    /// Nobody waits for more from now on.
    pub(crate) fn done(&self) {
        self.progress.send_modify(|progress| progress.is_done = true);
    }

    /// How many events are acknowledged.
    pub(crate) fn count(&self) -> usize {
        self.progress.borrow().count
    }

    /// Waits until so many events are acknowledged, or all that there will be.
    pub(crate) async fn reached(&self, count: usize) {
        let mut progress = self.progress.subscribe();
        progress.wait_for(|progress| progress.is_done || progress.count >= count).await.unwrap();
    }

    /// One more client has joined.
    pub(crate) fn join(&self) {
        self.joined.send_modify(|joined| *joined += 1);
    }

    /// Waits until so many clients have joined: whoever starts live has to be there before the last event.
    pub(crate) async fn all_joined(&self, clients: usize) {
        self.joined.subscribe().wait_for(|joined| *joined >= clients).await.unwrap();
    }

    /// The offset and the time of an event that is acknowledged already, if there is one.
    pub(crate) fn any(&self, random: &mut Random) -> Option<(Offset, DateTime<Utc>)> {
        let entries = self.entries.lock().unwrap();
        let chosen = random.below(entries.len().max(1));
        entries.iter().nth(chosen).map(|(offset, entry)| (*offset, entry.acknowledged_at))
    }

    /// All of it, once nothing more will come.
    pub(crate) fn whole(&self) -> Whole {
        let entries = self.entries.lock().unwrap();
        let offsets: Vec<u64> = entries.keys().map(|offset| offset.get()).collect();
        assert_eq!(offsets, (1..=entries.len() as u64).collect::<Vec<_>>(), "offsets rise by one");
        let passed = self.passed.lock().unwrap().clone();
        Whole { entries: entries.values().cloned().collect(), passed }
    }
}

/// The offset of a cursor in a refusal or a message.
pub(crate) fn offset(epoch: Epoch, cursor: &str) -> Offset {
    epoch.open(Cursor::parse(cursor).unwrap()).unwrap()
}
