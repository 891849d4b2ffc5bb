//! One subscription of one connection: reads the past where it must, sits in its group where it can.
//!
//! Invariants: dropping a [`Subscription`] ends its replay, empties its queue and takes its seat away at once. The replay
//! joins the group first and then reads up to what had been routed, while what is routed from then on waits in the mailbox.
//! One that is admitted anew goes on after what was taken out, under the same key: whatever was on its way to the old queue
//! stays away.

use super::{
    Form, Renderer, Run, Shared,
    cache::{PageKey, RenderedPage, Shown},
    mailbox::{Key, Mailbox},
    registry::{Joining, Seat},
    way::give_way,
    worker::render,
};
use crate::{
    auth::{Principal, View},
    error::Refusal,
    event::{Cursor, EventFilter, Offset, Overflow, Rank},
    hub::Replay,
    metrics::Counted,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{task::AbortHandle, time::timeout};

/// A page goes into the mailbox in runs of about so many bytes.
const RUN_BYTES: usize = 64 * 1024;
/// For so long a replay lets its connection write a page before the next replay has its turn.
const HANDOVER_MAX: Duration = Duration::from_millis(50);
/// Pages end at multiples of this, so that replays which started apart come to share them.
const PAGE_ALIGNMENT: u64 = 256;

/// A subscription that delivers into a mailbox until it is dropped.
#[derive(Debug)]
pub struct Subscription {
    inner: Arc<Inner>,
    start: Offset,
    _counted: Counted,
}

/// What is delivered where.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) form: Arc<dyn Form>,
    pub(super) view: View,
    /// As the subscriber has asked.
    pub(super) asked: Arc<EventFilter>,
    /// The part of it that the grant allows.
    pub(super) filter: Arc<EventFilter>,
    pub(super) overflow: Overflow,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) key: Key,
}

/// What a subscription and its replay share.
#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    wanted: Wanted,
    place: Mutex<Place>,
}

#[derive(Debug)]
enum Place {
    /// In the group, or on the way there.
    Open { seat: Option<Seat>, replay: Option<AbortHandle> },
    /// Dropped: whoever is on the way must not sit down.
    Closed,
}

impl Inner {
    fn new(shared: &Arc<Shared>, wanted: Wanted) -> Arc<Self> {
        let place = Mutex::new(Place::Open { seat: None, replay: None });
        Arc::new(Inner { shared: Arc::clone(shared), wanted, place })
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        // A place is changed by single assignments only.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the queue unless it belongs to nobody, or to a later admission, by now.
    fn if_open<T>(&self, act: impl FnOnce(&Wanted) -> T) -> Option<T> {
        let place = self.place();
        match &*place {
            Place::Open { .. } => Some(act(&self.wanted)),
            Place::Closed => None,
        }
    }

    /// Ends the replay, takes the seat away and empties the queue.
    fn leave(&self) {
        let place = std::mem::replace(&mut *self.place(), Place::Closed);
        if let Place::Open { seat, replay } = place {
            if let Some(replay) = replay {
                replay.abort();
            }
            if let Some(seat) = seat {
                self.shared.registry().leave(seat);
            }
        }
        self.wanted.mailbox.close(self.wanted.key);
    }

    /// Sits down in the group and returns the last logged event before those that the group delivers; `None` once dropped.
    fn join(&self, after: Rank) -> Option<Offset> {
        let mut place = self.place();
        let Place::Open { seat, .. } = &mut *place else { return None };
        let Wanted { form, view, filter, mailbox, key, .. } = &self.wanted;
        let joining = Joining { form, view, filter, key: *key, mailbox };
        let (taken, joined) = self.shared.registry().join(&joining, after);
        *seat = Some(taken);
        Some(joined.offset())
    }
}

impl Subscription {
    /// Live from the head of the log on.
    pub(super) fn live(shared: &Arc<Shared>, wanted: Wanted) -> Self {
        // Open before the seat is taken: the worker may deliver at once.
        let newest = shared.hub.newest();
        let head = newest.offset();
        wanted.mailbox.open(wanted.key, head, false, wanted.overflow);
        let mut subscription = Subscription::new(shared, wanted, head);
        let inner = &subscription.inner;
        let joined = inner.join(newest).unwrap_or(head);
        inner.wanted.mailbox.advance(inner.wanted.key, joined);
        subscription.start = joined;
        subscription
    }

    /// From after an offset of the past on.
    pub(super) fn replaying(shared: &Arc<Shared>, wanted: Wanted, after: Offset) -> Self {
        wanted.mailbox.open(wanted.key, after, true, wanted.overflow);
        let subscription = Subscription::new(shared, wanted, after);
        subscription.go_on(after);
        subscription
    }

    fn new(shared: &Arc<Shared>, wanted: Wanted, start: Offset) -> Self {
        let counted = Counted::new(&shared.metrics.subscriptions_open);
        Subscription { inner: Inner::new(shared, wanted), start, _counted: counted }
    }

    /// Where the subscription started: nothing logged after this can be missed.
    pub fn start(&self) -> Offset {
        self.start
    }

    /// The cursor of [`Subscription::position`].
    pub fn cursor(&self) -> Cursor {
        self.inner.shared.hub.position(self.position())
    }

    /// Everything logged that matches up to here has been taken out of the mailbox.
    pub fn position(&self) -> Offset {
        let Inner { shared, wanted, .. } = &*self.inner;
        let registry = shared.registry();
        // While the registry is locked nothing that was routed is still on its way to the mailbox, but for what the worker
        // renders now; that is above `delivered`.
        let taken = wanted.mailbox.taken_through(wanted.key, registry.delivered());
        taken.unwrap_or(self.start)
    }

    /// The filter as the subscriber has asked for it.
    pub fn asked(&self) -> &EventFilter {
        &self.inner.wanted.asked
    }

    /// The part of it that the grant allows.
    pub fn filter(&self) -> &EventFilter {
        &self.inner.wanted.filter
    }

    /// In which form it is shown.
    pub fn form(&self) -> &str {
        self.inner.wanted.form.key()
    }

    /// How many bytes wait in the mailbox.
    pub fn waiting_bytes(&self) -> usize {
        self.inner.wanted.mailbox.waiting_bytes(self.inner.wanted.key)
    }

    /// Goes on as what this principal may read and see, once and in order after what was taken out of the mailbox; nothing
    /// that waits there under another grant or view comes out any more. The caller takes nothing out meanwhile. Fails as
    /// [`Principal::narrow`] does, with the cursor; the subscription should be dropped then.
    pub fn readmit(&mut self, principal: &Principal) -> Result<(), Refusal> {
        let Wanted { asked, filter, view, .. } = &self.inner.wanted;
        let narrowed = principal
            .narrow(EventFilter::clone(asked))
            .map_err(|refusal| refusal.with("cursor", self.cursor().to_string()))?;
        if narrowed != **filter || principal.view() != view {
            self.reseat(Arc::new(narrowed), principal.view().clone());
        }
        Ok(())
    }

    pub(super) fn reseat(&mut self, filter: Arc<EventFilter>, view: View) {
        let position = self.position();
        self.inner.leave();
        let old = &self.inner.wanted;
        let wanted = Wanted {
            form: Arc::clone(&old.form),
            view,
            asked: Arc::clone(&old.asked),
            filter,
            overflow: old.overflow,
            mailbox: Arc::clone(&old.mailbox),
            key: old.key,
        };
        wanted.mailbox.open(wanted.key, position, true, wanted.overflow);
        self.inner = Inner::new(&self.inner.shared, wanted);
        self.go_on(position);
    }

    /// Goes on after an offset. Where nothing has been logged since, there is nothing to read: the seat is taken at once, and what
    /// is transient is missed no more than what is logged.
    fn go_on(&self, after: Offset) {
        let Inner { shared, wanted, .. } = &*self.inner;
        let is_at_head = after >= shared.hub.bounds().head;
        let joined = if is_at_head { self.inner.join(Rank::logged(after)) } else { None };
        if joined != Some(after) || !wanted.mailbox.release(wanted.key, after) {
            self.catch_up_to(joined.filter(|joined| *joined > after));
        }
    }

    /// Reads the log from where the queue ends and joins the group again: the answer to
    /// [`Delivery::Lagged`](super::Delivery::Lagged).
    pub fn catch_up(&self) {
        self.catch_up_to(None);
    }

    /// The same where the group has been joined already.
    fn catch_up_to(&self, joined: Option<Offset>) {
        let mut place = self.inner.place();
        if let Place::Open { replay, .. } = &mut *place {
            let task = tokio::spawn(catch_up(Arc::clone(&self.inner), joined));
            *replay = Some(task.abort_handle());
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.inner.leave();
    }
}

/// Runs a replay to its end; a refusal ends the subscription and says where it stopped.
async fn catch_up(inner: Arc<Inner>, joined: Option<Offset>) {
    let Inner { shared, wanted, .. } = &*inner;
    let _counted = Counted::new(&shared.metrics.replays_running);
    let after = wanted.mailbox.through(wanted.key);
    let past = shared.hub.replay(Arc::clone(&wanted.filter), after);
    let shown = Shown {
        form: wanted.form.key().into(),
        view: wanted.view.clone(),
        filter: Arc::clone(&wanted.filter),
    };
    let mut pages = Pages { inner: &inner, past, shown: Arc::new(shown), renderer: None };
    if let Err(refusal) = pages.replay(joined).await {
        inner.if_open(|wanted| wanted.mailbox.end(wanted.key, refusal));
    }
}

/// A replay on its way through the log.
struct Pages<'a> {
    inner: &'a Inner,
    past: Replay,
    shown: Arc<Shown>,
    renderer: Option<Box<dyn Renderer>>,
}

impl Pages<'_> {
    async fn replay(&mut self, mut joined: Option<Offset>) -> Result<(), Refusal> {
        loop {
            let joined = match joined.take() {
                Some(joined) => joined,
                None => {
                    while !self.deliver_page(None).await? {}
                    let joined = self.inner.join(Rank::logged(self.past.position()));
                    let Some(joined) = joined else { return Ok(()) };
                    joined
                }
            };
            while self.past.position() < joined {
                self.deliver_page(Some(joined)).await?;
            }
            self.past.move_to(joined);
            let released = self.inner.if_open(|wanted| wanted.mailbox.release(wanted.key, joined));
            if released.unwrap_or(true) {
                return Ok(());
            }
        }
    }

    /// Puts a page of the past into the mailbox, nothing beyond `until`; says whether it was the last one.
    async fn deliver_page(&mut self, until: Option<Offset>) -> Result<bool, Refusal> {
        let Inner { shared, wanted, .. } = self.inner;
        wanted.mailbox.room().await;
        // Few replays have a page on its way to its socket at a time, so that live deliveries find a free core soon, however
        // many resume at once.
        let permit = shared.replays.acquire().await;
        let page = self.page().await?;
        let mut rest = page.run.and_then(|run| until.map_or(Some(run.clone()), |until| run.up_to(until)));
        if rest.is_none() {
            return Ok(page.is_last);
        }
        let mut permit = Some(permit);
        while let Some(run) = rest {
            let (first, more) = run.split(RUN_BYTES);
            rest = more;
            // A stalled reader must not keep others from the log.
            if permit.is_some() && timeout(HANDOVER_MAX, wanted.mailbox.room()).await.is_err() {
                permit = None;
            }
            wanted.mailbox.room().await;
            shared.metrics.events_delivered.inc_by(first.payloads().len() as u64);
            self.inner.if_open(|wanted| wanted.mailbox.push_replayed(wanted.key, first));
            give_way();
        }
        if permit.is_some() {
            // However it ends: the page is in the mailbox, and only the turn of the others depends on it.
            let _ = timeout(HANDOVER_MAX, wanted.mailbox.emptied(wanted.key)).await;
        }
        Ok(page.is_last)
    }

    /// The next page, rendered: from the cache, or made for it.
    async fn page(&mut self) -> Result<RenderedPage, Refusal> {
        let key = PageKey { shown: Arc::clone(&self.shown), after: self.past.position() };
        let shared = &self.inner.shared;
        let page = shared.pages.page(key, make_page(self.inner, &mut self.past, &mut self.renderer)).await?;
        self.past.move_to(page.through);
        Ok(page)
    }
}

async fn make_page(
    inner: &Inner,
    past: &mut Replay,
    renderer: &mut Option<Box<dyn Renderer>>,
) -> Result<RenderedPage, Refusal> {
    let before = past.position();
    let read = past.next().await?;
    let mut through = past.position();
    let aligned = Offset::new(through.get() / PAGE_ALIGNMENT * PAGE_ALIGNMENT);
    if !read.is_last && aligned > before {
        through = aligned;
    }
    let mut payloads = Vec::with_capacity(read.events.len());
    for event in read.events.iter().filter(|event| event.offset() <= through) {
        let shown = inner.wanted.view.show(event);
        payloads.push(render(&*inner.wanted.form, renderer, &shown, &inner.shared.metrics).await);
        give_way();
    }
    let run = (!payloads.is_empty()).then(|| Run::new(payloads));
    Ok(RenderedPage { run, through, is_last: read.is_last })
}
