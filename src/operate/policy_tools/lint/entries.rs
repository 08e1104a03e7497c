//! Findings about rules, bound images and exemptions.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rootpin_policy::{Exempt, LintCode, Location, Mode, Pattern, Policy, Root, RootKind, Rule};
use rootpin_trust::RootFile;
use rootpin_trust::image::Repository;

use super::{LONG, Linter, SOON, Subject};

pub(super) fn check(linter: &mut Linter<'_>) {
    let policy = linter.policy;
    for exempt in policy.exempts() {
        let subject = Subject::Names(&exempt.pattern);
        ends(
            linter,
            subject,
            (&exempt.location, "until"),
            "the exemption",
            exempt.until,
        );
    }
    for rule in &policy.rules {
        let subject = Subject::Names(&rule.pattern);
        if let Some(until) = rule.audit_until {
            ends(
                linter,
                subject,
                (&rule.location, "audit-until"),
                "the audit of the rule",
                until,
            );
        }
        opens(linter, rule);
        moved_tags(linter, rule);
        unreachable(linter, rule);
        redundant(linter, rule);
    }
    shadowed(linter);
    unmet(linter);
}

pub(super) fn ends(
    linter: &mut Linter<'_>,
    subject: Subject<'_>,
    place: (&Location, &str),
    what: &str,
    until: Timestamp,
) {
    let left = until.duration_since(linter.now);
    let days = left.as_hours() / 24;
    let (code, message) = if left.is_negative() || left.is_zero() {
        (LintCode::EndsSoon, format!("{what} ended at {until}"))
    } else if left <= SOON {
        (
            LintCode::EndsSoon,
            format!("{what} ends in {days} days, at {until}"),
        )
    } else if left > LONG {
        (
            LintCode::EndsLate,
            format!("{what} lasts {days} days more, until {until}"),
        )
    } else {
        return;
    };
    let hint = match code {
        LintCode::EndsLate => "write a nearer end, and renew it if it is needed then",
        _ => "have the images signed, or write a new end; take it out if it is over",
    };
    linter.find(code, subject, place, message, hint);
}

/// A trial of a rule lets in what it refuses. That is no trial where its names were refused before,
/// or where it was written to refuse them.
fn opens(linter: &mut Linter<'_>, rule: &Rule) {
    let (policy, now) = (linter.policy, linter.now);
    let is_on_trial = |rule: &Rule| rule.audit_until.is_some_and(|until| until > now);
    let enforces = policy.mode_at(Some(now)) == Mode::Enforce;
    if !enforces || !is_on_trial(rule) {
        return;
    }
    let broader = next_broader(policy, rule).filter(|next| !is_on_trial(next));
    let (message, hint) = match broader {
        Some(next) => (
            format!("until then it lets in what {next} refused of its names"),
            "take audit-until out; rootpin policy simulate shows before what the rule would refuse",
        ),
        None if rule.roots.is_empty() => (
            "it is written to refuse its names, and until then it lets all of them in".to_owned(),
            "take audit-until out; an [[exempt]] lets names in for a while, and says why",
        ),
        None => return,
    };
    let place = (&rule.location, "audit-until");
    let subject = Subject::Names(&rule.pattern);
    linter.find(LintCode::OpensUntil, subject, place, message, hint);
}

/// The most specific of the rules that mean all names of this one, and more.
fn next_broader<'a>(policy: &'a Policy, rule: &Rule) -> Option<&'a Rule> {
    let broader = policy
        .rules
        .iter()
        .filter(|other| other.pattern != rule.pattern && other.pattern.contains(&rule.pattern));
    broader.max_by_key(|other| other.pattern.specificity())
}

/// The rule says so itself, by `tags`; a list of what is weak in a policy says it too.
fn moved_tags(linter: &mut Linter<'_>, rule: &Rule) {
    if !rule.may_bind_no_tag() {
        return;
    }
    let unbound = rule.roots.iter().filter(|root| !root.binds().tag);
    let roots: Vec<_> = unbound
        .map(|root| format!("{}: {}", root.id, root.binds()))
        .collect();
    let message = format!(
        "whoever can push can move a tag to any other bytes that these keys signed ({})",
        roots.join("; ")
    );
    let hint = "list a root of type tuf too, with a quorum that needs it: rootpin repo init, rootpin repo sign; or allow this";
    let place = (&rule.location, "tags");
    let subject = Subject::Names(&rule.pattern);
    linter.find(LintCode::MovedTags, subject, place, message, hint);
}

/// Whether a root can say yes at all: the policy may revoke its keys.
fn can_sign(policy: &Policy, root: &Root) -> bool {
    match &root.kind {
        RootKind::Notary(_) | RootKind::Notation(_) => !root.keys.is_subset(policy.revoked_keys()),
        // A later root file may leave a revoked key out, if enough of the others sign it.
        RootKind::Tuf(tuf) => {
            let able = tuf.pinned.keys().difference(policy.revoked_keys()).count();
            let file = RootFile::read(tuf.pinned.bytes());
            file.is_ok_and(|file| u64::try_from(able).is_ok_and(|able| able >= file.threshold))
        }
        RootKind::Cosign(cosign) => {
            let able = root.keys.difference(policy.revoked_keys()).count();
            u64::try_from(able).is_ok_and(|able| able >= cosign.threshold)
        }
    }
}

/// A rule that no statement can satisfy.
fn unreachable(linter: &mut Linter<'_>, rule: &Rule) {
    let subject = Subject::Names(&rule.pattern);
    let able = rule
        .roots
        .iter()
        .filter(|root| can_sign(linter.policy, root));
    let able = able.count();
    // One without roots is meant to admit nothing.
    if able < rule.quorum && !rule.roots.is_empty() {
        let message = format!(
            "{} of its roots can sign, and {} must: the keys of the others are revoked",
            able, rule.quorum
        );
        let hint = "pin the new keys of its roots: rootpin pin add";
        let place = (&rule.location, "roots");
        linter.find(LintCode::Unreachable, subject, place, message, hint);
    }
}

/// A rule between which and the next broader one nothing differs.
fn redundant(linter: &mut Linter<'_>, rule: &Rule) {
    let policy = linter.policy;
    let Some(next) = next_broader(policy, rule) else {
        return;
    };
    // Another rule may decide about a part of the names, between the two.
    let between = policy.rules.iter().any(|other| {
        other.pattern != rule.pattern
            && other.pattern != next.pattern
            && other.pattern.overlaps(&rule.pattern)
            && other.pattern.specificity() > next.pattern.specificity()
            && other.pattern.specificity() < rule.pattern.specificity()
    });
    // `signed-as` carries the rest of a name over from where the pattern ends.
    let is_plain = rule.signed_as.is_none() && !rule.is_final;
    if !between && is_plain && says(rule) == says(next) {
        let message = format!("it says what {next} says of the same names");
        let place = (&rule.location, "match");
        let subject = Subject::Names(&rule.pattern);
        linter.find(LintCode::Redundant, subject, place, message, "take it out");
    }
}

/// All that a rule says of its names. Without `..`: a key that is new does not build before it is
/// compared.
fn says(rule: &Rule) -> impl PartialEq {
    let Rule {
        pattern: _,
        roots,
        quorum,
        mode,
        audit_until,
        signed_as,
        tags_unbound,
        index,
        is_final,
        credentials,
        location: _,
    } = rule;
    // In their order: of roots that disagree about a tag the first one is heard.
    let ids: Vec<_> = roots.iter().map(|root| root.id.clone()).collect();
    (
        ids,
        *quorum,
        *mode,
        *audit_until,
        signed_as.clone(),
        *tags_unbound,
        *index,
        *is_final,
        *credentials,
    )
}

/// An entry of whose names another one decides about each.
fn shadowed(linter: &mut Linter<'_>) {
    let (policy, now) = (linter.policy, linter.now);
    let wide = |exempt: &&Exempt| exempt.digests.is_none() && !exempt.is_over(now);
    let wide: Vec<&Exempt> = policy.exempts().iter().filter(wide).collect();
    let by = |pattern: &Pattern| wide.iter().find(|exempt| exempt.pattern.contains(pattern));
    for rule in &policy.rules {
        if let Some(exempt) = by(&rule.pattern) {
            let message = format!("{exempt} lets in all of its names until {}", exempt.until);
            let hint = "list the digests that are exempt, or narrow the exemption";
            let (subject, place) = (Subject::Names(&rule.pattern), (&rule.location, "match"));
            linter.find(LintCode::Shadowed, subject, place, message, hint);
        }
    }
    for exempt in policy
        .exempts()
        .iter()
        .filter(|exempt| !exempt.is_over(now))
    {
        let others = wide.iter().filter(|other| other.pattern != exempt.pattern);
        let mut longer = others
            .filter(|other| other.pattern.contains(&exempt.pattern) && other.until >= exempt.until);
        if let Some(other) = longer.next() {
            let message = format!("{other} lets in all of its names as long");
            let (subject, place) = (Subject::Names(&exempt.pattern), (&exempt.location, "match"));
            linter.find(LintCode::Shadowed, subject, place, message, "take it out");
        }
    }
}

/// Entries that no image of the inventory meets.
fn unmet(linter: &mut Linter<'_>) {
    let Some(inventory) = linter.inventory else {
        return;
    };
    let policy = linter.policy;
    let hint = "take it out if nothing uses its names any more";
    let images = inventory.images();
    let names = || images.iter().map(|(name, _)| &name.repository);
    // What a rule without roots refuses is not there, or should not be.
    for rule in policy.rules.iter().filter(|rule| !rule.roots.is_empty()) {
        let decides = |name: &Repository| policy.rule_for(name).is_some_and(|known| known == rule);
        if !names().any(decides) {
            let message = "no image of the inventory is judged by it";
            let (subject, place) = (Subject::Names(&rule.pattern), (&rule.location, "match"));
            linter.find(LintCode::Unmet, subject, place, message, hint);
        }
    }
    for exempt in policy.exempts() {
        let digests = exempt.digests.as_ref();
        // One whose digest is not known may be one that is listed.
        let meets = images.iter().any(|(name, digest)| {
            let is_listed =
                |listed: &BTreeSet<_>| digest.is_none_or(|digest| listed.contains(&digest));
            exempt.pattern.matches(&name.repository) && digests.is_none_or(is_listed)
        });
        if !meets {
            let message = "no image of the inventory needs it";
            let (subject, place) = (Subject::Names(&exempt.pattern), (&exempt.location, "match"));
            linter.find(LintCode::Unmet, subject, place, message, hint);
        }
    }
}
