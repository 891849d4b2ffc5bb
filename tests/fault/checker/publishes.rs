//! Publishes against the final log: Durable, NoInvention, Atomic, Idempotent, Refused.

use super::{Property, Report, log::Log};
use crate::history::Record;
use std::collections::{BTreeMap, HashMap};

/// All attempts to publish one event.
#[derive(Debug, Default)]
struct Publish<'a> {
    hash: &'a str,
    batch: &'a str,
    acks: Vec<(&'a str, bool)>,
    refusals: usize,
    attempts: usize,
}

/// The hash of each event that was sent, by id.
pub(super) type Published<'a> = HashMap<&'a str, &'a str>;

/// Checks every publish and every event of the log.
pub(super) fn check<'a>(records: &'a [Record], log: &Log<'_>, report: &mut Report) -> Published<'a> {
    let publishes = gather(records, report);
    for (id, publish) in &publishes {
        acknowledged(id, publish, log, report);
        if publish.refusals == publish.attempts
            && publish.attempts > 0
            && let Some(offset) = log.by_id.get(id)
        {
            report
                .add(Property::Refused, format!("{id} was only ever refused, yet it is logged at {offset}"));
        }
    }
    whole_batches(&publishes, log, report);
    for (offset, logged) in &log.by_offset {
        match publishes.get(logged.id) {
            None => report.add(
                Property::NoInvention,
                format!("{} at {offset} of the log was never published", logged.id),
            ),
            Some(publish) if publish.hash != logged.hash => {
                let text = format!("{} at {offset} of the log is not what was published", logged.id);
                report.add(Property::NoInvention, text);
            }
            Some(_) => {}
        }
    }
    publishes.into_iter().map(|(id, publish)| (id, publish.hash)).collect()
}

fn gather<'a>(records: &'a [Record], report: &mut Report) -> BTreeMap<&'a str, Publish<'a>> {
    let mut publishes: BTreeMap<&str, Publish<'_>> = BTreeMap::new();
    for record in records {
        match record {
            Record::Invoked { id, batch, hash, .. } => {
                let publish = publishes.entry(id).or_default();
                (publish.hash, publish.batch) = (hash, batch);
                publish.attempts += 1;
            }
            Record::Acked { id, cursor, duplicate } => {
                publishes.entry(id).or_default().acks.push((cursor, *duplicate));
                report.counts.duplicates += usize::from(*duplicate);
            }
            Record::Refused { id, .. } => publishes.entry(id).or_default().refusals += 1,
            Record::Unknown { .. } => report.counts.unknown += 1,
            Record::Opened { .. }
            | Record::Ready { .. }
            | Record::Delivered { .. }
            | Record::Checkpoint { .. }
            | Record::Ended { .. }
            | Record::Reached { .. }
            | Record::Fault { .. }
            | Record::Epoch { .. }
            | Record::Logged { .. } => {}
        }
    }
    report.counts.published = publishes.len();
    report.counts.acked = publishes.values().filter(|publish| !publish.acks.is_empty()).count();
    publishes
}

fn acknowledged(id: &str, publish: &Publish<'_>, log: &Log<'_>, report: &mut Report) {
    let Some((first, _)) = publish.acks.first() else { return };
    if let Some((other, _)) = publish.acks.iter().find(|(cursor, _)| cursor != first) {
        report.add(Property::Idempotent, format!("{id} was acknowledged at {first} and at {other}"));
    }
    if publish.acks.iter().filter(|(_, duplicate)| !duplicate).count() > 1 {
        report.add(Property::Idempotent, format!("{id} was acknowledged as new more than once"));
    }
    let Some(offset) = log.known(first, &format!("the acknowledgement of {id}"), report) else {
        return report.add(Property::Durable, format!("{id} was acknowledged and is not in the final log"));
    };
    match (log.by_offset.get(&offset), log.by_id.get(id)) {
        (Some(logged), _) if logged.id == id => {}
        (_, Some(found)) => {
            report.add(Property::Durable, format!("{id} was acknowledged at {offset} and stands at {found}"));
        }
        (Some(other), None) => {
            let text = format!("{id} was acknowledged at {offset}, where {} stands; it is lost", other.id);
            report.add(Property::Durable, text);
        }
        (None, None) => {
            report.add(Property::Durable, format!("{id} was acknowledged at {offset} and is lost"));
        }
    }
}

fn whole_batches(publishes: &BTreeMap<&str, Publish<'_>>, log: &Log<'_>, report: &mut Report) {
    let mut batches: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (id, publish) in publishes {
        let (sent, logged) = batches.entry(publish.batch).or_default();
        *sent += 1;
        *logged += usize::from(log.by_id.contains_key(id));
    }
    for (batch, (sent, logged)) in batches {
        if logged != 0 && logged != sent {
            report
                .add(Property::Atomic, format!("{logged} of the {sent} events of batch {batch} are logged"));
        }
    }
}
