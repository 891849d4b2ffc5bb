//! Masked fields as readers meet them: canaries in every place that can be masked, for every kind of reader, over every way
//! out, also in what is refused, logged and counted. Here without the edge; over real connections: `endpoints`.
//!
//! A form of events that is not in [`FORMS`], [`Sight::past`] or [`Sight::refused`] is missing here.

mod canaries;
mod endpoints;
mod state;

use crate::support::DEADLINE;
use canaries::{CANARY, FIELDS, READERS, ROLES, canary, events, masks, transient_events};
use fanfare::{
    auth::{Action, Credential, Grant, Masks, Principal},
    bus::{self, Bus},
    error::{Code, Refusal},
    event::{Draft, EventFilter, FilterDraft, Limits, NewEvent, ScopeField, StartPosition, write_event},
    fanout::{Asked, Delivery, EventForm, Fanout, Form, Mailbox, Subscription},
    graphql::{GraphqlOptions, Schema, SelectionForm, schema},
    hub::{HistoryRequest, Hub},
    log::{MemoryLog, MemoryOptions},
    metrics::Metrics,
    protocol::jsonrpc::write_gateway_event,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::{
    io,
    sync::{Arc, Mutex},
};
use tokio::{task::JoinHandle, time::timeout};

const GATEWAY: EventForm = EventForm::new("gateway", write_gateway_event);

fn principal(masks: &Masks, roles: &[&str]) -> Principal {
    let view = masks.view(roles, |role| ROLES.contains(&role));
    Principal::new("reader", Credential::None, Grant::everything(), view, None)
}

/// The rooms of a server, without its edge.
struct Sight {
    hub: Hub,
    fanout: Fanout,
    worker: JoinHandle<()>,
    schema: Schema,
}

impl Drop for Sight {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

type MakeForm = fn(&Sight) -> Arc<dyn Form>;

/// How an event may look: JSON-RPC and `GET /events`; the gateway; GraphQL over WebSocket, event streams and multipart.
const FORMS: [(&str, MakeForm); 3] = [
    ("whole", |_| Arc::new(EventForm::WHOLE)),
    ("gateway", |_| Arc::new(GATEWAY)),
    ("graphql", |sight| {
        // Fields of one name have one type within a document; `message` has two.
        let fields = FIELDS.replace("message", "");
        Arc::new(SelectionForm::new(sight.schema.clone(), &format!("subscription{{events{{{fields}}}}}")))
    }),
];

impl Sight {
    fn new() -> Self {
        let bus = Bus::new(&bus::Options::default());
        let ring = bus.clone();
        let log = MemoryLog::open(MemoryOptions::default(), Box::new(move |batch| ring.publish(batch)));
        let hub = Hub::new(Arc::new(log), bus, Metrics::new(), Limits::default());
        let (fanout, worker) = Fanout::start(hub.clone(), &tokio::runtime::Handle::current());
        let schema = schema(hub.clone(), &GraphqlOptions::default());
        Sight { hub, fanout, worker, schema }
    }

    /// What is kept, and then as many that are not.
    async fn publish(&self) {
        self.hub.publish(&Principal::anonymous(), events()).await.unwrap();
        self.hub.publish(&Principal::anonymous(), transient_events()).await.unwrap();
    }

    async fn follow(
        &self,
        principal: &Principal,
        form: Arc<dyn Form>,
        start: StartPosition,
    ) -> (Arc<Mailbox>, Subscription) {
        let mailbox = Arc::new(Mailbox::new(1 << 20));
        let asked = Asked { start, ..Asked::default() };
        let subscription = self.fanout.subscribe(principal, form, asked, (&mailbox, 1)).await.unwrap();
        (mailbox, subscription)
    }

    /// What is delivered of all events, in each form.
    async fn delivered(&self, principal: &Principal, start: StartPosition) -> Vec<(String, String)> {
        let is_live = start == StartPosition::Live;
        let mut followed = Vec::new();
        for (name, form) in FORMS {
            followed.push((name, self.follow(principal, form(self), start.clone()).await));
        }
        if is_live {
            self.publish().await;
        }
        let count = if is_live { 2 * events().len() } else { events().len() };
        let mut texts = Vec::new();
        for (name, (mailbox, _subscription)) in &followed {
            let all = timeout(DEADLINE, take(mailbox, count)).await.expect("all events must come");
            let way = format!("{name}, {}", if is_live { "live" } else { "replayed" });
            texts.extend(all.into_iter().map(|text| (way.clone(), text)));
        }
        texts
    }

    /// What queries give.
    async fn past(&self, principal: &Principal) -> Vec<(String, String)> {
        let mut texts = Vec::new();
        let whole = |event: &fanfare::event::Event| {
            let mut text = String::new();
            write_event(event, &mut text);
            text
        };
        for (first, last) in [(Some(100), None), (None, Some(100))] {
            let request = HistoryRequest { first, last, ..HistoryRequest::default() };
            let history = self.hub.history(principal, request).await.unwrap();
            assert_eq!(history.events.len(), events().len());
            texts.extend(history.events.iter().map(|event| ("history".to_owned(), whole(event))));
        }
        for event in events() {
            let found = self.hub.find(principal, event.id()).await.unwrap().unwrap();
            texts.push(("by id".to_owned(), whole(&found)));
        }
        let fields = FIELDS.replace("message", "");
        for query in [
            format!("{{events(first:100){{nodes{{{fields}}}}}}}"),
            format!("{{events(last:100){{edges{{node{{{fields}}}}}}}}}"),
            format!("{{event(id:\"e0\"){{{fields}...on AgentEvent{{message}}}}}}"),
            format!("{{event(id:\"e1\"){{{fields}...on ChatEvent{{message}}}}}}"),
        ] {
            let answer =
                self.schema.execute(async_graphql::Request::new(query).data(principal.clone())).await;
            assert!(answer.errors.is_empty(), "{:?}", answer.errors);
            texts.push(("query".to_owned(), serde_json::to_string(&answer).unwrap()));
        }
        let subscription = format!("subscription{{events(start:{{earliest:true}}){{{fields}}}}}");
        let request = async_graphql::Request::new(subscription).data(principal.clone());
        let responses = self.schema.execute_stream(request).take(events().len());
        let responses: Vec<_> = timeout(DEADLINE, responses.collect()).await.expect("all events must come");
        for response in responses {
            assert!(response.errors.is_empty(), "{:?}", response.errors);
            texts.push(("resolver alone".to_owned(), serde_json::to_string(&response).unwrap()));
        }
        texts
    }

    /// The refusals of a filter, however it comes.
    async fn refused(&self, principal: &Principal, filter: EventFilter) -> Vec<Refusal> {
        let asked = |start| Asked { filter: filter.clone(), start, ..Asked::default() };
        let mut refusals = Vec::new();
        for start in [StartPosition::Live, StartPosition::Earliest, StartPosition::Last(5)] {
            let mailbox = Arc::new(Mailbox::new(1 << 20));
            let form = Arc::new(EventForm::WHOLE);
            refusals
                .push(self.fanout.subscribe(principal, form, asked(start), (&mailbox, 1)).await.unwrap_err());
        }
        let request = HistoryRequest { filter: filter.clone(), ..HistoryRequest::default() };
        refusals.push(self.hub.history(principal, request).await.unwrap_err());
        refusals.push(self.hub.tail(principal, filter, fanfare::event::Offset::ZERO).unwrap_err());
        refusals
    }
}

async fn take(mailbox: &Mailbox, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        mailbox.ready().await;
        let mut out = Vec::new();
        mailbox.take(64, &mut out);
        for (_, delivery) in out {
            let Delivery::Run(run) = delivery else { panic!("{delivery:?}") };
            texts.extend(run.payloads().iter().map(|payload| payload.text().to_owned()));
        }
    }
    texts
}

/// Everything that is written to the log output of this thread.
#[derive(Clone, Default)]
struct LogOutput(Arc<Mutex<Vec<u8>>>);

impl io::Write for LogOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_canary_is_seen_by_anybody_masked_over_any_way_out_and_all_by_those_who_are_spared() {
    let log = LogOutput::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let mut seen = 0;
    for action in [Action::Drop, Action::Null, Action::Hash, Action::Partial] {
        let masks = masks(action);
        for (roles, is_masked) in READERS {
            let (sight, principal) = (Sight::new(), principal(&masks, roles));
            let mut texts = sight.delivered(&principal, StartPosition::Live).await;
            texts.extend(sight.delivered(&principal, StartPosition::Earliest).await);
            texts.extend(sight.past(&principal).await);
            for (way, text) in &texts {
                let shows = text.contains(CANARY) || text.contains("Y2FuYXJ5");
                // The gateway shows of an agent its id and of health what it measured; each is masked.
                assert_eq!(shows, !is_masked, "{roles:?} {action:?} {way}: {text}");
                assert!(!way.starts_with("whole") || text.contains(r#""open":"yes""#), "{way}: {text}");
            }
            seen += texts.len();
            assert!(!sight.hub.metrics().text().contains(CANARY));
        }
    }
    assert!(seen > 1_000, "{seen}");
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!log.contains(CANARY), "{log}");
}

/// A filter on one field.
fn asking(field: &str, value: &str) -> Value {
    let name = if field == "source" { "sources" } else { field };
    json!({ name: value })
}

#[tokio::test]
async fn a_filter_on_a_masked_field_tells_nothing_however_it_is_asked() {
    let sight = Sight::new();
    sight.publish().await;
    let masks = masks(Action::Hash);
    let fields = ScopeField::ALL.map(ScopeField::camel).into_iter().chain(["correlationId", "source"]);
    for field in fields {
        let right = if field == "source" { format!("/{}", canary(field)) } else { canary(field) };
        for (roles, is_masked) in READERS {
            let principal = principal(&masks, roles);
            let filter = |given: Value| {
                EventFilter::new(serde_json::from_value::<FilterDraft>(given).unwrap()).unwrap()
            };
            let asked = |value: &str| asking(field, value);
            if !is_masked {
                let request = HistoryRequest { filter: filter(asked(&right)), ..HistoryRequest::default() };
                assert_eq!(
                    sight.hub.history(&principal, request).await.unwrap().events.len(),
                    events().len()
                );
                continue;
            }
            for wrap in [
                |filter: Value| filter,
                |filter: Value| json!({ "types": "agent.*", "anyOf": [{ "types": "x" }, filter] }),
            ] {
                let hit = sight.refused(&principal, filter(wrap(asked(&right)))).await;
                let miss = sight.refused(&principal, filter(wrap(asked("wrong")))).await;
                assert_eq!(hit, miss, "{field}: right and wrong guesses must be refused alike");
                for refusal in hit {
                    assert_eq!(
                        (refusal.code, refusal.detail("field")),
                        (Code::Forbidden, Some(field)),
                        "{refusal}"
                    );
                    assert!(!format!("{refusal:?}").contains(CANARY), "{refusal:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn typed_root_fields_that_select_by_a_masked_field_are_refused_as_filters_are() {
    let sight = Sight::new();
    sight.publish().await;
    let masks = masks(Action::Null);
    let ask = |query: String, roles: &'static [&'static str]| {
        let request = async_graphql::Request::new(query).data(principal(&masks, roles));
        let mut responses = sight.schema.execute_stream(request);
        async move { timeout(DEADLINE, responses.next()).await.expect("an answer must come").unwrap() }
    };
    let start = "start:{earliest:true}";
    let (room, trace) = (canary("roomId"), canary("correlationId"));
    for (query, field) in [
        (format!("subscription{{chat(roomId:\"{room}\",{start}){{id}}}}"), "roomId"),
        (format!("subscription{{trace(correlationId:\"{trace}\",{start}){{id}}}}"), "correlationId"),
        (format!("subscription{{agents(filter:{{agentId:\"a\"}},{start}){{id}}}}"), "agentId"),
    ] {
        let refused = ask(query.clone(), &["member"]).await;
        let error = serde_json::to_value(&refused).unwrap()["errors"][0].clone();
        assert_eq!(
            (&error["extensions"]["code"], &error["extensions"]["field"]),
            (&json!("FORBIDDEN"), &json!(field))
        );
        assert!(!error.to_string().contains(CANARY), "{error}");
        if field != "agentId" {
            assert!(ask(query, &["support"]).await.errors.is_empty());
        }
    }
}

#[tokio::test]
async fn readers_who_see_the_same_share_renderings_and_others_never_do() {
    let (sight, masks) = (Sight::new(), masks(Action::Hash));
    let mut followed = Vec::new();
    let readers: [&[&str]; 6] =
        [&["member"], &[], &["stranger"], &["support"], &["other"], &["support", "other"]];
    for roles in readers {
        let form = Arc::new(EventForm::WHOLE);
        followed.push(sight.follow(&principal(&masks, roles), form, StartPosition::Live).await);
    }
    assert_eq!(sight.fanout.len(), (2, 6));
    sight.publish().await;
    let mut texts = Vec::new();
    for (mailbox, _) in &followed {
        texts.push(timeout(DEADLINE, take(mailbox, 2 * events().len())).await.unwrap());
    }
    assert_eq!(sight.hub.metrics().executions.get(), 4 * events().len() as u64);
    assert!(texts[..3].iter().all(|all| *all == texts[0]) && texts[3..].iter().all(|all| *all == texts[3]));
    assert_ne!(texts[0], texts[3]);
}

#[tokio::test]
async fn an_id_that_is_published_again_tells_nothing_of_the_first_event() {
    let sight = Sight::new();
    sight.publish().await;
    let draft =
        json!({ "type": "agent.log", "id": "e0", "source": format!("/{}", canary("source")), "data": {} });
    let event = NewEvent::new(Draft::from_json(&draft.to_string()).unwrap(), &Limits::default()).unwrap();
    let refusal =
        sight.hub.publish(&principal(&masks(Action::Null), &["member"]), vec![event]).await.unwrap_err();
    assert_eq!(refusal.code, Code::IdConflict);
    // The source is what the publisher gave.
    let told = format!("{refusal:?}").replace(&canary("source"), "");
    assert!(!told.contains(CANARY), "{told}");
}
