//! Checks over all files together: duplicates, roots without rules, rules between which nothing
//! decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::Draft;
use super::entries::RuleDraft;
use super::report::{At, Place};
use crate::Root;
use crate::finding::FindingCode::{
    Ambiguous, Duplicate, Quorum, UnboundTags, UndefinedRoot, UnusedRoot,
};
use crate::pattern::Pattern;
use crate::pattern_tree::PatternTree;

/// Checks the files against each other. `is_whole`: whether all that they say is known.
pub(super) fn check(drafts: &[Draft<'_>], is_whole: bool) {
    let ids = || {
        let roots = drafts.iter().flat_map(|draft| &draft.roots);
        roots.filter_map(|root| root.id.as_ref())
    };
    let rules = || drafts.iter().flat_map(|draft| &draft.rules);
    once("id", ids());
    if is_whole {
        check_use_of_roots(ids, rules);
    }
    let patterns = || drafts.iter().flat_map(Draft::rule_patterns);
    once("match", patterns());
    once("match", drafts.iter().flat_map(Draft::exempt_patterns));
    check_ambiguous(patterns());
    let roots = drafts.iter().flat_map(|draft| &draft.roots);
    let roots = roots.filter_map(|root| root.root.as_ref());
    let roots: BTreeMap<&str, &Root> = roots.map(|root| (root.id.as_str(), root)).collect();
    for rule in rules() {
        let mut met = BTreeSet::new();
        let names = rule.roots.iter().map(|name| name.value.as_str());
        let roots = names.filter_map(|name| roots.get(name).filter(|_| met.insert(name)));
        let roots: Vec<&Root> = roots.copied().collect();
        check_quorum(rule, &roots);
        check_unbound_tags(rule, &roots);
    }
    let images = drafts.iter().flat_map(|draft| &draft.images);
    let bound = images.filter_map(|image| {
        let At { value, place } = image.name.as_ref()?;
        let value = format!("{}:{}@{}", value.0, value.1, image.digest?);
        let place = *place;
        Some(At { value, place })
    });
    once("image", bound.collect::<Vec<_>>().iter());
}

fn once<'d, 'r: 'd, T: Display + 'd>(key: &str, said: impl Iterator<Item = &'d At<'r, T>>) {
    let mut seen: BTreeMap<String, Place<'_>> = BTreeMap::new();
    for At { value, place } in said {
        let value = value.to_string();
        if let Some(earlier) = seen.get(&value) {
            let message = format!("{key} {value:?} stands already at {}", earlier.location());
            place.error(Duplicate, message, "say each thing once");
        } else {
            seen.insert(value, *place);
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
            later.place.error(Ambiguous, message, hint);
        }
        group.add(&later.value, index);
    }
}

fn check_use_of_roots<'d, 'r: 'd, I, R>(ids: impl Fn() -> I, rules: impl Fn() -> R)
where
    I: Iterator<Item = &'d At<'r, String>>,
    R: Iterator<Item = &'d RuleDraft<'r>>,
{
    let names = || rules().flat_map(|rule| &rule.roots);
    let defined: BTreeSet<&str> = ids().map(|id| id.value.as_str()).collect();
    let used: BTreeSet<&str> = names().map(|root| root.value.as_str()).collect();
    let known = match defined.iter().copied().collect::<Vec<_>>().join(", ") {
        known if known.is_empty() => "none is defined".to_owned(),
        known => format!("defined are: {known}"),
    };
    for root in names().filter(|root| !defined.contains(root.value.as_str())) {
        let message = format!("no [[root]] has the id {:?}", root.value);
        root.place.error(UndefinedRoot, message, &known);
    }
    for id in ids().filter(|id| !used.contains(id.value.as_str())) {
        let message = format!("no [[rule]] names the root {:?}", id.value);
        let hint = "name it in the roots of a rule, or take it out";
        id.place.error(UnusedRoot, message, hint);
    }
}

/// Two roots under one key count once: they can't make a quorum.
fn check_quorum(draft: &RuleDraft<'_>, roots: &[&Root]) {
    let is_quorum = draft.rule.as_ref().is_some_and(|rule| rule.quorum > 1);
    let mut owners: BTreeMap<_, &str> = BTreeMap::new();
    for root in roots.iter().filter(|_| is_quorum) {
        for key in &root.keys {
            if let Some(owner) = owners.insert(key, &root.id) {
                let name = &root.id;
                let message = format!(
                    "roots {owner:?} and {name:?} share the key {key}, so they are one voice"
                );
                let hint = "a quorum needs roots with keys of their own";
                draft.quorum.error(Quorum, message, hint);
            }
        }
    }
}

/// A person decides that a moved tag passes: the rule says it, or the policy does not load.
fn check_unbound_tags(draft: &RuleDraft<'_>, roots: &[&Root]) {
    let unbound = roots.iter().filter(|root| !root.binds().tag);
    let ids: Vec<&str> = unbound.map(|root| root.id.as_str()).collect();
    let rule = draft.rule.as_ref().filter(|rule| !rule.tags_unbound);
    if let Some(rule) = rule.filter(|rule| !ids.is_empty() && ids.len() >= rule.quorum) {
        let (ids, quorum) = (ids.join(", "), rule.quorum);
        let message = format!(
            "a quorum of {quorum} may be {ids} alone, and their signatures bind no tag: a tag that is moved to other signed bytes passes"
        );
        let hint = "require a root that binds tags too: list a tuf root and raise `quorum`; or accept moved tags: tags = \"unbound\"";
        draft.place.error(UnboundTags, message, hint);
    }
}
