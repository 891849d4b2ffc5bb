//! Multipart HTTP for GraphQL subscriptions as Apollo's clients and router speak it (`subscriptionSpec=1.0`).
//!
//! Invariants: a part is `{"payload": <result>}`; `{}` is a heartbeat. An error of the transport is
//! `{"payload":null,"errors":[…]}` and the last part. The boundary follows each part at once, because readers hold a part back
//! until they have seen the next boundary (RFC 2046, section 5.1.1).

use super::{StreamForm, Word, errors::write_errors, streaming::draining};
use crate::error::Refusal;

const PART: &str = "\r\ncontent-type: application/json\r\n\r\n";
const BOUNDARY: &str = "\r\n--graphql";
const END: &str = "--\r\n";

/// Multipart subscriptions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Multipart;

impl StreamForm for Multipart {
    fn content_type(&self) -> &'static str {
        "multipart/mixed; boundary=\"graphql\"; subscriptionSpec=1.0"
    }

    fn write(&self, word: &Word<'_>, out: &mut String) {
        match *word {
            Word::Opened { .. } => out.push_str(BOUNDARY),
            Word::Next { payload, .. } => {
                let pieces = [PART, r#"{"payload":"#, payload, "}", BOUNDARY];
                pieces.into_iter().for_each(|piece| out.push_str(piece));
            }
            Word::Heartbeat { .. } => {
                [PART, "{}", BOUNDARY].into_iter().for_each(|piece| out.push_str(piece))
            }
            Word::Complete { .. } => out.push_str(END),
            Word::Failed { refusal, .. } => end_with(refusal, out),
            // A final boundary alone would be read as the subscription's own end.
            Word::Drained { .. } => end_with(&draining(), out),
            Word::Gap { .. } => {}
        }
    }
}

fn end_with(refusal: &Refusal, out: &mut String) {
    out.push_str(PART);
    out.push_str(r#"{"payload":null,"errors":"#);
    write_errors(std::slice::from_ref(refusal), out);
    out.push('}');
    out.push_str(BOUNDARY);
    out.push_str(END);
}

#[cfg(test)]
mod tests {
    use super::super::{
        Streaming,
        streaming::tests::{cursor, written},
    };
    use super::*;
    use crate::error::Code;
    use std::time::Duration;

    #[test]
    fn a_part_is_closed_by_its_boundary_at_once_and_the_last_boundary_ends_all() {
        let words = [
            Word::Opened { start: None, resumed: false },
            Word::Next { id: "", cursor: Some(cursor(2)), payload: r#"{"data":1}"# },
            Word::Heartbeat { position: cursor(3) },
            Word::Complete { id: "" },
        ];
        assert_eq!(
            written(Streaming::Multipart, &words),
            "\r\n--graphql\
             \r\ncontent-type: application/json\r\n\r\n{\"payload\":{\"data\":1}}\r\n--graphql\
             \r\ncontent-type: application/json\r\n\r\n{}\r\n--graphql--\r\n"
        );
    }

    #[test]
    fn what_ends_a_subscription_before_its_time_is_an_error_of_the_transport() {
        let refusal = Refusal::new(Code::CursorExpired, "gone");
        let failed = Word::Failed { id: "", refusal: &refusal };
        let drained = Word::Drained { position: cursor(1), pause: Duration::ZERO };
        for (word, code) in [(failed, "CURSOR_EXPIRED"), (drained, "UNAVAILABLE")] {
            let text = written(Streaming::Multipart, &[word]);
            assert!(text.contains("\r\n\r\n{\"payload\":null,\"errors\":[{"), "{text}");
            assert!(text.contains(code) && text.ends_with("]}\r\n--graphql--\r\n"), "{text}");
        }
    }
}
