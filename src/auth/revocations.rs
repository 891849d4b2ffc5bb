//! What is no longer accepted, kept in a file of the data directory so that a restart does not forget it.
//!
//! Invariants: a revocation is in force before it is stored, and told as done after it is on stable storage. Bounded: entries of
//! tokens go when no such token can be valid any more; when it is full it refuses, and never forgets. A last line that was cut by
//! a crash was never told as done and is dropped; any other damage keeps the server from starting.

use super::{Revocation, token::Verified};
use crate::error::{Code, Refusal};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

/// The most entries of each kind.
const ENTRIES_MAX: usize = 100_000;
/// The most bytes of a name.
const NAME_BYTES_MAX: usize = 256;
/// The most bytes that are read: more than all entries with the longest names.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Lines beyond those in force before the file is written anew.
const STALE_LINES_MAX: usize = 10_000;

/// Where revocations are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// Until the process ends.
    InMemory,
    /// In this file.
    InFile(PathBuf),
    /// In this file of a server that may be running: it is read and never changed.
    ReadOnly(PathBuf),
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RevocationsError {
    /// The file system refused.
    #[error("the revocations in {} cannot be opened: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not what was written.
    #[error(
        "line {line} of the revocations in {} is damaged; mend or remove that line, and revoke again what it may have said",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// More than it can have.
    #[error("{} has more revocations than this version keeps", path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
    },
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Seconds since 1970.
    at: i64,
    what: What,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Subject(Box<str>),
    Token(Box<str>),
    Key(Box<str>),
}

impl From<Revocation> for What {
    fn from(revocation: Revocation) -> Self {
        match revocation {
            Revocation::Subject(name) => What::Subject(name),
            Revocation::Token(name) => What::Token(name),
            Revocation::Key(name) => What::Key(name),
        }
    }
}

/// What is no longer accepted.
#[derive(Debug)]
pub(super) struct Revocations {
    /// How long a token can be valid after its revocation.
    lifetime: Duration,
    set: Arc<RwLock<Set>>,
    journal: Option<Arc<Mutex<Journal>>>,
}

/// The entries in force, each with its second.
#[derive(Clone, Debug, Default)]
struct Set {
    subjects: HashMap<Box<str>, i64>,
    tokens: HashMap<Box<str>, i64>,
    keys: HashMap<Box<str>, i64>,
}

impl Revocations {
    /// Opens the file. `lifetime` is the longest time that a token can be valid.
    pub(super) fn open(keeping: Keeping, lifetime: Duration) -> Result<Self, RevocationsError> {
        let (set, journal) = match keeping {
            Keeping::InMemory => (Set::default(), None),
            Keeping::ReadOnly(path) => (read(&path, lifetime)?.0, None),
            Keeping::InFile(path) => {
                let (set, _) = read(&path, lifetime)?;
                let journal = Journal::write(path.clone(), &set);
                let journal = journal.map_err(|source| RevocationsError::Io { path, source })?;
                (set, Some(Arc::new(Mutex::new(journal))))
            }
        };
        Ok(Revocations { lifetime, set: Arc::new(RwLock::new(set)), journal })
    }

    /// Is this token revoked: itself, its key, or everything that its subject had when it was issued?
    pub(super) fn covers_token(&self, token: &Verified) -> bool {
        let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
        token.id().is_some_and(|id| set.tokens.contains_key(id))
            || set.keys.contains_key(token.key())
            || set.covers_subject(token.subject(), token.issued_at())
    }

    /// Is this API key revoked?
    pub(super) fn covers_api_key(&self, id: &str, subject: &str, issued_at: Option<DateTime<Utc>>) -> bool {
        let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
        set.keys.contains_key(id) || set.covers_subject(subject, issued_at)
    }

    /// Puts a revocation into force. What it gives is to be stored. Fails with `BAD_REQUEST` or `TOO_MANY`.
    pub(super) fn add(&self, revocation: Revocation, now: DateTime<Utc>) -> Result<Unstored, Refusal> {
        let entry = Entry { at: now.timestamp(), what: revocation.into() };
        let line = self.set.write().unwrap_or_else(PoisonError::into_inner).take(&entry, self.lifetime)?;
        Ok(Unstored(line))
    }

    /// Stores what is in force already. Fails with `UNAVAILABLE`.
    ///
    /// Cancel safety: once begun it is stored.
    pub(super) async fn store(&self, Unstored(line): Unstored) -> Result<(), Refusal> {
        let Some(journal) = self.journal.clone() else { return Ok(()) };
        let set = Arc::clone(&self.set);
        let stored = tokio::task::spawn_blocking(move || {
            journal.lock().unwrap_or_else(PoisonError::into_inner).append(&line, &set)
        });
        let failure = match stored.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(error = failure, "a revocation could not be stored");
        Err(Refusal::new(
            Code::Unavailable,
            "the revocation is in force, but could not be stored: a restart would forget it; see the server's log, then revoke again",
        ))
    }
}

/// The line of a revocation that is in force and not on disk yet.
#[derive(Debug)]
#[must_use]
pub(super) struct Unstored(String);

impl Set {
    fn len(&self) -> usize {
        self.subjects.len() + self.tokens.len() + self.keys.len()
    }

    /// Tokens that do not say when they were issued may be older than the revocation. One of the very second may be, too.
    fn covers_subject(&self, subject: &str, issued_at: Option<DateTime<Utc>>) -> bool {
        self.subjects
            .get(subject)
            .is_some_and(|revoked_at| issued_at.is_none_or(|issued_at| issued_at.timestamp() <= *revoked_at))
    }

    fn entries_mut(&mut self, what: &What) -> (&mut HashMap<Box<str>, i64>, Box<str>) {
        match what {
            What::Subject(name) => (&mut self.subjects, name.clone()),
            What::Token(name) => (&mut self.tokens, name.clone()),
            What::Key(name) => (&mut self.keys, name.clone()),
        }
    }

    /// Takes in an entry and gives its line.
    fn take(&mut self, entry: &Entry, lifetime: Duration) -> Result<String, Refusal> {
        let now = entry.at;
        let (_, name) = self.entries_mut(&entry.what);
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
            let allowed = format!("1 to {NAME_BYTES_MAX} bytes");
            return Err(Refusal::field(Code::BadRequest, "revocation", &name, allowed));
        }
        if self.entries_mut(&entry.what).0.len() >= ENTRIES_MAX {
            self.forget_tokens(now, lifetime);
        }
        let (entries, name) = self.entries_mut(&entry.what);
        if entries.len() >= ENTRIES_MAX && !entries.contains_key(&name) {
            return Err(Refusal::new(
                Code::TooMany,
                format!(
                    "{ENTRIES_MAX} revocations of this kind are in force; replace the signing key instead"
                ),
            ));
        }
        let at = entries.entry(name).or_insert(now);
        *at = now.max(*at);
        let line = serde_json::to_string(entry);
        line.map(|line| line + "\n").map_err(|_| Refusal::new(Code::Internal, "the revocation has no line"))
    }

    /// Forgets tokens that can no longer be valid.
    fn forget_tokens(&mut self, now: i64, lifetime: Duration) {
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        self.tokens.retain(|_, at| at.saturating_add(lifetime) > now);
    }

    fn lines(&self) -> Vec<Entry> {
        let of = |entries: &HashMap<Box<str>, i64>, what: fn(Box<str>) -> What| {
            entries.iter().map(|(name, at)| Entry { at: *at, what: what(name.clone()) }).collect::<Vec<_>>()
        };
        let mut lines = of(&self.subjects, What::Subject);
        lines.extend(of(&self.tokens, What::Token));
        lines.extend(of(&self.keys, What::Key));
        lines.sort_by_key(|entry| entry.at);
        lines
    }
}

/// Reads a file; the entries in force and the number of lines. A missing file has none.
fn read(path: &Path, lifetime: Duration) -> Result<(Set, usize), RevocationsError> {
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Set::default(), 0)),
        Err(source) => return Err(RevocationsError::Io { path: path.to_owned(), source }),
        Ok(_) => {}
    }
    let mut set = Set::default();
    let mut count = 0;
    for line in text.split_inclusive('\n') {
        count += 1;
        let Some(line) = line.strip_suffix('\n') else {
            tracing::warn!(path = %path.display(), "the last revocation was cut off by a crash and is dropped");
            break;
        };
        let damaged = || RevocationsError::Damaged { path: path.to_owned(), line: count };
        let entry: Entry = serde_json::from_str(line).map_err(|_| damaged())?;
        set.take(&entry, lifetime).map_err(|refusal| match refusal.code == Code::TooMany {
            true => RevocationsError::TooMany { path: path.to_owned() },
            false => damaged(),
        })?;
    }
    set.forget_tokens(Utc::now().timestamp(), lifetime);
    Ok((set, count))
}

/// The open file.
#[derive(Debug)]
struct Journal {
    path: PathBuf,
    file: File,
    lines: usize,
}

impl Journal {
    /// Writes the file anew, all or nothing, and opens it.
    fn write(path: PathBuf, set: &Set) -> io::Result<Self> {
        let next = path.with_extension("new");
        let entries = set.lines();
        let mut text = String::new();
        for entry in &entries {
            text += &serde_json::to_string(entry)?;
            text.push('\n');
        }
        let mut file = private_file(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&next, &path)?;
        #[cfg(unix)]
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(Journal { path, file, lines: entries.len() })
    }

    /// Adds a line. What it says is in the set already, and so is every line before it: whoever holds the journal can write it
    /// anew and lose none.
    fn append(&mut self, line: &str, set: &RwLock<Set>) -> io::Result<()> {
        let set = set.read().unwrap_or_else(PoisonError::into_inner);
        let anew = (self.lines > set.len() + STALE_LINES_MAX).then(|| set.clone());
        drop(set);
        if let Some(set) = anew {
            *self = Journal::write(self.path.clone(), &set)?;
            return Ok(());
        }
        let before = self.file.metadata()?.len();
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Half a line would be damage in the middle of the file as soon as another one follows.
            self.file.set_len(before)?;
        }
        self.lines += 1;
        written
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    options.append(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
#[path = "revocations_tests.rs"]
mod tests;
