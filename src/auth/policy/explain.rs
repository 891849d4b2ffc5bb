//! The policy as sentences, for `fanfare check-config`.

use super::{Policy, rules::RuleDraft, template::Template};

impl Policy {
    /// What each role may do and sees, with the variables as they are written, and what the others may: a line for each rule.
    pub fn explain(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, role) in &self.roles {
            lines.extend(ruled(name, "read", &role.read));
            lines.extend(ruled(name, "publish", &role.publish));
            if role.is_admin {
                lines.push(format!("{name} may administer the server"));
            }
        }
        if let Some(path) = &self.mapping.roles {
            lines.push(format!("roles are named by claim {path}"));
        }
        for (name, path) in &self.mapping.variables {
            lines.push(format!("{{{name}}} is claim {path}"));
        }
        if let Some(path) = &self.mapping.grant {
            lines.push(format!("claim {path} may grant more"));
        }
        lines.push(match &self.anonymous {
            None => "whoever has no credential is refused".to_owned(),
            Some(roles) => format!("whoever has no credential is {}", roles.join(", ")),
        });
        if let Some(masks) = &self.masked {
            lines.extend(masks.explain(&self.roles().collect::<Vec<_>>()));
        }
        lines
    }
}

fn ruled(role: &str, verb: &str, rules: &[RuleDraft<Template>]) -> Vec<String> {
    match rules {
        [] => vec![format!("{role} may {verb} nothing")],
        rules => rules.iter().map(|rule| format!("{role} may {verb} {rule}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_is_explained_with_its_rules_as_they_are_written() {
        let text = r#"
            [claims]
            variables = { org = "org_id" }
            [roles.reader]
            read = [{ types = ["task.*", "agent.*"], organizationId = ["{org}", "x"] }, { userId = "{org}-{{1}}" }]
            [roles.ops]
            read = [{ types = ["*"] }]
            admin = true
            [anonymous]
            roles = ["reader"]
        "#;
        let policy = Policy::parse(text).unwrap();
        let expected = [
            "ops may read every type",
            "ops may publish nothing",
            "ops may administer the server",
            "reader may read types task.*, agent.* in organizationId {org}, x",
            "reader may read every type in userId {org}-{{1}}",
            "reader may publish nothing",
            "roles are named by claim roles",
            "{org} is claim org_id",
            "claim fanfare may grant more",
            "whoever has no credential is reader",
        ];
        assert_eq!(policy.explain(), expected);
    }
}
