//! Takes up the signatures in a bundle. Whoever made it may have put in anything: a file is taken if it
//! counts under a pinned root, and puts nothing out of the cache that counts or that a revoked key signed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::bundle_import::ImportedRoot;
use super::bundle_signatures::{BundledFile, malformed};
use super::signature_cache::{CacheFile, NoRoom, file_name, read_cached, with_imported};
use super::signature_pins::Pins;
use super::signature_room::MOST_BYTES;
use super::signatures::origin;
use super::{MAX_CACHED, Repositories, RootLook};
use crate::sources::Bundle;
use rootpin_policy::{Policy, Root};
use rootpin_trust::image::{Digest, Document, Repository};
use rootpin_trust::{Code, MOST_SIGNATURES, Refusal, SignedImage};

/// One file of a bundle, read.
struct BundleMember {
    repository: Repository,
    name: String,
    kind: CacheFile,
    bytes: Vec<u8>,
}

/// What was taken for the roots, and what was not and why.
#[derive(Default)]
struct TakenSignatures<'b> {
    roots: Vec<ImportedRoot>,
    members: BTreeSet<&'b str>,
    images: BTreeSet<Digest>,
    failed: BTreeMap<&'b str, Vec<(String, Refusal)>>,
}

impl Repositories {
    /// Takes up the signatures in a bundle, for each of the roots under which they count. Blocks.
    pub(super) fn import_signatures(
        &self,
        policy: &Policy,
        roots: &[&Root],
        bundle: &Bundle,
        now: Timestamp,
    ) -> Result<Vec<ImportedRoot>, Refusal> {
        let mut taken = TakenSignatures::default();
        let result = self.take_all((policy, roots), bundle, now, &mut taken);
        // The answers about other images stand.
        self.signatures.forget(|key| taken.images.contains(&key.3));
        if !taken.images.is_empty() {
            self.signed_manifests.clear();
        }
        result?;
        let TakenSignatures {
            mut roots,
            members,
            mut failed,
            ..
        } = taken;
        failed.retain(|member, _| !members.contains(member));
        let failed = failed.into_iter();
        let mut failed = failed.filter_map(|(member, all)| Some((member, by_each_root(all)?)));
        match roots.first_mut() {
            Some(first) if !members.is_empty() => {
                let named = |(member, refusal): (&str, Refusal)| (member.to_owned(), refusal);
                first.failed = failed.map(named).collect();
                Ok(roots)
            }
            _ => {
                let first = failed.next().map(|(_, refusal)| refusal);
                Err(first.unwrap_or_else(|| by_no_root(bundle)))
            }
        }
    }

    fn take_all<'b>(
        &self,
        (policy, roots): (&Policy, &[&Root]),
        bundle: &'b Bundle,
        now: Timestamp,
        taken: &mut TakenSignatures<'b>,
    ) -> Result<(), Refusal> {
        // Nothing is written of a bundle that has something else in it. An index comes after the
        // signatures that it rests on.
        let (mut signatures, mut indexes) = (Vec::new(), Vec::new());
        for member in bundle.signatures() {
            match BundleMember::read(bundle, member)?.kind {
                CacheFile::Signatures(_) => signatures.push(member),
                CacheFile::Index(_) => indexes.push(member),
            }
        }
        for root in roots {
            let look = RootLook {
                policy,
                root,
                beside: None,
                now,
                begun: Instant::now(),
                deadline: Instant::now(),
                again: false,
                replies: None,
            };
            let mut imported = ImportedRoot {
                root: root.id.clone(),
                versions: BTreeMap::new(),
                expires: Timestamp::MAX,
                contact: now,
                files: 0,
                failed: BTreeMap::new(),
                absent: BTreeSet::new(),
            };
            for name in signatures.iter().chain(&indexes).copied() {
                let member = BundleMember::read(bundle, name)?;
                let of = origin(root, &member.repository);
                let before = self.cached(&of, &member.name);
                match self.take(look, &member) {
                    Ok(until) => {
                        let is_new = self.cached(&of, &member.name) != before;
                        imported.files += usize::from(is_new);
                        imported.expires = imported.expires.min(until);
                        taken.members.insert(name);
                        taken.images.insert(member.digest());
                    }
                    Err(refusal) if refusal.code == Code::StateUnusable => return Err(refusal),
                    Err(refusal) => {
                        let of_member = taken.failed.entry(name).or_default();
                        of_member.push((root.id.clone(), refusal));
                    }
                }
            }
            taken.roots.push(imported);
        }
        Ok(())
    }

    /// Writes a file of a bundle into the cache, if it counts under a root. Until when it does.
    fn take(&self, look: RootLook<'_>, member: &BundleMember) -> Result<Timestamp, Refusal> {
        let of = origin(look.root, &member.repository);
        let name = &member.name;
        match member.kind {
            CacheFile::Signatures(digest) => {
                let image = SignedImage {
                    repository: &member.repository,
                    digest,
                    tag: None,
                    every_signer: false,
                };
                let pins = Pins::of(look)?;
                let new = read_cached(&member.bytes).ok_or_else(|| malformed(name))?;
                let outcome = pins.verify(image, &new, Vec::new());
                let expires = outcome.result?.get().expires;
                self.writer.replace(&of, name, |known| {
                    let known = known.and_then(|bytes| read_cached(&bytes));
                    let known = known.unwrap_or_default();
                    let of_known = pins.verify(image, &known, Vec::new()).findings;
                    with_imported((&known, &of_known), (&new, &outcome.findings))
                        .map_err(|NoRoom| no_room(image))
                })?;
                self.keep_signatures(look.now, &of, &Vec::new())?;
                Ok(expires)
            }
            CacheFile::Index(digest) => {
                let listed = match Document::parse(&member.bytes) {
                    Ok(Document::Index { manifests, .. })
                        if Digest::of(&member.bytes) == digest && !manifests.is_empty() =>
                    {
                        manifests
                    }
                    _ => return Err(malformed(name)),
                };
                let is_signed = |manifest: Digest| self.cached(&of, &file_name(manifest)).is_some();
                if !listed.iter().all(|one| is_signed(one.descriptor.digest)) {
                    return Err(unsigned(digest));
                }
                let files = vec![(name.clone(), member.bytes.clone())];
                self.keep_signatures(look.now, &of, &files)?;
                // Its manifests are judged when it is asked for.
                Ok(Timestamp::MAX)
            }
        }
    }
}

impl BundleMember {
    fn read(bundle: &Bundle, member: &str) -> Result<Self, Refusal> {
        let bytes = bundle.get(member, MAX_CACHED);
        let bytes = bytes.map_err(|error| error.refusal())?.unwrap_or_default();
        let file: BundledFile = serde_json::from_slice(&bytes).map_err(|_| malformed(member))?;
        let repository = Repository::from_full(&file.repository).map_err(|_| malformed(member))?;
        let content = STANDARD.decode(&file.content);
        Ok(Self {
            repository,
            kind: CacheFile::of(&file.name).ok_or_else(|| malformed(member))?,
            bytes: content.map_err(|_| malformed(member))?,
            name: file.name,
        })
    }

    fn digest(&self) -> Digest {
        match self.kind {
            CacheFile::Signatures(digest) | CacheFile::Index(digest) => digest,
        }
    }
}

fn no_room(image: SignedImage<'_>) -> Refusal {
    let (repository, digest) = (image.repository, image.digest);
    Refusal::new(
        Code::OverLimit,
        format!(
            "more signatures of {digest} in {repository} than are kept of one image, where those stay that are cached and count, or are by a revoked key"
        ),
        format!("at most {MOST_SIGNATURES} of them, by key and tag, with {MOST_BYTES} bytes"),
        "export the bundle with a new --state, for the tags of the image that are needed here: rootpin bundle export --root ID --name NAME",
    )
}

fn unsigned(index: Digest) -> Refusal {
    Refusal::new(
        Code::NoStatement,
        format!("the index {index}, without signatures of each manifest in it"),
        "signatures of all of them, in the bundle or in the cache, under the same root",
        "export the bundle again, by the name of the image: rootpin bundle export --root ID --name NAME",
    )
}

/// Why a file counts under none of several roots: what was found under each of them, and what helps
/// with the one that says most.
fn by_each_root(mut all: Vec<(String, Refusal)>) -> Option<Refusal> {
    let is_one = all.len() == 1;
    let under =
        |(root, refusal): &(String, Refusal)| format!("under root {root}: {}", refusal.found);
    let found: Vec<String> = all.iter().map(under).collect();
    all.sort_by_key(|(_, refusal)| refusal.code.rank());
    let (_, most) = all.pop()?;
    if is_one {
        return Some(most);
    }
    Some(Refusal {
        found: found.join("; "),
        ..most
    })
}

fn by_no_root(bundle: &Bundle) -> Refusal {
    Refusal::new(
        Code::RootNotPinned,
        format!(
            "{}, which has signatures for no root of the policy",
            bundle.shown()
        ),
        "signatures under a root of type \"cosign\" or \"notation\" that the policy pins",
        "check which root the bundle was exported for: `rootpin pin list` shows those of this policy",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_counts_under_no_root_says_what_each_of_them_found() {
        let no = |code, found: &str| Refusal::new(code, found, "", format!("mend {found}"));
        let expired = || ("a".to_owned(), no(Code::Expired, "an old one"));
        let unsigned = || ("b".to_owned(), no(Code::NoStatement, "none"));
        for all in [vec![expired(), unsigned()], vec![unsigned(), expired()]] {
            let refusal = by_each_root(all).unwrap();
            assert_eq!(refusal.code, Code::Expired);
            assert_eq!(refusal.hint, "mend an old one");
            for found in ["under root a: an old one", "under root b: none"] {
                assert!(refusal.found.contains(found), "{refusal}");
            }
        }
        assert_eq!(by_each_root(vec![unsigned()]).unwrap().found, "none");
        assert!(by_each_root(Vec::new()).is_none());
    }
}
