//! How a connection ends: the reasons, and the close code of each, in one place for all GraphQL dialects.
//!
//! Invariants: a reason has at most 123 bytes (RFC 6455, section 5.5: a control frame carries 125). What a retry heals
//! never gets a code on which official clients give up: 1xxx except 1000 1001 1005 1006 1012 1013 1014, and 4004 4005
//! 4400 4401 4406 4409 4429 4500.

use super::text::cut;
use crate::error::{Code, Refusal};

/// The most bytes of a close reason.
pub const CLOSE_REASON_BYTES_MAX: usize = 123;

/// The last frame that we send: code and reason of RFC 6455.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The close code.
    pub code: u16,
    /// For people; at most [`CLOSE_REASON_BYTES_MAX`] bytes.
    pub reason: String,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason<'a> {
    /// The client said goodbye.
    Terminated,
    /// The server is stopping; another one, or this one later, takes the client.
    Draining,
    /// A message that the dialect does not have; a sentence says what is wrong with it.
    Malformed(&'a str),
    /// A binary message; all dialects are text.
    Binary,
    /// Frames that are not those of a WebSocket; a sentence says what is wrong with them.
    BadFrame(&'a str),
    /// A text message that is not UTF-8.
    BadText,
    /// An operation before the acknowledgement.
    NotInitialised,
    /// A subprotocol that we do not speak.
    UnknownSubprotocol,
    /// No initialisation in time.
    InitTimeout,
    /// An id that is in use.
    Duplicate(&'a str),
    /// A second initialisation.
    InitAgain,
    /// Anything that has a [`Code`].
    Refused(&'a Refusal),
}

impl Closing {
    /// The close frame for a reason.
    pub fn new(reason: &CloseReason<'_>) -> Self {
        let (code, text) = match *reason {
            CloseReason::Terminated => (1000, "Goodbye".to_owned()),
            CloseReason::Draining => (1012, "The server is restarting; connect again".to_owned()),
            CloseReason::Malformed(fault) => (4400, fault.to_owned()),
            CloseReason::Binary => (4400, "binary messages are not accepted; send text".to_owned()),
            CloseReason::BadFrame(fault) => (1002, fault.to_owned()),
            CloseReason::BadText => (1007, "a text message must be UTF-8".to_owned()),
            CloseReason::NotInitialised => (4401, "Unauthorized".to_owned()),
            CloseReason::UnknownSubprotocol => (4406, "Subprotocol not acceptable".to_owned()),
            CloseReason::InitTimeout => (4408, "Connection initialisation timeout".to_owned()),
            CloseReason::Duplicate(id) => (4409, format!("Subscriber for {id} already exists")),
            CloseReason::InitAgain => (4429, "Too many initialisation requests".to_owned()),
            CloseReason::Refused(refusal) => (close_code(refusal.code), refusal.to_string()),
        };
        Closing { code, reason: cut(text, CLOSE_REASON_BYTES_MAX) }
    }
}

/// The close code of a refusal that ends a whole connection. Most refusals end one operation only.
pub const fn close_code(code: Code) -> u16 {
    match code {
        // Sending the same again fails again: official clients must give up.
        Code::BadRequest
        | Code::InvalidEvent
        | Code::InvalidFilter
        | Code::DocumentTooComplex
        | Code::NotFound
        | Code::IdConflict
        | Code::Conflict
        | Code::CursorInvalid => 4400,
        // Not 4401: clients retry 4403, by then with a new token.
        Code::Unauthenticated | Code::Forbidden => 4403,
        Code::CursorExpired | Code::CursorAhead | Code::EpochChanged => 4410,
        Code::TooLarge => 1009,
        Code::SlowConsumer => 4008,
        // Not 1011: clients never retry it.
        Code::TooMany | Code::RateLimited | Code::Unavailable | Code::StorageFull | Code::Internal => 1013,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule of the official client (graphql-ws, `client.ts`): on which codes it gives up at once.
    fn is_final(code: u16) -> bool {
        match code {
            1000 | 1001 | 1005 | 1006 | 1012 | 1013 | 1014 => false,
            1000..2000 => true,
            _ => [4004, 4005, 4400, 4401, 4406, 4409, 4429, 4500].contains(&code),
        }
    }

    #[test]
    fn official_clients_retry_whatever_a_retry_heals() {
        for code in Code::ALL.into_iter().filter(|code| code.retryable()) {
            assert!(!is_final(close_code(code)), "{code}");
        }
        for reason in [CloseReason::Draining, CloseReason::InitTimeout] {
            assert!(!is_final(Closing::new(&reason).code), "{reason:?}");
        }
        // A new token, or a fresh start, heals these.
        for code in [Code::Unauthenticated, Code::Forbidden, Code::CursorExpired, Code::TooMany] {
            assert!(!is_final(close_code(code)), "{code}");
        }
    }

    #[test]
    fn official_clients_give_up_where_they_would_repeat_their_own_mistake() {
        for code in [Code::BadRequest, Code::InvalidFilter, Code::CursorInvalid, Code::TooLarge] {
            assert!(is_final(close_code(code)), "{code}");
        }
    }

    #[test]
    fn codes_fit_a_close_frame() {
        for code in Code::ALL {
            assert!(matches!(close_code(code), 1001 | 1009 | 1012 | 1013 | 4000..5000), "{code}");
        }
    }

    #[test]
    fn a_reason_is_cut_between_two_characters_so_that_it_fits_the_frame() {
        let closing = Closing::new(&CloseReason::Duplicate(&"é".repeat(100)));
        assert!((CLOSE_REASON_BYTES_MAX - 1..=CLOSE_REASON_BYTES_MAX).contains(&closing.reason.len()));
        assert!(closing.reason.starts_with("Subscriber for é"));
    }

    #[test]
    fn the_table_in_protocol_md_is_what_the_code_does() {
        let text = include_str!("../../PROTOCOL.md");
        for code in Code::ALL {
            let row = text.lines().find(|line| line.starts_with(&format!("| {code} |"))).unwrap();
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let number = crate::protocol::jsonrpc::number(code).to_string();
            let retry = if code.retryable() { "yes" } else { "no" };
            assert_eq!(cells[2..], [&*number, &close_code(code).to_string(), retry], "{code}");
        }
    }
}
