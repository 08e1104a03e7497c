//! Names with the keys that are pinned for them, as Notary's and Mirantis' configurations have them:
//! the exact name counts first, then the longest beginning.

use std::collections::{BTreeMap, BTreeSet};

use super::name_pattern::policy_patterns;
use super::{ImportedKey, ImportedRoot, Proposal, ServerChoice, TrustDirectory};
use rootpin_trust::KeyId;

/// What is pinned for a name.
#[derive(Debug, Clone)]
pub(super) enum Pinned {
    /// Canonical IDs of keys.
    Keys(Vec<String>),
    /// IDs of certificates, each another one for every repository.
    Certificates(Vec<String>),
}

/// Adds the rules for these names. `role`: the role that must name the images.
pub(super) fn add(
    proposal: &mut Proposal,
    file: &str,
    names: &BTreeMap<String, Pinned>,
    (servers, trust, role): (&ServerChoice, &TrustDirectory, &str),
) {
    let mut keys = BTreeMap::new();
    for (name, pinned) in names {
        keys.insert(name, keys_of(proposal, file, name, pinned, trust));
    }
    refuse_what_is_too_broad(proposal, file, &mut keys);
    // By pattern, how long the beginning was that it comes from: the longest counts.
    let mut from: BTreeMap<String, usize> = BTreeMap::new();
    for (name, keys) in keys {
        let patterns = match policy_patterns(name) {
            Ok(patterns) => patterns,
            Err(why) => {
                proposal.leave(file, format!("the pins of {name:?}"), why);
                continue;
            }
        };
        if let Some(lost) = patterns.lost {
            proposal.leave(file, format!("a part of the pins of {name:?}"), lost);
        }
        for pattern in patterns.patterns {
            let length = match name.strip_suffix('*') {
                Some(beginning) => beginning.len(),
                None => usize::MAX,
            };
            if from.get(&pattern).is_some_and(|known| *known >= length) {
                continue;
            }
            from.insert(pattern.clone(), length);
            if keys.is_empty() {
                proposal.refuse(&pattern, "none of the keys that are pinned for it is known");
                continue;
            }
            let host = pattern.split('/').next().unwrap_or_default();
            let root = ImportedRoot {
                id: String::new(),
                server: servers.of(host),
                tls_ca: servers.tls_ca.clone(),
                role: role.to_owned(),
                keys: keys.clone(),
            };
            proposal.allow(&pattern, root);
        }
    }
}

/// A beginning such as `r.example/org*` means names that no pattern of a policy means
/// (`r.example/organ`). A broader beginning would cover them by other keys, so it is refused whole.
fn refuse_what_is_too_broad(
    proposal: &mut Proposal,
    file: &str,
    keys: &mut BTreeMap<&String, Vec<ImportedKey>>,
) {
    let ids = |keys: &[ImportedKey]| keys.iter().map(|key| key.id).collect::<BTreeSet<_>>();
    let open: Vec<(String, BTreeSet<KeyId>)> = keys
        .iter()
        .filter_map(|(name, keys)| Some((name.strip_suffix('*')?.to_owned(), ids(keys))))
        .filter(|(beginning, _)| !beginning.ends_with('/'))
        .collect();
    for (name, own) in keys {
        let Some(beginning) = name.strip_suffix('*') else {
            continue;
        };
        let narrower = open.iter().find(|(other, others)| {
            other.len() > beginning.len()
                && other.starts_with(beginning)
                && !ids(own).is_subset(others)
        });
        if let Some((narrower, _)) = narrower {
            own.clear();
            proposal.leave(
                file,
                format!("the pins of {name:?}"),
                format!(
                    "{narrower}* has other keys and also means names that begin so, which a policy's patterns can't tell apart: write {narrower}/** for it, and import again"
                ),
            );
        }
    }
}

/// The keys of one name. A certificate is known by its ID, so the one with a pinned ID has the key
/// that was meant.
fn keys_of(
    proposal: &mut Proposal,
    file: &str,
    name: &str,
    pinned: &Pinned,
    trust: &TrustDirectory,
) -> Vec<ImportedKey> {
    let mut keys = Vec::new();
    match pinned {
        Pinned::Keys(ids) => {
            for id in ids {
                match id.to_ascii_lowercase().parse::<KeyId>() {
                    Ok(id) => keys.push(ImportedKey {
                        id,
                        key: None,
                        confirmed: true,
                    }),
                    Err(error) => {
                        proposal.leave(
                            file,
                            format!("the key {id:?} of {name:?}"),
                            error.to_string(),
                        );
                    }
                }
            }
        }
        Pinned::Certificates(ids) => {
            for id in ids {
                match trust.certificate(id) {
                    Some(key) => keys.push(ImportedKey {
                        id: key.id(),
                        key: Some(key.clone()),
                        confirmed: true,
                    }),
                    None => proposal.leave(
                        file,
                        format!("the certificate {id:?} of {name:?}"),
                        "no root file in the trust directory has it, so its key is not known: rootpin pin scan NAME --server URL shows what the server has",
                    ),
                }
            }
        }
    }
    keys
}
