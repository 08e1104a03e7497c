//! A `[[root]]` of type "tuf": the file that its chain of roots begins with, and where metadata is
//! read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::SignedDuration;

use super::diagnostic::Fault;
use super::files::Reading;
use super::metadata_url::{self, MetadataUrl};
use super::report::{At, Report};
use super::root::{read_pinned, read_tls_ca, warn_of_tls_ca};
use super::section::Section;
use rootpin_trust::image::Digest;
use rootpin_trust::{Code, KeyId, tuf};

/// A repository of The Update Framework 1.0, known by its root file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TufRoot {
    /// The root file from which every chain of roots must come.
    pub pinned: Arc<tuf::PinnedRoot>,
    /// The digest of that file.
    pub sha256: Digest,
    /// Where metadata is read, in the order in which they are asked; none: nowhere.
    pub metadata: Vec<MetadataUrl>,
    /// PEM certificates to trust for TLS in place of the system's store.
    pub tls_ca: Option<Vec<u8>>,
    /// The oldest versions that are taken, by top-level role.
    pub floor: BTreeMap<String, u64>,
}

impl TufRoot {
    /// What trust must hold this root's metadata to, under the keys that the policy revokes.
    #[must_use]
    pub fn pins(
        &self,
        max_age: Option<SignedDuration>,
        revoked: &BTreeSet<KeyId>,
    ) -> tuf::RootPins {
        tuf::RootPins {
            root: Arc::clone(&self.pinned),
            revoked: revoked.clone(),
            floor: self.floor.clone(),
            max_age,
        }
    }
}

impl fmt::Display for TufRoot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<_> = self.metadata.iter().map(ToString::to_string).collect();
        let places = if places.is_empty() {
            "nowhere".to_owned()
        } else {
            places.join(", ")
        };
        write!(
            formatter,
            "at {places}, from root {}",
            self.pinned.version()
        )
    }
}

pub(super) const KEYS: [&str; 6] = [
    "file",
    "sha256",
    "metadata",
    "tls-ca",
    "floor",
    "allow-rsa-pkcs1v15",
];

/// Reads what such a root has besides what all have.
pub(super) fn read(
    section: &Section<'_>,
    report: &mut Report,
    files: &mut Reading<'_>,
) -> Option<TufRoot> {
    section.require(
        report,
        &[
            (
                "file",
                "the root file to begin with, as roots/acme.root.json",
            ),
            ("sha256", "the digest of that file, as sha256sum prints it"),
        ],
    );
    let sha256 = section.parsed(report, "sha256", parse_sha256);
    let allow_rsa_pkcs1v15 = section
        .flag(report, "allow-rsa-pkcs1v15")
        .is_some_and(|at| at.value);
    let pinned = section
        .text(report, "file")
        .and_then(|path| read_root(&path, sha256.as_ref(), allow_rsa_pkcs1v15, report, files));
    let metadata = section
        .list(report, "metadata", metadata_url::parse)
        .unwrap_or_default();
    for (at, url) in metadata.iter().enumerate() {
        if metadata
            .iter()
            .take(at)
            .any(|earlier| earlier.value == url.value)
        {
            report.error(
                url.place,
                "duplicate",
                format!("{} is listed already", url.value),
                "say each thing once",
            );
        }
    }
    let tls_ca = section
        .text(report, "tls-ca")
        .and_then(|path| read_tls_ca(&path, report, files));
    let speaks_tls = |url: &At<MetadataUrl>| match &url.value {
        MetadataUrl::Http(url) => url.starts_with("https:"),
        MetadataUrl::Oci { .. } => true,
        MetadataUrl::File(_) => false,
    };
    if !metadata.is_empty() && !metadata.iter().any(speaks_tls) {
        warn_of_tls_ca(section, report);
    }
    let floor = read_floor(section, report);
    let metadata = metadata.into_iter().map(|at| at.value).collect();
    Some(TufRoot {
        pinned: Arc::new(pinned?),
        sha256: sha256?.value,
        metadata,
        tls_ca,
        floor,
    })
}

/// The pinned file: the bytes that the policy means, and a root that verifies by itself.
fn read_root(
    path: &At<&str>,
    sha256: Option<&At<Digest>>,
    allow_rsa_pkcs1v15: bool,
    report: &mut Report,
    files: &mut Reading<'_>,
) -> Option<tuf::PinnedRoot> {
    let bytes = read_pinned(path.value, path.place, report, files)?;
    let found = Digest::of(bytes);
    if let Some(wanted) = sha256.filter(|wanted| wanted.value != found) {
        let message = format!("{} has the sha256 {}", path.value, found.hex());
        report.error(
            wanted.place,
            "bad-file",
            message,
            "pin what sha256sum prints for the file that you have from its publisher, who tells you the same by another way",
        );
        return None;
    }
    match tuf::PinnedRoot::read_allowing(bytes.to_vec(), allow_rsa_pkcs1v15) {
        Ok(pinned) => Some(pinned),
        Err(refusal) => {
            let hint = if refusal.code == Code::BadSignature {
                refusal.hint.clone()
            } else {
                "the file must be a root.json of TUF 1.0".to_owned()
            };
            report.error(
                path.place,
                "bad-file",
                format!("{}: {refusal}", path.value),
                hint,
            );
            None
        }
    }
}

/// As sha256sum prints it, which is how policies write the pin of a file.
fn parse_sha256(text: &str) -> Result<Digest, Fault> {
    let wrong = || {
        Fault::new(
            "bad-digest",
            format!("{text:?} is not a sha256"),
            "write 64 lower-case hex digits, as sha256sum prints them",
        )
    };
    Digest::from_hex(text).ok_or_else(wrong)
}

fn read_floor(section: &Section<'_>, report: &mut Report) -> BTreeMap<String, u64> {
    let Some(table) = section.table(report, "floor", "floor") else {
        return BTreeMap::new();
    };
    table.only(report, &ROLES);
    ROLES
        .iter()
        .filter_map(|role| Some(((*role).to_owned(), table.number(report, role)?.value)))
        .collect()
}

const ROLES: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];
