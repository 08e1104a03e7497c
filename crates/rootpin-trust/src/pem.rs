//! The one reader of PEM (RFC 7468, and RFC 1421's headers, which Docker and Notary write into
//! their keys) and of key files.
//!
//! Its form is read leniently: comments, blank lines, any line length and line ending, a byte order
//! mark, a block that is indented as a whole or in part, as one that was in YAML. A block that is
//! commented out is a comment. Nothing in a block is passed over: a line with a colon is a header
//! where headers stand, before the first blank line (RFC 1421, section 4.4), and an error elsewhere.
//! The caller checks the content of a block, strictly.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode, Tag, Tagged};
use zeroize::Zeroizing;

/// One block: its label, its headers and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// As `PUBLIC KEY`; [`DER`] for a file without PEM around it.
    pub label: String,
    /// `Name: value` lines.
    pub headers: Vec<String>,
    /// Its content, wiped when dropped: it may be a private key.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// Why a text is no PEM, or a file neither PEM nor DER. One line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PemError(String);

/// The label of a file that is bare DER.
pub const DER: &str = "";

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// All blocks of a text, in order. Text between blocks is a comment.
///
/// # Errors
/// The text is no PEM.
pub fn blocks(pem: &[u8]) -> Result<Vec<Block>, PemError> {
    let pem = pem.strip_prefix(BYTE_ORDER_MARK).unwrap_or(pem);
    let mut blocks = Vec::new();
    let mut lines = pem
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .flat_map(|line| line.split(|byte| *byte == b'\r'))
        .map(<[u8]>::trim_ascii);
    while let Some(line) = lines.next() {
        let Some(label) = line
            .strip_prefix(b"-----BEGIN ")
            .and_then(|rest| rest.strip_suffix(b"-----"))
        else {
            continue;
        };
        let end = [b"-----END ", label, b"-----"].concat();
        let label = String::from_utf8_lossy(label).into_owned();
        let mut headers = Vec::new();
        // All at once: a text that grows leaves copies behind that nobody wipes.
        let mut body = Zeroizing::new(Vec::with_capacity(pem.len()));
        let mut in_headers = true;
        loop {
            let line = lines
                .next()
                .ok_or_else(|| PemError(format!("a block {label:?} without its end")))?;
            if line == end {
                break;
            }
            if in_headers && line.contains(&b':') {
                headers.push(String::from_utf8_lossy(line).into_owned());
            } else if in_headers && !headers.is_empty() && !line.is_empty() {
                return Err(PemError(format!(
                    "block {label:?}: no empty line between its headers and what it holds"
                )));
            } else {
                in_headers = false;
                body.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
            }
        }
        let bytes = STANDARD
            .decode(&*body)
            .map_err(|error| PemError(format!("block {label:?}: {error}")))?;
        blocks.push(Block {
            label,
            headers,
            bytes: Zeroizing::new(bytes),
        });
    }
    Ok(blocks)
}

/// The blocks of a key's file, which may also be bare DER. A format that is neither is named, with
/// what converts it.
///
/// # Errors
/// The bytes are neither PEM nor DER.
pub fn file(bytes: &[u8]) -> Result<Vec<Block>, PemError> {
    if is_der(bytes) {
        return Ok(vec![Block {
            label: DER.to_owned(),
            headers: Vec::new(),
            bytes: Zeroizing::new(bytes.to_vec()),
        }]);
    }
    let blocks = blocks(bytes)?;
    let starts = |words: &[&str]| {
        words
            .iter()
            .any(|word| bytes.trim_ascii_start().starts_with(word.as_bytes()))
    };
    if !blocks.is_empty() {
        return Ok(blocks);
    }
    let why = if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        "UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW"
    } else if starts(&["ssh-ed25519 "]) {
        // ssh-keygen knows no other format of such a key; the twelve bytes are RFC 8410's.
        r"an Ed25519 public key of OpenSSH; convert it: (printf '0*0\005\006\003+ep\003!\000'; cut -d' ' -f2 FILE | base64 -d | tail -c 32) | openssl pkey -pubin -inform DER -out NEW"
    } else if starts(&["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"]) {
        "a public key of OpenSSH; convert it: ssh-keygen -e -m PKCS8 -f FILE > NEW"
    } else if starts(&["{"]) {
        "JSON and no PEM"
    } else {
        "no PEM in it"
    };
    Err(PemError(why.to_owned()))
}

/// Whether these bytes are one DER sequence and nothing else.
fn is_der(bytes: &[u8]) -> bool {
    AnyRef::from_der(bytes).is_ok_and(|any| any.tag() == Tag::Sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(label: &str, headers: &[&str], bytes: &[u8]) -> Block {
        let headers = headers.iter().map(|line| (*line).to_owned()).collect();
        Block {
            label: label.to_owned(),
            headers,
            bytes: Zeroizing::new(bytes.to_vec()),
        }
    }

    #[test]
    fn blocks_are_read_with_headers_and_comments_around_them() {
        let text = "comment\n-----BEGIN PUBLIC KEY-----\nrole: alice\n\nAAEC\n-----END PUBLIC KEY-----\r\n\n-----BEGIN X-----\r\nAw==\r\n-----END X-----";
        let read = blocks(text.as_bytes()).unwrap();
        assert_eq!(
            read,
            [
                block("PUBLIC KEY", &["role: alice"], &[0, 1, 2]),
                block("X", &[], &[3])
            ]
        );
    }

    #[test]
    fn a_block_is_the_same_in_every_form_that_editors_and_tools_leave() {
        let plain = "-----BEGIN X-----\nAAECAwQF\nBgcI\n-----END X-----\n";
        let forms = [
            plain.to_owned(),
            plain.replace('\n', "\r\n"),
            plain.replace('\n', "\r"),
            plain.replace('\n', " \t\n"),
            plain.replace("AAECAwQF\nBgcI", "AAECAwQFBgcI"),
            plain.replace("AAECAwQF\nBgcI", "AAE\nCAw QFBg\n\ncI"),
            plain.trim_end().to_owned(),
            format!("\u{feff}{plain}"),
            format!("\n\n{plain}\n \n"),
            format!("# r\u{f6}\n{plain}# behind\n"),
            plain
                .replace("-----BEGIN", "  -----BEGIN")
                .replace('\n', "\n  "),
        ];
        for form in forms {
            assert_eq!(
                file(form.as_bytes()).unwrap(),
                file(plain.as_bytes()).unwrap(),
                "{form:?}"
            );
        }
        let headed = plain.replace("-----\nAAEC", "-----\nrole: root\n\nAAEC");
        assert_eq!(
            file(headed.as_bytes()).unwrap(),
            [block("X", &["role: root"], &[0, 1, 2, 3, 4, 5, 6, 7, 8])]
        );
        let latin = [b"# r\xf6\n", plain.as_bytes()].concat();
        assert_eq!(blocks(&latin).unwrap(), blocks(plain.as_bytes()).unwrap());
        assert_eq!(
            blocks(plain.replace("-----BEGIN", "# -----BEGIN").as_bytes()).unwrap(),
            [],
            "a block that is commented out"
        );
    }

    #[test]
    fn a_header_counts_before_the_first_blank_line_alone() {
        let with = |inside: &str| format!("-----BEGIN X-----\n{inside}\n-----END X-----\n");
        for bad in [
            "AAEC\nrole: root\nAwQF",
            "AAEC\nAwQF\nrole: root",
            "role: root\n\nAAEC\nrole: other",
            "role: root\n\nrole: other\n\nAAEC",
            "\nrole: root\n\nAAEC",
            "role: root\nAAEC",
            "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,\n 00\n\nAAEC",
        ] {
            for bad in [with(bad), with(bad).replace('\n', "\r\n")] {
                assert!(blocks(bad.as_bytes()).is_err(), "{bad:?}");
            }
        }
        let good = with("role: root\ngun: r.example/team\n\nAAEC\n\nAwQF");
        let read = [block(
            "X",
            &["role: root", "gun: r.example/team"],
            &[0, 1, 2, 3, 4, 5],
        )];
        for good in [
            good.clone(),
            good.replace('\n', "\r\n"),
            good.replace('\n', "\r"),
            good.replace('\n', "\n\t"),
        ] {
            assert_eq!(blocks(good.as_bytes()).unwrap(), read, "{good:?}");
        }
    }

    #[test]
    fn a_block_without_end_or_with_bad_base64_is_an_error() {
        for bad in [
            "-----BEGIN X-----\nAA==\n",
            "-----BEGIN X-----\nA\n-----END X-----",
            "-----BEGIN X-----\nAA==\n-----END Y-----",
        ] {
            assert!(blocks(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(blocks(b"nothing").unwrap(), []);
    }

    #[test]
    fn bare_der_is_taken_whole_or_not_at_all_and_other_formats_are_named() {
        assert_eq!(
            file(&[0x30, 1, 7]).unwrap(),
            [block(DER, &[], &[0x30, 1, 7])]
        );
        let long = [&[0x30, 0x82, 1, 0][..], &[7; 256]].concat();
        assert_eq!(file(&long).unwrap()[0].bytes.len(), 260);
        for bad in [
            &[0x30, 1][..],
            &[0x30, 1, 7, 7],
            &[0x30],
            &[0x30, 0x81],
            &long[..259],
        ] {
            assert!(file(bad).is_err(), "{bad:?}");
        }
        assert!(
            file(b"ecdsa-sha2-nistp256 AAAA me")
                .unwrap_err()
                .to_string()
                .contains("ssh-keygen -e -m PKCS8")
        );
        let utf_16 = file(b"\xff\xfe-\0").unwrap_err();
        assert!(utf_16.to_string().contains("iconv"));
        assert!(file(b"").is_err());
    }
}
