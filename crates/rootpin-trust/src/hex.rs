//! Bytes as hexadecimal digits, as TUF's metadata writes keys, hashes and signatures.

/// Two digits in lower case for each byte.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

/// The bytes of digits in either case; none for an odd number of digits or anything else than
/// digits.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    base16ct::mixed::decode_vec(text).ok()
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
