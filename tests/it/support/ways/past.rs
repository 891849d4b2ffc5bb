//! [`Past`]: history, in all words in which it can be asked for.

use super::graphql_filter;
use crate::support::{Served, Socket, ask, get, request, sent};
use reqwest::Method;
use serde_json::{Value, json};

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
                get(server, "/graphql", &[("query", &query), ("variables", &variables)])
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

/// What was said in a room, as GraphQL's `messages(roomId)` gives it by pages of this size, newest page first; or the refusal.
pub(crate) async fn said_in(
    server: &impl Served,
    token: &str,
    (room, selection): (&str, &str),
    page: usize,
) -> Result<Vec<Value>, Value> {
    let query = format!(
        "query($r:ID!,$c:Cursor){{messages(roomId:$r,last:{page},before:$c){{nodes{{{selection}}} pageInfo{{startCursor hasPreviousPage}}}}}}"
    );
    let (mut events, mut before) = (Vec::new(), Value::Null);
    loop {
        let variables = json!({ "r": room, "c": before });
        let request = ask(server, "application/json", &json!({ "query": query, "variables": variables }));
        let (_, mut answer) = sent(request.bearer_auth(token)).await;
        if let Some(error) = answer["errors"].get(0) {
            return Err(error.clone());
        }
        let mut found = answer["data"]["messages"].take();
        let mut list: Vec<_> = found["nodes"].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
        list.append(&mut events);
        events = list;
        before = found["pageInfo"]["startCursor"].take();
        if found["pageInfo"]["hasPreviousPage"] != true {
            return Ok(events);
        }
    }
}
