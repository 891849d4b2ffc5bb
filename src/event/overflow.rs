//! What a subscriber wants when it is behind.

use crate::error::{Code, Refusal};

/// What happens to a subscription whose connection has used up its byte budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// It reads the log from where it stands, and misses nothing.
    #[default]
    Replay,
    /// Of the events that wait, only the newest of each subject (of each source) stays; events without a subject all stay.
    /// If that wins too little room, it reads the log.
    LatestPerSubject,
}

impl Overflow {
    /// By its name, as GraphQL and JSON-RPC write it. Fails with `INVALID_FILTER`.
    pub fn from_name(name: &str) -> Result<Self, Refusal> {
        match name {
            "REPLAY" => Ok(Overflow::Replay),
            "LATEST_PER_SUBJECT" => Ok(Overflow::LatestPerSubject),
            other => {
                Err(Refusal::field(Code::InvalidFilter, "overflow", other, "REPLAY or LATEST_PER_SUBJECT"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_names_are_known() {
        assert_eq!(Overflow::from_name("REPLAY").unwrap(), Overflow::default());
        assert_eq!(Overflow::from_name("LATEST_PER_SUBJECT").unwrap(), Overflow::LatestPerSubject);
        for other in ["", "replay", "LATEST"] {
            let refusal = Overflow::from_name(other).unwrap_err();
            assert_eq!((refusal.code, refusal.detail("field")), (Code::InvalidFilter, Some("overflow")));
        }
    }
}
