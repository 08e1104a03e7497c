//! A verified Notary repository as it is taken over, and what of it can't be.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::NotaryContents;
use crate::publish::take_over::{NotaryRepository, NotarySigners, NotaryTag};
use crate::publish::to_pem;
use rootpin_trust::image::{Repository, Tag};
use rootpin_trust::{KeyId, Role};

/// The role that `docker trust` gives to all signers.
const RELEASES: &str = "targets/releases";

pub(super) fn repository(
    gun: Repository,
    contents: &NotaryContents,
    notes: &mut Vec<String>,
) -> NotaryRepository {
    let mut left_behind = |what: String| notes.push(format!("{gun}: {what}"));
    let mut tags = BTreeMap::new();
    for collection in &contents.collections {
        let collection = collection.get();
        let role = &collection.role;
        for (tag, image) in &collection.targets {
            if tag.parse::<Tag>().is_err() {
                left_behind(format!("{role} names {tag:?}, which can be no image's tag"));
                continue;
            }
            tags.entry(tag.clone()).or_insert_with(|| NotaryTag {
                digest: image.digest,
                length: image.length,
                role: role.clone(),
            });
        }
        let delegated = contents.delegations.iter();
        if role != "targets" && !delegated.clone().any(|(known, _)| known.name == *role) {
            left_behind(format!(
                "the signers of {role} are not taken over: another role than targets delegates to it"
            ));
        }
    }
    for (role, name) in &contents.without_sha256 {
        left_behind(format!(
            "{role} names {name:?} without a SHA-256, and no client takes an image by another hash"
        ));
    }
    let mut signers = Vec::new();
    for (role, prefixes) in &contents.delegations {
        if counts(contents, role) {
            match signers_of(contents, role, prefixes) {
                Ok(found) => signers.push(found),
                Err(why) => left_behind(format!(
                    "the signers of {} are not taken over: {why}",
                    role.name
                )),
            }
        }
    }
    NotaryRepository { gun, tags, signers }
}

/// Whether a role's tags are taken over.
fn counts(contents: &NotaryContents, role: &Role) -> bool {
    let mut all = contents.collections.iter();
    all.any(|collection| collection.get().role == role.name)
}

fn signers_of(
    contents: &NotaryContents,
    role: &Role,
    prefixes: &[String],
) -> Result<NotarySigners, String> {
    let known = role.keys.iter().filter(|key| to_pem(key).is_some());
    let keys: Vec<_> = known
        .map(|key| (key.as_ref().clone(), holders(contents, key.id())))
        .collect();
    if role.threshold > 1 {
        return Err(format!(
            "{} of them must sign each change, which Notary's own clients can't do",
            role.threshold
        ));
    }
    if keys.is_empty() {
        return Err("none of their keys is of a kind that is known here".to_owned());
    }
    // What no tag begins with leads to nothing, and `*` would mean more here than there.
    let usable = |prefix: &&String| prefix.is_empty() || prefix.parse::<Tag>().is_ok();
    let prefixes: Vec<String> = prefixes.iter().filter(usable).cloned().collect();
    if prefixes.is_empty() {
        return Err("they may sign no tag".to_owned());
    }
    Ok(NotarySigners {
        role: role.name.clone(),
        keys,
        prefixes,
    })
}

/// The names of a key's holder: `docker trust signer add NAME` gives it a role `targets/NAME`, which
/// names no tag that Docker reads. A role whose tags are taken over is a signer's own where it lists
/// that key alone.
fn holders(contents: &NotaryContents, id: KeyId) -> BTreeSet<String> {
    let roles = contents.delegations.iter().map(|(role, _)| role);
    let roles = roles.filter(|role| role.name != RELEASES);
    let roles: Vec<_> = roles
        .filter(|role| role.keys.iter().any(|key| key.id() == id))
        .collect();
    let names = |roles: &mut dyn Iterator<Item = &&Role>| -> BTreeSet<String> {
        let names = roles.filter_map(|role| role.name.strip_prefix("targets/"));
        names.map(str::to_owned).collect()
    };
    let own = names(&mut roles.iter().filter(|role| !counts(contents, role)));
    if !own.is_empty() {
        return own;
    }
    let is_alone = |role: &&&Role| role.keys.iter().all(|key| key.id() == id);
    names(&mut roles.iter().filter(is_alone))
}
