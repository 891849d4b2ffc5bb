//! A filter as callers write it: [`FilterDraft`], and the one door through which it becomes an [`EventFilter`].
//!
//! Invariants: what is built has passed every bound of a filter; each refusal names the field, what was given and what is
//! allowed.

use super::{EventFilter, Ids};
use crate::{
    error::{Code, Refusal},
    event::{Family, Priority, ScopeField, TypePattern, scope::check_id},
};
use serde::Deserialize;
use std::fmt;

/// The most patterns of one filter, alternatives included.
const PATTERNS_MAX: usize = 64;
/// The most ids of one filter (scopes, sources, correlation ids), alternatives included.
const IDS_MAX: usize = 1_000;
/// The most alternatives in `anyOf`.
const ALTERNATIVES_MAX: usize = 8;

/// One value or a list of them, as callers may write it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a string or a list of strings")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    Ok(Option::<OneOrMany>::deserialize(deserializer)?.map(|given| match given {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    }))
}

/// Reads each alternative as an object: a derived reader also takes a list, by the order of the fields, and `[]` would allow
/// everything.
fn alternatives<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<AlternativeDraft>>, D::Error> {
    let objects = Option::<Vec<Object>>::deserialize(deserializer)?;
    Ok(objects.map(|objects| objects.into_iter().map(|Object(draft)| draft).collect()))
}

struct Object(AlternativeDraft);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> serde::de::Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, members: A) -> Result<Object, A::Error> {
        AlternativeDraft::deserialize(serde::de::value::MapAccessDeserializer::new(members)).map(Object)
    }
}

macro_rules! filter_draft {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$more:meta])* pub $any_of:ident: $kind:ty,)? })*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, Default, Deserialize)]
            #[serde(rename_all = "camelCase", deny_unknown_fields)]
            pub struct $name {
                /// Patterns of types, such as `agent.*`.
                #[serde(default, deserialize_with = "one_or_many")]
                pub types: Option<Vec<String>>,
                /// First segments of types, such as `agent`; `custom` is every type of no family.
                #[serde(default, deserialize_with = "one_or_many")]
                pub categories: Option<Vec<String>>,
                /// Organizations.
                #[serde(default, deserialize_with = "one_or_many")]
                pub organization_id: Option<Vec<String>>,
                /// Domains.
                #[serde(default, deserialize_with = "one_or_many")]
                pub domain_id: Option<Vec<String>>,
                /// Instances.
                #[serde(default, deserialize_with = "one_or_many")]
                pub instance_id: Option<Vec<String>>,
                /// Agents.
                #[serde(default, deserialize_with = "one_or_many")]
                pub agent_id: Option<Vec<String>>,
                /// Tasks.
                #[serde(default, deserialize_with = "one_or_many")]
                pub task_id: Option<Vec<String>>,
                /// Workflows.
                #[serde(default, deserialize_with = "one_or_many")]
                pub workflow_id: Option<Vec<String>>,
                /// Users.
                #[serde(default, deserialize_with = "one_or_many")]
                pub user_id: Option<Vec<String>>,
                /// Rooms.
                #[serde(default, deserialize_with = "one_or_many")]
                pub room_id: Option<Vec<String>>,
                /// Producers.
                #[serde(default, deserialize_with = "one_or_many")]
                pub sources: Option<Vec<String>>,
                /// Requests.
                #[serde(default, deserialize_with = "one_or_many")]
                pub correlation_id: Option<Vec<String>>,
                /// `LOW`, `NORMAL`, `HIGH` or `CRITICAL`.
                #[serde(default)]
                pub min_priority: Option<String>,
                $($(#[$more])* pub $any_of: $kind,)?
            }

            impl $name {
                fn own(&mut self, at: &str) -> Result<EventFilter, Refusal> {
                    let scope = [
                        self.organization_id.take(), self.domain_id.take(), self.instance_id.take(), self.agent_id.take(),
                        self.task_id.take(), self.workflow_id.take(), self.user_id.take(), self.room_id.take(),
                    ];
                    let mut filter = EventFilter {
                        types: list(self.types.take(), at, "types", &|text, field| TypePattern::parse(text, field))?,
                        families: list(self.categories.take(), at, "categories", &family)?,
                        sources: sources(self.sources.take(), at)?,
                        correlation_ids: ids(self.correlation_id.take(), at, "correlationId")?,
                        min_priority: priority(self.min_priority.take(), at)?,
                        ..EventFilter::default()
                    };
                    for ((field, given), place) in ScopeField::ALL.into_iter().zip(scope).zip(&mut filter.scope) {
                        *place = ids(given, at, field.camel())?;
                    }
                    Ok(filter)
                }
            }
        )*
    };
}

filter_draft! {
    /// A filter as callers write it: names of JSON and GraphQL, nothing checked but the types.
    pub struct FilterDraft {
        /// Alternatives: an event needs to meet one of them, beside the fields above.
        #[serde(default, deserialize_with = "alternatives")]
        pub any_of: Option<Vec<AlternativeDraft>>,
    }

    /// One alternative inside `anyOf`: a filter without alternatives of its own.
    pub struct AlternativeDraft {}
}

impl EventFilter {
    /// Checks a draft. Fails with `INVALID_FILTER`; the refusal names the field, what was given and what is allowed.
    pub fn new(mut draft: FilterDraft) -> Result<Self, Refusal> {
        let mut filter = draft.own("")?;
        if let Some(alternatives) = draft.any_of {
            bound(alternatives.len(), 1..=ALTERNATIVES_MAX, "anyOf", "alternatives")?;
            let filters =
                alternatives.into_iter().enumerate().map(|(at, mut one)| one.own(&format!("anyOf[{at}].")));
            let mut filters = filters.collect::<Result<Vec<_>, _>>()?;
            filters.sort_unstable();
            filters.dedup();
            filter.any_of = Some(filters.into());
        }
        let (patterns, ids) = filter.count();
        bound(patterns, 0..=PATTERNS_MAX, "types", "patterns")?;
        bound(ids, 0..=IDS_MAX, "filter", "ids")?;
        Ok(filter)
    }
}

fn bound(
    count: usize,
    allowed: std::ops::RangeInclusive<usize>,
    field: &str,
    what: &str,
) -> Result<(), Refusal> {
    match allowed.contains(&count) {
        true => Ok(()),
        false => Err(Refusal::field(
            Code::InvalidFilter,
            field,
            &format!("{count} {what}"),
            format!("{} to {} {what}", allowed.start(), allowed.end()),
        )),
    }
}

/// Parses each item; sorts; removes repeats. An empty list would match nothing and is refused.
fn list<T: Ord>(
    given: Option<Vec<String>>,
    at: &str,
    name: &str,
    parse: &dyn Fn(&str, &str) -> Result<T, Refusal>,
) -> Result<Option<Box<[T]>>, Refusal> {
    let Some(given) = given else { return Ok(None) };
    not_empty(given.len(), at, name)?;
    let items = given.iter().enumerate().map(|(index, text)| parse(text, &format!("{at}{name}[{index}]")));
    let mut items = items.collect::<Result<Vec<_>, _>>()?;
    items.sort_unstable();
    items.dedup();
    Ok(Some(items.into()))
}

fn not_empty(length: usize, at: &str, name: &str) -> Result<(), Refusal> {
    match length {
        0 => Err(Refusal::field(
            Code::InvalidFilter,
            &format!("{at}{name}"),
            "[]",
            "at least one item, or leave the field out to allow all (an empty list would match nothing)",
        )),
        _ => Ok(()),
    }
}

fn ids(given: Option<Vec<String>>, at: &str, name: &str) -> Result<Option<Ids>, Refusal> {
    let check =
        |text: &str, field: &str| check_id(text, Code::InvalidFilter, field).map(|()| text.to_owned());
    Ok(list(given, at, name, &check)?.map(|ids| Ids::new(ids.into_vec())))
}

fn sources(given: Option<Vec<String>>, at: &str) -> Result<Option<Ids>, Refusal> {
    let Some(given) = given else { return Ok(None) };
    not_empty(given.len(), at, "sources")?;
    Ok(Some(Ids::new(given)))
}

fn family(name: &str, field: &str) -> Result<Family, Refusal> {
    match (name, Family::of(name)) {
        ("custom", _) => Ok(Family::Custom),
        (_, Family::Custom) => {
            let known: Vec<_> = Family::ALL.iter().filter_map(|family| family.segment()).collect();
            Err(Refusal::field(Code::InvalidFilter, field, name, format!("{}, custom", known.join(", "))))
        }
        (_, family) => Ok(family),
    }
}

fn priority(given: Option<String>, at: impl fmt::Display) -> Result<Option<Priority>, Refusal> {
    let Some(name) = given else { return Ok(None) };
    Priority::from_name(&name).map(Some).ok_or_else(|| {
        Refusal::field(
            Code::InvalidFilter,
            &format!("{at}minPriority"),
            &name,
            "LOW, NORMAL, HIGH or CRITICAL",
        )
    })
}
