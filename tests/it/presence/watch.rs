//! [`Watch`]: what a client that follows presence knows, the way PROTOCOL.md tells it to; and what the queries say.

use crate::support::{DEADLINE, Served, Socket, ask, sent};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::time::timeout;

const FIELDS: &str = "connectionId userId organizationId status protocol rooms since";

/// Those present by their connections.
pub(crate) type Known = BTreeMap<String, Value>;

/// A client that subscribed to presence, then asked who is there, and has applied every event since.
pub(crate) struct Watch {
    socket: Socket,
    user: Value,
    settled: usize,
    pub(crate) known: Known,
}

impl Watch {
    pub(crate) async fn open(server: &impl Served, token: &str) -> Self {
        let mut socket = Socket::graphql_as(server, token).await;
        let query = format!("subscription {{ presence {{ type subject cursor {FIELDS} }} }}");
        socket.subscribe("presence", &query).await;
        let user = asked(server, token, "{ me { subject } }").await["data"]["me"]["subject"].clone();
        let known = present(server, token, "").await;
        Watch { socket, user, settled: 0, known }
    }

    /// The next event, which is applied: its type, and what it tells.
    pub(crate) async fn next(&mut self) -> (String, Value) {
        let mut event = loop {
            let message = self.socket.json().await;
            match message["type"].as_str() {
                Some("next") if message["id"] == "presence" => {
                    break message["payload"]["data"]["presence"].clone();
                }
                Some("next" | "complete") => assert_eq!(message["payload"].get("errors"), None, "{message}"),
                Some("ping") => self.socket.send(json!({ "type": "pong" })).await,
                _ => panic!("{message}"),
            }
        };
        let members = event.as_object_mut().unwrap();
        let event_type = members.remove("type").unwrap().as_str().unwrap().to_owned();
        assert!(members.remove("cursor").unwrap().is_string());
        assert_eq!(members.remove("subject").unwrap(), members["connectionId"]);
        let id = event["connectionId"].as_str().unwrap().to_owned();
        match &*event_type {
            "presence.disconnected" => {
                assert_eq!(event["status"], "offline");
                self.known.remove(&id);
            }
            "presence.connected" | "presence.changed" => {
                let mut now = event.clone();
                now["status"] = now["status"].as_str().unwrap().to_uppercase().into();
                self.known.insert(id, now);
            }
            other => panic!("{other}"),
        }
        (event_type, event)
    }

    /// Applies events until what is known is so; it must come to that.
    pub(crate) async fn until(&mut self, is_so: impl Fn(&Known) -> bool) {
        let applied = async {
            while !is_so(&self.known) {
                self.next().await;
            }
        };
        let applied = timeout(DEADLINE, applied).await;
        assert!(applied.is_ok(), "it never comes to that: {:#?}", self.known);
    }

    /// Applies everything that the server has to tell until now: changes are told in order, and one of its own is the last.
    pub(crate) async fn settle(&mut self) {
        let (status, told) = [("AWAY", "away"), ("IDLE", "idle")][self.settled % 2];
        self.settled += 1;
        let set = json!({ "query": format!("mutation {{ setPresence(status: {status}) }}") });
        self.socket.send(json!({ "type": "subscribe", "id": "set", "payload": set })).await;
        loop {
            let (_, event) = self.next().await;
            if event["userId"] == self.user && event["status"] == told {
                return;
            }
        }
    }

    /// Applies events up to one of this type about this user, and gives what it tells.
    pub(crate) async fn told(&mut self, event_type: &str, user: Option<&str>) -> Value {
        loop {
            let (told, event) = self.next().await;
            if told == event_type && event["userId"].as_str() == user {
                return event;
            }
        }
    }

    pub(crate) async fn close(self) {
        self.socket.close().await;
    }
}

/// Asks as somebody and gives the answer; an empty token is none.
pub(crate) async fn asked(server: &impl Served, token: &str, query: &str) -> Value {
    let request = ask(server, "application/json", &json!({ "query": query }));
    let request = if token.is_empty() { request } else { request.bearer_auth(token) };
    sent(request).await.1
}

/// The code of the refusal of a query.
pub(crate) async fn refused(server: &impl Served, token: &str, query: &str) -> Value {
    let answer = asked(server, token, query).await;
    answer["errors"][0]["extensions"].clone()
}

/// Everybody whom the query shows, page by page; `arguments` select.
pub(crate) async fn present(server: &impl Served, token: &str, arguments: &str) -> Known {
    let mut known = Known::new();
    for node in pages(server, token, "presence", arguments, FIELDS).await {
        assert_eq!(
            known.insert(node["connectionId"].as_str().unwrap().to_owned(), node),
            None,
            "shown twice"
        );
    }
    known
}

/// The rooms with their users and connections.
pub(crate) async fn rooms(server: &impl Served, token: &str) -> BTreeMap<String, (u64, u64)> {
    let count = |node: &Value, name: &str| node[name].as_u64().unwrap();
    let room = |node: Value| {
        (node["id"].as_str().unwrap().to_owned(), (count(&node, "users"), count(&node, "connections")))
    };
    pages(server, token, "rooms", "", "id users connections").await.into_iter().map(room).collect()
}

async fn pages(server: &impl Served, token: &str, field: &str, arguments: &str, fields: &str) -> Vec<Value> {
    let (mut nodes, mut after) = (Vec::new(), String::new());
    loop {
        let query =
            format!("{{ {field}(first: 7 {arguments} {after}) {{ next asOf nodes {{ {fields} }} }} }}");
        let answer = asked(server, token, &query).await;
        let page = &answer["data"][field];
        assert!(page["asOf"].is_string(), "{answer}");
        nodes.extend(page["nodes"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => after = format!("after: \"{next}\""),
            None => return nodes,
        }
    }
}
