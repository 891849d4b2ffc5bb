//! Fields of a resource as a caller gives them, and the one door through which they become checked ones.
//!
//! Invariants: checked fields are known to the kind, may be given in this place, and are within their limits; each refusal
//! names the field, what was given and what is allowed.

use super::kind::{Declaration, Kind};
use crate::{
    error::{Code, Refusal},
    event::{ScopeField, check_id, json},
};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use std::collections::BTreeMap;

const NULL: &str = "null";

/// Fields by name, as a caller gives them: a value sets a field, null clears it, and what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct Fields(BTreeMap<Box<str>, Box<RawValue>>);

impl Fields {
    /// No fields.
    pub fn new() -> Self {
        Fields::default()
    }

    /// The same with one more field.
    #[must_use]
    pub fn with(self, name: &str, value: impl Into<Value>) -> Self {
        self.with_raw(name, to_raw_value(&value.into()).expect("a Value is JSON"))
    }

    /// The same with one more field, whose JSON stays as it is written.
    #[must_use]
    pub fn with_raw(mut self, name: &str, value: Box<RawValue>) -> Self {
        self.0.insert(name.into(), value);
        self
    }

    /// Reads the fields of a JSON object. Fails with `BAD_REQUEST`.
    pub fn from_json(text: &str) -> Result<Self, Refusal> {
        json::read(text).map(Fields)
    }

    /// Takes an id out: `None` where it is absent or null.
    fn take_id(&mut self, name: &'static str) -> Result<Option<String>, Refusal> {
        match self.0.remove(name) {
            Some(value) if value.get() != NULL => id(name, &value).map(Some),
            Some(_) | None => Ok(None),
        }
    }
}

fn id(name: &'static str, value: &RawValue) -> Result<String, Refusal> {
    let id = serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned());
    check_id(&id, Code::BadRequest, name)?;
    Ok(id)
}

/// Where fields are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Creation,
    Update,
    /// With a transition that takes these.
    Transition(&'static [&'static str]),
}

/// Fields that a resource of the kind may be given in this place, each within its limits.
#[derive(Clone, Debug, Default)]
pub(super) struct Checked {
    /// The id, at creation.
    pub(super) id: Option<String>,
    /// What it belongs to; `None` clears.
    pub(super) references: Vec<(ScopeField, Option<String>)>,
    /// The values; `None` clears.
    pub(super) values: BTreeMap<&'static str, Option<Box<RawValue>>>,
}

impl Checked {
    /// Checks fields. Fails with `BAD_REQUEST`.
    pub(super) fn new(kind: Kind, place: Place, mut given: Fields) -> Result<Self, Refusal> {
        let declaration = kind.declaration();
        let mut checked = Checked::default();
        if place == Place::Creation {
            checked.id = given.take_id("id")?;
        }
        for reference in declaration.references() {
            let name = reference.field.camel();
            let may_be_given = match place {
                Place::Creation => true,
                Place::Update => reference.is_updatable,
                Place::Transition(_) => false,
            };
            if may_be_given && given.0.contains_key(name) {
                checked.references.push((reference.field, given.take_id(name)?));
            }
        }
        for (name, value) in given.0 {
            let Some(field) = declaration.field(&name).filter(|field| match place {
                Place::Creation => field.at_creation,
                Place::Update => field.by_update,
                Place::Transition(takes) => takes.contains(&field.name),
            }) else {
                return Err(unknown(kind, place, &name));
            };
            let value = Some(value).filter(|value| value.get() != NULL);
            match &value {
                Some(value) => field.shape.check(field.name, value)?,
                None if field.is_required && place != Place::Creation => {
                    return Err(Refusal::field(
                        Code::BadRequest,
                        field.name,
                        NULL,
                        "a value, which it must have",
                    ));
                }
                None => {}
            }
            checked.values.insert(field.name, value);
        }
        Ok(checked)
    }

    /// Are there none?
    pub(super) fn is_empty(&self) -> bool {
        self.references.is_empty() && self.values.is_empty()
    }

    /// About how much it holds.
    pub(super) fn bytes(&self) -> usize {
        let values = self
            .values
            .iter()
            .map(|(name, value)| name.len() + value.as_ref().map_or(0, |value| value.get().len()));
        values.sum()
    }

    /// Does it give a value to a field?
    pub(super) fn sets(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(Option::is_some)
    }
}

/// The refusal of a field that cannot be given here.
fn unknown(kind: Kind, place: Place, name: &str) -> Refusal {
    Refusal::field(Code::BadRequest, name, name, allowed(kind.declaration(), place))
}

/// The fields that can be given in a place, for people.
fn allowed(declaration: &Declaration, place: Place) -> String {
    let references = declaration.references().iter();
    let mut names: Vec<&str> = match place {
        Place::Creation => {
            let fields = declaration.fields().iter().filter(|field| field.at_creation);
            let own = references.map(|reference| reference.field.camel());
            ["id"].into_iter().chain(own).chain(fields.map(|field| field.name)).collect()
        }
        Place::Update => {
            let fields = declaration.fields().iter().filter(|field| field.by_update);
            let own = references.filter(|reference| reference.is_updatable);
            own.map(|reference| reference.field.camel()).chain(fields.map(|field| field.name)).collect()
        }
        Place::Transition(takes) => takes.to_vec(),
    };
    names.dedup();
    names.join(", ")
}
