//! A list and the changes after it, joined while others write as fast as they can: nothing is missing, and nothing counts twice.

use crate::support::{DEADLINE, Socket, TestServer};
use fanfare::{
    auth::Principal,
    config::Store,
    event::Offset,
    hub::Hub,
    platform::resources::{Fields, Kind, List, Resources, Verb, Which},
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{task::JoinSet, time::timeout};

const WRITERS: usize = 4;
const AGENTS: usize = 10;
const READERS: usize = 12;
/// Far more rounds than anybody needs to join; they end even if somebody never does.
const ROUNDS_MAX: usize = 5_000;

type Rows = BTreeMap<String, Value>;

/// Waits until so many events are in the log.
async fn reached(hub: &Hub, events: usize) {
    let mut tail = hub.tail_all(Offset::new(events as u64 - 1));
    let come = timeout(DEADLINE, tail.next()).await.expect("the writers must write");
    assert!(matches!(come, Ok(Some(_))));
}

/// Creates, changes and deletes agents of its own until all readers have joined.
async fn write(resources: Resources, writer: usize, joined: Arc<AtomicUsize>) {
    let me = Principal::anonymous();
    for round in 0..ROUNDS_MAX {
        let (visit, step) = (round / 4, round % 4);
        let id = format!("a{writer}-{}", visit % AGENTS);
        let which = Which::new(Kind::Agent, id.clone());
        let fields = Fields::new().with("name", format!("round {round}"));
        let changed = match step {
            0 => {
                resources
                    .create(&me, Kind::Agent, fields.with("id", id).with("organizationId", "quant"))
                    .await
            }
            1 => {
                let status = Fields::new().with("status", format!("s{round}"));
                resources.transition(&me, &which, Verb::SetStatus, status, None).await
            }
            2 if visit / AGENTS % 2 == 1 => resources.delete(&me, &which, None).await,
            _ => resources.update(&me, &which, fields, None).await,
        };
        // It was there already, or is not there any more; that is a refusal like any other here.
        drop(changed);
        if joined.load(Ordering::Relaxed) == READERS {
            return;
        }
    }
}

/// Reads the list by pages of this size; gives the first position.
async fn read(server: &TestServer, first: usize) -> (Rows, String, usize) {
    let (mut rows, mut as_of, mut after, mut pages) = (Rows::new(), None::<String>, Value::Null, 0);
    loop {
        let query = "query($first: Int, $after: Cursor) { agents(organizationId: \"quant\", first: $first, after: $after) {
            nodes { id version name status } pageInfo { hasNextPage endCursor } asOf } }";
        let answer = server.graphql(query, json!({ "first": first, "after": after })).await;
        let page = &answer["data"]["agents"];
        let nodes = page["nodes"].as_array().unwrap_or_else(|| panic!("{answer}"));
        rows.extend(nodes.iter().map(|node| (node["id"].as_str().unwrap().to_owned(), node.clone())));
        as_of.get_or_insert_with(|| page["asOf"].as_str().unwrap().to_owned());
        pages += 1;
        if page["pageInfo"]["hasNextPage"] == false {
            return (rows, as_of.unwrap(), pages);
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
}

/// Joins the list with its changes until the last one; gives what is left.
async fn join(server: &TestServer, number: usize, joined: &AtomicUsize) -> Rows {
    let first = [1_000, 7, 40][number % 3];
    reached(&server.hub, 60 + number * 20).await;
    let (mut rows, as_of, pages) = read(server, first).await;
    let mut socket = Socket::graphql(server).await;
    let subscription = format!(
        "subscription {{ agents(filter: {{ organizationId: \"quant\" }}, start: {{ after: \"{as_of}\" }}) {{
            action agent {{ id version name status }} }} }}"
    );
    socket.subscribe("a", &subscription).await;
    joined.fetch_add(1, Ordering::Relaxed);
    loop {
        let event = socket.data("a").await["agents"].clone();
        let row = event["agent"].clone();
        let id = row["id"].as_str().unwrap().to_owned();
        let known = rows.get(&id).map_or(0, |row| row["version"].as_u64().unwrap());
        let version = row["version"].as_u64().unwrap();
        // A single page has one position, so each change comes once; of several pages the later ones are newer.
        assert!(pages > 1 || version == known + 1, "client {number}: {event} after {known}");
        if version > known {
            match event["action"].as_str().unwrap() {
                "deleted" => rows.remove(&id),
                _ => rows.insert(id.clone(), row),
            };
        }
        if id == "fence" {
            socket.close().await;
            return rows;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_and_the_changes_after_it_give_the_state_at_full_write_speed() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::with(|config| {
        config.store = Store::Sqlite;
        config.data_dir = dir.path().to_owned();
    });
    let (resources, me) = (Resources::new(server.hub.clone()), Principal::anonymous());
    let quant = Fields::new().with("id", "quant").with("name", "Quant");
    resources.create(&me, Kind::Organization, quant).await.unwrap();
    let joined = Arc::new(AtomicUsize::new(0));
    let writing = async {
        let writers: JoinSet<()> =
            (0..WRITERS).map(|writer| write(resources.clone(), writer, Arc::clone(&joined))).collect();
        writers.join_all().await;
        let fence =
            Fields::new().with("id", "fence").with("organizationId", "quant").with("name", "The last");
        resources.create(&me, Kind::Agent, fence).await.unwrap();
    };
    let reading = join_all((0..READERS).map(|number| join(&server, number, &joined)));
    let (seen, ()) = tokio::join!(reading, writing);

    let list = List { first: Some(1_000), ..List::new(Kind::Agent) };
    let entries = resources.list(&me, list).await.unwrap().entries;
    let row = |resource: &fanfare::platform::resources::Resource| {
        json!({
            "id": resource.id(), "version": resource.version(), "name": resource.text("name"), "status": resource.status(),
        })
    };
    let last: Rows =
        entries.iter().map(|entry| (entry.resource.id().unwrap(), row(&entry.resource))).collect();
    assert!(server.hub.bounds().head.get() > 100, "the writers wrote: {:?}", server.hub.bounds());
    for (number, rows) in seen.iter().enumerate() {
        assert_eq!(*rows, last, "client {number}");
    }
}
