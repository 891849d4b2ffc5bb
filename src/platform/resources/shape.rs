//! What a field may hold, and the limits of that.

use crate::{
    error::{Code, Refusal},
    event::json,
};
use serde_json::value::RawValue;

/// The most bytes of a word.
const WORD_BYTES_MAX: usize = 64;

/// What a field may hold; the numbers are the most bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One line of text, not empty.
    Line(usize),
    /// Text of any number of lines.
    Text(usize),
    /// A word such as a status.
    Word,
    /// A number from 0 up.
    Number,
    /// Any JSON.
    Json(usize),
}

impl Shape {
    /// Checks a value that is not null; `field` names it in the refusal, which has code `BAD_REQUEST`.
    pub(super) fn check(self, field: &str, value: &RawValue) -> Result<(), Refusal> {
        let refused = |given: &str| Err(Refusal::field(Code::BadRequest, field, given, self.rule()));
        let text = || serde_json::from_str::<String>(value.get()).ok();
        let is_right = match self {
            Shape::Line(bytes_max) | Shape::Text(bytes_max) => match text() {
                Some(text) if text.len() > bytes_max => return refused(&format!("{} bytes", text.len())),
                Some(text) if matches!(self, Shape::Line(_)) => {
                    !text.is_empty() && !text.chars().any(char::is_control)
                }
                Some(text) => !text.chars().any(is_no_text),
                None => false,
            },
            Shape::Word => text().is_some_and(|text| is_word(&text)),
            Shape::Number => serde_json::from_str::<f64>(value.get()).is_ok_and(|number| number >= 0.0),
            Shape::Json(bytes_max) if value.get().len() > bytes_max => {
                return refused(&format!("{} bytes", value.get().len()));
            }
            // One deeper, as it stands in the data of an event.
            Shape::Json(_) => json::check(&format!("[{}]", value.get())).is_ok(),
        };
        if is_right { Ok(()) } else { refused(value.get()) }
    }

    /// What is allowed, for people.
    fn rule(self) -> String {
        match self {
            Shape::Line(bytes_max) => format!("text of 1 to {bytes_max} bytes without control characters"),
            Shape::Text(bytes_max) => {
                format!(
                    "text of at most {bytes_max} bytes without control characters but line breaks and tabs"
                )
            }
            Shape::Word => format!("1 to {WORD_BYTES_MAX} characters A-Z a-z 0-9 _ -"),
            Shape::Number => "a number from 0 up".to_owned(),
            Shape::Json(bytes_max) => {
                format!("JSON of at most {bytes_max} bytes, nested at most {} deep", json::JSON_DEPTH_MAX - 1)
            }
        }
    }
}

/// Control characters but those that lay out text.
fn is_no_text(character: char) -> bool {
    character.is_control() && !matches!(character, '\n' | '\r' | '\t')
}

/// Can it be a status?
pub(super) fn is_word(text: &str) -> bool {
    (1..=WORD_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_takes_what_its_rule_says_and_nothing_else() {
        let long = format!("{:?}", "x".repeat(9));
        let cases: [(Shape, &[&str], &[&str]); 5] = [
            (
                Shape::Line(8),
                &[r#""a b""#, r#""éé""#, r#""12345678""#],
                &[r#""""#, r#""a\nb""#, "1", "{}", &long],
            ),
            (Shape::Text(8), &[r#""""#, r#""a\n\tb""#], &[r#""a\u0000""#, "[]", &long]),
            (Shape::Word, &[r#""idle""#, r#""A-1_b""#], &[r#""""#, r#""a b""#, r#""é""#, "1"]),
            (Shape::Number, &["0", "0.5", "1e3"], &["-1", r#""1""#, "true"]),
            (Shape::Json(8), &["1", "[]", r#"{"a":1}"#], &[r#"{"a":1,"a":2}"#, "[1,2,3,4]", "nul"]),
        ];
        for (shape, right, wrong) in cases {
            let check = |text: &&str| {
                RawValue::from_string((*text).to_owned()).is_ok_and(|value| shape.check("f", &value).is_ok())
            };
            assert!(right.iter().all(&check), "{shape:?}");
            assert!(!wrong.iter().any(check), "{shape:?}");
        }
    }

    #[test]
    fn a_refusal_names_field_given_and_limit() {
        let value = RawValue::from_string(format!("{:?}", "x".repeat(300))).unwrap();
        let refusal = Shape::Line(256).check("name", &value).unwrap_err();
        assert_eq!((refusal.code, refusal.detail("field")), (Code::BadRequest, Some("name")));
        assert_eq!(refusal.detail("given"), Some("300 bytes"));
        assert!(refusal.detail("allowed").unwrap().contains("256 bytes"), "{refusal}");
    }
}
