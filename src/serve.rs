//! Builds a server out of its rooms, by the settings, and runs it to its end.

use crate::{
    auth::{self, Audit, Authority, AuthorityError, MaskKey, Principal, audit::AuditError},
    bus::Bus,
    config::{Config, Store},
    event::{Family, NewEvent},
    fanout::Fanout,
    graphql::{self, Administration, GuardOptions},
    hub::Hub,
    log::{Log, MemoryLog, OnCommit, OpenError, Secret, SqliteLog},
    metrics::Metrics,
    platform::{
        health::Pulse,
        presence::Presence,
        sample::SampleFeed,
        self_events::{Announcer, SelfEvents},
    },
    server::{self, App, Directory, Rooms},
    threads::Threads,
};
use std::{io, sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};

/// So long those who follow the server may take to hear that it stops, before their connections are closed.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

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
    /// Authentication is not set up as it should be.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The audit file cannot be opened.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The fan-out ended by itself, which is a defect; the cause is in the log output.
    #[error("the fan-out has stopped; the server ends rather than stay silent")]
    FanoutStopped,
}

/// A server whose rooms are built and whose log is open.
#[derive(Debug)]
pub struct Server {
    threads: Threads,
    hub: Hub,
    fanout: Fanout,
    authority: Authority,
    audit: Audit,
    directory: Directory,
    worker: JoinHandle<()>,
    app: App,
    self_events: SelfEvents,
    announcer: Announcer,
    pulse: Pulse,
    demo: bool,
}

impl Server {
    /// Opens the log and builds the rooms. Must be called on a tokio runtime.
    pub fn open(config: &Config) -> Result<Server, ServeError> {
        let metrics = Metrics::new();
        let bus = Bus::new(&config.bus_options());
        let (log, secret) = open_log(config, &bus, &metrics)?;
        let mask_key = MaskKey::new(secret.key(MaskKey::PURPOSE));
        let audit = open_audit(config, &metrics)?;
        let options = config.auth_options(metrics.clone());
        let authority = Authority::new(auth::Options { mask_key, audit: audit.clone(), ..options })?;
        let hub = Hub::new(log, bus, metrics, config.event_limits());
        let (self_events, announcer) = SelfEvents::new(&hub, &config.self_events);
        let presence = Presence::new(self_events.tells(Family::Presence));
        let directory = Directory::new(self_events.clone(), presence.clone());
        let administration =
            Administration { authority: authority.clone(), connections: Arc::new(directory.clone()) };
        let schema = graphql::served(hub.clone(), administration, presence, &config.graphql_options());
        let guard = GuardOptions::default().for_schema(&graphql::sdl(&schema));
        let guard = guard.expect("the schema's own text is a schema");
        let threads = Threads::start()?;
        let (fanout, worker) = Fanout::start(hub.clone(), threads.fanout());
        let rooms = Rooms {
            hub: hub.clone(),
            fanout: fanout.clone(),
            schema,
            authority: authority.clone(),
            directory: directory.clone(),
            self_events: self_events.clone(),
            sockets: threads.sockets().clone(),
        };
        let pulse = Pulse {
            hub: hub.clone(),
            fanout: fanout.clone(),
            audit: audit.clone(),
            self_events: self_events.clone(),
            interval: config.health_interval,
        };
        let (app, demo) = (App::new(rooms, config.server_options(guard)), config.demo);
        Ok(Server {
            threads,
            hub,
            fanout,
            authority,
            audit,
            directory,
            worker,
            app,
            self_events,
            announcer,
            pulse,
            demo,
        })
    }

    /// The pipeline, for programs that publish or follow from inside the process.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The fan-out, for programs that look at what is open.
    pub fn fanout(&self) -> &Fanout {
        &self.fanout
    }

    /// Who decides who is accepted: to have it read its policy again, or to revoke something.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Who is connected.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Serves on the listener until `shutdown` is done, then ends in order: connections, fan-out, log.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let Server {
            threads,
            hub,
            fanout,
            audit,
            directory,
            mut worker,
            app,
            self_events,
            announcer,
            pulse,
            demo,
            ..
        } = self;
        let sample = demo.then(|| tokio::spawn(publish_sample(hub.clone())));
        let announcing = tokio::spawn(announcer.run());
        let telling = tokio::spawn(tell_presence(directory.presence().clone(), hub.clone()));
        let measuring = tokio::spawn(pulse.run());
        self_events.daemon_started();
        let mut ended = Ok(());
        let stop = async {
            tokio::select! {
                () = shutdown => farewell(&self_events, &fanout).await,
                _ = &mut worker => ended = Err(ServeError::FanoutStopped),
            }
        };
        server::run(listener, app, stop).await;
        sample.iter().chain([&announcing, &telling, &measuring, &worker]).for_each(JoinHandle::abort);
        hub.close().await;
        threads.end().await;
        // Last, so that everything that still happened is in it.
        audit.close().await;
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

/// Tells those who follow the server that it stops, and returns when they have it before them.
async fn farewell(self_events: &SelfEvents, fanout: &Fanout) {
    let told = async {
        if let Some(offset) = self_events.daemon_stopping().await {
            fanout.until_delivered(offset).await;
        }
    };
    if timeout(FAREWELL_MAX, told).await.is_err() {
        tracing::warn!("not everybody who follows the server heard that it stops");
    }
}

/// What happens is recorded where it is known who does it.
fn open_audit(config: &Config, metrics: &Metrics) -> Result<Audit, AuditError> {
    match config.has_authentication() {
        true => Audit::open(&config.audit_options(), metrics.clone()),
        false => Ok(Audit::off()),
    }
}

/// The log, and the secret that belongs to it.
fn open_log(config: &Config, bus: &Bus, metrics: &Metrics) -> Result<(Arc<dyn Log>, Secret), OpenError> {
    let on_commit: OnCommit = {
        let bus = bus.clone();
        Box::new(move |batch| bus.publish(batch))
    };
    let metrics = metrics.clone();
    let on_append = Box::new(move |events, took| metrics.appended(events, took));
    Ok(match config.store {
        Store::Memory => {
            (Arc::new(MemoryLog::open(config.memory_options(on_append), on_commit)), Secret::random()?)
        }
        Store::Sqlite => {
            let log = SqliteLog::open(config.sqlite_options(on_append), on_commit)?;
            let secret = log.secret().clone();
            (Arc::new(log), secret)
        }
    })
}

/// Tells who comes and goes until it is aborted.
async fn tell_presence(presence: Presence, hub: Hub) {
    presence.tell(&hub).await;
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
