//! Promise 2 by trials: clients join anywhere in any way, lag, leave and resume while publishers go at full speed, retention
//! removes and servers restart. Each gets exactly what it asked for, or an error that says where it stopped.
//!
//! Flow: a seed makes a trial's server, its publishers and its clients; each client writes down what it was told; once the last
//! event is out, the judge reads that against the acknowledgements.
//! A failure prints the seed; `TRIALS_SEED=n` runs that trial alone.

mod client;
mod door;
mod facts;
mod history;
mod judge;
mod random;
mod snapshot;

use crate::support::TestServer;
use client::{Client, Start, Until, Visit};
use door::{Door, Way};
use facts::{Fact, Wanted, is_transient};
use fanfare::{
    bus::{self, Bus},
    config::Store,
    event::Limits,
    fanout::Fanout,
    hub::Hub,
    log::{Log, MemoryLog, MemoryOptions, OnCommit, SqliteLog, SqliteOptions},
    metrics::Metrics,
};
use futures_util::StreamExt;
use history::{COMMIT_EVENTS_MAX, History, PUBLISHERS_MAX};
use judge::Judge;
use random::Random;
use std::{path::Path, sync::Arc};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// Names the one seed to run.
const SEED: &str = "TRIALS_SEED";
/// So many clients share one server.
const CLIENTS: usize = 25;
/// So many servers run at once.
const TRIALS_AT_ONCE: usize = 4;

/// The server of a trial, as the seed made it.
#[derive(Clone, Debug)]
struct Setting {
    seed: u64,
    is_socket: bool,
    on_disk: bool,
    /// How many times the server starts.
    lives: usize,
    events_max: Option<usize>,
    ring_batches_max: usize,
    publishers: usize,
    events_of_a_life: usize,
}

impl Setting {
    fn new(seed: u64, is_socket: bool) -> Self {
        let mut random = Random::new(seed);
        let on_disk = random.once_in(2);
        let lives = if on_disk { random.within(1, 3) } else { 1 };
        let is_kept = on_disk || is_socket || random.once_in(3);
        Setting {
            seed,
            is_socket,
            on_disk,
            lives,
            events_max: (!is_kept).then(|| random.within(10, 300)),
            ring_batches_max: random.pick(&[1, 2, 8, 1_024]),
            publishers: random.within(1, PUBLISHERS_MAX),
            events_of_a_life: random.within(200, 600) / lives,
        }
    }

    fn start(&self, dir: &Path) -> Server {
        match self.is_socket {
            true => Server::Whole(TestServer::with(|config| {
                config.store = if self.on_disk { Store::Sqlite } else { Store::Memory };
                config.data_dir = dir.to_owned();
                config.ring_batches_max = self.ring_batches_max;
                config.mailbox_bytes_max = 600;
            })),
            false => self.start_inside(dir),
        }
    }

    fn start_inside(&self, dir: &Path) -> Server {
        let bus = Bus::new(&bus::Options { ring_batches_max: self.ring_batches_max });
        let ring = bus.clone();
        let on_commit: OnCommit = Box::new(move |batch| ring.publish(batch));
        let log: Arc<dyn Log> = if self.on_disk {
            let options = SqliteOptions { dir: dir.to_owned(), ..SqliteOptions::default() };
            Arc::new(SqliteLog::open(options, on_commit).unwrap())
        } else {
            let options = MemoryOptions { events_max: self.events_max, ..MemoryOptions::default() };
            Arc::new(MemoryLog::open(options, on_commit))
        };
        let hub = Hub::new(log, bus, Metrics::new(), Limits::default());
        let (fanout, worker) = Fanout::start(hub.clone(), &tokio::runtime::Handle::current());
        Server::Inside { hub, fanout, worker }
    }
}

enum Server {
    Whole(TestServer),
    Inside { hub: Hub, fanout: Fanout, worker: JoinHandle<()> },
}

impl Server {
    fn door(&self, life: usize) -> Door {
        let (hub, way) = match self {
            Server::Whole(server) => (server.hub.clone(), Way::Socket(server.address)),
            Server::Inside { hub, fanout, .. } => (hub.clone(), Way::Fanout(fanout.clone())),
        };
        Door { life, hub, way }
    }

    async fn stop(self) {
        match self {
            Server::Whole(server) => tokio::task::spawn_blocking(move || server.stop()).await.unwrap(),
            Server::Inside { hub, worker, .. } => {
                assert!(!worker.is_finished(), "the worker must not end by itself");
                worker.abort();
                hub.close().await;
            }
        }
    }
}

/// What happened in trials.
#[derive(Debug, Default)]
struct Summary {
    visits: Vec<Visit>,
    /// How often a mailbox, and how often the shared reader, fell behind.
    lags: [u64; 2],
}

impl Summary {
    fn count(&self, which: impl Fn(&Visit) -> bool) -> usize {
        self.visits.iter().filter(|visit| which(visit)).count()
    }

    /// Prints what happened by name; trials in which one of it did not happen would prove nothing.
    fn check(&self, own: &[(&str, usize)]) {
        let starts = [
            ("live", self.count(|visit| matches!(visit.asked, Start::Live))),
            ("earliest", self.count(|visit| matches!(visit.asked, Start::Earliest))),
            ("last", self.count(|visit| matches!(visit.asked, Start::Last(_)))),
            ("time", self.count(|visit| matches!(visit.asked, Start::Time(_)))),
            ("after", self.count(|visit| matches!(visit.asked, Start::After(_)))),
            ("left", self.count(|visit| matches!(visit.until, Until::Left(_)))),
            ("server gone", self.count(|visit| matches!(visit.until, Until::Gone))),
            ("got what is not kept", self.count(|visit| visit.got.iter().any(|(_, id)| is_transient(id)))),
        ];
        let happened: Vec<_> = starts.iter().chain(own).collect();
        eprintln!("{} visits: {happened:?}", self.visits.len());
        let is_single = std::env::var_os(SEED).is_some();
        assert!(is_single || happened.iter().all(|(_, times)| *times > 0), "{happened:?}");
    }
}

/// Runs one trial and gives what its clients saw; fails at the first thing that is wrong.
async fn run(setting: Setting) -> Result<Summary, String> {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(setting.seed.rotate_left(17));
    let history = Arc::new(History::default());
    let (door, doors) = watch::channel(None);
    let mut clients: JoinSet<(Wanted, Vec<Visit>)> = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = Client::new(random.next(), setting.lives * setting.events_of_a_life);
        let (doors, history) = (doors.clone(), Arc::clone(&history));
        clients.spawn(async move { client.run(doors, &history).await });
    }
    let (mut seen, mut summary) = (Vec::new(), Summary::default());
    for life in 1..=setting.lives {
        let server = setting.start(dir.path());
        let open = server.door(life);
        let hub = open.hub.clone();
        door.send_replace(Some(open));
        let publishing = (0..setting.publishers).map(|publisher| {
            let name = format!("{life}-{publisher}");
            let count = setting.events_of_a_life / setting.publishers;
            history.publish_random(&hub, name, count, random.next())
        });
        futures_util::future::join_all(publishing.collect::<Vec<_>>()).await;
        if life == setting.lives {
            history.done();
            history.all_joined(CLIENTS).await;
            history.publish(&hub, vec![Fact::fence()]).await;
            while let Some(client) = clients.join_next().await {
                seen.push(client.map_err(|failure| failure.to_string())?);
            }
        }
        door.send_replace(None);
        server.stop().await;
        let metrics = hub.metrics();
        summary.lags[0] += metrics.mailbox_lagged.get();
        summary.lags[1] += metrics.tail_lagged.get();
    }
    let whole = history.whole();
    let vanishing = setting.events_max.map_or(0, |_| COMMIT_EVENTS_MAX);
    for (wanted, visits) in seen {
        let judged = Judge::new(&whole, &wanted, vanishing).judge(&visits);
        judged.map_err(|wrong| format!("{wrong}\nfilter {}", wanted.json()))?;
        summary.visits.extend(visits);
    }
    Ok(summary)
}

/// Runs trials of so many clients in all.
async fn run_all(is_socket: bool, clients: usize, first_seed: u64) -> Summary {
    let seeds = match std::env::var_os(SEED) {
        Some(seed) => vec![seed.to_str().and_then(|seed| seed.parse().ok()).expect("a seed is a number")],
        None => (first_seed..).take(clients.div_ceil(CLIENTS)).collect(),
    };
    let trials = futures_util::stream::iter(seeds).map(|seed| async move {
        let setting = Setting::new(seed, is_socket);
        match tokio::spawn(run(setting.clone())).await {
            Ok(Ok(summary)) => summary,
            Ok(Err(wrong)) => panic!("{SEED}={seed}: {wrong}\n{setting:?}"),
            Err(failure) => panic!("{SEED}={seed}: {failure}\n{setting:?}"),
        }
    });
    let add = async |mut all: Summary, one: Summary| {
        all.visits.extend(one.visits);
        all.lags = [all.lags[0] + one.lags[0], all.lags[1] + one.lags[1]];
        all
    };
    trials.buffer_unordered(TRIALS_AT_ONCE).fold(Summary::default(), add).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_join_lag_leave_and_resume_get_every_event_once_or_an_error_that_says_where() {
    let summary = run_all(false, 1_800, 1_000).await;
    let is_refused = |visit: &Visit| matches!(visit.until, Until::Refused(..));
    summary.check(&[
        ("expired at the start", summary.count(|visit| is_refused(visit) && visit.start.is_none())),
        ("expired on the way", summary.count(|visit| is_refused(visit) && visit.start.is_some())),
        ("mailbox lagged", usize::try_from(summary.lags[0]).unwrap()),
        ("worker lagged", usize::try_from(summary.lags[1]).unwrap()),
    ]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_sockets_and_restarts_clients_resume_without_gap_or_repeat() {
    run_all(true, 200, 5_000).await.check(&[]);
}
