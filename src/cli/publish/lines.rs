//! Reads events, one JSON object a line, into batches that the server takes whole.

use fanfare::{
    error::Refusal,
    event::{Draft, Limits, NewEvent, write_event_with},
};
use serde_json::value::{RawValue, to_raw_value};
use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read},
};

/// The most events of a batch, under the server's bound for one request.
pub(super) const BATCH_EVENTS_MAX: usize = 500;
/// A batch ends when it passes this many bytes, under the server's default bound for a request.
const BATCH_BYTES_MAX: usize = 512 * 1024;
/// The most bytes of a line; a file without line ends must not fill the memory.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The server's own limit of the data is not known here, so the server judges it.
const LIMITS: Limits = Limits { data_bytes_max: usize::MAX, batch_max: usize::MAX };

/// An event that is ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Line {
    /// Where it stands in the file, from 1.
    pub(in crate::cli) number: usize,
    /// Its id, as the JSON has it.
    pub(in crate::cli) id: String,
    /// The event in our own field names.
    pub(in crate::cli) json: String,
}

/// A line that was not published.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Where it stands in the file, from 1.
    pub(super) number: usize,
    /// Why.
    pub(super) message: String,
}

/// The lines of a file.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Lines { reader, number: 0 }
    }

    /// The next events, none at the end of the file. Lines that are no events go to `refused`; empty lines are skipped.
    pub(super) fn batch(&mut self, refused: &mut Vec<Refused>) -> io::Result<Vec<Line>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_EVENTS_MAX && bytes < BATCH_BYTES_MAX {
            let Some(text) = self.next_text()? else { break };
            let number = self.number;
            match text.and_then(|text| check(number, &text)) {
                Ok(Some(line)) => {
                    bytes += line.json.len();
                    batch.push(line);
                }
                Ok(None) => {}
                Err(message) => refused.push(Refused { number, message }),
            }
        }
        Ok(batch)
    }

    /// The next line, or why it cannot be one; `None` at the end.
    fn next_text(&mut self) -> io::Result<Option<Result<String, String>>> {
        let mut line = Vec::new();
        let read = (&mut self.reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if read as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
            self.reader.skip_until(b'\n')?;
            return Ok(Some(Err(format!("it has more than {LINE_BYTES_MAX} bytes"))));
        }
        Ok(Some(String::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())))
    }
}

/// Checks a line by the rules of events and gives it an id where it has none; `None` for an empty line.
fn check(number: usize, text: &str) -> Result<Option<Line>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let shown = |refusal: Refusal| refusal.message.into_owned();
    let event = NewEvent::new(Draft::from_json(text).map_err(shown)?, &LIMITS).map_err(shown)?;
    // The members go out as they came in, but for the id: it must be the same when the line is sent again.
    let mut members = members(text)?;
    let id = to_raw_value(event.id()).map_err(|error| error.to_string())?;
    members.insert("id".to_owned(), &id);
    let json = serde_json::to_string(&members).map_err(|error| error.to_string())?;
    Ok(Some(Line { number, id: event.id().to_owned(), json }))
}

/// The members of an object, their values untouched.
fn members(text: &str) -> Result<BTreeMap<String, &RawValue>, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// The line of an event that was given by flags. The error is a sentence.
pub(super) fn line_of(mut draft: Draft, data: Option<&str>) -> Result<Line, String> {
    let raw = data.map(|data| RawValue::from_string(data.to_owned())).transpose();
    draft.data = raw.map_err(|error| error.to_string())?;
    let event = NewEvent::new(draft, &LIMITS).map_err(|refusal| refusal.message.into_owned())?;
    let mut written = String::new();
    write_event_with(&event, |_| (), &mut written);
    let mut members = members(&written)?;
    // The time of this attempt would make another attempt with the same id another event; the server fills it in.
    members.remove("time");
    let json = serde_json::to_string(&members).map_err(|error| error.to_string())?;
    Ok(Line { number: 1, id: event.id().to_owned(), json })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(text: &[u8]) -> (Vec<Line>, Vec<Refused>) {
        let mut refused = Vec::new();
        (Lines::new(text).batch(&mut refused).unwrap(), refused)
    }

    #[test]
    fn a_line_keeps_its_members_and_gets_an_id_where_it_has_none() {
        let (lines, refused) = batch(
            b"{\"type\":\"a\",\"data\":{\"big\":12345678901234567890123,\"f\":1.0}}\r\n\n  \n{\"id\":\"x\",\"type\":\"b\"}\n\
              {\"id\":null,\"type\":\"c\"}",
        );
        assert!(refused.is_empty(), "{refused:?}");
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 4, 5]);
        assert!(lines[0].json.contains("{\"big\":12345678901234567890123,\"f\":1.0}"), "{:?}", lines[0]);
        assert_eq!(lines[1].json, r#"{"id":"x","type":"b"}"#);
        for line in [&lines[0], &lines[2]] {
            assert!(uuid::Uuid::parse_str(&line.id).is_ok() && line.json.contains(&line.id), "{line:?}");
        }
    }

    #[test]
    fn lines_that_are_no_events_are_refused_by_their_number() {
        let (lines, refused) =
            batch(b"{\"type\":\"a\"}\nnonsense\n{\"type\":\"a b\"}\n\xff\n{\"type\":\"a\",\"kind\":1}\n[]\n");
        assert_eq!(lines.len(), 1);
        assert_eq!(refused.iter().map(|one| one.number).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
        assert!(refused[1].message.contains("type: \"a b\" is not allowed"), "{refused:?}");
    }

    #[test]
    fn a_batch_ends_by_count_and_by_bytes() {
        let many = "{\"type\":\"a\"}\n".repeat(BATCH_EVENTS_MAX + 1);
        let mut lines = Lines::new(many.as_bytes());
        let sizes: Vec<_> = (0..3).map(|_| lines.batch(&mut Vec::new()).unwrap().len()).collect();
        assert_eq!(sizes, [BATCH_EVENTS_MAX, 1, 0]);
        let large =
            format!("{{\"type\":\"a\",\"data\":\"{}\"}}\n", "x".repeat(BATCH_BYTES_MAX / 2)).repeat(3);
        let mut lines = Lines::new(large.as_bytes());
        let sizes: Vec<_> = (0..3).map(|_| lines.batch(&mut Vec::new()).unwrap().len()).collect();
        assert_eq!(sizes, [2, 1, 0]);
    }

    #[test]
    fn a_line_without_end_is_refused_and_the_next_one_is_read() {
        let endless = io::repeat(b'x').take(LINE_BYTES_MAX + 10);
        let mut lines = Lines::new(io::BufReader::new(endless.chain(&b"\n{\"type\":\"a\"}\n"[..])));
        let mut refused = Vec::new();
        let batch = lines.batch(&mut refused).unwrap();
        assert_eq!((batch.len(), batch[0].number, refused[0].number), (1, 2, 1));
    }

    #[test]
    fn an_event_of_flags_is_checked_and_written_whole() {
        let draft = |event_type: &str| Draft { event_type: event_type.to_owned(), ..Draft::default() };
        let line = line_of(draft("a.b"), Some("{\"n\": 1}")).unwrap();
        assert!(line.json.contains(r#""type":"a.b""#) && line.json.contains(r#""data":{"n":1}"#), "{line:?}");
        assert!(!line.json.contains("\"time\""), "a time would make the next attempt a conflict: {line:?}");
        assert!(!line.json.contains("persist"), "kept unless it is said: {line:?}");
        let transient = Draft { persist: Some(false), ..draft("a.b") };
        assert!(line_of(transient, None).unwrap().json.contains(r#""persist":false"#));
        assert!(line_of(draft("a b"), None).unwrap_err().starts_with("type:"));
    }
}
