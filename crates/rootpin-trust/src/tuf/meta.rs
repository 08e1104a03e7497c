//! References to other files: what timestamp and snapshot pin them to (section 4.4).

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha512};

use crate::budget::over_limit;
use crate::canonical::Text;
use crate::image::Digest;
use crate::refusal::shown;
use crate::{Code, Refusal, hex};

use super::envelope::Envelope;

/// What a file must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileMeta {
    pub(super) version: u64,
    /// A ceiling.
    length: Option<usize>,
    sha256: Option<Vec<u8>>,
    sha512: Option<Vec<u8>>,
}

/// All that a timestamp or a snapshot lists, by role.
pub(super) fn listing(file: &Envelope) -> Result<BTreeMap<String, FileMeta>, Refusal> {
    let members = file
        .get("meta")
        .and_then(Text::members)
        .ok_or_else(|| file.malformed("no \"meta\""))?;
    let mut listed = BTreeMap::new();
    for (name, value) in members {
        let role = name.strip_suffix(".json").ok_or_else(|| {
            file.malformed(&format!("meta of {}, which is no .json", shown(&name)))
        })?;
        let meta = FileMeta::read(value).ok_or_else(|| {
            file.malformed(&format!(
                "meta of {} that is no version, length and hashes",
                shown(&name)
            ))
        })?;
        listed.insert(role.to_owned(), meta);
    }
    Ok(listed)
}

impl FileMeta {
    /// Reads `{"version": …, "length": …, "hashes": {…}}`; hashes of other kinds than SHA-256 and
    /// SHA-512 are ignored.
    fn read(value: Text<'_>) -> Option<Self> {
        let version = value
            .get("version")?
            .as_u64()
            .filter(|version| *version >= 1)?;
        let length = value.get("length").map(|length| {
            length
                .as_u64()
                .and_then(|length| usize::try_from(length).ok())
        });
        let length = match length {
            None => None,
            Some(length) => Some(length?),
        };
        let hashes = value.get("hashes");
        hashes.is_none_or(Text::is_object).then_some(())?;
        let hash = |name: &str, width: usize| match hashes.and_then(|hashes| hashes.get(name)) {
            None => Some(None),
            Some(text) => Some(Some(
                hex::decode(&text.as_str()?).filter(|bytes| bytes.len() == width)?,
            )),
        };
        Some(Self {
            version,
            length,
            sha256: hash("sha256", 32)?,
            sha512: hash("sha512", 64)?,
        })
    }

    /// Section 5.5.2: refuses bytes that are too many or have another hash, before anything of them
    /// is read.
    pub(super) fn check(&self, file: &str, bytes: &[u8]) -> Result<(), Refusal> {
        let fits = self.length.is_none_or(|length| bytes.len() <= length)
            && self
                .sha256
                .as_ref()
                .is_none_or(|hash| hash == Digest::of(bytes).as_bytes())
            && self
                .sha512
                .as_ref()
                .is_none_or(|hash| *hash == Sha512::digest(bytes).as_slice());
        if fits {
            return Ok(());
        }
        let found = format!("{file} of {} bytes with {}", bytes.len(), Digest::of(bytes));
        let hint = "the source, or something before it, answers with other bytes than were published together";
        Err(Refusal::new(
            Code::Malformed,
            found,
            "the length and the hashes that signed metadata lists for it",
            hint,
        )
        .of_source_behind())
    }

    /// A digest of all that is demanded.
    pub(super) fn digest(&self) -> Digest {
        let Self {
            version,
            length,
            sha256,
            sha512,
        } = self;
        Digest::of(format!("{version} {length:?} {sha256:?} {sha512:?}").as_bytes())
    }

    /// Section 5.5.4: refuses any other version.
    pub(super) fn check_version(&self, file: &Envelope) -> Result<(), Refusal> {
        if file.version == self.version {
            return Ok(());
        }
        let found = format!("{} version {}", file.file, file.version);
        let hint = "the source mixes files of different times; if the metadata was published just now, try again";
        Err(Refusal::new(
            Code::Rollback,
            found,
            format!("version {}, which signed metadata lists", self.version),
            hint,
        )
        .of_source_behind())
    }

    /// How many bytes to ask for.
    pub(super) fn cap(&self, file: &str, limit: usize) -> Result<usize, Refusal> {
        match self.length {
            Some(length) if length > limit => Err(over_limit(
                &format!("{file} of {length} bytes"),
                limit,
                "bytes",
            )),
            length => Ok(length.unwrap_or(limit)),
        }
    }
}
