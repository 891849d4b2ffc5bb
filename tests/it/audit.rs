//! `fanfare audit verify` on a file as the server writes it.

use fanfare::{
    auth::{
        Principal,
        audit::{Audit, AuditOptions, Entry},
    },
    metrics::Metrics,
};
use std::{path::Path, process::Command};

fn verify(words: &[&str], file: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .args(["audit", "verify"])
        .arg(file)
        .args(words)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn a_file_is_judged_by_its_exit_code_and_an_anchor_can_be_kept_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let audit =
        Audit::open(&AuditOptions { file: file.clone(), bytes_max: 1 << 20 }, Metrics::new()).unwrap();
    for _ in 0..3 {
        audit.commit(Entry::admin_read(&Principal::anonymous(), "connections")).await.unwrap();
    }
    // Beside a running server too.
    let (code, out) = verify(&[], &file);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("3 lines from 1 on: sound; head 3:"), "{out}");
    audit.close().await;
    let anchor = out.trim().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(verify(&["--head", &anchor], &file).0, Some(0));
    assert_eq!(verify(&["--head", &anchor.replace("3:", "2:")], &file).0, Some(1));
    assert_eq!(verify(&["--head", "3"], &file).0, Some(2));
    assert_eq!(verify(&[], &dir.path().join("none.jsonl")).0, Some(1));

    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("connections", "nothing", 1)).unwrap();
    let (code, out) = verify(&[], &file);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("audit.jsonl line 1: it was changed"), "{out}");
    let shorter: Vec<&str> = text.lines().take(2).collect();
    std::fs::write(&file, shorter.join("\n") + "\n").unwrap();
    let (code, out) = verify(&[], &file);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("lines 3 to 3 are missing at the end"), "{out}");
}
