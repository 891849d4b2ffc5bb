//! Why a fault test did not pass.

use std::{io, time::Duration};

/// Everything that can go wrong in a run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The machine refused something that the test needs.
    #[error("{during}: {source}")]
    Io { during: String, source: io::Error },
    /// The machine lacks something; the test is left out, and says so.
    #[error("needs {0}")]
    Lacking(String),
    /// The server did not do what it promises.
    #[error("{0}")]
    Broken(String),
    /// Something that must happen did not.
    #[error("waited {waited:?} in vain: {what}")]
    Late { what: String, waited: Duration },
    /// The checker found breaches; they are told already.
    #[error("the checker found {0} violations")]
    Breached(usize),
}

impl Failure {
    /// For `map_err`: says what was going on.
    pub(crate) fn during(during: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Failure::Io { during: during.into(), source }
    }

    pub(crate) fn broken(text: impl Into<String>) -> Self {
        Failure::Broken(text.into())
    }
}

/// Fails with what the server did not do.
pub(crate) fn expect(holds: bool, text: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::Broken(text())) }
}

/// Waits for something that must happen in time.
pub(crate) async fn within<T>(
    waited: Duration,
    what: &str,
    happening: impl Future<Output = T>,
) -> Result<T, Failure> {
    tokio::time::timeout(waited, happening).await.map_err(|_| Failure::Late { what: what.to_owned(), waited })
}
