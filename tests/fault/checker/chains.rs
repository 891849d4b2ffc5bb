//! The connections of each client, one after the other, against the final log: Ordered, Unique, Reliable, ExplicitGap, Live.
//!
//! A chain has one position: the offset up to which the client has every matching event. Each record either moves it or breaks
//! a promise.

use super::{Property, Report, log::Log, publishes::Published};
use crate::history::{Filter, Record, Start};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Codes with which the server says that what lies between the last event and the next one is gone.
const GAP_CODES: [&str; 1] = ["CURSOR_EXPIRED"];
/// Codes that say that the log is not the one that the client knows: in a run without replacement, a loss.
const LOSS_CODES: [&str; 2] = ["CURSOR_AHEAD", "EPOCH_CHANGED"];

struct Chain<'a> {
    client: &'a str,
    filter: &'a Filter,
    /// Up to where every matching event has come; none before the server has said where a live start is.
    position: Option<u64>,
    delivered: HashSet<u64>,
    /// The server has said that events are missing.
    is_gap_told: bool,
    has_reached: bool,
}

/// Checks every chain.
pub(super) fn check<'a>(
    records: &'a [Record],
    log: &'a Log<'a>,
    published: &'a Published<'a>,
    report: &mut Report,
) {
    let mut chains: BTreeMap<&str, Chain<'_>> = BTreeMap::new();
    let mut judge = Judge { log, published, matching: HashMap::new(), report };
    for record in records {
        match record {
            Record::Opened { client, filter, start, .. } => {
                judge.report.counts.connections += 1;
                let chain = chains.entry(client).or_insert_with(|| Chain {
                    client,
                    filter,
                    position: None,
                    delivered: HashSet::new(),
                    is_gap_told: false,
                    has_reached: false,
                });
                chain.filter = filter;
                judge.opened(chain, start);
            }
            Record::Ready { client, cursor, .. } => {
                let Some(chain) = chains.get_mut(client.as_str()) else { continue };
                judge.ready(chain, cursor);
            }
            Record::Delivered { client, cursor, id, hash, .. } => {
                let Some(chain) = chains.get_mut(client.as_str()) else { continue };
                judge.delivered(chain, cursor, id, hash);
            }
            Record::Checkpoint { client, cursor, .. } => {
                let Some(chain) = chains.get_mut(client.as_str()) else { continue };
                judge.claimed(chain, cursor, "a checkpoint");
            }
            Record::Ended { client, code, cursor, .. } => {
                let Some(chain) = chains.get_mut(client.as_str()) else { continue };
                judge.ended(chain, code.as_deref(), cursor.as_deref());
            }
            Record::Reached { client, cursor, .. } => {
                let Some(chain) = chains.get_mut(client.as_str()) else { continue };
                judge.claimed(chain, cursor, "the end");
                chain.has_reached = true;
            }
            Record::Invoked { .. }
            | Record::Acked { .. }
            | Record::Refused { .. }
            | Record::Unknown { .. }
            | Record::Fault { .. }
            | Record::Epoch { .. }
            | Record::Logged { .. } => {}
        }
    }
    judge.report.counts.clients = chains.len();
    for chain in chains.values().filter(|chain| !chain.has_reached) {
        let text = format!("{} never got to the end; it is at {:?}", chain.client, chain.position);
        judge.report.add(Property::Live, text);
    }
}

struct Judge<'a, 'r> {
    log: &'a Log<'a>,
    published: &'a Published<'a>,
    /// The offsets of each filter's events.
    matching: HashMap<&'a Filter, Vec<u64>>,
    report: &'r mut Report,
}

impl<'a> Judge<'a, '_> {
    fn opened(&mut self, chain: &mut Chain<'_>, start: &Start) {
        let asked = match start {
            // Whoever starts live again, or from the earliest event, has given up its place.
            Start::Live => {
                chain.position = None;
                return;
            }
            Start::Earliest => Some(0),
            Start::After(cursor) => self.log.known(cursor, chain.client, self.report),
        };
        if let (Some(asked), Some(position)) = (asked, chain.position)
            && asked > position
            && !chain.is_gap_told
        {
            let text = format!("{} goes on after {asked}, but was at {position}", chain.client);
            self.report.add(Property::ExplicitGap, text);
        }
        if asked.is_some_and(|asked| chain.position.is_some_and(|position| asked < position)) {
            // What it asks for again may come again.
            chain.delivered.clear();
        }
        chain.is_gap_told = false;
        chain.position = asked;
    }

    fn ready(&mut self, chain: &mut Chain<'a>, cursor: &str) {
        let Some(offset) = self.log.known(cursor, chain.client, self.report) else { return };
        match chain.position {
            None => chain.position = Some(offset),
            Some(position) if offset > position => self.claimed(chain, cursor, "the start"),
            Some(_) => {}
        }
    }

    fn delivered(&mut self, chain: &mut Chain<'a>, cursor: &str, id: &str, hash: &str) {
        self.report.counts.delivered += 1;
        let client = chain.client;
        match self.published.get(id) {
            None => {
                self.report
                    .add(Property::NoInvention, format!("{client} got {id}, which was never published"));
            }
            Some(published) if *published != hash => {
                self.report
                    .add(Property::NoInvention, format!("{client} got {id} other than it was published"));
            }
            Some(_) => {}
        }
        let Some(offset) = self.log.known(cursor, client, self.report) else { return };
        match self.log.by_offset.get(&offset) {
            Some(logged) if logged.id == id => {}
            Some(logged) => {
                let text = format!("{client} saw {id} at {offset}, where {} stands now", logged.id);
                self.report.add(Property::Durable, text);
            }
            None => {
                let text = format!("{client} saw {id} at {offset}, which the final log does not have");
                self.report.add(Property::Durable, text);
                return;
            }
        }
        self.in_order(chain, offset, id);
    }

    fn in_order(&mut self, chain: &mut Chain<'a>, offset: u64, id: &str) {
        let client = chain.client;
        if !chain.delivered.insert(offset) {
            return self.report.add(Property::Unique, format!("{client} got {id} at {offset} twice"));
        }
        if let Some(position) = chain.position
            && offset <= position
        {
            let text = format!("{client} got {id} at {offset} when it was at {position}");
            return self.report.add(Property::Ordered, text);
        }
        if self.matching(chain.filter).binary_search(&offset).is_err() {
            let text = format!("{client} got {id} at {offset}, which its filter does not select");
            self.report.add(Property::Reliable, text);
        }
        self.nothing_missing(chain, offset - 1, &format!("{id} at {offset}"));
        chain.position = Some(offset);
    }

    /// The server, or the end of the run, says that all up to the cursor has come.
    fn claimed(&mut self, chain: &mut Chain<'a>, cursor: &str, by: &str) {
        let Some(offset) = self.log.known(cursor, chain.client, self.report) else { return };
        self.nothing_missing(chain, offset, &format!("{by} at {offset}"));
        chain.position = Some(chain.position.map_or(offset, |position| position.max(offset)));
    }

    fn ended(&mut self, chain: &mut Chain<'a>, code: Option<&str>, cursor: Option<&str>) {
        if let Some(code) = code.filter(|code| LOSS_CODES.contains(code)) {
            let text = format!("{} was told {code} at {:?}", chain.client, chain.position);
            self.report.add(Property::Durable, text);
        }
        if let Some(cursor) = cursor {
            self.claimed(chain, cursor, "the error that ended it");
        }
        chain.is_gap_told = code.is_some_and(|code| GAP_CODES.contains(&code));
    }

    /// No matching event may lie between the position and `until`.
    fn nothing_missing(&mut self, chain: &Chain<'a>, until: u64, before: &str) {
        let Some(position) = chain.position else { return };
        let (client, log) = (chain.client, self.log);
        let matching = self.matching(chain.filter);
        let from = matching.partition_point(|offset| *offset <= position);
        let missing: Vec<u64> =
            matching.iter().skip(from).take_while(|offset| **offset <= until).copied().collect();
        for offset in missing {
            let id = log.by_offset.get(&offset).map_or("?", |logged| logged.id);
            let text = format!("{client} did not get {id} at {offset} before {before}");
            self.report.add(Property::Reliable, text);
        }
    }

    fn matching(&mut self, filter: &'a Filter) -> &[u64] {
        let log = self.log;
        self.matching.entry(filter).or_insert_with(|| log.matching(filter))
    }
}
