//! What signatures of the manifests that an index lists say of the index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::image::{Digest, Document};
use crate::{Code, Collection, KeyId, Refusal, SignedImage, Target, Verified};

/// What signatures of its manifests say of an index that has none: each manifest that it lists must
/// be signed, attestations among them, for any of them can be pulled.
///
/// # Errors
/// The bytes are not that index, it lists nothing, or a manifest is not signed or not for a tag that
/// all are signed for.
pub fn by_manifests(
    image: SignedImage<'_>,
    index: &[u8],
    signed: &[Arc<Verified<Collection>>],
) -> Result<Verified<Collection>, Refusal> {
    let wanted = format!("{} as an index of signed manifests", image.digest);
    let refused = |found: String| {
        let hint = "have its publisher sign the index, or each manifest in it: cosign sign --recursive does both";
        Refusal::new(Code::NoStatement, found, wanted.clone(), hint)
    };
    let manifests = match Document::parse(index) {
        Ok(Document::Index { manifests, .. }) if Digest::of(index) == image.digest => manifests,
        _ => return Err(refused(format!("{} is no index", image.digest))),
    };
    let entries = manifests.iter().map(|entry| entry.descriptor.digest);
    let entries: BTreeSet<Digest> = entries.collect();
    let signed: Vec<&Collection> = signed.iter().map(|signed| signed.get()).collect();
    let Some(first) = signed.first().filter(|_| !entries.is_empty()) else {
        return Err(refused(format!("{} lists nothing signed", image.digest)));
    };
    let each = |stands: &dyn Fn(&Collection, &Digest) -> bool| {
        let mut entries = entries.iter();
        entries.all(|entry| signed.iter().any(|signed| stands(signed, entry)))
    };
    let for_tag = |tag: &String| {
        each(&|signed, entry| {
            let target = signed.targets.get(tag);
            target.is_some_and(|target| target.digest == *entry)
        })
    };
    let target = Target {
        digest: image.digest,
        length: 0,
        manifests: entries.iter().copied().collect(),
    };
    let tags = first.targets.keys().filter(|tag| for_tag(tag));
    let targets: BTreeMap<_, _> = tags.map(|tag| (tag.clone(), target.clone())).collect();
    let is_untagged = each(&|signed, entry| signed.untagged.contains(entry));
    if targets.is_empty() && !is_untagged {
        return Err(refused(format!(
            "{} lists manifests that are not all signed, or not for one tag",
            image.digest
        )));
    }
    let untagged = entries.iter().copied().chain([image.digest]);
    let (signers, signers_needed) = signers_of_all(image, &signed);
    Ok(Verified::after_every_check(Collection {
        gun: image.repository.clone(),
        role: first.role.clone(),
        targets,
        untagged: untagged.filter(|_| is_untagged).collect(),
        expires: signed
            .iter()
            .map(|one| one.expires)
            .min()
            .unwrap_or(Timestamp::MIN),
        root_keys: first.root_keys.clone(),
        signers,
        signers_needed,
        versions: BTreeMap::new(),
    }))
}

/// What signatures of an index and those of each of its manifests say together, where one key is enough
/// of either: any of them is.
#[must_use]
pub fn with_manifests(
    index: &Verified<Collection>,
    manifests: &Verified<Collection>,
) -> Verified<Collection> {
    let (index, manifests) = (index.get(), manifests.get());
    let signers = &index.signers | &manifests.signers;
    let signers_needed = match (index.signers_needed, manifests.signers_needed) {
        (1, 1) => 1,
        // Not what this is for: then all of them are.
        _ => signers.len(),
    };
    let mut targets = manifests.targets.clone();
    targets.extend(index.targets.clone());
    Verified::after_every_check(Collection {
        gun: index.gun.clone(),
        role: index.role.clone(),
        targets,
        untagged: &index.untagged | &manifests.untagged,
        expires: index.expires.min(manifests.expires),
        root_keys: index.root_keys.clone(),
        signers,
        signers_needed,
        versions: BTreeMap::new(),
    })
}

/// The keys that signed manifests, and how many of them an index rests on: those that signed each of
/// them where these are enough and all signers are known, or else all together.
fn signers_of_all(image: SignedImage<'_>, signed: &[&Collection]) -> (BTreeSet<KeyId>, usize) {
    let signers = signed.iter().flat_map(|one| &one.signers).copied();
    let all: BTreeSet<KeyId> = signers.collect();
    let of_each = |key: &KeyId| signed.iter().all(|one| one.signers.contains(key));
    let common: BTreeSet<KeyId> = all.iter().copied().filter(of_each).collect();
    let needed = signed.iter().map(|one| one.signers_needed).max();
    let count = all.len();
    match needed {
        Some(needed) if image.every_signer && common.len() >= needed => (common, needed),
        _ => (all, count),
    }
}
