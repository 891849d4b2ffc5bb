//! One subscription of one connection: reads the past where it must, sits in its group where it can.
//!
//! Invariants: dropping a [`Subscription`] ends its replay, empties its queue and takes its seat away at once. The replay
//! joins the group first and then reads up to what had been routed, while what is routed from then on waits in the mailbox.

use super::{
    Form, Shared,
    mailbox::{Key, Mailbox},
    registry::{Joining, Seat},
    worker::render,
};
use crate::{
    auth::View,
    error::Refusal,
    event::{Cursor, EventFilter, Offset},
    hub::Replay,
    metrics::Counted,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::AbortHandle;

/// A subscription that delivers into a mailbox until it is dropped.
#[derive(Debug)]
pub struct Subscription {
    wanted: Arc<Wanted>,
    start: Cursor,
    _counted: Counted,
}

/// What is delivered where; shared with the replay.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) shared: Arc<Shared>,
    pub(super) form: Arc<dyn Form>,
    pub(super) view: View,
    pub(super) filter: Arc<EventFilter>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) key: Key,
    place: Mutex<Place>,
}

#[derive(Debug)]
enum Place {
    /// In the group, or on the way there.
    Open { seat: Option<Seat>, replay: Option<AbortHandle> },
    /// Dropped: whoever is on the way must not sit down.
    Closed,
}

impl Wanted {
    pub(super) fn new(
        shared: &Arc<Shared>,
        form: Arc<dyn Form>,
        view: View,
        filter: Arc<EventFilter>,
        mailbox: Arc<Mailbox>,
        key: Key,
    ) -> Self {
        let place = Mutex::new(Place::Open { seat: None, replay: None });
        Wanted { shared: Arc::clone(shared), form, view, filter, mailbox, key, place }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        // A place is changed by single assignments only.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sits down in the group and returns the offset above which the group delivers; `None` once dropped.
    fn join(&self, after: Offset) -> Option<Offset> {
        let mut place = self.place();
        let Place::Open { seat, .. } = &mut *place else { return None };
        let joining = Joining {
            form: &self.form,
            view: self.view,
            filter: &self.filter,
            key: self.key,
            mailbox: &self.mailbox,
        };
        let (taken, joined) = self.shared.registry().join(&joining, after);
        *seat = Some(taken);
        Some(joined)
    }
}

impl Subscription {
    /// Live from the head of the log on.
    pub(super) fn live(wanted: Wanted) -> Self {
        // Open before the seat is taken: the worker may deliver at once.
        let head = wanted.shared.hub.bounds().head;
        wanted.mailbox.open(wanted.key, head, false);
        let joined = wanted.join(head).unwrap_or(head);
        wanted.mailbox.advance(wanted.key, joined);
        Subscription::new(wanted, joined)
    }

    /// From after an offset of the past on.
    pub(super) fn replaying(wanted: Wanted, after: Offset) -> Self {
        wanted.mailbox.open(wanted.key, after, true);
        let subscription = Subscription::new(wanted, after);
        subscription.catch_up();
        subscription
    }

    fn new(wanted: Wanted, start: Offset) -> Self {
        let start = wanted.shared.hub.cursor(start);
        let counted = Counted::new(&wanted.shared.metrics.subscriptions_open);
        Subscription { wanted: Arc::new(wanted), start, _counted: counted }
    }

    /// Where the subscription started: nothing published after this can be missed.
    pub fn start(&self) -> Cursor {
        self.start
    }

    /// Everything that matches up to here has been taken out of the mailbox.
    pub fn position(&self) -> Cursor {
        let registry = self.wanted.shared.registry();
        // While the registry is locked nothing that was routed is still on its way to the mailbox, but for what the worker
        // renders now; that is above `delivered`.
        let taken = self.wanted.mailbox.taken_through(self.wanted.key, registry.delivered());
        self.wanted.shared.hub.cursor(taken.unwrap_or(self.start.offset))
    }

    /// Reads the log from where the queue ends and joins the group again: the answer to
    /// [`Delivery::Lagged`](super::Delivery::Lagged).
    pub fn catch_up(&self) {
        let mut place = self.wanted.place();
        if let Place::Open { replay, .. } = &mut *place {
            let task = tokio::spawn(catch_up(Arc::clone(&self.wanted)));
            *replay = Some(task.abort_handle());
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let place = std::mem::replace(&mut *self.wanted.place(), Place::Closed);
        if let Place::Open { seat, replay } = place {
            if let Some(replay) = replay {
                replay.abort();
            }
            if let Some(seat) = seat {
                self.wanted.shared.registry().leave(seat);
            }
        }
        self.wanted.mailbox.close(self.wanted.key);
    }
}

/// Runs a replay to its end; a refusal ends the subscription and says where it stopped.
async fn catch_up(wanted: Arc<Wanted>) {
    let _counted = Counted::new(&wanted.shared.metrics.replays_running);
    let after = wanted.mailbox.through(wanted.key);
    let mut past = wanted.shared.hub.replay(Arc::clone(&wanted.filter), after);
    if let Err(refusal) = replay(&wanted, &mut past).await {
        wanted.mailbox.end(wanted.key, refusal);
    }
}

async fn replay(wanted: &Wanted, past: &mut Replay) -> Result<(), Refusal> {
    let mut renderer = None;
    loop {
        while !read_page(wanted, past, &mut renderer, None).await? {}
        let Some(joined) = wanted.join(past.position()) else { return Ok(()) };
        while past.position() < joined {
            read_page(wanted, past, &mut renderer, Some(joined)).await?;
        }
        past.move_to(joined);
        if wanted.mailbox.release(wanted.key, joined) {
            return Ok(());
        }
    }
}

/// Puts a page of the past into the mailbox, nothing beyond `until`; says whether it was the last one.
async fn read_page(
    wanted: &Wanted,
    past: &mut Replay,
    renderer: &mut Option<Box<dyn super::Renderer>>,
    until: Option<Offset>,
) -> Result<bool, Refusal> {
    let page = {
        // The permit bounds reading, not waiting: a stalled reader must not keep others from the log.
        let _permit = wanted.shared.replays.acquire().await;
        past.next().await?
    };
    for event in page.events.iter().filter(|event| until.is_none_or(|until| event.offset() <= until)) {
        wanted.mailbox.room().await;
        let payload = render(&*wanted.form, renderer, event, &wanted.shared.metrics).await;
        wanted.mailbox.push_replayed(wanted.key, payload);
        wanted.shared.metrics.events_delivered.inc();
    }
    Ok(page.is_last)
}
