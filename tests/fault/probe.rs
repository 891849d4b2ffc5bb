//! Single publishes whose outcome and duration matter.

use crate::{
    failure::{Failure, within},
    history::Traits,
    publisher::{Draft, Outcome, publish},
    recorder::Recorder,
    server::{Server, http_client},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// A producer that does one thing at a time.
#[derive(Debug)]
pub(crate) struct Probe {
    name: String,
    http: reqwest::Client,
    recorder: Arc<Recorder>,
    count: u64,
}

impl Probe {
    pub(crate) fn new(name: &str, recorder: &Arc<Recorder>) -> Result<Self, Failure> {
        Ok(Probe { name: name.to_owned(), http: http_client()?, recorder: Arc::clone(recorder), count: 0 })
    }

    /// The next event; ids never repeat.
    pub(crate) fn draft(&mut self) -> Draft {
        self.count += 1;
        let traits = Traits {
            event_type: "probe.sent".to_owned(),
            organization: "o1".to_owned(),
            priority: "NORMAL".to_owned(),
        };
        Draft {
            id: format!("{}-{}", self.name, self.count),
            traits,
            data: json!({ "n": self.count }),
            is_kept: true,
        }
    }

    /// Publishes drafts as one request.
    pub(crate) async fn send(&self, server: &Server, drafts: &[Draft]) -> (Outcome, Duration) {
        let started = Instant::now();
        let outcome = publish(&self.http, server.address, drafts, &self.recorder).await;
        (outcome, started.elapsed())
    }

    /// Publishes one event.
    pub(crate) async fn publish(&mut self, server: &Server) -> (Outcome, Duration) {
        let draft = self.draft();
        self.send(server, &[draft]).await
    }

    /// Publishes one event that must be acknowledged.
    pub(crate) async fn acked(&mut self, server: &Server) -> Result<Duration, Failure> {
        match self.publish(server).await {
            (Outcome::Acked, took) => Ok(took),
            (other, _) => Err(Failure::broken(format!("a publish was not acknowledged: {other:?}"))),
        }
    }

    /// Publishes new events until one has this outcome; gives how long that took, and how long the last one took.
    pub(crate) async fn until(
        &mut self,
        server: &Server,
        wanted: &Outcome,
        deadline: Duration,
    ) -> Result<(Duration, Duration), Failure> {
        let started = Instant::now();
        let asked = async {
            loop {
                let (outcome, took) = self.publish(server).await;
                if outcome == *wanted {
                    return (started.elapsed(), took);
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        within(deadline, &format!("a publish is answered {wanted:?}"), asked).await
    }
}
