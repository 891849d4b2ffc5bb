//! The audit over real files: what is written verifies, whatever is done to it shows, whatever a crash leaves is repaired.

use super::{
    super::{Credential, Grant, Principal, Revocation, View},
    *,
};
use proptest::prelude::*;
use serde_json::Value;
use std::{fs, net::SocketAddr, path::Path};

const PEER: &str = "192.0.2.1:4000";

fn principal(subject: &str) -> Principal {
    let credential = Credential::Token { id: Some("jti-1".into()), key: "2026".into() };
    Principal::new(subject, credential, Grant::everything(), View::whole(), None)
}

fn refusal(message: &str) -> Refusal {
    Refusal::new(Code::Forbidden, message.to_owned())
}

fn options(dir: &Path, bytes_max: u64) -> AuditOptions {
    AuditOptions { file: dir.join("audit.jsonl"), bytes_max }
}

fn open(dir: &Path) -> Audit {
    Audit::open(&options(dir, 1 << 20), Metrics::new()).unwrap()
}

/// Entries of every kind that callers make.
fn entries() -> Vec<Entry> {
    let (alice, peer) = (principal("alice"), PEER.parse::<SocketAddr>().unwrap());
    let admin = principal("admin");
    vec![
        Entry::connect(&alice).peer(peer).connection("c1"),
        Entry::refused(&refusal("no")).peer(peer),
        Entry::subscribe(&alice, r#"{"types":["task.*"]}"#).connection("c1"),
        Entry::subscribe_refused(&alice, &refusal("not yours")),
        Entry::publish_refused(&alice, &refusal("not \"yours\"\n{\"hash\":\"0\"}")),
        Entry::policy_changed(Some(&admin), "abc", true),
        Entry::revoked(&admin, &Revocation::Token("jti-1".into())),
        Entry::admin_read(&admin, "connections"),
        Entry::disconnected(&admin, "c1", "alice"),
        Entry::unsubscribed(&admin, "c1", "s1"),
        Entry::token_refreshed(&alice),
        Entry::limit(Some(&alice), "operations_per_second", &refusal("slow down")),
    ]
}

/// A file with one line of each kind, closed.
async fn written(dir: &Path) -> Vec<Value> {
    let audit = open(dir);
    for entry in entries() {
        audit.commit(entry).await.unwrap();
    }
    audit.close().await;
    lines(dir)
}

fn lines(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("audit.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn check(dir: &Path) -> Verification {
    verify(&dir.join("audit.jsonl"), None).unwrap()
}

#[tokio::test]
async fn every_kind_is_a_line_with_its_facts_and_the_whole_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let lines = written(dir.path()).await;
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    let expected = "connect refused subscribe subscribe_refused publish_refused policy_changed revoked admin_read \
                    disconnected unsubscribed token_refreshed limit";
    assert_eq!(kinds.join(" "), expected);
    let first = &lines[0];
    assert_eq!(
        (&first["seq"], &first["subject"], &first["outcome"]),
        (&1.into(), &"alice".into(), &"ok".into())
    );
    assert_eq!(
        (&first["credential"], &first["credential_id"], &first["key"], &first["peer"], &first["connection"]),
        (&"token".into(), &"jti-1".into(), &"2026".into(), &PEER.into(), &"c1".into())
    );
    assert_eq!(first["prev"], "0".repeat(64));
    assert_eq!(
        (&lines[3]["outcome"], &lines[3]["details"]["message"]),
        (&"FORBIDDEN".into(), &"not yours".into())
    );
    assert_eq!(lines[6]["details"]["revoked_token"], "jti-1");
    for pair in lines.windows(2) {
        assert_eq!(pair[0]["hash"], pair[1]["prev"]);
    }
    let report = check(dir.path());
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
    assert_eq!((report.lines, report.first, report.last.unwrap().seq()), (12, 1, 12));
    assert_eq!(
        fs::read_to_string(dir.path().join("audit.head")).unwrap(),
        format!("{}\n", report.last.unwrap())
    );
}

#[tokio::test]
async fn what_somebody_else_wrote_is_escaped_and_cut() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path());
    let long = "ä".repeat(5_000);
    audit.commit(Entry::connect(&principal("a\n{\"seq\":1}\u{2028}\0")).connection(&long)).await.unwrap();
    audit.commit(Entry::subscribe(&principal(&long), &long)).await.unwrap();
    audit.close().await;
    let lines = lines(dir.path());
    assert_eq!((lines.len(), &lines[0]["subject"]), (2, &"a\n{\"seq\":1}\u{2028}\0".into()));
    for text in [&lines[0]["connection"], &lines[1]["subject"], &lines[1]["details"]["filter"]] {
        let text = text.as_str().unwrap();
        assert!(text.len() <= 256 && text.ends_with("ä…"), "{text}");
    }
    assert!(check(dir.path()).is_sound());
}

/// Every single change of a real file is found: of each line a byte, the whole line, its place, and what follows it.
#[tokio::test]
async fn every_single_change_is_found() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path()).await;
    let file = dir.path().join("audit.jsonl");
    let sound = fs::read(&file).unwrap();
    let starts: Vec<usize> = std::iter::once(0)
        .chain(sound.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1))
        .collect();
    let mut changes = Vec::new();
    for (number, pair) in starts.windows(2).enumerate() {
        let (before, line, after) = (&sound[..pair[0]], &sound[pair[0]..pair[1]], &sound[pair[1]..]);
        // A fifth of each line, another one in each.
        for at in (number % 5..line.len()).step_by(5) {
            let mut flipped = line.to_vec();
            flipped[at] ^= 1 << (at % 8);
            changes.push((format!("line {number}, byte {at}"), [before, &flipped, after].concat()));
        }
        changes.push((format!("line {number} removed"), [before, after].concat()));
        changes.push((format!("line {number} twice"), [before, line, line, after].concat()));
        changes.push((format!("cut before line {number}"), before.to_vec()));
        changes.push((format!("cut within line {number}"), [before, &line[..line.len() / 2]].concat()));
        if let Some(end) = after.iter().position(|byte| *byte == b'\n') {
            let (next, rest) = after.split_at(end + 1);
            changes.push((format!("line {number} after the next"), [before, next, line, rest].concat()));
        }
        // Written with the right hash, by somebody who knows how.
        let mut forged = Vec::new();
        let last =
            before.split(|byte| *byte == b'\n').rev().nth(1).map(|line| line::read(line).unwrap().anchor);
        line::write(&Entry::connect(&principal("mallory")), last.unwrap_or(Anchor::START), &mut forged)
            .unwrap();
        changes.push((format!("a line inserted before {number}"), [before, &forged, line, after].concat()));
        changes.push((format!("line {number} replaced"), [before, &forged, after].concat()));
    }
    assert!(changes.len() > 12 * 60);
    for (what, bytes) in changes {
        fs::write(&file, bytes).unwrap();
        assert!(!check(dir.path()).is_sound(), "{what} was not found");
    }
    fs::write(&file, sound).unwrap();
    assert!(check(dir.path()).is_sound());
}

#[tokio::test]
async fn a_file_that_was_written_anew_is_told_by_an_anchor_kept_elsewhere() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    written(dir.path()).await;
    let anchor = check(dir.path()).last.unwrap();
    let audit = open(dir.path());
    audit.commit(Entry::connect(&principal("bob"))).await.unwrap();
    audit.close().await;
    let file = dir.path().join("audit.jsonl");
    assert!(verify(&file, Some(anchor)).unwrap().is_sound());
    assert_eq!(anchor.to_string().parse(), Ok(anchor));

    written(other.path()).await;
    let report = verify(&other.path().join("audit.jsonl"), Some(anchor)).unwrap();
    assert!(report.findings[0].contains("written anew"), "{report:?}");
    for bad in ["", "1", "1:", ":0", "01:00", &anchor.to_string().to_uppercase().replace(':', ":A")] {
        assert!(bad.parse::<Anchor>().is_err(), "{bad}");
    }
    // Without its head a file may have lost its end, unless an anchor vouches for it.
    fs::remove_file(dir.path().join("audit.head")).unwrap();
    assert!(!check(dir.path()).is_sound());
    assert!(verify(&file, Some(anchor)).unwrap().is_sound());
}

#[tokio::test]
async fn a_line_that_a_crash_cut_is_removed_told_and_no_breach() {
    let template = tempfile::tempdir().unwrap();
    written(template.path()).await;
    let text = fs::read(template.path().join("audit.jsonl")).unwrap();
    // As after a crash between the write and the sync: a line more that the head does not tell of.
    let mut more = text.clone();
    let last = check(template.path()).last.unwrap();
    line::write(&Entry::connect(&principal("bob")), last, &mut more).unwrap();
    for cut in text.len()..=more.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(template.path().join("audit.head"), dir.path().join("audit.head")).unwrap();
        fs::write(dir.path().join("audit.jsonl"), &more[..cut]).unwrap();
        let audit = open(dir.path());
        audit.commit(Entry::connect(&principal("carol"))).await.unwrap();
        audit.close().await;
        let report = check(dir.path());
        assert!(report.is_sound(), "{cut}: {report:?}");
        let is_torn = cut > text.len() && cut < more.len();
        assert_eq!(report.notes.len(), usize::from(is_torn), "{cut}: {report:?}");
        let kinds: Vec<Value> = lines(dir.path()).iter().skip(12).map(|line| line["kind"].clone()).collect();
        let expected =
            if is_torn { vec!["recovered", "connect"] } else { vec!["connect"; 1 + cut / more.len()] };
        assert_eq!(kinds, expected, "{cut}");
    }
}

#[tokio::test]
async fn synced_lines_that_are_gone_at_a_start_are_a_breach_ever_after() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path()).await;
    let file = dir.path().join("audit.jsonl");
    let text = fs::read(&file).unwrap();
    fs::write(&file, &text[..text.len() - 10]).unwrap();
    for _ in 0..2 {
        let audit = open(dir.path());
        audit.commit(Entry::connect(&principal("carol"))).await.unwrap();
        audit.close().await;
        let report = check(dir.path());
        assert!(
            report.findings.len() == 1 && report.findings[0].contains("lines were missing"),
            "{report:?}"
        );
    }
}

#[tokio::test]
async fn a_full_file_goes_on_in_another_and_the_chain_runs_through_all() {
    let dir = tempfile::tempdir().unwrap();
    let small = options(dir.path(), 2_000);
    for _ in 0..3 {
        let audit = Audit::open(&small, Metrics::new()).unwrap();
        for entry in entries() {
            audit.commit(entry).await.unwrap();
        }
        audit.close().await;
    }
    let report = check(dir.path());
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
    let older = chain::older(&small.file).unwrap();
    assert!(older.len() > 3 && older[0].0 == 1, "{older:?}");
    for (_, path) in &older {
        assert!(fs::metadata(path).unwrap().len() <= 2_000);
    }
    // Between the two steps of a rotation a crash leaves no file, or an empty one.
    for is_empty in [false, true] {
        fs::rename(
            &small.file,
            format!("{}.{:020}", small.file.display(), lines(dir.path())[0]["seq"].as_u64().unwrap()),
        )
        .unwrap();
        if is_empty {
            fs::write(&small.file, "").unwrap();
        }
        let report = check(dir.path());
        assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
        let audit = Audit::open(&small, Metrics::new()).unwrap();
        audit.commit(Entry::connect(&principal("bob"))).await.unwrap();
        audit.close().await;
        let report = check(dir.path());
        assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
    }
    // One in the middle that is missing is found; the first ones may be archived.
    fs::rename(&older[0].1, dir.path().join("archived")).unwrap();
    let report = check(dir.path());
    assert!(report.is_sound() && report.notes.len() == 1, "{report:?}");
    fs::rename(dir.path().join("archived"), &older[0].1).unwrap();
    fs::remove_file(&older[2].1).unwrap();
    assert!(check(dir.path()).findings[0].contains("are missing"));
}

#[tokio::test]
async fn one_server_at_a_time_writes_a_file_and_a_damaged_one_is_not_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path());
    let second = Audit::open(&options(dir.path(), 1 << 20), Metrics::new());
    assert!(matches!(second, Err(AuditError::InUse { .. })), "{second:?}");
    audit.close().await;
    fs::write(dir.path().join("audit.jsonl"), "x".repeat(9 * line::LINE_BYTES_MAX)).unwrap();
    let damaged = Audit::open(&options(dir.path(), 1 << 20), Metrics::new());
    assert!(matches!(damaged, Err(AuditError::Damaged { .. })), "{damaged:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_disk_that_takes_nothing_stops_decisions_and_nothing_else_and_the_hole_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let metrics = Metrics::new();
    let audit = Audit::open(&options(dir.path(), 1 << 20), metrics.clone()).unwrap();
    audit.commit(Entry::connect(&principal("alice"))).await.unwrap();
    assert!(audit.is_writing());
    fs::rename(&file, format!("{}.{:020}", file.display(), 1)).unwrap();
    std::os::unix::fs::symlink("/dev/full", &file).unwrap();

    let revoked = || Entry::revoked(&principal("admin"), &Revocation::Subject("bob".into()));
    assert_eq!(audit.commit(revoked()).await.unwrap_err().code, Code::Unavailable);
    assert!(!audit.is_writing());
    audit.record(Entry::connect(&principal("alice")));
    assert_eq!(audit.commit(revoked()).await.unwrap_err().code, Code::Unavailable);
    assert_eq!((metrics.audit_entries.get(), metrics.audit_lost.get()), (1, 3));

    fs::remove_file(&file).unwrap();
    audit.commit(revoked()).await.unwrap();
    assert!(audit.is_writing());
    audit.close().await;
    let lines = lines(dir.path());
    let kinds: Vec<&Value> = lines.iter().map(|line| &line["kind"]).collect();
    assert_eq!(kinds, ["continued", "lost", "revoked"]);
    assert_eq!(lines[1]["more"], 3);
    assert!(check(dir.path()).is_sound());
}

#[tokio::test]
async fn a_flood_writes_few_lines_and_is_counted_and_admins_are_never_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let audit = Audit::open(&options(dir.path(), 1 << 20), metrics.clone()).unwrap();
    let peer = PEER.parse::<SocketAddr>().unwrap();
    for _ in 0..20_000 {
        audit.record(Entry::refused(&refusal("no")).peer(peer));
    }
    for _ in 0..100 {
        audit.commit(Entry::revoked(&principal("admin"), &Revocation::Key("k".into()))).await.unwrap();
    }
    audit.close().await;
    let lines = lines(dir.path());
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).count();
    assert_eq!(of("revoked"), 100);
    // Five for each second that it took.
    assert!((5..500).contains(&of("refused")), "{}", of("refused"));
    assert_eq!(metrics.audit_lost.get(), 0);
    assert!(check(dir.path()).is_sound());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_left_out_and_what_is_admitted_is_all(
        callers in prop::collection::vec((0..200_u32, 0..3_000_u64), 1..2_000),
    ) {
        let start = Instant::now();
        let mut sampler = Sampler::new(start);
        let mut times: Vec<u64> = callers.iter().map(|(_, at)| *at).collect();
        times.sort_unstable();
        let (mut admitted, mut left_out) = (0_u64, 0_u64);
        for ((caller, _), at) in callers.iter().zip(times) {
            let ended = sampler.ended(start + Duration::from_millis(at));
            prop_assert!(ended.len() <= 61, "few lines tell of many");
            left_out += ended.iter().map(|entry| entry.more).sum::<u64>();
            admitted += u64::from(sampler.admits(&Entry::limit(Some(&principal(&caller.to_string())), "x", &refusal(""))));
        }
        left_out += sampler.ended(start + Duration::from_secs(9)).iter().map(|entry| entry.more).sum::<u64>();
        prop_assert_eq!(admitted + left_out, callers.len() as u64);
        prop_assert!(admitted <= 4 * 50);
        prop_assert!(sampler.ended(start + Duration::from_secs(18)).is_empty());
    }

    #[test]
    fn no_bytes_are_a_line_unless_they_were_written(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(line::read(&bytes).is_err());
    }
}

#[tokio::test]
async fn without_an_audit_nothing_is_recorded_and_everything_goes_on() {
    let audit = Audit::off();
    audit.record(Entry::connect(&principal("alice")));
    audit.commit(Entry::connect(&principal("alice"))).await.unwrap();
    assert!(audit.is_writing());
    audit.close().await;
}
