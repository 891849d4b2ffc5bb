//! [`TestServer`]: the whole server on port 0 of loopback, in a thread of its own, and what its clients see.

use super::DEADLINE;
use fanfare::{
    Server,
    config::{Config, Store},
};
use serde_json::{Value, json};
use std::{net::SocketAddr, thread::JoinHandle, time::Duration};
use tokio::{sync::oneshot, time::timeout};

const FIELDS: &str = "id type source time subject correlationId organizationId taskId cursor attributes data";

/// A server that ends when it is dropped.
#[derive(Debug)]
pub(crate) struct TestServer {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    /// A server with a log in memory.
    pub(crate) fn start() -> Self {
        Self::with(|_| ())
    }

    /// The same with other settings. It publishes nothing by itself.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { store: Store::Memory, self_events: Vec::new(), ..Config::default() };
        config.shutdown_grace = Duration::from_secs(5);
        change(&mut config);
        let (started, starting) = std::sync::mpsc::channel();
        let (shutdown, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                started.send(listener.local_addr().unwrap()).unwrap();
                let server = Server::open(&config).unwrap();
                // A dropped sender ends the server as well.
                server.run(listener, async { drop(ended.await) }).await.unwrap();
            });
        });
        let address = starting.recv().expect("the server must start");
        TestServer { address, shutdown: Some(shutdown), thread: Some(thread) }
    }

    /// Its address for clients.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The log in its order, as far as a filter in GraphQL selects it: 1,000 events at most.
    pub(crate) async fn history(&self, filter: &str) -> Vec<Value> {
        let query = format!("{{ events(first: 1000, filter: {filter}) {{ nodes {{ {FIELDS} }} }} }}");
        let request = self.ask("application/json", &query);
        let answer = timeout(DEADLINE, request.send()).await.expect("no answer").unwrap();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        answer["data"]["events"]["nodes"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
    }

    /// Follows a request from the start of the log until it has seen so many events.
    pub(crate) async fn trace(&self, correlation_id: &str, count: usize) -> Vec<Value> {
        let query = format!(
            "subscription {{ trace(correlationId: \"{correlation_id}\", start: {{ earliest: true }}) {{ {FIELDS} }} }}"
        );
        let follow = async {
            let mut response = self.ask("text/event-stream", &query).send().await.unwrap();
            let mut text = String::new();
            loop {
                let events: Vec<_> = complete_blocks(&text).filter_map(traced).collect();
                if events.len() >= count {
                    return events;
                }
                let piece = response.chunk().await.unwrap().unwrap_or_else(|| panic!("it ended: {text}"));
                text.push_str(std::str::from_utf8(&piece).unwrap());
            }
        };
        timeout(DEADLINE, follow).await.expect("the events did not come")
    }

    fn ask(&self, accept: &str, query: &str) -> reqwest::RequestBuilder {
        http_client()
            .post(format!("{}/graphql", self.url()))
            .header("accept", accept)
            .header("content-type", "application/json")
            .body(json!({ "query": query }).to_string())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.expect("the server must end in order");
        }
    }
}

fn complete_blocks(text: &str) -> impl Iterator<Item = &str> {
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
    whole.split("\n\n")
}

/// The event of a block of an event stream; none for a heartbeat.
fn traced(block: &str) -> Option<Value> {
    let data = block.lines().find_map(|line| line.strip_prefix("data:"))?;
    let result: Value = serde_json::from_str(data).unwrap();
    let event = &result["data"]["trace"];
    assert!(event.is_object(), "{block}");
    Some(event.clone())
}

/// A client that speaks no TLS, and so reads no certificates of the system, which would take longer than the request.
pub(crate) fn http_client() -> reqwest::Client {
    reqwest::Client::builder().tls_certs_only([]).build().unwrap()
}
