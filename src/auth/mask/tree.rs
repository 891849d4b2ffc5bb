//! The paths into the data that are masked for one view and one type, as one tree, and the walk that masks them.
//!
//! Flow: goes through the text once with the set of places that the paths have reached; what no path can reach is copied as it
//! stands.
//! Invariants: keys are compared unescaped; arrays are entered whether a path names them or not; every one of several equal
//! keys is masked; text that cannot be walked shows nothing.

use super::{Action, MaskKey, action::show_value, path::Segment, scan::Scan};
use std::{borrow::Cow, collections::BTreeMap};

/// A place in the tree.
type Place = usize;
const ROOT: Place = 0;

/// Where paths lead from one place.
#[derive(Debug, Default)]
struct Node {
    /// What is done to a value here.
    action: Option<Action>,
    keys: BTreeMap<Box<str>, Place>,
    any: Option<Place>,
    each: Option<Place>,
}

/// A place that paths have reached with the value that comes next.
#[derive(Clone, Copy, Debug)]
struct Reached {
    place: Place,
    /// Does a path that ends here mean this value? If not, the path is only passed on to the elements of an array.
    ends: bool,
}

/// All paths into the data, with what is done at their ends.
#[derive(Debug)]
pub(super) struct Tree(Vec<Node>);

impl Tree {
    pub(super) fn new() -> Self {
        Tree(vec![Node::default()])
    }

    /// Adds a path; of several actions at one place the strictest counts.
    pub(super) fn add(&mut self, path: &[Segment], action: Action) {
        let mut place = ROOT;
        for segment in path {
            let new = self.0.len();
            let Some(node) = self.0.get_mut(place) else { return };
            place = match segment {
                Segment::Key(key) => *node.keys.entry(key.clone()).or_insert(new),
                Segment::Any => *node.any.get_or_insert(new),
                Segment::Each => *node.each.get_or_insert(new),
            };
            if place == new {
                self.0.push(Node::default());
            }
        }
        if let Some(node) = self.0.get_mut(place) {
            node.action = node.action.max(Some(action));
        }
    }

    fn nodes(&self, reached: &[Reached]) -> impl Iterator<Item = (&Node, bool)> {
        reached.iter().filter_map(|one| Some((self.0.get(one.place)?, one.ends)))
    }

    /// The data as it is shown; `None` when nothing in it is masked.
    pub(super) fn show(&self, json: &str, key: &MaskKey) -> Option<String> {
        let mut walk = Walk { tree: self, key, scan: Scan::new(json), out: String::new(), is_masked: false };
        let mut reached = vec![Reached { place: ROOT, ends: true }];
        let walked = match walk.strictest(&mut reached) {
            Some(Action::Drop) => None,
            action => {
                walk.out.reserve(json.len());
                walk.value(&reached, action).filter(|()| walk.scan.is_done())
            }
        };
        match walked {
            None => Some("null".to_owned()),
            Some(()) => walk.is_masked.then_some(walk.out),
        }
    }
}

struct Walk<'w> {
    tree: &'w Tree,
    key: &'w MaskKey,
    scan: Scan<'w>,
    out: String,
    is_masked: bool,
}

impl Walk<'_> {
    /// What is done to the value that comes next. Adds the places that `[*]` leads to where it is no array.
    fn strictest(&self, reached: &mut Vec<Reached>) -> Option<Action> {
        if self.scan.peek() != Some(b'[') {
            let mut at = 0;
            while let Some(place) = reached.get(at).map(|one| one.place) {
                reach(reached, self.tree.0.get(place).and_then(|node| node.each));
                at += 1;
            }
        }
        self.tree.nodes(reached).filter(|(_, ends)| *ends).filter_map(|(node, _)| node.action).max()
    }

    /// Takes a value and writes it as it is shown. `None` when it cannot be walked; it must not be dropped.
    fn value(&mut self, reached: &[Reached], action: Option<Action>) -> Option<()> {
        let start = self.out.len();
        match self.scan.peek()? {
            b'{' if !reached.is_empty() => self.object(reached)?,
            b'[' if !reached.is_empty() => self.array(reached)?,
            _ => self.out.push_str(self.scan.value()?),
        }
        if let Some(action) = action {
            // What is masked further down is masked in what is hashed here as well.
            let shown = show_value(action, self.out.get(start..)?, self.key)?;
            self.out.truncate(start);
            self.out.push_str(&shown);
            self.is_masked = true;
        }
        Some(())
    }

    fn object(&mut self, reached: &[Reached]) -> Option<()> {
        let mut scan = self.scan.clone();
        let start = self.begin('{');
        scan.object(|scan, key| {
            let mut below = self.below(reached, key)?;
            self.scan.clone_from(scan);
            self.item(&mut below, start, Some(key))?;
            scan.clone_from(&self.scan);
            Some(())
        })?;
        self.scan = scan;
        self.out.push('}');
        Some(())
    }

    fn array(&mut self, reached: &[Reached]) -> Option<()> {
        let mut scan = self.scan.clone();
        let start = self.begin('[');
        scan.array(|scan| {
            let mut below: Vec<Reached> = reached.iter().map(|one| Reached { ends: false, ..*one }).collect();
            for (node, _) in self.tree.nodes(reached) {
                reach(&mut below, node.any);
                reach(&mut below, node.each);
            }
            self.scan.clone_from(scan);
            self.item(&mut below, start, None)?;
            scan.clone_from(&self.scan);
            Some(())
        })?;
        self.scan = scan;
        self.out.push(']');
        Some(())
    }

    /// Writes the bracket and gives the place after it.
    fn begin(&mut self, bracket: char) -> usize {
        self.out.push(bracket);
        self.out.len()
    }

    /// Takes a member or an element and writes it, unless it goes.
    fn item(&mut self, reached: &mut Vec<Reached>, start: usize, key: Option<&str>) -> Option<()> {
        let action = self.strictest(reached);
        if action == Some(Action::Drop) {
            self.is_masked = true;
            return self.scan.value().map(|_| ());
        }
        if self.out.len() > start {
            self.out.push(',');
        }
        if let Some(key) = key {
            self.out.push_str(key);
            self.out.push(':');
        }
        self.value(reached, action)
    }

    /// Where paths lead from these places by a key as it is written.
    fn below(&self, reached: &[Reached], written: &str) -> Option<Vec<Reached>> {
        let inside = written.get(1..written.len().checked_sub(1)?)?;
        let key = match inside.contains('\\') {
            true => Cow::Owned(serde_json::from_str::<String>(written).ok()?),
            false => Cow::Borrowed(inside),
        };
        let mut below = Vec::new();
        for (node, _) in self.tree.nodes(reached) {
            reach(&mut below, node.keys.get(&*key).copied());
            reach(&mut below, node.any);
        }
        Some(below)
    }
}

fn reach(reached: &mut Vec<Reached>, place: Option<Place>) {
    let Some(place) = place else { return };
    match reached.iter_mut().find(|one| one.place == place) {
        Some(known) => known.ends = true,
        None => reached.push(Reached { place, ends: true }),
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
