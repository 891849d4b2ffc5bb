//! A client with a plan: joins somewhere, reads with pauses, leaves and resumes, and writes down all that it was told.

use super::{
    door::{Door, End, NotOpened, Session, Step},
    facts::Wanted,
    history::History,
    random::Random,
};
use crate::support::DEADLINE;
use chrono::{DateTime, Duration, Utc};
use fanfare::{event::Offset, log::Bounds};
use serde_json::{Value, json};
use tokio::{sync::watch, time::timeout};

/// From where a subscription was asked to start.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    Live,
    Earliest,
    Last(usize),
    Time(DateTime<Utc>),
    After(Offset),
}

impl Start {
    fn random(random: &mut Random, history: &History) -> Self {
        let known = history.any(random);
        match (random.below(8), known) {
            (0, _) => Start::Live,
            (1 | 2, _) => Start::Earliest,
            (3 | 4, _) => Start::Last(random.within(1, 200)),
            (5, Some((_, time))) => Start::Time(time - Duration::milliseconds(random.within(1, 5) as i64)),
            (5, None) => Start::Time(Utc::now() - Duration::milliseconds(5)),
            (_, Some((offset, _))) => Start::After(offset),
            (_, None) => Start::After(Offset::ZERO),
        }
    }

    fn json(&self, door: &Door) -> Value {
        match self {
            Start::Live => Value::Null,
            Start::Earliest => json!({ "earliest": true }),
            Start::Last(count) => json!({ "last": count }),
            Start::Time(time) => json!({ "time": time.to_rfc3339() }),
            Start::After(offset) => json!({ "after": door.hub.position(*offset).to_string() }),
        }
    }
}

/// How a session ended.
#[derive(Clone, Debug)]
pub(crate) enum Until {
    /// With the last event of the trial.
    Fence,
    /// It was left, to be resumed after this offset.
    Left(Offset),
    /// The server went away.
    Gone,
    /// With an error; the ends of the log after it.
    Refused(End, Bounds),
}

/// One session and everything that was seen of it.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) asked: Start,
    /// The ends of the log before and after the subscription was opened.
    pub(crate) bounds: (Bounds, Bounds),
    /// Where it started; `None` when it was refused.
    pub(crate) start: Option<Offset>,
    pub(crate) got: Vec<(Offset, String)>,
    pub(crate) until: Until,
}

/// What a client is going to do.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) wanted: Wanted,
    /// The bytes of its mailbox.
    bytes_max: usize,
    /// So many events are there when it joins.
    joins_at: usize,
    /// How often it may still leave by itself.
    leaves: usize,
    has_joined: bool,
    random: Random,
}

impl Client {
    /// A client of a trial in which about so many events are published.
    pub(crate) fn new(seed: u64, events: usize) -> Self {
        let mut random = Random::new(seed);
        Client {
            wanted: Wanted::random(&mut random),
            bytes_max: random.pick(&[1, 20, 100, 1_000, 1 << 20]),
            joins_at: random.below(events),
            leaves: random.below(4),
            has_joined: false,
            random,
        }
    }

    /// Follows the trial to its last event, through every life of the server.
    pub(crate) async fn run(
        mut self,
        mut doors: watch::Receiver<Option<Door>>,
        history: &History,
    ) -> (Wanted, Vec<Visit>) {
        history.reached(self.joins_at).await;
        let mut next = Start::random(&mut self.random, history);
        let mut visits = Vec::new();
        loop {
            let door = doors.wait_for(Option::is_some).await.unwrap().clone().unwrap();
            let Some(visit) = self.visit(&door, next.clone(), &mut doors, history).await else { continue };
            next = match (&visit.until, visit.start) {
                (Until::Fence, _) => {
                    visits.push(visit);
                    return (self.wanted, visits);
                }
                (Until::Left(through), _) => Start::After(*through),
                (Until::Refused(end, _), _) => {
                    Start::After(end.earliest.expect("an end says where to go on"))
                }
                (Until::Gone, start) => {
                    Start::After(visit.got.last().map(|(offset, _)| *offset).or(start).unwrap())
                }
            };
            visits.push(visit);
        }
    }

    /// One session; `None` when the server went away before it was opened.
    async fn visit(
        &mut self,
        door: &Door,
        asked: Start,
        doors: &mut watch::Receiver<Option<Door>>,
        history: &History,
    ) -> Option<Visit> {
        let before = door.hub.bounds();
        let (filter, start) = (self.wanted.json(), asked.json(door));
        let opening = Session::open(door, &filter, &start, self.bytes_max);
        let opened = tokio::select! {
            opened = opening => opened,
            () = closed(door, doors) => return None,
        };
        let bounds = (before, door.hub.bounds());
        let mut session = match opened {
            Ok(session) => session,
            Err(NotOpened::Gone) => {
                hung_up(door, doors).await;
                return None;
            }
            Err(NotOpened::Refused(end)) if end.code == "UNAVAILABLE" && !is_open(door, doors) => {
                return None;
            }
            Err(NotOpened::Refused(end)) => {
                let until = refused(end, door).await;
                return Some(Visit { asked, bounds, start: None, got: Vec::new(), until });
            }
        };
        if !std::mem::replace(&mut self.has_joined, true) {
            history.join();
        }
        let mut got = Vec::new();
        let until = self.read(&mut session, &mut got, door, doors, history).await;
        Some(Visit { asked, bounds, start: Some(session.start), got, until })
    }

    async fn read(
        &mut self,
        session: &mut Session,
        got: &mut Vec<(Offset, String)>,
        door: &Door,
        doors: &mut watch::Receiver<Option<Door>>,
        history: &History,
    ) -> Until {
        let enough = if self.leaves > 0 { self.random.below(120) } else { usize::MAX };
        while got.len() < enough {
            if self.random.once_in(60) {
                let more = self.random.below(150);
                tokio::select! {
                    () = history.reached(history.count() + more) => {}
                    () = closed(door, doors) => {}
                }
            }
            let step = tokio::select! {
                step = session.next() => step,
                () = closed(door, doors) => Step::Gone,
            };
            match step {
                Step::Event(offset, id) => {
                    let is_fence = id == "fence";
                    got.push((offset, id));
                    if is_fence {
                        return Until::Fence;
                    }
                }
                Step::Ended(end) if end.code == "UNAVAILABLE" && !is_open(door, doors) => return Until::Gone,
                Step::Ended(end) => return refused(end, door).await,
                Step::Gone => {
                    hung_up(door, doors).await;
                    return Until::Gone;
                }
            }
        }
        self.leaves -= 1;
        let last = got.last().map_or(session.start, |(offset, _)| *offset);
        Until::Left(session.position().filter(|_| self.random.once_in(2)).unwrap_or(last))
    }
}

/// Waits until the log shows the ends that an error has named: it removes first and shows it then.
async fn refused(end: End, door: &Door) -> Until {
    let shown = async {
        while end.earliest.is_some_and(|earliest| door.hub.bounds().earliest <= earliest) {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, shown).await.expect("the log still has what an error called gone");
    let bounds = door.hub.bounds();
    Until::Refused(end, bounds)
}

/// Waits until this life of the server is over.
async fn closed(door: &Door, doors: &mut watch::Receiver<Option<Door>>) {
    doors.wait_for(|now| !is_same_life(door, now)).await.unwrap();
}

/// The server hung up, which it may only do at its end.
async fn hung_up(door: &Door, doors: &mut watch::Receiver<Option<Door>>) {
    timeout(DEADLINE, closed(door, doors)).await.expect("the server hung up on a client");
}

fn is_open(door: &Door, doors: &watch::Receiver<Option<Door>>) -> bool {
    is_same_life(door, &doors.borrow())
}

fn is_same_life(door: &Door, now: &Option<Door>) -> bool {
    now.as_ref().is_some_and(|now| now.life == door.life)
}
