//! Keys of every type, made for a test, and tokens signed with them, right and wrong ones.

use super::{
    KeyRing,
    claims::TimeRules,
    compact::Compact,
    denial::Denial,
    key::{Key, Terms},
    verify::{Verified, verify},
};
use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    hmac,
    rand::SystemRandom,
    rsa,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) const ISSUER: &str = "https://login.example.org";
pub(crate) const AUDIENCE: &str = "fanfare";
pub(crate) const SECRET: &str = "w8KfZ3qTn1vXsY5uRb7cGd2eHj4kLm6P";
/// Now, for all tests that do not look at the clock.
pub(crate) const NOW: i64 = 1_800_000_000;

/// Signs like a login server.
pub(crate) enum Signer {
    Secret(Vec<u8>),
    Rsa(Box<RsaKeyPair>, String),
    Ec(Box<EcdsaKeyPair>, String),
    Ed(Box<Ed25519KeyPair>, String),
}

impl Signer {
    pub(crate) fn rsa(size: rsa::KeySize) -> Self {
        let pair = RsaKeyPair::generate(size).unwrap();
        let pem = pem(pair.public_key().as_der().unwrap().as_ref());
        Signer::Rsa(Box::new(pair), pem)
    }

    pub(crate) fn p256() -> Self {
        Self::ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub(crate) fn p384() -> Self {
        Self::ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    pub(crate) fn ec(algorithm: &'static signature::EcdsaSigningAlgorithm) -> Self {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let pem = pem(der.as_ref());
        Signer::Ec(Box::new(pair), pem)
    }

    pub(crate) fn ed() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let pem = pem(der.as_ref());
        Signer::Ed(Box::new(pair), pem)
    }

    pub(crate) fn pem(&self) -> &str {
        match self {
            Signer::Rsa(_, pem) | Signer::Ec(_, pem) | Signer::Ed(_, pem) => pem,
            Signer::Secret(_) => panic!("a secret has no public form"),
        }
    }

    /// The public key as one of a JWK set.
    pub(crate) fn jwk(&self, id: &str) -> Value {
        match self {
            Signer::Rsa(pair, _) => {
                let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                let (n, e) = (n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
                json!({"kty": "RSA", "kid": id, "use": "sig", "n": base64(n), "e": base64(e)})
            }
            Signer::Ec(pair, _) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "kid": id, "crv": curve, "x": base64(x), "y": base64(y)})
            }
            Signer::Ed(pair, _) => {
                json!({"kty": "OKP", "kid": id, "crv": "Ed25519", "x": base64(pair.public_key().as_ref())})
            }
            Signer::Secret(secret) => json!({"kty": "oct", "kid": id, "k": base64(secret)}),
        }
    }

    pub(crate) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Signer::Secret(secret) => {
                let hash = match algorithm.get(2..).unwrap_or_default() {
                    "384" => hmac::HMAC_SHA384,
                    "512" => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(hash, secret), message).as_ref().to_vec()
            }
            Signer::Rsa(pair, _) => {
                let padding: &'static dyn signature::RsaEncoding = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signed).unwrap();
                signed
            }
            Signer::Ec(pair, _) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Signer::Ed(pair, _) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token of this header and these claims, signed by the header's algorithm.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        self.token_of(&header.to_string(), &claims.to_string(), header["alg"].as_str().unwrap_or("HS256"))
    }

    /// A token of texts that may be anything.
    pub(crate) fn token_of(&self, header: &str, claims: &str, algorithm: &str) -> String {
        let message = format!("{}.{}", base64(header), base64(claims));
        let signed = self.sign(algorithm, message.as_bytes());
        format!("{message}.{}", base64(signed))
    }
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

/// Claims that are right at [`NOW`].
pub(crate) fn claims() -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": NOW + 600, "iat": NOW - 10, "jti": "t1"})
}

/// The right claims with some members replaced; those that are `null` are left out.
pub(crate) fn claims_with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            drop(claims.as_object_mut().unwrap().remove(name));
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

pub(super) fn terms(algorithms: &[&str]) -> Terms {
    let algorithms = algorithms.iter().map(|name| name.parse().unwrap()).collect();
    Terms { issuer: ISSUER.into(), audience: AUDIENCE.into(), algorithms }
}

pub(crate) fn public(id: Option<&str>, signer: &Signer, algorithms: &[&str]) -> Arc<Key> {
    Arc::new(Key::from_pem(id, signer.pem(), &terms(algorithms)).unwrap())
}

pub(crate) fn shared(id: Option<&str>, secret: &str, algorithms: &[&str]) -> Arc<Key> {
    Arc::new(Key::from_secret(id, secret.as_bytes(), &terms(algorithms)).unwrap())
}

pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

/// What a server with these keys says to a token at [`NOW`].
pub(crate) fn check(ring: &KeyRing, token: &str) -> Result<Verified, Denial> {
    verify(Compact::parse(token)?, ring, &TimeRules::default(), now())
}
