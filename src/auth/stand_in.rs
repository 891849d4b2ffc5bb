//! Stands in for the policy until that is built: the sections of the file that other rooms read, and everything for everybody
//! who is known. It has the form of what replaces it, so `use super::stand_in` becomes `use super::policy`.

use super::{Grant, View, token::Claims};
use crate::error::Refusal;
use serde::{Deserialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt, io::Read, path::Path};
use toml::Spanned;

/// The most bytes of a policy file; more is some other file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyProblem {
    /// The path and the line, or the setting.
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

/// Everything that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy has {} problems", .0.len())]
pub(super) struct PolicyProblems(pub(super) Vec<PolicyProblem>);

/// One entry of a list of sections that another room reads.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Section {
    /// Its path and line: `keys[0] (line 4)`.
    pub(super) at: String,
    /// What stands there.
    pub(super) table: toml::Table,
}

impl Section {
    /// The entry as the room that owns it reads it.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, PolicyProblem> {
        self.table.clone().try_into().map_err(|error: toml::de::Error| PolicyProblem {
            at: self.at.clone(),
            given: None,
            rule: error.message().to_owned(),
        })
    }
}

/// The values of the variables of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variables(BTreeMap<Box<str>, Vec<String>>);

impl Variables {
    /// Gives a variable its values.
    pub(super) fn set(&mut self, name: &str, values: Vec<String>) {
        self.0.insert(name.into(), values);
    }
}

/// What a credential gives.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) grant: Grant,
    pub(super) view: View,
}

/// Who may do what.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    keys: Vec<Section>,
    api_keys: Vec<Section>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    keys: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    api_keys: Vec<Spanned<toml::Table>>,
}

impl Policy {
    /// Reads the policy file at a path.
    pub(super) fn load(path: &Path) -> Result<Self, PolicyProblems> {
        let problem = |at: &str, rule: String| {
            PolicyProblems(vec![PolicyProblem { at: at.to_owned(), given: None, rule }])
        };
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
            .map_err(|error| problem("policy", format!("cannot be read: {error}")))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(problem("policy", format!("is larger than {FILE_BYTES_MAX} bytes")));
        }
        let line = |offset: usize| text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        let file: File = toml::from_str(&text).map_err(|error| {
            let line = line(error.span().map_or(0, |span| span.start));
            problem(&format!("policy (line {line})"), error.message().to_owned())
        })?;
        let sections = |name: &str, tables: Vec<Spanned<toml::Table>>| {
            let section = |(index, table): (usize, Spanned<toml::Table>)| Section {
                at: format!("{name}[{index}] (line {})", line(table.span().start)),
                table: table.into_inner(),
            };
            tables.into_iter().enumerate().map(section).collect()
        };
        Ok(Policy { keys: sections("keys", file.keys), api_keys: sections("api_keys", file.api_keys) })
    }

    /// The sections `[[keys]]`, in their order.
    pub(super) fn keys(&self) -> &[Section] {
        &self.keys
    }

    /// The sections `[[api_keys]]`, in their order.
    pub(super) fn api_keys(&self) -> &[Section] {
        &self.api_keys
    }

    /// What a verified token gives.
    pub(super) fn resolve(&self, _claims: &Claims) -> Result<Resolved, Refusal> {
        Ok(Resolved { grant: Grant::everything(), view: View::whole() })
    }

    /// What the roles and variables of an API key give.
    pub(super) fn resolve_api_key(
        &self,
        _subject: &str,
        _roles: &[String],
        _variables: &Variables,
    ) -> Result<Resolved, Refusal> {
        Ok(Resolved { grant: Grant::everything(), view: View::whole() })
    }

    /// What those may do who have no credential; `None` when they are refused.
    pub(super) fn anonymous(&self) -> Result<Option<Resolved>, Refusal> {
        Ok(None)
    }
}
