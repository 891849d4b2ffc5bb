//! API keys: `ffk_<id>_<secret>`, for programs that have no login server.
//!
//! Invariants: of the secret only its SHA-256 is kept. A plain hash is enough because the secret is 256 random bits: nobody can
//! try them all, so there is nothing for a slow or salted hash to slow down. Hashes are compared in constant time, and a key
//! that is not known costs the same as a wrong secret.

use super::{Denial, draft::Fault, key::KeyPrint};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

/// What every API key begins with, so that people and scanners of leaked secrets know it.
const PREFIX: &str = "ffk_";
const HASH_PREFIX: &str = "sha256:";
const SECRET_BYTES: usize = 32;
const ID_BYTES_MAX: usize = 64;
const SUBJECT_BYTES_MAX: usize = 256;

/// An API key as it was written: one section `[[api_keys]]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ApiKeyDraft {
    /// Its public name, a part of the key.
    pub id: String,
    /// Who presents it.
    pub subject: String,
    /// `sha256:` and the hash of the secret, 64 hexadecimal digits.
    pub hash: String,
    /// The roles that it has.
    #[serde(default)]
    pub roles: Vec<String>,
    /// When it was made; a later revocation of its subject then covers it, an earlier one does not.
    pub issued: Option<toml::value::Datetime>,
    /// When it ends.
    pub expires: Option<toml::value::Datetime>,
    /// The values for the variables of roles.
    #[serde(default)]
    pub variables: BTreeMap<String, OneOrMany>,
}

/// A text or a list of texts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Any number.
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_list(self) -> Vec<String> {
        match self {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        }
    }
}

/// A checked API key.
#[derive(Debug)]
pub struct ApiKey {
    id: Box<str>,
    subject: Box<str>,
    hash: KeyPrint,
    roles: Vec<String>,
    variables: BTreeMap<String, Vec<String>>,
    issued_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
}

impl ApiKey {
    /// Its public name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Who presents it.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The roles that it has.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// The values for the variables of roles.
    pub fn variables(&self) -> &BTreeMap<String, Vec<String>> {
        &self.variables
    }

    /// When it was made, if the policy says so.
    pub fn issued_at(&self) -> Option<DateTime<Utc>> {
        self.issued_at
    }

    /// When it ends.
    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.expires_at
    }

    /// Has it ended?
    pub(in crate::auth) fn has_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// Is it still what it was: the same secret for the same subject?
    pub(in crate::auth) fn is_same(&self, other: &ApiKey) -> bool {
        self.hash == other.hash && self.subject == other.subject
    }
}

/// Every API key, by its id.
#[derive(Debug, Default)]
pub(in crate::auth) struct ApiKeys(HashMap<Box<str>, Arc<ApiKey>>);

impl ApiKeys {
    /// How many there are.
    pub(in crate::auth) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes in one more; fails with everything that is wrong with it.
    pub(in crate::auth) fn add(&mut self, draft: ApiKeyDraft) -> Result<(), Vec<Fault>> {
        let key = check(draft)?;
        if self.0.contains_key(&key.id) {
            return Err(vec![Fault::new("id", format!("{:?} is used by another API key", key.id))]);
        }
        self.0.insert(key.id.clone(), Arc::new(key));
        Ok(())
    }

    pub(in crate::auth) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::auth) fn get(&self, id: &str) -> Option<&Arc<ApiKey>> {
        self.0.get(id)
    }

    /// The key that was presented.
    pub(in crate::auth) fn find(&self, presented: &str, now: DateTime<Utc>) -> Result<Arc<ApiKey>, Denial> {
        let (id, secret) = presented
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.rsplit_once('_'))
            .filter(|(id, secret)| is_id(id) && secret.len() == 2 * SECRET_BYTES)
            .ok_or(Denial::ApiKey)?;
        let known = self.0.get(id);
        let expected = known.map_or([0; 32], |key| key.hash);
        let is_equal = aws_lc_rs::constant_time::verify_slices_are_equal(&hash(secret), &expected).is_ok();
        let key = known.filter(|_| is_equal).ok_or(Denial::ApiKey)?;
        if key.has_expired(now) { Err(Denial::Expired) } else { Ok(Arc::clone(key)) }
    }
}

/// Is a credential an API key rather than a token?
pub(in crate::auth) fn is_api_key(credential: &str) -> bool {
    credential.starts_with(PREFIX)
}

fn hash(secret: &str) -> KeyPrint {
    Sha256::digest(secret.as_bytes()).into()
}

fn is_id(id: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn check(draft: ApiKeyDraft) -> Result<ApiKey, Vec<Fault>> {
    let mut faults = Vec::new();
    if !is_id(&draft.id) {
        faults.push(Fault::new("id", "1 to 64 letters, digits, dots, hyphens and underscores are allowed"));
    }
    if !(1..=SUBJECT_BYTES_MAX).contains(&draft.subject.len()) {
        faults.push(Fault::new("subject", format!("1 to {SUBJECT_BYTES_MAX} bytes of text are allowed")));
    }
    let hash = read_hash(&draft.hash);
    if hash.is_none() {
        let rule = "must be sha256: and 64 hexadecimal digits, as `fanfare token api-key` prints it";
        faults.push(Fault::new("hash", rule));
    }
    let mut read_time = |field, time: Option<&toml::value::Datetime>| match time.map(moment) {
        None => None,
        Some(Some(time)) => Some(time),
        Some(None) => {
            faults.push(Fault::new(
                field,
                "a date and time with its offset is allowed, such as 2027-01-01T00:00:00Z",
            ));
            None
        }
    };
    let issued_at = read_time("issued", draft.issued.as_ref());
    let expires_at = read_time("expires", draft.expires.as_ref());
    match hash {
        Some(hash) if faults.is_empty() => Ok(ApiKey {
            id: draft.id.into(),
            subject: draft.subject.into(),
            hash,
            roles: draft.roles,
            variables: draft.variables.into_iter().map(|(name, values)| (name, values.into_list())).collect(),
            issued_at,
            expires_at,
        }),
        Some(_) | None => Err(faults),
    }
}

fn moment(time: &toml::value::Datetime) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(&time.to_string()).ok().map(Into::into)
}

fn read_hash(text: &str) -> Option<KeyPrint> {
    let digits = text.strip_prefix(HASH_PREFIX)?.as_bytes();
    let mut hash = [0; 32];
    if digits.len() != 2 * hash.len() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(hash)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A new API key: shown once, and never to be had again from its hash.
pub struct NewApiKey {
    /// The key itself.
    pub key: String,
    /// What goes into the policy.
    pub hash: String,
}

impl fmt::Debug for NewApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewApiKey").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl NewApiKey {
    /// Makes a key of 256 random bits. The error is a sentence: the id is not one, or the system gives no random bytes.
    pub fn make(id: &str) -> Result<Self, String> {
        if !is_id(id) {
            return Err("an id has 1 to 64 letters, digits, dots, hyphens and underscores".to_owned());
        }
        let mut bytes = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
        let secret = hex(&bytes);
        Ok(NewApiKey {
            key: format!("{PREFIX}{id}_{secret}"),
            hash: format!("{HASH_PREFIX}{}", hex(&hash(&secret))),
        })
    }
}

#[cfg(test)]
#[path = "api_key_tests.rs"]
mod tests;
