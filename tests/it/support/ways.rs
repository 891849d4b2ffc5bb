//! The ways out of a server, as one table: the same question in the words of each protocol, and one reading of the answers.
//!
//! A way out that is not in [`Way`] or [`Past`] is missing from the tests of grants and of masks.

mod line;
mod past;

pub(crate) use line::{Line, code_of};
pub(crate) use past::{Past, by_id, said_in};

use super::{Served, request};
use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value, json};

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
            lines.push(Line::open(self, server, token, wanted).await);
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
