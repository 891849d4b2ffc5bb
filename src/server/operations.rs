//! The operations of one streaming response, shared by the response and by the requests that start and stop them.
//!
//! Flow: a request claims an id, begins the operation under it, and puts what it has to say beside the mailbox; the response
//! takes both as written words.
//! Invariants: a subscription is polled and deliveries are taken under one lock, so a delivery of a subscription that is not
//! known yet is never seen; nothing is said for an id that is stopped; ids, operations and bytes are bounded; all operations
//! run as one caller, and what began under an older grant is admitted anew.
//! Not here: when the response says something (`stream`), who may say what (`graphql_http`, `graphql_stream`, `feed`).

use super::{
    App,
    caller::{Caller, Change},
    directory::{Line, unsubscribed},
    following::{Followed, Place, following},
    operation::{self, Admitted, NotBegun},
};
use crate::{
    auth::{Authority, Principal},
    error::{Code, Refusal},
    event::Cursor,
    fanout::{Asked, Delivery, Form, Key, Mailbox, Run},
    graphql::Following,
    hub::Hub,
    protocol::{StreamForm, Streaming, Word, with_replaced},
};
use std::{
    borrow::Cow,
    future::poll_fn,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, ready},
};
use tokio::{sync::Notify, time::Instant};

/// So many bytes of payloads go into one piece of a body.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// About how many bytes stand around a payload.
const WORD_BYTES: usize = 80;

/// What runs for one streaming response.
#[derive(Debug)]
pub(super) struct Operations {
    hub: Hub,
    /// Under which the response is listed.
    number: u64,
    form: &'static dyn StreamForm,
    mailbox: Arc<Mailbox>,
    state: Mutex<State>,
    said: Notify,
    taken_at: Mutex<Instant>,
    operations_max: usize,
    waiting_bytes_max: usize,
}

#[derive(Debug)]
struct State {
    caller: Caller,
    /// Rising by key.
    running: Vec<Running>,
    last_key: Key,
    /// Words that are no payloads of a subscription, written.
    waiting: String,
    is_closed: bool,
}

#[derive(Debug)]
struct Running {
    key: Key,
    id: Box<str>,
    /// The id as a JSON string.
    name: Box<str>,
    /// None while it begins.
    subscription: Option<Followed>,
}

/// Why a response goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// There is something to say.
    Words,
    /// There is an order.
    Called,
}

/// Why an id cannot be claimed.
#[derive(Debug)]
pub(super) enum Unclaimed {
    /// It is in use.
    Duplicate,
    /// The response is over.
    Closed,
    /// There is no room.
    Refused(Refusal),
}

/// What became of an operation.
#[derive(Debug)]
pub(super) enum Begun<E> {
    /// It runs, or its result waits to be sent.
    Accepted,
    /// It was stopped meanwhile.
    Stopped,
    /// It did not begin; its id is free again.
    Not(E),
}

impl<E> Begun<E> {
    /// The same with another reason for not beginning.
    pub(super) fn map_not<F>(self, map: impl FnOnce(E) -> F) -> Begun<F> {
        match self {
            Begun::Accepted => Begun::Accepted,
            Begun::Stopped => Begun::Stopped,
            Begun::Not(error) => Begun::Not(map(error)),
        }
    }
}

impl Operations {
    /// No operations yet, for a response in this form to this principal. Fails as [`Authority::review`] does.
    pub(super) fn new(app: &App, streaming: Streaming, principal: &Principal) -> Result<Arc<Self>, Refusal> {
        let number = app.directory.number();
        let mut caller = Caller::nobody();
        caller.adopt(&app.authority, &principal.clone().on_connection(number))?;
        let state =
            State { caller, running: Vec::new(), last_key: 0, waiting: String::new(), is_closed: false };
        Ok(Arc::new(Operations {
            hub: app.hub.clone(),
            number,
            form: streaming.form(),
            mailbox: Arc::new(Mailbox::new(app.options.mailbox_bytes_max)),
            state: Mutex::new(state),
            said: Notify::new(),
            taken_at: Mutex::new(Instant::now()),
            operations_max: app.options.subscriptions_max,
            waiting_bytes_max: app.options.mailbox_bytes_max,
        }))
    }

    /// The line of an open response.
    pub(super) fn register(&self, app: &App, streaming: Streaming, peer: Option<SocketAddr>) -> Line {
        let line = app.directory.register(self.number, streaming.name(), peer, &self.mailbox);
        self.identify(&line);
        // The principal may be older than the line.
        line.review();
        line
    }

    /// Says on the line who the caller is, if that is another one than the last time.
    pub(super) fn identify(&self, line: &Line) {
        if let Some(principal) = self.lock().caller.news() {
            line.identify(principal);
        }
    }

    /// Another request for the same response: from the same subject, or it is refused. A credential that ends later takes the
    /// place of the earlier one.
    pub(super) fn join(&self, authority: &Authority, principal: &Principal) -> Result<(), Refusal> {
        let mut state = self.lock();
        let own = state.caller.principal();
        if own.is_some_and(|own| own.subject() != principal.subject()) {
            return Err(Refusal::new(Code::Forbidden, "the stream belongs to somebody else"));
        }
        let end = own.and_then(Principal::expires_at);
        let is_later = end.is_some_and(|end| principal.expires_at().is_none_or(|other| other > end));
        if !is_later {
            return Ok(());
        }
        let principal = principal.clone().on_connection(self.number);
        if state.caller.adopt(authority, &principal)? == Change::Readmit {
            self.readmit(&mut state);
        }
        // The response has the line.
        self.said.notify_one();
        Ok(())
    }

    /// Asks whether the principal still is what it was; what it may no longer follow ends. Fails as [`Authority::review`]
    /// does.
    pub(super) fn review(&self, authority: &Authority) -> Result<(), Refusal> {
        let mut state = self.lock();
        if state.caller.review(authority)? == Change::Readmit {
            self.readmit(&mut state);
        }
        Ok(())
    }

    fn readmit(&self, state: &mut State) {
        let Some(principal) = state.caller.principal().cloned() else { return };
        let live = state.running.iter_mut().filter_map(|one| Some((one.key, one.subscription.as_mut()?)));
        let readmitted = live.map(|(key, subscription)| (key, subscription.readmit(&principal)));
        let refused: Vec<_> = readmitted.filter_map(|(key, result)| Some((key, result.err()?))).collect();
        refused.into_iter().for_each(|(key, refusal)| self.fail(state, key, refusal));
    }

    /// The last words of an operation that cannot go on.
    fn fail(&self, state: &mut State, key: Key, refusal: Refusal) {
        let Some(running) = state.find(key) else { return };
        let (refusal, name) = (running.failed(&self.hub, refusal), running.name.clone());
        self.form.write(&Word::Failed { id: &name, refusal: &refusal }, &mut state.waiting);
        state.remove(key);
        self.said.notify_one();
    }

    /// When the caller's credential ends.
    pub(super) fn due(&self) -> Option<Instant> {
        self.lock().caller.due()
    }

    /// Why the response ends, if the caller's credential has ended.
    pub(super) fn expired(&self) -> Option<Refusal> {
        let mut state = self.lock();
        let is_due = state.caller.due().is_some_and(|due| due <= Instant::now());
        if is_due { state.caller.expired() } else { None }
    }

    /// Ends every operation with this refusal and the place where it stopped.
    pub(super) fn expel(&self, refusal: &Refusal) {
        let mut state = self.lock();
        let keys: Vec<Key> = state.running.iter().map(|running| running.key).collect();
        keys.into_iter().for_each(|key| self.fail(&mut state, key, refusal.clone()));
        state.is_closed = true;
    }

    /// What is followed, for administrators.
    pub(super) fn following(&self) -> Vec<Following> {
        let state = self.lock();
        let live = state.running.iter().filter_map(|one| Some((&one.id, one.subscription.as_ref()?)));
        live.map(|(id, subscription)| following(id, subscription, &self.hub)).collect()
    }

    /// An administrator ends an operation; says whether there was one.
    pub(super) fn unsubscribe(&self, id: &str) -> bool {
        let mut state = self.lock();
        let key = state.running.iter().find(|running| *running.id == *id).map(|running| running.key);
        key.into_iter().for_each(|key| self.fail(&mut state, key, unsubscribed()));
        key.is_some()
    }

    /// Takes an id; whatever begins, begins through the claim.
    pub(super) fn claim(self: &Arc<Self>, id: &str) -> Result<Claim, Unclaimed> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Unclaimed::Closed);
        }
        if state.running.iter().any(|running| *running.id == *id) {
            return Err(Unclaimed::Duplicate);
        }
        if state.running.len() >= self.operations_max || state.waiting.len() > self.waiting_bytes_max {
            let message = format!(
                "the stream has {} operations and {} bytes of answers that wait; allowed are {} and {}",
                state.running.len(),
                state.waiting.len(),
                self.operations_max,
                self.waiting_bytes_max
            );
            return Err(Unclaimed::Refused(Refusal::new(Code::TooMany, message)));
        }
        state.last_key += 1;
        let (key, name) = (state.last_key, serde_json::Value::from(id).to_string());
        state.running.push(Running { key, id: id.into(), name: name.into(), subscription: None });
        Ok(Claim { operations: Arc::clone(self), key })
    }

    /// Stops an operation; says whether it was alive. The response says `complete` for it.
    pub(super) fn stop(&self, id: &str) -> bool {
        let mut state = self.lock();
        let Some(running) = state.running.iter().find(|running| *running.id == *id) else { return false };
        let (key, name) = (running.key, running.name.clone());
        self.form.write(&Word::Complete { id: &name }, &mut state.waiting);
        state.remove(key);
        self.said.notify_one();
        true
    }

    /// Waits until there is something to say, or an order, which goes first.
    ///
    /// Cancel safety: yes. One task at a time may wait.
    pub(super) async fn ready(&self) -> Woken {
        let mailbox = poll_fn(|context| match self.mailbox.poll_called(context) {
            Poll::Ready(()) => Poll::Ready(Woken::Called),
            Poll::Pending => self.mailbox.poll_ready(context).map(|()| Woken::Words),
        });
        tokio::select! {
            biased;
            woken = mailbox => woken,
            () = self.said.notified() => Woken::Words,
        }
    }

    /// Appends what there is to say, up to one piece.
    pub(super) fn take(&self, out: &mut String) {
        let mut deliveries = Vec::new();
        let mut state = self.lock();
        out.push_str(&std::mem::take(&mut state.waiting));
        self.mailbox.take(CHUNK_BYTES_MAX, &mut deliveries);
        out.reserve(deliveries.iter().map(|(_, delivery)| words_bytes(delivery)).sum());
        for (key, delivery) in deliveries {
            let Some(running) = state.find(key) else { continue };
            match delivery {
                Delivery::Run(run) => self.write_run(&running.name, &run, out),
                Delivery::Lagged => {
                    if let Some(subscription) = &running.subscription {
                        subscription.catch_up();
                    }
                }
                Delivery::Ended(refusal) => {
                    let refusal = running.failed(&self.hub, refusal);
                    self.form.write(&Word::Failed { id: &running.name, refusal: &refusal }, out);
                    state.remove(key);
                }
            }
        }
    }

    /// Writes the payloads of a run.
    fn write_run(&self, id: &str, run: &Run, out: &mut String) {
        for (at, payload) in run.payloads().iter().enumerate() {
            let text = match (at, run.replaced()) {
                (0, replaced @ 1..) => Cow::Owned(with_replaced(payload.text(), replaced)),
                _ => Cow::Borrowed(payload.text()),
            };
            self.form.write(&Word::Next { id, cursor: Some(payload.cursor()), payload: &text }, out);
        }
    }

    /// Is there neither an operation nor anything to say?
    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.running.is_empty() && state.waiting.is_empty()
    }

    /// Everything that matches up to here has been taken.
    pub(super) fn position(&self) -> Cursor {
        let state = self.lock();
        let positions = state.running.iter().filter_map(|running| running.subscription.as_ref());
        let least = positions.map(|followed| followed.position()).min();
        self.hub.position(least.unwrap_or_else(|| self.hub.bounds().head))
    }

    /// A piece of the response was taken.
    pub(super) fn taken(&self) {
        *self.taken_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// When the last piece of the response was taken.
    pub(super) fn taken_at(&self) -> Instant {
        *self.taken_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has everything ended?
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Ends everything at once.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.running.clear();
        state.waiting.clear();
        drop(state);
        self.said.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change leaves the lists whole, so a poisoned state is still one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// About how many bytes a delivery takes with the words around it.
fn words_bytes(delivery: &Delivery) -> usize {
    match delivery {
        Delivery::Run(run) => run.payloads().iter().map(|payload| payload.text().len() + WORD_BYTES).sum(),
        Delivery::Lagged | Delivery::Ended(_) => WORD_BYTES,
    }
}

impl State {
    fn find(&mut self, key: Key) -> Option<&mut Running> {
        let at = self.running.binary_search_by_key(&key, |running| running.key).ok()?;
        self.running.get_mut(at)
    }

    fn remove(&mut self, key: Key) {
        self.running.retain(|running| running.key != key);
    }
}

impl Running {
    /// The refusal that ends it, with the place where it stopped.
    fn failed(&mut self, hub: &Hub, refusal: Refusal) -> Refusal {
        if let Some(subscription) = &mut self.subscription {
            subscription.course.failed(1);
        }
        match (&self.subscription, refusal.detail("cursor")) {
            (Some(subscription), None) => {
                refusal.with("cursor", hub.position(subscription.position()).to_string())
            }
            (Some(_) | None, _) => refusal,
        }
    }
}

/// An id that was taken for an operation which has not begun; dropped before it begins, the id is free again.
#[derive(Debug)]
pub(super) struct Claim {
    operations: Arc<Operations>,
    key: Key,
}

impl Claim {
    /// Over which connection the operation runs.
    pub(super) fn number(&self) -> u64 {
        self.operations.number
    }

    /// As whom the operation runs, and the generation of its grant and view.
    pub(super) fn caller(&self) -> Option<(Principal, u32)> {
        let state = self.operations.lock();
        Some((state.caller.principal()?.clone(), state.caller.generation()))
    }

    /// Begins a subscription. It resumes after the cursor, if there is one, whatever its argument says.
    pub(super) async fn subscribe(
        &self,
        app: &App,
        admitted: Admitted,
        resume: Option<Cursor>,
    ) -> Begun<NotBegun> {
        let wants_ready = admitted.wants_ready();
        let Some((principal, generation)) = self.caller() else { return Begun::Stopped };
        let beginning = operation::subscribe(app, &principal, admitted, resume, self.place());
        self.begin(beginning, generation, wants_ready).await
    }

    /// Follows events in a form without a document.
    pub(super) async fn follow(&self, app: &App, form: Arc<dyn Form>, asked: Asked) -> Begun<Refusal> {
        let Some((principal, generation)) = self.caller() else { return Begun::Stopped };
        self.begin(app.subscribe(&principal, form, asked, self.place()), generation, false).await
    }

    /// Puts in the one answer of what is over with it, unless it was stopped.
    pub(super) fn answer(self, text: &str) {
        let mut state = self.operations.lock();
        let Some(name) = state.find(self.key).map(|running| running.name.clone()) else { return };
        let form = self.operations.form;
        form.write(&Word::Next { id: &name, cursor: None, payload: text }, &mut state.waiting);
        form.write(&Word::Complete { id: &name }, &mut state.waiting);
        state.remove(self.key);
        drop(state);
        self.operations.said.notify_one();
    }

    /// Where the subscription started, once it has begun.
    pub(super) fn start(&self) -> Option<Cursor> {
        let start = self.operations.lock().find(self.key)?.subscription.as_ref().map(|one| one.start())?;
        Some(self.operations.hub.position(start))
    }

    fn place(&self) -> Place<'_> {
        let Operations { number, mailbox, .. } = &*self.operations;
        Place { number: *number, mailbox, key: self.key }
    }

    async fn begin<E>(
        &self,
        beginning: impl Future<Output = Result<Followed, E>>,
        generation: u32,
        wants_ready: bool,
    ) -> Begun<E> {
        let mut beginning = pin!(beginning);
        let begun = poll_fn(|context| {
            // Its first delivery comes with the poll in which it begins; `take` waits for this lock.
            let mut state = self.operations.lock();
            let Ok(at) = state.running.binary_search_by_key(&self.key, |running| running.key) else {
                return Poll::Ready(Begun::Stopped);
            };
            let subscription = match ready!(beginning.as_mut().poll(context)) {
                Ok(subscription) => subscription,
                Err(error) => return Poll::Ready(Begun::Not(error)),
            };
            self.live(&mut state, at, subscription, wants_ready);
            if generation != state.caller.generation() {
                self.operations.readmit(&mut state);
            }
            Poll::Ready(Begun::Accepted)
        });
        let begun = begun.await;
        self.operations.said.notify_one();
        begun
    }

    fn live(&self, state: &mut State, at: usize, subscription: Followed, wants_ready: bool) {
        let Some(running) = state.running.get_mut(at) else { return };
        let start = self.operations.hub.position(subscription.start());
        running.subscription = Some(subscription);
        if wants_ready {
            let payload = format!(r#"{{"data":null,"extensions":{{"ready":true,"cursor":"{start}"}}}}"#);
            let next = Word::Next { id: &running.name, cursor: Some(start), payload: &payload };
            self.operations.form.write(&next, &mut state.waiting);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.operations.lock();
        if state.find(self.key).is_some_and(|running| running.subscription.is_none()) {
            state.remove(self.key);
        }
    }
}
