//! Where an event goes: the live ring of committed batches ([`Bus`]) and the [`Index`] of filters.
//!
//! Flow: takes each committed [`Batch`] from the log's thread, gives it to every receiver of the ring.
//! Invariants: the ring is bounded; a receiver that falls behind is told so and never skips in silence (`hub::Tail` goes back
//! to the log then).
//! Not here: who receives (`hub`, `fanout`).

mod index;

pub use index::{FilterId, Index};

use crate::event::Batch;
use tokio::sync::broadcast;

/// The bounds of the live ring.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many committed batches the ring keeps for its slowest receiver.
    pub ring_batches_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { ring_batches_max: 1_024 }
    }
}

/// The live ring: what was committed lately, for everybody who follows. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Bus {
    ring: broadcast::Sender<Batch>,
}

impl Bus {
    /// An empty ring.
    pub fn new(options: &Options) -> Self {
        Bus { ring: broadcast::Sender::new(options.ring_batches_max.max(1)) }
    }

    /// Puts a committed batch into the ring; never blocks.
    pub fn publish(&self, batch: Batch) {
        // The error says that nobody listens, which is fine: the log has the batch.
        let _ = self.ring.send(batch);
    }

    /// Receives every batch that is put into the ring from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Batch> {
        self.ring.subscribe()
    }
}
