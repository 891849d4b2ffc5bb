//! From a token to a name that can be believed: the cheap refusals first, the signature last.
//!
//! Flow: `compact` takes it apart, `ring` finds the key by name and algorithm, `claims` judges, `key` checks the signature.

use super::{
    Claims, Denial,
    claims::{self, Registered, TimeRules},
    compact::Compact,
    key::{Key, KeyPrint},
    ring::KeyRing,
};
use chrono::{DateTime, Utc};
use std::{fmt, sync::Arc};

/// A token whose signature and claims were checked.
#[derive(Clone)]
pub(in crate::auth) struct Verified {
    registered: Registered,
    key: Box<str>,
    print: KeyPrint,
    claims: Arc<Claims>,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Verified {
    pub(in crate::auth) fn subject(&self) -> &str {
        &self.registered.subject
    }

    /// The claim `jti`.
    pub(in crate::auth) fn id(&self) -> Option<&str> {
        self.registered.id.as_deref()
    }

    pub(in crate::auth) fn issued_at(&self) -> Option<DateTime<Utc>> {
        self.registered.issued_at
    }

    pub(in crate::auth) fn expires_at(&self) -> DateTime<Utc> {
        self.registered.expires_at
    }

    /// What the key is called.
    pub(in crate::auth) fn key(&self) -> &str {
        &self.key
    }

    pub(in crate::auth) fn print(&self) -> &KeyPrint {
        &self.print
    }

    pub(in crate::auth) fn claims(&self) -> &Arc<Claims> {
        &self.claims
    }
}

/// Checks a token.
pub(in crate::auth) fn verify(
    token: Compact<'_>,
    ring: &KeyRing,
    rules: &TimeRules,
    now: DateTime<Utc>,
) -> Result<Verified, Denial> {
    let mut denial = Denial::UnknownKey;
    for key in ring.meant_by(&token)? {
        match verify_with(&key, &token, rules, now) {
            Ok(registered) => {
                return Ok(Verified {
                    registered,
                    key: key.name().into(),
                    print: key.print(),
                    claims: Arc::new(token.claims),
                });
            }
            Err(wrong) => denial = wrong,
        }
    }
    Err(denial)
}

/// The claims are judged first although nobody has signed them yet: that costs a microsecond, the signature up to a hundred.
fn verify_with(
    key: &Key,
    token: &Compact<'_>,
    rules: &TimeRules,
    now: DateTime<Utc>,
) -> Result<Registered, Denial> {
    let registered = claims::judge(&token.claims, key, rules, now)?;
    match key.has_signed(token.message, token.signature, token.algorithm) {
        true => Ok(registered),
        false => Err(Denial::Signature),
    }
}
