//! The registered claims of a token (RFC 7519 4.1), judged strictly: what is required, of which type, and when.
//!
//! Invariants: `iss`, `aud`, `sub` and `exp` are required; a claim of the wrong type is refused, never passed over.

use super::{Claims, Denial, compact::NAME_BYTES_MAX, key::Key};
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::time::Duration;

/// The most entries of an `aud` list.
const AUDIENCES_MAX: usize = 64;
/// The last second of the year 9999, beyond which no date is written.
const SECONDS_MAX: i64 = 253_402_300_799;

/// How times are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRules {
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// How far ahead `exp` may lie.
    pub lifetime_max: Duration,
}

impl Default for TimeRules {
    fn default() -> Self {
        TimeRules { leeway: Duration::from_secs(5), lifetime_max: Duration::from_secs(366 * 86_400) }
    }
}

/// The claims that every token has, and those that the server looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) subject: Box<str>,
    pub(super) id: Option<Box<str>>,
    pub(super) issued_at: Option<DateTime<Utc>>,
    pub(super) expires_at: DateTime<Utc>,
}

impl TimeRules {
    /// Is a token with this `exp` too old? RFC 7519 4.1.4: it ends *at* that second.
    pub(in crate::auth) fn has_expired(&self, expires_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        expires_at + self.leeway <= now
    }
}

/// Judges the claims of a token that a key may have signed.
pub(super) fn judge(
    claims: &Claims,
    key: &Key,
    rules: &TimeRules,
    now: DateTime<Utc>,
) -> Result<Registered, Denial> {
    let subject = name(claims, "sub")?.ok_or(Denial::ClaimMissing("sub"))?;
    let expires_at = time(claims, "exp")?.ok_or(Denial::ClaimMissing("exp"))?;
    let not_before = time(claims, "nbf")?;
    let issued_at = time(claims, "iat")?;
    let id = name(claims, "jti")?;
    judge_issuer(claims, key.issuer())?;
    judge_audience(claims, key.audience())?;
    judge_kind(claims)?;
    if rules.has_expired(expires_at, now) {
        return Err(Denial::Expired);
    }
    for (claim, at) in [("nbf", not_before), ("iat", issued_at)] {
        if at.is_some_and(|at| at > now + rules.leeway) {
            return Err(Denial::NotYetValid(claim));
        }
    }
    if expires_at > now + rules.lifetime_max {
        return Err(Denial::Lifetime);
    }
    Ok(Registered { subject, id, issued_at, expires_at })
}

/// A claim that is a name.
fn name(claims: &Claims, claim: &'static str) -> Result<Option<Box<str>>, Denial> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Value::String(text)) if (1..=NAME_BYTES_MAX).contains(&text.len()) => {
            Ok(Some(text.as_str().into()))
        }
        Some(_) => Err(Denial::ClaimType(claim, "text of 1 to 256 bytes")),
    }
}

/// A claim that is a time. Numbers with a fraction are legal (RFC 7519 2), but no issuer needs them and parsers differ on them.
fn time(claims: &Claims, claim: &'static str) -> Result<Option<DateTime<Utc>>, Denial> {
    const RULE: &str = "a whole number of seconds since 1970";
    let Some(value) = claims.get(claim) else { return Ok(None) };
    let seconds = value.as_i64().filter(|seconds| (0..=SECONDS_MAX).contains(seconds));
    let time = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.map(Some).ok_or(Denial::ClaimType(claim, RULE))
}

fn judge_issuer(claims: &Claims, issuer: &str) -> Result<(), Denial> {
    match claims.get("iss") {
        None => Err(Denial::ClaimMissing("iss")),
        Some(Value::String(given)) if given == issuer => Ok(()),
        Some(Value::String(_)) => Err(Denial::Issuer),
        Some(_) => Err(Denial::ClaimType("iss", "text")),
    }
}

fn judge_audience(claims: &Claims, audience: &str) -> Result<(), Denial> {
    const RULE: Denial = Denial::ClaimType("aud", "text or a list of at most 64 texts");
    let is_ours = match claims.get("aud") {
        None => return Err(Denial::ClaimMissing("aud")),
        Some(Value::String(given)) => given == audience,
        Some(Value::Array(given)) if given.len() <= AUDIENCES_MAX && given.iter().all(Value::is_string) => {
            given.iter().any(|given| given == audience)
        }
        Some(_) => return Err(RULE),
    };
    if is_ours { Ok(()) } else { Err(Denial::Audience) }
}

/// Login servers sign ID tokens and refresh tokens with the same key; some say in a claim which one it is.
fn judge_kind(claims: &Claims) -> Result<(), Denial> {
    const OTHERS: [&str; 5] = ["id", "refresh", "offline", "logout", "id_token"];
    let is_other = |claim| {
        let kind = claims.get(claim).and_then(Value::as_str).unwrap_or_default();
        OTHERS.iter().any(|other| kind.eq_ignore_ascii_case(other))
    };
    if is_other("token_use") || is_other("typ") { Err(Denial::Kind) } else { Ok(()) }
}
