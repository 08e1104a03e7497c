//! Every entry of the policy that speaks of a name, in the order of precedence: `[[revoked]]`, the
//! name's own digest, `[[image]]`, `[[exempt]]`, `[[rule]]`. The judge acts on the first that
//! applies, and `policy explain` prints all of them.

use std::fmt;

use jiff::Timestamp;
use rootpin_trust::Refusal;
use rootpin_trust::image::{Digest, ImageRef};

use super::question::NamedBytes;
use crate::{BoundImage, Exempt, Policy, Rule};

/// An entry that speaks of the name, and what comes of it.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Which one.
    pub kind: EntryKind<'a>,
    /// Why it applies, or why it doesn't.
    pub why: Why<'a>,
}

/// What speaks of a name.
#[derive(Debug, Clone, Copy)]
pub enum EntryKind<'a> {
    /// `[[revoked]]`
    Revoked(Digest, &'a str),
    /// The digest in the name itself is another one.
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
    /// It decides, as far as those before it don't.
    Applies,
    /// It would decide, but the clock can't be right.
    Clock(&'a Refusal),
    /// The name is bound by `[[image]]`.
    Bound,
    /// Its end has passed.
    Over,
    /// Its end has passed, and nothing else speaks of the name.
    Ended,
    /// It lists other digests.
    OtherDigests,
    /// It lists no digests, and nothing shows that a registry was asked for the name.
    NotFromRegistry,
    /// That rule is more specific.
    LessSpecific(&'a Rule),
}

impl Entry<'_> {
    /// Whether it decides, as far as those before it don't.
    #[must_use]
    pub fn applies(&self) -> bool {
        matches!(self.why, Why::Applies | Why::Ended | Why::Clock(_))
    }
}

/// What is known when a name is looked up: the bytes, if there are any, and whether a registry was
/// asked for the name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lookup<'a> {
    pub(crate) name: &'a ImageRef,
    /// None: which bytes is open, as for `policy explain`.
    pub(crate) bytes: Option<&'a NamedBytes>,
    pub(crate) from_registry: bool,
    pub(crate) now: Timestamp,
    pub(crate) clock: Option<&'a Refusal>,
}

/// The entries, the one that decides before those that it goes before.
pub(crate) fn entries<'a>(policy: &'a Policy, lookup: Lookup<'a>) -> Vec<Entry<'a>> {
    let mut all = Vec::new();
    if let Some(kind) = revoked(policy, lookup) {
        all.push(applying(kind));
    }
    if let Some(kind) = own_digest(lookup) {
        all.push(applying(kind));
    }
    let image = bound(policy, lookup);
    all.extend(image.map(EntryKind::Image).map(applying));
    for exempt in policy.exempts_for(&lookup.name.repository) {
        let why = if image.is_some() {
            Why::Bound
        } else {
            of_exemption(exempt, lookup)
        };
        all.push(Entry {
            kind: EntryKind::Exempt(exempt),
            why,
        });
    }
    let Some(winner) = policy.rule_for(&lookup.name.repository) else {
        decide_over(&mut all);
        return all;
    };
    all.push(Entry {
        kind: EntryKind::Rule(winner),
        why: if image.is_some() {
            Why::Bound
        } else {
            Why::Applies
        },
    });
    let mut losers: Vec<&Rule> = policy
        .rules
        .iter()
        .filter(|rule| *rule != winner && rule.pattern.matches(&lookup.name.repository))
        .collect();
    losers.sort_by_key(|rule| std::cmp::Reverse(rule.pattern.specificity()));
    all.extend(losers.into_iter().map(|rule| Entry {
        kind: EntryKind::Rule(rule),
        why: Why::LessSpecific(winner),
    }));
    all
}

fn applying(kind: EntryKind<'_>) -> Entry<'_> {
    Entry {
        kind,
        why: Why::Applies,
    }
}

/// Where nothing else speaks of the name, an exemption that is over decides, and says so.
fn decide_over(all: &mut [Entry<'_>]) {
    if all.iter().any(Entry::applies) {
        return;
    }
    if let Some(over) = all
        .iter_mut()
        .rev()
        .find(|entry| matches!(entry.why, Why::Over))
    {
        over.why = Why::Ended;
    }
}

fn revoked<'a>(policy: &'a Policy, lookup: Lookup<'a>) -> Option<EntryKind<'a>> {
    let of = |digest: &Digest| {
        policy
            .revoked_digest(digest)
            .map(|reason| EntryKind::Revoked(*digest, reason))
    };
    match lookup.bytes {
        Some(bytes) => [bytes.top]
            .iter()
            .chain(&bytes.manifests)
            .chain(&bytes.contents)
            .find_map(of),
        None => lookup.name.digest.as_ref().and_then(of),
    }
}

fn own_digest(lookup: Lookup<'_>) -> Option<EntryKind<'_>> {
    let (asked, bytes) = (lookup.name.digest?, lookup.bytes?);
    (!bytes.is_listed(|digest| *digest == asked)).then_some(EntryKind::OwnDigest(asked))
}

/// A name with tag is bound to the digests listed for it; a name without one is vouched for by any
/// of its tags.
fn bound<'a>(policy: &'a Policy, lookup: Lookup<'a>) -> Option<&'a BoundImage> {
    let repository = &lookup.name.repository;
    if lookup.name.tag.is_some() {
        return policy.images_for(repository, lookup.name.tag.as_ref());
    }
    match lookup.bytes {
        Some(bytes) => policy.images().find(|image| {
            image.repository == *repository
                && bytes.is_listed(|digest| image.digests.contains(digest))
        }),
        None => policy.image_with_digest(repository, lookup.name.digest.as_ref()?),
    }
}

fn of_exemption<'a>(exempt: &Exempt, lookup: Lookup<'a>) -> Why<'a> {
    let other_bytes = exempt.digests.as_ref().is_some_and(|digests| {
        match (lookup.bytes, lookup.name.digest.as_ref()) {
            (Some(bytes), _) => !bytes.is_listed(|digest| digests.contains(digest)),
            (None, Some(digest)) => !digests.contains(digest),
            (None, None) => false,
        }
    });
    if other_bytes {
        Why::OtherDigests
    } else if let Some(refusal) = lookup.clock {
        Why::Clock(refusal)
    } else if exempt.is_over(lookup.now) {
        Why::Over
    } else if exempt.digests.is_none() && !lookup.from_registry {
        Why::NotFromRegistry
    } else {
        Why::Applies
    }
}

impl fmt::Display for EntryKind<'_> {
    /// As the policy has it, with the place where it stands.
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

impl fmt::Display for Entry<'_> {
    /// Why it applies or doesn't.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.why, &self.kind) {
            (Why::Applies, EntryKind::Revoked(_, reason)) => {
                write!(formatter, "revoked: {reason}")
            }
            (Why::Applies, EntryKind::OwnDigest(_)) => {
                formatter.write_str("the name itself says another digest")
            }
            (Why::Applies, EntryKind::Image(_)) => formatter.write_str(
                "the policy binds the name to its digests: no exemption, no rule and no server is asked",
            ),
            (Why::Applies, EntryKind::Exempt(exempt)) => {
                write!(formatter, "until {}: {}", exempt.until, exempt.reason)
            }
            (Why::Applies, EntryKind::Rule(rule)) if rule.pattern.is_exact() => {
                formatter.write_str("it is the exact name")
            }
            (Why::Applies, EntryKind::Rule(_)) => formatter
                .write_str("of the rules that match it has the longest part before a wildcard"),
            (Why::Over | Why::Ended, EntryKind::Exempt(exempt)) => {
                write!(formatter, "it was over at {}", exempt.until)
            }
            (Why::Over | Why::Ended, _) => formatter.write_str("it is over"),
            (Why::Clock(refusal), _) => write!(formatter, "{}", refusal.found),
            (Why::Bound, _) => formatter.write_str("the name is bound by [[image]]"),
            (Why::OtherDigests, _) => formatter.write_str("it is for other digests"),
            (Why::NotFromRegistry, _) => formatter
                .write_str("it lists no digests, and no sign shows that a registry was asked"),
            (Why::LessSpecific(winner), _) => {
                write!(formatter, "{} is more specific", winner.pattern)
            }
        }
    }
}
