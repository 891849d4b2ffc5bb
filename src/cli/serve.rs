//! `fanfare serve`: settings, log, listener, then the server until a signal.

use super::{
    Environment, Failure,
    settings::SettingArguments,
    signals::{Reloads, Signals},
    terminal,
};
use clap::Args;
use fanfare::{
    Server,
    auth::{Authority, Setup},
    config::{Config, Loaded, LogFormat},
};
use std::{io, net::SocketAddr};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: SettingArguments,
}

pub(super) fn run(arguments: &Arguments, environment: &Environment<'_>) -> Result<(), Failure> {
    let loaded = arguments.settings.load(environment)?;
    start_log(&loaded.config)?;
    log_settings(&loaded);
    let mut builder = fanfare::runtime_builder();
    if let Some(threads) = loaded.config.threads() {
        builder.worker_threads(threads);
    }
    let runtime = builder.build()?;
    let result = runtime.block_on(serve(loaded.config));
    // After a drain nothing is left to wait for, and after a second signal nothing may be waited for.
    runtime.shutdown_background();
    result
}

fn start_log(config: &Config) -> Result<(), Failure> {
    let filter = EnvFilter::builder().parse(&config.log).map_err(Failure::usage)?;
    let log = fmt().with_env_filter(filter).with_writer(io::stderr);
    let harmless = filter_fn(is_harmless);
    let started = match config.log_format {
        LogFormat::Text => {
            log.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).finish().with(harmless).try_init()
        }
        LogFormat::Json => log.json().flatten_event(true).finish().with(harmless).try_init(),
    };
    started.map_err(Failure::failed)
}

/// Below `info` libraries write whole messages, and with them tokens and what is masked; whatever the filter says, only our own
/// lines are shown there.
fn is_harmless(line: &tracing::Metadata<'_>) -> bool {
    *line.level() <= tracing::Level::INFO || line.target().split("::").next() == Some("fanfare")
}

fn log_settings(loaded: &Loaded) {
    for (setting, value, source) in loaded.changed() {
        tracing::info!(setting, %value, %source, "not the default");
    }
}

/// Says who may come in.
fn log_authentication(authority: &Authority) {
    let Some(setup) = authority.setup() else {
        tracing::info!(
            "no authentication is configured: serving loopback only, everybody there may read and publish"
        );
        return;
    };
    let Setup { keys, api_keys, roles, masks } = setup;
    let keys = keys.join(", ");
    tracing::info!(%keys, api_keys, roles, masks, "authentication is on");
}

async fn serve(config: Config) -> Result<(), Failure> {
    let (drain, end) = (CancellationToken::new(), CancellationToken::new());
    // Before the listener, so that a signal is never missed by a server that says it listens.
    let (signals, reloads) = (Signals::new()?, Reloads::new()?);
    let listener = listen(config.listen)
        .map_err(|error| Failure::failed(format!("cannot listen on {}: {error}", config.listen)))?;
    let address = listener.local_addr()?;
    let server = Server::open(&config).map_err(Failure::failed)?;
    log_authentication(server.authority());
    // Whoever reads this line may connect: the log is open and the socket takes connections.
    terminal::print(&format!("listening on http://{address}\n"))?;
    tokio::spawn(watch(signals, drain.clone(), end.clone()));
    tokio::spawn(reload(reloads, server.authority().clone()));
    tokio::select! {
        result = server.run(listener, drain.cancelled_owned()) => result.map_err(Failure::failed),
        () = end.cancelled() => Err(Failure::failed("ended at once by a second signal")),
    }
}

/// The system cuts it to its own bound (`net.core.somaxconn`).
const LISTEN_QUEUE: u32 = 16_384;

/// With the longest queue that the system allows: when a server comes back, its clients do so all at once.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_QUEUE)
}

/// Reads the policy again at each signal; one that is wrong changes nothing.
async fn reload(mut reloads: Reloads, authority: Authority) {
    loop {
        reloads.next().await;
        match authority.reload(None).await {
            Ok(()) => {
                tracing::info!("the policy was read again");
                log_authentication(&authority);
            }
            Err(refusal) => {
                tracing::error!(%refusal, "the policy was not read again; the old one stays in force")
            }
        }
    }
}

/// The first signal begins the drain, the second one ends the process at once.
async fn watch(mut signals: Signals, drain: CancellationToken, end: CancellationToken) {
    signals.next().await;
    tracing::info!("draining; a second signal ends at once");
    drain.cancel();
    signals.next().await;
    end.cancel();
}
