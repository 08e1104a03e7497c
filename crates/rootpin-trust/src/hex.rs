//! Bytes as hexadecimal digits, as TUF's metadata writes keys, hashes and signatures.

/// Two digits in lower case for each byte.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// The bytes of digits in either case; none for an odd number of digits or anything else than
/// digits.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_digits_are_bytes_and_nothing_else_is() {
        assert_eq!(decode("00ffAb10"), Some(vec![0, 0xff, 0xab, 0x10]));
        assert_eq!(encode(&[0, 0xff, 0xab, 0x10]), "00ffab10");
        assert_eq!(decode(""), Some(Vec::new()));
        for bad in ["0", "0g", "+1", "é", " 1", "123"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
