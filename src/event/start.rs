//! Where a subscription starts, as callers write it: [`StartDraft`], and its way to a [`StartPosition`].

use super::{Cursor, StartPosition};
use crate::error::{Code, Refusal};
use chrono::{DateTime, Utc};
use serde::Deserialize;

/// The most events that `last` may ask for.
pub const START_LAST_MAX: u32 = 10_000;

/// A start position as callers write it: exactly one member, nothing checked but the types.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartDraft {
    /// After the event of this cursor.
    #[serde(default)]
    pub after: Option<String>,
    /// With the first event that was logged at or after this time (RFC 3339).
    #[serde(default)]
    pub time: Option<DateTime<Utc>>,
    /// With the last so many matching events.
    #[serde(default)]
    pub last: Option<i64>,
    /// With the earliest event that is kept; only `true` means something.
    #[serde(default)]
    pub earliest: Option<bool>,
}

impl StartPosition {
    /// Checks a draft. Fails with `INVALID_FILTER`, which names the member, or `CURSOR_INVALID`.
    pub fn new(draft: StartDraft) -> Result<Self, Refusal> {
        match draft {
            StartDraft { after: Some(text), time: None, last: None, earliest: None } => Cursor::parse(&text)
                .map(StartPosition::After)
                .map_err(|refusal| refusal.with("field", "start.after")),
            StartDraft { after: None, time: Some(time), last: None, earliest: None } => {
                Ok(StartPosition::Time(time))
            }
            StartDraft { after: None, time: None, last: Some(last), earliest: None } => u32::try_from(last)
                .ok()
                .filter(|last| (1..=START_LAST_MAX).contains(last))
                .map(StartPosition::Last)
                .ok_or_else(|| refused("start.last", &last.to_string(), format!("1 to {START_LAST_MAX}"))),
            StartDraft { after: None, time: None, last: None, earliest: Some(true) } => {
                Ok(StartPosition::Earliest)
            }
            StartDraft { after: None, time: None, last: None, earliest: Some(false) } => {
                Err(refused("start.earliest", "false", "true, or leave start out to begin live"))
            }
            several => Err(refused("start", &several.names(), "exactly one of after, time, last, earliest")),
        }
    }
}

impl StartDraft {
    fn names(&self) -> String {
        let given = [
            ("after", self.after.is_some()),
            ("time", self.time.is_some()),
            ("last", self.last.is_some()),
            ("earliest", self.earliest.is_some()),
        ];
        let names: Vec<&str> =
            given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect();
        match names.is_empty() {
            true => "no member".to_owned(),
            false => names.join(", "),
        }
    }
}

fn refused(field: &str, given: &str, allowed: impl Into<String>) -> Refusal {
    Refusal::field(Code::InvalidFilter, field, given, allowed)
}

#[cfg(test)]
mod tests {
    use super::super::{Epoch, Offset};
    use super::*;

    fn read(json: &str) -> Result<StartPosition, Refusal> {
        StartPosition::new(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn each_member_alone_is_a_position() {
        let cursor = Epoch::new([1; 16]).seal(Offset::new(2));
        assert_eq!(read(&format!(r#"{{"after":"{cursor}"}}"#)), Ok(StartPosition::After(cursor)));
        assert_eq!(read(r#"{"last":1}"#), Ok(StartPosition::Last(1)));
        assert_eq!(read(r#"{"last":10000,"after":null}"#), Ok(StartPosition::Last(10_000)));
        assert_eq!(read(r#"{"earliest":true}"#), Ok(StartPosition::Earliest));
        assert!(matches!(read(r#"{"time":"2026-11-20T10:00:00+01:00"}"#), Ok(StartPosition::Time(_))));
    }

    #[test]
    fn none_several_and_impossible_members_are_refused_by_name() {
        let cases = [
            ("{}", "start", "no member"),
            (r#"{"last":1,"earliest":true}"#, "start", "last, earliest"),
            (r#"{"last":1,"earliest":false}"#, "start", "last, earliest"),
            (r#"{"last":0}"#, "start.last", "0"),
            (r#"{"last":-5}"#, "start.last", "-5"),
            (r#"{"last":10001}"#, "start.last", "10001"),
            (r#"{"last":4294967297}"#, "start.last", "4294967297"),
            (r#"{"earliest":false}"#, "start.earliest", "false"),
        ];
        for (json, field, given) in cases {
            let refusal = read(json).unwrap_err();
            assert_eq!(refusal.code, Code::InvalidFilter, "{json}");
            assert_eq!(
                (refusal.detail("field"), refusal.detail("given")),
                (Some(field), Some(given)),
                "{json}"
            );
        }
        assert_eq!(read(r#"{"after":"x"}"#).map_err(|refusal| refusal.code), Err(Code::CursorInvalid));
    }
}
