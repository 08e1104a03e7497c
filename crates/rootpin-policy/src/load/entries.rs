//! Reads `[[rule]]`, `[[image]]`, `[[exempt]]` and `[[revoked]]`, as far as they are understood.

use jiff::Timestamp;
use rootpin_trust::KeyId;
use rootpin_trust::image::{Digest, ImageRef, Repository, Tag};

use super::mandatory::NAME;
use super::report::{At, Place, repeated};
use super::section::Section;
use super::values;
use crate::finding::{Fault, FindingCode};
use crate::lint::{AllowedLint, LintCode};
use crate::pattern::{Pattern, check_full_form};
use crate::settings::Mode;

/// A `[[rule]]`.
pub(super) struct RuleDraft<'r> {
    pub(super) place: Place<'r>,
    pub(super) pattern: Option<At<'r, Pattern>>,
    pub(super) roots: Vec<At<'r, String>>,
    pub(super) quorum: At<'r, usize>,
    pub(super) mode: Option<At<'r, Mode>>,
    pub(super) audit_until: Option<At<'r, Timestamp>>,
    pub(super) signed_as: Option<At<'r, Pattern>>,
    pub(super) unbound: Option<Place<'r>>,
    pub(super) by_manifests: Option<Place<'r>>,
    pub(super) is_final: bool,
    pub(super) credentials: bool,
}

/// An `[[image]]`.
pub(super) struct ImageDraft<'r> {
    pub(super) place: Place<'r>,
    pub(super) name: Option<At<'r, (Repository, Tag)>>,
    pub(super) digest: Option<At<'r, Digest>>,
}

/// An `[[exempt]]`.
pub(super) struct ExemptDraft<'r> {
    pub(super) place: Place<'r>,
    pub(super) pattern: Option<At<'r, Pattern>>,
    pub(super) until: Option<At<'r, Timestamp>>,
    pub(super) reason: Option<String>,
    pub(super) digests: Option<Vec<At<'r, Digest>>>,
}

/// A `[[revoked]]`.
pub(super) struct RevokedDraft {
    pub(super) revoked: Option<Revoked>,
    pub(super) reason: Option<String>,
}

/// The bytes or the key of a `[[revoked]]`.
#[derive(Clone, Copy)]
pub(super) enum Revoked {
    Digest(Digest),
    Key(KeyId),
}

pub(super) fn read_rule<'r>(section: &Section<'r, '_>) -> RuleDraft<'r> {
    let pattern = section.parsed("match", str::parse::<Pattern>);
    let roots = section.list("roots", |text| Ok(text.to_owned()));
    let roots = roots.unwrap_or_default();
    for At { value: root, place } in repeated(&roots) {
        let message = format!("root {root:?} stands twice in one rule");
        let hint = "a root counts once: name it once";
        place.error(FindingCode::Duplicate, message, hint);
    }
    let plural = if roots.len() == 1 { "" } else { "s" };
    let of = format!("{} root{plural}", roots.len());
    let At { value, place } = section.count("quorum", roots.len(), &of);
    let quorum = At {
        value: usize::try_from(value).unwrap_or(usize::MAX),
        place,
    };
    let signed_as = section.parsed("signed-as", str::parse::<Pattern>);
    if let (Some(pattern), Some(signed_as)) = (&pattern, &signed_as)
        && !pattern.value.same_wildcards(&signed_as.value)
    {
        let (carried, matched) = (signed_as.value.as_str(), pattern.value.as_str());
        let message = format!("{carried:?} has other wildcards than {matched:?}");
        let hint = "what the wildcards of match stand for is carried over: write the same ones, in the same order";
        signed_as.place.error(FindingCode::SignedAs, message, hint);
    }
    RuleDraft {
        place: section.place,
        pattern,
        roots,
        quorum,
        signed_as,
        unbound: section
            .choice("tags", &[("unbound", ())])
            .map(|at| at.place),
        by_manifests: section
            .choice("index", &[("by-manifests", true), ("signed", false)])
            .and_then(|at| at.value.then_some(at.place)),
        mode: section.choice("mode", &Mode::WORDS),
        audit_until: section.instant("audit-until"),
        is_final: section.flag("final") == Some(true),
        credentials: section.flag("credentials") != Some(false),
    }
}

pub(super) fn read_image<'r>(section: &Section<'r, '_>) -> ImageDraft<'r> {
    ImageDraft {
        place: section.place,
        name: section.parsed("name", parse_name),
        digest: section.parsed("digest", values::digest),
    }
}

fn parse_name(text: &str) -> Result<(Repository, Tag), Fault> {
    let bad = |why: &str| Fault::new(FindingCode::BadName, format!("{text:?}: {why}"), NAME);
    if text.contains('@') {
        return Err(bad("the digest belongs in the key digest"));
    }
    let (start, last) = text.rsplit_once('/').unwrap_or(("", text));
    let untagged = text.len() - last.len() + last.find(':').unwrap_or(last.len());
    check_full_form(text.get(..untagged).unwrap_or(start), FindingCode::BadName)?;
    if untagged == text.len() {
        return Err(bad("it has no tag"));
    }
    let name: ImageRef = text.parse().map_err(|error| bad(&format!("{error}")))?;
    let is_full = format!(
        "{}:{}",
        name.repository,
        name.tag.as_ref().map_or("", Tag::as_str)
    ) == text;
    let tag = name.tag.filter(|_| is_full);
    Ok((
        name.repository,
        tag.ok_or_else(|| bad("it is not in full form"))?,
    ))
}

pub(super) fn read_exempt<'r>(section: &Section<'r, '_>) -> ExemptDraft<'r> {
    ExemptDraft {
        place: section.place,
        pattern: section.parsed("match", str::parse::<Pattern>),
        until: section.instant("until"),
        reason: section.parsed("reason", values::reason).map(|at| at.value),
        digests: section.list("digests", values::digest),
    }
}

pub(super) fn read_revoked(section: &Section<'_, '_>) -> RevokedDraft {
    let digest = section.parsed("digest", values::digest);
    let key = section.parsed("key", values::key_name);
    match (section.key("digest"), section.key("key")) {
        (Some(_), Some(place)) => {
            let message = "[[revoked]] has both a digest and a key";
            place.error(
                FindingCode::BadValue,
                message,
                "write a [[revoked]] for each",
            );
        }
        (None, None) => {
            let message = "[[revoked]] has neither digest nor key";
            let hint = "write digest = \"sha256:…\" or key = \"…\"";
            section.place.absent(FindingCode::MissingKey, message, hint);
        }
        _ => {}
    }
    let digest = digest.map(|at| Revoked::Digest(at.value));
    RevokedDraft {
        revoked: digest.or(key.map(|at| Revoked::Key(at.value))),
        reason: section.parsed("reason", values::reason).map(|at| at.value),
    }
}

/// `[[allow-lint]]`, in policy.toml alone.
pub(super) fn read_allowed_lint(section: &Section<'_, '_>) -> Option<AllowedLint> {
    let code = section.parsed("code", |text| {
        let hint = "write a code that `rootpin policy lint` shows";
        let message = format!("{text:?} is not a code of lint");
        LintCode::of(text).ok_or_else(|| Fault::new(FindingCode::BadValue, message, hint))
    });
    let reason = section.parsed("reason", values::reason);
    let pattern = section.parsed("match", str::parse::<Pattern>);
    let root = section.text("root").map(|at| at.value.to_owned());
    Some(AllowedLint {
        code: code?.value,
        reason: reason?.value,
        pattern: pattern.map(|at| at.value),
        root,
        location: section.place.location(),
    })
}
