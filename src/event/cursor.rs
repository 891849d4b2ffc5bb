//! Where an event stands: its [`Offset`] in the log, its [`Rank`] in the order, and the [`Cursor`] that clients know it by.
//!
//! Invariants: offsets start at 1 and rise by one; offset 0 is "before the first event". Offsets stay inside the server: outside
//! they would count everybody's events.
//! Not here: what is in a cursor (`epoch`), whether it is still inside the log (`hub`).

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

/// Where an event stands in the one order of all events: a logged one at its offset, a transient one between two offsets.
///
/// Transient events are numbered from 1 since the log was opened, so both parts only rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    offset: Offset,
    /// 0 for the logged event itself.
    transient: u64,
}

impl Rank {
    /// The rank of the logged event at this offset.
    pub const fn logged(offset: Offset) -> Self {
        Rank { offset, transient: 0 }
    }

    /// The rank of the transient event of this number behind the logged event at this offset.
    pub const fn transient(offset: Offset, number: u64) -> Self {
        Rank { offset, transient: number }
    }

    /// Is it that of a transient event?
    pub const fn is_transient(self) -> bool {
        self.transient > 0
    }

    /// The last logged event at this rank or before it.
    pub const fn offset(self) -> Offset {
        self.offset
    }

    /// The last logged event before this rank.
    #[must_use]
    pub const fn before(self) -> Offset {
        match self.transient {
            0 => self.offset.previous(),
            _ => self.offset,
        }
    }
}

/// The first byte of a cursor; another form of cursor gets another number.
const VERSION: u8 = 2;
const TEXT_BYTES: usize = 28;

/// A position that a client keeps and gives back: 28 characters of base64url (RFC 4648, section 5). What is in it is sealed:
/// only the [`Epoch`](super::Epoch) of its log makes and opens it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    tag: u32,
    block: [u8; 16],
}

impl Cursor {
    /// A cursor of the log with this tag.
    pub(super) const fn new(tag: u32, block: [u8; 16]) -> Self {
        Cursor { tag, block }
    }

    /// Tells logs apart.
    pub(super) const fn tag(self) -> u32 {
        self.tag
    }

    /// What is sealed.
    pub(super) const fn block(self) -> [u8; 16] {
        self.block
    }

    /// Reads a cursor as [`Display`](fmt::Display) wrote it. Fails with `CURSOR_INVALID`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut bytes = [0_u8; 22];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(21) => Self::from_bytes(&bytes),
            Ok(_) | Err(_) => None,
        }
        .ok_or_else(|| Self::invalid(text))
    }

    /// The refusal of a text that is no cursor, or of a cursor that does not open.
    pub fn invalid(text: &str) -> Refusal {
        let message = format!("cursor {:?} is not one of this server's", excerpt(text));
        Refusal::new(Code::CursorInvalid, message).with("given", excerpt(text))
    }

    fn from_bytes(bytes: &[u8; 22]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (tag, rest) = rest.split_first_chunk::<4>()?;
        let (block, _) = rest.split_first_chunk::<16>()?;
        (*version == VERSION).then(|| Cursor { tag: u32::from_be_bytes(*tag), block: *block })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [VERSION; 21];
        let parts = self.tag.to_be_bytes().into_iter().chain(self.block);
        bytes.iter_mut().skip(1).zip(parts).for_each(|(to, from)| *to = from);
        let mut text = [0_u8; TEXT_BYTES];
        let length = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(text.get(..length).and_then(|text| std::str::from_utf8(text).ok()).ok_or(fmt::Error)?)
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({self})")
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

    fn cursor() -> Cursor {
        Cursor::new(7, [9; 16])
    }

    proptest! {
        #[test]
        fn a_cursor_survives_its_text(tag: u32, block: [u8; 16]) {
            let text = Cursor::new(tag, block).to_string();
            prop_assert_eq!(text.len(), TEXT_BYTES);
            prop_assert_eq!(Cursor::parse(&text), Ok(Cursor::new(tag, block)));
        }

        #[test]
        fn ranks_order_transient_events_between_the_logged_ones(offset in 1..u64::MAX, one in 1..9_u64, more in 1..9_u64) {
            let (at, next) = (Offset::new(offset), Offset::new(offset).next());
            let ranks = [
                Rank::logged(at),
                Rank::transient(at, one),
                Rank::transient(at, one + more),
                Rank::logged(next),
                Rank::transient(next, one + more + 1),
            ];
            prop_assert!(ranks.is_sorted_by(|before, after| before < after));
            prop_assert_eq!(ranks.map(Rank::offset), [at, at, at, next, next]);
            prop_assert_eq!(ranks.map(Rank::before), [at.previous(), at, at, at, next]);
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
        let text = cursor().to_string();
        let bad = [
            "",
            &text[..27],
            &format!("{text}="),
            &format!("{text}A"),
            &format!("B{}", &text[1..]),
            "not a cursor",
        ];
        for bad in bad {
            assert_eq!(Cursor::parse(bad).map_err(|refusal| refusal.code), Err(Code::CursorInvalid), "{bad}");
        }
    }
}
