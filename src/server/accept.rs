//! The accept loop: lets connections in or turns them away, deadlines for request headers and for writes, limits of HTTP,
//! `TCP_NODELAY`, and an orderly end.
//!
//! Invariants: whoever knocks is let in or told why not, at once; every request is judged for browsers before it is routed.
//! Why not `axum::serve`: it sets no timer, which turns hyper's header deadline off, and it has no bound on connections.

use super::{
    App,
    browser::Browser,
    correlation::Correlation,
    door::{Admission, Door},
    turned_away::TurnedAway,
    write_deadline::WriteDeadline,
};
use crate::{auth::audit::Entry, fanout::way::give_way};
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
use prometheus_client::metrics::counter::Counter;
use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// After an accept that failed for want of descriptors or memory; without a pause the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The kernel holds so many bytes that it has not sent; more wait in the server or in the log, where they are counted and can
/// be overtaken. By itself it would take megabytes for a peer that does not read. Other systems keep their own bound.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 * 1024;
const HTTP2_STREAMS_MAX: u32 = 256;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Streams that a peer resets before they are answered: more at a time than this is an attack (CVE-2023-44487).
const HTTP2_RESETS_MAX: usize = 32;
/// Streams that we reset because a peer broke the rules; after so many the connection ends (CVE-2025-8671).
const HTTP2_FAULTS_MAX: usize = 64;
/// What hyper holds for a peer that takes nothing: two pieces of a stream. Its own default is four times as much.
const BUFFER_BYTES_MAX: usize = 128 * 1024;

/// What every connection is held to.
#[derive(Clone, Debug)]
struct Terms {
    header_timeout: Duration,
    write_timeout: Duration,
    silence_max: Duration,
    /// Counts the connections that were cut because their peer took nothing.
    cut: Counter,
    drain: CancellationToken,
    browser: Arc<Browser>,
}

/// Accepts until the server drains; connections are tracked and finish what they have begun.
pub(super) async fn run(listener: &TcpListener, router: &Router, app: &App) {
    let (drain, options) = (&app.drain, &app.options);
    let terms = Terms {
        header_timeout: options.header_timeout,
        write_timeout: options.write_timeout,
        silence_max: options.silence_max(),
        cut: app.hub.metrics().slow_consumers_closed.clone(),
        drain: drain.clone(),
        browser: Arc::clone(&app.browser),
    };
    let (door, turned_away) = (Door::new(options, app.accounts.clone()), TurnedAway::new());
    loop {
        let accepted = tokio::select! {
            () = drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                match door.admit(peer) {
                    Ok(admission) => {
                        let terms = terms.clone();
                        app.tracker.spawn(serve(stream, router.clone(), admission, terms));
                    }
                    Err(refusal) => {
                        app.hub.metrics().connections_refused.inc();
                        app.audit.record(Entry::limit(None, "connections", &refusal).peer(peer));
                        turned_away.tell(stream, refusal, &app.tracker);
                    }
                }
                // A crowd at the door waits for those that are in.
                tokio::task::yield_now().await;
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

async fn serve(stream: TcpStream, router: Router, admission: Admission, terms: Terms) {
    let (header_timeout, browser) = (terms.header_timeout, terms.browser);
    set_options(&stream, terms.silence_max);
    // Whoever is thrown out comes again at once.
    give_way();
    let router = TowerToHyperService::new(router);
    let has_asked = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&has_asked);
    let service = service_fn(move |mut request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(admission.clone());
        let correlation = Correlation::of(request.headers());
        if let Some(correlation) = &correlation {
            request.extensions_mut().insert(correlation.clone());
        }
        let (visit, refused) = browser.judge(&request);
        let answering = refused.is_none().then(|| router.call(request));
        async move {
            let answered = match answering {
                Some(answering) => answering.await?,
                None => refused.unwrap_or_default(),
            };
            let mut answered = visit.dress(answered);
            if let Some(correlation) = correlation {
                correlation.answer(&mut answered);
            }
            Ok::<_, Infallible>(answered)
        }
    });
    let stream = WriteDeadline::new(stream, terms.write_timeout, terms.cut);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_headers(64)
        .max_buf_size(BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_pending_accept_reset_streams(HTTP2_RESETS_MAX)
        .max_local_error_reset_streams(HTTP2_FAULTS_MAX)
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
        () = terms.drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}

/// Sets what every socket needs; a failure costs latency, memory or patience only. A peer whose system acknowledges nothing for
/// `silence_max` is gone: the one way to find that of a stream, whose peer has nothing to say.
pub(super) fn set_options(stream: &TcpStream, silence_max: Duration) {
    // Events are small and wanted now.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        let socket = socket2::SockRef::from(stream);
        let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
        let _ = socket.set_tcp_user_timeout(Some(silence_max));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = silence_max;
}

/// For a socket whose peer answers pings, which knows better when the peer is gone.
pub(super) fn without_silence_max(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(None);
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
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
    use crate::{auth::limits::Accounts, server::Options};
    use tokio::{io::AsyncWriteExt, time::timeout};

    /// Whatever a peer has begun to say, it must have asked something by the deadline.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_gets_to_its_request_is_let_go() {
        for begun in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost: x\r\n"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (stream, address) = listener.accept().await.unwrap();
            peer.write_all(begun.as_bytes()).await.unwrap();
            let options = Options::default();
            let accounts = Accounts::new(options.limits.clone(), Counter::default());
            let admission = Door::new(&options, accounts).admit(address).unwrap();
            let due = Duration::from_secs(10);
            let terms = Terms {
                header_timeout: due,
                write_timeout: due,
                silence_max: due,
                cut: Counter::default(),
                drain: CancellationToken::new(),
                browser: Arc::new(Browser::new(&[], true)),
            };
            let served = serve(stream, Router::new(), admission, terms);
            assert!(timeout(6 * due, served).await.is_ok(), "{begun:?} held its connection");
        }
    }
}
