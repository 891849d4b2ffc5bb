//! The loop around one streaming response, the same for every form: takes what its operations have to say and makes pieces
//! of a body of it.
//!
//! Invariants: one piece carries all that waits, up to 64 KiB, and the next is made when the peer has taken it, so what waits
//! for a slow peer is bounded by its mailbox; after a while of silence something is said; orders go before payloads; when the
//! server drains, or the caller's credential ends, the response ends in order and says where; when the peer goes the body is dropped, and with it every operation, at once.
//! Not here: a peer that takes nothing of its socket (`write_deadline`).

use super::{
    App,
    directory::{Line, Question, disconnected},
    door::Admission,
    operations::{Operations, Woken},
    problem::Problem,
    reservations::Seat,
};
use crate::{
    auth::limits::Seat as Place,
    error::{Code, Refusal},
    event::Cursor,
    metrics::Counted,
    platform::self_events::{End, Reason},
    protocol::{StreamForm, Streaming, Word},
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Version, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::stream::unfold;
use std::{convert::Infallible, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    sync::OwnedSemaphorePermit,
    task::AbortHandle,
    time::{Instant, Sleep, sleep, sleep_until},
};

/// Clients that come back by themselves do so between one and four seconds after the server has drained.
const RETURN_PAUSE_MIN: Duration = Duration::from_secs(1);
const RETURN_PAUSE_SPREAD_MS: u64 = 3_000;

/// A streaming response that lives.
#[derive(Debug)]
pub(super) struct EventStream {
    app: App,
    streaming: Streaming,
    operations: Arc<Operations>,
    line: Line,
    /// The first words, until they are said.
    opening: Option<String>,
    silence: Pin<Box<Sleep>>,
    is_over: bool,
    watch: Option<AbortHandle>,
    _share: Share,
    _seat: Option<Seat>,
    _counted: Counted,
}

/// What a streaming response has of its connection.
#[derive(Debug)]
pub(super) struct Share {
    _subscription: OwnedSemaphorePermit,
    _place: Option<Place>,
    /// Are there other responses on the connection at the same time?
    is_multiplexed: bool,
    peer: Option<SocketAddr>,
}

/// One of the connection's subscriptions for a streaming response. Fails with `TOO_MANY`.
pub(super) fn share(parts: &Parts) -> Result<Share, Problem> {
    // The accept loop gives every request its admission.
    let admission = parts.extensions.get::<Admission>();
    let subscription = admission.and_then(Admission::subscription);
    let place = admission.map(|admission| admission.seat(&parts.headers)).transpose()?.flatten();
    let subscription = subscription.ok_or_else(|| {
        Refusal::new(Code::TooMany, "the connection has as many streams as it may have subscriptions")
    })?;
    let peer = admission.map(Admission::peer);
    let is_multiplexed = parts.version == Version::HTTP_2;
    Ok(Share { _subscription: subscription, _place: place, is_multiplexed, peer })
}

impl EventStream {
    /// A response that says what its operations say; a reservation is kept until it ends.
    pub(super) fn new(
        app: &App,
        streaming: Streaming,
        operations: Arc<Operations>,
        share: Share,
        seat: Option<Seat>,
    ) -> Self {
        operations.taken();
        let line = operations.register(app, streaming, share.peer);
        let watch =
            share.is_multiplexed.then(|| app.tracker.spawn(watch(app.clone(), Arc::clone(&operations))));
        EventStream {
            app: app.clone(),
            streaming,
            operations,
            line,
            watch: watch.map(|task| task.abort_handle()),
            opening: None,
            silence: Box::pin(sleep(heartbeat_interval(app))),
            is_over: false,
            _share: share,
            _seat: seat,
            _counted: Counted::new(&app.hub.metrics().streams_open),
        }
    }

    /// Opens the response where its subscription starts, after a gap where there was one.
    pub(super) fn open(self, start: Option<Cursor>, resumed: bool, gap: Option<&Refusal>) -> Response {
        let mut opening = String::new();
        if let (Some(refusal), Some(start)) = (gap, start) {
            self.form().write(&Word::Gap { refusal, start }, &mut opening);
        }
        self.form().write(&Word::Opened { start, resumed }, &mut opening);
        self.respond(opening)
    }

    /// A response that says why there is none, and ends. Readers that come back by themselves do not on another status.
    pub(super) fn refuse(mut self, refusal: &Refusal) -> Response {
        let mut opening = String::new();
        self.form().write(&Word::Failed { id: "", refusal }, &mut opening);
        self.is_over = true;
        self.respond(opening)
    }

    fn respond(mut self, opening: String) -> Response {
        self.opening = Some(opening);
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.form().content_type())),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            // Proxies that buffer (nginx) would hold events back.
            (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
        ];
        let pieces = unfold(self, |mut stream| async move {
            let piece = stream.next().await?;
            Some((Ok::<_, Infallible>(piece), stream))
        });
        (headers, Body::from_stream(pieces)).into_response()
    }

    fn form(&self) -> &'static dyn StreamForm {
        self.streaming.form()
    }

    /// The next piece of the body; none when the response is over.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = self.opening.take().unwrap_or_default();
        while out.is_empty() {
            if self.is_over {
                return None;
            }
            if let Some(refusal) = self.operations.expired() {
                self.expel(&refusal, &mut out);
                break;
            }
            // Borrowed one by one, so that the wait can be left for another.
            let EventStream { operations, silence, .. } = &mut *self;
            tokio::select! {
                biased;
                woken = operations.ready() => match woken {
                    Woken::Called => self.called(&mut out),
                    Woken::Words => self.take(&mut out),
                },
                () = silence => self.silent(&mut out),
            }
            self.operations.identify(&self.line);
        }
        self.rest();
        self.operations.taken();
        (!out.is_empty()).then(|| Bytes::from(out))
    }

    fn take(&mut self, out: &mut String) {
        self.operations.take(out);
        // A response of many operations waits for more of them.
        let waits = self.streaming == Streaming::GraphqlSseShared;
        self.is_over = self.operations.is_closed() || (!waits && self.operations.is_idle());
        if self.is_over {
            self.line.ends(End::of_stream(Reason::Completed));
        }
    }

    /// Does what was ordered.
    fn called(&mut self, out: &mut String) {
        let orders = self.line.orders();
        if orders.drains {
            self.drained(out);
            return;
        }
        if orders.ends {
            self.expel(&disconnected(), out);
            return;
        }
        if orders.reviews
            && let Err(refusal) = self.operations.review(&self.app.authority)
        {
            self.expel(&refusal, out);
            return;
        }
        for question in orders.questions {
            // Whoever asked may be gone.
            let _ = match question {
                Question::Subscriptions(asker) => asker.send(self.operations.following()).is_ok(),
                Question::Unsubscribe(id, asker) => asker.send(self.operations.unsubscribe(&id)).is_ok(),
            };
        }
    }

    /// The response ends for a caller who is not welcome any more.
    fn expel(&mut self, refusal: &Refusal, out: &mut String) {
        self.operations.expel(refusal);
        self.take(out);
        self.is_over = true;
        self.line.ends(End::of_stream(Reason::Refused));
    }

    /// The time without a word is over, or that of the caller's credential.
    fn silent(&mut self, out: &mut String) {
        if self.operations.expired().is_none() {
            self.heartbeat(out);
        }
    }

    /// Begins another time without a word.
    fn rest(&mut self) {
        let silence = Instant::now() + heartbeat_interval(&self.app);
        let due = self.operations.due().map_or(silence, |due| silence.min(due));
        self.silence.as_mut().reset(due);
    }

    fn heartbeat(&mut self, out: &mut String) {
        self.form().write(&Word::Heartbeat { position: self.operations.position() }, out);
    }

    /// What waits goes out first, the mailbox's budget at most.
    fn drained(&mut self, out: &mut String) {
        let mut before = usize::MAX;
        while out.len() != before && out.len() < self.app.options.mailbox_bytes_max {
            before = out.len();
            self.operations.take(out);
        }
        self.is_over = true;
        self.line.ends(End::of_stream(Reason::Draining));
        // Random bits of an id, so that not everybody comes back in the same moment.
        let spread = Duration::from_millis(uuid::Uuid::new_v4().as_u64_pair().1 % RETURN_PAUSE_SPREAD_MS);
        let (position, pause) = (self.operations.position(), RETURN_PAUSE_MIN + spread);
        self.form().write(&Word::Drained { position, pause }, out);
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.operations.close();
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

/// Ends the operations of a response that shares its connection when its peer takes none of it for too long: the socket goes
/// on for the others, and a body that nobody asks for a piece has no clock of its own.
async fn watch(app: App, operations: Arc<Operations>) {
    let patience = heartbeat_interval(&app) + app.options.write_timeout;
    loop {
        let due = operations.taken_at() + patience;
        if due <= Instant::now() {
            break;
        }
        sleep_until(due).await;
    }
    app.hub.metrics().slow_consumers_closed.inc();
    operations.close();
}

fn heartbeat_interval(app: &App) -> Duration {
    app.options.heartbeat_interval()
}
