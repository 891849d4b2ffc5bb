//! One connection of the load: opens, subscribes, reads and checks deliveries; in a storm drops and resumes by cursor.
//!
//! Flow: messages -> `tick::Reader` -> the [`Subscription`]'s books; what came in one wake-up goes to the tally at once.
//! Invariants: every end of a connection that the run did not ask for is counted with its reason; every wait ends when the run
//! is stopped.

use super::{
    super::{backoff, tail::protocol},
    arguments::Scenario,
    connect::{self, Break, Socket},
    load::{Load, Phase},
    sequence::Missing,
    subscription::Subscription,
    tally::Noted,
    tick::{Reader, Tick},
    wire::{self, Incoming},
};
use fanfare::error::Code;
use futures_util::{FutureExt, StreamExt};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// A server may take so long for its next message while a connection is being opened.
const OPENING_TIMEOUT: Duration = Duration::from_secs(15);
/// Attempts to open one connection: about half a minute with the pauses between them.
const ATTEMPTS_MAX: u32 = 7;
/// So many latencies are kept before they are entered.
const NOTED_MAX: usize = 512;

/// How a connection ended, and what it had received.
#[derive(Debug)]
pub(super) struct ClientEnd {
    /// Did it stand until the run let it go?
    pub(super) stood: bool,
    pub(super) subscriptions: Vec<Subscription>,
}

#[cfg(test)]
impl ClientEnd {
    /// A connection of a load that got nothing.
    pub(super) fn unserved(load: &Load, number: usize, stood: bool) -> Self {
        ClientEnd { stood, subscriptions: Subscription::all(load, number) }
    }
}

/// Why a connection is left.
enum Leave {
    /// Everything has come, or nothing comes any more, or the run is stopped.
    Over,
    /// All are to drop now.
    Drop,
}

/// What a message asks for.
enum Todo {
    Nothing,
    Subscribe,
    Pong,
}

#[derive(Debug)]
struct CatchingUp {
    since: u64,
    goal: u64,
}

#[derive(Debug)]
struct Client {
    load: Arc<Load>,
    number: usize,
    subscriptions: Vec<Subscription>,
    reader: Reader,
    noted: Noted,
    /// Subscriptions of this connection that stand.
    ready: usize,
    /// From when on latencies count, by the run's clock: before that it is the past that comes.
    live_from: u64,
    catching_up: Option<CatchingUp>,
    storms: u32,
}

/// Runs one connection to the end of the run; `opened` hears when it stands for the first time, or why it does not.
pub(super) async fn run(
    load: Arc<Load>,
    number: usize,
    opened: mpsc::Sender<Result<(), Break>>,
) -> ClientEnd {
    let (mut phase, mut over) = (load.phase.subscribe(), load.phase.subscribe());
    let mut client = Client::new(load, number);
    let stood = tokio::select! {
        stood = client.stand(&mut phase, &opened) => stood,
        // A watch without a sender means that the run is over, too.
        _ = over.wait_for(|phase| phase.stop) => true,
    };
    client.enter();
    ClientEnd { stood, subscriptions: client.subscriptions }
}

impl Client {
    fn new(load: Arc<Load>, number: usize) -> Self {
        Client {
            subscriptions: Subscription::all(&load, number),
            reader: Reader::new(&load.run),
            noted: Noted::default(),
            ready: 0,
            live_from: u64::MAX,
            catching_up: None,
            storms: 0,
            number,
            load,
        }
    }

    /// Stays connected for the length of the run; says whether it was at the end.
    async fn stand(
        &mut self,
        phase: &mut watch::Receiver<Phase>,
        opened: &mpsc::Sender<Result<(), Break>>,
    ) -> bool {
        let mut since = None;
        loop {
            let mut socket = match self.open_patiently(since).await {
                Ok(socket) => socket,
                Err(broken) => {
                    // Nobody listens once all have opened; then the tally alone tells.
                    let _ = opened.send(Err(broken)).await;
                    return false;
                }
            };
            if since.is_none() {
                let _ = opened.send(Ok(())).await;
            }
            let left = self.follow(&mut socket, phase).await;
            self.enter();
            match left {
                Ok(Leave::Over) => {
                    connect::leave(socket).await;
                    return true;
                }
                Ok(Leave::Drop) => {}
                Err(broken) => {
                    self.load.tally.trouble(&broken.to_string());
                    if !self.load.is_storm() {
                        return false;
                    }
                }
            }
            drop(socket);
            since = Some(self.load.micros());
        }
    }

    /// Opens, again and again where patience may help. `since` is when the last connection ended.
    async fn open_patiently(&mut self, since: Option<u64>) -> Result<Socket, Break> {
        let mut attempts = 0;
        loop {
            let broken = match self.open(since).await {
                Ok(socket) => return Ok(socket),
                Err(broken) => broken,
            };
            self.load.tally.trouble(&broken.to_string());
            attempts += 1;
            // Who stood before comes back in any case that a new attempt may change.
            let may_help = broken.passes() || since.is_some() && !matches!(broken, Break::Refused(_));
            if !may_help || attempts == ATTEMPTS_MAX {
                return Err(broken);
            }
            sleep(backoff::delay(attempts, backoff::Chance::draw())).await;
        }
    }

    async fn open(&mut self, since: Option<u64>) -> Result<Socket, Break> {
        let load = Arc::clone(&self.load);
        let _turn = load.turn_to_open(since.is_some()).await;
        (self.ready, self.live_from, self.catching_up) = (0, u64::MAX, None);
        let mut socket = load.endpoint.open().await?;
        connect::send(&mut socket, [protocol::init(load.target.bearer())]).await?;
        let mut began = load.micros();
        while self.ready < self.subscriptions.len() {
            let Ok(received) = timeout(OPENING_TIMEOUT, socket.next()).await else {
                return Err(Break::Silent("no answer to a subscription".to_owned()));
            };
            let Some(text) = connect::text(received)? else { continue };
            match self.take(text)? {
                Todo::Nothing => {}
                Todo::Pong => connect::send(&mut socket, [protocol::pong()]).await?,
                Todo::Subscribe => {
                    began = load.micros();
                    let scenario = load.plan.scenario;
                    let subscriptions = self.subscriptions.iter().enumerate();
                    let asked = subscriptions.map(|(number, subscription)| {
                        wire::subscribe(number, subscription.filter(), &subscription.start(scenario))
                    });
                    connect::send(&mut socket, asked.collect::<Vec<_>>()).await?;
                }
            }
        }
        self.live_from = load.micros();
        if since.is_some() || load.plan.scenario == Scenario::Replay {
            // What is acknowledged by now is what there is to catch up with.
            let expected =
                |subscription: &Subscription| subscription.expected(&load, load.tally.acknowledged());
            let goal = self.subscriptions.iter().map(expected).sum();
            self.catching_up = Some(CatchingUp { since: since.unwrap_or(began), goal });
        }
        self.enter();
        Ok(socket)
    }

    /// Reads until the connection breaks or is to be left.
    async fn follow(
        &mut self,
        socket: &mut Socket,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<Leave, Break> {
        let mut patience = None;
        loop {
            // What is there already is taken in one go.
            let received = match socket.next().now_or_never() {
                Some(received) => received,
                None => {
                    if self.enter() || patience.is_none() {
                        patience = Some(Instant::now() + self.load.patience);
                    }
                    let (is_draining, leave) = self.look_at(&phase.borrow_and_update());
                    if let Some(leave) = leave {
                        return Ok(leave);
                    }
                    let until = patience.unwrap_or_else(Instant::now);
                    tokio::select! {
                        biased;
                        received = socket.next() => received,
                        changed = phase.changed() => match changed {
                            Ok(()) => {
                                // From here on patience is counted anew: what is on its way gets its time.
                                patience = None;
                                continue;
                            }
                            Err(_) => return Ok(Leave::Over),
                        },
                        () = sleep_until(until), if is_draining => return Ok(Leave::Over),
                    }
                }
            };
            let Some(text) = connect::text(received)? else { continue };
            match self.take(text)? {
                Todo::Nothing => {}
                Todo::Pong => connect::send(socket, [protocol::pong()]).await?,
                Todo::Subscribe => return Err(Break::Refused("a second acknowledgement".to_owned())),
            }
            if self.noted.latencies.len() >= NOTED_MAX {
                self.enter();
            }
        }
    }

    /// What the phase means: is the rest only to be waited for, and is the connection to be left?
    fn look_at(&mut self, phase: &Phase) -> (bool, Option<Leave>) {
        if phase.storms > self.storms {
            self.storms = phase.storms;
            return (false, Some(Leave::Drop));
        }
        let Some(acknowledged) = &phase.published else { return (false, None) };
        let is_missing = |subscription: &Subscription| {
            subscription.missing(&self.load, acknowledged) != Missing::default()
        };
        (true, (!self.subscriptions.iter().any(is_missing)).then_some(Leave::Over))
    }

    fn take(&mut self, text: Utf8Bytes) -> Result<Todo, Break> {
        if let Some((subscription, tick)) = self.reader.read(&text) {
            self.deliver(subscription, tick, text);
            return Ok(Todo::Nothing);
        }
        match wire::read(&text).map_err(Break::Refused)? {
            Incoming::Ack => Ok(Todo::Subscribe),
            Incoming::Ping => Ok(Todo::Pong),
            Incoming::Idle => Ok(Todo::Nothing),
            Incoming::Ready(subscription, cursor) => {
                self.ready += 1;
                if let Some(subscription) = self.subscriptions.get_mut(subscription)
                    && self.load.is_storm()
                {
                    subscription.stands_at(cursor);
                }
                Ok(Todo::Nothing)
            }
            Incoming::Foreign(subscription) => {
                if let Some(subscription) = self.subscriptions.get_mut(subscription) {
                    subscription.enter_foreign();
                }
                Ok(Todo::Nothing)
            }
            Incoming::Failed(error) => {
                let code = error.code.as_deref().unwrap_or("no code");
                let next = error.next.map(|next| format!(". {next}")).unwrap_or_default();
                let told = format!("subscription: {code}: {}{next}", error.message);
                let code = Code::ALL.into_iter().find(|known| known.name() == code);
                Err(if code.is_some_and(Code::retryable) { Break::Later(told) } else { Break::Refused(told) })
            }
        }
    }

    fn deliver(&mut self, subscription: usize, tick: Tick, text: Utf8Bytes) {
        let Some(subscription) = self.subscriptions.get_mut(subscription) else { return };
        let now = self.load.micros();
        self.noted.deliveries += 1;
        self.noted.bytes += text.len() as u64;
        self.noted.at = now;
        if subscription.enter(tick) && tick.time >= self.live_from {
            self.noted.latencies.push(now.saturating_sub(tick.time));
        }
        if self.load.is_storm() {
            subscription.passed(text);
        }
    }

    /// Enters what came since the last time; says whether anything did.
    fn enter(&mut self) -> bool {
        let came = self.noted.deliveries > 0;
        self.load.tally.enter(self.number, &mut self.noted);
        if let Some(CatchingUp { since, goal }) = self.catching_up {
            let received: u64 = self.subscriptions.iter().map(Subscription::received).sum();
            if received >= goal {
                self.load.tally.caught_up(self.load.micros().saturating_sub(since));
                self.catching_up = None;
            }
        }
        came
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
