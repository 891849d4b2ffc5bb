//! The secret of a log, its [`Epoch`], which seals offsets as cursors and opens them again.
//!
//! How: an epoch is a key of AES-128. A cursor holds one block under it: offset (8 bytes, big-endian), check (4 bytes of 0) and
//! salt (4 bytes); in front of it a tag, the first 4 bytes of a block that is no offset's, tells logs apart.
//! Invariants: without the epoch a cursor tells nothing, not even which of two is the later, and none can be made: a block that
//! was tried opens with the right check and an offset of the log once in 2^64 tries or so. An event has one cursor; a position has
//! another one each time, so that two of them do not tell whether anything was logged in between.
//! Not here: whether an offset is still in the log (`hub`), how a cursor is written (`cursor`).

use super::{Cursor, Offset};
use aes::{
    Aes128Dec, Aes128Enc,
    cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit},
};
use std::fmt;

/// The identity of a log: 128 random bits drawn when it is created, never shown. Whoever has them can make cursors.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; 16]);

/// Why a cursor does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenCursorError {
    /// Its tag is another log's.
    #[error("the cursor is of another log")]
    OtherLog,
    /// It was altered or made up.
    #[error("the cursor was not made by this log")]
    Forged,
}

/// A block that is no offset's: its check is not 0.
const TAG_BLOCK: [u8; 16] = [0xff; 16];

impl Epoch {
    /// An epoch as a log has stored it.
    pub const fn new(secret: [u8; 16]) -> Self {
        Epoch(secret)
    }

    /// A new epoch for a new log.
    pub fn random() -> Self {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).expect("a system without random numbers cannot run a server");
        Epoch(secret)
    }

    /// The secret, for whoever stores it.
    pub const fn secret(self) -> [u8; 16] {
        self.0
    }

    /// What may be known of it: tells it from others, and nothing else.
    pub fn fingerprint(self) -> u64 {
        let mut block = TAG_BLOCK.into();
        Aes128Enc::new(&self.0.into()).encrypt_block(&mut block);
        u128::from_be_bytes(block.into())
            .to_be_bytes()
            .first_chunk()
            .map_or(0, |first| u64::from_be_bytes(*first))
    }

    /// The cursor of an event: the same for everybody who may read the event.
    pub fn seal(self, offset: Offset) -> Cursor {
        self.seal_salted(offset, 0)
    }

    /// The cursor of a position, which may be no event of the reader's: another one each time.
    pub fn seal_position(self, offset: Offset) -> Cursor {
        // The last half of an id of version 4 is random but for its first two bits.
        let [.., a, b, c, d] = uuid::Uuid::new_v4().into_bytes();
        self.seal_salted(offset, u32::from_be_bytes([a, b, c, d]))
    }

    fn seal_salted(self, offset: Offset, salt: u32) -> Cursor {
        let cipher = Aes128Enc::new(&self.0.into());
        let mut blocks =
            [TAG_BLOCK.into(), (u128::from(offset.get()) << 64 | u128::from(salt)).to_be_bytes().into()];
        cipher.encrypt_blocks(&mut blocks);
        let [tag, block] = blocks;
        Cursor::new(tag_of(tag.into()), block.into())
    }

    /// The offset that was sealed.
    pub fn open(self, cursor: Cursor) -> Result<Offset, OpenCursorError> {
        if u64::from(cursor.tag()) != self.fingerprint() >> 32 {
            return Err(OpenCursorError::OtherLog);
        }
        let mut block = cursor.block().into();
        Aes128Dec::new(&self.0.into()).decrypt_block(&mut block);
        let opened = u128::from_be_bytes(block.into());
        let offset = u64::try_from(opened >> 64).map(Offset::new);
        match (offset, opened >> 32 & u128::from(u32::MAX)) {
            (Ok(offset), 0) => Ok(offset),
            (_, _) => Err(OpenCursorError::Forged),
        }
    }
}

fn tag_of(block: [u8; 16]) -> u32 {
    let [a, b, c, d, ..] = block;
    u32::from_be_bytes([a, b, c, d])
}

impl fmt::Debug for Epoch {
    /// Nothing of it: what is printed may be logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Epoch(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn what_is_sealed_opens(secret: [u8; 16], offset: u64) {
            let (epoch, offset) = (Epoch::new(secret), Offset::new(offset));
            prop_assert_eq!(epoch.open(epoch.seal(offset)), Ok(offset));
            prop_assert_eq!(epoch.seal(offset), epoch.seal(offset));
            let (one, other) = (epoch.seal_position(offset), epoch.seal_position(offset));
            prop_assert!(one != other, "two positions must not tell that they are one");
            prop_assert_eq!((epoch.open(one), epoch.open(other)), (Ok(offset), Ok(offset)));
        }

        #[test]
        fn no_flipped_bit_is_accepted(secret: [u8; 16], offset: u64) {
            let epoch = Epoch::new(secret);
            let text = epoch.seal(Offset::new(offset)).to_string();
            let bytes = base64_bytes(&text);
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let opened = Cursor::parse(&base64_text(&bad)).map(|cursor| epoch.open(cursor));
                let refused = match bit / 8 {
                    0 => opened.is_err(),
                    1..=4 => opened == Ok(Err(OpenCursorError::OtherLog)),
                    _ => opened == Ok(Err(OpenCursorError::Forged)),
                };
                prop_assert!(refused, "bit {bit}: {opened:?}");
            }
        }

        #[test]
        fn a_cursor_of_another_log_is_recognised(one: [u8; 16], other: [u8; 16], offset: u64) {
            prop_assume!(Epoch::new(one).fingerprint() >> 32 != Epoch::new(other).fingerprint() >> 32);
            let cursor = Epoch::new(one).seal(Offset::new(offset));
            prop_assert_eq!(Epoch::new(other).open(cursor), Err(OpenCursorError::OtherLog));
        }
    }

    fn base64_bytes(text: &str) -> Vec<u8> {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    fn base64_text(bytes: &[u8]) -> String {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    }

    #[test]
    fn the_cursors_of_neighbours_look_unrelated() {
        let epoch = Epoch::random();
        let blocks: Vec<[u8; 16]> =
            (0..2_000).map(|offset| epoch.seal(Offset::new(offset)).block()).collect();
        assert_eq!(blocks.iter().collect::<HashSet<_>>().len(), blocks.len());
        // Half of 128 bits differ, as between random blocks: the mean of 1,999 pairs is off by 1 once in 10^14 runs.
        let differing: u32 = blocks
            .windows(2)
            .map(|pair| (u128::from_be_bytes(pair[0]) ^ u128::from_be_bytes(pair[1])).count_ones())
            .sum();
        let mean = f64::from(differing) / 1_999.0;
        assert!((63.0..65.0).contains(&mean), "{mean}");
        // The later one is as often the smaller one.
        let rising = blocks.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((850..1_150).contains(&rising), "{rising}");
    }

    #[test]
    fn an_epoch_is_never_printed() {
        let secret = *b"0123456789abcdef";
        let printed = format!("{0:?} {0:#?}", Epoch::new(secret));
        assert!(!printed.contains("0123") && !printed.contains("48"), "{printed}");
        assert_ne!(Epoch::random(), Epoch::random());
        assert_ne!(Epoch::new([0; 16]).fingerprint(), Epoch::new([1; 16]).fingerprint());
    }
}
