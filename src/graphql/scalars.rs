//! The scalars of the schema beside GraphQL's own.
//!
//! Invariants: JSON is copied through as text, so numbers, key order and escapes stay exactly as they were published.

use crate::event::{Cursor, Json};
use async_graphql::{ID, InputValueError, InputValueResult, Name, Scalar, ScalarType, Value};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};

/// The one key of an object that the engine's feature `raw_value` writes as the JSON text under it.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// What a field without fields of its own gives, written as the engine would, without its tree of values in between.
pub(super) trait WriteJson {
    /// Appends the value. Fails for what has no JSON form, which nothing here is.
    fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()>;
}

impl<T: WriteJson> WriteJson for Option<T> {
    fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            Some(value) => value.write_json(out),
            None => ().write_json(out),
        }
    }
}

/// What serde writes in the same way.
macro_rules! write_json {
    ($($type:ty,)*) => {
        $(impl WriteJson for $type {
            fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
                serde_json::to_writer(out, self)
            }
        })*
    };
}

write_json! { (), bool, f64, &str, String, Vec<String>, ID, Value, }

impl WriteJson for Json {
    fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        out.extend_from_slice(self.as_str().as_bytes());
        Ok(())
    }
}

/// JSON as its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JsonText(pub(super) String);

impl From<&Json> for JsonText {
    fn from(json: &Json) -> Self {
        JsonText(json.as_str().to_owned())
    }
}

/// Any JSON value. What comes out is character for character what the producer published, white space aside.
#[Scalar(name = "JSON")]
impl ScalarType for JsonText {
    fn parse(value: Value) -> InputValueResult<Self> {
        serde_json::to_string(&Plain(&value)).map(JsonText).map_err(InputValueError::custom)
    }

    fn to_value(&self) -> Value {
        let raw = (Name::new(RAW_VALUE), Value::String(self.0.clone()));
        Value::Object([raw].into_iter().collect())
    }
}

/// Writes a value member by member. The engine's own `Serialize` would take an object with the one key
/// [`RAW_VALUE`] for the JSON text inside it, which a caller must not be able to choose.
struct Plain<'a>(&'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::List(items) => serializer.collect_seq(items.iter().map(Plain)),
            Value::Object(members) => {
                serializer.collect_map(members.iter().map(|(name, value)| (name.as_str(), Plain(value))))
            }
            leaf @ (Value::Null
            | Value::Number(_)
            | Value::String(_)
            | Value::Boolean(_)
            | Value::Binary(_)
            | Value::Enum(_)) => leaf.serialize(serializer),
        }
    }
}

impl WriteJson for JsonText {
    fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(())
    }
}

/// A cursor as text. It is read where it is used, so that a bad one is refused with `CURSOR_INVALID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CursorText(pub(super) String);

impl From<Cursor> for CursorText {
    fn from(cursor: Cursor) -> Self {
        CursorText(cursor.to_string())
    }
}

/// A position in the log, or a place in a list where the field says so; opaque. Keep the one you saw last and give it back to
/// continue after it.
#[Scalar(name = "Cursor")]
impl ScalarType for CursorText {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        Ok(CursorText(text.clone()))
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::String(_))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

impl WriteJson for CursorText {
    fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        self.0.write_json(out)
    }
}

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(pub(super) DateTime<Utc>);

/// A point in time as RFC 3339 text, such as `2026-11-20T10:00:00.5Z`; given out in UTC.
#[Scalar(name = "DateTime", specified_by_url = "https://www.rfc-editor.org/rfc/rfc3339")]
impl ScalarType for Time {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        Ok(Time(DateTime::parse_from_rfc3339(text)?.to_utc()))
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::String(text) if DateTime::parse_from_rfc3339(text).is_ok())
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl WriteJson for Time {
    fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        self.to_value().write_json(out)
    }
}

/// A count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count(pub(super) u64);

impl From<i64> for Count {
    /// A gauge counts things that are open; below zero it would be one that is being closed.
    fn from(gauge: i64) -> Self {
        Count(gauge.try_into().unwrap_or_default())
    }
}

/// A whole number from 0 up that may pass the 32 bits of `Int`.
#[Scalar(name = "Count")]
impl ScalarType for Count {
    fn parse(value: Value) -> InputValueResult<Self> {
        let count = if let Value::Number(number) = &value { number.as_u64() } else { None };
        count.map(Count).ok_or_else(|| InputValueError::expected_type(value))
    }

    fn to_value(&self) -> Value {
        Value::from(self.0)
    }
}

impl WriteJson for Count {
    fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(out, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::Response;

    fn answered(json: &str) -> String {
        serde_json::to_string(&Response::new(JsonText(json.to_owned()).to_value())).unwrap()
    }

    #[test]
    fn json_goes_out_as_the_text_that_it_was() {
        let text = r#"{"z":1.0,"a":12345678901234567890123,"s":"\u00e9","e":1e2}"#;
        assert_eq!(answered(text), format!(r#"{{"data":{text}}}"#));
    }

    #[test]
    fn a_caller_cannot_smuggle_raw_text_through_the_engines_own_marker() {
        for text in [
            r#"{"$serde_json::private::RawValue":"{\"a\":1}"}"#,
            r#"{"a":[{"$serde_json::private::RawValue":"1"}]}"#,
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(JsonText::parse(value).map(|json| json.0).ok().as_deref(), Some(text));
            assert_eq!(answered(text), format!(r#"{{"data":{text}}}"#));
        }
    }
}
