//! The text that peers without GraphQL send: the `next` frame of `graphql-transport-ws` that a GraphQL server would send.

use crate::edge::{Posted, stamp};
use chrono::SecondsFormat;
use serde_json::value::RawValue;

pub(crate) const ACK: &str = r#"{"type":"connection_ack"}"#;

/// The frame's text, for operation `1`.
pub(crate) fn encode(event: &Posted<Box<RawValue>>) -> String {
    let (id, time) = stamp();
    let time = time.to_rfc3339_opts(SecondsFormat::Micros, true);
    let Posted { event_type, data } = event;
    format!(
        r#"{{"id":"1","type":"next","payload":{{"data":{{"events":{{"id":"{id}","type":"{event_type}","time":"{time}","data":{data}}}}}}}}}"#
    )
}
