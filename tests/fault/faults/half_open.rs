//! Peers that vanish without a word, or stay and say nothing: the server lets them go, and others notice nothing.
//!
//! Runs in a network of its own: a route that swallows everything to 127.0.0.2 is how the peers there vanish.

use crate::{
    failure::{Failure, expect, within},
    history::Record,
    load::{Load, Plan},
    run::{Run, Settings},
    server::Server,
    socket::Socket,
    tools::{self, words},
};
use serde_json::json;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep},
};

const PEERS: u64 = 20;
/// Peers that read an event stream, which has no pings. Those that only say nothing cannot be told from readers.
const FEEDS: u64 = 5;
const PING_INTERVAL: Duration = Duration::from_millis(500);
/// Long enough for the peers that do answer, also on a busy machine.
const PONG_TIMEOUT: Duration = Duration::from_secs(2);
/// For a busy machine, beyond what the settings say.
const SLACK: Duration = Duration::from_secs(3);
const CONNECTED: Duration = Duration::from_secs(10);

/// Lets peers be silent, then vanish.
pub(crate) async fn run(settings: &Settings) -> Result<String, Failure> {
    let run = Run::new(settings, "half-open")?;
    let recipe = run.recipe().with("ping_interval=500ms").with("pong_timeout=2s").with("write_timeout=2s");
    let load = Load::start(&run.recorder, &Plan::default(), &run.chance)?;
    let server = Server::start(&recipe).await?;
    load.serve_at(Some(server.address));
    let others = 8;
    open(&server, others).await?;

    let mut peers = subscribe(&server).await?;
    open(&server, others + PEERS).await?;
    run.recorder.record(Record::Fault { what: "peers say nothing any more".to_owned() });
    let silent = freed(&server, others).await?;
    peers.clear();

    let peers = (subscribe(&server).await?, follow(&server).await?);
    open(&server, others + PEERS + FEEDS).await?;
    run.recorder.record(Record::Fault { what: "peers vanish".to_owned() });
    tools::run("ip", &words(&["route", "add", "blackhole", "127.0.0.2/32", "table", "local"])).await?;
    let vanished = freed(&server, others).await?;
    drop(peers);

    load.finish(&server).await?;
    server.kill().await?;
    let counts = run.verdict()?.counts;
    let told = counts.connections;
    expect(told == counts.clients, || format!("{} clients needed {told} connections", counts.clients))?;
    Ok(format!(
        "{PEERS} silent peers were let go within {} ms, {PEERS} vanished ones and {FEEDS} on event streams within {} ms (settings: {} ms); \
         the others kept their connections, {} deliveries without gap or repeat",
        silent.as_millis(),
        vanished.as_millis(),
        (PING_INTERVAL + PONG_TIMEOUT).as_millis(),
        counts.delivered
    ))
}

/// Peers on another address, each subscribed to everything; none of them ever reads or answers again.
async fn subscribe(server: &Server) -> Result<Vec<Socket>, Failure> {
    let failed =
        |closed: crate::socket::Closed| Failure::broken(format!("a peer cannot connect: {}", closed.why));
    let mut peers = Vec::new();
    for _ in 0..PEERS {
        let stream = connect(server).await?;
        let over = Socket::over(stream, server.address, "/graphql/ws", Some("graphql-transport-ws"));
        let mut socket = over.await.map_err(failed)?;
        socket.send(&json!({ "type": "connection_init" })).await.map_err(failed)?;
        let query = json!({ "query": "subscription { events { id data } }" });
        let subscribe = json!({ "id": "1", "type": "subscribe", "payload": query });
        let ack = socket.next().await.map_err(failed)?;
        expect(ack["type"] == "connection_ack", || format!("a peer got {ack}"))?;
        socket.send(&subscribe).await.map_err(failed)?;
        peers.push(socket);
    }
    Ok(peers)
}

/// Peers on another address, each with an event stream of everything.
async fn follow(server: &Server) -> Result<Vec<TcpStream>, Failure> {
    let mut peers = Vec::new();
    for _ in 0..FEEDS {
        let mut stream = connect(server).await?;
        let request =
            format!("GET /events HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n", server.address);
        stream.write_all(request.as_bytes()).await.map_err(Failure::during("asking for a stream"))?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.map_err(Failure::during("reading a stream"))?;
        expect(answer == *b"HTTP/1.1 200", || String::from_utf8_lossy(&answer).into_owned())?;
        peers.push(stream);
    }
    Ok(peers)
}

async fn connect(server: &Server) -> Result<TcpStream, Failure> {
    let socket = TcpSocket::new_v4().map_err(Failure::during("making a socket"))?;
    let own = SocketAddr::from(([127, 0, 0, 2], 0));
    socket.bind(own).map_err(Failure::during("binding a socket"))?;
    socket.connect(server.address).await.map_err(Failure::during("connecting"))
}

/// Waits until so many subscriptions are open.
async fn open(server: &Server, count: u64) -> Result<(), Failure> {
    let counted = async {
        while server.metric("subscriptions_open").await? < count {
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    within(CONNECTED, &format!("{count} subscriptions are open"), counted).await?
}

/// Waits until only so many connections are left; gives how long that took.
async fn freed(server: &Server, count: u64) -> Result<Duration, Failure> {
    let started = Instant::now();
    let gone = async {
        while server.metric("connections_open").await? > count
            || server.metric("subscriptions_open").await? > count
        {
            sleep(Duration::from_millis(10)).await;
        }
        Ok(started.elapsed())
    };
    within(PING_INTERVAL + PONG_TIMEOUT + SLACK, "peers that are gone are let go", gone).await?
}
