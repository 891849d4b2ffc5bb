//! Signals: Ctrl-C, and on Unix SIGTERM, ask the process to end; on Unix SIGHUP asks it to read its policy again.

use std::io;

/// From its making on, these signals do not end the process by themselves.
#[cfg(unix)]
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    ///
    /// Cancel safety: yes.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// From its making on, SIGHUP does not end the process.
#[cfg(unix)]
pub(super) struct Reloads(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Reloads {
    pub(super) fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::hangup()).map(Reloads)
    }

    /// Waits for the next one.
    ///
    /// Cancel safety: yes.
    pub(super) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

/// Other systems have no such signal; an administrator asks by `reloadPolicy`.
#[cfg(not(unix))]
pub(super) struct Reloads;

#[cfg(not(unix))]
impl Reloads {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Reloads)
    }

    /// Never comes.
    pub(super) async fn next(&mut self) {
        std::future::pending().await
    }
}

/// From its making on, these signals do not end the process by themselves.
#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Signals)
    }

    /// Waits for the next one.
    ///
    /// Cancel safety: yes.
    pub(super) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without signals only the end of the process ends the command.
            std::future::pending().await
        }
    }
}
