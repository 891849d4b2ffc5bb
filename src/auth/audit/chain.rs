//! The audit file on disk: appended, synced, continued in another file when it is large enough, found again after a crash.
//!
//! Layout: lines in the file; up to where they were synced in `<name>.head`; older files as `<file>.<their first number>`;
//! `<file>.lock` keeps a second writer out.
//! Invariants: a line is synced before the head tells of it, so an end that is missing shows; what a failed write left is cut off
//! before the next one.
//! Not here: what is in a line (`line`), who is waiting (`audit`).

use super::{
    entry::{Entry, Kind},
    line::{self, Anchor, LINE_BYTES_MAX, Line},
};
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Why the audit file could not be opened. Each text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Another server writes it.
    #[error("the audit file {} is written by another server; choose another audit_file", file.display())]
    InUse {
        /// The file.
        file: PathBuf,
    },
    /// It has no line to go on from.
    #[error(
        "the audit file {} is damaged: {reason}; `fanfare audit verify` lists all damage; keep it and move it away with its \
         .head to begin a new one",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// How.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot use {}: {source}; check that it may be written by this user and has room", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> AuditError {
    let path = path.to_owned();
    move |source| AuditError::Io { path, source }
}

/// The path of what belongs to an audit file, with something at the end of its name.
fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(end);
    name.into()
}

/// The path of the head of an audit file.
pub(super) fn head_of(file: &Path) -> PathBuf {
    file.with_extension("head")
}

/// The older files that an audit file goes on from, the oldest first, each with its first number.
pub(super) fn older(file: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let own = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let first = name
            .strip_prefix(&own)
            .and_then(|rest| rest.strip_prefix('.'))
            .filter(|first| first.len() == 20 && first.bytes().all(|byte| byte.is_ascii_digit()));
        if let Some(first) = first.and_then(|first| first.parse().ok()) {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found)
}

/// The open end of the chain.
#[derive(Debug)]
pub(super) struct Chain {
    path: PathBuf,
    file: File,
    /// The number of the file's first line; none while it is empty.
    first: Option<u64>,
    /// Bytes that are synced.
    length: u64,
    last: Anchor,
    bytes_max: u64,
    /// Has a write failed, so that bytes may stand behind those that are synced?
    is_torn: bool,
    is_head_behind: bool,
    _lock: File,
}

/// The directory, made where there is none.
fn make_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl Chain {
    /// Opens the file, or makes it, and finds its end; gives what has to be told about how it was found.
    pub(super) fn open(path: &Path, bytes_max: u64) -> Result<(Self, Option<Entry>), AuditError> {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            make_private(directory).map_err(failed(directory))?;
        }
        let lock_path = beside(path, ".lock");
        let lock = private(&lock_path).map_err(failed(&lock_path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => AuditError::InUse { file: path.to_owned() },
            TryLockError::Error(source) => AuditError::Io { path: lock_path, source },
        })?;
        let mut file = private(path).map_err(failed(path))?;
        let found = end(&mut file, path)?;
        let is_empty = found.last.is_none();
        let first = if is_empty { None } else { Some(first(&mut file, path)?) };
        let last = match found.last {
            Some(last) => Some(last),
            // Rotation was cut short, or nothing was written since.
            None => match older(path).map_err(failed(path))?.last() {
                Some((_, older)) => end(&mut File::open(older).map_err(failed(older))?, older)?.last,
                None => None,
            },
        };
        let last = last.unwrap_or(Anchor::START);
        let head = read_head(path).map_err(failed(&head_of(path)))?;
        let recovered = recovered(last, head, found.torn);
        if found.torn > 0 {
            file.set_len(found.length).map_err(failed(path))?;
        }
        let length = found.length;
        let path = path.to_owned();
        let chain = Chain {
            path,
            file,
            first,
            length,
            last,
            bytes_max,
            is_torn: false,
            is_head_behind: false,
            _lock: lock,
        };
        if head == Head::Missing && last == Anchor::START {
            chain.write_head().map_err(failed(&head_of(&chain.path)))?;
        }
        chain.keep_names().map_err(failed(&chain.path))?;
        Ok((chain, recovered))
    }

    /// Appends entries and returns once they are on stable storage. On failure none of them is there.
    pub(super) fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        self.follow_path()?;
        let (mut bytes, mut last) = self.lines(entries)?;
        if self.first.is_some() && self.length + bytes.len() as u64 > self.bytes_max {
            self.rotate()?;
            (bytes, last) = self.lines(entries)?;
        }
        // Only what a write of ours left behind is cut off: what others put there has to show.
        if std::mem::replace(&mut self.is_torn, true) {
            self.file.set_len(self.length)?;
        }
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.is_torn = false;
        self.first.get_or_insert(self.last.seq + 1);
        self.length += bytes.len() as u64;
        self.last = last;
        let told = self.write_head();
        if let Err(error) = &told {
            tracing::error!(%error, "the head of the audit file cannot be written");
        }
        self.is_head_behind = told.is_err();
        Ok(())
    }

    /// Would a missing end go unnoticed, because the head could not be written?
    pub(super) fn is_head_behind(&self) -> bool {
        self.is_head_behind
    }

    /// The lines of entries; those of a new file begin with where it goes on from.
    fn lines(&self, entries: &[Entry]) -> io::Result<(Vec<u8>, Anchor)> {
        let (mut bytes, mut last) = (Vec::new(), self.last);
        if self.first.is_none() && last != Anchor::START {
            let continued = Entry::of(Kind::Continued).detail("after", &last.to_string());
            last = line::write(&continued, last, &mut bytes)?;
        }
        for entry in entries {
            last = line::write(entry, last, &mut bytes)?;
        }
        Ok((bytes, last))
    }

    /// Goes on in a new file when somebody has moved ours away: an archive, or a hand.
    fn follow_path(&mut self) -> io::Result<()> {
        if is_same_file(&self.path, &self.file)? {
            return Ok(());
        }
        self.file = private(&self.path)?;
        (self.first, self.length, self.is_torn) = (None, self.file.metadata()?.len(), false);
        match self.length {
            0 => self.keep_names(),
            _ => Err(io::Error::other("another file was put in the place of the audit file")),
        }
    }

    /// The file gets the name of its first line, and another one begins.
    fn rotate(&mut self) -> io::Result<()> {
        let Some(first) = self.first else { return Ok(()) };
        let name = beside(&self.path, &format!(".{first:020}"));
        fs::rename(&self.path, name)?;
        self.file = private(&self.path)?;
        (self.first, self.length) = (None, 0);
        self.keep_names()
    }

    fn write_head(&self) -> io::Result<()> {
        let head = head_of(&self.path);
        let fresh = beside(&head, ".new");
        let mut file = private(&fresh)?;
        file.set_len(0)?;
        writeln!(file, "{}", self.last)?;
        file.sync_data()?;
        fs::rename(fresh, head)
    }

    /// Makes new names survive a power cut.
    #[cfg(unix)]
    fn keep_names(&self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Other systems keep names by themselves.
    #[cfg(not(unix))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as on other systems")]
    fn keep_names(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(unix)]
fn is_same_file(path: &Path, file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let own = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Other systems do not let an open file be moved.
#[cfg(not(unix))]
fn is_same_file(_path: &Path, _file: &File) -> io::Result<bool> {
    Ok(true)
}

/// What the head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// There is none.
    Missing,
    /// It cannot be read.
    Unusable,
    /// Up to here lines were synced.
    At(Anchor),
}

/// Reads the head of an audit file.
pub(super) fn read_head(file: &Path) -> io::Result<Head> {
    let mut text = String::new();
    match File::open(head_of(file)).and_then(|head| head.take(1_024).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Head::Missing),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(Head::Unusable),
        Err(error) => return Err(error),
    }
    let anchor = text.strip_suffix('\n').and_then(|text| text.parse().ok());
    Ok(anchor.map_or(Head::Unusable, Head::At))
}

/// What has to be told of a file that does not end where its head says. Lines beyond the head are those of a crash between
/// the two.
fn recovered(last: Anchor, head: Head, torn: u64) -> Option<Entry> {
    let (expected, is_lost) = match head {
        Head::At(head) => {
            let is_lost = head.seq > last.seq || (head.seq == last.seq && head.hash != last.hash);
            (head.to_string(), is_lost)
        }
        Head::Missing => ("missing".to_owned(), last != Anchor::START),
        Head::Unusable => ("unusable".to_owned(), true),
    };
    let entry = Entry::of(Kind::Recovered)
        .detail("torn_bytes", &torn.to_string())
        .detail("found", &last.to_string())
        .detail("head", &expected)
        .detail("lost", if is_lost { "true" } else { "false" });
    (is_lost || torn > 0).then_some(entry)
}

/// Where a file ends.
struct End {
    /// Its last whole line; none for a file without lines.
    last: Option<Anchor>,
    /// Bytes up to the end of that line.
    length: u64,
    /// Bytes behind it.
    torn: u64,
}

/// The last whole line of a file; what a crash left behind it is counted.
fn end(file: &mut File, path: &Path) -> Result<End, AuditError> {
    let whole = file.metadata().map_err(failed(path))?.len();
    let looked_at = whole.min(8 * LINE_BYTES_MAX as u64);
    file.seek(SeekFrom::Start(whole - looked_at)).map_err(failed(path))?;
    let mut bytes = Vec::new();
    file.take(looked_at).read_to_end(&mut bytes).map_err(failed(path))?;
    let mut rest = bytes.as_slice();
    while let Some(at) = rest.iter().rposition(|byte| *byte == b'\n') {
        let before = rest.get(..at).unwrap_or_default();
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if let Ok(Line { anchor, .. }) = line::read(before.get(start..).unwrap_or_default()) {
            let length = whole - looked_at + at as u64 + 1;
            return Ok(End { last: Some(anchor), length, torn: whole - length });
        }
        rest = before;
    }
    match looked_at == whole {
        // Nothing was ever whole: a crash in the first write.
        true => Ok(End { last: None, length: 0, torn: whole }),
        false => {
            let reason = format!("its last {looked_at} bytes hold no whole line");
            Err(AuditError::Damaged { file: path.to_owned(), reason })
        }
    }
}

/// The number of the first line of a file.
fn first(file: &mut File, path: &Path) -> Result<u64, AuditError> {
    file.rewind().map_err(failed(path))?;
    let mut bytes = Vec::new();
    BufReader::new(file).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes).map_err(failed(path))?;
    match line::read(bytes.trim_ascii_end()) {
        Ok(line) => Ok(line.anchor.seq),
        Err(reason) => {
            let reason = format!("its first line cannot be read: {reason}");
            Err(AuditError::Damaged { file: path.to_owned(), reason })
        }
    }
}
