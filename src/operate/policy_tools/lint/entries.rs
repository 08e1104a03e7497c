//! Findings about rules, bound images and exemptions.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rootpin_policy::{Exempt, Location, Mode, Pattern, PatternTree, Policy, Root, RootKind, Rule};
use rootpin_trust::RootFile;
use rootpin_trust::image::Repository;

use super::{LONG, Linter, SOON, Subject};
use crate::plain_text::time_left;
use crate::policy_dir::LintCode;

pub(super) fn check(linter: &mut Linter<'_>) {
    let policy = linter.policy;
    let rules = RuleIndex::of(policy);
    let able = policy.roots.values().filter(|root| can_sign(policy, root));
    let able: BTreeSet<&str> = able.map(|root| root.id.as_str()).collect();
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
        opens(linter, &rules, rule);
        moved_tags(linter, rule);
        unreachable(linter, &able, rule);
        redundant(linter, &rules, rule);
    }
    shadowed(linter);
    unmet(linter, &rules);
}

/// The rules by what they mean, as a policy may have thousands.
struct RuleIndex<'a> {
    rules: &'a [Rule],
    tree: PatternTree<'a, usize>,
    /// Those with wildcards by what stands before the first one.
    by_prefix: BTreeMap<&'a str, Vec<&'a Rule>>,
}

impl<'a> RuleIndex<'a> {
    fn of(policy: &'a Policy) -> Self {
        let rules = policy.rules.as_slice();
        let (mut tree, mut by_prefix) = (PatternTree::default(), BTreeMap::new());
        for (at, rule) in rules.iter().enumerate() {
            tree.add(&rule.pattern, at);
            if !rule.pattern.is_exact() {
                let prefix = rule.pattern.literal_prefix();
                by_prefix.entry(prefix).or_insert_with(Vec::new).push(rule);
            }
        }
        Self {
            rules,
            tree,
            by_prefix,
        }
    }

    /// The rules that mean all names of a pattern, or a repository's.
    fn containing(&self, text: &str) -> impl Iterator<Item = (usize, &'a Rule)> {
        let found = self.tree.containing(text).into_iter();
        found.filter_map(|at| Some((at, self.rules.get(at)?)))
    }

    /// The most specific of the rules that mean all names of this one, and more.
    fn next_broader(&self, rule: &Rule) -> Option<&'a Rule> {
        let containing = self.containing(rule.pattern.as_str());
        let broader = containing.filter(|(_, other)| other.pattern != rule.pattern);
        let next = broader.max_by_key(|(_, other)| other.pattern.specificity());
        next.map(|(_, other)| other)
    }

    /// Whether another rule decides about a part of the names of `rule` before `next`, a broader
    /// one, does. Its literal beginning is one of the rule's own.
    fn is_between(&self, rule: &Rule, next: &Rule) -> bool {
        let (own, below) = (rule.pattern.specificity(), next.pattern.specificity());
        let prefix = rule.pattern.literal_prefix();
        let ends = prefix.match_indices('/').map(|(at, _)| at + 1);
        let groups = ends.filter_map(|end| self.by_prefix.get(prefix.get(..end)?));
        groups.flatten().any(|other| {
            let specificity = other.pattern.specificity();
            other.pattern != rule.pattern
                && other.pattern != next.pattern
                && specificity > below
                && specificity < own
                && other.pattern.overlaps(&rule.pattern)
        })
    }
}

pub(super) fn ends(
    linter: &mut Linter<'_>,
    subject: Subject<'_>,
    place: (&Location, &str),
    what: &str,
    until: Timestamp,
) {
    let left = until.duration_since(linter.now);
    let (code, message) = if left.is_negative() || left.is_zero() {
        (LintCode::EndsSoon, format!("{what} ended at {until}"))
    } else if left <= SOON {
        (
            LintCode::EndsSoon,
            format!("{what} ends in {}, at {until}", time_left(left)),
        )
    } else if left > LONG {
        (
            LintCode::EndsLate,
            format!("{what} lasts {} more, until {until}", time_left(left)),
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
fn opens(linter: &mut Linter<'_>, rules: &RuleIndex<'_>, rule: &Rule) {
    let (policy, now) = (linter.policy, linter.now);
    let is_on_trial = |rule: &Rule| rule.audit_until.is_some_and(|until| until > now);
    let enforces = policy.mode_at(Some(now)) == Mode::Enforce;
    if !enforces || !is_on_trial(rule) {
        return;
    }
    let broader = rules.next_broader(rule).filter(|next| !is_on_trial(next));
    let (message, hint) = match broader {
        Some(next) => (
            format!("until then it lets in what {next} refused of its names"),
            "take audit-until out; `rootpin policy simulate NEW --reports DIR` shows before what the rule would refuse",
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
    let hint = "list a root of type tuf too, with a quorum that needs it: rootpin repo init, rootpin repo sign; or allow this by [[allow-lint]]";
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
fn unreachable(linter: &mut Linter<'_>, able: &BTreeSet<&str>, rule: &Rule) {
    let subject = Subject::Names(&rule.pattern);
    let roots = rule.roots.iter();
    let able = roots.filter(|root| able.contains(root.id.as_str())).count();
    // One without roots is meant to admit nothing.
    if able < rule.quorum && !rule.roots.is_empty() {
        let message = format!(
            "{} of its roots can sign, and {} must: the keys of the others are revoked",
            able, rule.quorum
        );
        let hint = "pin the new keys of its roots: rootpin pin add ID --from FILE";
        let place = (&rule.location, "roots");
        linter.find(LintCode::Unreachable, subject, place, message, hint);
    }
}

/// A rule between which and the next broader one nothing differs.
fn redundant(linter: &mut Linter<'_>, rules: &RuleIndex<'_>, rule: &Rule) {
    let Some(next) = rules.next_broader(rule) else {
        return;
    };
    // `signed-as` carries the rest of a name over from where the pattern ends.
    let is_plain = rule.signed_as.is_none() && !rule.is_final;
    if is_plain && says(rule) == says(next) && !rules.is_between(rule, next) {
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
    let mut tree = PatternTree::default();
    for (at, exempt) in wide.iter().enumerate() {
        tree.add(&exempt.pattern, at);
    }
    let over = |pattern: &Pattern| {
        let found = tree.containing(pattern.as_str()).into_iter();
        found.filter_map(|at| wide.get(at))
    };
    for rule in &policy.rules {
        if let Some(exempt) = over(&rule.pattern).next() {
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
        let others = over(&exempt.pattern).filter(|other| other.pattern != exempt.pattern);
        let mut longer = others.filter(|other| other.until >= exempt.until);
        if let Some(other) = longer.next() {
            let message = format!("{other} lets in all of its names as long");
            let (subject, place) = (Subject::Names(&exempt.pattern), (&exempt.location, "match"));
            linter.find(LintCode::Shadowed, subject, place, message, "take it out");
        }
    }
}

/// Entries that no image of the inventory meets.
fn unmet(linter: &mut Linter<'_>, rules: &RuleIndex<'_>) {
    let Some(inventory) = linter.inventory else {
        return;
    };
    let policy = linter.policy;
    let hint = "take it out if nothing uses its names any more";
    let images = inventory.images();
    let names: BTreeSet<&Repository> = images.iter().map(|(name, _)| &name.repository).collect();
    let decides = |name: &Repository| {
        let matching = rules.containing(name.as_str());
        let decides = matching.max_by_key(|(_, rule)| rule.pattern.specificity());
        decides.map(|(at, _)| at)
    };
    let met: BTreeSet<usize> = names.into_iter().filter_map(decides).collect();
    // What a rule without roots refuses is not there, or should not be.
    let asks = policy.rules.iter().enumerate();
    for (at, rule) in asks.filter(|(_, rule)| !rule.roots.is_empty()) {
        if !met.contains(&at) {
            let message = "no image of the inventory is judged by it";
            let (subject, place) = (Subject::Names(&rule.pattern), (&rule.location, "match"));
            linter.find(LintCode::Unmet, subject, place, message, hint);
        }
    }
    let exempts = policy.exempts();
    let (mut tree, mut met) = (PatternTree::default(), BTreeSet::new());
    for (at, exempt) in exempts.iter().enumerate() {
        tree.add(&exempt.pattern, at);
    }
    for (name, digest) in images {
        let matching = tree.containing(name.repository.as_str()).into_iter();
        met.extend(matching.filter(|at| {
            let listed = exempts.get(*at).and_then(|exempt| exempt.digests.as_ref());
            // One whose digest is not known may be one that is listed.
            let listed = listed.zip(digest.as_ref());
            listed.is_none_or(|(listed, digest)| listed.contains(digest))
        }));
    }
    for (at, exempt) in exempts.iter().enumerate() {
        if !met.contains(&at) {
            let message = "no image of the inventory needs it";
            let (subject, place) = (Subject::Names(&exempt.pattern), (&exempt.location, "match"));
            linter.find(LintCode::Unmet, subject, place, message, hint);
        }
    }
}
