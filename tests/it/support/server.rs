//! [`TestServer`]: the whole server on port 0 of loopback, in a thread of its own.

use fanfare::{
    Server,
    auth::Authority,
    config::{Config, Store},
    event::{Cursor, Offset},
    fanout::Fanout,
    graphql::Connections,
    hub::Hub,
    server::Directory,
};
use serde_json::{Value, json};
use std::{net::SocketAddr, path::Path, thread::JoinHandle, time::Duration};
use tokio::sync::oneshot;

/// Something that can be reached at an address.
pub(crate) trait Served {
    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// An address of this server.
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }
}

impl Served for TestServer {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A server that ends, and is checked for leaks, when it is dropped.
pub(crate) struct TestServer {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its pipeline, to look inside.
    pub(crate) hub: Hub,
    pub(crate) authority: Authority,
    /// Its fan-out, to look inside.
    pub(crate) fanout: Fanout,
    directory: Directory,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    /// A server with a log in memory.
    pub(crate) fn start() -> Self {
        Self::with(|_| ())
    }

    /// A server with a log in a directory.
    pub(crate) fn on_disk(dir: &Path) -> Self {
        Self::with(|config| {
            config.store = Store::Sqlite;
            config.data_dir = dir.to_owned();
        })
    }

    /// A server with other settings. It publishes nothing by itself, unless the settings say so, so that tests can count
    /// events.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { store: Store::Memory, self_events: Vec::new(), ..Config::default() };
        config.github_webhook_secret = Some("secret".to_owned().into());
        config.shutdown_grace = Duration::from_secs(5);
        change(&mut config);
        let (started, starting) = std::sync::mpsc::channel();
        let (shutdown, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let server = Server::open(&config).unwrap();
                let rooms = (server.hub().clone(), server.fanout().clone(), server.directory().clone());
                let rooms = (rooms, server.authority().clone());
                started.send((address, rooms)).unwrap();
                // A dropped sender ends the server as well.
                server.run(listener, async { drop(ended.await) }).await.unwrap();
            });
        });
        let (address, ((hub, fanout, directory), authority)) =
            starting.recv().expect("the server must start");
        TestServer {
            address,
            hub,
            fanout,
            directory,
            authority,
            shutdown: Some(shutdown),
            thread: Some(thread),
        }
    }

    /// An address of this server.
    pub(crate) fn url(&self, path: &str) -> String {
        Served::url(self, path)
    }

    /// Executes an operation by POST and gives the whole response.
    pub(crate) async fn graphql(&self, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables });
        post_json(&self.url("/graphql"), &body).await.1
    }

    /// Publishes an event of this type with these further fields and gives its cursor.
    pub(crate) async fn publish(&self, event_type: &str, mut fields: Value) -> String {
        fields["type"] = event_type.into();
        let (status, answer) = post_json(&self.url("/events"), &fields).await;
        assert_eq!(status, 200, "{answer}");
        answer["cursor"].as_str().unwrap().to_owned()
    }

    /// Publishes `task.progress` events with these numbers as ids and gives their cursors.
    pub(crate) async fn tasks(&self, numbers: std::ops::Range<u32>) -> Vec<String> {
        let mut cursors = Vec::new();
        for number in numbers {
            cursors.push(self.publish("task.progress", json!({ "id": number.to_string() })).await);
        }
        cursors
    }

    /// Where a cursor of this server stands.
    pub(crate) fn opened(&self, cursor: &(impl Opened + ?Sized)) -> Offset {
        self.hub.epoch().open(Cursor::parse(cursor.text()).unwrap()).unwrap()
    }

    /// Ends the server now.
    pub(crate) fn stop(self) {}
}

/// A cursor as clients have it.
pub(crate) trait Opened {
    /// Its text.
    fn text(&self) -> &str;
}

impl Opened for str {
    fn text(&self) -> &str {
        self
    }
}

impl Opened for String {
    fn text(&self) -> &str {
        self
    }
}

impl Opened for Value {
    fn text(&self) -> &str {
        self.as_str().unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        let ended = self.thread.take().unwrap().join();
        if std::thread::panicking() {
            return;
        }
        ended.expect("the server must end in order");
        let metrics = self.hub.metrics();
        assert_eq!(self.fanout.len(), (0, 0), "groups and members are left");
        assert_eq!(self.directory.count(), 0, "somebody is still listed");
        assert_eq!(self.directory.presence().count(), 0, "somebody is still present");
        assert_eq!(metrics.subscriptions_open.get(), 0, "subscriptions are left");
        assert_eq!(metrics.connections_open.get(), 0, "connections are left");
        assert_eq!(metrics.streams_open.get(), 0, "streams are left");
        assert_eq!(metrics.replays_running.get(), 0, "replays are left");
        assert_eq!(metrics.groups_open.get(), 0, "groups are left");
    }
}

/// A client that speaks no TLS, and so reads no certificates of the system, which would take longer than the request.
pub(crate) fn http_client() -> reqwest::Client {
    reqwest::Client::builder().tls_certs_only([]).build().unwrap()
}

/// Posts JSON and gives status and JSON answer.
pub(crate) async fn post_json(url: &str, body: &Value) -> (u16, Value) {
    let answer = http_client()
        .post(url)
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}
