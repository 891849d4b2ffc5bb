//! A line of the audit file: an entry with its number, the hash of the line before it and its own.
//!
//! Layout: one JSON object; its last member, `hash`, is the SHA-256 of all bytes of the line in front of `,"hash":`. The member
//! in front of it, `prev`, is the hash of the line before; that of the first line is all zeros.
//! Invariants: a line has no line break but the one at its end, and at most [`LINE_BYTES_MAX`] bytes.

use super::entry::Entry;
use chrono::SecondsFormat;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt, net::SocketAddr, str::FromStr};

/// The most bytes of a line; what is longer was not written by us.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;

/// The hash of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash([u8; 32]);

impl Hash {
    /// In front of the first line.
    pub(super) const ZERO: Hash = Hash([0; 32]);

    fn over(bytes: &[u8]) -> Self {
        Hash(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl FromStr for Hash {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut hash = Hash::ZERO;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 64 || !text.bytes().all(is_hex) {
            return Err(());
        }
        for (byte, digits) in hash.0.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| ())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| ())?;
        }
        Ok(hash)
    }
}

/// A place in the chain: a line's number and hash. Whoever keeps one elsewhere can tell later that the lines up to it are still
/// those that were written. Its text is `SEQ:HASH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    pub(super) seq: u64,
    pub(super) hash: Hash,
}

impl Anchor {
    /// In front of the first line.
    pub(super) const START: Anchor = Anchor { seq: 0, hash: Hash::ZERO };

    /// The number of the line.
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl FromStr for Anchor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = |text: &str| {
            let (seq, hash) = text.split_once(':')?;
            // One spelling of each number, so that a changed byte is found.
            let number = seq.parse::<u64>().ok().filter(|number| number.to_string() == seq)?;
            Some(Anchor { seq: number, hash: hash.parse().ok()? })
        };
        read(text).ok_or_else(|| "write it as SEQ:HASH, a number and 64 hexadecimal digits".to_owned())
    }
}

#[derive(Serialize)]
struct Body<'a> {
    seq: u64,
    time: String,
    kind: &'a str,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<&'a str>,
    #[serde(serialize_with = "details", skip_serializing_if = "<[_]>::is_empty")]
    details: &'a [(&'static str, Box<str>)],
    #[serde(skip_serializing_if = "is_zero")]
    more: u64,
    prev: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn details<S: Serializer>(details: &[(&'static str, Box<str>)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(details.len()))?;
    details.iter().try_for_each(|(name, text)| map.serialize_entry(name, text))?;
    map.end()
}

const HASH: &str = r#","hash":""#;

/// Appends the line of an entry that follows a place; gives the place of the line.
pub(super) fn write(entry: &Entry, after: Anchor, out: &mut Vec<u8>) -> std::io::Result<Anchor> {
    let body = Body {
        seq: after.seq + 1,
        time: entry.time.to_rfc3339_opts(SecondsFormat::Micros, true),
        kind: entry.kind.name(),
        outcome: entry.outcome,
        subject: entry.subject.as_deref(),
        credential: entry.credential.as_ref().map(|(kind, _)| *kind),
        credential_id: entry.credential.as_ref().map(|(_, id)| &**id).filter(|id| !id.is_empty()),
        key: entry.key.as_deref(),
        peer: entry.peer,
        connection: entry.connection.as_deref(),
        details: &entry.details,
        more: entry.more,
        prev: after.hash.to_string(),
    };
    let start = out.len();
    serde_json::to_writer(&mut *out, &body)?;
    out.pop();
    let hash = Hash::over(out.get(start..).unwrap_or_default());
    out.extend_from_slice(format!("{HASH}{hash}\"}}\n").as_bytes());
    Ok(Anchor { seq: body.seq, hash })
}

/// What the verifier reads of a line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) anchor: Anchor,
    pub(super) prev: Hash,
    pub(super) kind: String,
    pub(super) details: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Told {
    seq: u64,
    kind: String,
    #[serde(default)]
    details: BTreeMap<String, String>,
    prev: String,
}

/// Reads a line without its line break. Fails with what is wrong with it alone.
pub(super) fn read(bytes: &[u8]) -> Result<Line, String> {
    let not_ours = || "it is no line of an audit file".to_owned();
    let text = std::str::from_utf8(bytes).map_err(|_| not_ours())?;
    let (body, end) = text.rsplit_once(HASH).ok_or_else(not_ours)?;
    let told = end.strip_suffix("\"}").and_then(|hash| hash.parse::<Hash>().ok()).ok_or_else(not_ours)?;
    if Hash::over(body.as_bytes()) != told {
        return Err("it was changed: its hash is not the one of its text".to_owned());
    }
    let Told { seq, kind, details, prev } =
        serde_json::from_str(&format!("{body}}}")).map_err(|_| not_ours())?;
    let prev = prev.parse().map_err(|()| not_ours())?;
    Ok(Line { anchor: Anchor { seq, hash: told }, prev, kind, details })
}
