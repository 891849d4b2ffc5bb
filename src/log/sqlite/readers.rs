//! A few read-only connections, lent to one read each on the runtime's blocking threads.
//!
//! Invariants: no more reads run than there are connections; after `close` no connection outlives the read that has it.

use super::{
    super::ReadError,
    SqliteOptions,
    directory::{Directory, OpenError},
    open,
};
use rusqlite::Connection;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

#[derive(Debug)]
struct Reader {
    connection: Connection,
    /// Declared after the connection, so the directory is let go after it is closed.
    _directory: Arc<Directory>,
}

/// The connections that nobody reads with now; one permit stands for each.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Reader>>>,
}

impl Readers {
    pub(super) fn open(directory: &Arc<Directory>, options: &SqliteOptions) -> Result<Self, OpenError> {
        let count = options.read_connections.clamp(1, 64);
        let readers = (0..count).map(|_| reader(directory, options)).collect::<Result<Vec<_>, _>>();
        let readers = readers.map_err(directory.failed())?;
        Ok(Readers { permits: Arc::new(Semaphore::new(count)), idle: Arc::new(Mutex::new(readers)) })
    }

    /// Runs one read; waits while all connections are lent.
    ///
    /// Cancel safety: a read that has begun goes on to its end.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| closed())?;
        let lent = Lent { reader: Some(self.take().ok_or_else(closed)?), to: self.clone() };
        let task = tokio::task::spawn_blocking(move || {
            let answer =
                lent.reader.as_ref().map_or_else(|| Err(closed()), |reader| read(&reader.connection));
            // Back before the permit, so that who gets the permit finds a connection.
            drop(lent);
            drop(permit);
            answer
        });
        task.await.unwrap_or_else(|error| Err(ReadError::Failed { reason: error.to_string() }))
    }

    fn take(&self) -> Option<Reader> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Refuses further reads and closes each connection as soon as it is idle.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn closed() -> ReadError {
    ReadError::Failed { reason: "the log is closed".to_owned() }
}

fn reader(directory: &Arc<Directory>, options: &SqliteOptions) -> rusqlite::Result<Reader> {
    let connection = open::reading(directory, options.read_cache_kib)?;
    Ok(Reader { connection, _directory: Arc::clone(directory) })
}

/// A connection on loan; it goes back when dropped, after a panic too.
struct Lent {
    reader: Option<Reader>,
    to: Readers,
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut idle = self.to.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at under the lock: `close` empties the list after it has closed the permits.
        if !self.to.permits.is_closed() {
            idle.extend(self.reader.take());
        }
    }
}
