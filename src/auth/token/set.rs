//! A JWK set (RFC 7517 5): many keys in one JSON text, of which those that cannot be used are left out.

use super::key::{Key, KeyError, Terms};
use crate::event::json;
use jsonwebtoken::jwk::Jwk;
use serde_json::Value;
use std::sync::Arc;

/// The most keys of a set; login servers have two to ten.
const KEYS_MAX: usize = 100;

/// Why a text is no key set that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SetError {
    #[error("this is not a JWK set, a JSON object with a list `keys`")]
    NotASet,
    #[error("the set has more than {KEYS_MAX} keys")]
    TooMany,
    #[error("no key of the set can be used: {0}")]
    NoneUsable(String),
}

/// A key that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Skipped {
    pub(super) name: String,
    pub(super) why: KeyError,
}

/// Reads a set. Keys that cannot be used are left out and told; a set without any that can is an error.
pub(super) fn read(text: &str, terms: &Terms) -> Result<(Vec<Arc<Key>>, Vec<Skipped>), SetError> {
    json::check(text).map_err(|_| SetError::NotASet)?;
    let set: Value = serde_json::from_str(text).map_err(|_| SetError::NotASet)?;
    let entries = set.get("keys").and_then(Value::as_array).ok_or(SetError::NotASet)?;
    if entries.len() > KEYS_MAX {
        return Err(SetError::TooMany);
    }
    let (mut keys, mut skipped): (Vec<Arc<Key>>, Vec<_>) = (Vec::new(), Vec::new());
    for (index, entry) in entries.iter().enumerate() {
        match read_key(entry, terms) {
            Ok(key) => keys.push(Arc::new(key)),
            Err(why) => skipped.push(Skipped { name: name(index, entry), why }),
        }
    }
    match keys.is_empty() {
        false => Ok((keys, skipped)),
        true => Err(SetError::NoneUsable(told(&skipped))),
    }
}

fn read_key(entry: &Value, terms: &Terms) -> Result<Key, KeyError> {
    // The private number of each type; whoever publishes it must make a new key.
    if entry.get("d").is_some() {
        return Err(KeyError::Private);
    }
    let jwk: Jwk = serde_json::from_value(entry.clone()).map_err(|_| KeyError::Unsupported)?;
    Key::from_jwk(&jwk, terms)
}

fn name(index: usize, entry: &Value) -> String {
    match entry.get("kid").and_then(Value::as_str) {
        Some(kid) => crate::error::excerpt(kid),
        None => format!("number {index}"),
    }
}

fn told(skipped: &[Skipped]) -> String {
    if skipped.is_empty() {
        return "it is empty".to_owned();
    }
    let told = skipped.iter().take(5).map(|one| format!("{}: {}", one.name, one.why));
    told.collect::<Vec<_>>().join("; ")
}
