//! The lists behind the keys: which filters are posted under a [`Key`].
//!
//! Invariants: no list is empty; a posting is added and taken away in constant time, however long its list is.

use super::{
    FilterId,
    access::{Key, KeyHasher},
};
use std::{
    collections::{HashMap, hash_map::Entry},
    hash::BuildHasherDefault,
    slice,
};

/// A filter in the list of one of its keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Posting {
    pub(super) filter: FilterId,
    /// Which of the filter's keys this is.
    pub(super) nth: u32,
    /// May an event meet the filter under several keys?
    pub(super) may_repeat: bool,
}

/// A list of one needs no memory of its own: most ids are asked for by one filter.
#[derive(Debug)]
enum List {
    One(Posting),
    Many(Vec<Posting>),
}

impl List {
    fn as_slice(&self) -> &[Posting] {
        match self {
            List::One(posting) => slice::from_ref(posting),
            List::Many(postings) => postings,
        }
    }
}

/// All lists.
#[derive(Debug, Default)]
pub(super) struct Postings(HashMap<Key, List, BuildHasherDefault<KeyHasher>>);

impl Postings {
    /// The list of a key.
    pub(super) fn of(&self, key: Key) -> &[Posting] {
        self.0.get(&key).map_or(&[], List::as_slice)
    }

    /// Adds a posting to the list of a key; returns its place there.
    pub(super) fn add(&mut self, key: Key, posting: Posting) -> usize {
        match self.0.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(List::One(posting));
                0
            }
            Entry::Occupied(mut occupied) => {
                let list = occupied.get_mut();
                match list {
                    List::One(first) => *list = List::Many(vec![*first, posting]),
                    List::Many(postings) => postings.push(posting),
                }
                list.as_slice().len() - 1
            }
        }
    }

    /// Takes the posting at a place away. Returns the one that has moved there, if any.
    pub(super) fn take(&mut self, key: Key, place: usize) -> Option<Posting> {
        let Entry::Occupied(mut occupied) = self.0.entry(key) else { return None };
        match occupied.get_mut() {
            List::Many(postings) if postings.len() > 1 => {
                postings.swap_remove(place);
                postings.get(place).copied()
            }
            List::One(_) | List::Many(_) => {
                occupied.remove();
                None
            }
        }
    }
}
