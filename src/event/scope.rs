//! Whom an event concerns: eight optional ids, the same eight in events, filters, storage and every protocol.

use crate::error::{Code, Refusal};
use std::fmt;

/// The most bytes of an id.
pub const ID_BYTES_MAX: usize = 128;
const ID_RULE: &str = "1 to 128 visible ASCII characters without spaces";

macro_rules! scope_fields {
    ($($(#[$doc:meta])* $variant:ident $camel:literal $snake:literal;)*) => {
        /// One of the ids that say whom an event concerns.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ScopeField { $($(#[$doc])* $variant,)* }

        impl ScopeField {
            /// Every field, in the order in which they are stored and shown.
            pub const ALL: [ScopeField; 8] = [$(ScopeField::$variant,)*];

            /// The name in JSON and GraphQL, such as `organizationId`.
            pub const fn camel(self) -> &'static str {
                match self { $(ScopeField::$variant => $camel,)* }
            }

            /// The name of the column, such as `organization_id`.
            pub const fn snake(self) -> &'static str {
                match self { $(ScopeField::$variant => $snake,)* }
            }
        }
    };
}

scope_fields! {
    /// The organization.
    Organization "organizationId" "organization_id";
    /// The domain inside it.
    Domain "domainId" "domain_id";
    /// The running instance.
    Instance "instanceId" "instance_id";
    /// The agent.
    Agent "agentId" "agent_id";
    /// The task.
    Task "taskId" "task_id";
    /// The workflow.
    Workflow "workflowId" "workflow_id";
    /// The user.
    User "userId" "user_id";
    /// The room.
    Room "roomId" "room_id";
}

/// The scope of an event: an id, or none, for each [`ScopeField`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope([Option<Box<str>>; 8]);

impl Scope {
    /// The id of a field.
    pub fn get(&self, field: ScopeField) -> Option<&str> {
        self.0.get(field as usize).and_then(Option::as_deref)
    }

    /// Sets the id of a field after checking it; the refusal has code `INVALID_EVENT`.
    pub fn set(&mut self, field: ScopeField, id: &str) -> Result<(), Refusal> {
        check_id(id, Code::InvalidEvent, field.camel())?;
        if let Some(place) = self.0.get_mut(field as usize) {
            *place = Some(id.into());
        }
        Ok(())
    }

    /// Takes the id of a field away.
    pub fn clear(&mut self, field: ScopeField) {
        if let Some(place) = self.0.get_mut(field as usize) {
            *place = None;
        }
    }

    /// The scope with each id as `show` gives it. What it gives keeps the rule of ids.
    pub(crate) fn shown(&self, mut show: impl FnMut(ScopeField, &str) -> Option<Box<str>>) -> Scope {
        let mut shown = Scope::default();
        for ((field, id), place) in ScopeField::ALL.into_iter().zip(&self.0).zip(&mut shown.0) {
            *place = id.as_deref().and_then(|id| show(field, id));
        }
        shown
    }

    /// The ids that are set, with their fields.
    pub fn iter(&self) -> impl Iterator<Item = (ScopeField, &str)> {
        ScopeField::ALL.into_iter().filter_map(|field| self.get(field).map(|id| (field, id)))
    }
}

/// Checks an id: byte-exact comparison is only safe when look-alikes and invisible characters are kept out.
pub(crate) fn check_id(id: &str, code: Code, field: impl fmt::Display) -> Result<(), Refusal> {
    match !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(Refusal::field(code, &field.to_string(), id, ID_RULE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_blanks_and_control_characters_are_refused() {
        for bad in ["", " a", "a ", "a\0", "a\n", "\u{200b}a", "\u{212a}", "ａ", &"x".repeat(129)] {
            let mut scope = Scope::default();
            let refusal = scope.set(ScopeField::Task, bad).unwrap_err();
            assert_eq!(
                (refusal.code, refusal.detail("field")),
                (Code::InvalidEvent, Some("taskId")),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_scope_gives_back_what_was_set_and_nothing_else() {
        let mut scope = Scope::default();
        scope.set(ScopeField::User, "u@example.org").unwrap();
        assert_eq!(scope.iter().collect::<Vec<_>>(), [(ScopeField::User, "u@example.org")]);
    }
}
