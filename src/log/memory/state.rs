//! What is kept under keys, in memory.

use super::super::{Kept, StateKey, StatePage, StateRead, page::StatePageBuilder, store::Held};
use crate::event::Offset;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

/// All keys, and how to take back what an open transaction has written.
#[derive(Debug, Default)]
pub(super) struct Keys {
    held: BTreeMap<StateKey, Held>,
    /// Each reference with the key that has it.
    references: BTreeSet<(StateKey, StateKey)>,
    /// What stood under the keys that are written since the last commit.
    before: Vec<(StateKey, Option<Held>)>,
}

impl Keys {
    pub(super) fn count(&self) -> usize {
        self.held.len()
    }

    pub(super) fn get(&self, key: &StateKey) -> Option<&Held> {
        self.held.get(key)
    }

    pub(super) fn referrer(&self, key: &StateKey) -> Option<&StateKey> {
        let from = (key.clone(), StateKey::stored("", "", ""));
        let (reference, referrer) = self.references.range(from..).next()?;
        (reference == key).then_some(referrer)
    }

    /// Puts something under a key, or nothing.
    pub(super) fn write(&mut self, key: &StateKey, after: Option<Held>) {
        let before = self.replace(key, after);
        self.before.push((key.clone(), before));
    }

    /// Keeps what was written.
    pub(super) fn commit(&mut self) {
        self.before.clear();
    }

    /// Takes back what was written since the last commit.
    pub(super) fn roll_back(&mut self) {
        for (key, before) in std::mem::take(&mut self.before).into_iter().rev() {
            self.replace(&key, before);
        }
    }

    fn replace(&mut self, key: &StateKey, after: Option<Held>) -> Option<Held> {
        let added = after.iter().flat_map(|held| &held.references).cloned();
        let added: Vec<_> = added.map(|reference| (reference, key.clone())).collect();
        let before = match after {
            Some(held) => self.held.insert(key.clone(), held),
            None => self.held.remove(key),
        };
        for reference in before.iter().flat_map(|held| &held.references) {
            self.references.remove(&(reference.clone(), key.clone()));
        }
        self.references.extend(added);
        before
    }

    /// One page that looks at so many keys.
    pub(super) fn page(&self, read: &StateRead, keys_max: usize, head: Offset) -> StatePage {
        let mut page = StatePageBuilder::new(read, keys_max);
        let organizations = read.organizations();
        let mut from = match &read.after {
            Some(after) => Bound::Excluded(after.clone()),
            None => Bound::Included(StateKey::stored(&read.kind, "", "")),
        };
        loop {
            let next = self.held.range((from, Bound::Unbounded)).next();
            let Some((key, held)) = next.filter(|(key, _)| key.kind() == &*read.kind) else {
                return page.finish(head, true);
            };
            let goes_on = match place(read, organizations.as_ref(), key) {
                Place::Here => {
                    let (key, event) = (key.clone(), Arc::clone(&held.event));
                    from = Bound::Excluded(key.clone());
                    page.offer(Kept { key, event })
                }
                Place::OfOrganization(first) => {
                    from = Bound::Included(first);
                    true
                }
                Place::From(later) => {
                    from = Bound::Included(later);
                    page.pass(key)
                }
                Place::Beyond => return page.finish(head, true),
            };
            if !goes_on {
                return page.finish(head, false);
            }
        }
    }
}

/// Where a page has to look.
enum Place {
    /// At this very key.
    Here,
    /// From this later key on, the first of an organization.
    OfOrganization(StateKey),
    /// From this later key on.
    From(StateKey),
    /// Nowhere any more.
    Beyond,
}

/// May this key be in a page, as far as the key says, or which one is the next that may?
fn place(read: &StateRead, organizations: Option<&BTreeSet<&str>>, key: &StateKey) -> Place {
    let first_id = read.id.as_deref().unwrap_or_default();
    let own = key.organization();
    let allowed = match organizations {
        None => Some(own),
        Some(organizations) => organizations.range(own..).next().copied(),
    };
    match (allowed, read.id.as_deref()) {
        (None, _) => Place::Beyond,
        (Some(allowed), _) if allowed != own => {
            Place::OfOrganization(StateKey::stored(&read.kind, allowed, first_id))
        }
        (Some(_), None) => Place::Here,
        (Some(_), Some(id)) => match key.id().cmp(id) {
            std::cmp::Ordering::Equal => Place::Here,
            std::cmp::Ordering::Less => Place::From(StateKey::stored(&read.kind, own, id)),
            // The next text in order is this one and a zero byte.
            std::cmp::Ordering::Greater => {
                Place::From(StateKey::stored(&read.kind, &format!("{own}\0"), first_id))
            }
        },
    }
}
