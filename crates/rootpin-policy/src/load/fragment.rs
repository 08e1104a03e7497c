//! A fragment may only speak about names that it owns, and not over a rule that is final.

use rootpin_trust::image::Repository;

use super::Draft;
use super::mandatory::OWNS;
use super::report::{At, Place};
use super::section::Section;
use crate::finding::FindingCode;
use crate::pattern::Pattern;

/// Reads `[fragment] owns`, and reports what belongs in `policy.toml` alone.
pub(super) fn read_owns<'r>(document: &Section<'r, '_>) -> Option<At<'r, Pattern>> {
    for key in [
        "default",
        "mode",
        "audit-until",
        "limits",
        "local",
        "docker",
        "sweep",
        "prove",
        "break-glass",
        "credentials",
        "allow-lint",
    ] {
        if let Some(place) = document.key(key) {
            let message = format!("a fragment may not hold {key:?}");
            let hint = "it is the whole host's: write it in policy.toml";
            place.error(FindingCode::Fragment, message, hint);
        }
    }
    let names = ["root", "rule", "image", "exempt"].map(|key| document.key(key));
    if document.key("fragment").is_none() && names.iter().any(Option::is_some) {
        let message = "the fragment doesn't say which names it owns";
        document.place.absent(FindingCode::Fragment, message, OWNS);
    }
    let read = |section: &Section<'r, '_>| section.parsed("owns", str::parse::<Pattern>);
    document.table("[fragment]", "fragment", read)?
}

/// Checks that each fragment keeps to its own names.
pub(super) fn check(drafts: &[Draft<'_>]) {
    for draft in drafts {
        if let Some(owns) = &draft.owns {
            check_within(draft, &owns.value);
        }
    }
    let owners: Vec<_> = drafts
        .iter()
        .filter_map(|draft| draft.owns.as_ref())
        .collect();
    for (index, later) in owners.iter().enumerate() {
        let earlier = owners.iter().take(index);
        for earlier in earlier.filter(|earlier| earlier.value.overlaps(&later.value)) {
            let (owns, other) = (later.value.as_str(), earlier.value.as_str());
            let at = earlier.place.location();
            let message = format!("{owns:?} can own the same names as {other:?} of {at}");
            let hint = "give each name to one fragment";
            later.place.error(FindingCode::OwnsOverlap, message, hint);
        }
    }
    for draft in drafts {
        let finals = draft.rules.iter().filter(|rule| rule.is_final);
        for rule in finals.filter_map(|rule| rule.pattern.as_ref()) {
            // A file may be more specific than its own final rule.
            let others = drafts
                .iter()
                .skip(1)
                .filter(|other| !std::ptr::eq(*other, draft));
            others.for_each(|fragment| check_final(fragment, rule));
        }
    }
}

fn check_within(draft: &Draft<'_>, owns: &Pattern) {
    let outside = |place: Place<'_>, name: &str| {
        let owned = owns.as_str();
        let message = format!("{name:?} is not within what this fragment owns, {owned:?}");
        let hint = "write it in policy.toml, or in the fragment that owns it";
        place.error(FindingCode::OutsideOwns, message, hint);
    };
    let patterns = rules(draft).chain(exempts(draft));
    for pattern in patterns.filter(|pattern| !owns.contains(&pattern.value)) {
        outside(pattern.place, pattern.value.as_str());
    }
    for (repository, place) in images(draft).filter(|(repository, _)| !owns.matches(repository)) {
        outside(place, repository.as_str());
    }
}

/// Reports what a fragment says that would come before the final rule of that pattern.
fn check_final(fragment: &Draft<'_>, rule: &At<'_, Pattern>) {
    let pattern = &rule.value;
    let overlaps = |other: &&At<'_, Pattern>| other.value.overlaps(pattern);
    let wins = |other: &&At<'_, Pattern>| other.value.specificity() > pattern.specificity();
    let rules = rules(fragment).filter(overlaps).filter(wins);
    let patterns = rules.chain(exempts(fragment).filter(overlaps));
    let images = images(fragment).filter(|(repository, _)| pattern.matches(repository));
    let places = patterns.map(|at| at.place);
    for place in places.chain(images.map(|(_, place)| place)) {
        let (pattern, at) = (pattern.as_str(), rule.place.location());
        let message = format!("it takes names from {pattern:?}, which is final ({at})");
        let hint = "write it in policy.toml, or take final from that rule";
        place.error(FindingCode::Final, message, hint);
    }
}

fn rules<'d, 'r>(draft: &'d Draft<'r>) -> impl Iterator<Item = &'d At<'r, Pattern>> {
    draft.rules.iter().filter_map(|rule| rule.pattern.as_ref())
}

fn exempts<'d, 'r>(draft: &'d Draft<'r>) -> impl Iterator<Item = &'d At<'r, Pattern>> {
    draft
        .exempts
        .iter()
        .filter_map(|exempt| exempt.pattern.as_ref())
}

fn images<'d, 'r>(draft: &'d Draft<'r>) -> impl Iterator<Item = (&'d Repository, Place<'r>)> {
    let names = draft.images.iter().filter_map(|image| image.name.as_ref());
    names.map(|name| (&name.value.0, name.place))
}
