//! [`Line`]: an open connection of any protocol, and the subscriptions on it.

use super::{Wanted, Way};
use crate::support::{DEADLINE, Frame, Served, Socket, Stream, ask, request, sent};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use tokio::time::timeout;

const EVENT_STREAM: &str = "text/event-stream";
const MULTIPART: &str = "multipart/mixed;subscriptionSpec=1.0";
/// The path of graphql-sse's single connection, and its header.
const SINGLE: &str = "/graphql/stream";
const SINGLE_TOKEN: &str = "x-graphql-event-stream-token";

#[derive(Debug)]
enum Wire {
    Socket(Socket),
    Stream(Stream),
}

/// One connection, and the subscriptions on it.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) way: Way,
    wire: Option<Wire>,
    operations: Vec<String>,
    /// The client's name of a subscription by what the server calls it.
    named: HashMap<String, String>,
    early: VecDeque<(String, Value)>,
    /// What was said instead of beginning.
    pub(crate) refused: HashMap<String, Value>,
}

/// What one message says of a subscription.
enum Said {
    Ready,
    Event(Value),
    Refused(Value),
    Other,
}

impl Line {
    /// Starts these subscriptions, and waits until each has begun or is refused.
    pub(super) async fn open(way: Way, server: &impl Served, token: &str, wanted: &[Wanted]) -> Self {
        let mut line = Line {
            way,
            wire: None,
            operations: wanted.iter().map(|one| one.id.clone()).collect(),
            named: HashMap::new(),
            early: VecDeque::new(),
            refused: HashMap::new(),
        };
        line.begin(server, token, wanted).await;
        line.wait(wanted.len()).await;
        line
    }

    async fn begin(&mut self, server: &impl Served, token: &str, wanted: &[Wanted]) {
        match self.way {
            Way::TransportWs | Way::LegacyWs => {
                let (protocol, start) = match self.way {
                    Way::TransportWs => ("graphql-transport-ws", "subscribe"),
                    _ => ("graphql-ws", "start"),
                };
                let mut socket = Socket::connect(server, "/graphql", Some(protocol)).await;
                socket.send(json!({ "type": "connection_init", "payload": { "token": token } })).await;
                assert_eq!(socket.json().await["type"], "connection_ack");
                for wanted in wanted {
                    socket
                        .send(json!({ "type": start, "id": wanted.id, "payload": wanted.operation() }))
                        .await;
                }
                self.wire = Some(Wire::Socket(socket));
            }
            Way::Rpc | Way::Gateway => {
                let mut socket = Socket::rpc_as(server, token).await;
                if self.way == Way::Rpc {
                    let id = "none";
                    socket.send(json!({ "jsonrpc": "2.0", "id": id, "method": "gateway.unsubscribe" })).await;
                    while socket.json().await["id"] != id {}
                }
                for wanted in wanted {
                    let call = if self.way == Way::Rpc { wanted.call() } else { wanted.gateway_call() };
                    socket.send(call).await;
                }
                self.wire = Some(Wire::Socket(socket));
            }
            Way::Single => self.begin_single(server, token, wanted).await,
            Way::Distinct | Way::Multipart | Way::Feed | Way::FeedAgain => {
                let wanted = &wanted[0];
                let request = match self.way {
                    Way::Distinct => ask(server, EVENT_STREAM, &wanted.operation()),
                    Way::Multipart => ask(server, MULTIPART, &wanted.operation()),
                    way => wanted.feed(server, way == Way::FeedAgain),
                };
                match Stream::try_open(request.bearer_auth(token)).await {
                    Ok(stream) => self.wire = Some(Wire::Stream(stream)),
                    Err(answer) => drop(self.refused.insert(wanted.id.clone(), answer)),
                }
                self.named.insert(String::new(), wanted.id.clone());
            }
        }
        if self.way == Way::Gateway {
            self.named.insert(String::new(), wanted[0].id.clone());
        }
    }

    /// Reads until so many subscriptions have begun or are refused.
    async fn wait(&mut self, count: usize) {
        let mut begun = 0;
        while begun + self.refused.len() < count {
            match self.read().await {
                (_, Said::Ready) => begun += 1,
                (id, Said::Event(event)) => self.early.push_back((id, event)),
                (id, Said::Refused(error)) => drop(self.refused.insert(id, error)),
                (_, Said::Other) => {}
            }
        }
    }

    async fn begin_single(&mut self, server: &impl Served, token: &str, wanted: &[Wanted]) {
        let reserved = request(server, Method::PUT, SINGLE).bearer_auth(token).send().await.unwrap();
        assert_eq!(reserved.status(), 201);
        let reservation = reserved.text().await.unwrap();
        let opening = request(server, Method::GET, SINGLE).header("accept", EVENT_STREAM).bearer_auth(token);
        self.wire = Some(Wire::Stream(Stream::open(opening.header(SINGLE_TOKEN, &reservation)).await));
        for wanted in wanted {
            let starting = request(server, Method::POST, SINGLE)
                .header("content-type", "application/json")
                .header(SINGLE_TOKEN, &reservation)
                .bearer_auth(token);
            let (status, answer) = sent(starting.body(wanted.operation().to_string())).await;
            if status != 202 {
                self.refused.insert(wanted.id.clone(), answer);
            }
        }
    }

    /// The next event, and whose it is.
    pub(crate) async fn next(&mut self) -> (String, Value) {
        if let Some(early) = self.early.pop_front() {
            return early;
        }
        loop {
            match self.read().await {
                (id, Said::Event(event)) => return (id, event),
                (id, Said::Refused(error)) => panic!("{:?} {id}: {error}", self.way),
                (_, Said::Ready | Said::Other) => {}
            }
        }
    }

    /// The subscriptions on it, those that were refused too.
    pub(crate) fn operations(&self) -> Vec<&str> {
        self.operations.iter().map(String::as_str).collect()
    }

    async fn read(&mut self) -> (String, Said) {
        let (way, named) = (self.way, &mut self.named);
        match self.wire.as_mut().expect("a line that is read has begun") {
            Wire::Socket(socket) => match socket.next().await {
                Frame::Json(message) if matches!(way, Way::Rpc | Way::Gateway) => read_rpc(named, &message),
                Frame::Json(message) => read_socket(&message),
                other => panic!("{way:?}: {other:?}"),
            },
            Wire::Stream(stream) if way == Way::Multipart => {
                let part = stream.until("\r\n--graphql").await.expect("the stream is over");
                let body =
                    part.rfind("\r\n\r\n").map(|at| part[at..].trim_end_matches("\r\n--graphql").trim());
                let body: Value = body.map_or(Value::Null, |body| serde_json::from_str(body).unwrap());
                let said = match &body["errors"] {
                    Value::Null => read_result(&body["payload"]),
                    errors => Said::Refused(errors[0].clone()),
                };
                (named[""].clone(), said)
            }
            Wire::Stream(stream) => {
                let block = timeout(DEADLINE, stream.next()).await.expect("nothing comes");
                match (way, block.event.as_str()) {
                    (Way::Distinct, "next") => (named[""].clone(), read_result(&block.json())),
                    (Way::Single, "next") => {
                        let message = block.json();
                        (message["id"].as_str().unwrap().to_owned(), read_result(&message["payload"]))
                    }
                    (Way::Feed | Way::FeedAgain, "") => (named[""].clone(), Said::Event(block.json())),
                    (Way::Feed | Way::FeedAgain, "ready") => (named[""].clone(), Said::Ready),
                    (Way::Feed | Way::FeedAgain, "gap" | "ended") => panic!("{way:?}: {block:?}"),
                    _ => (String::new(), Said::Other),
                }
            }
        }
    }
}

fn read_socket(message: &Value) -> (String, Said) {
    let id = message["id"].as_str().unwrap_or_default().to_owned();
    let said = match message["type"].as_str().unwrap() {
        "next" | "data" => read_result(&message["payload"]),
        "error" if message["payload"].is_array() => Said::Refused(message["payload"][0].clone()),
        "error" => Said::Refused(message["payload"].clone()),
        _ => Said::Other,
    };
    (id, said)
}

fn read_result(result: &Value) -> Said {
    if let Some(error) = result["errors"].get(0) {
        return Said::Refused(error.clone());
    }
    match result["data"].as_object() {
        Some(fields) => Said::Event(fields.values().next().unwrap().clone()),
        None if result["extensions"]["ready"] == true => Said::Ready,
        None => Said::Other,
    }
}

fn read_rpc(named: &mut HashMap<String, String>, message: &Value) -> (String, Said) {
    let params = &message["params"];
    match message["method"].as_str() {
        Some("events.notification") => {
            let subscription = params["subscription"].as_str().unwrap();
            (named[subscription].clone(), Said::Event(params["result"].clone()))
        }
        // Unasked, before `gateway.subscribe` is answered, is not what was asked for.
        Some("gateway.event") if named.contains_key("begun") => {
            (named[""].clone(), Said::Event(params.clone()))
        }
        Some("gateway.event") => (String::new(), Said::Other),
        Some(_) => (String::new(), Said::Refused(params["error"].clone())),
        None => {
            let id = message["id"].as_str().unwrap_or_default().to_owned();
            if message["error"].is_object() {
                return (id, Said::Refused(message["error"].clone()));
            }
            let name = message["result"]["subscription"].as_str().unwrap_or("begun");
            named.insert(name.to_owned(), id.clone());
            (id, Said::Ready)
        }
    }
}

/// The code of a refusal, wherever its protocol keeps it.
pub(crate) fn code_of(refusal: &Value) -> &str {
    let places = ["/extensions/code", "/data/code", "/code", "/errors/0/extensions/code"];
    let code = places.into_iter().find_map(|place| refusal.pointer(place)?.as_str());
    code.unwrap_or_else(|| panic!("no code: {refusal}"))
}
