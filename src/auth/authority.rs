//! Turns credentials into principals, and tells connections when that has changed.

use super::Principal;
use crate::error::Refusal;
use std::sync::Arc;
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
}

impl Authority {
    /// Without authentication: everybody is anonymous and may do everything.
    pub fn open() -> Self {
        Authority(Arc::new(Parts { changes: watch::Sender::new(0) }))
    }

    /// May everybody do everything?
    pub fn is_open(&self) -> bool {
        true
    }

    /// Who somebody with this credential is: a token, an API key, or nothing. Fails with `UNAUTHENTICATED`, or `UNAVAILABLE`
    /// while keys cannot be had.
    ///
    /// Cancel safety: yes.
    pub async fn authenticate(&self, _credential: Option<&str>) -> Result<Principal, Refusal> {
        Ok(Principal::anonymous())
    }

    /// Rises whenever a revocation or another policy may have changed what principals may do; whoever holds one then asks
    /// [`Authority::review`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// The principal as it is now: the same, or with another grant and view. Fails when it has expired or was revoked.
    pub fn review(&self, principal: &Principal) -> Result<Principal, Refusal> {
        Ok(principal.clone())
    }

    /// Accepts something no more, from now on and after a restart. Live connections learn it by [`Authority::changes`].
    pub async fn revoke(&self, _what: Revocation) -> Result<(), Refusal> {
        self.0.changes.send_modify(|generation| *generation += 1);
        Ok(())
    }

    /// Reads the policy again. Fails with what is wrong with it; the old one then stays in force.
    pub async fn reload(&self) -> Result<(), Refusal> {
        self.0.changes.send_modify(|generation| *generation += 1);
        Ok(())
    }
}
