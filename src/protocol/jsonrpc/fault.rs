//! Reads one parameter as a type, and says where inside it a fault stands: `filter.anyOf[1].types`.
//!
//! Invariants: what a caller reads is a path, what was given and what is allowed, never the library's line and column.

use crate::error::{Code, Refusal, excerpt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// Reads a value; `name` begins the path of a fault. Fails with `BAD_REQUEST`.
pub(super) fn read<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, Refusal> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| explain(&error.inner().to_string(), error.path(), text, name))
}

/// Reads a value that is an object. Derived readers would take a list for one as well, member by member.
pub(super) fn read_object<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, Refusal> {
    match text.starts_with('{') {
        true => read(text, name),
        false => Err(Refusal::field(Code::BadRequest, name, text, "an object")),
    }
}

/// Puts what the library says into our words: it says what is wrong, the path says where.
fn explain(told: &str, path: &Path, text: &str, name: &str) -> Refusal {
    let (mut field, mut given) = (name.to_owned(), serde_json::from_str(text).unwrap_or(Value::Null));
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => {
                field.push_str(&format!("[{index}]"));
                given = given.get_mut(*index).map(Value::take).unwrap_or_default();
            }
            Segment::Map { key } => {
                field.extend([".", &excerpt(key)]);
                given = given.get_mut(key).map(Value::take).unwrap_or_default();
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    let told = told.rfind(" at line ").and_then(|end| told.get(..end)).unwrap_or(told);
    if let Some(member) = told.strip_prefix("missing field ") {
        let field = format!("{field}.{}", member.trim_matches('`'));
        return Refusal::new(Code::BadRequest, format!("{field} is missing")).with("field", field);
    }
    let given = given.to_string();
    match told.split_once("expected ") {
        Some((_, allowed)) => Refusal::field(Code::BadRequest, &field, &given, allowed.replace('`', "")),
        None => Refusal::new(Code::BadRequest, format!("{field}: {} does not fit: {told}", excerpt(&given)))
            .with("field", field)
            .with("given", excerpt(&given)),
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
        let refusal = read_object::<FilterDraft>(r#"{"anyOf":[{}, {"types":["a"],"taskId":{"x":1}}]}"#, "p");
        assert_eq!(
            &*refusal.unwrap_err().message,
            r#"p.anyOf[1].taskId: {"x":1} does not fit: a string or a list of strings"#
        );
        let (field, given, allowed) = told::<Draft>("{\"type\":\"a\",\n \"priority\": 12,\"id\":\"x\"}");
        assert_eq!((&*field, &*given, &*allowed), ("p.priority", "12", "a string"));
        let (field, given, allowed) = told::<StartDraft>(r#"{"la\"st":1}"#);
        assert_eq!((&*field, &*given), (r#"p.la"st"#, "1"));
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
