//! Leads a run through its stages: open, publish (or fill), storm, drain; and brings home what all parts have to say.
//!
//! Invariants: a run ends by itself whatever the server does: publishers end with their time, connections when all has come or
//! nothing comes any more; a stop ends each stage early and loses nothing that was measured.

use super::{
    super::{Failure, publish::client::Client},
    arguments::Scenario,
    client::{self, ClientEnd},
    connect::Break,
    load::Load,
    progress::{Goal, INTERVAL, Progress},
    publisher::{Publisher, PublisherEnd},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// After a stop, what is on its way gets so long to arrive.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// How often the tester looks whether it is late itself.
const OWN_BEAT: Duration = Duration::from_millis(10);
/// One connection in so many may fail to open; more end the run before it has begun.
const LOST_IN: usize = 100;

/// What a run brought, beside the tally.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// From the first attempt to connect until all subscriptions stood.
    pub(super) opening: Duration,
    /// Connections that stood at the beginning.
    pub(super) opened: usize,
    /// From the first event to the last acknowledgement.
    pub(super) publishing: Duration,
    /// When publishing began, and when reading did, in microseconds of the run's clock.
    pub(super) published_from: u64,
    pub(super) read_from: u64,
    pub(super) publishers: Vec<PublisherEnd>,
    pub(super) clients: Vec<ClientEnd>,
    /// Did publishing end early because no connection was left to deliver to?
    pub(super) is_deserted: bool,
    /// Was it stopped early?
    pub(super) is_interrupted: bool,
}

/// A run on its way.
#[derive(Debug)]
pub(super) struct Conductor<'a> {
    load: Arc<Load>,
    stop: CancellationToken,
    clients: JoinSet<ClientEnd>,
    outcome: Outcome,
    progress: &'a mut Progress,
}

/// Measures how late the tester itself is, until it is aborted: its threads run this among everything else.
async fn watch_own_clock(load: Arc<Load>) {
    let mut beats = interval(OWN_BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = beats.tick().await;
        load.tally.late(load.micros().saturating_sub(load.micros_at(due)));
    }
}

fn broken(error: &JoinError) -> Failure {
    Failure::failed(format!("the load tester broke off: {error}"))
}

impl<'a> Conductor<'a> {
    pub(super) fn new(load: Arc<Load>, stop: CancellationToken, progress: &'a mut Progress) -> Self {
        Conductor { load, stop, clients: JoinSet::new(), outcome: Outcome::default(), progress }
    }

    /// Runs the plan's scenario to its end.
    pub(super) async fn run(mut self) -> Result<Outcome, Failure> {
        match self.load.plan.scenario {
            Scenario::Publish => self.publish("publishing").await?,
            Scenario::Fanout | Scenario::Storm => {
                self.open().await?;
                self.publish("publishing").await?;
                self.drain("draining").await?;
            }
            Scenario::Replay => {
                self.publish("filling").await?;
                self.settle();
                self.open().await?;
                self.drain("reading").await?;
            }
        }
        self.outcome.is_interrupted = self.stop.is_cancelled();
        Ok(self.outcome)
    }

    /// Opens every connection and waits until its subscriptions stand.
    async fn open(&mut self) -> Result<(), Failure> {
        let count = self.load.plan.connections;
        self.progress.begin("connecting", Goal::Count(count as u64, "connections"), &self.load.tally);
        self.outcome.read_from = self.load.micros();
        let (began, (opened, mut heard)) = (Instant::now(), mpsc::channel(1_024));
        for number in 0..count {
            self.clients.spawn(client::run(Arc::clone(&self.load), number, opened.clone()));
        }
        drop(opened);
        let (mut tick, mut lost) = (interval(INTERVAL), 0);
        while self.outcome.opened + lost < count {
            tokio::select! {
                result = heard.recv() => match result {
                    Some(Ok(())) => self.outcome.opened += 1,
                    Some(Err(Break::Lost(_))) if lost < count / LOST_IN => lost += 1,
                    Some(Err(broken)) => return Err(self.unopened(&broken)),
                    None => break,
                },
                () = self.stop.cancelled() => break,
                _ = tick.tick() => self.progress.advance(self.outcome.opened as u64, &self.load.tally),
            }
        }
        self.outcome.opening = began.elapsed();
        Ok(())
    }

    fn unopened(&self, broken: &Break) -> Failure {
        let (opened, count) = (self.outcome.opened, self.load.plan.connections);
        let hint = match broken {
            Break::Silent(_) => {
                "; the server may be at its limit of connections (connections_max), or a proxy in front of it at its own"
            }
            Break::Refused(why) if why.contains("TOO_MANY") => {
                "; use fewer --subscriptions, or raise the server's subscriptions_max"
            }
            Break::Refused(_) | Break::Later(_) | Break::Closed(_, _) | Break::Lost(_) => "",
        };
        Failure::failed(format!(
            "{}: {opened} of {count} connections stand, then: {broken}{hint}",
            self.load.target
        ))
    }

    /// Publishes for the plan's time, or as many events as it names.
    async fn publish(&mut self, stage: &'static str) -> Result<(), Failure> {
        let plan = self.load.plan.clone();
        let goal = plan.duration.map_or(Goal::Count(plan.events.unwrap_or_default(), "events"), Goal::Time);
        self.progress.begin(stage, goal, &self.load.tally);
        let (began, end) = (Instant::now(), CancellationToken::new());
        self.outcome.published_from = self.load.micros_at(began);
        let mut own = JoinSet::new();
        own.spawn(watch_own_clock(Arc::clone(&self.load)));
        let mut publishers = JoinSet::new();
        for number in 0..plan.publishers {
            let client = Client::new(&self.load.target)?;
            publishers.spawn(Publisher::new(Arc::clone(&self.load), number, client, began).run(end.clone()));
        }
        let over = began + plan.duration.unwrap_or(Duration::from_secs(u32::MAX.into()));
        let mut storm = (plan.scenario == Scenario::Storm).then(|| began + (over - began) / 3);
        let mut tick = interval(INTERVAL);
        while !publishers.is_empty() {
            tokio::select! {
                Some(ended) = publishers.join_next() => {
                    self.outcome.publishers.push(ended.map_err(|error| broken(&error))?);
                }
                Some(ended) = self.clients.join_next() => {
                    self.outcome.clients.push(ended.map_err(|error| broken(&error))?);
                    if self.clients.is_empty() {
                        self.outcome.is_deserted = true;
                        end.cancel();
                    }
                }
                () = self.stop.cancelled(), if !end.is_cancelled() => end.cancel(),
                () = sleep_until(over), if !end.is_cancelled() => end.cancel(),
                () = sleep_until(storm.unwrap_or(over)), if storm.is_some() => {
                    storm = None;
                    self.load.phase.send_modify(|phase| phase.storms += 1);
                }
                _ = tick.tick() => {
                    self.progress.advance(self.load.tally.acknowledged().sum(), &self.load.tally);
                }
            }
        }
        self.outcome.publishing = began.elapsed();
        Ok(())
    }

    /// From here on it is known what must come.
    fn settle(&self) {
        let acknowledged: Arc<[u64]> = self.load.tally.acknowledged().collect();
        self.load.phase.send_modify(|phase| phase.published = Some(acknowledged));
    }

    /// Waits until each connection has all that was acknowledged, or gets nothing any more.
    async fn drain(&mut self, stage: &'static str) -> Result<(), Failure> {
        self.settle();
        let expected = self.load.tally.acknowledged().sum::<u64>();
        let readers = match self.load.deal().keys {
            1 => (self.load.plan.connections * self.load.plan.subscriptions) as u64,
            _ => 1,
        };
        self.progress.begin(stage, Goal::Count(expected * readers, "deliveries"), &self.load.tally);
        let mut tick = interval(INTERVAL);
        while !self.clients.is_empty() && !self.stop.is_cancelled() {
            tokio::select! {
                Some(ended) = self.clients.join_next() => {
                    self.outcome.clients.push(ended.map_err(|error| broken(&error))?);
                }
                () = self.stop.cancelled() => {}
                _ = tick.tick() => self.progress.advance(self.load.tally.deliveries(), &self.load.tally),
            }
        }
        let _ = timeout(STOP_GRACE, self.last_ends()).await;
        self.load.phase.send_modify(|phase| phase.stop = true);
        self.last_ends().await
    }

    async fn last_ends(&mut self) -> Result<(), Failure> {
        while let Some(ended) = self.clients.join_next().await {
            self.outcome.clients.push(ended.map_err(|error| broken(&error))?);
        }
        Ok(())
    }
}
