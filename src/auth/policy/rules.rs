//! Rules and roles as they are written, in the policy file and in a claim.
//!
//! Invariants: an unknown name, a wrong type or a rule without any limit is a problem and never a wider rule.

use super::{
    node::{Findings, Node},
    template::{Template, Unfilled, Variables},
};
use crate::{
    error::{Code, Refusal},
    event::{Rule, ScopeField, TypePattern, check_id},
};
use std::fmt;

/// A rule as it is written; an id is a [`Template`] in the policy file, and text in a claim.
#[derive(Clone, Debug)]
pub(super) struct RuleDraft<T> {
    types: Option<Vec<TypePattern>>,
    scope: Vec<(ScopeField, Vec<T>)>,
}

/// What a role allows.
#[derive(Clone, Debug, Default)]
pub(super) struct Role {
    /// The rules to read by.
    pub(super) read: Vec<RuleDraft<Template>>,
    /// The rules to publish by.
    pub(super) publish: Vec<RuleDraft<Template>>,
    /// May it see and end what belongs to others?
    pub(super) is_admin: bool,
}

/// A rule of the policy without what depended on values that were not there.
#[derive(Debug)]
pub(super) struct Filled {
    /// `None`: it allows nothing.
    pub(super) rule: Option<Rule>,
    /// Why it allows less than it is written for.
    pub(super) note: Option<String>,
}

impl Role {
    /// Every event and the administration.
    pub(super) fn everything() -> Self {
        let every = || vec![RuleDraft { types: None, scope: Vec::new() }];
        Role { read: every(), publish: every(), is_admin: true }
    }

    /// Reads a role of the policy file.
    pub(super) fn read(node: &Node, path: &str, findings: &mut Findings) -> Self {
        let mut role = Role::default();
        for (name, value) in node.table(path, findings).unwrap_or_default() {
            let at = format!("{path}.{name}");
            match name.as_str() {
                "read" => role.read = rules(value, &at, findings, &Template::parse),
                "publish" => role.publish = rules(value, &at, findings, &Template::parse),
                "admin" => role.is_admin = value.flag(&at, findings).unwrap_or_default(),
                _ => findings.add(value, path, Some(name), "read, publish, admin"),
            }
        }
        role
    }

    /// Every template in it.
    pub(super) fn templates(&self) -> impl Iterator<Item = &Template> {
        self.read.iter().chain(&self.publish).flat_map(|rule| rule.scope.iter()).flat_map(|(_, ids)| ids)
    }
}

/// Reads a list of rules; `read_id` says what is allowed where a text is no id.
pub(super) fn rules<T>(
    node: &Node,
    path: &str,
    findings: &mut Findings,
    read_id: &dyn Fn(&str) -> Result<T, String>,
) -> Vec<RuleDraft<T>> {
    let items = node.list(path, findings).unwrap_or_default();
    let rules = items.iter().enumerate();
    rules.filter_map(|(index, item)| rule(item, &format!("{path}[{index}]"), findings, read_id)).collect()
}

fn rule<T>(
    node: &Node,
    path: &str,
    findings: &mut Findings,
    read_id: &dyn Fn(&str) -> Result<T, String>,
) -> Option<RuleDraft<T>> {
    let members = node.table(path, findings)?;
    let mut draft = RuleDraft { types: None, scope: Vec::new() };
    for (name, value) in members {
        let at = format!("{path}.{name}");
        let field = ScopeField::ALL.into_iter().find(|field| field.camel() == name);
        match (name.as_str(), field) {
            ("types", _) => draft.types = Some(value.texts(&at, findings, &pattern)),
            (_, Some(field)) => draft.scope.push((field, value.texts(&at, findings, read_id))),
            (_, None) => {
                let fields: Vec<_> = ScopeField::ALL.iter().map(|field| field.camel()).collect();
                findings.add(value, path, Some(name), format!("types, {}", fields.join(", ")));
            }
        }
    }
    if members.is_empty() {
        let rule = "a rule limits types or a scope field; types = [\"*\"] allows every event";
        findings.add(node, path, None, rule);
    }
    Some(draft)
}

fn pattern(text: &str) -> Result<TypePattern, String> {
    TypePattern::parse(text, "types").map_err(allowed)
}

/// Reads an id that stands for itself.
pub(super) fn plain_id(text: &str) -> Result<String, String> {
    check_id(text, Code::InvalidFilter, "id").map(|()| text.to_owned()).map_err(allowed)
}

#[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn allowed(refusal: Refusal) -> String {
    refusal.detail("allowed").unwrap_or_default().to_owned()
}

impl<T> RuleDraft<T> {
    /// The names of its lists that are empty: each makes it allow nothing.
    pub(super) fn empty_lists(&self) -> impl Iterator<Item = &'static str> {
        let types = self.types.as_ref().is_some_and(Vec::is_empty).then_some("types");
        let scope = self.scope.iter().filter(|(_, ids)| ids.is_empty()).map(|(field, _)| field.camel());
        types.into_iter().chain(scope)
    }

    /// How many patterns and ids it lists, templates counted once.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.types.as_ref().map_or(0, Vec::len), self.scope.iter().map(|(_, ids)| ids.len()).sum())
    }

    /// The rule with these ids for each limited field.
    fn with(&self, mut ids: impl FnMut(&[T]) -> Result<Vec<String>, String>) -> Filled {
        let typed = self.types.clone().map_or_else(Rule::default, |types| Rule::default().with_types(types));
        let mut rule = typed;
        for (field, given) in &self.scope {
            let found = ids(given).and_then(|ids| {
                let is_empty = ids.is_empty().then(|| format!("{} lists no id", field.camel()));
                is_empty.map_or(Ok(ids), Err)
            });
            let limited =
                found.and_then(|ids| std::mem::take(&mut rule).with_ids(*field, ids).map_err(allowed));
            match limited {
                Ok(limited) => rule = limited,
                Err(note) => return Filled { rule: None, note: Some(note) },
            }
        }
        match rule.types() {
            Some([]) => Filled { rule: None, note: Some("types lists no pattern".to_owned()) },
            Some(_) | None => Filled { rule: Some(rule), note: None },
        }
    }
}

/// As it is written: `types agent.* in organizationId {org}`.
impl fmt::Display for RuleDraft<Template> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types = self.types.iter().flatten().map(TypePattern::as_str).collect::<Vec<_>>();
        match types.as_slice() {
            [] | ["*"] => f.write_str("every type")?,
            types => write!(f, "types {}", types.join(", "))?,
        }
        for (index, (field, ids)) in self.scope.iter().enumerate() {
            let joint = if index == 0 { "in" } else { "and" };
            let ids: Vec<_> = ids.iter().map(Template::to_string).collect();
            write!(f, " {joint} {} {}", field.camel(), ids.join(", "))?;
        }
        Ok(())
    }
}

impl RuleDraft<String> {
    /// The rule.
    pub(super) fn plain(&self) -> Filled {
        self.with(|ids| Ok(ids.to_vec()))
    }
}

impl RuleDraft<Template> {
    /// The rule with the values of the variables; `claim` tells where a variable comes from.
    pub(super) fn filled(&self, variables: &Variables, claim: &dyn Fn(&str) -> String) -> Filled {
        let mut partly = None;
        let filled = self.with(|templates| {
            let mut all = Vec::new();
            for template in templates {
                let (ids, unfilled) = template.fill(variables);
                let note = unfilled.map(|unfilled| match unfilled {
                    Unfilled::NoValue(name) => {
                        format!("variable {name}, {}, is missing or empty", claim(&name))
                    }
                    Unfilled::NoId => {
                        let named = |name| format!("variable {name}, {}", claim(name));
                        let names: Vec<_> = template.variables().map(named).collect();
                        format!(
                            "{} has a value that makes no id (visible ASCII, 128 bytes)",
                            names.join(" or ")
                        )
                    }
                });
                match note {
                    // The rule was written for all of its variables; without one it allows nothing.
                    Some(note) if ids.is_empty() => return Err(note),
                    note => partly = note.or(partly.take()),
                }
                all.extend(ids);
            }
            Ok(all)
        });
        Filled { note: filled.note.or(partly), ..filled }
    }
}
