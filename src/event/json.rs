//! JSON at the door and on the way out: a strict check of what comes in, and the whole-event form that goes out.
//!
//! Invariants: JSON that passed [`Json::parse`] nests at most 64 deep, has no key twice in one object, no lone surrogate,
//! no number out of range, and no white space between its tokens, so it never holds a line break.
//! Not here: GraphQL's form of an event (`graphql`), CloudEvents (`ingest`).

use crate::error::{Code, Refusal};
use serde::{
    Deserialize,
    de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::HashSet, fmt, sync::Arc};

/// The deepest nesting of arrays and objects that is accepted anywhere.
pub const JSON_DEPTH_MAX: usize = 64;

/// A checked JSON text without white space between its tokens. Cloning shares the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl Json {
    /// The JSON `null`.
    pub fn null() -> Self {
        Json("null".into())
    }

    /// Checks and compacts a JSON text. The error is a sentence for the caller.
    pub fn parse(text: &str) -> Result<Self, String> {
        check(text)?;
        // What programs write has often no white space at all. All bytes are looked at: without an early end that is done many at
        // a time.
        let may_have_white_space = text.bytes().fold(false, |found, byte| found | (byte <= b' '));
        Ok(Json(if may_have_white_space { compact(text).into() } else { text.into() }))
    }

    /// The JSON form of a value that this process made itself.
    pub fn of(value: &serde_json::Value) -> Self {
        Json(value.to_string().into())
    }

    /// Text that was a `Json` before it was stored, or that masking made of one.
    pub(crate) fn stored(text: &str) -> Self {
        Json(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks a JSON text against the rules of this module without keeping it. The error is a sentence for the caller.
pub fn check(text: &str) -> Result<(), String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Strict { depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| error.to_string())
}

/// Reads a request body as JSON of a type after the strict check. Fails with `BAD_REQUEST`.
pub fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Refusal> {
    check(text)
        .map_err(|error| Refusal::new(Code::BadRequest, format!("the JSON is not accepted: {error}")))?;
    read_typed(text)
}

/// Reads a request body as JSON of a type whose members are each checked by themselves: fields of texts and numbers, of which
/// none is unknown or there twice, [`strict`] ones, and raw ones that are given to [`Json::parse`] later. Fails with
/// `BAD_REQUEST`.
pub(super) fn read_typed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Refusal> {
    serde_json::from_str(text)
        .map_err(|error| Refusal::new(Code::BadRequest, format!("the JSON does not fit: {error}")))
}

/// Reads one member as JSON of a type after the strict check; for `deserialize_with`.
pub(super) fn strict<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<T, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    check(raw.get()).map_err(D::Error::custom)?;
    serde_json::from_str(raw.get()).map_err(D::Error::custom)
}

/// Removes white space outside strings; the input is valid JSON.
fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find('"') {
        let (between, string) = rest.split_at(begin);
        out.extend(between.split_ascii_whitespace());
        let (string, after) = string.split_at(string_end(string));
        out.push_str(string);
        rest = after;
    }
    out.extend(rest.split_ascii_whitespace());
    out
}

/// Where the string ends that the text begins with, its quotes included.
fn string_end(text: &str) -> usize {
    let mut from = 1;
    while let Some(quote) = text.get(from..).and_then(|rest| rest.find('"')) {
        let inside = text.get(1..from + quote).unwrap_or_default();
        let backslashes = inside.bytes().rev().take_while(|byte| *byte == b'\\').count();
        from += quote + 1;
        if backslashes % 2 == 0 {
            return from;
        }
    }
    text.len()
}

/// The keys of one object. Most have few, and few are compared faster than hashed.
#[derive(Default)]
struct Keys<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Keys<'de> {
    const FEW_MAX: usize = 16;

    /// Adds a key; gives it back when it is there already.
    fn add(&mut self, key: Cow<'de, str>) -> Result<(), Cow<'de, str>> {
        if self.few.contains(&key) || self.many.contains(&key) {
            return Err(key);
        }
        if self.few.len() < Self::FEW_MAX {
            self.few.push(key);
        } else {
            self.many.insert(key);
        }
        Ok(())
    }
}

/// Walks a document and keeps nothing.
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: Error>(&self) -> Result<Strict, E> {
        match self.depth < JSON_DEPTH_MAX {
            true => Ok(Strict { depth: self.depth + 1 }),
            false => Err(E::custom(format!("nested more than {JSON_DEPTH_MAX} deep"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.deeper()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut keys = Keys::default();
        while let Some(key) = members.next_key::<Cow<'de, str>>()? {
            keys.add(key).map_err(|key| {
                let key = crate::error::excerpt(&key);
                A::Error::custom(format!("the key {key:?} stands twice in one object"))
            })?;
            members.next_value_seed(self.deeper()?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_texts_are_refused_without_harm() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for bad in [
            &deep,
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#""\ud800""#,
            "1e400",
            "[1,]",
            "",
            "nul",
            "1 2",
            "\u{feff}1",
        ] {
            assert!(check(bad).is_err(), "{}", crate::error::excerpt(bad));
        }
        assert!(check(&format!("{}1{}", "[".repeat(64), "]".repeat(64))).is_ok());
        assert!(check(&format!("{}1{}", "[".repeat(65), "]".repeat(65))).is_err());
    }

    #[test]
    fn a_key_that_stands_twice_is_found_in_small_and_in_large_objects() {
        for keys in [1, 2, 16, 17, 18, 100] {
            let member = |key: usize| format!(r#""{key}":0"#);
            let object: Vec<String> = (0..keys).map(member).collect();
            assert!(check(&format!("{{{}}}", object.join(","))).is_ok(), "{keys}");
            for again in 0..keys {
                let error = check(&format!("{{{},{}}}", object.join(","), member(again))).unwrap_err();
                assert!(error.contains(&format!("\"{again}\" stands twice")), "{error}");
            }
        }
    }

    #[test]
    fn quotes_and_backslashes_within_strings_are_left_alone() {
        for text in [r#""""#, r#""\\""#, r#""a \" b""#, r#""\\\" ,""#, r#"{"\\":[" ","\"\\"," x "]}"#] {
            assert_eq!(Json::parse(text).unwrap().as_str(), text);
            assert_eq!(Json::parse(&format!(" \t{text}\r\n")).unwrap().as_str(), text);
        }
    }

    fn values() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,12}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::hash_map(".{0,6}", inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn compacting_changes_nothing_but_white_space(value in values()) {
            let json = Json::parse(&serde_json::to_string_pretty(&value).unwrap()).unwrap();
            prop_assert_eq!(json.as_str(), value.to_string());
            prop_assert!(!json.as_str().contains(['\n', '\r']));
        }
    }
}
