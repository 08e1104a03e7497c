//! Names with the keys that are pinned for them, as Notary's and Mirantis' configurations have them:
//! the exact name counts first, then the longest beginning.

use std::collections::{BTreeMap, BTreeSet};

use super::name_pattern::policy_patterns;
use super::{ImportedKey, ImportedRoot, Proposal, ServerChoice, TrustDirectory};
use rootpin_policy::Pattern;
use rootpin_trust::KeyId;
use rootpin_trust::image::Repository;

/// What is pinned for a name.
#[derive(Debug, Clone)]
pub(super) enum Pinned {
    /// Canonical IDs of keys.
    Keys(Vec<String>),
    /// IDs of certificates, each another one for every repository.
    Certificates(Vec<String>),
    /// An authority of certificates, which no policy can pin.
    Authority,
}

/// The keys that count for a name of the source.
#[derive(Debug, Default)]
struct PinnedKeys {
    /// For all names that it means.
    of_all: Vec<ImportedKey>,
    /// For this one of them.
    of_one: Vec<(String, ImportedKey)>,
}

/// Adds the rules for these names. `role`: the role that must name the images.
pub(super) fn add(
    proposal: &mut Proposal,
    file: &str,
    names: &BTreeMap<String, Pinned>,
    (servers, trust, role): (&ServerChoice, &TrustDirectory, &str),
) {
    let (mut keys, mut exact) = (BTreeMap::new(), BTreeMap::<String, Vec<ImportedKey>>::new());
    for (name, pinned) in names {
        let found = keys_of(proposal, file, name, pinned, trust);
        keys.insert(name, found.of_all);
        for (gun, key) in found.of_one {
            if governing(names, &gun) == Some(name) {
                exact.entry(gun).or_default().push(key);
            }
        }
    }
    refuse_what_is_too_broad(proposal, file, &mut keys);
    // What the client cached of a name that no pattern means, and that the source pins.
    for repository in &trust.repositories {
        let gun = repository.gun.as_str();
        if let Some(name) = governing(names, gun)
            && !is_meant_by_patterns(name, &repository.gun)
            && let Some(keys) = keys.get(name)
        {
            exact.entry(gun.to_owned()).or_insert_with(|| keys.clone());
        }
    }
    // By pattern, how long the beginning was that it comes from: the longest counts.
    let mut from: BTreeMap<String, usize> = BTreeMap::new();
    let root = |pattern: &str, keys: &[ImportedKey]| ImportedRoot {
        id: String::new(),
        server: servers.of(pattern.split('/').next().unwrap_or_default()),
        tls_ca: servers.tls_ca.clone(),
        role: role.to_owned(),
        keys: keys.to_vec(),
    };
    for (name, keys) in keys {
        let patterns = match policy_patterns(name) {
            Ok(patterns) => patterns,
            Err(why) => {
                proposal.leave(file, format!("the pins of {name:?}"), why.what);
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
            } else {
                proposal.allow(&pattern, root(&pattern, &keys));
            }
        }
    }
    for (gun, keys) in exact {
        let is_full = Repository::from_full(&gun).is_ok_and(|full| full.as_str() == gun);
        if from.get(&gun) == Some(&usize::MAX) || !is_full {
            continue;
        }
        if keys.is_empty() {
            proposal.refuse(&gun, "none of the keys that are pinned for it is known");
        } else {
            proposal.allow(&gun, root(&gun, &keys));
        }
    }
}

/// The entry that counts for a name: the exact one, else the longest beginning.
fn governing<'a>(names: &'a BTreeMap<String, Pinned>, gun: &str) -> Option<&'a String> {
    if let Some((exact, _)) = names.get_key_value(gun) {
        return Some(exact);
    }
    let beginnings = names.keys().filter(|name| {
        let beginning = name.strip_suffix('*');
        beginning.is_some_and(|beginning| gun.starts_with(beginning))
    });
    beginnings.max_by_key(|name| name.len())
}

fn is_meant_by_patterns(name: &str, gun: &Repository) -> bool {
    let patterns = policy_patterns(name).map(|found| found.patterns);
    patterns.unwrap_or_default().iter().any(|pattern| {
        let pattern = pattern.parse::<Pattern>();
        pattern.is_ok_and(|pattern| pattern.matches(gun))
    })
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
/// that was meant; and it is for the names in it alone, as its ID is.
fn keys_of(
    proposal: &mut Proposal,
    file: &str,
    name: &str,
    pinned: &Pinned,
    trust: &TrustDirectory,
) -> PinnedKeys {
    let mut keys = PinnedKeys::default();
    match pinned {
        Pinned::Authority => {}
        Pinned::Keys(ids) => {
            for id in ids {
                match id.to_ascii_lowercase().parse::<KeyId>() {
                    Ok(id) => keys.of_all.push(ImportedKey {
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
                let what = format!("the certificate {id:?} of {name:?}");
                let Some(key) = trust.certificate(id) else {
                    proposal.leave(
                        file,
                        what,
                        "no root file in the trust directory has it, so its key is not known: rootpin pin scan NAME --server URL shows what the server has",
                    );
                    continue;
                };
                let pin = ImportedKey {
                    id: key.id(),
                    key: Some(key.clone()),
                    confirmed: true,
                };
                let leaf = key.certificates().first();
                let of = leaf
                    .and_then(|leaf| leaf.common_name.clone())
                    .unwrap_or_default();
                match certified(name, &of) {
                    Certified::All => keys.of_all.push(pin),
                    Certified::One => {
                        let why = format!(
                            "a certificate is for its own names, so it counts for {of} alone"
                        );
                        proposal.leave(file, what, why);
                        keys.of_one.push((of, pin));
                    }
                    Certified::Nothing => {
                        proposal.leave(file, what, format!("it is for {of:?}"));
                    }
                }
            }
        }
    }
    keys
}

/// For which names of an entry a certificate counts.
#[derive(Debug, PartialEq, Eq)]
enum Certified {
    All,
    /// The one in the certificate.
    One,
    Nothing,
}

/// Notary takes a certificate for the name in it, or for all that begin so before a star.
fn certified(name: &str, common_name: &str) -> Certified {
    let begins = |text: &str| text.starts_with(common_name.trim_end_matches('*'));
    let is_wild = common_name.ends_with('*');
    match name.strip_suffix('*') {
        None if name == common_name || (is_wild && begins(name)) => Certified::All,
        Some(beginning) if is_wild && begins(beginning) => Certified::All,
        Some(beginning) if !is_wild && common_name.starts_with(beginning) => Certified::One,
        _ => Certified::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_counts_for_the_names_that_are_in_it_and_in_the_entry() {
        for (name, of, wanted) in [
            ("r.example/a", "r.example/a", Certified::All),
            ("r.example/a", "r.example/b", Certified::Nothing),
            ("r.example/a", "r.example/*", Certified::All),
            ("r.example/*", "r.example/a", Certified::One),
            ("r.example/*", "r.example/*", Certified::All),
            ("r.example/a/*", "r.example/*", Certified::All),
            ("r.example/*", "r.example/a/*", Certified::Nothing),
            ("s.example/*", "r.example/a", Certified::Nothing),
            ("r.example/a", "", Certified::Nothing),
        ] {
            assert_eq!(certified(name, of), wanted, "{name} by {of}");
        }
    }
}
