//! Everything that makes a row invalid: the load and the servers fail in these ways and no others.

use std::{io, path::PathBuf, time::Duration};

/// Why a run gave no number.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{during}: {source}")]
    Io { during: &'static str, source: io::Error },
    #[error("{what} is not installed; {how}")]
    NotInstalled { what: &'static str, how: &'static str },
    #[error("{} is missing; build it with: cargo build --release --examples", .0.display())]
    NotBuilt(PathBuf),
    #[error(
        "this needs {needed} open files and a process may have {allowed} here; run `ulimit -n {needed}` first"
    )]
    OpenFiles { needed: usize, allowed: usize },
    #[error("the server did not say within {0:?} on which address it listens")]
    NotListening(Duration),
    #[error("the operating system tells no {0} of the server")]
    NotAccounted(&'static str),
    #[error("the connection was refused: {0}")]
    Refused(String),
    #[error("subscriber {subscriber} was not accepted within {waited:?}")]
    NotAccepted { subscriber: usize, waited: Duration },
    #[error("{found} of {expected} subscriptions were ready after {waited:?}")]
    NotReady { found: usize, expected: usize, waited: Duration },
    #[error("subscriber {subscriber} got a message that {problem}")]
    Message { subscriber: usize, problem: &'static str },
    #[error("subscriber {subscriber} was disconnected: {reason}")]
    Disconnected { subscriber: usize, reason: String },
    #[error("subscriber {subscriber} got {text}")]
    Unexpected { subscriber: usize, text: String },
    #[error("subscriber {subscriber} got event {found} after event {after}")]
    OutOfOrder { subscriber: usize, after: u64, found: u64 },
    #[error("event {0} was delivered before it was published or more often than there are subscribers")]
    NeverPublished(u64),
    #[error("publishing was refused: {0}")]
    NotPublished(String),
    #[error("nothing moved for {waited:?}: event {event} is missing at {missing} subscribers")]
    Stalled { waited: Duration, event: u64, missing: usize },
    #[error("published events were not acknowledged within {0:?}")]
    NotAcknowledged(Duration),
    #[error("{delivered} deliveries were counted where {expected} were due")]
    Miscounted { delivered: u64, expected: u64 },
    #[error("the crowd failed: {0}")]
    Crowd(String),
}

impl Failure {
    /// Is the server not there at all, which makes no row invalid?
    pub(crate) const fn is_absence(&self) -> bool {
        matches!(self, Failure::NotInstalled { .. })
    }

    /// For `map_err`: says what was going on when the operating system refused.
    pub(crate) fn during(during: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Failure::Io { during, source }
    }
}
