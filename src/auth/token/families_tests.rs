//! The ways in which servers have accepted tokens that they should not have, as a table: none is accepted, and every right token
//! is. The names S-20 to S-33 are those of the list in RFC 8725 order that the project keeps.

use super::{
    KeyRing,
    key::Key,
    testing::{
        AUDIENCE, ISSUER, NOW, SECRET, Signer, base64, check, claims, claims_with, pem, public, shared, terms,
    },
};
use aws_lc_rs::rsa::KeySize;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

const OTHER_ISSUER: &str = "https://login.staging.example.org";
const LONG_SECRET: &str = "Yq3tWz6v9yBxE4hKmQsTvXzAnCrFuJwNdRgUkXp2s5u8xADGbKeShVmYq3t6w9zB";

/// Everybody who signs, and the server's ring.
struct Cast {
    secret: Signer,
    long: Signer,
    rsa: Signer,
    p256: Signer,
    p384: Signer,
    ed: Signer,
    stranger: Signer,
    ring: KeyRing,
}

impl Cast {
    fn new() -> Self {
        let rsa = Signer::rsa(KeySize::Rsa2048);
        let (p256, p384, ed) = (Signer::p256(), Signer::p384(), Signer::ed());
        let ring = KeyRing::new(
            vec![
                shared(Some("hs"), SECRET, &["HS256"]),
                shared(Some("hs-long"), LONG_SECRET, &["HS384", "HS512"]),
                public(Some("rsa"), &rsa, &["RS256"]),
                public(Some("rsa-all"), &rsa, &["RS384", "RS512", "PS256", "PS384", "PS512"]),
                public(Some("p256"), &p256, &[]),
                public(Some("p384"), &p384, &[]),
                public(Some("ed"), &ed, &[]),
            ],
            Vec::new(),
        );
        let secret = Signer::Secret(SECRET.into());
        let long = Signer::Secret(LONG_SECRET.into());
        Cast { secret, long, rsa, p256, p384, ed, stranger: Signer::p256(), ring }
    }

    /// A token of the shared secret with other claims.
    fn hs(&self, changes: &Value) -> String {
        self.secret.token(&hs(), &claims_with(changes))
    }

    /// A token of the shared secret with another header.
    fn headed(&self, header: &Value) -> String {
        self.secret.token(header, &claims())
    }
}

fn hs() -> Value {
    json!({"alg": "HS256", "kid": "hs"})
}

/// A header with more members.
fn hs_with(more: &Value) -> Value {
    let mut header = hs();
    header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    header
}

type Case = (&'static str, String, &'static str);

#[test]
fn every_right_token_is_accepted() {
    let cast = Cast::new();
    let signed = |signer: &Signer, algorithm: &str, key: &str| {
        signer.token(&json!({"alg": algorithm, "kid": key, "typ": "JWT"}), &claims())
    };
    let right = [
        ("HS256", signed(&cast.secret, "HS256", "hs")),
        ("HS384", signed(&cast.long, "HS384", "hs-long")),
        ("HS512", signed(&cast.long, "HS512", "hs-long")),
        ("RS256", signed(&cast.rsa, "RS256", "rsa")),
        ("RS384", signed(&cast.rsa, "RS384", "rsa-all")),
        ("RS512", signed(&cast.rsa, "RS512", "rsa-all")),
        ("PS256", signed(&cast.rsa, "PS256", "rsa-all")),
        ("PS384", signed(&cast.rsa, "PS384", "rsa-all")),
        ("PS512", signed(&cast.rsa, "PS512", "rsa-all")),
        ("ES256", signed(&cast.p256, "ES256", "p256")),
        ("ES384", signed(&cast.p384, "ES384", "p384")),
        ("EdDSA", signed(&cast.ed, "EdDSA", "ed")),
        ("no typ", cast.headed(&hs())),
        ("typ of RFC 9068", cast.headed(&hs_with(&json!({"typ": "at+jwt"})))),
        ("typ in other letters", cast.headed(&hs_with(&json!({"typ": "application/AT+JWT"})))),
        (
            "members that mean nothing",
            cast.headed(&hs_with(&json!({"jku": "https://evil.example", "jwk": {}, "x5c": []}))),
        ),
        ("aud in a list", cast.hs(&json!({"aud": ["other", AUDIENCE]}))),
        ("no iat", cast.hs(&json!({"iat": null, "jti": null}))),
        ("nbf now", cast.hs(&json!({"nbf": NOW}))),
        ("nbf within the leeway", cast.hs(&json!({"nbf": NOW + 5}))),
        ("iat within the leeway", cast.hs(&json!({"iat": NOW + 5}))),
        ("exp within the leeway", cast.hs(&json!({"exp": NOW - 4}))),
        ("exp as far as may be", cast.hs(&json!({"exp": NOW + 366 * 86_400}))),
        ("claims of other rooms", cast.hs(&json!({"roles": ["a"], "nested": {"deep": [1.5, null]}}))),
    ];
    for (name, token) in right {
        let verified = check(&cast.ring, &token).unwrap_or_else(|denial| panic!("{name}: {denial}"));
        assert_eq!(verified.subject(), "ada", "{name}");
    }
}

/// S-20 to S-22: algorithms.
fn headers(cast: &Cast) -> Vec<Case> {
    let unsigned =
        |header: &Value| format!("{}.{}.", base64(header.to_string()), base64(claims().to_string()));
    let mut cases = Vec::new();
    for none in ["none", "None", "nOnE", "NONE", ""] {
        cases.push(("S-20 alg none, unsigned", unsigned(&json!({"alg": none, "kid": "hs"})), "algorithm"));
        cases.push(("S-20 alg none, signed", cast.headed(&json!({"alg": none, "kid": "hs"})), "algorithm"));
    }
    cases.push(("S-20 alg missing", cast.headed(&json!({"kid": "hs"})), "algorithm"));
    cases.push(("S-20 alg a number", cast.headed(&json!({"alg": 256, "kid": "hs"})), "algorithm"));
    cases.push((
        "S-20 alg in small letters",
        cast.headed(&json!({"alg": "hs256", "kid": "hs"})),
        "algorithm",
    ));
    cases.push(("S-20 no signature", unsigned(&hs()), "signature"));
    for (key, signer) in [("rsa", &cast.rsa), ("p256", &cast.p256), ("ed", &cast.ed)] {
        let text = signer.pem();
        let jwk = signer.jwk(key).to_string();
        let der: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        for form in [text, text.trim_end(), &der, &jwk] {
            let forged = Signer::Secret(form.as_bytes().to_vec())
                .token(&json!({"alg": "HS256", "kid": key}), &claims());
            cases.push(("S-21 HMAC with a public key", forged, "algorithm"));
        }
    }
    let swaps = [
        ("PS256", "rsa"),
        ("RS512", "rsa"),
        ("RS256", "rsa-all"),
        ("ES384", "p256"),
        ("ES256", "rsa"),
        ("EdDSA", "p256"),
    ];
    for (algorithm, key) in swaps {
        let header = json!({"alg": algorithm, "kid": key});
        let signer = if algorithm.starts_with('E') { &cast.p256 } else { &cast.rsa };
        cases.push((
            "S-22 an algorithm that is not the key's",
            signer.token(&header, &claims()),
            "algorithm",
        ));
    }
    cases
}

/// S-23, S-24: what a header says about keys.
fn named(cast: &Cast) -> Vec<Case> {
    let mut cases = Vec::new();
    for own in [
        json!({"jwk": cast.stranger.jwk("p256")}),
        json!({"jku": "http://127.0.0.1:1/jwks.json"}),
        json!({"x5u": "http://127.0.0.1:1/chain.pem"}),
        json!({"x5c": [base64("certificate")]}),
    ] {
        let mut header = json!({"alg": "ES256", "kid": "p256"});
        header.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        cases.push((
            "S-23 a key that the token brings",
            cast.stranger.token(&header, &claims()),
            "signature",
        ));
        header.as_object_mut().unwrap().remove("kid");
        cases.push(("S-23 the same without a kid", cast.stranger.token(&header, &claims()), "key"));
    }
    for name in ["../../dev/null", "' OR 1=1 --", "h\u{455}", "HS", "hs ", "unknown"] {
        cases.push(("S-24 a kid that nobody has", cast.headed(&json!({"alg": "HS256", "kid": name})), "key"));
    }
    cases.push((
        "S-24 a long kid",
        cast.headed(&json!({"alg": "HS256", "kid": "k".repeat(257)})),
        "malformed",
    ));
    for kid in [json!(7), json!(["hs"]), json!({}), Value::Null, json!("")] {
        cases.push((
            "S-24 a kid that is no name",
            cast.headed(&json!({"alg": "HS256", "kid": kid})),
            "malformed",
        ));
    }
    cases.push(("S-24 no kid among several keys", cast.headed(&json!({"alg": "HS256"})), "key"));
    cases
}

/// S-25 to S-28, S-33: claims.
fn registered(cast: &Cast) -> Vec<Case> {
    let mut cases = vec![
        ("S-25 no exp", cast.hs(&json!({"exp": null})), "claim"),
        ("S-25 exp one second past the leeway", cast.hs(&json!({"exp": NOW - 5})), "expired"),
        ("S-25 exp an hour ago", cast.hs(&json!({"exp": NOW - 3_600})), "expired"),
        ("S-25 exp at zero", cast.hs(&json!({"exp": 0})), "expired"),
        ("S-25 exp too far ahead", cast.hs(&json!({"exp": NOW + 367 * 86_400})), "lifetime"),
        ("S-26 nbf after the leeway", cast.hs(&json!({"nbf": NOW + 6})), "not_yet_valid"),
        ("S-26 iat after the leeway", cast.hs(&json!({"iat": NOW + 6})), "not_yet_valid"),
        ("S-27 no aud", cast.hs(&json!({"aud": null})), "claim"),
        ("S-28 no iss", cast.hs(&json!({"iss": null})), "claim"),
        ("S-28 a slash more", cast.hs(&json!({"iss": format!("{ISSUER}/")})), "issuer"),
        ("S-28 another issuer", cast.hs(&json!({"iss": OTHER_ISSUER})), "issuer"),
        ("S-33 the key of another issuer", cast.hs(&json!({"iss": OTHER_ISSUER, "aud": AUDIENCE})), "issuer"),
        ("no sub", cast.hs(&json!({"sub": null})), "claim"),
        ("an empty sub", cast.hs(&json!({"sub": ""})), "claim"),
        ("a long sub", cast.hs(&json!({"sub": "s".repeat(257)})), "claim"),
        ("a sub that is a number", cast.hs(&json!({"sub": 7})), "claim"),
        ("a jti that is a number", cast.hs(&json!({"jti": 7})), "claim"),
    ];
    let no_times = [
        json!("1800000600"),
        json!(1_800_000_600.0),
        json!(1.5),
        json!(-1),
        json!(1e300),
        json!([NOW + 600]),
        json!({}),
        json!(true),
        json!(i64::MAX),
        json!(u64::MAX),
    ];
    for claim in ["exp", "nbf", "iat"] {
        for value in &no_times {
            cases.push(("S-25 S-26 a time that is none", cast.hs(&json!({claim: value})), "claim"));
        }
        let mut null = claims();
        null[claim] = Value::Null;
        cases.push(("S-25 S-26 a time that is null", cast.secret.token(&hs(), &null), "claim"));
    }
    for audience in ["Fanfare", "fanfare ", "fan", "", "fanfare,other", "*"] {
        cases.push(("S-27 another audience", cast.hs(&json!({"aud": audience})), "audience"));
        cases.push(("S-27 other audiences", cast.hs(&json!({"aud": [audience, "other"]})), "audience"));
    }
    cases.push(("S-27 no audiences", cast.hs(&json!({"aud": []})), "audience"));
    for audience in [
        json!(7),
        json!({"fanfare": 1}),
        json!([AUDIENCE, 7]),
        json!([[AUDIENCE]]),
        json!(true),
        json!(vec![AUDIENCE; 65]),
    ] {
        cases.push(("S-27 an audience of another type", cast.hs(&json!({"aud": audience})), "claim"));
    }
    for issuer in [json!([ISSUER]), json!(7), json!({"iss": ISSUER}), json!(true)] {
        cases.push(("S-28 an issuer of another type", cast.hs(&json!({"iss": issuer})), "claim"));
    }
    cases
}

/// S-29 to S-31: form.
fn forms(cast: &Cast) -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in [
        json!("ID"),
        json!("logout+jwt"),
        json!("secevent+jwt"),
        json!("dpop+jwt"),
        json!("JWTX"),
        json!(7),
        json!(["JWT"]),
        json!(""),
    ] {
        cases.push(("S-29 another typ", cast.headed(&hs_with(&json!({"typ": kind}))), "kind"));
    }
    for (claim, kind) in
        [("token_use", "id"), ("typ", "Refresh"), ("typ", "ID"), ("token_use", "refresh"), ("typ", "Offline")]
    {
        cases.push(("S-29 an ID or refresh token", cast.hs(&json!({claim: kind})), "kind"));
    }
    for extension in
        [json!({"crit": ["exp"]}), json!({"crit": []}), json!({"crit": "b64"}), json!({"b64": false})]
    {
        cases.push(("S-30 an extension", cast.headed(&hs_with(&extension)), "malformed"));
    }
    let (header, body) = (hs().to_string(), claims().to_string());
    let text = |header: &str, claims: &str| cast.secret.token_of(header, claims, "HS256");
    for twice in
        ["\"sub\":\"root\",", "\"exp\":9999999999,", "\"s\\u0075b\":\"root\",", "\"x\":{\"a\":1,\"a\":2},"]
    {
        cases.push((
            "S-31 a claim twice",
            text(&header, &body.replacen('{', &format!("{{{twice}"), 1)),
            "malformed",
        ));
    }
    for twice in [r#"{"alg":"none","alg":"HS256","kid":"hs"}"#, r#"{"alg":"HS256","kid":"hs","kid":"rsa"}"#] {
        cases.push(("S-31 a member of the header twice", text(twice, &body), "malformed"));
    }
    for no_object in ["", "[]", "null", "7", "\"a\"", "{", "{}x", "{} {}", "{\"a\":1,}", "\u{feff}{}"] {
        cases.push(("no object as header", text(no_object, &body), "malformed"));
        cases.push(("no object as claims", text(&header, no_object), "malformed"));
    }
    cases.push((
        "claims nested too deep",
        text(&header, &format!("{}1{}", "{\"a\":".repeat(80), "}".repeat(80))),
        "malformed",
    ));
    cases
}

/// S-32, S-33: texts, and other environments.
fn texts(cast: &Cast) -> Vec<Case> {
    let mut cases = Vec::new();
    let right = cast.hs(&json!({}));
    let (message, signature) = right.rsplit_once('.').unwrap();
    let mut wrong = vec![
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        "a.b.c".to_owned(),
        message.to_owned(),
        format!("{right}."),
        format!(".{right}"),
        format!("{message}..{signature}"),
        format!("{right}.a.b"),
        format!("{right}="),
        format!("{}=.{signature}", message),
        format!("{right} "),
        format!(" {right}"),
        format!("{right}\n"),
        format!("Bearer {right}"),
        format!("{right}\u{0}"),
        format!("{message}.{signature}+/"),
        format!("{message}.\u{e9}"),
        "a".repeat(1 << 20),
        format!("{}.{}.", "a".repeat(4 << 10), "b".repeat(4 << 10)),
    ];
    wrong.push(cast.hs(&json!({"long": "x".repeat(8 << 10)})));
    cases.extend(wrong.into_iter().map(|token| ("S-32 not the compact form", token, "malformed")));
    for other in [&cast.stranger, &cast.p384, &cast.rsa] {
        let token = other.token(&json!({"alg": "ES256", "kid": "p256"}), &claims());
        cases.push(("S-33 another environment's key of the same name", token, "signature"));
    }
    let other = Signer::Secret(LONG_SECRET.into());
    cases.push(("S-33 another secret of the same name", other.token(&hs(), &claims()), "signature"));
    cases
}

#[test]
fn no_token_of_the_attack_families_is_accepted_and_each_is_told_why() {
    let cast = Cast::new();
    let cases = [headers(&cast), named(&cast), registered(&cast), forms(&cast), texts(&cast)].concat();
    assert!(cases.len() > 150, "{}", cases.len());
    let mut wrong = Vec::new();
    for (name, token, reason) in &cases {
        match check(&cast.ring, token) {
            Ok(_) => wrong.push(format!("{name}: accepted")),
            Err(denial) if denial.reason() != *reason => {
                wrong.push(format!("{name}: {} instead of {reason}", denial.reason()));
            }
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn two_login_servers_may_use_the_same_key_name_and_neither_can_speak_for_the_other() {
    let (one, two) = (Signer::p256(), Signer::p256());
    let other = super::key::Terms { issuer: OTHER_ISSUER.into(), ..terms(&[]) };
    let ring = KeyRing::new(
        vec![public(Some("1"), &one, &[]), Arc::new(Key::from_pem(Some("1"), two.pem(), &other).unwrap())],
        Vec::new(),
    );
    let header = json!({"alg": "ES256", "kid": "1"});
    let theirs = claims_with(&json!({"iss": OTHER_ISSUER}));
    assert!(check(&ring, &one.token(&header, &claims())).is_ok());
    assert!(check(&ring, &two.token(&header, &theirs)).is_ok());
    assert!(check(&ring, &one.token(&header, &theirs)).is_err());
    assert!(check(&ring, &two.token(&header, &claims())).is_err());
}

#[test]
fn the_only_key_needs_no_name_and_a_key_without_one_takes_any() {
    let secret = Signer::Secret(SECRET.into());
    let named = KeyRing::new(vec![shared(Some("hs"), SECRET, &[])], Vec::new());
    let nameless = KeyRing::new(vec![shared(None, SECRET, &[])], Vec::new());
    let (without, other) = (json!({"alg": "HS256"}), json!({"alg": "HS256", "kid": "other"}));
    assert!(check(&named, &secret.token(&without, &claims())).is_ok());
    assert_eq!(check(&named, &secret.token(&other, &claims())).unwrap_err().reason(), "key");
    assert!(check(&nameless, &secret.token(&without, &claims())).is_ok());
    assert!(check(&nameless, &secret.token(&other, &claims())).is_ok());
}

#[test]
fn weak_and_unfit_keys_are_never_made() {
    let fail = |error: Result<Key, super::key::KeyError>| error.unwrap_err().to_string();
    for (weak, why) in [
        ("short", "at least 32"),
        ("12345678901234567890123456789012", "guessable"),
        (&"a".repeat(64), "guessable"),
        (&"secret".repeat(10), "guessable"),
        ("0123456789abcdef0123456789abcdef", "guessable"),
        ("abcdefghijklmnopqrstuvwxyz012345", "guessable"),
        ("a-string-secret-at-least-256-bits-long", "guessable"),
        ("your-256-bit-secret-your-other-half", "guessable"),
    ] {
        let error = fail(Key::from_secret(None, weak.as_bytes(), &terms(&[])));
        assert!(error.contains(why) && !error.contains(weak), "{weak}: {error}");
    }
    assert!(fail(Key::from_secret(None, SECRET.as_bytes(), &terms(&["HS512"]))).contains("at least 64"));
    assert!(fail(Key::from_secret(None, SECRET.as_bytes(), &terms(&["ES256"]))).contains("HS256"));
    let (p256, ed) = (Signer::p256(), Signer::ed());
    assert!(fail(Key::from_pem(None, p256.pem(), &terms(&["HS256"]))).contains("ES256"));
    assert!(fail(Key::from_pem(None, p256.pem(), &terms(&["RS256", "ES384"]))).contains("ES256"));
    assert!(fail(Key::from_pem(None, ed.pem(), &terms(&["ES256"]))).contains("EdDSA"));
    assert!(fail(Key::from_pem(None, "-----BEGIN PRIVATE KEY-----", &terms(&[]))).contains("private"));
    assert!(fail(Key::from_pem(None, "ssh-ed25519 AAAA", &terms(&[]))).contains("PEM"));
    let k1 = Signer::ec(&aws_lc_rs::signature::ECDSA_P256K1_SHA256_ASN1_SIGNING);
    assert!(fail(Key::from_pem(None, k1.pem(), &terms(&[]))).contains("not supported"));
    let p521 = Signer::ec(&aws_lc_rs::signature::ECDSA_P521_SHA512_FIXED_SIGNING);
    assert!(fail(Key::from_pem(None, p521.pem(), &terms(&[]))).contains("not supported"));
}

#[test]
fn an_rsa_key_of_less_than_2048_bits_is_refused_wherever_it_comes_from() {
    let mut weak = Signer::rsa(KeySize::Rsa2048).jwk("weak");
    weak["n"] = json!(base64([0xc5; 128]));
    let jwk = serde_json::from_value(weak).unwrap();
    let error = Key::from_jwk(&jwk, &terms(&[])).unwrap_err().to_string();
    assert!(error.contains("1024 bits") && error.contains("2048"), "{error}");
    // SubjectPublicKeyInfo of a 1,024 bit modulus with exponent 65537.
    let mut der = vec![
        0x30, 0x81, 0x9f, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05,
        0x00,
    ];
    der.extend([0x03, 0x81, 0x8d, 0x00, 0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00]);
    der.extend([0xc5; 128]);
    der.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
    let error = Key::from_pem(None, &pem(&der), &terms(&[])).unwrap_err().to_string();
    assert!(error.contains("1024 bits"), "{error}");
}

#[test]
fn a_denial_shows_nothing_of_the_token_and_neither_does_any_debug() {
    let cast = Cast::new();
    let canary = cast.hs(&json!({"sub": "canary-subject", "iss": "canary-issuer"}));
    let denial = check(&cast.ring, &canary).unwrap_err();
    let refusal = crate::error::Refusal::from(denial);
    let verified = check(&cast.ring, &cast.hs(&json!({"sub": "canary-subject"}))).unwrap();
    let shown = format!("{denial:?} {denial} {refusal:?} {verified:?} {:?}", cast.ring);
    let parts = canary.split('.').map(ToOwned::to_owned);
    for secret in parts.chain(["canary".to_owned(), SECRET.to_owned()]) {
        assert!(!shown.contains(&secret), "{secret} is in {shown}");
    }
    assert_eq!(refusal.detail("reason"), Some("issuer"));
    assert_eq!(refusal.detail("claim"), Some("iss"));
    assert!(refusal.detail("setting").unwrap().contains("jwt_issuer"));
}

fn mutated(token: &str, at: usize, to: u8) -> Option<String> {
    let mut bytes = token.as_bytes().to_vec();
    let at = at % bytes.len();
    if bytes[at] == to {
        return None;
    }
    bytes[at] = to;
    String::from_utf8(bytes).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_token_with_one_byte_changed_is_refused(at in 0usize..10_000, to in 0u8..128, which in 0usize..5) {
        thread_local! {
            static CAST: Cast = Cast::new();
        }
        let checked: Result<(), TestCaseError> = CAST.with(|cast| {
            let signed = [(&cast.secret, "HS256", "hs"), (&cast.rsa, "RS256", "rsa"), (&cast.p256, "ES256", "p256"), (&cast.p384, "ES384", "p384"), (&cast.ed, "EdDSA", "ed")];
            let (signer, algorithm, key) = signed[which];
            let token = signer.token(&json!({"alg": algorithm, "kid": key}), &claims());
            prop_assert!(check(&cast.ring, &token).is_ok());
            if let Some(mutated) = mutated(&token, at, to) {
                prop_assert!(check(&cast.ring, &mutated).is_err(), "{mutated}");
            }
            Ok(())
        });
        checked?;
    }

    #[test]
    fn no_text_makes_the_check_panic(text in ".{0,200}") {
        thread_local! {
            static RING: KeyRing = KeyRing::new(vec![shared(None, SECRET, &[])], Vec::new());
        }
        prop_assert!(RING.with(|ring| check(ring, &text)).is_err());
    }
}
