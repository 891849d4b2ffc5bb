//! Which filters does an event meet? One entry for each distinct filter, found without visiting the others.
//!
//! Flow: a filter is posted under the keys of one path, the cheapest that it has; an event looks its own keys up, one for each
//! kind in use, and the filters found are confirmed by [`EventFilter::matches`].
//! Invariants: equal filters are one entry; an entry lives exactly as long as somebody holds it; an event that meets a filter
//! has one of the keys that the filter is posted under.
//! Not here: what matches (`event`).

mod access;
mod postings;

use crate::event::{EventFilter, NewEvent, Rule, Rules};
use access::{Facts, Key, Keys, Kind};
use postings::{Posting, Postings};
use slab::Slab;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Names a filter in an [`Index`] while somebody holds it.
pub type FilterId = usize;

/// The distinct filters of all subscriptions.
#[derive(Debug, Default)]
pub struct Index {
    ids: HashMap<Arc<EventFilter>, FilterId>,
    entries: Slab<Entry>,
    keys: Keys,
    postings: Postings,
    /// The kinds that events are looked up by, with the number of postings of each.
    kinds: BTreeMap<Kind, usize>,
}

#[derive(Debug)]
struct Entry {
    filter: Arc<EventFilter>,
    holders: usize,
    posts: Box<[Post]>,
}

/// Where a filter is posted.
#[derive(Clone, Copy, Debug)]
struct Post {
    key: Key,
    /// The place in the list of the key.
    place: usize,
}

/// The keys of one path, and how often events will come along it, roughly.
#[derive(Debug)]
struct Path {
    keys: Vec<Key>,
    cost: usize,
}

impl Index {
    /// Holds a filter once more.
    pub fn insert(&mut self, filter: &Arc<EventFilter>) -> FilterId {
        let id = match self.ids.get(filter) {
            Some(id) => *id,
            None => self.post(filter),
        };
        if let Some(entry) = self.entries.get_mut(id) {
            entry.holders += 1;
        }
        id
    }

    /// Holds a filter once less; the last holder removes it.
    pub fn remove(&mut self, id: FilterId) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.holders -= 1;
        if entry.holders == 0 {
            let entry = self.entries.remove(id);
            self.ids.remove(&entry.filter);
            (0..entry.posts.len()).for_each(|nth| self.withdraw(&entry, nth));
        }
    }

    /// Adds the filters that the event meets to `met`, each once, in no order that means something. Allocates nothing but
    /// the room that `met` lacks for the filters that may match.
    pub fn matches(&self, event: &NewEvent, met: &mut Vec<FilterId>) {
        let known = met.len();
        if self.candidates(event, met) {
            met.get_mut(known..).unwrap_or_default().sort_unstable();
        }
        let (mut seen, mut last) = (0, None);
        met.retain(|id| {
            seen += 1;
            if seen <= known {
                return true;
            }
            // Repeats stand side by side now.
            last.replace(*id) != Some(*id)
                && self.entries.get(*id).is_some_and(|entry| entry.filter.matches(event))
        });
    }

    /// How many distinct filters there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds every filter that is posted under a key of the event. May one of them have come several times?
    fn candidates(&self, event: &NewEvent, found: &mut Vec<FilterId>) -> bool {
        let facts = Facts::new(event);
        let mut may_repeat = false;
        for key in self.kinds.keys().filter_map(|kind| self.keys.of_event(*kind, &facts)) {
            for posting in self.postings.of(key) {
                may_repeat |= posting.may_repeat;
                found.push(posting.filter);
            }
        }
        may_repeat
    }

    /// Makes an entry without holders.
    fn post(&mut self, filter: &Arc<EventFilter>) -> FilterId {
        let path = self.cheapest_path(filter);
        let mut keys = path.map_or_else(|| vec![self.keys.everything()], |path| path.keys);
        keys.sort_unstable();
        keys.dedup();
        let mut kinds = keys.iter().map(|key| key.kind);
        // An event has one key of a kind, so it finds a filter twice only by two kinds.
        let first = kinds.next();
        let may_repeat = kinds.any(|kind| Some(kind) != first);
        let vacant = self.entries.vacant_entry();
        let id = vacant.key();
        let mut posts = Vec::with_capacity(keys.len());
        for (nth, key) in (0..).zip(keys) {
            let place = self.postings.add(key, Posting { filter: id, nth, may_repeat });
            *self.kinds.entry(key.kind).or_default() += 1;
            posts.push(Post { key, place });
        }
        vacant.insert(Entry { filter: Arc::clone(filter), holders: 0, posts: posts.into() });
        self.ids.insert(Arc::clone(filter), id);
        id
    }

    /// Takes a removed entry out of one of its lists.
    fn withdraw(&mut self, entry: &Entry, nth: usize) {
        let Some(post) = entry.posts.get(nth) else { return };
        if let Some(moved) = self.postings.take(post.key, post.place)
            && let Some(other) = self.entries.get_mut(moved.filter)
            && let Some(its) = other.posts.get_mut(moved.nth as usize)
        {
            its.place = post.place;
        }
        if let Some(count) = self.kinds.get_mut(&post.key.kind) {
            *count -= 1;
            if *count == 0 {
                self.kinds.remove(&post.key.kind);
            }
        }
    }

    /// The path by which a filter will be visited least often: by one of its own fields, or by all of its alternatives or all
    /// rules of a grant, each by its cheapest field. `None` when it excludes nothing.
    fn cheapest_path(&self, filter: &EventFilter) -> Option<Path> {
        let own = self.keys.paths_to(filter).into_iter().map(|keys| self.priced(keys));
        let alternatives = filter.any_of().and_then(|filters| self.joint_path(&mut filters.iter()));
        let granted = |rules: &Rules| self.joint_path(&mut rules.iter().map(Rule::as_filter));
        let grants = filter.grants().iter().filter_map(granted);
        own.chain(alternatives).chain(grants).min_by_key(|path| path.cost)
    }

    /// The path by which all of these filters are found. `None` when one of them excludes nothing.
    fn joint_path(&self, filters: &mut dyn Iterator<Item = &EventFilter>) -> Option<Path> {
        let join = |mut all: Path, path: Path| {
            all.keys.extend(path.keys);
            Path { cost: all.cost.max(path.cost), ..all }
        };
        let cheapest = filters.map(|filter| self.cheapest_path(filter));
        cheapest.collect::<Option<Vec<_>>>()?.into_iter().reduce(join)
    }

    /// The price of a path: its longest list, this filter included, times the weight of its kind. A value that many filters
    /// ask for is one that many events have, so length tells what the kind alone cannot.
    fn priced(&self, keys: Vec<Key>) -> Path {
        let cost = |key: &Key| (self.postings.of(*key).len() + 1) * key.kind.weight();
        Path { cost: keys.iter().map(cost).max().unwrap_or(0), keys }
    }
}

#[cfg(test)]
#[path = "index/index_tests.rs"]
mod tests;
