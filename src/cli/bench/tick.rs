//! The event of the load: written by publishers, read where it lies in a delivered message.
//!
//! Invariants: a tick carries all that its check needs (run, publisher, key, number, time), so no table of what was
//! published is kept; its id is made of them, so publishing it again never makes a second event.

use super::super::publish::lines::Line;
use serde_json::{Value, json};
use std::fmt::Write;

/// The type of every event of the load.
pub(super) const EVENT_TYPE: &str = "bench.tick";
/// The least bytes of `data`: its members with the largest numbers that occur.
pub(super) const DATA_BYTES_MIN: usize = 128;

/// Sets one run apart from others at the same server: part of each event's id, task and data.
#[derive(Clone, Debug)]
pub(super) struct Run {
    id: String,
    marker: String,
}

/// What a delivered event says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tick {
    pub(super) publisher: usize,
    pub(super) key: u64,
    pub(super) number: u64,
    /// When it was published, or due, in microseconds of the run's clock.
    pub(super) time: u64,
}

impl Run {
    /// A new run, unlike any other.
    pub(super) fn new() -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string().chars().take(12).collect();
        Run::of(id)
    }

    fn of(id: String) -> Self {
        let marker = format!(r#""data":{{"run":"{id}","p":"#);
        Run { id, marker }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The task that a filter names to get the events of one key.
    pub(super) fn task(&self, key: u64) -> String {
        format!("bench-{}-{key}", self.id)
    }

    /// The filter of a subscription: the type pattern, and the key by its task.
    pub(super) fn filter(&self, pattern: &str, key: u64) -> Value {
        json!({"types": [pattern], "taskId": [self.task(key)]})
    }

    /// A request of events that nobody subscribes to, of the same size.
    pub(super) fn probe(&self, events: usize, data_bytes: usize) -> Vec<Line> {
        let tick = Tick { publisher: 0, key: 0, number: 0, time: 0 };
        (0..events).map(|event| self.write(&format!("probe-{event}"), "probe", &tick, data_bytes)).collect()
    }

    /// A publisher's event of this number.
    pub(super) fn line(&self, event: u64, tick: &Tick, data_bytes: usize) -> Line {
        self.write(&format!("{}-{event}", tick.publisher), &tick.key.to_string(), tick, data_bytes)
    }

    fn write(&self, id: &str, task: &str, tick: &Tick, data_bytes: usize) -> Line {
        let run = &self.id;
        let Tick { publisher, key, number, time } = tick;
        let mut json = String::with_capacity(200 + data_bytes);
        let id = format!("{run}-{id}");
        // Writing to a String cannot fail.
        let _ = write!(
            json,
            r#"{{"id":"{id}","type":"{EVENT_TYPE}","source":"/fanfare-bench","taskId":"bench-{run}-{task}","data":"#
        );
        let begin = json.len();
        let _ = write!(json, r#"{{"run":"{run}","p":{publisher},"k":{key},"n":{number},"t":{time},"pad":""#);
        let rest = data_bytes.saturating_sub(json.len() - begin + r#""}"#.len());
        json.extend(std::iter::repeat_n('x', rest));
        json.push_str(r#""}}"#);
        Line { number: 0, id, json }
    }
}

/// Reads ticks out of `next` messages without parsing the rest of them.
#[derive(Debug)]
pub(super) struct Reader {
    marker: Box<str>,
    /// Where the marker stood last; nearly always it stands there again.
    at: usize,
}

impl Reader {
    pub(super) fn new(run: &Run) -> Self {
        Reader { marker: run.marker.clone().into(), at: 0 }
    }

    /// The number of the subscription and the tick; `None` when the message is something else.
    pub(super) fn read(&mut self, text: &str) -> Option<(usize, Tick)> {
        let (subscription, rest) = digits(text.strip_prefix(r#"{"id":""#)?)?;
        rest.strip_prefix(r#"","type":"next","payload":{"data":{"events":{"#)?;
        if !text.get(self.at..).is_some_and(|text| text.starts_with(&*self.marker)) {
            self.at = text.find(&*self.marker)?;
        }
        let (publisher, rest) = digits(text.get(self.at + self.marker.len()..)?)?;
        let (key, rest) = digits(rest.strip_prefix(r#","k":"#)?)?;
        let (number, rest) = digits(rest.strip_prefix(r#","n":"#)?)?;
        let (time, _) = digits(rest.strip_prefix(r#","t":"#)?)?;
        let index = |number: u64| usize::try_from(number).ok();
        Some((index(subscription)?, Tick { publisher: index(publisher)?, key, number, time }))
    }
}

/// The cursor of a `next` message, which stands at its end.
pub(super) fn cursor_of(text: &str) -> Option<&str> {
    let (_, after) = text.rsplit_once(r#""cursor":""#)?;
    after.split_once('"').map(|(cursor, _)| cursor)
}

/// The number at the beginning and what follows it.
fn digits(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare::event::{Draft, Limits, NewEvent};

    const TICK: Tick = Tick { publisher: 3, key: 17, number: 4_000_000, time: 123_456_789 };

    fn delivered(data: &str) -> String {
        format!(
            r#"{{"id":"12","type":"next","payload":{{"data":{{"events":{{"id":"x","type":"bench.tick","data":{data}}}}},"extensions":{{"cursor":"AbC"}}}}}}"#
        )
    }

    fn data_of(line: &Line) -> String {
        let draft = Draft::from_json(&line.json).unwrap();
        NewEvent::new(draft, &Limits::default()).unwrap().data().as_str().to_owned()
    }

    #[test]
    fn what_is_written_is_an_event_of_the_wanted_size_and_is_read_back() {
        let run = Run::of("0123456789ab".to_owned());
        for bytes in [DATA_BYTES_MIN, 4_096] {
            let line = run.line(9, &TICK, bytes);
            let data = data_of(&line);
            assert_eq!((&*line.id, data.len()), ("0123456789ab-3-9", bytes));
            let message = delivered(&data);
            assert_eq!(Reader::new(&run).read(&message), Some((12, TICK)));
            assert_eq!(cursor_of(&message), Some("AbC"));
        }
    }

    #[test]
    fn the_largest_numbers_fit_the_least_data() {
        let run = Run::new();
        let tick =
            Tick { publisher: 1_023, key: 10_u64.pow(9), number: 10_u64.pow(12), time: 10_u64.pow(13) };
        assert_eq!(data_of(&run.line(0, &tick, DATA_BYTES_MIN)).len(), DATA_BYTES_MIN);
    }

    #[test]
    fn another_run_and_anything_else_is_no_tick() {
        let (run, other) = (Run::new(), Run::new());
        let mut reader = Reader::new(&run);
        let foreign = delivered(&data_of(&other.line(0, &TICK, 200)));
        for text in [foreign.as_str(), "", "{}", r#"{"type":"ping"}"#, r#"{"id":"1","type":"complete"}"#] {
            assert_eq!(reader.read(text), None, "{text}");
        }
    }

    #[test]
    fn the_filter_and_the_task_are_ones_that_events_may_have() {
        let run = Run::new();
        let filter = run.filter(EVENT_TYPE, 7);
        let task = filter["taskId"][0].as_str().unwrap().to_owned();
        let json = format!(r#"{{"type":"{EVENT_TYPE}","taskId":"{task}"}}"#);
        assert!(NewEvent::new(Draft::from_json(&json).unwrap(), &Limits::default()).is_ok());
    }
}
