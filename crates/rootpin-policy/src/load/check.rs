//! Checks over all files together: duplicates, roots without rules, rules between which nothing
//! decides.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rootpin_trust::KeyId;
use rootpin_trust::image::{Digest, Repository, Tag};
use rootpin_trust::notation::PinnedCertificate;

use super::Draft;
use super::entries::{Revoked, RuleDraft};
use super::report::{At, Place};
use super::root::RootDraft;
use crate::finding::FindingCode;
use crate::pattern::Pattern;
use crate::pattern_tree::PatternTree;
use crate::settings::{Limits, Mode};
use crate::{Root, RootKind};

/// The entries of all files.
struct All<'d, 'r> {
    drafts: &'d [Draft<'r>],
    roots: Vec<&'d RootDraft<'r>>,
    /// The places of those with an id among them.
    roots_by_id: BTreeMap<&'d str, Vec<usize>>,
    rules: Vec<&'d RuleDraft<'r>>,
}

/// Checks the files against each other. `is_whole`: whether all that they say is known.
pub(super) fn check<'r>(drafts: &[Draft<'r>], is_whole: bool, now: Timestamp) {
    let roots: Vec<&RootDraft<'r>> = drafts.iter().flat_map(|draft| &draft.roots).collect();
    let mut roots_by_id: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, root) in roots.iter().enumerate() {
        if let Some(id) = &root.id {
            roots_by_id.entry(&id.value).or_default().push(at);
        }
    }
    let all = All {
        drafts,
        roots,
        roots_by_id,
        rules: drafts.iter().flat_map(|draft| &draft.rules).collect(),
    };
    let ids = all.roots.iter().filter_map(|root| root.id.as_ref());
    once("id", ids.map(|id| (id.value.clone(), id.place)));
    if is_whole {
        all.check_use_of_roots();
    }
    let patterns = || all.rules.iter().filter_map(|rule| rule.pattern.as_ref());
    once(
        "match",
        patterns().map(|at| (at.value.to_string(), at.place)),
    );
    check_ambiguous(patterns());
    all.check_quorums();
    all.warn_of_shared_signers();
    all.check_unbound_tags();
    all.check_indexes();
    let images = drafts.iter().flat_map(|draft| &draft.images);
    let images = images.filter_map(|image| image.name.as_ref().zip(image.digest.as_ref()));
    let bound = |(name, digest): (&At<'r, (Repository, Tag)>, &At<'r, Digest>)| {
        let (repository, tag) = &name.value;
        (format!("{repository}:{tag}@{}", digest.value), name.place)
    };
    once("image", images.map(bound));
    let settings = drafts.first().and_then(|main| main.settings.as_ref());
    let mode = settings.map_or(Mode::Enforce, |settings| settings.mode);
    all.check_modes(mode);
    let limits = settings.map_or_else(Limits::default, |settings| settings.limits);
    all.check_exempts(limits, now);
    let has_end = settings.is_some_and(|settings| settings.audit_until.is_some());
    all.check_trials(mode, has_end, limits, now);
    all.warn_of_revoked_pins();
}

fn once<'r>(key: &str, said: impl Iterator<Item = (String, Place<'r>)>) {
    let mut seen: BTreeMap<String, Place<'_>> = BTreeMap::new();
    for (value, place) in said {
        if let Some(earlier) = seen.get(&value) {
            let message = format!("{key} {value:?} stands already at {}", earlier.location());
            place.error(FindingCode::Duplicate, message, "say each thing once");
        } else {
            seen.insert(value, place);
        }
    }
}

/// Of two patterns that match one name the longer literal prefix wins; with equally long ones,
/// nothing decides.
fn check_ambiguous<'d, 'r: 'd>(patterns: impl Iterator<Item = &'d At<'r, Pattern>>) {
    let wildcards: Vec<_> = patterns.filter(|at| !at.value.is_exact()).collect();
    let mut by_prefix: BTreeMap<&str, PatternTree<'_, usize>> = BTreeMap::new();
    for (index, later) in wildcards.iter().enumerate() {
        let group = by_prefix.entry(later.value.literal_prefix()).or_default();
        let others = group.overlapping(&later.value).into_iter();
        let others = others.filter_map(|index| wildcards.get(index));
        for earlier in others.filter(|earlier| earlier.value != later.value) {
            let (this, other) = (later.value.as_str(), earlier.value.as_str());
            let at = earlier.place.location();
            let message = format!(
                "{this:?} can match the same names as {other:?} of {at}, and neither is more specific"
            );
            let hint = "make one of them longer before its first wildcard, or join the two rules";
            later.place.error(FindingCode::Ambiguous, message, hint);
        }
        group.add(&later.value, index);
    }
}

/// `max-exempt` applies to each end; what has ended is void.
fn check_ends<'d, 'r: 'd>(
    what: &str,
    ends: impl Iterator<Item = &'d At<'r, Timestamp>>,
    limits: Limits,
    now: Timestamp,
) {
    // Beyond the last instant that can be written, nothing is too far away.
    let latest = now.checked_add(limits.max_exempt).unwrap_or(Timestamp::MAX);
    for At {
        value: until,
        place,
    } in ends
    {
        if *until > latest {
            let message = format!("{what} ends at {until}, later than max-exempt allows");
            let hint = format!("the latest end today is {latest}");
            place.error(FindingCode::Until, message, hint);
        } else if *until <= now {
            let message = format!("{what} ended at {until} and is void");
            let hint = "take it out, or give it a new end";
            place.warning(FindingCode::Until, message, hint);
        }
    }
}

/// A key of a TUF root's targets role that signs for the other root too.
fn targets_keys(tuf: &Root, other: &Root) -> Option<KeyId> {
    let RootKind::Tuf(tuf) = &tuf.kind else {
        return None;
    };
    let others = match &other.kind {
        RootKind::Tuf(other) => other.pinned.targets_keys(),
        RootKind::Cosign(_) | RootKind::Notation(_) => other.keys.clone(),
        RootKind::Notary(_) => BTreeSet::new(),
    };
    tuf.pinned
        .targets_keys()
        .intersection(&others)
        .next()
        .copied()
}

impl All<'_, '_> {
    fn check_use_of_roots(&self) {
        let ids = || self.roots.iter().filter_map(|root| root.id.as_ref());
        let names = || self.rules.iter().flat_map(|rule| &rule.roots);
        let defined: BTreeSet<&str> = ids().map(|id| id.value.as_str()).collect();
        let used: BTreeSet<&str> = names().map(|root| root.value.as_str()).collect();
        let known = defined.iter().copied().collect::<Vec<_>>().join(", ");
        let known = match known.as_str() {
            "" => "none is defined".to_owned(),
            known => format!("defined are: {known}"),
        };
        for root in names().filter(|root| !defined.contains(root.value.as_str())) {
            let message = format!("no [[root]] has the id {:?}", root.value);
            root.place
                .error(FindingCode::UndefinedRoot, message, known.clone());
        }
        for id in ids().filter(|id| !used.contains(id.value.as_str())) {
            let message = format!("no [[rule]] names the root {:?}", id.value);
            let hint = "name it in the roots of a rule, or take it out";
            id.place.error(FindingCode::UnusedRoot, message, hint);
        }
    }

    fn check_modes(&self, mode: Mode) {
        let modes = self.rules.iter().filter_map(|rule| rule.mode.as_ref());
        for at in modes.filter(|at| at.value < mode) {
            let (looser, mode) = (at.value.as_str(), mode.as_str());
            let message = format!("mode {looser:?} is looser than the policy's {mode:?}");
            let hint = "a rule may be stricter than the policy, never looser";
            at.place.error(FindingCode::LooserMode, message, hint);
        }
    }

    /// Whoever signs under a certificate signs under those above it too, and a key may sign images and
    /// metadata: one signer may satisfy two roots. The judge counts signers, and people should know
    /// why it refuses.
    fn warn_of_shared_signers(&self) {
        for rule in self.rules.iter().filter(|rule| rule.quorum.value > 1) {
            let place = rule.quorum.place;
            let warn = |how: String| {
                let message = format!(
                    "one signer can satisfy both roots, and the quorum takes signatures by different keys: {how}"
                );
                let hint = "list roots that no signer can satisfy together, or have each image signed by as many keys as the quorum wants";
                place.warning(FindingCode::Quorum, message, hint);
            };
            for above in self.certificates_of(rule) {
                for below in self
                    .certificates_of(rule)
                    .filter(|below| below.0 != above.0)
                {
                    if self.leads_to(above.2, below.2) {
                        let ((one, path, _), (other, leaf, _)) = (above, below);
                        warn(format!("{path} of {one:?} leads to {leaf} of {other:?}"));
                    }
                }
            }
            for (at, one) in self.roots_of(rule).enumerate() {
                for other in self.roots_of(rule).skip(at + 1) {
                    let keys = targets_keys(one, other).or(targets_keys(other, one));
                    if let Some(key) = keys {
                        let (one, other) = (&one.id, &other.id);
                        warn(format!("the key {key} signs for {one:?} and {other:?}"));
                    }
                }
            }
        }
    }

    /// The pinned certificates of a rule's roots, each with the root's id and the path of its file.
    fn certificates_of(
        &self,
        rule: &RuleDraft<'_>,
    ) -> impl Iterator<Item = (&str, &str, &PinnedCertificate)> {
        self.roots_of(rule).flat_map(|root| {
            let certificates = match &root.kind {
                RootKind::Notation(notation) => notation.certificates.as_slice(),
                _ => &[],
            };
            let paths = root.entries.iter().map(|entry| entry.text.as_str());
            let named = paths.zip(certificates);
            named.map(|(path, certificate)| (root.id.as_str(), path, certificate))
        })
    }

    /// Whether one certificate issued the other, itself or by authorities that are pinned too.
    fn leads_to(&self, above: &PinnedCertificate, below: &PinnedCertificate) -> bool {
        let pinned = self.roots.iter().filter_map(|root| root.root.as_ref());
        let mut others: Vec<&PinnedCertificate> = pinned
            .filter_map(|root| match &root.kind {
                RootKind::Notation(notation) => Some(&notation.certificates),
                _ => None,
            })
            .flatten()
            .collect();
        let mut reached = vec![above];
        while let Some(authority) = reached.pop() {
            if authority.issued(below) {
                return true;
            }
            let (issued, rest) = others.into_iter().partition(|one| authority.issued(one));
            others = rest;
            reached.extend::<Vec<_>>(issued);
        }
        false
    }

    /// Two roots under one key count once: they can't make a quorum.
    fn check_quorums(&self) {
        for rule in self.rules.iter().filter(|rule| rule.quorum.value > 1) {
            let mut owners = BTreeMap::new();
            for At { value: name, .. } in &rule.roots {
                let is_named = |id: &At<'_, String>| id.value == *name;
                let roots = self.roots.iter();
                let of_name = roots.filter(|root| root.id.as_ref().is_some_and(is_named));
                let keys = of_name.flat_map(|root| &root.keys).map(|key| key.value);
                for key in keys.collect::<BTreeSet<_>>() {
                    if let Some(owner) = owners.insert(key, name)
                        && owner != name
                    {
                        let message = format!(
                            "roots {owner:?} and {name:?} share the key {key}, so they are one voice"
                        );
                        let hint = "a quorum needs roots with keys of their own";
                        rule.quorum.place.error(FindingCode::Quorum, message, hint);
                    }
                }
            }
        }
    }

    /// A person decides that a moved tag passes: the rule says it, or the policy does not load.
    fn check_unbound_tags(&self) {
        for rule in &self.rules {
            let unbound: Vec<_> = self
                .roots_of(rule)
                .filter(|root| !root.binds().tag)
                .collect();
            let may_bind_none = !unbound.is_empty() && unbound.len() >= rule.quorum.value;
            let ids: Vec<_> = unbound.iter().map(|root| root.id.as_str()).collect();
            let (ids, quorum) = (ids.join(", "), rule.quorum.value);
            match rule.unbound {
                None if may_bind_none => {
                    let message = format!(
                        "a quorum of {quorum} may be {ids} alone, and their signatures bind no tag: a tag that is moved to other signed bytes passes"
                    );
                    let hint = "require a root that binds tags too: list a tuf root and raise `quorum`; or accept moved tags: tags = \"unbound\"";
                    rule.place.error(FindingCode::UnboundTags, message, hint);
                }
                Some(place)
                    if !may_bind_none
                        && rule.roots.len() > unbound.len()
                        && self.are_all_read(rule) =>
                {
                    let message =
                        "tags = \"unbound\", and each quorum of the rule's roots binds the tag";
                    place.warning(FindingCode::UnboundTags, message, "leave it out");
                }
                _ => {}
            }
        }
    }

    fn roots_of(&self, rule: &RuleDraft<'_>) -> impl Iterator<Item = &Root> {
        let names = rule.roots.iter();
        let places = names.filter_map(|name| self.roots_by_id.get(name.value.as_str()));
        let places: BTreeSet<usize> = places.flatten().copied().collect();
        let known = places.into_iter().filter_map(|at| self.roots.get(at));
        known.filter_map(|root| root.root.as_ref())
    }

    /// Whether each root of a rule could be read: of another one, nobody knows what it binds.
    fn are_all_read(&self, rule: &RuleDraft<'_>) -> bool {
        self.roots_of(rule).count() == rule.roots.len()
    }

    /// Only roots that list no tags are asked about the manifests of an index.
    fn check_indexes(&self) {
        for rule in &self.rules {
            if let Some(place) = rule.by_manifests
                && self.are_all_read(rule)
                && self.roots_of(rule).all(Root::lists_tags)
            {
                let message = "index = \"by-manifests\", and no root of the rule is of type cosign or notation";
                place.warning(FindingCode::NoEffect, message, "leave it out");
            }
        }
    }

    fn check_exempts(&self, limits: Limits, now: Timestamp) {
        let exempts = || self.drafts.iter().flat_map(|draft| &draft.exempts);
        let patterns = exempts().filter_map(|exempt| exempt.pattern.as_ref());
        once("match", patterns.map(|at| (at.value.to_string(), at.place)));
        let ends = exempts().filter_map(|exempt| exempt.until.as_ref());
        check_ends("the exemption", ends, limits, now);
    }

    /// `audit-until`, in a policy of that mode. `has_end`: whether the policy's own audit mode ends.
    fn check_trials(&self, mode: Mode, has_end: bool, limits: Limits, now: Timestamp) {
        let is_audited = mode == Mode::Audit && !has_end;
        let rules = || self.rules.iter();
        let ends = rules().filter_map(|rule| rule.audit_until.as_ref());
        check_ends("the rule's audit", ends, limits, now);
        for rule in rules().filter(|rule| is_audited && rule.mode.is_none()) {
            if let Some(until) = &rule.audit_until {
                let message = "audit-until means nothing while the policy's mode is \"audit\"";
                let hint = "write mode = \"enforce\" in the rule, or at the top of the policy";
                until.place.warning(FindingCode::NoEffect, message, hint);
            }
        }
        // Where the policy only audits, it says what comes after the trial.
        for rule in rules().filter(|_| mode == Mode::Enforce) {
            if let (Some(own), Some(until)) = (&rule.mode, &rule.audit_until)
                && until.value > now
            {
                let message = format!(
                    "mode = \"enforce\" means nothing before audit-until: the rule's refusals are let through until {}",
                    until.value
                );
                let hint = "take audit-until out to enforce now, or take mode out";
                own.place.warning(FindingCode::NoEffect, message, hint);
            }
        }
    }

    /// Revocation comes before everything: whatever is revoked is refused wherever else it stands.
    fn warn_of_revoked_pins(&self) {
        let (mut digests, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for revoked in self.drafts.iter().flat_map(|draft| &draft.revoked) {
            match revoked.revoked {
                Some(Revoked::Digest(digest)) => _ = digests.insert(digest),
                Some(Revoked::Key(key)) => _ = keys.insert(key),
                None => {}
            }
        }
        let bound = self.drafts.iter().flat_map(|draft| &draft.images);
        let bound = bound.filter_map(|image| image.digest.as_ref());
        let exempts = self.drafts.iter().flat_map(|draft| &draft.exempts);
        let exempt = exempts.flat_map(|exempt| exempt.digests.iter().flatten());
        for digest in bound.chain(exempt).filter(|at| digests.contains(&at.value)) {
            let message = "this digest is revoked, and so refused";
            let hint = "take it out here, and list the digest of a version that is not revoked; or take out its [[revoked]], if it was a mistake";
            digest.place.warning(FindingCode::RevokedPin, message, hint);
        }
        for root in &self.roots {
            let (effect, hint) = match root.root.as_ref().map(|root| &root.kind) {
                Some(RootKind::Cosign(_)) => (
                    "signatures by it count for nothing",
                    "pin the key that the publisher signs with now, and take this one out",
                ),
                Some(RootKind::Notation(_)) => (
                    "signatures under its certificate count for nothing",
                    "pin the certificate that the publisher signs with now, and take this one out",
                ),
                _ => (
                    "a root role that lists it is refused",
                    "ask the publisher to rotate the root role and for the fingerprint of the new key, pin that, and take this one out",
                ),
            };
            let revoked = root.keys.iter().filter(|key| keys.contains(&key.value));
            for At { value: key, place } in revoked {
                let message = format!("the key {key} is revoked: {effect}");
                place.warning(FindingCode::RevokedPin, message, hint);
            }
            if let Some(Root {
                kind: RootKind::Cosign(cosign),
                keys: pinned,
                ..
            }) = &root.root
                && let Some(At { place, .. }) =
                    root.keys.iter().find(|key| keys.contains(&key.value))
                && let left = pinned.difference(&keys).count()
                && u64::try_from(left).is_ok_and(|left| left < cosign.threshold)
            {
                let message = format!(
                    "{left} of the root's keys are not revoked, and its threshold is {}: nothing can be signed for it",
                    cosign.threshold
                );
                let hint = "pin the keys that sign now";
                place.warning(FindingCode::RevokedPin, message, hint);
            }
        }
    }
}
