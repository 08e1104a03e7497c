//! The fingerprints that confirm what a trust directory holds.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};

use super::super::failure::Failure;
use super::super::given_fingerprint::GivenFingerprint;
use super::super::pin::fingerprint_source;
use super::Shown;
use crate::operate::import::{ImportedRoot, Proposal};
use crate::problem::Problem;
use rootpin_trust::{KeyId, PublicKey};

/// Confirms the keys whose fingerprint was given, or is typed at the terminal, and returns them. A
/// key without one stays as it is. Where the publisher changed the key, it may be the fingerprint of
/// the one that the server shows now.
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
    let mut given = given.to_vec();
    if given.is_empty() && io::stdin().is_terminal() {
        for (key, names) in waiting.values() {
            given.extend(typed(key, names, &shown_keys)?);
        }
    }
    let is_given = |key: &PublicKey| given.iter().any(|told| told.is_of(key));
    let mut repinned = Vec::new();
    for (root, name, keys) in unconfirmed(proposal, shown) {
        let is_known = |key: &PublicKey| root.keys.iter().any(|known| known.id == key.id());
        let is_new = !keys.iter().all(is_known);
        if is_new && keys.iter().all(is_given) {
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

/// The fingerprint that a person types, of the key or of one that the server shows now; an empty
/// line leaves it out.
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
