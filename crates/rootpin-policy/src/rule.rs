//! `[[rule]]`: which names need whose signature.

use std::fmt;
use std::sync::Arc;

use super::diagnostic::{Fault, Location};
use super::pattern::{self, Pattern};
use super::report::{At, Place, Report};
use super::section::Section;
use super::{Mode, Root};
use rootpin_trust::image::Repository;

/// What a host demands of the names that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The names.
    pub pattern: Pattern,
    /// The roots that are asked; at least one.
    pub roots: Vec<Arc<Root>>,
    /// How many of the roots must map the name to the digest.
    pub quorum: usize,
    /// The mode in force for these names: the policy's, or the rule's own where it is stricter.
    pub mode: Mode,
    /// The name that the signed statement must carry, where it is not the asked one.
    pub signed_as: Option<Pattern>,
    /// Whether no fragment may take names from it.
    pub is_final: bool,
    /// Where it stands.
    pub location: Location,
}

impl Rule {
    /// The name that the signed statement must carry for this repository.
    ///
    /// `None` where `signed-as` gives no repository in full form (`docker.io/alpine`): then no
    /// statement can exist.
    #[must_use]
    pub fn signed_name(&self, repository: &Repository) -> Option<Repository> {
        match &self.signed_as {
            Some(signed_as) => signed_as.carry_over(&self.pattern, repository),
            None => Some(repository.clone()),
        }
    }
}

impl fmt::Display for Rule {
    /// `[[rule]] match = "…" (FILE:LINE)`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "[[rule]] match = \"{}\" ({}:{})",
            self.pattern, self.location.file, self.location.line
        )
    }
}

/// A rule as far as it was understood.
#[derive(Debug)]
pub(super) struct RuleDraft {
    pub(super) place: Place,
    pub(super) pattern: Option<At<Pattern>>,
    pub(super) roots: Vec<At<String>>,
    pub(super) quorum: At<usize>,
    pub(super) mode: Option<At<Mode>>,
    pub(super) signed_as: Option<At<Pattern>>,
    pub(super) is_final: bool,
}

/// Reads one `[[rule]]`.
pub(super) fn read(section: &Section<'_>, report: &mut Report) -> RuleDraft {
    section.only(
        report,
        &["match", "roots", "quorum", "signed-as", "mode", "final"],
    );
    section.require(
        report,
        &[
            (
                "match",
                "the names that it is for, as registry.example/team/**",
            ),
            ("roots", "the ids of the roots to ask"),
        ],
    );
    let pattern = section.parsed(report, "match", pattern::parse);
    let roots = section
        .list(report, "roots", |text| Ok(text.to_owned()))
        .unwrap_or_default();
    check_roots_once(&roots, report);
    let signed_as = section.parsed(report, "signed-as", pattern::parse);
    if let (Some(pattern), Some(signed_as)) = (&pattern, &signed_as) {
        check_carry_over(&pattern.value, signed_as, report);
    }
    RuleDraft {
        place: section.place,
        pattern,
        quorum: read_quorum(section, report, roots.len()),
        roots,
        mode: section.parsed(report, "mode", Mode::parse),
        signed_as,
        is_final: section.flag(report, "final").is_some_and(|at| at.value),
    }
}

fn read_quorum(section: &Section<'_>, report: &mut Report, roots: usize) -> At<usize> {
    let Some(At { value, place }) = section.number(report, "quorum") else {
        return At {
            value: 1,
            place: section.place,
        };
    };
    let value = usize::try_from(value).unwrap_or(usize::MAX);
    if value == 0 || (value > roots && roots > 0) {
        let message = format!(
            "a quorum of {value} out of {roots} root{}",
            if roots == 1 { "" } else { "s" }
        );
        report.error(
            place,
            "quorum",
            message,
            format!("write a number from 1 to {}", roots.max(1)),
        );
    }
    At { value, place }
}

fn check_roots_once(roots: &[At<String>], report: &mut Report) {
    for (index, root) in roots.iter().enumerate() {
        if roots
            .iter()
            .take(index)
            .any(|earlier| earlier.value == root.value)
        {
            report.error(
                root.place,
                "duplicate",
                format!("root {:?} stands twice in one rule", root.value),
                "a root counts once: name it once",
            );
        }
    }
}

fn check_carry_over(pattern: &Pattern, signed_as: &At<Pattern>, report: &mut Report) {
    if !pattern.same_wildcards(&signed_as.value) {
        let message = format!(
            "{:?} has other wildcards than {:?}",
            signed_as.value.as_str(),
            pattern.as_str()
        );
        let hint = "what the wildcards of match stand for is carried over: write the same ones, in the same order";
        report.fault(signed_as.place, Fault::new("signed-as", message, hint));
    }
}
