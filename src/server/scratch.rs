//! Buffers that connections borrow while they write, so that an idle one holds none.

use super::wire::Frames;
use crate::fanout::{Delivery, Key};
use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

/// A buffer that has grown beyond this is given back to the system.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// What one write needs.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// What is written.
    pub(super) frames: Frames,
    /// What it is made of.
    pub(super) deliveries: Vec<(Key, Delivery)>,
}

impl Scratch {
    /// Forgets what is in it, and keeps memory for the next write.
    pub(super) fn empty(&mut self) {
        self.frames.clear(KEPT_BYTES_MAX);
        self.deliveries.clear();
    }
}

/// As many scratch buffers as were ever borrowed at once: one for each thread that runs connections, since nobody keeps one
/// across an await. Cloning shares them.
#[derive(Clone, Default)]
pub(super) struct Scratches(Arc<Mutex<Vec<Scratch>>>);

impl Scratches {
    /// Borrows an empty buffer until the guard is dropped.
    pub(super) fn borrow(&self) -> Borrowed {
        let scratch = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Borrowed { scratch: scratch.unwrap_or_default(), home: self.clone() }
    }
}

impl fmt::Debug for Scratches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratches").finish_non_exhaustive()
    }
}

/// A borrowed buffer.
#[derive(Debug)]
pub(super) struct Borrowed {
    scratch: Scratch,
    home: Scratches,
}

impl Deref for Borrowed {
    type Target = Scratch;

    fn deref(&self) -> &Scratch {
        &self.scratch
    }
}

impl DerefMut for Borrowed {
    fn deref_mut(&mut self) -> &mut Scratch {
        &mut self.scratch
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.empty();
        self.home.0.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    }
}
