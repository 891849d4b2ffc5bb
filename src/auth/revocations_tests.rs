//! Revocations: what they cover, and what a restart, a crash and a bound do to them.

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

async fn revoke(revocations: &Revocations, what: Revocation, seconds: i64) {
    let unstored = revocations.add(what, at(seconds)).unwrap();
    revocations.store(unstored).await.unwrap();
}

fn open(path: &Path) -> Revocations {
    Revocations::open(Keeping::InFile(path.to_owned()), DAY).unwrap()
}

fn now() -> i64 {
    Utc::now().timestamp()
}

#[tokio::test]
async fn a_subject_loses_what_was_issued_until_then_and_what_does_not_say_when() {
    let revocations = Revocations::open(Keeping::InMemory, DAY).unwrap();
    revoke(&revocations, Revocation::Subject("ada".into()), 100).await;
    let covers = |subject, issued: Option<i64>| revocations.covers_api_key("k", subject, issued.map(at));
    assert!(covers("ada", Some(99)) && covers("ada", Some(100)) && covers("ada", None));
    assert!(!covers("ada", Some(101)) && !covers("bob", None));
    revoke(&revocations, Revocation::Key("k".into()), 100).await;
    assert!(covers("bob", Some(200)), "a key is revoked whatever it was used for");
}

#[tokio::test]
async fn a_restart_forgets_nothing_that_can_still_matter() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("revocations.jsonl");
    let revocations = open(&path);
    revoke(&revocations, Revocation::Subject("ada".into()), 1).await;
    revoke(&revocations, Revocation::Token("old".into()), now() - 86_401).await;
    revoke(&revocations, Revocation::Token("new".into()), now() - 10).await;
    revoke(&revocations, Revocation::Key("2025".into()), 1).await;
    drop(revocations);
    let again = open(&path);
    let set = again.set.read().unwrap();
    assert!(set.subjects.contains_key("ada") && set.keys.contains_key("2025"));
    assert!(set.tokens.contains_key("new"));
    assert!(!set.tokens.contains_key("old"), "no such token can be valid any more");
    assert_eq!(
        std::fs::read_to_string(&path).unwrap().lines().count(),
        3,
        "the file is written anew without it"
    );
}

#[tokio::test]
async fn a_line_that_a_crash_cut_is_dropped_and_any_other_damage_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("revocations.jsonl");
    revoke(&open(&path), Revocation::Subject("ada".into()), 1).await;
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{whole}{{\"at\":2,\"what\":{{\"sub")).unwrap();
    assert!(open(&path).covers_api_key("k", "ada", None));
    std::fs::write(&path, format!("{{\"at\":2,\n{whole}")).unwrap();
    let error = Revocations::open(Keeping::InFile(path), DAY).unwrap_err();
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[tokio::test]
async fn what_is_read_only_is_read_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("revocations.jsonl");
    let reader = || Revocations::open(Keeping::ReadOnly(path.clone()), DAY).unwrap();
    assert!(!reader().covers_api_key("k", "ada", None));
    assert!(!path.exists());
    revoke(&open(&path), Revocation::Token("old".into()), 1).await;
    let before = std::fs::read_to_string(&path).unwrap();
    drop(reader());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_and_a_full_set_forgets_only_tokens_that_have_ended() {
    let revocations = Revocations::open(Keeping::InMemory, DAY).unwrap();
    for wrong in [String::new(), "x".repeat(257)] {
        let refusal = revocations.add(Revocation::Token(wrong.into()), at(1)).unwrap_err();
        assert_eq!(refusal.code, Code::BadRequest);
    }
    for number in 0..ENTRIES_MAX {
        let unstored = revocations.add(Revocation::Token(number.to_string().into()), at(1)).unwrap();
        assert!(!unstored.0.is_empty());
    }
    let refusal = revocations.add(Revocation::Token("more".into()), at(86_400)).unwrap_err();
    assert_eq!(refusal.code, Code::TooMany);
    revoke(&revocations, Revocation::Token("7".into()), 86_400).await;
    revoke(&revocations, Revocation::Token("more".into()), 86_402).await;
    assert_eq!(
        revocations.set.read().unwrap().tokens.len(),
        2,
        "7 was revoked again later, the others have ended"
    );
}

#[tokio::test]
async fn the_file_stays_short_however_often_the_same_is_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("revocations.jsonl");
    let revocations = open(&path);
    let journal = revocations.journal.clone().unwrap();
    journal.lock().unwrap().lines = STALE_LINES_MAX + 2;
    revoke(&revocations, Revocation::Subject("ada".into()), 5).await;
    assert_eq!(journal.lock().unwrap().lines, 1);
    revoke(&revocations, Revocation::Subject("bob".into()), 6).await;
    drop(revocations);
    let again = open(&path);
    assert!(again.covers_api_key("k", "ada", None) && again.covers_api_key("k", "bob", None));
}
