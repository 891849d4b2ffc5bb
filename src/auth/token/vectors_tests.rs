//! Wycheproof: signatures that other implementations got wrong, through our own key type and the library under it.

use super::{
    key::Key,
    testing::{base64, terms},
};
use jsonwebtoken::{Algorithm, DecodingKey};
use wycheproof::TestResult;

/// What the vectors say and what we say; those that are neither right nor wrong may be either.
#[derive(Debug, Default)]
struct Tally {
    valid: usize,
    invalid: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn count(&mut self, what: &str, expected: TestResult, accepted: bool) {
        match (expected, accepted) {
            (TestResult::Valid, true) => self.valid += 1,
            (TestResult::Invalid, false) => self.invalid += 1,
            (TestResult::Acceptable, _) => {}
            (TestResult::Valid, false) => self.wrong.push(format!("{what}: a valid one was refused")),
            (TestResult::Invalid, true) => self.wrong.push(format!("{what}: an invalid one was accepted")),
        }
    }

    fn judge(&self, name: &str) {
        assert!(self.wrong.is_empty(), "{name}: {:#?}", self.wrong);
        assert!(self.valid > 0 && self.invalid > 0, "{name}: {self:?}");
    }
}

/// Jsonwebtoken takes the message as it is; tokens are only ever base64url.
fn verify(key: &DecodingKey, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
    jsonwebtoken::crypto::verify(&base64(signature), message, key, algorithm).unwrap_or(false)
}

fn decoding(pem: &str, algorithm: &str) -> DecodingKey {
    let key = Key::from_pem(None, pem, &terms(&[algorithm])).unwrap();
    key.decoding().clone()
}

macro_rules! public_keys {
    ($module:ident: $($test:ident => $algorithm:literal),* $(,)?) => {
        for (name, algorithm) in [$((wycheproof::$module::TestName::$test, $algorithm)),*] {
            let mut tally = Tally::default();
            for group in wycheproof::$module::TestSet::load(name).unwrap().test_groups {
                let key = decoding(&group.pem, algorithm);
                for test in group.tests {
                    let accepted = verify(&key, algorithm.parse().unwrap(), &test.msg, &test.sig);
                    tally.count(&format!("{name:?} {} {}", test.tc_id, test.comment), test.result, accepted);
                }
            }
            tally.judge(algorithm);
        }
    };
}

#[test]
fn signatures_of_elliptic_curves_are_judged_as_wycheproof_says() {
    public_keys!(ecdsa: EcdsaSecp256r1Sha256P1363 => "ES256", EcdsaSecp384r1Sha384P1363 => "ES384");
    public_keys!(eddsa: Ed25519 => "EdDSA");
}

#[test]
fn signatures_of_rsa_are_judged_as_wycheproof_says() {
    public_keys!(rsa_pkcs1_verify: Rsa2048Sha256 => "RS256", Rsa3072Sha384 => "RS384", Rsa4096Sha512 => "RS512");
    public_keys!(
        rsa_pss_verify:
        RsaPss2048Sha256Mgf1SaltLen32 => "PS256",
        RsaPss4096Sha384Mgf1SaltLen48 => "PS384",
        RsaPss4096Sha512Mgf1SaltLen64 => "PS512",
    );
}

#[test]
fn hmacs_are_judged_as_wycheproof_says() {
    use wycheproof::mac::{TestName, TestSet};
    for (name, algorithm, tag_bits) in [
        (TestName::HmacSha256, Algorithm::HS256, 256),
        (TestName::HmacSha384, Algorithm::HS384, 384),
        (TestName::HmacSha512, Algorithm::HS512, 512),
    ] {
        let mut tally = Tally::default();
        for group in TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let accepted = verify(&DecodingKey::from_secret(&test.key), algorithm, &test.msg, &test.tag);
                // A tag that was cut is valid elsewhere and never for a token.
                let expected = if group.tag_size == tag_bits { test.result } else { TestResult::Invalid };
                tally.count(&format!("{name:?} {}", test.tc_id), expected, accepted);
            }
        }
        tally.judge(&format!("{algorithm:?}"));
    }
}
