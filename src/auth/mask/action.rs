//! What is done to a masked value: it goes, becomes null, a hash, or its last characters.
//!
//! Invariants: a hash is keyed, so that nobody can compute it from a guess; equal values have equal hashes within one server,
//! however they were escaped and in whatever order their members stood.

use super::scan::Scan;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use std::{fmt, sync::Arc};

/// What is done to a masked value, from the mildest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Of a string of 8 characters or more the last 4 stay, after `***`; every other value becomes `"***"`.
    Partial,
    /// The value becomes `"hash:"` and 16 hexadecimal digits; equal values stay equal.
    Hash,
    /// The value becomes null.
    Null,
    /// The member, element or field goes.
    Drop,
}

impl Action {
    /// Its name in the policy.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Partial => "partial",
            Action::Hash => "hash",
            Action::Null => "null",
            Action::Drop => "drop",
        }
    }
}

/// Strings shorter than this show nothing under [`Action::Partial`].
const PARTIAL_CHARS_MIN: usize = 8;
const PARTIAL_CHARS_SHOWN: usize = 4;

/// The key of the hashes: secret, and the same for as long as hashes should stay comparable. Cloning shares it.
#[derive(Clone)]
pub struct MaskKey(Arc<([u8; 32], Hmac<Sha256>)>);

impl MaskKey {
    /// The purpose for which the key is derived from the secret of a data directory.
    pub const PURPOSE: &str = "masks";

    /// A key of 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        let mac = Hmac::new_from_slice(&bytes).expect("HMAC takes a key of any length");
        MaskKey(Arc::new((bytes, mac)))
    }

    /// A key for as long as this process runs.
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("a system without random numbers can keep no secret");
        MaskKey::new(bytes)
    }

    /// The hash of a canonical JSON text.
    fn hash(&self, canonical: &str) -> String {
        let digest = self.0.1.clone().chain_update(canonical).finalize().into_bytes();
        let mut hash = "hash:".to_owned();
        let digits = digest.iter().take(8).flat_map(|byte| [byte >> 4, byte & 15]);
        hash.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
        hash
    }
}

impl PartialEq for MaskKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.0 == other.0.0
    }
}

impl Eq for MaskKey {}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskKey(…)")
    }
}

/// A text as it is shown; `None` when it is not.
pub(super) fn show_text(action: Action, text: &str, key: &MaskKey) -> Option<String> {
    match action {
        Action::Drop | Action::Null => None,
        Action::Hash => Some(key.hash(&serde_json::Value::from(text).to_string())),
        Action::Partial => Some(partial(text)),
    }
}

/// A JSON value as it is shown, as JSON. `None` when it goes, or when it is no JSON.
pub(super) fn show_value(action: Action, json: &str, key: &MaskKey) -> Option<String> {
    let shown = match action {
        Action::Drop => return None,
        Action::Null => return Some("null".to_owned()),
        Action::Hash => key.hash(&canonical(json)?),
        Action::Partial => match json.starts_with('"') {
            true => partial(&serde_json::from_str::<String>(json).ok()?),
            false => partial(""),
        },
    };
    Some(serde_json::Value::from(shown).to_string())
}

fn partial(text: &str) -> String {
    let hidden = match text.chars().count() {
        count @ PARTIAL_CHARS_MIN.. => count - PARTIAL_CHARS_SHOWN,
        count => count,
    };
    std::iter::repeat_n('*', 3).chain(text.chars().skip(hidden)).collect()
}

/// One text for all ways to write a value: strings unescaped as far as may be, members by key. Numbers stay as written.
fn canonical(json: &str) -> Option<String> {
    let mut scan = Scan::new(json);
    let text = canonical_value(&mut scan)?;
    scan.is_done().then_some(text)
}

fn canonical_value(scan: &mut Scan<'_>) -> Option<String> {
    match scan.peek()? {
        b'{' => {
            let mut members = Vec::new();
            scan.object(|scan, key| {
                members.push((canonical_string(key)?, canonical_value(scan)?));
                Some(())
            })?;
            members.sort_unstable();
            let members: Vec<String> =
                members.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
            Some(format!("{{{}}}", members.join(",")))
        }
        b'[' => {
            let mut elements = Vec::new();
            scan.array(|scan| {
                elements.push(canonical_value(scan)?);
                Some(())
            })?;
            Some(format!("[{}]", elements.join(",")))
        }
        b'"' => canonical_string(scan.value()?),
        _ => scan.value().map(str::to_owned),
    }
}

fn canonical_string(json: &str) -> Option<String> {
    match json.contains('\\') {
        true => Some(serde_json::Value::from(serde_json::from_str::<String>(json).ok()?).to_string()),
        false => Some(json.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> MaskKey {
        MaskKey::new([7; 32])
    }

    #[test]
    fn a_hash_is_the_same_however_a_value_is_written_and_differs_for_another_value_or_key() {
        let shown = |json: &str| show_value(Action::Hash, json, &key()).unwrap();
        assert_eq!(shown(r#"{"a":"\u0070x","b":[1,2]}"#), shown(r#"{"b":[1,2],"\u0061":"px"}"#));
        assert_ne!(shown("[1,2]"), shown("[2,1]"));
        assert_ne!(shown("9007199254740993"), shown("9007199254740992"));
        assert_ne!(shown("1"), shown(r#""1""#));
        assert_eq!(shown(r#""px""#), format!("{:?}", show_text(Action::Hash, "px", &key()).unwrap()));
        assert_eq!(shown("1").len(), r#""hash:0123456789abcdef""#.len());
        assert_ne!(shown("1"), show_value(Action::Hash, "1", &MaskKey::new([8; 32])).unwrap());
        assert_eq!(format!("{:?}", key()), "MaskKey(…)");
    }

    #[test]
    fn partial_keeps_four_characters_of_eight_or_more_and_nothing_of_what_is_no_string() {
        let shown = |json: &str| show_value(Action::Partial, json, &key()).unwrap();
        let cases = [
            (r#""12345678""#, r#""***5678""#),
            (r#""1234567""#, r#""***""#),
            (r#""ééééé€€€€""#, r#""***€€€€""#),
            (r#""0000\u0061\"\\\n""#, r#""***a\"\\\n""#),
            ("12345678", r#""***""#),
            ("true", r#""***""#),
            ("null", r#""***""#),
            (r#"{"a":"12345678"}"#, r#""***""#),
        ];
        for (given, expected) in cases {
            assert_eq!(shown(given), expected);
        }
    }

    #[test]
    fn the_strictest_action_is_the_greatest() {
        assert!(Action::Drop > Action::Null && Action::Null > Action::Hash && Action::Hash > Action::Partial);
    }
}
