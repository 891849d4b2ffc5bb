//! Who gets what: events are rendered once for each distinct (form, view) and copied to everybody who matches.
//!
//! Flow: takes events from a `hub::Tail`, asks the `bus::Index` which filters they meet, has each concerned group render each
//! event once, and puts the [`Payload`]s into the [`Mailbox`]es of the members, from which connections take them.
//! Invariants: a group lives exactly as long as it has members; members of a group differ in their filters only; a member
//! that cannot keep up goes back to the log and nothing is dropped.
//! Not here: what a payload looks like (a [`Form`], made by `graphql` or the edge), frames and sockets (`server`).

mod form;
mod mailbox;
mod registry;
mod subscription;
mod worker;

pub use form::{EventForm, Form, Payload, RenderFuture, Renderer};
pub use mailbox::{Delivery, Key, Mailbox};
pub use subscription::Subscription;

use crate::{
    auth::Principal,
    error::Refusal,
    event::{EventFilter, Offset, StartPosition},
    hub::{Hub, Tail},
    metrics::Metrics,
};
use registry::Registry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use subscription::Wanted;
use tokio::{sync::Semaphore, task::JoinHandle};

/// So many replays read the log at the same time; more wait their turn, page by page.
const REPLAYS_READING_MAX: usize = 8;

/// The fan-out of a server. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Fanout(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    hub: Hub,
    metrics: Metrics,
    registry: Mutex<Registry>,
    replays: Semaphore,
}

impl Fanout {
    /// Starts the worker, which runs until its task is aborted. If the task ends by itself, that is a defect: the server must
    /// stop rather than stay silent.
    pub fn start(hub: Hub) -> (Fanout, JoinHandle<()>) {
        let metrics = hub.metrics().clone();
        let head = hub.bounds().head;
        let registry = Mutex::new(Registry::new(head, metrics.clone()));
        let shared =
            Arc::new(Shared { hub, metrics, registry, replays: Semaphore::new(REPLAYS_READING_MAX) });
        let tail = shared.tail(head);
        let worker = tokio::spawn(worker::run(Arc::clone(&shared), tail));
        (Fanout(shared), worker)
    }

    /// Delivers matching events in a form into a mailbox under a key, from the start position on. Fails as
    /// [`Hub::locate`](crate::hub::Hub::locate) does.
    ///
    /// Cancel safety: yes.
    pub async fn subscribe(
        &self,
        principal: &Principal,
        form: Arc<dyn Form>,
        filter: EventFilter,
        start: &StartPosition,
        (mailbox, key): (&Arc<Mailbox>, Key),
    ) -> Result<Subscription, Refusal> {
        let located = self.0.hub.locate(principal, &filter, start).await?;
        let filter = Arc::new(principal.grant().narrow(filter));
        let wanted = Wanted::new(&self.0, form, principal.view(), filter, Arc::clone(mailbox), key);
        Ok(match located {
            Some(after) => Subscription::replaying(wanted, after),
            None => Subscription::live(wanted),
        })
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
        self.hub.tail(&Principal::anonymous(), EventFilter::default(), after)
    }
}

#[cfg(test)]
mod tests;
