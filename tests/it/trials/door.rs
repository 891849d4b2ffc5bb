//! Two ways into a server: the fan-out of this process, and a WebSocket. A [`Session`] is one subscription over either.

use super::history::offset;
use crate::support::{DEADLINE, Frame, Socket};
use fanfare::{
    auth::Principal,
    error::Refusal,
    event::{Epoch, EventFilter, FilterDraft, Offset, StartDraft, StartPosition},
    fanout::{Asked, Delivery, EventForm, Fanout, Mailbox, Payload, Subscription},
    hub::Hub,
};
use serde_json::{Value, json};
use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

/// How a server is reached while it lives.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// Which start of the server this is.
    pub(crate) life: usize,
    pub(crate) hub: Hub,
    pub(crate) way: Way,
}

#[derive(Clone, Debug)]
pub(crate) enum Way {
    Fanout(Fanout),
    Socket(SocketAddr),
}

/// An explicit error.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) code: String,
    /// Where it stopped.
    pub(crate) cursor: Option<Offset>,
    /// From where nothing is missing.
    pub(crate) earliest: Option<Offset>,
}

impl End {
    fn read(epoch: Epoch, members: &Value) -> Self {
        let position = |name: &str| members[name].as_str().map(|cursor| offset(epoch, cursor));
        End {
            code: members["code"].as_str().unwrap().to_owned(),
            cursor: position("cursor"),
            earliest: position("earliest"),
        }
    }

    fn refused(epoch: Epoch, refusal: &Refusal) -> Self {
        End::read(epoch, &Value::Object(refusal.members()))
    }
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Step {
    Event(Offset, String),
    Ended(End),
    /// The server went away.
    Gone,
}

/// A subscription that did not begin.
#[derive(Debug)]
pub(crate) enum NotOpened {
    Refused(End),
    Gone,
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Session {
    /// Nothing after this can be missed.
    pub(crate) start: Offset,
    epoch: Epoch,
    line: Line,
}

#[derive(Debug)]
enum Line {
    Fanout { mailbox: Arc<Mailbox>, subscription: Subscription, taken: VecDeque<Taken> },
    Socket(Box<Socket>),
}

/// A delivery in its parts.
#[derive(Debug)]
enum Taken {
    Payload(Payload),
    Lagged,
    Ended(Refusal),
}

fn unpack(delivery: Delivery, taken: &mut VecDeque<Taken>) {
    match delivery {
        Delivery::Run(run) => taken.extend(run.payloads().iter().cloned().map(Taken::Payload)),
        Delivery::Lagged => taken.push_back(Taken::Lagged),
        Delivery::Ended(refusal) => taken.push_back(Taken::Ended(refusal)),
    }
}

impl Session {
    /// Subscribes; the budget is that of the mailbox, where this side chooses it.
    pub(crate) async fn open(
        door: &Door,
        filter: &Value,
        start: &Value,
        bytes_max: usize,
    ) -> Result<Session, NotOpened> {
        let epoch = door.hub.epoch();
        match &door.way {
            Way::Fanout(fanout) => Self::of_fanout(fanout, epoch, (filter, start), bytes_max).await,
            Way::Socket(address) => Self::of_socket(*address, epoch, filter, start).await,
        }
    }

    async fn of_fanout(
        fanout: &Fanout,
        epoch: Epoch,
        (filter, start): (&Value, &Value),
        bytes_max: usize,
    ) -> Result<Session, NotOpened> {
        let filter =
            EventFilter::new(serde_json::from_value::<FilterDraft>(filter.clone()).unwrap()).unwrap();
        let start = match start {
            Value::Null => StartPosition::Live,
            given => {
                StartPosition::new(serde_json::from_value::<StartDraft>(given.clone()).unwrap()).unwrap()
            }
        };
        let form = Arc::new(EventForm::new("id", |event, out| out.push_str(event.id())));
        let mailbox = Arc::new(Mailbox::new(bytes_max));
        let asked = Asked { filter, start, ..Asked::default() };
        let subscription = fanout
            .subscribe(&Principal::anonymous(), form, asked, (&mailbox, 1))
            .await
            .map_err(|refusal| NotOpened::Refused(End::refused(epoch, &refusal)))?;
        let start = subscription.start();
        Ok(Session { start, epoch, line: Line::Fanout { mailbox, subscription, taken: VecDeque::new() } })
    }

    async fn of_socket(
        address: SocketAddr,
        epoch: Epoch,
        filter: &Value,
        start: &Value,
    ) -> Result<Session, NotOpened> {
        let query = "subscription ($filter: EventFilter, $start: StartPosition) \
                     { events(filter: $filter, start: $start) { id } }";
        let Some(mut socket) = Socket::try_graphql(address).await else { return Err(NotOpened::Gone) };
        let variables = json!({ "filter": filter, "start": start });
        let payload = json!({ "query": query, "variables": variables, "extensions": { "ready": true } });
        let subscribe = json!({ "type": "subscribe", "id": "a", "payload": payload });
        socket.send_while_open(&subscribe.to_string()).await;
        let Frame::Json(message) = socket.next().await else { return Err(NotOpened::Gone) };
        if message["type"] == "error" {
            return Err(NotOpened::Refused(End::read(epoch, &message["payload"][0]["extensions"])));
        }
        let extensions = &message["payload"]["extensions"];
        assert_eq!(extensions["ready"], true, "{message}");
        let start = offset(epoch, extensions["cursor"].as_str().unwrap());
        Ok(Session { start, epoch, line: Line::Socket(Box::new(socket)) })
    }

    /// What comes next; fails the test when nothing does.
    pub(crate) async fn next(&mut self) -> Step {
        match &mut self.line {
            Line::Fanout { mailbox, subscription, taken } => loop {
                match taken.pop_front() {
                    Some(Taken::Payload(payload)) => {
                        return Step::Event(payload.rank().offset(), payload.text().to_owned());
                    }
                    Some(Taken::Lagged) => subscription.catch_up(),
                    Some(Taken::Ended(refusal)) => return Step::Ended(End::refused(self.epoch, &refusal)),
                    None => {
                        let ready = tokio::time::timeout(DEADLINE, mailbox.ready());
                        ready.await.expect("the mailbox stays empty");
                        let mut out = Vec::new();
                        mailbox.take(64, &mut out);
                        out.into_iter().for_each(|(_, delivery)| unpack(delivery, taken));
                    }
                }
            },
            Line::Socket(socket) => match socket.next().await {
                Frame::Json(message) if message["type"] == "next" => {
                    let payload = &message["payload"];
                    let cursor = payload["extensions"]["cursor"].as_str().unwrap();
                    Step::Event(
                        offset(self.epoch, cursor),
                        payload["data"]["events"]["id"].as_str().unwrap().to_owned(),
                    )
                }
                Frame::Json(message) if message["type"] == "error" => {
                    Step::Ended(End::read(self.epoch, &message["payload"][0]["extensions"]))
                }
                Frame::Json(message) => panic!("unexpected: {message}"),
                Frame::Close(..) | Frame::Ended => Step::Gone,
            },
        }
    }

    /// The server's own word for how far this side has come, where it can be asked.
    pub(crate) fn position(&self) -> Option<Offset> {
        match &self.line {
            Line::Fanout { subscription, taken, .. } if taken.is_empty() => Some(subscription.position()),
            Line::Fanout { .. } | Line::Socket(_) => None,
        }
    }
}
