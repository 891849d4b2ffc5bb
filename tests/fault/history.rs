//! What happened, as the publishers and subscribers saw it: one JSON object a line, in files of one directory.
//!
//! Invariants: records of one client, and of one event's publishes, stand in the order in which they happened; a record says
//! what was seen and never what should have been; cursors stay the opaque text that the server gave.
//! Not here: writing (`recorder`), judging (`checker`).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

/// The fields by which filters select here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Traits {
    #[serde(rename = "type")]
    pub(crate) event_type: String,
    pub(crate) organization: String,
    pub(crate) priority: String,
}

/// A filter, as the checker applies it without asking the server; an empty list allows all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Filter {
    #[serde(default)]
    pub(crate) types: Vec<String>,
    #[serde(default)]
    pub(crate) organizations: Vec<String>,
    #[serde(default)]
    pub(crate) min_priority: Option<String>,
}

/// From where a connection asked for events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Start {
    Live,
    Earliest,
    After(String),
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum Record {
    /// An event is about to be sent; the events of one batch go in one request, all or none.
    Invoked { id: String, batch: String, hash: String, traits: Traits },
    /// A publish was acknowledged.
    Acked { id: String, cursor: String, duplicate: bool },
    /// A publish was refused for good: it must have had no effect.
    Refused { id: String, code: String },
    /// A publish has an unknown outcome: no answer, or one that leaves it open.
    Unknown { id: String, why: String },
    /// A client asks for events on a new connection.
    Opened { client: String, connection: u32, filter: Filter, start: Start },
    /// The server said where the subscription starts.
    Ready { client: String, connection: u32, cursor: String },
    /// An event came.
    Delivered { client: String, connection: u32, cursor: String, id: String, hash: String },
    /// The server said that every matching event up to the cursor has been sent.
    Checkpoint { client: String, connection: u32, cursor: String },
    /// A connection is over; the code and the cursor are the server's, if it gave any.
    Ended { client: String, connection: u32, code: Option<String>, cursor: Option<String>, why: String },
    /// A client has got the last event of the run and asks for no more.
    Reached { client: String, connection: u32, cursor: String },
    /// The fault; what was answered before it must have survived it.
    Fault { what: String },
    /// The secret of the log, which opens its cursors, in hexadecimal digits; comes before the final log.
    Epoch { secret: String },
    /// An event of the final log, read after the last restart, in the log's order.
    Logged { cursor: String, id: String, hash: String, traits: Traits },
}

/// A record and when it was written, in microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    #[serde(default)]
    pub(crate) at: u64,
    #[serde(flatten)]
    pub(crate) record: Record,
}

/// A short hash of what an event says, for comparing it as published, as delivered and as logged.
pub(crate) fn body_hash(traits: &Traits, data: &serde_json::Value) -> String {
    let Traits { event_type, organization, priority } = traits;
    let text = format!("{event_type}\n{organization}\n{priority}\n{data}");
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Every record of the `*.jsonl` files of a directory; files in the order of their names.
pub(crate) fn read(directory: &Path) -> io::Result<Vec<Record>> {
    Ok(lines(directory)?.into_iter().map(|line| line.record).collect())
}

/// As [`read`], with the times.
pub(crate) fn lines(directory: &Path) -> io::Result<Vec<Line>> {
    let entries = std::fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files = entries.collect::<io::Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let mut lines = Vec::new();
    for path in files {
        for (number, text) in BufReader::new(File::open(&path)?).lines().enumerate() {
            let line = serde_json::from_str(&text?).map_err(|error| {
                io::Error::other(format!("{} line {}: {error}", path.display(), number + 1))
            })?;
            lines.push(line);
        }
    }
    Ok(lines)
}
