//! Which claims say what: the section `[claims]`.
//!
//! Invariants: claims are read as they were signed: text is text and a number is none. A claim that is there in a form that it
//! cannot have refuses the token and is never taken for absent.

use super::{
    Claims,
    node::{Findings, Node},
    rules::{self, RuleDraft},
    template::{Variables, is_name},
};
use crate::error::{Code, Refusal};
use serde_json::Value;
use std::collections::BTreeMap;

/// The most roles that a credential may name, known or not.
pub(super) const ROLES_MAX: usize = 256;

/// The most problems of a claim that a refusal names.
const PROBLEMS_MAX: usize = 3;

/// Where in a token what stands.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    pub(super) subject: Box<str>,
    /// The claim with the names of roles.
    pub(super) roles: Option<Box<str>>,
    /// The claim with a grant of its own; `None` where such claims are not heeded.
    pub(super) grant: Option<Box<str>>,
    /// The members of it that are heeded.
    grant_parts: Vec<Part>,
    /// The claims of variables.
    pub(super) variables: BTreeMap<Box<str>, Box<str>>,
}

/// A member of a grant in a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Read,
    Publish,
    Roles,
}

/// What a claim grants by itself.
#[derive(Debug, Default)]
pub(super) struct Carried {
    pub(super) read: Vec<RuleDraft<String>>,
    pub(super) publish: Vec<RuleDraft<String>>,
    pub(super) roles: Vec<String>,
}

impl Mapping {
    /// That of the policy file, where it says nothing else.
    pub(super) fn of_file() -> Self {
        Mapping { roles: Some("roles".into()), ..Mapping::without_file() }
    }

    /// That of a server without a policy file: a claim of general use, such as `roles`, was not written for this server, so
    /// only the claim `fanfare` counts.
    pub(super) fn without_file() -> Self {
        Mapping {
            subject: "sub".into(),
            roles: None,
            grant: Some("fanfare".into()),
            grant_parts: vec![Part::Read, Part::Publish, Part::Roles],
            variables: BTreeMap::from([("user".into(), "sub".into())]),
        }
    }

    /// Reads the section.
    pub(super) fn read(node: &Node, findings: &mut Findings) -> Self {
        let mut mapping = Mapping::of_file();
        for (name, value) in node.table("claims", findings).unwrap_or_default() {
            let at = format!("claims.{name}");
            match name.as_str() {
                "subject" => mapping.subject = claim(value, &at, findings).unwrap_or(mapping.subject),
                "roles" => mapping.roles = claim(value, &at, findings).or(mapping.roles),
                "grant" => mapping.grant = claim(value, &at, findings).filter(|name| **name != *"off"),
                "grant_parts" => mapping.grant_parts = value.texts(&at, findings, &part),
                "variables" => mapping.variables = variables(value, &at, findings),
                _ => {
                    let known = "subject, roles, grant, grant_parts, variables";
                    findings.add(value, "claims", Some(name), known);
                }
            }
        }
        mapping
    }

    /// The values of all variables; what is no text, and no list of texts, gives none.
    pub(super) fn variables_of(&self, claims: &Claims) -> Variables {
        let mut variables = Variables::default();
        for (name, path) in &self.variables {
            variables.set(name, find(claims, path).and_then(texts).unwrap_or_default());
        }
        variables
    }

    /// Who speaks. Fails with `UNAUTHENTICATED`.
    pub(super) fn subject_of<'a>(&self, claims: &'a Claims) -> Result<&'a str, Refusal> {
        match find(claims, &self.subject).and_then(Value::as_str) {
            Some(subject) if !subject.is_empty() => Ok(subject),
            Some(_) | None => Err(malformed(&self.subject, "text that names who speaks")),
        }
    }

    /// The roles that the token names, in a list or in one text with spaces between them. Fails with `UNAUTHENTICATED` for any
    /// other form.
    pub(super) fn roles_of(&self, claims: &Claims) -> Result<Vec<String>, Refusal> {
        let Some(path) = &self.roles else { return Ok(Vec::new()) };
        match find(claims, path) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => {
                Ok(text.split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect())
            }
            Some(value) => texts(value).ok_or_else(|| malformed(path, "a list of texts, or one text")),
        }
    }

    /// What the token grants by itself. Fails with `UNAUTHENTICATED` when that cannot be read, which names the first problems.
    pub(super) fn carried_by(&self, claims: &Claims) -> Result<Carried, Refusal> {
        let Some((path, value)) = self.grant.as_ref().and_then(|path| Some((path, find(claims, path)?)))
        else {
            return Ok(Carried::default());
        };
        let (node, mut findings) = (Node::of_json(value), Findings::default());
        let mut carried = Carried::default();
        for (name, value) in node.table(path, &mut findings).unwrap_or_default() {
            let at = format!("{path}.{name}");
            match name.as_str() {
                "read" => carried.read = rules::rules(value, &at, &mut findings, &rules::plain_id),
                "publish" => carried.publish = rules::rules(value, &at, &mut findings, &rules::plain_id),
                "roles" => carried.roles = value.texts(&at, &mut findings, &|text| Ok(text.to_owned())),
                _ => findings.add(value, path, Some(name), "read, publish, roles"),
            }
        }
        let heeds = |part| self.grant_parts.contains(&part);
        carried.read.retain(|_| heeds(Part::Read));
        carried.publish.retain(|_| heeds(Part::Publish));
        carried.roles.retain(|_| heeds(Part::Roles));
        findings.or(carried).map_err(|problems| {
            let told: Vec<_> = problems.0.iter().take(PROBLEMS_MAX).map(ToString::to_string).collect();
            malformed(path, &format!("a grant ({})", told.join("; ")))
        })
    }
}

fn malformed(path: &str, rule: &str) -> Refusal {
    Refusal::new(
        Code::Unauthenticated,
        format!("claim {path} of the token is not accepted; it must be {rule}"),
    )
    .with("field", path)
    .with("allowed", rule)
}

fn claim(node: &Node, at: &str, findings: &mut Findings) -> Option<Box<str>> {
    let text = node.text(at, findings)?;
    if text.is_empty() {
        findings.add(node, at, Some(text), "the name of a claim; dots lead into it");
    }
    Some(text.into())
}

fn part(text: &str) -> Result<Part, String> {
    match text {
        "read" => Ok(Part::Read),
        "publish" => Ok(Part::Publish),
        "roles" => Ok(Part::Roles),
        _ => Err("read, publish, roles".to_owned()),
    }
}

fn variables(node: &Node, at: &str, findings: &mut Findings) -> BTreeMap<Box<str>, Box<str>> {
    let mut variables = BTreeMap::new();
    for (name, value) in node.table(at, findings).unwrap_or_default() {
        if !is_name(name) {
            findings.add(value, at, Some(name), "names of a-z A-Z 0-9 _ -");
        }
        if let Some(path) = claim(value, &format!("{at}.{name}"), findings) {
            variables.insert(name.as_str().into(), path);
        }
    }
    variables
}

/// The value at a path: the whole path as one name first, since names of claims may have dots, then its parts one in the
/// other.
fn find<'a>(claims: &'a Claims, path: &str) -> Option<&'a Value> {
    claims.get(path).or_else(|| {
        path.match_indices('.').find_map(|(at, _)| {
            let (outer, inner) = (path.get(..at)?, path.get(at + 1..)?);
            find(claims.get(outer)?.as_object()?, inner)
        })
    })
}

/// A text or a list of nothing but texts.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}
