//! What a fragment may say: only of names that it owns, and nothing over a rule that is final.

use super::diagnostic::Fault;
use super::file::Draft;
use super::pattern::{self, Pattern};
use super::report::{At, Place, Report};
use super::section::Section;
use rootpin_trust::image::Repository;

/// Reads `[fragment] owns`, and reports what belongs in `policy.toml` alone.
pub(super) fn read_owns(document: &Section<'_>, report: &mut Report) -> Option<At<Pattern>> {
    for key in [
        "default", "mode", "limits", "local", "docker", "sweep", "prove",
    ] {
        if let Some(place) = document.key(key) {
            report.error(
                place,
                "fragment",
                format!("a fragment may not hold {key:?}"),
                "it is the whole host's: write it in policy.toml",
            );
        }
    }
    if let Some(section) = document.table(report, "[fragment]", "fragment") {
        section.only(report, &["owns"]);
        section.require(report, &[("owns", OWNS)]);
        return section.parsed(report, "owns", pattern::parse);
    }
    let names = ["root", "rule", "image", "exempt"]
        .iter()
        .any(|key| document.key(key).is_some());
    if names && document.key("fragment").is_none() {
        report.absent(
            document.place,
            "fragment",
            "the fragment doesn't say which names it owns",
            OWNS,
        );
    }
    None
}

/// Checks that each fragment keeps to its own names.
pub(super) fn check(drafts: &[Draft], report: &mut Report) {
    for draft in drafts {
        if let Some(owns) = &draft.owns {
            check_within(draft, &owns.value, report);
        }
    }
    check_owns_apart(drafts, report);
    check_final(drafts, report);
}

fn check_within(draft: &Draft, owns: &Pattern, report: &mut Report) {
    let mut outside = |place: Place, name: &str| {
        let message = format!(
            "{name:?} is not within what this fragment owns, {:?}",
            owns.as_str()
        );
        report.error(
            place,
            "outside-owns",
            message,
            "write it in policy.toml, or in the fragment that owns it",
        );
    };
    let rules = draft.rules.iter().filter_map(|rule| rule.pattern.as_ref());
    let exempts = draft
        .exempts
        .iter()
        .filter_map(|exempt| exempt.pattern.as_ref());
    for pattern in rules.chain(exempts) {
        if !owns.contains(&pattern.value) {
            outside(pattern.place, pattern.value.as_str());
        }
    }
    for name in draft.images.iter().filter_map(|image| image.name.as_ref()) {
        if !owns.matches(&name.value.0) {
            outside(name.place, name.value.0.as_str());
        }
    }
}

fn check_owns_apart(drafts: &[Draft], report: &mut Report) {
    let owners: Vec<&At<Pattern>> = drafts
        .iter()
        .filter_map(|draft| draft.owns.as_ref())
        .collect();
    for (index, later) in owners.iter().enumerate() {
        for earlier in owners
            .iter()
            .take(index)
            .filter(|earlier| earlier.value.overlaps(&later.value))
        {
            let message = format!(
                "{:?} can own the same names as {:?} of {}",
                later.value.as_str(),
                earlier.value.as_str(),
                report.location(earlier.place)
            );
            report.error(
                later.place,
                "owns-overlap",
                message,
                "give each name to one fragment",
            );
        }
    }
}

fn check_final(drafts: &[Draft], report: &mut Report) {
    for draft in drafts {
        for rule in draft.rules.iter().filter(|rule| rule.is_final) {
            let Some(pattern) = &rule.pattern else {
                continue;
            };
            // A file may be more specific than itself: whoever wrote "final" wrote that too.
            for fragment in drafts
                .iter()
                .filter(|fragment| fragment.file != 0 && fragment.file != draft.file)
            {
                for place in taken(fragment, &pattern.value) {
                    let at = report.location(pattern.place);
                    let message = format!(
                        "it takes names from {:?}, which is final ({at})",
                        pattern.value.as_str()
                    );
                    report.fault(
                        place,
                        Fault::new(
                            "final",
                            message,
                            "write it in policy.toml, or take final from that rule",
                        ),
                    );
                }
            }
        }
    }
}

/// Where a fragment says something that comes before the final rule of that pattern.
fn taken(fragment: &Draft, rule: &Pattern) -> Vec<Place> {
    let wins = |other: &&At<Pattern>| {
        other.value.overlaps(rule) && other.value.specificity() > rule.specificity()
    };
    let exempt = |other: &&At<Pattern>| other.value.overlaps(rule);
    let bound = |name: &&At<(Repository, _)>| rule.matches(&name.value.0);
    let rules = fragment
        .rules
        .iter()
        .filter_map(|rule| rule.pattern.as_ref())
        .filter(wins)
        .map(|at| at.place);
    let exempts = fragment
        .exempts
        .iter()
        .filter_map(|exempt| exempt.pattern.as_ref())
        .filter(exempt)
        .map(|at| at.place);
    let images = fragment
        .images
        .iter()
        .filter_map(|image| image.name.as_ref())
        .filter(bound)
        .map(|at| at.place);
    rules.chain(exempts).chain(images).collect()
}

const OWNS: &str = "write [fragment] and owns = \"registry.example/team/**\"";
