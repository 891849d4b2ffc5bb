//! A real server on a free port, a connection to it that fails on command, and its log as readers see it.

mod detour;
mod server;

pub(crate) use detour::{Detour, Passage};
pub(crate) use server::{TestServer, http_client};

use fanfare_client::{Event, Options, Publisher};
use serde_json::{Value, json};
use std::time::Duration;

/// Nothing that a test waits for takes this long unless it never comes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The source of the publishers of the tests.
pub(crate) const SOURCE: &str = "/test";

/// A publisher for this address.
pub(crate) fn publisher(url: &str) -> Publisher {
    publisher_with(url, |_| ())
}

/// The same with other options.
pub(crate) fn publisher_with(url: &str, change: impl FnOnce(&mut Options)) -> Publisher {
    keep_interest();
    let mut options = Options::new(url, SOURCE);
    change(&mut options);
    Publisher::new(options).unwrap()
}

/// Gives the process a subscriber of its own. `tracing` remembers for each callsite whether anybody is interested, and where it
/// knows of one subscriber only, it asks the thread that comes by first: one without any would silence the others.
pub(crate) fn keep_interest() {
    // It is there from the first call on.
    let _there_already = tracing::subscriber::set_global_default(tracing_subscriber::registry());
}

/// An event that knows its number.
pub(crate) fn numbered(number: u64) -> Event {
    Event::new("task.progress").with_id(number.to_string()).data(json!({ "number": number }))
}

/// The ids of these events.
pub(crate) fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
}

/// The ids of the numbered events from 0 to below this number.
pub(crate) fn numbers(count: u64) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}
