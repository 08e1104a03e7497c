//! What all metadata files have in common: the envelope, the version, the expiry, and references to
//! other files by hash.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest as _, Sha512};

use crate::budget::{Budget, over_limit};
use crate::date::date;
use crate::image::Digest;
use crate::json::{self, JsonError, Value};
use crate::refusal::shown;
use crate::threshold::{Signature, Signed};
use crate::{Answer, Code, Refusal, canonical};

/// One file: what it signs, and the signatures, none of them checked yet.
#[derive(Debug)]
pub(super) struct Envelope {
    /// The file's name, for people.
    pub(super) file: String,
    /// The `signed` object.
    pub(super) body: Value,
    /// Its canonical bytes, which are what was signed.
    message: Vec<u8>,
    signatures: Vec<Signature>,
    /// `version`
    pub(super) version: u64,
    /// `expires`
    pub(super) expires: Timestamp,
}

/// Another file as a signed file names it.
#[derive(Debug, Clone)]
pub(super) struct FileMeta {
    pub(super) sha256: Digest,
    sha512: Option<Vec<u8>>,
    /// A ceiling, as Notary takes it: the hash says the rest.
    pub(super) length: Option<usize>,
}

impl Envelope {
    /// Reads a file whose `_type` is `kind`.
    pub(super) fn read(
        file: &str,
        kind: &str,
        bytes: &[u8],
        max_bytes: usize,
        budget: &mut Budget,
    ) -> Result<Self, Refusal> {
        let limits = budget.take_file(bytes.len(), max_bytes)?;
        let envelope = json::parse(bytes, limits).map_err(|error| match error {
            JsonError::Malformed(why) => malformed(file, &shown(&why)),
            JsonError::OverLimit { what, limit } => {
                over_limit(&format!("{file} with more {what}"), limit, what)
            }
        })?;
        let signatures = list(envelope.get("signatures"))
            .and_then(|list| list.iter().map(signature).collect::<Option<_>>());
        let signatures = signatures.ok_or_else(|| {
            malformed(file, "signatures that are not keyid, method and base64 sig")
        })?;
        let body = envelope
            .into_member("signed")
            .filter(|body| body.as_object().is_some());
        let body = body.ok_or_else(|| malformed(file, "no \"signed\""))?;
        match body.get("_type").and_then(Value::as_str) {
            Some(found) if found == kind => {}
            found => {
                return Err(malformed(
                    file,
                    &format!(
                        "_type {}, wanted {kind:?}",
                        shown(found.unwrap_or_default())
                    ),
                ));
            }
        }
        let version = body
            .get("version")
            .and_then(Value::as_u64)
            .filter(|version| *version >= 1);
        let version = version
            .ok_or_else(|| malformed(file, "a version that is not a whole number above 0"))?;
        let expires = body
            .get("expires")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let expires = date(expires).ok_or_else(|| {
            malformed(
                file,
                &format!("an expiry {}, wanted an RFC 3339 date", shown(expires)),
            )
        })?;
        let message = canonical::encode(&body);
        Ok(Self {
            file: file.to_owned(),
            body,
            message,
            signatures,
            version,
            expires,
        })
    }

    /// What was signed, for counting signatures.
    pub(super) fn signed(&self) -> Signed<'_> {
        Signed {
            file: &self.file,
            message: &self.message,
            hash: self.statement(),
            signatures: &self.signatures,
        }
    }

    /// SHA-256 of the canonical signed bytes.
    pub(super) fn statement(&self) -> Digest {
        Digest::of(&self.message)
    }

    /// Refuses a file that is past its expiry. There is no grace.
    pub(super) fn check_expiry(&self, now: Timestamp) -> Result<(), Refusal> {
        if now < self.expires {
            return Ok(());
        }
        let found = format!(
            "{} version {} expired at {}",
            self.file, self.version, self.expires
        );
        Err(Refusal::new(
            Code::Expired,
            found,
            format!("an expiry after {now:.0}"),
            "have the publisher sign it anew, and check this host's clock",
        ))
    }

    /// A refusal because of this file's form.
    pub(super) fn malformed(&self, what: &str) -> Refusal {
        malformed(&self.file, what)
    }
}

impl FileMeta {
    /// Reads `{"length": …, "hashes": {…}}`. SHA-256 is demanded; SHA-512 is checked where it is
    /// given; others are ignored.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let hashes = value.get("hashes")?;
        let bytes = |name: &str| {
            hashes
                .get(name)
                .map(|hash| hash.as_str().and_then(|hash| STANDARD.decode(hash).ok()))
        };
        let sha256 = Digest::from_bytes(bytes("sha256")??.try_into().ok()?);
        let sha512 = match bytes("sha512") {
            None => None,
            Some(hash) => Some(hash.filter(|hash| hash.len() == 64)?),
        };
        let length = match value.get("length") {
            None => None,
            Some(length) => Some(usize::try_from(length.as_u64()?).ok()?),
        };
        Some(Self {
            sha256,
            sha512,
            length,
        })
    }

    /// Whether these are the bytes.
    pub(super) fn fits(&self, bytes: &[u8]) -> bool {
        self.length.is_none_or(|length| bytes.len() <= length)
            && self.sha256 == Digest::of(bytes)
            && self
                .sha512
                .as_ref()
                .is_none_or(|hash| *hash == Sha512::digest(bytes).as_slice())
    }

    /// Whether the answer is such a file.
    pub(super) fn fits_answer(&self, answer: &Answer) -> bool {
        matches!(answer, Answer::Bytes(bytes) if self.fits(bytes))
    }

    /// Refuses other bytes.
    pub(super) fn check(&self, file: &str, bytes: &[u8]) -> Result<(), Refusal> {
        if self.fits(bytes) {
            return Ok(());
        }
        let found = format!("{file} of {} bytes with {}", bytes.len(), Digest::of(bytes));
        let length = self.length.map_or(String::new(), |length| {
            format!("at most {length} bytes with ")
        });
        Err(Refusal::new(
            Code::Malformed,
            found,
            format!("{length}{}", self.sha256),
            "the trust server, or something before it, answers with other bytes than were asked for",
        )
        .of_source_behind())
    }
}

/// A refusal because of a file's form.
pub(super) fn malformed(file: &str, what: &str) -> Refusal {
    let hint = "the file is not as a Notary v1 publisher writes it; ask who runs the trust server";
    Refusal::new(
        Code::Malformed,
        format!("{file}: {what}"),
        "strict Notary v1 metadata",
        hint,
    )
}

/// The elements of a list; a list that is absent or null is empty, as Go reads it.
pub(super) fn list(value: Option<&Value>) -> Option<&[Value]> {
    value.map_or(Some(&[]), Value::as_array)
}

fn signature(entry: &Value) -> Option<Signature> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let bytes = STANDARD.decode(text("sig")?).ok()?;
    // Notary's reader lower-cases methods.
    Some(Signature {
        keyid: text("keyid")?.to_owned(),
        method: text("method")?.to_ascii_lowercase(),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_references_demand_sha256_and_check_sha512_and_length_where_given() {
        let read = |text: &str| {
            FileMeta::read(
                &json::parse(
                    text.as_bytes(),
                    json::Limits {
                        bytes: 1000,
                        depth: 5,
                        values: 20,
                    },
                )
                .unwrap(),
            )
        };
        let sha256 = STANDARD.encode(Digest::of(b"x").as_bytes());
        let sha512 = STANDARD.encode(Sha512::digest(b"x"));
        let wrong = STANDARD.encode(Sha512::digest(b"y"));
        assert!(
            read(&format!(
                r#"{{"length":1,"hashes":{{"sha256":"{sha256}","sha512":"{sha512}","md5":"?"}}}}"#
            ))
            .unwrap()
            .fits(b"x")
        );
        assert!(
            read(&format!(r#"{{"hashes":{{"sha256":"{sha256}"}}}}"#))
                .unwrap()
                .fits(b"x")
        );
        assert!(
            read(&format!(
                r#"{{"length":2,"hashes":{{"sha256":"{sha256}"}}}}"#
            ))
            .unwrap()
            .fits(b"x")
        );
        assert!(
            !read(&format!(
                r#"{{"length":0,"hashes":{{"sha256":"{sha256}"}}}}"#
            ))
            .unwrap()
            .fits(b"x")
        );
        assert!(
            !read(&format!(
                r#"{{"length":1,"hashes":{{"sha256":"{sha256}","sha512":"{wrong}"}}}}"#
            ))
            .unwrap()
            .fits(b"x")
        );
        assert!(
            read(&format!(
                r#"{{"length":1,"hashes":{{"sha512":"{sha512}"}}}}"#
            ))
            .is_none()
        );
        assert!(
            read(&format!(
                r#"{{"length":-1,"hashes":{{"sha256":"{sha256}"}}}}"#
            ))
            .is_none()
        );
        assert!(read(r#"{"length":1,"hashes":{"sha256":"AA=="}}"#).is_none());
    }
}
