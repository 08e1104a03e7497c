//! `[[revoked]]`: bytes and keys that count nowhere, whatever else the policy says.

use super::diagnostic::Fault;
use super::report::{At, Report};
use super::section::Section;
use super::{digest, reason};
use rootpin_trust::KeyId;
use rootpin_trust::image::Digest;

/// A revocation as far as it was understood.
#[derive(Debug)]
pub(super) struct RevokedDraft {
    pub(super) what: Option<Revoked>,
    pub(super) reason: Option<String>,
}

/// What is revoked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Revoked {
    Digest(Digest),
    Key(KeyId),
}

/// Reads one `[[revoked]]`.
pub(super) fn read(section: &Section<'_>, report: &mut Report) -> RevokedDraft {
    section.only(report, &["digest", "key", "reason"]);
    section.require(report, &[("reason", reason::HINT)]);
    let digest = section
        .parsed(report, "digest", digest::parse)
        .map(|At { value, .. }| Revoked::Digest(value));
    let key = section
        .parsed(report, "key", parse_key)
        .map(|At { value, .. }| Revoked::Key(value));
    match (section.key("digest"), section.key("key")) {
        (Some(_), Some(place)) => {
            report.error(
                place,
                "bad-value",
                "[[revoked]] has both a digest and a key",
                "write a [[revoked]] for each",
            );
        }
        (None, None) => {
            report.absent(
                section.place,
                "missing-key",
                "[[revoked]] has neither digest nor key",
                "write digest = \"sha256:…\" or key = \"…\"",
            );
        }
        _ => {}
    }
    RevokedDraft {
        what: digest.or(key),
        reason: section
            .parsed(report, "reason", reason::parse)
            .map(|at| at.value),
    }
}

fn parse_key(text: &str) -> Result<KeyId, Fault> {
    let bad = |_| {
        Fault::new(
            "bad-key",
            format!("{text:?} is not a canonical key ID"),
            "write its 64 lower-case hex digits",
        )
    };
    text.parse().map_err(bad)
}
