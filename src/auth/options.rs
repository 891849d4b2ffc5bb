//! What authentication is told: keys, rules and files.

use super::{
    Audit, MaskKey,
    policy::PolicyProblem,
    revocations::{Keeping, RevocationsError},
    sections,
    token::{FetchTimes, KeyDraft, Lookup, TimeRules},
};
use crate::metrics::Metrics;
use std::{fmt, path::PathBuf};

/// What authentication is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The policy file.
    pub policy: Option<PathBuf>,
    /// Keys beside those of the policy, from settings.
    pub keys: Vec<KeyDraft>,
    /// How the times of tokens are judged.
    pub times: TimeRules,
    /// When published keys are fetched.
    pub fetches: FetchTimes,
    /// Makes the hashes of masked values.
    pub mask_key: MaskKey,
    /// Where revocations are kept.
    pub revocations: Keeping,
    /// Looks up the variables that the policy names; again at each reload.
    pub environment: fn(&str) -> Option<String>,
    /// Records what admins decide.
    pub audit: Audit,
    /// Counts refusals and fetches.
    pub metrics: Metrics,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            policy: None,
            keys: Vec::new(),
            times: TimeRules::default(),
            fetches: FetchTimes::default(),
            mask_key: MaskKey::random(),
            revocations: Keeping::InMemory,
            environment: |name| std::env::var_os(name)?.into_string().ok(),
            audit: Audit::off(),
            metrics: Metrics::new(),
        }
    }
}

impl Options {
    /// Is there anything by which somebody could be known? Without it a server is open to everybody.
    pub fn is_configured(&self) -> bool {
        self.policy.is_some() || !self.keys.is_empty()
    }

    /// Reads everything that an authority would, and tells all that is wrong, without fetching or changing anything.
    pub fn check(&self, environment: Lookup<'_>) -> Vec<PolicyProblem> {
        match self.is_configured() {
            true => sections::read(self, environment).err().unwrap_or_default(),
            false => Vec::new(),
        }
    }

    /// The same options for a look: nothing is written.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        if let Keeping::InFile(path) = self.revocations {
            self.revocations = Keeping::ReadOnly(path);
        }
        self
    }
}

/// Why there can be no authority.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// Settings or policy are wrong.
    #[error("{}", Listed(.0))]
    Policy(Vec<PolicyProblem>),
    /// The revocations cannot be read or kept.
    #[error(transparent)]
    Revocations(#[from] RevocationsError),
}

struct Listed<'a>(&'a [PolicyProblem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("authentication cannot be set up:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
