//! Turns credentials into principals, and tells connections when that has changed.
//!
//! Flow: a credential is recognised by its form; `token` checks it; `policy` says what it may do.
//! Invariants: a refusal is cheap and holds nothing of the credential. A token that was checked is not checked again for as long
//! as its key is in use, but its expiry and its revocation are. Reloading replaces everything or nothing.

use super::{
    Audit, AuthorityError, Masks, Options, Principal,
    audit::Entry,
    policy::{Policy, PolicyProblem, Variables},
    principal::Proof,
    revocations::Revocations,
    sections,
    token::{
        ApiKey, ApiKeys, Compact, Denial, KeyRing, Remote, Source, TOKEN_BYTES_MAX, Verified, is_api_key,
        verify,
    },
};
use crate::error::{Code, Refusal};
use chrono::Utc;
use quick_cache::{Weighter, sync::Cache};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};
use tokio::sync::{Mutex, watch};

/// Checked tokens that are remembered: so many, and so many bytes of them.
const CHECKED_TOKENS: usize = 4_096;
const CHECKED_BYTES: u64 = 4 * 1024 * 1024;

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
    /// `None` on a server without authentication.
    guard: Option<Guard>,
}

/// What a server with authentication was told, for people; no secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The keys that may sign tokens, each with its algorithms.
    pub keys: Vec<String>,
    /// How many API keys there are.
    pub api_keys: usize,
    /// How many roles the policy knows.
    pub roles: usize,
    /// How many masks it has.
    pub masks: usize,
}

/// What a server with authentication asks.
struct Guard {
    options: Options,
    current: RwLock<Arc<Current>>,
    revocations: Revocations,
    checked: Cache<[u8; 32], Checked, ByBytes>,
    /// One reload at a time.
    reloading: Mutex<()>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("policy", &self.options.policy).finish_non_exhaustive()
    }
}

/// Everything that a reload replaces.
#[derive(Debug)]
struct Current {
    ring: KeyRing,
    api_keys: ApiKeys,
    policy: Policy,
}

#[derive(Clone)]
struct Checked {
    token: Verified,
    bytes: u64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<[u8; 32], Checked> for ByBytes {
    fn weight(&self, _: &[u8; 32], checked: &Checked) -> u64 {
        checked.bytes
    }
}

impl Authority {
    /// Without authentication: everybody is anonymous and may do everything.
    pub fn open() -> Self {
        Authority(Arc::new(Parts { changes: watch::Sender::new(0), guard: None }))
    }

    /// By these options; [`Authority::open`] when they name nothing. Must be called on a tokio runtime, which fetches published
    /// keys from now on. Fails with everything that is wrong.
    pub fn new(options: Options) -> Result<Self, AuthorityError> {
        if !options.is_configured() {
            return Ok(Authority::open());
        }
        let changes = watch::Sender::new(0);
        let lifetime = options.times.lifetime_max + options.times.leeway;
        let current = Current::read(&options, &[], &changes)?;
        let guard = Guard {
            current: RwLock::new(Arc::new(current)),
            revocations: Revocations::open(options.revocations.clone(), lifetime)?,
            checked: Cache::with_weighter(CHECKED_TOKENS, CHECKED_BYTES, ByBytes),
            reloading: Mutex::new(()),
            options,
        };
        Ok(Authority(Arc::new(Parts { changes, guard: Some(guard) })))
    }

    /// May everybody do everything?
    pub fn is_open(&self) -> bool {
        self.0.guard.is_none()
    }

    /// Where decisions are recorded.
    pub fn audit(&self) -> Audit {
        self.0.guard.as_ref().map_or_else(Audit::off, |guard| guard.options.audit.clone())
    }

    /// What it was told; `None` without authentication.
    pub fn setup(&self) -> Option<Setup> {
        let current = self.0.guard.as_ref()?.current();
        Some(Setup {
            keys: current.ring.described(),
            api_keys: current.api_keys.len(),
            roles: current.policy.roles().count(),
            masks: current.policy.masks().map_or(0, Masks::len),
        })
    }

    /// Who somebody with this credential is: a token, an API key, or nothing. Fails with `UNAUTHENTICATED`, or `UNAVAILABLE`
    /// while keys cannot be had.
    ///
    /// Cancel safety: yes.
    pub async fn authenticate(&self, credential: Option<&str>) -> Result<Principal, Refusal> {
        let Some(guard) = &self.0.guard else { return Ok(Principal::anonymous()) };
        let current = guard.current();
        let known = match credential {
            None => current.nobody(),
            Some(key) if is_api_key(key) => guard.by_api_key(&current, key),
            Some(token) => guard.by_token(&current, token).await,
        };
        known.inspect_err(|refusal| {
            guard.options.metrics.credentials_refused.inc();
            tracing::debug!(%refusal, "a credential was refused");
        })
    }

    /// Rises whenever a revocation or another policy may have changed what principals may do; whoever holds one then asks
    /// [`Authority::review`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// The principal as it is now: the same, or with another grant and view. Fails when it has expired or was revoked, or when
    /// its key is no longer in use.
    pub fn review(&self, principal: &Principal) -> Result<Principal, Refusal> {
        let Some(guard) = &self.0.guard else { return Ok(principal.clone()) };
        let current = guard.current();
        let now = match principal.proof() {
            Proof::Trusted => return Ok(principal.clone()),
            Proof::None => current.nobody(),
            Proof::Token(token) if !current.ring.has(token.print()) => Err(Denial::UnknownKey.into()),
            Proof::Token(token) if token.expires_at() <= Utc::now() => Err(Denial::Expired.into()),
            Proof::Token(token) => guard.token_bearer(&current, token.clone()),
            Proof::ApiKey(key) => match current.api_keys.get(key.id()) {
                Some(now) if now.is_same(key) => guard.key_bearer(&current, Arc::clone(now)),
                Some(_) | None => Err(Denial::ApiKey.into()),
            },
        };
        now.map(|now| now.in_place_of(principal))
    }

    /// Accepts something no more, from now on and after a restart. Live connections learn it by [`Authority::changes`]. Fails with
    /// `BAD_REQUEST` without authentication or for an empty name, `TOO_MANY`, and `UNAVAILABLE` when it is in force but could not
    /// be stored.
    ///
    /// Cancel safety: once begun it is in force and is stored.
    pub async fn revoke(&self, what: Revocation) -> Result<(), Refusal> {
        let Some(guard) = &self.0.guard else {
            return Err(Refusal::new(
                Code::BadRequest,
                "there is nothing to revoke: the server has no authentication",
            ));
        };
        let unstored = guard.revocations.add(what, Utc::now())?;
        // Live connections do not wait for the disk.
        tell(&self.0.changes);
        guard.revocations.store(unstored).await
    }

    /// Reads the policy again, for an admin or, without one, for whoever runs the server. Fails with `BAD_REQUEST` and what is
    /// wrong with it, and with `UNAVAILABLE` when it cannot be recorded; the old one then stays in force.
    ///
    /// Cancel safety: yes; the old policy then stays in force.
    pub async fn reload(&self, admin: Option<&Principal>) -> Result<(), Refusal> {
        let Some(guard) = &self.0.guard else { return Ok(()) };
        let _one = guard.reloading.lock().await;
        let (old, options, changes) = (guard.current(), guard.options.clone(), self.0.changes.clone());
        let running = Arc::clone(&old);
        let read = move || Current::read(&options, running.ring.remotes(), &changes);
        let read = tokio::task::spawn_blocking(read);
        let read = read.await.map_err(|_| Refusal::new(Code::Internal, "reading the policy has failed"))?;
        let next = read.map_err(|error| {
            tracing::warn!(%error, "the policy was not loaded; the old one stays in force");
            let message = format!("the policy was not loaded, and the old one stays in force; {error}");
            Refusal::new(Code::BadRequest, message)
        })?;
        let masks_changed = next.policy.masks_unlike(&old.policy);
        let entry = Entry::policy_changed(admin, &next.policy.digest(), masks_changed);
        match admin.filter(|admin| admin.origin().is_some()) {
            Some(admin) => admin.commit(entry).await?,
            None => guard.options.audit.commit(entry).await?,
        }
        *guard.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        tell(&self.0.changes);
        Ok(())
    }
}

fn tell(changes: &watch::Sender<u64>) {
    changes.send_modify(|generation| *generation += 1);
}

impl Current {
    /// Reads settings and policy. Addresses that were fetched from before keep the keys that they had.
    fn read(
        options: &Options,
        running: &[Arc<Remote>],
        changes: &watch::Sender<u64>,
    ) -> Result<Self, AuthorityError> {
        let read = sections::read(options, &options.environment).map_err(AuthorityError::Policy)?;
        let (mut fixed, mut remotes) = (Vec::new(), Vec::new());
        for source in read.sources {
            match source {
                Source::Fixed(keys) => fixed.extend(keys),
                Source::Remote(remote) => match running.iter().find(|running| running.is(&remote)) {
                    Some(running) => remotes.push(Arc::clone(running)),
                    None => {
                        let changes = changes.clone();
                        let started =
                            Remote::start(remote, options.fetches, options.metrics.clone(), move || {
                                tell(&changes)
                            });
                        remotes.push(Arc::new(started.map_err(|rule| {
                            let at = "jwks_url".to_owned();
                            AuthorityError::Policy(vec![PolicyProblem { at, given: None, rule }])
                        })?));
                    }
                },
            }
        }
        Ok(Current { ring: KeyRing::new(fixed, remotes), api_keys: read.api_keys, policy: read.policy })
    }

    /// Whoever comes without a credential.
    fn nobody(&self) -> Result<Principal, Refusal> {
        let resolved = self.policy.anonymous()?.ok_or(Denial::Missing)?;
        Ok(Principal::of(Proof::None, resolved))
    }
}

impl Guard {
    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn by_api_key(&self, current: &Current, presented: &str) -> Result<Principal, Refusal> {
        let key = current.api_keys.find(presented, Utc::now())?;
        self.key_bearer(current, key)
    }

    fn key_bearer(&self, current: &Current, key: Arc<ApiKey>) -> Result<Principal, Refusal> {
        if key.has_expired(Utc::now()) {
            return Err(Denial::Expired.into());
        }
        if self.revocations.covers_api_key(key.id(), key.subject(), key.issued_at()) {
            return Err(Denial::Revoked.into());
        }
        let mut variables = Variables::default();
        for (name, values) in key.variables() {
            variables.set(name, values.clone());
        }
        let resolved = current.policy.resolve_api_key(key.subject(), key.roles(), &variables)?;
        Ok(Principal::of(Proof::ApiKey(key), resolved))
    }

    async fn by_token(&self, current: &Current, text: &str) -> Result<Principal, Refusal> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Denial::Malformed("more than 8 KiB").into());
        }
        let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let known = self.checked.get(&digest).filter(|checked| current.ring.has(checked.token.print()));
        let token = match known {
            Some(checked) if self.options.times.has_expired(checked.token.expires_at(), Utc::now()) => {
                return Err(Denial::Expired.into());
            }
            Some(checked) => checked.token,
            None => {
                let token = self.check(current, text).await?;
                self.checked.insert(digest, Checked { token: token.clone(), bytes: text.len() as u64 });
                token
            }
        };
        self.token_bearer(current, token)
    }

    /// Checks a token; once more after keys were fetched, if it names one that is not known.
    async fn check(&self, current: &Current, text: &str) -> Result<Verified, Denial> {
        let token = Compact::parse(text)?;
        let meant = current.ring.meant_by(&token);
        if matches!(meant, Err(Denial::UnknownKey | Denial::KeysMissing)) {
            current.ring.refresh().await;
        }
        verify(token, &current.ring, &self.options.times, Utc::now())
    }

    fn token_bearer(&self, current: &Current, token: Verified) -> Result<Principal, Refusal> {
        if self.revocations.covers_token(&token) {
            return Err(Denial::Revoked.into());
        }
        let resolved = current.policy.resolve(token.claims())?;
        Ok(Principal::of(Proof::Token(token), resolved))
    }
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
