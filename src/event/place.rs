//! A text that only its log can read: how a reader of a list keeps where it stands, which may be a thing whose name is masked
//! for it.
//!
//! How: AES-128-GCM with a random nonce, under a key that is derived from the epoch for this purpose alone. Shorter texts are
//! filled up, so that the length of a name shows only in steps.
//! Not here: what is sealed and opened (`hub`).

use super::Epoch;
use aws_lc_rs::aead::{AES_128_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What the key is for: no other derived key is like it.
const PURPOSE: &[u8] = b"places in lists";
/// Texts are filled up to a multiple of this.
const STEP_BYTES: usize = 32;
/// What fills a text up; no sealed text ends with it.
const FILLING: u8 = b'\n';

impl Epoch {
    /// The text as whoever does not have the epoch may keep it; another one each time. It must not end with a line break.
    pub fn seal_text(self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(text.len().next_multiple_of(STEP_BYTES), FILLING);
        let sealed = self.text_key().seal_in_place_append_tag(Aad::empty(), &mut bytes);
        let nonce = sealed.expect("a short text can be sealed");
        URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &bytes].concat())
    }

    /// The text that was sealed; `None` for what was not sealed under this epoch.
    pub fn open_text(self, sealed: &str) -> Option<String> {
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.text_key().open_in_place(nonce, Aad::empty(), sealed).ok()?;
        Some(std::str::from_utf8(opened).ok()?.trim_end_matches(char::from(FILLING)).to_owned())
    }

    fn text_key(self) -> RandomizedNonceKey {
        let mac = Hmac::<Sha256>::new_from_slice(&self.secret()).expect("HMAC takes a key of any length");
        let derived = mac.chain_update(PURPOSE).finalize().into_bytes();
        let key = derived.get(..AES_128_GCM.key_len()).unwrap_or_default();
        RandomizedNonceKey::new(&AES_128_GCM, key).expect("the key has the length of the cipher's keys")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_sealed_opens_under_its_epoch_only(secret: [u8; 16], other: [u8; 16], text in "[ -~]{0,300}") {
            let (epoch, other) = (Epoch::new(secret), Epoch::new(other));
            let sealed = epoch.seal_text(&text);
            prop_assert_eq!(epoch.open_text(&sealed), Some(text.clone()));
            prop_assert_eq!(other.open_text(&sealed), (epoch == other).then_some(text.clone()));
            prop_assert_ne!(epoch.seal_text(&text), sealed);
        }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_accepted() {
        let epoch = Epoch::random();
        let sealed = URL_SAFE_NO_PAD.decode(epoch.seal_text("agent quant scout")).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(epoch.open_text(&URL_SAFE_NO_PAD.encode(bad)), None, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(epoch.open_text(&URL_SAFE_NO_PAD.encode(&sealed[..length])), None, "{length} bytes");
        }
    }

    #[test]
    fn names_of_nearly_one_length_do_not_show_it() {
        let epoch = Epoch::random();
        assert_eq!(
            epoch.seal_text("agent quant a").len(),
            epoch.seal_text("agent quant scout-number-7").len()
        );
    }
}
