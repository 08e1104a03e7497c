//! Root files: the pinned one, and the chain that leads from it, each file signed by the one before
//! and by itself (section 5.3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::budget::{Budget, ROOT_BYTES};
use crate::canonical::Text;
use crate::floors::Claim;
use crate::image::Digest;
use crate::key::PublicKey;
use crate::root_file;
use crate::threshold::{self, Counting};
use crate::{Code, Format, KeyId, Refusal, Request, RootFile};

use super::envelope::{Envelope, malformed};
use super::role::{Keys, Role};

/// A root file that a policy pins: of good form, and signed by enough of its own keys. Its expiry
/// means nothing (section 5.2).
#[derive(Debug)]
pub struct PinnedRoot {
    chain: Chain,
    keys: BTreeSet<KeyId>,
    bytes: Vec<u8>,
}

/// One root file, read but not judged.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) envelope: Envelope,
    roles: BTreeMap<&'static str, Role>,
    /// Whether files have their version in their name (section 6.2).
    pub(super) consistent: bool,
}

/// A chain of root files that holds up to its last one, whose expiry has not been looked at.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) last: Arc<Root>,
    /// Canonical IDs of the root keys that *signed*, over all files of the chain. A key that is
    /// only listed says nothing: anybody can list another repository's key, and would have a say in
    /// that one's floors.
    pub(super) signers: BTreeSet<KeyId>,
    /// Whether RSA signatures may be PKCS#1 v1.5.
    allow_rsa_pkcs1v15: bool,
}

const ROLES: [&str; 4] = ["root", "snapshot", "targets", "timestamp"];

/// What a root file lists, for people; nothing of it is judged.
pub(crate) fn list_root(bytes: &[u8]) -> Result<RootFile, Refusal> {
    let budget = &mut Budget::of_tuf();
    let root = Root::read("root.json", bytes, budget)?;
    let all: Vec<_> = root
        .roles
        .values()
        .flat_map(|role| role.keys.iter().map(|key| PublicKey::clone(key)))
        .collect();
    let signers = root_file::signers(&all, root.envelope.signed(), budget)?;
    let (version, expires, sha256) = (
        root.envelope.version,
        root.envelope.expires,
        Digest::of(bytes),
    );
    let Role {
        threshold, keys, ..
    } = root.role("root")?;
    let (threshold, keys) = (
        *threshold,
        keys.iter().map(|key| PublicKey::clone(key)).collect(),
    );
    Ok(RootFile {
        format: Format::Tuf,
        version,
        expires,
        sha256,
        threshold,
        keys,
        signers,
    })
}

impl PinnedRoot {
    /// Reads the file that is to be pinned.
    ///
    /// # Errors
    /// It is no root file, or not signed by enough of its own keys.
    pub fn read(bytes: Vec<u8>) -> Result<Self, Refusal> {
        Self::read_allowing(bytes, false)
    }

    /// The same; `rsa_pkcs1v15`: whether RSA signatures may be PKCS#1 v1.5, in this file and in all
    /// that it leads to.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_allowing(bytes: Vec<u8>, rsa_pkcs1v15: bool) -> Result<Self, Refusal> {
        let chain = Chain::begin(
            "the pinned root file",
            &bytes,
            rsa_pkcs1v15,
            &mut Budget::of_tuf(),
        )?;
        Ok(Self {
            keys: chain.last.role("root")?.ids(),
            chain,
            bytes,
        })
    }

    /// The root file of the next version, as one to be pinned in this one's place.
    ///
    /// # Errors
    /// It is no root file of the next version, or not signed by enough of this one's keys and
    /// enough of its own.
    pub fn successor(&self, bytes: Vec<u8>, revoked: &BTreeSet<KeyId>) -> Result<Self, Refusal> {
        let chain = self.chain.extend(&bytes, revoked, &mut Budget::of_tuf())?;
        Ok(Self {
            keys: chain.last.role("root")?.ids(),
            chain,
            bytes,
        })
    }

    /// Canonical IDs of the root role's keys.
    #[must_use]
    pub fn keys(&self) -> &BTreeSet<KeyId> {
        &self.keys
    }

    /// Canonical IDs of those that signed it: by them the repository's floors are found again.
    #[must_use]
    pub fn signers(&self) -> &BTreeSet<KeyId> {
        &self.chain.signers
    }

    /// The file's version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.chain.version()
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn chain(&self) -> &Chain {
        &self.chain
    }
}

impl PartialEq for PinnedRoot {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
            && self.chain.allow_rsa_pkcs1v15 == other.chain.allow_rsa_pkcs1v15
    }
}

impl Eq for PinnedRoot {}

impl Root {
    fn read(file: &str, bytes: &[u8], budget: &mut Budget) -> Result<Self, Refusal> {
        // A chain grows with the years.
        let long = |refusal| Refusal {
            hint: "pin a later root file of the publisher's, from which fewer follow".to_owned(),
            ..refusal
        };
        budget.take_root().map_err(long)?;
        let envelope = Envelope::read(file, "root", bytes, ROOT_BYTES, budget)?;
        let (keys, listed) = (
            envelope.get("keys").filter(|keys| keys.is_object()),
            envelope.get("roles"),
        );
        let mut keys = Keys::of(keys.ok_or_else(|| envelope.malformed("no \"keys\""))?);
        let mut roles = BTreeMap::new();
        for name in ROLES {
            let listing = listed
                .and_then(|roles| roles.get(name))
                .ok_or_else(|| envelope.malformed(&format!("no role {name}")))?;
            roles.insert(name, Role::read(name, listing, &mut keys, file)?);
        }
        let consistent = envelope
            .get("consistent_snapshot")
            .map_or(Some(false), Text::as_bool);
        let consistent = consistent.ok_or_else(|| {
            envelope.malformed("a consistent_snapshot that is neither true nor false")
        })?;
        Ok(Self {
            envelope,
            roles,
            consistent,
        })
    }

    /// The file of a role, with its version in its name where snapshots are consistent.
    pub(super) fn request(&self, role: &str, version: u64) -> Request {
        Request::versioned(role, self.consistent.then_some(version))
    }

    /// A role as this file lists it.
    pub(super) fn role(&self, name: &str) -> Result<&Role, Refusal> {
        self.roles
            .get(name)
            .ok_or_else(|| self.envelope.malformed(&format!("no role {name}")))
    }

    /// What to say of a file that the one before it does not lead to.
    fn unpinned(&self, refusal: Refusal) -> Refusal {
        if refusal.code != Code::BadSignature {
            return refusal;
        }
        let keys = self.role("root").map(Role::ids).unwrap_or_default();
        let found = format!(
            "{}; it lists the root keys (unverified) {}",
            refusal.found,
            threshold::list(&keys)
        );
        Refusal { found, ..refusal }.of_unpinned_root()
    }

    /// The keys of that root role that signed this file, if they are enough.
    fn signers(
        &self,
        by: &Root,
        counting: Counting<'_>,
        budget: &mut Budget,
    ) -> Result<BTreeSet<KeyId>, Refusal> {
        by.role("root")?.signers(&self.envelope, counting, budget)
    }
}

impl Chain {
    /// Begins with a root file that nothing but its own signatures speak for.
    fn begin(
        file: &str,
        bytes: &[u8],
        allow_rsa_pkcs1v15: bool,
        budget: &mut Budget,
    ) -> Result<Self, Refusal> {
        let last = Root::read(file, bytes, budget)?;
        let counting = Counting {
            revoked: &BTreeSet::new(),
            allow_rsa_pkcs1v15,
        };
        Ok(Self {
            signers: last.signers(&last, counting, budget)?,
            last: Arc::new(last),
            allow_rsa_pkcs1v15,
        })
    }

    /// Whose signatures count under these revoked keys.
    pub(super) fn counting<'a>(&self, revoked: &'a BTreeSet<KeyId>) -> Counting<'a> {
        Counting {
            revoked,
            allow_rsa_pkcs1v15: self.allow_rsa_pkcs1v15,
        }
    }

    /// Goes on with the file of the next version: exactly that one (section 5.3.5), signed by
    /// enough keys of the one before and by enough of its own (5.3.4). Its expiry doesn't count as
    /// long as another follows (5.3.6).
    pub(super) fn extend(
        &self,
        bytes: &[u8],
        revoked: &BTreeSet<KeyId>,
        budget: &mut Budget,
    ) -> Result<Self, Refusal> {
        let version = self.next_version();
        let file = format!("{version}.root.json");
        let next = Root::read(&file, bytes, budget)?;
        if next.envelope.version != version {
            return Err(malformed(
                &file,
                &format!("version {}, wanted {version}", next.envelope.version),
            ));
        }
        // A revoked key leads nowhere, not even to the root that replaces it: who stole it could
        // sign another one. Then a later root file is to be pinned.
        let (mut signers, counting) = (self.signers.clone(), self.counting(revoked));
        signers.append(
            &mut next
                .signers(&self.last, counting, budget)
                .map_err(|refusal| next.unpinned(refusal))?,
        );
        signers.append(&mut next.signers(&next, counting, budget)?);
        Ok(Self {
            last: Arc::new(next),
            signers,
            allow_rsa_pkcs1v15: self.allow_rsa_pkcs1v15,
        })
    }

    pub(super) fn version(&self) -> u64 {
        self.last.envelope.version
    }

    pub(super) fn next_version(&self) -> u64 {
        self.version().saturating_add(1)
    }

    /// What the last file is held to by the root's floors.
    pub(super) fn claim(&self) -> Result<Claim<'_>, Refusal> {
        Ok(self.last.envelope.claim(self.last.role("root")?))
    }

    /// Refuses a chain that ends in a root role with a key that the policy revokes.
    pub(super) fn check_revoked(&self, revoked: &BTreeSet<KeyId>) -> Result<(), Refusal> {
        let keys = self.last.role("root")?.ids();
        let listed: Vec<_> = keys.intersection(revoked).collect();
        if listed.is_empty() {
            return Ok(());
        }
        let found = format!(
            "{} version {} whose root role lists the revoked key {}",
            self.last.envelope.file,
            self.version(),
            threshold::list(listed)
        );
        Err(Refusal::new(
            Code::Revoked,
            found,
            "a root role without it",
            "have the publisher rotate the root key",
        ))
    }
}
