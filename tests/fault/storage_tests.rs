//! The model of a disk: what it must keep, what it may lose, and that it reads a trace as it is.

use crate::{
    chance::Chance,
    storage::{Call, Disk, Traced, read_trace},
};
use std::path::Path;

const SEEDS: u64 = 300;

fn write(name: &str, at: usize, bytes: &[u8]) -> Call {
    Call::Write { name: name.to_owned(), at, bytes: bytes.to_vec() }
}

fn open(name: &str) -> Call {
    Call::Open { name: name.to_owned(), is_emptied: false }
}

fn sync(name: &str) -> Call {
    Call::Sync { name: name.to_owned() }
}

fn played(calls: &[Call]) -> Disk {
    let mut disk = Disk::default();
    calls.iter().for_each(|call| disk.play(call));
    disk
}

/// The content of a file after each of many cuts; none where the file is missing.
fn after_cuts(disk: &Disk, name: &str) -> Vec<Option<Vec<u8>>> {
    (0..SEEDS).map(|seed| disk.crash(&mut Chance::new(seed)).remove(name)).collect()
}

#[test]
fn what_a_sync_covered_survives_every_cut() {
    let disk = played(&[
        open("a"),
        write("a", 0, b"first"),
        sync("a"),
        Call::SyncDirectory,
        write("a", 5, b"second"),
    ]);
    let cuts = after_cuts(&disk, "a");
    let whole = b"firstsecond".as_slice();
    assert!(cuts.iter().all(|kept| kept.as_deref().is_some_and(|kept| kept.starts_with(b"first"))));
    assert!(cuts.iter().any(|kept| kept.as_deref() == Some(b"first")));
    assert!(cuts.iter().any(|kept| kept.as_deref() == Some(whole)));
}

#[test]
fn a_name_is_there_for_good_once_its_directory_is_synced() {
    let mut disk = played(&[open("a"), write("a", 0, b"x"), sync("a")]);
    let cuts = after_cuts(&disk, "a");
    assert!(cuts.iter().any(Option::is_none) && cuts.iter().any(Option::is_some));
    disk.play(&Call::SyncDirectory);
    assert!(after_cuts(&disk, "a").iter().all(|kept| kept.as_deref() == Some(b"x")));
    disk.play(&Call::Remove { name: "a".to_owned() });
    let cuts = after_cuts(&disk, "a");
    assert!(cuts.iter().any(Option::is_none) && cuts.iter().any(Option::is_some));
    disk.play(&Call::SyncDirectory);
    assert!(after_cuts(&disk, "a").iter().all(Option::is_none));
}

#[test]
fn a_name_that_comes_again_is_another_file() {
    let disk = played(&[
        open("a"),
        write("a", 0, b"old"),
        sync("a"),
        Call::Remove { name: "a".to_owned() },
        open("a"),
        sync("a"),
        Call::SyncDirectory,
    ]);
    assert!(after_cuts(&disk, "a").iter().all(|kept| kept.as_deref() == Some(b"")));
}

#[test]
fn an_unsynced_write_is_torn_between_sectors_and_reordered() {
    let disk = played(&[
        open("a"),
        write("a", 0, &[0; 1_536]),
        sync("a"),
        Call::SyncDirectory,
        write("a", 100, &[1; 1_024]),
        write("a", 1_200, &[2; 10]),
    ]);
    let cuts: Vec<_> = after_cuts(&disk, "a").into_iter().flatten().collect();
    for kept in &cuts {
        let sectors = [&kept[100..512], &kept[512..1_024], &kept[1_024..1_124]];
        assert!(sectors.iter().all(|sector| sector.iter().all(|byte| *byte == sector[0])), "{kept:?}");
    }
    assert!(cuts.iter().any(|kept| kept[100] == 1 && kept[600] == 0), "never torn");
    assert!(cuts.iter().any(|kept| kept[100] == 0 && kept[1_200] == 2), "never reordered");
}

#[test]
fn a_file_that_was_cut_short_is_short_once_that_is_synced() {
    let mut disk = played(&[open("a"), write("a", 0, b"long"), sync("a"), Call::SyncDirectory]);
    disk.play(&Call::Truncate { name: "a".to_owned(), length: 1 });
    assert!(after_cuts(&disk, "a").iter().any(|kept| kept.as_deref() == Some(b"long")));
    disk.play(&sync("a"));
    assert!(after_cuts(&disk, "a").iter().all(|kept| kept.as_deref() == Some(b"l")));
}

#[test]
fn a_lying_disk_may_lose_what_it_says_it_has() {
    let mut disk = played(&[open("a"), Call::SyncDirectory]);
    disk.is_lying = true;
    disk.play(&write("a", 0, b"gone"));
    disk.play(&sync("a"));
    assert!(after_cuts(&disk, "a").iter().any(|kept| kept.as_deref() == Some(b"")));
}

/// As strace writes it: everything between quotes and angle brackets in hexadecimal.
fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
}

fn traced(lines: &[String]) -> Result<Vec<Traced>, crate::failure::Failure> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("thread.1"), lines.join("\n")).unwrap();
    read_trace(directory.path(), Path::new("/data"))
}

#[test]
fn a_file_that_was_synced_and_renamed_is_whole_under_its_new_name_once_the_directory_is_synced() {
    let mut disk = Disk::default();
    for call in [open("new"), write("new", 0, b"abc"), sync("new")] {
        disk.play(&call);
    }
    disk.play(&Call::Rename { name: "new".to_owned(), to: "a".to_owned() });
    for content in after_cuts(&disk, "a").into_iter().flatten() {
        assert_eq!(content, b"abc");
    }
    disk.play(&Call::SyncDirectory);
    assert!(after_cuts(&disk, "a").iter().all(|content| content.as_deref() == Some(b"abc".as_slice())));
    assert!(after_cuts(&disk, "new").iter().all(Option::is_none));
}

#[test]
fn a_trace_is_read_with_its_positions_and_without_what_is_not_storage() {
    let (db, wal, there) = (hex("/data/a"), hex("/data/b"), hex("/data"));
    let lines = [
        format!("2.000001 openat(AT_FDCWD<{there}>, \"{db}\", O_RDWR|O_CREAT, 0600) = 7<{db}>"),
        format!("2.000002 write(7<{db}>, \"{}\", 2) = 2", hex("xy")),
        format!("2.000003 write(7<{db}>, \"{}\", 1) = 1", hex("z")),
        format!("2.000004 lseek(7<{db}>, 9, SEEK_SET) = 9"),
        format!("2.000005 read(7<{db}>, \"{}\", 3) = 3", hex("abc")),
        format!("2.000006 write(7<{db}>, \"{}\", 1) = 1", hex("w")),
        format!("1.000001 pwrite64(8<{wal}>, \"{}\", 2, 4096) = 2", hex("\"<")),
        format!("2.000007 fsync(7<{db}>) = 0"),
        format!("2.000008 fdatasync(9<{there}>) = 0"),
        format!("2.000009 fsync(7<{db}>) = -1 EIO (Input/output error)"),
        format!("2.000010 ftruncate(7<{db}>, 3) = 0"),
        format!("2.000011 unlink(\"{db}\") = 0"),
        format!("2.000012 rename(\"{db}\", \"{wal}\") = 0"),
        format!("2.000012 write(7<{}>, \"{}\", 1) = 1", hex("/data/a-shm"), hex("x")),
        format!("2.000013 write(3<{}>, \"{}\", 1) = 1", hex("socket:[1]"), hex("x")),
        "2.000014 --- SIGTERM {si_signo=SIGTERM} ---".to_owned(),
        "2.000015 +++ exited with 0 +++".to_owned(),
        format!("2.000016 fsync(7<{db}>"),
    ];
    let calls: Vec<_> = traced(&lines).unwrap().into_iter().map(|traced| (traced.at, traced.call)).collect();
    let expected = [
        (1_000_001, write("b", 4_096, b"\"<")),
        (2_000_001, open("a")),
        (2_000_002, write("a", 0, b"xy")),
        (2_000_003, write("a", 2, b"z")),
        (2_000_006, write("a", 12, b"w")),
        (2_000_007, sync("a")),
        (2_000_008, Call::SyncDirectory),
        (2_000_010, Call::Truncate { name: "a".to_owned(), length: 3 }),
        (2_000_011, Call::Remove { name: "a".to_owned() }),
        (2_000_012, Call::Rename { name: "a".to_owned(), to: "b".to_owned() }),
    ];
    assert_eq!(calls, expected);
}

#[test]
fn a_storage_call_that_the_model_does_not_know_is_an_error() {
    let db = hex("/data/a");
    for line in [
        format!("2.000001 writev(7<{db}>, [{{iov_base=\"\", iov_len=0}}], 1) = 0"),
        format!("2.000001 fallocate(7<{db}>, 0, 0, 4096) = 0"),
        format!("2.000001 rename(\"{}\", \"{db}\") = 0", hex("/elsewhere/a")),
        format!("2.000001 openat(AT_FDCWD, \"{db}\", O_WRONLY|O_APPEND) = 7<{db}>"),
        format!("2.000001 pwrite64(7<{db}>, \"{}\"..., 4096, 0) = 4096", hex("x")),
    ] {
        assert!(traced(std::slice::from_ref(&line)).is_err(), "{line}");
    }
}
