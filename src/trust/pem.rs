//! PEM blocks (RFC 7468, and RFC 1421's headers, which Docker writes into the public keys it makes).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One block: its label and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) label: String,
    pub(super) bytes: Vec<u8>,
}

/// All blocks of a text, in order. Text between blocks is a comment.
pub(super) fn blocks(pem: &[u8]) -> Result<Vec<Block>, String> {
    let text = str::from_utf8(pem).map_err(|_| "not text".to_owned())?;
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else { continue };
        let end = format!("-----END {label}-----");
        let mut body = String::new();
        loop {
            let line = lines.next().ok_or_else(|| format!("no {end:?}"))?;
            if line == end {
                break;
            }
            if !line.contains(':') {
                body.push_str(line);
            }
        }
        let bytes = STANDARD.decode(&body).map_err(|error| format!("block {label:?}: {error}"))?;
        blocks.push(Block { label: label.to_owned(), bytes });
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_with_headers_and_comments_around_them() {
        let text = "comment\n-----BEGIN PUBLIC KEY-----\nrole: alice\n\nAAEC\n-----END PUBLIC KEY-----\r\n\n-----BEGIN X-----\r\nAw==\r\n-----END X-----";
        let read = blocks(text.as_bytes()).unwrap();
        assert_eq!(read[0], Block { label: "PUBLIC KEY".to_owned(), bytes: vec![0, 1, 2] });
        assert_eq!(read[1], Block { label: "X".to_owned(), bytes: vec![3] });
    }

    #[test]
    fn a_block_without_end_or_with_bad_base64_is_an_error() {
        for bad in ["-----BEGIN X-----\nAA==\n", "-----BEGIN X-----\nA\n-----END X-----", "-----BEGIN X-----\nAA==\n-----END Y-----"] {
            assert!(blocks(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(blocks(b"nothing").unwrap(), []);
    }
}
