//! Why a credential is not accepted: a fixed vocabulary for programs, and a sentence that says where to look.
//!
//! Invariants: a denial holds nothing of the credential and nothing of a key, so it may be answered and logged as it is.

use crate::error::{Code, Refusal};

/// Why a credential is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// There is none.
    #[error("a credential is required: a token or an API key")]
    Missing,
    /// It is not a token in compact form, or a part of it is not what it must be.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// A token of another purpose.
    #[error(
        "the token is not an access token: the header's typ must be absent, JWT or at+jwt, and no claim may say otherwise"
    )]
    Kind,
    /// The algorithm is not one that is pinned for the key.
    #[error("the token's algorithm is not one that is accepted for its key")]
    Algorithm,
    /// No key has the name in the header.
    #[error("the token's key is not known: no key has its kid")]
    UnknownKey,
    /// The header names no key, and there are several.
    #[error("the token names no key: its header needs a kid, since the server has several keys")]
    UnnamedKey,
    /// Keys that may sign it have never been fetched.
    #[error("the keys that tokens are checked with cannot be had at the moment")]
    KeysMissing,
    /// The signature is wrong.
    #[error("the token's signature is not valid")]
    Signature,
    /// A required claim is absent.
    #[error("the claim {0} is required")]
    ClaimMissing(&'static str),
    /// A claim is not of its type.
    #[error("the claim {0} must be {1}")]
    ClaimType(&'static str, &'static str),
    /// `exp` has passed.
    #[error("the credential has expired")]
    Expired,
    /// `nbf` or `iat` is still to come.
    #[error("the claim {0} lies in the future")]
    NotYetValid(&'static str),
    /// `exp` is further away than tokens may last.
    #[error("the claim exp lies further in the future than tokens may last here")]
    Lifetime,
    /// `iss` is not the key's issuer.
    #[error("the claim iss is not the issuer that belongs to the token's key")]
    Issuer,
    /// `aud` does not name this server.
    #[error("the claim aud does not name this server")]
    Audience,
    /// It was revoked: the subject, the token or the key.
    #[error("the credential was revoked")]
    Revoked,
    /// No API key is like this one.
    #[error("the API key is not known")]
    ApiKey,
}

impl Denial {
    /// The word for programs, the value of the detail `reason`.
    pub const fn reason(self) -> &'static str {
        match self {
            Denial::Missing => "missing",
            Denial::Malformed(_) => "malformed",
            Denial::Kind => "kind",
            Denial::Algorithm => "algorithm",
            Denial::UnknownKey | Denial::UnnamedKey | Denial::ApiKey => "key",
            Denial::KeysMissing => "keys_missing",
            Denial::Signature => "signature",
            Denial::ClaimMissing(_) | Denial::ClaimType(..) => "claim",
            Denial::Expired => "expired",
            Denial::NotYetValid(_) => "not_yet_valid",
            Denial::Lifetime => "lifetime",
            Denial::Issuer => "issuer",
            Denial::Audience => "audience",
            Denial::Revoked => "revoked",
        }
    }

    /// The claim to look at, or the member of the header.
    const fn claim(self) -> Option<&'static str> {
        match self {
            Denial::ClaimMissing(claim) | Denial::ClaimType(claim, _) | Denial::NotYetValid(claim) => {
                Some(claim)
            }
            Denial::Expired | Denial::Lifetime => Some("exp"),
            Denial::Issuer => Some("iss"),
            Denial::Audience => Some("aud"),
            Denial::Kind => Some("typ"),
            Denial::Algorithm => Some("alg"),
            Denial::UnknownKey | Denial::UnnamedKey => Some("kid"),
            Denial::Missing | Denial::Malformed(_) | Denial::KeysMissing | Denial::Signature => None,
            Denial::Revoked | Denial::ApiKey => None,
        }
    }

    /// What the operator would change, if the credential is as it should be.
    const fn setting(self) -> Option<&'static str> {
        match self {
            Denial::Issuer => Some("jwt_issuer, or issuer of the key in the policy"),
            Denial::Audience => Some("jwt_audience, or audience of the key in the policy"),
            Denial::Algorithm => Some("jwt_algorithms, or algorithms of the key in the policy"),
            Denial::UnknownKey | Denial::UnnamedKey => Some("keys of the policy, jwks_url or jwks_file"),
            Denial::KeysMissing => Some("jwks_url"),
            Denial::Lifetime => Some("jwt_lifetime_max"),
            Denial::ApiKey => Some("api_keys of the policy"),
            Denial::NotYetValid(_) => Some("jwt_leeway"),
            Denial::Missing | Denial::Malformed(_) | Denial::Kind | Denial::Signature => None,
            Denial::ClaimMissing(_) | Denial::ClaimType(..) | Denial::Expired | Denial::Revoked => None,
        }
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        let is_passing = denial == Denial::KeysMissing;
        let code = if is_passing { Code::Unavailable } else { Code::Unauthenticated };
        let mut refusal = Refusal::new(code, denial.to_string()).with("reason", denial.reason());
        if let Some(claim) = denial.claim() {
            refusal = refusal.with("claim", claim);
        }
        if let Some(setting) = denial.setting() {
            refusal = refusal.with("setting", setting);
        }
        refusal
    }
}
