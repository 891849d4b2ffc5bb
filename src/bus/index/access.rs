//! How a filter is found: the [`Kind`]s of facts that an event can be looked up by, and the [`Key`] of each fact.
//!
//! Invariants: an event has at most one key of a kind. A filter is met only by events that have one of the keys of each of
//! its paths, so posting it under all keys of any one path is enough to find it.
//! Not here: the lists behind the keys (`postings`), which path is taken (`Index`).

use crate::event::{EventFilter, NewEvent, Priority, ScopeField, TYPE_SEGMENTS_MAX, TypePattern};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

/// What of an event a key is about, the narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The correlation id.
    Correlation,
    /// The id of a scope field.
    Scope(ScopeField),
    /// The source.
    Source,
    /// Those segments of the type that patterns of a shape name.
    Type(Shape),
    /// The family of the type.
    Family,
    /// The priority.
    Priority,
    /// Nothing: every event has the one key of this kind.
    Everything,
}

/// Which segments a pattern leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Shape {
    segments: u8,
    /// A bit for each `*`, the first segment lowest.
    open: u8,
}

/// One fact about events, by the hash of its text: the filter itself confirms what the hash promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    hash: u64,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Takes the hash of a [`Key`] as it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Keys write one number; this is for completeness.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Kind {
    /// How many times likelier an event has a given key of this kind than one of the narrowest kind, roughly. The steps matter,
    /// not the numbers: a filter leaves the narrower kind when its lists have grown so many times longer.
    pub(super) fn weight(self) -> usize {
        match self {
            Kind::Correlation => 1,
            Kind::Scope(ScopeField::Task | ScopeField::Workflow | ScopeField::Room | ScopeField::User) => 1,
            Kind::Scope(ScopeField::Agent | ScopeField::Instance) => 2,
            Kind::Scope(ScopeField::Domain) => 4,
            Kind::Scope(ScopeField::Organization) | Kind::Source => 8,
            Kind::Type(shape) if shape.open == 0 => 8,
            Kind::Type(shape) if shape.names_a_segment() => 16,
            Kind::Family => 32,
            Kind::Type(_) => 64,
            Kind::Priority => 128,
            Kind::Everything => 256,
        }
    }
}

impl Shape {
    fn of(pattern: &TypePattern) -> Self {
        let step = |shape: Shape, segment: &str| Shape {
            open: shape.open | u8::from(segment == "*") << shape.segments,
            segments: shape.segments + 1,
        };
        pattern.segments().fold(Shape { segments: 0, open: 0 }, step)
    }

    fn is_open(self, segment: usize) -> bool {
        self.open >> segment & 1 == 1
    }

    fn names_a_segment(self) -> bool {
        self.open.count_ones() < u32::from(self.segments)
    }

    /// Is this the shape of `*`, which matches all types?
    fn is_everything(self) -> bool {
        self == Shape { segments: 1, open: 1 }
    }

    /// May a type of so many segments match a pattern of this shape?
    fn fits(self, segments: usize) -> bool {
        let own = usize::from(self.segments);
        if self.is_open(own - 1) { segments >= own } else { segments == own }
    }
}

/// An event, ready to be looked up.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    event: &'a NewEvent,
    segments: [&'a str; TYPE_SEGMENTS_MAX],
    count: usize,
}

impl<'a> Facts<'a> {
    pub(super) fn new(event: &'a NewEvent) -> Self {
        let mut facts = Facts { event, segments: [""; TYPE_SEGMENTS_MAX], count: 0 };
        for (place, segment) in facts.segments.iter_mut().zip(event.event_type().segments()) {
            *place = segment;
            facts.count += 1;
        }
        facts
    }
}

/// Makes keys, with a secret of its own so that nobody can choose ids whose keys collide.
#[derive(Debug, Default)]
pub(super) struct Keys(RandomState);

impl Keys {
    fn key(&self, kind: Kind, value: impl Hash) -> Key {
        Key { kind, hash: self.0.hash_one((kind, value)) }
    }

    /// The key of the named segments of a type or pattern.
    fn type_key<'a>(&self, shape: Shape, segments: impl Iterator<Item = &'a str>) -> Key {
        let kind = Kind::Type(shape);
        let mut hasher = self.0.build_hasher();
        kind.hash(&mut hasher);
        for (at, segment) in segments.take(usize::from(shape.segments)).enumerate() {
            if !shape.is_open(at) {
                segment.hash(&mut hasher);
            }
        }
        Key { kind, hash: hasher.finish() }
    }

    /// The key of every event.
    pub(super) fn everything(&self) -> Key {
        self.key(Kind::Everything, ())
    }

    /// The key of this kind that an event has.
    pub(super) fn of_event(&self, kind: Kind, facts: &Facts<'_>) -> Option<Key> {
        let event = facts.event;
        Some(match kind {
            Kind::Correlation => self.key(kind, event.correlation_id()?),
            Kind::Scope(field) => self.key(kind, event.scope().get(field)?),
            Kind::Source => self.key(kind, event.source()),
            Kind::Type(shape) if shape.fits(facts.count) => {
                self.type_key(shape, facts.segments.iter().copied())
            }
            Kind::Type(_) => return None,
            Kind::Family => self.key(kind, event.event_type().family()),
            Kind::Priority => self.key(kind, event.priority()),
            Kind::Everything => self.everything(),
        })
    }

    /// The paths to a filter by its own fields, alternatives left aside: one for each field that excludes any event.
    pub(super) fn paths_to(&self, filter: &EventFilter) -> Vec<Vec<Key>> {
        let mut paths: Vec<Vec<Key>> = Vec::new();
        paths.extend(self.id_path(Kind::Correlation, filter.correlation_ids()));
        paths.extend(
            filter.scope_ids().filter_map(|(field, ids)| self.id_path(Kind::Scope(field), Some(ids))),
        );
        paths.extend(self.id_path(Kind::Source, filter.sources()));
        paths.extend(filter.types().and_then(|patterns| self.type_path(patterns)));
        paths.extend(filter.families().map(|families| {
            families.iter().map(|family| self.key(Kind::Family, *family)).collect::<Vec<_>>()
        }));
        if let Some(least) = filter.min_priority().filter(|least| *least > Priority::Low) {
            let enough = Priority::ALL.into_iter().filter(|priority| *priority >= least);
            paths.push(enough.map(|priority| self.key(Kind::Priority, priority)).collect());
        }
        paths
    }

    fn id_path(&self, kind: Kind, ids: Option<&crate::event::Ids>) -> Option<Vec<Key>> {
        Some(ids?.iter().map(|id| self.key(kind, id)).collect())
    }

    fn type_path(&self, patterns: &[TypePattern]) -> Option<Vec<Key>> {
        let key = |pattern: &TypePattern| {
            let shape = Shape::of(pattern);
            (!shape.is_everything()).then(|| self.type_key(shape, pattern.segments()))
        };
        patterns.iter().map(key).collect()
    }
}
