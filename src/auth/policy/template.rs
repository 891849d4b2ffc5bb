//! Ids with variables in them: `{org}`, `team-{org}`.
//!
//! Invariants: whatever a variable holds becomes part of an id and nothing else, and an id is checked after it was put
//! together; a variable that is missing or empty gives no id, so the rule around it allows nothing.

use crate::{
    error::Code,
    event::{RULE_IDS_MAX, check_id},
};
use std::{collections::BTreeMap, fmt};

/// The values of variables by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<Box<str>, Vec<String>>);

impl Variables {
    /// Gives a variable its values; those it had are replaced.
    pub fn set(&mut self, name: &str, values: Vec<String>) {
        self.0.insert(name.into(), values);
    }

    /// The values of a variable; none when it is missing.
    pub fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

/// The text of an id in the policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Box<[Piece]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Variable(Box<str>),
}

/// Why a template gave no id, or fewer than its variables have values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfilled {
    /// This variable is missing or has no value.
    NoValue(Box<str>),
    /// A value made something that is no id.
    NoId,
}

const RULE: &str = "an id of visible ASCII characters without spaces, with variables as in {org}; a brace of the id is \
                    written twice";

impl Template {
    /// Reads a template. The error says what is allowed.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let rule = || RULE.to_owned();
        let (mut pieces, mut fixed, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(at);
            fixed.push_str(before);
            if let Some(after) = after.strip_prefix("{{").or_else(|| after.strip_prefix("}}")) {
                fixed.push_str(rest.get(at..=at).unwrap_or_default());
                rest = after;
                continue;
            }
            let (name, after) =
                after.strip_prefix('{').and_then(|after| after.split_once('}')).ok_or_else(rule)?;
            if !is_name(name) {
                return Err(rule());
            }
            pieces.push(Piece::Text(std::mem::take(&mut fixed).into()));
            pieces.push(Piece::Variable(name.into()));
            rest = after;
        }
        fixed.push_str(rest);
        pieces.push(Piece::Text(fixed.into()));
        pieces.retain(|piece| *piece != Piece::Text("".into()));
        let is_part_of_id = |piece: &Piece| match piece {
            Piece::Text(text) => check_id(text, Code::InvalidFilter, "id").is_ok(),
            Piece::Variable(_) => true,
        };
        match !pieces.is_empty() && pieces.iter().all(is_part_of_id) {
            true => Ok(Template(pieces.into())),
            false => Err(rule()),
        }
    }

    /// The variables in it.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Variable(name) => Some(&**name),
            Piece::Text(_) => None,
        })
    }

    /// One id for each value of each variable, one more than a grant may have at most; and what went wrong with some.
    pub(super) fn fill(&self, variables: &Variables) -> (Vec<String>, Option<Unfilled>) {
        let mut made: Vec<(String, BTreeMap<&str, &str>)> = vec![Default::default()];
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => made.iter_mut().for_each(|(id, _)| id.push_str(text)),
                Piece::Variable(name) => {
                    let values = variables.values(name);
                    if values.is_empty() || values.iter().any(String::is_empty) {
                        return (Vec::new(), Some(Unfilled::NoValue(name.clone())));
                    }
                    let with = |(id, bound): (String, BTreeMap<_, _>)| {
                        // A variable that stands twice has one value at a time.
                        let of_bound = bound.get(&**name).copied();
                        let free = if of_bound.is_some() { &[] } else { values };
                        let values = of_bound.into_iter().chain(free.iter().map(String::as_str));
                        let join = move |value| {
                            let mut bound = bound.clone();
                            bound.insert(&**name, value);
                            (format!("{id}{value}"), bound)
                        };
                        values.map(join).collect::<Vec<_>>()
                    };
                    made = made.into_iter().flat_map(with).take(RULE_IDS_MAX + 1).collect();
                }
            }
        }
        let count = made.len();
        let is_id = |id: &String| check_id(id, Code::InvalidFilter, "id").is_ok();
        let ids: Vec<String> = made.into_iter().map(|(id, _)| id).filter(is_id).collect();
        let unfilled = (ids.len() < count).then_some(Unfilled::NoId);
        (ids, unfilled)
    }
}

/// As it is written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Piece::Variable(name) => write!(f, "{{{name}}}"),
        })
    }
}

/// A name of a variable.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
