//! Every limit on what hostile metadata may cost. One [`Budget`] goes through one verification.
//!
//! "python-tuf" is the defaults of `tuf/ngclient/config.py`, the limits that the reference client
//! of The Update Framework has had in the field; "Notary" is `tuf/client` of the Notary v1 client.

use super::{Code, Refusal};
use crate::canonical::Limits;

/// Bytes of a root file. python-tuf has 512,000 (Notary 100 MiB); doubled, for Notary keeps every
/// former certificate in it.
pub(super) const ROOT_BYTES: usize = 1 << 20;
/// Bytes of a timestamp file. python-tuf has 16,384 (Notary 1 MiB); room for many signatures.
pub(super) const TIMESTAMP_BYTES: usize = 64 << 10;
/// Bytes of a snapshot file. python-tuf has 2,000,000 (Notary what the timestamp says).
pub(super) const SNAPSHOT_BYTES: usize = 2 << 20;
/// Bytes of a targets file. python-tuf has 5,000,000 (Notary what the snapshot says); a tag takes
/// some 120, so this is 70,000 tags.
pub(super) const TARGETS_BYTES: usize = 8 << 20;

/// Bytes of a targets file of The Update Framework 1.0: 100,000 tags of images, at some 300 bytes
/// each.
pub(super) const TUF_TARGETS_BYTES: usize = 32 << 20;
/// Bytes of a snapshot file of it; one delegated role takes some 100.
pub(super) const TUF_SNAPSHOT_BYTES: usize = 4 << 20;
/// Targets roles that one search looks at. python-tuf has 32; a name without a tag has to be looked
/// for in more of them.
const ROLES: usize = 64;

/// Bytes of patterns and of paths that one search compares. A search begins anew with each role
/// that it fetched: 10,000 patterns of 100 bytes may be compared as often as there may be roles.
const MATCHING: usize = 2 * TUF_TARGETS_BYTES;

/// Root files in one chain. python-tuf has 256.
const ROOTS: usize = 256;
/// Signatures that are checked. Two thresholds for each of the roots, each by two keys.
const SIGNATURES: usize = 4 * ROOTS;
/// Signatures that a file of TUF 1.0 may list: they are read before it is known who wrote them.
/// Sixteen for each key that a role may have.
pub(super) const SIGNATURES_LISTED: usize = 16 * KEYS;
/// Bytes of all files. The largest of each kind, a chain of the roots at 32 KiB each, and two
/// levels of delegations.
const BYTES: usize = ROOTS * (32 << 10) + SNAPSHOT_BYTES + 3 * TARGETS_BYTES;
/// The same where targets files are larger.
const TUF_BYTES: usize = ROOTS * (32 << 10) + TUF_SNAPSHOT_BYTES + 3 * TUF_TARGETS_BYTES;
/// Targets roles in a sweep of a whole repository: 16,384 hash bins, which is what the largest plan
/// has (PEP 458, for `PyPI`), and what else is delegated.
const SWEEP_ROLES: usize = 20_000;
/// Signatures that are checked in a sweep: by two keys for each role.
const SWEEP_SIGNATURES: usize = 2 * SWEEP_ROLES;
/// Bytes of all files of a sweep.
const SWEEP_BYTES: usize = 512 << 20;
/// Keys of one role. Notary's tools write one; the largest TUF root in the field (sigstore's) has
/// five.
const KEYS: usize = 64;
/// Open arrays and objects. Metadata has seven; the rest is for a target's `custom`.
const DEPTH: usize = 32;
/// Values and names in one file. A tag takes eight; as many tags as [`TARGETS_BYTES`] has room for,
/// and then some.
const VALUES: usize = 1_000_000;

/// The rest of the limits of one verification.
#[derive(Debug)]
pub(super) struct Budget {
    roots: usize,
    signatures: usize,
    bytes: usize,
    most_bytes: usize,
    roles: usize,
    most_roles: usize,
    matching: usize,
}

impl Budget {
    /// A whole budget.
    pub(super) fn new() -> Self {
        Self {
            roots: ROOTS,
            signatures: SIGNATURES,
            bytes: BYTES,
            most_bytes: BYTES,
            roles: ROLES,
            most_roles: ROLES,
            matching: MATCHING,
        }
    }

    /// A whole budget for metadata of The Update Framework 1.0.
    pub(super) fn of_tuf() -> Self {
        Self {
            bytes: TUF_BYTES,
            most_bytes: TUF_BYTES,
            ..Self::new()
        }
    }

    /// A whole budget for all roles of such a repository.
    pub(super) fn of_tuf_sweep() -> Self {
        let (bytes, roles) = (SWEEP_BYTES, SWEEP_ROLES);
        Self {
            bytes,
            most_bytes: bytes,
            roles,
            most_roles: roles,
            signatures: SWEEP_SIGNATURES,
            ..Self::new()
        }
    }

    /// One more targets role to look at.
    pub(super) fn take_role(&mut self) -> Result<(), Refusal> {
        take(
            &mut self.roles,
            1,
            self.most_roles,
            "targets roles in one search",
        )
    }

    /// So many bytes of patterns and of paths to compare.
    pub(super) fn take_matching(&mut self, bytes: usize) -> Result<(), Refusal> {
        take(
            &mut self.matching,
            bytes,
            MATCHING,
            "bytes of patterns and paths to compare in one search",
        )
    }

    /// One more root file in the chain.
    pub(super) fn take_root(&mut self) -> Result<(), Refusal> {
        take(&mut self.roots, 1, ROOTS, "root files in one chain")
    }

    /// One more signature to check.
    pub(super) fn take_signature(&mut self) -> Result<(), Refusal> {
        take(&mut self.signatures, 1, SIGNATURES, "signatures to check")
    }

    /// One more file, and the limits for reading it as JSON.
    pub(super) fn take_file(&mut self, length: usize, max_bytes: usize) -> Result<Limits, Refusal> {
        take(
            &mut self.bytes,
            length,
            self.most_bytes,
            "bytes of metadata",
        )?;
        Ok(Limits {
            bytes: max_bytes,
            depth: DEPTH,
            values: VALUES,
        })
    }

    /// 2^`bits` hash bins in one sweep.
    pub(super) fn allow_bins(bits: u32) -> Result<(), Refusal> {
        let count = 1_usize.checked_shl(bits).unwrap_or(usize::MAX);
        let hint = "nothing is wrong with so many hash bins: a host asks for the one of an image; what carries a repository whole \
            (rootpin repo, bundles) does not go through them all";
        let what = "targets roles in one sweep";
        take(&mut SWEEP_ROLES.clone(), count, SWEEP_ROLES, what).map_err(|refusal| Refusal {
            found: format!("a delegation to {count} hash bins"),
            hint: hint.to_owned(),
            ..refusal
        })
    }

    /// So many keys in one role.
    pub(super) fn allow_keys(count: usize) -> Result<(), Refusal> {
        take(&mut KEYS.clone(), count, KEYS, "keys in one role")
    }
}

/// A refusal because of a limit.
pub(super) fn over_limit(found: &str, limit: usize, what: &str) -> Refusal {
    let hint = "no repository that is known has so much: ask its publisher whether it has, and if so, \
        tell who maintains rootpin; if not, somebody else answers for the trust server";
    Refusal::new(
        Code::OverLimit,
        found,
        format!("at most {limit} {what}"),
        hint,
    )
}

fn take(left: &mut usize, amount: usize, limit: usize, what: &str) -> Result<(), Refusal> {
    *left = left
        .checked_sub(amount)
        .ok_or_else(|| over_limit(&format!("more than {limit} {what}"), limit, what))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_with_its_number_and_accuses_nobody() {
        let mut budget = Budget::new();
        let refusal = (0..=ROLES).find_map(|_| budget.take_role().err()).unwrap();
        assert_eq!(refusal.found, "more than 64 targets roles in one search");
        assert_eq!(refusal.wanted, "at most 64 targets roles in one search");
        assert!(!refusal.hint.contains("honest"), "{}", refusal.hint);
    }
}
