//! Whether enough keys signed: the only place that counts signatures.
//!
//! Off-spec: Notary counts key IDs, so that two certificates over one key are two; here distinct
//! keys count, by canonical ID.

use std::collections::BTreeSet;

use super::budget::Budget;
use super::key::{PublicKey, SignedMessage};
use super::refusal::shown;
use super::{Code, KeyId, Refusal};

/// One entry of a file's `signatures`.
#[derive(Debug, Clone)]
pub(super) struct Signature {
    pub(super) keyid: String,
    pub(super) method: String,
    pub(super) bytes: Vec<u8>,
}

/// Bytes that were signed, and by whom they claim to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'a> {
    /// The file's name, for people.
    pub(super) file: &'a str,
    pub(super) message: SignedMessage<'a>,
    pub(super) signatures: &'a [Signature],
}

/// The rule for counting signatures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counting<'a> {
    /// IDs of the keys whose signatures count for nothing: see [`PublicKey::is_revoked`].
    pub(super) revoked: &'a BTreeSet<KeyId>,
    /// Whether RSA signatures may be PKCS#1 v1.5.
    pub(super) allow_rsa_pkcs1v15: bool,
}

/// The distinct keys among `keys` that signed, if they are as many as `threshold`. A revoked key's
/// signature counts for nothing.
pub(super) fn signers(
    keys: &[&PublicKey],
    threshold: u64,
    signed: Signed<'_>,
    counting: Counting<'_>,
    budget: &mut Budget,
) -> Result<BTreeSet<KeyId>, Refusal> {
    let mut counted = BTreeSet::new();
    let mut revoked = BTreeSet::new();
    for signature in signed.signatures {
        for key in keys.iter().filter(|key| key.scoped_id() == signature.keyid) {
            let id = key.id();
            let tally = if key.is_revoked(counting.revoked) {
                &mut revoked
            } else {
                &mut counted
            };
            if tally.contains(&id) {
                continue;
            }
            budget.take_signature()?;
            if key.verify_metadata(
                &signature.method,
                signed.message,
                &signature.bytes,
                counting.allow_rsa_pkcs1v15,
            ) {
                tally.insert(id);
            }
        }
    }
    let listed: BTreeSet<KeyId> = keys.iter().map(|key| key.id()).collect();
    let refusal = match enough(signed.file, &listed, threshold, &counted, &revoked) {
        Err(refusal) if refusal.code == Code::BadSignature => refusal,
        other => return other,
    };
    let unknown: Vec<&str> = keys.iter().filter_map(|key| key.unknown()).collect();
    let not_allowed = keys
        .iter()
        .filter(|key| key.is_pkcs1v15() && !counting.allow_rsa_pkcs1v15)
        .count();
    let (mut found, mut hint) = (refusal.found, ENOUGH);
    if !unknown.is_empty() {
        let kinds: BTreeSet<String> = unknown.iter().take(8).map(|kind| shown(kind)).collect();
        let kinds: Vec<String> = kinds.into_iter().collect();
        found = format!(
            "{found} (of its role's keys, {} of a kind or scheme not known here: {})",
            unknown.len(),
            kinds.join(", ")
        );
    }
    if not_allowed > 0 {
        found = format!(
            "{found} ({not_allowed} of its role's keys sign by \"rsa-pkcs1v15-sha256\", which does not count)"
        );
        hint = "have the publisher move to rsassa-pss-sha256; until then allow-rsa-pkcs1v15 = true in the policy's [[root]] lets them count";
    }
    let hint = hint.to_owned();
    Err(Refusal {
        found,
        hint,
        ..refusal
    })
}

/// The distinct keys that signed, if they are as many as `threshold`, of the keys that may sign.
pub(super) fn enough(
    file: &str,
    keys: &BTreeSet<KeyId>,
    threshold: u64,
    counted: &BTreeSet<KeyId>,
    revoked: &BTreeSet<KeyId>,
) -> Result<BTreeSet<KeyId>, Refusal> {
    let enough = |count: usize| u64::try_from(count).unwrap_or(u64::MAX) >= threshold;
    if enough(counted.len()) {
        return Ok(counted.clone());
    }
    let wanted = format!("{threshold} of the keys {}", list(keys));
    if enough(counted.len() + revoked.len()) {
        let found = format!("{file} signed only with revoked keys {}", list(revoked));
        return Err(Refusal::new(
            Code::Revoked,
            found,
            wanted,
            "have it signed by keys that the policy does not revoke",
        ));
    }
    let found = format!(
        "{file} with good signatures of {} distinct keys",
        counted.len()
    );
    Err(Refusal::new(Code::BadSignature, found, wanted, ENOUGH))
}

const ENOUGH: &str =
    "have the file signed by enough of its role's keys; nothing on this host can replace that";

/// Key IDs for people.
pub(super) fn list<'a>(ids: impl IntoIterator<Item = &'a KeyId>) -> String {
    let ids: Vec<_> = ids.into_iter().map(KeyId::to_string).collect();
    match ids.len() {
        0 => "(none)".to_owned(),
        1..=4 => ids.join(", "),
        more => format!(
            "{} and {} more",
            ids.get(..4).unwrap_or_default().join(", "),
            more - 4
        ),
    }
}
