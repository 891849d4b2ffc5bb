//! A socket that fails when its peer takes nothing for too long: hyper has deadlines for reading only.
//!
//! Invariants: the time runs only while bytes wait and none are taken, so a slow peer is served and a stalled one is not. A
//! WebSocket takes its socket out: it has a deadline of its own and says why it closes.

use prometheus_client::metrics::counter::Counter;
use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// A socket with a deadline for progress when writing.
#[derive(Debug)]
pub(super) struct WriteDeadline<S> {
    socket: S,
    timeout: Duration,
    /// Runs from the first write that was not taken.
    stalled: Option<Pin<Box<Sleep>>>,
    cut: Counter,
}

impl<S> WriteDeadline<S> {
    /// Fails a write after so long without progress, and counts that.
    pub(super) fn new(socket: S, timeout: Duration, cut: Counter) -> Self {
        WriteDeadline { socket, timeout, stalled: None, cut }
    }

    /// The socket, without a deadline.
    pub(super) fn into_inner(self) -> S {
        self.socket
    }

    /// What a write gave, or the failure that it has come to.
    fn progress<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timeout = self.timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if stalled.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.stalled = None;
        self.cut.inc();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer took nothing for too long")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteDeadline<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.progress(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.progress(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::{Instant, sleep},
    };

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn pair() -> (WriteDeadline<DuplexStream>, DuplexStream, Counter) {
        let (socket, peer) = duplex(64);
        let cut = Counter::default();
        (WriteDeadline::new(socket, TIMEOUT, cut.clone()), peer, cut)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_cut_on_time_and_counted() {
        let (mut socket, peer, cut) = pair();
        let began = Instant::now();
        let error = socket.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!((error.kind(), cut.get()), (io::ErrorKind::TimedOut, 1));
        assert!((TIMEOUT..TIMEOUT * 2).contains(&began.elapsed()));
        drop(peer);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_is_served_however_long_it_takes() {
        let (mut socket, mut peer, cut) = pair();
        let reading = tokio::spawn(async move {
            let mut taken = Vec::new();
            while taken.len() < 200 {
                sleep(TIMEOUT / 2).await;
                let mut some = [0; 16];
                let count = peer.read(&mut some).await.unwrap();
                taken.extend_from_slice(&some[..count]);
            }
            taken
        });
        socket.write_all(&[7; 200]).await.unwrap();
        assert_eq!((reading.await.unwrap(), cut.get()), (vec![7; 200], 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_socket_is_never_cut() {
        let (mut socket, mut peer, _) = pair();
        sleep(TIMEOUT * 10).await;
        socket.write_all(&[1; 10]).await.unwrap();
        sleep(TIMEOUT * 10).await;
        peer.read_exact(&mut [0; 10]).await.unwrap();
        socket.write_all(&[1; 60]).await.unwrap();
    }
}
