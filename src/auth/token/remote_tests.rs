//! A login server that rotates its keys, fails, lies and comes back.

use super::*;
use crate::auth::token::{
    KeyRing,
    compact::Compact,
    denial::Denial,
    testing::{Signer, check, claims, terms},
};
use axum::{
    Router,
    extract::State as Shown,
    http::{StatusCode as Status, header::LOCATION},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

/// What the login server answers.
#[derive(Clone, Debug)]
enum Answer {
    Keys(Value),
    Text(String),
    Redirect(String),
    Broken,
}

/// A login server on loopback.
#[derive(Clone)]
struct Login {
    answer: watch::Sender<Answer>,
    asked: watch::Sender<usize>,
    url: String,
}

async fn publish(Shown(login): Shown<Login>) -> Response {
    login.asked.send_modify(|count| *count += 1);
    let answer = login.answer.borrow().clone();
    match answer {
        Answer::Keys(keys) => json!({ "keys": keys }).to_string().into_response(),
        Answer::Text(text) => text.into_response(),
        Answer::Redirect(to) => (Status::FOUND, [(LOCATION, to)]).into_response(),
        Answer::Broken => Status::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Login {
    async fn start(answer: Answer) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let login = Login { answer: watch::Sender::new(answer), asked: watch::Sender::new(0), url };
        let app = Router::new()
            .route("/jwks.json", get(publish))
            .route("/moved.json", get(publish))
            .with_state(login.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        login
    }

    fn options(&self) -> RemoteOptions {
        RemoteOptions::new(&self.url, terms(&["ES256", "EdDSA"])).unwrap()
    }

    /// A ring of this server's keys, after the first fetch.
    async fn ring(&self, times: FetchTimes) -> (KeyRing, Metrics) {
        let metrics = Metrics::new();
        let remote = Remote::start(self.options(), times, metrics.clone(), || ()).unwrap();
        let mut fetched = remote.shared.fetched.subscribe();
        fetched.wait_for(|count| *count > 0).await.unwrap();
        (KeyRing::new(Vec::new(), vec![Arc::new(remote)]), metrics)
    }

    fn count(&self) -> usize {
        *self.asked.borrow()
    }
}

fn patient() -> FetchTimes {
    let hour = Duration::from_secs(3_600);
    FetchTimes { refresh: hour, pause: hour, first_pause: hour, ..FetchTimes::default() }
}

fn eager() -> FetchTimes {
    FetchTimes { pause: Duration::ZERO, ..patient() }
}

fn token(signer: &Signer, key: &str) -> String {
    signer.token(&json!({"alg": "ES256", "kid": key}), &claims())
}

fn reason(ring: &KeyRing, token: &str) -> &'static str {
    check(ring, token).map_or_else(Denial::reason, |_| "accepted")
}

#[tokio::test]
async fn a_new_key_is_had_when_a_token_names_it_and_a_withdrawn_one_goes() {
    let (old, new) = (Signer::p256(), Signer::p256());
    let login = Login::start(Answer::Keys(json!([old.jwk("old")]))).await;
    let (ring, _) = login.ring(eager()).await;
    assert_eq!(reason(&ring, &token(&old, "old")), "accepted");
    login.answer.send_replace(Answer::Keys(json!([old.jwk("old"), new.jwk("new")])));
    assert_eq!(reason(&ring, &token(&new, "new")), "key");
    assert!(ring.refresh().await);
    assert_eq!(reason(&ring, &token(&new, "new")), "accepted");
    login.answer.send_replace(Answer::Keys(json!([new.jwk("new")])));
    assert!(ring.refresh().await);
    assert_eq!(reason(&ring, &token(&old, "old")), "key");
}

#[tokio::test]
async fn however_many_tokens_name_unknown_keys_the_server_is_asked_once_in_a_pause() {
    let signer = Signer::p256();
    let login = Login::start(Answer::Keys(json!([signer.jwk("1")]))).await;
    let (ring, _) = login.ring(patient()).await;
    for _ in 0..100 {
        assert!(!ring.refresh().await);
    }
    assert_eq!(login.count(), 1);
    let (eager, _) = login.ring(eager()).await;
    let all = (0..100).map(|_| eager.refresh());
    futures_util::future::join_all(all).await;
    assert_eq!(login.count(), 3, "those who come while it is fetched wait for the same answer");
}

#[tokio::test]
async fn keys_stay_while_the_server_fails_or_lies() {
    let signer = Signer::p256();
    let login = Login::start(Answer::Keys(json!([signer.jwk("1")]))).await;
    let other = Login::start(Answer::Keys(json!([Signer::p256().jwk("2")]))).await;
    let (ring, metrics) = login.ring(eager()).await;
    let secret = Signer::Secret(b"a secret in public is none".to_vec());
    let lies = [
        Answer::Broken,
        Answer::Text("<html>".to_owned()),
        Answer::Text("{\"keys\":{}}".to_owned()),
        Answer::Text("{\"keys\":[],\"keys\":[]}".to_owned()),
        Answer::Text(format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300 * 1024))),
        Answer::Keys(json!([])),
        Answer::Keys(json!([secret.jwk("1")])),
        Answer::Keys(json!([{"kty": "EC", "kid": "1", "crv": "P-256", "x": "AA", "y": "AA"}])),
        Answer::Keys(json!((0..101).map(|_| signer.jwk("1")).collect::<Vec<_>>())),
        Answer::Redirect(other.url.clone()),
        Answer::Redirect("http://169.254.169.254/latest/meta-data".to_owned()),
        Answer::Redirect("/jwks.json".to_owned()),
    ];
    for (index, lie) in lies.into_iter().enumerate() {
        login.answer.send_replace(lie.clone());
        assert!(ring.refresh().await);
        assert_eq!(metrics.key_fetches_failed.get(), index as u64 + 1, "{lie:?}");
        assert_eq!(reason(&ring, &token(&signer, "1")), "accepted", "{lie:?}");
    }
    assert_eq!(other.count(), 0, "a redirect to another host is not followed");
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_asked_again_until_it_is() {
    let signer = Signer::p256();
    let login = Login::start(Answer::Broken).await;
    let times = FetchTimes { first_pause: Duration::from_millis(5), ..patient() };
    let (ring, _) = login.ring(times).await;
    assert_eq!(reason(&ring, &token(&signer, "1")), "keys_missing");
    login.answer.send_replace(Answer::Keys(json!([signer.jwk("1")])));
    let remote = Arc::clone(&ring.remotes()[0]);
    let mut fetched = remote.shared.fetched.subscribe();
    fetched.wait_for(|_| remote.has_keys()).await.unwrap();
    assert_eq!(reason(&ring, &token(&signer, "1")), "accepted");
}

#[tokio::test]
async fn keys_are_fetched_again_when_they_are_old() {
    let signer = Signer::p256();
    let login = Login::start(Answer::Keys(json!([signer.jwk("1")]))).await;
    let (_ring, _) = login.ring(FetchTimes { refresh: Duration::from_millis(1), ..patient() }).await;
    login.asked.subscribe().wait_for(|count| *count >= 3).await.unwrap();
}

#[tokio::test]
async fn only_keys_for_signatures_with_a_pinned_algorithm_are_used() {
    let (signer, ed, rsa) = (Signer::p256(), Signer::ed(), Signer::p384());
    let with = |mut jwk: Value, name: &str, value: Value| {
        jwk[name] = value;
        jwk
    };
    let login = Login::start(Answer::Keys(json!([
        with(signer.jwk("enc"), "use", json!("enc")),
        with(signer.jwk("ops"), "key_ops", json!(["encrypt"])),
        with(signer.jwk("alg"), "alg", json!("ES384")),
        with(signer.jwk("private"), "d", json!("AA")),
        rsa.jwk("unpinned"),
        {"kty": "new", "kid": "future"},
        7,
        with(signer.jwk("sig"), "use", json!("sig")),
        with(signer.jwk("verify"), "key_ops", json!(["verify"])),
        ed.jwk("ed"),
    ])))
    .await;
    let (ring, _) = login.ring(patient()).await;
    for unused in ["enc", "ops", "alg", "private", "unpinned", "future"] {
        assert_eq!(reason(&ring, &token(&signer, unused)), "key", "{unused}");
    }
    for used in ["sig", "verify"] {
        assert_eq!(reason(&ring, &token(&signer, used)), "accepted", "{used}");
    }
    let signed = ed.token(&json!({"alg": "EdDSA", "kid": "ed"}), &claims());
    assert_eq!(reason(&ring, &signed), "accepted");
    assert!(ring.meant_by(&Compact::parse(&signed).unwrap()).is_ok());
}

#[test]
fn only_tls_or_loopback_addresses_are_fetched_from() {
    let options = |url| RemoteOptions::new(url, terms(&[]));
    for fine in [
        "https://login.example.org/jwks.json",
        "http://127.0.0.1:1/",
        "http://[::1]/k",
        "http://localhost:8080/k?a=b",
    ] {
        assert!(options(fine).is_ok(), "{fine}");
    }
    for wrong in [
        "",
        "login.example.org",
        "http://login.example.org/jwks.json",
        "http://127.0.0.1.example.org/",
        "http://localhost.example.org/",
        "https://user:password@login.example.org/",
        "https://login.example.org/#a",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
    ] {
        let error = options(wrong).unwrap_err();
        assert!(error.contains("https"), "{wrong}: {error}");
    }
}
