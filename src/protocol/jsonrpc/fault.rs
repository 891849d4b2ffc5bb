//! Reads one parameter as a type, and says where inside it a fault stands: `filter.anyOf[1].types`.
//!
//! Invariants: what a caller reads is a path, what was given and what is allowed, never the library's line and column.

use crate::error::{Code, Refusal, excerpt};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Reads a value; `name` begins the path of a fault. Fails with `BAD_REQUEST`.
pub(super) fn read<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, Refusal> {
    serde_json::from_str(text).map_err(|error| explain(&error, text, name))
}

/// Reads a value that is an object. Derived readers would take a list for one as well, member by member.
pub(super) fn read_object<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, Refusal> {
    match text.starts_with('{') {
        true => read(text, name),
        false => Err(Refusal::field(Code::BadRequest, name, text, "an object")),
    }
}

fn explain(error: &serde_json::Error, text: &str, name: &str) -> Refusal {
    let place = place(text, offset(text, error.line(), error.column()), name);
    let told = error.to_string();
    let told = told.rfind(" at line ").and_then(|end| told.get(..end)).unwrap_or(&told);
    if told.strip_prefix("missing field `").is_some() {
        let member = told.split('`').nth(1).unwrap_or_default();
        let path = format!("{}.{member}", place.path);
        return Refusal::new(Code::BadRequest, format!("{path} is missing")).with("field", path);
    }
    let allowed = match told.split_once("expected ") {
        Some((_, expected)) => expected.replace('`', ""),
        None => told.to_owned(),
    };
    Refusal::field(Code::BadRequest, &place.path, &value_at(text, place.value), allowed)
}

/// Lines count from 1, columns are the bytes of the line that were read.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    before + column
}

struct Place {
    path: String,
    /// Where the value at the path begins, or the key where its value was not reached.
    value: usize,
}

enum Level {
    Object { key: String, is_key_next: bool },
    List { index: usize },
}

/// Where in a document a reader stood when it had read so many bytes of it.
fn place(text: &str, offset: usize, name: &str) -> Place {
    let mut levels: Vec<Level> = Vec::new();
    let mut value = 0;
    let mut string_start = None;
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().take(offset) {
        if let Some(start) = string_start {
            match byte {
                b'"' if !is_escaped => {
                    string_start = None;
                    if let Some(Level::Object { key, is_key_next: is_key_next @ true }) = levels.last_mut() {
                        *key = text.get(start + 1..at).unwrap_or_default().to_owned();
                        *is_key_next = false;
                        value = start;
                    }
                }
                _ => is_escaped = byte == b'\\' && !is_escaped,
            }
            continue;
        }
        match (byte, levels.last_mut()) {
            (b'"', _) => string_start = Some(at),
            (b'{', _) => levels.push(Level::Object { key: String::new(), is_key_next: true }),
            (b'[', _) => {
                levels.push(Level::List { index: 0 });
                value = at + 1;
            }
            (b'}' | b']', _) => {
                levels.pop();
            }
            (b':', _) => value = at + 1,
            (b',', Some(Level::Object { key, is_key_next })) => {
                key.clear();
                *is_key_next = true;
            }
            (b',', Some(Level::List { index })) => {
                *index += 1;
                value = at + 1;
            }
            _ => {}
        }
    }
    let mut path = name.to_owned();
    for level in &levels {
        match level {
            Level::Object { key, .. } if key.is_empty() => {}
            Level::Object { key, .. } => path.extend([".", &excerpt(key)]),
            Level::List { index } => path.push_str(&format!("[{index}]")),
        }
    }
    Place { path, value }
}

/// The JSON value that begins there.
fn value_at(text: &str, start: usize) -> String {
    let rest = text.get(start..).unwrap_or_default();
    match serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>().next() {
        Some(Ok(value)) => value.get().to_owned(),
        Some(Err(_)) | None => excerpt(rest.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Draft, FilterDraft, StartDraft};

    fn told<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> (String, String, String) {
        let refusal = read_object::<T>(text, "p").unwrap_err();
        assert_eq!(refusal.code, Code::BadRequest);
        let detail = |name| refusal.detail(name).unwrap_or_default().to_owned();
        (detail("field"), detail("given"), detail("allowed"))
    }

    #[test]
    fn a_fault_is_told_by_its_path_what_was_given_and_what_is_allowed() {
        let (field, given, allowed) =
            told::<FilterDraft>(r#"{"anyOf":[{}, {"types":["a"],"taskId":{"x":1}}]}"#);
        assert_eq!(
            (&*field, &*given, &*allowed),
            ("p.anyOf[1].taskId", r#"{"x":1}"#, "a string or a list of strings")
        );
        let (field, given, allowed) = told::<Draft>("{\"type\":\"a\",\n \"priority\": 12,\"id\":\"x\"}");
        assert_eq!((&*field, &*given, &*allowed), ("p.priority", "12", "a string"));
        let (field, given, allowed) = told::<StartDraft>(r#"{"la\"st":1}"#);
        assert_eq!((&*field, &*given), (r#"p.la\"st"#, r#""la\"st""#));
        assert_eq!(allowed, "one of after, time, last, earliest");
        let (field, given, allowed) = told::<FilterDraft>("[]");
        assert_eq!((&*field, &*given, &*allowed), ("p", "[]", "an object"));
    }

    #[test]
    fn a_missing_member_is_named() {
        let refusal = read_object::<Draft>(r#"{"id":"a"}"#, "event").unwrap_err();
        assert_eq!(
            (&*refusal.message, refusal.detail("field")),
            ("event.type is missing", Some("event.type"))
        );
    }

    #[test]
    fn no_fault_tells_line_or_column() {
        for text in
            [r#"{"time":"x"}"#, r#"{"last":1.5}"#, r#"{"last":99999999999999999999}"#, r#"{"after":[]}"#]
        {
            let refusal = read_object::<StartDraft>(text, "start").unwrap_err();
            assert!(refusal.detail("field").unwrap().starts_with("start."), "{refusal}");
            assert!(!refusal.message.contains("line") && !refusal.message.contains("column"), "{refusal}");
        }
    }
}
