//! Turns credentials into principals, and tells connections when that has changed.

use super::{Credential, Principal};
use crate::error::{Code, Refusal};
use chrono::Utc;
use std::{
    collections::HashMap,
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
};
use tokio::sync::watch;

/// What is no longer accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revocation {
    /// Every credential of a subject that was issued until now.
    Subject(Box<str>),
    /// One token, by its id (claim `jti`).
    Token(Box<str>),
    /// A signing key or an API key, by its id.
    Key(Box<str>),
}

/// Decides who somebody is. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Authority(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    changes: watch::Sender<u64>,
    roster: Option<RwLock<Roster>>,
}

/// Who is accepted: principals by their credential; the empty one is that of callers without any.
#[derive(Debug, Default)]
struct Roster {
    principals: HashMap<Box<str>, Principal>,
    revoked: Vec<Revocation>,
}

impl Authority {
    /// Without authentication: everybody is anonymous and may do everything.
    pub fn open() -> Self {
        Authority(Arc::new(Parts { changes: watch::Sender::new(0), roster: None }))
    }

    /// Accepts these credentials and no others, for a program that knows its callers by itself. The empty credential is that
    /// of callers without any.
    pub fn fixed(principals: impl IntoIterator<Item = (Box<str>, Principal)>) -> Self {
        let roster = Roster { principals: principals.into_iter().collect(), revoked: Vec::new() };
        Authority(Arc::new(Parts { changes: watch::Sender::new(0), roster: Some(RwLock::new(roster)) }))
    }

    /// Accepts other credentials from now on. Without effect where everybody is accepted.
    pub fn replace(&self, principals: impl IntoIterator<Item = (Box<str>, Principal)>) {
        if let Some(mut roster) = self.write() {
            roster.principals = principals.into_iter().collect();
        }
        self.changed();
    }

    /// May everybody do everything?
    pub fn is_open(&self) -> bool {
        self.0.roster.is_none()
    }

    /// Who somebody with this credential is: a token, an API key, or nothing. Fails with `UNAUTHENTICATED`, or `UNAVAILABLE`
    /// while keys cannot be had.
    ///
    /// Cancel safety: yes.
    pub async fn authenticate(&self, credential: Option<&str>) -> Result<Principal, Refusal> {
        let Some(roster) = self.read() else { return Ok(Principal::anonymous()) };
        let principal = roster.principals.get(credential.unwrap_or_default());
        let unknown = match credential {
            Some(_) => "the token is not accepted",
            None => "a token is needed",
        };
        let principal = principal.ok_or_else(|| Refusal::new(Code::Unauthenticated, unknown))?;
        roster.check(principal).map(|()| principal.clone())
    }

    /// Rises whenever a revocation or another policy may have changed what principals may do; whoever holds one then asks
    /// [`Authority::review`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// The principal as it is now: the same, or with another grant and view. Fails when it has expired or was revoked.
    pub fn review(&self, principal: &Principal) -> Result<Principal, Refusal> {
        let Some(roster) = self.read() else { return Ok(principal.clone()) };
        roster.check(principal)?;
        let known = roster.principals.values().find(|known| {
            known.credential() == principal.credential() && known.subject() == principal.subject()
        });
        known
            .cloned()
            .ok_or_else(|| Refusal::new(Code::Unauthenticated, "the token is not accepted any more"))
    }

    /// Accepts something no more, from now on and after a restart. Live connections learn it by [`Authority::changes`].
    pub async fn revoke(&self, what: Revocation) -> Result<(), Refusal> {
        if let Some(mut roster) = self.write() {
            roster.revoked.push(what);
        }
        self.changed();
        Ok(())
    }

    /// Reads the policy again. Fails with what is wrong with it; the old one then stays in force.
    pub async fn reload(&self) -> Result<(), Refusal> {
        self.changed();
        Ok(())
    }

    fn changed(&self) {
        self.0.changes.send_modify(|generation| *generation += 1);
    }

    fn read(&self) -> Option<RwLockReadGuard<'_, Roster>> {
        // Changed by single assignments only.
        self.0.roster.as_ref().map(|roster| roster.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn write(&self) -> Option<RwLockWriteGuard<'_, Roster>> {
        self.0.roster.as_ref().map(|roster| roster.write().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Roster {
    fn check(&self, principal: &Principal) -> Result<(), Refusal> {
        if principal.expires_at().is_some_and(|end| end <= Utc::now()) {
            return Err(Refusal::new(Code::Unauthenticated, "token expired"));
        }
        let is_revoked = self.revoked.iter().any(|what| match (what, principal.credential()) {
            (Revocation::Subject(subject), _) => **subject == *principal.subject(),
            (Revocation::Token(own), Credential::Token { id: Some(id), .. })
            | (Revocation::Key(own), Credential::Token { key: id, .. } | Credential::ApiKey { id }) => {
                own == id
            }
            (Revocation::Token(_) | Revocation::Key(_), _) => false,
        });
        match is_revoked {
            true => Err(Refusal::new(Code::Unauthenticated, "the credential was revoked")),
            false => Ok(()),
        }
    }
}
