//! Changes at random: of a few domains, agents and tasks, so that most meet one that is there.

use crate::chance::Chance;

/// A mutation, without the organization.
#[derive(Clone, Debug)]
pub(super) struct Change {
    field: String,
    /// The field of its answer that holds the resource.
    noun: &'static str,
}

const VERBS: [&str; 6] = ["start", "pause", "resume", "complete", "fail", "cancel"];

impl Change {
    /// The organization itself.
    pub(super) fn found() -> Self {
        Change {
            field: r#"createOrganization(organization: { id: ORG, name: "x" })"#.to_owned(),
            noun: "organization",
        }
    }

    /// Any change.
    pub(super) fn random(chance: &mut Chance) -> Self {
        let (domain, agent, task) = (chance.below(2), chance.below(3), chance.below(3));
        let (name, version) = (chance.below(1_000), chance.between(1, 6));
        let expected = match chance.percent(30) {
            true => format!(", expectedVersion: {version}"),
            false => String::new(),
        };
        let named = |id: String| format!(r#"id: "{id}", organizationId: ORG"#);
        let (domain_id, agent_id, task_id) = (format!("d{domain}"), format!("a{agent}"), format!("t{task}"));
        let (noun, field) = match chance.below(12) {
            0 => ("domain", format!(r#"createDomain(domain: {{ {}, name: "{name}" }})"#, named(domain_id))),
            1 => (
                "domain",
                format!(r#"updateDomain({}, changes: {{ name: "{name}" }}{expected})"#, named(domain_id)),
            ),
            2 if chance.percent(30) => ("domain", format!("deleteDomain({}{expected})", named(domain_id))),
            2 | 3 => {
                let of =
                    if chance.percent(50) { format!(r#", domainId: "{domain_id}""#) } else { String::new() };
                ("agent", format!(r#"createAgent(agent: {{ {}{of}, name: "{name}" }})"#, named(agent_id)))
            }
            4 => (
                "agent",
                format!(r#"updateAgent({}, changes: {{ name: "{name}" }}{expected})"#, named(agent_id)),
            ),
            5 => ("agent", format!(r#"setAgentStatus({}, status: "s{name}"{expected})"#, named(agent_id))),
            6 if chance.percent(30) => ("agent", format!("deleteAgent({}{expected})", named(agent_id))),
            6 | 7 => {
                let of =
                    if chance.percent(50) { format!(r#", agentId: "{agent_id}""#) } else { String::new() };
                ("task", format!(r#"createTask(task: {{ {}{of}, name: "{name}" }})"#, named(task_id)))
            }
            8 => ("task", format!("progressTask({}, progress: {name}{expected})", named(task_id))),
            9 if chance.percent(40) => ("task", format!("deleteTask({}{expected})", named(task_id))),
            9 => {
                let changes = format!(r#"{{ name: "{name}", agentId: "{agent_id}" }}"#);
                ("task", format!("updateTask({}, changes: {changes}{expected})", named(task_id)))
            }
            _ => {
                let verb = chance.one_of(&VERBS).unwrap_or("start");
                ("task", format!("{verb}Task({}{expected})", named(task_id)))
            }
        };
        Change { field, noun }
    }

    /// The mutation in an organization.
    pub(super) fn document(&self, organization: &str) -> String {
        let Change { field, noun } = self;
        let field = field.replace("ORG", &format!("{organization:?}"));
        format!("mutation {{ made: {field} {{ state: {noun} {{ id version }} cursor }} }}")
    }
}
