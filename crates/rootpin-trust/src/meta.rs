//! References to other files: what timestamp and snapshot pin them to (section 4.4).

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha512};

use crate::budget::over_limit;
use crate::canonical::Text;
use crate::envelope::Envelope;
use crate::format::Format;
use crate::image::Digest;
use crate::refusal::shown;
use crate::{Code, Refusal};

/// The version, length and hashes that signed metadata demands of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileMeta {
    /// Notary's has none: 0.
    pub(crate) version: u64,
    /// A ceiling.
    length: Option<usize>,
    sha256: Option<Vec<u8>>,
    sha512: Option<Vec<u8>>,
}

/// All that a timestamp or a snapshot of TUF lists, by role.
pub(crate) fn listing(file: &Envelope) -> Result<BTreeMap<String, FileMeta>, Refusal> {
    let members = file.get("meta").and_then(Text::members);
    let mut listed = BTreeMap::new();
    for (name, value) in members.ok_or_else(|| file.malformed("no \"meta\""))? {
        let role = name.strip_suffix(".json").ok_or_else(|| {
            file.malformed(&format!("meta of {}, which is no .json", shown(&name)))
        })?;
        let meta = FileMeta::read(Format::Tuf, value).ok_or_else(|| {
            let name = shown(&name);
            file.malformed(&format!(
                "meta of {name} that is no version, length and hashes"
            ))
        })?;
        listed.insert(role.to_owned(), meta);
    }
    Ok(listed)
}

impl FileMeta {
    /// Reads `{"version": …, "length": …, "hashes": {…}}`. TUF demands the version, Notary the
    /// SHA-256; hashes of other kinds than SHA-256 and SHA-512 are ignored.
    pub(crate) fn read(format: Format, value: Text<'_>) -> Option<Self> {
        let version = match format {
            Format::Notary => 0,
            Format::Tuf => value.get_u64("version").filter(|version| *version >= 1)?,
        };
        let length = match value.get("length") {
            None => None,
            Some(length) => Some(usize::try_from(length.as_u64()?).ok()?),
        };
        let hashes = value.get("hashes");
        hashes.is_none_or(Text::is_object).then_some(())?;
        let hash = |name: &str, width: usize| match hashes.and_then(|hashes| hashes.get(name)) {
            None => Some(None),
            Some(text) => Some(Some(
                format
                    .bytes(&text.as_str()?)
                    .filter(|bytes| bytes.len() == width)?,
            )),
        };
        let (sha256, sha512) = (hash("sha256", 32)?, hash("sha512", 64)?);
        (format == Format::Tuf || sha256.is_some()).then_some(Self {
            version,
            length,
            sha256,
            sha512,
        })
    }

    /// The SHA-256, if one is demanded.
    pub(crate) fn sha256(&self) -> Option<Digest> {
        let bytes = self.sha256.as_deref()?.try_into().ok()?;
        Some(Digest::from_bytes(bytes))
    }

    /// Whether these are the bytes.
    pub(crate) fn fits(&self, bytes: &[u8]) -> bool {
        self.length.is_none_or(|length| bytes.len() <= length)
            && self
                .sha256
                .as_ref()
                .is_none_or(|hash| hash == Digest::of(bytes).as_bytes())
            && self
                .sha512
                .as_ref()
                .is_none_or(|hash| *hash == Sha512::digest(bytes).as_slice())
    }

    /// Section 5.5.2: refuses bytes that are too many or have another hash, before anything of them
    /// is read.
    pub(crate) fn check(&self, file: &str, bytes: &[u8]) -> Result<(), Refusal> {
        if self.fits(bytes) {
            return Ok(());
        }
        let found = format!("{file} of {} bytes with {}", bytes.len(), Digest::of(bytes));
        let wanted = "the length and the hashes that signed metadata lists for it";
        let hint = "the source, or something before it, answers with other bytes than were published together";
        Err(Refusal::new(Code::Malformed, found, wanted, hint).of_source_behind())
    }

    /// A digest of all that is demanded.
    pub(crate) fn digest(&self) -> Digest {
        let Self {
            version,
            length,
            sha256,
            sha512,
        } = self;
        Digest::of(format!("{version} {length:?} {sha256:?} {sha512:?}").as_bytes())
    }

    /// Section 5.5.4: refuses any other version.
    pub(crate) fn check_version(&self, file: &Envelope) -> Result<(), Refusal> {
        if file.version == self.version {
            return Ok(());
        }
        let wanted = format!("version {}, which signed metadata lists", self.version);
        let hint = "the source mixes files of different times; if the metadata was published just now, try again";
        Err(Refusal::new(Code::Rollback, file.shown(), wanted, hint).of_source_behind())
    }

    /// The number of bytes to ask for.
    pub(crate) fn cap(&self, file: &str, limit: usize) -> Result<usize, Refusal> {
        match self.length {
            Some(length) if length > limit => {
                let found = format!("{file} of {length} bytes");
                Err(over_limit(&found, limit, "bytes"))
            }
            length => Ok(length.unwrap_or(limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::canonical::{Limits, rewrite};

    #[test]
    fn file_references_demand_sha256_and_check_sha512_and_length_where_given() {
        let limits = Limits {
            bytes: 1000,
            depth: 5,
            values: 20,
        };
        let read = |text: &str| {
            let text = rewrite(text.as_bytes(), limits).unwrap();
            FileMeta::read(Format::Notary, Text::of(&text))
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
