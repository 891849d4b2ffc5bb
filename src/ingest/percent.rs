//! Percent-encoding (RFC 3986, section 2.1) and the hexadecimal pairs it is made of.

/// Decodes one round; none when a `%` is not followed by two hexadecimal digits.
pub(super) fn decode(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.iter();
    while let Some(&byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => octet(*bytes.next()?, *bytes.next()?)?,
            _ => byte,
        });
    }
    Some(decoded)
}

/// The bytes that a text of hexadecimal pairs stands for.
pub(super) fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    match rest {
        [] => pairs.iter().map(|&[high, low]| octet(high, low)).collect(),
        _ => None,
    }
}

fn octet(high: u8, low: u8) -> Option<u8> {
    Some(digit(high)? << 4 | digit(low)?)
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_cases_decode_and_broken_escapes_do_not() {
        assert_eq!(decode(b"Euro%20%E2%82%ac"), Some("Euro €".as_bytes().to_vec()));
        assert_eq!(decode(b"%2541"), Some(b"%41".to_vec()), "one round only");
        for bad in ["%", "%4", "%4g", "%%41", "a%+1"] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(decode_hex("00fF"), Some(vec![0, 255]));
        assert_eq!((decode_hex("0"), decode_hex("0g"), decode_hex("é")), (None, None, None));
    }
}
