//! Sixteen producers and eight consumers, who follow the server across its restarts.

use crate::{
    chance::Chance,
    failure::{Failure, expect, within},
    history::{Filter, Record, Start, body_hash},
    publisher::{Draft, Habit, Outcome, Publisher, publish},
    recorder::Recorder,
    server::{Server, http_client},
    subscriber::{Dialect, Subscriber, event_traits},
};
use serde_json::json;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// How long producers have for their last outcome, and consumers for the last event.
const END: Duration = Duration::from_secs(60);
const PAGE_EVENTS: u32 = 1_000;

/// What the load is.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) publishers: u64,
    pub(crate) habit: Habit,
    pub(crate) has_subscribers: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Plan { publishers: 16, habit: Habit::default(), has_subscribers: true }
    }
}

/// A load that runs.
#[derive(Debug)]
pub(crate) struct Load {
    recorder: Arc<Recorder>,
    place: watch::Sender<Option<SocketAddr>>,
    stop: CancellationToken,
    publishers: JoinSet<()>,
    subscribers: JoinSet<()>,
    http: reqwest::Client,
}

impl Load {
    /// Starts everybody; they wait until [`Load::serve_at`] names a server.
    pub(crate) fn start(recorder: &Arc<Recorder>, plan: &Plan, chance: &Chance) -> Result<Self, Failure> {
        let (place, address) = watch::channel(None);
        let (stop, http) = (CancellationToken::new(), http_client()?);
        let mut publishers = JoinSet::new();
        for number in 0..plan.publishers {
            let publisher = Publisher {
                name: format!("p{number}"),
                habit: plan.habit.clone(),
                chance: chance.branch(number + 1),
                http: http.clone(),
                recorder: Arc::clone(recorder),
                address: address.clone(),
                stop: stop.clone(),
            };
            publishers.spawn(publisher.run());
        }
        let mut subscribers = JoinSet::new();
        for (name, dialect, filter, start) in consumers().into_iter().filter(|_| plan.has_subscribers) {
            let recorder = Arc::clone(recorder);
            let name = name.to_owned();
            let subscriber = Subscriber { name, dialect, filter, start, recorder, address: address.clone() };
            subscribers.spawn(subscriber.run());
        }
        Ok(Load { recorder: Arc::clone(recorder), place, stop, publishers, subscribers, http })
    }

    /// Says where the server is, or that there is none now.
    pub(crate) fn serve_at(&self, address: Option<SocketAddr>) {
        self.place.send_replace(address);
    }

    /// Ends the producers, each with a known outcome.
    pub(crate) async fn settle(&mut self) -> Result<(), Failure> {
        self.stop.cancel();
        let publishers = &mut self.publishers;
        within(END, "every publish gets an answer", async { while publishers.join_next().await.is_some() {} })
            .await
    }

    /// Ends the producers, publishes the last event, waits for the consumers to get there, and reads the final log. A
    /// consumer that does not get there is the checker's to tell.
    pub(crate) async fn finish(mut self, server: &Server) -> Result<(), Failure> {
        self.serve_at(Some(server.address));
        self.settle().await?;
        let outcome = publish(&self.http, server.address, &[Draft::fence()], &self.recorder).await;
        expect(outcome == Outcome::Acked, || format!("the last event was not taken: {outcome:?}"))?;
        let subscribers = &mut self.subscribers;
        let _ = within(END, "", async { while subscribers.join_next().await.is_some() {} }).await;
        self.subscribers.shutdown().await;
        read_log(server, &self.recorder).await
    }
}

/// Consumers with different filters, from different places, in both protocols. Every filter selects the last event.
fn consumers() -> Vec<(&'static str, Dialect, Filter, Start)> {
    let types = |types: &[&str]| Filter {
        types: types.iter().map(|kind| (*kind).to_owned()).collect(),
        ..Filter::default()
    };
    let organizations = |ids: &[&str]| Filter {
        organizations: ids.iter().map(|id| (*id).to_owned()).collect(),
        ..Filter::default()
    };
    let urgent = Filter { min_priority: Some("HIGH".to_owned()), ..Filter::default() };
    let narrow = Filter { organizations: vec!["o0".to_owned()], ..types(&["task.completed", "fence.*"]) };
    use Dialect::{GraphQl, JsonRpc};
    vec![
        ("all", GraphQl, Filter::default(), Start::Live),
        ("history", GraphQl, Filter::default(), Start::Earliest),
        ("tasks", GraphQl, types(&["task.*", "fence.*"]), Start::Live),
        ("created", GraphQl, types(&["*.created", "*.reached"]), Start::Earliest),
        ("tenant", GraphQl, organizations(&["o0", "o2"]), Start::Live),
        ("urgent", GraphQl, urgent, Start::Earliest),
        ("rpc-all", JsonRpc, Filter::default(), Start::Earliest),
        ("rpc-narrow", JsonRpc, narrow, Start::Live),
    ]
}

/// Reads the whole log page by page and records it as the final one, after the secret that opens its cursors.
pub(crate) async fn read_log(server: &Server, recorder: &Recorder) -> Result<(), Failure> {
    let epoch = fanfare::log::epoch(&server.data_dir);
    let epoch = epoch.map_err(|error| Failure::broken(format!("the log's epoch: {error}")))?;
    let secret = epoch.secret().map(|byte| format!("{byte:02x}")).concat();
    recorder.record(Record::Epoch { secret });
    let mut params = json!({ "first": PAGE_EVENTS });
    loop {
        let page = server.call("events.history", &params).await?;
        let events = page["events"].as_array().map(Vec::as_slice).unwrap_or_default();
        for event in events {
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            let traits = event_traits(event);
            let hash = body_hash(&traits, &event["data"]);
            recorder.record(Record::Logged { cursor: text("cursor"), id: text("id"), hash, traits });
        }
        match (page["hasMore"] == true, events.last()) {
            (true, Some(last)) => params["after"] = last["cursor"].clone(),
            (true, None) => return Err(Failure::broken("a page of the history has more but no event")),
            (false, _) => return Ok(()),
        }
    }
}
