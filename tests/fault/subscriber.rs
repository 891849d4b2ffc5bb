//! A consumer as PROTOCOL.md asks for one: it keeps the last cursor, and after every end of a connection resumes behind it.
//!
//! Invariants: what came is recorded before anything is done with it; it never asks for another place than its last one.
//! Of an event that is not kept the cursor is recorded: everything kept up to there must have come, and going on from there is
//! as good as from anywhere else.

use crate::{
    history::{Filter, Record, Start, Traits, body_hash},
    publisher::FENCE,
    recorder::Recorder,
    socket::{Closed, Socket},
};
use serde_json::{Map, Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};

const RECONNECT_PAUSE: Duration = Duration::from_millis(10);
/// Codes after which asking again is senseless: the log is not the one that this consumer knows.
const FINAL_CODES: [&str; 3] = ["CURSOR_AHEAD", "EPOCH_CHANGED", "CURSOR_INVALID"];
const DOCUMENT: &str = "subscription($filter: EventFilter, $start: StartPosition) { \
    events(filter: $filter, start: $start) { id type organizationId priority persist data } }";

/// How a consumer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    GraphQl,
    JsonRpc,
}

/// A consumer.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) name: String,
    pub(crate) dialect: Dialect,
    pub(crate) filter: Filter,
    /// From where the first connection asks.
    pub(crate) start: Start,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) address: watch::Receiver<Option<SocketAddr>>,
}

/// Why a connection is over.
enum End {
    /// The last event of the run came.
    Reached,
    /// The server ended the subscription, or the socket broke.
    Ended { code: Option<String>, cursor: Option<String>, why: String },
}

impl From<Closed> for End {
    fn from(Closed { code, why }: Closed) -> Self {
        let why = code.map(|code| format!("close {code} {why}")).unwrap_or(why);
        End::Ended { code: None, cursor: None, why }
    }
}

struct Connection<'a> {
    subscriber: &'a Subscriber,
    number: u32,
    /// The last place up to which everything came.
    last: &'a mut Option<String>,
    socket: Socket,
}

impl Subscriber {
    /// Follows until the last event of the run, or until there will be no server any more.
    pub(crate) async fn run(mut self) {
        let mut last = None;
        for number in 1.. {
            let Ok(Some(address)) = self.address.wait_for(Option::is_some).await.map(|address| *address)
            else {
                return;
            };
            match self.connect(address, number, &mut last).await {
                End::Reached => return,
                End::Ended { code, cursor, why } => {
                    let is_final = code.as_deref().is_some_and(|code| FINAL_CODES.contains(&code));
                    self.recorder.record(Record::Ended {
                        client: self.name.clone(),
                        connection: number,
                        code,
                        cursor,
                        why,
                    });
                    if is_final {
                        return;
                    }
                }
            }
            sleep(RECONNECT_PAUSE).await;
        }
    }

    async fn connect(&self, address: SocketAddr, number: u32, last: &mut Option<String>) -> End {
        let start = last.clone().map_or_else(|| self.start.clone(), Start::After);
        let (path, subprotocol) = match self.dialect {
            Dialect::GraphQl => ("/graphql/ws", Some("graphql-transport-ws")),
            Dialect::JsonRpc => ("/rpc", None),
        };
        let socket = match Socket::connect(address, path, subprotocol).await {
            Ok(socket) => socket,
            Err(closed) => return closed.into(),
        };
        self.recorder.record(Record::Opened {
            client: self.name.clone(),
            connection: number,
            filter: self.filter.clone(),
            start: start.clone(),
        });
        let mut connection = Connection { subscriber: self, number, last, socket };
        let ended = match self.dialect {
            Dialect::GraphQl => connection.graphql(&start).await,
            Dialect::JsonRpc => connection.json_rpc(&start).await,
        };
        ended.unwrap_or_else(End::from)
    }
}

impl Connection<'_> {
    async fn graphql(&mut self, start: &Start) -> Result<End, Closed> {
        self.socket.send(&json!({ "type": "connection_init" })).await?;
        loop {
            let message = self.socket.next().await?;
            let payload = &message["payload"];
            match message["type"].as_str().unwrap_or_default() {
                "connection_ack" => self.subscribe(start).await?,
                "next" if payload["extensions"]["ready"] == true => {
                    self.ready(payload["extensions"]["cursor"].as_str());
                }
                "next" => {
                    let cursor = payload["extensions"]["cursor"].as_str();
                    if let Some(end) = self.delivered(&payload["data"]["events"], cursor) {
                        return Ok(end);
                    }
                }
                "ping" => {
                    self.checkpoint(payload["cursor"].as_str());
                    self.socket.send(&json!({ "type": "pong" })).await?;
                }
                "error" => return Ok(refused(&payload[0]["extensions"], &payload[0]["message"])),
                _ => return Err(Closed::because(format!("unexpected: {message}"))),
            }
        }
    }

    async fn subscribe(&mut self, start: &Start) -> Result<(), Closed> {
        let variables = json!({ "filter": variables(&self.subscriber.filter), "start": position(start) });
        let payload = json!({ "query": DOCUMENT, "variables": variables, "extensions": { "ready": true } });
        self.socket.send(&json!({ "id": "1", "type": "subscribe", "payload": payload })).await
    }

    async fn json_rpc(&mut self, start: &Start) -> Result<End, Closed> {
        let mut params = json!({ "filter": variables(&self.subscriber.filter) });
        let start = position(start);
        if !start.is_null() {
            params["start"] = start;
        }
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "events.subscribe", "params": params });
        // A gateway client gets events of its own accord; this one wants only what it subscribes to.
        let quiet = json!({ "jsonrpc": "2.0", "method": "gateway.unsubscribe" });
        self.socket.send(&quiet).await?;
        self.socket.send(&call).await?;
        loop {
            let message = self.socket.next().await?;
            let params = &message["params"];
            match message["method"].as_str() {
                Some("events.notification") => {
                    let event = &params["result"];
                    if let Some(end) = self.delivered(event, event["cursor"].as_str()) {
                        return Ok(end);
                    }
                }
                Some("events.ended") => return Ok(refused(&params["error"], &params["error"]["message"])),
                Some("gateway.event") => {}
                Some(_) => return Err(Closed::because(format!("unexpected: {message}"))),
                None if message["error"].is_object() => {
                    return Ok(refused(&message["error"]["data"], &message["error"]["message"]));
                }
                None => self.ready(message["result"]["cursor"].as_str()),
            }
        }
    }

    /// The names under which records of this connection stand.
    fn names(&self) -> (String, u32) {
        (self.subscriber.name.clone(), self.number)
    }

    fn ready(&mut self, cursor: Option<&str>) {
        let Some(cursor) = cursor.map(str::to_owned) else { return };
        let (client, connection) = self.names();
        self.subscriber.recorder.record(Record::Ready { client, connection, cursor: cursor.clone() });
        self.last.get_or_insert(cursor);
    }

    fn checkpoint(&mut self, cursor: Option<&str>) {
        let Some(cursor) = cursor.map(str::to_owned) else { return };
        let (client, connection) = self.names();
        self.subscriber.recorder.record(Record::Checkpoint { client, connection, cursor: cursor.clone() });
        *self.last = Some(cursor);
    }

    fn delivered(&mut self, event: &Value, cursor: Option<&str>) -> Option<End> {
        if event["persist"] == false {
            self.checkpoint(cursor);
            return None;
        }
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let (id, cursor) = (text("id"), cursor.unwrap_or_default().to_owned());
        let (client, connection) = self.names();
        let hash = body_hash(&event_traits(event), &event["data"]);
        let recorder = &self.subscriber.recorder;
        let is_fence = id == FENCE;
        recorder.record(Record::Delivered { client, connection, cursor: cursor.clone(), id, hash });
        *self.last = Some(cursor.clone());
        is_fence.then(|| {
            let (client, connection) = self.names();
            self.subscriber.recorder.record(Record::Reached { client, connection, cursor });
            End::Reached
        })
    }
}

/// The fields of an event by which filters select here.
pub(crate) fn event_traits(event: &Value) -> Traits {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    Traits { event_type: text("type"), organization: text("organizationId"), priority: text("priority") }
}

fn refused(details: &Value, message: &Value) -> End {
    let text = |name: &str| details[name].as_str().map(str::to_owned);
    End::Ended {
        code: text("code"),
        cursor: text("cursor"),
        why: message.as_str().unwrap_or_default().to_owned(),
    }
}

fn variables(filter: &Filter) -> Value {
    let mut fields = Map::new();
    if !filter.types.is_empty() {
        fields.insert("types".to_owned(), json!(filter.types));
    }
    if !filter.organizations.is_empty() {
        fields.insert("organizationId".to_owned(), json!(filter.organizations));
    }
    if let Some(priority) = &filter.min_priority {
        fields.insert("minPriority".to_owned(), json!(priority));
    }
    Value::Object(fields)
}

fn position(start: &Start) -> Value {
    match start {
        Start::Live => Value::Null,
        Start::Earliest => json!({ "earliest": true }),
        Start::After(cursor) => json!({ "after": cursor }),
    }
}
