//! Refusals as JSON-RPC errors: the number of each [`Code`], in one place.

use crate::error::{Code, Refusal, excerpt};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// An error object: `code` (the number), `message`, and `data` with the [`Code`]'s name, an advice and facts.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcError {
    /// Why, as JSON-RPC numbers it.
    pub number: i32,
    /// Why, for people.
    pub message: Cow<'static, str>,
    /// `code`, `next` and facts by name.
    pub data: Map<String, Value>,
}

impl RpcError {
    /// -32700; the fault is one sentence.
    pub fn parse_error(fault: &str) -> Self {
        Self::of_specification(-32700, "Parse error", fault)
    }

    /// -32600; the fault is one sentence.
    pub fn invalid_request(fault: &str) -> Self {
        Self::of_specification(-32600, "Invalid Request", fault)
    }

    /// -32601, with the methods that there are.
    pub fn method_not_found(name: &str, known: &[&str]) -> Self {
        let refusal = Refusal::new(Code::NotFound, "Method not found")
            .with("given", excerpt(name))
            .with("allowed", known.join(", "));
        RpcError { number: -32601, ..RpcError::from(&refusal) }
    }

    fn of_specification(number: i32, message: &'static str, fault: &str) -> Self {
        let refusal = Refusal::new(Code::BadRequest, message).with("reason", fault);
        RpcError { number, ..RpcError::from(&refusal) }
    }
}

impl From<&Refusal> for RpcError {
    fn from(refusal: &Refusal) -> Self {
        RpcError { number: number(refusal.code), message: refusal.message.clone(), data: refusal.members() }
    }
}

/// The number of a code. The last two digits remind of the HTTP status where one code has it; all but the specification's
/// own two lie in the range that the specification leaves to servers.
pub const fn number(code: Code) -> i32 {
    match code {
        Code::BadRequest
        | Code::InvalidEvent
        | Code::InvalidFilter
        | Code::DocumentTooComplex
        | Code::CursorInvalid => -32602,
        Code::Internal => -32603,
        Code::Unauthenticated => -32001,
        Code::Forbidden => -32003,
        Code::NotFound => -32004,
        Code::SlowConsumer => -32008,
        Code::IdConflict => -32009,
        Code::Conflict => -32019,
        Code::CursorExpired => -32010,
        Code::CursorAhead => -32011,
        Code::EpochChanged => -32012,
        Code::TooLarge => -32013,
        Code::TooMany => -32028,
        Code::RateLimited => -32029,
        Code::Unavailable => -32053,
        Code::StorageFull => -32057,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_the_servers_range_belongs_to_one_code() {
        let mut own: Vec<i32> =
            Code::ALL.map(number).into_iter().filter(|number| (-32099..=-32000).contains(number)).collect();
        let count = own.len();
        own.sort_unstable();
        own.dedup();
        assert_eq!(own.len(), count);
        assert!(
            Code::ALL
                .map(number)
                .into_iter()
                .all(|number| own.contains(&number) || number == -32602 || number == -32603)
        );
    }

    #[test]
    fn an_error_carries_the_code_the_advice_and_the_facts() {
        let refusal = Refusal::new(Code::CursorExpired, "it is gone").with("earliest", "c1");
        let error = RpcError::from(&refusal);
        assert_eq!((error.number, &*error.message), (-32010, "it is gone"));
        assert_eq!((&error.data["code"], &error.data["earliest"]), (&"CURSOR_EXPIRED".into(), &"c1".into()));
        assert_eq!(error.data["next"], Code::CursorExpired.next());
    }
}
