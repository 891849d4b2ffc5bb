//! Pages of the past for people and programs that browse: Relay's connection arguments over the log.

use super::Hub;
use crate::{
    auth::Principal,
    error::{Code, Refusal},
    event::{Cursor, Event, EventFilter, Offset},
    log::{From, Read},
};
use std::sync::Arc;

/// The most events of one page.
pub const HISTORY_EVENTS_MAX: u32 = 1_000;
const HISTORY_EVENTS_DEFAULT: u32 = 50;
/// How often a page from the front is begun anew because retention was faster.
const EXPIRED_TRIES: usize = 8;
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The arguments of a Relay connection. Without `first` and `last` the page has the newest 50 events.
#[derive(Clone, Debug, Default)]
pub struct HistoryRequest {
    /// Which events.
    pub filter: EventFilter,
    /// So many from the front.
    pub first: Option<i64>,
    /// Only events after this one.
    pub after: Option<Cursor>,
    /// So many from the back.
    pub last: Option<i64>,
    /// Only events before this one.
    pub before: Option<Cursor>,
}

/// A page of the past, in rising order.
#[derive(Clone, Debug)]
pub struct History {
    /// The events.
    pub events: Vec<Arc<Event>>,
    /// Are there matching events after the page, within the bounds asked for?
    pub has_next: bool,
    /// Are there matching events before the page, within the bounds asked for?
    pub has_previous: bool,
}

impl Hub {
    /// A page of history. Fails with `BAD_REQUEST` for arguments that exclude each other or are out of range, and as
    /// [`Hub::locate`] does for cursors.
    ///
    /// Cancel safety: yes.
    pub async fn history(&self, principal: &Principal, request: HistoryRequest) -> Result<History, Refusal> {
        let (is_rising, count) = direction(request.first, request.last)?;
        let after = request.after.map(|cursor| self.open(cursor)).transpose()?;
        let before = match request.before {
            Some(cursor) => self.open(cursor)?,
            None => self.bounds().head.next(),
        };
        let filter = Arc::new(principal.narrow(request.filter)?);
        // One more than asked for tells whether there are more.
        let mut tries = 0;
        let mut events = loop {
            match self.collect(&filter, after, before, is_rising, count + 1).await {
                // Retention has passed the page in the middle, and nobody asked for just these events.
                Err(refusal)
                    if after.is_none() && refusal.code == Code::CursorExpired && tries < EXPIRED_TRIES =>
                {
                    tries += 1;
                }
                read => break read?,
            }
        };
        let has_more = events.len() > count;
        events.truncate(count);
        if is_rising {
            let events = events.iter().map(|event| principal.view().show(event)).collect();
            return Ok(History { events, has_next: has_more, has_previous: false });
        }
        let events = events.iter().rev().map(|event| principal.view().show(event)).collect();
        Ok(History { events, has_next: false, has_previous: has_more })
    }

    /// Up to `count` matching events strictly between two offsets, from the front or from the back; without the first, from
    /// the earliest event on.
    async fn collect(
        &self,
        filter: &Arc<EventFilter>,
        after: Option<Offset>,
        before: Offset,
        is_rising: bool,
        count: usize,
    ) -> Result<Vec<Arc<Event>>, Refusal> {
        let mut events: Vec<Arc<Event>> = Vec::new();
        let mut from = match (is_rising, after) {
            (true, Some(after)) => From::After(after),
            (true, None) => From::Earliest,
            (false, _) => From::Before(before),
        };
        let after = after.unwrap_or(Offset::ZERO);
        while events.len() < count {
            let read = Read {
                filter: Arc::clone(filter),
                from,
                events_max: count - events.len(),
                bytes_max: PAGE_BYTES_MAX,
            };
            let page = self.log.read(read).await.map_err(|error| self.read_refusal(&error))?;
            let inside =
                page.events.into_iter().filter(|event| event.offset() > after && event.offset() < before);
            events.extend(inside);
            let is_past_end =
                if is_rising { page.through.next() >= before } else { page.through <= after.next() };
            if page.is_last || is_past_end {
                break;
            }
            from = if is_rising { From::After(page.through) } else { From::Before(page.through) };
        }
        Ok(events)
    }
}

fn direction(first: Option<i64>, last: Option<i64>) -> Result<(bool, usize), Refusal> {
    let (name, is_rising, given) = match (first, last) {
        (Some(_), Some(_)) => {
            return Err(Refusal::field(Code::BadRequest, "last", "beside first", "either first or last"));
        }
        (Some(first), None) => ("first", true, first),
        (None, Some(last)) => ("last", false, last),
        (None, None) => ("last", false, i64::from(HISTORY_EVENTS_DEFAULT)),
    };
    match u32::try_from(given) {
        Ok(count @ 1..=HISTORY_EVENTS_MAX) => Ok((is_rising, count as usize)),
        Ok(_) | Err(_) => Err(Refusal::field(
            Code::BadRequest,
            name,
            &given.to_string(),
            format!("1 to {HISTORY_EVENTS_MAX}"),
        )),
    }
}
