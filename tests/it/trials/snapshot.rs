//! State first, then every change to it: three ways to join a feed that does not stand still, none of which can lose or repeat.

use super::{
    CLIENTS,
    client::{Start, Until, Visit},
    door::{Door, Session, Step, Way},
    facts::{Fact, Wanted, is_transient},
    history::{History, offset},
    judge::Judge,
    random::Random,
};
use crate::support::{TestServer, post_json};
use fanfare::{config::Store, event::Offset};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::task::JoinSet;

const JOINING: usize = 2 * CLIENTS;
const PUBLISHERS: usize = 3;
const LAST: usize = 100;
/// What an event is known by: its place and its id.
type Seen = (Offset, String);

/// Somebody who wants a past and all that follows it.
struct Joining {
    wanted: Wanted,
    door: Door,
    url: String,
    history: Arc<History>,
}

impl Joining {
    async fn subscribe(&self, start: &Value) -> Session {
        let session = Session::open(&self.door, &self.wanted.json(), start, 0).await.unwrap();
        self.history.join();
        session
    }

    /// A page of the past, and whether there is more after it.
    async fn page(&self, mut arguments: Value) -> (Vec<Seen>, Option<String>) {
        let query = "query ($filter: EventFilter, $first: Int, $after: Cursor, $last: Int) \
                     { events(filter: $filter, first: $first, after: $after, last: $last) \
                     { edges { cursor node { id } } pageInfo { hasNextPage endCursor } } }";
        arguments["filter"] = self.wanted.json();
        let body = json!({ "query": query, "variables": arguments });
        let (_, answer) = post_json(&self.url, &body).await;
        let page = &answer["data"]["events"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let epoch = self.door.hub.epoch();
        let edges = page["edges"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let seen =
            edges.iter().map(|edge| (offset(epoch, &text(&edge["cursor"])), text(&edge["node"]["id"])));
        let more = page["pageInfo"]["hasNextPage"].as_bool().unwrap();
        (seen.collect(), more.then(|| text(&page["pageInfo"]["endCursor"])))
    }

    /// Reads a subscription to the last event; what is kept of it.
    async fn rest(mut session: Session) -> Vec<Seen> {
        let mut seen = Vec::new();
        loop {
            match session.next().await {
                Step::Event(_, id) if is_transient(&id) => {}
                Step::Event(offset, id) => seen.push((offset, id)),
                other => panic!("{other:?}"),
            }
            if seen.last().is_some_and(|(_, id)| id == "fence") {
                return seen;
            }
        }
    }

    /// `start: {last: n}`: the server joins both itself.
    async fn by_last(&self) -> Visit {
        let before = self.door.hub.bounds();
        let session = self.subscribe(&json!({ "last": LAST })).await;
        let bounds = (before, self.door.hub.bounds());
        let start = Some(session.start);
        let got = Self::rest(session).await;
        Visit { asked: Start::Last(LAST), bounds, start, got, until: Until::Fence }
    }

    /// A page by query, then `start: {after}` with the cursor of its last event.
    async fn by_page(&self) -> Vec<Seen> {
        let (mut seen, _) = self.page(json!({ "last": LAST })).await;
        let start = match seen.last() {
            Some((offset, _)) => json!({ "after": self.door.hub.position(*offset).to_string() }),
            None => json!({ "earliest": true }),
        };
        let session = self.subscribe(&start).await;
        seen.extend(Self::rest(session).await);
        seen
    }

    /// A live subscription that is ready, then all of the past by pages, then what the stream has beyond it.
    async fn by_ready(&self) -> Vec<Seen> {
        let session = self.subscribe(&Value::Null).await;
        let ready = session.start;
        let (mut seen, mut next) = self.page(json!({ "first": 500 })).await;
        while let Some(after) = next {
            let (page, more) = self.page(json!({ "first": 500, "after": after })).await;
            seen.extend(page);
            next = more;
        }
        let known: HashSet<Seen> = seen.iter().cloned().collect();
        let stream = Self::rest(session).await;
        assert!(stream.iter().all(|(offset, _)| *offset > ready), "the stream starts after the ready cursor");
        seen.extend(stream.into_iter().filter(|event| !known.contains(event)));
        seen
    }
}

/// What a client got, to be judged once all is known.
enum Got {
    Visit(Visit),
    From(Offset, Vec<Seen>),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_joins_at_full_speed_by_any_pattern_gets_state_and_changes_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::with(|config| {
        config.store = Store::Sqlite;
        config.data_dir = dir.path().to_owned();
        config.mailbox_bytes_max = 4_000;
    });
    let door = Door { life: 1, hub: server.hub.clone(), way: Way::Socket(server.address) };
    let history = Arc::new(History::default());
    let mut random = Random::new(1);
    let mut clients = JoinSet::new();
    for number in 0..JOINING {
        let wanted = Wanted::random(&mut random);
        let joining = Joining {
            wanted: wanted.clone(),
            door: door.clone(),
            url: server.url("/graphql"),
            history: Arc::clone(&history),
        };
        clients.spawn(async move {
            joining.history.reached(20 + number * 10).await;
            let got = match number % 3 {
                0 => Got::Visit(joining.by_last().await),
                1 => {
                    let seen = joining.by_page().await;
                    Got::From(seen[0].0.previous(), seen)
                }
                _ => Got::From(Offset::ZERO, joining.by_ready().await),
            };
            (number, wanted, got)
        });
    }

    let all_joined = AtomicBool::new(false);
    let publishing = (0..PUBLISHERS).map(async |publisher| {
        // Far more rounds than anybody needs to join; it ends even if somebody never does.
        for round in 0..2_000 {
            history.publish_random(&server.hub, format!("{publisher}-{round}"), 10, round).await;
            if all_joined.load(Ordering::Relaxed) {
                return;
            }
        }
    });
    let joined = async {
        history.all_joined(JOINING).await;
        all_joined.store(true, Ordering::Relaxed);
    };
    tokio::join!(futures_util::future::join_all(publishing.collect::<Vec<_>>()), joined);
    history.publish(&server.hub, vec![Fact::fence()]).await;

    let seen = clients.join_all().await;
    let whole = history.whole();
    let fence = Offset::new(whole.entries.len() as u64);
    for (number, wanted, got) in seen {
        let judge = Judge::new(&whole, &wanted, 0);
        let judged = match got {
            Got::Visit(visit) => judge.judge(&[visit]),
            Got::From(start, seen) => judge.sequence(&seen, start, fence),
        };
        judged.unwrap_or_else(|wrong| panic!("client {number}, {}: {wrong}", wanted.json()));
    }
}
