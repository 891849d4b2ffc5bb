//! One key that may sign tokens: what it is checked for before it is used, and the check of a signature.
//!
//! Invariants: a key has its algorithms pinned, all of its own type; a key that is too weak for them is never made.
//! Not here: where keys come from (`draft`, `remote`).

use super::strength::{self, RSA_BITS_MAX, RSA_BITS_MIN};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use sha2::{Digest, Sha256};
use std::fmt;

/// The name of a key that has none of its own.
pub(super) const UNNAMED: &str = "default";

/// Which key it is, wherever it was read from: equal prints are equal keys with equal rules.
pub(in crate::auth) type KeyPrint = [u8; 32];

/// What goes with every key of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) issuer: Box<str>,
    pub(super) audience: Box<str>,
    /// Empty stands for those that fit the key.
    pub(super) algorithms: Vec<Algorithm>,
}

/// Why something is no key. The texts go to the operator and hold nothing of the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyError {
    #[error("the secret {0}")]
    WeakSecret(String),
    #[error("an RSA key of {0} bits is not allowed; allowed is {RSA_BITS_MIN} to {RSA_BITS_MAX} bits")]
    RsaBits(usize),
    #[error("{0:?} does not fit the key; allowed is {1}")]
    Unfit(Algorithm, String),
    #[error("none of the accepted algorithms fits the key; it can do {0}")]
    NoneFits(String),
    #[error("this is a private key; keep it with whoever signs, and give its public key")]
    Private,
    #[error("this is not a public key in PEM (-----BEGIN PUBLIC KEY-----)")]
    NotPem,
    #[error(
        "keys of this type or curve are not supported; supported are RSA, EC on P-256 or P-384, and Ed25519"
    )]
    Unsupported,
    #[error("the key's numbers are not valid for its type")]
    Numbers,
    #[error("the key is not for signatures (use, key_ops)")]
    NotForSignatures,
}

/// A key with its rules.
pub(in crate::auth) struct Key {
    id: Option<Box<str>>,
    terms: Terms,
    decoding: DecodingKey,
    print: KeyPrint,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("terms", &self.terms).finish_non_exhaustive()
    }
}

impl Key {
    /// A shared secret.
    pub(super) fn from_secret(id: Option<&str>, secret: &[u8], terms: &Terms) -> Result<Self, KeyError> {
        let fitting = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        let algorithms = pin(terms, &fitting, Algorithm::HS256)?;
        strength::secret(secret, &algorithms).map_err(KeyError::WeakSecret)?;
        Ok(Key::new(id, DecodingKey::from_secret(secret), secret, terms, algorithms))
    }

    /// A public key in PEM.
    pub(super) fn from_pem(id: Option<&str>, pem: &str, terms: &Terms) -> Result<Self, KeyError> {
        let decoding = read_pem(pem.trim())?;
        let jwk = Jwk::from_decoding_key(&decoding, None).map_err(|_| KeyError::Unsupported)?;
        Key::from_parameters(id, &jwk.algorithm, None, terms)
    }

    /// A key of a JWK set (RFC 7517); those that are not for signatures are refused.
    pub(super) fn from_jwk(jwk: &Jwk, terms: &Terms) -> Result<Self, KeyError> {
        let is_for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature))
            && jwk.common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        if !is_for_signatures {
            return Err(KeyError::NotForSignatures);
        }
        let own = match jwk.common.key_algorithm {
            Some(algorithm) => Some(algorithm.to_string().parse().map_err(|_| KeyError::Unsupported)?),
            None => None,
        };
        Key::from_parameters(jwk.common.key_id.as_deref(), &jwk.algorithm, own, terms)
    }

    fn from_parameters(
        id: Option<&str>,
        parameters: &AlgorithmParameters,
        own: Option<Algorithm>,
        terms: &Terms,
    ) -> Result<Self, KeyError> {
        let (decoding, numbers, fitting) = read_numbers(parameters)?;
        let algorithms = match own {
            Some(own) if !fitting.contains(&own) => return Err(KeyError::Numbers),
            Some(own) => pin(terms, &[own], own)?,
            None => pin(terms, fitting, *fitting.first().ok_or(KeyError::Unsupported)?)?,
        };
        Ok(Key::new(id, decoding, &numbers, terms, algorithms))
    }

    fn new(
        id: Option<&str>,
        decoding: DecodingKey,
        material: &[u8],
        terms: &Terms,
        algorithms: Vec<Algorithm>,
    ) -> Self {
        let terms = Terms { algorithms, ..terms.clone() };
        let mut hash = Sha256::new();
        let rules = format!("{id:?} {terms:?}");
        for part in [rules.as_bytes(), material] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Key { id: id.map(Into::into), terms, decoding, print: hash.finalize().into() }
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What it is called in a revocation and in the log.
    pub(super) fn name(&self) -> &str {
        self.id().unwrap_or(UNNAMED)
    }

    pub(super) fn issuer(&self) -> &str {
        &self.terms.issuer
    }

    pub(super) fn audience(&self) -> &str {
        &self.terms.audience
    }

    pub(super) fn accepts(&self, algorithm: Algorithm) -> bool {
        self.terms.algorithms.contains(&algorithm)
    }

    /// The algorithms that are pinned.
    pub(super) fn algorithms(&self) -> &[Algorithm] {
        &self.terms.algorithms
    }

    pub(in crate::auth) fn print(&self) -> KeyPrint {
        self.print
    }

    #[cfg(test)]
    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    /// Did this key sign the message? The signature is base64url; the algorithm is one of its own.
    pub(super) fn has_signed(&self, message: &str, signature: &str, algorithm: Algorithm) -> bool {
        self.accepts(algorithm)
            && jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.decoding, algorithm)
                .unwrap_or(false)
    }
}

/// What a point with both its coordinates begins with (SEC 1, 2.3.3).
const UNCOMPRESSED: u8 = 4;
const FITTING_P256: &[Algorithm] = &[Algorithm::ES256];
const FITTING_P384: &[Algorithm] = &[Algorithm::ES384];
const FITTING_ED: &[Algorithm] = &[Algorithm::EdDSA];
const FITTING_RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

type Numbers = (DecodingKey, Vec<u8>, &'static [Algorithm]);

/// The key of its numbers, the numbers, and what it can do.
fn read_numbers(parameters: &AlgorithmParameters) -> Result<Numbers, KeyError> {
    if let AlgorithmParameters::RSA(rsa) = parameters {
        let (n, e) = (number(&rsa.n)?, number(&rsa.e)?);
        strength::rsa(&n, &e)?;
        return Ok((DecodingKey::from_rsa_raw_components(&n, &e), [n, e].concat(), FITTING_RSA));
    }
    let (curve, point) = match parameters {
        AlgorithmParameters::EllipticCurve(ec) => {
            (&ec.curve, [vec![UNCOMPRESSED], number(&ec.x)?, number(&ec.y)?].concat())
        }
        AlgorithmParameters::OctetKeyPair(pair) => (&pair.curve, number(&pair.x)?),
        // A secret in a JWK set would be a published one.
        AlgorithmParameters::OctetKey(_) | AlgorithmParameters::Other(_) | _ => {
            return Err(KeyError::Unsupported);
        }
    };
    let (fitting, make): (_, fn(&[u8]) -> DecodingKey) = match () {
        () if *curve == EllipticCurve::P256 => (FITTING_P256, DecodingKey::from_ec_der),
        () if *curve == EllipticCurve::P384 => (FITTING_P384, DecodingKey::from_ec_der),
        () if *curve == EllipticCurve::Ed25519 => (FITTING_ED, DecodingKey::from_ed_der),
        () => return Err(KeyError::Unsupported),
    };
    strength::point(fitting, &point)?;
    Ok((make(&point), point, fitting))
}

/// The algorithms of a key: those that its source asks for, else the usual one of its type.
fn pin(terms: &Terms, fitting: &[Algorithm], usual: Algorithm) -> Result<Vec<Algorithm>, KeyError> {
    let asked = &terms.algorithms;
    if asked.is_empty() {
        return Ok(vec![usual]);
    }
    let pinned: Vec<_> = asked.iter().copied().filter(|one| fitting.contains(one)).collect();
    if pinned.is_empty() { Err(KeyError::NoneFits(names(fitting))) } else { Ok(pinned) }
}

/// Fails when a source with one key asks for an algorithm that is not the key's.
pub(super) fn fit_all(key: &Key, asked: &[Algorithm]) -> Result<(), KeyError> {
    match asked.iter().find(|one| !key.accepts(**one)) {
        Some(unfit) => Err(KeyError::Unfit(*unfit, names(key.algorithms()))),
        None => Ok(()),
    }
}

pub(super) fn names(algorithms: &[Algorithm]) -> String {
    let names: Vec<_> = algorithms.iter().map(|one| format!("{one:?}")).collect();
    names.join(", ")
}

fn number(text: &str) -> Result<Vec<u8>, KeyError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Numbers)
}

/// The object identifiers of the curves and types (RFC 5480, RFC 8410, RFC 8017), as DER has them.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// The identifiers stand before this place.
const HEAD_BYTES: usize = 40;

/// The type is in the head of the DER; the library takes a key as whatever type it is told.
fn read_pem(pem: &str) -> Result<DecodingKey, KeyError> {
    if pem.contains("PRIVATE KEY-----") {
        return Err(KeyError::Private);
    }
    let body = pem
        .strip_prefix("-----BEGIN PUBLIC KEY-----")
        .and_then(|rest| rest.strip_suffix("-----END PUBLIC KEY-----"))
        .ok_or(KeyError::NotPem)?;
    let text: String = body.split_whitespace().collect();
    let der = STANDARD.decode(text).map_err(|_| KeyError::NotPem)?;
    let head = der.get(..HEAD_BYTES.min(der.len())).unwrap_or_default();
    let has = |identifier: &[u8]| head.windows(identifier.len()).any(|window| window == identifier);
    let read = match () {
        () if has(RSA) => DecodingKey::from_rsa_pem(pem.as_bytes()),
        () if has(P256) || has(P384) => DecodingKey::from_ec_pem(pem.as_bytes()),
        () if has(ED25519) => DecodingKey::from_ed_pem(pem.as_bytes()),
        () => return Err(KeyError::Unsupported),
    };
    read.map_err(|_| KeyError::NotPem)
}
