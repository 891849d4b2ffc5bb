//! Whether a key is strong enough to be believed: judged at the start, so that a weak one is never in use.

use super::key::KeyError;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey};
use jsonwebtoken::Algorithm;

/// The fewest bits of an RSA modulus (RFC 7518 3.3).
pub(super) const RSA_BITS_MIN: usize = 2048;
/// The most: a larger one costs more time than it is worth, and the check of signatures takes no larger one.
pub(super) const RSA_BITS_MAX: usize = 8192;
/// A secret that repeats a piece of so many bytes or fewer is a placeholder.
const PERIOD_MAX: usize = 16;
/// Fewer different bytes than this is not random: 32 random bytes have about 30, 32 random hexadecimal digits about 14.
const DIFFERENT_MIN: usize = 8;
/// Pieces of secrets that stand in examples and manuals.
const EXAMPLES: [&str; 6] =
    ["changeme", "change-me", "your-256-bit-secret", "your-secret", "-secret-at-least-256-bits", "password"];

/// Fails with the rest of a sentence that begins with "the secret" when it is too short for its algorithms, or plainly guessable.
pub(super) fn secret(secret: &[u8], algorithms: &[Algorithm]) -> Result<(), String> {
    // RFC 7518 3.2: as many bytes as the hash has.
    let least = match algorithms {
        all if all.contains(&Algorithm::HS512) => 64,
        all if all.contains(&Algorithm::HS384) => 48,
        _ => 32,
    };
    if secret.len() < least {
        return Err(format!(
            "has {} bytes; at least {least} are needed, such as those of `openssl rand -hex {least}`",
            secret.len()
        ));
    }
    if is_guessable(secret) {
        return Err(
            "is guessable (a repetition, a sequence or an example); use a random one, such as that of \
                    `openssl rand -hex 32`"
                .to_owned(),
        );
    }
    Ok(())
}

fn is_guessable(secret: &[u8]) -> bool {
    let mut different = [false; 256];
    for byte in secret {
        if let Some(seen) = different.get_mut(usize::from(*byte)) {
            *seen = true;
        }
    }
    let repeats =
        |period: usize| secret.iter().zip(secret.iter().skip(period)).all(|(one, other)| one == other);
    let steps = secret.iter().zip(secret.iter().skip(1)).filter(|(one, next)| one.wrapping_add(1) == **next);
    let text = String::from_utf8_lossy(secret).to_ascii_lowercase();
    different.iter().filter(|seen| **seen).count() < DIFFERENT_MIN
        || (1..=PERIOD_MAX.min(secret.len() / 2)).any(repeats)
        || steps.count() * 4 >= secret.len() * 3
        || EXAMPLES.iter().any(|example| text.contains(example))
}

/// Fails when an RSA key is too small or too large, or when its exponent is not one.
pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<(), KeyError> {
    let bits = modulus.iter().position(|byte| *byte != 0).map_or(0, |zeros| {
        let first = modulus.get(zeros).copied().unwrap_or_default();
        (modulus.len() - zeros) * 8 - first.leading_zeros() as usize
    });
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        return Err(KeyError::RsaBits(bits));
    }
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
    let is_sane = exponent.len() <= 4 && exponent != [1] && is_odd(exponent) && is_odd(modulus);
    if is_sane { Ok(()) } else { Err(KeyError::Numbers) }
}

/// Fails when a point is not on the curve of its algorithm.
pub(super) fn point(algorithms: &[Algorithm], point: &[u8]) -> Result<(), KeyError> {
    let parsed = match algorithms {
        [Algorithm::ES256] => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point),
        [Algorithm::ES384] => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point),
        _ => ParsedPublicKey::new(&ED25519, point),
    };
    parsed.map(|_| ()).map_err(|_| KeyError::Numbers)
}
