//! A producer as the README asks for one: it publishes over HTTP and, whenever an outcome is unknown, again with the same ids.
//!
//! Invariants: an event is recorded as invoked before the first byte of it is sent, and an outcome after the answer is read;
//! an id is given up only after a definite answer.

use crate::{
    chance::Chance,
    history::{Record, Traits, body_hash},
    recorder::Recorder,
    server::post,
};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

const TYPES: [&str; 6] =
    ["task.created", "task.progress", "task.completed", "agent.log", "agent.created", "custom.tick.fine"];
const ORGANIZATIONS: [&str; 4] = ["o0", "o1", "o2", "o3"];
const PRIORITIES: [&str; 4] = ["LOW", "NORMAL", "HIGH", "CRITICAL"];
/// After an unknown outcome, so that a dead server is not asked in a tight loop.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// After a refusal; a full disk stays full for a while.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
/// How many events are not kept, in percent.
const TRANSIENT_PERCENT: u64 = 20;
/// How often an acknowledged request is sent again, in percent.
const REPEATS_PERCENT: u64 = 20;

/// The id of the last event of a run.
pub(crate) const FENCE: &str = "fence";

/// One event to publish.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) id: String,
    pub(crate) traits: Traits,
    pub(crate) data: Value,
    /// What is not kept is promised to nobody, so nothing is recorded of it here.
    pub(crate) is_kept: bool,
}

impl Draft {
    /// The event that ends a run; every filter of the load selects it.
    pub(crate) fn fence() -> Self {
        let traits = Traits {
            event_type: "fence.reached".to_owned(),
            organization: "o0".to_owned(),
            priority: "CRITICAL".to_owned(),
        };
        Draft { id: FENCE.to_owned(), traits, data: Value::Null, is_kept: true }
    }

    fn random(id: String, padding_bytes_max: u64, chance: &mut Chance) -> Self {
        let mut pick = |list: &[&'static str]| chance.one_of(list).unwrap_or_default().to_owned();
        let traits = Traits {
            event_type: pick(&TYPES),
            organization: pick(&ORGANIZATIONS),
            priority: pick(&PRIORITIES),
        };
        let padding = usize::try_from(chance.below(padding_bytes_max)).unwrap_or_default();
        let data = json!({ "n": chance.below(1_000_000), "padding": "x".repeat(padding) });
        let is_kept = !chance.percent(TRANSIENT_PERCENT);
        Draft { id, traits, data, is_kept }
    }

    fn json(&self) -> Value {
        let Traits { event_type, organization, priority } = &self.traits;
        json!({ "id": self.id, "source": "fault", "type": event_type, "organizationId": organization,
                "priority": priority, "data": self.data, "persist": self.is_kept })
    }
}

/// What a request came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acked,
    /// For good, with the code.
    Refused(String),
    Unknown,
}

/// Publishes one request and records what happens.
pub(crate) async fn publish(
    http: &reqwest::Client,
    address: SocketAddr,
    drafts: &[Draft],
    recorder: &Recorder,
) -> Outcome {
    let batch = drafts.first().map(|draft| draft.id.clone()).unwrap_or_default();
    for Draft { id, traits, data, .. } in drafts.iter().filter(|draft| draft.is_kept) {
        recorder.record(Record::Invoked {
            id: id.clone(),
            batch: batch.clone(),
            hash: body_hash(traits, data),
            traits: traits.clone(),
        });
    }
    let body = match drafts {
        [draft] => draft.json(),
        drafts => drafts.iter().map(Draft::json).collect(),
    };
    let answer = post(http, &format!("http://{address}/events"), &body).await;
    let each = |record: &dyn Fn(String) -> Record| {
        let kept = drafts.iter().filter(|draft| draft.is_kept);
        kept.for_each(|draft| recorder.record(record(draft.id.clone())));
    };
    match answer {
        Ok((200, answer)) => acknowledged(drafts, &answer, recorder),
        // 507 says that nothing was logged, 4xx that nothing will be; 500 and 503 leave it open.
        Ok((status @ (400..=499 | 507), answer)) => {
            let code = answer.get("code").and_then(Value::as_str).map_or(status.to_string(), str::to_owned);
            each(&|id| Record::Refused { id, code: code.clone() });
            Outcome::Refused(code)
        }
        Ok((status, answer)) => {
            let code = answer.get("code").and_then(Value::as_str).unwrap_or_default();
            each(&|id| Record::Unknown { id, why: format!("{status} {code}") });
            Outcome::Unknown
        }
        Err(why) => {
            each(&|id| Record::Unknown { id, why: why.clone() });
            Outcome::Unknown
        }
    }
}

fn acknowledged(drafts: &[Draft], answer: &Value, recorder: &Recorder) -> Outcome {
    let answers = answer.as_array().map_or_else(|| std::slice::from_ref(answer), Vec::as_slice);
    for (index, Draft { id, .. }) in drafts.iter().enumerate().filter(|(_, draft)| draft.is_kept) {
        let text = |name: &str| answers.get(index).and_then(|answer| answer.get(name)?.as_str());
        let duplicate = answers.get(index).and_then(|answer| answer.get("duplicate")?.as_bool());
        // An answer for another event would acknowledge what was not asked.
        recorder.record(match (text("id"), text("cursor"), duplicate) {
            (Some(answered), Some(cursor), Some(duplicate)) if answered == id => {
                Record::Acked { id: id.clone(), cursor: cursor.to_owned(), duplicate }
            }
            _ => Record::Unknown { id: id.clone(), why: format!("200 with {answer}") },
        });
    }
    Outcome::Acked
}

/// How a producer behaves.
#[derive(Clone, Debug)]
pub(crate) struct Habit {
    /// The longest pause between two requests.
    pub(crate) pause_max: Duration,
    /// The most bytes of padding in an event.
    pub(crate) padding_bytes_max: u64,
    /// The most events of a request.
    pub(crate) batch_max: u64,
}

impl Default for Habit {
    fn default() -> Self {
        Habit { pause_max: Duration::from_millis(20), padding_bytes_max: 600, batch_max: 5 }
    }
}

/// A producer.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) name: String,
    pub(crate) habit: Habit,
    pub(crate) chance: Chance,
    pub(crate) http: reqwest::Client,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) address: watch::Receiver<Option<SocketAddr>>,
    pub(crate) stop: CancellationToken,
}

impl Publisher {
    /// Publishes until it is told to stop, and then until the last outcome is known.
    pub(crate) async fn run(mut self) {
        let mut count = 0_u64;
        while !self.stop.is_cancelled() {
            let size = if self.chance.percent(70) { 1 } else { self.chance.between(2, self.habit.batch_max) };
            let drafts: Vec<_> = (0..size)
                .map(|_| {
                    count += 1;
                    let id = format!("{}-{count}", self.name);
                    Draft::random(id, self.habit.padding_bytes_max, &mut self.chance)
                })
                .collect();
            if !self.settle(&drafts).await {
                return;
            }
            let pause = u64::try_from(self.habit.pause_max.as_micros()).unwrap_or_default();
            sleep(Duration::from_micros(self.chance.below(pause))).await;
        }
    }

    /// Sends a request until its outcome is known; false when there will be no server any more.
    async fn settle(&mut self, drafts: &[Draft]) -> bool {
        loop {
            let Ok(Some(address)) = self.address.wait_for(Option::is_some).await.map(|address| *address)
            else {
                return false;
            };
            match publish(&self.http, address, drafts, &self.recorder).await {
                Outcome::Acked if self.chance.percent(REPEATS_PERCENT) => {}
                Outcome::Acked => return true,
                Outcome::Refused(_) => {
                    sleep(REFUSED_PAUSE).await;
                    return true;
                }
                Outcome::Unknown => sleep(RETRY_PAUSE).await,
            }
        }
    }
}
