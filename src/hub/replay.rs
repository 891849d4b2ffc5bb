//! The past, page by page: the one way in which tails and the fan-out read the log.
//!
//! Invariants (asserted on every event): offsets strictly rise; nothing that matches is between two pages.

use super::Hub;
use crate::{
    error::Refusal,
    event::{Event, EventFilter, Offset},
    log::{From, Read},
};
use std::sync::Arc;

const PAGE_EVENTS_MAX: usize = 512;
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Reads matching events of the past in rising order.
#[derive(Debug)]
pub struct Replay {
    hub: Hub,
    filter: Arc<EventFilter>,
    position: Offset,
}

/// One step of a [`Replay`].
#[derive(Debug)]
pub struct Replayed {
    /// Matching events, in order.
    pub events: Vec<Arc<Event>>,
    /// Had the log no more events when this was read?
    pub is_last: bool,
}

impl Hub {
    /// Reads what matches from after an offset. The filter must be narrowed by a grant already.
    pub fn replay(&self, filter: Arc<EventFilter>, after: Offset) -> Replay {
        Replay { hub: self.clone(), filter, position: after }
    }
}

impl Replay {
    /// Everything that matches up to here has been read.
    pub fn position(&self) -> Offset {
        self.position
    }

    /// Reads on from a position that was reached in another way.
    pub fn move_to(&mut self, position: Offset) {
        self.position = position;
    }

    /// The next page; may hold no event without being the last. Fails with `CURSOR_EXPIRED` when retention has overtaken
    /// the reader; the refusal carries `cursor`, the last position without a gap.
    ///
    /// Cancel safety: yes.
    pub async fn next(&mut self) -> Result<Replayed, Refusal> {
        let read = Read {
            filter: Arc::clone(&self.filter),
            from: From::After(self.position),
            events_max: PAGE_EVENTS_MAX,
            bytes_max: PAGE_BYTES_MAX,
        };
        let page = self.hub.log.read(read).await.map_err(|error| {
            self.hub.read_refusal(&error).with("cursor", self.hub.position(self.position).to_string())
        })?;
        let mut last = self.position;
        for event in &page.events {
            assert!(event.offset() > last, "the log must give events in rising order");
            last = event.offset();
        }
        assert!(page.through >= last, "a page must reach its own events");
        self.position = page.through;
        Ok(Replayed { events: page.events, is_last: page.is_last })
    }
}
