//! While connected: a credential that ends or is renewed, a revocation, another policy.

use crate::support::{
    Access, DEADLINE, Frame, Given, May, PROTOCOLS, Publisher, Reader, SUBSCRIPTION, Socket, call,
    contiguous, ended, publish,
};
use fanfare::event::{Cursor, Offset};
use serde_json::json;
use std::{sync::atomic::Ordering, time::Duration};
use tokio::time::{Instant, timeout};

const LIFETIME: Duration = Duration::from_millis(1_500);
/// So late a connection may end: a second, and what a busy machine needs.
const LATE_MAX: Duration = Duration::from_millis(1_900);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_ends_ends_its_connection_on_time_idle_and_under_load() {
    for is_loaded in [false, true] {
        let access = Access::new();
        let server = access.server();
        let publisher = is_loaded.then(|| Publisher::start(&server, &["q"]));
        let mut readers = Vec::new();
        for protocol in PROTOCOLS {
            let token = access.token("ada", May::All, Some(LIFETIME));
            let ends = access.ends(&token);
            let mut reader = Reader::open(&server, protocol, &token).await;
            readers.push(tokio::spawn(async move {
                let (ids, said) = timeout(DEADLINE, reader.until_the_end()).await.expect("it must end");
                (protocol, ids, said, ends, Instant::now())
            }));
        }
        for reader in readers {
            let (protocol, ids, said, ends, ended) = reader.await.unwrap();
            contiguous(&ids);
            assert_eq!(!ids.is_empty(), is_loaded, "{protocol}");
            assert!(ended + Duration::from_millis(20) >= ends, "{protocol} ended early");
            assert!(ended <= ends + LATE_MAX, "{protocol} ended {:?} late", ended - ends);
            assert!(said.contains("UNAUTHENTICATED") && said.contains("token expired"), "{protocol}: {said}");
            let is_socket = ["graphql", "legacy", "rpc", "gateway"].contains(&protocol);
            assert_eq!(said.contains("4403"), is_socket, "{protocol}: {said}");
            // Where words can be said before the end, they say where it stopped.
            assert_eq!(
                said.contains("cursor"),
                !["graphql", "legacy"].contains(&protocol),
                "{protocol}: {said}"
            );
        }
        if let Some(publisher) = publisher {
            publisher.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_is_renewed_at_full_publish_speed_without_gap_or_repeat() {
    const RENEWALS: u32 = 8;
    for protocol in ["graphql", "rpc"] {
        let access = Access::new();
        let server = access.server();
        let first = access.token("ada", May::All, Some(LIFETIME));
        let mut reader = Reader::open(&server, protocol, &first).await;
        let publisher = Publisher::start(&server, &["q"]);
        let began = Instant::now();
        let (mut ids, mut renewed) = (Vec::new(), 0);
        while renewed < RENEWALS {
            if began.elapsed() >= LIFETIME / 3 * renewed {
                renewed += 1;
                // Every second one comes with another grant that allows the same.
                let may = if renewed % 2 == 0 { May::All } else { May::Organization("q") };
                // The last one is for what is still to be read when the publisher has stopped.
                let lifetime = (renewed < RENEWALS).then_some(LIFETIME);
                let token = access.token("ada", may, lifetime);
                let (Reader::Graphql(socket) | Reader::Rpc(socket)) = &mut reader else { unreachable!() };
                let params = json!({ "token": token });
                socket
                    .send(match protocol {
                        "graphql" => json!({ "type": "ping", "payload": params }),
                        _ => json!({ "jsonrpc": "2.0", "id": 1, "method": "gateway.authenticate", "params": params }),
                    })
                    .await;
            }
            match reader.next().await {
                Given::Event(id) => ids.push(id.parse::<u64>().unwrap()),
                Given::Other => {}
                Given::Ended(said) => panic!("{protocol} ended: {said}"),
            }
        }
        let published = publisher.stop().await;
        while ids.last() != Some(&(published - 1)) {
            match reader.next().await {
                Given::Event(id) => ids.push(id.parse().unwrap()),
                Given::Other => {}
                Given::Ended(said) => panic!("{protocol} ended: {said}"),
            }
        }
        contiguous(&ids);
        assert_eq!(ids.first(), Some(&0), "{protocol}");
    }
}

#[tokio::test]
async fn a_new_credential_of_another_subject_or_a_bad_one_is_refused() {
    let access = Access::new();
    let (ada, bob) = (access.token("ada", May::All, None), access.token("bob", May::All, None));
    let server = access.server();
    for (token, code) in [(bob.as_str(), "FORBIDDEN"), ("secret-x", "UNAUTHENTICATED")] {
        let mut socket = Socket::graphql_as(&server, &ada).await;
        socket
            .send(json!({ "type": "ping", "payload": { "authorization": format!("Bearer {token}") } }))
            .await;
        let Frame::Close(4403, reason) = socket.next().await else { panic!("{code}") };
        assert!(reason.starts_with(code) && !reason.contains("secret"), "{reason}");
        // JSON-RPC can say it, so the socket goes on as whom it was.
        let mut socket = Socket::rpc_as(&server, &ada).await;
        let params = json!({ "token": token });
        socket
            .send(json!({ "jsonrpc": "2.0", "id": 1, "method": "gateway.authenticate", "params": params }))
            .await;
        assert_eq!(socket.json().await["error"]["data"]["code"], code);
        assert!(call(&mut socket, "gateway.subscription").await["result"]["filter"].is_object());
        socket.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_reaches_every_connection_within_a_second() {
    let access = Access::new();
    let server = access.server();
    let publisher = Publisher::start(&server, &["q"]);
    let mut readers = Vec::new();
    for protocol in PROTOCOLS {
        let token = access.token("ada", May::All, None);
        readers.push((protocol, Reader::open(&server, protocol, &token).await));
    }
    let other = access.token("bob", May::All, None);
    let mut bystander = Reader::open(&server, "graphql", &other).await;
    let reading = readers.into_iter().map(|(protocol, mut reader)| {
        tokio::spawn(async move {
            let (ids, said) = timeout(DEADLINE, reader.until_the_end()).await.expect("it must end");
            (protocol, ids, said, Instant::now())
        })
    });
    let reading: Vec<_> = reading.collect();
    tokio::time::timeout(DEADLINE, async { while !matches!(bystander.next().await, Given::Event(_)) {} })
        .await
        .unwrap();
    access.revoke("ada").await;
    let revoked = Instant::now();
    for reader in reading {
        let (protocol, ids, said, ended) = reader.await.unwrap();
        contiguous(&ids);
        assert!(said.contains("UNAUTHENTICATED") && said.contains("revoked"), "{protocol}: {said}");
        let late = ended.saturating_duration_since(revoked);
        assert!(late <= Duration::from_secs(1), "{protocol} ended {late:?} late");
    }
    publisher.stop().await;
    assert!(matches!(bystander.next().await, Given::Event(_)));
}

/// The grant goes back and forth between two that both allow what is published, then to one that allows less.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_policy_at_full_publish_speed_leaves_no_gap_and_no_repeat() {
    let access = Access::new();
    let server = access.server();
    let mut readers = Vec::new();
    for protocol in PROTOCOLS {
        let token = access.token("ada", May::All, None);
        readers.push((protocol, Reader::open(&server, protocol, &token).await));
    }
    let publisher = Publisher::start(&server, &["q"]);
    let reading: Vec<_> = readers
        .into_iter()
        .map(|(protocol, mut reader)| {
            tokio::spawn(async move { (protocol, ended(protocol, &mut reader).await) })
        })
        .collect();
    for change in 0..20 {
        access.change("ada", if change % 2 == 0 { May::Organization("q") } else { May::All });
        let seen = publisher.published.load(Ordering::Relaxed);
        while publisher.published.load(Ordering::Relaxed) < seen + 100 {
            tokio::task::yield_now().await;
        }
    }
    let open = server.hub.metrics().subscriptions_open.get();
    assert_eq!(usize::try_from(open), Ok(PROTOCOLS.len()), "somebody was dropped");
    let published = publisher.stop().await;
    access.change("ada", May::Organization("elsewhere"));
    // Whatever they are still owed has been asked for under the grant of then.
    access.revoke("ada").await;
    for reader in reading {
        let (protocol, (ids, said)) = reader.await.unwrap();
        contiguous(&ids);
        assert_eq!(ids.first(), Some(&0), "{protocol}: {said}");
        assert!(ids.len() as u64 <= published && ids.len() > 100, "{protocol}: {} of {published}", ids.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_another_policy_nothing_outside_it_goes_out() {
    let access = Access::new();
    let server = access.server();
    let mut readers = Vec::new();
    for protocol in PROTOCOLS {
        let token = access.token("ada", May::All, None);
        readers.push((protocol, Reader::open(&server, protocol, &token).await));
    }
    let publisher = Publisher::start(&server, &["q", "other"]);
    let reading: Vec<_> = readers
        .into_iter()
        .map(|(protocol, mut reader)| {
            tokio::spawn(async move { (protocol, ended(protocol, &mut reader).await.0) })
        })
        .collect();
    while publisher.published.load(Ordering::Relaxed) < 200 {
        tokio::task::yield_now().await;
    }
    access.change("ada", May::Organization("q"));
    let ends = Instant::now() + Duration::from_secs(1);
    while Instant::now() < ends {
        tokio::task::yield_now().await;
    }
    let due = publisher.published.load(Ordering::Relaxed) + 1;
    while publisher.published.load(Ordering::Relaxed) < due + 1_000 {
        tokio::task::yield_now().await;
    }
    publisher.stop().await;
    access.revoke("ada").await;
    for reader in reading {
        let (protocol, ids) = reader.await.unwrap();
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] < pair[1]), "{protocol} repeats");
        let outside = ids.iter().filter(|id| **id % 2 == 1).max();
        assert!(outside.is_none_or(|last| *last <= due), "{protocol} got {outside:?} after {due}");
        // The change shows: up to it everything, from it on every second one.
        let change = ids.windows(2).position(|pair| pair[1] == pair[0] + 2);
        let change = change.unwrap_or_else(|| panic!("{protocol} never changed"));
        contiguous(&ids[..=change]);
        assert!(ids[change..].windows(2).all(|pair| pair[1] == pair[0] + 2), "{protocol} has a gap");
    }
}

#[tokio::test]
async fn a_subscription_that_the_new_grant_does_not_allow_ends_and_the_connection_stays() {
    let access = Access::new();
    let token = access.token("ada", May::All, None);
    let server = access.server();
    let mut socket = Socket::graphql_as(&server, &token).await;
    let query = r#"subscription { events(filter: { organizationId: "q" }) { id } }"#;
    socket.subscribe("a", query).await;
    socket.subscribe("b", SUBSCRIPTION).await;
    access.change("ada", May::Organization("x"));
    let ended = socket.json().await;
    let extensions = &ended["payload"][0]["extensions"];
    assert_eq!((&ended["type"], &ended["id"]), (&json!("error"), &json!("a")));
    assert_eq!(extensions["code"], "FORBIDDEN");
    let cursor = Cursor::parse(extensions["cursor"].as_str().unwrap()).unwrap();
    assert_eq!(server.hub.epoch().open(cursor), Ok(Offset::ZERO), "where it stopped");
    publish(&server.hub, 1, "q").await;
    publish(&server.hub, 2, "x").await;
    assert_eq!(socket.data("b").await["events"]["id"], "2");
    socket.close().await;
}
