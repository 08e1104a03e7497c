//! The entries of the policy that cover a name, in the order of precedence: `[[revoked]]`, the
//! name's own digest, `[[image]]`, `[[exempt]]`, `[[rule]]`. The judge acts on the first one that
//! applies; `policy explain` prints all of them.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use rootpin_trust::Refusal;
use rootpin_trust::image::{Digest, ImageRef};

use crate::{BoundImage, Exempt, Policy, Rule};

/// An entry of the policy, or the name's own digest.
#[derive(Debug, Clone, Copy)]
pub enum EntryKind<'a> {
    /// `[[revoked]]`: the digest and the reason.
    Revoked(Digest, &'a str),
    /// The name has another digest than the bytes.
    OwnDigest(Digest),
    /// `[[image]]`
    Image(&'a BoundImage),
    /// `[[exempt]]`
    Exempt(&'a Exempt),
    /// `[[rule]]`
    Rule(&'a Rule),
}

/// Why an entry applies or not.
#[derive(Debug, Clone)]
pub enum Why<'a> {
    /// It applies.
    Applies,
    /// It would apply, but the clock can't be right.
    Clock(&'a Refusal),
    /// The name is bound by `[[image]]`.
    Bound,
    /// The exemption has ended.
    Over,
    /// The exemption has ended, and no other entry covers the name.
    Ended,
    /// The exemption lists other digests.
    OtherDigests,
    /// The exemption lists no digests, and no sign shows that a registry was asked for the name.
    NotFromRegistry,
    /// This rule is more specific.
    LessSpecific(&'a Rule),
}

/// What is known of a name and its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    pub(super) name: &'a ImageRef,
    /// The digest of the index or manifest; `None` while any bytes may come.
    pub(super) top: Option<Digest>,
    pub(super) manifests: &'a [Digest],
    pub(super) contents: &'a [Digest],
    /// Whether a sign shows that a registry was asked for the name.
    pub(super) from_registry: bool,
    pub(super) now: Timestamp,
    pub(super) clock: Option<&'a Refusal>,
}

impl Why<'_> {
    /// Whether the entry decides, unless one before it does.
    #[must_use]
    pub fn applies(&self) -> bool {
        matches!(self, Self::Applies | Self::Ended | Self::Clock(_))
    }
}

impl<'a> Lookup<'a> {
    /// A name that a registry is asked for, and a clock that can't be right for this reason.
    #[must_use]
    pub fn of(name: &'a ImageRef, now: Timestamp, clock: Option<&'a Refusal>) -> Self {
        Self {
            name,
            top: name.digest,
            manifests: &[],
            contents: &[],
            from_registry: true,
            now,
            clock,
        }
    }

    /// Whether a list of digests has the index, or the manifest of each platform that is meant
    /// (rule 5); `None` while any bytes may come.
    pub(super) fn is_listed(&self, listed: &BTreeSet<Digest>) -> Option<bool> {
        let all = || self.manifests.iter().all(|digest| listed.contains(digest));
        let platforms = || !self.manifests.is_empty() && all();
        self.top.map(|top| listed.contains(&top) || platforms())
    }

    fn revoked(&self, policy: &'a Policy) -> Option<EntryKind<'a>> {
        let all = self.top.iter().chain(self.manifests).chain(self.contents);
        let (digest, reason) = policy.first_revoked(all)?;
        Some(EntryKind::Revoked(digest, reason))
    }

    fn own_digest(&self) -> Option<EntryKind<'a>> {
        let own = self.name.digest?;
        let differs = self.is_listed(&BTreeSet::from([own])) == Some(false);
        differs.then_some(EntryKind::OwnDigest(own))
    }

    /// A name with tag is bound to the digests listed for it; for one without, any tag of the
    /// repository will do.
    fn bound(&self, policy: &'a Policy) -> Option<&'a BoundImage> {
        let repository = &self.name.repository;
        let Some(tag) = &self.name.tag else {
            let mut images = policy.images_of(repository);
            return images.find(|image| self.is_listed(&image.digests) == Some(true));
        };
        policy.image(repository, tag)
    }

    fn exemption(&self, exempt: &Exempt) -> Why<'a> {
        let digests = exempt.digests.as_ref();
        if digests.and_then(|listed| self.is_listed(listed)) == Some(false) {
            Why::OtherDigests
        } else if let Some(refusal) = self.clock {
            Why::Clock(refusal)
        } else if exempt.is_over(self.now) {
            Why::Over
        } else if digests.is_none() && !self.from_registry {
            Why::NotFromRegistry
        } else {
            Why::Applies
        }
    }
}

/// All entries that cover the name; those that apply stand in the order of precedence.
#[must_use]
pub fn entries<'a>(policy: &'a Policy, lookup: Lookup<'a>) -> Vec<(EntryKind<'a>, Why<'a>)> {
    let repository = &lookup.name.repository;
    let mut all = Vec::new();
    let mut add = |kind, why| all.push((kind, why));
    let image = lookup.bound(policy);
    let (revoked, own) = (lookup.revoked(policy), lookup.own_digest());
    let of_bytes = [revoked, own, image.map(EntryKind::Image)];
    for kind in of_bytes.into_iter().flatten() {
        add(kind, Why::Applies);
    }
    let unless_bound = |why| if image.is_some() { Why::Bound } else { why };
    for exempt in policy.exempts_for(repository) {
        let why = unless_bound(lookup.exemption(exempt));
        add(EntryKind::Exempt(exempt), why);
    }
    let mut rules: Vec<_> = policy.rules_for(repository).collect();
    rules.sort_by_key(|rule| Reverse(rule.pattern.specificity()));
    for rule in &rules {
        let why = match rules.first() {
            Some(winner) if winner != rule => Why::LessSpecific(winner),
            _ => unless_bound(Why::Applies),
        };
        add(EntryKind::Rule(rule), why);
    }
    // If nothing else covers the name, the last exemption that has ended decides, and says so.
    if !all.iter().any(|(_, why)| why.applies()) {
        let mut reasons = all.iter_mut().rev().map(|(_, why)| why);
        if let Some(over) = reasons.find(|why| matches!(why, Why::Over)) {
            *over = Why::Ended;
        }
    }
    all
}

impl fmt::Display for EntryKind<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoked(digest, _) => write!(formatter, "[[revoked]] digest = \"{digest}\""),
            Self::OwnDigest(digest) => write!(formatter, "the name's own digest {digest}"),
            Self::Image(image) => image.fmt(formatter),
            Self::Exempt(exempt) => exempt.fmt(formatter),
            Self::Rule(rule) => rule.fmt(formatter),
        }
    }
}
