//! Text in and out: the strict check of what a client sent, and JSON strings of what we say.
//!
//! Invariants: a sentence from here never holds the text of the JSON library.

use crate::event::json;

/// Checks JSON as `event::json` does. The error is a sentence for the client, with the position.
pub(super) fn check(text: &str) -> Result<(), String> {
    json::check(text).map_err(|error| {
        // The two rules of `event::json` are told in its own words; all else is the parser's and is only placed.
        match error.starts_with("nested more than") || error.starts_with("the key ") {
            true => error,
            false => {
                let place = error.rfind(" at line ").and_then(|start| error.get(start..)).unwrap_or_default();
                format!("broken JSON{place}")
            }
        }
    })
}

/// Appends a JSON string.
pub(super) fn push_string(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// The text, or its start where it has more bytes, ending between two characters.
pub(super) fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_placed_and_never_told_in_the_librarys_words() {
        let cases = [
            ("", "broken JSON at line 1 column 0"),
            ("{", "broken JSON at line 1 column 1"),
            ("{\n\"a\" 1}", "broken JSON at line 2 column 5"),
            (r#""\ud800""#, "broken JSON at line 1 column 8"),
            (r#"{"a":1,"a":2}"#, r#"the key "a" stands twice in one object at line 1 column 10"#),
        ];
        for (text, expected) in cases {
            assert_eq!(check(text).unwrap_err(), expected, "{text}");
        }
        assert!(check(&"[".repeat(100_000)).unwrap_err().starts_with("nested more than 64 deep"));
        assert_eq!(check("{}"), Ok(()));
    }

    #[test]
    fn a_cut_ends_between_two_characters() {
        assert_eq!(cut("aé".repeat(50), 4), "aéa");
        assert_eq!(cut("aé".to_owned(), 3), "aé");
        assert_eq!(cut("aé".to_owned(), 2), "a");
    }
}
