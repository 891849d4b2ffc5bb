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
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
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
    let has_asked = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&has_asked);
    let service = service_fn(move |mut request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
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
        () = first_request_missing(&has_asked, header_timeout) => {
            tracing::debug!("a peer never got to its first request");
            return;
        }
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}

/// Ends when the first request has not come in time: hyper's own deadline begins only once it knows the version of HTTP, and
/// for HTTP/2 not at all.
async fn first_request_missing(has_asked: &AtomicBool, due: Duration) {
    tokio::time::sleep(due).await;
    if has_asked.load(Ordering::Relaxed) {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{io::AsyncWriteExt, time::timeout};

    /// Whatever a peer has begun to say, it must have asked something by the deadline.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_gets_to_its_request_is_let_go() {
        for begun in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost: x\r\n"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            peer.write_all(begun.as_bytes()).await.unwrap();
            let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
            let due = Duration::from_secs(10);
            let served =
                serve(stream, Router::new(), due, Admission(Arc::new(permit)), CancellationToken::new());
            assert!(timeout(6 * due, served).await.is_ok(), "{begun:?} held its connection");
        }
    }
}
