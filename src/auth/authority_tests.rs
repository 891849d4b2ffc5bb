//! The authority from outside: settings and a policy file in, principals and refusals out.

use super::*;
use crate::auth::{
    Credential, Keeping,
    token::{
        Claims, KeyDraft, NewApiKey, TimeRules,
        testing::{AUDIENCE, ISSUER, SECRET, Signer},
    },
};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

fn draft() -> KeyDraft {
    KeyDraft {
        issuer: Some(ISSUER.to_owned()),
        audience: Some(AUDIENCE.to_owned()),
        secret: Some(SECRET.into()),
        ..KeyDraft::default()
    }
}

fn options() -> Options {
    Options { keys: vec![draft()], ..Options::default() }
}

fn authority() -> Authority {
    Authority::new(options()).unwrap()
}

fn claims(changes: &Value) -> Claims {
    let now = Utc::now().timestamp();
    let mut claims =
        json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": now + 600, "iat": now - 10, "jti": "t1"});
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    claims.as_object().unwrap().clone()
}

fn token(changes: &Value) -> String {
    crate::auth::token::sign(SECRET, None, &claims(changes)).unwrap()
}

async fn reason(authority: &Authority, credential: Option<&str>) -> String {
    match authority.authenticate(credential).await {
        Ok(_) => "accepted".to_owned(),
        Err(refusal) => refusal.detail("reason").unwrap().to_owned(),
    }
}

fn reviewed(authority: &Authority, principal: &Principal) -> String {
    match authority.review(principal) {
        Ok(_) => "accepted".to_owned(),
        Err(refusal) => refusal.detail("reason").unwrap().to_owned(),
    }
}

fn problems(options: Options) -> String {
    Authority::new(options).unwrap_err().to_string()
}

#[tokio::test]
async fn without_keys_everybody_is_anonymous_and_with_one_nobody_is() {
    let open = Authority::new(Options::default()).unwrap();
    assert!(open.is_open());
    assert_eq!(open.authenticate(Some("whatever")).await.unwrap().credential(), &Credential::None);
    assert!(open.revoke(Revocation::Key("1".into())).await.is_err());

    let authority = authority();
    assert!(!authority.is_open());
    assert_eq!(reason(&authority, None).await, "missing");
    assert_eq!(reason(&authority, Some("")).await, "malformed");
    let principal = authority.authenticate(Some(&token(&json!({})))).await.unwrap();
    assert_eq!(principal.subject(), "ada");
    assert_eq!(principal.credential(), &Credential::Token { id: Some("t1".into()), key: "default".into() });
    assert_eq!(principal.expires_at().map(|at| at.timestamp()), claims(&json!({}))["exp"].as_i64());
    assert_eq!(authority.0.guard.as_ref().unwrap().options.metrics.credentials_refused.get(), 2);
}

#[tokio::test]
async fn a_remembered_token_is_still_refused_when_it_ends_or_is_revoked() {
    let minute = TimeRules { leeway: Duration::from_secs(60), ..TimeRules::default() };
    let authority = Authority::new(Options { times: minute, ..options() }).unwrap();
    let now = Utc::now().timestamp();
    let principal = authority.authenticate(Some(&token(&json!({"exp": now - 20})))).await.unwrap();
    assert_eq!(reviewed(&authority, &principal), "expired", "the leeway opens nothing that lasts");

    let right = token(&json!({}));
    assert_eq!(reason(&authority, Some(&right)).await, "accepted");
    let changes = authority.changes();
    authority.revoke(Revocation::Token("t1".into())).await.unwrap();
    assert!(changes.has_changed().unwrap());
    assert_eq!(reason(&authority, Some(&right)).await, "revoked");

    let right = token(&json!({"jti": "t2"}));
    assert_eq!(reason(&authority, Some(&right)).await, "accepted");
    let guard = authority.0.guard.as_ref().unwrap();
    let digest: [u8; 32] = Sha256::digest(right.as_bytes()).into();
    let mut remembered = guard.checked.get(&digest).expect("a token that was checked is remembered");
    let ended = token(&json!({"exp": now - 600}));
    let hour = TimeRules { leeway: Duration::from_secs(3_600), ..minute };
    let ended = verify(Compact::parse(&ended).unwrap(), &guard.current().ring, &hour, Utc::now()).unwrap();
    remembered.token = ended;
    guard.checked.insert(digest, remembered);
    assert_eq!(reason(&authority, Some(&right)).await, "expired");
}

#[tokio::test]
async fn a_revocation_reaches_token_subject_and_key_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let kept = || Options { revocations: Keeping::InFile(dir.path().join("revocations.jsonl")), ..options() };
    let authority = Authority::new(kept()).unwrap();
    let now = Utc::now().timestamp();
    let (one, two) = (token(&json!({"jti": "1"})), token(&json!({"jti": "2", "sub": "bob"})));
    let of_two = authority.authenticate(Some(&two)).await.unwrap();
    authority.revoke(Revocation::Token("1".into())).await.unwrap();
    authority.revoke(Revocation::Subject("bob".into())).await.unwrap();
    assert_eq!(reason(&authority, Some(&one)).await, "revoked");
    assert_eq!(reason(&authority, Some(&two)).await, "revoked");
    assert_eq!(reviewed(&authority, &of_two), "revoked");
    let later = token(&json!({"sub": "bob", "jti": "3", "iat": now + 5}));
    let undated = crate::auth::token::sign(SECRET, None, &{
        let mut claims = claims(&json!({"sub": "bob", "jti": "4"}));
        claims.remove("iat");
        claims
    });
    for authority in [authority, Authority::new(kept()).unwrap()] {
        assert_eq!(reason(&authority, Some(&one)).await, "revoked");
        assert_eq!(reason(&authority, Some(&later)).await, "accepted", "issued after the revocation");
        assert_eq!(reason(&authority, undated.as_deref().ok()).await, "revoked");
        assert_eq!(reason(&authority, Some(&token(&json!({"jti": "5"})))).await, "accepted");
    }
    let authority = Authority::new(kept()).unwrap();
    authority.revoke(Revocation::Key("default".into())).await.unwrap();
    assert_eq!(reason(&authority, Some(&token(&json!({"jti": "6"})))).await, "revoked");
}

fn write(dir: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_policy_names_keys_and_api_keys_and_a_reload_replaces_them() {
    let dir = tempfile::tempdir().unwrap();
    let made = NewApiKey::make("ci").unwrap();
    let signer = Signer::p256();
    write(dir.path(), "login.pem", signer.pem());
    let key = format!(
        "[[keys]]\nid = \"2026\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\npublic_key_file = \"login.pem\"\n"
    );
    let api_key = format!(
        "[[api_keys]]\nid = \"ci\"\nsubject = \"ci\"\nhash = \"{}\"\nroles = [\"publisher\"]\n",
        made.hash
    );
    let policy = write(dir.path(), "policy.toml", &format!("{key}\n{api_key}"));
    let authority = Authority::new(Options { policy: Some(policy.clone()), ..Options::default() }).unwrap();
    let signed = signer.token(&json!({"alg": "ES256", "kid": "2026"}), &Value::Object(claims(&json!({}))));
    let of_token = authority.authenticate(Some(&signed)).await.unwrap();
    let of_key = authority.authenticate(Some(&made.key)).await.unwrap();
    assert_eq!(of_key.credential(), &Credential::ApiKey { id: "ci".into() });
    assert_eq!(
        (reviewed(&authority, &of_token), reviewed(&authority, &of_key)),
        ("accepted".into(), "accepted".into())
    );

    write(dir.path(), "policy.toml", "[[keys]]\nnonsense = 1\n");
    let before = *authority.changes().borrow();
    let refusal = authority.reload(None).await.unwrap_err();
    assert!(refusal.message.contains("policy.toml: keys[0] (line 1): unknown field `nonsense`"), "{refusal}");
    assert_eq!(*authority.changes().borrow(), before);
    assert_eq!(reason(&authority, Some(&made.key)).await, "accepted", "the old policy stays in force");

    write(dir.path(), "policy.toml", &key);
    authority.reload(None).await.unwrap();
    assert!(*authority.changes().borrow() > before);
    assert_eq!(
        (reviewed(&authority, &of_token), reviewed(&authority, &of_key)),
        ("accepted".into(), "key".into())
    );
    write(dir.path(), "policy.toml", &api_key);
    authority.reload(None).await.unwrap();
    assert_eq!(
        (reviewed(&authority, &of_token), reviewed(&authority, &of_key)),
        ("key".into(), "accepted".into())
    );
    assert_eq!(reason(&authority, Some(&signed)).await, "key", "remembered, but its key is gone");
    authority.revoke(Revocation::Subject("ci".into())).await.unwrap();
    assert_eq!(reviewed(&authority, &of_key), "revoked");
}

#[tokio::test]
async fn every_start_up_error_names_file_line_and_field_or_the_setting() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "short", "too short\n");
    let text = format!(
        "[[keys]]\nissuer = \"{ISSUER}\"\nsecret_file = \"short\"\n\n[[keys]]\nid = \"b\"\nissuer = \"{ISSUER}\"\naudience = \"a\"\n\
         secret_env = \"NOWHERE\"\nalgorithms = [\"none\"]\n\n[[api_keys]]\nid = \"x\"\nsubject = \"x\"\nhash = \"md5:1\"\n"
    );
    let policy = write(dir.path(), "policy.toml", &text);
    let told = problems(Options { policy: Some(policy), ..Options::default() });
    for part in [
        "policy.toml: keys[0] (line 1), audience: is required",
        "keys[0] (line 1), secret_file: the secret has 9 bytes; at least 32",
        "keys[1] (line 5), secret_env: the environment variable \"NOWHERE\" is not set",
        "keys[1] (line 5), algorithms: \"none\" is not allowed",
        "api_keys[0] (line 12), hash: must be sha256:",
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    assert!(!told.contains("too short"));

    let mut nothing = draft();
    (nothing.issuer, nothing.audience) = (None, None);
    let told = problems(Options { keys: vec![nothing.clone(), nothing], ..Options::default() });
    assert_eq!(told.matches("jwt_issuer: is required").count(), 1, "{told}");
    assert!(told.contains("jwt_audience: is required"), "{told}");

    let empty = write(dir.path(), "empty.toml", "");
    assert!(problems(Options { policy: Some(empty), ..Options::default() }).contains("nobody could prove"));
    let missing = Options { policy: Some(dir.path().join("none.toml")), ..Options::default() };
    assert!(problems(missing).contains("cannot be read"));
}

#[tokio::test]
async fn secrets_come_from_a_variable_or_a_file_and_no_debug_shows_them() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "secret", &format!("{SECRET}\n"));
    for source in ["secret_file = \"secret\"", "secret_env = \"SIGNING\""] {
        let text = format!("[[keys]]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n{source}\n");
        let policy = write(dir.path(), "policy.toml", &text);
        let environment = |name: &str| (name == "SIGNING").then(|| SECRET.to_owned());
        let authority =
            Authority::new(Options { policy: Some(policy), environment, ..Options::default() }).unwrap();
        let right = token(&json!({}));
        let principal = authority.authenticate(Some(&right)).await.unwrap();
        let shown = format!("{authority:?} {principal:?} {:?}", options());
        assert!(!shown.contains(SECRET) && !shown.contains(&right), "{shown}");
    }
}

#[tokio::test]
async fn while_published_keys_cannot_be_had_the_answer_is_unavailable() {
    let mut published = draft();
    published.secret = None;
    // Port 9 of loopback: nobody listens.
    published.jwks_url = Some("http://127.0.0.1:9/jwks.json".to_owned());
    let authority = Authority::new(Options { keys: vec![published], ..Options::default() }).unwrap();
    let refusal = authority.authenticate(Some(&token(&json!({})))).await.unwrap_err();
    assert_eq!((refusal.code, refusal.detail("reason")), (Code::Unavailable, Some("keys_missing")));
    assert_eq!(reason(&authority, None).await, "missing");
}
