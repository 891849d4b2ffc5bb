//! Accounts: exact counts, bounded memory, refusals that say when to come back.

use super::*;
use std::thread;

fn accounts(change: impl FnOnce(&mut Limits)) -> Accounts {
    let mut limits = Limits::default();
    change(&mut limits);
    Accounts::new(limits, Counter::default())
}

fn address(number: u32) -> Key {
    Key::address(IpAddr::from(number.to_be_bytes()))
}

fn wait_of(refusal: &Refusal) -> u64 {
    refusal.detail(RETRY_AFTER).unwrap().parse().unwrap()
}

#[test]
fn one_network_of_64_bits_and_one_ipv4_address_are_one_caller_each() {
    let key = |text: &str| Key::address(text.parse().unwrap());
    assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
    assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    assert_ne!(key("192.0.2.1"), Key::subject("192.0.2.1"));
}

#[test]
fn connections_are_counted_exactly_also_from_many_threads() {
    let accounts = accounts(|limits| limits.connections_per_principal_max = Some(100));
    let opened: usize = thread::scope(|scope| {
        let open = || {
            let account = accounts.of(Key::subject("alice"));
            (0..50).filter_map(|_| account.connect().ok()).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        let seats: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(accounts.of(Key::subject("alice")).connections(), seats.len());
        seats.len()
    });
    assert_eq!(opened, 100);
    assert_eq!(accounts.of(Key::subject("alice")).connections(), 0);
}

#[test]
fn a_refused_connection_names_the_setting_and_when_to_come_back() {
    let accounts = accounts(|limits| limits.connections_per_address_max = Some(1));
    let account = accounts.of(address(1));
    let seat = account.connect().unwrap();
    let refusal = account.connect().unwrap_err();
    assert_eq!(refusal.code, Code::TooMany);
    assert!(refusal.detail("allowed").unwrap().contains("connections_per_address_max"), "{refusal:?}");
    assert!((2_000..3_000).contains(&wait_of(&refusal)), "{refusal:?}");
    drop(seat);
    account.connect().unwrap();
    // A principal has another limit.
    let account = accounts.of(Key::subject("alice"));
    let _seats = [account.connect().unwrap(), account.connect().unwrap()];
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_as_long_as_it_was_told_is_admitted() {
    let accounts = accounts(|limits| limits.operations_per_second = Some(10));
    let account = accounts.of(address(1));
    account.operation(20).unwrap();
    for _ in 0..50 {
        let refusal = account.operation(1).unwrap_err();
        assert_eq!(refusal.code, Code::RateLimited);
        tokio::time::advance(Duration::from_millis(wait_of(&refusal))).await;
        while account.operation(1).is_ok() {}
    }
    // Another caller is not concerned.
    accounts.of(address(2)).operation(20).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_publish_is_charged_as_a_whole_or_not_at_all() {
    let accounts = accounts(|limits| {
        limits.publishes_per_second = Some(10);
        limits.publish_bytes_per_second = Some(1_000);
    });
    let account = accounts.of(address(1));
    account.publish(1, 2_000).unwrap();
    let refusal = account.publish(19, 1).unwrap_err();
    assert!(refusal.detail("allowed").unwrap().contains("publish_bytes_per_second"), "{refusal:?}");
    account.publish(19, 0).unwrap();
    let refusal = account.publish(1, 0).unwrap_err();
    assert!(refusal.detail("allowed").unwrap().contains("(setting publishes_per_second)"), "{refusal:?}");
}

#[test]
fn what_is_off_is_without_limit() {
    let off = Limits {
        connections_per_address_max: None,
        connections_per_principal_max: None,
        operations_per_second: None,
        publishes_per_second: None,
        publish_bytes_per_second: None,
    };
    let account = Accounts::new(off, Counter::default()).of(address(1));
    let seats: Vec<_> = (0..2_000).map(|_| account.connect().unwrap()).collect();
    for _ in 0..2_000 {
        account.operation(usize::MAX).unwrap();
        account.publish(usize::MAX, usize::MAX).unwrap();
    }
    assert_eq!(account.connections(), seats.len());
}

/// Each entry with its account; the memory of a million callers follows from the bound on their number.
#[test]
fn a_million_addresses_stay_below_64_mib() {
    let entry = size_of::<(Owner, Arc<Account>)>() + 1;
    let account = size_of::<Account>() + 2 * size_of::<usize>();
    // The table doubles, and its room is 8/7 of what it holds.
    let most = ACCOUNTS_MAX * 8 / 7 * 2 * entry + ACCOUNTS_MAX * (account + 16);
    assert!(most < 64 * 1024 * 1024, "{most} bytes: {entry} an entry, {account} an account");

    let accounts = accounts(|_| ());
    for number in 0..1_000_000 {
        // All at the same time: nothing is idle yet.
        accounts.of(address(number)).operation(1_000).unwrap_or(());
    }
    assert!(accounts.len() <= ACCOUNTS_MAX);
}

#[tokio::test(start_paused = true)]
async fn accounts_of_nobody_vanish_and_those_in_use_stay() {
    let accounts = accounts(|limits| limits.connections_per_address_max = Some(1));
    let seat = accounts.of(address(7)).connect().unwrap();
    let held = accounts.of(address(8));
    for round in 0..10 {
        for number in 0..10_000 {
            accounts.of(address(1_000 + round * 10_000 + number)).operation(1).unwrap();
        }
        tokio::time::advance(Duration::from_secs(10)).await;
    }
    assert!(accounts.len() < 25_000, "{}", accounts.len());
    assert!(accounts.of(address(7)).connect().is_err(), "it has a connection still");
    let _seat = held.connect().unwrap();
    assert!(accounts.of(address(8)).connect().is_err(), "there is one account for each caller");
    drop(seat);
    accounts.of(address(7)).connect().unwrap();
}

#[test]
fn those_who_find_the_table_full_share_an_account() {
    let accounts = accounts(|limits| limits.connections_per_address_max = Some(1));
    let seats: Vec<_> = (0..u32::try_from(ACCOUNTS_MAX).unwrap())
        .map(|number| accounts.of(address(number)).connect().unwrap())
        .collect();
    let _late = accounts.of(address(u32::MAX)).connect().unwrap();
    assert!(accounts.of(address(u32::MAX - 1)).connect().is_err());
    assert!(accounts.of(address(0)).connect().is_err(), "who has an account keeps it");
    accounts.of(Key::subject("alice")).connect().unwrap();
    drop(seats);
}

#[test]
fn a_wait_is_never_cut_short() {
    for ms in [0, 1, 10, 1_000, 100_000] {
        let wait = Duration::from_millis(ms);
        let most = wait + (wait / 2).max(Duration::from_millis(100));
        for _ in 0..100 {
            assert!((wait..most).contains(&jittered(wait)));
        }
    }
}
