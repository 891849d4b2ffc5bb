//! Who gets what: events are rendered once for each distinct (form, view) and copied to everybody who matches.
//!
//! Flow: takes events from a `hub::Tail`, asks the `bus::Index` which filters they meet, has each concerned group render each
//! event once, and puts the [`Payload`]s into the [`Mailbox`]es of the members, from which connections take them.
//! Invariants: a group lives exactly as long as it has members; members of a group differ in their filters only; a member
//! that cannot keep up goes back to the log and nothing is dropped.
//! Not here: what a payload looks like (a [`Form`], made by `graphql` or the edge), frames and sockets (`server`).

mod cache;
mod conflate;
mod form;
mod mailbox;
mod payload;
mod plan;
mod registry;
mod subscription;
pub(crate) mod way;
mod worker;

pub use form::{EventForm, Form, RenderFuture, Renderer};
pub use mailbox::{Delivery, Key, Mailbox, Taken};
pub use payload::{Payload, Run};
pub use subscription::Subscription;

use crate::{
    auth::Principal,
    error::Refusal,
    event::{EventFilter, Offset, Overflow, StartPosition},
    hub::{Hub, Tail},
    metrics::Metrics,
};
use cache::PageCache;
use registry::Registry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use subscription::Wanted;
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

/// So many replays for each thread of the runtime hand over a page at the same time; more wait their turn, page by page.
const REPLAYS_AT_ONCE: usize = 4;
/// So many bytes of rendered pages are kept for others who resume.
const PAGES_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// What a subscriber asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// Which events.
    pub filter: EventFilter,
    /// From where on.
    pub start: StartPosition,
    /// What to do when the subscriber is behind.
    pub overflow: Overflow,
}

/// The fan-out of a server. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Fanout(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    hub: Hub,
    metrics: Metrics,
    registry: Mutex<Registry>,
    /// The worker has delivered a step.
    stepped: Notify,
    /// Whose turn it is to hand over a page of the past.
    replays: Semaphore,
    pages: PageCache,
}

impl Fanout {
    /// Starts the worker on this runtime; it runs until its task is aborted. If the task ends by itself, that is a defect: the server must
    /// stop rather than stay silent.
    pub fn start(hub: Hub, runtime: &Handle) -> (Fanout, JoinHandle<()>) {
        let metrics = hub.metrics().clone();
        let head = hub.bounds().head;
        let registry = Mutex::new(Registry::new(head, metrics.clone()));
        let replays = Semaphore::new(REPLAYS_AT_ONCE * Handle::current().metrics().num_workers());
        let pages = PageCache::new(PAGES_BYTES_MAX);
        let shared = Arc::new(Shared { hub, metrics, registry, stepped: Notify::new(), replays, pages });
        let tail = shared.tail(head);
        let worker = runtime.spawn(worker::run(Arc::clone(&shared), tail));
        (Fanout(shared), worker)
    }

    /// Delivers what is wished for into a mailbox under a key. Fails as [`Hub::locate`](crate::hub::Hub::locate) does.
    ///
    /// Cancel safety: yes.
    pub async fn subscribe(
        &self,
        principal: &Principal,
        form: Arc<dyn Form>,
        asked: Asked,
        (mailbox, key): (&Arc<Mailbox>, Key),
    ) -> Result<Subscription, Refusal> {
        let located = self.0.hub.locate(principal, &asked.filter, &asked.start).await?;
        let narrowed = principal.narrow(asked.filter.clone())?;
        let wished = Arc::new(asked.filter);
        let filter = if narrowed == *wished { Arc::clone(&wished) } else { Arc::new(narrowed) };
        let mailbox = Arc::clone(mailbox);
        let view = principal.view().clone();
        let wanted = Wanted { form, view, asked: wished, filter, overflow: asked.overflow, mailbox, key };
        Ok(match located {
            Some(after) => Subscription::replaying(&self.0, wanted, after),
            None => Subscription::live(&self.0, wanted),
        })
    }

    /// Every logged event up to here is in the mailboxes of those who follow live.
    pub fn delivered(&self) -> Offset {
        self.0.registry().delivered()
    }

    /// Waits until every logged event up to here is in the mailboxes of those who follow live.
    ///
    /// Cancel safety: yes.
    pub async fn until_delivered(&self, offset: Offset) {
        loop {
            let mut stepped = std::pin::pin!(self.0.stepped.notified());
            // From here on, so that a step after the look is not missed.
            stepped.as_mut().enable();
            if self.delivered() >= offset {
                return;
            }
            stepped.await;
        }
    }

    /// How many groups and members there are.
    pub fn len(&self) -> (usize, usize) {
        self.0.registry().len()
    }

    /// Is nobody subscribed?
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }
}

impl Shared {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Rendering, the only thing that may panic, happens without the lock.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail(&self, after: Offset) -> Tail {
        self.hub.tail_all(after)
    }
}

#[cfg(test)]
mod tests;
