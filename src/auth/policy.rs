//! The policy: which roles there are, what each may read and publish, and which claims of a token say what.
//!
//! Flow: a TOML file becomes a [`Policy`]; the claims of a verified token, or the roles of an API key, become what somebody may
//! do: [`Resolved`].
//! Invariants: deny by default: a role that the policy does not know, and a rule whose variables have no value, grant nothing.
//! Every problem of a file is told at once, with its path and line.
//! Not here: who signed a token (`token`), what is masked (`mask`), what a grant does (`grant`).

mod claims;
mod explain;
mod file;
mod node;
mod rules;
mod template;

pub use file::Section;
pub use node::{PolicyProblem, PolicyProblems};
pub use template::Variables;

use super::{Grant, MaskDraft, MaskKey, MaskProblem, MaskProblems, Masks, View};
use crate::{
    error::{Code, Refusal},
    event::Rule,
};
use claims::{Mapping, ROLES_MAX};
use rules::{Filled, Role, RuleDraft};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use template::Template;

/// The claims of a token whose signature was verified.
pub type Claims = serde_json::Map<String, serde_json::Value>;

/// Who may do what. The default is that of a server without a policy file: it knows one role, `admin`, which may do everything,
/// and heeds the claim `fanfare`.
#[derive(Clone, Debug)]
pub struct Policy {
    mapping: Mapping,
    roles: BTreeMap<Box<str>, Role>,
    /// The roles of those without a credential; `None` refuses them.
    anonymous: Option<Vec<String>>,
    keys: Vec<Section>,
    api_keys: Vec<Section>,
    masks: Vec<Section>,
    masked: Option<Arc<Masks>>,
    /// SHA-256 of its text.
    digest: [u8; 32],
}

/// What somebody may do and see.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Who it is.
    pub subject: Box<str>,
    /// Its roles, sorted, those included that the policy does not know.
    pub roles: Vec<Box<str>>,
    /// What it may do.
    pub grant: Grant,
    /// What it sees.
    pub view: View,
    /// Which rules grant less than they are written for, and why; for explanations.
    pub notes: Vec<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            mapping: Mapping::without_file(),
            roles: BTreeMap::from([("admin".into(), Role::everything())]),
            anonymous: None,
            keys: Vec::new(),
            api_keys: Vec::new(),
            masks: Vec::new(),
            masked: None,
            digest: [0; 32],
        }
    }
}

impl Policy {
    /// What a verified token gives. Fails with `UNAUTHENTICATED` for a claim in a form that it cannot have, and with `TOO_MANY` for
    /// a grant beyond the bounds; both name the claim.
    pub fn resolve(&self, claims: &Claims) -> Result<Resolved, Refusal> {
        let subject = self.mapping.subject_of(claims)?;
        self.resolve_named(subject, &self.mapping.roles_of(claims)?, claims)
    }

    /// What somebody would have whose token names these roles, whatever its claims say of roles; for explanations. A name in
    /// the claims stands for it, and else its roles. Fails as [`Policy::resolve`] does.
    pub fn suppose(&self, roles: &[String], claims: &Claims) -> Result<Resolved, Refusal> {
        let supposed = match roles {
            [] => "somebody without a role".to_owned(),
            roles => roles.join(" + "),
        };
        self.resolve_named(self.mapping.subject_of(claims).unwrap_or(&supposed), roles, claims)
    }

    fn resolve_named(&self, subject: &str, named: &[String], claims: &Claims) -> Result<Resolved, Refusal> {
        let carried = self.mapping.carried_by(claims)?;
        let mut all = Joined::default();
        let claim = |name: &str| match self.mapping.variables.get(name) {
            Some(path) => format!("claim {path}"),
            None => "which no claim gives".to_owned(),
        };
        let variables = self.mapping.variables_of(claims);
        self.add_roles(&mut all, named, &variables, &claim);
        self.add_roles(&mut all, &carried.roles, &variables, &claim);
        let mut origins = vec![];
        if let Some(path) = &self.mapping.roles {
            origins.push(whence(named, &format!("claim {path}")));
        }
        if let Some(path) = &self.mapping.grant {
            all.add(&format!("claim {path}, read"), &carried.read, &RuleDraft::plain, Direction::Read);
            all.add(
                &format!("claim {path}, publish"),
                &carried.publish,
                &RuleDraft::plain,
                Direction::Publish,
            );
            origins.push(format!("claim {path}"));
        }
        self.resolved(all, subject, origins.join(" and "))
    }

    /// What these roles give somebody whose variables are known without a token: an API key. Fails with `TOO_MANY`.
    pub fn resolve_api_key(
        &self,
        subject: &str,
        roles: &[String],
        variables: &Variables,
    ) -> Result<Resolved, Refusal> {
        let mut all = Joined::default();
        self.add_roles(&mut all, roles, variables, &|_| "a variable of the API key".to_owned());
        self.resolved(all, subject, whence(roles, "of the API key"))
    }

    /// What those may do who have no credential; `None` when they are refused. Fails with `TOO_MANY`.
    pub fn anonymous(&self) -> Result<Option<Resolved>, Refusal> {
        let Some(roles) = &self.anonymous else { return Ok(None) };
        let mut all = Joined::default();
        self.add_roles(&mut all, roles, &Variables::default(), &|_| "which needs a credential".to_owned());
        self.resolved(all, "anonymous", whence(roles, "of those without a credential")).map(Some)
    }

    /// Does it know the role?
    pub fn knows(&self, role: &str) -> bool {
        self.roles.contains_key(role)
    }

    /// The roles that it knows.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(|name| &**name)
    }

    /// Names its text: SHA-256 in hexadecimal.
    pub fn digest(&self) -> String {
        self.digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Does it mask something else, or from others, than another policy?
    pub(super) fn masks_unlike(&self, other: &Policy) -> bool {
        let tables = |policy: &Policy| policy.masks.iter().map(|mask| mask.table.clone()).collect::<Vec<_>>();
        tables(self) != tables(other)
    }

    /// The sections `[[keys]]`, in their order.
    pub fn keys(&self) -> &[Section] {
        &self.keys
    }

    /// The sections `[[api_keys]]`, in their order.
    pub fn api_keys(&self) -> &[Section] {
        &self.api_keys
    }

    /// What is masked; `None` until it has been read.
    pub fn masks(&self) -> Option<&Masks> {
        self.masked.as_deref()
    }

    /// Reads the sections `[[masks]]`; hashes are made with this key. Fails with everything that is wrong with them.
    pub(super) fn mask(&mut self, key: MaskKey) -> Result<(), Vec<PolicyProblem>> {
        let drafts: Vec<Result<MaskDraft, PolicyProblem>> = self.masks.iter().map(Section::read).collect();
        let wrong: Vec<PolicyProblem> = drafts.iter().filter_map(|draft| draft.clone().err()).collect();
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let masks = Masks::new(drafts.into_iter().flatten().collect(), key);
        let masks = masks.and_then(|masks| masks.check_roles(|role| self.knows(role)).map(|()| masks));
        self.masked = Some(Arc::new(masks.map_err(|problems| self.placed(problems))?));
        Ok(())
    }

    /// The problems of masks, with the lines where these stand.
    fn placed(&self, problems: MaskProblems) -> Vec<PolicyProblem> {
        let line = |place: &str| {
            let names =
                |section: &&Section| section.at.split(' ').next().is_some_and(|at| place.starts_with(at));
            self.masks.iter().find(names)?.at.split_once(' ').map(|(_, line)| line)
        };
        let place = |MaskProblem { place, given, allowed: rule }: MaskProblem| {
            let at = line(&place).map_or_else(|| place.clone(), |line| format!("{place} {line}"));
            PolicyProblem { at, given: Some(given), rule }
        };
        problems.0.into_iter().map(place).collect()
    }

    /// With the masks of its roles.
    fn resolved(&self, all: Joined, subject: &str, origin: String) -> Result<Resolved, Refusal> {
        let granted = all.granted(subject, origin)?;
        let Some(masks) = &self.masked else { return Ok(granted) };
        let view = masks.view(&granted.roles, |role| self.knows(role));
        Ok(Resolved { view, ..granted })
    }

    fn add_roles(
        &self,
        all: &mut Joined,
        names: &[String],
        variables: &Variables,
        claim: &dyn Fn(&str) -> String,
    ) {
        for name in names {
            if !all.roles.insert(name.as_str().into()) {
                continue;
            }
            let Some(role) = self.roles.get(name.as_str()) else {
                all.notes.push(format!("the policy does not know role {}", crate::error::excerpt(name)));
                continue;
            };
            all.is_admin |= role.is_admin;
            let fill = |rule: &RuleDraft<Template>| rule.filled(variables, claim);
            all.add(&format!("role {name}, read"), &role.read, &fill, Direction::Read);
            all.add(&format!("role {name}, publish"), &role.publish, &fill, Direction::Publish);
        }
    }
}

fn whence(roles: &[String], origin: &str) -> String {
    match roles {
        [] => format!("no role ({origin})"),
        [role] => format!("role {} ({origin})", crate::error::excerpt(role)),
        roles => format!("roles {} ({origin})", crate::error::excerpt(&roles.join(", "))),
    }
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Read,
    Publish,
}

/// What several roles and a claim give together.
#[derive(Debug, Default)]
struct Joined {
    roles: BTreeSet<Box<str>>,
    read: Vec<Rule>,
    publish: Vec<Rule>,
    is_admin: bool,
    notes: Vec<String>,
}

/// The most notes that a refusal shows.
const NOTES_MAX: usize = 3;

impl Joined {
    fn add<T>(
        &mut self,
        at: &str,
        rules: &[RuleDraft<T>],
        fill: &dyn Fn(&RuleDraft<T>) -> Filled,
        direction: Direction,
    ) {
        for (index, Filled { rule, note }) in rules.iter().map(fill).enumerate() {
            let effect = if rule.is_some() { "less" } else { "nothing" };
            self.notes.extend(note.map(|note| format!("{at}[{index}] grants {effect}: {note}")));
            match direction {
                Direction::Read => self.read.extend(rule),
                Direction::Publish => self.publish.extend(rule),
            }
        }
    }

    fn granted(self, subject: &str, mut origin: String) -> Result<Resolved, Refusal> {
        let count = self.roles.len();
        if count > ROLES_MAX {
            let allowed = format!("{ROLES_MAX} roles of one credential");
            return Err(Refusal::field(Code::TooMany, "roles", &format!("{count} roles"), allowed)
                .with("grant", origin));
        }
        for note in self.notes.iter().take(NOTES_MAX) {
            origin = format!("{origin}; {note}");
        }
        let grant = Grant::new(self.read, self.publish, self.is_admin);
        let grant = grant.map_err(|refusal| Refusal {
            message: format!("{}; it comes from {origin}", refusal.message).into(),
            ..refusal.with("grant", origin.clone())
        })?;
        Ok(Resolved {
            subject: subject.into(),
            roles: self.roles.into_iter().collect(),
            grant: grant.from_origin(&origin),
            view: View::whole(),
            notes: self.notes,
        })
    }
}

#[cfg(test)]
#[path = "policy/policy_tests.rs"]
mod tests;
