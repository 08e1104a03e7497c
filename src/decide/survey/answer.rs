//! A survey's request and answer, as they travel over the control socket.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use rootpin_policy::{Binding, Root};
use rootpin_trust::image::{Digest, ImageRef, Repository};

/// The answer to one survey.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Survey {
    /// The policy in force; none where there is none.
    pub policy: Option<PolicyInForce>,
    /// What stands in the way of a whole answer, each with what to do.
    pub trouble: Vec<String>,
    /// The pinned roots.
    pub roots: Vec<PinnedRoot>,
    /// The judgements, in the order of the images that were asked about.
    pub images: Vec<SurveyJudgement>,
    /// What the policy says of the repositories that were asked about, in their order.
    pub repositories: Vec<Covered>,
    /// Canonical IDs of the keys whose signatures count nowhere.
    pub(crate) revoked_keys: Vec<String>,
    /// The digests that are refused under every name.
    pub(crate) revoked_digests: Vec<String>,
    /// Repositories with a Notary root that the policy names without a wildcard, by the name that
    /// is signed.
    pub named: Vec<String>,
}

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyInForce {
    /// Its hash.
    pub hash: String,
    /// `enforce` or `audit`
    pub mode: String,
    /// What is legal in it and yet hardly meant.
    pub warnings: Vec<String>,
    /// Canonical IDs of the keys whose signatures count nowhere; none in a report of an older
    /// version.
    #[serde(default)]
    pub revoked_keys: Option<Vec<String>>,
}

/// A pinned root, and what is held of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedRoot {
    /// Its id in the policy.
    pub id: String,
    /// `notary`, `tuf`, `cosign` or `notation`
    #[serde(rename = "type")]
    pub kind: String,
    /// Where its metadata is read.
    pub sources: Vec<String>,
    /// The role that must name the image (Notary).
    pub role: Option<String>,
    /// The pinned keys.
    pub keys: Vec<PinnedKey>,
    /// Version and SHA-256 of the pinned file (TUF).
    pub pinned: Option<PinnedFile>,
    /// What this host has seen, by repository.
    pub held: Vec<HeldMetadata>,
    /// A hash over all that decides what is verified under it: two roots with the same terms take
    /// the same statements.
    #[serde(default)]
    pub terms: Option<String>,
    /// `max-age` in seconds.
    #[serde(default)]
    pub max_age: Option<u64>,
    /// What its signatures bind beside the digest; none in a report of an older version.
    #[serde(default)]
    pub binds: Option<ReportedBinding>,
}

/// What signatures bind to the bytes of an image, beside their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportedBinding {
    /// The repository.
    pub name: bool,
    /// The tag.
    pub tag: bool,
    /// Whether an older signature ends.
    pub freshness: bool,
}

impl ReportedBinding {
    /// What a root's signatures bind.
    #[must_use]
    pub fn of(root: &Root) -> Self {
        let Binding {
            name,
            tag,
            freshness,
        } = root.binds();
        Self {
            name,
            tag,
            freshness,
        }
    }

    /// In words: `name, tag`, or `-`.
    pub(crate) fn words(self) -> String {
        let all = [
            (self.name, "name"),
            (self.tag, "tag"),
            (self.freshness, "freshness"),
        ];
        let bound: Vec<_> = all.iter().filter(|(binds, _)| *binds).collect();
        let words: Vec<_> = bound.iter().map(|(_, word)| *word).collect();
        if words.is_empty() {
            "-".to_owned()
        } else {
            words.join(", ")
        }
    }
}

/// A pinned key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedKey {
    /// Its canonical ID.
    pub id: String,
    /// Its fingerprint; none where nothing here but its ID is known.
    pub fingerprint: Option<String>,
}

/// A pinned file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedFile {
    /// Its version.
    pub version: u64,
    /// Its digest.
    pub sha256: String,
}

/// What this host has seen of one repository under a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldMetadata {
    /// The repository; `tuf` for a repository of names of all images.
    pub repository: String,
    /// The last good contact.
    pub contact: Option<String>,
    /// The highest version seen of each role.
    pub versions: BTreeMap<String, u64>,
    /// When the newest root file ends.
    pub root_expires: Option<String>,
    /// When the newest timestamp ends, by its publisher; none where it is not cached, and in a
    /// report of an older version.
    #[serde(default)]
    pub timestamp_expires: Option<String>,
    /// Digest of each cached file, by name.
    pub files: BTreeMap<String, String>,
    /// The signed bytes of the highest version of each role.
    #[serde(default)]
    pub floors: Vec<HeldFloor>,
}

/// The highest version of a role that this host has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldFloor {
    /// The role.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// SHA-256 of its signed part in canonical JSON.
    pub signed: String,
    /// When this host first saw a TUF timestamp of that version.
    pub since: Option<String>,
    /// Canonical IDs of the root keys that its history belongs to. Where the root pins very many,
    /// without the pinned ones that the repository's root role does not list.
    pub root_keys: Vec<String>,
    /// A hash over the IDs of all pinned keys that its history belongs to, where `root_keys` leaves
    /// any of them out.
    #[serde(default)]
    pub pinned_keys: Option<String>,
    /// Canonical IDs of the role's own keys.
    pub keys: Vec<String>,
}

/// What the policy says of a name and its bytes now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SurveyJudgement {
    /// `allowed`, `refused` or `unjudged`, whatever the mode.
    pub outcome: String,
    /// Whether an engine would go on: allowed, or let through.
    pub let_through: bool,
    /// Why it would although the answer is no: `audit` or `break-glass`.
    #[serde(default)]
    pub let_through_by: Option<String>,
    /// The code of a refusal.
    pub code: Option<String>,
    /// What an admission rests on.
    pub ground: Option<String>,
    /// The policy's entry.
    pub rule: Option<String>,
    /// What the name's rule takes as signed of an index: `signed` or `by-manifests`; none where no
    /// rule covers the name, and in a report of an older version.
    #[serde(default)]
    pub index: Option<String>,
    /// The roots that were asked, each with what it says where the answer is yes.
    pub roots: Vec<RootWord>,
    /// What was found.
    pub found: Option<String>,
    /// What was wanted.
    pub wanted: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// What one root says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootWord {
    /// Its id in the policy.
    pub root: String,
    /// The repository that the metadata is signed for, or would have to be.
    pub repository: Option<String>,
    /// The role that names the image.
    pub role: Option<String>,
    /// Canonical IDs of the root role's keys.
    pub root_keys: Vec<String>,
    /// Canonical IDs of the keys whose signatures counted.
    pub signers: Vec<String>,
    /// Version by role.
    pub versions: BTreeMap<String, u64>,
    /// The earliest expiry of all that was used; none where nothing of it expires.
    pub expires: Option<String>,
    /// The last good contact.
    pub contact: Option<String>,
}

/// What the policy says of a repository's metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Covered {
    /// The entry that covers it.
    pub rule: Option<String>,
    /// The roots that may sign it.
    pub roots: Vec<String>,
    /// Canonical IDs of the pinned keys of those that are of Notary: a TUF root's are in no trust
    /// directory.
    pub keys: Vec<String>,
}

/// By the digest that a name stands for: the indexes, manifests, configurations and layers of the
/// image that are known, without that digest itself.
pub(crate) type ImageParts = BTreeMap<Digest, BTreeSet<Digest>>;

/// What is asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct SurveyQuestion {
    /// Names, and the digests that they stand for.
    pub images: Vec<(ImageRef, Digest)>,
    /// By an image's digest: what it is made of, as far as it is here.
    pub(crate) parts: ImageParts,
    /// Repositories by the names that their metadata is signed for.
    pub repositories: Vec<Repository>,
    /// Whether the pinned roots are wanted.
    pub roots: bool,
}
