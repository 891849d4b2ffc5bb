//! The members of an event's data, read leniently: a member that is absent or of another type is null.

use super::scalars::{Count, JsonText, Time};
use chrono::DateTime;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The members of a JSON object, each still as its text. Data that is no object has none.
#[derive(Debug, Default)]
pub(super) struct Members(BTreeMap<String, Box<RawValue>>);

impl Members {
    pub(super) fn read(json: &str) -> Self {
        Members(serde_json::from_str(json).unwrap_or_default())
    }

    /// The first of these members that is there and not null.
    fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().filter_map(|name| self.0.get(*name)).map(|raw| raw.get()).find(|json| *json != "null")
    }

    /// A member that is a string.
    pub(super) fn text(&self, names: &[&str]) -> Option<String> {
        serde_json::from_str(self.first(names)?).ok()
    }

    /// A member that is a string or a number, as an id.
    pub(super) fn id(&self, names: &[&str]) -> Option<String> {
        let json = self.first(names)?;
        serde_json::from_str(json).ok().or_else(|| {
            let number: Option<serde_json::Number> = serde_json::from_str(json).ok();
            number.map(|_| json.to_owned())
        })
    }

    /// A member that is a string, or an object that has a name: GitHub's repositories and users, for one.
    pub(super) fn name(&self, names: &[&str]) -> Option<String> {
        let json = self.first(names)?;
        let whole = serde_json::from_str(json).ok();
        whole.or_else(|| Members::read(json).text(&["full_name", "login", "username", "name"]))
    }

    /// A member that is a number.
    pub(super) fn number(&self, names: &[&str]) -> Option<f64> {
        serde_json::from_str(self.first(names)?).ok()
    }

    /// A member that is a whole number from 0 up.
    pub(super) fn count(&self, names: &[&str]) -> Option<Count> {
        serde_json::from_str(self.first(names)?).ok().map(Count)
    }

    /// A member that is a point in time.
    pub(super) fn time(&self, names: &[&str]) -> Option<Time> {
        let text = self.text(names)?;
        DateTime::parse_from_rfc3339(&text).ok().map(|time| Time(time.to_utc()))
    }

    /// A member that is a list of strings.
    pub(super) fn texts(&self, names: &[&str]) -> Option<Vec<String>> {
        serde_json::from_str(self.first(names)?).ok()
    }

    /// A member that is true or false.
    pub(super) fn flag(&self, names: &[&str]) -> Option<bool> {
        serde_json::from_str(self.first(names)?).ok()
    }

    /// A member of any type.
    pub(super) fn json(&self, names: &[&str]) -> Option<JsonText> {
        self.first(names).map(|json| JsonText(json.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_given_by_any_of_its_names_and_only_in_its_own_type() {
        let members = Members::read(
            r#"{"conn_id":"c","n":1.50,"seven":7,"none":null,"o":{"b":1.0},"yes":true,"repo":{"name":"b","full_name":"a/b"},
                "list":["a"],"at":"2026-11-20T10:00:00.5Z"}"#,
        );
        assert_eq!(members.text(&["connectionId", "conn_id"]).as_deref(), Some("c"));
        assert_eq!((members.text(&["n"]), members.number(&["conn_id"])), (None, None));
        assert_eq!(members.number(&["n"]), Some(1.5));
        assert_eq!((members.flag(&["yes"]), members.flag(&["n"])), (Some(true), None));
        assert_eq!(members.id(&["seven"]).as_deref(), Some("7"));
        assert_eq!(members.id(&["o"]), None);
        assert_eq!(members.json(&["none"]), None);
        assert_eq!(members.name(&["conn_id"]).as_deref(), Some("c"));
        assert_eq!(members.name(&["repo"]).as_deref(), Some("a/b"));
        assert_eq!((members.count(&["seven"]), members.count(&["n"])), (Some(Count(7)), None));
        assert_eq!(members.texts(&["list"]), Some(vec!["a".to_owned()]));
        assert_eq!(
            (members.time(&["at"]).is_some(), members.time(&["n"]), members.texts(&["n"])),
            (true, None, None)
        );
        assert_eq!(members.json(&["o"]), Some(JsonText(r#"{"b":1.0}"#.to_owned())));
    }

    #[test]
    fn data_that_is_no_object_has_no_members() {
        for json in ["null", "1", "[1]", r#""text""#] {
            assert!(Members::read(json).0.is_empty(), "{json}");
        }
    }
}
