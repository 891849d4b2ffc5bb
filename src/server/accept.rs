//! The accept loop: a bound on connections, a deadline for request headers, `TCP_NODELAY`, and an orderly end.
//!
//! Why not `axum::serve`: it sets no timer, which turns hyper's header deadline off, and it has no bound on connections.

use super::Options;
use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// After an accept that failed for want of descriptors or memory; without a pause the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const HTTP2_STREAMS_MAX: u32 = 256;
const HEADER_BYTES_MAX: u32 = 16 * 1024;

/// A connection's share of [`Options::connections_max`]; an upgraded socket keeps it until it is closed.
#[derive(Clone, Debug)]
pub(super) struct Admission(#[allow(dead_code, reason = "held for its drop")] Arc<OwnedSemaphorePermit>);

/// Accepts until the token is cancelled; connections are tracked and finish what they have begun.
pub(super) async fn run(
    listener: &TcpListener,
    router: &Router,
    options: &Options,
    drain: &CancellationToken,
    tracker: &TaskTracker,
) {
    let connections = Arc::new(Semaphore::new(options.connections_max));
    loop {
        let admission = tokio::select! {
            () = drain.cancelled() => return,
            permit = Arc::clone(&connections).acquire_owned() => permit,
        };
        // The semaphore is never closed.
        let Ok(permit) = admission else { return };
        let stream = tokio::select! {
            () = drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match stream {
            Ok((stream, _)) => {
                let admission = Admission(Arc::new(permit));
                tracker.spawn(serve(
                    stream,
                    router.clone(),
                    options.header_timeout,
                    admission,
                    drain.clone(),
                ));
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn pause(error: &io::Error) {
    // A peer that went away before it was accepted is no reason to wait.
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        tracing::warn!(%error, "a connection could not be accepted");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn serve(
    stream: TcpStream,
    router: Router,
    header_timeout: Duration,
    admission: Admission,
    drain: CancellationToken,
) {
    // Events are small and wanted now; a failure here only costs latency.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(admission.clone());
        router.call(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).max_headers(64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(Some(header_timeout))
        .keep_alive_timeout(header_timeout);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}
