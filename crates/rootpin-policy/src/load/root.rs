//! Reads `[[root]]`, and the files that it names.

mod signed;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use rootpin_trust::image::Digest;
use rootpin_trust::{Code, KeyError, KeyId, PublicKey, key_file, notary, tuf};

use super::mandatory::{ROLES, TYPES};
use super::report::{At, Place, repeated};
use super::section::Section;
use super::values;
use crate::duration;
use crate::finding::{Fault, FindingCode};
use crate::metadata_url::{self, MetadataUrl};
use crate::root::{KeyEntry, NotaryRoot, Root, RootKind, TufRoot};

/// A `[[root]]` as far as it is understood.
pub(super) struct RootDraft<'r> {
    pub(super) id: Option<At<'r, String>>,
    pub(super) keys: Vec<At<'r, KeyId>>,
    pub(super) root: Option<Root>,
}

const DEFAULT_RECHECK: SignedDuration = SignedDuration::from_secs(60);
const FLOORS: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

pub(super) fn read<'r>(section: &Section<'r, '_>) -> RootDraft<'r> {
    // Kept also where it is refused, so that the rules that name it are not refused for that too.
    let id = section.text("id").map(|At { value, place }| {
        let _ = values::id(value).map_err(|fault| place.fault(fault));
        let value = value.to_owned();
        At { value, place }
    });
    let kind = section.parsed("type", |text| match text {
        "notary" => Ok(Type::Notary),
        "tuf" => Ok(Type::Tuf),
        "cosign" => Ok(Type::Cosign),
        "notation" => Ok(Type::Notation),
        _ => {
            let message = format!("there is no root type {text:?}");
            Err(Fault::new(FindingCode::UnknownType, message, TYPES))
        }
    });
    let max_age = section.parsed("max-age", duration::parse_positive);
    let recheck = section.parsed("recheck", duration::parse);
    let KindDraft {
        kind,
        keys,
        entries,
    } = match kind.map(|at| at.value) {
        Some(Type::Tuf) => read_tuf(section),
        Some(Type::Cosign) => {
            signed::no_metadata(section);
            signed::read_cosign(section)
        }
        Some(Type::Notation) => {
            signed::no_metadata(section);
            signed::read_notation(section)
        }
        // The keys of an unknown type are unknown too; a missing one is most likely the oldest.
        None if section.key("type").is_some() => {
            section.allow_all();
            KindDraft::default()
        }
        Some(Type::Notary) | None => read_notary(section),
    };
    let root = id.as_ref().zip(kind).map(|(id, kind)| Root {
        id: id.value.clone(),
        kind,
        keys: keys.iter().map(|at| at.value).collect(),
        entries,
        max_age: max_age.map(|at| at.value),
        recheck: recheck.map_or(DEFAULT_RECHECK, |at| at.value),
        location: section.place.location(),
    });
    RootDraft { id, keys, root }
}

#[derive(Clone, Copy)]
enum Type {
    Notary,
    Tuf,
    Cosign,
    Notation,
}

/// A kind of root as far as it is understood, its keys, and the entries that name them.
#[derive(Default)]
struct KindDraft<'r> {
    kind: Option<RootKind>,
    keys: Vec<At<'r, KeyId>>,
    entries: Vec<KeyEntry>,
}

fn read_notary<'r>(section: &Section<'r, '_>) -> KindDraft<'r> {
    let server = section.parsed("server", metadata_url::server);
    let plain = server
        .as_ref()
        .is_some_and(|at| at.value.starts_with("http:"));
    let tls_ca = read_tls_ca(section, plain);
    let entries = section.list("keys", |text| Ok(text.to_owned()));
    let role = section.parsed("role", parse_role);
    let certificate_dates =
        section.either("certificate-dates", [("ignore", false), ("check", true)]);
    let allow_rsa_pkcs1v15 = section.flag("allow-rsa-pkcs1v15") == Some(true);
    let (mut keys, mut written) = (Vec::new(), Vec::new());
    for At { value: text, place } in entries.into_iter().flatten() {
        let entry = read_entry(text, place);
        keys.extend(entry.keys.iter().map(|(value, _)| At {
            value: *value,
            place,
        }));
        written.push(entry);
    }
    let notary = server.zip(role).map(|(server, role)| NotaryRoot {
        server: server.value,
        tls_ca,
        role: role.value,
        certificate_dates,
        allow_rsa_pkcs1v15,
    });
    KindDraft {
        kind: notary.map(RootKind::Notary),
        keys,
        entries: written,
    }
}

/// Exactly 64 lower-case hex digits are a canonical key ID, anything else is a path.
fn read_entry(text: String, place: Place<'_>) -> KeyEntry {
    if let Ok(id) = text.parse::<KeyId>() {
        return KeyEntry {
            text,
            keys: vec![(id, None)],
            names: Vec::new(),
        };
    }
    let hint = "the file must hold a PEM public key or certificate";
    let found = read_key_file(&text, place, key_file::public_keys, hint);
    KeyEntry::of_file(text, &found)
}

/// The keys of a file that the policy names; none where it is refused.
fn read_key_file(
    path: &str,
    place: Place<'_>,
    read: fn(&[u8]) -> Result<Vec<PublicKey>, KeyError>,
    hint: &str,
) -> Vec<PublicKey> {
    let Some(pem) = read_pinned(path, place) else {
        return Vec::new();
    };
    read(&pem).unwrap_or_else(|error| {
        place.error(FindingCode::BadKey, format!("{path}: {error}"), hint);
        Vec::new()
    })
}

fn parse_role(text: &str) -> Result<String, Fault> {
    let message = format!("{text:?} is not a role that names images");
    let bad = || Fault::new(FindingCode::BadRole, message, ROLES);
    let role = notary::is_targets_role(text).then(|| text.to_owned());
    role.ok_or_else(bad)
}

fn read_tuf<'r>(section: &Section<'r, '_>) -> KindDraft<'r> {
    let file = section.text("file");
    let sha256 = section.parsed("sha256", values::sha256);
    let metadata = section
        .list("metadata", str::parse::<MetadataUrl>)
        .unwrap_or_default();
    for At { value: url, place } in repeated(&metadata) {
        let message = format!("{url} is listed already");
        place.error(FindingCode::Duplicate, message, "say each thing once");
    }
    let speaks_tls = |url: &At<'_, MetadataUrl>| match &url.value {
        MetadataUrl::Http(url) => url.starts_with("https:"),
        MetadataUrl::Oci { .. } => true,
        MetadataUrl::File(_) => false,
    };
    let plain = !metadata.is_empty() && !metadata.iter().any(speaks_tls);
    let tls_ca = read_tls_ca(section, plain);
    let floor = section.table("floor", "floor", |table| {
        let floors = FLOORS.iter().map(|role| (*role, table.number(role)));
        let floors = floors.filter_map(|(role, at)| Some((role.to_owned(), at?.value)));
        floors.collect::<BTreeMap<_, _>>()
    });
    let allow_rsa_pkcs1v15 = section.flag("allow-rsa-pkcs1v15") == Some(true);
    let pinned = file.and_then(|file| {
        let pinned = read_root(file.value, file.place, sha256.as_ref(), allow_rsa_pkcs1v15)?;
        Some((pinned, file.place))
    });
    let Some(((pinned, place), sha256)) = pinned.zip(sha256) else {
        return KindDraft::default();
    };
    let keys = pinned.keys().iter().map(|key| At { value: *key, place });
    let keys = keys.collect();
    let tuf = TufRoot {
        pinned: Arc::new(pinned),
        sha256: sha256.value,
        metadata: metadata.into_iter().map(|at| at.value).collect(),
        tls_ca,
        floor: floor.unwrap_or_default(),
    };
    KindDraft {
        kind: Some(RootKind::Tuf(tuf)),
        keys,
        entries: Vec::new(),
    }
}

/// The pinned file: the bytes that the policy means, and a root that verifies by itself.
fn read_root(
    path: &str,
    place: Place<'_>,
    sha256: Option<&At<'_, Digest>>,
    allow_rsa_pkcs1v15: bool,
) -> Option<tuf::PinnedRoot> {
    let bytes = read_pinned(path, place)?;
    let found = Digest::of(&bytes);
    if let Some(wanted) = sha256.filter(|wanted| wanted.value != found) {
        let message = format!("{path} has the sha256 {}", found.hex());
        let hint = "pin what sha256sum prints for the file that you have from its publisher, who tells you the same by another way";
        wanted.place.error(FindingCode::BadFile, message, hint);
        return None;
    }
    let pinned = tuf::PinnedRoot::read_allowing(bytes, allow_rsa_pkcs1v15);
    let refused = |refusal: rootpin_trust::Refusal| {
        let message = format!("{path}: {refusal}");
        let hint = match refusal.code {
            Code::BadSignature => refusal.hint,
            _ => "the file must be a root.json of TUF 1.0".into(),
        };
        place.error(FindingCode::BadFile, message, hint);
    };
    pinned.map_err(refused).ok()
}

/// The certificates of `tls-ca`. `plain`: no source speaks TLS.
fn read_tls_ca(section: &Section<'_, '_>, plain: bool) -> Option<Vec<u8>> {
    const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let path = section.text("tls-ca");
    if let Some(key) = section.key("tls-ca").filter(|_| plain) {
        let message = "tls-ca means nothing without TLS";
        key.warning(FindingCode::NoEffect, message, "leave it out");
    }
    let At { value: path, place } = path?;
    let pem = read_pinned(path, place)?;
    if !pem
        .windows(CERTIFICATE.len())
        .any(|part| part == CERTIFICATE)
    {
        let message = format!("{path}: no PEM certificate in it");
        place.error(
            FindingCode::BadFile,
            message,
            "tls-ca takes PEM certificates",
        );
        return None;
    }
    Some(pem)
}

/// The bytes of a file that the policy names.
fn read_pinned(path: &str, place: Place<'_>) -> Option<Vec<u8>> {
    let is_plain =
        |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    if !path.split('/').all(is_plain) {
        let message = format!("{path:?} is not a path inside the policy's directory");
        let hint = "paths are relative to the policy's directory and stay in it, as roots/acme.pub";
        place.error(FindingCode::BadValue, message, hint);
        return None;
    }
    let unreadable = |error: crate::Unreadable| {
        let message = format!("{path}: {}", error.message);
        place.error(FindingCode::Unreadable, message, error.hint);
    };
    place.report.files.read(path).map_err(unreadable).ok()
}
