//! The policy file: TOML, read as a whole, every problem with its line.

use super::{
    Policy,
    claims::Mapping,
    node::{Findings, Node, PolicyProblem, PolicyProblems},
    rules::{Role, RuleDraft},
};
use crate::event::{RULE_IDS_MAX, RULE_PATTERNS_MAX, RULES_MAX};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::Path,
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The most bytes of a policy file; more is some other file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// One entry of a list of sections that another room reads: `[[keys]]`, `[[api_keys]]`, `[[masks]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// Its path and line, for a [`PolicyProblem`]: `masks[0] (line 40)`.
    pub at: String,
    /// What stands there.
    pub table: toml::Table,
}

impl Section {
    /// The entry as the room that owns it reads it.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, PolicyProblem> {
        self.table.clone().try_into().map_err(|error: toml::de::Error| PolicyProblem {
            at: self.at.clone(),
            given: None,
            rule: error.message().to_owned(),
        })
    }
}

impl Policy {
    /// Reads the policy file at a path.
    pub fn load(path: &Path) -> Result<Self, PolicyProblems> {
        let mut text = String::new();
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
            .map_err(|error| format!("cannot be read: {error}"));
        let is_small = |_| match text.len() as u64 <= FILE_BYTES_MAX {
            true => Ok(()),
            false => Err(format!("is larger than {FILE_BYTES_MAX} bytes")),
        };
        if let Err(rule) = read.and_then(is_small) {
            let mut findings = Findings::default();
            findings.add_at(None, &path.display().to_string(), None, rule);
            findings.or(())?;
        }
        Policy::parse(&text)
    }

    /// Reads a policy from the text of its file.
    pub fn parse(text: &str) -> Result<Self, PolicyProblems> {
        let line = |offset: usize| text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        let mut findings = Findings::default();
        let (table, mut errors) = DeTable::parse_recoverable(text);
        let offset = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        // One error a line, from the top: what follows on the same line is mostly caused by the first.
        errors.sort_by_key(offset);
        errors.dedup_by_key(|error| line(offset(error)));
        for error in &errors {
            let rule = format!("this is not TOML: {}", error.message());
            findings.add_at(Some(line(offset(error))), "policy", None, rule);
        }
        if !errors.is_empty() {
            return findings.or(Policy::default());
        }
        let mut policy = Policy {
            mapping: Mapping::of_file(),
            roles: BTreeMap::new(),
            digest: Sha256::digest(text.as_bytes()).into(),
            ..Policy::default()
        };
        let mut anonymous = None;
        for (name, value) in table.get_ref() {
            let node = Node::of_toml(value, &line);
            match name.get_ref().as_ref() {
                "claims" => policy.mapping = Mapping::read(&node, &mut findings),
                "roles" => policy.roles = roles(&node, &mut findings),
                "anonymous" => anonymous = Some(node),
                "keys" => policy.keys = sections("keys", value, &line, &mut findings),
                "api_keys" => policy.api_keys = sections("api_keys", value, &line, &mut findings),
                "masks" => policy.masks = sections("masks", value, &line, &mut findings),
                other => {
                    let known = "claims, roles, anonymous, keys, api_keys, masks";
                    findings.add_at(Some(line(name.span().start)), "policy", Some(other), known);
                }
            }
        }
        if let Some(node) = anonymous {
            policy.anonymous = Some(anonymous_roles(&node, &policy.roles, &mut findings));
        }
        policy.check_variables(table.get_ref(), &line, &mut findings);
        findings.or(policy)
    }

    /// Every variable of a template comes from a claim or from an API key: a name with a typing error would silently grant nothing.
    fn check_variables(&self, table: &DeTable<'_>, line: &dyn Fn(usize) -> usize, findings: &mut Findings) {
        let of_key = |section: &Section| {
            let variables = section.table.get("variables").and_then(toml::Value::as_table);
            variables.map(|table| table.keys().cloned().collect::<Vec<_>>()).unwrap_or_default()
        };
        let mut known: BTreeSet<String> = self.mapping.variables.keys().map(ToString::to_string).collect();
        known.extend(self.api_keys.iter().flat_map(of_key));
        for (name, role) in &self.roles {
            let used: BTreeSet<&str> = role.templates().flat_map(|template| template.variables()).collect();
            for variable in used.into_iter().filter(|variable| !known.contains(*variable)) {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let rule = format!("a variable of claims.variables or of an API key: {}", known.join(", "));
                let place = place(table, name).map(line);
                findings.add_at(place, &format!("roles.{name}"), Some(variable), rule);
            }
        }
    }
}

/// Where a role begins.
fn place(table: &DeTable<'_>, role: &str) -> Option<usize> {
    let (_, roles) = table.iter().find(|(name, _)| name.get_ref() == "roles")?;
    let DeValue::Table(roles) = roles.get_ref() else { return None };
    roles.iter().find(|(name, _)| name.get_ref() == role).map(|(name, _)| name.span().start)
}

fn roles(node: &Node, findings: &mut Findings) -> BTreeMap<Box<str>, Role> {
    let mut roles = BTreeMap::new();
    for (name, value) in node.table("roles", findings).unwrap_or_default() {
        let path = format!("roles.{name}");
        if name.is_empty() || name.len() > 128 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            findings.add(
                value,
                "roles",
                Some(name),
                "names of 1 to 128 visible ASCII characters without spaces",
            );
        }
        let role = Role::read(value, &path, findings);
        for (verb, rules) in [("read", &role.read), ("publish", &role.publish)] {
            check_rules(value, &format!("{path}.{verb}"), rules, findings);
        }
        roles.insert(name.as_str().into(), role);
    }
    roles
}

/// What no token can make right again: rules that allow nothing, and more than a grant may hold.
fn check_rules<T>(node: &Node, path: &str, rules: &[RuleDraft<T>], findings: &mut Findings) {
    for (index, rule) in rules.iter().enumerate() {
        for list in rule.empty_lists() {
            let why = "an empty list allows nothing; leave it out to allow all, or leave the rule out";
            findings.add(node, &format!("{path}[{index}].{list}"), None, why);
        }
    }
    let counts = rules.iter().map(RuleDraft::count);
    let (patterns, ids) = counts.fold((0, 0), |sum, (patterns, ids)| (sum.0 + patterns, sum.1 + ids));
    let bounds = [
        (rules.len(), RULES_MAX, "rules"),
        (patterns, RULE_PATTERNS_MAX, "types"),
        (ids, RULE_IDS_MAX, "ids"),
    ];
    for (count, most, what) in bounds.into_iter().filter(|(count, most, _)| count > most) {
        findings.add(node, path, Some(&format!("{count} {what}")), format!("{most} {what}"));
    }
}

fn anonymous_roles(node: &Node, roles: &BTreeMap<Box<str>, Role>, findings: &mut Findings) -> Vec<String> {
    let mut named = Vec::new();
    let known = |name: &str| match roles.contains_key(name) {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "a role of the policy: {}",
            roles.keys().map(|name| &**name).collect::<Vec<_>>().join(", ")
        )),
    };
    for (name, value) in node.table("anonymous", findings).unwrap_or_default() {
        match name.as_str() {
            "roles" => named = value.texts("anonymous.roles", findings, &known),
            _ => findings.add(value, "anonymous", Some(name), "roles"),
        }
    }
    named
}

/// The entries of a list of sections.
fn sections(
    name: &str,
    value: &Spanned<DeValue<'_>>,
    line: &dyn Fn(usize) -> usize,
    findings: &mut Findings,
) -> Vec<Section> {
    let wrong = |findings: &mut Findings, place: usize, path: &str| {
        findings.add_at(Some(line(place)), path, None, format!("write each entry as [[{name}]]"));
    };
    let DeValue::Array(items) = value.get_ref() else {
        wrong(findings, value.span().start, name);
        return Vec::new();
    };
    let mut sections = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{name}[{index}]");
        let table = toml::de::ValueDeserializer::from(item.clone());
        match <toml::Table as serde::Deserialize>::deserialize(table) {
            Ok(table) => {
                sections.push(Section { at: format!("{path} (line {})", line(item.span().start)), table });
            }
            Err(_) => wrong(findings, item.span().start, &path),
        }
    }
    sections
}
