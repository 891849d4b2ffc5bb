//! A token in compact form (RFC 7515 3.1) taken apart, strictly, before anything is believed.
//!
//! Invariants: bounded in size; exactly three parts of base64url without padding; header and claims are JSON objects without
//! a member twice. A header that asks for an extension is refused; keys and addresses in it are never looked at.
//! Not here: whether it is true (`verify`).

use super::{Claims, Denial};
use crate::event::json;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::Value;
use std::fmt;

/// The most bytes of a token.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// The most bytes of names: `kid`, `jti`, `sub`.
pub(super) const NAME_BYTES_MAX: usize = 256;

/// A token taken apart; nothing of it is verified.
pub(in crate::auth) struct Compact<'a> {
    /// What was signed: header, dot, claims.
    pub(super) message: &'a str,
    pub(super) signature: &'a str,
    pub(super) algorithm: Algorithm,
    /// The name of the key, which the signer claims to have used.
    pub(super) key: Option<Box<str>>,
    pub(super) claims: Claims,
}

impl fmt::Debug for Compact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compact").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl<'a> Compact<'a> {
    /// Takes a token apart.
    pub(in crate::auth) fn parse(token: &'a str) -> Result<Self, Denial> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Denial::Malformed("more than 8 KiB"));
        }
        let (message, signature) = token.rsplit_once('.').ok_or(THREE_PARTS)?;
        let (header, claims) = message.split_once('.').ok_or(THREE_PARTS)?;
        if claims.contains('.') {
            return Err(THREE_PARTS);
        }
        let header = object(header, "its header is not a JSON object in base64url without padding")?;
        let (algorithm, key) = read_header(&header)?;
        if URL_SAFE_NO_PAD.decode(signature).is_err() {
            return Err(Denial::Malformed("its signature is not base64url without padding"));
        }
        let claims = object(claims, "its claims are not a JSON object in base64url without padding")?;
        Ok(Compact { message, signature, algorithm, key, claims })
    }
}

const THREE_PARTS: Denial = Denial::Malformed("it must have three parts with dots between them");

/// A JSON object in base64url, each of its members once.
fn object(part: &str, wrong: &'static str) -> Result<Claims, Denial> {
    let denied = Denial::Malformed(wrong);
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| denied)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| denied)?;
    json::check(text).map_err(|_| denied)?;
    serde_json::from_str(text).map_err(|_| denied)
}

fn read_header(header: &Claims) -> Result<(Algorithm, Option<Box<str>>), Denial> {
    // An extension that must be understood and is not (RFC 7515 4.1.11); `b64` is only valid with one (RFC 7797 6).
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(Denial::Malformed("its header asks for an extension (crit), and none is supported"));
    }
    let algorithm = match header.get("alg") {
        Some(Value::String(name)) => name.parse().map_err(|_| Denial::Algorithm)?,
        Some(_) | None => return Err(Denial::Algorithm),
    };
    match header.get("typ") {
        None => {}
        Some(Value::String(kind)) if is_access(kind) => {}
        Some(_) => return Err(Denial::Kind),
    }
    let key = match header.get("kid") {
        None => None,
        Some(Value::String(key)) if (1..=NAME_BYTES_MAX).contains(&key.len()) => Some(key.as_str().into()),
        Some(_) => return Err(Denial::Malformed("its kid is not text of 1 to 256 bytes")),
    };
    Ok((algorithm, key))
}

/// Media types are compared without regard to case (RFC 7515 4.1.9); the second one is that of RFC 9068.
fn is_access(kind: &str) -> bool {
    let short = kind.get(..12).filter(|prefix| prefix.eq_ignore_ascii_case("application/"));
    let short = short.and_then(|prefix| kind.get(prefix.len()..)).unwrap_or(kind);
    short.eq_ignore_ascii_case("JWT") || short.eq_ignore_ascii_case("at+jwt")
}
