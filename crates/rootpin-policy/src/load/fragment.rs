//! A fragment may only speak about names that it owns, and not over a rule that is final.

use super::Draft;
use super::entries::RuleDraft;
use super::mandatory::OWNS;
use super::report::{At, Place};
use super::section::Section;
use crate::finding::FindingCode::{Final, Fragment, OutsideOwns, OwnsOverlap};
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
            place.error(Fragment, message, hint);
        }
    }
    let names = ["root", "rule", "image", "exempt"].map(|key| document.key(key));
    if document.key("fragment").is_none() && names.iter().any(Option::is_some) {
        let message = "the fragment doesn't say which names it owns";
        document.place.absent(Fragment, message, OWNS);
    }
    let read = |section: &Section<'r, '_>| section.parsed("owns", str::parse::<Pattern>);
    document.table("[fragment]", "fragment", read)?
}

/// Checks that each fragment keeps to its own names.
pub(super) fn check(drafts: &[Draft<'_>]) {
    let mut owners: Vec<&At<'_, Pattern>> = Vec::new();
    for draft in drafts {
        let Some(later) = &draft.owns else { continue };
        check_within(draft, &later.value);
        let overlaps = |earlier: &&&At<'_, Pattern>| earlier.value.overlaps(&later.value);
        for earlier in owners.iter().filter(overlaps) {
            let (owns, other) = (later.value.as_str(), earlier.value.as_str());
            let at = earlier.place.location();
            let message = format!("{owns:?} can own the same names as {other:?} of {at}");
            let hint = "give each name to one fragment";
            later.place.error(OwnsOverlap, message, hint);
        }
        owners.push(later);
    }
    for draft in drafts {
        let is_final = |rule: &&RuleDraft<'_>| rule.rule.as_ref().is_some_and(|rule| rule.is_final);
        let finals = draft.rules.iter().filter(is_final);
        for rule in finals.filter_map(|rule| rule.pattern.as_ref()) {
            // A file may be more specific than its own final rule.
            let fragments = drafts.iter().skip(1);
            let others = fragments.filter(|other| !std::ptr::eq(*other, draft));
            others.for_each(|fragment| check_final(fragment, rule));
        }
    }
}

fn check_within(draft: &Draft<'_>, owns: &Pattern) {
    let outside = |place: Place<'_>, name: &str| {
        let owned = owns.as_str();
        let message = format!("{name:?} is not within what this fragment owns, {owned:?}");
        let hint = "write it in policy.toml, or in the fragment that owns it";
        place.error(OutsideOwns, message, hint);
    };
    let patterns = draft.rule_patterns().chain(draft.exempt_patterns());
    for pattern in patterns.filter(|pattern| !owns.contains(&pattern.value)) {
        outside(pattern.place, pattern.value.as_str());
    }
    let names = draft.image_names();
    for (repository, place) in names.filter(|(repository, _)| !owns.matches(repository)) {
        outside(place, repository.as_str());
    }
}

/// Reports what a fragment says that would come before the final rule of that pattern.
fn check_final(fragment: &Draft<'_>, rule: &At<'_, Pattern>) {
    let pattern = &rule.value;
    let overlaps = |other: &&At<'_, Pattern>| other.value.overlaps(pattern);
    let wins = |other: &&At<'_, Pattern>| other.value.specificity() > pattern.specificity();
    let rules = fragment.rule_patterns().filter(overlaps).filter(wins);
    let patterns = rules.chain(fragment.exempt_patterns().filter(overlaps));
    let images = fragment.image_names();
    let images = images.filter(|(repository, _)| pattern.matches(repository));
    let places = patterns.map(|at| at.place);
    for place in places.chain(images.map(|(_, place)| place)) {
        let (pattern, at) = (pattern.as_str(), rule.place.location());
        let message = format!("it takes names from {pattern:?}, which is final ({at})");
        let hint = "write it in policy.toml, or take final from that rule";
        place.error(Final, message, hint);
    }
}
