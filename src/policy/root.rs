//! `[[root]]`: whom a host trusts, down to the keys.

use std::collections::BTreeSet;
use std::fmt;

use jiff::SignedDuration;

use super::diagnostic::{Fault, Location};
use super::files::Reading;
use super::report::{At, Place, Report};
use super::section::Section;
use super::{duration, server_url};
use crate::trust::{KeyId, Pins, key};

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
}

/// A Notary v1 server and the keys that may stand in its root roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotaryRoot {
    /// `https://host[:port][/path]` without a slash at the end; http only for a loopback address.
    pub server: String,
    /// PEM certificates to trust for the server's TLS in place of the system's store.
    pub tls_ca: Option<Vec<u8>>,
    /// Canonical IDs of the pinned keys; at least one.
    pub keys: BTreeSet<KeyId>,
    /// The role that must name the image.
    pub role: String,
    /// Whether the dates of root certificates count.
    pub certificate_dates: bool,
    /// Whether RSA signatures may be PKCS#1 v1.5.
    pub allow_rsa_pkcs1v15: bool,
}

impl NotaryRoot {
    /// What trust must hold this root's metadata to, under the keys that the policy revokes.
    #[must_use]
    pub fn pins(&self, root: &Root, revoked: &BTreeSet<KeyId>) -> Pins {
        Pins {
            keys: self.keys.clone(),
            revoked: revoked.clone(),
            role: self.role.clone(),
            certificate_dates: self.certificate_dates,
            allow_rsa_pkcs1v15: self.allow_rsa_pkcs1v15,
            max_age: root.max_age,
        }
    }
}

impl Root {
    /// Canonical IDs of the pinned keys.
    #[must_use]
    pub fn keys(&self) -> &BTreeSet<KeyId> {
        let RootKind::Notary(notary) = &self.kind;
        &notary.keys
    }
}

impl fmt::Display for Root {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RootKind::Notary(notary) = &self.kind;
        write!(formatter, "{} (notary at {}, role {})", self.id, notary.server, notary.role)
    }
}

/// A root as far as it was understood.
#[derive(Debug)]
pub(super) struct RootDraft {
    pub(super) id: Option<At<String>>,
    pub(super) keys: Vec<At<KeyId>>,
    pub(super) root: Option<Root>,
}

const DEFAULT_RECHECK: SignedDuration = SignedDuration::from_secs(60);

/// Reads one `[[root]]`.
pub(super) fn read(section: &Section<'_>, report: &mut Report, files: &mut Reading<'_>) -> RootDraft {
    section.require(report, &[("id", "give the root a name for rules to use"), ("type", TYPES)]);
    // Kept also where it is refused, so that the rules that name it are not refused for that too.
    let id = section.text(report, "id").map(|At { value, place }| At { value: value.to_owned(), place });
    section.parsed(report, "id", check_id);
    let kind = section.parsed(report, "type", parse_type);
    // The keys of an unknown type are unknown too; one that isn't said can only be the one that exists.
    if kind.is_none() && section.key("type").is_some() {
        return RootDraft { id, keys: Vec::new(), root: None };
    }
    section
        .only(report, &["id", "type", "max-age", "recheck", "server", "tls-ca", "keys", "role", "certificate-dates", "allow-rsa-pkcs1v15"]);
    let max_age = section.parsed(report, "max-age", duration::parse_positive).map(|at| at.value);
    let recheck = section.parsed(report, "recheck", duration::parse).map_or(DEFAULT_RECHECK, |at| at.value);
    let (notary, keys) = read_notary(section, report, files);
    let root = id.as_ref().zip(notary).map(|(id, notary)| Root {
        id: id.value.clone(),
        kind: RootKind::Notary(notary),
        max_age,
        recheck,
        location: report.location(section.place),
    });
    RootDraft { id, keys, root }
}

fn read_notary(section: &Section<'_>, report: &mut Report, files: &mut Reading<'_>) -> (Option<NotaryRoot>, Vec<At<KeyId>>) {
    section.require(
        report,
        &[
            ("server", "the address of the notary server, as https://notary.example"),
            ("keys", "list canonical key IDs or PEM files of the keys that may stand in the root role"),
            ("role", ROLES),
        ],
    );
    let server = section.parsed(report, "server", server_url::parse);
    let tls_ca = section.text(report, "tls-ca").and_then(|path| read_tls_ca(&path, report, files));
    if let (Some(place), Some(At { value, .. })) = (section.key("tls-ca"), &server)
        && value.starts_with("http:")
    {
        report.warning(place, "no-effect", "tls-ca means nothing for a server without TLS", "leave it out");
    }
    let role = section.parsed(report, "role", parse_role);
    let certificate_dates = section.parsed(report, "certificate-dates", |text| match text {
        "check" => Ok(true),
        "ignore" => Ok(false),
        _ => Err(Fault::new("bad-value", format!("certificate-dates can't be {text:?}"), "write \"ignore\" (the default) or \"check\"")),
    });
    let allow_rsa_pkcs1v15 = section.flag(report, "allow-rsa-pkcs1v15").is_some_and(|at| at.value);
    let mut keys = Vec::new();
    for entry in section.list(report, "keys", |text| Ok(text.to_owned())).unwrap_or_default() {
        read_key(&entry, report, files, &mut keys);
    }
    let notary = server.zip(role).map(|(server, role)| NotaryRoot {
        server: server.value,
        tls_ca,
        keys: keys.iter().map(|at| at.value).collect(),
        role: role.value,
        certificate_dates: certificate_dates.is_some_and(|at| at.value),
        allow_rsa_pkcs1v15,
    });
    (notary, keys)
}

/// Exactly 64 lower-case hex digits are a canonical key ID, anything else is a path.
fn read_key(entry: &At<String>, report: &mut Report, files: &mut Reading<'_>, keys: &mut Vec<At<KeyId>>) {
    if let Ok(id) = entry.value.parse::<KeyId>() {
        keys.push(At { value: id, place: entry.place });
        return;
    }
    let Some(pem) = read_pinned(&entry.value, entry.place, report, files) else { return };
    match key::keys_in_pem(pem) {
        Ok(found) => keys.extend(found.into_iter().map(|value| At { value, place: entry.place })),
        Err(error) => {
            report.error(entry.place, "bad-key", format!("{}: {error}", entry.value), "the file must hold a PEM public key or certificate");
        }
    }
}

fn read_tls_ca(path: &At<&str>, report: &mut Report, files: &mut Reading<'_>) -> Option<Vec<u8>> {
    let pem = read_pinned(path.value, path.place, report, files)?;
    if !pem.windows(CERTIFICATE.len()).any(|window| window == CERTIFICATE) {
        report.error(path.place, "bad-file", format!("{}: no PEM certificate in it", path.value), "tls-ca takes PEM certificates");
        return None;
    }
    Some(pem.to_vec())
}

/// The bytes of a file that the policy names.
fn read_pinned<'f>(path: &str, place: Place, report: &mut Report, files: &'f mut Reading<'_>) -> Option<&'f [u8]> {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    if !path.split('/').all(plain) {
        let hint = "paths are relative to the policy's directory and stay in it, as roots/acme.pub";
        report.error(place, "bad-value", format!("{path:?} is not a path inside the policy's directory"), hint);
        return None;
    }
    match files.read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            report.error(place, "unreadable", format!("{path}: {}", error.message), error.hint);
            None
        }
    }
}

fn check_id(text: &str) -> Result<(), Fault> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
        return Err(Fault::new("bad-value", format!("{text:?} can't be an id"), "use letters, digits, . _ and -"));
    }
    Ok(())
}

fn parse_type(text: &str) -> Result<(), Fault> {
    match text {
        "notary" => Ok(()),
        "tuf" => Err(Fault::new("unknown-type", "roots of type \"tuf\" are not supported yet", TYPES)),
        _ => Err(Fault::new("unknown-type", format!("there is no root type {text:?}"), TYPES)),
    }
}

/// Notary's grammar of role names that targets can be signed in, without the other three top-level roles.
fn parse_role(text: &str) -> Result<String, Fault> {
    let character = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let part = |part: &str| !part.is_empty() && part.bytes().all(character);
    let mut parts = text.split('/');
    if text.len() < 256 && parts.next() == Some("targets") && parts.all(part) {
        return Ok(text.to_owned());
    }
    Err(Fault::new("bad-role", format!("{text:?} is not a role that names images"), ROLES))
}

const TYPES: &str = "the known types are: notary";
const ROLES: &str = "Docker signs in \"targets/releases\", the notary command line in \"targets\"";
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
