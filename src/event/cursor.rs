//! Where an event stands: its [`Offset`] in the log, the log's [`Epoch`], and both as one opaque [`Cursor`].
//!
//! Invariants: offsets start at 1 and rise by one; offset 0 is "before the first event". An epoch is drawn at random when
//! a log is created and never changes, so a cursor of another log is recognised.
//! Not here: whether a cursor is still inside the log (`hub`).

use crate::error::{Code, Refusal, excerpt};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::fmt;

/// The place of an event in the log; 0 is the place before the first event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(u64);

impl Offset {
    /// The place before the first event.
    pub const ZERO: Offset = Offset(0);

    /// An offset as a log or a cursor holds it.
    pub const fn new(value: u64) -> Self {
        Offset(value)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset after this one.
    #[must_use]
    pub const fn next(self) -> Offset {
        Offset(self.0 + 1)
    }

    /// The offset before this one; the one before 0 is 0.
    #[must_use]
    pub const fn previous(self) -> Offset {
        Offset(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a log: 64 random bits drawn when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// An epoch as a log has stored it.
    pub const fn new(value: u64) -> Self {
        Epoch(value)
    }

    /// A new epoch for a new log.
    pub fn random() -> Self {
        // Two halves of random ids, so that no fixed version bits remain.
        let (high, low) = (uuid::Uuid::new_v4().as_u64_pair().0, uuid::Uuid::new_v4().as_u64_pair().1);
        Epoch(high.rotate_left(32) ^ low)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The first byte of a cursor; another form of cursor gets another number.
const VERSION: u8 = 1;

/// A position that a client keeps and gives back: version, epoch and offset as 23 characters of base64url (RFC 4648,
/// section 5). Its inside is nobody's business but ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The log it belongs to.
    pub epoch: Epoch,
    /// The last event that was seen.
    pub offset: Offset,
}

impl Cursor {
    /// Reads a cursor as [`Display`](fmt::Display) wrote it. Fails with `CURSOR_INVALID`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut bytes = [0_u8; 18];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(17) => Self::from_bytes(&bytes),
            Ok(_) | Err(_) => None,
        }
        .ok_or_else(|| {
            Refusal::new(
                Code::CursorInvalid,
                format!("cursor {:?} is not one of this server's", excerpt(text)),
            )
            .with("given", excerpt(text))
        })
    }

    fn from_bytes(bytes: &[u8; 18]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (epoch, rest) = rest.split_first_chunk::<8>()?;
        let (offset, _) = rest.split_first_chunk::<8>()?;
        (*version == VERSION).then(|| Cursor {
            epoch: Epoch(u64::from_be_bytes(*epoch)),
            offset: Offset(u64::from_be_bytes(*offset)),
        })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [VERSION; 17];
        for (to, from) in bytes
            .iter_mut()
            .skip(1)
            .zip(self.epoch.0.to_be_bytes().into_iter().chain(self.offset.0.to_be_bytes()))
        {
            *to = from;
        }
        let mut text = [0_u8; 23];
        let length = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(text.get(..length).and_then(|text| std::str::from_utf8(text).ok()).ok_or(fmt::Error)?)
    }
}

/// Where a subscription starts.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum StartPosition {
    /// With the next event.
    #[default]
    Live,
    /// After the event of this cursor.
    After(Cursor),
    /// With the first event that was logged at or after this time.
    Time(chrono::DateTime<chrono::Utc>),
    /// With the last so many events that match the filter.
    Last(u32),
    /// With the earliest event that the log still has.
    Earliest,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_survives_its_text(epoch: u64, offset: u64) {
            let cursor = Cursor { epoch: Epoch(epoch), offset: Offset(offset) };
            let text = cursor.to_string();
            prop_assert_eq!(text.len(), 23);
            prop_assert_eq!(Cursor::parse(&text), Ok(cursor));
        }

        #[test]
        fn any_other_text_is_refused_and_never_panics(text in ".{0,40}") {
            if let Ok(cursor) = Cursor::parse(&text) {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }

    #[test]
    fn cut_padded_and_foreign_versions_are_cursor_invalid() {
        let text = Cursor { epoch: Epoch(7), offset: Offset(9) }.to_string();
        for bad in ["", &text[..22], &format!("{text}="), &format!("B{}", &text[1..]), "not a cursor"] {
            assert_eq!(Cursor::parse(bad).map_err(|refusal| refusal.code), Err(Code::CursorInvalid), "{bad}");
        }
    }
}
