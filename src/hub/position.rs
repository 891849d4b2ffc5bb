//! Where a subscription starts: every [`StartPosition`] becomes the offset after which it reads, or a refusal.

use super::Hub;
use crate::{
    auth::Principal,
    error::{Code, Refusal},
    event::{Cursor, EventFilter, Offset, OpenCursorError, START_LAST_MAX, StartPosition},
    log::{From, Read},
};
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::Arc;

/// So far the clocks of a client and of the server may differ.
const CLOCK_LEEWAY: TimeDelta = TimeDelta::seconds(10);
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Hub {
    /// The offset after which a subscription reads; `None` starts with what is published from now on. Fails with
    /// `EPOCH_CHANGED`, `CURSOR_INVALID`, `CURSOR_AHEAD`, `CURSOR_EXPIRED` (which carry the earliest and the latest cursor), `INVALID_FILTER`.
    ///
    /// Cancel safety: yes.
    pub async fn locate(
        &self,
        principal: &Principal,
        filter: &EventFilter,
        start: &StartPosition,
    ) -> Result<Option<Offset>, Refusal> {
        match start {
            StartPosition::Live => Ok(None),
            StartPosition::After(cursor) => self.open(*cursor).map(Some),
            StartPosition::Earliest => Ok(Some(self.bounds().earliest.previous())),
            StartPosition::Time(time) => {
                check_time(*time)?;
                self.log.before_time(*time).await.map(Some).map_err(|error| self.read_refusal(&error))
            }
            StartPosition::Last(count) => {
                self.before_last(principal.narrow(filter.clone())?, *count).await.map(Some)
            }
        }
    }

    /// The offset of a cursor of this log, when the event after it is still there or yet to come. Fails with `EPOCH_CHANGED`,
    /// `CURSOR_INVALID`, `CURSOR_AHEAD` or `CURSOR_EXPIRED`.
    pub(super) fn open(&self, cursor: Cursor) -> Result<Offset, Refusal> {
        let bounds = self.bounds();
        let ends = |refusal: Refusal| {
            refusal
                .with("earliest", self.position(bounds.earliest.previous()).to_string())
                .with("latest", self.position(bounds.head).to_string())
        };
        let offset = match self.log.epoch().open(cursor) {
            Ok(offset) => offset,
            Err(OpenCursorError::OtherLog) => {
                let message = "the cursor belongs to another log than this server's";
                return Err(ends(Refusal::new(Code::EpochChanged, message)));
            }
            Err(OpenCursorError::Forged) => return Err(Cursor::invalid(&cursor.to_string())),
        };
        if offset > bounds.head {
            return Err(ends(Refusal::new(
                Code::CursorAhead,
                "the cursor is beyond the end of this server's log",
            )));
        }
        if offset.next() < bounds.earliest {
            return Err(expired(self.position(bounds.earliest.previous())));
        }
        Ok(offset)
    }

    /// The offset before the last `count` matching events.
    async fn before_last(&self, filter: EventFilter, count: u32) -> Result<Offset, Refusal> {
        if !(1..=START_LAST_MAX).contains(&count) {
            let allowed = format!("1 to {START_LAST_MAX}");
            return Err(Refusal::field(Code::InvalidFilter, "start.last", &count.to_string(), allowed));
        }
        let filter = Arc::new(filter);
        let (mut before, mut missing) = (self.bounds().head.next(), count as usize);
        loop {
            let read = Read {
                filter: Arc::clone(&filter),
                from: From::Before(before),
                events_max: missing,
                bytes_max: PAGE_BYTES_MAX,
            };
            let page = self.log.read(read).await.map_err(|error| self.read_refusal(&error))?;
            missing = missing.saturating_sub(page.events.len());
            match page.events.last() {
                Some(oldest) if missing == 0 => return Ok(oldest.offset().previous()),
                Some(_) | None if page.is_last => return Ok(self.bounds().earliest.previous()),
                Some(_) | None => before = page.through,
            }
        }
    }
}

/// A time to come cannot be started from: what is logged until then would come or not, and either could be meant.
fn check_time(time: DateTime<Utc>) -> Result<(), Refusal> {
    let now = Utc::now();
    if time <= now + CLOCK_LEEWAY {
        return Ok(());
    }
    let given = time.to_rfc3339();
    Err(Refusal::field(
        Code::InvalidFilter,
        "start.time",
        &given,
        format!("a time that has passed; it is {}", now.to_rfc3339()),
    ))
}

/// The refusal of a position whose next events are gone; `earliest` is the first cursor from which nothing is missing.
pub(super) fn expired(earliest: Cursor) -> Refusal {
    Refusal::new(Code::CursorExpired, "events after the cursor have been removed by retention")
        .with("earliest", earliest.to_string())
}
