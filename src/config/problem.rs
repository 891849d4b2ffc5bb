//! What is wrong with the settings: a list of [`Problem`]s, all of them at once.

use crate::error::excerpt;
use std::fmt;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A flag of the command line, as it was spelled.
    Flag(&'static str),
    /// An environment variable.
    Env(String),
    /// A file that the environment variable named.
    SecretFile {
        /// The variable.
        variable: String,
        /// The path in it.
        path: String,
    },
    /// A line of the settings file.
    File {
        /// The path.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// The table.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(flag) => write!(f, "flag {flag}"),
            Source::Env(variable) => write!(f, "environment variable {variable}"),
            Source::SecretFile { variable, path } => write!(f, "file {path} of {variable}"),
            Source::File { path, line } => write!(f, "{path} line {line}"),
            Source::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, or what was taken for one.
    pub setting: String,
    /// Where it came from.
    pub source: Source,
    /// What was given; `None` for a secret, or where there is nothing to show.
    pub given: Option<String>,
    /// What is allowed, or what to do.
    pub allowed: String,
}

impl Problem {
    pub(super) fn new(
        setting: &str,
        source: Source,
        given: Option<&str>,
        allowed: impl Into<String>,
    ) -> Self {
        Problem { setting: setting.to_owned(), source, given: given.map(excerpt), allowed: allowed.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { setting, source, given, allowed } = self;
        match given {
            Some(given) => write!(f, "{setting} ({source}): {given:?} is not allowed; allowed is {allowed}"),
            None => write!(f, "{setting} ({source}): {allowed}"),
        }
    }
}

/// Everything that is wrong, in the order of the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("a setting is wrong:")?,
            count => write!(f, "{count} settings are wrong:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
