//! The fingerprints that confirm what a trust directory holds.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};

use super::super::failure::Failure;
use super::super::given_fingerprint::GivenFingerprint;
use super::super::pin::fingerprint_source;
use super::Shown;
use crate::operate::import::{ImportedRoot, Proposal};
use crate::problem::Problem;
use rootpin_trust::{Fingerprint, KeyId, PublicKey};

/// Confirms the keys whose fingerprint was given, or is typed at the terminal, and returns them. A
/// key without one stays as it is. Where the publisher changed the key, it may be the fingerprint of
/// the one that the server shows now, unless that is a key which the sources have for other names:
/// then the server would choose for which names it counts.
pub(super) fn confirm(
    proposal: &mut Proposal,
    shown: &[Shown],
    given: &[GivenFingerprint],
) -> Result<Vec<KeyId>, Failure> {
    let waiting = waiting(proposal);
    let shown_keys: Vec<&PublicKey> = unconfirmed(proposal, shown)
        .flat_map(|(_, _, keys)| keys)
        .collect();
    // Where the source pins, what was seen first is not proposed, and its fingerprint is no mistake.
    let of_none = |told: &&GivenFingerprint| {
        let waiting = waiting.values().map(|(key, _)| key);
        let known = waiting.chain(&proposal.seen);
        !known
            .chain(shown_keys.iter().copied())
            .any(|key| told.is_of(key))
    };
    if let Some(other) = given.iter().find(of_none) {
        let keys = waiting.values().map(|(key, _)| key);
        let keys: Vec<&PublicKey> = keys.chain(shown_keys.iter().copied()).collect();
        return Err(fingerprint_source::differs(other, &keys));
    }
    let mut all_told: Vec<Told> = given.iter().map(|told| (None, told.clone())).collect();
    if given.is_empty() && io::stdin().is_terminal() {
        for (key, names) in waiting.values() {
            let of_it = unconfirmed(proposal, shown).filter(|(root, ..)| has(root, key.id()));
            let of_it = of_it.flat_map(|(root, _, keys)| keys.iter().map(move |key| (root, key)));
            let of_it =
                of_it.filter(|(root, key)| has(root, key.id()) || !is_in_sources(proposal, key));
            let of_it: Vec<&PublicKey> = of_it.map(|(_, key)| key).collect();
            all_told.extend(typed(key, names, &of_it)?.map(|told| (Some(key.id()), told)));
        }
    }
    let is_given = |key: &PublicKey| {
        let beside = |asked: KeyId| {
            let mut roots = proposal.roots.iter();
            roots.any(|root| has(root, asked) && has(root, key.id()))
        };
        let mut all_told = all_told.iter();
        all_told.any(|(asked, told)| asked.is_none_or(beside) && told.is_of(key))
    };
    let mut repinned = Vec::new();
    for (root, name, keys) in unconfirmed(proposal, shown) {
        let is_told = |key: &PublicKey| {
            let mut of_it = all_told
                .iter()
                .filter(|(asked, _)| asked.is_none_or(|asked| has(root, asked)));
            let is_free = || has(root, key.id()) || !is_in_sources(proposal, key);
            of_it.any(|(_, told)| told.is_of(key)) && is_free()
        };
        let is_new = !keys.iter().all(|key| has(root, key.id()));
        if is_new && keys.iter().all(is_told) {
            repinned.push((name.clone(), keys.to_vec()));
        }
    }
    let confirmed = waiting.values().map(|(key, _)| key);
    let confirmed = confirmed.filter(|key| is_given(key)).map(PublicKey::id);
    let mut confirmed: Vec<KeyId> = confirmed.collect();
    for (name, keys) in repinned {
        confirmed.extend(keys.iter().map(PublicKey::id));
        proposal.repin(&name, keys);
    }
    for root in &mut proposal.roots {
        for key in &mut root.keys {
            key.confirmed |= confirmed.contains(&key.id);
        }
    }
    Ok(confirmed)
}

/// A fingerprint, and the key for which it was asked; none: it was given for all.
type Told = (Option<KeyId>, GivenFingerprint);

fn has(root: &ImportedRoot, key: KeyId) -> bool {
    root.keys.iter().any(|known| known.id == key)
}

/// Whether a source has that very key, under whatever ID.
fn is_in_sources(proposal: &Proposal, key: &PublicKey) -> bool {
    let mut ids = proposal.roots.iter().flat_map(|root| &root.keys);
    let of_roots = proposal.roots.iter().flat_map(|root| &root.keys);
    let mut keys = of_roots
        .filter_map(|known| known.key.as_ref())
        .chain(&proposal.seen);
    let fingerprint = Fingerprint::of(key);
    ids.any(|known| known.id == key.id())
        || keys.any(|known| {
            known.id() == key.id() || fingerprint.is_some() && Fingerprint::of(known) == fingerprint
        })
}

/// The keys that nobody confirmed, with the names that they are for.
fn waiting(proposal: &Proposal) -> BTreeMap<KeyId, (PublicKey, Vec<String>)> {
    let mut waiting: BTreeMap<KeyId, (PublicKey, Vec<String>)> = BTreeMap::new();
    for (index, root) in proposal.roots.iter().enumerate() {
        for key in root.keys.iter().filter(|key| !key.confirmed) {
            if let Some(public) = &key.key {
                let names = proposal.patterns_of(index).map(str::to_owned);
                let entry = waiting
                    .entry(key.id)
                    .or_insert((public.clone(), Vec::new()));
                entry.1.extend(names);
            }
        }
    }
    waiting
}

/// The names whose keys nobody confirmed, each with its root and the keys that the server shows for each now.
fn unconfirmed<'a>(
    proposal: &'a Proposal,
    shown: &'a [Shown],
) -> impl Iterator<Item = (&'a ImportedRoot, &'a String, &'a [PublicKey])> {
    let roots = proposal.roots.iter().zip(shown);
    let roots = roots.filter(|(root, _)| !root.is_confirmed());
    roots.flat_map(|(root, shown)| {
        let names = shown.iter();
        names.filter_map(move |(name, keys)| Some((root, name, keys.as_deref().ok()?)))
    })
}

/// The fingerprint that a person types, of the key or of one that the server shows now for its names;
/// an empty line leaves it out.
fn typed(
    key: &PublicKey,
    names: &[String],
    shown: &[&PublicKey],
) -> Result<Option<GivenFingerprint>, Failure> {
    let more = match names.len() {
        0 | 1 => String::new(),
        all => format!(" and {} more", all - 1),
    };
    let name = names.first().map(String::as_str).unwrap_or_default();
    let asked = format!("fingerprint of the root key of {name}{more}; an empty line leaves it out");
    let Some(line) = fingerprint_source::line(&asked)? else {
        return Ok(None);
    };
    let told: GivenFingerprint = line
        .parse()
        .map_err(|problem: Problem| Failure::Refused(problem.so("nothing is written")))?;
    let keys: Vec<&PublicKey> = [key].into_iter().chain(shown.iter().copied()).collect();
    if keys.iter().any(|key| told.is_of(key)) {
        return Ok(Some(told));
    }
    Err(fingerprint_source::differs(&told, &keys))
}
