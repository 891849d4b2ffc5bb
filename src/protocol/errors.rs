//! Refusals as GraphQL errors (GraphQL specification, section 7.1.2): `message` and `extensions`.

use super::text::push_string;
use crate::error::Refusal;

/// Appends a JSON array of GraphQL errors: `[{"message":…,"extensions":{"code":…,"next":…,details…}}]`.
pub fn write_errors(refusals: &[Refusal], out: &mut String) {
    out.push('[');
    for (index, refusal) in refusals.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_error(refusal, out);
    }
    out.push(']');
}

/// Appends one GraphQL error.
pub(super) fn write_error(refusal: &Refusal, out: &mut String) {
    out.push_str(r#"{"message":"#);
    push_string(out, &refusal.message);
    out.push_str(r#","extensions":"#);
    out.push_str(&serde_json::Value::Object(refusal.members()).to_string());
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use serde_json::{Value, json};

    #[test]
    fn an_error_has_a_message_a_code_an_advice_and_its_facts() {
        let refusals = [
            Refusal::new(Code::CursorExpired, "the cursor \"x\" is gone").with("earliest", "c1"),
            Refusal::new(Code::Internal, "it failed"),
        ];
        let mut out = String::new();
        write_errors(&refusals, &mut out);
        let expected = json!([
            {"message": "the cursor \"x\" is gone", "extensions":
                {"code": "CURSOR_EXPIRED", "next": Code::CursorExpired.next(), "earliest": "c1"}},
            {"message": "it failed", "extensions": {"code": "INTERNAL", "next": Code::Internal.next()}},
        ]);
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected);
    }
}
