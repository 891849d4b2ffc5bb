//! What a change makes of a resource: pure functions from what is there and what is asked for to the event that tells of it.
//!
//! Invariants: a version is one more than the one before it, 1 at creation; the data of an event holds every field of the
//! kind, null where there is none, so that it can be laid over an older state; what a refusal tells of a resource is what its
//! caller may see (the image `shown`), and `changed` names a field that is hidden from the caller whether it differs or not.
//! Not here: whether what it refers to is there, and who may change it (`decide`).

use super::{
    fields::Checked,
    kind::{Kind, Transition, Verb},
    resource::{Image, unreadable},
};
use crate::{
    error::{Code, Refusal},
    event::{Draft, Scope, ScopeField},
    hub::STATE_SOURCE,
};
use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};
use std::collections::BTreeMap;

/// What a change brings along, so that it depends on nothing else.
#[derive(Clone, Debug)]
pub(super) struct Stamp {
    event_id: String,
    time: DateTime<Utc>,
}

impl Stamp {
    pub(super) fn now() -> Self {
        Stamp { event_id: uuid::Uuid::now_v7().to_string(), time: Utc::now().trunc_subsecs(3) }
    }

    fn text(&self) -> String {
        self.time.to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}

/// What is there, and what of it the caller may see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current<'a> {
    pub(super) image: &'a Image,
    pub(super) shown: &'a Image,
}

/// The values of a resource on its way into an event.
struct Next<'a> {
    kind: Kind,
    id: String,
    version: u64,
    created_at: String,
    scope: Scope,
    values: BTreeMap<&'static str, Box<RawValue>>,
    stamp: &'a Stamp,
}

/// The event of a new resource. Fails with `BAD_REQUEST` when a field is missing.
pub(super) fn create(kind: Kind, id: &str, given: &Checked, stamp: &Stamp) -> Result<Draft, Refusal> {
    let declaration = kind.declaration();
    for field in declaration.fields().iter().filter(|field| field.is_required) {
        if !given.sets(field.name) {
            return Err(Refusal::field(
                Code::BadRequest,
                field.name,
                "nothing",
                "a value, which it must have",
            ));
        }
    }
    let mut next = Next {
        kind,
        id: id.to_owned(),
        version: 1,
        created_at: stamp.text(),
        scope: Scope::default(),
        values: BTreeMap::new(),
        stamp,
    };
    if let Some(own) = declaration.own() {
        next.scope.set(own, id)?;
    }
    if let Some(status) = declaration.first_status() {
        next.set_status(status);
    }
    let changed = next.take(given)?;
    let action = declaration.actions().create;
    Ok(next.draft(action, None, &changed))
}

/// The event of an update. Fails with `CONFLICT` for another version, and `BAD_REQUEST`.
pub(super) fn update(
    current: Current<'_>,
    given: &Checked,
    expected_version: Option<u64>,
    stamp: &Stamp,
) -> Result<Draft, Refusal> {
    let mut next = Next::after(current, expected_version, stamp)?;
    let kind = next.kind;
    let action = kind.declaration().actions().update.ok_or_else(|| fixed(kind))?;
    next.take(given)?;
    let changed = current.changed(&next, given);
    Ok(next.draft(action, None, &changed))
}

/// The event of a change of status. Fails with `CONFLICT` for another version, and for a status that it cannot follow.
pub(super) fn transition(
    current: Current<'_>,
    transition: &Transition,
    given: &Checked,
    expected_version: Option<u64>,
    stamp: &Stamp,
) -> Result<Draft, Refusal> {
    let mut next = Next::after(current, expected_version, stamp)?;
    let before = current.image.text("status").ok_or_else(unreadable)?;
    current.check_status(&before, transition)?;
    next.take(given)?;
    if let Some(to) = transition.to {
        next.set_status(to);
    }
    let after = next.values.get("status").map(|value| value.get().to_owned());
    let is_moved = after != current.image.member("status").map(|value| value.get().to_owned());
    if transition.to.is_none() && !is_moved && current.is_shown("status") {
        let noun = next.kind.name();
        return Err(Refusal::new(Code::Conflict, format!("the {noun} has the status {before:?} already"))
            .with("field", "status")
            .with("given", before)
            .with("allowed", "another status"));
    }
    let mut changed = current.changed(&next, given);
    if is_moved && !changed.contains(&"status") {
        changed.push("status");
        changed.sort_unstable();
    }
    Ok(next.draft(transition.action, is_moved.then_some(before), &changed))
}

/// The event of a deletion: the state before it, under a version of its own. Fails with `CONFLICT` for another version.
pub(super) fn delete(
    current: Current<'_>,
    expected_version: Option<u64>,
    stamp: &Stamp,
) -> Result<Draft, Refusal> {
    let next = Next::after(current, expected_version, stamp)?;
    let action = next.kind.declaration().actions().delete;
    Ok(next.draft(action, None, &[]))
}

/// The refusal of an update of what only transitions change.
pub(super) fn fixed(kind: Kind) -> Refusal {
    let verbs: Vec<_> = kind.declaration().verbs().map(Verb::name).collect();
    let allowed = verbs.join(", ");
    Refusal::field(Code::BadRequest, kind.name(), "update", allowed)
}

impl Current<'_> {
    /// Does the caller see this member as it is?
    fn is_shown(&self, name: &str) -> bool {
        self.image.agrees(self.shown, name)
    }

    fn is_reference_shown(&self, field: ScopeField) -> bool {
        self.image.scope.get(field) == self.shown.scope.get(field)
    }

    fn check_version(&self, version: u64, expected: Option<u64>) -> Result<(), Refusal> {
        let Some(expected) = expected.filter(|expected| *expected != version) else { return Ok(()) };
        let refusal = |message: String| {
            Refusal::new(Code::Conflict, message)
                .with("field", "expectedVersion")
                .with("given", expected.to_string())
        };
        let noun = self.image.kind.name();
        match self.shown.version() {
            Some(shown) if shown == version => {
                Err(refusal(format!("the {noun} has version {version} now, not {expected}"))
                    .with("version", version.to_string()))
            }
            Some(_) | None => Err(refusal(format!("the {noun} has not version {expected} now"))),
        }
    }

    fn check_status(&self, status: &str, transition: &Transition) -> Result<(), Refusal> {
        if transition.from.is_empty() || transition.from.contains(&status) {
            return Ok(());
        }
        let (noun, verb) = (self.image.kind.name(), transition.verb.name());
        if !self.is_shown("status") {
            let message = format!("the {noun} has a status in which {verb} is not allowed");
            return Err(Refusal::new(Code::Conflict, message).with("given", verb));
        }
        let verbs: Vec<_> =
            self.image.kind.declaration().transitions_from(status).map(|one| one.verb.name()).collect();
        let (message, allowed) = match verbs.as_slice() {
            [] => (
                format!("the {noun} is {status}, so it cannot {verb}; its life is over"),
                "nothing".to_owned(),
            ),
            verbs => {
                let allowed = verbs.join(", ");
                (
                    format!("the {noun} is {status}, so it cannot {verb}; allowed from here is {allowed}"),
                    allowed,
                )
            }
        };
        Err(Refusal::new(Code::Conflict, message)
            .with("status", status)
            .with("given", verb)
            .with("allowed", allowed))
    }

    /// The fields that a change gives another value, and those whose value the caller may not see, in order.
    fn changed(&self, next: &Next<'_>, given: &Checked) -> Vec<&'static str> {
        let references = given.references.iter().map(|(field, _)| *field).filter(|field| {
            next.scope.get(*field) != self.image.scope.get(*field) || !self.is_reference_shown(*field)
        });
        let values = given.values.keys().copied().filter(|name| {
            let now = next.values.get(name).map(|value| value.get());
            now != self.image.member(name).map(RawValue::get) || !self.is_shown(name)
        });
        let mut changed: Vec<_> = references.map(ScopeField::camel).chain(values).collect();
        changed.sort_unstable();
        changed
    }
}

impl<'a> Next<'a> {
    /// The same as before, as the next version.
    fn after(current: Current<'_>, expected: Option<u64>, stamp: &'a Stamp) -> Result<Self, Refusal> {
        let image = current.image;
        let version = image.version().ok_or_else(unreadable)?;
        current.check_version(version, expected)?;
        let fields = image.kind.declaration().fields().iter();
        let values = fields.filter_map(|field| Some((field.name, image.member(field.name)?.to_owned())));
        Ok(Next {
            kind: image.kind,
            id: image.text("id").ok_or_else(unreadable)?,
            version: version + 1,
            created_at: image.text("createdAt").ok_or_else(unreadable)?,
            scope: image.scope.clone(),
            values: values.collect(),
            stamp,
        })
    }

    /// Takes what is given; says which fields have a value now that had none, or another one.
    fn take(&mut self, given: &Checked) -> Result<Vec<&'static str>, Refusal> {
        for (field, id) in &given.references {
            match id {
                Some(id) => self.scope.set(*field, id)?,
                None => self.scope.clear(*field),
            }
        }
        for (name, value) in &given.values {
            match value {
                Some(value) => self.values.insert(name, value.clone()),
                None => self.values.remove(name),
            };
        }
        let references = given.references.iter().filter(|(_, id)| id.is_some());
        let values = given.values.iter().filter(|(_, value)| value.is_some());
        let mut names: Vec<_> =
            references.map(|(field, _)| field.camel()).chain(values.map(|(name, _)| *name)).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn set_status(&mut self, status: &str) {
        self.values.insert("status", to_raw_value(status).expect("text is JSON"));
    }

    fn draft(self, action: &str, previous_status: Option<String>, changed: &[&str]) -> Draft {
        let declaration = self.kind.declaration();
        let data = self.data(previous_status, changed);
        let subject = format!("{}/{}", self.kind.name(), self.id);
        let mut draft = Draft {
            id: Some(self.stamp.event_id.clone()),
            event_type: declaration.event_type(action),
            time: Some(self.stamp.time),
            source: Some(STATE_SOURCE.to_owned()),
            subject: Some(subject),
            data: Some(data),
            ..Draft::default()
        };
        for (field, id) in self.scope.iter() {
            *draft.scope_mut(field) = Some(id.to_owned());
        }
        draft
    }

    /// The state as an object: what every kind has, its fields in the order in which they are declared, and what changed.
    fn data(&self, previous_status: Option<String>, changed: &[&str]) -> Box<RawValue> {
        let mut text = format!(
            r#"{{"id":{},"version":{},"createdAt":{},"updatedAt":{}"#,
            json!(self.id),
            self.version,
            json!(self.created_at),
            json!(self.stamp.text())
        );
        for field in self.kind.declaration().fields() {
            let value = self.values.get(field.name).map_or("null", |value| value.get());
            text.push_str(&format!(r#","{}":{value}"#, field.name));
        }
        if let Some(previous) = previous_status {
            text.push_str(&format!(r#","previousStatus":{}"#, json!(previous)));
        }
        text.push_str(&format!(r#","changed":{}}}"#, json!(changed)));
        RawValue::from_string(text).expect("members of JSON make JSON")
    }
}
