//! Clients in a process of their own: the bench starts itself once more, for when nobody else wants the core.
//!
//! Flow: the child connects all clients and says so; when it is told, all resume at once; when each has everything that it
//! had missed, the child says how long that took. Lines of JSON on its standard streams.
//! Invariants: the child ends with its parent, which holds the other end of its input.

use crate::{
    audience::Audience,
    dialect::GraphqlWs,
    failure::Failure,
    ledger::Ledger,
    load::{connect_all, follow},
    subscriber::READ_BYTES,
};
use serde::{Deserialize, Serialize};
use std::{cell::RefCell, env, io, net::SocketAddr, process::Stdio, rc::Rc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    runtime::Runtime,
    sync::watch,
    task::{JoinSet, LocalSet},
    time::{Instant, timeout},
};

/// What every client asks for, and has missed.
pub(crate) const MISSED: Audience = Audience::Topic("bench.missed");
const CONNECTED: &str = "connected";
const RESUME: &[u8] = b"resume\n";
/// For connecting and for catching up, each.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a crowd is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) address: SocketAddr,
    /// The cursor of the last event that every client has.
    pub(crate) after: String,
    pub(crate) clients: usize,
    /// How many events each client has missed.
    pub(crate) events: usize,
}

/// What a crowd says at its end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Served {
    pub(crate) delivered: u64,
    pub(crate) wall_s: f64,
}

/// A crowd that waits or resumes, seen from its parent.
#[derive(Debug)]
pub(crate) struct Crowd {
    input: ChildStdin,
    said: watch::Receiver<Option<String>>,
    _child: Child,
}

impl Crowd {
    /// Starts the crowd; all its clients are connected when this returns.
    pub(crate) async fn gather(task: &Task) -> Result<Self, Failure> {
        let exe = env::current_exe().map_err(Failure::during("finding this program"))?;
        let task = serde_json::to_string(task).map_err(|error| Failure::Crowd(error.to_string()))?;
        // To be nice is not enough: whoever is idle (sched(7)) gives way the moment that another wakes.
        let mut child = Command::new("chrt")
            .args(["--idle", "0"])
            .arg(exe)
            .args(["--crowd", &task])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Failure::during("starting the crowd"))?;
        let missing = || Failure::Crowd("it has no streams".to_owned());
        let input = child.stdin.take().ok_or_else(missing)?;
        let mut lines = BufReader::new(child.stdout.take().ok_or_else(missing)?).lines();
        let line = timeout(PATIENCE, next_line(&mut lines))
            .await
            .map_err(|_| Failure::Crowd(format!("it was not connected within {PATIENCE:?}")))??;
        if line != CONNECTED {
            return Err(Failure::Crowd(line));
        }
        let (say, said) = watch::channel(None);
        tokio::task::spawn_local(async move {
            let line = next_line(&mut lines).await.unwrap_or_else(|failure| failure.to_string());
            say.send_replace(Some(line));
        });
        Ok(Crowd { input, said, _child: child })
    }

    /// All clients resume now.
    pub(crate) async fn resume(&mut self) -> Result<(), Failure> {
        self.input.write_all(RESUME).await.map_err(Failure::during("telling the crowd to resume"))
    }

    /// Has every client everything, or has one failed?
    pub(crate) fn is_done(&self) -> bool {
        self.said.borrow().is_some()
    }

    /// Waits for the end.
    pub(crate) async fn served(&mut self) -> Result<Served, Failure> {
        let silent = || Failure::Crowd(format!("it was not served within {PATIENCE:?}"));
        let line = timeout(PATIENCE, self.said.wait_for(Option::is_some)).await.map_err(|_| silent())?;
        let line = line.map_err(|_| silent())?.clone().unwrap_or_default();
        serde_json::from_str(&line).map_err(|_| Failure::Crowd(line))
    }
}

async fn next_line(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<String, Failure> {
    let line = lines.next_line().await.map_err(Failure::during("listening to the crowd"))?;
    line.ok_or_else(|| Failure::Crowd("it ended without a word".to_owned()))
}

/// The child's side: does its task and prints what became of it.
pub(crate) fn run(runtime: &Runtime, task: &str) -> Result<(), String> {
    let task: Task = serde_json::from_str(task).map_err(|error| error.to_string())?;
    let served = LocalSet::new().block_on(runtime, catch_up(&task)).map_err(|failure| {
        // The parent reads this stream.
        println!("{failure}");
        failure.to_string()
    })?;
    println!("{}", serde_json::to_string(&served).map_err(|error| error.to_string())?);
    Ok(())
}

async fn catch_up(task: &Task) -> Result<Served, Failure> {
    let mut subscribers = connect_all(&GraphqlWs::Anonymous, task.address, task.clients).await?;
    println!("{CONNECTED}");
    // Nothing else runs here meanwhile, and the wait is shorter than the server's patience with a silent peer.
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(Failure::during("waiting for the word"))?;
    let start = Instant::now();
    let mut wish = MISSED.wish(0);
    wish.start = Some(format!(r#"{{after: "{}"}}"#, task.after));
    for subscriber in &mut subscribers {
        subscriber.subscribe(&wish).await?;
    }
    let ledger = Rc::new(Ledger::awaiting(0, task.events, task.clients));
    let scratch = Rc::new(RefCell::new(vec![0; READ_BYTES]));
    let mut tasks = JoinSet::new();
    for subscriber in subscribers {
        follow(subscriber, &ledger, &scratch, &mut tasks);
    }
    ledger.finished().await?;
    Ok(Served { delivered: ledger.take().delivered, wall_s: start.elapsed().as_secs_f64() })
}
