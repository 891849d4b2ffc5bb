//! Builds a server out of its rooms, by the settings, and runs it to its end.

use crate::{
    auth::Principal,
    bus::Bus,
    config::{Config, Store},
    event::NewEvent,
    fanout::Fanout,
    graphql::{self, GuardOptions},
    hub::Hub,
    log::{Log, MemoryLog, OnCommit, OpenError, SqliteLog},
    metrics::Metrics,
    platform::sample::SampleFeed,
    server::{self, App},
};
use std::{io, sync::Arc};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};

/// Why a server ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The log could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The threads could not be started.
    #[error("the server's threads cannot be started: {0}")]
    Threads(#[from] io::Error),
    /// The fan-out ended by itself, which is a defect; the cause is in the log output.
    #[error("the fan-out has stopped; the server ends rather than stay silent")]
    FanoutStopped,
}

/// Runtimes beside the one that a server runs on. A runtime's queue is first in, first out: what thousands of WebSockets ask
/// for at once would stand before each publish and each live event, so these have threads of their own, between which the
/// system divides the cores.
#[derive(Debug)]
struct Threads {
    /// Reads WebSockets, begins their operations, replays the log to them.
    sockets: Aside,
    /// Routes and renders.
    fanout: Aside,
}

impl Threads {
    /// Must be called on the server's runtime.
    fn start() -> io::Result<Self> {
        let workers = Handle::current().metrics().num_workers();
        Ok(Threads { sockets: Aside::start("sockets", workers)?, fanout: Aside::start("fanout", 1)? })
    }
}

/// A runtime that ends with its owner, which may be a task.
#[derive(Debug)]
struct Aside(Option<Runtime>);

impl Aside {
    fn start(name: &str, workers: usize) -> io::Result<Self> {
        runtime_builder()
            .worker_threads(workers)
            .thread_name(name)
            .build()
            .map(|runtime| Aside(Some(runtime)))
    }

    fn handle(&self) -> &Handle {
        self.0.as_ref().expect("taken in drop only").handle()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// So many sockets that became readable are served before the next look at the rest.
const SOCKETS_AT_ONCE: usize = 64;
/// Tasks that were woken by other threads, and those beyond what a thread's own queue holds, have every second turn. By itself
/// the runtime gives them one turn in about ten while its own queue is never empty.
const SHARED_QUEUE_INTERVAL: u32 = 2;

/// A runtime as a server wants it: fair when thousands of sockets want something at once.
pub fn runtime_builder() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.max_io_events_per_tick(SOCKETS_AT_ONCE).global_queue_interval(SHARED_QUEUE_INTERVAL).enable_all();
    builder
}

/// A server whose rooms are built and whose log is open.
#[derive(Debug)]
pub struct Server {
    threads: Threads,
    hub: Hub,
    fanout: Fanout,
    worker: JoinHandle<()>,
    app: App,
    demo: bool,
}

impl Server {
    /// Opens the log and builds the rooms. Must be called on a tokio runtime.
    pub fn open(config: &Config) -> Result<Server, ServeError> {
        let metrics = Metrics::new();
        let bus = Bus::new(&config.bus_options());
        let log = open_log(config, &bus, &metrics)?;
        let hub = Hub::new(log, bus, metrics, config.event_limits());
        let schema = graphql::schema(hub.clone(), &config.graphql_options());
        let guard = GuardOptions::default().for_schema(&graphql::sdl(&schema));
        let guard = guard.expect("the schema's own text is a schema");
        let threads = Threads::start()?;
        let (fanout, worker) = Fanout::start(hub.clone(), threads.fanout.handle());
        let parts = (hub.clone(), fanout.clone(), schema);
        let app = App::new(parts, threads.sockets.handle().clone(), config.server_options(guard));
        Ok(Server { threads, hub, fanout, worker, app, demo: config.demo })
    }

    /// The pipeline, for programs that publish or follow from inside the process.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The fan-out, for programs that look at what is open.
    pub fn fanout(&self) -> &Fanout {
        &self.fanout
    }

    /// Serves on the listener until `shutdown` is done, then ends in order: connections, fan-out, log.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let Server { threads, hub, mut worker, app, demo, .. } = self;
        let sample = demo.then(|| tokio::spawn(publish_sample(hub.clone())));
        let mut ended = Ok(());
        let stop = async {
            tokio::select! {
                () = shutdown => {}
                _ = &mut worker => ended = Err(ServeError::FanoutStopped),
            }
        };
        server::run(listener, app, stop).await;
        if let Some(sample) = sample {
            sample.abort();
        }
        worker.abort();
        hub.close().await;
        drop(threads);
        ended
    }
}

/// Opens and runs a server: what `fanfare serve` does.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    Server::open(&config)?.run(listener, shutdown).await
}

fn open_log(config: &Config, bus: &Bus, metrics: &Metrics) -> Result<Arc<dyn Log>, OpenError> {
    let on_commit: OnCommit = {
        let bus = bus.clone();
        Box::new(move |batch| bus.publish(batch))
    };
    let metrics = metrics.clone();
    let on_append = Box::new(move |events, took| metrics.appended(events, took));
    Ok(match config.store {
        Store::Memory => Arc::new(MemoryLog::open(config.memory_options(on_append), on_commit)),
        Store::Sqlite => Arc::new(SqliteLog::open(config.sqlite_options(on_append), on_commit)?),
    })
}

/// Publishes the sample feed until it is aborted; what the log refuses is left out.
async fn publish_sample(hub: Hub) {
    let mut feed = SampleFeed::new(u64::from(std::process::id()));
    loop {
        let (pause, draft) = feed.next();
        tokio::time::sleep(pause).await;
        let published = async {
            let event = NewEvent::new(draft, hub.limits())?;
            hub.publish(&Principal::anonymous(), vec![event]).await
        };
        if let Err(refusal) = published.await {
            tracing::warn!(%refusal, "a sample event was not published");
        }
    }
}
