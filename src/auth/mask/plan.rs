//! All masks of one view that concern one type, ready to be applied.

use super::{
    Action, Mask, MaskKey,
    action::show_text,
    path::{Field, Target},
    tree::Tree,
};
use crate::event::{Attributes, EventType, Json, NewEvent, ShownFields};

/// What is masked in events of one type.
#[derive(Debug, Default)]
pub(in crate::auth) struct Plan {
    tree: Option<Tree>,
    fields: Vec<(Field, Action)>,
    attributes: Vec<(Option<Box<str>>, Action)>,
}

impl Plan {
    /// The plan for a type; `None` when no mask concerns it.
    pub(in crate::auth) fn new<'m>(
        masks: impl Iterator<Item = &'m Mask>,
        event_type: &EventType,
    ) -> Option<Self> {
        let mut plan = None;
        for mask in masks.filter(|mask| mask.concerns(event_type)) {
            let Plan { tree, fields, attributes } = plan.get_or_insert_default();
            match &mask.target {
                Target::Data(path) => tree.get_or_insert_with(Tree::new).add(path, mask.action),
                Target::Field(field) => fields.push((*field, mask.action)),
                Target::Attribute(name) => attributes.push((name.clone(), mask.action)),
            }
        }
        plan
    }

    /// The fields of an event as they are shown; `None` when nothing of it is masked.
    pub(in crate::auth) fn show(&self, event: &NewEvent, key: &MaskKey) -> Option<ShownFields> {
        // Nobody can tell what binary data has inside, so a mask of any part masks all of it.
        let is_binary = event.data_base64().is_some();
        let masks_binary = is_binary && (self.tree.is_some() || self.field(Field::DataBase64).is_some());
        let data =
            self.tree.as_ref().filter(|_| !is_binary).and_then(|tree| tree.show(event.data().as_str(), key));
        if data.is_none() && !masks_binary && !self.masks_text(event) && !self.masks_attribute(event) {
            return None;
        }
        Some(ShownFields {
            source: match self.field(Field::Source) {
                Some(action) => show_text(action, event.source(), key).unwrap_or_default().into(),
                None => event.shared_source(),
            },
            subject: self.text(Field::Subject, event.subject(), key),
            scope: event.scope().shown(|field, id| self.text(Field::Scope(field), Some(id), key)),
            correlation_id: self.text(Field::CorrelationId, event.correlation_id(), key),
            data: data.map_or_else(|| event.data().clone(), |json| Json::stored(&json)),
            data_base64: event.data_base64().filter(|_| !masks_binary).map(Into::into),
            attributes: self.attributes(event, key),
        })
    }

    fn field(&self, field: Field) -> Option<Action> {
        self.fields.iter().filter(|(own, _)| *own == field).map(|(_, action)| *action).max()
    }

    fn attribute(&self, name: &str) -> Option<Action> {
        let concerns = |own: &Option<Box<str>>| own.as_deref().is_none_or(|own| own == name);
        self.attributes.iter().filter(|(own, _)| concerns(own)).map(|(_, action)| *action).max()
    }

    /// Has the event a text that is masked?
    fn masks_text(&self, event: &NewEvent) -> bool {
        self.fields.iter().any(|(field, _)| match field {
            Field::Source => true,
            Field::Subject => event.subject().is_some(),
            Field::CorrelationId => event.correlation_id().is_some(),
            Field::Scope(field) => event.scope().get(*field).is_some(),
            Field::DataBase64 => false,
        })
    }

    fn masks_attribute(&self, event: &NewEvent) -> bool {
        event.attributes().keys().any(|name| self.attribute(name).is_some())
    }

    fn text(&self, field: Field, text: Option<&str>, key: &MaskKey) -> Option<Box<str>> {
        match self.field(field) {
            Some(action) => show_text(action, text?, key).map(Into::into),
            None => text.map(Into::into),
        }
    }

    /// CloudEvents has no null, so an attribute that would be null goes.
    fn attributes(&self, event: &NewEvent, key: &MaskKey) -> Attributes {
        let shown = |(name, value): (&String, &serde_json::Value)| {
            let value = match (self.attribute(name), value) {
                (None, value) => value.clone(),
                (Some(action), serde_json::Value::String(text)) => show_text(action, text, key)?.into(),
                (Some(Action::Partial), _) => show_text(Action::Partial, "", key)?.into(),
                (Some(action), value) => show_text(action, &value.to_string(), key)?.into(),
            };
            Some((name.clone(), value))
        };
        event.attributes().iter().filter_map(shown).collect()
    }
}
