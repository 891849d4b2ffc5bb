//! What can be wrong with the rules: told all at once, each by the place where it stands.

use super::{Mask, MaskDraft, Masks, Rule, Whom, path::Target};
use crate::{error::excerpt, event::TypePattern};
use std::{collections::BTreeSet, fmt, sync::Arc};

/// The most rules of a policy.
pub const MASKS_MAX: usize = 256;
/// The most patterns of all rules together.
pub const PATTERNS_MAX: usize = 1_024;

/// One thing that is wrong with the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskProblem {
    /// Where: `masks`, `masks[3].path`, counted from 0.
    pub place: String,
    /// What stands there.
    pub given: String,
    /// What is allowed, or what to do.
    pub allowed: String,
}

impl MaskProblem {
    fn new(place: impl Into<String>, given: &str, allowed: impl Into<String>) -> Self {
        MaskProblem { place: place.into(), given: excerpt(given), allowed: allowed.into() }
    }
}

impl fmt::Display for MaskProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MaskProblem { place, given, allowed } = self;
        write!(f, "{place}: {given:?} is not allowed; allowed is {allowed}")
    }
}

/// Everything that is wrong with the rules, in their order; one problem at least.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct MaskProblems(pub Vec<MaskProblem>);

impl fmt::Display for MaskProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems: Vec<String> = self.0.iter().map(MaskProblem::to_string).collect();
        f.write_str(&problems.join("\n"))
    }
}

/// Checks the rules. Fails with everything that is wrong.
pub(super) fn rules(drafts: Vec<MaskDraft>) -> Result<Vec<Rule>, MaskProblems> {
    let mut problems = Vec::new();
    let patterns: usize = drafts.iter().map(|draft| draft.types.len()).sum();
    for (what, count, max) in [("rules", drafts.len(), MASKS_MAX), ("patterns", patterns, PATTERNS_MAX)] {
        if count > max {
            let allowed = format!("at most {max} {what}");
            problems.push(MaskProblem::new("masks", &format!("{count} {what}"), allowed));
        }
    }
    if !problems.is_empty() {
        return Err(MaskProblems(problems));
    }
    let mut rules = Vec::new();
    for (at, draft) in drafts.into_iter().enumerate() {
        rules.extend(rule(draft, &format!("masks[{at}]"), &mut problems));
    }
    match problems.is_empty() {
        true => Ok(rules),
        false => Err(MaskProblems(problems)),
    }
}

fn rule(draft: MaskDraft, at: &str, problems: &mut Vec<MaskProblem>) -> Option<Rule> {
    let types = types(&draft.types, at, problems);
    let target = Target::parse(&draft.path)
        .map_err(|allowed| problems.push(MaskProblem::new(format!("{at}.path"), &draft.path, allowed)))
        .ok();
    if let Some(Err(allowed)) = target.as_ref().map(|target| target.allows(draft.action)) {
        problems.push(MaskProblem::new(format!("{at}.action"), draft.action.name(), allowed));
    }
    let set = |roles: Vec<String>| roles.into_iter().map(String::into_boxed_str).collect::<BTreeSet<_>>();
    let whom = match (draft.roles, draft.except) {
        (Some(roles), None) if roles.is_empty() => Err(("roles", "[]")),
        (Some(roles), None) => Ok(Whom::Roles(set(roles))),
        (None, Some(except)) => Ok(Whom::Except(set(except))),
        (Some(_), Some(_)) => Err(("except", "beside roles")),
        (None, None) => Err(("roles", "nothing")),
    };
    let whom = whom
        .map_err(|(field, given)| {
            let allowed = "either roles = [\"…\"], who have the mask, or except = […], who alone have it not";
            problems.push(MaskProblem::new(format!("{at}.{field}"), given, allowed));
        })
        .ok();
    Some(Rule { mask: Arc::new(Mask { types: types?, target: target?, action: draft.action }), whom: whom? })
}

fn types(given: &[String], at: &str, problems: &mut Vec<MaskProblem>) -> Option<Box<[TypePattern]>> {
    if given.is_empty() {
        problems.push(MaskProblem::new(format!("{at}.types"), "[]", "patterns of types; [\"*\"] for all"));
    }
    let mut types = Vec::new();
    for (index, text) in given.iter().enumerate() {
        let field = format!("{at}.types[{index}]");
        match TypePattern::parse(text, &field) {
            Ok(pattern) => types.push(pattern),
            Err(refusal) => {
                let allowed = refusal.detail("allowed").unwrap_or("a pattern of types");
                problems.push(MaskProblem::new(field, text, allowed));
            }
        }
    }
    types.sort_unstable();
    types.dedup();
    (!types.is_empty()).then(|| types.into())
}

impl Masks {
    /// What is wrong with the names of roles in the rules: those that the policy does not have. A mask for a role that is
    /// misspelled would mask nothing for those whom it should concern.
    pub fn check_roles(&self, is_known: impl Fn(&str) -> bool) -> Result<(), MaskProblems> {
        let mut problems = Vec::new();
        for (at, rule) in self.rules.iter().enumerate() {
            let field = match rule.whom {
                Whom::Roles(_) => "roles",
                Whom::Except(_) => "except",
            };
            let unknown = rule.whom.roles().iter().filter(|role| !is_known(role));
            problems.extend(unknown.map(|role| {
                MaskProblem::new(format!("masks[{at}].{field}"), role, "roles that the policy has")
            }));
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(MaskProblems(problems)),
        }
    }
}
