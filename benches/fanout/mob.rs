//! Hostile peers in a process of their own: the bench starts itself once more, with the lowest priority.
//!
//! Flow: the child attacks in every way that it is told at once, begins anew wherever it is thrown out, and counts that; when its
//! input ends it says how often each attack was begun. Lines of JSON on its standard streams.
//! Invariants: the child ends with its parent, which holds the other end of its input; it has the core of the load when nobody
//! else wants it, and never a turn before those who measure.

mod attacks;

use crate::failure::Failure;
use attacks::attack;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    env,
    io::{self, Read},
    net::SocketAddr,
    process::Stdio,
    rc::Rc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    runtime::Runtime,
    task::{JoinSet, LocalSet, spawn_blocking},
    time::{sleep, timeout},
};

const READY: &str = "ready";
const PATIENCE: Duration = Duration::from_secs(30);
/// All slow peers are there after so long. They are thrown out as they came: not all in the same moment.
const GATHERING: Duration = Duration::from_secs(5);

/// A way to do harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Attack {
    /// Requests that never end, a byte every few seconds (slowloris).
    Slow,
    /// WebSocket pings without end.
    Pings,
    /// A message of empty fragments without end.
    Fragments,
    /// A frame of 2^62 bytes.
    Huge,
    /// WebSockets that never say who is there.
    Silent,
    /// Guessed tokens: refused, guessed again at once.
    Tokens,
}

/// What a mob is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plot {
    pub(crate) address: SocketAddr,
    pub(crate) attacks: Vec<Attack>,
    /// Peers that never finish the head of their request.
    pub(crate) slow: usize,
    /// Peers of each other kind.
    pub(crate) each: usize,
}

/// How often each attack was begun.
pub(crate) type Begun = BTreeMap<Attack, usize>;

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
        // To be nice is not enough: whoever is idle (sched(7)) gives way the moment that another wakes.
        let mut child = Command::new("chrt")
            .args(["--idle", "0"])
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
    let begun = LocalSet::new().block_on(runtime, attack_all(&plot));
    println!("{}", serde_json::to_string(&begun).map_err(|error| error.to_string())?);
    Ok(())
}

async fn attack_all(plot: &Plot) -> Begun {
    let begun = Rc::new(RefCell::new(Begun::new()));
    let mut peers = JoinSet::new();
    for kind in plot.attacks.iter().copied() {
        let count = if kind == Attack::Slow { plot.slow } else { plot.each };
        for number in 0..count {
            let (address, begun) = (plot.address, Rc::clone(&begun));
            peers.spawn_local(async move {
                loop {
                    *begun.borrow_mut().entry(kind).or_default() += 1;
                    attack(kind, address).await;
                }
            });
            if kind == Attack::Slow && number % 100 == 0 {
                sleep(GATHERING * 100 / u32::try_from(count).unwrap_or(u32::MAX)).await;
            }
        }
    }
    println!("{READY}");
    // The parent says nothing and hangs up.
    let _ = spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await;
    begun.take()
}
