//! What a service holds: takes events without waiting, and answers for those that must be on the server's disk.

use crate::{
    Event, RequestContext, RequestPublisher,
    error::{DeadlineError, PublishError, Published},
    exchange::Exchange,
    options::{Options, OptionsError, Token},
    queue::{Answer, Bounds, Progress, Queue},
    sender::{BatchBounds, Sender},
    stats::Stats,
};
use http::HeaderValue;
use std::{fmt, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    task::AbortHandle,
    time::{Instant, timeout},
};

/// Publishes the events of a service. Cloning shares it: one queue, one sender, one order.
///
/// Events of one publisher reach the server in the order in which they were published, each logged once however often it had
/// to be sent, as long as the server is there within [`Options::retry_window`] and the queue has room. What is lost is counted
/// ([`Publisher::stats`]), and told to the service's log once in a while.
///
/// When the last clone is dropped the sender delivers what is queued and ends; call [`Publisher::close`] to wait for that.
///
/// ```no_run
/// use fanfare_client::{Event, Options, Publisher};
/// use std::time::Duration;
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let publisher = Publisher::new(Options::new("http://127.0.0.1:8080", "/shop/orders"))?;
/// publisher.publish(Event::new("order.placed").user_id("u1"));
/// let published = publisher.publish_durable(Event::new("order.paid").user_id("u1")).await?;
/// println!("on disk at {}", published.cursor);
/// publisher.close(Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Publisher(Arc<Parts>);

struct Parts {
    queue: Arc<Queue>,
    source: String,
    token: watch::Sender<Option<HeaderValue>>,
    sender: AbortHandle,
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Publisher {
    /// Checks the options and starts the sender on the tokio runtime of the caller. Connects to nobody yet: a service starts
    /// whether the server is there or not.
    ///
    /// Fails with the option that is wrong, without a runtime, or if TLS cannot be set up.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        let runtime = Handle::try_current().map_err(|_| OptionsError::NoRuntime)?;
        let exchange = Exchange::new(&options)?;
        let token = options.token.as_ref().map(Token::header).transpose()?;
        let (token, shown) = watch::channel(token);
        let Options { source, retry_window: window, .. } = options;
        let bounds =
            Bounds { events_max: options.queue_events_max, bytes_max: options.queue_bytes_max, window };
        let batch = BatchBounds { events_max: options.batch_events_max, bytes_max: options.batch_bytes_max };
        let queue = Arc::new(Queue::new(bounds));
        let sender = Sender::new(Arc::clone(&queue), exchange, shown, batch, window);
        let sender = runtime.spawn(sender.run()).abort_handle();
        Ok(Publisher(Arc::new(Parts { queue, source, token, sender })))
    }

    /// Publishes an event. Never waits and never fails: an event that finds the queue full or the publisher closed, that the
    /// server refuses, or that nobody acknowledges in time is lost and counted by its reason.
    ///
    /// May be called from any thread.
    pub fn publish(&self, event: Event) {
        // The loss is counted where it is found; whoever wants to be told calls `publish_durable`.
        let _counted = self.offer(event, None);
    }

    /// Publishes an event and answers when it is on the server's disk. It stands in the same order as all others.
    ///
    /// Fails at once when the queue is full or the publisher closed, with the server's refusal, or after
    /// [`Options::retry_window`] without an acknowledgement; put [`tokio::time::timeout`] around it to wait for less.
    ///
    /// Cancel safety: dropping the future does not take the event back.
    pub async fn publish_durable(&self, event: Event) -> Result<Published, PublishError> {
        let (answer, answered) = oneshot::channel();
        self.offer(event, Some(answer))?;
        // Nobody answers any more when the sender was ended by the deadline of `close`.
        answered.await.unwrap_or(Err(PublishError::Closed))
    }

    fn offer(&self, event: Event, answer: Answer) -> Result<(), PublishError> {
        let json = event.to_json(&self.0.source);
        self.0.queue.offer(event.into_id(), json, answer)
    }

    /// A publisher that stamps every event with the correlation id and the trace of a request.
    pub fn request(&self, context: RequestContext) -> RequestPublisher {
        RequestPublisher::new(self.clone(), context)
    }

    /// Shows another credential from now on; `None` shows none. Call it before the last one expires: events that are refused as
    /// `UNAUTHENTICATED` are lost.
    ///
    /// Fails if no header can carry it; then the last one stays.
    pub fn set_token(&self, token: Option<Token>) -> Result<(), OptionsError> {
        let token = token.map(|token| token.header()).transpose()?;
        self.0.token.send_replace(token);
        Ok(())
    }

    /// What became of the events so far. Cheap.
    pub fn stats(&self) -> Stats {
        self.0.queue.stats()
    }

    /// Waits until every event that was published before is settled: acknowledged, or lost and counted. A sender that waits
    /// before its next attempt tries at once, unless the server asked it to wait.
    ///
    /// Fails when the deadline passes first; the events go on being sent.
    ///
    /// Cancel safety: yes.
    pub async fn flush(&self, deadline: Duration) -> Result<(), DeadlineError> {
        let (began, place) = (Instant::now(), self.0.queue.next_place());
        self.0.queue.hurry();
        match timeout(deadline, self.wait(|progress| progress.settled >= place)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(DeadlineError::Waiting { queued: self.stats().queued, waited: began.elapsed() }),
        }
    }

    /// Takes no more events and waits until those that are there are settled. What is not acknowledged by the deadline is lost
    /// and counted. Afterwards nothing is sent any more.
    ///
    /// Fails if the deadline cost events.
    ///
    /// Cancel safety: the publisher stays closed and goes on sending what is queued.
    pub async fn close(&self, deadline: Duration) -> Result<(), DeadlineError> {
        let began = Instant::now();
        self.0.queue.close();
        self.0.queue.hurry();
        let progress = match timeout(deadline, self.wait(|_| false)).await {
            Ok(progress) => progress,
            Err(_) => {
                self.0.sender.abort();
                // An aborted task is dropped the next time it waits, and it computes nothing for long.
                self.wait(|_| false).await
            }
        };
        match progress.ended.unwrap_or_default() {
            0 => Ok(()),
            lost => Err(DeadlineError::Lost { lost, waited: began.elapsed() }),
        }
    }

    /// Waits for this, or for the end of the sender, which settles nothing any more.
    async fn wait(&self, mut is_reached: impl FnMut(&Progress) -> bool) -> Progress {
        let mut progress = self.0.queue.progress();
        let reached = progress.wait_for(|progress| progress.ended.is_some() || is_reached(progress)).await;
        *reached.expect("the queue outlives this call, and the other end lives in it")
    }
}

impl fmt::Debug for Publisher {
    /// Without the events: what is in them is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("source", &self.0.source).field("stats", &self.stats()).finish()
    }
}
