//! Root files: the pinned one, and the chain that leads from it, each file signed by the one before
//! and by itself (section 5.3).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::budget::Budget;
use crate::floors::{Claim, Floors};
use crate::format::Format;
use crate::image::Digest;
use crate::role::Role;
use crate::root::Root;
use crate::threshold::Counting;
use crate::{Code, Floor, FloorOwner, KeyId, Refusal};

/// A root file that a policy pins: of good form, and signed by enough of its own keys. Its expiry
/// means nothing (section 5.2).
#[derive(Debug)]
pub struct PinnedRoot {
    chain: SignedChain,
    keys: BTreeSet<KeyId>,
    bytes: Vec<u8>,
}

/// A chain of root files that holds up to its last one, whose expiry has not been looked at.
#[derive(Debug, Clone)]
pub(super) struct SignedChain {
    pub(super) last: Arc<Root>,
    /// Canonical IDs of the root keys that *signed*, over all files of the chain. A key that is
    /// only listed says nothing: anybody can list another repository's key, and would have a say in
    /// that one's floors.
    pub(super) signers: BTreeSet<KeyId>,
    /// SHA-256 of the canonical signed bytes of each file of the chain.
    files: BTreeSet<Digest>,
    /// Whether RSA signatures may be PKCS#1 v1.5.
    allow_rsa_pkcs1v15: bool,
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
        let budget = &mut Budget::of_tuf();
        let chain = SignedChain::begin("the pinned root file", &bytes, rsa_pkcs1v15, budget)?;
        Ok(Self::of(chain, bytes))
    }

    /// The root file of the next version, as one to be pinned in this one's place.
    ///
    /// # Errors
    /// It is no root file of the next version, or not signed by enough of this one's keys and
    /// enough of its own.
    pub fn successor(&self, bytes: Vec<u8>, revoked: &BTreeSet<KeyId>) -> Result<Self, Refusal> {
        let chain = self.chain.extend(&bytes, revoked, &mut Budget::of_tuf())?;
        Ok(Self::of(chain, bytes))
    }

    fn of(chain: SignedChain, bytes: Vec<u8>) -> Self {
        Self {
            keys: chain.last.role.ids(),
            chain,
            bytes,
        }
    }

    /// Canonical IDs of the root role's keys.
    #[must_use]
    pub fn keys(&self) -> &BTreeSet<KeyId> {
        &self.keys
    }

    /// Canonical IDs of the targets role's keys in this file.
    #[must_use]
    pub fn targets_keys(&self) -> BTreeSet<KeyId> {
        let targets = self.chain.last.others.get("targets");
        targets.map(Role::ids).unwrap_or_default()
    }

    /// SHA-256 of the file's canonical signed bytes: floors belong to it.
    #[must_use]
    pub fn statement(&self) -> Digest {
        self.chain.last.envelope.statement
    }

    /// Those of the kept floors that bind an update from here, if the policy pins the file under
    /// this id.
    #[must_use]
    pub fn binding<'a>(&self, id: &str, kept: &'a [Floor]) -> Vec<&'a Floor> {
        let floors = self.chain.floors(kept, self.owner(id));
        kept.iter().filter(|floor| floors.binds(floor)).collect()
    }

    pub(super) fn owner(&self, id: &str) -> FloorOwner {
        FloorOwner {
            pin: self.statement(),
            ids: [id.to_owned()].into(),
            under: self.statement(),
        }
    }

    /// Canonical IDs of those that signed it.
    #[must_use]
    pub fn signers(&self) -> &BTreeSet<KeyId> {
        &self.chain.signers
    }

    /// Whether RSA signatures may be PKCS#1 v1.5.
    #[must_use]
    pub fn allows_rsa_pkcs1v15(&self) -> bool {
        self.chain.allow_rsa_pkcs1v15
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

    pub(super) fn chain(&self) -> &SignedChain {
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

/// The refusal of a file that the one before it does not lead to.
fn unpinned(root: &Root, refusal: Refusal) -> Refusal {
    if refusal.code != Code::BadSignature {
        return refusal;
    }
    let keys = KeyId::list(&root.role.ids());
    let found = format!(
        "{}; it lists the root keys (unverified) {keys}",
        refusal.found
    );
    Refusal { found, ..refusal }.of_unpinned_root()
}

impl SignedChain {
    /// Begins with a root file that nothing but its own signatures speak for.
    fn begin(
        file: &str,
        bytes: &[u8],
        allow_rsa_pkcs1v15: bool,
        budget: &mut Budget,
    ) -> Result<Self, Refusal> {
        let last = Root::read(Format::Tuf, file, bytes, budget)?;
        let counting = Counting {
            revoked: &BTreeSet::new(),
            allow_rsa_pkcs1v15,
        };
        Ok(Self {
            signers: last.role.signers(&last.envelope, counting, budget)?,
            files: [last.envelope.statement].into(),
            last: Arc::new(last),
            allow_rsa_pkcs1v15,
        })
    }

    /// The rule for counting signatures, under these revoked keys.
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
        let file = format!("{}.root.json", self.last.next_version());
        let next = Root::read(Format::Tuf, &file, bytes, budget)?;
        next.check_follows(&self.last)?;
        // A revoked key leads nowhere, not even to the root that replaces it: who stole it could
        // sign another one. Then a later root file is to be pinned.
        let (mut signers, counting) = (self.signers.clone(), self.counting(revoked));
        let of_before = self.last.role.signers(&next.envelope, counting, budget);
        signers.append(&mut of_before.map_err(|refusal| unpinned(&next, refusal))?);
        signers.append(&mut next.role.signers(&next.envelope, counting, budget)?);
        let mut files = self.files.clone();
        files.insert(next.envelope.statement);
        Ok(Self {
            last: Arc::new(next),
            signers,
            files,
            allow_rsa_pkcs1v15: self.allow_rsa_pkcs1v15,
        })
    }

    pub(super) fn version(&self) -> u64 {
        self.last.envelope.version
    }

    /// The floors, of all that are kept, that bind what the chain leads to.
    pub(super) fn floors(&self, kept: &[Floor], owner: FloorOwner) -> Floors {
        let under = self.last.envelope.statement;
        let owner = FloorOwner { under, ..owner };
        Floors::of_tuf(kept, &self.signers, &self.files, owner)
    }

    /// The claim of the last file, to be compared with the root's floors.
    pub(super) fn claim(&self) -> Claim<'_> {
        self.last.role.claim(&self.last.envelope)
    }
}
