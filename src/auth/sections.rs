//! The sections of the policy file that say who somebody is: `[[keys]]` and `[[api_keys]]`, beside the keys of the settings.
//!
//! Invariants: everything that is wrong is told at once, each with its file, line and field, or with its setting.
//! Not here: the sections that say who may do what (`policy`).

use super::{
    AuthorityError, Options,
    policy::{Policy, PolicyProblem, Section},
    token::{ApiKeyDraft, ApiKeys, Fault, KeyDraft, Lookup, Source},
};
use std::{collections::HashSet, path::Path};

/// Who may prove to be somebody, and what that gives, as it was read.
#[derive(Debug, Default)]
pub(super) struct Sections {
    pub(super) sources: Vec<Source>,
    pub(super) api_keys: ApiKeys,
    pub(super) policy: Policy,
}

/// Reads the settings' keys and the policy file. Fails with everything that is wrong.
pub(super) fn read(options: &Options, environment: Lookup<'_>) -> Result<Sections, Vec<PolicyProblem>> {
    let mut reading = Reading::default();
    for draft in &options.keys {
        match draft.read(Path::new(""), environment) {
            Ok(source) => reading.sections.sources.push(source),
            Err(faults) => reading.problems.extend(faults.into_iter().map(of_setting)),
        }
    }
    if let Some(path) = &options.policy {
        let before = reading.problems.len();
        match Policy::load(path) {
            Ok(mut policy) => {
                if let Err(problems) = policy.mask(options.mask_key.clone()) {
                    reading.problems.extend(problems);
                }
                reading.take(policy, path.parent().unwrap_or(Path::new("")), environment);
            }
            Err(problems) => reading.problems.extend(problems.0),
        }
        for problem in reading.problems.iter_mut().skip(before) {
            problem.at = format!("{}: {}", path.display(), problem.at);
        }
    }
    let Reading { sections, mut problems } = reading;
    let is_usable = !sections.sources.is_empty() || !sections.api_keys.is_empty();
    if problems.is_empty() && !is_usable {
        let rule = "nobody could prove who they are: add [[keys]] or [[api_keys]], or set jwt_secret, jwks_url or jwks_file";
        problems.push(PolicyProblem { at: "policy".to_owned(), given: None, rule: rule.to_owned() });
    }
    let mut told = HashSet::new();
    problems.retain(|problem| told.insert(problem.to_string()));
    if problems.is_empty() { Ok(sections) } else { Err(problems) }
}

impl Options {
    /// The rules that an authority would go by, for explanations. Fails with everything that is wrong.
    pub fn policy(&self) -> Result<Policy, AuthorityError> {
        read(self, &self.environment).map(|sections| sections.policy).map_err(AuthorityError::Policy)
    }
}

/// The setting that a field of a key comes from.
fn of_setting(fault: Fault) -> PolicyProblem {
    let setting = match fault.field {
        "issuer" => "jwt_issuer",
        "audience" => "jwt_audience",
        "algorithms" => "jwt_algorithms",
        "secret" => "jwt_secret",
        field => field,
    };
    PolicyProblem { at: setting.to_owned(), given: None, rule: fault.rule }
}

#[derive(Default)]
struct Reading {
    sections: Sections,
    problems: Vec<PolicyProblem>,
}

impl Reading {
    fn take(&mut self, policy: Policy, base: &Path, environment: Lookup<'_>) {
        let mut named = HashSet::new();
        for section in policy.keys() {
            let Some(draft) = self.draft::<KeyDraft>(section) else { continue };
            let is_set = draft.jwks_url.is_some() || draft.jwks_file.is_some();
            if !is_set && !named.insert((draft.id.clone(), draft.issuer.clone())) {
                let rule =
                    "another key has the same id and issuer; give each its own id, which tokens name in kid";
                self.tell(section, vec![Fault { field: "id", rule: rule.to_owned() }]);
            }
            match draft.read(base, environment) {
                Ok(source) => self.sections.sources.push(source),
                Err(faults) => self.tell(section, faults),
            }
        }
        for section in policy.api_keys() {
            let Some(draft) = self.draft::<ApiKeyDraft>(section) else { continue };
            if let Err(faults) = self.sections.api_keys.add(draft) {
                self.tell(section, faults);
            }
        }
        self.sections.policy = policy;
    }

    fn draft<T: serde::de::DeserializeOwned>(&mut self, section: &Section) -> Option<T> {
        section.read().map_err(|problem| self.problems.push(problem)).ok()
    }

    fn tell(&mut self, section: &Section, faults: Vec<Fault>) {
        self.problems.extend(faults.into_iter().map(|fault| PolicyProblem {
            at: format!("{}, {}", section.at, fault.field),
            given: None,
            rule: fault.rule,
        }));
    }
}
