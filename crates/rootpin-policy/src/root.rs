//! `[[root]]`: whom a host trusts, down to the keys.

use std::collections::BTreeSet;
use std::fmt;

use jiff::SignedDuration;

use super::diagnostic::{Fault, Location};
use super::duration;
use super::files::Reading;
use super::notary_root::{self, NotaryRoot};
use super::report::{At, Place, Report};
use super::section::Section;
use super::tuf_root::{self, TufRoot};
use rootpin_trust::KeyId;

/// A pinned root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// What rules and people call it; never more than a label.
    pub id: String,
    /// Which kind of root, with what that kind needs.
    pub kind: RootKind,
    /// How old a timestamp may be, even if the publisher allows more.
    pub max_age: Option<SignedDuration>,
    /// How long a validated timestamp answers without asking the source again; zero: always ask.
    pub recheck: SignedDuration,
    /// Where it is defined.
    pub location: Location,
}

/// The kinds of root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootKind {
    /// A Notary v1 (Docker Content Trust) server.
    Notary(NotaryRoot),
    /// A repository of The Update Framework 1.0.
    Tuf(TufRoot),
}

impl Root {
    /// Canonical IDs of the pinned keys; of a TUF root those of the pinned file's root role.
    #[must_use]
    pub fn keys(&self) -> &BTreeSet<KeyId> {
        match &self.kind {
            RootKind::Notary(notary) => &notary.keys,
            RootKind::Tuf(tuf) => tuf.pinned.keys(),
        }
    }

    /// Canonical IDs of the root keys by which what was seen of it is found again.
    #[must_use]
    pub fn floor_keys(&self) -> &BTreeSet<KeyId> {
        match &self.kind {
            RootKind::Notary(notary) => &notary.keys,
            RootKind::Tuf(tuf) => tuf.pinned.signers(),
        }
    }
}

impl fmt::Display for Root {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            RootKind::Notary(notary) => write!(
                formatter,
                "{} (notary at {}, role {})",
                self.id, notary.server, notary.role
            ),
            RootKind::Tuf(tuf) => write!(formatter, "{} (tuf {tuf})", self.id),
        }
    }
}

/// A root as far as it was understood.
#[derive(Debug)]
pub(super) struct RootDraft {
    pub(super) id: Option<At<String>>,
    pub(super) keys: Vec<At<KeyId>>,
    pub(super) root: Option<Root>,
}

const COMMON: [&str; 4] = ["id", "type", "max-age", "recheck"];
const DEFAULT_RECHECK: SignedDuration = SignedDuration::from_secs(60);

/// Reads one `[[root]]`.
pub(super) fn read(
    section: &Section<'_>,
    report: &mut Report,
    files: &mut Reading<'_>,
) -> RootDraft {
    section.require(
        report,
        &[
            ("id", "give the root a name for rules to use"),
            ("type", TYPES),
        ],
    );
    // Kept also where it is refused, so that the rules that name it are not refused for that too.
    let id = section.text(report, "id").map(|At { value, place }| At {
        value: value.to_owned(),
        place,
    });
    section.parsed(report, "id", check_id);
    let kind = section.parsed(report, "type", parse_type);
    let max_age = section
        .parsed(report, "max-age", duration::parse_positive)
        .map(|at| at.value);
    let recheck = section
        .parsed(report, "recheck", duration::parse)
        .map_or(DEFAULT_RECHECK, |at| at.value);
    let only =
        |report: &mut Report, keys: &[&str]| section.only(report, &[&COMMON[..], keys].concat());
    let (kind, keys) = match kind.map(|at| at.value) {
        Some(Type::Tuf) => {
            only(report, &tuf_root::KEYS);
            let tuf = tuf_root::read(section, report, files);
            let file = section.key("file").unwrap_or(section.place);
            let keys = tuf
                .iter()
                .flat_map(|tuf| tuf.pinned.keys())
                .map(|key| At {
                    value: *key,
                    place: file,
                })
                .collect();
            (tuf.map(RootKind::Tuf), keys)
        }
        // The keys of an unknown type are unknown too; one that isn't said is most likely the one
        // that came first.
        None if section.key("type").is_some() => {
            return RootDraft {
                id,
                keys: Vec::new(),
                root: None,
            };
        }
        Some(Type::Notary) | None => {
            only(report, &notary_root::KEYS);
            let (notary, keys) = notary_root::read(section, report, files);
            (notary.map(RootKind::Notary), keys)
        }
    };
    let root = id.as_ref().zip(kind).map(|(id, kind)| Root {
        id: id.value.clone(),
        kind,
        max_age,
        recheck,
        location: report.location(section.place),
    });
    RootDraft { id, keys, root }
}

/// Says that `tls-ca` is for nothing, where it is there.
pub(super) fn warn_of_tls_ca(section: &Section<'_>, report: &mut Report) {
    if let Some(place) = section.key("tls-ca") {
        report.warning(
            place,
            "no-effect",
            "tls-ca means nothing without TLS",
            "leave it out",
        );
    }
}

pub(super) fn read_tls_ca(
    path: &At<&str>,
    report: &mut Report,
    files: &mut Reading<'_>,
) -> Option<Vec<u8>> {
    let pem = read_pinned(path.value, path.place, report, files)?;
    if !pem
        .windows(CERTIFICATE.len())
        .any(|window| window == CERTIFICATE)
    {
        report.error(
            path.place,
            "bad-file",
            format!("{}: no PEM certificate in it", path.value),
            "tls-ca takes PEM certificates",
        );
        return None;
    }
    Some(pem.to_vec())
}

/// The bytes of a file that the policy names.
pub(super) fn read_pinned<'f>(
    path: &str,
    place: Place,
    report: &mut Report,
    files: &'f mut Reading<'_>,
) -> Option<&'f [u8]> {
    let plain =
        |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    if !path.split('/').all(plain) {
        let hint = "paths are relative to the policy's directory and stay in it, as roots/acme.pub";
        report.error(
            place,
            "bad-value",
            format!("{path:?} is not a path inside the policy's directory"),
            hint,
        );
        return None;
    }
    match files.read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            report.error(
                place,
                "unreadable",
                format!("{path}: {}", error.message),
                error.hint,
            );
            None
        }
    }
}

fn check_id(text: &str) -> Result<(), Fault> {
    if text.is_empty()
        || !text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    {
        return Err(Fault::new(
            "bad-value",
            format!("{text:?} can't be an id"),
            "use letters, digits, . _ and -",
        ));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Type {
    Notary,
    Tuf,
}

fn parse_type(text: &str) -> Result<Type, Fault> {
    match text {
        "notary" => Ok(Type::Notary),
        "tuf" => Ok(Type::Tuf),
        _ => Err(Fault::new(
            "unknown-type",
            format!("there is no root type {text:?}"),
            TYPES,
        )),
    }
}

const TYPES: &str = "the known types are: notary, tuf";
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
