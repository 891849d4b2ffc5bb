//! Many who come and go at random, judged by what they did: the query, the counts and the events agree with it.

use super::watch::{Known, Watch, present, rooms};
use crate::support::{Access, DEADLINE, Line, May, Root, TestServer, Wanted, Way};
use fanfare::event::Family;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::timeout;

/// So many come, and so many go.
const JOINS: usize = 1_000;
/// So many are there at a time.
const CROWD: usize = 40;
/// Between two quiet points so many come or go.
const STEPS: usize = 50;
const WAYS: [(Way, &str); 8] = [
    (Way::TransportWs, "graphql-transport-ws"),
    (Way::LegacyWs, "graphql-ws"),
    (Way::Distinct, "graphql-sse"),
    (Way::Single, "graphql-sse single connection"),
    (Way::Multipart, "multipart"),
    (Way::Feed, "event feed"),
    (Way::Rpc, "json-rpc"),
    (Way::Gateway, "json-rpc"),
];
const PEOPLE: [(&str, &str); 4] = [("ada", "acme"), ("bob", "acme"), ("cyd", "bolt"), ("dan", "bolt")];
/// The rooms that a filter names, beside that of the user.
const FILTERS: [(&str, &[&str]); 4] = [
    ("{}", &[]),
    (r#"{"taskId":["t1"]}"#, &["task:t1"]),
    (r#"{"roomId":["r1","r2"]}"#, &["room:r1", "room:r2"]),
    (r#"{"types":["task.*"],"anyOf":[{"taskId":["t1"]},{"userId":["bob"]}]}"#, &["task:t1", "user:bob"]),
];

/// Somebody who is there.
struct Guest {
    /// Dropped, it hangs up.
    _line: Line,
    looks: Looks,
}

/// User, organization, protocol and rooms.
type Looks = (String, String, String, Vec<String>);

async fn come(server: &TestServer, token: &str, (person, way, filter): (usize, usize, usize)) -> Guest {
    let ((user, organization), (way, protocol)) = (PEOPLE[person], WAYS[way]);
    let (filter, named) = FILTERS[filter];
    let wanted = Wanted {
        id: "a".to_owned(),
        root: Root::Events,
        filter: serde_json::from_str(filter).unwrap(),
        start: None,
        selection: "id".to_owned(),
    };
    let line = way.open(server, token, &[wanted]).await.remove(0);
    assert!(line.refused.is_empty(), "{:?}", line.refused);
    let own = format!("user:{user}");
    let named = named.iter().filter(|room| **room != own).map(|room| (*room).to_owned()).collect();
    Guest { _line: line, looks: (user.to_owned(), organization.to_owned(), protocol.to_owned(), named) }
}

fn looks(known: &Known) -> Vec<Looks> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let look = |one: &Value| {
        let rooms = one["rooms"].as_array().unwrap().iter().map(text).collect();
        (text(&one["userId"]), text(&one["organizationId"]), text(&one["protocol"]), rooms)
    };
    // The watches are there as well.
    let mut looks: Vec<_> =
        known.values().map(look).filter(|(user, ..)| !user.starts_with("watch")).collect();
    looks.sort();
    looks
}

fn counts<'a>(looks: impl Iterator<Item = &'a Looks>) -> BTreeMap<String, (u64, u64)> {
    let mut rooms: BTreeMap<String, (BTreeSet<&str>, u64)> = BTreeMap::new();
    for (user, _, _, named) in looks {
        for room in named.iter().cloned().chain([format!("user:{user}")]) {
            let (users, connections) = rooms.entry(room).or_default();
            users.insert(user);
            *connections += 1;
        }
    }
    rooms.into_iter().map(|(room, (users, connections))| (room, (users.len() as u64, connections))).collect()
}

/// The server has noticed who left, and everybody is told; then all who may see it agree.
async fn agree(server: &TestServer, watches: &mut [(&str, &str, Watch)], guests: &[Guest]) {
    for (organization, token, watch) in watches {
        let is_theirs = |looks: &&Looks| *organization == "*" || looks.1 == *organization;
        let theirs: Vec<&Looks> = guests.iter().map(|guest| &guest.looks).filter(is_theirs).collect();
        let mut due: Vec<Looks> = theirs.iter().map(|looks| (*looks).clone()).collect();
        due.sort();
        // All have come, so whoever is beyond those due is on their way out.
        let noticed = async {
            while looks(&present(server, token, "").await).len() > due.len() {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, noticed).await.expect("somebody stays");
        let shown = present(server, token, "").await;
        assert_eq!(looks(&shown), due, "the query for {organization}");
        let of_guests = |(room, _): &(String, (u64, u64))| !room.starts_with("user:watch");
        let shown: BTreeMap<_, _> = rooms(server, token).await.into_iter().filter(of_guests).collect();
        assert_eq!(shown, counts(theirs.into_iter()), "the rooms for {organization}");
        watch.settle().await;
        assert_eq!(looks(&watch.known), due, "the events for {organization}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_come_and_go_and_everybody_knows_who_is_there() {
    let access = Access::new();
    let tokens: Vec<String> = PEOPLE
        .iter()
        .map(|(user, organization)| access.token(user, May::Organization(organization), None))
        .collect();
    let all = access.token("watch-all", May::All, None);
    let acme = access.token("watch-acme", May::Organization("acme"), None);
    let server = access.server_with(|config| config.self_events = vec![Family::Presence]);
    let mut watches = Vec::new();
    for (organization, token) in [("*", &*all), ("acme", &*acme)] {
        watches.push((organization, token, Watch::open(&server, token).await));
    }
    let mut runner = TestRunner::default();
    let mut draw = |most: usize| (0..most).new_tree(&mut runner).unwrap().current();
    let (mut guests, mut joined, mut steps) = (Vec::new(), 0, 0);
    while joined < JOINS {
        let comes = guests.is_empty() || (guests.len() < CROWD && draw(2) == 0);
        if comes {
            let drawn = (draw(PEOPLE.len()), draw(WAYS.len()), draw(FILTERS.len()));
            guests.push(come(&server, &tokens[drawn.0], drawn).await);
            joined += 1;
        } else {
            guests.swap_remove(draw(guests.len()));
        }
        steps += 1;
        if steps % STEPS == 0 {
            agree(&server, &mut watches, &guests).await;
        }
    }
    guests.clear();
    agree(&server, &mut watches, &guests).await;
    for (_, _, watch) in watches {
        watch.close().await;
    }
}

#[tokio::test]
async fn every_protocol_appears_with_its_rooms_and_disappears() {
    let access = Access::new();
    let (all, ada) =
        (access.token("watch", May::All, None), access.token("ada", May::Organization("acme"), None));
    let server = access.server_with(|config| config.self_events = vec![Family::Presence]);
    let mut watch = Watch::open(&server, &all).await;
    for (way, (_, protocol)) in WAYS.into_iter().enumerate() {
        let guest = come(&server, &ada, (0, way, 1)).await;
        watch.until(|known| looks(known) == [guest.looks.clone()]).await;
        let shown = present(&server, &all, r#"userId: "ada""#).await;
        let one = shown.values().next().unwrap();
        assert_eq!((shown.len(), &one["protocol"], &one["status"]), (1, &json!(protocol), &json!("ONLINE")));
        assert_eq!(&watch.known[one["connectionId"].as_str().unwrap()], one, "event and query tell the same");
        drop(guest);
        watch.until(|known| looks(known).is_empty()).await;
        assert_eq!(present(&server, &all, r#"userId: "ada""#).await.len(), 0, "{protocol}");
    }
    watch.close().await;
}
