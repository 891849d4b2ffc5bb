//! Bounds on connections, and what of `X-Forwarded-For` is believed.

use super::*;
use crate::auth::limits::Limits;
use prometheus_client::metrics::counter::Counter;

fn door(change: impl FnOnce(&mut Options)) -> Door {
    let limits = Limits { connections_per_address_max: Some(2), ..Limits::default() };
    let mut options = Options { limits, ..Options::default() };
    change(&mut options);
    let accounts = Accounts::new(options.limits.clone(), Counter::default());
    Door::new(&options, accounts)
}

fn proxied(proxies: &[&str]) -> Door {
    door(|options| options.trusted_proxies = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn forwarded(lines: &[&str]) -> HeaderMap {
    lines.iter().map(|line| (FORWARDED_FOR.parse().unwrap(), line.parse().unwrap())).collect()
}

#[test]
fn a_full_server_says_so_and_when_to_come_back() {
    let door = door(|options| options.connections_max = 1);
    let admission = door.admit((ip("127.0.0.1"), 1).into()).unwrap();
    let refusal = door.admit((ip("127.0.0.1"), 1).into()).unwrap_err();
    assert_eq!(refusal.code, Code::Unavailable);
    let wait: u64 = refusal.detail(RETRY_AFTER).unwrap().parse().unwrap();
    assert!((5_000..7_500).contains(&wait), "{wait}");
    drop(admission);
    door.admit((ip("127.0.0.1"), 1).into()).unwrap();
}

#[test]
fn one_address_cannot_take_the_connections_of_all() {
    let door = door(|_| ());
    let held: Vec<_> = (0..2).map(|_| door.admit((ip("192.0.2.1"), 1).into()).unwrap()).collect();
    assert_eq!(door.admit((ip("192.0.2.1"), 1).into()).unwrap_err().code, Code::TooMany);
    assert_eq!(door.admit((ip("::ffff:192.0.2.1"), 1).into()).unwrap_err().code, Code::TooMany);
    door.admit((ip("192.0.2.2"), 1).into()).unwrap();
    // What was refused holds nothing.
    assert_eq!(door.connections.available_permits(), Options::default().connections_max - 2);
    drop(held);
    let _again =
        [door.admit((ip("192.0.2.1"), 1).into()).unwrap(), door.admit((ip("192.0.2.1"), 1).into()).unwrap()];
}

#[test]
fn an_address_that_knocks_too_often_is_refused() {
    let door = door(|options| options.limits.operations_per_second = Some(5));
    let knocks = (0..100).map(|_| door.admit((ip("192.0.2.1"), 1).into()));
    assert!(knocks.filter_map(Result::err).any(|refusal| refusal.code == Code::RateLimited));
    door.admit((ip("192.0.2.2"), 1).into()).unwrap();
}

#[test]
fn those_on_this_machine_have_no_account() {
    let door = door(|_| ());
    let held: Vec<_> = (0..10).map(|_| door.admit((ip("127.0.0.1"), 1).into()).unwrap()).collect();
    assert!(held[0].account(&HeaderMap::new()).is_none());
    assert!(door.admit((ip("::1"), 1).into()).unwrap().account(&HeaderMap::new()).is_none());
}

#[test]
fn without_trusted_proxies_nobody_can_say_where_it_comes_from() {
    let admission = door(|_| ()).admit((ip("192.0.2.1"), 1).into()).unwrap();
    let headers = forwarded(&["198.51.100.7", "127.0.0.1"]);
    assert_eq!(admission.address(&headers), ip("192.0.2.1"));
    assert_eq!(admission.account(&headers).unwrap().connections(), 1);
}

#[test]
fn behind_trusted_proxies_the_last_address_that_is_none_of_theirs_counts() {
    let door = proxied(&["10.0.0.0/8", "2001:db8:ffff::1/128", "127.0.0.1/32"]);
    let cases: [(&str, &[&str], &str); 14] = [
        ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
        ("127.0.0.1", &["198.51.100.7"], "198.51.100.7"),
        ("2001:db8:ffff::1", &["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", &["198.51.100.7, 10.1.1.1, 10.2.2.2"], "198.51.100.7"),
        ("10.0.0.1", &["203.0.113.66, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", &["203.0.113.66", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", &["203.0.113.66, 198.51.100.7", "10.3.3.3"], "198.51.100.7"),
        // A client that pretends to be a proxy of ours, or nonsense, is as far as we can see.
        ("10.0.0.1", &["203.0.113.66, nonsense, 10.1.1.1"], "10.1.1.1"),
        ("10.0.0.1", &["unknown"], "10.0.0.1"),
        ("10.0.0.1", &[""], "10.0.0.1"),
        ("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
        ("10.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7"),
        ("10.0.0.1", &["[2001:db8::7]"], "2001:db8::7"),
        // Not one of them: what it says is its own word.
        ("11.0.0.1", &["198.51.100.7"], "11.0.0.1"),
    ];
    for (peer, lines, expected) in cases {
        let admission = door.admit((ip(peer), 1).into()).unwrap();
        assert_eq!(admission.address(&forwarded(lines)), ip(expected), "{peer} {lines:?}");
    }
}

#[test]
fn a_proxys_connections_are_not_counted_and_those_of_its_clients_are() {
    let door = proxied(&["10.0.0.0/8"]);
    let connections: Vec<_> = (0..5).map(|_| door.admit((ip("10.0.0.1"), 1).into()).unwrap()).collect();
    let client = forwarded(&["198.51.100.7"]);
    let seats = [connections[0].seat(&client).unwrap(), connections[1].seat(&client).unwrap()];
    assert_eq!(connections[2].seat(&client).unwrap_err().code, Code::TooMany);
    connections[2].seat(&forwarded(&["198.51.100.8"])).unwrap();
    drop(seats);
    assert!(connections[2].seat(&client).unwrap().is_some());
    // A connection of somebody's own is counted once.
    assert!(door.admit((ip("192.0.2.1"), 1).into()).unwrap().seat(&client).unwrap().is_none());
}
