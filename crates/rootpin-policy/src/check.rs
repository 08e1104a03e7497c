//! What can only be judged over all files together: names said twice, roots without rules, rules
//! between which nothing decides.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::file::Draft;
use super::pattern::Pattern;
use super::report::{At, Place, Report};
use super::revoked::Revoked;
use super::root::RootDraft;
use super::rule::RuleDraft;
use super::settings::{Limits, Mode};

/// Checks the files against each other.
pub(super) fn check(drafts: &[Draft], now: Timestamp, report: &mut Report) {
    let roots: Vec<&RootDraft> = drafts.iter().flat_map(|draft| &draft.roots).collect();
    let rules: Vec<&RuleDraft> = drafts.iter().flat_map(|draft| &draft.rules).collect();
    let main = drafts.first();
    once(
        roots
            .iter()
            .filter_map(|root| root.id.as_ref())
            .map(|id| (id.value.clone(), id.place)),
        "id",
        report,
    );
    check_use_of_roots(&roots, &rules, report);
    let patterns: Vec<&At<Pattern>> = rules
        .iter()
        .filter_map(|rule| rule.pattern.as_ref())
        .collect();
    once(
        patterns
            .iter()
            .map(|pattern| (pattern.value.to_string(), pattern.place)),
        "match",
        report,
    );
    check_ambiguous(&patterns, report);
    let mode = main.and_then(|main| main.mode).unwrap_or(Mode::Enforce);
    check_modes(&rules, mode, report);
    check_quorums(&rules, &roots, report);
    check_images(drafts, report);
    check_exempts(
        drafts,
        main.map(|main| main.limits).unwrap_or_default(),
        now,
        report,
    );
    warn_of_revoked_pins(drafts, report);
}

fn once(said: impl Iterator<Item = (String, Place)>, key: &str, report: &mut Report) {
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    for (value, place) in said {
        if let Some(earlier) = seen.get(&value) {
            let message = format!(
                "{key} {value:?} stands already at {}",
                report.location(*earlier)
            );
            report.error(place, "duplicate", message, "say each thing once");
        } else {
            seen.insert(value, place);
        }
    }
}

fn check_use_of_roots(roots: &[&RootDraft], rules: &[&RuleDraft], report: &mut Report) {
    // What a file that was not read whole defines or uses is not known.
    if !report.knows_all() {
        return;
    }
    let defined: BTreeSet<&str> = roots
        .iter()
        .filter_map(|root| root.id.as_ref())
        .map(|id| id.value.as_str())
        .collect();
    let used: BTreeSet<&str> = rules
        .iter()
        .flat_map(|rule| &rule.roots)
        .map(|root| root.value.as_str())
        .collect();
    let known = if defined.is_empty() {
        "none is defined".to_owned()
    } else {
        format!(
            "defined are: {}",
            Vec::from_iter(defined.clone()).join(", ")
        )
    };
    for root in rules
        .iter()
        .flat_map(|rule| &rule.roots)
        .filter(|root| !defined.contains(root.value.as_str()))
    {
        report.error(
            root.place,
            "undefined-root",
            format!("no [[root]] has the id {:?}", root.value),
            known.clone(),
        );
    }
    for id in roots
        .iter()
        .filter_map(|root| root.id.as_ref())
        .filter(|id| !used.contains(id.value.as_str()))
    {
        report.error(
            id.place,
            "unused-root",
            format!("no [[rule]] names the root {:?}", id.value),
            "name it in the roots of a rule, or take it out",
        );
    }
}

/// Of two patterns that match one name the longer literal prefix wins; two of equal length that
/// both match it are equal.
fn check_ambiguous(patterns: &[&At<Pattern>], report: &mut Report) {
    let mut by_prefix: BTreeMap<&str, Vec<&At<Pattern>>> = BTreeMap::new();
    for later in patterns.iter().filter(|pattern| !pattern.value.is_exact()) {
        let group = by_prefix.entry(later.value.literal_prefix()).or_default();
        for earlier in group
            .iter()
            .filter(|earlier| earlier.value != later.value && earlier.value.overlaps(&later.value))
        {
            let message = format!(
                "{:?} can match the same names as {:?} of {}, and neither is more specific",
                later.value.as_str(),
                earlier.value.as_str(),
                report.location(earlier.place)
            );
            report.error(
                later.place,
                "ambiguous",
                message,
                "make one of them longer before its first wildcard, or join the two rules",
            );
        }
        group.push(later);
    }
}

fn check_modes(rules: &[&RuleDraft], mode: Mode, report: &mut Report) {
    for at in rules
        .iter()
        .filter_map(|rule| rule.mode.as_ref())
        .filter(|at| at.value < mode)
    {
        let message = format!(
            "mode {:?} is looser than the policy's {:?}",
            at.value.as_str(),
            mode.as_str()
        );
        report.error(
            at.place,
            "looser-mode",
            message,
            "a rule may be stricter than the policy, never looser",
        );
    }
}

/// Two roots under one key are one voice: they can't make a quorum.
fn check_quorums(rules: &[&RuleDraft], roots: &[&RootDraft], report: &mut Report) {
    for rule in rules.iter().filter(|rule| rule.quorum.value > 1) {
        let mut holders = BTreeMap::new();
        for name in &rule.roots {
            let of_name = roots
                .iter()
                .filter(|root| root.id.as_ref().is_some_and(|id| id.value == name.value));
            let keys: BTreeSet<_> = of_name
                .flat_map(|root| &root.keys)
                .map(|key| key.value)
                .collect();
            for key in keys {
                match holders.insert(key, &name.value) {
                    Some(holder) if *holder != name.value => {
                        let message = format!(
                            "roots {holder:?} and {:?} share the key {key}, so they are one voice",
                            name.value
                        );
                        report.error(
                            rule.quorum.place,
                            "quorum",
                            message,
                            "a quorum needs roots with keys of their own",
                        );
                    }
                    _ => {}
                }
            }
        }
    }
}

fn check_images(drafts: &[Draft], report: &mut Report) {
    let images = drafts.iter().flat_map(|draft| &draft.images);
    let said = images.filter_map(|image| {
        let (name, digest) = (image.name.as_ref()?, image.digest.as_ref()?);
        Some((
            format!("{}:{}@{}", name.value.0, name.value.1, digest.value),
            name.place,
        ))
    });
    once(said, "image", report);
}

fn check_exempts(drafts: &[Draft], limits: Limits, now: Timestamp, report: &mut Report) {
    let exempts = || drafts.iter().flat_map(|draft| &draft.exempts);
    once(
        exempts()
            .filter_map(|exempt| exempt.pattern.as_ref())
            .map(|at| (at.value.to_string(), at.place)),
        "match",
        report,
    );
    // Beyond the last instant that can be written, nothing is too far away.
    let latest = now.checked_add(limits.max_exempt).unwrap_or(Timestamp::MAX);
    for until in exempts().filter_map(|exempt| exempt.until.as_ref()) {
        if until.value > latest {
            let message = format!(
                "the exemption ends at {}, later than max-exempt allows",
                until.value
            );
            report.error(
                until.place,
                "until",
                message,
                format!("the latest end today is {latest}"),
            );
        } else if until.value <= now {
            report.warning(
                until.place,
                "until",
                format!("the exemption ended at {} and is void", until.value),
                "take it out, or give it a new end",
            );
        }
    }
}

/// Revocation comes before everything: what it hits is dead wherever else it stands.
fn warn_of_revoked_pins(drafts: &[Draft], report: &mut Report) {
    let (mut digests, mut keys) = (BTreeSet::new(), BTreeSet::new());
    for revoked in drafts.iter().flat_map(|draft| &draft.revoked) {
        match revoked.what {
            Some(Revoked::Digest(digest)) => _ = digests.insert(digest),
            Some(Revoked::Key(key)) => _ = keys.insert(key),
            None => {}
        }
    }
    let bound = drafts
        .iter()
        .flat_map(|draft| &draft.images)
        .filter_map(|image| image.digest.as_ref());
    let exempt = drafts
        .iter()
        .flat_map(|draft| &draft.exempts)
        .filter_map(|exempt| exempt.digests.as_ref())
        .flatten();
    for digest in bound
        .chain(exempt)
        .filter(|digest| digests.contains(&digest.value))
    {
        report.warning(
            digest.place,
            "revoked-pin",
            "this digest is revoked, and so refused",
            "take it out here, or its [[revoked]]",
        );
    }
    for key in drafts
        .iter()
        .flat_map(|draft| &draft.roots)
        .flat_map(|root| &root.keys)
        .filter(|key| keys.contains(&key.value))
    {
        let message = format!(
            "the key {} is revoked: a root role that lists it is refused",
            key.value
        );
        report.warning(
            key.place,
            "revoked-pin",
            message,
            "take it out once the root role is rotated",
        );
    }
}
