//! [`Stream`]: a streaming response that shows exactly what came, with no protocol of its own.

use super::{DEADLINE, Served, TestServer, server::http_client};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::time::timeout;

/// One block of an event stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Block {
    /// The `event` field, or nothing.
    pub(crate) event: String,
    /// The `id` field.
    pub(crate) id: Option<String>,
    /// The `data` field.
    pub(crate) data: Option<String>,
    /// The `retry` field.
    pub(crate) retry: Option<u64>,
}

impl Block {
    /// The data as JSON.
    pub(crate) fn json(&self) -> Value {
        let data = self.data.as_deref().unwrap_or_else(|| panic!("{self:?} has no data"));
        serde_json::from_str(data).unwrap_or_else(|error| panic!("{error} in {data}"))
    }
}

/// An open response.
#[derive(Debug)]
pub(crate) struct Stream {
    response: reqwest::Response,
    text: String,
}

/// A request to the server.
pub(crate) fn request(server: &impl Served, method: Method, path: &str) -> RequestBuilder {
    http_client().request(method, server.url(path))
}

/// Posts a GraphQL operation for an answer of this media type.
pub(crate) fn ask(server: &impl Served, accept: &str, operation: &Value) -> RequestBuilder {
    request(server, Method::POST, "/graphql")
        .header("accept", accept)
        .header("content-type", "application/json")
        .body(operation.to_string())
}

/// Posts a GraphQL operation for an event stream.
pub(crate) fn sse(server: &impl Served, operation: &Value) -> RequestBuilder {
    ask(server, "text/event-stream", operation)
}

/// Sends a request and gives status and answer, as JSON where it is some.
pub(crate) async fn sent(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A GET with these parameters.
pub(crate) fn get(server: &impl Served, path: &str, parameters: &[(&str, &str)]) -> RequestBuilder {
    let url = reqwest::Url::parse_with_params(&server.url(path), parameters).unwrap();
    http_client().get(url)
}

impl Stream {
    /// Sends a request whose answer is a stream.
    pub(crate) async fn open(request: RequestBuilder) -> Self {
        let response = timeout(DEADLINE, request.send()).await.expect("no answer").unwrap();
        assert_eq!(response.status(), 200, "{:?}", response.text().await);
        Stream { response, text: String::new() }
    }

    /// The same, or what was answered instead of a stream.
    pub(crate) async fn try_open(request: RequestBuilder) -> Result<Self, Value> {
        let response = timeout(DEADLINE, request.send()).await.expect("no answer").unwrap();
        if response.status() == 200 {
            return Ok(Stream { response, text: String::new() });
        }
        Err(serde_json::from_str(&response.text().await.unwrap()).unwrap())
    }

    /// Follows `/events` with these parameters.
    pub(crate) async fn events(server: &TestServer, query: &str) -> Self {
        Self::open(request(server, Method::GET, &format!("/events?{query}"))).await
    }

    /// Follows `/events` as a reader that comes back.
    pub(crate) async fn events_after(server: &TestServer, query: &str, last_event_id: &str) -> Self {
        let request = request(server, Method::GET, &format!("/events?{query}"));
        Self::open(request.header("last-event-id", last_event_id)).await
    }

    /// A header of the answer.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    /// The text up to the end of this mark; none when the answer is over.
    pub(crate) async fn until(&mut self, mark: &str) -> Option<String> {
        loop {
            if let Some(at) = self.text.find(mark) {
                let rest = self.text.split_off(at + mark.len());
                return Some(std::mem::replace(&mut self.text, rest));
            }
            let chunk = timeout(DEADLINE, self.response.chunk()).await.expect("the server says nothing");
            // Whether it ended in order or was cut, there is no more.
            let chunk = chunk.ok().flatten()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next block, whatever it is; none when the answer is over.
    pub(crate) async fn block(&mut self) -> Option<Block> {
        let text = self.until("\n\n").await?;
        let mut block = Block::default();
        for line in text.trim_end().lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "event" => block.event = value,
                "id" => block.id = Some(value),
                "retry" => block.retry = Some(value.parse().unwrap()),
                "data" => assert_eq!(block.data.replace(value), None, "one line of data: {text}"),
                _ => assert_eq!(field, "", "{text}"),
            }
        }
        Some(block)
    }

    /// The next block with data.
    pub(crate) async fn next(&mut self) -> Block {
        let found = async {
            loop {
                let block = self.block().await.expect("the stream is over");
                if block.data.is_some() {
                    return block;
                }
            }
        };
        timeout(DEADLINE, found).await.expect("nothing but heartbeats")
    }

    /// The next block with data, which has this name.
    pub(crate) async fn named(&mut self, event: &str) -> Block {
        let block = self.next().await;
        assert_eq!(block.event, event, "{block:?}");
        block
    }

    /// The next event of a feed is this one, and its cursor, which is returned, is its `id`.
    pub(crate) async fn arrives(&mut self, id: u32) -> String {
        let block = self.named("").await;
        let event = block.json();
        assert_eq!(
            (&event["id"], &event["cursor"]),
            (&id.to_string().into(), &Value::from(block.id.clone()))
        );
        block.id.unwrap()
    }

    /// Reads to the end, and gives the blocks.
    pub(crate) async fn rest(mut self) -> Vec<Block> {
        let mut blocks = Vec::new();
        while let Some(block) = self.block().await {
            blocks.push(block);
        }
        assert_eq!(self.text, "", "a torn block");
        blocks
    }

    /// Hangs up, and waits until the server has ended all its streams.
    pub(crate) async fn close(self, server: &TestServer) {
        drop(self);
        let ended = async {
            while server.hub.metrics().streams_open.get() > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, ended).await.expect("the server does not notice that the peer is gone");
    }
}
