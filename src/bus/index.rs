//! Which filters does an event meet? One entry for each distinct filter, however many hold it.
//!
//! Invariants: equal filters are one entry; an entry lives exactly as long as somebody holds it.

use crate::event::{EventFilter, NewEvent};
use slab::Slab;
use std::{collections::HashMap, sync::Arc};

/// Names a filter in an [`Index`] while somebody holds it.
pub type FilterId = usize;

/// The distinct filters of all subscriptions.
#[derive(Debug, Default)]
pub struct Index {
    ids: HashMap<Arc<EventFilter>, FilterId>,
    entries: Slab<Entry>,
}

#[derive(Debug)]
struct Entry {
    filter: Arc<EventFilter>,
    holders: usize,
}

impl Index {
    /// Holds a filter once more.
    pub fn insert(&mut self, filter: &Arc<EventFilter>) -> FilterId {
        let id = *self
            .ids
            .entry(Arc::clone(filter))
            .or_insert_with(|| self.entries.insert(Entry { filter: Arc::clone(filter), holders: 0 }));
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
        }
    }

    /// Adds the filters that the event meets to `met`.
    pub fn matches(&self, event: &NewEvent, met: &mut Vec<FilterId>) {
        met.extend(self.entries.iter().filter(|(_, entry)| entry.filter.matches(event)).map(|(id, _)| id));
    }

    /// How many distinct filters there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Draft, Family, Limits};

    #[test]
    fn equal_filters_are_one_entry_that_lives_as_long_as_its_last_holder() {
        let mut index = Index::default();
        let tasks = || Arc::new(EventFilter::default().within(Family::Task));
        let (first, second) = (index.insert(&tasks()), index.insert(&tasks()));
        index.insert(&Arc::new(EventFilter::default().within(Family::Agent)));
        assert_eq!((first, index.len()), (second, 2));

        let draft = Draft { event_type: "task.created".to_owned(), ..Draft::default() };
        let event = NewEvent::new(draft, &Limits::default()).unwrap();
        let mut met = Vec::new();
        index.matches(&event, &mut met);
        assert_eq!(met, [first]);

        index.remove(first);
        assert_eq!(index.len(), 2);
        index.remove(second);
        assert_eq!(index.len(), 1);
    }
}
