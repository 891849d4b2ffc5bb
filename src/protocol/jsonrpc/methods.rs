//! The methods: their names, and their parameters read into types.
//!
//! Invariants: a parameter that a method does not have is refused; a wrong one is named by its path; filters and start
//! positions are checked here, events by `NewEvent::new`, which knows the limits.

use super::{
    Call, RpcError,
    fault::{read, read_object},
    gateway::{gateway_filter, renamed},
};
use crate::{
    error::{Code, Refusal, excerpt},
    event::{Cursor, Draft, EventFilter, FilterDraft, Overflow, StartDraft, StartPosition},
    protocol::credential::Token,
};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The most events of one `events.publishAll`.
pub const EVENTS_MAX: usize = 1_000;

/// The names of all methods, in the order of the documentation.
pub const METHODS: [&str; 11] = [
    "gateway.authenticate",
    "gateway.subscribe",
    "gateway.unsubscribe",
    "gateway.subscription",
    "gateway.publish",
    "events.subscribe",
    "events.unsubscribe",
    "events.publish",
    "events.publishAll",
    "events.history",
    "rpc.discover",
];

/// Which part of the past `events.history` asks for; the server bounds the number of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// The first so many events after a place.
    Forward {
        /// How many.
        first: Option<u32>,
        /// After which; none: from the earliest.
        after: Option<Cursor>,
    },
    /// The last so many events before a place.
    Backward {
        /// How many.
        last: Option<u32>,
        /// Before which; none: from the end.
        before: Option<Cursor>,
    },
}

/// A call that makes sense: travels from here to `server`, which does it.
#[derive(Clone, Debug)]
pub enum Method {
    /// Say who the caller is, or renew what it said.
    GatewayAuthenticate {
        /// The token.
        token: Token,
    },
    /// Replace the connection's gateway filter.
    GatewaySubscribe {
        /// The new filter.
        filter: Box<EventFilter>,
    },
    /// Deliver no gateway events any more.
    GatewayUnsubscribe,
    /// Show the connection's gateway filter.
    GatewaySubscription,
    /// Publish an event; the gateway's name for it.
    GatewayPublish {
        /// The event, not checked yet.
        event: Box<Draft>,
    },
    /// Open a subscription.
    EventsSubscribe {
        /// Which events.
        filter: Box<EventFilter>,
        /// From where.
        start: StartPosition,
        /// When the reader is behind.
        overflow: Overflow,
    },
    /// Close a subscription.
    EventsUnsubscribe {
        /// As `events.subscribe` gave it.
        subscription: String,
    },
    /// Publish an event.
    EventsPublish {
        /// The event, not checked yet.
        event: Box<Draft>,
    },
    /// Publish events, all or none.
    EventsPublishAll {
        /// The events, not checked yet; at least one.
        events: Vec<Draft>,
    },
    /// Read the past.
    EventsHistory {
        /// Which events.
        filter: Box<EventFilter>,
        /// Which part.
        page: Page,
    },
    /// Show the OpenRPC document.
    Discover,
}

impl Method {
    /// Reads the method and the parameters of a call.
    pub fn parse(call: &Call<'_>) -> Result<Self, RpcError> {
        let parse: fn(&Params<'_>) -> Result<Method, Refusal> = match call.method.as_str() {
            "gateway.authenticate" => gateway_authenticate,
            "gateway.subscribe" => gateway_subscribe,
            "gateway.unsubscribe" => |params| params.only(&[]).map(|()| Method::GatewayUnsubscribe),
            "gateway.subscription" => |params| params.only(&[]).map(|()| Method::GatewaySubscription),
            "gateway.publish" => |params| publish(params).map(|event| Method::GatewayPublish { event }),
            "events.subscribe" => events_subscribe,
            "events.unsubscribe" => |params| {
                params.only(&["subscription"])?;
                Ok(Method::EventsUnsubscribe {
                    subscription: read(params.required("subscription")?, "subscription")?,
                })
            },
            "events.publish" => |params| publish(params).map(|event| Method::EventsPublish { event }),
            "events.publishAll" => publish_all,
            "events.history" => history,
            "rpc.discover" => |params| params.only(&[]).map(|()| Method::Discover),
            unknown => return Err(RpcError::method_not_found(unknown, &METHODS)),
        };
        Params::new(call).and_then(|params| parse(&params)).map_err(|refusal| RpcError::from(&refusal))
    }

    /// Does it concern a connection? Over POST there is none; answer with [`Method::needs_socket_error`].
    pub fn needs_socket(&self) -> bool {
        match self {
            Method::GatewayAuthenticate { .. }
            | Method::GatewaySubscribe { .. }
            | Method::GatewayUnsubscribe
            | Method::GatewaySubscription
            | Method::EventsSubscribe { .. }
            | Method::EventsUnsubscribe { .. } => true,
            Method::GatewayPublish { .. }
            | Method::EventsPublish { .. }
            | Method::EventsPublishAll { .. }
            | Method::EventsHistory { .. }
            | Method::Discover => false,
        }
    }

    /// The answer over POST to a method that concerns a connection.
    pub fn needs_socket_error(name: &str) -> RpcError {
        let message =
            format!("{name} needs a WebSocket: connect to this path with an upgrade and call it there");
        RpcError { number: -32600, ..RpcError::from(&Refusal::new(Code::BadRequest, message)) }
    }
}

fn gateway_authenticate(params: &Params<'_>) -> Result<Method, Refusal> {
    params.only(&["token"])?;
    // Not by `read`, whose refusal would show what was given.
    let given: Option<String> = serde_json::from_str(params.required("token")?).unwrap_or_default();
    match given.as_deref().and_then(Token::read) {
        Some(token) => Ok(Method::GatewayAuthenticate { token }),
        None => {
            Err(Refusal::new(Code::BadRequest, "token must be a string with a token").with("field", "token"))
        }
    }
}

fn gateway_subscribe(params: &Params<'_>) -> Result<Method, Refusal> {
    params.only(&["events", "filter"])?;
    let events = params.get("events").map(|text| read(text, "events")).transpose()?;
    let filter = params.get("filter").map(|text| read_object(text, "filter")).transpose()?;
    Ok(Method::GatewaySubscribe { filter: Box::new(gateway_filter(events, filter)?) })
}

fn events_subscribe(params: &Params<'_>) -> Result<Method, Refusal> {
    params.only(&["filter", "start", "overflow"])?;
    let start = params.get("start").map(|text| read_object::<StartDraft>(text, "start")).transpose()?;
    let start = start.map(StartPosition::new).transpose()?.unwrap_or_default();
    let overflow = params.get("overflow").map(|text| read::<String>(text, "overflow")).transpose()?;
    let overflow = overflow.map(|name| Overflow::from_name(&name)).transpose()?.unwrap_or_default();
    Ok(Method::EventsSubscribe { filter: params.filter()?, start, overflow })
}

fn publish(params: &Params<'_>) -> Result<Box<Draft>, Refusal> {
    params.only(&["event"])?;
    read_object(params.required("event")?, "event").map(Box::new)
}

fn publish_all(params: &Params<'_>) -> Result<Method, Refusal> {
    params.only(&["events"])?;
    let texts: Vec<Box<RawValue>> = read(params.required("events")?, "events")?;
    if !(1..=EVENTS_MAX).contains(&texts.len()) {
        let given = format!("{} events", texts.len());
        let code = if texts.is_empty() { Code::BadRequest } else { Code::TooMany };
        return Err(Refusal::field(code, "events", &given, format!("1 to {EVENTS_MAX} events")));
    }
    let events =
        texts.iter().enumerate().map(|(index, text)| read_object(text.get(), &format!("events[{index}]")));
    Ok(Method::EventsPublishAll { events: events.collect::<Result<_, _>>()? })
}

fn history(params: &Params<'_>) -> Result<Method, Refusal> {
    params.only(&["filter", "first", "after", "last", "before"])?;
    let forward = ["first", "after"].into_iter().find(|name| params.get(name).is_some());
    let backward = ["last", "before"].into_iter().find(|name| params.get(name).is_some());
    if let (Some(forward), Some(backward)) = (forward, backward) {
        let given = format!("beside {forward}");
        let allowed = "first and after, or last and before";
        return Err(Refusal::field(Code::BadRequest, backward, &given, allowed));
    }
    let page = match backward {
        Some(_) => Page::Backward { last: params.count("last")?, before: params.cursor("before")? },
        None => Page::Forward { first: params.count("first")?, after: params.cursor("after")? },
    };
    Ok(Method::EventsHistory { filter: params.filter()?, page })
}

/// The parameters of a call by name; `null` counts as absent.
struct Params<'a> {
    method: &'a str,
    members: BTreeMap<String, &'a RawValue>,
}

impl<'a> Params<'a> {
    fn new(call: &'a Call<'_>) -> Result<Self, Refusal> {
        let text = call.params.map_or("{}", RawValue::get);
        let members = match text.starts_with('{') {
            true => serde_json::from_str::<BTreeMap<String, &RawValue>>(text).ok(),
            // A list of no parameters is no parameters.
            false => serde_json::from_str::<[&RawValue; 0]>(text).ok().map(|_| BTreeMap::new()),
        };
        let members = members.ok_or_else(|| {
            Refusal::field(
                Code::BadRequest,
                "params",
                text,
                format!("an object; {} names its parameters", call.method),
            )
        })?;
        Ok(Params { method: &call.method, members })
    }

    fn only(&self, allowed: &[&str]) -> Result<(), Refusal> {
        match self.members.keys().find(|name| !allowed.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let rule = match allowed.is_empty() {
                    true => format!("no parameter of {}", self.method),
                    false => allowed.join(", "),
                };
                Err(Refusal::field(Code::BadRequest, &format!("params.{}", excerpt(name)), name, rule))
            }
        }
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.members.get(name).map(|raw| raw.get()).filter(|text| *text != "null")
    }

    fn required(&self, name: &str) -> Result<&'a str, Refusal> {
        self.get(name).ok_or_else(|| {
            Refusal::new(Code::BadRequest, format!("{} needs {name}", self.method)).with("field", name)
        })
    }

    fn filter(&self) -> Result<Box<EventFilter>, Refusal> {
        let Some(text) = self.get("filter") else { return Ok(Box::default()) };
        let draft: FilterDraft = read_object(text, "filter")?;
        EventFilter::new(draft).map(Box::new).map_err(|refusal| renamed(refusal, "", "filter."))
    }

    fn count(&self, name: &str) -> Result<Option<u32>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.parse::<u32>() {
            Ok(count @ 1..) => Ok(Some(count)),
            Ok(0) | Err(_) => Err(Refusal::field(
                Code::BadRequest,
                name,
                text,
                format!("a whole number from 1 to {}", u32::MAX),
            )),
        }
    }

    fn cursor(&self, name: &str) -> Result<Option<Cursor>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let cursor: String = read(text, name)?;
        Cursor::parse(&cursor).map(Some).map_err(|refusal| refusal.with("field", name.to_owned()))
    }
}

#[cfg(test)]
#[path = "methods_tests.rs"]
mod tests;
