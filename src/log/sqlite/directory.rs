//! The data directory: made for its owner only, and locked so that one log at a time has it.

use super::damage;
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
        "{} has format {found}, and this version reads formats {oldest} to {known} only; run the version that wrote it, or \
         choose another data directory",
        file.display()
    )]
    UnknownFormat {
        /// The database file.
        file: PathBuf,
        /// Its format.
        found: i64,
        /// The oldest format that this version reads.
        oldest: i64,
        /// The format of this version.
        known: i64,
    },
    /// Events that were acknowledged are not there.
    #[error(
        "{} ends at offset {found}, but events up to offset {acknowledged} were acknowledged: its journal was cut, damaged or \
         replaced; restore a backup, or remove {} to go on without them (the log gets a new epoch, and clients load their \
         state anew)",
        file.display(), mark.display()
    )]
    EventsLost {
        /// The database file.
        file: PathBuf,
        /// The file that tells what was acknowledged.
        mark: PathBuf,
        /// The last event that is there.
        found: u64,
        /// The last event that was acknowledged.
        acknowledged: u64,
    },
    /// The database is not what was written.
    #[error(
        "the log {} is damaged: {reason}; `fanfare log check` lists all damage; restore a backup, or choose another data \
         directory",
        file.display()
    )]
    Damaged {
        /// The database file.
        file: PathBuf,
        /// Where and how.
        reason: String,
    },
    /// There is no log to look at.
    #[error("there is no log in {}", dir.display())]
    Missing {
        /// The data directory.
        dir: PathBuf,
    },
    /// Others than its owner may read the secret.
    #[error(
        "{} may be read by others than its owner (mode {mode:o}); if nobody has read it, run chmod 600, else remove it (hashes \
         and sealed cursors of before are then of no use)",
        file.display()
    )]
    SecretExposed {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The secret is not what was written.
    #[error(
        "{} is not 32 bytes; restore it from a backup, or remove it (hashes and sealed cursors of before are then of no use)",
        file.display()
    )]
    SecretDamaged {
        /// The file.
        file: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for a secret: {0}")]
    NoRandomBytes(getrandom::Error),
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
    /// Holds the lock while it is open; `None` beside a running server.
    lock: Option<File>,
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
        let directory = Directory { path: path.to_owned(), lock: Some(lock), _holding: holding };
        // SQLite gives its journals the permissions of this file.
        let database = directory.database();
        private_file(&database).map_err(|source| failed(&database, source))?;
        keep_entries(path, is_new).map_err(|source| failed(path, source))?;
        Ok((directory, released))
    }

    /// The directory of a log that is there, to look at: locked against a server, or beside a running one.
    pub(super) fn existing(path: &Path) -> Result<Self, OpenError> {
        let (holding, _) = watch::channel(());
        let mut directory = Directory { path: path.to_owned(), lock: None, _holding: holding };
        if !directory.database().is_file() {
            return Err(OpenError::Missing { dir: path.to_owned() });
        }
        let lock_file = path.join("lock");
        match File::open(&lock_file) {
            Ok(lock) => match lock.try_lock() {
                Ok(()) => directory.lock = Some(lock),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(OpenError::Io { path: lock_file, source }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(OpenError::Io { path: lock_file, source }),
        }
        Ok(directory)
    }

    /// Is it ours alone?
    pub(super) fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// The database file.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join("fanfare.db")
    }

    /// The file that tells what was acknowledged.
    pub(super) fn mark(&self) -> PathBuf {
        self.path.join("acknowledged")
    }

    /// The file with the secret from which keys are derived.
    pub(super) fn secret(&self) -> PathBuf {
        self.path.join("secret")
    }

    /// Makes the names of files that were made or renamed survive a power cut.
    pub(super) fn keep_names(&self) -> io::Result<()> {
        keep_entries(&self.path, false)
    }

    /// The room for retention on a full disk.
    pub(super) fn reserve(&self) -> PathBuf {
        self.path.join("reserve")
    }

    /// Damage that was found while opening.
    pub(super) fn damaged(&self, reason: &impl ToString) -> OpenError {
        OpenError::Damaged { file: self.database(), reason: reason.to_string() }
    }

    /// An error of SQLite while it opens the database.
    pub(super) fn failed(&self) -> impl Fn(rusqlite::Error) -> OpenError {
        let file = self.database();
        move |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => OpenError::NotOurs { file: file.clone() },
            _ if damage::is_damage(&source) => {
                OpenError::Damaged { file: file.clone(), reason: source.to_string() }
            }
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

pub(super) fn private_file(path: &Path) -> io::Result<File> {
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

/// How many bytes users other than the system's own may still write where the directory is.
#[cfg(unix)]
pub(super) fn disk_free(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// Other systems are not asked.
#[cfg(not(unix))]
pub(super) fn disk_free(_path: &Path) -> Option<u64> {
    None
}
