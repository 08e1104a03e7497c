//! Roots whose signatures stand in the registry, beside the image.

use rootpin_trust::cosign::{CosignFormat, CosignPins, TagBinding};
use rootpin_trust::notation::{NotationPins, PinnedCertificate, SubjectAttribute};
use rootpin_trust::{Fingerprint, PublicKey, key_file, key_name};

use super::{KindDraft, read_key_file, read_pinned};
use crate::finding::Fault;
use crate::finding::FindingCode::{BadFile, BadKey, BadValue};
use crate::load::report::{At, Place};
use crate::load::section::Section;
use crate::root::{KeyEntry, RootKind};

const BINDS_TAG: &str = "write binds-tag = \"annotation:tag\" for what cosign sign -a tag=TAG signs, or \"reference\" for the full names that podman and skopeo sign";

pub(super) fn read_cosign(section: &Section<'_, '_>) -> KindDraft {
    let entries = section.texts("keys");
    let mut formats = vec![("any", None)];
    formats.extend(CosignFormat::ALL.map(|format| (format.as_str(), Some(format))));
    let format = section.choice("format", &formats);
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
            at.place.error(BadValue, message, BINDS_TAG);
        }
    }
    let (mut keys, mut written) = (Vec::new(), Vec::new());
    for At { value: text, place } in entries {
        let found = read_keys(&text, place);
        written.push(KeyEntry::of_file(text, &found));
        for key in found {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    let of = format!("{} distinct keys", keys.len());
    let cosign = CosignPins {
        threshold: section.count("threshold", keys.len(), &of).value,
        keys,
        format,
        binds_tag: binds_tag.map(|at| at.value),
    };
    let kind = (!cosign.keys.is_empty()).then_some(RootKind::Cosign(cosign));
    (kind, written)
}

/// The keys of a PEM file. An ID or a fingerprint alone verifies nothing: cosign's signatures do not
/// contain the key.
fn read_keys(text: &str, place: Place<'_>) -> Vec<PublicKey> {
    let lower = text.to_ascii_lowercase();
    let is_written = |start: &&str| lower.starts_with(*start);
    let mut by_tools = ["sha256:", "sha256 fingerprint="].iter();
    if key_name(&lower).is_some() || by_tools.any(is_written) {
        let message =
            format!("{text} is no file: a signature does not contain the key that verifies it");
        let hint =
            "pin the key itself: its PEM file, as roots/builder.pub (cosign public-key --key KEY)";
        place.error(BadKey, message, hint);
        return Vec::new();
    }
    let hint = "the file must hold a PEM public key: ECDSA P-256, P-384 or P-521, Ed25519, or RSA of 2048 to 8192 bits";
    read_key_file(text, place, key_file::signature_keys, hint)
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
            Err(Fault::new(BadValue, message, BINDS_TAG))
        }
    }
}

const SUBJECT: &str = "write the attributes that must be there, as C=US, ST=WA, O=acme, CN=builder: of C, ST, L, O, OU, CN, STREET, postalCode and serialNumber; a comma in a value is escaped: 'O=Acme\\, Inc.' in single quotes";

pub(super) fn read_notation(section: &Section<'_, '_>) -> KindDraft {
    let files = section.texts("certificates");
    let subjects = section.list("subjects", |text| {
        let parsed = SubjectAttribute::parse_all(text);
        let message = format!("{text:?} is no subject");
        parsed.ok_or_else(|| Fault::new(BadValue, message, SUBJECT))
    });
    let validity = section.choice("validity", &[("check", false), ("ignore", true)]);
    let binds_tag = section.parsed("binds-tag", |text| match parse_binding(text)? {
        TagBinding::Annotation(name) => Ok(name),
        TagBinding::Reference => {
            let message = "notation signs no reference";
            let hint = "write binds-tag = \"annotation:tag\" for what notation sign --user-metadata tag=TAG signs";
            Err(Fault::new(BadValue, message, hint))
        }
    });
    let (mut certificates, mut written) = (Vec::new(), Vec::new());
    for At { value: text, place } in files {
        let Some(certificate) = read_certificate(&text, place) else {
            continue;
        };
        let fingerprint = Some(Fingerprint::of_spki(&certificate.certificate.key));
        written.push(KeyEntry {
            keys: vec![(certificate.key, fingerprint)],
            names: Vec::new(),
            text,
        });
        certificates.push(certificate);
    }
    let ignore_validity = validity.as_ref().is_some_and(|at| at.value);
    let is_authority = |pin: &PinnedCertificate| pin.certificate.authority;
    if let Some(at) = validity.filter(|at| at.value && certificates.iter().any(is_authority)) {
        let message = "validity = \"ignore\" is for pinned signers, and an authority is pinned";
        let hint = "pin the signer's own certificate, or leave validity out";
        at.place.error(BadValue, message, hint);
    }
    let notation = NotationPins {
        certificates,
        subjects: subjects.into_iter().flatten().map(|at| at.value).collect(),
        ignore_validity,
        binds_tag: binds_tag.map(|at| at.value),
    };
    let kind = (!written.is_empty()).then_some(RootKind::Notation(notation));
    (kind, written)
}

fn read_certificate(path: &str, place: Place<'_>) -> Option<PinnedCertificate> {
    let pem = read_pinned(path, place)?;
    let wrong = |error: rootpin_trust::KeyError| {
        let message = format!("{path}: {error}");
        let hint = "the file must hold one PEM certificate: of a signer (key usage digital signature, for code signing) or of an authority";
        place.error(BadFile, message, hint);
    };
    PinnedCertificate::read(&pem).map_err(wrong).ok()
}
