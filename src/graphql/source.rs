//! Where the events of a subscription come from: [`open`] is what every subscription resolver does.
//!
//! Flow: run alone, a resolver follows the log by its arguments. The server runs it in two other ways: once with a [`Capture`]
//! to learn the arguments, then with a [`Feed`] that its group fills, one event at a time.
//! Invariants: a `Feed` gives out exactly the events that are put in, so one put is one response; arguments select nothing
//! there, because whoever fills the feed has selected already.

use super::{error::graphql_error, hub, principal};
use crate::{error::Refusal, event::Event, fanout::Asked};
use async_graphql::{Context, Result};
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream, Stream},
};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Poll, Waker},
};

/// Events of one object's type; ends after its first error.
pub(super) type Events<T> = BoxStream<'static, Result<T>>;

/// Put into a request, it takes the arguments of its subscription field in place of running it.
#[derive(Clone, Debug, Default)]
pub(super) struct Capture(Arc<OnceLock<Asked>>);

impl Capture {
    /// What the resolver was asked, if it was reached.
    pub(super) fn asked(&self) -> Option<Asked> {
        self.0.get().cloned()
    }
}

/// Put into a request, it gives the subscription field its events: one place for one event.
#[derive(Clone, Debug, Default)]
pub(super) struct Feed(Arc<Mutex<Place>>);

#[derive(Debug, Default)]
struct Place {
    event: Option<Arc<Event>>,
    reader: Option<Waker>,
}

impl Feed {
    /// Puts an event in.
    pub(super) fn put(&self, event: Arc<Event>) {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        place.event = Some(event);
        if let Some(reader) = place.reader.take() {
            reader.wake();
        }
    }

    /// Is the event that was put in last still there?
    pub(super) fn is_full(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).event.is_some()
    }
}

impl Stream for Feed {
    type Item = Arc<Event>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Arc<Event>>> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match place.event.take() {
            Some(event) => Poll::Ready(Some(event)),
            None => {
                place.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The events of a subscription field. Fails with the refusal of its arguments or of its start position.
pub(super) async fn open<T: From<Arc<Event>> + Send + 'static>(
    ctx: &Context<'_>,
    asked: impl FnOnce() -> Result<Asked, Refusal>,
) -> Result<Events<T>> {
    if let Some(feed) = ctx.data_opt::<Feed>() {
        return Ok(feed.clone().map(|event| Ok(event.into())).boxed());
    }
    let asked = asked().map_err(graphql_error)?;
    if let Some(capture) = ctx.data_opt::<Capture>() {
        // Fields of one response key have the same arguments, so a second one has nothing to add.
        let _ = capture.0.set(asked);
        return Ok(stream::empty().boxed());
    }
    let (hub, principal) = (hub(ctx), principal(ctx));
    let located = hub.locate(&principal, &asked.filter, &asked.start).await.map_err(graphql_error)?;
    let after = located.unwrap_or_else(|| hub.bounds().head);
    let events = hub.tail(&principal, asked.filter, after).map_err(graphql_error)?.into_stream();
    let view = principal.view().clone();
    Ok(events.map_ok(move |event| T::from(view.show(&event))).map_err(graphql_error).boxed())
}
