//! Roots whose signatures stand in the registry, beside the image.

use rootpin_trust::KeyId;
use rootpin_trust::cosign::{CosignFormat, TagBinding};
use rootpin_trust::notation::{PinnedCertificate, SubjectAttribute};
use rootpin_trust::{Fingerprint, key_file};

use super::{Kind, read_pinned};
use crate::finding::{Fault, FindingCode};
use crate::load::report::{At, Place};
use crate::load::section::Section;
use crate::root::{CosignRoot, KeyEntry, NotationRoot, PinnedKey, RootKind};

const BINDS_TAG: &str = "write binds-tag = \"annotation:tag\" for what cosign sign -a tag=TAG signs, or \"reference\" for the full names that podman and skopeo sign";

/// The keys that are for metadata: a signature has none.
pub(super) fn no_metadata(section: &Section<'_, '_>) {
    for key in ["max-age", "recheck"] {
        if let Some(place) = section.key(key) {
            let message = format!("{key} means nothing for signatures, which never age");
            place.warning(FindingCode::NoEffect, message, "leave it out");
        }
    }
}

pub(super) fn read_cosign<'r>(section: &Section<'r, '_>) -> Kind<'r> {
    let entries = section.list("keys", |text| Ok(text.to_owned()));
    let format = section.choice(
        "format",
        &[
            ("any", None),
            (CosignFormat::Bundle.as_str(), Some(CosignFormat::Bundle)),
            (
                CosignFormat::SimpleSigning.as_str(),
                Some(CosignFormat::SimpleSigning),
            ),
            (
                CosignFormat::MessageSignature.as_str(),
                Some(CosignFormat::MessageSignature),
            ),
        ],
    );
    let format = format.and_then(|at| at.value);
    let binds_tag = section.parsed("binds-tag", parse_binding);
    if let (Some(at), Some(format)) = (&binds_tag, format) {
        let what = match (format, &at.value) {
            (CosignFormat::MessageSignature, _) => Some("the signature of a file signs no tag"),
            (CosignFormat::Bundle, TagBinding::Reference) => {
                Some("a sigstore bundle signs no reference")
            }
            _ => None,
        };
        if let Some(what) = what {
            let message = format!("{what}, so that no signature would count");
            at.place.error(FindingCode::BadValue, message, BINDS_TAG);
        }
    }
    let mut keys: Vec<At<'r, KeyId>> = Vec::new();
    let (mut pinned, mut written) = (Vec::new(), Vec::new());
    for At { value: text, place } in entries.into_iter().flatten() {
        let (entry, found) = read_keys(text, place);
        for key in found {
            let id = key.0.id();
            if keys.iter().all(|known| known.value != id) {
                keys.push(At { value: id, place });
                pinned.push(key);
            }
        }
        written.push(entry);
    }
    let threshold = read_threshold(section, keys.len());
    let cosign = CosignRoot {
        keys: keys.iter().map(|at| at.value).collect(),
        entries: written,
        pinned,
        threshold,
        format,
        binds_tag: binds_tag.map(|at| at.value),
    };
    let kind = (!keys.is_empty()).then_some(RootKind::Cosign(cosign));
    (kind, keys)
}

/// The keys of a PEM file. An ID or a fingerprint alone verifies nothing: cosign's signatures do not
/// contain the key.
fn read_keys(text: String, place: Place<'_>) -> (KeyEntry, Vec<PinnedKey>) {
    let is_id = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut found = Vec::new();
    if is_id || text.starts_with("SHA256:") {
        let message =
            format!("{text} is no file: a signature does not contain the key that verifies it");
        let hint =
            "pin the key itself: its PEM file, as roots/builder.pub (cosign public-key --key KEY)";
        place.error(FindingCode::BadKey, message, hint);
    } else if let Some(pem) = read_pinned(&text, place) {
        match key_file::public_keys(&pem) {
            Ok(keys) => found = keys,
            Err(error) => {
                let hint = "the file must hold a PEM public key: ECDSA P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits";
                place.error(FindingCode::BadKey, format!("{text}: {error}"), hint);
            }
        }
    }
    let keys = found.iter().map(|key| (key.id(), Fingerprint::of(key)));
    let entry = KeyEntry {
        keys: keys.collect(),
        text,
    };
    (entry, found.into_iter().map(PinnedKey).collect())
}

/// How many distinct keys must have signed: from one to all.
fn read_threshold(section: &Section<'_, '_>, keys: usize) -> u64 {
    let Some(At { value, place }) = section.number("threshold") else {
        return 1;
    };
    let most = u64::try_from(keys).unwrap_or(u64::MAX);
    if value == 0 || (value > most && most > 0) {
        let message = format!("a threshold of {value} out of {keys} distinct keys");
        let hint = format!("write a number from 1 to {}", most.max(1));
        place.error(FindingCode::Quorum, message, hint);
    }
    value
}

fn parse_binding(text: &str) -> Result<TagBinding, Fault> {
    if text == "reference" {
        return Ok(TagBinding::Reference);
    }
    match text.strip_prefix("annotation:") {
        Some(name) if !name.is_empty() && !name.chars().any(char::is_control) => {
            Ok(TagBinding::Annotation(name.to_owned()))
        }
        _ => {
            let message = format!("binds-tag can't be {text:?}");
            Err(Fault::new(FindingCode::BadValue, message, BINDS_TAG))
        }
    }
}

const SUBJECT: &str = "write the attributes that must be there, as C=US, ST=WA, O=acme, CN=builder: of C, ST, L, O, OU and CN";

pub(super) fn read_notation<'r>(section: &Section<'r, '_>) -> Kind<'r> {
    let files = section.list("certificates", |text| Ok(text.to_owned()));
    let subjects = section.list("subjects", |text| {
        let parsed = SubjectAttribute::parse_all(text);
        let message = format!("{text:?} is no subject");
        parsed.ok_or_else(|| Fault::new(FindingCode::BadValue, message, SUBJECT))
    });
    let validity = section.choice("validity", &[("check", false), ("ignore", true)]);
    let binds_tag = section.parsed("binds-tag", |text| match parse_binding(text)? {
        TagBinding::Annotation(name) => Ok(name),
        TagBinding::Reference => {
            let message = "notation signs no reference";
            let hint = "write binds-tag = \"annotation:tag\" for what notation sign --user-metadata tag=TAG signs";
            Err(Fault::new(FindingCode::BadValue, message, hint))
        }
    });
    let (mut keys, mut certificates, mut written) = (Vec::new(), Vec::new(), Vec::new());
    for At { value: text, place } in files.into_iter().flatten() {
        let Some(certificate) = read_certificate(&text, place) else {
            continue;
        };
        keys.push(At {
            value: certificate.key,
            place,
        });
        let fingerprint = Some(Fingerprint::of_spki(&certificate.certificate.key));
        written.push(KeyEntry {
            keys: vec![(certificate.key, fingerprint)],
            text,
        });
        certificates.push(certificate);
    }
    let ignore_validity = validity.as_ref().is_some_and(|at| at.value);
    let is_authority = |pin: &PinnedCertificate| pin.certificate.authority;
    if let Some(at) = validity.filter(|at| at.value && certificates.iter().any(is_authority)) {
        let message = "validity = \"ignore\" is for pinned signers, and an authority is pinned";
        let hint = "pin the signer's own certificate, or leave validity out";
        at.place.error(FindingCode::BadValue, message, hint);
    }
    let notation = NotationRoot {
        keys: keys.iter().map(|at| at.value).collect(),
        entries: written,
        certificates,
        subjects: subjects.into_iter().flatten().map(|at| at.value).collect(),
        ignore_validity,
        binds_tag: binds_tag.map(|at| at.value),
    };
    let kind = (!keys.is_empty()).then_some(RootKind::Notation(notation));
    (kind, keys)
}

fn read_certificate(path: &str, place: Place<'_>) -> Option<PinnedCertificate> {
    let pem = read_pinned(path, place)?;
    let wrong = |error: rootpin_trust::KeyError| {
        let message = format!("{path}: {error}");
        let hint = "the file must hold one PEM certificate: of a signer (key usage digital signature, for code signing) or of an authority";
        place.error(FindingCode::BadFile, message, hint);
    };
    PinnedCertificate::read(&pem).map_err(wrong).ok()
}
