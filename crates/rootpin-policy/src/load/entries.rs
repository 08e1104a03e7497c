//! Reads `[[rule]]`, `[[image]]`, `[[exempt]]` and `[[revoked]]`, as far as they are understood.

use jiff::Timestamp;
use rootpin_trust::KeyId;
use rootpin_trust::image::{Digest, ImageRef, Repository, Tag};

use super::mandatory::NAME;
use super::report::{At, Place, repeated};
use super::section::Section;
use super::values;
use crate::entry::{AllowedLint, Exempt, IndexSigning, Rule};
use crate::finding::Fault;
use crate::finding::FindingCode::{
    BadName, BadValue, Duplicate, LooserMode, MissingKey, SignedAs, Until,
};
use crate::pattern::{Pattern, check_full_form};
use crate::settings::{Limits, Mode};

/// A `[[rule]]`.
pub(super) struct RuleDraft<'r> {
    pub(super) place: Place<'r>,
    pub(super) pattern: Option<At<'r, Pattern>>,
    pub(super) roots: Vec<At<'r, String>>,
    pub(super) quorum: Place<'r>,
    /// The rule but for its roots, which other files may define.
    pub(super) rule: Option<Rule>,
}

/// An `[[image]]`.
pub(super) struct ImageDraft<'r> {
    pub(super) place: Place<'r>,
    pub(super) name: Option<At<'r, (Repository, Tag)>>,
    pub(super) digest: Option<Digest>,
}

/// An `[[exempt]]`.
pub(super) struct ExemptDraft<'r> {
    pub(super) pattern: Option<At<'r, Pattern>>,
    pub(super) exempt: Option<Exempt>,
}

/// The bytes or the key of a `[[revoked]]`.
pub(super) enum Revoked {
    Digest(Digest),
    Key(KeyId),
}

/// What the policy's settings permit its entries.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    mode: Mode,
    latest: Timestamp,
}

impl Bounds {
    pub(super) fn new(mode: Mode, limits: Limits, now: Timestamp) -> Self {
        // Beyond the last instant that can be written, nothing is too far away.
        let latest = now.checked_add(limits.max_exempt);
        let latest = latest.unwrap_or(Timestamp::MAX);
        Self { mode, latest }
    }
}

pub(super) fn read_rule<'r>(section: &Section<'r, '_>, bounds: Bounds) -> RuleDraft<'r> {
    let pattern = section.parsed("match", str::parse::<Pattern>);
    let roots = section.texts("roots");
    for At { value: root, place } in repeated(&roots) {
        let message = format!("root {root:?} stands twice in one rule");
        let hint = "a root counts once: name it once";
        place.error(Duplicate, message, hint);
    }
    let plural = if roots.len() == 1 { "" } else { "s" };
    let of = format!("{} root{plural}", roots.len());
    let quorum = section.count("quorum", roots.len(), &of);
    let signed_as = section.parsed("signed-as", str::parse::<Pattern>);
    if let (Some(pattern), Some(signed_as)) = (&pattern, &signed_as)
        && !pattern.value.same_wildcards(&signed_as.value)
    {
        let (carried, matched) = (signed_as.value.as_str(), pattern.value.as_str());
        let message = format!("{carried:?} has other wildcards than {matched:?}");
        let hint = "what the wildcards of match stand for is carried over: write the same ones, in the same order";
        signed_as.place.error(SignedAs, message, hint);
    }
    let tags = section.choice("tags", &[("unbound", ())]);
    let index = section.choice("index", &INDEX);
    let mode = section.choice("mode", &Mode::WORDS);
    if let Some(at) = mode.as_ref().filter(|at| at.value < bounds.mode) {
        let (looser, mode) = (at.value.as_str(), bounds.mode.as_str());
        let message = format!("mode {looser:?} is looser than the policy's {mode:?}");
        let hint = "a rule may be stricter than the policy, never looser";
        at.place.error(LooserMode, message, hint);
    }
    let audit_until = read_end(section, "audit-until", "the rule's audit", bounds);
    let is_final = section.flag("final", false);
    let credentials = section.flag("credentials", true);
    let rule = pattern.clone().map(|pattern| Rule {
        pattern: pattern.value,
        roots: Vec::new(),
        quorum: usize::try_from(quorum.value).unwrap_or(usize::MAX),
        mode: mode.map(|at| at.value),
        audit_until,
        signed_as: signed_as.map(|at| at.value),
        tags_unbound: tags.is_some(),
        index: index.map_or(IndexSigning::Itself, |at| at.value),
        is_final,
        credentials,
        location: section.place.location(),
    });
    RuleDraft {
        place: section.place,
        pattern,
        roots,
        quorum: quorum.place,
        rule,
    }
}

const INDEX: [(&str, IndexSigning); 2] = [
    ("by-manifests", IndexSigning::OrManifests),
    ("signed", IndexSigning::Itself),
];

/// An end that may not lie further away than `max-exempt`. `what`: what ends then.
fn read_end(
    section: &Section<'_, '_>,
    key: &'static str,
    what: &str,
    Bounds { latest, .. }: Bounds,
) -> Option<Timestamp> {
    let At {
        value: until,
        place,
    } = section.instant(key)?;
    if until > latest {
        let message = format!("{what} ends at {until}, later than max-exempt allows");
        let hint = format!("the latest end today is {latest}");
        place.error(Until, message, hint);
    }
    Some(until)
}

pub(super) fn read_image<'r>(section: &Section<'r, '_>) -> ImageDraft<'r> {
    let name = section.parsed("name", parse_name);
    let digest = section.parsed("digest", values::digest);
    ImageDraft {
        place: section.place,
        name,
        digest: digest.map(|at| at.value),
    }
}

fn parse_name(text: &str) -> Result<(Repository, Tag), Fault> {
    let bad = |why: &str| Fault::new(BadName, format!("{text:?}: {why}"), NAME);
    if text.contains('@') {
        return Err(bad("the digest belongs in the key digest"));
    }
    let (start, last) = text.rsplit_once('/').unwrap_or(("", text));
    let untagged = text.len() - last.len() + last.find(':').unwrap_or(last.len());
    check_full_form(text.get(..untagged).unwrap_or(start), BadName)?;
    if untagged == text.len() {
        return Err(bad("it has no tag"));
    }
    let name: ImageRef = text.parse().map_err(|error| bad(&format!("{error}")))?;
    let repository = name.repository;
    let is_full = |tag: &Tag| format!("{repository}:{tag}") == text;
    let tag = name.tag.filter(is_full);
    let tag = tag.ok_or_else(|| bad("it is not in full form"))?;
    Ok((repository, tag))
}

pub(super) fn read_exempt<'r>(section: &Section<'r, '_>, bounds: Bounds) -> ExemptDraft<'r> {
    let pattern = section.parsed("match", str::parse::<Pattern>);
    let until = read_end(section, "until", "the exemption", bounds);
    let reason = section.parsed("reason", values::reason);
    let digests = section.list("digests", values::digest);
    let said = pattern.clone().zip(until).zip(reason);
    let exempt = said.map(|((pattern, until), reason)| Exempt {
        pattern: pattern.value,
        until,
        reason: reason.value,
        digests: digests.map(|list| list.into_iter().map(|at| at.value).collect()),
        location: section.place.location(),
    });
    ExemptDraft { pattern, exempt }
}

pub(super) fn read_revoked(section: &Section<'_, '_>) -> Option<(Revoked, String)> {
    let digest = section.parsed("digest", values::digest);
    let key = section.parsed("key", values::key_name);
    match (section.key("digest"), section.key("key")) {
        (Some(_), Some(place)) => {
            let message = "[[revoked]] has both a digest and a key";
            place.error(BadValue, message, "write a [[revoked]] for each");
        }
        (None, None) => {
            let message = "[[revoked]] has neither digest nor key";
            let hint = "write digest = \"sha256:…\" or key = \"…\"";
            section.place.absent(MissingKey, message, hint);
        }
        _ => {}
    }
    let digest = digest.map(|at| Revoked::Digest(at.value));
    let revoked = digest.or(key.map(|at| Revoked::Key(at.value)));
    revoked.zip(section.parsed("reason", values::reason).map(|at| at.value))
}

/// `[[allow-lint]]`, in policy.toml alone.
pub(super) fn read_allowed_lint(section: &Section<'_, '_>) -> Option<AllowedLint> {
    let code = section.text("code").map(|at| at.value.to_owned());
    let reason = section.parsed("reason", values::reason);
    let pattern = section.parsed("match", str::parse::<Pattern>);
    let root = section.text("root").map(|at| at.value.to_owned());
    Some(AllowedLint {
        code: code?,
        reason: reason?.value,
        pattern: pattern.map(|at| at.value),
        root,
        location: section.place.location(),
    })
}
