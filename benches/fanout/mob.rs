//! Hostile peers in a process of their own: the bench starts itself once more, with the lowest priority.
//!
//! Flow: the child attacks in every way at once, begins anew wherever it is thrown out, and counts that; when its input ends it
//! says how often each attack was begun. Lines of JSON on its standard streams.
//! Invariants: the child ends with its parent, which holds the other end of its input; it has the core of the load and no more.

use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use std::{
    cell::Cell,
    env,
    io::{self, Read},
    net::SocketAddr,
    process::Stdio,
    rc::Rc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Command},
    runtime::Runtime,
    task::{JoinSet, LocalSet, spawn_blocking},
    time::{sleep, timeout},
};

const READY: &str = "ready";
const PATIENCE: Duration = Duration::from_secs(30);
/// A slow peer sends a byte so often.
const DRIBBLE: Duration = Duration::from_secs(5);
/// Whoever was thrown out waits so long, so that attacks and not handshakes are measured.
const PAUSE: Duration = Duration::from_millis(100);
const MASK: [u8; 4] = [0; 4];
const PIECES: usize = 200;

/// What a mob is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plot {
    pub(crate) address: SocketAddr,
    /// Peers that never finish the head of their request.
    pub(crate) slow: usize,
    /// Peers of each other kind.
    pub(crate) each: usize,
}

/// How often each attack was begun.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Begun {
    pub(crate) slow: usize,
    pub(crate) floods: usize,
    pub(crate) silent: usize,
}

/// A mob that attacks, seen from its parent.
#[derive(Debug)]
pub(crate) struct Mob {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _child: Child,
}

impl Mob {
    /// Starts the attack; all its slow peers are connected when this returns.
    pub(crate) async fn gather(plot: &Plot) -> Result<Self, Failure> {
        let exe = env::current_exe().map_err(Failure::during("finding this program"))?;
        let plot = serde_json::to_string(plot).map_err(|error| Failure::Crowd(error.to_string()))?;
        let mut child = Command::new("nice")
            .args(["-n", "19"])
            .arg(exe)
            .args(["--mob", &plot])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Failure::during("starting the mob"))?;
        let missing = || Failure::Crowd("the mob has no streams".to_owned());
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let mut mob = Mob { input, output, _child: child };
        let line = mob.line().await?;
        if line.trim() == READY { Ok(mob) } else { Err(Failure::Crowd(line)) }
    }

    /// Ends the attack.
    pub(crate) async fn disperse(mut self) -> Result<Begun, Failure> {
        self.input.shutdown().await.map_err(Failure::during("telling the mob to go"))?;
        drop(self.input);
        let mut line = String::new();
        let read = timeout(PATIENCE, self.output.read_line(&mut line)).await;
        read.map_err(|_| Failure::Crowd("the mob did not go".to_owned()))?
            .map_err(Failure::during("listening to the mob"))?;
        serde_json::from_str(&line).map_err(|_| Failure::Crowd(line))
    }

    async fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.output.read_line(&mut line)).await;
        read.map_err(|_| Failure::Crowd(format!("the mob was not there within {PATIENCE:?}")))?
            .map_err(Failure::during("listening to the mob"))?;
        Ok(line)
    }
}

/// The child's side.
pub(crate) fn run(runtime: &Runtime, plot: &str) -> Result<(), String> {
    let plot: Plot = serde_json::from_str(plot).map_err(|error| error.to_string())?;
    let begun = LocalSet::new().block_on(runtime, attack(&plot));
    println!("{}", serde_json::to_string(&begun).map_err(|error| error.to_string())?);
    Ok(())
}

async fn attack(plot: &Plot) -> Begun {
    let begun = Rc::new(Cell::new(Begun::default()));
    let mut peers = JoinSet::new();
    for number in 0..plot.slow {
        let (address, begun) = (plot.address, Rc::clone(&begun));
        peers.spawn_local(async move {
            loop {
                begun.set(Begun { slow: begun.get().slow + 1, ..begun.get() });
                if let Ok(stream) = TcpStream::connect(address).await {
                    dribble(stream).await;
                }
                sleep(PAUSE).await;
            }
        });
        if number % 100 == 0 {
            // They are thrown out as they came: not all in the same moment.
            sleep(DRIBBLE * 100 / u32::try_from(plot.slow).unwrap_or(u32::MAX)).await;
        }
    }
    for (first, again) in floods() {
        for _ in 0..plot.each {
            let (address, begun, first, again) =
                (plot.address, Rc::clone(&begun), first.clone(), again.clone());
            peers.spawn_local(async move {
                loop {
                    begun.set(Begun { floods: begun.get().floods + 1, ..begun.get() });
                    // Thrown out: that is what it is for.
                    let _ = flood(address, &first, &again).await;
                    sleep(PAUSE).await;
                }
            });
        }
    }
    for _ in 0..plot.each {
        let (address, begun) = (plot.address, Rc::clone(&begun));
        peers.spawn_local(async move {
            loop {
                begun.set(Begun { silent: begun.get().silent + 1, ..begun.get() });
                let _ = flood(address, &[], &[]).await;
                sleep(PAUSE).await;
            }
        });
    }
    println!("{READY}");
    // The parent says nothing and hangs up.
    let _ = spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await;
    begun.get()
}

/// Pings, fragments of nothing, a frame of 2^62 bytes: what comes first, and what comes again and again.
fn floods() -> [(Vec<u8>, Vec<u8>); 3] {
    let empty = |first: u8| [&[first, 0x80][..], &MASK].concat();
    let huge = [&[0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0][..], &MASK].concat();
    [
        (Vec::new(), empty(0x89).repeat(PIECES)),
        (empty(0x01), empty(0x00).repeat(PIECES)),
        (huge, b"x".repeat(1024)),
    ]
}

async fn dribble(mut stream: TcpStream) {
    let mut byte = [0];
    if stream.write_all(b"GET /graphql HTTP/1.1\r\nx: ").await.is_err() {
        return;
    }
    while timeout(DRIBBLE, stream.read(&mut byte)).await.is_err() {
        if stream.write_all(b"x").await.is_err() {
            return;
        }
    }
}

/// Upgrades, and writes until the server hangs up; without anything to write it only waits for that.
async fn flood(address: SocketAddr, first: &[u8], again: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "GET /graphql HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let (mut reader, mut writer) = stream.split();
    let reading = async {
        let mut sink = [0; 4096];
        while reader.read(&mut sink).await? > 0 {}
        Ok(())
    };
    let writing = async {
        writer.write_all(first).await?;
        while !again.is_empty() {
            writer.write_all(again).await?;
            tokio::task::yield_now().await;
        }
        std::future::pending().await
    };
    tokio::select! {
        ended = reading => ended,
        failed = writing => failed,
    }
}
