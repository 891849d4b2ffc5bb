//! A tree that is read in the same way whether it came from the policy file or from a claim, and the [`PolicyProblem`]s in it.

use crate::error::excerpt;
use serde_json::Value;
use std::fmt;
use toml::{Spanned, de::DeValue};

/// One thing that is wrong with a policy, or with what a claim says in its terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyProblem {
    /// The path, and the line where there are lines: `roles.member.read[0].types[1] (line 12)`.
    pub at: String,
    /// What was given, where that helps.
    pub given: Option<String>,
    /// What is allowed, or what to do.
    pub rule: String,
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PolicyProblem { at, given, rule } = self;
        match given {
            Some(given) => write!(f, "{at}: {given:?} is not allowed; allowed is {rule}"),
            None => write!(f, "{at}: {rule}"),
        }
    }
}

/// Everything that is wrong with a policy, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PolicyProblems(pub Vec<PolicyProblem>);

impl fmt::Display for PolicyProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the policy has a problem:")?,
            count => write!(f, "the policy has {count} problems:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// A value with the line on which it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// From 1; `None` in a claim.
    line: Option<usize>,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    Text(String),
    Flag(bool),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
    /// Anything else, by what it is called.
    Other(&'static str),
}

/// Gathers problems while a tree is read.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<(Option<usize>, PolicyProblem)>);

impl Findings {
    /// Notes what is wrong with a node.
    pub(super) fn add(&mut self, node: &Node, path: &str, given: Option<&str>, rule: impl Into<String>) {
        self.add_at(node.line, path, given, rule);
    }

    /// Notes what is wrong on a line.
    pub(super) fn add_at(
        &mut self,
        line: Option<usize>,
        path: &str,
        given: Option<&str>,
        rule: impl Into<String>,
    ) {
        let at = line.map_or_else(|| path.to_owned(), |line| format!("{path} (line {line})"));
        self.0.push((line, PolicyProblem { at, given: given.map(excerpt), rule: rule.into() }));
    }

    /// All of them by their lines, or the value when there is none.
    pub(super) fn or<T>(mut self, value: T) -> Result<T, PolicyProblems> {
        if self.0.is_empty() {
            return Ok(value);
        }
        self.0.sort_by_key(|(line, _)| *line);
        Err(PolicyProblems(self.0.into_iter().map(|(_, problem)| problem).collect()))
    }
}

impl Node {
    /// A value of a TOML text; `line` gives the line of an offset.
    pub(super) fn of_toml(value: &Spanned<DeValue<'_>>, line: &dyn Fn(usize) -> usize) -> Self {
        let shape = match value.get_ref() {
            DeValue::String(text) => Shape::Text(text.clone().into_owned()),
            DeValue::Boolean(flag) => Shape::Flag(*flag),
            DeValue::Array(items) => {
                Shape::List(items.iter().map(|item| Node::of_toml(item, line)).collect())
            }
            DeValue::Table(members) => {
                let member = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                    let mut node = Node::of_toml(value, line);
                    // A table of its own section begins where its name stands.
                    node.line = Some(line(name.span().start));
                    (std::borrow::Cow::to_string(name.get_ref()), node)
                };
                Shape::Table(members.iter().map(member).collect())
            }
            DeValue::Integer(_) | DeValue::Float(_) => Shape::Other("a number"),
            DeValue::Datetime(_) => Shape::Other("a date"),
        };
        Node { line: Some(line(value.span().start)), shape }
    }

    /// A value of a claim.
    pub(super) fn of_json(value: &Value) -> Self {
        let shape = match value {
            Value::String(text) => Shape::Text(text.clone()),
            Value::Bool(flag) => Shape::Flag(*flag),
            Value::Array(items) => Shape::List(items.iter().map(Node::of_json).collect()),
            Value::Object(members) => Shape::Table(
                members.iter().map(|(name, value)| (name.clone(), Node::of_json(value))).collect(),
            ),
            Value::Number(_) => Shape::Other("a number"),
            Value::Null => Shape::Other("null"),
        };
        Node { line: None, shape }
    }

    fn kind(&self) -> &'static str {
        match &self.shape {
            Shape::Text(_) => "text",
            Shape::Flag(_) => "true or false",
            Shape::List(_) => "a list",
            Shape::Table(_) => "a table",
            Shape::Other(kind) => kind,
        }
    }

    /// The members of a table in their order.
    pub(super) fn table(&self, path: &str, findings: &mut Findings) -> Option<&[(String, Node)]> {
        if let Shape::Table(members) = &self.shape {
            return Some(members);
        }
        findings.add(self, path, Some(self.kind()), "a table of names and values");
        None
    }

    /// The items of a list.
    pub(super) fn list(&self, path: &str, findings: &mut Findings) -> Option<&[Node]> {
        if let Shape::List(items) = &self.shape {
            return Some(items);
        }
        findings.add(self, path, Some(self.kind()), "a list");
        None
    }

    /// A text.
    pub(super) fn text(&self, path: &str, findings: &mut Findings) -> Option<&str> {
        if let Shape::Text(text) = &self.shape {
            return Some(text);
        }
        findings.add(self, path, Some(self.kind()), "text");
        None
    }

    /// True or false.
    pub(super) fn flag(&self, path: &str, findings: &mut Findings) -> Option<bool> {
        if let Shape::Flag(flag) = &self.shape {
            return Some(*flag);
        }
        findings.add(self, path, Some(self.kind()), "true or false");
        None
    }

    /// A text or a list of texts, each with its path and read by `read`, whose error says what is allowed.
    pub(super) fn texts<T>(
        &self,
        path: &str,
        findings: &mut Findings,
        read: &dyn Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let one = |node: &Node, path: &str, findings: &mut Findings| {
            let text = node.text(path, findings)?;
            read(text).map_err(|rule| findings.add(node, path, Some(text), rule)).ok()
        };
        match &self.shape {
            Shape::List(items) => items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| one(item, &format!("{path}[{index}]"), findings))
                .collect(),
            Shape::Text(_) => one(self, path, findings).into_iter().collect(),
            Shape::Flag(_) | Shape::Table(_) | Shape::Other(_) => {
                findings.add(self, path, Some(self.kind()), "text or a list of texts");
                Vec::new()
            }
        }
    }
}
