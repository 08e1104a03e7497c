//! Reads `[[root]]`, and the files that it names.

mod signed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use rootpin_trust::image::Digest;
use rootpin_trust::{Code, KeyError, KeyId, PublicKey, key_file, notary, tuf};

use super::mandatory::{ROLES, TYPES};
use super::report::{At, Place, repeated};
use super::section::Section;
use super::values;
use crate::duration;
use crate::finding::Fault;
use crate::finding::FindingCode::{
    BadFile, BadKey, BadRole, BadValue, Duplicate, UnknownType, Unreadable,
};
use crate::metadata_url::{self, MetadataUrl};
use crate::root::{KeyEntry, NotaryRoot, Root, RootKind, TufRoot};

/// A `[[root]]` as far as it is understood.
pub(super) struct RootDraft<'r> {
    pub(super) id: Option<At<'r, String>>,
    pub(super) root: Option<Root>,
}

/// A kind of root as far as it is understood, and the entries that name its keys.
type KindDraft = (Option<RootKind>, Vec<KeyEntry>);

const DEFAULT_RECHECK: SignedDuration = SignedDuration::from_secs(60);
const FLOORS: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

pub(super) fn read<'r>(section: &Section<'r, '_>) -> RootDraft<'r> {
    // Kept also where it is refused, so that the rules that name it are not refused for that too.
    let id = section.text("id").map(|At { value, place }| {
        let _ = place.valid(values::id(value));
        let value = value.to_owned();
        At { value, place }
    });
    let read_kind = section.parsed("type", |text| {
        let read: fn(&Section<'_, '_>) -> KindDraft = match text {
            "notary" => read_notary,
            "tuf" => read_tuf,
            "cosign" => signed::read_cosign,
            "notation" => signed::read_notation,
            _ => {
                let message = format!("there is no root type {text:?}");
                return Err(Fault::new(UnknownType, message, TYPES));
            }
        };
        Ok(read)
    });
    let max_age = section.parsed("max-age", duration::parse_positive);
    let recheck = section.parsed("recheck", duration::parse);
    let (kind, entries) = match read_kind {
        Some(At { value: read, .. }) => read(section),
        // The keys of an unknown type are unknown too; a missing one is most likely the oldest.
        None if section.key("type").is_some() => {
            section.allow_all();
            KindDraft::default()
        }
        None => read_notary(section),
    };
    let keys = entries.iter().flat_map(|entry| &entry.keys);
    let mut keys: BTreeSet<KeyId> = keys.map(|(key, _)| *key).collect();
    if let Some(RootKind::Tuf(tuf)) = &kind {
        keys.extend(tuf.pinned.keys());
    }
    let root = id.as_ref().zip(kind).map(|(id, kind)| Root {
        id: id.value.clone(),
        kind,
        keys,
        entries,
        max_age: max_age.map(|at| at.value),
        recheck: recheck.map_or(DEFAULT_RECHECK, |at| at.value),
        location: section.place.location(),
    });
    RootDraft { id, root }
}

fn read_notary(section: &Section<'_, '_>) -> KindDraft {
    let server = section.parsed("server", metadata_url::server);
    let tls_ca = read_tls_ca(section);
    let entries = section.texts("keys").into_iter().map(read_entry).collect();
    let role = section.parsed("role", parse_role);
    let dates = [("ignore", false), ("check", true)];
    let certificate_dates = section.either("certificate-dates", dates);
    let allow_rsa_pkcs1v15 = section.flag("allow-rsa-pkcs1v15", false);
    let notary = server.zip(role).map(|(server, role)| NotaryRoot {
        server: server.value,
        tls_ca,
        role: role.value,
        certificate_dates,
        allow_rsa_pkcs1v15,
    });
    (notary.map(RootKind::Notary), entries)
}

/// Exactly 64 lower-case hex digits are a canonical key ID, anything else is a path.
fn read_entry(At { value: text, place }: At<'_, String>) -> KeyEntry {
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
    let pem = read_pinned(path, place);
    let keys = pem.map(|pem| read(&pem)).transpose();
    let keys = keys.map_err(|error| place.error(BadKey, format!("{path}: {error}"), hint));
    keys.ok().flatten().unwrap_or_default()
}

fn parse_role(text: &str) -> Result<String, Fault> {
    let message = format!("{text:?} is not a role that names images");
    let role = notary::is_targets_role(text).then(|| text.to_owned());
    role.ok_or_else(|| Fault::new(BadRole, message, ROLES))
}

fn read_tuf(section: &Section<'_, '_>) -> KindDraft {
    let file = section.text("file");
    let sha256 = section.parsed("sha256", values::sha256);
    let metadata = section.list("metadata", str::parse::<MetadataUrl>);
    let metadata = metadata.unwrap_or_default();
    for At { value: url, place } in repeated(&metadata) {
        let message = format!("{url} is listed already");
        place.error(Duplicate, message, "say each thing once");
    }
    let tls_ca = read_tls_ca(section);
    let floor = section.table("floor", "floor", |table| {
        let floors = FLOORS.iter().map(|role| (*role, table.number(role)));
        let floors = floors.filter_map(|(role, at)| Some((role.to_owned(), at?.value)));
        floors.collect::<BTreeMap<_, _>>()
    });
    let allow_rsa_pkcs1v15 = section.flag("allow-rsa-pkcs1v15", false);
    let pinned = file.and_then(|file| read_root(&file, sha256.as_ref(), allow_rsa_pkcs1v15));
    let tuf = pinned.zip(sha256).map(|(pinned, sha256)| TufRoot {
        pinned: Arc::new(pinned),
        sha256: sha256.value,
        metadata: metadata.into_iter().map(|at| at.value).collect(),
        tls_ca,
        floor: floor.unwrap_or_default(),
    });
    (tuf.map(RootKind::Tuf), Vec::new())
}

/// The pinned file: the bytes that the policy means, and a root that verifies by itself.
fn read_root(
    At { value: path, place }: &At<'_, &str>,
    sha256: Option<&At<'_, Digest>>,
    allow_rsa_pkcs1v15: bool,
) -> Option<tuf::PinnedRoot> {
    let bytes = read_pinned(path, *place)?;
    let found = Digest::of(&bytes);
    if let Some(wanted) = sha256.filter(|wanted| wanted.value != found) {
        let message = format!("{path} has the sha256 {}", found.hex());
        let hint = "pin what sha256sum prints for the file that you have from its publisher, who tells you the same by another way";
        wanted.place.error(BadFile, message, hint);
        return None;
    }
    let pinned = tuf::PinnedRoot::read_allowing(bytes, allow_rsa_pkcs1v15);
    let refused = |refusal: rootpin_trust::Refusal| {
        let message = format!("{path}: {refusal}");
        let hint = match refusal.code {
            Code::BadSignature => refusal.hint,
            _ => "the file must be a root.json of TUF 1.0".into(),
        };
        place.error(BadFile, message, hint);
    };
    pinned.map_err(refused).ok()
}

/// The certificates of `tls-ca`.
fn read_tls_ca(section: &Section<'_, '_>) -> Option<Vec<u8>> {
    const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let At { value: path, place } = section.text("tls-ca")?;
    let pem = read_pinned(path, place)?;
    let mut parts = pem.windows(CERTIFICATE.len());
    if parts.any(|part| part == CERTIFICATE) {
        return Some(pem);
    }
    let message = format!("{path}: no PEM certificate in it");
    place.error(BadFile, message, "tls-ca takes PEM certificates");
    None
}

/// The bytes of a file that the policy names.
fn read_pinned(path: &str, place: Place<'_>) -> Option<Vec<u8>> {
    let is_plain =
        |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    if !path.split('/').all(is_plain) {
        let message = format!("{path:?} is not a path inside the policy's directory");
        let hint = "paths are relative to the policy's directory and stay in it, as roots/acme.pub";
        place.error(BadValue, message, hint);
        return None;
    }
    let unreadable = |error: crate::Unreadable| {
        let message = format!("{path}: {}", error.message);
        place.error(Unreadable, message, error.hint);
    };
    place.report.files.read(path).map_err(unreadable).ok()
}
