//! Room that is kept for the day when the disk is full: removing events writes to the journal first.
//!
//! Invariants: the file holds nothing; it is given up when retention finds no room, and taken again when retention has made some.

use super::directory::Directory;
use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: usize,
    is_held: bool,
    /// Declared last, so the directory is let go after everything else.
    _directory: Arc<Directory>,
}

impl Reserve {
    /// The reserve of a data directory, taken if there is room.
    pub(super) fn hold(directory: &Arc<Directory>, bytes: usize) -> Self {
        let path = directory.reserve();
        let mut reserve = Reserve { path, bytes, is_held: false, _directory: Arc::clone(directory) };
        reserve.take();
        reserve
    }

    /// Takes the room, if there is some.
    pub(super) fn take(&mut self) {
        if self.is_held {
            return;
        }
        match self.write() {
            Ok(()) => self.is_held = true,
            Err(error) => {
                tracing::warn!(%error, "there is no room for the reserve that retention may need on a full disk");
                self.give_up();
            }
        }
    }

    fn write(&self) -> io::Result<()> {
        let mut file = super::directory::private_file(&self.path)?;
        if file.metadata()?.len() >= self.bytes as u64 {
            return Ok(());
        }
        // Written, not only made longer: a hole takes no room.
        let zeros = vec![0; 64 * 1024];
        for _ in 0..self.bytes.div_ceil(zeros.len()) {
            file.write_all(&zeros)?;
        }
        file.sync_all()
    }

    /// Frees the room.
    pub(super) fn give_up(&mut self) {
        self.is_held = false;
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the reserve cannot be freed");
        }
    }
}
