//! [`Reader`]: the same events in any protocol; [`Publisher`]: events without a pause.

use super::{DEADLINE, Frame, Socket, Stream, TestServer, ask, request};
use fanfare::{
    auth::Principal,
    event::{Draft, NewEvent},
    hub::Hub,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::{task::JoinHandle, time::timeout};

/// Follows everything.
pub(crate) const SUBSCRIPTION: &str = "subscription { events { id } }";

/// Publishes one event under its number.
pub(crate) async fn publish(hub: &Hub, id: u64, organization: &str) {
    let event = json!({ "type": "agent.log", "id": id.to_string(), "agentId": id.to_string(), "organizationId": organization });
    let draft = Draft::from_json(&event.to_string()).unwrap();
    let event = NewEvent::new(draft, hub.limits()).unwrap();
    hub.publish(&Principal::anonymous(), vec![event]).await.unwrap();
}

/// Publishes without a pause, to the organizations in turn, until it is stopped.
pub(crate) struct Publisher {
    /// How many were published.
    pub(crate) published: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Publisher {
    pub(crate) fn start(server: &TestServer, organizations: &'static [&'static str]) -> Self {
        let (published, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (hub, count, end) = (server.hub.clone(), Arc::clone(&published), Arc::clone(&is_over));
        let task = tokio::spawn(async move {
            while !end.load(Ordering::Relaxed) {
                let id = count.load(Ordering::Relaxed);
                let turn = usize::try_from(id).unwrap() % organizations.len();
                publish(&hub, id, organizations[turn]).await;
                count.store(id + 1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        Publisher { published, is_over, task }
    }

    /// How many were published.
    pub(crate) async fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.published.load(Ordering::Relaxed)
    }
}

/// A reader of all events in some protocol.
pub(crate) enum Reader {
    Graphql(Socket),
    Legacy(Socket),
    Rpc(Socket),
    Stream(Stream),
    Parts(Stream),
}

/// What a reader was given.
#[derive(Debug, PartialEq)]
pub(crate) enum Given {
    Event(String),
    /// The end, with its code and what was said.
    Ended(String),
    Other,
}

/// What a reader can speak.
pub(crate) const PROTOCOLS: [&str; 7] = ["graphql", "legacy", "rpc", "gateway", "sse", "multipart", "feed"];

impl Reader {
    pub(crate) async fn open(server: &TestServer, protocol: &str, token: &str) -> Self {
        let bearer = format!("Bearer {token}");
        let stream = |accept: &str| {
            ask(server, accept, &json!({ "query": SUBSCRIPTION })).header("authorization", &bearer)
        };
        match protocol {
            "graphql" => {
                let mut socket = Socket::graphql_as(server, token).await;
                socket.subscribe("a", SUBSCRIPTION).await;
                Reader::Graphql(socket)
            }
            "legacy" => {
                let mut socket = Socket::connect(server, "/graphql", Some("graphql-ws")).await;
                let init = json!({ "type": "connection_init", "payload": { "token": token } });
                socket.send(init).await;
                let payload = json!({ "query": SUBSCRIPTION, "extensions": { "ready": true } });
                socket.send(json!({ "type": "start", "id": "a", "payload": payload })).await;
                while socket.json().await["type"] != "data" {}
                Reader::Legacy(socket)
            }
            "rpc" | "gateway" => {
                let mut socket = Socket::rpc_as(server, token).await;
                if protocol == "rpc" {
                    call(&mut socket, "gateway.unsubscribe").await;
                    call(&mut socket, "events.subscribe").await;
                } else {
                    call(&mut socket, "gateway.subscription").await;
                }
                Reader::Rpc(socket)
            }
            "sse" => Reader::Stream(Stream::open(stream("text/event-stream")).await),
            "multipart" => Reader::Parts(Stream::open(stream("multipart/mixed;subscriptionSpec=1.0")).await),
            "feed" => {
                let request = request(server, Method::GET, "/events").header("authorization", &bearer);
                let mut stream = Stream::open(request).await;
                stream.named("ready").await;
                Reader::Stream(stream)
            }
            other => panic!("{other}"),
        }
    }

    pub(crate) async fn next(&mut self) -> Given {
        match self {
            Reader::Graphql(socket) | Reader::Legacy(socket) | Reader::Rpc(socket) => {
                match socket.next().await {
                    Frame::Json(message) => read(&message),
                    Frame::Close(code, reason) => Given::Ended(format!("{code} {reason}")),
                    Frame::Ended => Given::Ended("broken off".to_owned()),
                }
            }
            Reader::Stream(stream) => match stream.block().await {
                Some(block) => block.data.as_deref().map_or(Given::Other, |data| {
                    serde_json::from_str(data).map_or(Given::Other, |value| read(&value))
                }),
                None => Given::Ended("over".to_owned()),
            },
            Reader::Parts(stream) => match stream.until("\r\n--graphql").await {
                Some(part) => part.rfind("\r\n\r\n").map_or(Given::Other, |at| {
                    let body = part[at..].trim_end_matches("\r\n--graphql").trim();
                    serde_json::from_str(body).map_or(Given::Other, |value| read(&value))
                }),
                None => Given::Ended("over".to_owned()),
            },
        }
    }

    /// The ids until the end, and what was said of the end.
    pub(crate) async fn until_the_end(&mut self) -> (Vec<u64>, String) {
        let (mut ids, mut said) = (Vec::new(), String::new());
        loop {
            match self.next().await {
                Given::Event(id) => {
                    assert_eq!(said, "", "an event after the last words");
                    ids.push(id.parse().unwrap());
                }
                Given::Other => {}
                Given::Ended(last) if last == "over" || last.starts_with("44") => {
                    return (ids, said + &last);
                }
                Given::Ended(words) => said += &words,
            }
        }
    }
}

fn read(message: &Value) -> Given {
    for place in
        ["/payload/data/events/id", "/data/events/id", "/params/result/id", "/params/agent_id", "/id"]
    {
        if let Some(Value::String(id)) = message.pointer(place)
            && id.parse::<u64>().is_ok()
        {
            return Given::Event(id.clone());
        }
    }
    let text = message.to_string();
    match text.contains("\"code\":\"") {
        true => Given::Ended(text),
        false => Given::Other,
    }
}

/// Calls a method without parameters and gives the answer; events before it are left out.
pub(crate) async fn call(socket: &mut Socket, method: &str) -> Value {
    socket.send(json!({ "jsonrpc": "2.0", "id": 9, "method": method })).await;
    loop {
        let answer = socket.json().await;
        if answer["id"] == 9 {
            return answer;
        }
    }
}

/// The ids of a reader until its end, which must come.
pub(crate) async fn ended(protocol: &str, reader: &mut Reader) -> (Vec<u64>, String) {
    timeout(DEADLINE, reader.until_the_end()).await.unwrap_or_else(|_| panic!("{protocol} does not end"))
}

/// No gap and no repeat.
pub(crate) fn contiguous(ids: &[u64]) {
    for pair in ids.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "a gap or a repeat");
    }
}
