//! A second witness of the last acknowledged event, in a file of its own beside the database.
//!
//! SQLite ends its journal where a frame's checksum is wrong, as it must after a power cut. A journal that was cut or damaged
//! further up looks the same, and acknowledged events would be missing in silence. The mark is written after each commit and
//! not synced: it is never ahead of what is on stable storage, and one that is behind proves less but nothing wrong.
//! Invariants: a log that has events and no mark was restored from somewhere, so it gets a new epoch.

use super::{
    directory::{Directory, OpenError},
    ends::Ends,
    record,
};
use std::{
    fs::File,
    io::{self, Read, Seek, Write},
};

/// What the mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Witness {
    /// There is none.
    Missing,
    /// It cannot be read, or tells of another log.
    Unusable,
    /// Up to this offset events of this log were acknowledged.
    Acknowledged(u64),
}

/// The open file.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    /// The epoch's fingerprint: its secret stays in the database.
    epoch: u64,
    has_failed: bool,
}

/// Reads the mark of a log.
pub(super) fn witness(directory: &Directory, ends: &Ends) -> Result<Witness, OpenError> {
    let path = directory.mark();
    let mut bytes = Vec::new();
    match File::open(&path).and_then(|file| file.take(64).read_to_end(&mut bytes)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Witness::Missing),
        Err(source) => return Err(OpenError::Io { path, source }),
        Ok(_) => {}
    }
    let read = record::unseal(&bytes, 0).and_then(|mut fields| Ok((fields.u64()?, fields.u64()?)));
    Ok(match read {
        Ok((epoch, offset)) if epoch == ends.epoch.fingerprint() => Witness::Acknowledged(offset),
        Ok(_) | Err(_) => Witness::Unusable,
    })
}

/// Fails when the log has not all that was acknowledged.
pub(super) fn verify(witness: Witness, directory: &Directory, ends: &Ends) -> Result<(), OpenError> {
    match witness {
        Witness::Acknowledged(acknowledged) if acknowledged > ends.head => Err(OpenError::EventsLost {
            file: directory.database(),
            mark: directory.mark(),
            found: ends.head,
            acknowledged,
        }),
        Witness::Acknowledged(_) | Witness::Missing | Witness::Unusable => Ok(()),
    }
}

impl Mark {
    /// Opens the file, or makes it, and writes what the log has now.
    pub(super) fn open(directory: &Directory, ends: &Ends) -> Result<Self, OpenError> {
        let path = directory.mark();
        let failed = |source| OpenError::Io { path: path.clone(), source };
        let file = super::directory::private_file(&path).map_err(failed)?;
        let mut mark = Mark { file, epoch: ends.epoch.fingerprint(), has_failed: false };
        mark.write(ends.head).and_then(|()| mark.file.sync_all()).map_err(failed)?;
        Ok(mark)
    }

    /// Notes that events up to this offset are committed.
    pub(super) fn set(&mut self, head: u64) {
        // An old mark proves less; that is no reason to stop.
        if let Err(error) = self.write(head)
            && !std::mem::replace(&mut self.has_failed, true)
        {
            tracing::warn!(%error, "the mark of the last acknowledged event cannot be written");
        }
    }

    fn write(&mut self, head: u64) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(20);
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&head.to_le_bytes());
        record::seal(&mut bytes, 0);
        self.file.rewind()?;
        self.file.write_all(&bytes)
    }
}
