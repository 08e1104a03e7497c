//! The fingerprints that confirm what a trust directory holds.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};

use super::super::failure::Failure;
use super::super::given_fingerprint::GivenFingerprint;
use super::super::pin::fingerprint_source;
use crate::operate::import::Proposal;
use crate::problem::Problem;
use rootpin_trust::{KeyId, PublicKey};

/// Confirms the keys whose fingerprint was given, or is typed at the terminal, and returns them. A
/// key without one stays as it is.
pub(super) fn confirm(
    proposal: &mut Proposal,
    given: &[GivenFingerprint],
) -> Result<Vec<KeyId>, Failure> {
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
    // Where the source pins, what was seen first is not proposed, and its fingerprint is no mistake.
    let of_none = |told: &&GivenFingerprint| {
        let waiting = waiting.values().map(|(key, _)| key);
        !waiting.chain(&proposal.seen).any(|key| told.is_of(key))
    };
    if let Some(other) = given.iter().find(of_none) {
        let keys: Vec<&PublicKey> = waiting.values().map(|(key, _)| key).collect();
        return Err(fingerprint_source::differs(other, &keys));
    }
    let typed = given.is_empty() && io::stdin().is_terminal();
    let mut confirmed = Vec::new();
    for (id, (key, names)) in &waiting {
        let known = given.iter().any(|told| told.is_of(key));
        if known || (typed && is_typed(key, names)?) {
            confirmed.push(*id);
        }
    }
    for root in &mut proposal.roots {
        for key in &mut root.keys {
            key.confirmed |= confirmed.contains(&key.id);
        }
    }
    Ok(confirmed)
}

/// Whether a person types the key's fingerprint; an empty line leaves it out.
fn is_typed(key: &PublicKey, names: &[String]) -> Result<bool, Failure> {
    let more = match names.len() {
        0 | 1 => String::new(),
        all => format!(" and {} more", all - 1),
    };
    let name = names.first().map(String::as_str).unwrap_or_default();
    let asked = format!("fingerprint of the root key of {name}{more}; an empty line leaves it out");
    let Some(line) = fingerprint_source::line(&asked)? else {
        return Ok(false);
    };
    let told: GivenFingerprint = line
        .parse()
        .map_err(|problem: Problem| Failure::Refused(problem.so("nothing is written")))?;
    if told.is_of(key) {
        return Ok(true);
    }
    Err(fingerprint_source::differs(&told, &[key]))
}
