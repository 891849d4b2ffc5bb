//! The ways out of a server, as one table: the same question in the words of each protocol, and one reading of the answers.
//!
//! A way out that is not in [`Way`] or [`Past`] is missing from the tests of grants and of masks.

use super::{DEADLINE, Frame, Served, Socket, Stream, ask, request, sent};
use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, VecDeque};
use tokio::time::timeout;

const EVENT_STREAM: &str = "text/event-stream";
const MULTIPART: &str = "multipart/mixed;subscriptionSpec=1.0";
/// The path of graphql-sse's single connection, and its header.
const SINGLE: &str = "/graphql/stream";
const SINGLE_TOKEN: &str = "x-graphql-event-stream-token";

/// What a reader follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    Events,
    /// A field of one family, such as `tasks`.
    Family(&'static str),
    Chat(String),
    Trace(String),
    Notifications,
}

/// From where on; none: live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Earliest,
    After(String),
}

/// One subscription, in the words of none of the protocols.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The client's name for it.
    pub(crate) id: String,
    pub(crate) root: Root,
    /// A filter as JSON-RPC has it.
    pub(crate) filter: Value,
    pub(crate) start: Option<Start>,
    /// The fields, for GraphQL.
    pub(crate) selection: String,
}

/// How events leave the server while somebody is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    TransportWs,
    LegacyWs,
    Distinct,
    Single,
    Multipart,
    Feed,
    /// `GET /events` of a reader that comes back; without a cursor it is the same as [`Way::Feed`].
    FeedAgain,
    Rpc,
    /// Events in the gateway's form, which has no start.
    Gateway,
}

/// How events leave the server as the answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Past {
    GraphqlForward,
    GraphqlBackward,
    /// By GET, and by the edges.
    GraphqlGet,
    RpcForward,
    RpcBackward,
    /// Over a socket, inside a batch.
    RpcBatch,
}

impl Way {
    pub(crate) const ALL: [Way; 9] = [
        Way::TransportWs,
        Way::LegacyWs,
        Way::Distinct,
        Way::Single,
        Way::Multipart,
        Way::Feed,
        Way::FeedAgain,
        Way::Rpc,
        Way::Gateway,
    ];

    pub(crate) fn speaks_graphql(self) -> bool {
        !matches!(self, Way::Feed | Way::FeedAgain | Way::Rpc | Way::Gateway)
    }

    /// Can it be asked this way?
    pub(crate) fn can(self, wanted: &Wanted) -> bool {
        (self.speaks_graphql() || wanted.root == Root::Events)
            && (self != Way::Gateway || wanted.start.is_none())
            && (self != Way::FeedAgain || matches!(wanted.start, Some(Start::After(_))))
    }

    fn holds_many(self) -> bool {
        matches!(self, Way::TransportWs | Way::LegacyWs | Way::Single | Way::Rpc)
    }

    /// Starts these subscriptions, on one connection where the protocol can, and waits until each has begun or is refused.
    pub(crate) async fn open(self, server: &impl Served, token: &str, wanted: &[Wanted]) -> Vec<Line> {
        let many = if self.holds_many() { wanted.len().max(1) } else { 1 };
        let mut lines = Vec::new();
        for wanted in wanted.chunks(many) {
            let mut line = Line {
                way: self,
                wire: None,
                operations: wanted.iter().map(|one| one.id.clone()).collect(),
                named: HashMap::new(),
                early: VecDeque::new(),
                refused: HashMap::new(),
            };
            line.begin(server, token, wanted).await;
            lines.push(line);
        }
        lines
    }
}

impl Wanted {
    /// The GraphQL operation.
    pub(crate) fn operation(&self) -> Value {
        let mut variables = Map::new();
        let (field, declared, given) = match &self.root {
            Root::Events => ("events", "$f:EventFilter,", "filter:$f,"),
            Root::Family(field) => (*field, "$f:EventFilter,", "filter:$f,"),
            Root::Chat(room) => {
                variables.insert("a".to_owned(), room.clone().into());
                ("chat", "$a:ID!,", "roomId:$a,")
            }
            Root::Trace(correlation) => {
                variables.insert("a".to_owned(), correlation.clone().into());
                ("trace", "$a:ID!,", "correlationId:$a,")
            }
            Root::Notifications => ("notifications", "", ""),
        };
        if !declared.contains("$a") && !declared.is_empty() {
            variables.insert("f".to_owned(), graphql_filter(&self.filter));
        }
        match &self.start {
            None => None,
            Some(Start::Earliest) => variables.insert("s".to_owned(), json!({ "earliest": true })),
            Some(Start::After(cursor)) => variables.insert("s".to_owned(), json!({ "after": cursor })),
        };
        let query = format!(
            "subscription({declared}$s:StartPosition){{{field}({given}start:$s){{{}}}}}",
            self.selection
        );
        json!({ "query": query, "variables": variables, "extensions": { "ready": true, "operationId": self.id } })
    }

    fn call(&self) -> Value {
        let mut params = json!({ "filter": self.filter });
        match &self.start {
            None => {}
            Some(Start::Earliest) => params["start"] = json!({ "earliest": true }),
            Some(Start::After(cursor)) => params["start"] = json!({ "after": cursor }),
        }
        json!({ "jsonrpc": "2.0", "id": self.id, "method": "events.subscribe", "params": params })
    }

    fn gateway_call(&self) -> Value {
        let mut filter = self.filter.clone();
        // Without families or types it would keep to the gateway's own.
        if filter.get("types").is_none() && filter.get("categories").is_none() {
            filter["types"] = json!(["*"]);
        }
        json!({ "jsonrpc": "2.0", "id": self.id, "method": "gateway.subscribe", "params": { "filter": filter } })
    }

    fn feed(&self, server: &impl Served, comes_back: bool) -> RequestBuilder {
        let mut parameters = feed_parameters(&self.filter);
        match &self.start {
            Some(Start::Earliest) => parameters.push(("earliest".to_owned(), "true".to_owned())),
            Some(Start::After(cursor)) if !comes_back => {
                parameters.push(("after".to_owned(), cursor.clone()))
            }
            _ => {}
        }
        let url = reqwest::Url::parse_with_params(&server.url("/events"), parameters).unwrap();
        let request = request(server, Method::GET, &format!("/events?{}", url.query().unwrap_or_default()));
        match &self.start {
            Some(Start::After(cursor)) if comes_back => request.header("last-event-id", cursor),
            _ => request,
        }
    }
}

fn graphql_filter(filter: &Value) -> Value {
    let mut filter = filter.clone();
    for category in filter.get_mut("categories").and_then(Value::as_array_mut).into_iter().flatten() {
        *category = category.as_str().unwrap().to_uppercase().into();
    }
    for alternative in filter.get_mut("anyOf").and_then(Value::as_array_mut).into_iter().flatten() {
        *alternative = graphql_filter(alternative);
    }
    filter
}

fn feed_parameters(filter: &Value) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    for (field, wanted) in filter.as_object().unwrap() {
        let name = match field.as_str() {
            "types" => "type",
            "categories" => "category",
            "sources" => "source",
            field => field,
        };
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match wanted {
            Value::Array(list) => parameters.extend(list.iter().map(|one| (name.to_owned(), text(one)))),
            one => parameters.push((name.to_owned(), text(one))),
        }
    }
    parameters
}

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
        let mut begun = 0;
        while begun + self.refused.len() < wanted.len() {
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

impl Past {
    pub(crate) const ALL: [Past; 6] = [
        Past::GraphqlForward,
        Past::GraphqlBackward,
        Past::GraphqlGet,
        Past::RpcForward,
        Past::RpcBackward,
        Past::RpcBatch,
    ];

    /// The events of the past that match a filter, by pages of this size, in their order; or the refusal.
    pub(crate) async fn read(
        self,
        server: &impl Served,
        token: &str,
        (filter, selection): (&Value, &str),
        page: usize,
    ) -> Result<Vec<Value>, Value> {
        let (mut events, mut from) = (Vec::new(), None::<String>);
        loop {
            let (mut found, more) = match self {
                Past::GraphqlForward | Past::GraphqlBackward | Past::GraphqlGet => {
                    self.graphql(server, token, (filter, selection), page, from.as_deref()).await?
                }
                Past::RpcForward | Past::RpcBackward | Past::RpcBatch => {
                    self.rpc(server, token, filter, page, from.as_deref()).await?
                }
            };
            let is_forward = !matches!(self, Past::GraphqlBackward | Past::RpcBackward);
            let edge = if is_forward { found.last() } else { found.first() };
            from = edge.map(|event| event["cursor"].as_str().unwrap().to_owned());
            if is_forward {
                events.append(&mut found);
            } else {
                found.append(&mut events);
                events = found;
            }
            if !more {
                return Ok(events);
            }
        }
    }

    async fn graphql(
        self,
        server: &impl Served,
        token: &str,
        (filter, selection): (&Value, &str),
        page: usize,
        from: Option<&str>,
    ) -> Result<(Vec<Value>, bool), Value> {
        let (size, place, more) = match self {
            Past::GraphqlBackward => ("last", "before", "hasPreviousPage"),
            _ => ("first", "after", "hasNextPage"),
        };
        let nodes = match self {
            Past::GraphqlGet => format!("edges{{node{{cursor {selection}}}}}"),
            _ => format!("nodes{{cursor {selection}}}"),
        };
        let query = format!(
            "query($f:EventFilter,$c:Cursor){{events(filter:$f,{size}:{page},{place}:$c){{{nodes} pageInfo{{{more}}}}}}}"
        );
        let variables = json!({ "f": graphql_filter(filter), "c": from });
        let request = match self {
            Past::GraphqlGet => {
                let variables = variables.to_string();
                super::get(server, "/graphql", &[("query", &query), ("variables", &variables)])
                    .header("accept", "application/json")
            }
            _ => ask(server, "application/json", &json!({ "query": query, "variables": variables })),
        };
        let (_, answer) = sent(request.bearer_auth(token)).await;
        if let Some(error) = answer["errors"].get(0) {
            return Err(error.clone());
        }
        let found = &answer["data"]["events"];
        let list = match self {
            Past::GraphqlGet => {
                found["edges"].as_array().unwrap().iter().map(|edge| edge["node"].clone()).collect()
            }
            _ => found["nodes"].as_array().unwrap_or_else(|| panic!("{answer}")).clone(),
        };
        Ok((list, found["pageInfo"][more] == true))
    }

    async fn rpc(
        self,
        server: &impl Served,
        token: &str,
        filter: &Value,
        page: usize,
        from: Option<&str>,
    ) -> Result<(Vec<Value>, bool), Value> {
        let (size, place) = if self == Past::RpcBackward { ("last", "before") } else { ("first", "after") };
        let mut params = json!({ "filter": filter, size: page });
        if let Some(from) = from {
            params[place] = from.into();
        }
        let call = json!({ "jsonrpc": "2.0", "id": "h", "method": "events.history", "params": params });
        let answer = if self == Past::RpcBatch {
            let mut socket = Socket::rpc_as(server, token).await;
            socket.send(json!([call])).await;
            let answer = loop {
                let message = socket.json().await;
                if message.is_array() {
                    break message[0].clone();
                }
            };
            socket.close().await;
            answer
        } else {
            let request = request(server, Method::POST, "/rpc").header("content-type", "application/json");
            sent(request.bearer_auth(token).body(call.to_string())).await.1
        };
        match answer["error"].is_object() {
            true => Err(answer["error"].clone()),
            false => Ok((
                answer["result"]["events"].as_array().unwrap().clone(),
                answer["result"]["hasMore"] == true,
            )),
        }
    }
}

/// The events of these ids, as GraphQL's `event(id)` gives them; or the refusal.
pub(crate) async fn by_id(
    server: &impl Served,
    token: &str,
    ids: &[String],
    selection: &str,
) -> Result<Vec<Value>, Value> {
    let mut found = Vec::new();
    for ids in ids.chunks(20) {
        let fields =
            ids.iter().enumerate().map(|(at, id)| format!("a{at}:event(id:{}){{{selection}}}", json!(id)));
        let query = format!("{{{}}}", fields.collect::<String>());
        let request = ask(server, "application/json", &json!({ "query": query }));
        let (_, answer) = sent(request.bearer_auth(token)).await;
        if let Some(error) = answer["errors"].get(0) {
            return Err(error.clone());
        }
        found.extend((0..ids.len()).map(|at| answer["data"][format!("a{at}")].clone()));
    }
    Ok(found)
}
