//! What everybody in one run shares: the plan, the clock, the books, and the phase that the conductor sets.

use super::{
    super::target::Target,
    arguments::{Filters, Plan, Scenario},
    connect::Endpoint,
    sequence::Deal,
    tally::Tally,
    tick::{EVENT_TYPE, Run},
};
use fanfare::event::{EventType, TypePattern};
use serde_json::Value;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::{Instant, sleep_until},
};

/// So many connections are opened at a time: less than the usual backlog of a listener.
const OPENING_MAX: usize = 64;

const PATIENCE: Duration = Duration::from_secs(10);

/// How far the run is.
#[derive(Clone, Debug, Default)]
pub(super) struct Phase {
    /// So many times every connection was to drop.
    pub(super) storms: u32,
    /// Publishing is over, with so many events of each publisher acknowledged.
    pub(super) published: Option<Arc<[u64]>>,
    /// The run is over, whatever is on its way.
    pub(super) stop: bool,
}

/// One run.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) plan: Plan,
    pub(super) run: Run,
    pub(super) target: Target,
    pub(super) endpoint: Endpoint,
    pub(super) tally: Tally,
    pub(super) phase: watch::Sender<Phase>,
    /// How long nothing may come before what is missing is given up; half as long for a server that takes no events.
    pub(super) patience: Duration,
    clock: Instant,
    opening: Semaphore,
    next_opening: Mutex<Instant>,
}

/// What one subscription asks for.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) key: u64,
    pub(super) filter: Value,
    /// Does its pattern match the run's events?
    pub(super) matches: bool,
}

impl Load {
    pub(super) fn new(plan: Plan, target: Target, endpoint: Endpoint) -> Self {
        let tally = Tally::new(plan.threads, plan.publishers);
        Load {
            run: Run::new(),
            target,
            endpoint,
            tally,
            phase: watch::Sender::new(Phase::default()),
            patience: PATIENCE,
            clock: Instant::now(),
            opening: Semaphore::new(OPENING_MAX),
            next_opening: Mutex::new(Instant::now()),
            plan,
        }
    }

    /// The run's clock in microseconds.
    pub(super) fn micros(&self) -> u64 {
        self.micros_at(Instant::now())
    }

    /// The run's clock at an instant.
    pub(super) fn micros_at(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.clock).as_micros()).unwrap_or(u64::MAX)
    }

    /// Whom events are for.
    pub(super) fn deal(&self) -> Deal {
        let keys = match self.plan.filters {
            Filters::Same => 1,
            // Without subscriptions there is still one key to publish under.
            Filters::Distinct => (self.plan.connections * self.plan.subscriptions).max(1) as u64,
        };
        Deal { keys, publishers: self.plan.publishers as u64 }
    }

    /// What each subscription of a connection asks for.
    pub(super) fn wishes(&self, connection: usize) -> impl Iterator<Item = Wish> {
        let first = connection * self.plan.subscriptions;
        (first..first + self.plan.subscriptions).map(|place| self.wish(place))
    }

    fn wish(&self, place: usize) -> Wish {
        let key = match self.plan.filters {
            Filters::Same => 0,
            Filters::Distinct => place as u64,
        };
        let pattern = self.plan.patterns.get(place % self.plan.patterns.len().max(1));
        let tick = EventType::parse(EVENT_TYPE, "type").ok();
        let matches = |pattern: &TypePattern| tick.as_ref().is_some_and(|tick| pattern.matches(tick));
        Wish {
            key,
            filter: self.run.filter(pattern.map_or(EVENT_TYPE, TypePattern::as_str), key),
            matches: pattern.is_none_or(matches),
        }
    }

    /// Waits until a connection may be opened; the permit is held until it stands. In a storm only the rate holds back.
    pub(super) async fn turn_to_open(&self, is_storm: bool) -> Option<SemaphorePermit<'_>> {
        if let Some(rate) = self.plan.connect_rate {
            let slot = {
                let mut next = self.next_opening.lock().unwrap_or_else(PoisonError::into_inner);
                let slot = (*next).max(Instant::now());
                *next = slot + Duration::try_from_secs_f64(1.0 / rate).unwrap_or_default();
                slot
            };
            sleep_until(slot).await;
        }
        match is_storm {
            true => None,
            // The semaphore is never closed.
            false => self.opening.acquire().await.ok(),
        }
    }

    pub(super) fn is_storm(&self) -> bool {
        self.plan.scenario == Scenario::Storm
    }
}

#[cfg(test)]
pub(super) mod testing {
    //! A small load for tests.

    use super::*;
    use tokio::net::TcpListener;

    /// One connection, one publisher, one event a request, to whoever answers on the listener.
    pub(in super::super) async fn load(listener: &TcpListener) -> (Load, Target) {
        let target = Target::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let (endpoint, _) = tokio::join!(Endpoint::find(&target, 128), listener.accept());
        let Ok(endpoint) = endpoint else { panic!("the listener is there") };
        let plan = Plan {
            scenario: Scenario::Fanout,
            connections: 1,
            subscriptions: 1,
            filters: Filters::Same,
            patterns: vec![TypePattern::parse("bench.*", "types").unwrap()],
            rate: None,
            duration: Some(Duration::from_secs(1)),
            payload: 128,
            publishers: 1,
            batch: 1,
            events: None,
            connect_rate: None,
            threads: 1,
        };
        (Load::new(plan, target.clone(), endpoint), target)
    }
}
