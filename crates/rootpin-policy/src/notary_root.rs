//! A `[[root]]` of type "notary": a server, and the keys that may stand in its root roles.

use std::collections::BTreeSet;

use super::diagnostic::Fault;
use super::files::Reading;
use super::report::{At, Place, Report};
use super::root::{Root, read_pinned, read_tls_ca, warn_of_tls_ca};
use super::section::Section;
use super::server_url;
use rootpin_trust::notary::KeyPins;
use rootpin_trust::{Fingerprint, KeyId, key_file};

/// A Notary v1 server and the keys that may stand in its root roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotaryRoot {
    /// `https://host[:port][/path]` without a slash at the end; http only for a loopback address.
    pub server: String,
    /// PEM certificates to trust for the server's TLS in place of the system's store.
    pub tls_ca: Option<Vec<u8>>,
    /// Canonical IDs of the pinned keys; at least one.
    pub keys: BTreeSet<KeyId>,
    /// The entries of `keys` as they are written, each with what it pins.
    pub entries: Vec<KeyEntry>,
    /// The role that must name the image.
    pub role: String,
    /// Whether the dates of root certificates count.
    pub certificate_dates: bool,
    /// Whether RSA signatures may be PKCS#1 v1.5.
    pub allow_rsa_pkcs1v15: bool,
}

/// An entry of `keys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// As it is written: a canonical key ID, or a path relative to the policy's directory.
    pub text: String,
    /// What it pins, with the fingerprint where a file gives the key itself.
    pub keys: Vec<(KeyId, Option<Fingerprint>)>,
}

impl NotaryRoot {
    /// What trust must hold this root's metadata to, under the keys that the policy revokes.
    #[must_use]
    pub fn pins(&self, root: &Root, revoked: &BTreeSet<KeyId>) -> KeyPins {
        KeyPins {
            keys: self.keys.clone(),
            revoked: revoked.clone(),
            role: self.role.clone(),
            certificate_dates: self.certificate_dates,
            allow_rsa_pkcs1v15: self.allow_rsa_pkcs1v15,
            max_age: root.max_age,
        }
    }
}

pub(super) const KEYS: [&str; 6] = [
    "server",
    "tls-ca",
    "keys",
    "role",
    "certificate-dates",
    "allow-rsa-pkcs1v15",
];

/// Reads what such a root has besides what all have.
pub(super) fn read(
    section: &Section<'_>,
    report: &mut Report,
    files: &mut Reading<'_>,
) -> (Option<NotaryRoot>, Vec<At<KeyId>>) {
    section.require(
        report,
        &[
            (
                "server",
                "the address of the notary server, as https://notary.example",
            ),
            (
                "keys",
                "list canonical key IDs or PEM files of the keys that may stand in the root role",
            ),
            ("role", ROLES),
        ],
    );
    let server = section.parsed(report, "server", server_url::parse);
    let tls_ca = section
        .text(report, "tls-ca")
        .and_then(|path| read_tls_ca(&path, report, files));
    if server
        .as_ref()
        .is_some_and(|server| server.value.starts_with("http:"))
    {
        warn_of_tls_ca(section, report);
    }
    let role = section.parsed(report, "role", parse_role);
    let certificate_dates = section.parsed(report, "certificate-dates", |text| match text {
        "check" => Ok(true),
        "ignore" => Ok(false),
        _ => Err(Fault::new(
            "bad-value",
            format!("certificate-dates can't be {text:?}"),
            "write \"ignore\" (the default) or \"check\"",
        )),
    });
    let allow_rsa_pkcs1v15 = section
        .flag(report, "allow-rsa-pkcs1v15")
        .is_some_and(|at| at.value);
    let (mut keys, mut entries) = (Vec::new(), Vec::new());
    for At { value: text, place } in section
        .list(report, "keys", |text| Ok(text.to_owned()))
        .unwrap_or_default()
    {
        let found = read_keys(&text, place, report, files);
        keys.extend(found.iter().map(|(value, _)| At {
            value: *value,
            place,
        }));
        entries.push(KeyEntry { text, keys: found });
    }
    let notary = server.zip(role).map(|(server, role)| NotaryRoot {
        server: server.value,
        tls_ca,
        keys: keys.iter().map(|at| at.value).collect(),
        entries,
        role: role.value,
        certificate_dates: certificate_dates.is_some_and(|at| at.value),
        allow_rsa_pkcs1v15,
    });
    (notary, keys)
}

/// Exactly 64 lower-case hex digits are a canonical key ID, anything else is a path.
fn read_keys(
    entry: &str,
    place: Place,
    report: &mut Report,
    files: &mut Reading<'_>,
) -> Vec<(KeyId, Option<Fingerprint>)> {
    if let Ok(id) = entry.parse::<KeyId>() {
        return vec![(id, None)];
    }
    let Some(pem) = read_pinned(entry, place, report, files) else {
        return Vec::new();
    };
    match key_file::public_keys(pem) {
        Ok(found) => found
            .iter()
            .map(|key| (key.id(), Fingerprint::of(key)))
            .collect(),
        Err(error) => {
            report.error(
                place,
                "bad-key",
                format!("{entry}: {error}"),
                "the file must hold a PEM public key or certificate",
            );
            Vec::new()
        }
    }
}

/// Notary's grammar of role names that targets can be signed in, without the other three top-level
/// roles.
fn parse_role(text: &str) -> Result<String, Fault> {
    let character =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let part = |part: &str| !part.is_empty() && part.bytes().all(character);
    let mut parts = text.split('/');
    if text.len() < 256 && parts.next() == Some("targets") && parts.all(part) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        "bad-role",
        format!("{text:?} is not a role that names images"),
        ROLES,
    ))
}

const ROLES: &str = "Docker signs in \"targets/releases\", the notary command line in \"targets\"";
