//! The rules as sentences, for `fanfare check-config`.

use super::{Action, Mask, Masks};
use crate::event::TypePattern;

impl Mask {
    /// What somebody who has this mask sees, such as `data.user.email as ***1234 in agent.*`.
    fn sentence(&self) -> String {
        let types: Vec<&str> = self.types().iter().map(TypePattern::as_str).collect();
        let (path, types) = (self.path(), types.join(", "));
        match self.action {
            Action::Drop => format!("no {path} in {types}"),
            Action::Null => format!("{path} as null in {types}"),
            Action::Hash => format!("{path} as hash:… in {types}"),
            Action::Partial => format!("{path} as ***1234 in {types}"),
        }
    }
}

impl Masks {
    /// What each of these roles sees, and what everybody else does: a line for each mask.
    pub fn explain(&self, roles: &[impl AsRef<str>]) -> Vec<String> {
        let roles: Vec<&str> = roles.iter().map(AsRef::as_ref).collect();
        let mut lines = Vec::new();
        for role in &roles {
            self.explain_one(role, &[*role], &roles, &mut lines);
        }
        self.explain_one("whoever has no role, or one that is not in the policy,", &[], &roles, &mut lines);
        lines
    }

    fn explain_one(&self, who: &str, roles: &[&str], known: &[&str], lines: &mut Vec<String>) {
        let view = self.view(roles, |role| known.contains(&role));
        if view.is_whole() {
            lines.push(format!("{who} sees everything"));
        }
        lines.extend(view.masks().map(|mask| format!("{who} sees {}", mask.sentence())));
    }
}
