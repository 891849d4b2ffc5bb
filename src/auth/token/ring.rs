//! Every key that may sign tokens, fixed or fetched, and which of them a token can mean.
//!
//! Invariants: a key with a name is meant by that name only; a token that names no key means the only one, or one without a
//! name. What a token says about keys is a name and nothing else.

use super::{
    Denial,
    compact::Compact,
    key::{self, Key, KeyPrint, UNNAMED},
    remote::Remote,
};
use serde_json::Value;
use std::sync::Arc;

/// The most keys that one token is checked with: each costs a signature.
const CANDIDATES_MAX: usize = 4;

/// Every key that may sign tokens.
#[derive(Debug, Default)]
pub(in crate::auth) struct KeyRing {
    fixed: Vec<Arc<Key>>,
    remotes: Vec<Arc<Remote>>,
}

impl KeyRing {
    pub(in crate::auth) fn new(fixed: Vec<Arc<Key>>, remotes: Vec<Arc<Remote>>) -> Self {
        KeyRing { fixed, remotes }
    }

    /// The addresses that keys are fetched from.
    pub(in crate::auth) fn remotes(&self) -> &[Arc<Remote>] {
        &self.remotes
    }

    /// The keys by name, each with its algorithms, for people.
    pub(in crate::auth) fn described(&self) -> Vec<String> {
        let fetched = self.remotes.iter().filter(|remote| !remote.has_keys());
        let described =
            |key: Arc<Key>| format!("{} ({})", key.id().unwrap_or(UNNAMED), key::names(key.algorithms()));
        let missing = fetched.map(|_| "published keys, not fetched yet".to_owned());
        self.keys().into_iter().map(described).chain(missing).collect()
    }

    fn keys(&self) -> Vec<Arc<Key>> {
        let remote = self.remotes.iter().flat_map(|remote| remote.keys().to_vec());
        self.fixed.iter().cloned().chain(remote).collect()
    }

    /// Is the key still one of them?
    pub(in crate::auth) fn has(&self, print: &KeyPrint) -> bool {
        let is_it = |key: &Arc<Key>| key.print() == *print;
        self.fixed.iter().any(is_it) || self.remotes.iter().any(|remote| remote.keys().iter().any(is_it))
    }

    /// The keys that a token can mean, at least one, before any signature is looked at.
    pub(in crate::auth) fn meant_by(&self, token: &Compact<'_>) -> Result<Vec<Arc<Key>>, Denial> {
        let keys = self.keys();
        let unnamed = |key: &&Arc<Key>| key.id().is_none() && key.accepts(token.algorithm);
        let pick =
            |is_meant: &dyn Fn(&&Arc<Key>) -> bool| keys.iter().filter(is_meant).cloned().collect::<Vec<_>>();
        let mut meant = match &token.key {
            Some(name) => pick(&|key| key.id() == Some(name)),
            None if keys.len() == 1 => keys.clone(),
            None => pick(&unnamed),
        };
        if meant.is_empty() && token.key.is_some() {
            meant = pick(&unnamed);
        }
        if meant.is_empty() {
            return Err(self.nothing_meant(token, &keys));
        }
        meant.retain(|key| key.accepts(token.algorithm));
        if meant.is_empty() {
            return Err(Denial::Algorithm);
        }
        // Two login servers may use the same name; the issuer tells whose it is. The claim is judged later.
        if meant.len() > 1 {
            let issuer = token.claims.get("iss").and_then(Value::as_str).unwrap_or_default();
            meant.sort_by_key(|key| key.issuer() != issuer);
            meant.truncate(CANDIDATES_MAX);
        }
        Ok(meant)
    }

    fn nothing_meant(&self, token: &Compact<'_>, keys: &[Arc<Key>]) -> Denial {
        match &token.key {
            _ if self.remotes.iter().any(|remote| !remote.has_keys()) => Denial::KeysMissing,
            Some(_)
                if keys.iter().all(|key| key.id().is_none())
                    && !keys.is_empty()
                    && self.remotes.is_empty() =>
            {
                Denial::Algorithm
            }
            Some(_) => Denial::UnknownKey,
            None if keys.iter().any(|key| key.id().is_none()) => Denial::Algorithm,
            None => Denial::UnnamedKey,
        }
    }

    /// Fetches keys again where that is due; tells whether anything was fetched.
    ///
    /// Cancel safety: yes.
    pub(in crate::auth) async fn refresh(&self) -> bool {
        let fetches = self.remotes.iter().map(|remote| remote.refresh());
        futures_util::future::join_all(fetches).await.into_iter().any(|fetched| fetched)
    }
}
