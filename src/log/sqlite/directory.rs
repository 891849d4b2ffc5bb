//! The data directory: made for its owner only, and locked so that one log at a time has it.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};
use tokio::sync::watch;

/// Why a log could not be opened. Each text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another log has the directory, in this process or another.
    #[error("the data directory {} is in use by another server; stop it, or choose another data directory", dir.display())]
    AlreadyOpen {
        /// The data directory.
        dir: PathBuf,
    },
    /// The database file is somebody else's.
    #[error("{} is not a log of this program; choose another data directory, or move the file away", file.display())]
    NotOurs {
        /// The database file.
        file: PathBuf,
    },
    /// Another version wrote the log.
    #[error(
        "{} has format {found}, and this version reads format {known} only; run the version that wrote it, or choose \
         another data directory",
        file.display()
    )]
    UnknownFormat {
        /// The database file.
        file: PathBuf,
        /// Its format.
        found: i64,
        /// The format of this version.
        known: i64,
    },
    /// The file system refused.
    #[error("cannot open {}: {source}; check that it may be written by this user and has room", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database could not be opened or read.
    #[error("cannot open the log {}: {source}; free space or restore a backup as the cause asks for", file.display())]
    Store {
        /// The database file.
        file: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// A locked data directory; every connection holds on to it, and the last one lets it go.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Holds the lock while it is open.
    _lock: File,
    /// Declared after the lock, so whoever waits for it finds the lock free.
    _holding: watch::Sender<()>,
}

impl Directory {
    /// Makes the directory and its database file where they are missing and locks the directory. The receiver ends when the
    /// lock is free again.
    pub(super) fn open(path: &Path) -> Result<(Self, watch::Receiver<()>), OpenError> {
        let failed = |path: &Path, source| OpenError::Io { path: path.to_owned(), source };
        let is_new = !path.is_dir();
        private_dir(path).map_err(|source| failed(path, source))?;
        let lock_file = path.join("lock");
        let lock = private_file(&lock_file).map_err(|source| failed(&lock_file, source))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::AlreadyOpen { dir: path.to_owned() },
            TryLockError::Error(source) => failed(&lock_file, source),
        })?;
        let (holding, released) = watch::channel(());
        let directory = Directory { path: path.to_owned(), _lock: lock, _holding: holding };
        // SQLite gives its journals the permissions of this file.
        let database = directory.database();
        private_file(&database).map_err(|source| failed(&database, source))?;
        keep_entries(path, is_new).map_err(|source| failed(path, source))?;
        Ok((directory, released))
    }

    /// The database file.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join("fanfare.db")
    }

    /// An error of SQLite while it opens the database.
    pub(super) fn failed(&self) -> impl Fn(rusqlite::Error) -> OpenError {
        let file = self.database();
        move |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => OpenError::NotOurs { file: file.clone() },
            Some(_) | None => OpenError::Store { file: file.clone(), source },
        }
    }
}

fn private_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes the names of new files survive a power cut: those in the directory, and its own in its parent.
#[cfg(unix)]
fn keep_entries(path: &Path, is_new: bool) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    match path.canonicalize()?.parent() {
        Some(parent) if is_new => File::open(parent)?.sync_all(),
        Some(_) | None => Ok(()),
    }
}

/// Other systems keep names by themselves.
#[cfg(not(unix))]
fn keep_entries(_path: &Path, _is_new: bool) -> io::Result<()> {
    Ok(())
}
