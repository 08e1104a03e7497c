//! A fingerprint that a person gave.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::problem::Problem;
use rootpin_trust::image::Digest;
use rootpin_trust::{Fingerprint, KeyId, PublicKey, hex};

/// A fingerprint that a person gave, in any of the forms in which one is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GivenFingerprint {
    text: String,
    digest: Digest,
    /// Whether it can only be that of a public key.
    of_spki: bool,
}

impl GivenFingerprint {
    /// Whether it is that key's: its fingerprint, its canonical ID, or the fingerprint of the
    /// certificate that it came in.
    pub(super) fn is_of(&self, key: &PublicKey) -> bool {
        let spki =
            Fingerprint::of(key).is_some_and(|fingerprint| fingerprint.hex() == self.digest.hex());
        let certificate = || {
            key.certificates()
                .first()
                .is_some_and(|certificate| certificate.sha256 == self.digest)
        };
        spki || (!self.of_spki
            && (KeyId::from_bytes(*self.digest.as_bytes()) == key.id() || certificate()))
    }

    /// Whether it is the ID of the key's certificate in one repository's root file: what `docker
    /// trust inspect` calls Root Key.
    pub(super) fn is_certificate_id_of(&self, key: &PublicKey) -> bool {
        !self.of_spki && !key.certificates().is_empty() && self.digest.hex() == key.scoped_id()
    }

    /// Whether it is the SHA-256 of that file.
    pub(super) fn is_of_file(&self, sha256: &Digest) -> bool {
        !self.of_spki && self.digest == *sha256
    }
}

impl fmt::Display for GivenFingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for GivenFingerprint {
    type Err = Problem;

    /// `SHA256:` and base64, or 64 hexadecimal digits in either case, with or without colons
    /// between pairs and `sha256:` or OpenSSL's `SHA256 Fingerprint=` before them. Nothing shorter:
    /// a part proves nothing.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let text = text.trim();
        let digits = digits(text);
        let (bytes, of_spki) = match (hex::decode(&digits), text.strip_prefix("SHA256:")) {
            (Some(bytes), _) => (Some(bytes), false),
            (None, Some(base64)) => (
                STANDARD_NO_PAD.decode(base64.trim_end_matches('=')).ok(),
                true,
            ),
            (None, None) => (None, false),
        };
        let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
        let shown: String = text.chars().take(80).collect();
        let bytes = bytes.ok_or_else(|| {
            Problem::hinted(
                format!("{shown:?} is no fingerprint"),
                "wanted SHA256:… in full, or 64 hex digits, as its owner gives it: of a TUF root by sha256sum root.json, of Notary's root key the name of its file in Docker's private folder",
            )
        })?;
        Ok(Self {
            text: text.to_owned(),
            digest: Digest::from_bytes(bytes),
            of_spki,
        })
    }
}

/// The hexadecimal digits of a fingerprint; the text as it is, where it is written in another way.
fn digits(text: &str) -> String {
    let text = text
        .rsplit_once("ingerprint=")
        .map_or(text, |(_, rest)| rest);
    let bare = text
        .strip_prefix("sha256:")
        .or_else(|| text.strip_prefix("SHA256:"))
        .unwrap_or(text);
    // Between pairs only: anything else was cut, or is something else.
    let pairs: Vec<&str> = bare.split(':').collect();
    if pairs.len() == 32 && pairs.iter().all(|pair| pair.len() == 2) {
        pairs.concat()
    } else {
        bare.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rootpin_trust::key_file::public_keys;

    fn key(name: &str) -> PublicKey {
        let pem = std::fs::read(format!(
            "{}/tests/data/keys/{name}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap();
        public_keys(&pem).unwrap().remove(0)
    }

    #[test]
    fn a_key_is_known_by_each_form_and_another_by_none() {
        // As openssl and sha256sum print it for root-app.crt.
        let (app, other) = (key("root-app.crt"), key("ed25519.pub"));
        let fingerprint = Fingerprint::of(&app).unwrap();
        assert_eq!(fingerprint, Fingerprint::of(&key("root-web.crt")).unwrap());
        for form in [
            fingerprint.to_string(),
            format!("{fingerprint}="),
            fingerprint.hex(),
            fingerprint.hex().to_uppercase(),
            app.id().to_string(),
            format!(" sha256:{}\n", app.id()),
        ] {
            let told: GivenFingerprint = form.parse().unwrap();
            assert!(told.is_of(&app) && !told.is_of(&other), "{form}");
        }
        // As `openssl x509 -fingerprint -sha256` prints it, of the certificate.
        let digits = app.certificates()[0].sha256.hex().to_uppercase();
        let colons = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap())
            .collect::<Vec<_>>()
            .join(":");
        for form in [
            format!("sha256 Fingerprint={colons}"),
            format!("SHA256 Fingerprint={colons}"),
            colons.clone(),
            format!("SHA256:{colons}"),
        ] {
            let told: GivenFingerprint = form.parse().unwrap();
            assert!(
                told.is_of(&app) && !told.is_of(&other) && !told.is_of(&key("root-web.crt")),
                "{form}"
            );
        }
        assert!(
            colons
                .replacen(':', "", 1)
                .parse::<GivenFingerprint>()
                .is_err()
                && colons[3..].parse::<GivenFingerprint>().is_err()
        );
        // A form that can only be a public key's is nothing else.
        let told: GivenFingerprint =
            format!("SHA256:{}", STANDARD_NO_PAD.encode(app.id().as_bytes()))
                .parse()
                .unwrap();
        assert!(!told.is_of(&app) && !told.is_of_file(&Digest::from_bytes(*app.id().as_bytes())));
    }

    #[test]
    fn what_is_not_a_whole_fingerprint_is_none() {
        let id = key("root-app.crt").id().to_string();
        for bad in [
            "",
            "y",
            "yes",
            "SHA256:",
            "SHA256:AAAA",
            "MD5:00",
            &id[1..],
            &format!("{id}0"),
            &format!("{id} {id}"),
            "SHA256:é",
        ] {
            assert!(bad.parse::<GivenFingerprint>().is_err(), "{bad}");
        }
    }
}
