//! Ends without a goodbye: clients that are stopped or killed, and a server that is.

use super::watch::{Watch, asked, present};
use crate::support::{Access, May, Process, Served, Socket};
use fanfare::event::Family;
use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A client in a process of its own; it ends when it is dropped.
struct Client(Child);

impl Client {
    /// `fanfare tail`, as somebody.
    fn tail(server: &impl Served, token: &str) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .args(["tail", "none.*", "--url", &server.url("")])
            .env("FANFARE_TOKEN", token)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Client(child)
    }

    fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A stopped process keeps its socket open and its kernel goes on to acknowledge; only the pings find it.
#[tokio::test]
async fn a_client_that_is_stopped_or_killed_is_gone_within_the_heartbeat_limit() {
    let access = Access::new();
    let (root, ada) =
        (access.token("root", May::All, None), access.token("ada", May::Organization("q"), None));
    let (interval, timeout) = (Duration::from_millis(400), Duration::from_millis(1_600));
    // Nothing that a test waits for takes ten times this.
    let server = access.server_with(|config| {
        config.self_events = vec![Family::Presence];
        (config.ping_interval, config.pong_timeout) = (interval, timeout);
    });
    let mut watch = Watch::open(&server, &root).await;
    let stopped = Client::tail(&server, &ada);
    let came = watch.told("presence.connected", Some("ada")).await;
    let killed = Client::tail(&server, &ada);
    watch.told("presence.connected", Some("ada")).await;
    killed.signal("KILL");
    let left = watch.told("presence.disconnected", Some("ada")).await;
    assert_ne!(left["connectionId"], came["connectionId"]);
    // It lives as long as it answers.
    stopped.signal("STOP");
    let left = watch.told("presence.disconnected", Some("ada")).await;
    assert_eq!(left["connectionId"], came["connectionId"]);
    assert!(present(&server, &root, r#"userId: "ada""#).await.is_empty());
    drop((stopped, killed));
    watch.close().await;
}

/// Presence is in memory only, so a server that was killed has nobody to remember: who is there has come anew.
#[tokio::test]
async fn a_server_that_was_killed_lists_nobody_but_those_who_come_back() {
    let access = Access::new();
    let (root, ada) =
        (access.token("root", May::All, None), access.token("ada", May::Organization("q"), None));
    let mut process = Process::with(&access, &["self_events=presence"]);
    let mut watch = Watch::open(&process, &root).await;
    let before = [Socket::graphql_as(&process, &ada).await, Socket::rpc_as(&process, &ada).await];
    watch.until(|known| known.len() == 3).await;
    let old: Vec<String> = watch.known.keys().cloned().collect();

    process.kill_and_start();
    assert!(present(&process, &root, "").await.is_empty(), "ghosts");
    let again = Socket::graphql_as(&process, &ada).await;
    let known = present(&process, &root, "").await;
    assert_eq!(known.len(), 1);
    assert!(known.keys().all(|id| !old.contains(id)), "an id names another connection now");
    // Nor is there anything of it in the log.
    let kept =
        asked(&process, &root, r#"{ events(filter: { types: ["presence.*"] }) { nodes { id } } }"#).await;
    assert_eq!(kept["data"]["events"]["nodes"].as_array().map(Vec::len), Some(0), "{kept}");
    drop((before, again));
}
